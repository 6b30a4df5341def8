"""Accuracy over pairs: equal rewards as half, pairs of one prompt as one unit, margins and loss."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.errors import BenchmarkError, UserError
from rewardsmith.evaluation import find_benchmark, pair_rows, score_rows
from rewardsmith.records.evaluation import DatasetInfo
from rewardsmith.types import Message, PreferencePair

BENCHMARK = find_benchmark("pairs")
HARMLESS = Path(__file__).resolve().parents[3] / "shared" / "data" / "held_out" / "hh_harmless_base_test.jsonl.gz"


def pair(prompt, chosen="good", rejected="bad", **fields):
    return PreferencePair(
        prompt=(Message("user", str(prompt)),),
        chosen=(Message("assistant", chosen),),
        rejected=(Message("assistant", rejected),),
        **fields,
    )


def bundle(pairs):
    return pair_rows(pairs, DatasetInfo(source="here"), "here")


def evaluate(pairs, rewards, **options):
    rewards = [np.array(reward, dtype=float) for reward in rewards]
    return score_rows(BENCHMARK, bundle(pairs), rewards, seed=1, resamples=400, **options)


def test_accuracy_counts_equal_rewards_as_half():
    found = evaluate([pair(i) for i in range(4)], [(2, 1), (1, 1), (0, 1), (5, -5)])
    assert [line.result for line in found.rows] == [1.0, 0.5, 0.0, 1.0]
    assert found.result.average == 0.625
    assert found.result.subsets["all"].baseline == found.result.average_baseline == 0.5
    assert "1/2 where both are equal" in found.result.protocol


def test_a_missing_reward_scores_nothing_and_is_counted():
    found = evaluate([pair(0), pair(1)], [(2, 1), (math.nan, 1)], held_out=True)
    assert (found.result.average, found.result.subsets["all"].n_missing) == (0.5, 1)
    assert found.result.held_out
    assert found.result.metrics["loss"] == pytest.approx(math.log1p(math.exp(-1)))


def test_metrics_by_hand():
    # margins 2, 0, -1, 3
    metrics = evaluate([pair(i) for i in range(4)], [(2, 0), (1, 1), (0, 1), (3, 0)]).result.metrics
    assert metrics["margin_mean"] == 1.0
    assert metrics["margin_p50"] == 1.0
    expected = np.mean([math.log1p(math.exp(-2)), math.log(2), 1 + math.log1p(math.exp(-1)), math.log1p(math.exp(-3))])
    assert metrics["loss"] == pytest.approx(expected)
    assert metrics["temperature"] > 0


def test_metrics_without_any_reward_are_null():
    metrics = evaluate([pair(0)], [(math.nan, 1)]).result.metrics
    assert (metrics["loss"], metrics["margin_p50"], metrics["temperature"]) == (None, None, None)


def test_the_average_is_over_pairs_not_over_subsets():
    pairs = [pair(0, subset="a"), pair(1, subset="a"), pair(2, subset="a"), pair(3, subset="b")]
    result = evaluate(pairs, [(1, 0), (1, 0), (1, 0), (0, 1)]).result
    assert {name: subset.score for name, subset in result.subsets.items()} == {"a": 1.0, "b": 0.0}
    assert result.average == 0.75
    assert result.metrics["average_length_baseline"] == 1.0


def test_length_baseline_of_pairs():
    pairs = [pair(0, "longer", "x"), pair(1, "x", "longer"), pair(2, "same", "size"), pair(3, "longer", "x")]
    assert evaluate(pairs, [(0, 0)] * 4).result.subsets["all"].length_baseline == 0.625


def test_independent_pairs_get_wilsons_interval():
    subset = evaluate([pair(i) for i in range(10)], [(1, 0)] * 8 + [(0, 1)] * 2).result.subsets["all"]
    assert subset.interval == "Wilson"
    assert (subset.ci_low, subset.ci_high) == pytest.approx((0.4902, 0.9433), abs=5e-5)


def test_pairs_of_one_prompt_are_one_unit():
    # 20 prompts with 10 pairs each, right or wrong together: as sure as 20 independent pairs, not as 200.
    right = np.random.default_rng(0).random(20) < 0.7
    pairs = [pair(prompt, chosen=f"good {i}") for prompt in range(20) for i in range(10)]
    rewards = [(1, 0) if right[prompt] else (0, 1) for prompt in range(20) for _ in range(10)]
    subset = evaluate(pairs, rewards).result.subsets["all"]
    assert subset.interval.startswith("bootstrap over 20 groups")
    p = right.mean()
    assert subset.ci_high - subset.ci_low == pytest.approx(2 * 1.96 * math.sqrt(p * (1 - p) / 20), rel=0.2)


def test_ids_are_made_distinct_and_subsets_named():
    pairs = [pair(0, id="a"), pair(1, id="a"), pair(2), pair(3, id="a", subset="s"), pair(4, id="a#2"), pair(5, id="a")]
    keys = [row.key for row in bundle(pairs).rows]
    assert keys == [("all", "a"), ("all", "a#2"), ("all", "3"), ("s", "a"), ("all", "a#2#2"), ("all", "a#3")]


def test_pairs_without_a_prompt_are_independent():
    pairs = [
        PreferencePair(prompt=(), chosen=(Message("text", f"good {i}"),), rejected=(Message("text", "bad"),))
        for i in range(10)
    ]
    assert evaluate(pairs, [(1, 0)] * 10).result.subsets["all"].interval == "Wilson"


# Files


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


ON_DISK = {
    "prompt": [{"role": "user", "content": "2 + 2?"}],
    "chosen": [{"role": "assistant", "content": "4"}],
    "rejected": [{"role": "assistant", "content": "5"}],
    "subset": "sums",
    "id": "s1",
}


def test_a_file_of_pairs_is_read(tmp_path):
    plain = {"prompt": "3 + 3?", "chosen": "6", "rejected": "7", "subset": "sums", "id": "s2"}
    loaded = BENCHMARK.load(write(tmp_path / "mine.jsonl", [ON_DISK, plain]), None)
    assert [row.key for row in loaded.rows] == [("sums", "s1"), ("sums", "s2")]
    assert loaded.rows[1].conversations[1] == (Message("user", "3 + 3?"), Message("assistant", "7"))
    assert (loaded.title, len(loaded.dataset.sha256), loaded.left_out) == ("mine.jsonl", 64, "")


def test_rows_that_are_no_pairs_are_counted_and_the_first_of_each_kind_are_named(tmp_path):
    same = ON_DISK | {"rejected": ON_DISK["chosen"]}
    none = ON_DISK | {"chosen": None}
    loaded = BENCHMARK.load(write(tmp_path / "mine.jsonl", [ON_DISK, none, same, none, none, none, none]), None)
    assert len(loaded.rows) == 1
    assert loaded.left_out == (
        "6 of 7 rows are no preference pairs and were left out (identical_pair 1: row 3; "
        "missing_field 5: row 2, 4, 5, …)."
    )
    result = score_rows(BENCHMARK, loaded, [np.array([1.0, 0.0])], seed=1, resamples=200).result
    assert loaded.left_out in result.protocol
    assert result.left_out == loaded.left_out


def test_a_file_without_any_pair_is_refused(tmp_path):
    path = write(tmp_path / "mine.jsonl", [ON_DISK | {"chosen": None}])
    with pytest.raises(BenchmarkError, match="none of its 1 rows is a preference pair") as caught:
        BENCHMARK.load(path, None)
    assert caught.value.where == path
    with pytest.raises(UserError, match="rejected"):
        BENCHMARK.load(write(tmp_path / "other.jsonl", [{"prompt": "a", "chosen": "b"}]), None)


@pytest.mark.skipif(not HARMLESS.exists(), reason="needs ../shared/data")
def test_real_pairs_are_read_with_their_prompts_as_groups():
    rows = BENCHMARK.load(str(HARMLESS), None).rows
    assert len(rows) == 2274
    assert len({row.group for row in rows}) == 2272


MARGINS = st.lists(st.integers(-3, 3), min_size=1, max_size=15)


@given(MARGINS)
def test_swapping_chosen_and_rejected_mirrors_everything(margins):
    pairs = [pair(i) for i in range(len(margins))]
    straight = evaluate(pairs, [(margin, 0) for margin in margins]).result
    swapped = evaluate(pairs, [(0, margin) for margin in margins]).result
    assert swapped.average == pytest.approx(1 - straight.average)
    assert swapped.metrics["margin_mean"] == -straight.metrics["margin_mean"]
    assert swapped.average_ci == pytest.approx((1 - straight.average_ci[1], 1 - straight.average_ci[0]))


@given(MARGINS, st.integers(-50, 50))
def test_shifts_and_monotone_maps_keep_the_accuracy(margins, shift):
    pairs = [pair(i) for i in range(len(margins))]
    plain = evaluate(pairs, [(margin, 0) for margin in margins]).result
    shifted = evaluate(pairs, [(margin + shift, shift) for margin in margins]).result
    mapped = evaluate(pairs, [(math.exp(margin), 1.0) for margin in margins]).result
    assert plain.average == shifted.average == mapped.average
    assert plain.metrics == shifted.metrics


@given(MARGINS)
def test_duplicated_pairs_keep_the_accuracy(margins):
    pairs = [pair(i) for i in range(len(margins))]
    rewards = [(margin, 0) for margin in margins]
    assert evaluate(pairs * 2, rewards * 2).result.average == pytest.approx(evaluate(pairs, rewards).result.average)
