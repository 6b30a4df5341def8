"""`rewardsmith probe` and the stage of the main job: records, verdict, exit codes, input that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from checkpoint_maker import make_checkpoint
from cli_world import World

from conftest import make_pairs
from rewardsmith.evaluation.probes import PROBES
from rewardsmith.records.files import read_record
from rewardsmith.records.probes import PolicySamplesRecord, ProbesRecord
from rewardsmith.records.run import GatesRecord


@pytest.fixture
def world(
    tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> World:
    monkeypatch.setenv("REWARDSMITH_CACHE", str(tmp_path / "cache"))
    return World(tmp_path, tiny_base, capsys, monkeypatch)


@pytest.fixture
def model(tmp_path: Path, tiny_base: Path) -> str:
    return str(make_checkpoint(tmp_path / "model", tiny_base))


def probe(world: World, model: str, *arguments: str) -> object:
    return world("probe", "--model", model, "--out", "out", *arguments)


def test_a_model_that_guesses_fails(world: World, model: str, tmp_path: Path) -> None:
    world.write_pairs("many.jsonl", make_pairs(60, seed=3))
    answer = world("probe", "--model", model, "--data", "many.jsonl", "--out", "out", "--pairs", "50")
    assert answer.code == 1
    record = read_record(tmp_path / "out" / "probes.json", ProbesRecord)
    assert list(record.probes) == list(PROBES)
    assert (record.drawn, record.title, record.model) == (50, "many.jsonl", model)
    assert record.dataset.sha256
    assert record.probes["repeated_paragraph"].n == 50
    assert record.probes["harmful_compliance"].verdict == "NO_DATA"
    assert "verdict: FAIL" in answer.out
    assert "Answer to another prompt" in answer.out


def test_json_holds_the_record_and_the_gates(world: World, model: str, tmp_path: Path) -> None:
    world.write_pairs("many.jsonl", make_pairs(40, seed=3))
    found = world("probe", "--model", model, "--data", "many.jsonl", "--out", "out", "--seed", "4", "--json").json()
    assert found["probes"] == json.loads((tmp_path / "out" / "probes.json").read_text())
    assert found["probes"]["seed"] == 4
    assert found["passed"] is all(gate["verdict"] == "PASS" for gate in found["gates"] if gate["kind"] == "gate")


def test_best_of_n_rows_are_read_by_their_form(world: World, model: str, tmp_path: Path) -> None:
    rows = [
        {"id": i, "prompt": f"What is {i} + 1?", "chosen": [f"It is {i + 1}."], "rejected": ["No.", "Yes."]}
        for i in range(25)
    ]
    (tmp_path / "best.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    world("probe", "--model", model, "--data", "best.jsonl", "--out", "out")
    record = read_record(tmp_path / "out" / "probes.json", ProbesRecord)
    assert (record.rows, record.probes["wrong_number"].n) == (25, 25)


def test_rows_that_are_no_pairs_are_said_by_every_command_that_uses_the_others(
    world: World, model: str, tmp_path: Path
) -> None:
    rows = [{"prompt": f"{n} + 1?", "chosen": f"It is {n + 1}.", "rejected": f"It is {n}."} for n in range(40)]
    del rows[3]["rejected"], rows[8]["rejected"]
    (tmp_path / "holes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = "2 of 40 rows are no preference pairs and were left out (missing_field 2: row 4, 9)."
    asked = ("--model", model, "--data", "holes.jsonl", "--out")
    scored = world("evaluate", "--benchmark", "pairs", *asked, "scored")
    assert (scored.code, said in " ".join(scored.out.split())) == (0, True)
    assert said in world("probe", *asked, "probed", "--pairs", "5").err
    assert said in world("attack", *asked, "attacked", "--pairs", "1", "--edits", "1", "--queries", "10").err


def test_a_spec_gives_limits_and_model(world: World, model: str, tmp_path: Path) -> None:
    world.write_pairs("many.jsonl", make_pairs(30, seed=3))
    spec = world.write_spec(evaluation={"probes": {"pairs": 30}, "gates": {"probes": {"kind": "warning"}}})
    answer = world("probe", spec, "--model", model, "--data", "many.jsonl", "--out", "out")
    assert (answer.code, "verdict" in answer.out.splitlines()[-2]) == (0, False)
    strict = ("--set", "evaluation.gates.probes.each.repeated_paragraph.kind=gate")
    assert world("probe", spec, "--model", model, "--data", "many.jsonl", "--out", "out", *strict).code in (0, 1)
    named = ("--set", "evaluation.gates.probes.each.harmful_compliance.kind=gate")
    assert world("probe", spec, "--model", model, "--data", "many.jsonl", "--out", "out", *named).code == 1


def test_the_main_job_probes_its_held_out_pairs_and_judges_again_without_scoring(world: World, tmp_path: Path) -> None:
    spec = world.write_spec(
        evaluation={"benchmarks": [{"name": "rewardbench2", "data": "rows.jsonl"}], "bootstrap": 200}
    )
    world("run", spec)
    run = tmp_path / "runs" / "tiny"
    first = read_record(run / "probes.json", ProbesRecord)
    assert first.title == "Held-out pairs"
    gates = read_record(run / "gates.json", GatesRecord)
    assert [outcome.kind for outcome in gates.outcomes if outcome.benchmark == "probes"] == ["warning"]
    assert "Bias probes" in (run / "report.html").read_text()
    assert "## Bias probes" in (run / "summary.md").read_text()

    again = world("run", spec, "--set", "evaluation.gates.probes.min_prompts=2")
    assert "Bias probes: unchanged, skipped" in again.err
    judged = read_record(run / "probes.json", ProbesRecord)
    assert {code: result.wrong for code, result in judged.probes.items()} == {
        code: result.wrong for code, result in first.probes.items()
    }
    assert sum(result.verdict == "NO_DATA" for result in judged.probes.values()) < sum(
        result.verdict == "NO_DATA" for result in first.probes.values()
    )

    world("run", spec, "--set", "evaluation.probes.pairs=0")
    assert not (run / "probes.json").exists()


def test_policy_samples_leave_their_own_record(world: World, model: str, tmp_path: Path) -> None:
    rows = [{"prompt": f"Say {i}.", "completions": [f"{i}", f"{i} {i}", "no"], "labels": [1, 1, 0]} for i in range(12)]
    (tmp_path / "samples.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    answer = world("probe", "--model", model, "--policy-samples", "samples.jsonl", "--out", "out")
    assert answer.code == 0
    record = read_record(tmp_path / "out" / "policy_samples.json", PolicySamplesRecord)
    assert (record.prompts, record.completions, record.judged) == (12, 36, 12)
    assert record.labels is not None
    assert all(text in " ".join(answer.out.split()) for text in record.reading)
    found = world("probe", "--model", model, "--policy-samples", "samples.jsonl", "--out", "out", "--json").json()
    assert found["completions"] == 36


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--out", "out"), "there is no model to probe"),
        (("--model", "MODEL", "--out", "out", "--data", "none.jsonl"), "none.jsonl"),
        (("--model", "nowhere", "--out", "out", "--data", "train.jsonl"), "nowhere"),
        (("--model", "MODEL", "--out", "out", "--policy-samples", "train.jsonl"), "train.jsonl:1, field 'completions'"),
        (("--model", "MODEL", "--out", "out", "--policy-samples", "x", "--data", "y"), "leave them out"),
        (("--model", "MODEL", "--out", "out", "--set", "seed=1"), "none is given"),
    ],
)
def test_input_that_cannot_be_used_is_one_message_and_exit_2(
    world: World, model: str, arguments: tuple[str, ...], said: str
) -> None:
    answer = world("probe", *(model if argument == "MODEL" else argument for argument in arguments))
    assert answer.code == 2
    assert said in answer.err
    assert "Traceback" not in answer.err
