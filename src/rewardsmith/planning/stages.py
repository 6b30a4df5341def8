"""A plan in words: stages and what each will do here, commands, the brief, warnings, assumptions, advice on sizes.

    stages = planned_stages(spec, shape, choice)        the report's contracts of the stages, with this spec's facts
    text = write_brief(record, spec)                    Markdown: what someone who builds the reward model must be told
    for note in size_notes(base=600_000_000, policy=8_000_000_000, pairs=5_000): print(note.text, note.source)

The brief's sections are base, framework, hardware, data contract, constraints, evaluation, cost, components, what to
look at first, assumptions and commands. Every number is the record's own; every constraint is a rule of the spec.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from rewardsmith.modeling.shapes import ModelShape
from rewardsmith.planning.grader import Speed
from rewardsmith.planning.hardware import GIB, Machine
from rewardsmith.planning.time import Lengths
from rewardsmith.records.plan import BackendPlan, PlannedStage, PlanRecord, SourcedNote, TimePlan
from rewardsmith.report.sections.component_map import CONTRACTS
from rewardsmith.spec import Spec
from rewardsmith.spec.data import SourceSpec

Facts = tuple[str, ...]


def planned_stages(spec: Spec, shape: ModelShape, choice: BackendPlan) -> tuple[PlannedStage, ...]:
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


def launch_commands(spec: Spec, choice: BackendPlan, spec_file: str) -> tuple[str, ...]:
    """What to type, in order: the data contract first, on any machine, before an accelerator is rented."""
    return f"rewardsmith check {spec_file}", training_command(spec, choice, spec_file)


def training_command(spec: Spec, choice: BackendPlan, spec_file: str) -> str:
    """The command that runs the chosen way."""
    run = f"rewardsmith run {spec_file}"
    if choice.backend == "openrlhf":
        stage = choice.strategy.removeprefix("zero")
        return f"{run} --set backend=openrlhf  # ZeRO-{stage} on {choice.devices} devices"
    if choice.strategy == "ddp":
        return f"accelerate launch --num_processes {choice.devices} -m {run}"
    if choice.strategy == "fsdp":
        return f"{run} --set hardware.workers={choice.devices} --set hardware.sharding=fsdp"
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


def _training(spec: Spec, choice: BackendPlan) -> Facts:
    training = spec.training
    return (
        f"one epoch, {training.pairs_per_step} pairs a step, learning rate {training.learning_rate:g}",
        f"backend {choice.backend}, {choice.strategy} on {choice.devices}",
        f"stall: {training.monitor.on_stall}; collapse: {training.monitor.on_collapse}",
    )


def _evaluation(spec: Spec) -> Facts:
    names = ", ".join(f"{benchmark.key} ({benchmark.data})" for benchmark in spec.evaluation.benchmarks)
    return (f"benchmarks: {names or 'none'}", "held-out pairs")


def _gates(spec: Spec) -> Facts:
    gates = spec.evaluation.gates
    above = ("every subset's interval above its baseline",) if gates.above_baseline else ()
    return (*above, *(f"{key}: {dict(subsets)}" for key, subsets in gates.minimum.items()))


CONSTRAINTS = (
    "One epoch. Preferences are memorised in a second pass.",
    "Loss: -log sigmoid(r_chosen - r_rejected), mean over pairs; no margin term, whatever columns the data have.",
    "Rewards are raw: no sigmoid, no normalisation, mean and standard deviation recorded and never applied.",
    "The last token of every text is EOS and nothing follows it; the reward is read there. The pad token is not EOS.",
    "The saved chat template itself writes that ending, so that every framework sees the same tokens.",
    "The base is no larger than the policy. No code from model repositories runs; weights are safetensors.",
    (
        "Nothing is dropped, cut or filled in silently: each row that is left out has a written reason, each reward "
        "that could not be computed stays null and fails the gate."
    ),
    "Held-out and benchmark prompts are not in the training pairs, exactly or nearly.",
)


def write_brief(plan: PlanRecord, spec: Spec) -> str:
    """The brief as Markdown."""
    parts = [
        f"# Build a reward model: {plan.name}",
        "Train a reward model with the Bradley-Terry loss on preference pairs, as this brief and its spec say.",
        _section("Base", _base(plan)),
        _section("Framework", _framework(plan)),
        _section("Hardware", _hardware(plan)),
        _section("Data contract", _data_in_words(plan, spec)),
        _section("Constraints", CONSTRAINTS),
        _section("Evaluation", _evaluation_in_words(spec)),
        _section("Cost", _cost(plan)),
        "## Components\n\n" + _components(plan),
        _section("Look at first", plan.warnings or ("Nothing was found.",)),
        _section("Assumed, because nobody stated it", plan.assumptions),
        "## Commands\n\n```bash\n" + "\n".join(plan.launch) + "\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _section(title: str, lines: Sequence[str]) -> str:
    return f"## {title}\n\n" + "\n".join(f"- {_one_line(line)}" for line in lines)


def _one_line(text: str) -> str:
    """Names come from specs and files: none may begin a heading or a list of its own."""
    return " ".join(text.split())


def _base(plan: PlanRecord) -> tuple[str, ...]:
    model = plan.model
    policy = "not stated" if model.policy_parameters is None else f"{model.policy_parameters:,} parameters"
    return (
        (
            f"`{model.id}`, family {model.family}: {model.parameters:,} parameters with the reward head, "
            f"{model.trained:,} of them trained."
        ),
        f"Policy: {policy}{f', family {model.policy_family}' if model.policy_family else ''}.",
        f"Layout: {model.layout}{f', because {model.why_padded}' if model.why_padded else ''}.",
        *(f"{note.text} ({note.source})." for note in plan.sizing),
    )


def _framework(plan: PlanRecord) -> tuple[str, ...]:
    choice = plan.choice
    name = "TRL's RewardTrainer, through rewardsmith" if choice.backend == "trl" else "OpenRLHF's train_rm"
    return (
        f"{name}; {choice.strategy} on {choice.devices}; adapter: {choice.adapter}.",
        f"Why: {choice.reason}.",
    )


def _hardware(plan: PlanRecord) -> tuple[str, ...]:
    machine, choice = plan.machine, plan.choice
    fits = "It fits." if choice.fits else "It does not fit."
    return (
        (
            f"{machine.nodes} node(s) with {machine.devices_per_node} × {machine.name}, "
            f"{machine.memory / GIB:.1f} GiB each."
        ),
        f"Peak of a device: {choice.peak / GIB:.1f} GiB. {fits}",
        f"A forward pass holds {plan.tokens.micro_batch:,.0f} tokens.",
    )


def _data_in_words(plan: PlanRecord, spec: Spec) -> tuple[str, ...]:
    own = [source_name(source) for source in spec.data.held_out.sources]
    held_out = ", ".join(own) if own else f"{spec.data.held_out.fraction:.0%} of the training prompts"
    pairs = "not counted yet" if plan.tokens.pairs is None else f"{plan.tokens.pairs:,}"
    return (
        f"Training pairs: {', '.join(source_name(source) for source in spec.data.train)} ({pairs}).",
        f"Held out: {held_out}.",
        "A row: `prompt`, `chosen`, `rejected` as lists of messages, `id`, `source`, `subset`.",
        f"Texts up to {spec.data.max_length:,} tokens; longer ones: {spec.data.over_length}.",
        f"Findings that end the run: {', '.join(spec.data.fail_on) or 'none'}.",
        "`rewardsmith check` must pass for these very data before training starts.",
    )


def _evaluation_in_words(spec: Spec) -> tuple[str, ...]:
    gates = spec.evaluation.gates
    names = [f"{benchmark.key} on `{benchmark.data}`" for benchmark in spec.evaluation.benchmarks]
    minimum = [
        f"{key}: {subset} at least {least:g}" for key, of in gates.minimum.items() for subset, least in of.items()
    ]
    return (
        f"Benchmarks: {', '.join(names) or 'none'}; the held-out pairs as well.",
        "Every score with its interval, a random baseline and a length-only baseline beside it.",
        *(("Gate: every subset's interval lies above its baseline.",) if gates.above_baseline else ()),
        *(f"Gate: {line}." for line in minimum),
        "Gate: no reward is missing.",
    )


def _cost(plan: PlanRecord) -> tuple[str, ...]:
    time = plan.time
    money = "" if time.cost is None else f", ${time.cost:,.2f}"
    dedicated = plan.scoring[0]
    asked = "" if dedicated.per_million is None else f", ${dedicated.per_million:,.2f} a million"
    return (
        f"{time.pairs:,} pairs: {time.seconds / 3600:.2f} hours{money} at {time.utilisation:.0%} of the peak.",
        f"A reward: {dedicated.seconds * 1000:.0f} ms ({dedicated.source}){asked}.",
        f"Grader: {plan.advice.kind}. {plan.advice.reason}.",
    )


def _components(plan: PlanRecord) -> str:
    head = "| stage | receives | returns | must not | on failure | here |\n| --- | --- | --- | --- | --- | --- |\n"
    rows = [
        (stage.title, stage.receives, stage.returns, stage.must_not, stage.fails, "; ".join(stage.here))
        for stage in plan.stages
    ]
    return head + "\n".join(f"| {' | '.join(_one_line(cell).replace('|', '/') for cell in row)} |" for row in rows)


LEAST_STEPS = 20
"""Steps below which the margin monitor gives no verdict."""


def warnings_of(spec: Spec, shape: ModelShape, lengths: Lengths, choice: BackendPlan) -> tuple[str, ...]:
    """What may be wrong with this spec, each with its fix."""
    found = (
        None if choice.fits else choice.reason,
        _policy(spec),
        _positions(spec, shape),
        _low_weights(spec, choice),
        _host_memory(spec, shape, choice),
        _few_steps(spec, lengths),
    )
    return tuple(warning for warning in found if warning)


def assumptions_of(
    machine: Machine, lengths: Lengths, stale: str | None, time: TimePlan, measured: Speed | None
) -> tuple[str, ...]:
    """What the numbers rest on that neither the spec nor the data said.

    Args:
        stale: a note where the lengths are of other data than the spec names.
    """
    found = [*machine.assumptions, f"lengths: {lengths.source}"]
    if stale:
        found.append(stale)
    if lengths.pairs is None:
        found.append(f"the number of pairs is not known: times are for {time.pairs:,} (--pairs, or run check first)")
    found.append(f"{time.utilisation:.0%} of a device's peak of {machine.flops / 1e12:.3g} TFLOP/s is reached")
    if machine.price is not None:
        found.append(f"a device costs ${machine.price:g} an hour (--price)")
    if measured is None:
        found.append("scoring latency is estimated for one device; no trained checkpoint was measured")
    return tuple(found)


def _policy(spec: Spec) -> str | None:
    if spec.policy.id is not None or spec.policy.family is not None:
        return None
    return (
        "the policy's family is not known, so that its lineage cannot be compared with the base's: RewardBench 2 found "
        "that a base of another lineage costs in PPO; write policy.id, or policy.parameters and policy.family"
    )


def _positions(spec: Spec, shape: ModelShape) -> str | None:
    if shape.positions is None or spec.data.max_length <= shape.positions:
        return None
    return (
        f"data.max_length is {spec.data.max_length} and the base was made for {shape.positions} positions; lower it, "
        "or expect rewards of long texts to mean little"
    )


def _low_weights(spec: Spec, choice: BackendPlan) -> str | None:
    if spec.base_model.dtype != "bfloat16" or spec.adapter.kind != "none" or choice.backend != "trl":
        return None
    return (
        "all weights are trained in bfloat16: steps smaller than 1/256 of a weight are rounded away; write "
        "base_model.dtype: float32 with hardware.precision: bfloat16, or train an adapter"
    )


def _host_memory(spec: Spec, shape: ModelShape, choice: BackendPlan) -> str | None:
    if choice.devices == 1 or choice.backend != "trl":
        return None
    held = choice.devices * shape.parameters * (2 if spec.base_model.dtype == "bfloat16" else 4)
    return f"each of the {choice.devices} processes loads the base into host memory first: {held / GIB:.0f} GiB"


def _few_steps(spec: Spec, lengths: Lengths) -> str | None:
    if lengths.pairs is None:
        return None
    steps = -(-lengths.pairs // spec.training.pairs_per_step)
    if steps >= LEAST_STEPS:
        return None
    return f"{lengths.pairs:,} pairs make {steps} steps, too few for the margin monitor; lower training.pairs_per_step"


LEAST_PAIRS = 2000
"""Comparisons below which the reward models of Gao et al. were hardly better than chance (2210.10760, §3.3)."""

SMALL_BASE = 0.02
"""A base below this share of its policy is pointed out: InstructGPT's was 6B of 175B, 0.034 (2203.02155, §3.5)."""

