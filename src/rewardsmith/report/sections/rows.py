"""The rows that a reader looks at one by one, worst first, and how the page carries them.

    explorer(records, texts) → Explorer | None      counts and packed rows; None where nothing was evaluated
    row_items(records, texts) → all rows            evaluated rows, training pairs in doubt, edited responses of probes
    pack(items, titles) → Payload                   index: one string; texts: strings of a megabyte of text each

The report knows rewards, not texts: `texts` are found by the pipeline and handed in, by the digest of an evaluated row
or the place of a training pair. A row's margin is its lowest chosen reward minus its highest rejected one; a mistake is
a row that the benchmark's own rule gives less than a full point.

Rows travel in as few bytes as a page can carry: columns, each text once, cut, deflated, base64. The page inflates the
index first and can then show every row; texts follow piece by piece. Where the whole would weigh more than `budget`,
texts of rows further down stay behind: the page says so, and `rewardsmith open` has them.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from rewardsmith.records.evaluation import RowResult
from rewardsmith.records.probes import ProbeExample
from rewardsmith.records.training import SuspectLabel
from rewardsmith.report.formatting import percent, plural, significant, visible, written_out
from rewardsmith.report.reading import RunRecords
from rewardsmith.report.sections.scores import title_of
from rewardsmith.spec.evaluation import HELD_OUT

TRAINING = "training"
"""Source key of training pairs."""

ROWS = 10_000
"""Rows that a page carries; mistakes come first."""
CHARACTERS = 2_000
"""Characters of a text that a page carries."""
BUDGET = 7_000_000
"""Bytes of the packed rows in a page: with everything else it stays under 8 MB."""

Kind = Literal["rows", "pairs", "probes"]
FLAGS: dict[str, str] = {
    "missing": "a reward is missing",
    "longer": "the longer response won, wrongly",
    "doubt": "its label is in doubt",
    "finding": "named by a data finding",
}
"""What a row can be flagged for, in the order of the bits on the page."""


@dataclass(frozen=True, slots=True)
class RowText:
    """What stands in a row, one text a response; several messages with who speaks."""

    prompt: str
    chosen: tuple[str, ...]
    rejected: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RowTexts:
    """Texts by the digest of an evaluated row, or by `place` of a training pair; `notes` say why some are missing."""

    found: Mapping[str, RowText] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Explorer:
    """What the section needs beside the packed rows. `mistakes_of` counts by (folder under `eval/`, subset)."""

    payload: Payload
    total: int
    mistakes: int
    mistakes_of: Mapping[tuple[str, str], int]
    notes: tuple[str, ...]


def explorer(records: RunRecords, texts: RowTexts | None, *, budget: int = BUDGET) -> Explorer | None:
    """Rows of a run for the page; without `texts` their numbers alone."""
    items = row_items(records, texts or RowTexts())
    if not items:
        return None
    payload = pack(items, _titles(records), budget=budget)
    return Explorer(
        payload=payload,
        total=len(items),
        mistakes=sum(item.mistake for item in items),
        mistakes_of=Counter((item.source, item.subset) for item in items if item.mistake and item.kind == "rows"),
        notes=tuple(_notes(items, payload, texts)),
    )


def _titles(records: RunRecords) -> dict[str, str]:
    """What sources are called, by key."""
    probes = records.probes.probes if records.probes else {}
    return {
        **{key: title_of(result) for key, result in records.benchmarks.items()},
        **{code: visible(probe.title, 60) for code, probe in probes.items()},
        TRAINING: "Training pairs in doubt",
    }


def _notes(items: tuple[Item, ...], payload: Payload, texts: RowTexts | None) -> list[str]:
    """What is not on the page, and where it is."""
    notes = []
    if len(items) > payload.rows:
        notes.append(
            f"{payload.rows:,} of {plural(len(items), 'row')} stand here, mistakes first; all are in rows.jsonl."
        )
    if texts is None:
        notes.append("Texts of rows are left out of this report.")
        return notes
    at_hand = sum(item.text is not None for item in items[: payload.rows])
    if at_hand < payload.rows:
        why = f": {'; '.join(visible(note, 200) for note in texts.notes)}" if texts.notes else ""
        notes.append(f"The texts of {plural(payload.rows - at_hand, 'row')} are not at hand{why}.")
    if payload.with_text < at_hand:
        notes.append(
            f"The texts of {plural(at_hand - payload.with_text, 'row')} would make this page too large; "
            "`rewardsmith open` shows them."
        )
    if any(len(text) > CHARACTERS for item in items[: payload.rows] for text in _texts_of(item)):
        notes.append(f"Texts are cut at {CHARACTERS:,} characters; `rewardsmith open` shows the rest.")
    return notes


def _texts_of(item: Item) -> tuple[str, ...]:
    return (item.text.prompt, *item.text.chosen, *item.text.rejected) if item.text else ()


@dataclass(frozen=True, slots=True)
class Item:
    """One row. `source` is the folder under `eval/`, `TRAINING` or a probe's code; `key` is what its text goes by."""

    kind: Kind
    source: str
    subset: str
    id: str
    rewards: tuple[float | None, ...]
    n_chosen: int
    margin: float | None
    mistake: bool
    flags: tuple[str, ...] = ()
    note: str = ""
    key: str = ""
    text: RowText | None = None


