"""The analyses together: what applies to which rows, bad input, invariants, and what it costs."""

import json
import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.evaluation import BenchmarkRows, EvalRow, find_benchmark, pair_rows, score_rows
from rewardsmith.evaluation.analysis import RESAMPLES, analyse
from rewardsmith.records.evaluation import BenchmarkResult, DatasetInfo
from rewardsmith.records.files import to_json
from rewardsmith.types import Message, PreferencePair

BEST_OF = find_benchmark("rewardbench2")
PAIRS = find_benchmark("pairs")
INFO = DatasetInfo(source="here")


def row(number, subset="Math", lengths=(10, 20, 30, 40)):
    responses = tuple((Message("assistant", f"{number}.{i}".ljust(size, "x")),) for i, size in enumerate(lengths))
    return EvalRow(str(number), subset, (Message("user", f"{subset} {number}"),), responses[:1], responses[1:])


def pair(number, prompt=None, swapped=False):
    texts = ("a" * (5 + number % 7), "b" * (5 + number % 5))
    chosen, rejected = texts[::-1] if swapped else texts
    asked = (Message("user", str(number if prompt is None else prompt)),)
    return PreferencePair(
        prompt=asked, chosen=(Message("assistant", chosen),), rejected=(Message("assistant", rejected),)
    )


def evaluate(benchmark, rows, rewards):
    bundle = rows if isinstance(rows, BenchmarkRows) else BenchmarkRows(rows=tuple(rows), dataset=INFO, title="here")
    rewards = [np.array(reward, dtype=float) for reward in rewards]
    return score_rows(benchmark, bundle, rewards, seed=1, resamples=200).result


def test_pairs_have_calibration_and_no_curve():
    rng = np.random.default_rng(0)
    found = evaluate(PAIRS, pair_rows([pair(i) for i in range(200)], INFO, "here"), rng.normal((1, 0), size=(200, 2)))
    assert found.analysis.calibration.n == 200
    assert found.analysis.calibration.temperature == found.metrics["temperature"]
    assert found.analysis.best_of_n is None
    assert found.analysis.label_agreement is None


def test_repeated_comparisons_have_a_ceiling():
    pairs = [pair(0), pair(0), pair(1), pair(1, swapped=True)]
    found = evaluate(PAIRS, pair_rows(pairs, INFO, "here"), [(1, 0)] * 4).analysis.label_agreement
    assert (found.comparisons, found.agreement) == (2, 0.5)


def test_best_of_four_has_a_curve_and_no_calibration():
    found = evaluate(BEST_OF, [row(i) for i in range(30)], [(4, 3, 2, 1)] * 30)
    assert found.analysis.calibration is None
    assert [point.gold for point in found.analysis.best_of_n.points] == pytest.approx([0.25, 0.5, 0.75, 1])


def test_the_scores_without_the_trend_stand_beside_the_raw_ones():
    rng = np.random.default_rng(0)
    rows = [row(i, subset, rng.integers(10, 400, 4)) for subset in ("Math", "Focus") for i in range(150)]
    lengths = [[len(response[0].content) for response in one.responses] for one in rows]
    quality = rng.normal((1.5, 0, 0, 0), size=(300, 4))
    raw = evaluate(BEST_OF, rows, quality + 0.05 * np.array(lengths))
    clean = evaluate(BEST_OF, rows, quality)
    found = raw.analysis.length.calibrated
    assert raw.average < clean.average - 0.15
    assert found.average == pytest.approx(clean.average, abs=0.04)
    assert found.average == pytest.approx(np.mean([found.subsets["Math"], found.subsets["Focus"]]))
    assert raw.analysis.length.pearson > 0.9 > 0.1 > abs(found.pearson)
    # what other programs read is untouched
    assert raw.rewards.max == pytest.approx(float((quality + 0.05 * np.array(lengths)).max()))


def test_pooled_averages_are_pooled_without_the_trend_too():
    pairs = [pair(i) for i in range(10)]
    found = evaluate(PAIRS, pair_rows(pairs, INFO, "here"), [(i % 3, 1) for i in range(10)])
    assert found.analysis.length.calibrated.average == pytest.approx(found.analysis.length.calibrated.subsets["all"])


NUMBER = st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 1.0, -2.5, 1e9]) | st.floats(-50, 50)


@given(st.lists(st.lists(NUMBER, min_size=2, max_size=5), min_size=1, max_size=6))
def test_nothing_crashes_and_no_number_is_not_a_number(drawn):
    rows = [row(i, "Math", range(10, 10 + len(rewards))) for i, rewards in enumerate(drawn)]
    written = to_json(evaluate(BEST_OF, rows, drawn))
    assert BenchmarkResult.model_validate_json(written).analysis is not None
    json.loads(written, parse_constant=lambda name: pytest.fail(f"{name} was written"))


@given(st.lists(st.tuples(NUMBER, NUMBER), min_size=1, max_size=8))
def test_pairs_of_any_rewards_are_read_back(drawn):
    rows = pair_rows([pair(i, prompt=i // 2) for i in range(len(drawn))], INFO, "here")
    found = evaluate(PAIRS, rows, drawn)
    assert BenchmarkResult.model_validate_json(to_json(found)) == found


@pytest.mark.parametrize("value", [math.nan, 0.0, 3.0])
def test_one_row_and_constant_rewards(value):
    found = evaluate(BEST_OF, [row(0)], [(value,) * 4])
    assert found.analysis.length is None or found.analysis.length.pearson is None
    single = evaluate(PAIRS, pair_rows([pair(0)], INFO, "here"), [(value, value)])
    assert single.analysis.calibration is None or single.analysis.calibration.temperature is None


def test_the_order_of_rows_changes_nothing():
    rng = np.random.default_rng(3)
    rows = [row(i, "Math", rng.integers(10, 60, 4)) for i in range(40)]
    rewards, order = rng.normal(size=(40, 4)), rng.permutation(40)
    one = analyse(BEST_OF, rows, list(rewards), seed=1, resamples=100)
    other = analyse(BEST_OF, [rows[i] for i in order], list(rewards[order]), seed=1, resamples=100)
    assert other.length.pearson == pytest.approx(one.length.pearson, abs=1e-12)
    assert other.length.pearson_ci == pytest.approx(one.length.pearson_ci, abs=1e-9)
    assert other.length.calibrated.subsets == one.length.calibrated.subsets
    for first, second in zip(one.best_of_n.points, other.best_of_n.points, strict=True):
        assert (second.gold, second.reward) == pytest.approx((first.gold, first.reward), abs=1e-12)


def test_the_seed_decides_every_number_and_resamples_are_bounded():
    rows, rewards = [row(i) for i in range(30)], list(np.random.default_rng(0).normal(size=(30, 4)))
    one = analyse(BEST_OF, rows, rewards, seed=1, resamples=10**6)
    assert one == analyse(BEST_OF, rows, rewards, seed=1, resamples=10**6)
    assert f"{RESAMPLES} resamples" in one.length.method


def test_a_hundred_thousand_responses_take_seconds():
    rng = np.random.default_rng(0)
    size = rng.lognormal(5, 0.6, (25_000, 4)).astype(int) + 12
    rows = [row(i, "Math", lengths) for i, lengths in enumerate(size)]
    rewards = list(rng.normal(size=(25_000, 4)))
    started = time.process_time()
    found = analyse(BEST_OF, rows, rewards, seed=1, resamples=10_000)
    assert time.process_time() - started < 25
    assert found.length.responses == 100_000
