"""What `rewardsmith verify` found: the same conversations through every way to a reward."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rewardsmith.records.files import Record

PathName = Literal["recorded", "padded", "saved template", "transformers", "tree", "merged", "bfloat16", "server"]
PathVerdict = Literal["PASS", "FAIL", "NO_DATA"]


class PathResult(Record):
    """One way to a reward, beside the reference: each text alone, unpadded, in float32.

    `largest` is the largest difference of `compared` rewards and `worst` the conversation that has it, with its two
    rewards. `flips` counts the pairs of conversations, out of `pairs`, that this way ranks the other way round. `why`
    says what failed, or why there is nothing to compare (NO_DATA: an adapter's path for a model without one).
    """

    path: PathName
    verdict: PathVerdict
    why: str = ""
    fix: str = ""
    compared: int = 0
    largest: float | None = None
    tolerance: float | None = None
    flips: int = 0
    pairs: int = 0
    worst: str = ""
    reference: float | None = None
    reward: float | None = None


class FileFinding(Record):
    """A field of a file that makes another program give another reward. `fails` is false for a published model.

    Read by this project's commands such a model gives its rewards all the same.
    """

    file: str
    field: str
    value: str
    problem: str
    fix: str
    fails: bool = True


class VerifyRecord(Record):
    """`verify.json`: paths and files of one checkpoint; `passed` when no path and no finding fails.

    `conversations` counts those that could be rendered, the first `golden` of them the golden ones. `spread` is the
    standard deviation of rewards that bfloat16's tolerance is a share of: that of the held-out pairs where the
    checkpoint records it, else of these conversations. `weights` counts the tensors in memory that were held against
    the files, and `notes` says what was done to their names.
    """

    schema_version: Literal[1] = Field(1, alias="schema")
    model: str
    against: str | None = None
    trainer: Literal["rewardsmith", "openrlhf", "transformers"]
    device: str
    passed: bool
    conversations: int
    golden: int
    spread: float
    paths: tuple[PathResult, ...]
    findings: tuple[FileFinding, ...]
    weights: int | None = None
    notes: tuple[str, ...] = ()
