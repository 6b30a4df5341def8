"""Judges, ready to be shown: what a judge's evaluation says beside its scores, and what a router makes of a judge.

    judge_section(records) → Section | None        benchmark's folder → JudgeRecord (`eval/BENCHMARK/judge.json`)
    routing_section(record) → Section | None       is this model's doubt worth routing on, and what does it cost?
    routed_section(record) → Section               what `route run` did

`routing_section` shows `routing/routing.json` of the run directory. Names of models, endpoints and rows come from
users.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from markupsafe import Markup

from rewardsmith.records.evaluation import reasons_in_words
from rewardsmith.records.judging import InjectionProbe, JudgeRecord, ShareWithInterval
from rewardsmith.records.routing import RoutedScore, RoutePoint, RouteRunRecord, RoutingRecord
from rewardsmith.report.blocks import Block, Cell, Column, Figure, Grid, Rate, Section, Sign, Span, rate, rate_grid
from rewardsmith.report.formatting import State, count, percent, plural, short_hash, signed, significant, visible
from rewardsmith.report.svg import Scale, area_between, drawing, element, line, nice_ticks, path_through, text

_CONSISTENT, _OBEDIENT = 0.9, 0.05
"""Below the first share of equal verdicts, and above the second of flipped ones, the section warns."""

_MISSING = {
    "unparsed": "replies that could not be read",
    "failed": "the endpoint failed",
    "deadline": "too late",
    "budget": "no budget left",
}


def judge_section(records: Mapping[str, JudgeRecord]) -> Section | None:
    """What is said about the judge; None where none was evaluated."""
    if not records:
        return None
    return Section(
        "judge",
        "Judge",
        judge_blocks(records),
        lead="A language model gave these verdicts: what they depend on besides quality, how many are missing, and "
        "what they cost.",
    )


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


def _reasons(record: JudgeRecord) -> str:
    return ", ".join(f"{_MISSING.get(reason, reason)} {number:,}" for reason, number in record.missing.items())


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


def _rate(name: str, share: ShareWithInterval, state: State = "open", reading: str = "") -> Rate:
    return rate(name, share.n, share.share or 0.0, (share.low or 0.0, share.high or 0.0), state, reading)


def _places(record: JudgeRecord) -> Grid:
    letters = sorted({letter for counts in record.places.values() for letter in counts})
    columns = (Column("Question", "name"), *(Column(letter) for letter in letters))
    rows: list[tuple[Cell, ...]] = [
        (kind, *(count(counts.get(letter)) for letter in letters)) for kind, counts in record.places.items()
    ]
    note = "Every answer stands at each letter equally often: an impartial judge has no favourite. In pairs C is a tie."
    return Grid("Letters that were named", columns, tuple(rows), note=note)


_STATES: dict[str, State] = {
    "worth it": "good",
    "not worth it": "bad",
    "nothing to gain": "warn",
    "undecided": "open",
}


def routing_section(record: RoutingRecord | None) -> Section | None:
    """The router's calibration; None where there is none."""
    block = routing_block(record)
    if block is None:
        return None
    return Section("routing", block.title, (replace(block, title="", source=""),), sources=(block.source,))


def routing_block(record: RoutingRecord | None) -> Block | None:
    """What the report shows of the record; None where there is none."""
    if record is None:
        return None
    return Block(
        title="Routing",
        reading=visible(record.statement, 900),
        state=_STATES[record.verdict],
        note="Where the reward model is sure its answer stands; where it is not, an LLM judge is asked. The curve is "
        "measured on held-out pairs.",
        figures=(
            Figure(
                "Cost against accuracy",
                "Accuracy, per cent, over the share of comparisons that the judge sees. Line: the router, with its "
                "95 % interval; dashed: as many comparisons drawn at random; dot: the limit that was chosen.",
                curve_plot(record),
                ", ".join(f"{percent(one.accuracy.value)} at {percent(one.share)}" for one in record.points[::4]),
            ),
        ),
        facts=tuple(_router_facts(record)),
        grids=(*_abstention_grid(record), *_temperature_grid(record), _grid(record)),
        lines=(*_certified(record), *_judge_worth(record), *_lacking(record)),
        source="routing/routing.json",
    )


