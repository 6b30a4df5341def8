"""Label noise, ready to be shown: the estimate, the plateau behind it, shares by source, the suspects.

    noise_block(record)      → Block | None
    noise_plot(bands)        contradictions over confidence

In: `label_noise.json`. Ids, sources and subsets come from users.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from rewardsmith.records import LabelNoiseRecord, NoiseBand, NoiseShare, SuspectLabel
from rewardsmith.report.blocks import Block, Cell, Column, Figure, Grid, rate_grid
from rewardsmith.report.formatting import count, decimal, percent, plural, visible
from rewardsmith.report.scores import State
from rewardsmith.report.strips import Rate, nice_top, rate
from rewardsmith.report.svg import Scale, drawing, element, line, nice_ticks, path_through, text
from rewardsmith.report.verdict import sentence

SUSPECTS_SHOWN = 50
_OPEN = 12  # a longer list is folded

_STATES: dict[str, State] = {"few": "good", "some": "warn", "many": "bad", "cannot tell": "open"}
_SOME, _MANY = 0.03, 0.1
_WIDTH, _HEIGHT = 380.0, 214.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 330.0, 10.0, 176.0


def noise_block(record: LabelNoiseRecord | None) -> Block | None:
    """What the report shows of the record; None where there is none."""
    if record is None:
        return None
    return Block(
        title="Label noise",
        reading=sentence(visible(record.statement, 600)),
        state=_STATES[record.verdict],
        note="The model met each pair once, before it had learned it: where it was sure and the label says otherwise, "
        "the label contradicts what the other pairs teach.",
        figures=(
            Figure(
                "Contradictions over confidence",
                "Share of labels against the model’s choice, per cent, in tenths of the pairs, with intervals. "
                "Dashed: every label right. Line: with the estimated share of wrong ones, which confidence does not "
                "make smaller.",
                noise_plot(record.bands),
                ", ".join(
                    f"{percent(one.contradicted)} % where it was {percent(1 - one.doubt)} % sure"
                    for one in record.bands[::3]
                ),
            ),
        ),
        facts=(
            ("Wrong labels", f"{percent(record.share)} % ({percent(record.ci_low)} to {percent(record.ci_high)})"),
            ("Contradicted when met", f"{percent(record.contradicted)} % of {plural(record.pairs, 'pair')}"),
            ("More probably wrong than right", plural(record.likely, "pair")),
            ("Asked again after training", plural(record.rescored, "pair")),
        ),
        grids=(
            *([_groups(record.groups)] if record.groups else []),
            *([_suspects(record.suspects)] if record.suspects else []),
        ),
        source="label_noise.json",
    )


def _groups(groups: Sequence[NoiseShare]) -> Grid:
    rates = sorted(map(_group, groups), key=lambda one: -(one.low.value or 0.0))
    top = nice_top([one.ci_high for one in groups])
    return rate_grid("Wrong labels by source and subset", "Group", rates, value="Wrong labels, %", top=top)


def _group(one: NoiseShare) -> Rate:
    name = " · ".join(part for part in (one.source, one.subset) if part)
    if one.ci_low > 0.5:
        return rate(name, one.n, one.share, (one.ci_low, one.ci_high), "bad", "chosen and rejected look swapped")
    surely, at_most = one.ci_low, one.ci_high
    state: State = "bad" if surely > _MANY else "warn" if surely > _SOME else "good" if at_most < _MANY else "open"
    return rate(name, one.n, one.share, (one.ci_low, one.ci_high), state)


def _suspects(suspects: Sequence[SuspectLabel]) -> Grid:
    again = any(one.final_margin is not None for one in suspects)
    columns = (
        Column("Rank"),
        Column("Pair", "code"),
        Column("Row", "code"),
        Column("Source", "name"),
        Column("Subset", "name"),
        Column("Step"),
        Column("Margin when met"),
        *((Column("after training"),) if again else ()),
        Column("Wrong, %"),
    )
    shown = suspects[:SUSPECTS_SHOWN]
    some = f"The first {len(shown)} of {len(suspects):,}" if len(suspects) > len(shown) else f"{len(shown)}"
    return Grid(
        "Suspected labels, the most probable first",
        columns,
        tuple(_row(rank, one, again) for rank, one in enumerate(shown, start=1)),
        folded=f"{some} suspected pairs, worst first" if len(shown) > _OPEN else "",
    )


def _row(rank: int, one: SuspectLabel, again: bool) -> tuple[Cell, ...]:
    return (
        count(rank),
        visible(one.id, 80),
        visible(one.file, 120) + (f":{one.row}" if one.row else ""),
        visible(one.source, 80),
        visible(one.subset, 80),
        count(one.step),
        decimal(one.margin),
        *((decimal(one.final_margin),) if again else ()),
        percent(one.probability),
    )


def noise_plot(bands: Sequence[NoiseBand]) -> Markup:
    """Tenths of the pairs as dots with intervals; dashed: right labels; line: the estimated share of wrong ones."""
    x, y = Scale(0.5, 1.0, _LEFT, _RIGHT), Scale(0.0, max([0.55, *(one.ci_high for one in bands)]), _BOTTOM, _TOP)
    parts: list[Markup] = []
    for tick in nice_ticks(0.0, y.high, target=5):
        label = text(_LEFT - 7, y(tick) + 3.5, f"{100 * tick:.0f}", anchor="end")
        parts += [line(_LEFT, y(tick), _RIGHT, y(tick), "grid"), label]
    parts += [text(x(tick / 10), _BOTTOM + 17, f"{10 * tick}", anchor="middle") for tick in range(5, 11)]
    parts += [line(_LEFT, _BOTTOM, _RIGHT, _BOTTOM, "axis"), text(_WIDTH, _BOTTOM + 17, "% sure", anchor="end")]
    parts.append(line(x(0.5), y(0.5), x(1.0), y(0.0), "chance"))
    rising = sorted(bands, key=lambda band: -band.doubt)
    expected = path_through((x.clamped(1 - one.doubt), y(one.expected)) for one in rising)
    parts.append(element("path", d=expected, class_="smooth"))
    for band in rising:
        at = x.clamped(1 - band.doubt)
        parts.append(line(at, y(band.ci_low), at, y(band.ci_high), "spread"))
        parts.append(element("circle", cx=at, cy=y(band.contradicted), r=4, class_="end"))
    spoken = ", ".join(f"{percent(1 - one.doubt)} sure {percent(one.contradicted)} contradicted" for one in rising)
    return drawing(_WIDTH, _HEIGHT, f"Labels against the model’s choice by its confidence, per cent: {spoken}", *parts)
