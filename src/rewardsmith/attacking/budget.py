"""How long a search takes, and how many pairs fit into the time.

    plan = make_plan(characters, parts, rate=…, spent=…, limit=600.0)     after a few queries were timed
    plan.pairs, plan.queries, plan.in_words()

A limit in seconds is spread over the search, not cut off at its end: fewer pairs are attacked, each by every part of
it, so that every number of the record is there, with a wider interval. Pairs stand in random order, so that the first
of them are a sample of all.

A query is taken to cost time in proportion to the characters of its conversation, and a composition `COMPOSED` times
what an edit alone costs: the answer behind an edited beginning is encoded again, and few compositions leave the
beginning as it was. So planned, the searches of four data sets by a model of 2.4M parameters on one core took 0.8 to 1
of the seconds that they were said to take.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rewardsmith.gates import FEWEST_ATTACKED

PROBED = 2
"""Pairs whose edits are timed before the rest is planned."""

FEWEST = FEWEST_ATTACKED
"""Pairs that are attacked however long it takes: what a gate needs to judge."""

COMPOSED = 1.25
SPARE = 0.1
"""Of the time, that a plan leaves free: it is an estimate."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Queries of a search: single edits and padding, and compositions."""

    alone: float
    composed: float

    @property
    def queries(self) -> int:
        """All of them."""
        return round(self.alone + self.composed)

    @property
    def units(self) -> float:
        """As many single edits take as long."""
        return self.alone + COMPOSED * self.composed


@dataclass(frozen=True, slots=True)
class Plan:
    """What a search will ask.

    Args:
        pairs: that are attacked.
        of: that could be.
        queries: of the search of `pairs`, about.
        seconds: that it takes, about.
        whole: seconds that the search of all pairs takes, about.
        limit: seconds that there are; None: no limit.
    """

    pairs: int
    of: int
    queries: int
    seconds: float
    whole: float
    limit: float | None

    @property
    def fits(self) -> bool:
        """Whether the search is expected to end within the limit."""
        return self.limit is None or self.seconds <= self.limit

    def in_words(self) -> str:
        """What is told before the search begins."""
        each = self.seconds / max(1, self.queries)
        text = f"about {self.queries:,} queries at {each:.2g} s each, {_duration(self.seconds)}"
        if self.limit is None:
            return text
        if not self.fits:
            text += f": more than the limit of {_duration(self.limit)}, so that the end will be cut off"
        if self.pairs < self.of:
            text += (
                f"; {self.pairs} of {self.of} pairs are attacked, because all of them would take "
                f"{_duration(self.whole)} and the limit is {_duration(self.limit)}"
            )
        return text


def make_plan(
    characters: Sequence[int], parts: Callable[[int], Parts], *, rate: float, spent: float, limit: float | None
) -> Plan:
    """As many pairs as fit into the limit, at least `FEWEST`, all of them without one.

    Args:
        characters: of each pair's conversation, in the order in which pairs are attacked; one at least.
        parts: pairs → what the search of so many asks.
        rate: seconds of a single edit, for each character of its conversation.
        spent: seconds that are gone.
        limit: seconds that there are.
    """

    def seconds(pairs: int) -> float:
        return spent + rate * sum(characters[:pairs]) / pairs * parts(pairs).units

    of = len(characters)
    pairs, whole = of, seconds(of)
    if limit is not None:
        while pairs > min(FEWEST, of) and seconds(pairs) > (1 - SPARE) * limit:
            pairs -= 1
    return Plan(pairs, of, parts(pairs).queries, seconds(pairs), whole, limit)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
