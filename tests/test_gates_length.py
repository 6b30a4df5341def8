"""The gate on length bias within a prompt: a lover of length fails it, a sound model passes, few pairs are no data."""

from __future__ import annotations

import pytest
from trait_world import drawn_rows, rewards_of

from rewardsmith.evaluation import BenchmarkRows, find_benchmark, score_rows
from rewardsmith.gates import evaluate_gates
from rewardsmith.records.evaluation import BenchmarkResult, DatasetInfo
from rewardsmith.records.run import GateOutcome
from rewardsmith.spec import EvaluationSpec


def result(n: int, reward: object, longer: float = 0.5) -> BenchmarkResult:
    rows = drawn_rows(n, seed=1, longer=longer)
    found = BenchmarkRows(tuple(rows), DatasetInfo(source="planted"), "Planted")
    rewards = rewards_of(rows, reward)  # type: ignore[arg-type]
    return score_rows(find_benchmark("pairs"), found, rewards, seed=1, resamples=200, held_out=True).result


def outcomes(found: BenchmarkResult, **rule: object) -> list[GateOutcome]:
    spec = EvaluationSpec.model_validate({"benchmarks": [], "probes": {"pairs": 0}, "gates": {"length": rule}})
    return [one for one in evaluate_gates({"held_out": found}, spec).outcomes if one.name == "length"]


def test_a_lover_of_length_fails_with_both_accuracies_and_the_correlation() -> None:
    (outcome,) = outcomes(result(100, lambda text, right: len(text)))
    assert (outcome.kind, outcome.verdict, outcome.value) == ("warning", "FAIL", 1.0)
    assert "+100.0 points" in outcome.message
    assert "correlate at 1.00" in outcome.message


def test_a_lover_of_short_answers_fails_too() -> None:
    (outcome,) = outcomes(result(100, lambda text, right: -len(text)), kind="gate")
    assert (outcome.kind, outcome.verdict, outcome.value) == ("gate", "FAIL", -1.0)


@pytest.mark.parametrize("longer", [0.5, 0.8])
def test_a_sound_model_passes_however_uneven_the_lengths_are(longer: float) -> None:
    (outcome,) = outcomes(result(100, lambda text, right: right + len(text) % 13 / 20, longer))
    assert outcome.verdict == "PASS"


def test_too_few_pairs_of_one_kind_are_no_data() -> None:
    (outcome,) = outcomes(result(15, lambda text, right: len(text)))
    assert (outcome.verdict, outcome.benchmark) == ("NO_DATA", "")


def test_it_is_not_asked_where_the_spec_says_so() -> None:
    assert outcomes(result(100, lambda text, right: len(text)), max_gap=None) == []


def test_the_interval_is_that_of_two_independent_shares() -> None:
    """MOVER by hand: 60 of 100 and 50 of 100; Wilson's ends 0.5020 to 0.6906 and 0.4038 to 0.5962."""
    found = result(40, lambda text, right: float(right))
    assert found.analysis is not None
    assert found.analysis.length is not None
    sides = {
        "longer_right": found.analysis.length.longer_right.model_copy(
            update={"n": 100, "accuracy": 0.6, "ci_low": 0.5020, "ci_high": 0.6906}
        ),
        "longer_wrong": found.analysis.length.longer_wrong.model_copy(
            update={"n": 100, "accuracy": 0.5, "ci_low": 0.4038, "ci_high": 0.5962}
        ),
    }
    length = found.analysis.length.model_copy(update=sides)
    changed = found.model_copy(update={"analysis": found.analysis.model_copy(update={"length": length})})
    (outcome,) = outcomes(changed)
    assert outcome.verdict == "PASS"  # 0.1 - (0.098² + 0.0962²)^½ = -0.0373; 0.1 + (0.0906² + 0.0962²)^½ = 0.2321
    assert "+10.0 points (-3.7 to +23.2)" in outcome.message
