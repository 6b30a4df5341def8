"""What `--help` says of a command is true."""

from __future__ import annotations

import re

import typer

from rewardsmith.cli.app import app
from rewardsmith.evaluation import BENCHMARKS


def test_the_help_of_evaluate_names_every_benchmark() -> None:
    (option,) = (one for one in typer.main.get_command(app).commands["evaluate"].params if one.name == "benchmark")
    assert re.split(r", | or ", option.help.rstrip(".")) == list(BENCHMARKS)
