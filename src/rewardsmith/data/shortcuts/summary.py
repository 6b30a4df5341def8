"""The whole of it: from what was measured, and a sample of texts, to the record.

record = summarize(evidence, sample, seed=17)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix, hstack

from rewardsmith.data.shortcuts.blind import FOLDS, LEAST_PROMPTS, blind_models, length_features
from rewardsmith.data.shortcuts.lone_rules import Ints
from rewardsmith.data.shortcuts.measures import UNITS
from rewardsmith.data.shortcuts.tables import (
    MOST_GROUPS,
    RULES,
    Evidence,
    feature_table,
    grade_rules,
    group_numbers,
    group_table,
    length_table,
)
from rewardsmith.data.shortcuts.verdicts import BLIND, LEAST_SHARE, STRONG, WEAK, simultaneous
from rewardsmith.data.shortcuts.words import Bags, compare_bags, word_rules
from rewardsmith.records import BlindModel, ShortcutsRecord


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
