"""Contamination: training prompts that hold prompts of the benchmarks that the spec evaluates.

    survey = Contamination(setting)      # indexes setting.benchmarks
    survey.see(rows)                     # again and again: what the prompts ask is searched for benchmark prompts
    survey.finish(table)                 # contaminated, and its numbers by benchmark and subset

What a user asks is compared, as Tülu 3 does it. Responses are not: a benchmark's responses are not in its training
data's form, and a prompt that stands in the training data is enough to make a score too kind. Each distinct prompt is
searched for once, however many rows or benchmarks have it; `BenchmarkIndex` says what counts as holding it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.checks import Check
from rewardsmith.data.store import TokenizedPair
from rewardsmith.data.surveys.leakage import ASKING
from rewardsmith.data.surveys.survey import BenchmarkPrompt, Found, Setting, Surveyed, Table
from rewardsmith.data.words import Hashes, Ngrams, Words, hash_words, ngrams, ranges, starts_of
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


class Contamination:
    """Remembers 17 bytes for each benchmark prompt found, and nothing else of a row."""

    def __init__(self, setting: Setting) -> None:
        self._rows, self._index = _indexed(setting.benchmarks)
        self._hits: list[Matches] = []
        self._seen = 0

    def see(self, rows: Sequence[TokenizedPair]) -> None:
        """The next kept rows, in order."""
        if self._index is not None:
            found = self._index.search(_asked([row.pair.prompt for row in rows]))
            self._hits.append(replace(found, text=self._seen + found.text))
        self._seen += len(rows)

    def finish(self, table: Table) -> Surveyed:
        """The contaminated training rows, and how much of each benchmark they touch."""
        hits = _joined(self._hits)
        hits = hits.only(~table.is_held_out[hits.text])
        places = np.unique(hits.text)
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


def _joined(parts: Sequence[Matches]) -> Matches:
    return Matches(
        *(
            np.concatenate([np.zeros(0, kind), *(getattr(part, name) for part in parts)])
            for name, kind in (("text", np.int64), ("prompt", np.int32), ("rule", np.int8), ("share", np.float32))
        )
    )


def _counts(rows: _Rows, hits: Matches) -> dict[str, int]:
    """Training pairs with a prompt of each benchmark."""
    return {key: len(np.unique(hits.text[_of(rows, hits, key, None)])) for key in dict.fromkeys(rows.keys)}


def _of(rows: _Rows, hits: Matches, key: str, subset: str | None) -> NDArray[np.bool_]:
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


def _details(rows: _Rows, hits: Matches) -> Callable[[int], str]:
    """Says of a place which prompt its row holds, and how much of it."""
    order = np.lexsort((-hits.share, hits.rule, hits.text))
    places, best = np.unique(hits.text[order], return_index=True)
    prompts, first = np.unique(rows.prompt, return_index=True)

    def detail(place: int) -> str:
        hit = order[best[np.searchsorted(places, place)]]
        index = int(first[np.searchsorted(prompts, hits.prompt[hit])])
        where = "/".join(filter(None, (rows.keys[index], rows.rows[index].subset)))
        share, run = f"{hits.share[hit]:.0%}", {"equal": 0, "ngrams": RUN, "near": TRIPLE}[RULES[hits.rule[hit]]]
        how = f"{share} of it in runs of {run} words" if run else "word for word"
        return f"holds the prompt of {where} row {rows.rows[index].id}, {how}"

    return detail


def _record(rows: _Rows, hits: Matches, table: Table) -> ContaminationRecord:
    subsets: dict[tuple[str, str], None] = {}
    for key, row in zip(rows.keys, rows.rows, strict=True):
        subsets[key, _WHOLE] = None
        subsets[key, row.subset] = None
    return ContaminationRecord(
        benchmarks=tuple(_overlap(rows, hits, key, subset) for key, subset in subsets),
        training_pairs=len(table.train),
        contaminated_pairs=len(np.unique(hits.text)),
        examples=tuple(example for key in dict.fromkeys(rows.keys) for example in _examples(rows, hits, key, table)),
    )


def _overlap(rows: _Rows, hits: Matches, key: str, subset: str) -> BenchmarkOverlap:
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
        training_pairs=len(np.unique(mine.text)),
        equal=rules.count("equal"),
        ngrams=rules.count("ngrams"),
        near=rules.count("near"),
    )


def _examples(rows: _Rows, hits: Matches, key: str, table: Table) -> list[ContaminatedRow]:
    """The clearest cases of a benchmark, each of another prompt."""
    mine = hits.only(_of(rows, hits, key, None))
    order = np.lexsort((mine.text, -mine.share, mine.rule))
    _, first = np.unique(mine.prompt[order], return_index=True)
    examples = []
    for hit in order[np.sort(first)][:_EXAMPLES]:
        members = _members(rows, key, None)
        row = rows.rows[int(members[np.argmax(rows.prompt[members] == mine.prompt[hit])])]
        place = int(mine.text[hit])
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


RUN = 8
ABOVE = 0.5
"""Tülu 3: n-grams of 8 tokens, more than half of the tokens."""

TRIPLE = 3
NEAR = 0.6
LEAST_TRIPLES = 18

COMMON_SHARE = 0.01
COMMON_LEAST = 3

_BITS = 24  # of a hash: the table has a byte for each value, 16 MiB
_SHIFT = np.uint64(64 - _BITS)


@dataclass(frozen=True, slots=True)
class Matches:
    """Prompts found in texts. All arrays (M,); a text may hold several prompts.

    text, prompt   indices; in the survey `text` is the place of the row
    rule           0 equal, 1 ngrams, 2 near (`RULES`)
    share          of the prompt, by that rule
    """

    text: NDArray[np.int64]
    prompt: NDArray[np.int32]
    rule: NDArray[np.int8]
    share: NDArray[np.float32]

    def only(self, keep: NDArray[np.bool_]) -> Matches:
        """Some of them."""
        return Matches(self.text[keep], self.prompt[keep], self.rule[keep], self.share[keep])


RULES = ("equal", "ngrams", "near")


@dataclass(frozen=True, slots=True)
class _Grams:
    """The telling n-grams of all prompts.

    hashes (G,)      distinct, ascending
    is_known (2**24,)  whether any hash begins with these bits
    starts (G+1,)    where n-gram g stands: prompt[starts[g]:starts[g+1]], at these places
    prompt, place    (O,)
    """

    hashes: Hashes
    is_known: NDArray[np.bool_]
    starts: NDArray[np.int64]
    prompt: NDArray[np.int64]
    place: NDArray[np.int64]

    def hits(self, grams: Ngrams) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Texts and the occurrences in prompts of the n-grams that they hold: (H,), (H,), each once."""
        # A look-up by the top bits, which spares most n-grams the binary search.
        maybe = np.flatnonzero(self.is_known[grams.hashes >> _SHIFT])
        wanted = grams.hashes[maybe]
        found = np.searchsorted(self.hashes, wanted)
        is_there = self.hashes[np.minimum(found, len(self.hashes) - 1)] == wanted
        pairs = np.unique(grams.text[maybe[is_there]] * len(self.hashes) + found[is_there])
        text, gram = pairs // len(self.hashes), pairs % len(self.hashes)
        counts = np.diff(self.starts)[gram]
        return np.repeat(text, counts), ranges(self.starts[gram], counts)


