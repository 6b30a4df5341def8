"""The graded rules of a record in words, for findings: what is chosen, how often, of how many.

rules = length_rules(record)           # Weighed: grade, advantage, words
summary(rules)                         # one sentence a rule, the first few
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from rewardsmith.data.shortcuts.blind import LENGTH
from rewardsmith.data.shortcuts.features import FEATURES
from rewardsmith.data.shortcuts.measures import UNITS
from rewardsmith.records import BlindModel, Grade, LoneRule, ShortcutsRecord, SourceAccuracy

_TOLD = 4
_QUOTED = 60


@dataclass(frozen=True, slots=True)
class Weighed:
    """A rule with its grade: right in `right` of the `decided` pairs. `advantage`: pairs won over a coin."""

    grade: Grade
    words: str
    right: int
    decided: int

    @property
    def advantage(self) -> float:
        """By this the rules are ordered: how many labels the rule explains beyond chance."""
        return self.right - self.decided / 2


def length_rules(record: ShortcutsRecord) -> list[Weighed]:
    """The length rule over all pairs and in each source and subset, by the unit in which it is strongest; and the
    classifier of lengths, which also finds rules like "the longer one, unless it is much longer"."""
    whole = [_weighed(length.rule, length.grade, *_named(length.unit)) for length in record.lengths]
    by_place = [_strongest(whole), *(_strongest(rules) for rules in _in_groups(record, UNITS))]
    models = (model for model in record.models if model.name == LENGTH)
    return [*by_place, *chain.from_iterable(_model_rules(model, record.sampled) for model in models)]


def feature_rules(record: ShortcutsRecord, kind: Literal["format", "wording"]) -> list[Weighed]:
    """The features of one kind, over all pairs and in each source."""
    whole = [
        _weighed(feature.rule, feature.grade, *_named(feature.code))
        for feature in record.features
        if feature.kind == kind
    ]
    codes = [code for code, feature in FEATURES.items() if feature.kind == kind]
    return [*whole, *chain.from_iterable(_in_groups(record, codes))]


def word_rules(record: ShortcutsRecord) -> list[Weighed]:
    """Words and openings of the sample."""
    rules = []
    for word in (*record.words, *record.openings):
        kind = "opening" if word.opening else "word"
        named = (f'the response {side} the {kind} "{_quoted(word.text)}"' for side in ("with", "without"))
        rules.append(_weighed(word.rule, word.grade, *named))
    return rules


def blind_rules(record: ShortcutsRecord) -> list[Weighed]:
    """The best classifier that reads more than lengths, over all sampled pairs and in each source."""
    readers = (model for model in record.models if model.name != LENGTH)
    best = max(readers, key=lambda model: model.right, default=None)
    return [] if best is None else _model_rules(best, record.sampled)


def _model_rules(model: BlindModel, pairs: int) -> list[Weighed]:
    whole = SourceAccuracy(source="", pairs=pairs, accuracy=model.accuracy, grade=model.grade)
    parts = (whole, *(part for part in model.by_source if part.pairs < pairs))
    return [_judged(model.reads, part) for part in parts]


def _judged(reads: str, part: SourceAccuracy) -> Weighed:
    share, place = part.accuracy, f" of {_quoted(part.source)}" if part.source else ""
    words = (
        f"a classifier that reads {reads} is right in {share.value:.1%} "
        f"({share.ci_low:.1%} to {share.ci_high:.1%}) of {part.pairs:,} pairs{place}"
    )
    return Weighed(part.grade, words, round(share.value * part.pairs), part.pairs)


def summary(rules: Sequence[Weighed]) -> str:
    """The strongest rules, one sentence each."""
    told = "; ".join(rule.words for rule in rules[:_TOLD])
    more = len(rules) - _TOLD
    return f"{told}; and {more} more rules" if more > 0 else told


def _in_groups(record: ShortcutsRecord, codes: Sequence[str]) -> Iterator[list[Weighed]]:
    """The graded rules of each part of the data that is not the same as a larger part."""
    sizes = {group.source: group.pairs for group in record.sources}
    subsets = (group for group in record.subsets if group.pairs < sizes.get(group.source, record.pairs))
    for group in (*record.sources, *subsets):
        place = f" of {_quoted(group.source)}{f' / {_quoted(group.subset)}' if group.subset else ''}"
        graded = [code for code in codes if group.grades.get(code)]
        if graded and group.pairs < record.pairs:
            yield [_weighed(group.rules[code], group.grades[code], *_named(code), place) for code in graded]


def _quoted(text: str) -> str:
    """Text from the data, as a message may show it: short, and nothing that a terminal would obey."""
    return "".join(sign if sign.isprintable() else "?" for sign in text[:_QUOTED])


def _strongest(rules: Sequence[Weighed]) -> Weighed:
    return max(rules, key=lambda rule: (rule.grade == "strong", rule.grade == "weak", rule.advantage))


def _named(code: str) -> tuple[str, str]:
    """What a rule chooses, and what its opposite chooses."""
    if code in UNITS:
        return f"the longer response (in {code})", f"the shorter response (in {code})"
    return f"the response with more {FEATURES[code].meaning}", f"the response with fewer {FEATURES[code].meaning}"


def _weighed(rule: LoneRule, grade: Grade, more: str, less: str, place: str = "") -> Weighed:
    """`more` and `less` name the response that the rule and its opposite choose."""
    decided = rule.more + rule.less
    up = rule.more >= rule.less
    low, high = rule.ci_low or 0.0, 1.0 if rule.ci_high is None else rule.ci_high
    low, high = (low, high) if up else (1 - high, 1 - low)
    right = max(rule.more, rule.less)
    words = (
        f"{more if up else less} is chosen in {right / max(1, decided):.1%} "
        f"({low:.1%} to {high:.1%}) of {decided:,} pairs{place}"
    )
    return Weighed(grade, words, right, decided)
