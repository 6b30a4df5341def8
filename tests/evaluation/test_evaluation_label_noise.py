"""Wrong labels found from margins: planted at known shares, absent where none is planted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rewardsmith.evaluation.label_noise import POOLED, NoiseEstimate, estimate_noise, read_estimate, wrong_probability

Floats = NDArray[np.float64]


def epoch(
    pairs: int, share: float, seed: int, *, skill: float = 4.0, scale: float = 1.0
) -> tuple[Floats, NDArray[np.bool_]]:
    """Margins of one epoch and which labels were flipped.

    The model starts knowing nothing; at the end its logits spread by `skill`. A true preference follows the logit by
    Bradley-Terry, so that the model is calibrated but for `scale`; a share of the labels is then flipped.
    """
    rng = np.random.default_rng(seed)
    logit = rng.normal(size=pairs) * skill * np.linspace(0, 1, pairs) ** 0.5
    right = rng.random(pairs) < 1 / (1 + np.exp(-np.abs(logit)))
    flipped = rng.random(pairs) < share
    return scale * np.abs(logit) * np.where(right ^ flipped, 1.0, -1.0), flipped


def look(margin: Floats, group: NDArray[np.int64] | None = None) -> NoiseEstimate:
    """An estimate of pairs with a prompt of their own each, in one group unless given."""
    return estimate_noise(margin, alone(len(margin)), np.zeros(len(margin), dtype=np.int64) if group is None else group)


def alone(pairs: int) -> NDArray[np.int64]:
    """A prompt of its own for every pair."""
    return np.arange(pairs)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.05, 0.2])
def test_the_planted_share_lies_in_the_interval(share: float) -> None:
    found = [look(epoch(6000, share, seed)[0]).share for seed in range(8)]
    assert sum(one.low <= share <= one.high for one in found) >= 7
    assert all(one.high - one.low < 0.04 + 0.25 * share for one in found)


def test_clean_labels_are_not_called_wrong() -> None:
    found = look(epoch(6000, 0.0, 3)[0])
    assert found.share.low == 0.0
    assert found.share.high < 0.02
    assert read_estimate(found)[0] == "few"


def test_flipped_labels_stand_first() -> None:
    """5 % are flipped: the ranking finds as many as the true logits would, nine times what chance finds."""
    margin, flipped = epoch(6000, 0.05, 1)
    found = look(margin)
    first = np.argsort(-found.probability, kind="stable")[: int(flipped.sum())]
    best = np.argsort(margin)[: int(flipped.sum())]  # the margins are the true logits here
    assert flipped[first].mean() > 0.4
    assert flipped[first].mean() > flipped[best].mean() - 0.02
    assert flipped[first[:50]].mean() > flipped[best[:50]].mean() - 0.1
    # the probabilities mean what they say
    likely = found.probability > 0.5
    assert abs(flipped[likely].mean() - found.probability[likely].mean()) < 0.1
    assert abs(found.probability.sum() - flipped.sum()) < 0.35 * flipped.sum()


def test_a_model_that_is_never_sure_cannot_tell() -> None:
    margin, _ = epoch(2000, 0.05, 2, skill=0.3)
    found = look(margin)
    assert found.share.high - found.share.low > 0.25
    assert read_estimate(found)[0] == "cannot tell"


def test_the_scale_of_rewards_does_not_matter() -> None:
    small, _ = epoch(3000, 0.05, 4)
    large = 12.5 * small
    one, other = (look(margin) for margin in (small, large))
    assert one.share.share == pytest.approx(other.share.share, abs=1e-4)
    np.testing.assert_allclose(one.probability, other.probability, atol=1e-3)


def test_pairs_of_one_prompt_widen_the_interval() -> None:
    """The same 1,500 pairs four times over are no more evidence than once."""
    margin, _ = epoch(1500, 0.05, 5)
    four, one_group = np.repeat(margin, 4), np.zeros(6000, dtype=np.int64)
    repeated = estimate_noise(four, np.repeat(alone(1500), 4), one_group).share
    as_if_new, once = look(four).share, look(margin).share
    assert repeated.high - repeated.low > 1.5 * (as_if_new.high - as_if_new.low)
    assert repeated.high - repeated.low > 0.9 * (once.high - once.low)


def test_a_source_with_more_wrong_labels_is_named_and_a_swapped_one_too() -> None:
    rng = np.random.default_rng(6)
    margin, _ = epoch(20000, 0.0, 6)
    source = rng.integers(0, 5, 20000)
    source[:40] = 99  # too few for slopes of their own
    noisy, swapped = source == 1, source == 2
    wrong = swapped | noisy & (rng.random(20000) < 0.3)
    margin[wrong] *= -1
    found = look(margin, source)
    assert found.groups.keys() == {POOLED, *range(5)}
    assert found.groups[1].low > 0.2
    assert found.groups[2].low > 0.8
    assert all(found.groups[clean].high < 0.1 for clean in (0, 3, 4))
    assert found.share.low <= wrong.mean() <= found.share.high
    assert found.probability[swapped & (np.arange(20000) > 10000)].mean() > 0.8
    assert found.probability[~wrong].mean() < 0.05


def test_a_group_that_the_model_cannot_judge_says_so() -> None:
    """Its labels may be right or wrong: the margins have nothing to do with them."""
    rng = np.random.default_rng(8)
    margin, _ = epoch(6000, 0.02, 8)
    source = rng.integers(0, 4, 6000)
    margin[source == 3] = rng.normal(size=int((source == 3).sum()))
    found = look(margin, source)
    assert found.groups[3].low < 0.1
    assert found.groups[3].high > 0.4
    assert found.share.high < 0.1  # the others decide


def test_what_only_the_first_half_shows_is_no_noise() -> None:
    """A model that changes fast is sure and wrong: of a fifth of the pairs it met early, here."""
    rng = np.random.default_rng(9)
    margin, _ = epoch(6000, 0.0, 9)
    margin[:3000] = np.abs(rng.normal(2, 1, 3000)) * np.where(rng.random(3000) < 0.2, -1, 1)
    assert look(margin).share.high < 0.03


@given(st.floats(0.0, 0.5), st.floats(0.0, 1.0))
def test_bayes(share: float, right: float) -> None:
    probability = float(wrong_probability(np.array([right]), share)[0])
    whole = share * (1 - right) + (1 - share) * right
    assert probability == pytest.approx(share * (1 - right) / whole if whole > 0 else 0.0)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-30, 30, allow_subnormal=False), min_size=1, max_size=60))
def test_any_margins_give_an_estimate_inside_its_interval(margins: list[float]) -> None:
    found = look(np.array(margins))
    assert 0.0 <= found.share.low <= found.share.share <= found.share.high <= 0.5
    assert np.isfinite(found.probability).all()
    assert sum(band.n for band in found.bands) == len(margins)
    order = np.argsort(np.array(margins), kind="stable")
    half = order[order >= len(margins) // 2]  # one cell: the lower the margin, the more suspect
    assert (np.diff(found.probability[half]) <= 1e-12).all()
