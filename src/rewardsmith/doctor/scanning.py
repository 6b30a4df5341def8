"""Files and folders → old names in them, by kind of file, and the names rewritten where that is mechanical.

    scanned = scan_paths([Path("scripts")], applied)
    for one in scanned: one.hits, one.unreadable
    for fixed in fixes(scanned, applied): print(fixed.diff); fixed.write()

Python, shell scripts, YAML and notebooks are read; what is something else is stepped over in a folder, and said to be
unreadable when it was named. A file that cannot be read or parsed is reported with its reason and stops nothing. Of a
notebook the code cells are Python, `!` lines and `%%bash` cells shell; hits are by cell and line.

Each edit replaces the span of one name; a file keeps its layout, comments and permissions. A text is scanned again
after its edits, because what one rule writes another may have to take further, until nothing is left to rewrite. A fix
goes back into a notebook's JSON, which stays as it was laid out; one in an unusual layout is not rewritten.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardsmith.doctor.python import scan_python
from rewardsmith.doctor.rules import Applied, Hit, apply_edits, line_of
from rewardsmith.doctor.shell import scan_shell
from rewardsmith.errors import UserError
from rewardsmith.records.bounded import BeyondLimitError, parse_json, read_bounded

_SHELL_CELL = re.compile(r"%%(bash|sh|script)\b[^\n]*")
_OTHER_CELL = re.compile(r"%%(html|javascript|js|latex|markdown|svg|writefile|perl|ruby|cython)\b")
_MAGIC = re.compile(r"^([ \t]*)([!%](?:[^\n\\]|\\.|\\\n)*)", re.MULTILINE)
_SKIPPED = {"__pycache__", "node_modules", "site-packages", "build", "dist", "wandb"}
_LARGEST = 5_000_000
"""Bytes; a larger file is data, not a script."""

_ROUNDS = 5

Scan = Callable[[str, Sequence[Applied]], list[Hit]]


@dataclass(frozen=True)
class Scanned:
    """One file: its text and its hits, by cell for a notebook (0: the file itself); or why it was not scanned."""

    path: Path
    text: str = ""
    hits: tuple[tuple[int, Hit], ...] = ()
    sources: tuple[tuple[int, str], ...] = ()
    unreadable: str = ""

    def line(self, cell: int, hit: Hit) -> int:
        """The line of a hit in its file or cell."""
        return line_of(dict(self.sources)[cell], hit.start)


def scan_paths(paths: Iterable[Path], applied: Sequence[Applied]) -> list[Scanned]:
    """Every file that is named, and every script of a folder, each once.

    Raises:
        UserError: a path does not exist.
    """
    seen: dict[Path, None] = {}
    for path in paths:
        if not path.exists():
            fix = "name a script, a folder or a model"
            raise UserError("there is no such file or folder", where=str(path), fix=fix)
        seen |= dict.fromkeys(_files(path) if path.is_dir() else [path])
    return [scan_file(path, applied) for path in seen]


def scan_file(path: Path, applied: Sequence[Applied]) -> Scanned:
    """One file by its kind."""
    try:
        if path.is_dir():
            os.scandir(path).close()  # `_files` could not: it says why again
        if path.stat().st_size > _LARGEST:
            return Scanned(path, unreadable="larger than a script is (5 MB)")
        text = read_bounded(path, _LARGEST).decode("utf-8")
    except UnicodeDecodeError as error:
        return Scanned(path, unreadable=f"not UTF-8 text (byte {error.start})")
    except OSError as error:
        return Scanned(path, unreadable=error.strerror or str(error))
    except BeyondLimitError as error:  # a pipe would block, a device never end
        return Scanned(path, unreadable=str(error))
    return scan_text(path, text, applied)


def scan_text(path: Path, text: str, applied: Sequence[Applied]) -> Scanned:
    """The text of a file by the kind that its name says; of one without a suffix, by its first line."""
    kind = _kind(path, text)
    if kind is None:
        return Scanned(path, unreadable="no Python, shell script, YAML or notebook")
    try:
        if kind == "notebook":
            return _notebook(path, text, applied)
        # Python's parser refuses a byte order mark in a text; places of hits count it all the same.
        marked = text.startswith("\ufeff")
        hits = KINDS[kind](text[marked:], applied)
    except (SyntaxError, ValueError, RecursionError) as error:
        return Scanned(path, text, unreadable=_said(error))
    return Scanned(path, text, tuple((0, hit.shifted(int(marked))) for hit in hits), ((0, text),))


def _notebook(path: Path, text: str, applied: Sequence[Applied]) -> Scanned:
    hits: list[tuple[int, Hit]] = []
    broken: list[str] = []
    cells = code_cells(text)
    for cell in cells:
        try:
            hits += [(cell.number, hit) for hit in scan_cell(cell.source, applied)]
        except SyntaxError as error:
            broken.append(f"cell {cell.number}, {_said(error)}")
    return Scanned(path, text, tuple(hits), tuple((cell.number, cell.source) for cell in cells), "; ".join(broken))


def _scan_yaml(text: str, applied: Sequence[Applied]) -> list[Hit]:
    from yaml import YAMLError  # yaml costs more than all else here

    from rewardsmith.doctor.shell import scan_yaml

    try:
        return scan_yaml(text, applied)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}: " if mark else ""
        raise ValueError(f"{place}{getattr(error, 'problem', None) or error}") from error


KINDS: dict[str, Scan] = {"python": scan_python, "shell": scan_shell, "yaml": _scan_yaml}
"""By kind; notebooks are cells of the first two."""

SUFFIXES = {
    ".py": "python",
    ".sh": "shell",
    ".bash": "shell",
    ".slurm": "shell",
    ".sbatch": "shell",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".ipynb": "notebook",
}
"""Suffix → kind."""


def _kind(path: Path, text: str) -> str | None:
    if path.suffix in SUFFIXES:
        return SUFFIXES[path.suffix]
    first = text.partition("\n")[0] if text.startswith("#!") and not path.suffix else ""
    if "python" in first:
        return "python"
    return "shell" if first.rstrip().endswith("sh") else None


def _files(folder: Path) -> Iterator[Path]:
    """Its scripts, and the folders in it that cannot be listed."""
    shut: list[Path] = []
    for root, folders, files in os.walk(folder, onerror=lambda error: shut.append(Path(error.filename))):
        # In place, which is how os.walk is told where not to go.
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _SKIPPED)
        yield from (Path(root, name) for name in sorted(files) if Path(name).suffix in SUFFIXES)
    yield from shut


def _said(error: Exception) -> str:
    if isinstance(error, SyntaxError) and error.lineno:
        return f"line {error.lineno}: {error.msg}"
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@dataclass(frozen=True)
class Fixed:
    """A file before and after."""

    path: Path
    before: str
    after: str

    @property
    def diff(self) -> str:
        """Unified, with the file's own name on both sides."""
        lines = difflib.unified_diff(
            self.before.splitlines(keepends=True),
            self.after.splitlines(keepends=True),
            fromfile=str(self.path),
            tofile=f"{self.path} (fixed)",
        )
        return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)

    def write(self) -> None:
        """Replace the file, whole or not at all; of a link the file that it leads to, so that it stays a link.

        Raises:
            UserError: it cannot be written.
        """
        path = self.path.resolve()
        aside = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            aside.write_bytes(self.after.encode())
            shutil.copymode(path, aside)
            aside.replace(path)
        except OSError as error:
            aside.unlink(missing_ok=True)
            said = f"cannot be written: {error.strerror}"
            raise UserError(said, where=str(self.path), fix="check the rights of its folder") from error


