"""Keeps what the generator makes: files in a cache folder, made once, whole or not at all.

    paths = write_samples(seed=0)               # train.jsonl, held_out.jsonl, best_of_4.jsonl
    folder = cached(parent, key, make)          # the folder `make` filled, now or earlier

A folder is filled aside and then renamed, so a folder that exists is complete: a killed run leaves none, and of two
runs at the same time one wins and both read the same bytes. The key hashes the generator's own code, so that another
version never finds the files of this one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

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
