"""Do margins mean probabilities? Temperature, calibration error with interval, Brier score, reliability points.

    calibrate(margins, prompts, folds, seed=…, resamples=…) → Calibration | None
    by_subset(margins, subsets, prompts, folds, pooled=1.7, given=True)     one `SubsetTemperature` a subset
    in_use(found)                                                           {"Math": 0.9}

In: margins of pairs (chosen minus rejected), the number of each pair's prompt, and its fold. Out: P(chosen is
preferred) = sigmoid(margin / temperature), and how far that is from what happens. Pure.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from rewardsmith import bradley_terry, statistics
from rewardsmith.evaluation.contract import EvalRow, Floats
from rewardsmith.evaluation.distribution import Ints, group_sums
from rewardsmith.records.evaluation import Calibration, ReliabilityPoint
from rewardsmith.records.routing import SubsetTemperature

FOLDS = 5
BINS = 10
FEWEST_IN_BIN = 20

_NULL_DRAWS = 2_000
_METHOD = (
    "temperature by maximum likelihood; errors of temperatures fitted without the pair's prompt (5 folds by prompt); "
    "{bins} bins of equal mass; intervals by bootstrap over {prompts} prompts, {resamples} resamples"
)

_NO_BOUND = 50.0  # an interval of e**50 times the temperature says nothing of it, and e**710 is no float


def is_pairwise(rows: Sequence[EvalRow]) -> bool:
    """Every row is one chosen and one rejected response, so that margins are of labelled pairs."""
    return bool(rows) and all(len(row.chosen) == len(row.rejected) == 1 for row in rows)


def folds_of(rows: Sequence[EvalRow], seed: int) -> Ints:
    """The fold of each row, by a hash of its prompt: equal prompts stay together, and the order of rows is nothing."""
    texts = ("\0".join(message.text for message in row.prompt or row.responses[0]) for row in rows)
    # Not `hash`, which differs from process to process.
    return np.array([zlib.crc32(f"{seed}\0{text}".encode(errors="replace")) % FOLDS for text in texts], dtype=np.int64)


def calibrate(margins: Floats, prompts: Ints, folds: Ints, *, seed: int, resamples: int) -> Calibration | None:
    """Temperature and calibration errors; None where there is no margin.

    *Temperature.* Maximum likelihood over all pairs (one parameter, Guo et al. 2017); its interval is Wald's on the log
    scale with a variance that takes the pairs of one prompt as one unit. This is the number for use on other texts.

    *Honest errors.* A temperature looks better on the pairs that it was fitted on. So the pairs are parted into five
    folds by prompt, and each is judged by the temperature of the other four. ECE, Brier score and log loss are of these
    probabilities; `raw` ones are of temperature 1, which needs no fitting.

    *ECE.* With the chosen response always first, every outcome would be 1. So each pair states its confidence in its
    own order, sigmoid(|margin| / T) between 1/2 and 1, and is right (1), wrong (0) or undecided (1/2). Ten bins of
    equal mass, at least 20 pairs each; equal confidences stay together; ECE = mean over pairs of |confidence -
    accuracy| of their bin. Chance makes this positive for a calibrated model too: `ece_if_calibrated` is what it would
    show with as many pairs. `ece_debiased` takes out each bin's noise (Kumar et al. 2019, arXiv 1909.10155, for the l1
    error, in closed form), and the interval is the bootstrap's over prompts around it; its lower end is 0 where a
    calibrated model would show as much in more than 2.5 of 100 cases. In simulations (500 and 2,000 pairs) the interval
    covers at 91 to 97 % where the true error is 0.05 or more.

    *No temperature.* Where no pair is ordered wrongly the likelihood rises for ever as the temperature falls, and where
    the mean margin is not positive no temperature helps; `note` says so, and errors are then of temperature 1 alone.

    Args:
        margins: chosen minus rejected, shape (pairs,); NaN where a reward is missing.
        prompts: number of each pair's prompt: pairs of one prompt are one unit.
        folds: 0 to `FOLDS` - 1, equal for equal prompts.
        seed: of the bootstrap.
        resamples: bootstrap resamples.
    """
    known = ~np.isnan(margins)
    margin_P, prompt_P, fold_P = margins[known], prompts[known], folds[known]
    if margin_P.size == 0:
        return None
    temperature = bradley_terry.fit_temperature(margin_P)
    fitted_P = _without_own_fold(margin_P, fold_P) if temperature is not None else None
    bins = max(1, min(BINS, margin_P.size // FEWEST_IN_BIN))
    raw = _errors(margin_P, bins)
    found = Calibration(
        n=margin_P.size,
        prompts=len(np.unique(prompt_P)),
        temperature=temperature,
        temperature_ci=_temperature_interval(margin_P, prompt_P, temperature) if temperature is not None else None,
        ece_raw=raw["ece"],
        brier_raw=raw["brier"],
        log_loss_raw=raw["log_loss"],
        note=_note(margin_P, temperature, fitted_P),
    )
    if fitted_P is None:
        return found
    scaled_P = margin_P / fitted_P
    return found.model_copy(update=_errors(scaled_P, bins) | _error_of_error(scaled_P, prompt_P, bins, seed, resamples))


def _without_own_fold(margin_P: Floats, fold_P: Ints) -> Floats | None:
    """For each pair the temperature of the other folds; None where some fold's others have none."""
    temperature_P = np.empty_like(margin_P)
    for fold in np.unique(fold_P):
        temperature = bradley_terry.fit_temperature(margin_P[fold_P != fold])
        if temperature is None:
            return None
        temperature_P[fold_P == fold] = temperature
    return temperature_P


