"""The explorer of rows, as the page shows it: how many rows and mistakes there are, and the packed rows themselves.

explorer(records, texts) → Explorer | None      None where nothing was evaluated
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from rewardsmith.report.formatting import plural, visible
from rewardsmith.report.payload import BUDGET, CHARACTERS, Payload, pack
from rewardsmith.report.reading import RunRecords
from rewardsmith.report.row_items import TRAINING, Item, RowTexts, row_items
from rewardsmith.report.scores import title_of


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
