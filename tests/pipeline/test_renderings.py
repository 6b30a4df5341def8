"""Both ways of rendering RewardBench 2 through the command line: one number where they agree, both where not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import transformers
from cli_world import World


@pytest.fixture
def world(
    tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> World:
    return World(tmp_path, tiny_base, capsys, monkeypatch)


def evaluate(world: World, *options: str, benchmark: str = "rewardbench2"):
    return world("evaluate", "--benchmark", benchmark, "--data", "rows.jsonl", "--out", "out", *options)


def with_the_template_of_its_base(world: World) -> Path:
    """The trained model with its base's own template put back, which ends in a newline: only our loader closes it."""
    folder = Path("runs/tiny/model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = transformers.AutoTokenizer.from_pretrained(world.base).chat_template
    tokenizer.save_pretrained(folder)
    return folder


def test_a_run_of_ours_gives_one_number_and_says_why(world):
    assert world("run", world.write_spec()).code in (0, 1)
    results = json.loads(Path("runs/tiny/eval/rewardbench2/results.json").read_text())
    assert "Text as training renders it (protocol: checkpoint)" in results["protocol"]
    assert "RewardBench's own script gives the same token ids for all 14 texts." in results["protocol"]
    assert not any(name.startswith("protocol") for name in results["metrics"])
    held_out = json.loads(Path("runs/tiny/eval/held_out/results.json").read_text())
    assert "protocol:" not in held_out["protocol"]

    upstream = evaluate(world, "--model", "runs/tiny/model", "--protocol", "upstream", "--json").json()
    assert (
        "Text as RewardBench's own script renders it (protocol: upstream); training gives the same"
        in upstream["protocol"]
    )
    assert upstream["average"] == results["average"]


def test_where_the_renderings_differ_both_numbers_stand_in_the_results(world):
    assert world("train", world.write_spec()).code == 2  # needs its check first
    assert world("check", "spec.yaml").code == 0
    assert world("train", "spec.yaml").code == 0
    folder = str(with_the_template_of_its_base(world))
    ours = evaluate(world, "--model", folder, "--json").json()
    rows = [json.loads(line)["rewards"] for line in Path("out/rows.jsonl").read_text().splitlines()]
    theirs = evaluate(world, "--model", folder, "--protocol", "upstream", "--json").json()
    other = [json.loads(line)["rewards"] for line in Path("out/rows.jsonl").read_text().splitlines()]
    assert "gives other token ids for 14 of 14 texts" in ours["protocol"]
    assert "the metrics that begin with protocol_upstream" in ours["protocol"]
    assert ours["metrics"]["protocol_upstream_average"] == theirs["average"]
    assert theirs["metrics"]["protocol_checkpoint_average"] == ours["average"]
    for subset in ("Math", "Focus", "Ties"):
        assert ours["metrics"][f"protocol_upstream_{subset}"] == theirs["subsets"][subset]["score"]
    difference = max(np.abs(np.subtract(one, two)).max() for one, two in zip(rows, other, strict=True))
    assert difference > 1e-3
    assert ours["metrics"]["protocols_largest_reward_difference"] == pytest.approx(difference)
    assert ours["metrics"]["protocols_texts_that_differ"] == 14
    assert (ours["rendering"], theirs["rendering"]) == ("checkpoint", "upstream")
    shown = evaluate(world, "--model", folder).out
    average, other_average = (f"{100 * found['average']:.1f}".replace("-", "\u2212") for found in (ours, theirs))
    told = f"protocol checkpoint: average {average}; protocol upstream: average {other_average} (14 texts have other"
    assert told in " ".join(shown.split())
    (head,) = (line for line in shown.splitlines() if line.startswith("Subset"))
    assert "protocol upstream" in head  # a column of its own beside the score


def test_the_protocol_is_refused_where_it_means_nothing(world):
    Path("rewards.jsonl").write_text("{}\n")
    offline = evaluate(world, "--rewards", "rewards.jsonl", "--protocol", "upstream")
    assert (offline.code, "leave --protocol out" in offline.err) == (2, True)
    pairs = evaluate(world, "--model", "m", "--protocol", "upstream", benchmark="best_of_n")
    assert (pairs.code, "it is for rewardbench2" in pairs.err) == (2, True)
    spec = world.write_spec(
        evaluation={"benchmarks": [{"name": "pairs", "data": "held_out.jsonl", "protocol": "upstream"}]}
    )
    refused = world("check", spec)
    assert (refused.code, "upstream is for rewardbench2" in refused.err) == (2, True)
    assert evaluate(world, "--model", "m", "--protocol", "upstram").code == 2


def test_plain_text_models_have_no_upstream_rendering(world):
    spec = world.write_spec(data={**world.spec()["data"], "strings": "text"})
    assert world("run", spec).code in (0, 1)
    results = json.loads(Path("runs/tiny/eval/rewardbench2/results.json").read_text())
    assert "protocol upstream cannot run: RewardBench's script renders chat messages" in results["protocol"]
    assert results["rendering"] == "checkpoint"
    asked = evaluate(world, "--model", "runs/tiny/model", "--protocol", "upstream")
    assert (asked.code, "trained on plain text" in asked.err) == (2, True)
    assert "write protocol: checkpoint" in asked.err
