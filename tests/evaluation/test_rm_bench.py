"""RM-Bench: the 3 x 3 matrix, domains, pooled safety, absent domains; folders of its files."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from rewardsmith.errors import BenchmarkError
from rewardsmith.evaluation import find_benchmark, random_baselines, rows, score_rows

BENCHMARK = find_benchmark("rm_bench")
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "best_of_n" / "rm_bench.jsonl.gz"


def line(number, **changes):
    texts = ["short", "long plain text", "**long** *markdown* text"]
    return {
        "id": number,
        "prompt": f"prompt {number}",
        "chosen": [f"right {text}" for text in texts],
        "rejected": [f"wrong {text}" for text in texts],
        **changes,
    }


def load(path, lines):
    path.write_text(json.dumps(lines), encoding="utf-8")
    return BENCHMARK.load(str(path), None)


def score(bundle, rewards):
    arrays = [np.array(reward, dtype=float) for reward in rewards]
    return score_rows(BENCHMARK, bundle, arrays, seed=1, resamples=400)


def test_one_matrix_by_hand(tmp_path):
    # chosen 1, 2, 3 against rejected 2, 0, 2, in the order concise, plain, markdown
    #          vs 2  vs 0  vs 2
    #   1        no   yes   no      hard: cells above the diagonal: yes, no, no      1/3
    #   2        no   yes   no      normal: no, yes, yes                             2/3
    #   3        yes  yes   yes     easy: below: no, yes, yes                        2/3
    found = score(load(tmp_path / "rows.json", [line(1, domain="chat")]), [(1, 2, 3, 2, 0, 2)])
    metrics = found.result.metrics
    assert [metrics[name] for name in ("hard", "normal", "easy")] == pytest.approx([1 / 3, 2 / 3, 2 / 3])
    assert metrics["chat_hard"] == pytest.approx(1 / 3)
    assert found.result.average == found.rows[0].result == pytest.approx(5 / 9)
    assert "Absent here: code, math, safety-refuse, safety-response" in found.result.protocol


def test_a_lover_of_fancy_styles_is_right_where_it_is_easy_and_wrong_where_it_is_hard(tmp_path):
    metrics = score(load(tmp_path / "rows.json", [line(1, domain="code")]), [(1, 2, 3, 1, 2, 3)]).result.metrics
    assert [metrics[name] for name in ("easy", "normal", "hard")] == [1.0, 0.0, 0.0]  # equal rewards lose


def test_safety_is_pooled_and_domains_weigh_the_same(tmp_path):
    domains = ["chat", "safety-refuse", "safety-refuse", "safety-refuse", "safety-response"]
    bundle = load(tmp_path / "rows.json", [line(number, domain=name) for number, name in enumerate(domains)])
    right, wrong = (1, 1, 1, 0, 0, 0), (0, 0, 0, 1, 1, 1)
    found = score(bundle, [wrong, right, right, right, wrong]).result
    assert found.metrics["section_safety"] == found.metrics["safety_easy"] == pytest.approx(3 / 4)
    assert found.average == pytest.approx((0 + 3 / 4) / 2)
    assert found.metrics["normal"] == pytest.approx((0 + 3 / 4) / 2)
    assert found.average_baseline == found.subsets["chat"].baseline == 0.5


def test_scores_equal_the_published_formula(tmp_path):
    rng = np.random.default_rng(5)
    domains = ["chat", "code", "math", "safety-refuse", "safety-response"]
    lines = [line(f"{name}-{number}", domain=name) for name in domains for number in range(9)]
    rewards = rng.integers(0, 4, size=(45, 6)).astype(float)
    found = score(load(tmp_path / "rows.json", lines), rewards).result
    expected = {}
    for name in ("chat", "code", "math", "safety"):
        matrix = np.zeros((3, 3))
        own = [reward for reward, row in zip(rewards, lines, strict=True) if row["domain"].startswith(name)]
        for reward in own:
            for i in range(3):
                for j in range(3):
                    matrix[i][j] += reward[i] > reward[3 + j]
        matrix /= len(own)
        upper = matrix[0, 1] + matrix[0, 2] + matrix[1, 2]
        lower = matrix[1, 0] + matrix[2, 0] + matrix[2, 1]
        expected[name] = {"hard": upper / 3, "normal": np.trace(matrix) / 3, "easy": lower / 3}
    for name, parts in expected.items():
        for difficulty, value in parts.items():
            assert found.metrics[f"{name}_{difficulty}"] == pytest.approx(value, abs=1e-12)
    assert found.average == pytest.approx(np.mean([list(parts.values()) for parts in expected.values()]), abs=1e-12)
    for difficulty in ("hard", "normal", "easy"):
        mean = np.mean([parts[difficulty] for parts in expected.values()])
        assert found.metrics[difficulty] == pytest.approx(mean, abs=1e-12)


def test_comparisons_with_a_missing_reward_are_lost(tmp_path):
    bundle = load(tmp_path / "rows.json", [line(1, domain="math")])
    found = score(bundle, [(math.nan, 1, 1, 0, 0, math.nan)])
    assert found.rows[0].result == pytest.approx(4 / 9)
    assert found.result.subsets["math"].n_missing == 2


def test_a_matrix_is_one_unit(tmp_path):
    lines = [line(number, domain="chat", prompt=f"prompt {min(number, 3)}") for number in range(5)]
    found = score(load(tmp_path / "rows.json", lines), [(1, 1, 1, 0, 0, 0)] * 3 + [(0, 1, 0, 0, 1, 1)] * 2)
    assert found.result.subsets["chat"].interval == "bootstrap over 4 groups, 400 resamples"


def test_a_folder_of_published_files(tmp_path):
    for name in ("chat", "safety-refuse"):
        path = tmp_path / f"{name}_filtered.json"
        path.write_text(json.dumps([line(1, subset="alpacaeval")]), encoding="utf-8")
    (tmp_path / "total_dataset.json").write_text(json.dumps([line(1, domain="chat")]), encoding="utf-8")
    bundle = BENCHMARK.load(str(tmp_path), None)
    assert [row.key for row in bundle.rows] == [("chat", "1"), ("safety-refuse", "1")]
    one = BENCHMARK.load(str(tmp_path / "chat_filtered.json"), None)
    total = BENCHMARK.load(str(tmp_path / "total_dataset.json"), None)
    assert [row.key for row in one.rows] == [row.key for row in total.rows] == [("chat", "1")]
    assert one.dataset.sha256 != bundle.dataset.sha256


def test_only_the_published_rows_in_full_are_official(monkeypatch):
    sizes = {"chat": 129, "code": 228, "math": 529, "safety-refuse": 284, "safety-response": 157}
    lines = [line(f"{name}-{i}", domain=name) for name, n in sizes.items() for i in range(n)]
    monkeypatch.setattr(rows, "read_hub", lambda place: iter(enumerate(lines, start=1)))
    monkeypatch.setattr(rows, "hub_revision", lambda place: "abc")
    whole = BENCHMARK.load("THU-KEG/RM-Bench", None)
    assert (whole.title, whole.dataset.official, len(whole.rows)) == ("RM-Bench", True, 1327)
    del lines[0]
    assert not BENCHMARK.load("THU-KEG/RM-Bench", None).dataset.official


def test_baselines_are_known_before_any_reward(tmp_path):
    bundle = load(tmp_path / "rows.json", [line(1, domain="chat"), line(2, domain="safety-response")])
    assert random_baselines(BENCHMARK, bundle.rows, 1) == {"chat": 0.5, "safety-response": 0.5, "average": 0.5}


@pytest.mark.parametrize(
    ("changes", "field", "found"),
    [
        ({"domain": "maths"}, "domain", "unknown domain 'maths'"),
        ({"chosen": []}, "chosen", "is an empty list"),
        ({"chosen": ["a", "b"]}, "chosen", "has 2 responses, not 3"),
        ({"rejected": ["a", "b", "c", "d"]}, "rejected", "has 4 responses, not 3"),
        ({"rejected": ["a", None, "c"]}, "rejected[1]", "None, not a string"),
        ({"chosen": "text"}, "chosen", "'text', not a list of strings"),
        ({"prompt": None}, "prompt", "None, not a string"),
        ({"id": None}, "id", "None, not a string"),
        ({"id": 1}, "id", "stands twice"),
    ],
)
def test_bad_rows_are_named(tmp_path, changes, field, found):
    lines = [line(1, domain="math"), line(2, domain="math") | changes]
    with pytest.raises(BenchmarkError) as caught:
        load(tmp_path / "rows.json", lines)
    assert caught.value.where == f"{tmp_path / 'rows.json'}:2, field {field!r}"
    assert found in caught.value.problem
    assert caught.value.fix


def test_a_row_without_a_domain_is_named(tmp_path):
    with pytest.raises(BenchmarkError) as caught:
        load(tmp_path / "rows.json", [line(1)])
    assert caught.value.where.endswith("rows.json:1, field 'subset'")


@pytest.mark.skipif(not SHARED.exists(), reason="../shared is not here")
def test_real_rows_without_math():
    bundle = BENCHMARK.load(str(SHARED), None)
    result = score(bundle, [(1, 2, 3, 0, 1, 2)] * len(bundle.rows)).result
    assert {name: part.n for name, part in result.subsets.items()} == {
        "chat": 129, "code": 228, "safety-refuse": 284, "safety-response": 156,
    }  # fmt: skip
    # chosen style i has the reward i + 1, rejected style j the reward j: i wins where i + 1 > j
    assert result.metrics["hard"] == pytest.approx(0.0)
    assert (result.metrics["normal"], result.metrics["easy"]) == (1.0, 1.0)
    assert result.average == pytest.approx(2 / 3)
    assert "Absent here: math" in result.protocol
    assert not result.dataset.official
