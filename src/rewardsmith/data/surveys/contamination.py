"""Contamination: training prompts that hold prompts of the benchmarks that the spec evaluates.

    survey = Contamination(setting)      # indexes setting.benchmarks
    survey.see(rows)                     # again and again: the turns of users are searched for benchmark prompts
    survey.finish(table)                 # contaminated, and its numbers by benchmark and subset

What a user asks is compared, as Tülu 3 does it, responses are not: a benchmark's responses are not in its training
data's form, and a prompt that stands in the training data is enough to make a score too kind. `overlap.benchmark_index`
says what counts. A benchmark prompt that several rows or benchmarks have is searched for once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.checks import Check
from rewardsmith.data.overlap.benchmark_index import RULES, RUN, TRIPLE, BenchmarkIndex
from rewardsmith.data.overlap.words import Words, hash_words, starts_of
from rewardsmith.data.rows import TokenizedPair
from rewardsmith.data.surveys.leakage import ASKING
from rewardsmith.data.surveys.survey import BenchmarkPrompt, Found, Setting, Surveyed, Table
from rewardsmith.records.data import BenchmarkOverlap, ContaminatedRow, ContaminationRecord
from rewardsmith.statistics import wilson_interval
from rewardsmith.types import Conversation

_EXAMPLES = 3
_WHOLE = ""


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of all benchmarks, in order, and which distinct prompt each has, shape (B,)."""

    keys: Sequence[str]
    rows: Sequence[BenchmarkPrompt]
    prompt: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Hits:
    """Prompts of benchmarks found in rows, all (H,): the row's place, the prompt, the rule and the share."""

    place: NDArray[np.int64]
    prompt: NDArray[np.int32]
    rule: NDArray[np.int8]
    share: NDArray[np.float32]

    def only(self, keep: NDArray[np.bool_]) -> _Hits:
        """Some of them."""
        return _Hits(self.place[keep], self.prompt[keep], self.rule[keep], self.share[keep])


class Contamination:
    """Remembers 17 bytes for each benchmark prompt found, and nothing else of a row."""

    def __init__(self, setting: Setting) -> None:
        self._rows, self._index = _indexed(setting.benchmarks)
        self._hits: list[_Hits] = [_no_hits()]
        self._seen = 0

    def see(self, rows: Sequence[TokenizedPair]) -> None:
        """The next kept rows, in order."""
        if self._index is not None:
            found = self._index.search(_asked([row.pair.prompt for row in rows]))
            self._hits.append(_Hits(self._seen + found.text.astype(np.int64), found.prompt, found.rule, found.share))
        self._seen += len(rows)

    def finish(self, table: Table) -> Surveyed:
        """The contaminated training rows, and how much of each benchmark they touch."""
        hits = _joined(self._hits)
        hits = hits.only(~table.is_held_out[hits.place])
        places = np.unique(hits.place)
        titles = ", ".join(f"{key}: {count:,}" for key, count in _counts(self._rows, hits).items() if count)
        found = Found(
            "contaminated",
            places,
            _details(self._rows, hits),
            f"training pairs with a prompt of {titles}" if titles else "",
            remove=places,
        )
        return Surveyed([found], _record(self._rows, hits, table))


def _asked(conversations: Sequence[Conversation]) -> Words:
    """The words of the turns that ask, one text a conversation; of all turns where none asks."""
    turns = [[turn for turn in turns if turn.role in ASKING] or list(turns) for turns in conversations]
    words = hash_words([turn.text for asked in turns for turn in asked])
    return words.merged(starts_of(np.array([len(asked) for asked in turns], np.int64)))


def _indexed(benchmarks: Mapping[str, Sequence[BenchmarkPrompt]]) -> tuple[_Rows, BenchmarkIndex | None]:
    """All rows, and an index of their distinct prompts; None where no prompt has a word."""
    rows = [row for of_key in benchmarks.values() for row in of_key]
    keys = [key for key, of_key in benchmarks.items() for _ in of_key]
    digests = _asked([row.prompt for row in rows]).digests()
    distinct, first, prompt = np.unique(digests, return_index=True, return_inverse=True)
    prompt = prompt.reshape(-1)
    if not distinct.any():
        return _Rows(keys, rows, prompt), None
    number = {key: index for index, key in enumerate(benchmarks)}
    held = np.unique(np.stack([prompt, np.array([number[key] for key in keys])]), axis=1)
    return _Rows(keys, rows, prompt), BenchmarkIndex(_asked([rows[index].prompt for index in first]), held[0], held[1])


def _no_hits() -> _Hits:
    return _Hits(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.int8), np.zeros(0, np.float32))


def _joined(parts: Sequence[_Hits]) -> _Hits:
    return _Hits(
        np.concatenate([part.place for part in parts]),
        np.concatenate([part.prompt for part in parts]),
        np.concatenate([part.rule for part in parts]),
        np.concatenate([part.share for part in parts]),
    )


