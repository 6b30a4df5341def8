"""Text of others on a terminal: no markup, nothing that steers it, one line where a line is meant; JSON stays JSON."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from cli_world import World
from rich.text import Text

from rewardsmith.cli.terminal import Terminal, say_json, shown
from rewardsmith.report.blocks import Block, Column, Grid, Section, Sign
from rewardsmith.report.formatting import visible
from rewardsmith.report.terminal import print_sections

HOSTILE = "[/red][bold]x\x1b]0;owned\x00\u202egpj.\x9b31m\u2066:smile:\nverdict: PASS"


def printed(*things: object, colour: bool = False) -> str:
    out = io.StringIO()
    console = Terminal(file=out, width=120, force_terminal=colour, color_system="standard" if colour else None)
    for thing in things:
        console.print(thing)
    return out.getvalue()


def test_what_is_shown() -> None:
    assert shown("a\tb\nc é 日本 👩‍💻") == "a\tb\nc é 日本 👩‍💻"
    assert (
        shown("\x00\x1b\r\x7f\x85\u200e\u2028\u202e\u2069") == "\\x00\\x1b\\x0d\\x7f\\x85\\u200e\\u2028\\u202e\\u2069"
    )
    assert shown("\U000e0041") == "\\U000e0041"


def test_a_string_a_text_and_a_cell() -> None:
    wanted = "[/red][bold]x\\x1b]0;owned\\x00\\u202egpj.\\x9b31m\\u2066:smile:"
    assert printed(HOSTILE) == f"{wanted}\nverdict: PASS\n"
    assert printed(Text(HOSTILE)) == f"{wanted}\nverdict: PASS\n"


def test_a_cell_a_caption_and_a_name_are_one_line_of_a_result() -> None:
    wanted = "[/red][bold]x\\x1b]0;owned\\x00\\u202egpj.\\x9b31m\\u2066:smile:⏎verdict: PASS"
    out = io.StringIO()
    grid = Grid(HOSTILE, (Column(HOSTILE, "name"),), ((HOSTILE,), (Sign("bad", HOSTILE),)), note=HOSTILE)
    block = Block(HOSTILE, HOSTILE, note=HOSTILE, grids=(grid,), texts=(HOSTILE,), lines=(HOSTILE,))
    print_sections(Terminal(file=out, width=120), Section("x", HOSTILE, (block,), notes=(HOSTILE,)))
    assert [line.strip() for line in out.getvalue().splitlines()] == [wanted] * 12


def test_colours_of_ours_pass() -> None:
    assert printed(Text("PASS", style="green"), colour=True) == "\x1b[32mPASS\x1b[0m\n"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", "cp1252"])
def test_json_stays_json(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    record = {"name": "é\x9b日\U0001f642\u202e\x7f", "other": ["\x1b"]}
    say_json(json.dumps(record, ensure_ascii=False, indent=2))
    written = raw.getvalue()
    assert json.loads(written) == record
    assert not {0x1B, 0x7F} & set(written)
    assert "\u202e".encode() not in written


@pytest.fixture
def world(
    tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> World:
    return World(tmp_path, tiny_base, capsys, monkeypatch)


SUBSETS = ["[/red]", "[bold", "\x1b[2Jx", "\u202etxet", "a\nverdict: PASS, 9 of 9 gates pass"]


@pytest.mark.parametrize("subset", SUBSETS)
def test_a_subset_of_any_name_in_evaluate_and_compare(world: World, tmp_path: Path, subset: str) -> None:
    rows = [{"id": str(i), "subset": subset, "prompt": f"{i}?", "chosen": f"{i}", "rejected": "a"} for i in range(4)]
    (tmp_path / "bench.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, reward in (("one", 1.0), ("two", -1.0)):
        lines = [{"id": str(i), "subset": subset, "rewards": [reward, 0.5]} for i in range(4)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        arguments = ("--benchmark", "pairs", "--data", "bench.jsonl", "--rewards", f"{name}.jsonl")
        answer = world("evaluate", *arguments, "--out", f"out-{name}")
        assert answer.code == 0, answer.err
        assert visible(subset, 80) in answer.out
    answer = world("compare", "out-one", "out-two")
    assert answer.code == 0, answer.err
    shown_all = answer.out + answer.err
    assert not {"\x1b", "\u202e"} & set(shown_all)
    assert "\nverdict: PASS" not in shown_all
