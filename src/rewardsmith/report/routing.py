"""The router's calibration, ready to be shown: is this model's doubt worth routing on, and what does it cost?

    routing_block(record)      → Block | None
    curve_plot(record)         accuracy over the share that the judge sees

In: `routing/routing.json` of the run directory. Names of models come from users.
"""

from __future__ import annotations

from collections.abc import Callable

from markupsafe import Markup

from rewardsmith.records import RoutedScore, RoutePoint, RoutingRecord
from rewardsmith.report.blocks import Block, Column, Figure, Grid
from rewardsmith.report.formatting import count, decimal, percent, plural, significant, visible
from rewardsmith.report.scores import State
from rewardsmith.report.svg import Scale, area_between, drawing, element, line, nice_ticks, path_through, text

_STATES: dict[str, State] = {
    "worth it": "good",
    "not worth it": "bad",
    "nothing to gain": "warn",
    "undecided": "open",
}
_WIDTH, _HEIGHT = 380.0, 214.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 330.0, 10.0, 176.0


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
        facts=tuple(_facts(record)),
        grids=(_grid(record),),
        source="routing/routing.json",
    )


def _facts(record: RoutingRecord) -> list[tuple[str, str]]:
    rules = f" {record.combine} ".join(_rule(one.kind, one.below) for one in record.rules)
    judge = record.judge
    missing = sum(judge.missing.values())
    facts = [
        ("Reward model alone", _score(record.model_only)),
        ("Judge alone", _score(record.judge_only)),
        ("Rule", visible(rules)),
        (
            "Target",
            f"{record.target.kind} {record.target.value:g}, {'reached' if record.target.reached else 'not reached'}",
        ),
        ("Chosen", f"{_score(record.chosen.accuracy)} with {percent(record.chosen.share)} % escalated"),
    ]
    if record.checked is not None:
        facts.append(("On other prompts", f"{_score(record.checked)} with {percent(record.checked_share)} % escalated"))
    facts += [
        ("Router − random, 5 to 50 %", f"{_signed(record.advantage)} points"),
        ("Judge", visible(judge.name, 80)),
        ("Its verdicts", f"{count(judge.verdicts)}, {plural(judge.ties, 'tie')}, {missing:,} missing"),
    ]
    if judge.consistent is not None:
        facts.append(("The same in both orders", f"{percent(judge.consistent)} %"))
    return [*facts, ("Pairs", f"{count(record.pairs)} of {plural(record.prompts, 'prompt')}")]


def _rule(kind: str, below: float | None) -> str:
    return kind if below is None else f"{kind} below {significant(below)}"


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
            f"{percent(one.accuracy.low)} to {percent(one.accuracy.high)}",
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


def _score(score: RoutedScore) -> str:
    return f"{percent(score.value)} % ({percent(score.low)} to {percent(score.high)})"


def _signed(score: RoutedScore) -> str:
    points = [decimal(100 * value, 1) for value in (score.value, score.low, score.high)]
    sign = "+" if score.value > 0 else ""
    return f"{sign}{points[0]} ({points[1]} to {points[2]})"


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


_EDGES: tuple[Callable[[RoutePoint], float], ...] = (lambda one: one.accuracy.high, lambda one: one.accuracy.low)
