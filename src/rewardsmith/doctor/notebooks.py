"""Old names in Jupyter notebooks: code cells as Python, `!` lines and `%%bash` cells as shell; by cell and line.

    for cell in code_cells(text): cell.number, cell.source          # raises ValueError

A fix goes back into the notebook's JSON, which stays as it was laid out; one in an unusual layout is not rewritten.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rewardsmith.doctor.hits import Hit, Judged
from rewardsmith.doctor.python_names import scan_python
from rewardsmith.doctor.shell import scan_shell
from rewardsmith.records.bounded import parse_json

_SHELL_CELL = re.compile(r"%%(bash|sh|script)\b[^\n]*")
_OTHER_CELL = re.compile(r"%%(html|javascript|js|latex|markdown|svg|writefile|perl|ruby|cython)\b")
_MAGIC = re.compile(r"^([ \t]*)([!%](?:[^\n\\]|\\.|\\\n)*)", re.MULTILINE)


@dataclass(frozen=True)
class Cell:
    """A code cell, counted from 1 over all cells, as a notebook shows them."""

    number: int
    source: str


def code_cells(text: str) -> list[Cell]:
    """The code cells of a notebook.

    Raises:
        ValueError: the text is not a notebook.
    """
    cells = _read(text)["cells"]
    return [Cell(at, _source(cell)) for at, cell in enumerate(cells, start=1) if cell.get("cell_type") == "code"]


def scan_cell(source: str, judged: Sequence[Judged]) -> list[Hit]:
    """The hits of one cell; magics are no Python and `!` lines are shell.

    Raises:
        SyntaxError: what is left is not Python.
    """
    if _OTHER_CELL.match(source):
        return []
    if shell := _SHELL_CELL.match(source):
        return [hit.shifted(shell.end()) for hit in scan_shell(source[shell.end() :], judged)]
    hits = [
        hit.shifted(match.start(2) + 1)
        for match in _MAGIC.finditer(source)
        if match[2].startswith("!")
        for hit in scan_shell(match[2][1:], judged)
    ]
    return sorted([*hits, *scan_python(_MAGIC.sub(_blank, source), judged)], key=lambda hit: hit.start)


def with_sources(text: str, sources: Mapping[int, str]) -> str | None:
    """The notebook with these cells' sources, laid out as it was; None where its layout cannot be kept."""
    notebook = _read(text)
    for layout in ({"indent": 1}, {"indent": 2}, {"indent": 4}, {"indent": None}):
        for ascii_only in (False, True):
            for tail in ("\n", ""):
                if json.dumps(notebook, ensure_ascii=ascii_only, **layout) + tail == text:
                    for number, source in sources.items():
                        cell = notebook["cells"][number - 1]
                        whole = isinstance(cell["source"], str)
                        cell["source"] = source if whole else source.splitlines(keepends=True)
                    return json.dumps(notebook, ensure_ascii=ascii_only, **layout) + tail
    return None


def _read(text: str) -> dict[str, Any]:
    notebook = parse_json(text)
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        raise ValueError("it has no cells (notebooks of format 3 and older are not read)")  # noqa: TRY004
    return notebook


def _source(cell: Mapping[str, Any]) -> str:
    source = cell.get("source", "")
    return source if isinstance(source, str) else "".join(source)


def _blank(match: re.Match[str]) -> str:
    """An expression of the same length and with the same line breaks, so that places stay right."""
    rest = re.sub(r"[^\n]", " ", match[2][1:]).replace(" \n", "\\\n")
    return f"{match[1]}0{rest}"
