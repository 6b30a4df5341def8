"""How many tokens training will compute, from the data's own lengths in `check.json`.

    lengths = lengths_of(check.tokens, pairs=check.train_pairs, source="check.json")
    lengths = assumed_lengths(max_length=1024)           # before any check: every text as long as the limit allows
    batch = micro_batch(lengths, budget=2048, pairs_per_step=64, devices=1, tree=True)

The token tree computes what the two texts of a pair share once; the data contract has counted that for the whole data
set (`tokens.waste`), so that the mean of a pair is known and not estimated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rewardsmith.records import LengthBin, TokenSummary
from rewardsmith.training.planning.memory import MicroBatch


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lengths of the training texts, in tokens.

    Attributes:
        pairs: training pairs, where known.
        tree: tokens of a pair as a tree, on average.
        padded: tokens of a pair, both texts as long as the longer one, on average.
        text: of a text, on average.
        attended: keys that a token attends to, on average.
        longest: of the longest text.
        source: where the numbers are from, in words.
    """

    pairs: int | None
    tree: float
    padded: float
    text: float
    attended: float
    longest: float
    source: str

    def of_pair(self, *, tree: bool) -> float:
        """Tokens of a pair in a layout."""
        return self.tree if tree else self.padded


def lengths_of(tokens: TokenSummary, *, pairs: int, source: str) -> Lengths:
    """Lengths as the data contract found them.

    A record without `waste` (an older one) knows no shared prefixes: its trees count as both texts in full.
    """
    text = tokens.tokens / max(tokens.texts, 1)
    tree = tokens.waste.tree / max(pairs, 1) if tokens.waste else 2 * text
    return Lengths(
        pairs=pairs,
        tree=tree,
        # In length-sorted batches a text is padded to about its pair's longer side; the contract counted file order.
        padded=max(2 * text, tree),
        text=text,
        attended=attended_keys(tokens.histogram, text),
        longest=float(tokens.quantiles.get("max", text)),
        source=source,
    )


def assumed_lengths(max_length: int, pairs: int | None = None) -> Lengths:
    """Before any check: every text is as long as the limit allows, and shares nothing. An upper bound."""
    return Lengths(
        pairs=pairs,
        tree=2.0 * max_length,
        padded=2.0 * max_length,
        text=float(max_length),
        attended=(max_length + 1) / 2,
        longest=float(max_length),
        source=f"no check.json yet: every text is taken as long as data.max_length ({max_length})",
    )


def attended_keys(histogram: Sequence[LengthBin], text: float) -> float:
    """Keys that a token attends to on average: a text of L tokens has L·(L + 1)/2 of them for its L tokens.

    The mean over tokens is Σ L·(L + 1)/2 / Σ L; a bin stands for its middle. Without a histogram all texts are of the
    mean length.
    """
    middles = [((bin_.low + bin_.high) / 2, bin_.chosen + bin_.rejected) for bin_ in histogram]
    total = sum(length * count for length, count in middles)
    if not total:
        return (text + 1) / 2
    return sum(length * (length + 1) / 2 * count for length, count in middles) / total


def micro_batch(lengths: Lengths, *, budget: int, pairs_per_step: int, devices: int, tree: bool) -> MicroBatch:
    """What one forward pass holds: the pairs of a step, cut at `budget` tokens, dealt to `devices`.

    A pair that is longer than the budget has a forward pass of its own; a step that is smaller is one pass.
    """
    step = pairs_per_step * lengths.of_pair(tree=tree)
    largest_pair = max(lengths.of_pair(tree=tree), min(2 * lengths.longest, step))
    tokens = min(max(budget, largest_pair), step)
    return MicroBatch(tokens=tokens, several=passes(step, budget, devices) > 1, tree=tree)


def passes(step_tokens: float, budget: float, devices: int) -> int:
    """Forward passes of one device in a step."""
    return max(1, math.ceil(math.ceil(step_tokens / budget) / devices))
