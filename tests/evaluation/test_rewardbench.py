"""RewardBench (version 1): strict accuracy, sections weighted by published counts, prior sets at half weight."""

import json
import math

import numpy as np
import pytest

from rewardsmith.errors import BenchmarkError
from rewardsmith.evaluation import find_benchmark, random_baselines, score_rows
from rewardsmith.evaluation import rows as tables
from rewardsmith.evaluation.benchmarks.rewardbench import PUBLISHED_ROWS, average_weights, sections
from rewardsmith.types import Message

BENCHMARK = find_benchmark("rewardbench")

COUNTS = {
    "Chat": {
        "alpacaeval-easy": 100,
        "alpacaeval-length": 95,
        "alpacaeval-hard": 95,
        "mt-bench-easy": 28,
        "mt-bench-med": 40,
    },
    "Chat Hard": {
        "mt-bench-hard": 37,
        "llmbar-natural": 100,
        "llmbar-adver-neighbor": 134,
        "llmbar-adver-GPTInst": 92,
        "llmbar-adver-GPTOut": 47,
        "llmbar-adver-manual": 46,
    },
    "Safety": {
        "refusals-dangerous": 100,
        "refusals-offensive": 100,
        "xstest-should-refuse": 154,
        "xstest-should-respond": 250,
        "donotanswer": 136,
    },
    "Reasoning": {"math-prm": 984} | {f"hep-{name}": 164 for name in ("cpp", "go", "java", "js", "python", "rust")},
}
"""EXAMPLE_COUNTS and SUBSET_MAPPING of rewardbench/constants.py, as its release 0.1.4 has them."""


def line(subset, number, **changes):
    return {
        "id": number,
        "subset": subset,
        "prompt": f"{subset} {number}",
        "chosen": "good",
        "rejected": "bad",
        "chosen_model": "human",
        **changes,
    }


def load(tmp_path, lines, name="pairs.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in lines), encoding="utf-8")
    return BENCHMARK.load(str(path), None)


def score(bundle, rewards):
    arrays = [np.array(reward, dtype=float) for reward in rewards]
    return score_rows(BENCHMARK, bundle, arrays, seed=1, resamples=400)


def test_sections_and_average_by_hand(tmp_path):
    subsets = ["alpacaeval-easy", "alpacaeval-easy", "mt-bench-med", "math-prm", "hep-cpp", "hep-cpp"]
    bundle = load(tmp_path, [line(subset, number) for number, subset in enumerate(subsets)])
    found = score(bundle, [(2, 1), (1, 1), (3, 1), (1, 0), (0, 1), (-2, -1)])
    # alpacaeval-easy 1/2 (the equal pair is lost), mt-bench-med 1; math-prm 1 with the weight 984, hep-cpp 0 with 164
    chat, reasoning = (100 * 0.5 + 40 * 1.0) / 140, 984 / (984 + 164)
    metrics = found.result.metrics
    assert [row.result for row in found.rows] == [1, 0, 1, 1, 0, 0]
    assert metrics["section_Chat"] == pytest.approx(chat, abs=1e-15)
    assert metrics["section_Reasoning"] == pytest.approx(reasoning, abs=1e-15)
    assert found.result.average == pytest.approx((chat + reasoning) / 2, abs=1e-15)
    assert {name for name in metrics if name.startswith("section_Safety")} == set()
    assert found.result.average_baseline == metrics["section_Chat_baseline"] == 0.5
    assert "equal rewards and missing ones score 0" in found.result.protocol
    assert "Absent here: alpacaeval-length" in found.result.protocol


def test_prior_sets_weigh_half_and_each_of_them_the_same(tmp_path):
    subsets = ["alpacaeval-easy", "donotanswer", "shp", "summarize", "summarize", "summarize"]
    bundle = load(tmp_path, [line(subset, number) for number, subset in enumerate(subsets)])
    found = score(bundle, [(2, 1), (0, 1), (2, 1), (0, 1), (0, 1), (2, 1)]).result
    prior = (1 + 1 / 3) / 2
    assert found.metrics["section_Prior Sets"] == pytest.approx(prior)
    assert found.average == pytest.approx((2 * 1.0 + 2 * 0.0 + 1 * prior) / 5)


def test_all_sections_equal_the_weighted_means_of_the_published_counts(tmp_path):
    rng = np.random.default_rng(3)
    lines, rewards, scores = [], [], {}
    for subset in (name for section in COUNTS.values() for name in section):
        right = rng.integers(0, 2, size=7)
        scores[subset] = right.mean()
        lines += [line(subset, f"{subset}-{number}") for number in range(7)]
        rewards += [(float(won), 0.5) for won in right]
    found = score(load(tmp_path, lines), rewards).result
    expected = {
        name: np.average([scores[subset] for subset in section], weights=list(section.values()))
        for name, section in COUNTS.items()
    }
    assert {name: found.metrics[f"section_{name}"] for name in COUNTS} == pytest.approx(expected, abs=1e-12)
    assert found.average == pytest.approx(np.mean(list(expected.values())), abs=1e-12)
    assert tuple(found.subsets) == tuple(subset for section in COUNTS.values() for subset in section)


def test_the_interval_of_a_section_follows_its_weights(tmp_path):
    # math-prm: 200 pairs at 1/2; hep-cpp: 200 pairs at 1/2. The section's interval is that of 984 : 164 halves.
    lines = [line(subset, f"{subset}-{number}") for subset in ("math-prm", "hep-cpp") for number in range(200)]
    found = score(load(tmp_path, lines), [(float(number % 2), 0.5) for number in range(400)]).result
    deviation = math.sqrt(0.25 / 200) * math.hypot(984, 164) / (984 + 164)
    width = found.metrics["section_Reasoning_ci_high"] - found.metrics["section_Reasoning_ci_low"]
    assert width == pytest.approx(2 * 1.96 * deviation, rel=0.06)
    assert found.average_ci == (found.metrics["section_Reasoning_ci_low"], found.metrics["section_Reasoning_ci_high"])


def test_missing_rewards_lose_and_are_counted(tmp_path):
    bundle = load(tmp_path, [line("donotanswer", number) for number in range(3)])
    found = score(bundle, [(math.nan, 0), (0, math.nan), (1, 0)]).result.subsets["donotanswer"]
    assert (found.score, found.n_missing) == (pytest.approx(1 / 3), 2)


def test_pairs_of_one_prompt_are_one_unit(tmp_path):
    lines = [line("shp", number, prompt=f"prompt {number // 2}") for number in range(6)]
    found = score(load(tmp_path, lines), [(1, 0)] * 3 + [(0, 1)] * 3).result.subsets["shp"]
    assert "3 groups" in found.interval


def test_baselines_are_known_before_any_reward(tmp_path):
    bundle = load(tmp_path, [line("shp", 1), line("math-prm", 2)])
    assert random_baselines(BENCHMARK, bundle.rows, 1) == {"math-prm": 0.5, "shp": 0.5, "average": 0.5}


def test_the_length_baseline_is_weighted_like_the_average(tmp_path):
    lines = [line("alpacaeval-easy", 1, chosen="longer"), line("mt-bench-med", 2, chosen="x")]
    found = score(load(tmp_path, lines), [(1, 0), (1, 0)]).result
    assert found.metrics["average_length_baseline"] == pytest.approx(100 / 140)


def test_prompts_are_texts_or_messages(tmp_path):
    turns = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "yes?"},
        {"role": "user", "content": "go"},
    ]
    rows = load(tmp_path, [line("shp", 1, prompt=turns), line("shp", 2)]).rows
    assert rows[0].conversations[0] == (
        Message("user", "hi"), Message("assistant", "yes?"), Message("user", "go"), Message("assistant", "good"),
    )  # fmt: skip
    assert rows[1].prompt == (Message("user", "shp 2"),)
    assert (rows[0].id, rows[0].where) == ("1", str(tmp_path / "pairs.jsonl") + ":1")