SERVING_SHARE = 0.5
"""A base above this share of its policy costs as much to ask as a large part of the policy's own forward pass."""


def size_notes(*, base: int, policy: int | None, pairs: int | None) -> tuple[SourcedNote, ...]:
    """What is known about how large a reward model should be and how many pairs it wants, each with its source.

    Published laws give directions and thresholds, not the accuracy of your model on your data: their constants belong
    to their own data. What they leave open, `run --learning-curve` measures.
    """
    notes = [
        _note(
            "A larger reward model can be optimised against longer before its true quality falls: the coefficients of "
            "that law move smoothly with the logarithm of its parameters. Each doubling buys a constant step, at twice "
            "the price of every reward",
            "Gao et al. 2022, arXiv 2210.10760, §3.2",
        )
    ]
    notes += _pairs_notes(pairs)
    notes += _policy_notes(base, policy)
    return tuple(notes)


def _note(text: str, source: str) -> SourcedNote:
    return SourcedNote(text=text, source=source)


def _pairs_notes(pairs: int | None) -> list[SourcedNote]:
    source = "Gao et al. 2022, arXiv 2210.10760, §3.3"
    if pairs is None:
        text = f"The number of pairs is not known yet; below about {LEAST_PAIRS:,} expect little more than chance"
        return [_note(text, source)]
    if pairs < LEAST_PAIRS:
        text = (
            f"{pairs:,} pairs are few: below about {LEAST_PAIRS:,} comparisons reward models of all sizes were hardly "
            "better than chance. More pairs help more than a larger base here"
        )
        return [_note(text, source)]
    doublings = math.log2(pairs / LEAST_PAIRS)
    text = (
        f"{pairs:,} pairs are {doublings:.1f} doublings above {LEAST_PAIRS:,}, where models of all sizes begin to "
        "learn. Accuracy on preferences grows about linearly with the logarithm of the pairs and of the parameters; "
        "`rewardsmith run SPEC --learning-curve 0.25,0.5,1` measures the slope of yours"
    )
    return [_note(text, "Bai et al. 2022, arXiv 2204.05862, §3.1; Gao et al. 2022, §3.3")]


def _policy_notes(base: int, policy: int | None) -> list[SourcedNote]:
    if policy is None:
        return [
            _note(
                "The policy is not stated: state policy.id or policy.parameters. A base of the policy's own family is "
                "the safest first choice",
                "RewardBench 2, arXiv 2506.01937",
            )
        ]
    share = base / policy
    if share < SMALL_BASE:
        return [
            _note(
                f"The base is {share:.1%} of its policy. Gao et al. found that larger policies gain less from a fixed "
                "reward model and do not over-optimise it more; InstructGPT took 6B for 175B (3.4%)",
                "Gao et al. 2022, §3.4; Ouyang et al. 2022, arXiv 2203.02155, §3.5",
            )
        ]
    if share > SERVING_SHARE:
        return [
            _note(
                f"The base is {share:.0%} of its policy: each reward costs about as much as the policy's own forward "
                "pass over the same text. That is a small part of a rollout, which writes token by token; where "
                "rewards are the bottleneck, a base of a tenth is usual",
                "operations as in Kaplan et al. 2020, arXiv 2001.08361",
            )
        ]
    usual = f"The base is {share:.0%} of its policy, within what is usual"
    return [_note(usual, "Ouyang et al. 2022, §3.5")]
