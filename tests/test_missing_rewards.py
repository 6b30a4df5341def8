"""Missing rewards are counted, named and printed wherever a score is, and no command calls such a score a success."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoint_maker import make_checkpoint
from cli_world import World

from rewardsmith.evaluation import BenchmarkRows, EvalRow, find_benchmark, missing_reasons, score_rows
from rewardsmith.evaluation.results import NOT_FINITE, why_missing
from rewardsmith.records.evaluation import DatasetInfo, RowResult, reason_code, reasons_in_words
from rewardsmith.report.sections.scores import score_table
from rewardsmith.scoring import LocalScorer
from rewardsmith.types import Message

LONG = "word " * 400


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint") / "model", tiny_base)


@pytest.fixture
def world(tmp_path: Path, tiny_base: Path, capsys: Any, monkeypatch: Any) -> World:
    return World(tmp_path, tiny_base, capsys, monkeypatch)


def write(name: str, lines: list[Any]) -> str:
    Path(name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return name


def flat(text: str) -> str:
    return " ".join(text.split())


def pairs(count: int, long: int) -> list[dict[str, Any]]:
    """Pairs of which the first `long` have a chosen response beyond the limit."""
    return [
        {"id": str(n), "prompt": f"Say {n}.", "chosen": LONG if n < long else f"{n} red", "rejected": f"blue {n}"}
        for n in range(count)
    ]


def test_nulls_of_a_rewards_file_are_counted_and_end_with_1(world: World) -> None:
    keys = [(str(i), s, 4) for s in ("Math", "Focus") for i in range(2)] + [("ref:0", "Ties", 2), ("tied:0", "Ties", 4)]
    whole = [{"id": i, "subset": s, "rewards": [2.0] + [1.0] * (n - 1)} for i, s, n in keys]
    given = ("evaluate", "--benchmark", "rewardbench2", "--data", "rows.jsonl", "--out", "out", "--rewards")
    assert world(*given, write("whole.jsonl", whole)).code == 0
    holes = [line | {"rewards": [None, None, *line["rewards"][2:]]} if n < 2 else line for n, line in enumerate(whole)]
    found = world(*given, write("holes.jsonl", holes))
    assert found.code == 1
    assert "4 of 22 rewards are missing: null 4." in found.out
    assert re.search(r"Math +2 \(4 missing\) +0\.0", found.out)  # rows, missing, score
    assert re.search(r"Focus +2 +100\.0", found.out)
    assert world(*given, "holes.jsonl", "--json").code == 1
    result = json.loads(Path("out/results.json").read_text())
    assert (result["subsets"]["Math"]["n_missing"], result["subsets"]["Math"]["missing"]) == (4, {"null": 4})
    rows = [RowResult.model_validate_json(line) for line in Path("out/rows.jsonl").read_text().splitlines()]
    assert rows[0].reasons == {"0": "null", "1": "null"}
    assert rows[3].reasons == {}
    # The reasons of our own rows.jsonl come back with it.
    named = [json.loads(line) for line in Path("out/rows.jsonl").read_text().splitlines()]
    named[0]["reasons"] = {"0": "over_length: 300 tokens", "1": "over_length: 301 tokens"}
    again = world(*given, write("named.jsonl", named))
    assert "4 of 22 rewards are missing: null 2, over_length 2." in again.out


def test_an_over_long_text_is_named_by_evaluate(world: World, checkpoint: Path) -> None:
    write("pairs.jsonl", pairs(12, 3))
    given = ("evaluate", "--model", str(checkpoint), "--benchmark", "pairs", "--data", "pairs.jsonl", "--out", "out")
    found = world(*given)
    assert found.code == 1, found.err
    assert "3 of 24 rewards are missing: over_length 3." in found.out
    assert "(protocol: checkpoint)" in found.out
    first = json.loads(Path("out/rows.jsonl").read_text().splitlines()[0])
    assert first["rewards"][0] is None
    assert re.match(r"over_length: .*\d+ tokens", first["reasons"]["0"])
    write("short.jsonl", pairs(12, 0))
    assert world(*given[:-4], "--data", "short.jsonl", "--out", "short").code == 0


def test_score_counts_nulls_and_ends_with_1_where_there_is_no_reward(world: World, checkpoint: Path) -> None:
    write("in.jsonl", [{"prompt": "Say.", "responses": ["red", LONG, LONG]}, {"prompt": "Say.", "response": LONG}])
    given = ("score", "--model", str(checkpoint), "--device", "cpu", "--input", "in.jsonl")
    found = world(*given, "--output", "o.jsonl")
    assert found.code == 0
    assert "2 rows, 1 rewards; 3 missing: over_length 3; rows without one: over_length 2" in flat(found.out)
    write("in.jsonl", [{"prompt": "Say.", "response": LONG}])
    assert world(*given, "--output", "none.jsonl").code == 1


def test_probe_says_what_is_missing(world: World, checkpoint: Path) -> None:
    write("pairs.jsonl", pairs(25, 25))
    found = world("probe", "--model", str(checkpoint), "--data", "pairs.jsonl", "--out", "out", "--pairs", "25")
    assert found.code == 1
    record = json.loads(Path("out/probes.json").read_text())
    total = sum(record["missing"].values())
    assert total >= 25
    assert f"{total:,} of {record['asked']:,} rewards are missing: over_length {total:,}" in flat(found.out)
    write("samples.jsonl", [{"prompt": f"Say {n}.", "completions": [LONG, LONG + "b"]} for n in range(3)])
    policy = world("probe", "--model", str(checkpoint), "--policy-samples", "samples.jsonl", "--out", "policy")
    assert policy.code == 1
    assert "6 of 6 rewards are missing: over_length 6" in policy.out


def test_route_says_what_is_missing(world: World, checkpoint: Path) -> None:
    spec = world.write_spec(routing={"rules": [{"kind": "margin", "below": 0.1}]})
    write("in.jsonl", [{"prompt": "Say.", "responses": ["red", LONG]}, {"prompt": "Say.", "responses": ["a", "b"]}])
    given = ("route", "run", spec, "--model", str(checkpoint), "--device", "cpu", "--no-judge")
    found = world(*given, "--input", "in.jsonl", "--output", "out.jsonl")
    assert found.code == 0, found.err
    assert "1 of 4 rewards are missing: over_length 1" in found.out
    write("none.jsonl", [{"prompt": "Say.", "responses": [LONG, LONG + "b"]}])
    none = world(*given, "--input", "none.jsonl", "--output", "none.out.jsonl")
    assert (none.code, "2 of 2 rewards are missing: over_length 2" in none.out) == (1, True)


def test_compare_names_the_model_that_lacks_rewards(world: World) -> None:
    write("pairs.jsonl", pairs(12, 0))
    given = ("evaluate", "--benchmark", "pairs", "--data", "pairs.jsonl")
    for name, holes in (("whole", 0), ("holes", 3), ("empty", 12)):
        lines = [
            {"id": str(n), "subset": "all", "rewards": [None, None] if n < holes else [1.0 + n, 0.5]} for n in range(12)
        ]
        world(*given, "--rewards", write(f"{name}.jsonl", lines), "--out", name)
    found = world("compare", "whole", "holes")
    assert found.code == 0
    assert "holes: 6 of 24 rewards are missing (null 6)" in flat(found.out)
    assert "rewards are missing" not in world("compare", "whole", "whole").out
    empty = world("compare", "whole", "empty", "--json")
    assert (empty.code, empty.json()["benchmarks"]["pairs"]["no_data"]) == (1, ["empty"])


def test_every_missing_reward_has_a_reason_whoever_scores(checkpoint: Path) -> None:
    class Mute:
        def score(self, conversations: Any, progress: Any = None) -> np.ndarray:
            return np.array([np.nan, np.inf, 1.0])[: len(conversations)]

    benchmark = find_benchmark("best_of_n")
    one = EvalRow(
        "1", "all", (Message("user", "p"),), ((Message("assistant", "a"),),),
        ((Message("assistant", "b"),), (Message("assistant", "c"),)),
    )  # fmt: skip
    rows = BenchmarkRows((one,), DatasetInfo(source="here"), "here")
    rewards = [np.array([np.nan, np.inf, 1.0])]
    reasons = missing_reasons(rows.rows, rewards, Mute())
    assert reasons == [{0: "no_reward", 1: "no_reward"}]
    done = score_rows(benchmark, rows, rewards, seed=1, resamples=100)
    assert done.rows[0].reasons == {"0": "null", "1": NOT_FINITE}
    assert done.result.missing_rewards == {"not_finite": 1, "null": 1}
    assert score_table("best_of_n", done.result).rows[0].reading.endswith("2 rewards missing (not_finite 1, null 1)")
    assert score_table("best_of_n", done.result).rows[0].state == "bad"
    local = LocalScorer.load(checkpoint)
    texts = [(Message("user", "p"), Message("assistant", LONG))]
    (why,) = why_missing(texts, local).values()
    assert reason_code(why) == "over_length"
    assert reasons_in_words({"b": 1, "a": 1, "c": 1200}) == "c 1,200, a 1, b 1"