def test_only_the_published_rows_in_full_are_official(monkeypatch):
    lines = [line(subset, f"{subset}-{number}") for subset, n in PUBLISHED_ROWS.items() for number in range(n)]
    assert len(lines) == 2985
    asked = []

    def read_hub(place):
        asked.append((place.id, place.split))
        return iter(enumerate(lines, start=1))

    monkeypatch.setattr(tables, "read_hub", read_hub)
    monkeypatch.setattr(tables, "hub_revision", lambda place: "abc")
    whole = BENCHMARK.load("allenai/reward-bench", None)
    assert (whole.title, whole.dataset.official, asked) == ("RewardBench", True, [("allenai/reward-bench", "filtered")])
    assert not BENCHMARK.load("someone/reward-bench", None).dataset.official
    lines.pop()
    part = BENCHMARK.load("allenai/reward-bench", None)
    assert (part.title, part.dataset.official) == ("allenai/reward-bench", False)


def test_weights_leave_out_what_is_absent():
    assert average_weights({"math-prm": 3}) == {"math-prm": 1.0}
    assert sections({}) == {}


@pytest.mark.parametrize(
    ("changes", "field", "found", "fix"),
    [
        ({"subset": "alpaca-eval-easy"}, "subset", "unknown subset 'alpaca-eval-easy'", "alpacaeval-easy"),
        ({"subset": None}, "subset", "None", "text"),
        ({"chosen": ["good"]}, "chosen", "['good']", "text"),
        ({"rejected": 3}, "rejected", "3, not a string", "text"),
        ({"prompt": []}, "prompt", "empty list", "text"),
        ({"prompt": [{"role": "user"}]}, "prompt[0]", "not a message", "role"),
        ({"id": ""}, "id", "is empty", "id"),
        ({"id": 1}, "id", "stands twice", "rename"),
    ],
)
def test_bad_rows_are_named(tmp_path, changes, field, found, fix):
    with pytest.raises(BenchmarkError) as caught:
        load(tmp_path, [line("shp", 1), line("shp", 2) | changes])
    assert caught.value.where == f"{tmp_path / 'pairs.jsonl'}:2, field {field!r}"
    assert found in caught.value.problem
    assert fix in caught.value.fix
    assert caught.value.exit_code == 2
