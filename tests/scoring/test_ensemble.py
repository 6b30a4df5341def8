"""Ensembles: the three rules by hand, weights, missing rewards, failing members, scales that differ, calibration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.errors import ModelError
from rewardsmith.protocols import Progress, Scorer
from rewardsmith.scoring.ensemble import (
    Combination,
    EnsembleScorer,
    Member,
    Scale,
    calibrated_scales,
    combine,
    scale_notes,
)
from rewardsmith.types import Conversation, Message

A, B = np.array([1.0, 2.0]), np.array([3.0, -2.0])


class Linear:
    """The length of the text times a factor; NaN for a text with `refuse` in it; fails if told so."""

    def __init__(self, factor: float, *, error: Exception | None = None, refuse: str = "REFUSE") -> None:
        self.factor, self.error, self.refuse = factor, error, refuse

    def score(self, conversations: Sequence[Conversation], progress: Progress | None = None) -> np.ndarray:
        del progress
        if self.error is not None:
            raise self.error
        texts = ["".join(turn.content for turn in one) for one in conversations]
        return np.array([np.nan if self.refuse in text else self.factor * len(text) for text in texts])


def chats(*texts: str) -> list[Conversation]:
    return [(Message("user", text),) for text in texts]


@pytest.mark.parametrize(
    ("combination", "rewards", "spread"),
    [
        (Combination(), [2.0, 0.0], [1.0, 2.0]),
        (Combination("min"), [1.0, -2.0], [1.0, 2.0]),
        (Combination("uwo", penalty=0.5), [2.0 - 0.5 * 1.0, 0.0 - 0.5 * 4.0], [1.0, 2.0]),
        (Combination("uwo", penalty=0.0), [2.0, 0.0], [1.0, 2.0]),
        # weights 3:1: means 1.5 and 1.0; variances 3/16·4 = 0.75 and 3/16·16 = 3
        (Combination(weights={"a": 3.0, "b": 1.0}), [1.5, 1.0], [0.75**0.5, 3.0**0.5]),
        (Combination("uwo", {"a": 3.0, "b": 1.0}, penalty=1.0), [0.75, -2.0], [0.75**0.5, 3.0**0.5]),
        # calibrated: a becomes (a-1)/0.5 = 0, 2 and b becomes (b-1)/2 = 1, -1.5
        (Combination(scales={"a": (1.0, 0.5), "b": (1.0, 2.0)}), [0.5, 0.25], [0.5, 1.75]),
    ],
)
def test_the_rules_by_hand(combination: Combination, rewards: list[float], spread: list[float]) -> None:
    found = combine({"a": A, "b": B}, combination)
    np.testing.assert_allclose(found.rewards, rewards, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.spread, spread, rtol=0, atol=1e-12)


def test_members_are_shown_as_they_were_combined() -> None:
    assert combine({"a": A, "b": B}, Combination()).members["b"].tolist() == [3.0, -2.0]
    scaled = combine({"a": A, "b": B}, Combination(scales={"a": (0.0, 1.0), "b": (1.0, 2.0)}))
    assert scaled.members["b"].tolist() == [1.0, -1.5]


def test_a_missing_reward_is_missing_unless_it_may_be_left_out() -> None:
    members = {"a": np.array([1.0, np.nan, np.nan]), "b": np.array([3.0, 5.0, np.nan])}
    strict = combine(members, Combination())
    np.testing.assert_array_equal(strict.rewards, [2.0, np.nan, np.nan])
    for rule in ("mean", "min", "uwo"):
        loose = combine(members, Combination(rule, leave_out_failing=True)).rewards
        np.testing.assert_array_equal(loose[1:], [5.0, np.nan])


@given(st.lists(st.lists(st.floats(-50, 50), min_size=3, max_size=3), min_size=1, max_size=5), st.floats(-9, 9))
def test_a_shift_of_every_member_shifts_the_reward_and_rules_are_ordered(rows: list[list[float]], shift: float) -> None:
    members = {str(index): np.array(row) for index, row in enumerate(rows)}
    moved = {name: values + shift for name, values in members.items()}
    for rule in ("mean", "min", "uwo"):
        before, after = combine(members, Combination(rule)), combine(moved, Combination(rule))
        np.testing.assert_allclose(after.rewards, before.rewards + shift, atol=1e-6)
        assert (before.rewards <= combine(members, Combination()).rewards + 1e-9).all()


@given(st.lists(st.floats(-50, 50), min_size=4, max_size=4), st.integers(1, 4))
def test_equal_members_are_one_member(row: list[float], copies: int) -> None:
    members = {str(index): np.array(row) for index in range(copies)}
    for rule in ("mean", "min", "uwo"):
        found = combine(members, Combination(rule))
        np.testing.assert_allclose(found.rewards, row, atol=1e-9)
        np.testing.assert_allclose(found.spread, 0, atol=1e-6)


def test_an_ensemble_is_a_scorer_in_input_order() -> None:
    ensemble = EnsembleScorer([Member("a", Linear(1.0)), Member("b", Linear(3.0), remote=True)])
    assert isinstance(ensemble, Scorer)
    assert ensemble.score(chats("abc", "a")).tolist() == [6.0, 2.0]
    assert list(ensemble.score_members(chats("abc")).members) == ["a", "b"]


@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize("error", [ModelError("gone", fix="none"), OSError(111, "refused"), RuntimeError("no memory")])
def test_a_failing_member_is_an_error_unless_it_may_be_left_out(error: Exception, remote: bool) -> None:
    members = [Member("a", Linear(1.0)), Member("b", Linear(1.0, error=error), remote=remote)]
    with pytest.raises(ModelError, match=r"the member b failed: (gone|OSError|ConnectionRefusedError|RuntimeError)"):
        EnsembleScorer(members).score(chats("abc"))
    found = EnsembleScorer(members, Combination("min", leave_out_failing=True)).score_members(chats("abc", "a"))
    assert found.rewards.tolist() == [3.0, 1.0]
    assert list(found.left_out) == ["b"]
    assert np.isnan(found.members["b"]).all()
    alone = EnsembleScorer(members[1:], Combination(leave_out_failing=True))
    with pytest.raises(ModelError, match="the member b failed"):
        alone.score(chats("abc"))


def test_a_programming_mistake_is_not_left_out() -> None:
    members = [Member("a", Linear(1.0)), Member("b", Linear(1.0, error=KeyError("x")))]
    with pytest.raises(KeyError):
        EnsembleScorer(members, Combination(leave_out_failing=True)).score(chats("abc"))


@pytest.mark.parametrize(
    ("names", "combination", "message"),
    [
        ((), Combination(), "found none"),
        (("a", "a"), Combination(), "found a, a"),
        (("a", "b"), Combination("median"), "no rule 'median'"),
        (("a", "b"), Combination("uwo", penalty=-1.0), "penalty of uwo is -1.0"),
        (("a", "b"), Combination("uwo", penalty=float("nan")), "penalty of uwo is nan"),
        (("a", "b"), Combination("min", {"a": 1.0, "b": 1.0}), "the minimum has no weights"),
        (("a", "b"), Combination(weights={"a": 1.0}), "given for a; the members are a, b"),
        (("a", "b"), Combination(weights={"a": 1.0, "b": 0.0}), "weight of b is 0.0"),
        (("a", "b"), Combination(weights={"a": float("inf"), "b": 1.0}), "weight of a is inf"),
    ],
)
def test_what_has_no_meaning_is_refused(names: Sequence[str], combination: Combination, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        EnsembleScorer([Member(name, Linear(1.0)) for name in names], combination)


def test_scales_are_compared_and_nothing_is_normalised_by_itself() -> None:
    near = {"a": Scale(0.0, 1.0), "b": Scale(0.5, 1.9)}
    far = {"a": Scale(0.0, 1.0), "b": Scale(0.0, 2.1)}
    assert scale_notes(near, "mean") == scale_notes(near, "uwo") == []
    (note,) = scale_notes(far, "mean")
    assert "rewards of b spread 2.1 times as widely as those of a" in note
    assert "--calibrated" in note
    apart = {"a": Scale(0.0, 1.0), "b": Scale(2.5, 1.0)}
    assert scale_notes(apart, "mean") == []
    assert "rewards of b lie around 2.5, those of a around 0" in scale_notes(apart, "min")[0]
    (unknown,) = scale_notes({"a": Scale(0.0, 1.0), "b": Scale()}, "mean")
    assert "is not recorded for b" in unknown


def test_calibration_takes_temperatures_if_all_have_one_else_standard_deviations() -> None:
    both = {"a": Scale(1.0, 2.0, 0.5), "b": Scale(-1.0, 4.0, 3.0)}
    assert calibrated_scales(both) == {"a": (1.0, 0.5), "b": (-1.0, 3.0)}
    one = {"a": Scale(1.0, 2.0, 0.5), "b": Scale(-1.0, 4.0)}
    assert calibrated_scales(one) == {"a": (1.0, 2.0), "b": (-1.0, 4.0)}
    with pytest.raises(ModelError, match="the record of b lacks mean and spread"):
        calibrated_scales({"a": Scale(1.0, 2.0), "b": Scale(std=1.0)})
