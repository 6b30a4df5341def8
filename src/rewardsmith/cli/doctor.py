"""`rewardsmith doctor`: what of the stack, of scripts and of checkpoints does not work any more, and the fix."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.syntax import Syntax
from rich.text import Text

from rewardsmith.cli.options import AsJson, lay_out, print_record
from rewardsmith.cli.terminal import errors, say, terminal

if TYPE_CHECKING:
    from rewardsmith.pipeline.commands.doctor import Examination


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
    from rewardsmith.report.sections.answers import doctor_counts, doctor_section

    examination = doctor_job(paths or [], against=against or (), python=python)
    if not as_json:
        lay_out(doctor_section(examination.record))
    if fix and _fixed(examination, yes=yes, quiet=as_json):
        examination = doctor_job(paths or [], against=against or (), python=python)
        if not as_json:
            say(f"left: {doctor_counts(examination.record)}")
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
