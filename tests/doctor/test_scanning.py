"""Kinds of files, broken ones, notebooks, shell grammar, and fixes that touch nothing but the names."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.doctor import applied_rules, fixes, load_rules, scan_paths, scan_text
from rewardsmith.doctor.rules import Edit, apply_edits
from rewardsmith.doctor.shell import commands_in
from rewardsmith.errors import UserError

BOOK = load_rules()
JUDGED = applied_rules(BOOK.rules, BOOK.newest)


def notebook(*cells: str) -> dict[str, Any]:
    code = [{"cell_type": "code", "metadata": {}, "outputs": [], "source": c.splitlines(keepends=True)} for c in cells]
    note = {"cell_type": "markdown", "metadata": {}, "source": ["from trl import PPOTrainer"]}
    return {"cells": [note, *code], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def places(path: str, text: str) -> list[tuple[str, int, int]]:
    scanned = scan_text(Path(path), text, JUDGED)
    return [(hit.rule.id, cell, scanned.line(cell, hit)) for cell, hit in scanned.hits]


def test_a_notebook_is_read_by_cell_and_line() -> None:
    cells = (
        "%matplotlib inline\nimport trl\n",
        "!trl sft --max_seq_length 5 \\\n  --torch_dtype x\nif True:\n    !echo trl sft --max_seq_length 5\n",
        "%%bash\ndeepspeed --module openrlhf.cli.train_rm --bf16",
        "x = 1\nfrom trl import ORPOTrainer",
        "%%html\n<b>from trl import ORPOTrainer</b>",
    )
    assert places("a.ipynb", json.dumps(notebook(*cells))) == [
        ("trl-max-seq-length", 3, 1),
        ("trl-model-config-dtype", 3, 2),
        ("openrlhf-old-precision-dotted", 4, 2),
        ("trl-cpo-orpo-moved", 5, 2),
    ]


@pytest.mark.parametrize("layout", [{"indent": 1, "ensure_ascii": False}, {"indent": 2}, {}])
def test_a_fixed_notebook_keeps_its_layout(layout: dict[str, Any]) -> None:
    before = json.dumps(notebook("# größer\n", "from trl import ORPOTrainer\nx = 1"), **layout) + "\n"
    [fixed] = fixes([scan_text(Path("a.ipynb"), before, JUDGED)], JUDGED)
    assert fixed.after == before.replace("from trl import ORPO", "from trl.experimental.orpo import ORPO")


def test_a_notebook_in_a_layout_of_its_own_is_reported_and_not_rewritten() -> None:
    before = json.dumps(notebook("from trl import ORPOTrainer"), indent=3)
    scanned = scan_text(Path("a.ipynb"), before, JUDGED)
    assert len(scanned.hits) == 1
    assert list(fixes([scanned], JUDGED)) == []


def test_a_broken_cell_hides_no_other_one() -> None:
    scanned = scan_text(Path("a.ipynb"), json.dumps(notebook("def f(:", "from trl import ORPOTrainer")), JUDGED)
    assert scanned.unreadable == "cell 2, line 1: invalid syntax"
    assert [cell for cell, _ in scanned.hits] == [3]


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.py", b"def f(:\n", "line 1: invalid syntax"),
        ("b.py", b"x = '\xff'\n", "not UTF-8 text (byte 5)"),
        ("c.yaml", b"a: [1\nb: 2\n", "line 2: "),
        ("d.ipynb", b"{", "Expecting property name"),
        ("e.ipynb", b"[]", "it has no cells"),
        ("f.txt", b"trl chat", "no Python, shell script, YAML or notebook"),
        ("g.py", b"x = 1\0", "source code string cannot contain null bytes"),
    ],
)
def test_what_cannot_be_read_is_said_and_not_fatal(tmp_path: Path, name: str, content: bytes, why: str) -> None:
    (tmp_path / name).write_bytes(content)
    (tmp_path / "z.py").write_text("from trl import ORPOTrainer\n")
    broken, sound = scan_paths([tmp_path / name, tmp_path / "z.py"], JUDGED)
    assert broken.unreadable.startswith(why)
    assert len(sound.hits) == 1


def test_a_folder_gives_its_scripts_once_and_no_hidden_ones(tmp_path: Path) -> None:
    for name in ("a.py", "b/c.sh", "b/data.json", ".venv/d.py", "site-packages/e.py", "__pycache__/f.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")
    found = scan_paths([tmp_path, tmp_path / "a.py"], JUDGED)
    assert [str(one.path.relative_to(tmp_path)) for one in found] == ["a.py", "b/c.sh"]


def test_a_path_that_is_not_there_is_a_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        scan_paths([tmp_path / "a.py"], JUDGED)


def test_a_script_without_a_suffix_is_known_by_its_first_line() -> None:
    assert places("train", "#!/usr/bin/env python3\nfrom trl import ORPOTrainer\n") == [("trl-cpo-orpo-moved", 0, 2)]
    assert places("train", "#!/bin/bash\ntrl chat\n") == [("trl-chat-command", 0, 2)]


def test_byte_order_mark_umlauts_and_carriage_returns_move_nothing() -> None:
    before = "\ufeffx = 'ÄÖÜ'; y = '🙂'\r\nfrom trl import ORPOTrainer  # größer\r\n"
    [fixed] = fixes([scan_text(Path("a.py"), before, JUDGED)], JUDGED)
    assert fixed.after == before.replace("from trl import", "from trl.experimental.orpo import")


def test_a_keyword_behind_wide_characters_on_its_line() -> None:
    before = "from trl import RewardTrainer\nRewardTrainer('🙂é', tokenizer=t)\n"
    [fixed] = fixes([scan_text(Path("a.py"), before, JUDGED)], JUDGED)
    assert fixed.after == before.replace("tokenizer=", "processing_class=")


def test_an_import_that_shares_its_line_is_reported_and_not_rewritten() -> None:
    scanned = scan_text(Path("a.py"), "import os; from trl import ORPOTrainer\n", JUDGED)
    assert len(scanned.hits) == 1
    assert list(fixes([scanned], JUDGED)) == []


def test_an_argument_that_is_already_there_is_not_written_twice() -> None:
    text = "from trl import RewardTrainer\nRewardTrainer(tokenizer=a, processing_class=b)\n"
    assert list(fixes([scan_text(Path("a.py"), text, JUDGED)], JUDGED)) == []


def test_the_diff_is_a_patch(tmp_path: Path) -> None:
    path = tmp_path / "a.sh"
    path.write_text("trl sft --torch_dtype x")
    path.chmod(0o755)
    [fixed] = fixes(scan_paths([path], JUDGED), JUDGED)
    assert fixed.diff.splitlines()[2:] == [
        "@@ -1 +1 @@",
        "-trl sft --torch_dtype x",
        "\\ No newline at end of file",
        "+trl sft --dtype x",
        "\\ No newline at end of file",
    ]
    fixed.write()
    assert path.read_text() == "trl sft --dtype x"
    assert path.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(
    ("script", "commands"),
    [
        ("a b # c\nd", [["a", "b"], ["d"]]),
        ("a \\\n  'b c' \"d\" && e; f | g &", [["a", "b c", "d"], ["e"], ["f"], ["g"]]),
        ('A="x  y"\nrun $A z', [["run", "x", "y", "z"]]),
        ('A=(x\n  y # no\n)\nrun "${A[@]}"', [["run", "x", "y"]]),
        ("cat <<'E' > f\nin here\nE\nout", [["cat"], ["in", "here"], ["out"]]),
        ("a > out 2>&1 b", [["a", "b"]]),
        ("a $(b c) `d e`", [["a", "$(b c)", "`d e`"]]),
        ("a 'unclosed", [["a", "unclosed"]]),
    ],
)
def test_shell_grammar(script: str, commands: list[list[str]]) -> None:
    assert [[word.value for word in command] for command in commands_in(script)] == commands


@given(st.text(alphabet="ab \"'\\$(){}<>|&;#=\n-", max_size=40))
def test_any_text_is_read_to_its_end_and_words_lie_where_they_say(script: str) -> None:
    for command in commands_in(script):
        for word in command:
            assert 0 <= word.start < word.end <= len(script)


@given(
    st.text(max_size=30), st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5), st.text(max_size=3)), max_size=4)
)
def test_edits_keep_all_that_lies_outside_of_them(text: str, drawn: list[tuple[int, int, str]]) -> None:
    edits = [Edit(min(at, len(text)), min(at + size, len(text)), new) for at, size, new in drawn]
    done = apply_edits(text, edits)
    first = min((edit.start for edit in edits), default=len(text))
    last = max((edit.end for edit in edits), default=0)
    assert done.startswith(text[:first])
    assert done.endswith(text[last:])
    assert apply_edits(text, []) == text


def test_a_folder_that_cannot_be_listed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shut").mkdir()
    (tmp_path / "a.py").write_text("x = 1\n")
    there = os.scandir

    def scandir(path: Any) -> Any:
        if Path(path).name == "shut":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return there(path)

    monkeypatch.setattr(os, "scandir", scandir)
    sound, shut = scan_paths([tmp_path], JUDGED)
    assert (sound.path.name, sound.unreadable) == ("a.py", "")
    assert (shut.path, shut.unreadable) == (tmp_path / "shut", "Permission denied")
