"""Controls: where theory puts each number, and faults that put it elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from rewardsmith.evaluation.controls import Measured, place_controls
from rewardsmith.records.training import ControlName, ControlResult

N = 400


def margins(right: float, seed: int) -> np.ndarray:
    """Margins of which exactly this share is above 0, at random places."""
    signs = np.where(np.arange(N) < round(right * N), 1.0, -1.0)
    return np.random.default_rng(seed).permutation(signs)


def placed(
    *, reference: float = 0.8, changed: dict[ControlName, np.ndarray] | None = None
) -> tuple[dict[str, ControlResult], str]:
    own = margins(reference, 1)
    sound: dict[ControlName, np.ndarray] = {
        "labels_swapped": -own,
        "labels_shuffled": margins(0.5, 3),
        "prompts_removed": margins(0.6, 4),
        "prompts_exchanged": margins(0.55, 5),
    }
    found = Measured(own, sound | (changed or {}), np.arange(N), {})
    results, note = place_controls(found, seed=1, resamples=400)
    return {one.name: one for one in results}, note


def test_a_sound_run_has_every_control_where_theory_puts_it() -> None:
    results, note = placed()
    assert [one.outside for one in results.values()] == [False] * 4
    assert note == ""
    assert results["labels_swapped"].accuracy.accuracy == pytest.approx(0.2)
    assert results["labels_swapped"].distance == pytest.approx(0.0)
    assert (results["prompts_removed"].expected_low, results["prompts_removed"].expected_high) == (0.5, 0.8)
    assert results["prompts_exchanged"].expected_high == 0.6
    assert "+20.0 points" in results["prompts_removed"].text  # 0.8 - 0.6


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("labels_swapped", 0.5),  # the score does not follow the labels: 1 - 0.8 is 0.2
        ("labels_swapped", 0.02),
        ("labels_shuffled", 0.65),  # held-out pairs in the training data
        ("labels_shuffled", 0.35),
        ("prompts_removed", 0.95),  # better without the prompt
        ("prompts_removed", 0.35),
        ("prompts_exchanged", 0.8),  # knows the answer under any question, and not from the answers alone
        ("prompts_exchanged", 0.3),
    ],
)
def test_a_control_outside_of_theory_is_flagged_and_no_other(name: ControlName, share: float) -> None:
    results, _ = placed(changed={name: margins(share, 9)})
    flagged = [one.name for one in results.values() if one.outside]
    assert name in flagged
    assert set(flagged) <= {name, "prompts_exchanged"}  # its ceiling is the control without prompts
    assert results[name].text.startswith("Surely")


@pytest.mark.parametrize("share", [0.46, 0.54])
def test_what_another_seed_would_move_is_not_flagged(share: float) -> None:
    results, _ = placed(changed={"labels_shuffled": margins(share, 9)})
    assert not results["labels_shuffled"].outside


def test_a_model_that_does_not_read_the_prompt_is_said_not_to() -> None:
    results, _ = placed(changed={"prompts_removed": margins(0.8, 1), "prompts_exchanged": margins(0.8, 1)})
    assert not results["prompts_removed"].outside
    assert "cannot be shown that the model reads it" in results["prompts_removed"].text


def test_a_reference_at_chance_proves_little() -> None:
    _, note = placed(reference=0.5)
    assert "cannot be told from chance" in note


def test_missing_rewards_are_left_out_of_both_sides() -> None:
    own, gone = margins(0.8, 1), margins(0.8, 1)
    gone[:100] = np.nan
    results, _ = placed(changed={"labels_swapped": -gone})
    swapped = results["labels_swapped"]
    assert swapped.accuracy.n == 300
    assert swapped.accuracy.accuracy == pytest.approx(float((own[100:] < 0).mean()))
    assert swapped.distance_ci == (0.0, 0.0)  # pair by pair it mirrors exactly


def test_pairs_of_one_prompt_are_one_unit() -> None:
    """40 prompts of ten pairs that all go one way: the interval is that of 40, not of 400."""
    shared = np.repeat(margins(0.5, 3)[:40], 10)
    found = Measured(shared, {"labels_shuffled": shared}, np.repeat(np.arange(40), 10), {})
    (one,), _ = place_controls(found, seed=1, resamples=400)
    assert one.accuracy.ci_high is not None
    assert one.accuracy.ci_low is not None
    assert one.accuracy.ci_high - one.accuracy.ci_low > 0.25
