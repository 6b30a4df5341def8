"""The whole of it: from what was measured, and a sample of texts, to the record.

record = summarize(evidence, sample, seed=17)

The graded rules of a record in words, for findings: what is chosen, how often, of how many.

rules = length_rules(record)           # Weighed: grade, advantage, words
summary(rules)                         # one sentence a rule, the first few
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import numpy as np
from scipy.sparse import csr_matrix, hstack

from rewardsmith.data.shortcuts.features import FEATURES, UNITS
from rewardsmith.data.shortcuts.findings_table import (
    MOST_GROUPS,
    RULES,
    Bags,
    Evidence,
    compare_bags,
    feature_table,
    grade_rules,
    group_numbers,
    group_table,
    length_table,
    word_rules,
)
from rewardsmith.data.shortcuts.rules import (
    BLIND,
    FOLDS,
    LEAST_PROMPTS,
    LEAST_SHARE,
    LENGTH,
    STRONG,
    WEAK,
    Ints,
    blind_models,
    length_features,
    simultaneous,
)
from rewardsmith.records.shortcuts import BlindModel, Grade, LoneRule, ShortcutsRecord, SourceAccuracy


@dataclass(frozen=True, slots=True)
class Sample:
    """N of the evidence's P pairs, ascending; `texts()` reads their chosen responses, then their rejected ones."""

    pairs: Ints
    texts: Callable[[], Iterable[str]]


def summarize(evidence: Evidence, sample: Sample, *, seed: int) -> ShortcutsRecord:
    """Everything about at least one pair.

    Args:
        evidence: the training pairs.
        sample: those whose words are read.
        seed: of the classifiers' folds.
    """
    compared = _compared(evidence)
    confidence = simultaneous(compared)
    total = len(evidence.prompts)
    whole = grade_rules(
        evidence.signs, evidence.length_bins, evidence.prompts, total=total, confidence=confidence, lengths=len(UNITS)
    )
    prompts_N = evidence.prompts[sample.pairs]
    bags = compare_bags(sample.texts(), len(sample.pairs))
    words, openings = word_rules(
        bags, evidence.length_bins.at(sample.pairs), prompts_N, confidence=simultaneous(len(bags.words))
    )
    models, left_out = _models(evidence, sample, bags, seed)
    return ShortcutsRecord(
        pairs=total,
        prompts=len(np.unique(evidence.prompts)),
        sampled=len(sample.pairs),
        folds=FOLDS,
        rules_compared=compared,
        thresholds={"strong": STRONG, "weak": WEAK, "blind": BLIND, "least_share": LEAST_SHARE},
        lengths=length_table(evidence, whole),
        features=feature_table(evidence, whole),
        words_compared=len(bags.words),
        words=words,
        openings=openings,
        models=models,
        models_left_out=left_out,
        sources=group_table(evidence, subsets=False, confidence=confidence),
        subsets=group_table(evidence, subsets=True, confidence=confidence),
    )


def _compared(evidence: Evidence) -> int:
    """How many rules are graded at once: all, again in every source, and lengths in every subset."""
    sources, subsets = (min(MOST_GROUPS, len(group_numbers(evidence, subsets=by)[0])) for by in (False, True))
    return len(RULES) * (1 + sources) + len(UNITS) * subsets


def _models(evidence: Evidence, sample: Sample, bags: Bags, seed: int) -> tuple[tuple[BlindModel, ...], str]:
    """The classifiers, or why there are none."""
    prompts_N = evidence.prompts[sample.pairs]
    prompts = len(np.unique(prompts_N))
    if prompts < LEAST_PROMPTS:
        return (), f"{prompts} prompts are too few: {LEAST_PROMPTS} are needed"
    measures = evidence.measures.at(sample.pairs)
    lengths = length_features(measures.lengths)
    surface = np.concatenate([lengths, measures.more], axis=1)
    names, numbers = group_numbers(evidence, subsets=False)
    return blind_models(
        {
            "length": ("the lengths of both responses", lengths),
            "surface": ("lengths, layout and kinds of phrases", surface),
            "words": ("lengths, layout, words and openings", hstack([csr_matrix(surface), bags.signs]).tocsr()),
        },
        prompts_N,
        [names[number][0] for number in numbers[sample.pairs]],
        seed=seed,
    ), ""


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


def word_sentences(record: ShortcutsRecord) -> list[Weighed]:
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
    return [_of_model(model.reads, part) for part in parts]


def _of_model(reads: str, part: SourceAccuracy) -> Weighed:
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
