"""Reads a preference data set from the Hugging Face hub (or its cache), and says in one sentence why it cannot.

`datasets` is loaded here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rewardsmith.errors import DataError
from rewardsmith.hub import ask_hub
from rewardsmith.spec import SourceSpec


def read_hub(source: SourceSpec) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of a hub data set, numbered from 1.

    Raises:
        DataError: the data set, its configuration, split or revision is not there, or the hub cannot be reached.
    """
    from datasets import load_dataset

    _ask(source)
    try:
        dataset = load_dataset(source.id, name=source.name, split=source.split, revision=source.revision)
    except Exception as error:  # what the hub client raises depends on how it fails
        raise DataError(
            f"the data set cannot be loaded: {_first_sentence(error)}",
            where=f"hub data set {source.id}",
            fix="check id, name, split and revision, and that this machine reaches the hub "
            "(or has the data set in its cache); a downloaded file works as path: offline",
        ) from error
    yield from enumerate(dataset, start=1)


def hub_revision(source: SourceSpec) -> str:
    """The commit that a hub id stands for now; what the spec says where the hub cannot be asked."""
    from huggingface_hub import HfApi

    _ask(source)
    try:
        return HfApi().dataset_info(source.id or "", revision=source.revision).sha or ""
    except Exception:  # offline: the cache was used, and only the spec knows a revision
        return source.revision or ""


def _ask(source: SourceSpec) -> None:
    name = source.id or ""
    ask_hub(name, error=DataError, where=f"hub data set {name}", kind="dataset", revision=source.revision)


def _first_sentence(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
