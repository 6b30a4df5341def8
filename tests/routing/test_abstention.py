"""A limit on wrong confident verdicts: the binomial by hand, what it refuses, and coverage where the truth is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from rewardsmith.errors import DataError
from rewardsmith.routing.abstention import Abstention, abstain, fewest, fitting_part, in_words, p_value


def planted(n: int, seed: int, worst: float = 0.4) -> tuple[np.ndarray, np.ndarray]:
    """Sureness uniform on 0 to 1, wrong with probability worst · (1 - sureness).

    Above a limit t the share of wrong verdicts is the mean of that over t to 1: worst · (1 - t) / 2.
    """
    rng = np.random.default_rng(seed)
    sureness = rng.random(n)
    return sureness, (rng.random(n) >= worst * (1 - sureness)).astype(np.float64)


def fitted(sureness: np.ndarray, right: np.ndarray, seed: int = 3, **options: Any) -> Abstention:
    units = options.pop("units", np.arange(len(sureness)))
    settings = {"wrong": 0.1, "confidence": 0.9} | options
    return abstain(sureness, right, units, fitting_part(units, seed), seed=seed, **settings)


def test_the_fewest_that_certify_by_hand() -> None:
    # 0.9^21 = 0.1094, 0.9^22 = 0.0985; 0.95^58 = 0.0510, 0.95^59 = 0.0485
    assert (fewest(0.1, 0.9), fewest(0.05, 0.95)) == (22, 59)
    assert 0.9**22 <= 0.1 < 0.9**21


@pytest.mark.parametrize(("decided", "mistakes"), [(22, 0), (100, 4), (100, 10), (7, 7)])
def test_the_p_value_is_the_binomial_tail(decided: int, mistakes: int) -> None:
    assert p_value(decided, mistakes, 0.1) == pytest.approx(stats.binom.cdf(mistakes, decided, 0.1))
    assert p_value(0, 0, 0.1) == 1.0


def test_coverage_is_as_stated_where_the_truth_is_known() -> None:
    # wrong at most 0.1 is true of limits t with 0.4 (1 - t) / 2 <= 0.1, so t >= 1/2. Of 600 calibrations at most 60 may
    # choose a lower one; more than the quantile would be seen by luck in 1 of 500 cases at exactly one in ten.
    runs = 600
    chosen = [fitted(*planted(900, seed), seed=seed) for seed in range(runs)]
    broken = sum(one.limit < 0.5 for one in chosen)
    assert broken <= stats.binom.ppf(0.998, runs, 0.1)
    assert broken > 0  # and the bound is used, not avoided
    limits = np.array([one.limit for one in chosen if one.reached])
    assert len(limits) > 0.7 * runs
    assert 0.5 < np.median(limits) < 0.75


def test_a_model_that_does_not_know_where_it_is_wrong_decides_nothing() -> None:
    rng = np.random.default_rng(0)
    found = [fitted(rng.random(400), (rng.random(400) < 0.8).astype(float), seed=seed) for seed in range(100)]
    assert sum(one.reached for one in found) <= 3  # one in five is wrong at every limit
    refused = next(one for one in found if not one.reached)
    assert refused.limit > 1.0
    assert "No limit is certified" in in_words(refused, 0.1, 0.9)


def test_a_model_that_is_always_right_decides_everything() -> None:
    sureness, _ = planted(200, 1)
    found = fitted(sureness, np.ones(200))
    assert found.reached
    assert found.steps[-1].decided == found.tested - sum(
        sureness[~fitting_part(np.arange(200), 3)] < found.steps[-1].limit
    )
    assert found.steps[-1].decided >= 125  # of 134
    assert [one.limit for one in found.steps] == sorted((one.limit for one in found.steps), reverse=True)
    words = in_words(found, 0.1, 0.9)
    assert "90 % confidence" in words
    assert "at most 10 %" in words


def test_the_sequence_ends_at_the_first_that_does_not_pass() -> None:
    found = fitted(*planted(2_000, 5))
    assert all(one.p_value <= 0.1 for one in found.steps[:-1])
    assert found.steps[-1].p_value > 0.1
    assert found.limit == found.steps[-2].limit


def test_too_few_prompts_are_refused_with_how_many_are_needed() -> None:
    with pytest.raises(DataError, match=r"20 prompts are left for the test.* takes 22 .*confidence 0\.9") as caught:
        fitted(*planted(30, 1))
    assert "at least 33 prompts" in str(caught.value)
    assert fitted(*planted(33, 1)).tested == 22


def test_one_pair_a_prompt_is_tested_and_no_prompt_is_on_both_sides() -> None:
    units = np.repeat(np.arange(100), 3)
    half = fitting_part(units, 9)
    assert not set(units[half]) & set(units[~half])
    sureness, right = planted(300, 2)
    found = fitted(sureness, right, units=units, seed=9)
    assert (found.tested, found.fitted) == (67, 33)
    assert max(one.decided for one in found.steps) <= 67


def test_ties_are_wrong_and_what_other_rules_decide_stays_decided() -> None:
    sureness, _ = planted(200, 1)
    assert not fitted(sureness, np.full(200, 0.5)).reached
    forced = np.where(np.arange(200) % 2 == 0, math.inf, sureness)
    assert fitted(forced, np.ones(200)).reached
    assert all(math.isfinite(one.limit) for one in fitted(forced, np.ones(200)).steps)
    escalated = np.where(np.arange(200) % 2 == 0, -math.inf, sureness)
    found = fitted(escalated, (sureness == escalated).astype(float))  # right wherever it may decide
    assert found.reached
    assert max(one.wrong for one in found.steps) == 0