def _temperature_interval(margin_P: Floats, prompt_P: Ints, temperature: float) -> tuple[float, float] | None:
    """Wald's interval of log T, None where it has no bounds; the score is summed over each prompt before squaring."""
    scaled_P = margin_P / temperature
    wrong_P = bradley_terry.preference_probability(-scaled_P)
    score_G = group_sums([scaled_P * wrong_P], prompt_P)[:, 0]
    curvature = float((scaled_P**2 * wrong_P * (1 - wrong_P)).sum())
    if len(score_G) < 2 or curvature <= 0:
        return None
    reach = float(special.ndtri((1 + statistics.CONFIDENCE) / 2)) * float(np.sqrt((score_G**2).sum())) / curvature
    if reach > _NO_BOUND:
        return None
    return temperature * float(np.exp(-reach)), temperature * float(np.exp(reach))


def _errors(scaled_P: Floats, bins: int) -> dict[str, float]:
    """Plain ECE, Brier score and log loss of sigmoid(scaled margin)."""
    confidence_P, right_P = confidences(scaled_P)
    size_B, gap_B, _ = _bins(confidence_P, right_P, _bin_of(confidence_P, bins))
    return {
        "ece": float((size_B * np.abs(gap_B)).sum() / size_B.sum()),
        "brier": float(((1 - bradley_terry.preference_probability(scaled_P)) ** 2).mean()),
        "log_loss": float(bradley_terry.pair_losses(scaled_P).mean()),
    }


def _error_of_error(scaled_P: Floats, prompt_P: Ints, bins: int, seed: int, resamples: int) -> dict[str, object]:
    """The debiased ECE, its interval, what a calibrated model would show, and the points of the plot."""
    confidence_P, right_P = confidences(scaled_P)
    bin_P = _bin_of(confidence_P, bins)
    size_B, gap_B, variance_B = _bins(confidence_P, right_P, bin_P)
    share_B = size_B / size_B.sum()
    plain, debiased = float(share_B @ np.abs(gap_B)), float(share_B @ _debiased(gap_B, variance_B))
    expected, rare = _calibrated_ece(confidence_P, bin_P, share_B, seed)
    member_PB = bin_P[:, None] == np.arange(len(size_B))
    columns = [member_PB * value_P[:, None] for value_P in (np.ones_like(right_P), confidence_P, right_P)]
    units_GF = group_sums(list(np.concatenate(columns, axis=1).T), prompt_P)
    sums_SF = statistics.bootstrap_sums(units_GF, seed=seed, resamples=resamples)
    # The basic bootstrap. To the resamples the sample's plain error is the true one: what they find beyond it is how
    # far a debiased error goes astray, and is taken off the one that was found.
    spread_S = _debiased_ece(*np.split(sums_SF, 3, axis=1)) - plain
    interval = statistics.percentile_interval(debiased - spread_S)
    prompts = len(units_GF)
    return {
        "ece_debiased": max(0.0, debiased),
        "ece_ci": (0.0 if plain <= rare else max(0.0, interval.low), max(0.0, interval.high)),
        "ece_if_calibrated": expected,
        "bins": len(size_B),
        "points": _points(confidence_P, right_P, bin_P),
        "method": _METHOD.format(bins=len(size_B), prompts=prompts, resamples=resamples),
    }


def confidences(margin_P: Floats) -> tuple[Floats, Floats]:
    """(stated confidence in the model's own order, 1 where that order is right, 1/2 where there is none, else 0)."""
    right_P = np.where(margin_P > 0, 1.0, np.where(margin_P == 0, 0.5, 0.0))
    return bradley_terry.preference_probability(np.abs(margin_P)), right_P


