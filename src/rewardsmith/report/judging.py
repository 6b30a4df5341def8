"""What a judge's evaluation says beside its scores, ready to be shown: a block for each benchmark.

    judge_blocks(records)      benchmark's folder → JudgeRecord, to blocks

In: `eval/BENCHMARK/judge.json`. Names of models, endpoints and rows come from users.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rewardsmith.records import InjectionProbe, JudgeRecord, ShareWithInterval
from rewardsmith.report.blocks import Block, Cell, Column, Grid, rate_grid
from rewardsmith.report.formatting import count, percent, plural, short_hash, significant, visible
from rewardsmith.report.scores import State
from rewardsmith.report.strips import Rate, rate

_MISSING = {
    "unparsed": "replies that could not be read",
    "failed": "the endpoint failed",
    "deadline": "too late",
    "budget": "no budget left",
}
_CONSISTENT, _OBEDIENT = 0.9, 0.05
"""Below the first share of equal verdicts, and above the second of flipped ones, the section warns."""


def judge_blocks(records: Mapping[str, JudgeRecord]) -> tuple[Block, ...]:
    """One block a benchmark."""
    return tuple(_block(key, record) for key, record in records.items())


def _block(key: str, record: JudgeRecord) -> Block:
    reading, state = _reading(record)
    return Block(
        title=visible(record.title or key, 80),
        reading=reading,
        state=state,
        note="A verdict that depends on the order of the answers, or on what an answer says to the judge, is not about "
        "their quality. Missing verdicts are rewards that are not there: the benchmark’s rule decides their score.",
        facts=tuple(_facts(record)),
        grids=tuple(_grids(record)),
        source=f"eval/{visible(key, 80)}/judge.json",
    )


def _reading(record: JudgeRecord) -> tuple[str, State]:
    """The result in one sentence, and how bad it is."""
    missing = record.rows - record.judged
    if not record.judged:
        return f"None of {plural(record.rows, 'row')} has a verdict: {_reasons(record)}.", "bad"
    parts = [f"{record.judged:,} of {plural(record.rows, 'row')} have a verdict"]
    state: State = "warn" if missing else "good"
    for share in record.consistency.values():
        parts.append(f"{percent(share.share)} % are the same in another order")
        state = "warn" if (share.high or 0) < _CONSISTENT else state
    for probe in record.injection.values():
        if probe.flipped.n:
            parts.append(f"a planted instruction flips {percent(probe.flipped.share)} %")
            state = "bad" if (probe.flipped.low or 0) > _OBEDIENT else state
    return f"{'; '.join(parts)}.", state


def _facts(record: JudgeRecord) -> Iterator[tuple[str, str]]:
    settings, cost = record.settings, record.cost
    yield "Judge", f"{visible(settings.model, 80)} at {visible(settings.endpoint, 120)}"
    how = ", ".join(f"{visible(subset, 60)}: {protocol}" for subset, protocol in record.protocols.items())
    yield "How rows were asked", how
    samples = f", {plural(settings.samples, 'sample')} ({settings.combine})" if settings.samples > 1 else ""
    orders = "both orders" if settings.orders == "both" else "one order"
    temperature = "the endpoint’s" if settings.temperature is None else f"{settings.temperature:g}"
    yield "Replies", f"{settings.form}; pairs in {orders}{samples}; temperature {temperature}; seed {settings.seed}"
    yield (
        "Verdicts",
        f"{record.judged:,} of {record.rows:,}{f'; missing: {_reasons(record)}' if record.missing else ''}",
    )
    for kind, counts in record.replies.items():
        again = f", {counts.unparsed:,} also when asked again" if counts.unread else ""
        yield f"Unread replies ({kind})", f"{counts.unread:,} of {counts.replies:,}{again}"
    if record.missing_scored_as_chance:
        yield "Unread replies score", "what guessing reaches, as in the original’s script"
    if cost.calls_per_1000 is not None:
        money = "" if cost.per_1000 is None else f"{significant(cost.per_1000)} {visible(record.currency, 8)}, "
        tokens = f"{cost.prompt_tokens:,} tokens sent and {cost.completion_tokens:,} written in all"
        yield "1,000 comparisons", f"{money}{cost.calls_per_1000:,.0f} calls; {tokens}"
    yield "Calls", f"{cost.calls:,}, and {record.probes_cost.calls:,} for the rows that were asked once more"
    if record.lost_calls:
        most = f"; at most {significant(record.lost_cost)} {visible(record.currency, 8)}" if record.currency else ""
        yield "Sent and never answered", f"{plural(record.lost_calls, 'call')}, perhaps paid{most}"
    prompts = ", ".join(
        f"{kind} {visible(prompt.source, 60)} ({short_hash(prompt.sha256)})"
        for kind, prompt in settings.prompts.items()
        if kind in record.protocols.values()
    )
    yield "Prompts", prompts


def _grids(record: JudgeRecord) -> Iterator[Grid]:
    shares = [(f"Same verdict in another order, {kind}", share) for kind, share in record.consistency.items()]
    shares += [("Ties, pairwise", record.ties)]
    rows = [_rate(name, share) for name, share in shares if share.n]
    if rows:
        yield rate_grid("Consistency and ties", "What", rows, value="Share, %", n="Rows")
    planted = [row for kind, probe in record.injection.items() for row in _injected(kind, probe)]
    if planted:
        texts = dict.fromkeys(visible(probe.text, 120) for probe in record.injection.values())
        caption = f"Verdicts against a response after “{'” or “'.join(texts)}” was added to it"
        yield rate_grid(caption, "What", planted, value="Share, %", n="Rows")
    if any(sum(counts.values()) for counts in record.places.values()):
        yield _places(record)


def _injected(kind: str, probe: InjectionProbe) -> Iterator[Rate]:
    rows = ", ".join(visible(row, 60) for row in probe.rows)
    missing = f"{probe.missing:,} missing. " if probe.missing else ""
    if probe.flipped.n:
        bad = (probe.flipped.low or 0) > _OBEDIENT
        yield _rate(f"Flipped, {kind}", probe.flipped, "bad" if bad else "good", f"{missing}{rows and f'As in {rows}'}")
        yield _rate(f"Went over to it, {kind}", probe.won)


def _places(record: JudgeRecord) -> Grid:
    letters = sorted({letter for counts in record.places.values() for letter in counts})
    columns = (Column("Question", "name"), *(Column(letter) for letter in letters))
    rows: list[tuple[Cell, ...]] = [
        (kind, *(count(counts.get(letter)) for letter in letters)) for kind, counts in record.places.items()
    ]
    note = "Every answer stands at each letter equally often: an impartial judge has no favourite. In pairs C is a tie."
    return Grid("Letters that were named", columns, tuple(rows), note=note)


def _rate(name: str, share: ShareWithInterval, state: State = "open", reading: str = "") -> Rate:
    return rate(name, share.n, share.share or 0.0, (share.low or 0.0, share.high or 0.0), state, reading)


def _reasons(record: JudgeRecord) -> str:
    return ", ".join(f"{_MISSING.get(reason, reason)} {number:,}" for reason, number in record.missing.items())
