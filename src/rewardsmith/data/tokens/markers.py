"""Special tokens and role markers inside prompts and responses: what the model would take for a turn or for the end.

    watch = MarkerWatch(find_markers(tokenizer))
    watch.see(rows)
    watch.special, watch.roles        # places of the pairs
    watch.counts()                    # MarkerCount for each text that was found
    watch.describe(pair, "special")   # words for one of them; the text around it is not quoted

Whole texts (role `text`) are left alone: they come with their own markup, and their special tokens are meant.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.rows import TokenizedPair
from rewardsmith.records import MarkerCount
from rewardsmith.rendering import FOREIGN_MARKERS, Markers
from rewardsmith.types import Conversation, PreferencePair

Kind = Literal["special", "role", "foreign"]
_FIELDS: tuple[Literal["prompt", "chosen", "rejected"], ...] = ("prompt", "chosen", "rejected")
_SHOWN = 3
_HEAD = 3


class MarkerWatch:
    """Looks for markers in the texts of rows, in the order of their places."""

    def __init__(self, markers: Markers) -> None:
        self._kind: dict[str, Kind] = dict.fromkeys(FOREIGN_MARKERS, "foreign")
        self._kind |= dict.fromkeys(markers.roles, "role")
        self._kind |= dict.fromkeys(markers.special, "special")
        self._pattern = any_of(self._kind)
        self._seen = 0
        self._places = {"special": array("q"), "other": array("q")}
        self._pairs: Counter[str] = Counter()
        self._fields: Counter[tuple[str, str]] = Counter()

    @property
    def special(self) -> NDArray[np.int64]:
        """Places of pairs with a special token of the tokenizer in their texts."""
        return np.array(self._places["special"], dtype=np.int64)

    @property
    def roles(self) -> NDArray[np.int64]:
        """Places of pairs with another marker in their texts."""
        return np.array(self._places["other"], dtype=np.int64)

    def see(self, rows: Sequence[TokenizedPair]) -> None:
        """The next rows."""
        for place, row in enumerate(rows, start=self._seen):
            found = [(field, text) for field, texts in self._search(row.pair) for text in set(texts)]
            if found:
                self._write_down(place, found)
        self._seen += len(rows)

    def counts(self) -> tuple[MarkerCount, ...]:
        """What was found, the tokenizer's own special tokens first, then the most frequent."""
        rank = {"special": 0, "role": 1, "foreign": 2}
        texts = sorted(self._pairs, key=lambda text: (rank[self._kind[text]], -self._pairs[text], text))
        return tuple(
            MarkerCount(
                text=text,
                kind=self._kind[text],
                pairs=self._pairs[text],
                prompt=self._fields["prompt", text],
                chosen=self._fields["chosen", text],
                rejected=self._fields["rejected", text],
            )
            for text in texts
        )

    def describe(self, pair: PreferencePair, *, special: bool) -> str:
        """Which markers stand where in a pair."""
        places: dict[str, list[str]] = {}
        for field, texts in self._search(pair):
            wanted = dict.fromkeys(text for text in texts if (self._kind[text] == "special") == special)
            for text in wanted:
                places.setdefault(text, []).append(field)
        words = [f"{text.strip()} in {' and '.join(fields)}" for text, fields in places.items()]
        return ", ".join(words[:_SHOWN]) + (f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else "")

    def _search(self, pair: PreferencePair) -> Iterator[tuple[str, list[str]]]:
        if pair.chosen[0].role == "text":
            return
        for field in _FIELDS:
            # A header counts at the start of a line: the first line has one, too.
            found = self._pattern.findall("\n" + "\n".join(_contents(getattr(pair, field))))
            if found:
                yield field, found

    def _write_down(self, place: int, found: Sequence[tuple[str, str]]) -> None:
        self._fields.update(found)
        texts = {text for _, text in found}
        self._pairs.update(texts)
        kinds = {"special" if self._kind[text] == "special" else "other" for text in texts}
        for kind in kinds:
            self._places[kind].append(place)


def any_of(texts: Iterable[str]) -> re.Pattern[str]:
    """A pattern for any of some literals, the longest where several begin at one place.

    Literals are grouped by their first characters: a tokenizer may reserve a thousand tokens, and `re` tries the
    alternatives one after the other wherever a first character fits.
    """
    groups: dict[str, list[str]] = {}
    for text in sorted(texts, key=lambda text: (-len(text), text)):
        groups.setdefault(text[:_HEAD], []).append(text[_HEAD:])
    heads = sorted(groups, key=len, reverse=True)
    return re.compile("|".join(f"{re.escape(head)}(?:{'|'.join(map(re.escape, groups[head]))})" for head in heads))


def _contents(conversation: Conversation) -> Iterator[str]:
    return (message.text for message in conversation)
