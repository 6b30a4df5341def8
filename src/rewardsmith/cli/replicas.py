"""Several trainings of one spec as tables: the spread over seeds, and the learning curve."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console

from rewardsmith.cli.formatting import percent, percent_interval
from rewardsmith.cli.terminal import Table
from rewardsmith.records import BenchmarkResult, LearningCurveRecord, ReplicasRecord, SubsetResult


def print_variants(
    console: Console,
    results: Mapping[str, BenchmarkResult],
    replicas: ReplicasRecord | None,
    curve: LearningCurveRecord | None,
) -> None:
    """What other seeds and other amounts of data gave, where they were trained."""
    if replicas is not None:
        print_replicas(console, results, replicas)
    if curve is not None:
        print_curve(console, results, curve)


def print_replicas(console: Console, results: Mapping[str, BenchmarkResult], record: ReplicasRecord) -> None:
    """Each score with its interval (other rows) and its spread (other seeds) side by side."""
    title = f"{len(record.seeds)} seeds: {', '.join(map(str, record.seeds))}; the first is this run's model"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("benchmark", "subset"):
        table.add_column(name)
    for name in ("score", "95 % interval over rows", "mean ± std over seeds", "lowest to highest"):
        table.add_column(name, justify="right")
    for key, spread in record.spread.items():
        for name, found in spread.items():
            own = results[key].subsets.get(name)
            table.add_row(
                key,
                name,
                _shown(found.scores[0]),
                _interval(own, results[key]),
                f"{_shown(found.mean)} ± {_shown(found.std)}",
                f"{_shown(found.low)} to {_shown(found.high)}",
            )
    console.print(table)
    for seed, reason in record.stopped.items():
        console.print(f"seed {seed} has no scores: {reason}", markup=False, highlight=False)


def print_curve(console: Console, results: Mapping[str, BenchmarkResult], record: LearningCurveRecord) -> None:
    """Scores against pairs, and the answer in words."""
    table = Table(title="Learning curve", title_justify="left", box=None, pad_edge=False)
    for name in ("share", "pairs", "prompts", *results, "held-out loss"):
        table.add_column(name, justify="right")
    for point in record.points:
        scores = [
            f"{percent(score.score)} ({percent_interval(score.ci_low, score.ci_high)})" if score else "stopped"
            for score in (point.scores.get(key) for key in results)
        ]
        loss = "" if point.loss is None else f"{point.loss:.3f}"
        table.add_row(f"{point.fraction:g}", f"{point.pairs:,}", f"{point.prompts:,}", *scores, loss)
    console.print(table)
    console.print(record.statement, markup=False, highlight=False, soft_wrap=True)


def _interval(subset: SubsetResult | None, result: BenchmarkResult) -> str:
    if subset is not None:
        return percent_interval(subset.ci_low, subset.ci_high)
    return percent_interval(*(result.average_ci or (None, None)))


def _shown(share: float | None) -> str:
    return percent(share, missing="–")
