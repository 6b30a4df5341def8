"""Rewards on a policy's own samples: every number by hand, what it means in words, and files that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.errors import BenchmarkError, DataError
from rewardsmith.evaluation.probes import policy_record, read_policy_samples
from rewardsmith.evaluation.probes.policy import PolicySamples, as_plain_text, score_samples
from rewardsmith.records.probes import PolicySamplesRecord
from rewardsmith.types import Message


def write(folder: Path, *rows: object) -> str:
    path = folder / "samples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def row(prompt: str, count: int, labels: list[object] | None = None) -> dict[str, object]:
    found: dict[str, object] = {"prompt": prompt, "completions": [f"{prompt} {place}" for place in range(count)]}
    return found if labels is None else found | {"labels": labels}


def record(samples: PolicySamples, *rewards: list[float]) -> PolicySamplesRecord:
    arrays = [np.array(reward_N, dtype=np.float64) for reward_N in rewards]
    return policy_record(samples, arrays, seed=1, resamples=400, model="m")


def sampled(folder: Path, *rows: object) -> PolicySamples:
    return read_policy_samples(write(folder, *rows))


def test_variance_is_taken_apart_by_hand(tmp_path: Path) -> None:
    samples = sampled(tmp_path, row("a", 2, [0, 1]), row("b", 2, [True, False]))
    found = record(samples, [0, 2], [10, 12])
    assert (found.prompts, found.completions, found.judged, found.n_missing) == (2, 4, 2, 0)
    assert found.reward_mean == 6.0
    assert found.reward_std == pytest.approx(26**0.5)  # (36 + 16 + 16 + 36) / 4
    assert found.within_std == pytest.approx(2**0.5)  # each prompt: (1 + 1) / (2 - 1)
    assert found.between_std == pytest.approx(5.0)  # means 1 and 11
    assert found.within_share == pytest.approx(4 / 104)  # 2 + 2 of 36 + 16 + 16 + 36
    assert (found.flat, found.flat_share, found.same_text) == (0, 0.0, 0)
    assert found.gains == {"2": pytest.approx(1.0)}
    assert found.labels is not None
    assert (found.labels.auc, found.labels.pooled_auc, found.labels.correct, found.labels.mixed) == (0.5, 0.5, 0.5, 2)
    assert found.labels.best_of_n is None
    assert found.reading[0].startswith("Only 3.8% of the reward variance lies between completions of one prompt")
    assert "arXiv 2503.15477" in found.reading[0]


def test_the_gain_of_best_of_n_is_exact(tmp_path: Path) -> None:
    samples = sampled(tmp_path, row("a", 3), row("b", 3), row("c", 2))
    found = record(samples, [6, 1, 2], [0, 0, 0], [5, 7])
    # Most prompts have three: best of 2 of (1, 2, 6) is 2, 6 or 6, on average 14/3, against a mean of 3.
    assert found.gains == {"2": pytest.approx((14 / 3 - 3) / 2), "3": pytest.approx((6 - 3) / 2)}
    assert found.labels is None


def test_flat_prompts_and_equal_texts_are_counted(tmp_path: Path) -> None:
    same = {"prompt": "s", "completions": ["x", "x", "x"]}
    samples = sampled(tmp_path, row("a", 3), row("b", 3), same)
    found = record(samples, [-1, 0, 1], [0.2, 0.201, 0.199], [1, 1, 1])
    # The standard deviation of all nine is about 0.68: a span of 0.002 is flat.
    assert (found.flat, found.flat_share, found.same_text) == (2, pytest.approx(2 / 3), 1)
    assert any("2 of 3 prompts are flat" in text for text in found.reading)
    assert any("1 prompts have one text in all their completions" in text for text in found.reading)


def test_labels_decide_where_the_policy_goes(tmp_path: Path) -> None:
    samples = sampled(tmp_path, *(row(f"p{i}", 4, [1, 0, None, 0]) for i in range(30)))
    good = record(samples, *([3 + i, 1 + i, 9, 2 + i] for i in range(30)))
    assert good.labels is not None
    assert (good.labels.completions, good.labels.mixed, good.labels.auc) == (90, 30, 1.0)
    assert good.labels.correct == pytest.approx(1 / 3)
    assert good.labels.auc_low is not None
    assert 0.8 < good.labels.auc_low < 1
    assert any("the policy moves towards right answers" in text for text in good.reading)
    assert good.labels.best_of_n is not None
    assert good.labels.best_of_n.points[-1].gold == 1.0
    bad = record(samples, *([1 + i, 2 + i, 9, 3 + i] for i in range(30)))
    assert any("The policy would learn to be wrong" in text for text in bad.reading)
    unsure = record(samples, *([1, 1, 9, 1] for _ in range(30)))
    assert unsure.labels is not None
    assert unsure.labels.auc == 0.5
    assert any("Do not optimise against this model" in text for text in unsure.reading)


def test_labels_that_never_mix_say_nothing_about_the_order(tmp_path: Path) -> None:
    samples = sampled(tmp_path, row("a", 2, [1, 1]), row("b", 2, [0, 0]))
    found = record(samples, [3, 4], [1, 2])
    assert found.labels is not None
    assert (found.labels.auc, found.labels.mixed, found.labels.pooled_auc) == (None, 0, 1.0)
    assert any(text.startswith("No prompt has both right and wrong completions") for text in found.reading)


def test_missing_rewards_are_counted_and_left_out(tmp_path: Path) -> None:
    samples = sampled(tmp_path, row("a", 3, [1, 0, 1]), row("b", 2))
    found = record(samples, [1, np.nan, 3], [np.nan, 5])
    assert (found.n_missing, found.judged, found.within_std) == (2, 1, pytest.approx(2**0.5))
    assert found.labels is not None
    assert (found.labels.completions, found.labels.auc) == (2, None)
    assert found.reading[0] == "2 of 5 rewards could not be computed and count nowhere."
    nothing = record(samples, [np.nan] * 3, [np.nan] * 2)
    assert (nothing.reward_mean, nothing.within_share, nothing.flat_share, nothing.labels) == (None, None, None, None)
    assert nothing.reading[-1].startswith("No prompt has two rewards")


def test_a_constant_gives_policy_optimisation_nothing(tmp_path: Path) -> None:
    found = record(sampled(tmp_path, row("a", 2), row("b", 2)), [0.1, 0.1], [0.1, 0.1])
    assert (found.reward_std, found.within_std, found.within_share, found.flat_share) == (0.0, 0.0, None, 1.0)
    assert found.reading[0] == "All rewards are equal: policy optimisation has nothing to follow."


@given(offset=st.lists(st.floats(-100, 100), min_size=3, max_size=3))
def test_a_number_added_to_all_rewards_of_a_prompt_changes_nothing_within_prompts(offset: list[float]) -> None:
    rows = tuple((f"p{i}", (f"a{i}", f"b{i}", f"c{i}")) for i in range(3))
    from rewardsmith.evaluation.probes.policy import PolicySample
    from rewardsmith.records.evaluation import DatasetInfo

    prompts = tuple(PolicySample((Message("user", p),), texts, (True, False, None)) for p, texts in rows)
    samples = PolicySamples(prompts, DatasetInfo(source="x"), "x")
    rewards = [[1.0, 2.0, 4.0], [0.0, 5.0, 1.0], [3.0, 3.0, 2.0]]
    moved = [[value + add for value in values] for values, add in zip(rewards, offset, strict=True)]
    before, after = record(samples, *rewards), record(samples, *moved)
    assert after.within_std == pytest.approx(before.within_std)
    assert after.gains == pytest.approx(before.gains, abs=1e-9)
    assert before.labels is not None
    assert after.labels is not None
    assert after.labels.auc == before.labels.auc


# Files


def test_rows_of_one_prompt_are_joined_and_other_names_are_read(tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "q"}]
    samples = sampled(
        tmp_path,
        {"prompt": "q", "responses": ["a"], "correct": [True]},
        {"prompt": talk, "completions": ["b", "c"]},
    )
    (only,) = samples.prompts
    assert (only.completions, only.labels) == (("a", "b", "c"), (True, None, None))
    assert only.conversations[1] == (Message("user", "q"), Message("assistant", "b"))
    plain = as_plain_text(samples).prompts[0]
    assert plain.conversations[0] == (Message("text", "q"), Message("text", "a"))


def test_equal_conversations_are_scored_once_and_infinity_is_missing(tmp_path: Path) -> None:
    samples = sampled(tmp_path, {"prompt": "q", "completions": ["a", "a", "b"]})
    asked: list[int] = []

    class Scorer:
        def score(self, conversations: list[object], progress: object = None) -> object:
            asked.append(len(conversations))
            return np.array([1.0, np.inf])

    (rewards,) = score_samples(samples, Scorer())
    assert asked == [2]
    assert rewards[:2].tolist() == [1.0, 1.0]
    assert np.isnan(rewards[2])


@pytest.mark.parametrize(
    ("bad", "where", "problem"),
    [
        ({"completions": ["a", "b"]}, "field 'prompt'", "is missing"),
        ({"prompt": "q"}, "field 'completions'", "is missing"),
        ({"prompt": "q", "completions": []}, "field 'completions'", "is an empty list"),
        ({"prompt": "q", "completions": ["a", 3]}, "field 'completions[1]'", "is 3, not a string"),
        ({"prompt": "q", "completions": ["a"], "responses": ["b"]}, "field 'responses'", "stands beside 'completions'"),
        ({"prompt": "q", "completions": ["a", "b"], "labels": [1]}, "field 'labels'", "there are 2 completions"),
        ({"prompt": "q", "completions": ["a", "b"], "labels": "yes"}, "field 'labels'", "the labels are 'yes'"),
        ({"prompt": "q", "completions": ["a", "b"], "labels": [1, 0.5]}, "field 'labels[1]'", "is 0.5, not true"),
        ({"prompt": "q", "completions": ["a", "b"], "correct": [1, "x"]}, "field 'correct[1]'", "is 'x', not true"),
    ],
)
def test_a_bad_row_is_named_by_file_row_and_field(
    tmp_path: Path, bad: dict[str, object], where: str, problem: str
) -> None:
    path = write(tmp_path, row("good", 2), bad)
    with pytest.raises(BenchmarkError) as caught:
        read_policy_samples(path)
    assert caught.value.where == f"{path}:2, {where}"
    assert problem in caught.value.problem
    assert caught.value.fix


def test_a_file_without_two_completions_anywhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="no prompt has two completions"):
        sampled(tmp_path, row("a", 1), row("b", 1))
    with pytest.raises(DataError, match="no such file"):
        read_policy_samples(str(tmp_path / "none.jsonl"))
