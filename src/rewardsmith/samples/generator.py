"""Assembles the embedded samples: training pairs, held-out pairs, best-of-N rows and warm-up texts.

    train = preference_pairs("train", seed=0, sizes=DEFAULT_SIZES)        # rows as they stand in the file
    rows = best_of_n_rows(seed=0, sizes=DEFAULT_SIZES)

Pure Python and seeded: the same seed and sizes give the same rows everywhere. Each category has a stream of random
numbers of its own, so that a change in one leaves the others as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from rewardsmith.samples import facts, tasks
from rewardsmith.samples.blocks import BLOCK_SIZE, Block, Part, Verifier, swap_pairs, swap_rows

Row = dict[str, Any]
SOURCE = "embedded"


@dataclass(frozen=True, slots=True)
class Category:
    """How the blocks of a subset are made and checked."""

    block: Callable[[Random, Part], Block]
    verify: Verifier


CATEGORIES: dict[str, Category] = {
    "Factuality": Category(facts.factuality_block, facts.verify_factuality),
    "Precise IF": Category(tasks.precise_if_block, tasks.verify_precise_if),
    "Math": Category(tasks.mathematics_block, tasks.verify_mathematics),
    "Safety": Category(tasks.safety_block, tasks.verify_safety),
    "Focus": Category(tasks.focus_block, tasks.verify_focus),
    "Ties": Category(facts.ties_block, facts.verify_ties),
}


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is made. A block is four pairs, or four rows, or four texts.

    Attributes:
        train_blocks: blocks of training pairs per subset.
        held_out_blocks: blocks of held-out pairs per subset.
        row_blocks: blocks of best-of-4 rows per subset; Ties has its own number.
        ties: numbers `k` for which Ties has `ref:k` and `tied:k`; a multiple of 4, at most 40.
        warm_up_blocks: blocks of warm-up texts per subset.
    """

    train_blocks: int = 480
    held_out_blocks: int = 25
    row_blocks: int = 30
    ties: int = 40
    warm_up_blocks: int = 600


DEFAULT_SIZES = Sizes()


def preference_pairs(part: Part, *, seed: int, sizes: Sizes = DEFAULT_SIZES) -> list[Row]:
    """Preference pairs of all subsets; no two are equal.

    Blocks stand in random order, the four pairs of a block together. A training step that takes whole blocks meets
    every response once as chosen and once as rejected: what it learns from is the prompt.
    """
    blocks: list[list[Row]] = []
    for subset in CATEGORIES:
        rng = _stream(seed, "pairs", part, subset)
        count = sizes.train_blocks if part == "train" else sizes.held_out_blocks
        blocks.extend(_pair_blocks(rng, subset, part, count))
    _stream(seed, "order", part).shuffle(blocks)
    return [row for block in blocks for row in block]


def best_of_n_rows(*, seed: int, sizes: Sizes = DEFAULT_SIZES) -> list[Row]:
    """Held-out rows in RewardBench 2's schema; within a subset all prompts differ and blocks stay together."""
    rows: list[Row] = []
    for subset, category in CATEGORIES.items():
        rng = _stream(seed, "rows", subset)
        if subset == "Ties":
            rows.extend(_ties_rows(facts.couples(rng, sizes.ties)))
        else:
            blocks = _blocks_with_new_prompts(rng, category, sizes.row_blocks)
            answers = [answer for block in blocks for answer in swap_rows(block)]
            rows.extend(_best_of_n_row(str(i), subset, p, (c,), r) for i, (p, c, r) in enumerate(answers))
    return rows


def warm_up_texts(*, seed: int, sizes: Sizes = DEFAULT_SIZES) -> list[tuple[str, str]]:
    """`(prompt, right response)` of the training part, in random order: what the base model reads beforehand."""
    texts: list[tuple[str, str]] = []
    for subset, category in CATEGORIES.items():
        rng = _stream(seed, "warm-up", subset)
        for _ in range(sizes.warm_up_blocks):
            texts.extend((item.prompt, item.response) for item in category.block(rng, "train"))
    _stream(seed, "order", "warm-up").shuffle(texts)
    return texts


def _stream(seed: int, *names: str) -> Random:
    return Random("/".join([str(seed), *names]))  # noqa: S311


def _pair_blocks(rng: Random, subset: str, part: Part, count: int) -> Iterator[list[Row]]:
    seen: set[tuple[str, str, str]] = set()
    while len(seen) < count * BLOCK_SIZE:
        pairs = list(swap_pairs(rng, CATEGORIES[subset].block(rng, part)))
        if seen.isdisjoint(pairs):
            yield [_pair_row(f"{part}-{len(seen) + i}", subset, *pair) for i, pair in enumerate(pairs)]
            seen.update(pairs)


def _blocks_with_new_prompts(rng: Random, category: Category, count: int) -> Iterator[Block]:
    seen: set[str] = set()
    while len(seen) < count * BLOCK_SIZE:
        block = category.block(rng, "held_out")
        prompts = {item.prompt for item in block}
        if len(prompts) == BLOCK_SIZE and seen.isdisjoint(prompts):
            seen |= prompts
            yield block


def _pair_row(name: str, subset: str, prompt: str, chosen: str, rejected: str) -> Row:
    return {
        "prompt": [{"role": "user", "content": prompt}],
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
        "id": f"{subset.lower().replace(' ', '-')}-{name}",
        "source": SOURCE,
        "subset": subset,
    }


def _best_of_n_row(name: str, subset: str, prompt: str, chosen: tuple[str, ...], rejected: tuple[str, ...]) -> Row:
    return {
        "id": name,
        "prompt": prompt,
        "chosen": list(chosen),
        "rejected": list(rejected),
        "num_correct": len(chosen),
        "num_incorrect": len(rejected),
        "total_completions": len(chosen) + len(rejected),
        "models": [],
        "subset": subset,
        "additional_metadata": None,
    }


def _ties_rows(couples: list[tuple[facts.Question, facts.Question]]) -> list[Row]:
    return [
        _best_of_n_row(f"{kind}:{k}", "Ties", question.prompt, question.correct, question.incorrect)
        for k, couple in enumerate(couples)
        for kind, question in zip(("ref", "tied"), couple, strict=True)
    ]
