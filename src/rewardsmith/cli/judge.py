"""`rewardsmith judge`: a language model as a judge, evaluated on a benchmark."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rewardsmith.cli.options import AllSubsets, AsJson, BenchmarkData, BenchmarkName, Overrides, lay_out, live, load
from rewardsmith.cli.terminal import one_line, say, say_json

if TYPE_CHECKING:
    from rewardsmith.pipeline.commands.judge import JudgeOutcome
    from rewardsmith.spec import Spec

SpecOfJudge = Annotated[Path | None, typer.Argument(metavar="SPEC", help="Take the judge of this spec.")]


def judge(
    benchmark: BenchmarkName,
    data: BenchmarkData,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where calls, records and report go.", show_default=False)],
    spec: SpecOfJudge = None,
    endpoint: Annotated[
        str | None, typer.Option(metavar="URL", help="An OpenAI-compatible endpoint, as http://127.0.0.1:8000/v1.")
    ] = None,
    model: Annotated[str | None, typer.Option(metavar="NAME", help="What the endpoint calls the model.")] = None,
    key_variable: Annotated[
        str | None, typer.Option(metavar="NAME", help="Environment variable that holds the endpoint's key.")
    ] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Most calls at a time.")] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Replies for each question and order.")] = None,
    output: Annotated[
        Literal["auto", "json_schema", "text"] | None, typer.Option(help="How replies are structured.")
    ] = None,
    verdict: Annotated[
        Literal["reply", "logprobs"] | None, typer.Option(help="Read from replies, or from token probabilities.")
    ] = None,
    max_calls: Annotated[int | None, typer.Option(min=0, help="Budget: calls.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=0, help="Budget: tokens, sent and written.")] = None,
    max_cost: Annotated[float | None, typer.Option(min=0, help="Budget: money, by the two prices.")] = None,
    price_prompt: Annotated[float | None, typer.Option(min=0, help="Of a million tokens sent.")] = None,
    price_completion: Annotated[float | None, typer.Option(min=0, help="Of a million tokens written.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Order of candidates, drawn rows, intervals.")] = None,
    score_missing_as_chance: Annotated[
        bool,
        typer.Option(
            "--score-missing-as-chance", help="Unread replies score 1/n, as in RewardBench 2's script; else 0."
        ),
    ] = False,
    overrides: Overrides = None,
    all_subsets: AllSubsets = False,
    as_json: AsJson = False,
) -> None:
    """Evaluate a judge on one benchmark: scores as of a reward model, consistency, injections, cost. Resumable.

    Ends with 1 where rows have no verdict because the budget is spent or the endpoint failed: run it again.
    """
    chosen: dict[str, Any] = {
        "judge.endpoint": endpoint,
        "judge.model": model,
        "judge.key_variable": key_variable,
        "judge.concurrency": concurrency,
        "judge.samples": samples,
        "judge.output": output,
        "judge.verdict": verdict,
        "judge.budget.calls": max_calls,
        "judge.budget.tokens": max_tokens,
        "judge.budget.money": max_cost,
        "judge.prices.prompt": price_prompt,
        "judge.prices.completion": price_completion,
        "seed": seed,
    }
    settings = _settings(spec, overrides, chosen)
    with live() as events:
        from rewardsmith.pipeline.commands.judge import judge_job

        outcome = judge_job(settings, benchmark, data, out, events, missing_as_chance=score_missing_as_chance)
    if as_json:
        shown = {name: getattr(outcome, name).model_dump(mode="json", by_alias=True) for name in ("result", "record")}
        say_json(json.dumps({"complete": outcome.complete, **shown}, indent=2))
    else:
        _print(benchmark, outcome, all_subsets)
    raise typer.Exit(0 if outcome.complete else 1)


def _print(benchmark: str, outcome: JudgeOutcome, all_subsets: bool) -> None:
    """Scores, what is known of the judge, and what went wrong."""
    from rewardsmith.report.sections.analyses import result_sections
    from rewardsmith.report.sections.judges import judge_section

    lay_out(
        *result_sections({benchmark: outcome.result}, all_subsets=all_subsets),
        judge_section({benchmark: outcome.record}),
    )
    say(f"this job paid for {outcome.paid:,} calls")
    for problem, count in sorted(outcome.failures.items(), key=lambda item: -item[1])[:3]:
        say(f"failed calls: {count:,} x {one_line(problem)}")
    say(f"report: {outcome.report}")
    if not outcome.complete:
        say("rows without a verdict: raise the budget or fix the endpoint, and run the same command again")


def _settings(spec: Path | None, overrides: list[str] | None, chosen: dict[str, Any]) -> Spec:
    """The spec, or the defaults, with the command's own options and then `--set`."""
    own = [f"{field}={json.dumps(value)}" for field, value in chosen.items() if value is not None]
    if spec is not None:
        return load(spec, [*own, *(overrides or [])])
    from rewardsmith.spec import default_spec

    return default_spec([*own, *(overrides or [])])
