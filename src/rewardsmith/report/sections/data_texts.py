"""What the texts of the data give away, and what they cost in tokens, ready to be shown.

    shortcuts_block(record) → Block            how much of the label can be told without reading the prompt
    tokens_block(tokens, limit) → Block        lengths, what a limit costs, what a layout wastes, markers and ends

In: the sections `shortcuts` and `tokens` of check.json; a record of an older version has only the first numbers of
tokens. Words, sources and subsets come from users.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from rewardsmith.records.texts import (
    BlindModel,
    FeatureRule,
    Grade,
    GroupRules,
    LengthBin,
    LengthPolicy,
    LengthRule,
    LoneRule,
    MarkerCount,
    PrefixStability,
    ShortcutsRecord,
    TextEnd,
    TokenSummary,
    TokenWaste,
    UnknownTokens,
    WordRule,
)
from rewardsmith.report.blocks import (
    Block,
    Cell,
    Column,
    Figure,
    Grid,
    Rate,
    Span,
    bar_strip,
    rate,
    rate_axis,
    rate_grid,
    rate_strip,
)
from rewardsmith.report.formatting import Number, State, count, decimal, percent, plural, sparkline, visible
from rewardsmith.report.svg import Scale, drawing, element, line, nice_ticks, text

_CHANCE = 0.5
_OPEN = 12  # rows; a longer table is folded
_WORDS_SHOWN = 20
_STATES: dict[Grade, State] = {"strong": "bad", "weak": "warn", "": "open"}


def shortcuts_block(record: ShortcutsRecord) -> Block:
    """The ceiling of what a model can learn for the wrong reason, and the rules behind it."""
    best = max(record.models, key=lambda one: one.accuracy.value, default=None)
    return Block(
        title="Shortcuts",
        reading=_reading(best) if best else visible(record.models_left_out),
        state=_STATES[best.grade] if best else "open",
        note="Accuracy of rules that never read the prompt, among the pairs whose two responses differ in it; chance "
        "is 50 %. What such a rule predicts, a reward model can learn for the wrong reason.",
        grids=(
            *([_blind(record)] if record.models else []),
            *([_by_source(best)] if best and len(best.by_source) > 1 else []),
            *_lengths(record),
            *_features(record.features),
            *([_words(record)] if record.words or record.openings else []),
        ),
        source="check.json",
    )


def _reading(best: BlindModel) -> str:
    found = best.accuracy
    return (
        f"A classifier that reads {visible(best.reads)} and no prompt predicts {percent(found.value)} % of the labels "
        f"({percent(found.ci_low)} to {percent(found.ci_high)}); chance is 50 %."
    )


def _blind(record: ShortcutsRecord) -> Grid:
    rates = [
        rate(
            f"reads {one.reads}",
            record.sampled,
            one.accuracy.value,
            (one.accuracy.ci_low, one.accuracy.ci_high),
            _STATES[one.grade],
        )
        for one in record.models
    ]
    caption = f"Classifiers that never read the prompt, cross-validated in {record.folds} folds of prompts"
    return rate_grid(caption, "Classifier", rates, value="Labels predicted, %", chance=_CHANCE)


def _by_source(best: BlindModel) -> Grid:
    rates = [
        rate(
            one.source,
            one.pairs,
            one.accuracy.value,
            (one.accuracy.ci_low, one.accuracy.ci_high),
            _STATES[one.grade],
            one.grade,
        )
        for one in best.by_source
    ]
    caption = f"The classifier that reads {best.reads}, per source"
    folded = f"The same per source: {plural(len(rates), 'source')}" if len(rates) > _OPEN else ""
    return rate_grid(caption, "Source", rates, value="Labels predicted, %", chance=_CHANCE, folded=folded)


def _lengths(record: ShortcutsRecord) -> list[Grid]:
    """The length rule in every unit and per source; per subset and by how much longer, folded."""
    units = [_rule(f"all, in {one.unit}", one.rule, one.grade) for one in record.lengths]
    unit = next((one.unit for one in reversed(record.lengths)), "words")
    sources = _groups(record.sources, unit) if len(record.sources) > 1 else []
    subsets = _groups(record.subsets, unit)
    longest = next((one for one in record.lengths if one.unit == unit), None)
    found = [
        _rules("The length rule: the longer response is chosen", "Pairs", [*units, *sources]),
        _rules(f"The length rule per subset, in {unit}", "Subset", subsets, folded="Per subset"),
        _rules(
            f"The length rule by how much longer, in {unit}", "Longer by", _bins(longest), folded="By how much longer"
        ),
    ]
    return [grid for grid in found if grid.rows]


def _groups(groups: Sequence[GroupRules], unit: str) -> list[Rate]:
    return [
        _rule(" · ".join(part for part in (one.source, one.subset) if part), one.rules[unit], one.grades.get(unit, ""))
        for one in groups
        if unit in one.rules
    ]


def _bins(length: LengthRule | None) -> list[Rate]:
    bins = length.bins if length else ()
    return [
        _rule(f"{one.low:g} to {one.high:g} times" if one.high else f"more than {one.low:g} times", one.rule, "")
        for one in bins
    ]


def _rules(caption: str, what: str, rates: Sequence[Rate], folded: str = "") -> Grid:
    return rate_grid(
        caption,
        what,
        rates,
        value="Right, %",
        n="Pairs that differ",
        chance=_CHANCE,
        folded=folded if len(rates) else "",
    )


def _rule(name: str, rule: LoneRule, grade: Grade) -> Rate:
    """A lone rule as a rate; where no pair differs there is no accuracy."""
    differing = rule.more + rule.less
    if rule.accuracy is None or rule.ci_low is None or rule.ci_high is None:
        return Rate(visible(name, 80), count(differing), percent(None), percent(None), percent(None))
    return rate(name, differing, rule.accuracy, (rule.ci_low, rule.ci_high), _STATES[grade], grade)


def _features(features: Sequence[FeatureRule]) -> list[Grid]:
    """Each surface feature as a lone rule, the strongest evidence first."""
    columns = (
        Column("The response with more …", "name"),
        Column("Have it: chosen, %"),
        Column("rejected, %"),
        Column("Pairs that differ"),
        Column("Right, %"),
        Column("95 % interval"),
        Column("Drawn", "draw", rate_axis()),
        Column("At equal length, %"),
    )
    rows = tuple(_feature(one) for one in features if one.rule.accuracy is not None)
    caption, rest = "Surface features as lone rules, the strongest evidence first", len(rows) - _OPEN
    note = "At equal length: by a regression on the feature and length; 50 for what only stands for length."
    found = [
        Grid(caption, columns, rows[:_OPEN], note=note),
        Grid("The other surface features", columns, rows[_OPEN:], folded=f"{plural(rest, 'other surface feature')}"),
    ]
    return [grid for grid in found if grid.rows]


def _feature(one: FeatureRule) -> tuple[Cell, ...]:
    found = _rule(one.meaning, one.rule, one.grade)
    equal = one.at_equal_length
    return (
        found.name,
        percent(one.chosen_share),
        percent(one.rejected_share),
        found.n,
        found.value,
        Span(found.low, found.high),
        rate_strip(found, 1.0, _CHANCE),
        percent(equal.value if equal else None),
    )


def _words(record: ShortcutsRecord) -> Grid:
    """Words and openings with the strongest evidence, folded: they are texts of the data."""
    ranked = sorted((*record.words, *record.openings), key=lambda one: -abs(one.z))[:_WORDS_SHOWN]
    columns = (
        Column("The response with …", "code"),
        Column("As", "words"),
        Column("Pairs that differ"),
        Column("Right, %"),
        Column("95 % interval"),
        Column("Drawn", "draw", rate_axis()),
        Column("z"),
    )
    compared = plural(record.words_compared, "word")
    return Grid(
        "Words and openings as lone rules, the strongest evidence first",
        columns,
        tuple(_word(one) for one in ranked),
        folded=f"The {len(ranked)} words and openings with the strongest evidence, of {compared} compared",
    )


def _word(one: WordRule) -> tuple[Cell, ...]:
    found = _rule(one.text, one.rule, one.grade)
    return (
        visible(one.text, 60),
        "opening" if one.opening else "word",
        found.n,
        found.value,
        Span(found.low, found.high),
        rate_strip(found, 1.0, _CHANCE),
        decimal(one.z, 1),
    )


_LABELS = {"min": "Shortest", "p05": "5 %", "p50": "Median", "p95": "95 %", "max": "Longest"}
_LAYOUTS = {
    "padded": "right-padded batches",
    "packed": "no padding",
    "tree": "what the two sides share, once",
    "prompt_tree": "what all answers to a prompt share, once",
}
_KINDS = {"special": "special token", "role": "the template’s own", "foreign": "another template’s"}


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
        figures=(_token_lengths(tokens.histogram, limit),) if tokens.histogram else (),
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


def _token_lengths(bins: Sequence[LengthBin], limit: int) -> Figure:
    shape = sparkline([float(one.chosen + one.rejected) for one in bins])
    return Figure(
        "Chosen and rejected texts by length",
        "Chosen above the line, rejected below; grey: pairs left out for their length. Dashed: the limit.",
        length_histogram(bins, limit),
        f"{shape} from {bins[0].low:,} to {bins[-1].high:,} tokens",
        wide=True,
    )


_WIDTH, _HEIGHT = 620.0, 190.0
_LEFT, _RIGHT, _MIDDLE = 46.0, 600.0, 84.0
_REACH = 70.0


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
