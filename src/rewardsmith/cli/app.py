"""The commands. Heavy imports happen inside them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

import rewardsmith
from rewardsmith.cli.attack import attack
from rewardsmith.cli.check import check
from rewardsmith.cli.compare import compare
from rewardsmith.cli.doctor import doctor
from rewardsmith.cli.explain import explain
from rewardsmith.cli.export import average, export, push
from rewardsmith.cli.init import init
from rewardsmith.cli.judge import judge
from rewardsmith.cli.ls import ls, open_command, report
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
from rewardsmith.cli.plan import plan
from rewardsmith.cli.probe import probe
from rewardsmith.cli.route import route
from rewardsmith.cli.run import run_command
from rewardsmith.cli.score import score
from rewardsmith.cli.serve import serve
from rewardsmith.cli.terminal import ended, say
from rewardsmith.cli.verify import verify
from rewardsmith.cli.watch import watch

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


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rewardsmith {rewardsmith.__version__}")
        raise typer.Exit


@app.callback()
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
        from rewardsmith.evaluation import diagnose_run
        from rewardsmith.report.sections.analyses import result_sections
        from rewardsmith.report.sections.diagnosis import diagnosis_section

        results = {benchmark: result}
        kind = diagnosis_section(diagnose_run(results), results)
        lay_out(*result_sections(results, all_subsets=all_subsets), kind)
        say(f"results: {out / 'results.json'}")
    if gated is not None:
        from rewardsmith.pipeline.commands.look import gate_evaluation

        verdict = gate_evaluation(gated, benchmark, data, result, out)
        if not as_json:
            from rewardsmith.report.sections.verdict import gates_section

            lay_out(gates_section(verdict))
        raise typer.Exit(0 if verdict.passed else 1)
    raise typer.Exit(1 if result.missing_rewards else 0)


# In order of use, as in README: this is the order of `--help`.
app.command(rich_help_panel="Train")(init)
app.command(rich_help_panel="Train")(check)
app.command(rich_help_panel="Train")(plan)
app.command(name="run", rich_help_panel="Train")(run_command)
app.command(rich_help_panel="Train")(train)
app.command(rich_help_panel="Evaluate")(evaluate)
app.command(rich_help_panel="Evaluate")(compare)
app.command(rich_help_panel="Evaluate")(probe)
app.command(rich_help_panel="Evaluate")(attack)
app.command(rich_help_panel="Evaluate")(watch)
app.command(rich_help_panel="Evaluate")(explain)
app.command(rich_help_panel="Evaluate")(verify)
app.command(rich_help_panel="Evaluate")(judge)
app.command(rich_help_panel="Evaluate")(doctor)
app.command(rich_help_panel="Serve")(serve)
app.command(rich_help_panel="Serve")(score)
app.add_typer(route, name="route", rich_help_panel="Serve")
app.command(rich_help_panel="Serve")(export)
app.command(rich_help_panel="Serve")(average)
app.command(rich_help_panel="Serve")(push)
app.command(name="open", rich_help_panel="Look")(open_command)
app.command(rich_help_panel="Look")(ls)
app.command(rich_help_panel="Look")(report)


def main() -> None:
    """Entry point: whatever happens is one message and an exit code (`ending.py`)."""
    sys.exit(ended(lambda: app(standalone_mode=False)))


if __name__ == "__main__":
    main()
