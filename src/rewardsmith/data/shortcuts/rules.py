"""How often one thing alone names the chosen response: "the response with more of it is chosen".

    tallies = tally(signs_NR, prompts_N)                    # R rules over the same N pairs
    tallies.interval(3)                                     # of the third rule's accuracy
    tallies.records()                                       # LoneRule each, p-values corrected over the R rules
    at_equal_length(signs_NR, length_bins(lengths_N2), tallies)     # what is left of them at equal length
    grade(interval, share, equal_length)                    # "strong", "weak" or ""
    models = blind_models({"length": ("lengths", features_ND)}, prompts, sources, seed=17)

`signs` is 1 where the chosen response has more of it, -1 where the rejected has, 0 where both have as much; dense or
sparse. `prompts` numbers the prompts. A classifier that reads responses and no prompts (`blind_models`) says how much
of the label can be learnt for the wrong reason by all rules together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special
from scipy.sparse import csr_matrix, issparse

from rewardsmith import statistics
from rewardsmith.data.shortcuts.features import Signs
from rewardsmith.records.texts import BlindModel, Estimate, Grade, LoneRule, SourceAccuracy
from rewardsmith.statistics import Interval

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
CHANCE = 0.5
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Tallies:
    """R rules over `pairs` pairs: how often each is right (`more`), wrong (`less`), and how many pairs it is worth."""

    pairs: int
    more: Ints
    less: Ints
    effective: Ints

    @property
    def accuracy(self) -> Floats:
        """Share of right decisions, shape (R,); 0.5 where nothing differs."""
        decided = self.more + self.less
        share: Floats = np.divide(self.more, decided, out=np.full(len(decided), CHANCE), where=decided > 0)
        return share

    def since(self, first: int) -> Tallies:
        """The rules from this one on."""
        return Tallies(self.pairs, self.more[first:], self.less[first:], self.effective[first:])

    def interval(self, index: int, confidence: float = statistics.CONFIDENCE) -> Interval:
        """Of one rule's accuracy; the whole range where no pair differs."""
        n = int(self.effective[index])
        if n == 0:
            return Interval(0.0, 1.0)
        return statistics.wilson_interval(float(self.accuracy[index]) * n, n, confidence)

    def p_values(self) -> Floats:
        """Two-sided against a coin, shape (R,), not corrected."""
        larger = np.maximum(self.accuracy, 1 - self.accuracy)
        tests = (
            min(1.0, 2 * statistics.binomial_p_value(share * n, int(n), CHANCE)) if n else 1.0
            for share, n in zip(larger.tolist(), self.effective.tolist(), strict=True)
        )
        return np.fromiter(tests, dtype=np.float64, count=len(larger))

    def record(self, index: int, p_value: float | None) -> LoneRule:
        """One rule as the report gets it."""
        more, less = int(self.more[index]), int(self.less[index])
        decided = more + less
        known = {}
        if decided:
            interval = self.interval(index)
            known = {"accuracy": more / decided, "ci_low": interval.low, "ci_high": interval.high, "p_value": p_value}
        return LoneRule(
            more=more,
            less=less,
            equal=self.pairs - decided,
            effective=int(self.effective[index]),
            coverage=decided / self.pairs if self.pairs else 0.0,
            **known,
        )

    def records(self) -> list[LoneRule]:
        """All rules, their p-values corrected over all of them."""
        p_values = statistics.holm(self.p_values().tolist())
        return [self.record(index, p_value) for index, p_value in enumerate(p_values)]