def _counts(rows: _Rows, hits: _Hits) -> dict[str, int]:
    """Training pairs with a prompt of each benchmark."""
    return {key: len(np.unique(hits.place[_of(rows, hits, key, None)])) for key in dict.fromkeys(rows.keys)}


def _of(rows: _Rows, hits: _Hits, key: str, subset: str | None) -> NDArray[np.bool_]:
    """Which hits are on prompts of a benchmark, or of one of its subsets."""
    return np.isin(hits.prompt, rows.prompt[_members(rows, key, subset)])


def _members(rows: _Rows, key: str, subset: str | None) -> NDArray[np.int64]:
    return np.array(
        [
            index
            for index, (of, row) in enumerate(zip(rows.keys, rows.rows, strict=True))
            if of == key and subset in (None, row.subset)
        ],
        np.int64,
    )


def _details(rows: _Rows, hits: _Hits) -> Callable[[int], str]:
    """Says of a place which prompt its row holds, and how much of it."""
    order = np.lexsort((-hits.share, hits.rule, hits.place))
    places, best = np.unique(hits.place[order], return_index=True)
    prompts, first = np.unique(rows.prompt, return_index=True)

    def detail(place: int) -> str:
        hit = order[best[np.searchsorted(places, place)]]
        index = int(first[np.searchsorted(prompts, hits.prompt[hit])])
        where = "/".join(filter(None, (rows.keys[index], rows.rows[index].subset)))
        share, run = f"{hits.share[hit]:.0%}", {"equal": 0, "ngrams": RUN, "near": TRIPLE}[RULES[hits.rule[hit]]]
        how = f"{share} of it in runs of {run} words" if run else "word for word"
        return f"holds the prompt of {where} row {rows.rows[index].id}, {how}"

    return detail


def _record(rows: _Rows, hits: _Hits, table: Table) -> ContaminationRecord:
    subsets: dict[tuple[str, str], None] = {}
    for key, row in zip(rows.keys, rows.rows, strict=True):
        subsets[key, _WHOLE] = None
        subsets[key, row.subset] = None
    return ContaminationRecord(
        benchmarks=tuple(_overlap(rows, hits, key, subset) for key, subset in subsets),
        training_pairs=len(table.train),
        contaminated_pairs=len(np.unique(hits.place)),
        examples=tuple(example for key in dict.fromkeys(rows.keys) for example in _examples(rows, hits, key, table)),
    )


def _overlap(rows: _Rows, hits: _Hits, key: str, subset: str) -> BenchmarkOverlap:
    members = _members(rows, key, subset or None)
    mine = hits.only(_of(rows, hits, key, subset or None))
    prompts, first = np.unique(mine.prompt[order := np.argsort(mine.rule, kind="stable")], return_index=True)
    rule_of = dict(zip(prompts.tolist(), mine.rule[order][first].tolist(), strict=True))
    rules = [RULES[rule_of[prompt]] for prompt in rows.prompt[members].tolist() if prompt in rule_of]
    interval = wilson_interval(len(rules), len(members))
    return BenchmarkOverlap(
        benchmark=key,
        subset=subset,
        rows=len(members),
        touched=len(rules),
        share=len(rules) / len(members),
        ci_low=interval.low,
        ci_high=interval.high,
        training_pairs=len(np.unique(mine.place)),
        equal=rules.count("equal"),
        ngrams=rules.count("ngrams"),
        near=rules.count("near"),
    )


def _examples(rows: _Rows, hits: _Hits, key: str, table: Table) -> list[ContaminatedRow]:
    """The clearest cases of a benchmark, each of another prompt."""
    mine = hits.only(_of(rows, hits, key, None))
    order = np.lexsort((mine.place, -mine.share, mine.rule))
    _, first = np.unique(mine.prompt[order], return_index=True)
    examples = []
    for hit in order[np.sort(first)][:_EXAMPLES]:
        members = _members(rows, key, None)
        row = rows.rows[int(members[np.argmax(rows.prompt[members] == mine.prompt[hit])])]
        place = int(mine.place[hit])
        examples.append(
            ContaminatedRow(
                benchmark=key,
                subset=row.subset,
                id=row.id,
                file=table.sources[int(table.source[place])].source,
                row=int(table.row[place]),
                rule=RULES[mine.rule[hit]],
                share=float(mine.share[hit]),
            )
        )
    return examples


CONTAMINATED = Check(
    code="contaminated",
    severity="error",
    title="Benchmark prompts in the training data",
    meaning="A training prompt holds a prompt of a benchmark that the spec evaluates: word for word, with more than "
    "half of its words in runs of eight (the rule of Tülu 3), or as an edited copy.",
    why="The benchmark would measure memory, and every gate that rests on it would be too kind.",
    fix="remove the training rows (--fix does), or evaluate on another benchmark",
    of="train",
)
