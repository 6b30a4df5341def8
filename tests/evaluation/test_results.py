"""What every benchmark shares: intervals, missing rewards, distribution, and the invariants of a fair score."""

import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.errors import BenchmarkError
from rewardsmith.evaluation import BenchmarkRows, EvalRow, find_benchmark, score_rows
from rewardsmith.evaluation.contract import row_digest
from rewardsmith.evaluation.distribution import length_rewards, summarise_rewards
from rewardsmith.records.evaluation import DatasetInfo
from rewardsmith.types import Message

REWARDBENCH2 = find_benchmark("rewardbench2")


def eval_row(number, n_chosen=1, n_rejected=3, subset="Math", length=1):
    chosen = tuple((Message("assistant", f"right {i}" * length),) for i in range(n_chosen))
    rejected = tuple((Message("assistant", f"wrong {i}"),) for i in range(n_rejected))
    return EvalRow(str(number), subset, (Message("user", f"{subset} {number}"),), chosen, rejected)


def evaluate(rows, rewards, seed=1, resamples=200):
    bundle = BenchmarkRows(rows=tuple(rows), dataset=DatasetInfo(source="here"), title="here")
    return score_rows(REWARDBENCH2, bundle, [np.array(r, dtype=float) for r in rewards], seed=seed, resamples=resamples)


def scores(rows, rewards):
    result = evaluate(rows, rewards).result
    return {name: subset.score for name, subset in result.subsets.items()} | {"average": result.average}


REWARD = st.integers(-3, 3).map(float) | st.floats(-100, 100).map(lambda x: round(x, 2))
ROW = st.tuples(
    st.sampled_from(["Factuality", "Math", "Safety"]), st.integers(1, 2), st.lists(REWARD, min_size=3, max_size=5)
)


@st.composite
def scored_rows(draw):
    drawn = draw(st.lists(ROW, min_size=1, max_size=8))
    rows = [eval_row(i, k, len(rewards) - k, subset) for i, (subset, k, rewards) in enumerate(drawn)]
    return rows, [np.array(rewards) for _, _, rewards in drawn]


@given(scored_rows())
def test_monotone_maps_keep_every_score(case):
    rows, rewards = case
    assert scores(rows, [np.arctan(r) * 7 - 2 for r in rewards]) == scores(rows, rewards)


@given(scored_rows(), st.integers(-1000, 1000))
def test_a_shift_of_one_prompt_changes_nothing(case, shift):
    rows, rewards = case
    shifted = [np.round(reward * 4) + shift * i for i, reward in enumerate(rewards)]
    assert scores(rows, shifted) == scores(rows, [np.round(reward * 4) for reward in rewards])


@given(scored_rows(), st.randoms(use_true_random=False))
def test_order_of_rows_and_of_answers_within_a_class_changes_nothing(case, random):
    rows, rewards = case
    mixed = []
    for row, reward in zip(rows, rewards, strict=True):
        k = len(row.chosen)
        mixed.append(
            (row, np.array(random.sample(list(reward[:k]), k) + random.sample(list(reward[k:]), len(reward) - k)))
        )
    random.shuffle(mixed)
    found = evaluate([row for row, _ in mixed], [reward for _, reward in mixed]).result
    wanted = evaluate(rows, rewards).result
    for name, subset in wanted.subsets.items():
        assert found.subsets[name].score == pytest.approx(subset.score, abs=1e-12)
        assert found.subsets[name].ci_low == pytest.approx(subset.ci_low, abs=1e-12)
    assert found.average_ci == pytest.approx(wanted.average_ci, abs=1e-12)


@given(scored_rows())
def test_duplicated_rows_keep_the_scores(case):
    rows, rewards = case
    copies = [EvalRow(f"copy {row.id}", row.subset, row.prompt, row.chosen, row.rejected) for row in rows]
    assert scores(rows + copies, rewards + rewards) == pytest.approx(scores(rows, rewards), abs=1e-12)