def _router_facts(record: RoutingRecord) -> list[tuple[str, str]]:
    rules = f" {record.combine} ".join(_rule(one.kind, one.below) for one in record.rules)
    judge = record.judge
    missing = sum(judge.missing.values())
    facts = [
        ("Reward model alone", _score(record.model_only)),
        ("Judge alone", _score(record.judge_only)),
        ("Everything escalated", _score(record.everything)),
        ("Rule", visible(rules)),
        (
            "Target",
            _target(record),
        ),
        (
            "Chosen",
            f"{_score(record.chosen.accuracy)} with {percent(record.chosen.share)} % escalated by the limit "
            + significant(record.chosen.limit).text,
        ),
    ]
    if record.agreement is not None:
        facts.append(("Model and judge agree", _score(record.agreement)))
    if record.checked is not None:
        facts.append(("On other prompts", f"{_score(record.checked)} with {percent(record.checked_share)} % escalated"))
    facts += [
        ("Router − random, 5 to 50 %", f"{_signed(record.advantage)} points"),
        ("Judge", visible(judge.name, 80)),
        ("Its verdicts", f"{count(judge.verdicts)}, {plural(judge.ties, 'tie')}, {missing:,} missing"),
        (
            "Its calls",
            f"{plural(judge.calls, 'call')}, {significant(judge.cost)} {visible(judge.currency, 8)}".rstrip(),
        ),
    ]
    if judge.consistent is not None:
        facts.append(("The same in both orders", f"{percent(judge.consistent)} %"))
    return [*facts, ("Pairs", f"{count(record.pairs)} of {plural(record.prompts, 'prompt')}")]


def _target(record: RoutingRecord) -> str:
    target = record.target
    sure = "" if target.confidence is None else f" with confidence {target.confidence:g}"
    return f"{target.kind} {target.value:g}{sure}, {'reached' if target.reached else 'not reached'}"


def _rule(kind: str, below: float | None) -> str:
    return kind if below is None else f"{kind} below {significant(below)}"


def _score(score: RoutedScore) -> str:
    return f"{percent(score.value)} % ({percent(score.low)} to {percent(score.high)})"


def _signed(score: RoutedScore) -> str:
    low, high = signed(100 * score.low), signed(100 * score.high)
    return f"{signed(100 * score.value)} ({low} to {high})"


def _judge_worth(record: RoutingRecord) -> Iterator[Sign | str]:
    """Whether the judge is worth its cost; a warning where it is not."""
    said = visible(record.judge_statement, 600)
    if said:
        yield Sign("warn", said) if record.judge_pays is False else said


def _certified(record: RoutingRecord) -> Iterator[Sign]:
    if record.abstention is not None:
        yield Sign("good" if record.target.reached else "warn", visible(record.abstention.statement, 900))


def _abstention_grid(record: RoutingRecord) -> Iterator[Grid]:
    """The tested limits, in their order."""
    found = record.abstention
    if found is None:
        return
    columns = (Column("Limit"), Column("Decided by the model"), Column("Of them wrong"), Column("p"))
    rows = tuple(
        (significant(one.limit), count(one.decided), count(one.wrong), significant(one.p_value)) for one in found.steps
    )
    yield Grid(
        f"Limits on wrong confident verdicts, tested on {plural(found.tested, 'prompt')} that nothing was fitted on",
        columns,
        rows,
        note="Learn then Test (arXiv:2110.01052): tested in this order while p is at most 1 - confidence; the last "
        f"limit that passes is taken. Temperatures and limits were fitted on {plural(found.fitted, 'other prompt')}.",
    )


def _temperature_grid(record: RoutingRecord) -> Iterator[Grid]:
    """Subsets' own temperatures beside the pooled one."""
    if not record.subset_temperatures:
        return
    columns = (
        Column("Subset"),
        Column("Pairs"),
        Column("Prompts"),
        Column("Its temperature"),
        Column("Log loss saved a pair"),
        Column("95 % interval"),
        Column("p, corrected"),
        Column("In use"),
    )
    rows = tuple(
        (
            visible(one.subset),
            count(one.pairs),
            count(one.prompts),
            significant(one.temperature),
            signed(one.gain, 3),
            Span(signed(one.gain_low, 3), signed(one.gain_high, 3)),
            significant(one.p_value),
            "its own" if one.used else "pooled",
        )
        for one in record.subset_temperatures
    )
    yield Grid(
        "Temperature by subset",
        columns,
        rows,
        note="A subset keeps a temperature of its own where it has at least 100 prompts and predicts labels of "
        "held-out folds surely better (p below 0.05, corrected for the number of subsets); else the pooled one stands, "
        f"{significant(record.temperature)}.",
    )


def _lacking(record: RoutingRecord) -> Iterator[Sign]:
    if record.missing_rewards:
        why = visible(reasons_in_words(record.missing)) or "no reason is known"
        yield Sign(
            "warn",
            f"{record.missing_rewards:,} of {plural(record.pairs, 'pair')} have no margin, rewards are missing: {why}; "
            "the reward model scores 0 there",
        )


