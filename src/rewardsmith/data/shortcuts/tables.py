"""The tables of the record: the rules of length, features, groups and words, counted and graded.

    evidence = Evidence(measures, prompts, groups, names)
    whole = grade_rules(evidence.signs, evidence.length_bins, evidence.prompts, …)
    length_table(evidence, whole), feature_table(evidence, whole)       # over all pairs
    group_table(evidence, subsets=False, …)                             # per source, or per subset
    bags = compare_bags(texts, pairs)           # (N, V): 1 only chosen has the word, -1 only rejected, 0 both or none
    words, openings = word_rules(bags, lengths, prompts, …)     # WordRule of the most telling ones of either side

A word is a rule like any other: among the pairs where one side has it, how often is that side the chosen one? Presence,
not frequency, so that one response full of a word is one vote. An opening is the first one, two or three words of a
response.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from rewardsmith import statistics
from rewardsmith.data.shortcuts.features import FEATURES, UNITS, Measures, Signs, plain_words
from rewardsmith.data.shortcuts.rules import (
    CHANCE,
    LEAST_SHARE,
    RATIOS,
    Floats,
    Ints,
    LengthBins,
    Tallies,
    at_equal_length,
    grade,
    length_bins,
    tally,
)
from rewardsmith.records.texts import (
    Estimate,
    FeatureRule,
    Grade,
    GroupRules,
    LengthRule,
    LengthRuleBin,
    LoneRule,
    WordRule,
)

RULES = (*UNITS, *FEATURES)
"""Names of the columns of `Evidence.signs`."""

MOST_GROUPS = 50
"""Sources, and subsets, with a table of their own: the largest ones."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """P pairs: their measures, their prompts and their groups by number, and the groups' (source, subset)."""

    measures: Measures
    prompts: Ints
    groups: Ints
    names: Sequence[tuple[str, str]]

    @property
    def signs(self) -> Signs:
        """(P, R): which side has more, by rule."""
        return np.concatenate([self.measures.longer, self.measures.more], axis=1)

    @property
    def length_bins(self) -> LengthBins:
        """Which side has more characters, and how many times as many."""
        return length_bins(self.measures.lengths[:, 0])


@dataclass(frozen=True, slots=True)
class Graded:
    """Rules over the same pairs, with their accuracies at equal length and their grades."""

    tallies: Tallies
    equal_length: Sequence[Estimate | None]
    grades: Sequence[Grade]


def grade_rules(
    signs_PR: Signs, bins: LengthBins, prompts_P: Ints, *, total: int, confidence: float, lengths: int = 0
) -> Graded:
    """Count and grade rules.

    Args:
        signs_PR: which side has more.
        bins: which side is longer, and how much.
        prompts_P: number of each pair's prompt.
        total: all pairs; a rule that decides too few of them gets no grade.
        confidence: of the intervals that grade.
        lengths: how many of the first rules are lengths themselves, and stay as they are.
    """
    _, prompts_P = np.unique(prompts_P, return_inverse=True)
    whole = tally(signs_PR, prompts_P)
    equal = [None] * lengths + at_equal_length(signs_PR[:, lengths:], bins, whole.since(lengths))
    shares = (whole.more + whole.less) / max(1, total)
    grades = [
        grade(whole.interval(index, confidence), float(share), estimate)
        for index, (share, estimate) in enumerate(zip(shares, equal, strict=True))
    ]
    return Graded(whole, equal, grades)


def length_table(evidence: Evidence, whole: Graded) -> tuple[LengthRule, ...]:
    """The length rule in every unit."""
    records = whole.tallies.records()
    return tuple(
        length_rule(unit, evidence.measures.lengths[:, index], evidence.prompts, records[index], whole.grades[index])
        for index, unit in enumerate(UNITS)
    )


def length_rule(unit: str, lengths_P2: NDArray[np.int32], prompts_P: Ints, rule: LoneRule, grade: Grade) -> LengthRule:
    """All that is known about one unit.

    Args:
        unit: of the lengths.
        lengths_P2: of chosen and rejected.
        prompts_P: number of each pair's prompt.
        rule: the rule over all pairs.
        grade: its grade.
    """
    chosen, rejected = lengths_P2.T
    return LengthRule(
        unit=unit,
        rule=rule,
        grade=grade,
        bins=_bins(lengths_P2, prompts_P),
        chosen_mean=float(chosen.mean()),
        rejected_mean=float(rejected.mean()),
        chosen_quantiles=_quantiles(chosen),
        rejected_quantiles=_quantiles(rejected),
    )


