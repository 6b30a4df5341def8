"""What the router found, as tables and sentences for a terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from rewardsmith.cli.tables import percent, percent_interval
from rewardsmith.cli.terminal import Table
from rewardsmith.records.evaluation import reasons_in_words
from rewardsmith.records.routing import ReplayRecord, RoutedScore, RoutePoint, RouteRunRecord, RoutingRecord

_SHOWN_STEPS = 2


def print_calibration(console: Console, record: RoutingRecord, path: Path) -> None:
    """The curve, the limit, and whether routing is worth it."""
    table = Table(title=f"{record.pairs:,} pairs of {record.prompts:,} prompts", title_justify="left", box=None)
    for name in ("escalated", "limit", "accuracy", "95 % interval", "random", "router − random", "oracle", "per 1,000"):
        table.add_column(name, justify="right")
    for one in [*record.points[::_SHOWN_STEPS], record.chosen]:
        table.add_row(*_cells(one), style="bold" if one is record.chosen else None)
    console.print(table)
    for line in calibration_lines(record):
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    console.print(f"calibration: {path}", highlight=False, soft_wrap=True, markup=False)


def calibration_lines(record: RoutingRecord) -> list[str]:
    """What the table does not say."""
    judge, target = record.judge, record.target
    missing = ", ".join(f"{count:,} {reason}" for reason, count in judge.missing.items())
    consistency = "" if judge.consistent is None else f", {percent(judge.consistent)} % the same in both orders"
    alone = f"reward model alone {_score(record.model_only)}, judge alone {_score(record.judge_only)}, "
    paid = f"{judge.calls:,} calls, {judge.cost:.4g} {judge.currency}".rstrip()
    verdicts = f"judge {judge.name}: {judge.verdicts:,} verdicts, {judge.ties:,} ties{consistency}"
    wanted = f"target {target.kind} {target.value:g}: {'reached' if target.reached else 'NOT reached'}; "
    lines = [
        alone + f"everything escalated {_score(record.everything)}",
        f"{verdicts}{f', missing: {missing}' if missing else ''}; {paid}",
        wanted + f"limit {record.chosen.limit:.4g} escalates {percent(record.chosen.share)} %",
    ]
    if record.checked is not None and record.checked_share is not None:
        lines.append(
            f"on prompts that the limit was not fitted on: {_score(record.checked)} "
            f"with {percent(record.checked_share)} % escalated"
        )
    if record.missing_rewards:
        lines.append(
            f"{record.missing_rewards:,} of {record.pairs:,} pairs have no margin, rewards are missing: "
            f"{reasons_in_words(record.missing) or 'no reason is known'}; the reward model scores 0 there"
        )
    return [*lines, f"{record.verdict}: {record.statement}"]


def print_routes(console: Console, record: RouteRunRecord) -> None:
    """Who decided how many, and where it is written."""
    fallbacks = ", ".join(f"{reason} {count:,}" for reason, count in record.fallbacks.items())
    lines = [
        f"{record.rows:,} rows, {record.comparisons:,} comparisons: {record.escalated:,} ambiguous, "
        f"{record.judged:,} decided by the judge; {record.calls:,} calls, {record.cost:.4g} {record.currency}".rstrip()
    ]
    if fallbacks:
        lines.append(f"ambiguous, and decided by the reward model: {fallbacks}")
    if record.missing:
        total = sum(record.missing.values())
        lines.append(f"{total:,} of {total + record.rewards:,} rewards are missing: {reasons_in_words(record.missing)}")
    if record.bad_rows:
        lines.append(f"rows with nothing to compare: {record.bad_rows:,}")
    if record.pairs_output:
        lines.append(f"{record.exported:,} preference pairs: {record.pairs_output}")
    for line in [*lines, record.output, record.audit]:
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def print_replay(console: Console, record: ReplayRecord) -> None:
    """How many decisions came out otherwise."""
    for line in (*record.examples, f"{record.decisions:,} decisions, {record.differing:,} come out otherwise"):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _cells(one: RoutePoint) -> list[str]:
    return [
        f"{percent(one.share)} %",
        f"{one.limit:.4g}",
        percent(one.accuracy.value),
        percent_interval(one.accuracy.low, one.accuracy.high),
        percent(one.random),
        f"{percent(one.difference.value, sign='+')} ({percent_interval(one.difference.low, one.difference.high)})",
        percent(one.oracle),
        f"{one.cost:.4g}",
    ]


def _score(score: RoutedScore) -> str:
    return f"{percent(score.value)} % ({percent_interval(score.low, score.high)})"