class BenchmarkIndex:
    """Holds the prompts of all benchmarks, and finds the texts that hold one of them, whole or edited.

        index = BenchmarkIndex(words, holders, benchmarks)     # Q distinct prompts, and which benchmarks have them
        matches = index.search(texts)                          # Words of T training prompts → Matches

    Two shares decide, of one prompt in one text:

    ngrams   the share of the prompt's words that lie in an n-gram of 8 words which the text has too; a prompt counts
             above one half. This is the decontamination of Tülu 3 (Lambert et al. 2024, section 3.2;
             allenai/open-instruct, decontamination/search.py). A prompt of fewer than 20 words has to be there as a
             whole: "Tom has 5 apples, Ann 9. How many has the one with fewer?" is another question with another
             number, and upstream's rule would find it by the rest.
    near     the share of the prompt's word triples that the text has too; a prompt of 20 words counts from 0.6. It
             sees copies with every tenth word edited (0.73) and moved sentences, which break the runs of eight words.

    What stands in more than 1 % of a benchmark's prompts (and in more than 3) is the form of its questions and not one
    of them ("What is the capital of …"); only n-grams beyond it count, in numerator and denominator. A prompt without
    any is found only where the whole text equals it, word for word. Upstream counts forms like any other words.

    Memory is that of the benchmarks, in sorted arrays; a text costs a look-up per n-gram in a bit table of 16 MiB, and
    more only where that says yes.
    """

    def __init__(self, prompts: Words, holders: NDArray[np.int64], benchmarks: NDArray[np.int64]) -> None:
        """Index Q prompts.

        Args:
            prompts: their words, no two texts equal.
            holders: prompt of each (prompt, benchmark) that belong together, shape (B,).
            benchmarks: benchmark of each, shape (B,).
        """
        self._size = len(prompts.starts) - 1
        digests = prompts.digests()
        self._order = np.argsort(digests)
        self._digests = digests[self._order]
        self._runs = _telling(ngrams(prompts, RUN), self._size, holders, benchmarks)
        self._triples = _telling(ngrams(prompts, TRIPLE), self._size, holders, benchmarks)
        self._words = np.zeros(self._size, np.int64)
        covered, words = _covered(self._runs.prompt, self._runs.place)
        self._words[covered] = words
        self._own_triples = np.bincount(self._triples.prompt, minlength=self._size)

    def search(self, texts: Words) -> Matches:
        """The prompts that each text holds, under the first rule that says so."""
        parts = [self._equal(texts), self._by_runs(texts), self._by_triples(texts)]
        pair = np.concatenate([part[0] for part in parts])
        rule = np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts])
        share = np.concatenate([part[1] for part in parts])
        # The first of equal pairs is kept, and with it the first rule in `parts`.
        pair, first = np.unique(pair, return_index=True)
        return Matches(
            pair // max(self._size, 1),
            (pair % max(self._size, 1)).astype(np.int32),
            rule[first].astype(np.int8),
            share[first].astype(np.float32),
        )

    def _equal(self, texts: Words) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        digests = texts.digests()
        found = np.minimum(np.searchsorted(self._digests, digests), max(self._size - 1, 0))
        equal = np.flatnonzero((self._digests[found] == digests) & (digests != 0)) if self._size else found[:0]
        return equal * self._size + self._order[found[equal]], np.ones(len(equal))

    def _by_runs(self, texts: Words) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        text, occurrence = self._runs.hits(ngrams(texts, RUN))
        pairs, covered = _covered(text * self._size + self._runs.prompt[occurrence], self._runs.place[occurrence])
        prompt = pairs % max(self._size, 1)
        share = covered / np.maximum(self._words[prompt], 1)
        found = np.where(self._own_triples[prompt] < LEAST_TRIPLES, share == 1, share > ABOVE)
        return pairs[found], share[found]

    def _by_triples(self, texts: Words) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        text, occurrence = self._triples.hits(ngrams(texts, TRIPLE))
        pairs, found = np.unique(text * self._size + self._triples.prompt[occurrence], return_counts=True)
        own = self._own_triples[pairs % max(self._size, 1)]
        share = found / np.maximum(own, 1)
        near = (share >= NEAR) & (own >= LEAST_TRIPLES)
        return pairs[near], share[near]


