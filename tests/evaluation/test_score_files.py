"""The files that reward-bench's scripts save, read by `--rewards`: written here as its `save_to_hub` writes them."""

import gzip
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from rewardsmith.errors import BenchmarkError, UserError
from rewardsmith.evaluation import EvalRow, find_benchmark, read_offline, read_rewards, score_rows
from rewardsmith.types import Message


def eval_row(number, n_chosen=1, n_rejected=3, subset="Math"):
    def answers(kind, count):
        return tuple((Message("assistant", f"{kind} {i}"),) for i in range(count))

    prompt = (Message("user", f"{subset} {number}?"),)
    return EvalRow(str(number), subset, prompt, answers("right", n_chosen), answers("wrong", n_rejected))


ROWS = [eval_row(0), eval_row("tied:0", 2, 2, "Ties")]
COLUMNS = {
    "id": ["tied:0", 0],
    "subset": ["Ties", "Math"],
    "text": [["a", "b", "c", "d"], ["a", "b", "c", "d"]],
    "scores": [[[3.0], [2.5], [1.0], [0.5]], [[0.25], [1.5], [-2.0], [0.0]]],
    "results": [None, 0.0],
    "num_correct": [2, 1],
    "model": "org/model",
    "model_type": "Seq. Classifier",
    "chat_template": "tokenizer",
}
WANTED = [[0.25, 1.5, -2.0, 0.0], [3.0, 2.5, 1.0, 0.5]]


def saved(path, content):
    """As `save_to_hub` of rewardbench/utils.py writes a dict."""
    path.write_text(json.dumps(content, indent=4, sort_keys=True), encoding="utf-8")
    return str(path)


def as_rows(columns):
    lists = {name: column for name, column in columns.items() if isinstance(column, list)}
    return [{name: column[i] for name, column in lists.items()} for i in range(len(lists["id"]))]


def test_the_saved_object_of_columns(tmp_path):
    found = read_rewards(saved(tmp_path / "model.json", COLUMNS), ROWS)
    np.testing.assert_array_equal(found, WANTED)
    packed = tmp_path / "model.json.gz"
    packed.write_bytes(gzip.compress(json.dumps(COLUMNS).encode()))
    np.testing.assert_array_equal(read_rewards(str(packed), ROWS), WANTED)


@pytest.mark.parametrize("wrapped", [True, False])
def test_the_same_columns_one_row_a_line_or_as_a_list(tmp_path, wrapped):
    rows = as_rows(COLUMNS)
    if not wrapped:
        rows = [row | {"scores": [score for (score,) in row["scores"]]} for row in rows]
    lines = tmp_path / "model.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    np.testing.assert_array_equal(read_rewards(str(lines), ROWS), WANTED)
    np.testing.assert_array_equal(read_rewards(saved(tmp_path / "list.json", rows), ROWS), WANTED)


def test_rows_jsonl_in_columns_and_a_single_line(tmp_path):
    own = {"id": ["0"], "subset": ["Math"], "rewards": [WANTED[0]]}
    np.testing.assert_array_equal(read_rewards(saved(tmp_path / "own.json", own), ROWS[:1]), WANTED[:1])
    line = tmp_path / "line.json"
    line.write_text(json.dumps({"id": 0, "subset": "Math", "rewards": WANTED[0]}), encoding="utf-8")
    np.testing.assert_array_equal(read_rewards(str(line), ROWS[:1]), WANTED[:1])


def test_the_pairs_of_the_first_rewardbench(tmp_path):
    pair = eval_row(7, n_rejected=1, subset="donotanswer")
    columns = {"id": [7], "subset": ["donotanswer"], "scores_chosen": [[1.5]], "scores_rejected": [0.5], "model": "m"}
    np.testing.assert_array_equal(read_rewards(saved(tmp_path / "m.json", columns), [pair]), [[1.5, 0.5]])


def test_null_is_a_reward_that_could_not_be_computed(tmp_path):
    columns = COLUMNS | {"scores": [[None, [2.5], [None], [0.5]], COLUMNS["scores"][1]]}
    found = read_rewards(saved(tmp_path / "m.json", columns), ROWS)
    np.testing.assert_array_equal(found[1], [math.nan, 2.5, math.nan, 0.5])


def changed(**changes):
    return COLUMNS | changes


def second(scores):
    return changed(scores=[COLUMNS["scores"][0], scores])


