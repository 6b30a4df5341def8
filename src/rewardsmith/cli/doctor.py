"""`rewardsmith doctor`: what of the stack, of scripts and of checkpoints does not work any more, and the fix."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.syntax import Syntax
from rich.text import Text

from rewardsmith.cli.options import AsJson, print_record
from rewardsmith.cli.terminal import Table, errors, terminal

if TYPE_CHECKING:
    from rewardsmith.pipeline.commands.doctor import Examination
    from rewardsmith.records.doctor import DoctorFinding, DoctorRecord

_COLOURS = {"error": "bold red", "warning": "yellow", "note": "cyan"}


def doctor(
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="[PATH]…", help="Scripts, folders, checkpoints; none: versions only.")
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(metavar="PACKAGE==VERSION", help="Judge by this version instead of the installed one."),
    ] = None,
    python: Annotated[
        str | None,
        typer.Option(metavar="INTERPRETER", help="Look at another environment, as OpenRLHF's, by its interpreter."),
    ] = None,
    fix: Annotated[bool, typer.Option("--fix", help="Rewrite what is mechanical; shows a diff and asks.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --fix: write without asking.")] = False,
    as_json: AsJson = False,
) -> None:
    """Versions that do not go together, upstream names that moved, faults of checkpoints; ends with 1 on an error."""
    from rewardsmith.pipeline.commands.doctor import doctor_job

    examination = doctor_job(paths or [], against=against or (), python=python)
    if not as_json:
        print_examination(terminal(), examination.record)
    if fix and _fixed(examination, yes=yes, quiet=as_json):
        examination = doctor_job(paths or [], against=against or (), python=python)
        if not as_json:
            terminal().print(f"left: {_counts(examination.record)}", highlight=False)
    if as_json:
        print_record(examination.record)
    raise typer.Exit(1 if examination.record.failed else 0)


def _fixed(examination: Examination, *, yes: bool, quiet: bool) -> bool:
    """Show what would change, ask, write; whether anything was written."""
    changed = list(examination.fixes())
    console = errors() if quiet else terminal()
    for one in changed:
        shown = Syntax(one.diff, "diff", background_color="default") if console.is_terminal else Text(one.diff)
        console.print(shown, soft_wrap=True)
    if not changed:
        console.print("nothing here can be rewritten mechanically")
        return False
    if not yes and not sys.stdin.isatty():
        console.print("nothing is written: run it with --fix --yes")
        return False
    if not yes and not typer.confirm(f"Write {len(changed)} files?", err=quiet):
        return False
    for one in changed:
        one.write()
    console.print(f"written: {len(changed)} files", highlight=False)
    return True


def print_examination(console: Console, record: DoctorRecord) -> None:
    """Versions, then every finding with place, reason and fix, then what was not read, then the count."""
    title = f"Python {record.python_version}, {record.python}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in ("package", "installed", "applied by"):
        table.add_column(column)
    versions = {package.name: package.version for package in record.installed}
    for name in {**versions, **record.against}:
        applied = record.against.get(name, "")
        if name in record.assumed:
            applied += ", the newest known"
        elif applied == versions.get(name):
            applied = ""
        if name in versions or (applied and record.files):
            table.add_row(name, versions.get(name, "no"), applied)
    console.print(table)
    for finding in record.findings:
        _print_finding(console, finding)
    for one in record.unreadable:
        console.print(f"not read: {one.file}: {one.why}", markup=False, highlight=False, soft_wrap=True)
    console.print(_counts(record), highlight=False)


def _print_finding(console: Console, finding: DoctorFinding) -> None:
    place = finding.file
    if finding.cell is not None:
        place += f", cell {finding.cell}"
    if finding.line is not None:
        place += f", line {finding.line}" if finding.cell is not None else f":{finding.line}"
    head = Text(finding.severity, _COLOURS[finding.severity])
    head.append(f"  {place}  " if place else "  ", "default").append(finding.found, "bold default")
    console.print(head, highlight=False, soft_wrap=True)
    since = f" (since {finding.package} {finding.since})" if finding.since else ""
    lines = [f"{finding.problem}{since}"]
    if finding.replacement:
        lines.append(f"now: {finding.replacement}")
    lines.append(f"try: {finding.fix}{' [--fix]' if finding.fixable else ''}")
    lines.append(f"source: {finding.source}, rule {finding.rule}" if finding.source else f"rule: {finding.rule}")
    for line in lines:
        console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)


def _counts(record: DoctorRecord) -> str:
    grave = [finding.severity for finding in record.findings]
    counted = ", ".join(f"{grave.count(kind)} {kind}s" for kind in ("error", "warning", "note") if kind in grave)
    looked = f"{record.files} files" + (f", {len(record.checkpoints)} checkpoints" if record.checkpoints else "")
    return f"{counted or 'nothing found'} ({looked})"
