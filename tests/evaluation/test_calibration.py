"""Margins as probabilities: temperature, calibration error, Brier score, and the cases that have no temperature."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from rewardsmith.bradley_terry import fit_temperature
from rewardsmith.evaluation import EvalRow, calibration
from rewardsmith.evaluation.calibration import FOLDS, calibrate, checkpoint_calibration, folds_of, is_pairwise
from rewardsmith.evaluation.contract import pair_margins
from rewardsmith.types import Message


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x)))


def fit(margins, prompts=None, folds=None, resamples=300):
    margins = np.asarray(margins, dtype=float)
    prompts = np.arange(len(margins)) if prompts is None else np.asarray(prompts)
    return calibrate(margins, prompts, prompts % FOLDS if folds is None else folds, seed=1, resamples=resamples)


def synthetic(n, seed, scale=1.0):
    """Margins of pairs whose chosen response is chosen with probability sigmoid(scale * its margin)."""
    rng = np.random.default_rng(seed)
    margins = rng.normal(0, 2, n)
    return np.where(rng.random(n) < sigmoid(scale * margins), margins, -margins)


def test_a_calibrated_scorer_has_temperature_one_and_no_error():
    found = fit(synthetic(4000, 0))
    assert found.temperature == pytest.approx(1, abs=0.1)
    assert found.temperature_ci[0] < 1 < found.temperature_ci[1]
    assert found.ece_ci[0] == 0.0
    assert found.ece_ci[1] < 0.03
    assert found.ece == pytest.approx(found.ece_if_calibrated, abs=0.01)
    assert found.note == ""


def test_an_overconfident_scorer_has_its_temperature_and_a_raw_error():
    found = fit(synthetic(4000, 1, scale=0.4))
    assert found.temperature == pytest.approx(1 / 0.4, rel=0.1)
    assert found.temperature_ci[0] < 2.5 < found.temperature_ci[1]
    rng = np.random.default_rng(5)
    size = np.abs(rng.normal(0, 2, 200_000))
    truth = float((sigmoid(size) - sigmoid(0.4 * size)).mean())  # mean |confidence - accuracy| before scaling
    assert found.ece_raw == pytest.approx(truth, abs=0.02)
    assert found.ece_ci[0] == 0.0
    assert found.brier < found.brier_raw
    assert found.log_loss < found.log_loss_raw


def test_a_shape_that_no_temperature_fixes_keeps_an_error():
    # sure of itself at every margin, but right in 60 of 100 whatever the margin
    rng = np.random.default_rng(2)
    margins = rng.uniform(0.1, 6, 4000) * np.where(rng.random(4000) < 0.6, 1, -1)
    found = fit(margins)
    stated = sigmoid(np.abs(margins) / found.temperature)
    assert found.ece == pytest.approx(np.abs(stated - 0.6).mean(), abs=0.02)
    assert found.ece_ci[0] > 0.01


def test_the_interval_covers():
    rng = np.random.default_rng(3)
    size = np.abs(rng.normal(0, 2, 200_000))
    covered = {}
    for shape in (1.0, 0.5):  # accuracy sigmoid(size) ** shape stretched: a calibrated and a misshapen scorer
        hits = 0
        for trial in range(60):
            trial_rng = np.random.default_rng(trial)
            own = np.abs(trial_rng.normal(0, 2, 800))
            p = 0.5 + (sigmoid(own) - 0.5) * (1 if shape == 1 else np.where(own > 1, 0.4, 1.6))
            found = fit(np.where(trial_rng.random(800) < np.clip(p, 0, 1), own, -own), resamples=200)
            truth_p = 0.5 + (sigmoid(size) - 0.5) * (1 if shape == 1 else np.where(size > 1, 0.4, 1.6))
            truth = np.abs(sigmoid(size / found.temperature) - np.clip(truth_p, 0, 1)).mean()
            hits += found.ece_ci[0] <= truth + 0.005 and truth <= found.ece_ci[1]
        covered[shape] = hits / 60
    assert min(covered.values()) >= 0.85


def test_numbers_by_hand_with_given_folds():
    # two folds whose others have the same margins, so that every pair gets the temperature of {3, -1} repeated
    margins = np.array([3.0, -1.0] * 20)
    folds = np.repeat([0, 1], 20)
    found = fit(margins, folds=folds)
    # the derivative of the likelihood: 3 sigmoid(-3b) = sigmoid(b)
    beta = optimize.brentq(lambda b: 3 * sigmoid(-3 * b) - sigmoid(b), 1e-6, 10, xtol=1e-14)
    assert found.temperature == pytest.approx(1 / beta, rel=1e-9)
    p = sigmoid(beta * margins)
    assert found.brier == pytest.approx(((1 - p) ** 2).mean())
    assert found.log_loss == pytest.approx(-np.log(p).mean())
    assert found.brier_raw == pytest.approx(((1 - sigmoid(margins)) ** 2).mean())
    # two bins, by size of the margin: 1 is always wrong, 3 always right
    low, high = float(sigmoid(beta)), float(sigmoid(3 * beta))
    assert [(point.n, point.accuracy) for point in found.points] == [(20, 0.0), (20, 1.0)]
    assert [point.confidence for point in found.points] == pytest.approx([low, high])
    assert found.ece == pytest.approx((low + (1 - high)) / 2)
    # neither bin varies, so there is no noise to take out
    assert found.ece_debiased == pytest.approx(found.ece)
    variances = [low * (1 - low) / 20, high * (1 - high) / 20]
    assert found.ece_if_calibrated == pytest.approx(np.sqrt(2 / np.pi) * np.sqrt(variances).mean())


def test_the_temperature_interval_is_the_sandwich():
    margins, prompts = synthetic(300, 4), np.arange(300) // 3
    found = fit(margins, prompts)
    scaled = margins / found.temperature
    slope = scaled * sigmoid(-scaled)
    curvature = (scaled**2 * sigmoid(scaled) * sigmoid(-scaled)).sum()
    reach = 1.959964 * math.sqrt((slope.reshape(100, 3).sum(axis=1) ** 2).sum()) / curvature
    expected = (found.temperature * math.exp(-reach), found.temperature * math.exp(reach))
    assert found.temperature_ci == pytest.approx(expected, rel=1e-5)


def test_the_temperature_interval_covers():
    hits = [fit(synthetic(300, seed), resamples=10).temperature_ci for seed in range(200)]
    assert 0.90 <= np.mean([low <= 1 <= high for low, high in hits]) <= 0.99


def test_a_pair_is_judged_without_its_own_prompt():
    # fold 0 holds margins that would pull the temperature far down; it must not see itself
    easy, hard = np.full(50, 8.0), synthetic(200, 5)
    margins = np.concatenate([easy, hard])
    folds = np.concatenate([np.zeros(50, dtype=int), 1 + np.arange(200) % 4])
    found = fit(margins, folds=folds)
    own = [fit_temperature(margins[folds != fold]) for fold in folds]
    assert found.brier == pytest.approx(((1 - sigmoid(margins / np.array(own))) ** 2).mean())


def test_equal_rewards_are_undecided():
    found = fit(np.concatenate([np.zeros(40), synthetic(160, 6)]))
    assert found.points[0].confidence == pytest.approx(0.5, abs=0.05)
    assert found.points[0].accuracy == pytest.approx(0.5, abs=0.05)


def test_pairs_that_are_all_ordered_rightly_have_no_temperature():
    found = fit(np.linspace(0.5, 4, 100))
    assert (found.temperature, found.temperature_ci, found.ece, found.points) == (None, None, None, ())
    assert found.brier_raw == pytest.approx(((1 - sigmoid(np.linspace(0.5, 4, 100))) ** 2).mean())
    assert found.note.startswith("No pair is ordered wrongly")
    assert checkpoint_calibration(found) is None


@pytest.mark.parametrize("margins", [[-1.0, -2.0, 0.5], [0.0, 0.0], [-3.0]])
def test_useless_margins_have_no_temperature(margins):
    found = fit(margins)
    assert found.temperature is None
    assert found.note.startswith("The mean margin is not positive")
    assert found.ece_raw is not None


def test_one_wrong_pair_is_too_few_for_honest_errors():
    found = fit([2.0] * 30 + [-1.0])
    assert found.temperature is not None
    assert (found.ece, found.brier) == (None, None)
    assert found.note.startswith("Too few pairs are ordered wrongly")


def test_missing_rewards_are_left_out_and_nothing_is_nothing():
    margins = synthetic(200, 7)
    gaps = np.concatenate([margins, np.full(20, np.nan)])
    assert fit(gaps).model_dump() == fit(margins).model_dump()
    assert fit(np.full(5, np.nan)) is None
    assert fit([]) is None


def test_rows_are_pairwise_or_not():
    def row(chosen, rejected):
        return EvalRow("1", "all", (Message("user", "?"),), ((),) * chosen, ((),) * rejected)

    assert is_pairwise([row(1, 1)])
    assert not is_pairwise([row(1, 1), row(1, 3)])
    assert not is_pairwise([])
    assert pair_margins([np.array([2.0, 0.5]), np.array([np.nan, 1.0])])[0] == 1.5


def test_folds_follow_the_prompt_alone():
    rows = [EvalRow(str(i), "all", (Message("user", f"p{i % 50}"),), (), ()) for i in range(100)]
    folds = folds_of(rows, 1)
    assert (folds[:50] == folds[50:]).all()
    assert (folds_of(rows[::-1], 1)[::-1] == folds).all()
    assert set(folds.tolist()) == set(range(FOLDS))


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.floats(0.1, 20))
def test_a_scale_of_all_rewards_moves_the_temperature_alone(seed, scale):
    margins = synthetic(120, seed)
    one, other = fit(margins, resamples=20), fit(scale * margins, resamples=20)
    if one.temperature is None or one.ece is None:
        return
    assert other.temperature == pytest.approx(scale * one.temperature, rel=1e-6)
    assert (other.brier, other.log_loss) == (pytest.approx(one.brier), pytest.approx(one.log_loss))


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_the_order_of_pairs_changes_nothing(seed):
    margins, prompts = synthetic(150, seed), np.arange(150) // 2
    order = np.random.default_rng(seed).permutation(150)
    one, other = fit(margins, prompts, resamples=20), fit(margins[order], prompts[order], resamples=20)
    for field in ("temperature", "ece", "ece_debiased", "brier", "ece_if_calibrated"):
        assert getattr(other, field) == pytest.approx(getattr(one, field), abs=1e-9)
    assert (other.ece_ci is None) == (one.ece_ci is None)


def test_what_a_checkpoint_carries():
    found = fit(synthetic(500, 8))
    carried = checkpoint_calibration(found)
    assert carried["temperature"] == found.temperature
    assert (carried["ece"], carried["ece_low"], carried["ece_high"]) == (found.ece, *found.ece_ci)
    assert (carried["brier"], carried["n"]) == (found.brier, 500.0)
    assert checkpoint_calibration(None) is None
    assert all(isinstance(value, float) for value in carried.values())


def test_margins_that_say_nothing_of_the_temperature_bound_nothing():
    """Scores of margins of ±s are s/2 and curvatures s²/4: the interval of log T reaches 2.8 / s, beyond any float."""
    margin_P, prompt_P = np.array([1e-3, -1e-3]), np.array([0, 1])
    assert calibration._temperature_interval(margin_P, prompt_P, 1.0) is None
    low, high = calibration._temperature_interval(margin_P * 1e3, prompt_P, 1.0)
    assert 0 < low < 1 < high