def tally(signs_NR: Any, prompts_N: Ints) -> Tallies:
    """Count right and wrong decisions of each column, and how many independent pairs they are worth.

    Pairs of one prompt are not independent: with 20 pairs a prompt, 5,000 pairs may be worth 500. The linearised
    variance of a ratio over clusters (Cochran 1977, Sampling Techniques, chapter 11) says how many independent pairs
    would be as uncertain; Wilson's interval and the binomial test then take that number, rounded down and never above
    the true one. Where every pair agrees, the variance says nothing, and each prompt counts as one pair.

    Args:
        signs_NR: 1, 0 and -1; a numpy array or a scipy sparse matrix.
        prompts_N: number of each pair's prompt, from 0.
    """
    more, less = (np.asarray((signs_NR == sign).sum(axis=0), dtype=np.int64).reshape(-1) for sign in (1, -1))
    decided = more + less
    squares, products, counts, prompts = _cluster_sums(signs_NR, prompts_N)
    mean = np.divide(more - less, decided, out=np.zeros(len(decided)), where=decided > 0)
    spread = squares - 2 * mean * products + mean**2 * counts  # sum over prompts of (sum - mean * count) ** 2
    varies = (np.abs(mean) < 1) & (spread > 0)
    worth = np.divide(decided**2 * (1 - mean**2), spread, out=prompts.astype(np.float64), where=varies)
    effective = np.minimum(np.floor(worth + _ROUNDING), decided).astype(np.int64)
    return Tallies(signs_NR.shape[0], more, less, np.maximum(effective, np.minimum(decided, 1)))


def share_of(values_N: Floats, prompts_N: Ints) -> Estimate:
    """The mean of values in [0, 1] over at least one pair, with Wilson's interval at what the pairs are worth."""
    sums = statistics.grouped_sums(values_N, prompts_N)
    n, mean = len(values_N), float(np.mean(values_N))
    spread = float(((sums[:, 0] - mean * sums[:, 1]) ** 2).sum())
    worth = mean * (1 - mean) * n**2 / spread if spread > _ROUNDING else len(sums)
    effective = max(1, math.floor(min(worth + _ROUNDING, n)))
    interval = statistics.wilson_interval(mean * effective, effective)
    return Estimate(value=mean, ci_low=interval.low, ci_high=interval.high)


def _cluster_sums(signs_NR: Any, prompts_N: Ints) -> tuple[Floats, Floats, Floats, Ints]:
    """Sums over prompts of S², S N and N² (S: sum of a prompt's signs, N: its decided pairs); prompts with N > 0."""
    columns = (_sparse_sums if issparse(signs_NR) else _dense_sums)(signs_NR, prompts_N)
    squares, products, counts, prompts = (np.array(column, dtype=np.float64) for column in columns)
    return squares, products, counts, prompts.astype(np.int64)


def _dense_sums(signs_NR: NDArray[np.int8], prompts_N: Ints) -> Any:
    rows = []
    for sign_N in signs_NR.T:
        sums = np.bincount(prompts_N, weights=sign_N)
        counts = np.bincount(prompts_N, weights=sign_N != 0)
        rows.append((sums @ sums, sums @ counts, counts @ counts, np.count_nonzero(counts)))
    return zip(*rows, strict=True) if rows else ((), (), (), ())


def _sparse_sums(signs_NR: csr_matrix, prompts_N: Ints) -> Any:
    """By a (prompts, N) matrix of ones: the sums of every prompt at once."""
    n = len(prompts_N)
    by_prompt = csr_matrix((np.ones(n, dtype=np.int32), (prompts_N, np.arange(n))))
    sums = (by_prompt @ signs_NR.astype(np.int32)).tocsr()
    counts = (by_prompt @ abs(signs_NR).astype(np.int32)).tocsr()
    parts = (sums.multiply(sums), sums.multiply(counts), counts.multiply(counts), counts > 0)
    return [np.asarray(part.sum(axis=0)).reshape(-1) for part in parts]


RATIOS = (1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, np.inf)
"""Limits of the bins: the longer response is this many times as long."""

_BINS = len(RATIOS) - 1
_RIDGE = 0.1
"""Pull of all parameters towards 0, as of a normal prior with variance 10: keeps them finite where all pairs agree."""

_LENGTH_STEPS, _LONGEST_STEP = 30, 2.0
_WIDEST = 0.5
"""A standard error of b above this says nothing: the accuracy might be 0.5 as well as 0.73."""


@dataclass(frozen=True, slots=True)
class LengthBins:
    """Which side of each of N pairs is longer (1 chosen, -1 rejected, 0 neither), and in which bin the ratio is."""

    longer: Signs
    bins: NDArray[np.int8]

    def at(self, pairs: Ints) -> LengthBins:
        """Some of the pairs."""
        return LengthBins(self.longer[pairs], self.bins[pairs])


