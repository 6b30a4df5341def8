"""`rewardsmith judge`: records, report, exit codes, and messages that name endpoint, field and fix."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from judge_world import pairs, ranked_rows, write_rows
from scripted_judge import scripted_judge

from rewardsmith.cli import main
from rewardsmith.records.evaluation import BenchmarkResult
from rewardsmith.records.files import read_record
from rewardsmith.records.judging import JudgeRecord

QUICK = ["--set", "judge.backoff=0.001", "--set", "judge.probes.consistency=5", "--set", "judge.probes.injection=5"]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Call `rewardsmith judge`; gives exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "rows.jsonl", ranked_rows(12))
    write_rows(tmp_path / "pairs.jsonl", pairs(6))

    def run(*arguments: str, benchmark: str = "rewardbench2", data: str = "rows.jsonl") -> tuple[int, str, str]:
        own = ["--benchmark", benchmark, "--data", data, "--out", "out", *QUICK, *arguments]
        monkeypatch.setattr(sys, "argv", ["rewardsmith", "judge", *own])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return int(stop.value.code or 0), captured.out, captured.err

    return run


def test_a_judge_is_evaluated_like_a_reward_model(call: Any, tmp_path: Path) -> None:
    with scripted_judge(accuracy=0.75, obeys=1.0, seed=1) as judge:
        given = ["--endpoint", judge.url, "--model", "judge", "--price-prompt", "2", "--price-completion", "10"]
        code, out, _ = call(*given)
        second, _, _ = call(*given, benchmark="pairs", data="pairs.jsonl")
        third, again, _ = call(*given)
    assert (code, second, third) == (0, 0, 0)
    assert re.search(r"Verdicts +12 of 12 *\n", out)
    assert re.search(r"Flipped, ranking +\d+ +100\.0 ", out)
    assert re.search(r"Same verdict in another order, ranking +\d+ +100\.0 ", out)
    assert re.search(r"1,000 comparisons +[\d.]+ USD", out)
    assert "USD, 1,000 calls" in out
    assert "this job paid for 22" in out
    assert "this job paid for 0" in again
    folder = tmp_path / "out" / "eval" / "rewardbench2"
    record = read_record(folder / "judge.json", JudgeRecord)
    result = read_record(folder / "results.json", BenchmarkResult)
    assert (record.rows, result.subsets["Math"].n, result.model) == (12, 12, f"judge at {judge.url}")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert page.count('<section id="judge"') == 1
    summary = (tmp_path / "out" / "summary.md").read_text(encoding="utf-8")
    assert summary.startswith("# ⬜ JUDGED: judge\n")
    assert "### rows.jsonl" in summary.partition("## Judge")[2]
    assert "### pairs.jsonl" in summary.partition("## Judge")[2]


def test_json_holds_both_records(call: Any) -> None:
    with scripted_judge() as judge:
        code, out, _ = call("--endpoint", judge.url, "--model", "judge", "--json")
    found = json.loads(out)
    assert (code, found["complete"], found["result"]["average"]) == (0, True, 1.0)
    assert found["record"]["judged"] == 12


def test_a_spec_names_the_judge(call: Any, tmp_path: Path) -> None:
    with scripted_judge() as judge:
        (tmp_path / "spec.yaml").write_text(f"judge: {{endpoint: {judge.url}, model: wrong}}\n")
        code, out, _ = call("spec.yaml", "--model", "judge", "--json")
    assert code == 0
    assert json.loads(out)["record"]["settings"]["model"] == "judge"


def test_a_budget_that_is_spent_ends_with_1_and_keeps_everything(call: Any, tmp_path: Path) -> None:
    with scripted_judge() as judge:
        code, out, _ = call("--endpoint", judge.url, "--model", "judge", "--max-calls", "7")
        assert judge.counts()["paid"] == 7
    assert code == 1
    assert re.search(r"Verdicts +7 of 12; missing: no budget left 5 *\n", out)
    assert "raise the budget or fix the endpoint, and run the same command again" in out
    assert (tmp_path / "out" / "eval" / "rewardbench2" / "results.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "message", "fix"),
    [
        ([], "no judge is named", "write its address, as http://127.0.0.1:8000/v1"),
        (["--model", "m"], "judge.endpoint: the model has no endpoint", "write an address"),
        (["--endpoint", "http://h/v1"], "judge.model: the endpoint serves models by name", "GET ENDPOINT/models"),
        (["--endpoint", "h:80", "--model", "m"], "not the address of an endpoint", "http://127.0.0.1:8000/v1"),
        (["--endpoint", "http://u:p@h/v1", "--model", "m"], "would be written into records", "$REWARDSMITH_JUDGE_KEY"),
        (["--endpoint", "http://h/v1?key=x", "--model", "m"], "would be written into records", "bare address"),
        (["--max-cost", "3"], "judge.budget.money: money cannot be counted without prices", "judge.prices.prompt"),
        (["--set", "judge.modle=x"], "unknown key 'judge.modle'", "did you mean 'model'?"),
        (
            ["--endpoint", "http://127.0.0.1:1/v1", "--model", "m"],
            "http://127.0.0.1:1/v1 (model 'm'), field 'judge.endpoint': cannot be reached",
            "start the endpoint, or correct its address",
        ),
    ],
)
def test_what_cannot_be_used_ends_with_2(call: Any, arguments: list[str], message: str, fix: str) -> None:
    code, _, err = call(*arguments)
    assert code == 2
    said = " ".join(err.split())
    assert message in said
    assert fix in said
    assert "Traceback" not in err


def test_a_model_that_is_not_there_is_named(call: Any) -> None:
    with scripted_judge() as judge:
        code, _, err = call("--endpoint", judge.url, "--model", "gpt-9")
    assert code == 2
    assert f"{judge.url} (model 'gpt-9'), field 'judge.model': answers 404: the model gpt-9 does not exist" in err


def test_rows_that_do_not_fit_are_named(call: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"id": "1", "subset": "Maths"}\n')
    code, _, err = call("--endpoint", "http://127.0.0.1:1/v1", "--model", "m", data="bad.jsonl")
    assert code == 2
    assert "bad.jsonl:1, field 'subset'" in err