FAULTS = {
    "two logits": (second([[0.25], [1.0, 2.0], [-2.0], [0.0]]), ": row 2, field 'scores[1]'", "is [1.0, 2.0]", ""),
    "too few": (second([[0.25]]), ": row 2, field 'scores'", "has 1 rewards, but the row has 4", "chosen first"),
    "not a list": (second(0.25), ": row 2, field 'scores'", "is 0.25, not a list", ""),
    "other count": (changed(num_correct=[2, 3]), ": row 2, field 'num_correct'", "is 3, but the row has 1", ""),
    "extra": (changed(id=["tied:0", 5]), ": row 2, field 'id'", "Math / 5 is not a row", "remove it"),
    "twice": (changed(id=["tied:0"] * 2, subset=["Ties"] * 2), ": row 2, field 'id'", "stands twice", ""),
    "short column": (changed(scores=[COLUMNS["scores"][0]]), ", column 'scores'", "has 1 values", "one value a row"),
    "no rewards": ({"id": [0], "subset": ["Math"]}, ": row 1, field 'rewards'", "is missing", "scripts of RewardBench"),
    "two forms": (changed(rewards=WANTED), ": row 1, field 'rewards'", "stands beside 'scores'", ""),
    "missing": (
        {name: column[:1] if isinstance(column, list) else column for name, column in COLUMNS.items()},
        "model.json",
        "1 of 2 rows have no rewards: Math / 0",
        "null",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_name_row_field_and_fix(tmp_path, name):
    content, where, problem, fix = FAULTS[name]
    path = saved(tmp_path / "model.json", content)
    with pytest.raises(BenchmarkError) as caught:
        read_rewards(path, ROWS)
    assert caught.value.where.startswith(path)
    assert where in caught.value.where
    assert problem in caught.value.problem
    assert fix in caught.value.fix
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("content", [b"{", b'{"id": [1', b"\xff\xfe", b"7"])
def test_broken_files_are_named(tmp_path, content):
    (tmp_path / "m.json").write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_rewards(str(tmp_path / "m.json"), ROWS)
    assert caught.value.where.startswith(str(tmp_path / "m.json"))


# What the scripts of other benchmarks save: each file as their code writes it, each score as their code computes it.


def write_lines(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return str(path)


def evaluated(name, data, rewards):
    benchmark = find_benchmark(name)
    rows = benchmark.load(str(data), None)
    found = read_offline(str(rewards), rows.rows)
    return score_rows(
        benchmark, replace(rows, note=found.note), found.rewards, seed=1, resamples=100, reasons=found.reasons
    )


def rm_bench_rows(domain, count, seed):
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        texts = {side: [f"{domain} {number} {side} {style}" for style in range(3)] for side in ("chosen", "rejected")}
        scores = generator.integers(0, 6, (2, 3)).astype(float)  # small integers, so that some are equal
        rows.append({"id": number, "prompt": f"{domain} {number}?", **texts, "scores": scores})
    return rows


def published_rm_bench(rows):
    """`compute_accuracy` of its scripts/utils.py: the mean matrix, then triangles and diagonal."""
    chosen, rejected = (np.array([row["scores"][side] for row in rows]) for side in (0, 1))
    matrix = (chosen[:, :, None] > rejected[:, None, :]).mean(axis=0)
    hard, easy = matrix[np.triu_indices(3, 1)].mean(), matrix[np.tril_indices(3, -1)].mean()
    return {"hard": hard, "normal": np.diag(matrix).mean(), "easy": easy}


def test_rm_bench_output_by_file_names_and_by_domain(tmp_path):
    files = {domain: rm_bench_rows(domain, 7, seed) for seed, domain in enumerate(("chat", "code", "safety-refuse"))}
    for domain, rows in files.items():
        plain = [{name: value for name, value in row.items() if name != "scores"} for row in rows]
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / f"{domain}_filtered.json").write_text(json.dumps(plain))
        scored = [
            dict(row, scores=None)
            | {"subset": "theirs"}
            | dict(zip(("score_chosen", "score_rejected"), row["scores"].tolist(), strict=True))
            for row in rows
        ]
        for row in scored:
            del row["scores"]
        folder = tmp_path / "results"
        folder.mkdir(exist_ok=True)
        (folder / f"{domain}_filtered_model_REWORD_MODEL_20250101_000000.json").write_text(json.dumps(scored, indent=4))
    done = evaluated("rm_bench", tmp_path / "data", tmp_path / "results")
    wanted = {domain.partition("-")[0]: published_rm_bench(rows) for domain, rows in files.items()}
    assert done.result.average == pytest.approx(np.mean([np.mean(list(one.values())) for one in wanted.values()]))
    for name in ("hard", "normal", "easy"):
        assert done.result.metrics[name] == pytest.approx(np.mean([one[name] for one in wanted.values()]))
        assert done.result.metrics[f"code_{name}"] == pytest.approx(wanted["code"][name])
    assert "the average is over the 3 present (chat, code, safety)" in done.result.protocol
    assert "Rewards as the script of RM-Bench saved them." in done.result.protocol
    # total_dataset.json: the domain stands in the row, and both files are one.
    both = [row | {"domain": domain} for domain, rows in files.items() for row in rows]
    (tmp_path / "total.json").write_text(json.dumps([{k: v for k, v in row.items() if k != "scores"} for row in both]))
    whole = [{k: v for k, v in row.items() if k != "scores"} for row in both]
    for row, scored in zip(both, whole, strict=True):
        scored["score_chosen"], scored["score_rejected"] = row["scores"].tolist()
    (tmp_path / "total_model.json").write_text(json.dumps(whole))
    again = evaluated("rm_bench", tmp_path / "total.json", tmp_path / "total_model.json")
    assert again.result.average == pytest.approx(done.result.average)


def test_rm_bench_output_of_other_texts_is_refused(tmp_path):
    rows = [{k: v for k, v in row.items() if k != "scores"} | {"domain": "chat"} for row in rm_bench_rows("chat", 2, 1)]
    (tmp_path / "data.json").write_text(json.dumps(rows))
    scored = [row | {"score_chosen": [1, 2, 3], "score_rejected": [0, 0, 0]} for row in rows]
    scored[1]["chosen"] = scored[0]["chosen"]
    with pytest.raises(BenchmarkError, match="the texts are not those of chat / 1") as caught:
        evaluated("rm_bench", tmp_path / "data.json", saved(tmp_path / "scored.json", scored))
    assert "row 2" in str(caught.value) or ":2" in str(caught.value)


def judged_pair(number, label, scores, source="mmlu-pro-law"):
    pair = {"pair_id": f"p{number}", "original_id": number, "source": source, "question": f"q{number}?",
            "response_model": "m", "response_A": f"A{number}", "response_B": f"B{number}", "label": label}  # fmt: skip
    if scores is None:
        return pair | {"judge_name": "reward_model", "judgments": [None, None]}
    games = [(scores, "A>B" if scores[0] > scores[1] else "B>A"), (scores[::-1], "")]
    return pair | {
        "judge_name": "reward_model",
        "judgments": [
            {"judgment": {"judge_model": "m", "prompt": "", "response": "", "scores": list(one)}, "decision": said}
            for one, said in games
        ],
    }


def published_judgebench(pairs):
    """`compute_final_metrics` with --single_game."""
    return np.mean([pair["judgments"][0]["decision"] == pair["label"] for pair in pairs])


def test_judgebench_output(tmp_path):
    generator = np.random.default_rng(3)
    pairs = [
        judged_pair(n, label, generator.integers(0, 3, 2).astype(float).tolist())
        for n, label in enumerate(generator.choice(["A>B", "B>A"], 40))
    ]
    data = write_lines(tmp_path / "data.jsonl", [{k: v for k, v in p.items() if k != "judgments"} for p in pairs])
    done = evaluated("judgebench", data, write_lines(tmp_path / "out.jsonl", pairs[::-1]))
    assert done.result.average == pytest.approx(published_judgebench(pairs))
    assert done.rows[0].rewards == tuple(
        pairs[0]["judgments"][0]["judgment"]["scores"][:: 1 if pairs[0]["label"] == "A>B" else -1]
    )


def test_judgebench_pairs_without_a_judgment_are_missing_and_verdicts_are_refused(tmp_path):
    pairs = [judged_pair(0, "A>B", [2.0, 1.0]), judged_pair(1, "B>A", None)]
    data = write_lines(tmp_path / "data.jsonl", [{k: v for k, v in p.items() if k != "judgments"} for p in pairs])
    done = evaluated("judgebench", data, write_lines(tmp_path / "out.jsonl", pairs))
    assert done.result.missing_rewards == {"failed": 2}
    assert done.result.average == 0.5
    verdicts = [p | {"judgments": [{"judgment": {"response": "[[A>B]]"}, "decision": "A>B"}]} for p in pairs]
    with pytest.raises(BenchmarkError, match="verdicts of a language model are no rewards"):
        evaluated("judgebench", data, write_lines(tmp_path / "verdicts.jsonl", verdicts))


def test_rmb_output_and_its_scenarios(tmp_path):
    rewards = [(2.0, 1.0), (1.0, 1.0), (0.5, 1.0), (3.0, None)]
    paths = ["Code/Documentation", "Code/Documentation", "Code/Data Management", "Chat/Discussion"]
    rows = [
        {"pair_uid": str(n), "category_path": f"Pairwise_set/Helpfulness/{path}", "conversation_input": f"q{n}",
         "chosen": {"answer": "a"}, "reject": {"answer": "b"}}
        for n, path in enumerate(paths)
    ]  # fmt: skip
    scored = [
        {"pair_uid": row["pair_uid"], "category_path": row["category_path"], "chosen_reward": chosen,
         "reject_reward": reject, "is_correct": int((chosen or 0) > (reject or 9))}
        for row, (chosen, reject) in zip(rows, rewards, strict=True)
    ]  # fmt: skip
    done = evaluated("rmb", write_lines(tmp_path / "rmb.jsonl", rows), saved(tmp_path / "result.json", scored))
    assert done.result.average == pytest.approx(np.mean([row["is_correct"] for row in scored]))
    found = done.result.metrics
    assert found["Pairwise_set/Helpfulness/Code/Documentation"] == 0.5
    assert found["Pairwise_set/Helpfulness/Code/Data Management"] == 0.0
    assert found["Pairwise_set/Helpfulness/Code"] == pytest.approx(1 / 3)
    assert done.result.missing_rewards == {"null": 1}


def ppe_rows(tmp_path):
    human = [
        {"question_id": f"h{n}", "model_a": "x", "model_b": "y", "winner": winner, "prompt": f"q{n}",
         "response_1": "one", "response_2": "two"}
        for n, winner in enumerate(("model_a", "model_b", "tie", "model_b"))
    ]  # fmt: skip
    responses = {f"response_{n + 1}": f"r{n}" for n in range(4)}
    graded = {"question_id": 7, "model_name": "gemma", "prompt": "q", "scores": [False, True, False, True],
              "sampled_conflict_pairs": [[1, 0], [2, 3], [1, 2]], **responses}  # fmt: skip
    write_lines(tmp_path / "data" / "human_preference_v1.jsonl", human)
    write_lines(tmp_path / "data" / "math_best_of_k.jsonl", [graded])
    return human, graded


def test_ppe_results_by_folder(tmp_path):
    human, graded = ppe_rows(tmp_path)
    scores = [(2.0, 1.0), (2.0, 1.0), (5.0, 5.0), ([0.5], [1.0])]
    saved_human = [
        {"question_id": row["question_id"], "score_1": a, "score_2": b}
        for row, (a, b) in zip(human, scores, strict=True)
    ]
    best = {"question_id": 7, "model_name": "gemma", "sampled_conflict_pairs": graded["sampled_conflict_pairs"],
            "score_1": [0.0], "score_2": [3.0], "score_3": [1.0], "score_4": [0.5]}  # fmt: skip
    for folder, content in (("human_preference_v1", saved_human), ("math_best_of_k", [best])):
        (tmp_path / "results" / folder).mkdir(parents=True)
        (tmp_path / "results" / folder / "Athene-RM-8B.json").write_text(json.dumps(content))
    done = evaluated("ppe", tmp_path / "data", tmp_path / "results")
    # Winners: h0 has 2 > 1, h1 has 1 < 2, h3 has 1.0 > 0.5. Pairs: r1 > r0 yes, r3 > r2 no, r1 > r2 yes.
    assert done.result.subsets["human_preference_v1"].score == pytest.approx(2 / 3)
    assert done.result.subsets["math_best_of_k"].score == pytest.approx(2 / 3)
    assert "1 rows of the file are not among these rows and were left out" in done.result.protocol
    assert {row.id: row.rewards for row in done.rows}["7 gemma"] == (3.0, 0.5, 0.0, 1.0)


def test_nan_in_a_script_is_missing_and_counted_and_in_ours_an_error(tmp_path):
    columns = second([[math.nan], [math.inf], [-2.0], [0.0]])
    found = read_offline(saved(tmp_path / "model.json", columns), ROWS)
    np.testing.assert_array_equal(found.rewards[0], [math.nan, math.nan, -2.0, 0.0])
    assert found.reasons[0] == {0: "nan: the script saved NaN", 1: "not_finite: the script saved inf"}
    assert "2 of them are NaN or infinite there and count as missing." in found.note
    assert read_offline(saved(tmp_path / "clean.json", COLUMNS), ROWS).note == (
        "Rewards as the script of RewardBench 2 saved them."
    )
    ours = [{"id": 0, "subset": "Math", "rewards": [math.nan, 1, 2, 3]}]
    with pytest.raises(BenchmarkError, match="is nan, not a finite number"):
        read_offline(write_lines(tmp_path / "ours.jsonl", ours), ROWS[:1])


def test_an_id_of_several_subsets_needs_its_subset(tmp_path):
    rows = [eval_row(0, 3, 3, "chat"), eval_row(0, 3, 3, "code")]
    line = {"id": "0", "score_chosen": [1, 1, 1], "score_rejected": [0, 0, 0]}
    with pytest.raises(BenchmarkError, match="stands in several subsets: chat, code"):
        read_offline(write_lines(tmp_path / "x.jsonl", [line]), rows)
