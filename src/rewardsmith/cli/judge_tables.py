"""What `rewardsmith judge` prints after the scores: how far the judge can be trusted, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console

from rewardsmith.cli.tables import percent, percent_interval
from rewardsmith.pipeline.commands.judge import JudgeOutcome
from rewardsmith.records.judging import JudgeRecord, ShareWithInterval

_WHY = {
    "unparsed": "replies that could not be read",
    "failed": "the endpoint failed",
    "deadline": "too late",
    "budget": "no budget left",
}


def print_judge(console: Console, outcome: JudgeOutcome) -> None:
    """Lines on verdicts, consistency, injections and cost; where the report is; what to do about missing rows."""
    for line in (*judge_lines(outcome.record), *_job_lines(outcome)):
        console.print(line, highlight=False, soft_wrap=True)


def judge_lines(record: JudgeRecord) -> Iterator[str]:
    """What `judge.json` says, a line each."""
    missing = ", ".join(f"{_WHY.get(reason, reason)} {count:,}" for reason, count in record.missing.items())
    yield f"verdicts: {record.judged:,} of {record.rows:,} rows{f'; missing: {missing}' if missing else ''}"
    replies = sum(counts.replies for counts in record.replies.values())
    unread = sum(counts.unread for counts in record.replies.values())
    unparsed = sum(counts.unparsed for counts in record.replies.values())
    if replies:
        yield f"unread replies: {unread:,} of {replies:,}, {unparsed:,} also when asked again"
    for kind, share in record.consistency.items():
        yield f"same verdict in another order ({kind}): {_share(share)}"
    if record.ties.n:
        yield f"ties: {_share(record.ties)}"
    for kind, probe in record.injection.items():
        yield f"verdicts flipped by a planted instruction ({kind}): {_share(probe.flipped)}"
    cost = record.cost
    if cost.calls_per_1000 is not None:
        money = "" if cost.per_1000 is None else f"{cost.per_1000:,.4g} {record.currency}, "
        yield f"1,000 comparisons: {money}{cost.calls_per_1000:,.0f} calls"


def _job_lines(outcome: JudgeOutcome) -> Iterator[str]:
    record, spent = outcome.record, outcome.record.cost
    money = f", {spent.cost + record.probes_cost.cost:,.4g} {record.currency}" if record.currency else ""
    calls = spent.calls + record.probes_cost.calls
    yield f"calls: {calls:,} with the probes{money}; this job paid for {outcome.paid:,}"
    if record.lost_calls:
        most = f", at most {record.lost_cost:,.4g} {record.currency}" if record.currency else ""
        yield f"calls without an answer, perhaps paid: {record.lost_calls:,}{most}"
    for problem, count in sorted(outcome.failures.items(), key=lambda item: -item[1])[:3]:
        yield f"failed calls: {count:,} x {problem}"
    yield f"report: {outcome.report}"
    if not outcome.complete:
        yield "rows without a verdict: raise the budget or fix the endpoint, and run the same command again"


def _share(share: ShareWithInterval) -> str:
    return f"{percent(share.share)} % ({percent_interval(share.low, share.high)}), {share.n:,} rows"
