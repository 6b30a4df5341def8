"""What the report of a run may show, and which trackers are told its numbers."""

from __future__ import annotations

from typing import Any, Literal

from rewardsmith.spec.section import Section


class ReportSpec(Section):
    """The report of a run: `report.html` and `summary.md`."""

    texts: bool = True
    """Whether prompts and responses stand in the report. `false` leaves all out, quotes too; ids and numbers stay."""


TrackerName = Literal["tensorboard", "trackio", "wandb", "mlflow"]


def one_or_several(value: Any) -> Any:
    """A single name stands for a list of one, as `--set report_to=wandb` gives it."""
    return (value,) if isinstance(value, str) else value