def length_bins(lengths_N2: NDArray[np.int32]) -> LengthBins:
    """Bins of pairs by the lengths of chosen and rejected; a length of 0 counts as 1."""
    longer, shorter = lengths_N2.max(axis=1), np.maximum(lengths_N2.min(axis=1), 1)
    bins = np.digitize(longer / shorter, RATIOS[1:-1]).astype(np.int8)
    return LengthBins(np.sign(lengths_N2[:, 0] - lengths_N2[:, 1]).astype(np.int8), bins)


def at_equal_length(signs_NR: Signs, lengths: LengthBins, tallies: Tallies) -> list[Estimate | None]:
    """The accuracy of each rule between responses of equal length; None where the data cannot tell.

    Where the longer response wins, everything that long responses have more of wins too. So both are fitted together,
    a logistic regression per rule:

        P(the longer one is chosen) = sigmoid(o_k + b x)
        k    how much longer it is: bins of the ratio
        x    1 where the longer one has more of it, -1 where the shorter one has, else 0

    and sigmoid(b) is the rule's accuracy between responses of equal length. Length may act in any form, since every bin
    has an o_k of its own. It needs counts only, so that a million pairs cost one pass.

    Args:
        signs_NR: which side has more, by rule.
        lengths: of the same pairs.
        tallies: of the same rules; intervals widen as theirs do for pairs of one prompt.
    """
    cells = [_cells(sign_N, lengths) for sign_N in signs_NR.T]
    if not cells:
        return []
    slope_R, error_R = _fit(np.array(cells))
    decided_R = np.maximum(tallies.more + tallies.less, 1)
    error_R *= np.sqrt(decided_R / np.maximum(tallies.effective, 1))
    half_R = error_R * special.ndtri((1 + statistics.CONFIDENCE) / 2)
    values = (special.expit(slope_R + side * half_R).tolist() for side in (0, -1, 1))
    return [
        Estimate(value=value, ci_low=low, ci_high=high) if error <= _WIDEST else None
        for value, low, high, error in zip(*values, error_R.tolist(), strict=True)
    ]


def _cells(sign_N: Signs, lengths: LengthBins) -> Floats:
    """Counts of pairs (bins + 1, 3, 2): by bin; by whether the shorter, neither or the longer has more; by whether the
    shorter or the longer was chosen. The last bin has the pairs of equal length, with chosen for longer."""
    side_N = np.where(lengths.longer == 0, 1, lengths.longer)
    bin_N = np.where(lengths.longer == 0, _BINS, lengths.bins).astype(np.int64)
    # Each of the six cells of a bin has a number, so that one bincount fills the table.
    codes = bin_N * 6 + (sign_N * side_N + 1) * 2 + (side_N > 0)
    return np.bincount(codes, minlength=6 * (_BINS + 1)).astype(np.float64).reshape(_BINS + 1, 3, 2)


def _fit(cells_RB32: Floats) -> tuple[Floats, Floats]:
    """Slope b of each rule and its standard error, by Newton's method."""
    has = np.array([-1.0, 0.0, 1.0])
    n, right = cells_RB32.sum(axis=-1), cells_RB32[..., 1].copy()
    n[:, -1, 1] = right[:, -1, 1] = 0.0  # neither longer nor with more of it: says nothing
    free = np.append(np.ones(_BINS), 0.0)  # no o_k where both are as long
    offset, slope = np.zeros(n.shape[:2]), np.zeros(len(n))
    for _ in range(_LENGTH_STEPS):
        p = special.expit(offset[..., None] + slope[:, None, None] * has)
        weight = n * p * (1 - p)
        curve_o = weight.sum(axis=2) + _RIDGE
        cross = (weight * has).sum(axis=2) * free
        # The second derivative by the slope with every bin's own offset eliminated (Schur complement).
        curve = (weight * has**2).sum(axis=(1, 2)) + _RIDGE - (cross**2 / curve_o).sum(axis=1)
        pull_o = ((right - n * p).sum(axis=2) - _RIDGE * offset) * free
        pull = ((right - n * p) * has).sum(axis=(1, 2)) - _RIDGE * slope
        # Bounded: where nearly all pairs agree the likelihood is flat, and a full Newton step would overshoot.
        step = np.clip((pull - (cross * pull_o / curve_o).sum(axis=1)) / curve, -_LONGEST_STEP, _LONGEST_STEP)
        slope = slope + step
        offset = offset + np.clip((pull_o - cross * step[:, None]) / curve_o, -_LONGEST_STEP, _LONGEST_STEP)
    return slope, 1 / np.sqrt(curve)


