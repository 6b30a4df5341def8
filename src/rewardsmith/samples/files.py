"""Keeps what the generator makes: files in a cache folder, made once, whole or not at all.

    paths = write_samples(seed=0)               # train.jsonl, held_out.jsonl, best_of_4.jsonl
    folder = cached(parent, key, make)          # the folder `make` filled, now or earlier

A folder is filled aside and then renamed, so a folder that exists is complete: a killed run leaves none, and of two
runs at the same time one wins and both read the same bytes. The key hashes the generator's own code, so that another
version never finds the files of this one.

How far one gets without reading the prompt: by length alone, by words alone.

    longer_wins_rewards(responses)              the length of each response in characters
    bag_of_words_rewards(pairs, responses)      a linear Bradley-Terry model of the words, fitted on `pairs`
    bag_of_words_cross_fitted(responses, n_chosen)    the same, fitted on the benchmark's own rows, fold by fold

`responses` holds one list of texts per row, chosen first; rewards come back in the same shape, so that any benchmark
code can score them. Needs numpy and scipy only, and works for any data, not only for the embedded samples.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_matrix

from rewardsmith.errors import RunDirectoryError
from rewardsmith.samples.generator import DEFAULT_SIZES, Row, Sizes, best_of_n_rows, preference_pairs


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
    aside.chmod(0o755)
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


Rewards = list[NDArray[np.float64]]
"""One array per row: the rewards of the chosen responses, then of the rejected."""

# Pull of the weights towards 0. Small: it only keeps words that decide every pair from growing without bound.
RIDGE = 1e-3
FOLDS = 5


def longer_wins_rewards(responses: Iterable[Sequence[str]]) -> Rewards:
    """The length of every response, in characters."""
    return [np.array([float(len(text)) for text in row]) for row in responses]


def bag_of_words_rewards(pairs: Sequence[tuple[str, str]], responses: Iterable[Sequence[str]]) -> Rewards:
    """Rewards by a prompt-blind bag of words that was fitted on `(chosen, rejected)` texts."""
    reward = fit_bag_of_words(pairs)
    return [np.array([reward(text) for text in row]) for row in responses]


def bag_of_words_cross_fitted(
    responses: Sequence[Sequence[str]], n_chosen: Sequence[int], folds: int = FOLDS
) -> Rewards:
    """Rewards by bags of words that were fitted on the other rows of the benchmark.

    Folds are runs of neighbouring rows: rows that share their responses stand together and stay in one fold.
    """
    rewards: Rewards = []
    for fold in np.array_split(np.arange(len(responses)), folds):
        held_out = {int(row) for row in fold}
        others = [row for row in range(len(responses)) if row not in held_out]
        pairs = [(c, r) for i in others for c in responses[i][: n_chosen[i]] for r in responses[i][n_chosen[i] :]]
        rewards.extend(bag_of_words_rewards(pairs, [responses[i] for i in sorted(held_out)]))
    return rewards


def fit_bag_of_words(pairs: Sequence[tuple[str, str]]) -> Callable[[str], float]:
    """The linear reward that best explains `(chosen, rejected)` texts: Bradley-Terry likelihood over word counts.

    Minimises mean(-log sigmoid(w · (counts(chosen) - counts(rejected)))) + RIDGE / 2 * |w|².
    """
    words_of = {text: _words(text) for pair in pairs for text in pair}
    vocabulary = {word: i for i, word in enumerate(sorted({w for words in words_of.values() for w in words}))}
    chosen_ND = _counts([words_of[chosen] for chosen, _ in pairs], vocabulary)
    rejected_ND = _counts([words_of[rejected] for _, rejected in pairs], vocabulary)
    difference_ND = (chosen_ND - rejected_ND).tocsr()

    def loss_and_gradient(weights_D: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margins_N = difference_ND @ weights_D
        loss = np.logaddexp(0.0, -margins_N).mean() + RIDGE / 2 * weights_D @ weights_D
        slopes_N = -np.exp(-np.logaddexp(0.0, margins_N)) / len(margins_N)
        return float(loss), difference_ND.T @ slopes_N + RIDGE * weights_D

    weights_D = minimize(loss_and_gradient, np.zeros(len(vocabulary)), jac=True, method="L-BFGS-B").x
    weight_of = dict(zip(vocabulary, weights_D.tolist(), strict=True))
    # Sorted and rounded: the same words in another order get the very same reward.
    return lambda text: round(sum(weight_of.get(word, 0.0) for word in sorted(_words(text))), 9)


def _words(text: str) -> list[str]:
    """Words and numbers as written, those with capitals in lower case too, and every other sign by itself."""
    words = re.findall(r"\w+|[^\w\s]", text)
    return words + [word.lower() for word in words if word != word.lower()]


def _counts(texts: Sequence[list[str]], vocabulary: dict[str, int]) -> csr_matrix:
    rows = np.repeat(np.arange(len(texts)), [len(words) for words in texts])
    columns = np.array([vocabulary[word] for words in texts for word in words], dtype=np.int64)
    return csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(texts), len(vocabulary)))
