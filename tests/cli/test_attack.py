"""`rewardsmith attack`, the stage of the main job and its gate: records, exit codes, input that cannot be used."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import pytest
from checkpoint_maker import make_checkpoint
from cli_world import World

from conftest import make_pairs
from rewardsmith.pipeline.scorers import LoadOptions
from rewardsmith.records.attack import AttackRecord
from rewardsmith.records.files import read_record
from rewardsmith.records.run import GatesRecord, Manifest

FEW = ("--pairs", "6", "--edits", "1", "--queries", "1000")


@pytest.fixture
def world(
    tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> World:
    monkeypatch.setenv("REWARDSMITH_CACHE", str(tmp_path / "cache"))
    return World(tmp_path, tiny_base, capsys, monkeypatch)


@pytest.fixture
def model(tmp_path: Path, tiny_base: Path) -> str:
    return str(make_checkpoint(tmp_path / "model", tiny_base))


def test_the_record_says_what_was_asked_and_the_same_call_asks_nothing_again(
    world: World, model: str, tmp_path: Path
) -> None:
    world.write_pairs("many.jsonl", make_pairs(40, seed=3))
    asked = ("attack", "--model", model, "--data", "many.jsonl", "--out", "out", *FEW)
    answer = world(*asked)
    assert answer.code == 0, answer.err
    record = read_record(tmp_path / "out" / "attack.json", AttackRecord)
    assert (record.drawn, record.rows, record.title, record.model) == (6, 40, "many.jsonl", model)
    assert record.attacked + record.wrong_already == 6
    assert record.budget.planned is not None
    assert re.search(r"about [\d,]+ queries at \S+ s each", answer.err)
    assert record.budget.spent <= 1000
    for shown in ("Price of a hack", "Pairs that up to so many edits flip", "Edits that may change"):
        assert shown in answer.out
    journal = (tmp_path / "out" / "attack.journal.jsonl").read_bytes()
    assert "What" not in journal.decode()  # digests of texts, no texts
    again = world(*asked, "--json").json()
    assert (tmp_path / "out" / "attack.journal.jsonl").read_bytes() == journal
    assert again["pairs"] == json.loads((tmp_path / "out" / "attack.json").read_text())["pairs"]
    other = world(*asked, "--seed", "3")
    assert (other.code, "journal of another attack" in other.err, "--overwrite" in other.err) == (2, True, True)
    assert world(*asked, "--seed", "3", "--overwrite").code == 0


def test_compare_sets_attacks_side_by_side(world: World, model: str, tmp_path: Path) -> None:
    for out in ("one", "two", "three"):
        more = ("--seed", "5") if out == "three" else ()
        assert world("attack", "--model", model, "--data", "train.jsonl", "--out", out, *FEW, *more).code == 0
    answer = world("compare", "one", "two", "--json")
    assert answer.code == 0, answer.err
    (found,) = answer.json()["attacks"]
    assert (found["first"], found["second"], found["difference"], found["gained"]) == ("one", "two", 0.0, 0)
    assert "cannot be told apart" in world("compare", "one", "two").out
    other = world("compare", "one", "three")
    assert (other.code, "searched with other settings" in other.err) == (2, True)


def test_a_limit_ends_with_1_where_it_is_passed_and_where_too_little_is_known(world: World, model: str) -> None:
    asked = ("attack", "--model", model, "--data", "train.jsonl", "--out", "out")
    few = world(*asked, *FEW, "--maximum-flipped", "1")
    assert (few.code, "at least 10 are needed to judge" in few.out) == (1, True)
    early = world(*asked, "--pairs", "30", "--queries", "70", "--overwrite", "--maximum-flipped", "1")
    assert (early.code, "the search ended early (queries)" in early.out) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--model", "nowhere", "--data", "train.jsonl"), "nowhere"),
        (("--model", "MODEL", "--data", "none.jsonl"), "none.jsonl"),
        (("--model", "MODEL", "--data", "train.jsonl", "--phrases", "none.txt"), "none.txt: cannot be read"),
        (("--model", "MODEL", "--data", "train.jsonl", "--phrases", "empty.txt"), "empty.txt: holds 0 phrases"),
        (("--model", "MODEL", "--data", "train.jsonl", "--pairs", "0"), "--pairs"),
        (("--model", "MODEL", "--data", "train.jsonl", "--maximum-flipped", "2"), "--maximum-flipped"),
        (("--model", "MODEL", "--data", "train.jsonl", "--seconds", "nan"), "--seconds"),
        (("--model", "MODEL", "--data", "train.jsonl", "--maximum-flipped", "nan"), "--maximum-flipped"),
        (("--model", "http://127.0.0.1:9/", "--data", "train.jsonl"), "127.0.0.1"),
        (("--model", "MODEL", "--data", "bare.jsonl"), "bare.jsonl"),
        (
            ("--model", "MODEL", "--data", "train.jsonl", "--tokens", "2", "--fluency", "http://h/v1?tokenizer=x"),
            "http://HOST:PORT/v1?model=NAME",
        ),
    ],
)
def test_input_that_cannot_be_used_is_one_message_and_exit_2(
    world: World, model: str, tmp_path: Path, arguments: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rewardsmith.pipeline.attacking.LoadOptions", partial(LoadOptions, patience=0.0))
    (tmp_path / "empty.txt").write_text("# nothing\n")
    (tmp_path / "bare.jsonl").write_text('{"prompt": "Why?", "chosen": "So."}\n')
    answer = world("attack", *(model if one == "MODEL" else one for one in arguments), "--out", "out")
    assert answer.code == 2
    assert said in answer.err
    assert "Traceback" not in answer.err
    assert not (tmp_path / "out" / "attack.json").exists()


def test_inputs_and_files_of_others_are_not_written_over(world: World, model: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "attack.json").write_text("mine")
    asked = ("attack", "--model", model, "--data", "train.jsonl", "--out", "out")
    assert world(*asked).code == 2
    assert (tmp_path / "out" / "attack.json").read_text() == "mine"
    (tmp_path / "out" / "attack.json").unlink()
    (tmp_path / "out" / "attack.journal.jsonl").write_text("phrase\n")
    answer = world(*asked, "--phrases", "out/attack.journal.jsonl", "--overwrite")
    assert answer.code == 2
    assert (tmp_path / "out" / "attack.journal.jsonl").read_text() == "phrase\n"


def test_a_run_attacks_where_its_spec_asks_for_it_and_the_gate_decides(world: World, tmp_path: Path) -> None:
    attack = {"pairs": 12, "edits": 1, "queries": 2000, "tokens": 1, "fluency": str(world.base)}
    evaluation = world.spec()["evaluation"] | {"attack": attack, "gates": {"maximum_flipped": 0.0}}
    evaluation["probes"] = {"pairs": 0}
    world.write_pairs("held_out.jsonl", [*make_pairs(140, seed=9)[90:]])
    spec = world.write_spec(evaluation=evaluation)
    answer = world("run", spec)
    assert answer.code == 1, answer.err
    run = tmp_path / "runs" / "tiny"
    record = read_record(run / "attack.json", AttackRecord)
    assert record.levels[0].complete
    assert (record.beam, record.branch, record.budget.queries, record.budget.seconds) == (2, 6, 2000, 600.0)
    assert record.tokens is not None
    assert (record.tokens.most, record.tokens.guided, record.tokens.fluency) == (1, True, str(world.base))
    assert record.budget.planned is not None
    assert re.search(r"about [\d,]+ queries at \S+ s each", answer.err)
    assert not (run / "attack.journal.jsonl").exists()
    (gate,) = [one for one in read_record(run / "gates.json", GatesRecord).outcomes if one.name == "attack"]
    assert (gate.kind, gate.threshold) == ("gate", 0.0)
    if record.attacked >= 10:
        assert gate.verdict == ("PASS" if record.levels[0].flipped == 0 else "FAIL")
    page, summary = (run / "report.html").read_text(), (run / "summary.md").read_text()
    assert 'id="attack"' in page
    assert "## Price of a hack" in summary
    again = world("run", spec)
    assert "Attack: unchanged, skipped" in again.err
    dry = world("run", spec, "--dry-run", "--json").json()
    assert {stage["name"]: stage["state"] for stage in dry["stages"]}["attack"] == "unchanged"
    off = world("run", spec, "--set", "evaluation.attack.pairs=0", "--set", "evaluation.gates.maximum_flipped=null")
    assert off.code in (0, 1), off.err
    assert not (run / "attack.json").exists()
    assert read_record(run / "manifest.json", Manifest).stages["check"].state == "done"
    anew = world("check", spec, "--set", "seed=3", "--overwrite")
    assert anew.code == 0, anew.err
    assert not (run / "model").exists()


def test_a_gate_without_an_attack_is_refused(world: World) -> None:
    evaluation = world.spec()["evaluation"] | {"gates": {"maximum_flipped": 0.5}}
    answer = world("check", world.write_spec(evaluation=evaluation))
    assert answer.code == 2
    assert "evaluation.gates.maximum_flipped" in answer.err
    assert "evaluation.attack.pairs: 40" in answer.err
