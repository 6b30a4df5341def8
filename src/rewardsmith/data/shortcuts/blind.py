"""Classifiers that read responses and no prompts: how much of the label can be learnt for the wrong reason.

    models = blind_models({"length": ("lengths", features_ND)}, prompts, sources, seed=17)
    margins = out_of_fold(features_ND, prompts, seed=17)     # > 0 where the classifier prefers the chosen response

Logistic regression without an intercept on the difference of the two sides' features: a Bradley-Terry model with a
linear reward, so that swapping the sides negates the margin. Each pair is judged by a classifier that was fitted on
other prompts. What it gets right needs no prompt; a better model of the responses would get more, so that the true
ceiling is at least this high.

An accuracy clearly below 0.5 is no fault: it shows data in which the same responses are chosen under one prompt and
rejected under others, so that what they did elsewhere is the opposite of what they do here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from rewardsmith.data.shortcuts.lone_rules import Floats, Ints, share_of
from rewardsmith.data.shortcuts.verdicts import BLIND, STRONG, grade
from rewardsmith.records import BlindModel, Estimate, Grade, SourceAccuracy
from rewardsmith.statistics import Interval

FOLDS = 5
LENGTH = "length"
"""The classifier that is a length rule, and graded as one."""

LEAST_PROMPTS = 50
"""With fewer prompts a fold has under ten, and the accuracy says nothing; so it is for sources with fewer pairs."""

_LOOSENESS = 0.01
"""scikit-learn's C: the best or near it of 0.001 to 1 on ten sets of 285 to 4,000 real pairs; at 1, words overfit."""

_STEPS = 1000

_RATIO_STEPS = np.log([1.1, 1.25, 1.5, 2.0, 3.0])


def out_of_fold(features_ND: Any, prompts_N: Ints, *, seed: int) -> Floats:
    """Margins of all pairs, each from a fold that has none of its prompt's pairs.

    Args:
        features_ND: features of chosen minus those of rejected, sparse or dense.
        prompts_N: number of each pair's prompt.
        seed: of the folds.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold

    differences = csr_matrix(features_ND)
    margins_N = np.zeros(len(prompts_N))
    for fit, judge in GroupKFold(FOLDS, shuffle=True, random_state=seed).split(differences, groups=prompts_N):
        # The likelihood of (difference, chosen) equals that of (-difference, rejected): every other pair is turned
        # round, because the library wants to see both labels.
        labels = np.where(np.arange(len(fit)) % 2, 1, -1)
        model = LogisticRegression(C=_LOOSENESS, fit_intercept=False, max_iter=_STEPS)
        model.fit(differences[fit].multiply(labels[:, None]).tocsr(), labels)
        margins_N[judge] = model.decision_function(differences[judge])
    return margins_N


def length_features(lengths_NU2: NDArray[np.int32]) -> Floats:
    """Which side is longer in each unit, and by how much: (N, U * 7), negated when the sides are swapped."""
    ratio = np.log1p(lengths_NU2[:, :, 0]) - np.log1p(lengths_NU2[:, :, 1])
    sign = np.sign(ratio)
    steps = [sign * (np.abs(ratio) > step) for step in _RATIO_STEPS]
    return np.concatenate([ratio, sign, *steps], axis=1)


def blind_models(
    features: Mapping[str, tuple[str, Any]], prompts_N: Ints, sources: Sequence[str], *, seed: int
) -> tuple[BlindModel, ...]:
    """Fit and judge each classifier.

    Args:
        features: name → what it reads in words, and its features (N, D).
        prompts_N: number of each pair's prompt.
        sources: each pair's source.
        seed: of the folds.
    """
    return tuple(
        _model(name, reads, out_of_fold(features_ND, prompts_N, seed=seed), prompts_N, np.array(sources))
        for name, (reads, features_ND) in features.items()
    )


def _model(name: str, reads: str, margins_N: Floats, prompts_N: Ints, sources_N: NDArray[np.str_]) -> BlindModel:
    right_N = 0.5 * (1 + np.sign(margins_N))
    accuracy = share_of(right_N, prompts_N)
    names, counts = np.unique(sources_N, return_counts=True)
    parts = {source: np.flatnonzero(sources_N == source) for source in names[counts >= LEAST_PROMPTS].tolist()}
    accuracies = {source: share_of(right_N[part], prompts_N[part]) for source, part in parts.items()}
    return BlindModel(
        name=name,
        reads=reads,
        right=float(right_N.sum()),
        accuracy=accuracy,
        grade=_grade(name, accuracy, 1.0),
        by_source=tuple(
            SourceAccuracy(
                source=source,
                pairs=len(part),
                accuracy=accuracies[source],
                grade=_grade(name, accuracies[source], len(part) / len(right_N)),
            )
            for source, part in parts.items()
        ),
    )


def _grade(name: str, accuracy: Estimate, share: float) -> Grade:
    """Only what is above a coin counts: a classifier that is wrong on other prompts has learnt nothing about them."""
    return grade(Interval(accuracy.ci_low, 1.0), share, strong=STRONG if name == LENGTH else BLIND)
