"""Old names rewritten where that is mechanical, as a diff first; a file keeps its layout, comments and permissions.

    for fixed in fixes(scanned, judged): print(fixed.diff); fixed.write()

Each edit replaces the span of one name. A text is scanned again after its edits, because what one rule writes another
may have to take further, until nothing is left to rewrite.
"""

from __future__ import annotations

import difflib
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rewardsmith.doctor.hits import Judged, apply_edits
from rewardsmith.doctor.notebooks import with_sources
from rewardsmith.doctor.scanning import Scanned, scan_text
from rewardsmith.errors import UserError

_ROUNDS = 5


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


def fixes(scanned: Iterable[Scanned], judged: Sequence[Judged]) -> Iterator[Fixed]:
    """The files that an edit changes, with all edits made."""
    for one in scanned:
        after = _rewritten(one, judged)
        if after != one.text:
            yield Fixed(one.path, one.text, after)


def _rewritten(scanned: Scanned, judged: Sequence[Judged]) -> str:
    text = scanned.text
    for _ in range(_ROUNDS):
        new = _once(scanned)
        if new in (None, text):
            break
        text = new or ""
        scanned = scan_text(scanned.path, text, judged)
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
