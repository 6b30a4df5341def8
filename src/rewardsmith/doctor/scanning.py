"""Files and folders → old names in them, by kind of file.

    for scanned in scan_paths([Path("scripts")], judged): scanned.hits, scanned.unreadable

Python, shell scripts, YAML and notebooks are read; what is something else is stepped over in a folder, and said to be
unreadable when it was named. A file that cannot be read or parsed is reported with its reason and stops nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rewardsmith.doctor.hits import Hit, Judged, line_of
from rewardsmith.doctor.notebooks import code_cells, scan_cell
from rewardsmith.doctor.python_names import scan_python
from rewardsmith.doctor.shell import scan_shell
from rewardsmith.errors import UserError

_SKIPPED = {"__pycache__", "node_modules", "site-packages", "build", "dist", "wandb"}
_LARGEST = 5_000_000
"""Bytes; a larger file is data, not a script."""

Scan = Callable[[str, Sequence[Judged]], list[Hit]]


@dataclass(frozen=True)
class Scanned:
    """One file: its text and its hits, by cell for a notebook (0: the file itself); or why it was not judged."""

    path: Path
    text: str = ""
    hits: tuple[tuple[int, Hit], ...] = ()
    sources: tuple[tuple[int, str], ...] = ()
    unreadable: str = ""

    def line(self, cell: int, hit: Hit) -> int:
        """The line of a hit in its file or cell."""
        return line_of(dict(self.sources)[cell], hit.start)


def scan_paths(paths: Iterable[Path], judged: Sequence[Judged]) -> list[Scanned]:
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
    return [scan_file(path, judged) for path in seen]


def scan_file(path: Path, judged: Sequence[Judged]) -> Scanned:
    """One file by its kind."""
    try:
        if path.stat().st_size > _LARGEST:
            return Scanned(path, unreadable="larger than a script is (5 MB)")
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        return Scanned(path, unreadable=f"not UTF-8 text (byte {error.start})")
    except OSError as error:
        return Scanned(path, unreadable=error.strerror or str(error))
    return scan_text(path, text, judged)


def scan_text(path: Path, text: str, judged: Sequence[Judged]) -> Scanned:
    """The text of a file by the kind that its name says; of one without a suffix, by its first line."""
    kind = _kind(path, text)
    if kind is None:
        return Scanned(path, unreadable="no Python, shell script, YAML or notebook")
    try:
        if kind == "notebook":
            return _notebook(path, text, judged)
        marked = text.startswith("\ufeff")
        hits = KINDS[kind](text[marked:], judged)
    except (SyntaxError, ValueError, RecursionError) as error:
        return Scanned(path, text, unreadable=_said(error))
    return Scanned(path, text, tuple((0, hit.shifted(int(marked))) for hit in hits), ((0, text),))


def _notebook(path: Path, text: str, judged: Sequence[Judged]) -> Scanned:
    hits: list[tuple[int, Hit]] = []
    broken: list[str] = []
    cells = code_cells(text)
    for cell in cells:
        try:
            hits += [(cell.number, hit) for hit in scan_cell(cell.source, judged)]
        except SyntaxError as error:
            broken.append(f"cell {cell.number}, {_said(error)}")
    return Scanned(path, text, tuple(hits), tuple((cell.number, cell.source) for cell in cells), "; ".join(broken))


def _scan_yaml(text: str, judged: Sequence[Judged]) -> list[Hit]:
    from yaml import YAMLError  # yaml costs more than all else here

    from rewardsmith.doctor.yaml_files import scan_yaml

    try:
        return scan_yaml(text, judged)
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
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _SKIPPED)
        yield from (Path(root, name) for name in sorted(files) if Path(name).suffix in SUFFIXES)


def _said(error: Exception) -> str:
    if isinstance(error, SyntaxError) and error.lineno:
        return f"line {error.lineno}: {error.msg}"
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
