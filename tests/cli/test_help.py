"""What `--help` says of a command is true."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
import typer

from rewardsmith.benchmarks import BENCHMARKS
from rewardsmith.cli.app import application


def test_the_help_of_evaluate_names_every_benchmark() -> None:
    (option,) = (
        one for one in typer.main.get_command(application()).commands["evaluate"].params if one.name == "benchmark"
    )
    assert re.split(r", | or ", option.help.rstrip(".")) == list(BENCHMARKS)


@pytest.mark.parametrize(
    ("typed", "place", "offered"),
    [("rewardsmith ro", 1, ["route"]), ("rewardsmith run spec.yaml --dr", 3, ["--dry-run"])],
)
def test_the_shell_completes_commands_and_options(typed: str, place: int, offered: list[str]) -> None:
    asked = {"_REWARDSMITH_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(place)}
    code = "import sys; sys.argv = ['rewardsmith']; from rewardsmith.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **asked}, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == offered
