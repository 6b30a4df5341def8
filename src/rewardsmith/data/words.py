"""Texts as hashed words, n-grams and shingles: what every overlap of texts is counted on.

    words = hash_words(["What is 7 + 5?", "what is  7 + 5"])
    words.hashes                          # 64 bits a word
    words.digests()                       # one number a text: equal for equal words and marks, whatever the layout
    grams = ngrams(words, 8)              # every n-gram with its text and place
    sets = shingle_sets(words, 3)         # a text's distinct n-grams: 32 bits each
    common = CommonShingles()             # which of them are boilerplate
    common.count(sets, words.digests())   # a chunk of texts at a time
    own = sets.only(~common.holds(sets.values))

A word is a run of letters and digits, in lower case and Unicode form NFKC. Operators and symbols that carry meaning
(`7 + 5` is not `7 - 5`, `C++` is not `C`) are words of their own, and so is each sign of a script that is written
without spaces (Chinese, Japanese, Thai, ...). All other punctuation only separates. The digest of a text also counts
the marks between its words ("Finish with a !" is not "Finish with a ?"), but not quotes, brackets, layout and its last
mark.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Starts = NDArray[np.int64]

_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2**64
_INVERSE = pow(_BASE, -1, 1 << 64)
_BLOCK = 1 << 16  # characters at a time: the working arrays of a block stay in the cache

_SEPARATOR, _WORD, _LONE, _MARK = 0, 1, 2, 3
_LONE_CATEGORIES = ("Sm", "Sc", "So")
_ONLY_LAYOUT = "|~"  # tables and rules
_LONE_PUNCTUATION = "%^"
_MARKS = ".,;:!?\u3001\u3002"
_UNSPACED = ((0x0E00, 0x0FFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x2E80, 0xA4CF), (0xF900, 0xFAFF))
_MINUS = ord("-")
_DIGITS = (ord("0"), ord("9"))
_EDGE = "\n\n"  # around each text, so that every character has two neighbours


@dataclass(frozen=True, slots=True)
class Words:
    """The words of T texts: text t has `hashes[starts[t]:starts[t + 1]]`.

    hashes (W,)    64-bit hash of each word
    marks (W,)     sum over the marks between a word and the next one; 0 for none
    starts (T+1,)  ascending, from 0 to W
    """

    hashes: Hashes
    marks: Hashes
    starts: Starts

    @property
    def counts(self) -> Starts:
        """Words of each text, shape (T,)."""
        return np.diff(self.starts)

    def merged(self, bounds: Starts) -> Words:
        """The same words with texts joined: new text u is the old texts [bounds[u], bounds[u + 1])."""
        return Words(self.hashes, self.marks, self.starts[bounds])

    def digests(self) -> Hashes:
        """One number per text, shape (T,): equal for equal words and marks in order, 0 for a text without words."""
        powers, inverses = _powers(len(self.hashes) + 1)
        sums = _prefix_sums(mix(self.hashes + self.marks) * powers[: len(self.hashes)])
        first, last = self.starts[:-1], self.starts[1:]
        # Times the inverse power: a digest does not depend on where its text stands in the block.
        return np.where(last > first, mix((sums[last] - sums[first]) * inverses[first]), np.uint64(0))


def hash_words(texts: Sequence[str]) -> Words:
    """The words of texts, as hashes, in order.

    One pass of numpy over the code points of a block of texts: with base B and a random number v(c) for each character,
    the prefix sums P of v(c) * B**i modulo 2**64 give the hash of any word [s, e) as (P[e] - P[s]) * B**-s, the
    polynomial hash of Karp and Rabin 1987; a finaliser mixes its bits. No Python object is made for a word.
    """
    parts = [_hash_block(block) for block in _blocks(texts)]
    if not parts:
        return Words(np.zeros(0, np.uint64), np.zeros(0, np.uint64), np.zeros(1, np.int64))
    counts = np.concatenate([part.counts for part in parts])
    hashes, marks = (np.concatenate([getattr(part, name) for part in parts]) for name in ("hashes", "marks"))
    return Words(hashes, marks, starts_of(counts))


def starts_of(counts: NDArray[np.int64]) -> Starts:
    """Where each text's items start, when they stand one after the other: (T,) counts to (T+1,) starts."""
    starts = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=starts[1:])
    return starts


