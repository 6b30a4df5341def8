"""Rows and their texts in as few bytes as a page can carry: columns, each text once, cut, deflated, base64.

    pack(items, titles) → Payload      index: one string; texts: strings of a megabyte of text each, worst rows first

The page inflates the index first and can then show every row; texts follow piece by piece. Where the whole would weigh
more than `budget`, texts of rows further down stay behind: the page says so, and `rewardsmith open` has them.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rewardsmith.report.formatting import written_out
from rewardsmith.report.row_items import FLAGS, Item

ROWS = 10_000
"""Rows that a page carries; mistakes come first."""
CHARACTERS = 2_000
"""Characters of a text that a page carries."""
BUDGET = 7_000_000
"""Bytes of the packed rows in a page: with everything else it stays under 8 MB."""

_PIECE = 1_000_000
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Payload:
    """What the page carries: base64 of deflated JSON. `with_text` of `rows` rows have their texts there."""

    index: str
    texts: tuple[str, ...]
    rows: int
    with_text: int

    @property
    def bytes(self) -> int:
        """What it weighs in the page."""
        return len(self.index) + sum(map(len, self.texts))


@dataclass(slots=True)
class _Texts:
    """Texts in the order of their first use, cut; `cut` is index → length before."""

    numbers: dict[str, int] = field(default_factory=dict)
    shown: list[str] = field(default_factory=list)
    cut: dict[int, int] = field(default_factory=dict)

    def number(self, text: str) -> int:
        if text not in self.numbers:
            self.numbers[text] = len(self.shown)
            if len(text) > CHARACTERS:
                self.cut[len(self.shown)] = len(text)
            self.shown.append(written_out(text[:CHARACTERS]))
        return self.numbers[text]


def pack(items: Sequence[Item], titles: Mapping[str, str], *, budget: int = BUDGET) -> Payload:
    """The first `ROWS` items for the page.

    Args:
        titles: what a source is called, by its key.
    """
    shown = items[:ROWS]
    texts = _Texts()
    numbered = [_numbers(item, texts) for item in shown]
    bare = _index(shown, titles, numbered, texts.cut)
    pieces, carried = _pieces(texts.shown, budget - len(_packed(bare)))
    kept = [numbers if max(numbers, default=-1) < carried else () for numbers in numbered]
    index = _packed(_index(shown, titles, kept, {n: size for n, size in texts.cut.items() if n < carried}))
    return Payload(index, tuple(pieces), len(shown), sum(bool(numbers) for numbers in kept))


def _numbers(item: Item, texts: _Texts) -> tuple[int, ...]:
    """Of prompt, chosen and rejected texts."""
    if item.text is None:
        return ()
    return tuple(texts.number(text) for text in (item.text.prompt, *item.text.chosen, *item.text.rejected))


def _index(
    items: Sequence[Item], titles: Mapping[str, str], numbered: Sequence[tuple[int, ...]], cut: Mapping[int, int]
) -> dict[str, Any]:
    sources = list(dict.fromkeys((item.kind, item.source) for item in items))
    subsets = list(dict.fromkeys(item.subset for item in items))
    notes = list(dict.fromkeys(item.note for item in items))
    source_of = {source: number for number, source in enumerate(sources)}
    subset_of = {subset: number for number, subset in enumerate(subsets)}
    note_of = {note: number for number, note in enumerate(notes)}
    return {
        "sources": [{"kind": kind, "key": key, "title": written_out(titles.get(key, key))} for kind, key in sources],
        "subsets": [written_out(subset) for subset in subsets],
        "notes": [written_out(note) for note in notes],
        "flags": list(FLAGS.values()),
        "cut": cut,
        "source": [source_of[item.kind, item.source] for item in items],
        "subset": [subset_of[item.subset] for item in items],
        "note": [note_of[item.note] for item in items],
        "id": [written_out(item.id[:200]) for item in items],
        "key": [item.key for item in items],
        "rewards": [[_rounded(reward) for reward in item.rewards] for item in items],
        "chosen": [item.n_chosen for item in items],
        "margin": [_rounded(item.margin) for item in items],
        "mistake": [int(item.mistake) for item in items],
        "flagged": [sum(1 << bit for bit, flag in enumerate(FLAGS) if flag in item.flags) for item in items],
        "texts": numbered,
    }


def _pieces(texts: Sequence[str], budget: int) -> tuple[list[str], int]:
    """Packed pieces as far as the budget goes, and how many texts they hold."""
    pieces: list[str] = []
    carried = left = 0
    for piece in _parted(texts):
        packed = _packed(piece)
        if left + len(packed) > budget:
            break
        pieces.append(packed)
        carried, left = carried + len(piece), left + len(packed)
    return pieces, carried


def _parted(texts: Iterable[str]) -> Iterator[list[str]]:
    piece: list[str] = []
    size = 0
    for text in texts:
        piece.append(text)
        size += len(text)
        if size >= _PIECE:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


def _packed(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode("utf-8", "replace"), 9)).decode()


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{_DIGITS}g}")