STRONG, WEAK = 0.60, 0.55
BLIND = 0.65
LEAST_SHARE = 0.05


def grade(interval: Interval, share: float, equal_length: Estimate | None = None, *, strong: float = STRONG) -> Grade:
    """The grade of a rule: whether it is strong enough for a finding.

    *Why these thresholds.* Annotators who label the same pair agree in about 0.73 of cases (InstructGPT, Ouyang et al.
    2022, section 3.4: 72.6 ± 1.5 %), and reward models reach about as much on held-out pairs. A rule at 0.60 has
    covered over two fifths of the way from a coin to there without a word of the prompt, and it is the easiest thing to
    learn: a warning. At 0.55 it has covered a fifth: worth knowing. A classifier may use all rules at once, and some of
    what it sees is quality that needs no prompt (a finished answer, correct language): a warning from 0.65, two thirds
    of the way.

    *Why an interval, and which.* A grade needs the whole interval beyond the threshold, at a confidence that holds for
    all rules that were compared at once (Bonferroni): of a few hundred rules on clean data, some exceed a plain 95 %
    limit.

    *Why a least share.* A rule that decides fewer than one training pair in twenty moves accuracy by less than 2.5
    points even if it is always right.

    *Why the length is taken out.* Where the longer response wins, everything that long responses have more of wins too:
    lists, line breaks, most words. One cause is one finding. A feature or word that loses its edge between responses of
    equal length (`equal_length`) gets no grade of its own.

    Args:
        interval: of its accuracy, at the simultaneous confidence.
        share: of all training pairs, those that it decides.
        equal_length: its accuracy between responses of equal length, where it is known.
        strong: the threshold of a warning.
    """
    direction = 1 if interval.low > CHANCE else -1
    explained = equal_length is not None and direction * (equal_length.value - CHANCE) < WEAK - CHANCE
    if share < LEAST_SHARE or explained:
        return ""
    least = edge(interval)
    return "strong" if least > strong else "weak" if least > WEAK else ""


def edge(interval: Interval) -> float:
    """The least accuracy within the interval of the better of a rule and its opposite; 0.5 where it may be neither."""
    return max(interval.low, 1 - interval.high, CHANCE)


def simultaneous(rules: int) -> float:
    """The confidence of one interval among `rules`, such that all of them hold with the usual one."""
    return 1 - (1 - statistics.CONFIDENCE) / max(1, rules)


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
    """Margins of all pairs, each from a fold that has none of its prompt's pairs; > 0 where it prefers the chosen one.

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
    # In logarithms, so that swapping the sides turns the sign and nothing else.
    ratio = np.log1p(lengths_NU2[:, :, 0]) - np.log1p(lengths_NU2[:, :, 1])
    sign = np.sign(ratio)
    steps = [sign * (np.abs(ratio) > step) for step in _RATIO_STEPS]
    return np.concatenate([ratio, sign, *steps], axis=1)


def blind_models(
    features: Mapping[str, tuple[str, Any]], prompts_N: Ints, sources: Sequence[str], *, seed: int
) -> tuple[BlindModel, ...]:
    """Fit and judge each classifier.

    Logistic regression without an intercept on the difference of the two sides' features: a Bradley-Terry model with a
    linear reward, so that swapping the sides negates the margin. Each pair is judged by a classifier that was fitted on
    other prompts. What it gets right needs no prompt; a better model of the responses would get more, so that the true
    ceiling is at least this high. An accuracy clearly below 0.5 is no fault: it shows data in which the same responses
    are chosen under one prompt and rejected under others, so that what they did elsewhere is the opposite of what they
    do here.

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
