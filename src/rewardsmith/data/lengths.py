"""How long the texts are in tokens, what padding wastes, what the limit took, and how texts end.

    columns = TokenColumns()
    columns.append(rows)                           # again and again: 36 bytes a row
    numbers = columns.numbers(places)              # arrays of some of the rows
    summarize(numbers, prompts=…, answers=…, …) → TokenSummary

    summarize_tokens(rows, pairs_per_step=64, name_of=tokenizer.convert_ids_to_tokens)       # all of it at once

Shapes: P pairs; 2 sides, chosen and rejected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.store import TokenizedPair
from rewardsmith.records.texts import LengthBin, LengthPolicy, LimitEffect, TextEnd, TokenSummary, TokenWaste
from rewardsmith.rendering.encoding import shared_prefix
from rewardsmith.statistics import wilson_interval

Ints = NDArray[np.int32]
Counts = NDArray[np.int64]

_QUANTILES = {"min": 0.0, "p05": 0.05, "p50": 0.5, "p95": 0.95, "max": 1.0}
_LIMITS = (256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
_CHUNK = 1024
_ENDS = 20
_NO_TOKEN = -1
# Four bins an octave: lengths spread over orders of magnitude, and 2,048 tokens make 40 bins.
_EDGES = np.unique(np.round(2.0 ** (np.arange(0, 4 * 31) / 4)).astype(np.int64))


@dataclass(frozen=True, slots=True)
class TokenNumbers:
    """Numbers of P pairs.

    lengths (P, 2)   tokens of each text, as training sees it
    shared (P,)      tokens with which both texts begin
    cut (P,)         prompt tokens that the length policy took away
    last (P, 2)      id of the last token
    before (P, 2)    id of the token before it, -1 where there is none
    """

    lengths: Ints
    shared: Ints
    cut: Ints
    last: Ints
    before: Ints


class TokenColumns:
    """Collects the numbers of rows as they pass."""

    def __init__(self) -> None:
        self._chunks: list[Ints] = []

    def append(self, rows: Sequence[TokenizedPair]) -> None:
        """The next rows."""
        self._chunks.append(np.array([_measure(row) for row in rows], dtype=np.int32).reshape(-1, 8))

    def numbers(self, places: NDArray[np.int64] | slice = slice(None)) -> TokenNumbers:
        """Of the rows at these places, in the order of appending."""
        # Kept joined for the next call; the empty part is for a set of which no row was kept.
        self._chunks = [np.concatenate([np.zeros((0, 8), dtype=np.int32), *self._chunks])]
        kept = self._chunks[0][places]
        return TokenNumbers(kept[:, 0:2], kept[:, 2], kept[:, 3], kept[:, 4:6], kept[:, 6:8])


def _measure(row: TokenizedPair) -> tuple[int, ...]:
    chosen_T, rejected_T = row.chosen_ids, row.rejected_ids
    before = [ids_T[-2] if len(ids_T) > 1 else _NO_TOKEN for ids_T in (chosen_T, rejected_T)]
    lengths = len(chosen_T), len(rejected_T)
    return (*lengths, shared_prefix(chosen_T, rejected_T), row.cut, chosen_T[-1], rejected_T[-1], *before)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """The pairs that the limit left out, by their longer text, and the limit itself."""

    lengths: Counts
    limit: int
    policy: str


def summarize_tokens(
    rows: Iterable[TokenizedPair], *, pairs_per_step: int, name_of: Callable[[int], str]
) -> TokenSummary:
    """Summary of both texts of every row, in one pass over them.

    Args:
        rows: at least one.
        pairs_per_step: pairs per optimizer step.
        name_of: text of a token id.
    """
    columns, keys = TokenColumns(), bytearray()
    rest = iter(rows)
    while chunk := list(islice(rest, _CHUNK)):
        columns.append(chunk)
        keys += b"".join(key.ljust(16) for row in chunk for key in row.keys)
    digests = np.frombuffer(bytes(keys), dtype="V16").reshape(-1, 3)
    return summarize(columns.numbers(), digests, pairs_per_step=pairs_per_step, name_of=name_of)


def summarize(
    numbers: TokenNumbers,
    keys: NDArray[np.void],
    *,
    pairs_per_step: int,
    name_of: Callable[[int], str],
    left_out: LeftOut | None = None,
) -> TokenSummary:
    """Summary of P pairs, in the order of training files.

    Args:
        numbers: of the pairs, at least one.
        keys: digests of prompt, chosen and rejected, shape (P, 3).
        pairs_per_step: pairs per optimizer step.
        name_of: text of a token id.
        left_out: what the length limit took, where that is known.
    """
    lengths_P2 = numbers.lengths.astype(np.int64)
    last, counts = np.unique(numbers.last, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    values = np.quantile(lengths_P2, list(_QUANTILES.values()))
    waste = token_waste(numbers, keys, pairs_per_step=pairs_per_step)
    return TokenSummary(
        texts=lengths_P2.size,
        tokens=int(lengths_P2.sum()),
        quantiles={name: float(value) for name, value in zip(_QUANTILES, values, strict=True)},
        last_tokens={name_of(int(last[place])): int(counts[place]) for place in order},
        padded_tokens=waste.padded,
        truncated=int(np.count_nonzero(numbers.cut)),
        histogram=histogram(lengths_P2, left_out.lengths if left_out else np.zeros(0, dtype=np.int64)),
        length=length_policy(numbers, left_out) if left_out else None,
        waste=waste,
        ends=_ends(numbers.before, name_of),
    )


def token_waste(numbers: TokenNumbers, keys: NDArray[np.void], *, pairs_per_step: int) -> TokenWaste:
    """Tokens of one epoch in four layouts; `keys` as for `summarize`."""
    lengths_P2, shared_P = numbers.lengths.astype(np.int64), numbers.shared.astype(np.int64)
    starts = np.arange(0, len(lengths_P2), pairs_per_step)
    longest = np.maximum.reduceat(lengths_P2.max(axis=1), starts)
    pairs = np.diff(np.append(starts, len(lengths_P2)))
    tree_P = lengths_P2.sum(axis=1) - shared_P
    return TokenWaste(
        pairs_per_step=pairs_per_step,
        padded=int((2 * pairs * longest).sum()),
        packed=int(lengths_P2.sum()),
        tree=int(tree_P.sum()),
        prompt_tree=_prompt_tree(lengths_P2, shared_P, tree_P, keys),
    )


def _prompt_tree(lengths_P2: Counts, shared_P: Counts, tree_P: Counts, keys: NDArray[np.void]) -> int:
    """Tokens where each prompt has one trunk and each of its distinct answers one branch.

    The trunk is what all pairs of the prompt share. Where that is less than what pairs share on their own, because two
    of its answers begin alike, the prompt is counted by pairs.
    """
    _, prompt_P = np.unique(keys[:, 0], return_inverse=True)
    _, answer_2P = np.unique(keys[:, 1:].reshape(-1), return_inverse=True)
    prompt_P, answer_2P = prompt_P.reshape(-1).astype(np.int64), answer_2P.reshape(-1).astype(np.int64)
    prompts = int(prompt_P.max()) + 1
    trunk = np.full(prompts, np.iinfo(np.int64).max)
    np.minimum.at(trunk, prompt_P, shared_P)
    branches = np.repeat(prompt_P, 2) * (int(answer_2P.max()) + 1) + answer_2P
    _, first = np.unique(branches, return_index=True)
    of_prompt = np.repeat(prompt_P, 2)[first]
    shared = trunk + np.bincount(of_prompt, lengths_P2.reshape(-1)[first] - trunk[of_prompt], prompts)
    return int(np.minimum(shared, np.bincount(prompt_P, tree_P, prompts)).sum())


def histogram(lengths_P2: Counts, left_out: Counts) -> tuple[LengthBin, ...]:
    """Counts in bins of a quarter octave, from the shortest text to the longest."""
    columns = [
        np.bincount(np.searchsorted(_EDGES, lengths, side="right") - 1, minlength=len(_EDGES))
        for lengths in (lengths_P2[:, 0], lengths_P2[:, 1], left_out)
    ]
    filled = np.flatnonzero(np.sum(columns, axis=0))
    return tuple(
        LengthBin(
            low=int(_EDGES[place]),
            high=int(_EDGES[place + 1]) - 1,
            chosen=int(columns[0][place]),
            rejected=int(columns[1][place]),
            left_out=int(columns[2][place]),
        )
        for place in range(filled[0], filled[-1] + 1)
    )


def length_policy(numbers: TokenNumbers, left_out: LeftOut) -> LengthPolicy:
    """What the limit took, and what other limits would take."""
    lengths_P2, shared_P = numbers.lengths.astype(np.int64), numbers.shared.astype(np.int64)
    pairs = len(lengths_P2) + len(left_out.lengths)
    interval = wilson_interval(len(left_out.lengths), pairs)
    whole_P2 = lengths_P2 + numbers.cut[:, None]
    longest = np.concatenate([whole_P2.max(axis=1), left_out.lengths])
    limits = sorted({left_out.limit, *(limit for limit in _LIMITS if limit <= longest.max())})
    return LengthPolicy(
        limit=left_out.limit,
        policy=left_out.policy,
        pairs=pairs,
        left_out=len(left_out.lengths),
        left_out_low=interval.low,
        left_out_high=interval.high,
        cut=int(np.count_nonzero(numbers.cut)),
        cut_tokens=int(numbers.cut.sum()),
        prompt_tokens=int(shared_P.sum() + numbers.cut.sum()),
        differing=int((lengths_P2 - shared_P[:, None]).sum()),
        # `rendering.renderer.cut_prompt` cuts nothing behind the shared tokens.
        differing_lost=0,
        limits=tuple(_effect(limit, whole_P2, shared_P + numbers.cut, longest) for limit in limits),
    )


def _effect(limit: int, whole_P2: Counts, shared_P: Counts, longest: Counts) -> LimitEffect:
    differing_P2 = whole_P2 - shared_P[:, None]
    kept_P2 = np.maximum(0, np.minimum(whole_P2, limit) - shared_P[:, None])
    return LimitEffect(
        limit=limit,
        pairs=len(longest),
        over=int(np.count_nonzero(longest > limit)),
        differing=int(differing_P2.sum()),
        differing_lost=int((differing_P2 - kept_P2).sum()),
        identical=int(np.count_nonzero(shared_P >= limit)),
    )


def _ends(before_P2: Ints, name_of: Callable[[int], str]) -> tuple[TextEnd, ...]:
    """The most frequent tokens before the last one."""
    tokens, place = np.unique(before_P2, return_inverse=True)
    counts = np.stack([np.bincount(side, minlength=len(tokens)) for side in place.reshape(before_P2.shape).T])
    frequent = [index for index in np.argsort(-counts.sum(axis=0), kind="stable") if tokens[index] != _NO_TOKEN]
    return tuple(
        TextEnd(token=name_of(int(tokens[index])), chosen=int(counts[0, index]), rejected=int(counts[1, index]))
        for index in frequent[:_ENDS]
    )
