"""What `rewardsmith doctor` found: versions, old names in files, faults of checkpoints."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rewardsmith.records.files import Record


class InstalledPackage(Record):
    """A package of the stack in the environment that was looked at."""

    name: str
    version: str


class DoctorFinding(Record):
    """One thing that is wrong.

    `file` is empty for versions. `cell` counts the cells of a notebook from 1, and `line` is then a line of the cell.
    `since` is the first version of `package` that breaks, `against` the version that was judged. `replacement` is empty
    where there is none; `fixable` says that `--fix` writes it.
    """

    rule: str
    severity: Literal["error", "warning", "note"]
    found: str
    problem: str
    fix: str
    source: str = ""
    package: str = ""
    since: str = ""
    against: str = ""
    file: str = ""
    cell: int | None = None
    line: int | None = None
    replacement: str = ""
    fixable: bool = False


class UnreadableFile(Record):
    """A file that was not judged, and why."""

    file: str
    why: str


class DoctorRecord(Record):
    """What was looked at and found; `assumed` names packages that are not installed: the newest known was judged."""

    schema_version: Literal[1] = Field(1, alias="schema")
    python: str
    python_version: str
    installed: tuple[InstalledPackage, ...]
    against: dict[str, str]
    assumed: tuple[str, ...]
    files: int
    checkpoints: tuple[str, ...]
    findings: tuple[DoctorFinding, ...]
    unreadable: tuple[UnreadableFile, ...]

    @property
    def failed(self) -> bool:
        """Whether anything has the severity of an error."""
        return any(finding.severity == "error" for finding in self.findings)
