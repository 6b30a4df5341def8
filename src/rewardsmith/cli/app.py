"""The commands. Heavy imports happen inside them."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

import rewardsmith
from rewardsmith.cli.options import (
    AllSubsets,
    AsJson,
    BenchmarkData,
    BenchmarkName,
    ModelFolder,
    NoCache,
    Overrides,
    SpecOfRun,
    SpecPath,
    lay_out,
    live,
    load,
    print_record,
)
from rewardsmith.cli.terminal import ended, say

if TYPE_CHECKING:
    from rewardsmith.records.evaluation import BenchmarkResult


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rewardsmith {rewardsmith.__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del version


def train(spec: SpecPath, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Train for one epoch; needs a passed check. A killed run continues."""
    loaded = load(spec, overrides)
    with live() as events:
        from rewardsmith.pipeline import train_job

        done = train_job(loaded, events)
    if done is None:
        return
    if as_json:
        print_record(done[0])
    else:
        from rewardsmith.report.sections.training import training_section

        lay_out(training_section(done[0], ()))
        say(f"checkpoint: {done[1]}")


def evaluate(
    benchmark: BenchmarkName,
    data: BenchmarkData,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where results.json and rows.jsonl go.", show_default=False)],
    spec: SpecOfRun = None,
    model: ModelFolder = None,
    rewards: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Rewards computed elsewhere: rows.jsonl, or what a benchmark's own script saved."
        ),
    ] = None,
    protocol: Annotated[
        Literal["checkpoint", "upstream"] | None,
        typer.Option(help="How text becomes tokens: as in training, or as RewardBench 2's own script does."),
    ] = None,
    missing: Annotated[
        Literal["protocol", "upstream"],
        typer.Option(help="What a missing reward counts: as our protocol says, or as the benchmark's own code has it."),
    ] = "protocol",
    gates: Annotated[
        Path | None,
        typer.Option(
            metavar="SPEC",
            help="Apply this spec's gates to the result: gates.json, summary.md; exit code 1 if one fails.",
        ),
    ] = None,
    no_cache: NoCache = False,
    overrides: Overrides = None,
    all_subsets: AllSubsets = False,
    as_json: AsJson = False,
) -> None:
    """Score a checkpoint, or rewards computed elsewhere, on one benchmark.

    Ends with 1 where rewards are missing: the scores are written, and missing data never passes.
    """
    loaded = load(spec, overrides) if spec else None
    gated = load(gates, overrides) if gates else None
    with live() as events:
        from rewardsmith.pipeline import evaluate_job

        result = evaluate_job(
            loaded,
            benchmark,
            data,
            out,
            events,
            model=model,
            rewards=rewards,
            cache=not no_cache,
            protocol=protocol,
            missing=missing,
        )
    if as_json:
        print_record(result)
    else:
        _lay_out_result(benchmark, result, all_subsets)
        say(f"results: {out / 'results.json'}")
    if gated is not None:
        from rewardsmith.pipeline.job import gate_evaluation

        verdict = gate_evaluation(gated, benchmark, data, result, out)
        if not as_json:
            from rewardsmith.report.sections.verdict import gates_section

            lay_out(gates_section(verdict))
        raise typer.Exit(0 if verdict.passed else 1)
    raise typer.Exit(1 if result.missing_rewards else 0)


def _lay_out_result(benchmark: str, result: BenchmarkResult, all_subsets: bool) -> None:
    """Scores and analyses, then what kind of model they show."""
    from rewardsmith.evaluation import diagnose_run
    from rewardsmith.report.sections.analyses import result_sections
    from rewardsmith.report.sections.diagnosis import diagnosis_section

    results = {benchmark: result}
    kind = diagnosis_section(diagnose_run(results), results)
    lay_out(*result_sections(results, all_subsets=all_subsets), kind)


_COMMANDS: dict[str, tuple[str, str]] = {  # in order of use, as in README: this is the order of `--help`
    "init": ("Train", "init:init"),
    "check": ("Train", "check:check"),
    "plan": ("Train", "plan:plan"),
    "run": ("Train", "run:run_command"),
    "train": ("Train", "app:train"),
    "evaluate": ("Evaluate", "app:evaluate"),
    "compare": ("Evaluate", "compare:compare"),
    "probe": ("Evaluate", "probe:probe"),
    "attack": ("Evaluate", "attack:attack"),
    "watch": ("Evaluate", "watch:watch"),
    "explain": ("Evaluate", "explain:explain"),
    "verify": ("Evaluate", "verify:verify"),
    "judge": ("Evaluate", "judge:judge"),
    "doctor": ("Evaluate", "doctor:doctor"),
    "serve": ("Serve", "serve:serve"),
    "score": ("Serve", "score:score"),
    "route": ("Serve", "route:route"),
    "export": ("Serve", "export:export"),
    "average": ("Serve", "export:average"),
    "push": ("Serve", "export:push"),
    "open": ("Look", "ls:open_command"),
    "ls": ("Look", "ls:ls"),
    "report": ("Look", "ls:report"),
}


def application(only: str | None = None) -> typer.Typer:
    """The command line.

    Args:
        only: a command; the modules of the others are not imported. All of them where it is none of ours: help,
            completion and the list under a misspelt name show them.
    """
    app = typer.Typer(
        name="rewardsmith",
        help="Preference pairs in, a reward model you can trust out.",
        no_args_is_help=True,
        add_completion=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog="Exit codes: 0 done and every gate passes; 1 a negative verdict; 2 input cannot be used; "
        "70 a fault of the program; 130 interrupted.",
    )
    app.callback()(_root)
    for name in (only,) if only in _COMMANDS else _COMMANDS:
        panel, address = _COMMANDS[name]
        module, _, function = address.partition(":")
        command = getattr(import_module(f"rewardsmith.cli.{module}"), function)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name, rich_help_panel=panel)
        else:
            app.command(name=name, rich_help_panel=panel)(command)
    return app


def main() -> None:
    """Entry point: whatever happens is one message and an exit code (`terminal.py`)."""
    # The word right behind the program is the command: the root has no option that takes a value.
    asked = sys.argv[1] if len(sys.argv) > 1 else None
    sys.exit(ended(lambda: application(asked)(standalone_mode=False)))


if __name__ == "__main__":
    main()
