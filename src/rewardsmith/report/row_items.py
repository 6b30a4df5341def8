"""The rows that a reader looks at one by one: evaluated rows, training pairs in doubt, edited responses of the probes.

    row_items(records, texts) → all of them, the worst first

The report knows rewards, not texts: `texts` are found by the pipeline and handed in, by the digest of an evaluated row
or the place of a training pair. A row's margin is its lowest chosen reward minus its highest rejected one; a mistake is
a row that the benchmark's own rule gives less than a full point.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from rewardsmith.records import ProbeExample, RowResult, SuspectLabel
from rewardsmith.report.formatting import percent, significant
from rewardsmith.report.reading import RunRecords
from rewardsmith.spec.evaluation import HELD_OUT

TRAINING = "training"
"""Source key of training pairs."""

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


def place(file: str, row: int) -> str:
    """What the row of a training pair goes by."""
    return f"{file}:{row}"


def pair_place(file: str, row: int, pair_id: str) -> str:
    """The same for one of the pairs that a row may hold."""
    return f"{file}:{row}:{pair_id}"


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
