"""`rewardsmith check`: findings by harm on wide and narrow terminals; what comes from the data cannot act there."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from cli_world import World
from report_records import HOSTILE, check_record
from rich.console import Console

from conftest import make_pairs
from rewardsmith.records.checks import CheckRecord, ExampleRow, Finding
from rewardsmith.report.sections.data import data_section
from rewardsmith.report.terminal import print_sections


@pytest.fixture
def world(
    tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> World:
    return World(tmp_path, tiny_base, capsys, monkeypatch)


CONTROL = "\x1b[31m\x1b]0;title\x07\x08\u202e\u2066"


def finding(code: str, severity: str, count: int, **more: object) -> Finding:
    words = {"title": "T", "meaning": f"meaning of {code}", "why": "W", "fix": f"[bold]fix {code}[/bold]"}
    return Finding.model_validate(
        {**words, "code": code, "severity": severity, "count": count, "of": 1000, "summary": "", **more}
    )


def record(text: str = "") -> CheckRecord:
    example = ExampleRow(file="pairs.jsonl" + text, row=17, detail=text)
    findings = (
        finding("repeated", "warning", 4),
        finding("length_rule", "warning", 612, ci_low=0.581, ci_high=0.642, summary="the longer response wins" + text),
        finding("leaked_prompt", "error", 3, examples=(example,)),
        finding("languages", "note", 990),
    )
    return check_record(text).model_copy(
        update={"findings": findings, "passed": False, "failed_on": ("leaked_prompt",)}
    )


def printed(width: int, text: str = "", *, colour: bool = False) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, color_system="standard" if colour else None)
    print_sections(console, data_section(record(text), surveys=False))
    return out.getvalue()


@pytest.mark.parametrize("width", [80, 100, 140])
def test_findings_stand_in_order_of_harm_and_fit(width: int) -> None:
    lines = printed(width).splitlines()
    places = [
        next(i for i, line in enumerate(lines) if code in line)
        for code in ("leaked", "length_rule", "repeated", "languages")
    ]
    assert places == sorted(places)
    assert max(map(len, lines)) <= width
    row = next(line for line in lines if "length_rule" in line)
    assert row.split()[:7] == ["warning", "T", "length_rule", "612", "61.2", "58.1", "to"]
    whole = " ".join(" ".join(lines).split())
    for words in (
        "Meaning of leaked_prompt.",
        "The longer response wins.",
        "[bold]fix repeated[/bold].",
        "pairs.jsonl:17",
    ):
        assert set(words.split()) <= set(whole.replace("(", "").replace(")", "").split()), words
    assert "verdict: The data contract does not hold: failed on leaked_prompt." in whole


@pytest.mark.parametrize("width", [80, 140])
def test_text_of_the_data_cannot_act_on_the_terminal(width: int) -> None:
    plain = printed(width, HOSTILE + CONTROL)
    assert not set(plain) & set("\x1b\x07\x08\u202e\u2066")
    assert "\\u001b" in plain
    ours = printed(width, colour=True)
    assert "\x1b[1;31merror" in ours  # the colours are those of the severities alone


def test_a_failed_contract_is_shown_before_the_verdict(
    tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, tiny_base, capsys, monkeypatch)
    pairs = make_pairs(40, seed=1)
    world.write_pairs("train.jsonl", [*pairs, pairs[0]])
    answer = world("check", world.write_spec(), "--set", "data.fail_on=[duplicate_pair]")
    assert answer.code == 1
    assert "duplicate_pair" in answer.out
    assert "The data contract does not hold: failed on duplicate_pair." in answer.out
    assert answer.out.endswith("check: runs/tiny/check.json\n")
    as_json = world("check", world.write_spec(), "--set", "data.fail_on=[duplicate_pair]", "--json")
    assert as_json.code == 1
    assert as_json.json()["failed_on"] == ["duplicate_pair"]


def test_pairs_are_shown_as_read_and_as_rendered(world: World) -> None:
    rows = [{"q": f"Which {n}?", "all": [{"t": f"It is {n}.", "s": 2}, {"t": f"No {n}.", "s": 0.5}]} for n in range(9)]
    (world.folder / "rated.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    form = {"kind": "list", "answers": "all", "text": "t", "score": "s", "better": "higher"}
    world.write_spec(data={"train": [{"path": "rated.jsonl", "form": form, "columns": {"prompt": "q"}}]})
    done = world("check", "spec.yaml", "--show", "2", "--json")
    assert done.code == 0
    first, second = done.json()["shown"]
    assert (first["row"], first["id"], second["row"], first["margin"]) == (1, "1:0-1", 2, 1.5)
    assert first["prompt"] == [{"role": "user", "content": "Which 0?"}]
    assert first["rejected"] == [{"role": "assistant", "content": "No 0."}]
    expected = "<|im_start|>user\nWhich 0?<|im_end|>\n<|im_start|>assistant\nIt is 0.<|im_end|>"
    assert first["chosen_text"].strip() == expected
    said = world("check", "spec.yaml", "--show", "1").out
    assert "rated.jsonl, row 1, margin 1.5" in said
    assert "Read 9 rows = 9 used + 0 rejected + 0 left out by the mixture; 9 comparisons = 9 pairs kept" in said


def test_a_run_trains_on_a_form_and_reports_it(world: World) -> None:
    rows = [{"q": f"Which {n} of {n * 7}?", "x": f"It is {n}.", "y": f"No {n}!", "w": n % 3} for n in range(30)]
    (world.folder / "rated.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    values = {"first": [0], "second": [1], "tie": [2]}
    form = {"kind": "comparison", "first": "x", "second": "y", "verdict": {"column": "w", "values": values}}
    source = {"path": "rated.jsonl", "form": form, "columns": {"prompt": "q"}}
    spec = world.write_spec(data={"train": [source, {"path": "train.jsonl"}], "max_length": 200})
    assert world("run", spec).code in (0, 1)  # a gate may fail; the run ends
    record = json.loads((world.folder / "runs/tiny/check.json").read_text())
    assert [(one["read"], one["kept"], one["ties"]) for one in record["sources"]] == [(30, 20, 10), (40, 40, 0)]
    assert (world.folder / "runs/tiny/report.html").is_file()
