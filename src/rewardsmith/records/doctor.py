"""What `rewardsmith doctor` found: versions, old names in files, faults of checkpoints."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rewardsmith.records.files import Record


class InstalledPackage(Record):
    """A package of the stack in the environment that was looked at."""

    name: str
    """As on the package index."""
    version: str
    """That is installed."""


class DoctorFinding(Record):
    """One thing that is wrong."""

    rule: str
    """Id, as docs/doctor.md lists it."""
    severity: Literal["error", "warning", "note"]
    """An error makes the command exit with 1."""
    found: str
    """The old name, or package and version."""
    problem: str
    """What is wrong with it."""
    fix: str
    """What to write or install."""
    source: str = ""
    """Where upstream says so; empty where this is our own finding."""
    package: str = ""
    """That the rule is about; empty for combinations and checkpoints."""
    since: str = ""
    """First version of `package` that breaks; empty where no version is meant."""
    against: str = ""
    """Version that the text was checked against; empty where no version is meant."""
    file: str = ""
    """Path; empty for versions."""
    cell: int | None = None
    """Of a notebook, counted from 1; null for other files. `line` is then a line of the cell."""
    line: int | None = None
    """Counted from 1; null where no line is meant."""
    replacement: str = ""
    """The new name; empty where there is none."""
    fixable: bool = False
    """Whether `--fix` writes it."""


class UnreadableFile(Record):
    """A file that was not checked, and why."""

    file: str
    """Path."""
    why: str
    """It could not be read."""


class DoctorRecord(Record):
    """What was looked at and found."""

    schema_version: Literal[1] = Field(1, alias="schema")
    """Version of this format: it counts breaking changes."""
    python: str
    """Path of the interpreter whose packages were looked at."""
    python_version: str
    """Of that interpreter."""
    installed: tuple[InstalledPackage, ...]
    """Packages of the stack that are installed there."""
    against: dict[str, str]
    """Package → version that files were checked against."""
    assumed: tuple[str, ...]
    """Packages that are not installed: files were checked against the newest known version."""
    files: int
    """That were scanned."""
    checkpoints: tuple[str, ...]
    """Folders of checkpoints that were checked."""
    findings: tuple[DoctorFinding, ...]
    """In the order of files and lines; versions first."""
    unreadable: tuple[UnreadableFile, ...]
    """Files that were not checked."""

    @property
    def failed(self) -> bool:
        """Whether anything has the severity of an error."""
        return any(finding.severity == "error" for finding in self.findings)