def _bin_of(confidence_P: Floats, bins: int) -> Ints:
    """Bins of equal mass, numbered from 0 without gaps; equal confidences fall into one bin."""
    edges = np.quantile(confidence_P, np.linspace(0, 1, bins + 1)[1:-1])
    _, place_P = np.unique(np.searchsorted(edges, confidence_P, side="right"), return_inverse=True)
    return place_P.astype(np.int64)


def _bins(confidence_P: Floats, right_P: Floats, bin_P: Ints) -> tuple[Floats, Floats, Floats]:
    """(pairs, mean confidence - accuracy, variance of the accuracy's mean) of each bin."""
    size_B = np.bincount(bin_P).astype(np.float64)
    accuracy_B = np.bincount(bin_P, weights=right_P) / size_B
    gap_B = np.bincount(bin_P, weights=confidence_P) / size_B - accuracy_B
    return size_B, gap_B, accuracy_B * (1 - accuracy_B) / np.maximum(size_B - 1, 1)


def _debiased(gap: Floats, variance: Floats) -> Floats:
    """|gap| less what noise of this variance adds to it: 2 |gap| - E |N(gap, variance)|."""
    # A bin that is all right or all wrong shows no variance, and noise is divided by.
    size, noise = np.abs(gap), np.sqrt(np.maximum(variance, 1e-30))
    folded = noise * np.sqrt(2 / np.pi) * np.exp(-(size**2) / (2 * noise**2)) + size * (
        1 - 2 * special.ndtr(-size / noise)
    )
    return np.asarray(2 * size - folded, dtype=np.float64)


def _debiased_ece(size_SB: Floats, confidence_SB: Floats, right_SB: Floats) -> Floats:
    """The debiased ECE of each resample, from sums over its bins; an empty bin counts nothing."""
    pairs_SB = np.maximum(size_SB, 1)
    accuracy_SB = right_SB / pairs_SB
    variance_SB = np.maximum(accuracy_SB * (1 - accuracy_SB), 0) / np.maximum(size_SB - 1, 1)
    error_SB = _debiased(confidence_SB / pairs_SB - accuracy_SB, variance_SB)
    return np.asarray((size_SB * error_SB).sum(axis=1) / size_SB.sum(axis=1), dtype=np.float64)


def _calibrated_ece(confidence_P: Floats, bin_P: Ints, share_B: Floats, seed: int) -> tuple[float, float]:
    """(mean, 97.5 % quantile) of the plain ECE if every confidence were true; bins' gaps are taken as normal."""
    variance_B = np.bincount(bin_P, weights=confidence_P * (1 - confidence_P)) / np.bincount(bin_P) ** 2
    draws_DB = np.random.default_rng(seed).standard_normal((_NULL_DRAWS, len(share_B)))
    ece_D = np.abs(draws_DB) @ (share_B * np.sqrt(variance_B))
    expected = float(np.sqrt(2 / np.pi) * (share_B @ np.sqrt(variance_B)))
    return expected, float(np.quantile(ece_D, (1 + statistics.CONFIDENCE) / 2))


def _points(confidence_P: Floats, right_P: Floats, bin_P: Ints) -> tuple[ReliabilityPoint, ...]:
    size_B = np.bincount(bin_P)
    confidence_B = np.bincount(bin_P, weights=confidence_P) / size_B
    right_B = np.bincount(bin_P, weights=right_P)
    intervals = [
        statistics.wilson_interval(float(right), int(size)) for right, size in zip(right_B, size_B, strict=True)
    ]
    return tuple(
        ReliabilityPoint(
            n=int(size_B[place]),
            confidence=float(confidence_B[place]),
            accuracy=float(right_B[place] / size_B[place]),
            low=interval.low,
            high=interval.high,
        )
        for place, interval in enumerate(intervals)
    )


def _note(margin_P: Floats, temperature: float | None, fitted_P: Floats | None) -> str:
    if temperature is None and margin_P.min() >= 0 and margin_P.max() > 0:
        return "No pair is ordered wrongly: any lower temperature fits better, so that none is given."
    if temperature is None:
        return "The mean margin is not positive: no temperature makes these margins probabilities."
    if fitted_P is None:
        return "Too few pairs are ordered wrongly to fit a temperature without a fold: errors are of temperature 1."
    return ""


def checkpoint_calibration(found: Calibration | None) -> dict[str, float] | None:
    """What `rewardsmith.json` carries for router and server; None where there is no temperature."""
    if found is None or found.temperature is None:
        return None
    numbers = {
        "temperature": found.temperature,
        "temperature_low": found.temperature_ci[0] if found.temperature_ci else None,
        "temperature_high": found.temperature_ci[1] if found.temperature_ci else None,
        "ece": found.ece,
        "ece_low": found.ece_ci[0] if found.ece_ci else None,
        "ece_high": found.ece_ci[1] if found.ece_ci else None,
        "brier": found.brier,
        "log_loss": found.log_loss,
        "n": float(found.n),
    }
    return {name: number for name, number in numbers.items() if number is not None}