def _grid(record: RoutingRecord) -> Grid:
    columns = (
        Column("Escalated, %"),
        Column("Limit"),
        Column("Router, %"),
        Column("95 % interval"),
        Column("Random, %"),
        Column("Router − random"),
        Column("Oracle, %"),
        Column("Predicted, %"),
        Column("Cost of 1,000"),
    )
    rows = tuple(
        (
            percent(one.share),
            significant(one.limit),
            percent(one.accuracy.value),
            Span(percent(one.accuracy.low), percent(one.accuracy.high)),
            percent(one.random),
            _signed(one.difference),
            percent(one.oracle),
            _predicted(one),
            significant(one.cost),
        )
        for one in record.points
    )
    return Grid(
        "The curve: random asks the judge as often, the oracle knows where the judge helps",
        columns,
        rows,
        note=visible(record.method, 600),
        folded=f"All {len(rows)} points of the curve",
    )


def _predicted(one: RoutePoint) -> str:
    band = one.predicted
    return "" if band is None else f"{percent(band.low)} to {percent(band.high)}"


_WIDTH, _HEIGHT = 380.0, 214.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 330.0, 10.0, 176.0
_EDGES: tuple[Callable[[RoutePoint], float], ...] = (lambda one: one.accuracy.high, lambda one: one.accuracy.low)


def curve_plot(record: RoutingRecord) -> Markup:
    """The router's accuracy with its interval, random routing, and the chosen limit."""
    points = record.points
    values = [edge for one in points for edge in (one.accuracy.low, one.accuracy.high, one.random)]
    low, high = min(values), max(values)
    x, y = Scale(0.0, 1.0, _LEFT, _RIGHT), Scale(low, max(high, low + 0.01), _BOTTOM, _TOP)
    parts: list[Markup] = []
    for tick in nice_ticks(y.low, y.high, target=5):
        label = text(_LEFT - 7, y(tick) + 3.5, f"{100 * tick:g}", anchor="end")
        parts += [line(_LEFT, y(tick), _RIGHT, y(tick), "grid"), label]
    parts += [text(x(tick / 4), _BOTTOM + 17, f"{25 * tick}", anchor="middle") for tick in range(5)]
    parts += [line(_LEFT, _BOTTOM, _RIGHT, _BOTTOM, "axis"), text(_WIDTH, _BOTTOM + 17, "% to the judge", anchor="end")]
    xs = [x(one.share) for one in points]
    upper, lower = ([y(edge(one)) for one in points] for edge in _EDGES)
    parts.append(element("path", d=area_between(xs, upper, lower), class_="band"))
    first, last = points[0], points[-1]
    parts.append(line(x(first.share), y(first.random), x(last.share), y(last.random), "chance"))
    parts.append(
        element(
            "path", d=path_through(zip(xs, (y(one.accuracy.value) for one in points), strict=True)), class_="smooth"
        )
    )
    chosen = record.chosen
    parts.append(element("circle", cx=x(chosen.share), cy=y(chosen.accuracy.value), r=4, class_="end"))
    spoken = ", ".join(f"{percent(one.share)} {percent(one.accuracy.value)}" for one in points)
    return drawing(_WIDTH, _HEIGHT, f"Accuracy by the share that the judge sees, per cent: {spoken}", *parts)


def routed_section(record: RouteRunRecord) -> Section:
    """Who decided how many rows, and where it is written."""
    lines: list[Sign | str] = []
    if record.fallbacks:
        fallbacks = ", ".join(f"{reason} {number:,}" for reason, number in record.fallbacks.items())
        lines.append(f"ambiguous, and decided by the reward model: {fallbacks}")
    if record.missing:
        total = sum(record.missing.values())
        why = visible(reasons_in_words(record.missing))
        lines.append(Sign("warn", f"{total:,} of {total + record.rewards:,} rewards are missing: {why}"))
    if record.bad_rows:
        lines.append(Sign("warn", f"rows with nothing to compare: {record.bad_rows:,}"))
    facts = [
        ("Rows", count(record.rows).text),
        ("Comparisons", count(record.comparisons).text),
        ("Ambiguous", count(record.escalated).text),
        ("Decided by the judge", count(record.judged).text),
        ("Calls", f"{record.calls:,}, {significant(record.cost)} {visible(record.currency, 8)}".rstrip()),
    ]
    if record.pairs_output:
        facts.append(("Preference pairs", f"{record.exported:,}, {visible(record.pairs_output)}"))
    facts += [("Decisions", visible(record.output)), ("Audit log", visible(record.audit))]
    return Section("routed", "", (Block("", facts=tuple(facts), lines=tuple(lines)),))
