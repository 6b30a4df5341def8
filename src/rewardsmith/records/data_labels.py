"""What the labels of the data say of themselves: repeats, contradictions, cycles, and stated margins."""

from __future__ import annotations

from rewardsmith.records.files import Record


class PreferenceCycle(Record):
    """Rows (`file:row`) of one prompt that go round: each one's rejected answer is the next one's chosen answer."""

    rows: tuple[str, ...]


class MarginSummary(Record):
    """The margins that one source states, over all its kept rows.

    `negative` margins scored the chosen response lower (their share is of the stated margins, with its interval);
    `unread` ones are no finite number. `allowed` is the declared range, or else what is plausible beside the source's
    other margins (null: nothing is stated). `quantiles` maps "min", "p05", "p50", "p95", "max"; `edges` has one value
    more than `counts` and covers the allowed margins.
    """

    source: str
    stated: int
    unread: int
    zero: int
    negative: int
    negative_ci: tuple[float, float]
    out_of_range: int
    allowed: tuple[float, float] | None
    declared: bool
    quantiles: dict[str, float]
    edges: tuple[float, ...]
    counts: tuple[int, ...]


class DataLabels(Record):
    """Counts of rows, over all kept pairs.

    `distinct_pairs` differ in prompt, chosen or rejected; `repeated` stand there before, `contradictory` have a
    counterpart with the opposite label (`contradictory_comparisons` of two responses), `cyclic` lie on a cycle of
    `cycles` sets of answers that cycles join. `shown` has one shortest cycle of the first few.
    """

    pairs: int
    distinct_pairs: int
    repeated: int
    contradictory: int
    contradictory_comparisons: int
    cyclic: int
    cycles: int
    shown: tuple[PreferenceCycle, ...] = ()
    margins: tuple[MarginSummary, ...] = ()
