"""The benches on real weights: what they draw, ask for and count, by hand; the long pieces need the weights."""

from __future__ import annotations

import argparse
import gzip
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from rewardsmith.spec import load_spec

BENCH = Path(__file__).resolve().parents[1] / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCH))
    return import_module


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("42", True),
        ("17 + 25 = 42.", True),
        ("The sum is 1,042", False),
        ("42, or perhaps 43", False),
        ("It is forty-two.", False),
        ("", False),
        ("-42", False),
        ("42.0", True),
    ],
)
def test_a_sum_is_right_where_the_last_number_is_it(bench: Any, answer: str, right: bool) -> None:
    assert bench("best_of_8").is_right(answer, 42) is right


def test_sums_are_drawn_once_each_and_the_same_again(bench: Any) -> None:
    drawn = bench("best_of_8").sums(200, 17)
    assert len(set(drawn)) == 200
    assert drawn == bench("best_of_8").sums(200, 17)
    assert drawn[:50] != bench("best_of_8").sums(50, 18)


def test_whole_units_part_no_id_of_ties(bench: Any) -> None:
    rows = [{"id": f"{half}:{k}", "subset": "Ties"} for k in range(6) for half in ("ref", "tied")]
    rows += [{"id": str(k), "subset": "Math"} for k in range(6)]
    for count in (1, 5, 9):
        taken = bench("real_decoder").whole_units(rows, count, 3, lambda row: True)
        halves = [row["id"].partition(":")[2] for row in taken if row["subset"] == "Ties"]
        assert len(taken) == count
        assert all(halves.count(one) == 2 for one in halves)


def test_a_row_that_does_not_fit_takes_the_other_half_of_its_id_with_it(bench: Any) -> None:
    rows = [{"id": f"{half}:{k}", "subset": "Ties"} for k in range(6) for half in ("ref", "tied")]
    taken = bench("real_decoder").whole_units(rows, 12, 3, lambda row: row["id"] not in ("ref:1", "tied:4"))
    assert sorted(row["id"] for row in taken) == sorted(f"{half}:{k}" for k in (0, 2, 3, 5) for half in ("ref", "tied"))


def test_models_are_compared_on_rows_that_all_scored_in_full(bench: Any, tmp_path: Path) -> None:
    """Row 1 is left out for a reward that one model lacks, row 3 for being of Ties."""
    ours = [(1.0, [2, 1]), (1.0, [2, 1]), (0.0, [0, 1, 3, 2]), (1.0, [2, 1])]
    theirs = [(0.0, [1, 2]), (0.0, [None, 1]), (1.0, [4, 1, 3, 2]), (0.0, [1, 2])]
    for name, rows in (("ours", ours), ("theirs", theirs)):
        (tmp_path / name / "set").mkdir(parents=True)
        lines = [
            {"subset": "Ties" if place == 3 else "Math", "result": result, "rewards": rewards, "n_chosen": 1}
            for place, (result, rewards) in enumerate(rows)
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / name / "set" / "rows.jsonl").write_text(text)
    folders = {name: tmp_path / name for name in ("ours", "theirs")}
    right, chance, read = bench("real_decoder").answered(folders, "set")
    assert right["ours"].tolist() == [1.0, 0.0]
    assert right["theirs"].tolist() == [0.0, 1.0]
    assert chance.tolist() == [0.5, 0.25]
    assert read == 4


def test_the_time_of_a_set_by_hand(bench: Any, tmp_path: Path) -> None:
    """A prompt of 98 characters (and its quotes) with answers of 400 and 1,700: 500 are scored, at 1,800 a second."""
    row = {"prompt": "p" * 98, "chosen": ["a" * 400], "rejected": ["b" * 1700]}
    (tmp_path / "set.jsonl").write_text(json.dumps(row) + "\n")
    assert bench("real_decoder").minutes_of(tmp_path / "set.jsonl", 1536) == pytest.approx(500 / 1800 / 60)


@pytest.mark.parametrize("name", ["full", "lora", "quarter", "shuffled", "minilm"])
def test_every_model_of_the_page_has_a_spec_that_loads(bench: Any, name: str, tmp_path: Path) -> None:
    asked = argparse.Namespace(out=tmp_path, base=Path("base"), minilm=Path("encoder"), tokens=384, threads=2)
    spec = load_spec(bench("real_decoder").spec_of(asked, name))
    assert spec.name == name
    assert spec.adapter.kind == ("lora" if name == "lora" else "none")
    assert spec.base_model.id == ("encoder" if name == "minilm" else "base")
    (source,) = spec.data.train
    assert source.path is not None
    assert Path(source.path).name == {"quarter": "quarter.jsonl", "shuffled": "shuffled.jsonl"}.get(name, "pairs.jsonl")


