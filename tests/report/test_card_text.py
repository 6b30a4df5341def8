"""The model card: metadata that the hub understands, snippets that run, limits that were measured, no users' texts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import report_records
from cli_world import World
from huggingface_hub import ModelCard
from report_records import checkpoint

from conftest import make_pairs
from rewardsmith.attacking.results import attack
from rewardsmith.attacking.search import Settings
from rewardsmith.errors import RunDirectoryError
from rewardsmith.evaluation.contract import BenchmarkRows, EvalRow
from rewardsmith.records.evaluation import DatasetInfo
from rewardsmith.records.files import write_json
from rewardsmith.records.probes import ProbeResult, ProbesRecord
from rewardsmith.report.card import BASE_PLACE, PLACE, hub_id, model_card, read_card_source, write_card
from rewardsmith.types import Message


def probe(verdict: str, **changes: Any) -> ProbeResult:
    fields = {
        "kind": "surface",
        "title": "Filler",
        "meaning": "words that say nothing",
        "why": "length is not quality",
        "responses": 100,
        "n": 100,
        "n_missing": 0,
        "n_not_applicable": 0,
        "prompts": 90,
        "wrong": 0.75,
        "wrong_low": 0.66,
        "wrong_high": 0.83,
        "shift": 0.42,
        "verdict": verdict,
    }
    return ProbeResult.model_validate({**fields, **changes})


def probes() -> ProbesRecord:
    return ProbesRecord(
        model="m",
        dataset=DatasetInfo(source="held_out"),
        title="Held-out pairs",
        rows=100,
        drawn=100,
        prompts=90,
        seed=1,
        protocol="p",
        reward_mean=0.0,
        reward_std=1.0,
        flat=False,
        constant=False,
        probes={
            "filler": probe("FAIL"),
            "emoji": probe("PASS", title="Emoji"),
            "negated": probe("NO_DATA", title="Negated", kind="destroyed", wrong=None),
        },
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = report_records.build_run(tmp_path / "run")
    write_json(folder / "probes.json", probes())
    write_json(folder / "model" / "rewardsmith.json", checkpoint())
    return folder


def card_of(run: Path, **options: Any) -> str:
    return model_card(read_card_source(run / "model", run, **options))


def test_the_hub_reads_a_result_for_every_subset(run: Path) -> None:
    data = ModelCard(card_of(run, repository="acme/rm")).data
    assert (data.base_model, data.library_name, data.model_name) == ("Qwen/Qwen3-0.6B", "transformers", "acme/rm")
    assert "reward-model" in data.tags
    found = {(one.dataset_type, one.dataset_config): one for one in data.eval_results}
    for subset, (score, low, high, baseline, *_) in report_records.SUBSETS.items():
        result = found["rewardbench2", subset]
        assert result.metric_value == pytest.approx(score, abs=5e-5)
        assert (result.metric_args["ci_low"], result.metric_args["ci_high"]) == (low, high)
        assert result.metric_args["baseline"] == baseline
    assert ("rewardbench2", "Average") in found
    assert ("held_out", "Average") in found


def test_only_the_published_data_set_goes_by_its_hub_id(run: Path) -> None:
    path = run / "eval" / "rewardbench2" / "results.json"
    result = json.loads(path.read_text())
    assert "allenai" not in card_of(run)
    result["dataset"] = {"source": "allenai/reward-bench-2", "revision": "abc", "sha256": "", "official": True}
    path.write_text(json.dumps(result))
    data = ModelCard(card_of(run)).data
    assert {one.dataset_type for one in data.eval_results} == {"allenai/reward-bench-2", "held_out"}
    assert {one.dataset_revision for one in data.eval_results} == {"abc", None}


def test_limits_come_from_gates_probes_and_analyses(run: Path) -> None:
    limits = card_of(run).split("## Limits")[1].split("## Training")[0]
    assert "**A gate does not pass** (rewardbench2 Math)" in limits
    assert "1 of 3 hold" in limits
    assert "Filler: the reward should not rise, and 75.0 % go the wrong way (66.0 to 83.0), by 0.42" in limits
    assert "Too few responses to say: Negated" in limits
    assert "longer answers get higher rewards" in limits


def test_the_price_of_a_hack_stands_among_the_limits(run: Path) -> None:
    assert "Price of a hack" not in card_of(run)

    class Lover:
        def score(self, conversations: Any, progress: Any = None) -> Any:
            del progress
            return np.array([("good" in one[-1].content) + 2.0 * ("**" in one[-1].content) for one in conversations])

    rows = tuple(
        EvalRow(
            str(n), "", (Message("user", f"Is it {n}?"),), (answer(f"A good one, {n}."),), (answer(f"A bad one, {n}."),)
        )
        for n in range(12)
    )
    found = attack(
        BenchmarkRows(rows, DatasetInfo(source="planted"), "Planted"),
        Lover(),
        Settings(edits=1, resamples=200),
        model="m",
    )
    write_json(run / "attack.json", found)
    limits = card_of(run).split("## Limits")[1].split("## Training")[0]
    assert "**Price of a hack: 1 edit**" in limits
    # Wilson's lower end of 12 of 12 is 12 / (12 + 1.96²) = 0.7575
    assert re.search(r"up to 1 edit without meaning flip 100\.0 % \(75\.[78] to 100\.0\) of 12 pairs", limits), limits


def answer(text: str) -> tuple[Message, ...]:
    return (Message("assistant", text),)


def test_a_card_of_a_checkpoint_alone_says_what_is_not_known(tmp_path: Path) -> None:
    model = tmp_path / "model"
    write_json(model / "rewardsmith.json", checkpoint(evaluation={"held_out": {"average": 0.75}}))
    text = model_card(read_card_source(model))
    assert "**Not judged**" in text
    assert "**Not probed**" in text
    assert "| held_out | average | 75.0 |" in text
    assert ModelCard(text).data.eval_results is None


@pytest.mark.parametrize("absent", ["probes.json", "gates.json", "check.json", "label_noise.json", "train", "eval"])
def test_any_part_of_a_run_will_do(run: Path, absent: str) -> None:
    path = run / absent
    path.unlink() if path.is_file() else path.rename(run.parent / absent)
    text = card_of(run)
    assert text.count("\n## ") == 7
    assert ModelCard(text).data.base_model == "Qwen/Qwen3-0.6B"


def test_what_users_wrote_acts_on_nothing(tmp_path: Path) -> None:
    run = report_records.build_run(tmp_path / "run", hostile=True)
    write_json(run / "model" / "rewardsmith.json", checkpoint())
    text = card_of(run)
    body = text.split("---\n", 2)[2]
    assert "<script" not in body.replace("\\<script", "")
    assert "\u202e" not in text
    assert "@team" not in body
    assert len(ModelCard(text).data.eval_results) == 10


def test_folders_of_the_owner_are_not_named(run: Path) -> None:
    write_json(run / "model" / "rewardsmith.json", checkpoint(base_model="/home/me/base"))
    text = card_of(run)
    assert "/home/me" not in text
    assert "pairs/helpful" not in text
    assert "| helpful.jsonl | train | 1,412 | 1,381 |" in text
    assert ModelCard(text).data.base_model is None


def test_what_is_a_hub_id() -> None:
    named = ["Qwen/Qwen3-0.6B", "allenai/reward-bench-2"]
    assert [hub_id(name) for name in named] == named
    assert [hub_id(name) for name in ("/x/y", "data/pairs.jsonl", "embedded", "a/b/c", "../x", "", "a/<b>")] == [""] * 7


def test_a_folder_of_another_program_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="no checkpoint of Rewardsmith"):
        read_card_source(tmp_path)


# With a model: the snippets run, and find the reward that was saved.


@pytest.fixture
def world(tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> World:
    return World(tmp_path, tiny_base, capsys, monkeypatch)


def snippets(model: Path, base: Path) -> list[str]:
    text = (model / "README.md").read_text(encoding="utf-8")
    found = re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return [one.replace(PLACE, str(model)).replace(BASE_PLACE, str(base)) for one in found]


KINDS: dict[str, dict[str, Any]] = {
    "whole": {},
    "lora": {"adapter": {"kind": "lora", "rank": 4}},
    "text": {"data": "text"},
}


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_run_leaves_a_card_whose_snippets_run(world: World, kind: str) -> None:
    changes = dict(KINDS[kind])
    if changes.pop("data", ""):
        rows = [
            {"prompt": f"Q {pair.id}: ", "chosen": pair.chosen[0].content, "rejected": pair.rejected[0].content}
            for pair in make_pairs(24)
        ]
        (world.folder / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
        data = {"train": [{"path": "train.jsonl"}], "strings": "text", "max_length": 100, "held_out": {"fraction": 0.2}}
        changes["data"] = data
    done = world("run", world.write_spec(**changes))
    assert done.code == 1, done.err
    model = world.folder / "runs" / "tiny" / "model"
    first, second = snippets(model, world.base)
    for source in (first, second):
        exec(compile(source, "card", "exec"), {"__name__": "card"})  # noqa: S102 - the project's own text
    assert "assert abs(reward(known) - saved)" in first
    wrong = re.sub(r"^saved = (\S+)", r"saved = \1 + 1.0", first, flags=re.MULTILINE)
    with pytest.raises(AssertionError):
        exec(compile(wrong, "card", "exec"), {"__name__": "card"})  # noqa: S102
    again = write_card(model, model.parent).read_bytes()
    assert again == write_card(model, model.parent).read_bytes()


def test_raw_text_without_the_template_gives_another_reward(world: World) -> None:
    """What the card warns of is so: the same words, not rendered, are another text to the model."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    world("run", world.write_spec())
    model = world.folder / "runs" / "tiny" / "model"
    record = json.loads((model / "rewardsmith.json").read_text())
    golden = record["golden"][0]
    raw = " ".join(text for _, text in golden["conversation"])
    loaded = AutoModelForSequenceClassification.from_pretrained(model, dtype=torch.float32).eval()
    with torch.no_grad():
        found = loaded(**AutoTokenizer.from_pretrained(model)(raw, return_tensors="pt")).logits[0, 0].item()
    assert abs(found - golden["reward"]) > 0.01
