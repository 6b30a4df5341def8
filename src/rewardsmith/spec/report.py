"""What the report of a run may show."""

from __future__ import annotations

from rewardsmith.spec.section import Section


class ReportSpec(Section):
    """The report of a run: `report.html` and `summary.md`."""

    texts: bool = True
    """Whether prompts and responses of data and benchmarks stand in the report. `false` leaves them all out, those
    that findings and probes quote as well; ids and numbers stay."""
