"""The rules of length and features as the report gets them: over all pairs, per source and per subset.

evidence = Evidence(measures, prompts, groups, names)
whole = grade_rules(evidence.signs, evidence.length_bins, evidence.prompts, …)
length_table(evidence, whole), feature_table(evidence, whole)
group_table(evidence, by=SOURCE, …)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rewardsmith.data.shortcuts.equal_length import LengthBins, at_equal_length, length_bins
from rewardsmith.data.shortcuts.features import FEATURES
from rewardsmith.data.shortcuts.lengths import length_rule
from rewardsmith.data.shortcuts.lone_rules import CHANCE, Ints, Tallies, tally
from rewardsmith.data.shortcuts.measures import UNITS, Measures, Signs
from rewardsmith.data.shortcuts.verdicts import grade
from rewardsmith.records import Estimate, FeatureRule, Grade, GroupRules, LengthRule

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


def group_numbers(evidence: Evidence, *, subsets: bool) -> tuple[list[tuple[str, str]], Ints]:
    """The groups by source, or by source and subset, the largest first, and each pair's number among them."""
    named = [(source, subset) if subsets else (source, "") for source, subset in evidence.names]
    sizes = dict.fromkeys(named, 0)
    for name, size in zip(named, np.bincount(evidence.groups, minlength=len(named)).tolist(), strict=True):
        sizes[name] += size
    order = sorted(sizes, key=lambda name: (-sizes[name], name))
    place = {name: index for index, name in enumerate(order)}
    return order, np.array([place[name] for name in named], dtype=np.int64)[evidence.groups]


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