_QUANTILES = {"p05": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95}


def _bins(lengths_P2: NDArray[np.int32], prompts_P: Ints) -> tuple[LengthRuleBin, ...]:
    """Pairs of unequal length by the ratio of the longer to the shorter; a response of length 0 counts as 1."""
    bins_of = length_bins(lengths_P2)
    unequal = np.flatnonzero(bins_of.longer)
    bins = []
    for index, (low, high) in enumerate(pairwise(RATIOS)):
        within = unequal[bins_of.bins[unequal] == index]
        rule = tally(bins_of.longer[within, None], prompts_P[within]).record(0, None)
        bins.append(LengthRuleBin(low=low, high=None if np.isinf(high) else high, rule=rule))
    return tuple(bins)


def _quantiles(values: NDArray[np.int32]) -> dict[str, float]:
    found = np.quantile(values, list(_QUANTILES.values()))
    return {name: float(value) for name, value in zip(_QUANTILES, found, strict=True)}


def feature_table(evidence: Evidence, whole: Graded) -> tuple[FeatureRule, ...]:
    """Every feature, the one with the most evidence first."""
    records, has = whole.tallies.records(), evidence.measures.has()
    found = [
        FeatureRule(
            code=feature.code,
            kind=feature.kind,
            meaning=feature.meaning,
            rule=records[index],
            chosen_share=float(has[index - len(UNITS), 0]),
            rejected_share=float(has[index - len(UNITS), 1]),
            at_equal_length=whole.equal_length[index],
            grade=whole.grades[index],
        )
        for index, feature in enumerate(FEATURES.values(), start=len(UNITS))
    ]
    return tuple(sorted(found, key=_evidence))


def _evidence(feature: FeatureRule) -> tuple[float, float]:
    """The smaller, the more evidence: by p-value, then by standard errors from a coin."""
    rule = feature.rule
    if rule.accuracy is None or rule.p_value is None:
        return 1.0, 0.0
    return rule.p_value, -abs(rule.accuracy - CHANCE) * rule.effective**0.5


def group_table(evidence: Evidence, *, subsets: bool, confidence: float) -> tuple[GroupRules, ...]:
    """The rules within each source; or those of length within each named subset."""
    names, numbers = group_numbers(evidence, subsets=subsets)
    rules = UNITS if subsets else RULES
    signs_PR = evidence.measures.longer if subsets else evidence.signs
    bins = evidence.length_bins
    tables = []
    for number, (source, subset) in enumerate(names[:MOST_GROUPS]):
        within = np.flatnonzero(numbers == number)
        if not within.size or (subsets and not subset):
            continue
        graded = grade_rules(
            signs_PR[within],
            bins.at(within),
            evidence.prompts[within],
            total=len(evidence.prompts),
            confidence=confidence,
            lengths=len(UNITS),
        )
        tables.append(
            GroupRules(
                source=source,
                subset=subset,
                pairs=len(within),
                rules=dict(zip(rules, graded.tallies.records(), strict=True)),
                grades={name: mark for name, mark in zip(rules, graded.grades, strict=True) if mark},
            )
        )
    return tuple(tables)


def group_numbers(evidence: Evidence, *, subsets: bool) -> tuple[list[tuple[str, str]], Ints]:
    """The groups by source, or by source and subset, the largest first, and each pair's number among them."""
    named = [(source, subset) if subsets else (source, "") for source, subset in evidence.names]
    sizes = dict.fromkeys(named, 0)
    for name, size in zip(named, np.bincount(evidence.groups, minlength=len(named)).tolist(), strict=True):
        sizes[name] += size
    order = sorted(sizes, key=lambda name: (-sizes[name], name))
    place = {name: index for index, name in enumerate(order)}
    return order, np.array([place[name] for name in named], dtype=np.int64)[evidence.groups]


OPENING = "^"
"""Stands before the first words of a response where they are looked at as an opening."""

_OPENING_WORDS = 3
_LEAST_PAIRS = 20
"""Words that decide fewer pairs are left out: even if always right, they would not survive the correction."""

_SHOWN = 15

_PRIOR = 5.0
"""Pairs that the prior adds on each side: a word with 3 pairs to 0 ranks below one with 300 to 200."""


@dataclass(frozen=True, slots=True)
class Bags:
    """Which side of each of N pairs has which of V words: 1 only chosen, -1 only rejected, 0 both or neither."""

    words: Sequence[str]
    signs: csr_matrix