def test_the_interval_of_right_and_wrong_rows_is_wilsons():
    rows = [eval_row(i) for i in range(10)]
    subset = evaluate(rows, [[1, 0, 0, 0]] * 8 + [[0, 1, 0, 0]] * 2).result.subsets["Math"]
    # Wilson for 8 of 10 (any textbook): 0.4902 to 0.9433; chance reaches 8 of 10 at 1/4 with probability 0.000416
    assert (subset.ci_low, subset.ci_high) == pytest.approx((0.4902, 0.9433), abs=5e-5)
    assert subset.p_value == pytest.approx(sum(math.comb(10, k) * 0.25**k * 0.75 ** (10 - k) for k in (8, 9, 10)))
    assert subset.interval == "Wilson"


def test_a_constant_scorer_is_never_above_chance():
    rows = [eval_row(i, 1, 1 + i % 3, subset) for subset in ("Math", "Safety", "Focus") for i in range(200)]
    rows += [eval_row(f"{half}:{k}", n, 4, "Ties") for k in range(20) for half, n in (("ref", 1), ("tied", 3))]
    result = evaluate(rows, [np.zeros(len(row.responses)) for row in rows]).result
    for subset in result.subsets.values():
        assert subset.ci_low < subset.baseline
        assert subset.p_value > 0.3
    assert result.rewards.distinct == 1


def test_the_interval_of_ties_resamples_ids():
    rows = [eval_row(f"{half}:{k}", n, 2, "Ties") for k in range(30) for half, n in (("ref", 1), ("tied", 2))]
    rng = np.random.default_rng(0)
    subset = evaluate(rows, [rng.normal(size=len(row.responses)) for row in rows], resamples=500).result.subsets["Ties"]
    assert subset.interval == "bootstrap over 30 groups, 500 resamples"
    assert subset.ci_low < subset.score < subset.ci_high


def test_the_average_interval_covers():
    rows = [eval_row(i, subset=subset) for subset in ("Math", "Focus") for i in range(80)]
    rng = np.random.default_rng(2)
    covered = 0
    for trial in range(200):
        right = np.concatenate([rng.random(80) < 0.3, rng.random(80) < 0.8])
        rewards = np.where(right[:, None], [1.0, 0, 0, 0], [0, 1.0, 0, 0])
        low, high = evaluate(rows, rewards, seed=trial).result.average_ci
        covered += low <= 0.55 <= high
    assert 0.90 <= covered / 200 <= 0.99


def test_the_seed_decides_every_number():
    rows = [eval_row(f"{half}:{k}", n, 2, "Ties") for k in range(9) for half, n in (("ref", 1), ("tied", 2))]
    rewards = [np.random.default_rng(k).normal(size=len(row.responses)) for k, row in enumerate(rows)]
    assert evaluate(rows, rewards) == evaluate(rows, rewards)
    assert evaluate(rows, rewards).result.average_ci != evaluate(rows, rewards, seed=2).result.average_ci


def test_a_subset_more_changes_no_other():
    rows = [eval_row(f"{half}:{k}", n, 2, "Ties") for k in range(9) for half, n in (("ref", 1), ("tied", 2))]
    rewards = [np.random.default_rng(k).normal(size=len(row.responses)) for k, row in enumerate(rows)]
    alone = evaluate(rows, rewards).result.subsets["Ties"]
    beside = evaluate([*rows, eval_row(1)], [*rewards, np.zeros(4)]).result.subsets["Ties"]
    assert beside.model_copy(update={"p_holm": alone.p_holm}) == alone


def test_p_values_are_corrected_for_the_number_of_subsets():
    rows = [eval_row(i, subset=subset) for subset in ("Math", "Focus") for i in range(10)]
    right = [[1, 0, 0, 0]] * 8 + [[0, 1, 0, 0]] * 2
    result = evaluate(rows, right + right[4:] + right[-2:] * 2).result
    math_, focus = result.subsets["Math"], result.subsets["Focus"]
    # Holm by hand: the smaller of two is doubled, the larger stays and is never below it.
    assert math_.p_value < focus.p_value
    assert math_.p_holm == pytest.approx(2 * math_.p_value)
    assert focus.p_holm == pytest.approx(max(focus.p_value, 2 * math_.p_value))
    assert evaluate(rows[:10], right).result.subsets["Math"].p_holm == pytest.approx(math_.p_value)


