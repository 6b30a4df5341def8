"""Plan-, IF-, Long- and M-RewardBench: each rule against its published code, written out here; malformed rows."""

import json
import math

import numpy as np
import pytest

from rewardsmith.errors import BenchmarkError
from rewardsmith.evaluation import find_benchmark, score_rows
from rewardsmith.evaluation import rows as tables
from rewardsmith.evaluation.benchmarks import long_rewardbench, m_rewardbench, plan_rewardbench
from rewardsmith.evaluation.benchmarks.long_rewardbench import share_of_ranks


def write(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return str(path)


def scored(name, rows, rewards):
    arrays = [np.array(one, dtype=float) for one in rewards]
    return score_rows(find_benchmark(name), rows, arrays, seed=1, resamples=200)


# Plan-RewardBench


def plan_row(number, **changes):
    messages = [
        {"role": "user", "content": f"task {number}"},
        {"role": "tool_call", "content": "{'name': 'search'}"},
        {"role": "tool_response", "name": "search", "content": {"found": 1}},
        {"role": "assistant", "content": "done"},
    ]
    return {
        "query": f"task {number}", "tools": [{"type": "function", "function": {"name": "search"}}],
        "uuid": f"u{number}", "chosen": {"messages": messages}, "reject": {"messages": messages[:1] + messages[3:]},
        **changes,
    }  # fmt: skip


def test_plan_ties_within_a_ten_thousandth_and_the_mean_of_the_splits(tmp_path):
    write(tmp_path / "planning_multi_easy.jsonl", [plan_row(n) for n in range(5)])
    write(tmp_path / "safety_refusal.jsonl", [plan_row(9), plan_row(9)])  # one uuid, two pairs
    rows = find_benchmark("plan_rewardbench").load(str(tmp_path), None)
    assert [row.id for row in rows.rows[5:]] == ["u9", "u9#2"]
    rewards = [(1.0, 0.0), (0.0, 1.0), (0.00005, 0.0), (0.0002, 0.0), (math.nan, 0.0), (1.0, 0.0), (0.0, 0.0)]
    found = scored("plan_rewardbench", rows, rewards)
    assert [row.result for row in found.rows] == [1, 0, 0.5, 1, 0, 1, 0.5]
    assert found.result.subsets["planning_multi_easy"].score == pytest.approx(2.5 / 5)
    assert found.result.average == pytest.approx((0.5 + 0.75) / 2)
    assert "(its script leaves it out)" in found.result.protocol
    assert "Absent here: planning_multi_hard" in found.result.protocol


def test_plan_texts_are_those_of_its_script(tmp_path):
    (row,) = (
        find_benchmark("plan_rewardbench").load(write(tmp_path / "robust_recovery.jsonl", [plan_row(1)]), None).rows
    )
    tools = json.dumps([{"type": "function", "function": {"name": "search"}}], ensure_ascii=False, indent=2)
    assert row.prompt[0].content == (
        f"<tool_environment>\n{tools}\n</tool_environment>\n<user_query>\ntask 1\n</user_query>"
    )
    assert row.chosen[0][0].content == (
        "[USER] task 1\n\n[TOOL_CALL] {'name': 'search'}\n\n[TOOL_RESPONSE name=search] {\"found\": 1}\n\n"
        "[ASSISTANT] done"
    )
    bucket = [plan_row(1, _lcp_bucket="refusal")]
    assert find_benchmark("plan_rewardbench").load(write(tmp_path / "hub.jsonl", bucket), None).rows[0].subset == (
        "safety_refusal"
    )


# IF-RewardBench


def if_row(number, kind, edges, count=4):
    return {
        "id": number, "instruction_type": kind, "messages": [{"role": "user", "content": f"do {number}"}],
        "responses": [{"response_id": n, "response": f"answer {n}", "labels": [1]} for n in range(count)],
        "preference_graph": [{"chosen": {"response_id": a}, "rejected": {"response_id": b}} for a, b in edges],
    }  # fmt: skip


def published_if(edges, scores):
    """`calculate_pairwise_metrics` of metrics/analysis_constraint_assessment.py."""
    edges = set(edges)
    right = sum(scores[u] > scores[v] for u, v in edges)
    tied = sum(scores[u] == scores[v] for u, v in edges)
    wrong = len(edges) - right - tied
    return right / max(len(edges), 1), (right - wrong) / max(1, math.sqrt((right + wrong) * (right + wrong + tied)))


def test_if_accuracy_and_kendall_are_its_codes(tmp_path):
    graphs = [
        ("Single_Turn", [(2, 0), (2, 1), (0, 1), (0, 1)], [1.0, 1.0, 3.0, 9.0]),
        ("Single_Turn", [(3, 1), (1, 0), (3, 0)], [5.0, 2.0, 0.0, 1.0]),
        ("Multi_Turn", [(0, 1)], [1.0, 1.0, 0.0, 0.0]),
    ]
    lines = [if_row(n, kind, edges) for n, (kind, edges, _) in enumerate(graphs)]
    rows = find_benchmark("if_rewardbench").load(write(tmp_path / "if.jsonl", lines), None)
    rewards = [
        [scores[int(response[0].content.split()[-1])] for response in row.responses]
        for row, (_, _, scores) in zip(rows.rows, graphs, strict=True)
    ]
    assert [len(row.responses) for row in rows.rows] == [3, 3, 2]  # those in no preference are not scored
    found = scored("if_rewardbench", rows, rewards).result
    wanted = [published_if(edges, scores) for _, edges, scores in graphs]
    assert found.subsets["Single_Turn"].score == pytest.approx((wanted[0][0] + wanted[1][0]) / 2)
    assert found.average == pytest.approx(((wanted[0][0] + wanted[1][0]) / 2 + wanted[2][0]) / 2)
    assert found.metrics["Single_Turn_kendall"] == pytest.approx((wanted[0][1] + wanted[1][1]) / 2)
    assert found.metrics["kendall"] == pytest.approx(((wanted[0][1] + wanted[1][1]) / 2 + wanted[2][1]) / 2)
    assert wanted[0] == pytest.approx((2 / 3, 2 / math.sqrt(2 * 3)))  # by hand: two right, one equal
    lost = scored("if_rewardbench", rows, [[math.nan] * len(one) for one in rewards]).result
    assert (lost.average, lost.metrics["kendall"]) == (0.0, -1.0)


# Long-RewardBench


def published_ranks(shuffled, rewards):
    """`extract_judgement(is_disrm=True)` and `compare_shuffled`, for the responses in a shuffled order."""
    shown = [rewards[place] for place in shuffled]
    orders = sorted(enumerate(shown), key=lambda one: one[1], reverse=True)
    ranks = [place for place, _ in orders]
    result = [ranks.index(place) for place in range(len(ranks))]
    return sum(a == b for a, b in zip(shuffled, result, strict=True)) / len(shuffled)


def test_long_ranks_are_its_codes_whatever_the_shuffle():
    generator = np.random.default_rng(5)
    for size in (2, 3, 4):
        for _ in range(20):
            rewards = generator.permutation(size).astype(float)
            shuffled = generator.permutation(size).tolist()
            assert share_of_ranks(rewards) == pytest.approx(published_ranks(shuffled, rewards.tolist()))


def test_long_equal_rewards_are_the_mean_over_all_shuffles():
    from itertools import permutations

    for rewards in ([1.0, 1.0], [2.0, 1.0, 1.0], [1.0, 1.0, 1.0], [1.0, 2.0, 2.0, 0.0]):
        every = [published_ranks(list(order), rewards) for order in permutations(range(len(rewards)))]
        assert share_of_ranks(np.array(rewards)) == pytest.approx(np.mean(every))
    assert share_of_ranks(np.array([1.0, math.nan])) == 0.0


def long_row(number, **changes):
    return {
        "id": number, "prompt_template": [{"role": "user", "content": f"context {number}"}], "source": "x",
        "chosen": "good", "rejected": "bad", "tasktype": "PairWise", "subtype": "same", "ctx_length_for_length": "8k",
        **changes,
    }  # fmt: skip


def test_long_pairs_rankings_and_the_score_of_all_rows(tmp_path):
    ranking = {"tasktype": "BestOfN", "subtype": 3, "candidates": ["a", "b", "c"]}
    write(tmp_path / "Cite.jsonl", [long_row(0), long_row(1, subtype="diff", ctx_length_for_length="128k")])
    write(tmp_path / "Summ.jsonl", [long_row(0, **ranking), long_row(0)])
    rows = find_benchmark("long_rewardbench").load(str(tmp_path), None)
    assert [row.key for row in rows.rows] == [("Cite", "0"), ("Cite", "1"), ("BestOfN", "Summ 0"), ("Summ", "0")]
    found = scored("long_rewardbench", rows, [(1, 0), (0, 1), (3, 1, 2), (1, 0)]).result
    assert found.average == pytest.approx((1 + 0 + 1 / 3 + 1) / 4)
    assert found.subsets["BestOfN"].baseline == pytest.approx(1 / 3)
    wanted = {"pairwise": 2 / 3, "pairwise_same": 1.0, "pairwise_different": 0.0, "rank": 1 / 3, "rank_3": 1 / 3,
              "pairwise_8k": 1.0, "pairwise_128k": 0.0}  # fmt: skip
    assert {name: found.metrics[name] for name in wanted} == pytest.approx(wanted)


# M-RewardBench


def m_row(number, source, **changes):
    return {"id": number, "prompt": f"frage {number}", "chosen": "ja", "rejected": "nein", "source": source, **changes}


def test_m_a_language_is_rewardbenchs_rule_and_the_average_the_mean_of_languages(tmp_path):
    german = ["math-prm", "hep-go", "hep-go", "alpacaeval-easy", "mt-bench-easy", "donotanswer"]
    write(tmp_path / "deu_Latn" / "test-0.jsonl", [m_row(n, source) for n, source in enumerate(german)])
    write(tmp_path / "jpn_Jpan.jsonl", [m_row(0, "math-prm")])
    write(tmp_path / "translation.jsonl", [{"id": 0, "prompt": "p", "chosen": "a", "rejected": "b"}])
    rows = find_benchmark("m_rewardbench").load(str(tmp_path), None)
    rewards = [(1, 0), (1, 0), (0, 1), (1, 0), (1, 1), (0, 1), (1, 0), (0, 1)]
    found = scored("m_rewardbench", rows, rewards).result
    reasoning = (983 * 1.0 + 164 * 0.5) / (983 + 164)
    chat = (79 * 1.0 + 24 * 0.0) / (79 + 24)
    assert found.subsets["deu_Latn"].score == pytest.approx((reasoning + chat + 0.0) / 3)
    assert (found.subsets["jpn_Jpan"].score, found.subsets["translation"].score) == (1.0, 0.0)
    assert found.average == pytest.approx(((reasoning + chat) / 3 + 1.0) / 2)
    assert found.metrics["section_Reasoning"] == pytest.approx((reasoning + 1.0) / 2)
    assert found.average_baseline == 0.5
    missing = scored("m_rewardbench", rows, [(math.nan, 0)] * 8).result
    assert (missing.average, missing.subsets["deu_Latn"].n_missing) == (0.0, 6)


def test_m_languages_by_field_and_the_published_counts(tmp_path):
    lines = [m_row(0, "hep-go", language="fra_Latn"), m_row(0, "hep-go", language="eng_Latn")]
    rows = find_benchmark("m_rewardbench").load(write(tmp_path / "all.jsonl", lines), None).rows
    assert [row.subset for row in rows] == ["fra_Latn", "eng_Latn"]
    from rewardsmith.evaluation.benchmarks.m_rewardbench import ROWS_A_LANGUAGE, SECTIONS

    counts = [count for section in SECTIONS.values() for count in section.values()]
    assert sum(counts) - 983 + 447 == ROWS_A_LANGUAGE  # math-prm is weighted up from its 447 pairs


# The hub: every configuration is read, and only the published data in full are official.


@pytest.mark.parametrize("name", ["long_rewardbench", "m_rewardbench", "plan_rewardbench"])
def test_the_hub_data_set_in_full_is_official(name, monkeypatch):
    module = {
        "long_rewardbench": long_rewardbench,
        "m_rewardbench": m_rewardbench,
        "plan_rewardbench": plan_rewardbench,
    }[name]
    lost = []

    def read(source):
        if name == "long_rewardbench":
            made = [long_row(n) for n in range(long_rewardbench.PUBLISHED_ROWS[source.name])]
        elif name == "m_rewardbench":
            made = [m_row(n, "hep-go") for n in range(5)]
        else:
            made = [plan_row(f"{split}{n}", subset=split) for split, size in plan_rewardbench.PUBLISHED_ROWS.items()
                    for n in range(size)]  # fmt: skip
        return enumerate(made[len(lost) :], start=1)

    monkeypatch.setattr(tables, "read_hub", read)
    monkeypatch.setattr(tables, "hub_revision", lambda source: "abc")
    monkeypatch.setattr(m_rewardbench, "ROWS_A_LANGUAGE", 5)
    hub_id = module.HUB_IDS[0] if name == "m_rewardbench" else module.HUB_ID
    whole = find_benchmark(name).load(hub_id, None)
    assert whole.dataset.official
    assert whole.title == find_benchmark(name).title
    if name == "m_rewardbench":
        assert len({row.subset for row in whole.rows}) == 22
    lost.append("a row")
    assert not find_benchmark(name).load(hub_id, None).dataset.official


FAULTS = {
    "plan_rewardbench": [
        ("x.jsonl", plan_row(1), "'subset': is missing"),
        ("safety_refusal.jsonl", plan_row(1, chosen={"messages": []}), "'chosen': has no messages"),
        ("safety_refusal.jsonl", plan_row(1, reject={"messages": [{"role": "user"}]}), r"'reject.messages\[0\]'"),
        ("safety_refusal.jsonl", plan_row(1, tools="none"), "'tools'"),
        ("safety_refusal.jsonl", plan_row(1, uuid=""), "'uuid': is empty"),
    ],
    "if_rewardbench": [
        ("x.jsonl", if_row(1, "Single", [(0, 1)]), "unknown instruction type 'Single'"),
        ("x.jsonl", if_row(1, "Single_Turn", []), "'preference_graph': is an empty list"),
        ("x.jsonl", if_row(1, "Single_Turn", [(0, 0)]), "names no two responses"),
        ("x.jsonl", if_row(1, "Single_Turn", [(0, 7)]), "names no response: 7"),
        ("x.jsonl", if_row(1, "Single_Turn", [(0, 1), (1, 0)]), "prefers responses in a circle"),
    ],
    "long_rewardbench": [
        ("Cite.jsonl", long_row(1, tasktype="Triple"), "unknown type 'Triple'"),
        ("Cite.jsonl", long_row(1, tasktype="BestOfN", candidates=["one"]), "has no order"),
        ("Cite.jsonl", long_row(1, rejected=None), "'rejected'"),
        ("x.jsonl", long_row(1), "'subset': is missing"),
    ],
    "m_rewardbench": [
        ("x.jsonl", m_row(1, "hep-go"), "'language': is missing"),
        ("x.jsonl", m_row(1, "hep-go", language="de"), "unknown language 'de'"),
        ("deu_Latn.jsonl", m_row(1, "hep-gop"), "unknown subset 'hep-gop'"),
        ("deu_Latn.jsonl", m_row(1, "hep-go", chosen=3), "'chosen'"),
    ],
}


@pytest.mark.parametrize(("name", "file", "row", "says"), [(n, *one) for n, faults in FAULTS.items() for one in faults])
def test_malformed_rows_name_row_and_field(tmp_path, name, file, row, says):
    with pytest.raises(BenchmarkError, match=says) as caught:
        find_benchmark(name).load(write(tmp_path / file, [row]), None)
    assert f"{file}:1" in str(caught.value)
    assert caught.value.fix
