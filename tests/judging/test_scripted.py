"""Against a judge of planted skill, bias and faults that speaks HTTP in a process of its own.

What is measured is what was planted, and what was paid for is what the judge says that it was paid for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from judge_world import PRICES, judged, pairs, ranked_rows, read_rows, tied_rows, write_rows
from scripted_judge import scripted_judge

from rewardsmith import statistics
from rewardsmith.errors import SpecError, UserError
from rewardsmith.records.judging import ShareWithInterval


def holds(share: ShareWithInterval, planted: float) -> bool:
    assert share.low is not None
    assert share.high is not None
    return share.low <= planted <= share.high


def cost(prompt_tokens: int, completion_tokens: int) -> float:
    return (prompt_tokens * PRICES["prompt"] + completion_tokens * PRICES["completion"]) / 1e6


def test_accuracy_consistency_ties_and_cost_of_pairs_are_the_planted_ones(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "pairs.jsonl", pairs(180))
    with scripted_judge(accuracy=0.85, position_bias=0.2, ties=0.1, seed=4) as judge:
        done = judged(judge.url, "pairs", data, tmp_path / "out", concurrency=16)
        counts = judge.counts()
    result, record = done.result.subsets["all"], done.record
    # one in five pairs goes to whoever stands first, in both orders: a tie. Of the others, one in ten is called a tie.
    assert result.ci_low <= 0.2 * 0.5 + 0.8 * (0.1 * 0.5 + 0.9 * 0.85) <= result.ci_high
    assert holds(record.consistency["pairwise"], 0.8)
    assert holds(record.ties, 0.2 + 0.8 * 0.1)
    assert done.complete
    assert record.missing == {}
    assert (record.cost.comparisons, record.cost.calls, record.cost.calls_per_1000) == (180, 360, 2000)
    assert counts["paid"] == counts["distinct"] == 360
    assert (record.cost.prompt_tokens, record.cost.completion_tokens) == (
        counts["prompt_tokens"],
        counts["completion_tokens"],
    )
    expected = cost(counts["prompt_tokens"], counts["completion_tokens"])
    assert record.cost.cost == pytest.approx(expected, rel=1e-12)
    assert record.cost.per_1000 == pytest.approx(expected / 180 * 1000, rel=1e-12)


def test_a_ranking_judge_with_a_preference_for_the_first_answer(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", ranked_rows(150))
    with scripted_judge(accuracy=0.8, position_bias=0.3, obeys=0.4, seed=5) as judge:
        done = judged(judge.url, "rewardbench2", data, tmp_path / "out", probes={"consistency": 150, "injection": 100})
    result, record = done.result.subsets["Math"], done.record
    assert result.ci_low <= 0.3 * 0.25 + 0.7 * 0.8 <= result.ci_high
    assert holds(record.consistency["ranking"], 0.7)
    first = statistics.wilson_interval(record.places["ranking"]["A"], 150)
    assert first.low <= 0.3 + 0.7 * 0.25 <= first.high
    assert holds(record.injection["ranking"].flipped, 0.4)
    assert record.injection["ranking"].won == record.injection["ranking"].flipped
    assert sum(record.places["ranking"].values()) == 150
    assert {row["rewards"].count(1.0) for row in read_rows(tmp_path / "out", "rewardbench2")} == {1}


def test_where_the_right_answer_stands_is_balanced(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", ranked_rows(40))
    with scripted_judge() as judge:
        done = judged(judge.url, "rewardbench2", data, tmp_path / "out")
    assert done.record.places["ranking"] == {"A": 10, "B": 10, "C": 10, "D": 10}
    assert done.result.average == 1.0


@pytest.mark.parametrize("bias", ["length_bias", "verbosity_bias"])
def test_a_judge_that_likes_long_or_wordy_answers_scores_what_that_leaves(tmp_path: Path, bias: str) -> None:
    data = write_rows(tmp_path / "pairs.jsonl", pairs(80, long_loser=True))
    with scripted_judge(accuracy=0.9, seed=2, **{bias: 0.5}) as judge:
        done = judged(judge.url, "pairs", data, tmp_path / "out")
    result = done.result.subsets["all"]
    assert result.ci_low <= 0.5 * 0.9 <= result.ci_high
    assert done.record.consistency["pairwise"].share == 1.0  # a bias, but not one of position
    assert result.length_baseline == 0.0


def test_ratings_give_ties_its_own_formula(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", [*tied_rows(4), *ranked_rows(4)])
    with scripted_judge() as judge:
        done = judged(judge.url, "rewardbench2", data, tmp_path / "out", output="text", samples=2)
        counts = judge.counts()
    # all right answers 9, all wrong ones 3: every term is 1, the margin term too since right answers do not differ
    assert done.result.subsets["Ties"].score == pytest.approx(1.01)
    assert done.record.protocols == {"Ties": "rating", "Math": "ranking"}
    assert done.record.ratings == {"3": 2 * 8, "9": 2 * 12}  # one reply is read for both samples: temperature 0
    # each distinct text once: 4 prompts with 3 right and 2 wrong answers; and two orders of 4 rankings
    assert counts["paid"] == 4 * 5 + 2 * 4
    tied = next(row for row in read_rows(tmp_path / "out", "rewardbench2") if row["id"] == "tied:0")
    assert tied["rewards"] == [9, 9, 9, 3, 3]


def test_failures_garbage_and_delays_lose_nothing_and_pay_nothing_twice(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", ranked_rows(150))
    planted: dict[str, Any] = {"accuracy": 0.8, "garbage": 0.1, "seed": 11}
    with scripted_judge(**planted) as calm:
        smooth = judged(calm.url, "rewardbench2", data, tmp_path / "calm", retries=8)
    with scripted_judge(**planted, failures=0.2, delay=0.02) as wild:
        rough = judged(wild.url, "rewardbench2", data, tmp_path / "wild", retries=8, concurrency=32)
        counts = wild.counts()
    assert read_rows(tmp_path / "wild", "rewardbench2") == read_rows(tmp_path / "calm", "rewardbench2")
    assert rough.result.subsets == smooth.result.subsets
    assert (rough.record.missing, rough.record.replies) == (smooth.record.missing, smooth.record.replies)
    assert set(rough.record.missing) == {"unparsed"}
    unread = rough.record.replies["ranking"]
    garbage = statistics.wilson_interval(unread.unread, unread.replies)
    assert garbage.low <= 0.1 <= garbage.high
    # each answered call is counted once, and those whose answer was lost are counted besides
    assert sum(counts["statuses"].values()) > 20
    assert rough.record.cost.calls == smooth.record.cost.calls == unread.replies + unread.unread
    assert rough.record.cost.prompt_tokens == smooth.record.cost.prompt_tokens
    lost = counts["statuses"].get("lost", 0) + counts["statuses"].get("504", 0)
    assert counts["paid"] == rough.record.cost.calls + lost
    assert rough.record.lost_calls == lost + counts["statuses"].get("broken", 0)
    assert counts["most_under_way"] <= 32


@pytest.mark.parametrize(
    "budget", [{"calls": 60}, {"tokens": 25_000}, {"money": 0.05}], ids=["calls", "tokens", "money"]
)
def test_a_budget_is_never_overspent_whatever_goes_wrong(tmp_path: Path, budget: dict[str, float]) -> None:
    data = write_rows(tmp_path / "rows.jsonl", ranked_rows(120))
    out = tmp_path / "out"
    with scripted_judge(failures=0.2, garbage=0.1, delay=0.01, seed=4) as judge:
        done = judged(judge.url, "rewardbench2", data, out, budget=budget, concurrency=32, max_tokens=64)
        first = judge.counts()
        again = judged(judge.url, "rewardbench2", data, out, budget=budget, concurrency=32, max_tokens=64)
        counts = judge.counts()
    spent = {
        "calls": counts["paid"],
        "tokens": counts["prompt_tokens"] + counts["completion_tokens"],
        "money": cost(counts["prompt_tokens"], counts["completion_tokens"]),
    }
    [(name, limit)] = budget.items()
    assert 0.4 * limit < spent[name] <= limit
    assert not done.complete
    assert done.record.missing["budget"] > 0
    assert done.record.judged > 0
    assert counts["paid"] - first["paid"] <= 3  # the second job finds almost nothing left
    assert again.record.judged >= done.record.judged


def test_a_budget_of_calls_is_used_up_to_the_last(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", ranked_rows(40))
    with scripted_judge() as judge:
        done = judged(judge.url, "rewardbench2", data, tmp_path / "out", budget={"calls": 25}, concurrency=16)
        assert judge.counts()["paid"] == 25
    assert (done.record.judged, done.record.missing) == (25, {"budget": 15})
    assert done.result.subsets["Math"].n_missing == 15 * 4
    assert done.result.average == 25 / 40  # a missing verdict scores 0


def test_more_budget_continues_where_the_first_one_ended(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", ranked_rows(40))
    with scripted_judge(accuracy=0.7) as judge:
        judged(judge.url, "rewardbench2", data, tmp_path / "out", budget={"calls": 25})
        rest = judged(judge.url, "rewardbench2", data, tmp_path / "out", budget={"calls": 40})
        assert judge.counts()["paid"] == judge.counts()["distinct"] == 40
        whole = judged(judge.url, "rewardbench2", data, tmp_path / "whole")
    assert rest.result == whole.result
    assert (rest.complete, rest.paid, whole.paid) == (True, 15, 40)


def test_unread_replies_score_as_the_original_does_when_asked_to(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", [*ranked_rows(8), *tied_rows(2)])
    with scripted_judge(garbage=1.0) as judge:
        plain = judged(judge.url, "rewardbench2", data, tmp_path / "plain")
        as_theirs = judged(judge.url, "rewardbench2", data, tmp_path / "theirs", missing_as_chance=True)
    assert plain.result.subsets["Math"].score == 0.0
    assert as_theirs.result.subsets["Math"].score == 0.25
    # every rating is -1: nobody is accurate, and a prompt without any difference adds nothing
    assert as_theirs.result.subsets["Ties"].score == plain.result.subsets["Ties"].score == 0.0
    for done in (plain, as_theirs):
        assert done.result.subsets["Math"].n_missing == 8 * 4
        assert done.record.missing == {"unparsed": 12}
        assert not done.complete  # nothing was judged
    rows = read_rows(tmp_path / "theirs", "rewardbench2")
    assert {row["result"] for row in rows if row["subset"] == "Math"} == {0.25}
    assert {reward for row in rows for reward in row["rewards"]} == {None}


def test_the_flag_is_refused_where_the_original_has_no_such_rule(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "pairs.jsonl", pairs(2))
    with pytest.raises(UserError, match="does not score unread replies so"):
        judged("http://127.0.0.1:1/v1", "pairs", data, tmp_path / "out", missing_as_chance=True)


def test_verdicts_come_from_token_probabilities_where_the_endpoint_gives_them(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "pairs.jsonl", pairs(20))
    with scripted_judge(confidence=0.7) as judge:
        done = judged(judge.url, "pairs", data, tmp_path / "out", verdict="logprobs")
    # A: 0.7; B, C and D share the rest, D is no label: (0.7 + 0.1 / 2) / 0.9
    first = [row["rewards"][0] for row in read_rows(tmp_path / "out", "pairs")]
    assert first == pytest.approx([0.75 / 0.9] * 20)
    assert done.record.settings.form == "token"
    assert done.result.average == 1.0


def test_what_an_endpoint_does_not_know_is_not_asked_for_again(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", ranked_rows(6))
    with scripted_judge(refuses=["response_format", "seed"], accuracy=0.5) as judge:
        done = judged(judge.url, "rewardbench2", data, tmp_path / "out", temperature=0.5, concurrency=1)
        assert judge.counts()["paid"] == 6
        again = judged(judge.url, "rewardbench2", data, tmp_path / "out", temperature=0.5, concurrency=1)
        assert judge.counts()["paid"] == 6
    assert done.record.settings.form == "text"
    assert sum(done.failures.values()) == 2  # one refusal for each field, on the first row alone
    assert again.failures == {}
    assert again.result == done.result


def test_json_that_must_be_is_an_error_where_it_cannot_be(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", ranked_rows(3))
    with (
        scripted_judge(refuses=["response_format"]) as judge,
        pytest.raises(SpecError, match=r"answers 422.*response_format") as raised,
    ):
        judged(judge.url, "rewardbench2", data, tmp_path / "out", output="json_schema")
    assert "output" in raised.value.fix


def test_samples_are_drawn_anew_and_combined(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", ranked_rows(20))
    with scripted_judge(position_bias=1.0) as judge:
        done = judged(judge.url, "rewardbench2", data, tmp_path / "out", samples=4, temperature=0.8, combine="majority")
        assert judge.counts()["paid"] == 80
    # every answer stood first once, so that each has one vote: the drawn order decides, and each place wins equally
    assert done.record.places["ranking"]["A"] == 80
    assert done.result.average == 0.25
