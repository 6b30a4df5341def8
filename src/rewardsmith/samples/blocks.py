"""Swap blocks: the shape that keeps giveaways out of the embedded samples.

A block is four prompts and four responses; response `i` answers prompt `i` and is wrong for the three other prompts.
Every text the generator writes comes from a block, and a block is always used whole:

    best-of-4 rows    four rows, one a prompt, each with the same four responses
    pairs             four pairs: two responses that trade places between two prompts, twice

So whatever looks only at the response (its length, its words, its tone) is right for one row in four and for one pair
in two, exactly, over every block. What is left to learn is whether a response fits its prompt.

Prompts of the two parts never coincide. `pick` keeps wordings or verbs apart (a fact is trained in some wordings and
asked in others); `is_held_out` keeps numbers apart. Both depend on the item alone, not on the seed.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

Part = Literal["train", "held_out"]

BLOCK_SIZE = 4
# The three ways to part four items into two couples.
MATCHINGS = (((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2)))


@dataclass(frozen=True, slots=True)
class Item:
    """A prompt and the response that is right for it."""

    prompt: str
    response: str


Block = tuple[Item, ...]
"""Four items; the response of each is wrong for the prompts of the others."""


def stable_hash(text: str) -> int:
    """The same number for the same text on every machine and in every process."""
    return zlib.crc32(text.encode())


def is_held_out(key: str, share: int = 4) -> bool:
    """Whether the item called `key` belongs to the held-out part: one in `share`, by hash."""
    return stable_hash(key) % share == 0


def options_of(options: Sequence[str], key: str, part: Part) -> list[str]:
    """Those of `options` (wordings, verbs) that `part` may use for the item called `key`.

    A quarter of the options, at least one, is held out, another quarter for each item: every option is trained, and no
    item is asked with an option that it was trained with.
    """
    first = stable_hash(key) % len(options)
    n_held_out = max(1, len(options) // 4)
    turned = [*options[first:], *options[:first]]
    return turned[:n_held_out] if part == "held_out" else turned[n_held_out:]


def pick(rng: Random, options: Sequence[str], key: str, part: Part) -> str:
    """One of `options_of(options, key, part)`."""
    return rng.choice(options_of(options, key, part))


def swap_pairs(rng: Random, block: Block) -> Iterator[tuple[str, str, str]]:
    """`(prompt, chosen, rejected)` four times: each response is chosen once and rejected once."""
    for a, b in rng.choice(MATCHINGS):
        for right, wrong in ((a, b), (b, a)):
            yield block[right].prompt, block[right].response, block[wrong].response


def swap_rows(block: Block) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """`(prompt, chosen, rejected)` once for each prompt; the rejected are the other three responses."""
    for item in block:
        yield item.prompt, item.response, tuple(other.response for other in block if other is not item)