def fixes(scanned: Iterable[Scanned], applied: Sequence[Applied]) -> Iterator[Fixed]:
    """The files that an edit changes, with all edits made."""
    for one in scanned:
        after = _rewritten(one, applied)
        if after != one.text:
            yield Fixed(one.path, one.text, after)


def _rewritten(scanned: Scanned, applied: Sequence[Applied]) -> str:
    text = scanned.text
    for _ in range(_ROUNDS):
        new = _once(scanned)
        if new in (None, text):
            break
        text = new or ""
        scanned = scan_text(scanned.path, text, applied)
    return text


def _once(scanned: Scanned) -> str | None:
    """The text with the edits of its hits; None where a notebook's layout cannot be kept."""
    sources = {
        number: apply_edits(source, (edit for cell, hit in scanned.hits if cell == number for edit in hit.edits))
        for number, source in scanned.sources
    }
    if 0 in sources:
        return sources[0]
    changed = {number: source for number, source in sources.items() if source != dict(scanned.sources)[number]}
    return with_sources(scanned.text, changed) if changed else None


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


def scan_cell(source: str, applied: Sequence[Applied]) -> list[Hit]:
    """The hits of one cell; magics are no Python and `!` lines are shell.

    Raises:
        SyntaxError: what is left is not Python.
    """
    if _OTHER_CELL.match(source):
        return []
    if shell := _SHELL_CELL.match(source):
        return [hit.shifted(shell.end()) for hit in scan_shell(source[shell.end() :], applied)]
    hits = [
        hit.shifted(match.start(2) + 1)
        for match in _MAGIC.finditer(source)
        if match[2].startswith("!")
        for hit in scan_shell(match[2][1:], applied)
    ]
    return sorted([*hits, *scan_python(_MAGIC.sub(_blank, source), applied)], key=lambda hit: hit.start)


def with_sources(text: str, sources: Mapping[int, str]) -> str | None:
    """The notebook with these cells' sources, laid out as it was; None where its layout cannot be kept."""
    notebook = _read(text)
    # Jupyter writes an indent of 1; the layout that gives the same text back is the file's own.
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
