"""Assembles the embedded samples (training pairs, held-out pairs, best-of-N rows, warm-up texts) and keeps them.

    train = preference_pairs("train", seed=0, sizes=DEFAULT_SIZES)        # rows as they stand in the file
    rows = best_of_n_rows(seed=0, sizes=DEFAULT_SIZES)
    paths = write_samples(seed=0)               # train.jsonl, held_out.jsonl, best_of_4.jsonl
    folder = cached(parent, key, make)          # the folder `make` filled, now or earlier

Pure Python and seeded: the same seed and sizes give the same rows everywhere. Each category has a stream of random
numbers of its own, so that a change in one leaves the others as they were.

Files lie in a cache folder, made once, whole or not at all: a folder is filled aside and then renamed, so a folder that
exists is complete. A killed run leaves none, and of two runs at the same time one wins and both read the same bytes.
The key hashes the generator's own code, so that another version never finds the files of this one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from rewardsmith.errors import RunDirectoryError
from rewardsmith.records.files import follow_umask
from rewardsmith.samples import facts, tasks
from rewardsmith.samples.blocks import BLOCK_SIZE, Block, Part, swap_pairs, swap_rows

Row = dict[str, Any]
SOURCE = "embedded"


CATEGORIES: dict[str, Callable[[Random, Part], Block]] = {
    "Factuality": facts.factuality_block,
    "Precise IF": tasks.precise_if_block,
    "Math": tasks.mathematics_block,
    "Safety": tasks.safety_block,
    "Focus": tasks.focus_block,
    "Ties": facts.ties_block,
}
"""How the blocks of each subset are made."""


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
    for subset, block_of in CATEGORIES.items():
        rng = _stream(seed, "rows", subset)
        if subset == "Ties":
            rows.extend(_ties_rows(facts.couples(rng, sizes.ties)))
        else:
            blocks = _blocks_with_new_prompts(rng, block_of, sizes.row_blocks)
            answers = [answer for block in blocks for answer in swap_rows(block)]
            rows.extend(_best_of_n_row(str(i), subset, p, (c,), r) for i, (p, c, r) in enumerate(answers))
    return rows


def warm_up_texts(*, seed: int, sizes: Sizes = DEFAULT_SIZES) -> list[tuple[str, str]]:
    """`(prompt, right response)` of the training part, in random order: what the base model reads beforehand."""
    texts: list[tuple[str, str]] = []
    for subset, block_of in CATEGORIES.items():
        rng = _stream(seed, "warm-up", subset)
        for _ in range(sizes.warm_up_blocks):
            texts.extend((item.prompt, item.response) for item in block_of(rng, "train"))
    _stream(seed, "order", "warm-up").shuffle(texts)
    return texts


def _stream(seed: int, *names: str) -> Random:
    return Random("/".join([str(seed), *names]))  # noqa: S311


def _pair_blocks(rng: Random, subset: str, part: Part, count: int) -> Iterator[list[Row]]:
    seen: set[tuple[str, str, str]] = set()
    while len(seen) < count * BLOCK_SIZE:
        pairs = list(swap_pairs(rng, CATEGORIES[subset](rng, part)))
        if seen.isdisjoint(pairs):
            yield [_pair_row(f"{part}-{len(seen) + i}", subset, *pair) for i, pair in enumerate(pairs)]
            seen.update(pairs)


def _blocks_with_new_prompts(rng: Random, block_of: Callable[[Random, Part], Block], count: int) -> Iterator[Block]:
    seen: set[str] = set()
    while len(seen) < count * BLOCK_SIZE:
        block = block_of(rng, "held_out")
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


@dataclass(frozen=True, slots=True)
class SamplePaths:
    """The three files of the embedded samples, JSONL."""

    train: Path
    held_out: Path
    best_of_4: Path


def cache_folder() -> Path:
    """`$REWARDSMITH_CACHE`, else `rewardsmith` in `$XDG_CACHE_HOME`, else in `~/.cache`."""
    if own := os.environ.get("REWARDSMITH_CACHE"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "rewardsmith"


def write_samples(folder: Path | None = None, *, seed: int, sizes: Sizes = DEFAULT_SIZES) -> SamplePaths:
    """Write the embedded samples below `folder` (default: the cache), or find them there.

    Raises:
        RunDirectoryError: the folder cannot be written.
    """
    parent = folder or cache_folder()
    made = cached(parent, f"samples-{cache_key(seed, sizes)}", lambda aside: _write_files(aside, seed, sizes))
    return SamplePaths(made / "train.jsonl", made / "held_out.jsonl", made / "best_of_4.jsonl")


def cached(parent: Path, name: str, make: Callable[[Path], None]) -> Path:
    """The folder `parent/name`; `make` fills it aside when it does not exist.

    Raises:
        RunDirectoryError: the folder cannot be written.
    """
    target = parent / name
    if target.is_dir():
        return target
    try:
        parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=parent))
    except OSError as error:
        raise RunDirectoryError(
            f"the cache cannot be written: {error.strerror or error}",
            where=str(parent),
            fix="set REWARDSMITH_CACHE to a folder that you can write",
        ) from error
    try:
        make(aside)
        _put(aside, target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target


def _put(aside: Path, target: Path) -> None:
    follow_umask(aside)
    try:
        aside.rename(target)
    except OSError:
        # Another process was first. Its folder holds the same bytes.
        if not target.is_dir():
            raise


def cache_key(seed: int, sizes: Sizes, *more: str) -> str:
    """Sixteen hex digits that name this generator's code, a seed, sizes and whatever else the result depends on."""
    digest = hashlib.sha256(json.dumps([seed, asdict(sizes), more]).encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def _write_files(folder: Path, seed: int, sizes: Sizes) -> None:
    _write_rows(folder / "train.jsonl", preference_pairs("train", seed=seed, sizes=sizes))
    _write_rows(folder / "held_out.jsonl", preference_pairs("held_out", seed=seed, sizes=sizes))
    _write_rows(folder / "best_of_4.jsonl", best_of_n_rows(seed=seed, sizes=sizes))


def _write_rows(path: Path, rows: list[Row]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