def mix(values: Hashes) -> Hashes:
    """Spread every bit over all bits: the finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _blocks(texts: Sequence[str]) -> Iterator[list[str]]:
    block: list[str] = []
    size = 0
    for text in texts:
        # ASCII is in form NFKC already.
        block.append(text if text.isascii() else unicodedata.normalize("NFKC", text))
        size += len(block[-1])
        if size >= _BLOCK:
            yield block
            block, size = [], 0
    if block:
        yield block


def _hash_block(texts: list[str]) -> Words:
    # Four bytes a character, so that places in the array are places in the text; data do hold lone surrogates.
    codes = np.frombuffer((_EDGE + _EDGE.join(texts) + _EDGE).encode("utf-32-le", "surrogatepass"), np.uint32)
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    text_starts = starts_of(lengths + len(_EDGE))
    kinds, values = _classify(codes)
    is_word = kinds == _WORD
    is_lone = kinds == _LONE
    begins, ends = is_lone.copy(), is_lone
    begins[1:] |= is_word[1:] & ~is_word[:-1]
    ends[:-1] |= is_word[:-1] & ~is_word[1:]
    first, last = np.flatnonzero(begins), np.flatnonzero(ends) + 1
    powers, inverses = _powers(len(codes) + 1)
    sums = _prefix_sums(values * powers[: len(codes)])
    hashes = mix((sums[last] - sums[first]) * inverses[first])
    marked = np.flatnonzero(kinds == _MARK)
    marks = _marks_after(last, marked, text_starts, values[marked])
    return Words(hashes, marks, np.searchsorted(first, text_starts))


def _marks_after(last: Starts, marked: Starts, text_starts: Starts, values: Hashes) -> Hashes:
    """For each word the sum over the marks that follow it in its text, without the last mark of the text.

    Args:
        last: where each word ends, (W,).
        marked: where the marks stand, (M,).
        text_starts: where each text starts, (T+1,).
        values: what stands for each mark, (M,).
    """
    marks = np.zeros(len(last) + 1, np.uint64)
    word = np.searchsorted(last, marked, "right") - 1
    text = np.searchsorted(text_starts, marked, "right")
    ends = np.append(last, text_starts[-1] + 1)
    follows = (word >= 0) & (ends[word] > text_starts[text - 1])
    inner = ends[word + 1] <= text_starts[text]  # another word follows in the text
    ends_run = np.ones(len(marked), np.bool_)
    ends_run[:-1] = text[1:] != text[:-1]
    counted = follows & (inner | ~ends_run)
    np.add.at(marks, word[counted], values[counted])
    return marks[:-1]


def _classify(codes: NDArray[np.uint32]) -> tuple[NDArray[np.uint8], Hashes]:
    """Kind of each character, and the random number that stands for it in lower case."""
    kind_of, value_of = _tables()
    in_table = np.minimum(codes, len(kind_of) - 1)
    kinds, values = kind_of[in_table], value_of[in_table]
    if codes.max(initial=0) >= len(kind_of):  # beyond the basic plane: emoji, rare signs
        far = codes >= len(kind_of)
        values[far] = mix(codes[far].astype(np.uint64))
    _mark_operators(codes, kinds)
    return kinds, values


def _mark_operators(codes: NDArray[np.uint32], kinds: NDArray[np.uint8]) -> None:
    """`-`, `/` and `*` are words beside a digit (7 - 5, 3*4), else layout; `#` is one after a letter (C#)."""
    places = np.flatnonzero((codes == _MINUS) | (codes == ord("/")) | (codes == ord("*")))
    for step in (-1, 1):
        beside = codes[places + step]
        # A digit counts as beside across one space: 7 - 5.
        beside = np.where(beside == ord(" "), codes[places + 2 * step], beside)
        kinds[places[(beside >= _DIGITS[0]) & (beside <= _DIGITS[1])]] = _LONE
    sharps = np.flatnonzero(codes == ord("#"))
    kinds[sharps[kinds[sharps - 1] == _WORD]] = _LONE


@cache
def _tables() -> tuple[NDArray[np.uint8], Hashes]:
    """Kind and value of every character of the basic plane; the last entry stands for all beyond it."""
    size = 0x10000
    kinds = np.fromiter(map(_kind, map(chr, range(size))), np.uint8, size)
    # A few characters become two in lower case (İ does) and keep their own number.
    lower = np.fromiter((ord(low) if len(low := chr(code).lower()) == 1 else code for code in range(size)), np.uint64)
    # The typeset minus sign means what the hyphen of a formula means.
    lower[0x2212] = _MINUS
    # Each character beyond the table (emoji, rare signs) is a word of its own.
    kinds[-1] = _LONE
    return kinds, mix(lower + np.uint64(1))


def _kind(char: str) -> int:
    category = unicodedata.category(char)
    if category[0] in "LNM":
        return _LONE if any(low <= ord(char) <= high for low, high in _UNSPACED) else _WORD
    if category in _LONE_CATEGORIES or char in _LONE_PUNCTUATION:
        return _SEPARATOR if char in _ONLY_LAYOUT else _LONE
    return _MARK if char in _MARKS else _SEPARATOR


_POWERS: list[tuple[Hashes, Hashes]] = []


def _powers(size: int) -> tuple[Hashes, Hashes]:
    """Powers of the base and of its inverse modulo 2**64, at least `size` of each."""
    if not _POWERS or len(_POWERS[0][0]) < size:
        _POWERS[:] = [(_progression(_BASE, size + _BLOCK), _progression(_INVERSE, size + _BLOCK))]
    return _POWERS[0]


def _progression(ratio: int, size: int) -> Hashes:
    steps = np.full(size, ratio, np.uint64)
    steps[0] = 1
    return np.multiply.accumulate(steps)


def _prefix_sums(terms: Hashes) -> Hashes:
    sums = np.zeros(len(terms) + 1, np.uint64)
    np.cumsum(terms, out=sums[1:])
    return sums


_FACTOR = 0xD6E8FEB86659FD93  # odd


@dataclass(frozen=True, slots=True)
class Ngrams:
    """Every run of n words that stays within one text.

    hashes (G,)  64-bit hash of each run
    text (G,)    which text it stands in, ascending
    place (G,)   number of its first word within that text
    """

    hashes: Hashes
    text: NDArray[np.int64]
    place: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ShingleSets:
    """The distinct shingles of T texts: text t has `values[starts[t]:starts[t + 1]]`, ascending.

    values (S,)    32 bits of each shingle's hash
    starts (T+1,)  ascending, from 0 to S
    """

    values: NDArray[np.uint32]
    starts: Starts

    @property
    def counts(self) -> Starts:
        """Distinct shingles of each text, shape (T,)."""
        return np.diff(self.starts)

    def only(self, keep: NDArray[np.bool_]) -> ShingleSets:
        """The sets without the shingles that `keep` (S,) says no to."""
        kept = np.concatenate(([0], np.cumsum(keep)))
        return ShingleSets(self.values[keep], kept[self.starts])

    def of(self, texts: NDArray[np.int64]) -> ShingleSets:
        """The sets of some texts."""
        counts = self.counts[texts]
        starts = starts_of(counts)
        return ShingleSets(self.values[ranges(self.starts[texts], counts)], starts)


def ngrams(words: Words, n: int) -> Ngrams:
    """All n-grams of each text, in order; a text of fewer words has none."""
    starts_at = _ngram_starts(words, n)
    text = np.repeat(np.arange(len(words.starts) - 1), np.maximum(words.counts - n + 1, 0))
    return Ngrams(_hash_runs(words.hashes, n)[starts_at], text, starts_at - words.starts[text])


def shingle_sets(words: Words, n: int) -> ShingleSets:
    """The set of n-grams of each text; a text of fewer words has none.

    The Jaccard similarity of two such sets (Broder 1997) falls to about s / (2 - s) with s = (1 - p)**n when a share p
    of the words is edited: 0.75 for one word in twenty and n = 3, 0.57 for one in ten. Moving a sentence costs two
    shingles at each seam.
    """
    counts = np.maximum(words.counts - n + 1, 0)
    text = np.repeat(np.arange(len(counts), dtype=np.uint64), counts)
    hashes = _hash_runs(words.hashes, n)[_ngram_starts(words, n)]
    # Text and shingle in one key: a single sort orders all sets, and equal neighbours are repetitions.
    keys = np.sort((text << np.uint64(32)) | (hashes >> np.uint64(32)))
    if len(keys):
        keys = keys[np.concatenate(([True], keys[1:] != keys[:-1]))]
    bounds = np.arange(len(counts) + 1, dtype=np.uint64) << np.uint64(32)
    return ShingleSets(keys.astype(np.uint32), np.searchsorted(keys, bounds))


def ranges(starts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """`start, start + 1, …` for each start, `count` of them, one after the other."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + counts, counts)


def _ngram_starts(words: Words, n: int) -> NDArray[np.int64]:
    return ranges(words.starts[:-1], np.maximum(words.counts - n + 1, 0))


def _hash_runs(hashes: Hashes, n: int) -> Hashes:
    """Hash of the n words from each place on, across the bounds of texts as well; shape (W - n + 1,)."""
    size = max(len(hashes) - n + 1, 0)
    total = np.zeros(size, np.uint64)
    for offset in range(n):  # Horner's rule
        total *= np.uint64(_FACTOR)
        total += hashes[offset : offset + size]
    return mix(total)


_BITS = 22
_SHIFT = np.uint32(32 - _BITS)
_SEEN_BITS = 24

# A prompt family of up to a hundred rows, or a thousandth of a large set, can still be copies of one text; beyond,
# it is a form that was filled in.
LEAST = 100
SHARE = 0.001


class CommonShingles:
    """Which shingles are boilerplate: found while the texts pass by, in fixed memory.

    An instruction that opens every prompt makes all prompts alike and says nothing about any of them. A shingle is
    common once it stands in more than SHARE of the distinct texts seen so far, and in more than LEAST; from then on it
    stays common. Counts live in a table of 2**22 cells, addressed by the top bits of a shingle (a count-min sketch of
    one row, Cormode and Muthukrishnan 2005): with 200 shingles a text, strangers add 0.005 % of the number of texts to
    a cell, a twentieth of the threshold, so a cell is above it only if one of its shingles is.
    """

    def __init__(self) -> None:
        self._texts = 0
        self._counts = np.zeros(1 << _BITS, np.uint32)
        self._is_common = np.zeros(1 << _BITS, np.bool_)
        self._seen = np.zeros(1 << _SEEN_BITS, np.bool_)

    def count(self, sets: ShingleSets, digests: Hashes) -> None:
        """Count the texts whose digest (T,) is new.

        Digests are remembered by 24 bits: of a million distinct texts 3 % look known and are not counted, which moves
        the threshold by as much and nothing else.
        """
        new = self._new(digests)
        cells = sets.of(new).values >> _SHIFT
        # Not +=, which would count a cell once however often it stands in the chunk.
        np.add.at(self._counts, cells, 1)
        self._texts += len(new)
        self._is_common[cells[self._counts[cells] > max(LEAST, SHARE * self._texts)]] = True

    def holds(self, values: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Whether each shingle is common by now."""
        common: NDArray[np.bool_] = self._is_common[values >> _SHIFT]
        return common

    def _new(self, digests: Hashes) -> NDArray[np.int64]:
        """Indices of the first text of each digest that was not seen before, ascending."""
        slots = (digests >> np.uint64(64 - _SEEN_BITS)).astype(np.int64)
        firsts = np.sort(np.unique(slots, return_index=True)[1])
        new = firsts[~self._seen[slots[firsts]]]
        self._seen[slots[new]] = True
        return new