def compare_bags(texts: Iterable[str], pairs: int) -> Bags:
    """Bags of pairs of texts, without the words that decide too few pairs.

    Args:
        texts: the chosen responses of all pairs, then the rejected ones in the same order.
        pairs: how many pairs.
    """
    if pairs < _LEAST_PAIRS:
        return Bags([], csr_matrix(np.zeros((pairs, 0), dtype=np.int32)))
    from sklearn.feature_extraction.text import CountVectorizer

    # The empty word stands on both sides: without it, texts of punctuation alone would be an error.
    vectorizer = CountVectorizer(analyzer=lambda text: {"", *bag(text)}, dtype=np.int32)
    present = vectorizer.fit_transform(texts)
    signs = (present[:pairs] - present[pairs:]).tocsr()
    signs.eliminate_zeros()
    telling = np.flatnonzero(np.bincount(signs.indices, minlength=signs.shape[1]) >= _LEAST_PAIRS)
    names = vectorizer.get_feature_names_out()
    return Bags([str(name) for name in names[telling]], csr_matrix(signs[:, telling]))


def bag(text: str) -> set[str]:
    """The different words of a text, and its openings."""
    words = [word.decode() for word in plain_words(text.encode("utf-8", "replace"))]
    openings = (OPENING + " ".join(words[: count + 1]) for count in range(min(len(words), _OPENING_WORDS)))
    return {*words, *openings}


def word_rules(
    bags: Bags, lengths: LengthBins, prompts_N: Ints, *, confidence: float
) -> tuple[tuple[WordRule, ...], tuple[WordRule, ...]]:
    """Words and openings that are worth a look: the most telling of each side, and those that are shortcuts.

    Args:
        bags: of the sampled pairs.
        lengths: which side of each is longer, and how much.
        prompts_N: number of each pair's prompt.
        confidence: of the intervals that grade.
    """
    tallies = tally(bags.signs, prompts_N)
    odds, z = log_odds(tallies)
    p_values = statistics.holm(tallies.p_values().tolist())
    is_opening = np.array([word.startswith(OPENING) for word in bags.words], dtype=bool)
    frequent = tallies.more + tallies.less >= LEAST_SHARE * len(prompts_N)
    telling = [_extremes(np.flatnonzero(is_opening == kind), z) for kind in (False, True)]
    looked_at = np.unique(np.concatenate([*telling, np.flatnonzero(frequent)]))
    graded = grade_rules(
        np.asarray(bags.signs[:, looked_at].toarray(), dtype=np.int8),
        lengths,
        prompts_N,
        total=len(prompts_N),
        confidence=confidence,
    )
    rules = [
        WordRule(
            text=bags.words[word].removeprefix(OPENING),
            opening=bool(is_opening[word]),
            rule=tallies.record(word, p_values[word]),
            log_odds=float(odds[word]),
            z=float(z[word]),
            at_equal_length=graded.equal_length[index],
            grade=graded.grades[index],
        )
        for index, word in enumerate(looked_at.tolist())
    ]
    words, openings = (_shown([rule for rule in rules if rule.opening == kind]) for kind in (False, True))
    return words, openings


def log_odds(tallies: Tallies) -> tuple[Floats, Floats]:
    """Of each rule the log-odds that its bearer is chosen, and its z-score, both with the prior.

    The prior is symmetric (Monroe, Colaresi and Quinn 2008, "Fightin' Words", section 3.3), a fair coin: a word should
    stand on both sides equally often.
    Counts are scaled to the pairs that they are worth, so that one prompt with many pairs does not make a word telling.
    """
    decided = np.maximum(tallies.more + tallies.less, 1)
    worth = tallies.effective / decided
    more, less = tallies.more * worth + _PRIOR, tallies.less * worth + _PRIOR
    odds = np.log(more / less)
    return odds, odds / np.sqrt(1 / more + 1 / less)


def _extremes(words: Ints, z: Floats) -> Ints:
    """The most telling words of either side."""
    order = words[np.argsort(z[words], kind="stable")]
    return np.concatenate([order[:_SHOWN], order[-_SHOWN:]])


def _shown(rules: Sequence[WordRule]) -> tuple[WordRule, ...]:
    """The most telling of either side, and shortcuts; those that speak for chosen first."""
    order = sorted(rules, key=lambda rule: (-rule.z, rule.text))
    graded = sorted((rule for rule in order if rule.grade), key=lambda rule: -abs(rule.z))[:_SHOWN]
    chosen = [rule for rule in order[:_SHOWN] if rule.z > 0]
    rejected = [rule for rule in order[-_SHOWN:] if rule.z < 0]
    return tuple(rule for rule in order if rule in chosen or rule in rejected or rule in graded)
