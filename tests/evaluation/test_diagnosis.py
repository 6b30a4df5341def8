"""The diagnosis: planted models of each kind get theirs, sound ones get none, and two causes are both named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from trait_world import REFUSAL, drawn_rows, rewards_of

from rewardsmith.evaluation.analysis import analyse
from rewardsmith.evaluation.benchmarks import find_benchmark
from rewardsmith.evaluation.contract import EvalRow
from rewardsmith.evaluation.diagnosis import diagnose
from rewardsmith.records.diagnosis import Diagnosis

Reward = Callable[[str, bool], float]


def found(rows: list[EvalRow], reward: Reward, resamples: int = 200) -> Diagnosis:
    diagnosis = diagnose(rows, rewards_of(rows, reward), seed=3, resamples=resamples)
    assert diagnosis is not None
    return diagnosis


def noise(seed: int, scale: float) -> Callable[[], float]:
    draw = np.random.default_rng(seed)
    return lambda: float(scale * draw.normal())


@pytest.mark.parametrize("longer", [0.5, 0.8], ids=["even lengths", "longer mostly right"])
@pytest.mark.parametrize(
    ("reward", "causes", "feature", "direction"),
    [
        (lambda text, right: len(text), ("length",), "characters", 1),
        (lambda text, right: -float(np.sqrt(len(text))), ("length",), "characters", -1),
        (lambda text, right: text.count("**"), ("format",), "bold", 1),
        (lambda text, right: text.count("**") // 2 + text.count("\n- "), ("format",), "markup", 1),
        (lambda text, right: text.startswith(REFUSAL) + len(text) % 7 / 100, ("refusal",), "refusal", 1),
    ],
    ids=["length", "shortness", "bold", "markdown", "refusal"],
)
def test_a_lover_of_one_trait_is_named_and_of_no_other(
    reward: Reward, causes: tuple[str, ...], feature: str, direction: int, longer: float
) -> None:
    diagnosis = found(drawn_rows(120, seed=0, longer=longer, refused=0.4), reward)
    assert diagnosis.causes == causes
    first = diagnosis.traits[0]
    assert (first.feature, first.direction) == (feature, direction)
    assert first.sway > 0.75


@pytest.mark.parametrize("longer", [0.5, 0.8])
def test_two_causes_at_once_are_both_named(longer: float) -> None:
    reward = lambda text, right: len(text) / 150 + text.count("**") / 2  # noqa: E731
    diagnosis = found(drawn_rows(120, seed=0, longer=longer), reward)
    assert set(diagnosis.causes) == {"length", "format"}


def test_the_numbers_of_a_lover_of_length_are_those_of_the_texts() -> None:
    rows = drawn_rows(90, seed=5, longer=0.7)
    diagnosis = found(rows, lambda text, right: len(text))
    (trait,) = [trait for trait in diagnosis.traits if trait.found]
    longer_right = sum(len(row.chosen[0][0].content) > len(row.rejected[0][0].content) for row in rows)
    assert (trait.right.n, trait.right.accuracy) == (longer_right, 1.0)
    assert (trait.wrong.n, trait.wrong.accuracy) == (90 - longer_right - trait.equal, 0.0)
    assert trait.sway == pytest.approx(1.0)
    assert trait.correlation == pytest.approx(1.0)
    widest = max(rows, key=lambda row: len(row.rejected[0][0].content) - len(row.chosen[0][0].content))
    assert trait.rows[0].id == widest.id
    assert len(trait.rows) == 5


def test_what_the_analysis_of_length_shows_too_has_the_same_interval_there() -> None:
    """Two pairs a prompt, so that the intervals are drawn: one number must not stand beside two of them."""
    drawn = drawn_rows(90, seed=5, longer=0.7)
    rows = [replace(row, group=f"prompt {number // 2}") for number, row in enumerate(drawn)]
    err = noise(1, 40.0)
    rewards = rewards_of(rows, lambda text, right: len(text) + err())
    length = analyse(find_benchmark("pairs"), rows, rewards, seed=3, resamples=200).length
    diagnosis = diagnose(rows, rewards, seed=3, resamples=200)
    assert length is not None
    assert diagnosis is not None
    trait = next(trait for trait in diagnosis.traits if trait.feature == "characters")
    assert (trait.wrong, trait.right) == (length.longer_wrong, length.longer_right)
    assert trait.correlation_ci == pytest.approx(length.pearson_ci)


def test_sway_is_the_gap_of_the_two_accuracies_where_nothing_else_differs() -> None:
    """By hand: right in 18 of 20 where the longer answer is right, in 12 of 20 where it is wrong: 30 points."""
    rows = [plain_row(place, longer=place < 20) for place in range(40)]
    rewards = [
        np.array([1.0, 0.0]) if right else np.array([0.0, 1.0])
        for right in [True] * 18 + [False] * 2 + [True] * 12 + [False] * 8
    ]
    diagnosis = diagnose(rows, rewards, seed=1, resamples=200)
    assert diagnosis is not None
    (trait,) = diagnosis.traits
    assert trait.sway == pytest.approx(0.3)
    assert (trait.right.accuracy, trait.wrong.accuracy) == (0.9, 0.6)
    assert diagnosis.accuracy.accuracy == 0.75


def plain_row(place: int, *, longer: bool) -> EvalRow:
    row = drawn_rows(1, seed=place)[0]
    texts = ["word " * 9, "word " * 4] if longer else ["word " * 4, "word " * 9]
    answers = tuple((replace(row.chosen[0][0], content=f"{text}{place:02d}"),) for text in texts)
    return EvalRow(
        f"row-{place}", "all", (replace(row.prompt[0], content=f"question {place}"),), answers[:1], answers[1:]
    )


@pytest.mark.parametrize("longer", [0.5, 0.9])
def test_an_oracle_is_sound_however_uneven_the_lengths_are(longer: float) -> None:
    diagnosis = found(drawn_rows(120, seed=0, longer=longer, refused=0.4), lambda text, right: float(right))
    assert diagnosis.causes == ()
    assert all(trait.sway == pytest.approx(0.0, abs=1e-9) for trait in diagnosis.traits)


def test_sound_models_are_hardly_ever_called_biased() -> None:
    """100 noisy oracles on even and uneven data: no trait in more than 5 of them."""
    counts: Counter[tuple[str, ...]] = Counter()
    for seed in range(100):
        rows = drawn_rows([40, 100, 200][seed % 3], seed=seed, longer=[0.5, 0.75, 0.9][seed // 3 % 3], refused=0.3)
        err = noise(seed, [0.6, 0.8, 1.0][seed // 9 % 3])
        counts[found(rows, lambda text, right, err=err: right * 1.2 + err(), resamples=50).causes] += 1  # type: ignore[misc]
    biased = sum(count for causes, count in counts.items() if set(causes) - {"too_little_data"})
    assert biased <= 5, counts


@pytest.mark.parametrize(
    ("n", "reward", "causes"),
    [
        (400, lambda err: lambda text, right: err(), ("undertrained",)),
        (120, lambda err: lambda text, right: 1.0, ("saturated",)),
        (120, lambda err: lambda text, right: float(np.clip(3 * right + err(), -1.0, 1.0)), ("saturated",)),
        (120, lambda err: lambda text, right: err() - 2.0 * right, ("reversed",)),
        (12, lambda err: lambda text, right: 2.0 * right + err(), ("too_little_data",)),
        (20, lambda err: lambda text, right: err(), ("too_little_data",)),
    ],
    ids=["undertrained", "collapsed", "saturated", "reversed", "few rows", "noise on few rows"],
)
def test_what_is_no_trait_is_named_too(n: int, reward: Callable[..., Reward], causes: tuple[str, ...]) -> None:
    scale = 3.0 if causes == ("saturated",) else 1.0
    assert found(drawn_rows(n, seed=11), reward(noise(4, scale))).causes == causes


def test_a_scorer_of_the_place_in_the_list_is_named_where_rows_keep_it() -> None:
    rows = [
        replace(row, facts={"label": "A>B" if place % 2 else "B>A"}) for place, row in enumerate(drawn_rows(80, seed=2))
    ]
    first = {row.id: (1.0, 0.0) if row.facts["label"] == "A>B" else (0.0, 1.0) for row in rows}
    diagnosis = diagnose(rows, [np.array(first[row.id]) for row in rows], seed=1, resamples=100)
    assert diagnosis is not None
    assert diagnosis.causes == ("position",)
    assert diagnosis.traits[0].favours == "the answer that is listed first"
    assert "position" in found(drawn_rows(80, seed=2), lambda text, right: len(text)).unmeasured


def test_every_chosen_answer_meets_every_rejected_one() -> None:
    row = drawn_rows(1, seed=0)[0]
    others = tuple((replace(row.chosen[0][0], content=text),) for text in ("a", "bb", "ccc"))
    best_of = replace(row, rejected=others)
    diagnosis = diagnose([best_of], [np.array([1.0, 0.5, 2.0, np.nan])], seed=1, resamples=50)
    assert diagnosis is not None
    assert (diagnosis.pairs, diagnosis.prompts, diagnosis.accuracy.accuracy) == (2, 1, 0.5)
    assert diagnosis.causes == ("too_little_data",)


def test_without_a_reward_there_is_no_diagnosis() -> None:
    rows = drawn_rows(3, seed=0)
    assert diagnose(rows, [np.full(2, np.nan)] * 3, seed=1, resamples=50) is None