def test_a_judge_is_asked_about_short_pairs_half_of_each_set(bench: Any, tmp_path: Path) -> None:
    judge = bench("real_judge")
    for name in judge.SETS:
        lines = []
        for at in range(20):
            long = "x" * 2000 if at % 2 else "short"
            turns = {side: [{"role": "user", "content": f"{side} {at}"}] for side in ("prompt", "chosen")}
            lines.append({**turns, "rejected": [{"role": "assistant", "content": long}], "id": str(at)})
        (tmp_path / "held_out").mkdir(exist_ok=True)
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / "held_out" / f"{name}.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    found = judge.drawn(tmp_path, 9, 17)
    assert [row["subset"] for row in found] == [judge.SETS[0]] * 5 + [judge.SETS[1]] * 4
    assert all(int(row["id"]) % 2 == 0 for row in found)


def test_a_share_by_hand(bench: Any) -> None:
    """Wilson's interval of 30 of 60."""
    assert bench("real_judge").share(30, 60) == "50.0 (37.7 to 62.3)"
    assert bench("real_judge").share(0, 0) == "–"


def test_the_models_of_both_trainers_are_compared_row_by_row(bench: Any, tmp_path: Path) -> None:
    """Of four pairs TRL's model is right on 1 and 2, ours on 1, 3 and 4; the furthest reward is 1.25 off."""
    rewards = {
        "trl_stock": [[2.0, 1.0], [2.0, 1.0], [1.0, 2.0], [1.0, 2.0]],
        "trl_ours": [[2.0, 1.0], [1.9, 2.0], [1.5, 1.4], [2.25, 1.9]],
    }
    for name, rows in rewards.items():
        folder = tmp_path / "evals" / name / "set"
        folder.mkdir(parents=True)
        lines = [{"rewards": row, "result": float(row[0] > row[1]), "n_chosen": 1, "subset": "all"} for row in rows]
        (folder / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = bench("real_decoder").trl_scores(argparse.Namespace(out=tmp_path, seed=0))
    assert "On 4 held-out pairs TRL's model is right on 50.0 %, ours on 75.0 %: +25.0 (" in words
    assert "by more than 1.2e+00." in words


def test_losses_on_a_gpu_are_held_against_the_reference_step_by_step(bench: Any) -> None:
    module = bench("gpu_runs")

    def run(losses: list[float], **more: Any) -> dict[str, Any]:
        fields = {"kernels": {"varlen": 2}, "layout": "tree", "tokens": 9, "seconds": 1.0, "pairs_per_second": 2.0}
        return {"losses": losses, "machine": "here", "memory": 2**30, "parameters": 10**6, "monitor": "learning"} | (
            fields | more
        )

    runs = {
        module.REFERENCE: run([0.7, 0.6], kernels={}, layout="padded"),
        "bfloat16, trees": run([0.75, 0.59]),
        "LoRA": run([0.1, 0.1]),
        "QLoRA": {"failed": "no bitsandbytes"},
    }
    setting = {"pairs": 16, "pairs_per_step": 8, "max_length": 9, "seed": 0, "data": "d", "base": "b"}
    lines = {line.split(" | ")[0].lstrip("| "): line for line in module.page(setting, runs).splitlines() if "|" in line}
    # |0.75 − 0.7| = 0.05, |0.59 − 0.6| = 0.01, on the mean 0.03.
    assert lines["bfloat16, trees"].split(" | ")[1:8] == [
        "0.7500",
        "0.5900",
        "5.0e-02",
        "3.0e-02",
        "2.00",
        "1.0",
        "learning",
    ]
    assert lines["bfloat16, trees"].endswith("| tree 2 varlen |")
    assert lines["LoRA"].split(" | ")[3:5] == ["", ""], "an adapter trains other weights"
    assert lines["QLoRA"].endswith("| no bitsandbytes |")
    assert lines["bfloat16, padded"].endswith("| not run |")
    assert len({line.count("|") for line in lines.values()}) == 1