def test_the_digest_is_of_the_texts_and_of_which_are_chosen():
    row = eval_row(1, n_chosen=1, n_rejected=3)
    other_id = EvalRow("other", "Focus", row.prompt, row.chosen, row.rejected, group="g")
    as_text = EvalRow(
        "1", "Math", *([tuple(Message("text", m.content) for m in row.prompt)]),
        tuple((Message("text", c[0].content),) for c in row.chosen),
        tuple((Message("text", c[0].content),) for c in row.rejected),
    )  # fmt: skip
    moved = EvalRow("1", "Math", row.prompt, (*row.chosen, row.rejected[0]), row.rejected[1:])
    assert row_digest(row) == row_digest(other_id) == row_digest(as_text)
    assert len({row_digest(row), row_digest(moved), row_digest(eval_row(2))}) == 3


def test_a_fully_right_group_never_gives_a_point():
    rows = [eval_row(f"{half}:{k}", n, 2, "Ties") for k in range(5) for half, n in (("ref", 1), ("tied", 2))]
    right = [np.array([1.0] * len(row.chosen) + [0.0] * len(row.rejected)) for row in rows]
    subset = evaluate(rows, right).result.subsets["Ties"]
    # Five units that are all right say little more than five rows would; the score itself is 1.01 and is held.
    assert subset.ci_low < 0.5
    assert subset.ci_high >= subset.score == pytest.approx(1.01)


def test_summary_by_hand():
    rows = [eval_row(1, 1, 3), eval_row(2, 1, 3)]
    found = summarise_rewards(rows, [np.array([1.0, 2, 3, 4]), np.array([np.nan, 4, 4, 0])])
    assert (found.n, found.distinct, found.texts, found.min, found.max) == (7, 5, 8, 0.0, 4.0)
    assert found.mean == pytest.approx(18 / 7)
    assert found.std == pytest.approx(math.sqrt(62 / 7 - (18 / 7) ** 2))
    assert found.quantiles["p50"] == 3.0
    assert sum(found.histogram) == 7
    assert (found.histogram[0], found.histogram[-1]) == (1, 3)


def test_summary_without_rewards_has_no_numbers():
    found = summarise_rewards([eval_row(1)], [np.full(4, np.nan)])
    assert (found.n, found.texts, found.mean, found.std, found.histogram) == (0, 4, None, None, ())


def test_equal_conversations_are_one_text():
    assert summarise_rewards([eval_row(1), eval_row(1)], [np.zeros(4), np.zeros(4)]).texts == 4


def test_length_rewards_count_characters():
    assert length_rewards([eval_row(1, 1, 1, length=2)])[0].tolist() == [14.0, 7.0]


def test_simpler_scorers_stand_beside_the_score():
    rows = [eval_row(1, 1, 1), eval_row(2, 1, 1), eval_row(1, 1, 1, "Focus")]
    bundle = BenchmarkRows(rows=tuple(rows), dataset=DatasetInfo(source="here"), title="here")
    words = [np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.array([1.0, 0.0])]
    model = [np.zeros(2) for _ in rows]
    result = score_rows(REWARDBENCH2, bundle, model, seed=1, resamples=200, others={"bag of words": words}).result
    assert {name: subset.extra_baselines for name, subset in result.subsets.items()} == {
        "Math": {"bag of words": 0.5},
        "Focus": {"bag of words": 1.0},
    }


def test_rewards_must_fit_the_rows():
    with pytest.raises(ValueError, match="one reward a response"):
        evaluate([eval_row(1)], [[1.0, 2.0]])
    with pytest.raises(ValueError, match="one array of rewards a row"):
        evaluate([eval_row(1)], [])
    with pytest.raises(BenchmarkError, match="there is no row to score"):
        evaluate([], [])


def test_a_hundred_thousand_responses_are_scored_in_seconds():
    subsets = ("Factuality", "Precise IF", "Math", "Safety", "Focus")
    rows = [eval_row(i, subset=subsets[i % 5]) for i in range(24_000)]
    rows += [eval_row(f"{half}:{k}", n, 4, "Ties") for k in range(300) for half, n in (("ref", 1), ("tied", 3))]
    rewards = [np.random.default_rng(0).normal(size=len(row.responses)) for row in rows]
    started = time.process_time()
    evaluate(rows, rewards, resamples=10_000)
    assert time.process_time() - started < 30
