"""`rewardsmith.json`: what a checkpoint carries beside its weights and tokenizer.

What `rewardsmith export` wrote, and how the program that it is for is started with it.

What `rewardsmith verify` found: the same conversations through every way to a reward.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field

from rewardsmith.errors import ModelError
from rewardsmith.records.checks import RenderingRecord
from rewardsmith.records.files import Record


class GoldenReward(Record):
    """A fixed conversation, as (role, content) turns, and the reward that this checkpoint gives it in float32."""

    conversation: tuple[tuple[str, str], ...]
    reward: float


class ParentCheckpoint(Record):
    """One of the checkpoints that were averaged.

    `distance` is that of its weights from the average, relative to the average's length; `head_cosine` is the cosine
    between its reward head and the average's.
    """

    folder: str
    weight: float
    distance: float
    head_cosine: float


class CheckpointRecord(Record):
    """`rewardsmith.json`: what a checkpoint carries beside its weights and tokenizer (design section 5).

    `data_fingerprints` lists every data set that these weights were trained on as a reward model, oldest first.
    `reward_mean` and `reward_std` describe raw rewards on the held-out pairs; nothing is ever normalised by them.
    `base_fingerprint` hashes the weights and the tokenizer that training began with. `parents` are the checkpoints that
    these weights are the average of. `calibration` is of the held-out pairs too: `temperature` for
    P = sigmoid(margin / temperature), its interval, and errors out of sample (`ece`, `brier`, `log_loss`); null where
    no temperature could be fitted.
    """

    schema_version: Literal[1] = Field(1, alias="schema")
    rewardsmith_version: str
    base_model: str
    base_fingerprint: str | None = None
    rendering: RenderingRecord
    data_fingerprints: tuple[str, ...]
    reward_range: tuple[float, float] | None = None
    reward_mean: float | None = None
    reward_std: float | None = None
    calibration: dict[str, float] | None = None
    normalization: dict[str, str | float] | None = None
    evaluation: dict[str, dict[str, float | None]] = Field(default_factory=dict)
    parents: tuple[ParentCheckpoint, ...] = ()
    golden: tuple[GoldenReward, ...] = ()


CHECKPOINT_FILES = frozenset(
    (
        *("rewardsmith.json", "config.json", "generation_config.json", "adapter_config.json"),
        *("model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors"),
        *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
        *("vocab.json", "vocab.txt", "merges.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model"),
        *("chat_template.jinja", "chat_template.json"),
    )
)
"""What we, transformers and peft write for a model and its tokenizer; shards are named by the index."""

_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_TEMPLATES = "additional_chat_templates"


def checkpoint_files(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """The files of a checkpoint by their name in it, and the names of what else lies there and is left out.

    Nothing is found by walking: a name counts when a writer of checkpoints gives it.

    Raises:
        ModelError: one of them is a link that leads out of the folder, or no regular file.
    """
    there = sorted(path.name for path in folder.iterdir())
    named = {name for name in there if name in CHECKPOINT_FILES or _SHARD.fullmatch(name)}
    found = {name: inside(folder, folder / name) for name in sorted(named)}
    if _TEMPLATES in there:
        templates = sorted(inside(folder, path) for path in (folder / _TEMPLATES).glob("*.jinja"))
        found |= {f"{_TEMPLATES}/{path.name}": path for path in templates}
    return found, [name for name in there if name not in named and name != _TEMPLATES]


def inside(folder: Path, path: Path) -> Path:
    """The path itself, where it is a regular file of the folder.

    A snapshot in the hub's cache is made of links to the `blobs` beside it; these count as inside.

    Raises:
        ModelError: it leads elsewhere.
    """
    root = folder.resolve()
    roots = [root, root.parent.parent / "blobs"] if root.parent.name == "snapshots" else [root]
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise ModelError("is a link that leads nowhere", where=str(path), fix="restore the file") from error
    if not any(target.is_relative_to(one) for one in roots):
        raise ModelError(
            f"is a link to {target}, outside of the checkpoint: it is neither uploaded nor copied",
            where=str(path),
            fix="put a copy of the file in its place, if it belongs to the checkpoint",
        )
    if not target.is_file():
        raise ModelError("is no regular file", where=str(path), fix="restore the file")
    return path


class ExportRecord(Record):
    """One checkpoint written again for another program.

    `trainer` says who made the source; `merged` that an adapter became part of the weights. `largest_difference` is
    between the rewards of the golden conversations before and after, both in float32; `tolerance` was its limit.
    `normalization` is what the source says of mean and std: kept, never applied. `transformers` lists the versions in
    which models of this type were loaded and gave the same rewards; it is empty for a type that was not tried there.
    `start` lists commands.
    """

    schema_version: Literal[1] = Field(1, alias="schema")
    source: str
    out: str
    target: Literal["hf", "openrlhf", "vllm"]
    trainer: Literal["rewardsmith", "openrlhf", "transformers"]
    merged: bool
    dtype: str
    conversations: int
    largest_difference: float
    tolerance: float
    normalization: dict[str, str | float] | None = None
    transformers: tuple[str, ...] = ()
    start: tuple[str, ...] = ()


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
