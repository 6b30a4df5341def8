"""`rewardsmith compare`: is the new one better? Verdict, differences, rows that flipped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from rewardsmith.cli.options import AsJson, live, print_record
from rewardsmith.cli.tables import MINUS, p_value, percent, percent_interval
from rewardsmith.cli.terminal import Table, one_line, terminal

if TYPE_CHECKING:
    from rewardsmith.records.comparison import (
        ComparisonRecord,
        DifferenceResult,
        FlippedRow,
        PairComparison,
        RankedModel,
    )

_COLOURS = {"better": "green", "worse": "red", "cannot be told apart": "yellow", "mixed": "yellow"}
_EXCERPT = 100


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN RUN …",
            help="Run directories, or folders with results.json and rows.jsonl; each is compared with the first.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write comparison.json and comparison.md there.")
    ] = None,
    rows: Annotated[int, typer.Option(min=0, help="Flipped rows to show, each way.")] = 3,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 17,
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap resamples.")] = 10_000,
    as_json: AsJson = False,
) -> None:
    """Say whether a model is better than the first one: paired differences with intervals, rows that flipped.

    Ends with 1 where a model has no reward at all on a benchmark: there is nothing to compare.
    """
    with live() as events:
        from rewardsmith.pipeline import compare_job

        record = compare_job(runs, events, seed=seed, resamples=resamples, shown=rows, out=out)
    if as_json:
        print_record(record)
    else:
        print_comparison(terminal(), record)
        if out is not None:
            terminal().print(f"comparison: {out / 'comparison.md'}", highlight=False, soft_wrap=True)
    raise typer.Exit(1 if any(found.no_data for found in record.benchmarks.values()) else 0)


def print_comparison(console: Console, record: ComparisonRecord) -> None:
    """Each benchmark with its differences and flipped rows, then the verdict."""
    for note in record.not_shared:
        _say(console, f"not compared: {note}")
    for found in record.benchmarks.values():
        console.print(Text(f"{found.title}, {found.rows:,} rows shared", style="bold"), highlight=False)
        for note in found.notes:
            _say(console, note)
        _print_ranking(console, found.ranking, found.ranking_words)
        for pair in found.pairs:
            console.print(_differences(pair))
            _say(console, pair.words)
            _print_flips(console, pair)
            console.print()
    if len(record.benchmarks) > 1:
        _print_ranking(console, record.ranking, record.ranking_words)
    for attack in record.attacks:
        _say(console, attack.words)
    for overall in record.overall:
        console.print(Text("verdict: ") + Text(overall.words, style=_COLOURS[overall.verdict]), highlight=False)


def _differences(pair: PairComparison) -> Table:
    table = Table(title=f"{pair.second} against {pair.first}", title_justify="left", box=None, pad_edge=False)
    table.add_column("subset")
    for name in ("rows", pair.first, pair.second, "difference", "95 % interval", "p", "p (Holm)", "won", "lost"):
        table.add_column(name, justify="right")
    table.add_column(f"{pair.second} is")
    for name, subset in pair.subsets.items():
        ends = (p_value(subset.p_value), p_value(subset.p_holm), f"{subset.gained:,}", f"{subset.lost:,}")
        table.add_row(name, f"{subset.n:,}", *_numbers(subset), *ends, _verdict(subset))
    if len(pair.subsets) > 1:
        ends = (p_value(pair.average.p_value), "", f"{pair.gained_rows:,}", f"{pair.lost_rows:,}")
        table.add_row("average", "", *_numbers(pair.average), *ends, _verdict(pair.average))
    return table


def _numbers(found: DifferenceResult) -> tuple[str, str, str, str]:
    return (
        percent(found.first),
        percent(found.second),
        percent(found.difference, sign="+"),
        percent_interval(found.ci_low, found.ci_high, sign="+"),
    )


def _verdict(found: DifferenceResult) -> Text:
    return Text(found.verdict, style=_COLOURS[found.verdict])


def _print_ranking(console: Console, ranking: Sequence[RankedModel], words: str) -> None:
    if not ranking:
        return
    table = Table(title="best first", title_justify="left", box=None, pad_edge=False)
    table.add_column("model")
    for name in ("score", "95 % interval", "best in % of resamples"):
        table.add_column(name, justify="right")
    table.add_column("can be told from the best")
    for model in ranking:
        interval = percent_interval(model.ci_low, model.ci_high)
        told = "no" if model.candidate else "yes"
        table.add_row(model.name, percent(model.score), interval, percent(model.probability_best), told)
    console.print(table)
    _say(console, words)


def _print_flips(console: Console, pair: PairComparison) -> None:
    for title, rows in ((f"won by {pair.second}", pair.gained), (f"lost by {pair.second}", pair.lost)):
        if rows:
            _say(console, f"{title}:")
        for row in rows:
            _print_flip(console, row)


def _print_flip(console: Console, row: FlippedRow) -> None:
    prompt = "" if row.prompt is None else f"  {_cut(row.prompt)}"
    _say(console, f"  {row.subset} / {row.id}: result {row.first:g} → {row.second:g}{prompt}")
    texts = (row.chosen or ()) + (row.rejected or ())
    for place, (first, second) in enumerate(zip(row.rewards_first, row.rewards_second, strict=True)):
        kind = "chosen  " if place < row.n_chosen else "rejected"
        text = f"  {_cut(texts[place])}" if texts else ""
        _say(console, f"    {kind} {_reward(first)} → {_reward(second)}{text}")


def _reward(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}".replace("-", MINUS)


def _cut(text: str) -> str:
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line if len(line) <= _EXCERPT else line[: _EXCERPT - 1] + "…"


def _say(console: Console, text: str) -> None:
    console.print(one_line(text), highlight=False, soft_wrap=True)
