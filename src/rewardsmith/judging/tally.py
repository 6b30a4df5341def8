"""What a judge said, counted: replies, those that could not be read, and the places that it named.

Counts only grow and do not depend on the order of replies, so that a job that was killed and resumed counts the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rewardsmith.judging.templates import Kind


@dataclass(slots=True)
class Tally:
    """By kind of question.

    Attributes:
        replies: replies to first asking.
        unread: of these, the ones that could not be read and were asked for again.
        unparsed: readings that were missing after that.
        places: (kind, letter) → how often the answer under this letter was named.
        ratings: rating → how often it was given.
    """

    replies: Counter[Kind] = field(default_factory=Counter)
    unread: Counter[Kind] = field(default_factory=Counter)
    unparsed: Counter[Kind] = field(default_factory=Counter)
    places: dict[Kind, Counter[str]] = field(default_factory=dict)
    ratings: Counter[float] = field(default_factory=Counter)

    def read(self, kind: Kind, *, readable: bool, again: bool) -> None:
        """One reply."""
        if again:
            self.unparsed[kind] += not readable
        else:
            self.replies[kind] += 1
            self.unread[kind] += not readable

    def named(self, kind: Kind, shares: Mapping[str, float], labels: Sequence[str]) -> None:
        """One reading that names a letter."""
        counts = self.places.setdefault(kind, Counter(dict.fromkeys(labels, 0)))
        counts[max(labels, key=lambda label: shares[label])] += 1

    def rated(self, value: float) -> None:
        """One rating."""
        self.ratings[value] += 1
