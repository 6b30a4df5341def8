"""Tokens of the data, ready to be shown: lengths, what a limit costs, what a layout wastes, what stands in the texts.

    tokens_block(tokens, limit) → Block
    length_histogram(bins, limit), waste_grid(waste)

In: the section `tokens` of check.json; a record of an older version has only the first numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from rewardsmith.records.data_tokens import (
    LengthBin,
    LengthPolicy,
    MarkerCount,
    PrefixStability,
    TextEnd,
    TokenSummary,
    TokenWaste,
    UnknownTokens,
)
from rewardsmith.report.blocks import Block, Cell, Column, Figure, Grid
from rewardsmith.report.formatting import Number, count, decimal, percent, plural, visible
from rewardsmith.report.markdown_text import sparkline
from rewardsmith.report.strips import bar_strip
from rewardsmith.report.svg import Scale, drawing, element, line, nice_ticks, text

_LABELS = {"min": "Shortest", "p05": "5 %", "p50": "Median", "p95": "95 %", "max": "Longest"}
_LAYOUTS = {
    "padded": "right-padded batches",
    "packed": "no padding",
    "tree": "what the two sides share, once",
    "prompt_tree": "what all answers to a prompt share, once",
}
_KINDS = {"special": "special token", "role": "the template’s own", "foreign": "another template’s"}
_WIDTH, _HEIGHT = 620.0, 190.0
_LEFT, _RIGHT, _MIDDLE = 46.0, 600.0, 84.0
_REACH = 70.0


def tokens_block(tokens: TokenSummary, limit: int) -> Block:
    """What the tokenizer makes of the texts."""
    grids = [
        *([_limits(tokens.length)] if tokens.length and tokens.length.limits else []),
        *([waste_grid(tokens.waste)] if tokens.waste else []),
        *([_markers(tokens.markers)] if tokens.markers else []),
        *([_ends(tokens.ends)] if tokens.ends else []),
    ]
    return Block(
        title="Length of texts",
        note="Tokens of one text, prompt and response and EOS together, as training sees them.",
        figures=(_lengths(tokens.histogram, limit),) if tokens.histogram else (),
        facts=tuple(_facts(tokens)),
        grids=tuple(grids),
        source="check.json",
    )


def _facts(tokens: TokenSummary) -> list[tuple[str, str]]:
    quantiles = [(_LABELS.get(name, name), decimal(value, 0).text) for name, value in tokens.quantiles.items()]
    return [
        *quantiles,
        *(_policy(tokens.length) if tokens.length else []),
        *(_prefix(tokens.prefix) if tokens.prefix else []),
        *(_unknown(tokens.unknown) if tokens.unknown else []),
        *([("Template and date", _date(tokens))] if tokens.length else []),
    ]


def _policy(length: LengthPolicy) -> list[tuple[str, str]]:
    """What the limit took away, and what share of the tokens that tell the two sides apart."""
    left_out = percent(length.left_out / length.pairs if length.pairs else None)
    lost = percent(length.differing_lost / length.differing if length.differing else None)
    cut = percent(length.cut_tokens / length.prompt_tokens if length.prompt_tokens else None)
    return [
        ("Left out for their length", f"{plural(length.left_out, 'pair')} ({left_out} %)"),
        ("Prompts cut", f"{plural(length.cut, 'pair')}, {cut} % of prompt tokens"),
        ("Differing tokens lost", f"{lost} %"),
    ]


def _prefix(prefix: PrefixStability) -> list[tuple[str, str]]:
    unstable = prefix.text + prefix.tokens
    share = percent(unstable / prefix.pairs if prefix.pairs else None)
    return [("Prompt’s tokens not a prefix", f"{plural(unstable, 'pair')} ({share} %)")]


def _unknown(unknown: UnknownTokens) -> list[tuple[str, str]]:
    if unknown.kind == "bytes":
        return [("Unknown tokens", "none: bytes are tokens")]
    return [
        ("Unknown tokens", f"{count(unknown.tokens)} ({percent(unknown.share)} %) in {plural(unknown.texts, 'text')}")
    ]


def _date(tokens: TokenSummary) -> str:
    return "writes the date" if tokens.depends_on_date else "asks for it" if tokens.mentions_date else "independent"


def _lengths(bins: Sequence[LengthBin], limit: int) -> Figure:
    shape = sparkline([float(one.chosen + one.rejected) for one in bins])
    return Figure(
        "Chosen and rejected texts by length",
        "Chosen above the line, rejected below; grey: pairs left out for their length. Dashed: the limit.",
        length_histogram(bins, limit),
        f"{shape} from {bins[0].low:,} to {bins[-1].high:,} tokens",
        wide=True,
    )


def length_histogram(bins: Sequence[LengthBin], limit: int) -> Markup:
    """Texts per token of length, chosen up and rejected down: bins may differ in width, so areas count texts."""
    x = Scale(0.0, float(max(bins[-1].high, limit)), _LEFT, _RIGHT)
    heights = [
        [side / (one.high - one.low + 1) for side in (one.chosen + one.left_out, one.rejected + one.left_out)]
        for one in bins
    ]
    unit = _REACH / (max(max(pair) for pair in heights) or 1.0)
    parts: list[Markup] = []
    for one in bins:
        width = one.high - one.low + 1
        sides = (("chosen", one.chosen, -1), ("rejected", one.rejected, 1))
        for class_, texts, direction in sides:
            reach, beyond = texts / width * unit, one.left_out / width * unit
            parts += _bar(x, one, direction, 0.0, reach, class_)
            parts += _bar(x, one, direction, reach, beyond, "whole")
    for tick in nice_ticks(0.0, x.high, target=8):
        parts.append(text(x(tick), _HEIGHT - 8, f"{tick:,.0f}", anchor="middle"))
    parts += [line(x(limit), 8, x(limit), _HEIGHT - 26, "chance"), line(_LEFT, _MIDDLE, _RIGHT, _MIDDLE, "axis")]
    parts += [
        text(_LEFT - 7, _MIDDLE - 8, "chosen", anchor="end"),
        text(_LEFT - 7, _MIDDLE + 16, "rejected", anchor="end"),
    ]
    spoken = ", ".join(f"{one.low:,} to {one.high:,}: {one.chosen:,} chosen, {one.rejected:,} rejected" for one in bins)
    return drawing(_WIDTH, _HEIGHT, f"Texts by tokens: {spoken}", *parts)


def _bar(x: Scale, one: LengthBin, direction: int, start: float, reach: float, class_: str) -> list[Markup]:
    if reach <= 0:
        return []
    left, right = x(one.low), x(one.high + 1)
    top = _MIDDLE - start - reach if direction < 0 else _MIDDLE + start
    return [element("rect", x=left, y=top, width=max(right - left - 0.6, 0.6), height=reach, class_=class_)]


def waste_grid(waste: TokenWaste) -> Grid:
    """Tokens that a model computes in each layout, against right-padded batches."""
    columns = (Column("Layout", "name"), Column("Tokens"), Column("of padded, %"), Column("Drawn", "draw"))
    rows = tuple(
        (
            words,
            count(tokens),
            percent(tokens / waste.padded if waste.padded else None),
            bar_strip(tokens / max(1, waste.padded)),
        )
        for words, tokens in ((words, int(getattr(waste, name))) for name, words in _LAYOUTS.items())
    )
    caption = f"What one epoch computes, steps of {plural(waste.pairs_per_step, 'pair')}"
    return Grid(caption, columns, rows)


def _limits(length: LengthPolicy) -> Grid:
    columns = (
        Column("Limit"),
        Column("Pairs over it"),
        Column("%"),
        Column("Differing tokens cut, %"),
        Column("Pairs made identical"),
    )
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            count(one.limit),
            count(one.over),
            percent(one.over / one.pairs if one.pairs else None),
            percent(one.differing_lost / one.differing if one.differing else None),
            count(one.identical),
        )
        for one in length.limits
    )
    return Grid("What other limits would do, if texts were cut at their end", columns, rows)


def _markers(markers: Sequence[MarkerCount]) -> Grid:
    columns = (
        Column("Text", "code"),
        Column("What it is", "words"),
        Column("Pairs"),
        Column("in prompts"),
        Column("in chosen"),
        Column("in rejected"),
    )
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (visible(one.text, 60), _KINDS[one.kind], *_numbers(one.pairs, one.prompt, one.chosen, one.rejected))
        for one in markers
    )
    return Grid("Markers of turns inside texts", columns, rows)


def _ends(ends: Sequence[TextEnd]) -> Grid:
    columns = (Column("Token before EOS", "code"), Column("Chosen"), Column("Rejected"))
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (visible(one.token, 40), *_numbers(one.chosen, one.rejected)) for one in ends
    )
    return Grid("How texts end", columns, rows, folded="The tokens before the EOS")


def _numbers(*values: int) -> tuple[Number, ...]:
    return tuple(count(value) for value in values)
