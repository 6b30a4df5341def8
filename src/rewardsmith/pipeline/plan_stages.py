"""The component map of a spec that has not run: the contract of each stage, what it will do here, and how to start."""

from __future__ import annotations

from collections.abc import Callable

from rewardsmith.modeling.shapes import ModelShape
from rewardsmith.records.plan import PlannedStage
from rewardsmith.report.component_map import CONTRACTS
from rewardsmith.spec import Spec
from rewardsmith.spec.data import SourceSpec
from rewardsmith.training.planning.backend import Choice

Facts = tuple[str, ...]


def planned_stages(spec: Spec, shape: ModelShape, choice: Choice) -> tuple[PlannedStage, ...]:
    """The stages in the order in which data flows, by the contracts that the report draws."""
    facts: dict[str, Callable[[], Facts]] = {
        "data": lambda: _data(spec),
        "contract": lambda: _contract(spec),
        "architecture": lambda: _architecture(spec, shape),
        "training": lambda: _training(spec, choice),
        "evaluation": lambda: _evaluation(spec),
        "gates": lambda: _gates(spec),
        "report": lambda: (f"{spec.output_dir}/{spec.name}/report.html",),
        "checkpoint": lambda: (f"{spec.output_dir}/{spec.name}/model", "raw rewards, golden rewards"),
    }
    return tuple(
        PlannedStage(
            key=key,
            title=contract.title,
            receives=contract.receives,
            returns=contract.returns,
            must_not=contract.must_not,
            fails=contract.fails,
            here=facts[key]() if key in facts else (),
        )
        for key, contract in CONTRACTS.items()
    )


def launch_commands(spec: Spec, choice: Choice, spec_file: str) -> tuple[str, ...]:
    """What to type, in order: the data contract first, on any machine, before an accelerator is rented."""
    return f"rewardsmith check {spec_file}", training_command(spec, choice, spec_file)


def training_command(spec: Spec, choice: Choice, spec_file: str) -> str:
    """The command that runs the chosen way."""
    run, row = f"rewardsmith run {spec_file}", choice.row
    if row.backend == "openrlhf":
        stage = row.strategy.removeprefix("zero")
        return f"{run} --set backend=openrlhf  # ZeRO-{stage} on {row.devices} devices"
    if row.strategy == "ddp":
        return f"accelerate launch --num_processes {row.devices} -m {run}"
    if row.strategy == "fsdp":
        return f"{run} --set hardware.workers={row.devices} --set hardware.sharding=fsdp"
    return run


def source_name(source: SourceSpec) -> str:
    """A source as the spec names it."""
    return source.id or source.path or "embedded pairs"


def _data(spec: Spec) -> Facts:
    train = ", ".join(source_name(source) for source in spec.data.train)
    own = spec.data.held_out.sources
    held_out = ", ".join(source_name(source) for source in own) if own else f"{spec.data.held_out.fraction:.0%} of them"
    return f"training pairs: {train}", f"held out: {held_out}"


def _contract(spec: Spec) -> Facts:
    listed = ", ".join(spec.data.fail_on) or "nothing"
    return (
        f"texts up to {spec.data.max_length:,} tokens; longer ones: {spec.data.over_length}",
        f"ends the run: {listed}",
    )


def _architecture(spec: Spec, shape: ModelShape) -> Facts:
    policy = spec.policy.id or (f"{spec.policy.parameters:,} parameters" if spec.policy.parameters else "not stated")
    return (
        f"base: {spec.base_model.id}, {shape.parameters:,} parameters ({shape.family})",
        f"policy: {policy}",
        f"adapter: {spec.adapter.kind}",
    )


def _training(spec: Spec, choice: Choice) -> Facts:
    training = spec.training
    return (
        f"one epoch, {training.pairs_per_step} pairs a step, learning rate {training.learning_rate:g}",
        f"backend {choice.row.backend}, {choice.row.strategy} on {choice.row.devices}",
        f"stall: {training.monitor.on_stall}; collapse: {training.monitor.on_collapse}",
    )


def _evaluation(spec: Spec) -> Facts:
    names = ", ".join(f"{benchmark.key} ({benchmark.data})" for benchmark in spec.evaluation.benchmarks)
    return (f"benchmarks: {names or 'none'}", "held-out pairs")


def _gates(spec: Spec) -> Facts:
    gates = spec.evaluation.gates
    above = ("every subset's interval above its baseline",) if gates.above_baseline else ()
    return (*above, *(f"{key}: {dict(subsets)}" for key, subsets in gates.minimum.items()))
