"""What `push` uploaded, or would upload."""

from __future__ import annotations

from typing import Literal

from rewardsmith.records.files import Record


class PushedFile(Record):
    """One file in the repository, with its size in bytes."""

    path: str
    bytes: int


class PushRecord(Record):
    """What went to the hub. `url` and `commit` are empty where nothing was uploaded (`--dry-run`).

    `verdict` is that of the run's records; "NOT JUDGED" for a checkpoint without a run. `texts` says whether users'
    texts are among it.
    """

    repository: str
    visibility: Literal["private", "public"]
    verdict: str
    texts: bool
    files: tuple[PushedFile, ...]
    notes: tuple[str, ...] = ()
    url: str = ""
    commit: str = ""
