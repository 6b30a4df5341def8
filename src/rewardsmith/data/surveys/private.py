"""Secrets and personal data in the texts: how many, of which kind and in which rows, and never the data itself.

Neither a record nor a message nor a log line gets the text that matched: whoever mends the data finds it by row.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.checks.check import Check
from rewardsmith.data.rows import TokenizedPair
from rewardsmith.data.surveys.contract import Found, Setting, Surveyed, Table
from rewardsmith.data.surveys.private_kinds import KINDS, Kind, find_private, suspected, worth_a_look
from rewardsmith.records import DataPrivate, PrivateKind
from rewardsmith.types import Conversation, PreferencePair

_FIELDS = ("prompt", "chosen", "rejected")
_BITS = {kind.code: 1 << number for number, kind in enumerate(KINDS)}
_GROUPS = {group: sum(_BITS[kind.code] for kind in KINDS if kind.group == group) for group in ("secret", "personal")}


class Private:
    """Remembers 14 bytes for a row that has something: its place, and for each field which kinds."""

    def __init__(self, setting: Setting) -> None:
        del setting
        self._seen = 0
        self._places = array("q")
        self._kinds = array("H")
        self._matches: Counter[str] = Counter()

    def see(self, rows: Sequence[TokenizedPair]) -> None:
        """Look into every text of the next rows."""
        pairs = [row.pair for row in rows]
        texts = ["\n".join(m.text for side in _sides(pair) for m in side) for pair in pairs]
        for number in np.flatnonzero(worth_a_look(texts)).tolist():
            kinds = suspected(texts[number])
            if kinds:
                self._look(self._seen + number, pairs[number], kinds)
        self._seen += len(rows)

    def finish(self, table: Table) -> Surveyed:
        """Two findings at most, and a `DataPrivate`."""
        places = np.array(self._places, dtype=np.int64)
        kinds = np.array(self._kinds, dtype=np.uint16).reshape(-1, len(_FIELDS))
        anywhere = np.bitwise_or.reduce(kinds, axis=1)
        rows = {group: anywhere & mask != 0 for group, mask in _GROUPS.items()}
        found = [
            _found("secret_in_text", "secret", places[rows["secret"]], kinds[rows["secret"]], mend=True),
            _found("personal_data", "personal", places[rows["personal"]], kinds[rows["personal"]], mend=False),
        ]
        section = DataPrivate(
            pairs=self._seen,
            secret_rows=int(rows["secret"].sum()),
            personal_rows=int(rows["personal"].sum()),
            kinds=tuple(self._counted(kind, kinds) for kind in KINDS if self._matches[kind.code]),
            looked_for=tuple(kind.title for kind in KINDS),
        )
        return Surveyed(found, section)

    def _look(self, place: int, pair: PreferencePair, kinds: Sequence[Kind]) -> None:
        found = [_in_side(side, kinds) for side in _sides(pair)]
        if any(found):
            self._places.append(place)
            self._kinds.extend(sum(_BITS[code] for code in side) for side in found)
            for side in found:
                self._matches.update(side)

    def _counted(self, kind: Kind, kinds: NDArray[np.uint16]) -> PrivateKind:
        has = kinds & _BITS[kind.code] != 0
        prompt, chosen, rejected = (int(count) for count in has.sum(axis=0))
        return PrivateKind(
            kind=kind.code,
            title=kind.title,
            group=kind.group,
            matches=self._matches[kind.code],
            rows=int(has.any(axis=1).sum()),
            prompt_rows=prompt,
            chosen_rows=chosen,
            rejected_rows=rejected,
        )


def _sides(pair: PreferencePair) -> tuple[Conversation, Conversation, Conversation]:
    return pair.prompt, pair.chosen, pair.rejected


def _in_side(side: Conversation, kinds: Sequence[Kind]) -> Counter[str]:
    found: Counter[str] = Counter()
    for message in side:
        found.update(find_private(message.text, kinds))
    return found


def _found(code: str, group: str, places: NDArray[np.int64], kinds: NDArray[np.uint16], *, mend: bool) -> Found:
    """`kinds` (R, 3) belongs to `places` (R,)."""

    def named(place: int) -> str:
        fields = kinds[int(np.searchsorted(places, place))] & _GROUPS[group]
        shown = (
            f"{', '.join(kind.title for kind in KINDS if mask & _BITS[kind.code])} in {field}"
            for field, mask in zip(_FIELDS, fields, strict=True)
            if mask
        )
        return "; ".join(shown)

    return Found(code, places, named, remove=places if mend else None)


SECRET_IN_TEXT = Check(
    code="secret_in_text",
    severity="warning",
    title="Secrets",
    meaning="A text has what looks like a private key, an access key or a token of a service.",
    why="Whoever gets the data, a report with example rows or a copy of the run gets the secret with it.",
    fix="revoke the secret, then leave the rows out or write a placeholder in its place",
    of="kept",
)
PERSONAL_DATA = Check(
    code="personal_data",
    severity="note",
    title="Personal data",
    meaning="A text has an e-mail address, a telephone, payment card, bank account or social security number.",
    why="The law may forbid to keep it or pass it on; and a model that rewards answers with such data invites more.",
    fix="write placeholders in their place, or leave the rows out",
    of="kept",
)
