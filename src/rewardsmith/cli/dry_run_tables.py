"""What a run would do, on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from rewardsmith.cli.terminal import Table
from rewardsmith.records.run import DryRunRecord
from rewardsmith.report.formatting import parameters, visible

_COLOURS = {"would run": "cyan", "would continue": "yellow", "unchanged": "green"}


def print_dry_run(console: Console, record: DryRunRecord) -> None:
    """What was opened, and each stage with what a run would do."""
    policy = parameters(record.policy_parameters)
    lines = [
        f"run      {record.run}" + (" (what is there would be deleted)" if record.deletes else ""),
        f"base     {visible(record.base, 80)}, {parameters(record.base_parameters)} parameters; policy {policy}",
        f"trains   backend {record.backend}, device {record.device}",
        f"pairs    {record.rows:,} rows looked at: " + ("; ".join(record.findings) or "nothing to fix"),
        *(f"asks     {key}, {rows:,} rows" for key, rows in record.benchmarks.items()),
        f"flight   {record.flight}",
        *(f"warning: {warning}" for warning in record.warnings),
    ]
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for name in ("stage", "state", "files"):
        table.add_column(name, overflow="fold")
    for stage in record.stages:
        table.add_row(stage.name, Text(stage.state, style=_COLOURS[stage.state]), ", ".join(stage.files))
    console.print(table)
    console.print("Nothing was written.", highlight=False)
