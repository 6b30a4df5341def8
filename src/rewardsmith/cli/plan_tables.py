"""A plan on a terminal: sizes, memory by way of training, the choice, time, graders, advice, warnings, the command."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from rewardsmith.cli.terminal import Table
from rewardsmith.records.plan import PlanRecord
from rewardsmith.report.formatting import duration, parameters, visible

GIB = 2**30


def print_plan(console: Console, plan: PlanRecord) -> None:
    """The answer first: what trains, and whether it fits; then what it rests on."""
    verdict = Text("fits", "bold green") if plan.choice.fits else Text("does not fit", "bold red")
    console.print(Text(f"{plan.choice.backend}, {plan.choice.strategy}: ") + verdict, highlight=False)
    _say(console, plan.choice.reason)
    for command in plan.launch:
        _say(console, f"  {command}")
    console.print(_sizes(plan))
    console.print(_memory(plan))
    _say(console, _time(plan))
    console.print(_graders(plan))
    _say(console, f"advice: {plan.advice.kind}. {plan.advice.reason}")
    for stage in plan.stages:
        _say(console, f"{stage.title}: {'; '.join(stage.here)}")
        _say(console, f"  receives: {stage.receives} returns: {stage.returns}")
        _say(console, f"  must not: {stage.must_not} on failure: {stage.fails}")
    for note in plan.sizing:
        _say(console, f"size: {note.text} ({note.source})")
    for warning in plan.warnings:
        console.print(Text("warning: ", "yellow") + Text(visible(warning, 600)), highlight=False, soft_wrap=True)
    for assumption in plan.assumptions:
        _say(console, f"assumed: {assumption}")


def gib(value: float) -> str:
    """Bytes in GiB."""
    return f"{value / GIB:.2f}"


def _say(console: Console, text: str) -> None:
    console.print(Text(visible(text, 600)), highlight=False, soft_wrap=True)


def _sizes(plan: PlanRecord) -> Table:
    model, machine, tokens = plan.model, plan.machine, plan.tokens
    table = Table(box=None, pad_edge=False, show_header=False)
    policy = "not stated" if model.policy_parameters is None else f"{parameters(model.policy_parameters)} parameters"
    rows = {
        "base": f"{visible(model.id, 60)}: {parameters(model.parameters)} parameters",
        "trained": parameters(model.trained),
        "policy": f"{policy}{f' ({model.policy_family})' if model.policy_family else ''}",
        "machine": f"{machine.nodes} × {machine.devices_per_node} × {machine.name}, {gib(machine.memory)} GiB each",
        "pair": f"{tokens.of_pair:,.0f} tokens as {model.layout}"
        + (f" ({model.why_padded})" if model.why_padded else ""),
        "pass": f"{tokens.micro_batch:,.0f} tokens; {tokens.passes_per_step} a device and step"
        + (f"; attention: {model.kernel}" if model.kernel else ""),
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _memory(plan: PlanRecord) -> Table:
    table = Table(title="GiB of a device", title_justify="left", box=None, pad_edge=False)
    for name in ("backend", "strategy", "adapter"):
        table.add_column(name)
    for name in ("devices", "weights", "gradients", "optimizer", "activations", "buffers", "peak"):
        table.add_column(name, justify="right")
    table.add_column("peak at")
    table.add_column("fits")
    for row in plan.memory:
        parts = (row.weights, row.gradients, row.optimizer, row.activations, row.buffers, row.peak)
        fits = Text("yes", "green") if row.fits else Text("no", "red")
        table.add_row(
            row.backend, row.strategy, row.adapter, str(row.devices), *(gib(part) for part in parts), row.phase, fits
        )
    return table


def _time(plan: PlanRecord) -> str:
    time = plan.time
    said = f"{time.pairs:,} pairs: {duration(time.seconds)} ({time.operations:.2g} operations"
    if time.network_seconds:
        said += f"; network {duration(time.network_seconds)}, {time.network_bytes:.2g} bytes a device"
    return f"{said}){'' if time.cost is None else f', ${time.cost:,.2f}'}"


def _graders(plan: PlanRecord) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("grader")
    for name in ("one reward, ms", "a second", "$ a million"):
        table.add_column(name, justify="right")
    table.add_column("within budget")
    table.add_column("from")
    for row in plan.scoring:
        rate = "" if row.per_second is None else f"{row.per_second:,.1f}"
        price = "" if row.per_million is None else f"{row.per_million:,.2f}"
        within = "yes" if row.within_budget else "no"
        table.add_row(row.kind, f"{row.seconds * 1000:,.0f}", rate, price, within, visible(row.source, 80))
    return table