FEWEST_PROMPTS = 100
ALPHA = 0.05


def by_subset(
    margins: Floats,
    subsets: Sequence[str],
    prompts: Ints,
    folds: Ints,
    *,
    pooled: float,
    given: bool,
) -> tuple[SubsetTemperature, ...]:
    """A temperature for each subset, where the data carry it; in the order of their names.

    A subset of at least `FEWEST_PROMPTS` prompts gets a temperature of its own where that predicts its held-out labels
    better than the pooled one: five folds by prompt, the subset's temperature and the pooled one both fitted without
    the fold, the mean difference of their log losses with a t test over prompts (pairs of one prompt are one unit),
    Holm-corrected over the subsets, p < 0.05. Everywhere else the pooled temperature stands. A temperature that is
    given (that of a checkpoint) is the pooled one in every fold. Pairs without a margin or a subset are left out.

    Args:
        margins: chosen minus rejected, shape (pairs,); NaN where a reward is missing.
        subsets: of each pair.
        prompts: number of each pair's prompt.
        folds: equal for equal prompts.
        pooled: the temperature of all pairs.
        given: it was not fitted on these pairs.
    """
    names = np.asarray(subsets)
    there = ~np.isnan(margins) & (names != "")
    pooled_P = _pooled(margins, folds, there, pooled, given)
    found, differences = [], []
    for name in sorted(set(names[there].tolist())):
        here = there & (names == name)
        own, difference = _tried(margins[here], prompts[here], folds[here], pooled_P[here])
        found.append(
            SubsetTemperature(
                subset=name,
                pairs=int(here.sum()),
                prompts=len(np.unique(prompts[here])),
                temperature=own,
                gain=difference.mean if difference else None,
                gain_low=difference.mean - difference.reach if difference else None,
                gain_high=difference.mean + difference.reach if difference else None,
            )
        )
        differences.append(difference)
    corrected = iter(statistics.holm([one.p_value for one in differences if one]))
    return tuple(
        one
        if difference is None
        else one.model_copy(update={"p_value": (p := next(corrected)), "used": p < ALPHA and difference.mean > 0})
        for one, difference in zip(found, differences, strict=True)
    )


def in_use(found: Sequence[SubsetTemperature]) -> dict[str, float]:
    """Subset → its own temperature, of those that have one."""
    return {one.subset: one.temperature for one in found if one.used and one.temperature is not None}


def _pooled(margins: Floats, folds: Ints, there: np.ndarray, pooled: float, given: bool) -> Floats:
    """The pooled temperature of each pair, fitted without the pair's fold where it is fitted on these pairs."""
    found = np.full(len(margins), pooled)
    if not given:
        for fold in np.unique(folds):
            without = bradley_terry.fit_temperature(margins[there & (folds != fold)])
            found[folds == fold] = pooled if without is None else without
    return found


@dataclass(frozen=True, slots=True)
class _Saved:
    """A mean over pairs, half its 95 % interval, and the two-sided p-value of 0; prompts are the units."""

    mean: float
    reach: float
    p_value: float


def _tried(margin_P: Floats, prompt_P: Ints, fold_P: Ints, pooled_P: Floats) -> tuple[float | None, _Saved | None]:
    """The subset's own temperature, and how much log loss a pair it saves out of fold; None with too few prompts."""
    own = bradley_terry.fit_temperature(margin_P)
    if own is None or len(np.unique(prompt_P)) < FEWEST_PROMPTS:
        return own, None
    own_P = _without_own_fold(margin_P, fold_P)
    if own_P is None:
        return own, None
    return own, _saved(
        bradley_terry.pair_losses(margin_P / pooled_P) - bradley_terry.pair_losses(margin_P / own_P), prompt_P
    )


def _saved(saved_P: Floats, prompt_P: Ints) -> _Saved:
    """Linearised variance of a ratio of sums over prompts."""
    sums_U, sizes_U = statistics.grouped_sums(saved_P, prompt_P).T
    units, mean = len(sums_U), float(saved_P.mean())
    error = float(np.sqrt(units / (units - 1) * ((sums_U - mean * sizes_U) ** 2).sum())) / len(saved_P)
    reach = float(special.stdtrit(units - 1, (1 + statistics.CONFIDENCE) / 2)) * error
    p = float(2 * special.stdtr(units - 1, -abs(mean) / error)) if error > 0 else 1.0
    return _Saved(mean, reach, p)