def row_items(records: RunRecords, texts: RowTexts) -> tuple[Item, ...]:
    """All rows of a run that can be looked at, mistakes first, then by margin; without a margin last."""
    named = _named_by_findings(records)
    items = [_flagged(item, named) for item in (*_evaluated(records, texts), *_in_doubt(records, texts))]
    return tuple(sorted([*items, *_edited(records)], key=_badness))


def _badness(item: Item) -> tuple[bool, bool, float]:
    return not item.mistake, item.margin is None, item.margin or 0.0


def _evaluated(records: RunRecords, texts: RowTexts) -> Iterator[Item]:
    for key in records.benchmarks:
        for row in records.rows.get(key, ()):
            text = texts.found.get(row.digest)
            yield Item(
                kind="rows",
                source=key,
                subset=row.subset,
                id=row.id,
                rewards=row.rewards,
                n_chosen=row.n_chosen,
                margin=_margin(row),
                mistake=row.result is not None and row.result < 1,
                flags=("missing",) if None in row.rewards else (),
                note="; ".join(part for part in (_partial(row), _lacking(row)) if part),
                key=row.digest,
                text=text,
            )


def _margin(row: RowResult) -> float | None:
    chosen, rejected = row.rewards[: row.n_chosen], row.rewards[row.n_chosen :]
    if not chosen or not rejected or None in row.rewards:
        return None
    return min(value for value in chosen if value is not None) - max(value for value in rejected if value is not None)


def _partial(row: RowResult) -> str:
    """A result that is neither right nor wrong."""
    if row.result is None or row.result in (0.0, 1.0):
        return ""
    return f"the benchmark’s rule counts {percent(row.result)} % of a point"


def _lacking(row: RowResult) -> str:
    """Why rewards are missing, each reason once."""
    return "; ".join(dict.fromkeys(f"reward missing: {reason}" for reason in row.reasons.values()))


def _in_doubt(records: RunRecords, texts: RowTexts) -> Iterator[Item]:
    for pair in records.noise.suspects if records.noise else ():
        text = texts.found.get(pair_place(pair.file, pair.row, pair.id))
        yield Item(
            kind="pairs",
            source=TRAINING,
            subset=pair.subset or pair.source,
            id=pair.id or place(pair.file, pair.row),
            rewards=(),
            n_chosen=1,
            margin=pair.margin,
            mistake=pair.margin <= 0,
            flags=("doubt",),
            note=_doubt(pair),
            key=place(pair.file, pair.row),
            text=text,
        )


def place(file: str, row: int) -> str:
    """What the row of a training pair goes by."""
    return f"{file}:{row}"


def pair_place(file: str, row: int, pair_id: str) -> str:
    """The same for one of the pairs that a row may hold."""
    return f"{file}:{row}:{pair_id}"


def _doubt(pair: SuspectLabel) -> str:
    final = "" if pair.final_margin is None else f"; {significant(pair.final_margin)} by the trained model"
    met = f"margin {significant(pair.margin)} when training met it at step {pair.step}"
    return f"{pair.file}, row {pair.row}: {met}{final}. The label is wrong with probability {pair.probability:.2f}"


def _edited(records: RunRecords) -> Iterator[Item]:
    """Examples of the probes: the response as chosen, the edited one as rejected."""
    for code, probe in records.probes.probes.items() if records.probes else ():
        for one in probe.examples:
            margin = one.reward - one.reward_edited
            yield Item(
                kind="probes",
                source=code,
                subset=one.subset,
                id=one.id,
                rewards=(one.reward, one.reward_edited),
                n_chosen=1,
                margin=margin,
                mistake=margin < 0,
                note=_shift(one),
                text=RowText(one.prompt, (one.original,), (one.edited,)),
            )


def _shift(one: ProbeExample) -> str:
    moved = "" if one.shift is None else f", moved by {significant(one.shift, 2)} standard deviations"
    return f"edited: reward {significant(one.reward)} → {significant(one.reward_edited)}{moved}"


def _named_by_findings(records: RunRecords) -> frozenset[str]:
    findings = records.check.findings if records.check else ()
    return frozenset(example.id for finding in findings for example in finding.examples if example.id)


def _flagged(item: Item, named: frozenset[str]) -> Item:
    more = [flag for flag, holds in (("longer", _longer_won(item)), ("finding", item.id in named)) if holds]
    pairs = item.source in (TRAINING, HELD_OUT)  # ids of benchmarks are another world
    more = [flag for flag in more if flag != "finding" or pairs]
    return replace(item, flags=(*item.flags, *more)) if more else item


def _longer_won(item: Item) -> bool:
    """Whether the preferred rejected response is longer than every chosen one."""
    if not item.mistake or item.text is None or not item.text.rejected or not item.text.chosen:
        return False
    rejected = list(item.rewards[item.n_chosen :])
    if None in rejected:
        return False
    best = rejected.index(max(value for value in rejected if value is not None)) if rejected else 0
    return best < len(item.text.rejected) and len(item.text.rejected[best]) > max(map(len, item.text.chosen))


_PIECE = 1_000_000
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Payload:
    """What the page carries: base64 of deflated JSON. `with_text` of `rows` rows have their texts there."""

    index: str
    texts: tuple[str, ...]
    rows: int
    with_text: int


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
    return tuple(texts.number(text) for text in _texts_of(item))


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