def _covered(keys: NDArray[np.int64], places: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each distinct key how many words its runs cover: a run has `RUN` words, overlaps count once."""
    order = np.lexsort((places, keys))
    keys, places = keys[order], places[order]
    is_last = np.ones(len(keys), np.bool_)
    is_last[:-1] = keys[1:] != keys[:-1]
    added = np.full(len(keys), RUN)
    # A run that begins before the one in front of it ends adds only the words between their beginnings.
    added[:-1] = np.where(is_last[:-1], RUN, np.minimum(np.diff(places), RUN))
    ends = np.flatnonzero(is_last)
    totals = np.concatenate(([0], np.cumsum(added)[ends]))
    return keys[ends], np.diff(totals)


def _telling(grams: Ngrams, size: int, holders: NDArray[np.int64], benchmarks: NDArray[np.int64]) -> _Grams:
    """An index of the n-grams that are not the form of a benchmark's questions."""
    hashes, gram = np.unique(grams.hashes, return_inverse=True)
    gram = gram.reshape(-1)
    is_common = _is_common(gram, grams.text, len(hashes), size, holders, benchmarks)
    kept = np.flatnonzero(~is_common[gram])
    kept = kept[np.argsort(gram[kept], kind="stable")]
    hashes, counts = np.unique(hashes[gram[kept]], return_counts=True)
    is_known = np.zeros(1 << _BITS, np.bool_)
    is_known[hashes >> _SHIFT] = True
    return _Grams(hashes, is_known, starts_of(counts), grams.text[kept], grams.place[kept])


def _is_common(
    gram: NDArray[np.int64],
    prompt: NDArray[np.int64],
    grams: int,
    prompts: int,
    holders: NDArray[np.int64],
    benchmarks: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Whether each n-gram stands in more prompts of some benchmark than a question of its own would."""
    occurrences = np.unique(gram * max(prompts, 1) + prompt)
    gram, prompt = occurrences // max(prompts, 1), occurrences % max(prompts, 1)
    counts = np.bincount(holders, minlength=prompts)
    benchmark_of = benchmarks[np.argsort(holders, kind="stable")]
    repeated = counts[prompt]
    benchmark = benchmark_of[ranges(starts_of(counts)[prompt], repeated)]
    sizes = np.bincount(benchmarks, minlength=1)
    keys, found = np.unique(np.repeat(gram, repeated) * len(sizes) + benchmark, return_counts=True)
    limit = np.maximum(COMMON_LEAST, COMMON_SHARE * sizes)
    is_common = np.zeros(grams, np.bool_)
    is_common[keys[found > limit[keys % len(sizes)]] // len(sizes)] = True
    return is_common


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
