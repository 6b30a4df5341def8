"""Weight averages of reward models of one lineage: one model that is about as good as their ensemble (WARM).

    record = average_checkpoints([a, b, c], out, weights=(0.5, 0.25, 0.25))

Source: Ramé et al. 2024, "WARM: On the Benefits of Weight Averaged Reward Models" (arXiv 2401.12187). Fine-tuned models
stay linearly connected when they come from the same pretrained weights; then the average keeps what they learned alike
and loses what each memorised. Of models of different origin it is noise: such are refused, by what their records say of
the base, by configuration and tokenizer, and by the weights themselves, which hardly point the same way.

Tensors are read one at a time, so that memory stays at one file of weights; a model in one file needs room for itself.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor

import rewardsmith
from rewardsmith.errors import ModelError
from rewardsmith.modeling.checkpoint import RECORD, open_checkpoint, read_checkpoint_record, save_checkpoint
from rewardsmith.modeling.exports import refuse_taken
from rewardsmith.modeling.loading import check_checkpoint
from rewardsmith.modeling.spellings import both_spellings
from rewardsmith.modeling.stored import INDEX, stored_weights
from rewardsmith.records.checkpoint import CheckpointRecord, ParentCheckpoint
from rewardsmith.records.files import inside
from rewardsmith.rendering import Renderer

ALIKE = 0.5
"""Least cosine between the weights of two parents. Models of one base have 0.9 and more, of two bases about 0."""

_HEAD = "score.weight"
_DECIDES_TEXT = (
    "template_sha256",
    "conversational",
    "eos_token_id",
    "bos_token_id",
    "pad_token_id",
    "max_length",
    "over_length",
)
_SAYS_NOTHING = ("transformers_version", "_name_or_path", "dtype", "torch_dtype")


def average_checkpoints(folders: Sequence[Path], out: Path, weights: Sequence[float]) -> CheckpointRecord:
    """Write the weighted mean of several checkpoints, with golden rewards of its own and a record of its parents.

    Args:
        folders: checkpoints of ours, each verified before it is used; adapters must be merged first.
        out: the new folder; must be missing or empty.
        weights: one for each folder; they sum to 1.

    Raises:
        ModelError: a checkpoint cannot be used, or they are not of one lineage; what differs is named.
    """
    refuse_taken(out)
    records = [_usable(folder) for folder in folders]
    _refuse_too_few(folders)
    for folder in folders:
        check_checkpoint(folder)  # before they are compared: a damaged one is no other lineage
    for folder, record in zip(folders[1:], records[1:], strict=True):
        _refuse_other_lineage(folders[0], records[0], folder, record)
    for folder in folders:
        open_checkpoint(folder)  # and let go again: only its golden rewards are of interest
    mean = _Mean(tuple(folders), tuple(weights))
    renderer = Renderer.from_checkpoint(folders[0], records[0].rendering)
    save_checkpoint(out, mean, renderer, _merged(records), describe=mean.with_parents)
    written = read_checkpoint_record(out)
    assert written is not None  # noqa: S101 - written two lines above
    return written


@dataclass(slots=True)
class _Mean:
    """What `save_checkpoint` takes for a model: it saves the mean, tensor by tensor, and counts how far it is away."""

    folders: tuple[Path, ...]
    weights: tuple[float, ...]
    parents: list[ParentCheckpoint] = field(default_factory=list)

    def save_pretrained(self, folder: Path, *, safe_serialization: bool) -> None:
        """Config, index and weights in the files of the first parent."""
        del safe_serialization  # there is no other way
        first = self.folders[0]
        for name in ("config.json", INDEX):
            if (first / name).is_file():
                shutil.copyfile(inside(first, first / name), folder / name)
        counted = [_Counted() for _ in self.folders]
        with ExitStack() as stack:
            sources = [_Tensors.open(parent, stack) for parent in self.folders]
            _refuse_other_tensors(self.folders, sources)
            for path in sources[0].handles:
                names = [name for name, file in sources[0].files.items() if file == path]
                mixed = {name: self._mix(name, [one.read(name) for one in sources], counted) for name in names}
                save_file(mixed, folder / path.name, metadata={"format": "pt"})
        _refuse_strangers(self.folders, counted)
        self.parents = [
            ParentCheckpoint(folder=str(parent), weight=share, distance=one.distance, head_cosine=one.head_cosine)
            for parent, share, one in zip(self.folders, self.weights, counted, strict=True)
        ]

    def with_parents(self, record: CheckpointRecord) -> CheckpointRecord:
        """The record of the average, once it is saved."""
        return record.model_copy(update={"parents": tuple(self.parents)})

    def _mix(self, name: str, tensors: list[Tensor], counted: list[_Counted]) -> Tensor:
        if not tensors[0].is_floating_point():
            return tensors[0]
        # In float32: a sum in bfloat16 would lose the small differences between parents.
        wide = [tensor.float() for tensor in tensors]
        mean = torch.zeros_like(wide[0])
        for share, tensor in zip(self.weights, wide, strict=True):
            mean += share * tensor
        for one, tensor in zip(counted, wide, strict=True):
            one.add(name, tensor, mean, wide[0])
        return mean.to(tensors[0].dtype)


@dataclass(slots=True)
class _Counted:
    """Sums over the tensors of one parent: its distance from the mean, and its angle to the first parent."""

    apart: float = 0.0
    mean_size: float = 0.0
    dot: float = 0.0
    own_size: float = 0.0
    first_size: float = 0.0
    head_cosine: float = 1.0

    def add(self, name: str, tensor: Tensor, mean: Tensor, first: Tensor) -> None:
        self.apart += float((tensor - mean).square().sum())
        self.mean_size += float(mean.square().sum())
        if name.endswith(_HEAD):
            self.head_cosine = float(torch.cosine_similarity(tensor.flatten(), mean.flatten(), dim=0))
        elif tensor.ndim > 1:  # norms are close to 1 in every model and say nothing of its origin
            self.dot += float((tensor * first).sum())
            self.own_size += float(tensor.square().sum())
            self.first_size += float(first.square().sum())

    @property
    def distance(self) -> float:
        return float((self.apart / self.mean_size) ** 0.5) if self.mean_size else 0.0

    @property
    def cosine(self) -> float:
        size = (self.own_size * self.first_size) ** 0.5
        return self.dot / size if size else 1.0


@dataclass(frozen=True, slots=True)
class _Tensors:
    """The weights of a folder, read by name."""

    files: dict[str, Path]
    handles: dict[Path, Any]

    @classmethod
    def open(cls, folder: Path, stack: ExitStack) -> _Tensors:
        files = {name: one.file for name, one in stored_weights(folder).items()}
        paths = sorted(set(files.values()))
        return cls(files, {path: stack.enter_context(safetensors.safe_open(path, framework="pt")) for path in paths})

    def read(self, name: str) -> Tensor:
        tensor: Tensor = self.handles[self.files[name]].get_tensor(name)
        return tensor

    def shape(self, name: str) -> list[int]:
        return list(self.handles[self.files[name]].get_slice(name).get_shape())


def _refuse_other_tensors(folders: Sequence[Path], sources: Sequence[_Tensors]) -> None:
    for folder, source in zip(folders[1:], sources[1:], strict=True):
        odd = sorted(sources[0].files.keys() ^ source.files.keys())
        fields = [(name, name in sources[0].files, name in source.files) for name in odd]
        shapes = ((name, sources[0].shape(name), source.shape(name)) for name in sources[0].files if not odd)
        _refuse_unlike(folders[0], folder, "model.safetensors", [*fields, *shapes])


def _refuse_strangers(folders: Sequence[Path], counted: Sequence[_Counted]) -> None:
    for folder, one in zip(folders, counted, strict=True):
        if not one.cosine >= ALIKE:
            raise ModelError(
                f"the cosine between its weights and those of {folders[0]} is {one.cosine:.2f} (at least {ALIKE} is "
                "needed): they were not trained from the same base",
                where=str(folder / "model.safetensors"),
                fix="combine them as an ensemble, by reward",
            )


def _merged(records: Sequence[CheckpointRecord]) -> CheckpointRecord:
    """What is true of the average: all data that a parent has seen; no measurement of a parent."""
    seen = dict.fromkeys(print_ for record in records for print_ in record.data_fingerprints)
    ranges = {record.reward_range for record in records}
    return CheckpointRecord(
        rewardsmith_version=rewardsmith.__version__,
        base_model=records[0].base_model,
        base_fingerprint=records[0].base_fingerprint,
        rendering=records[0].rendering,
        data_fingerprints=tuple(seen),
        reward_range=ranges.pop() if len(ranges) == 1 else None,
    )


def _usable(folder: Path) -> CheckpointRecord:
    """The record of a checkpoint that can be averaged.

    Raises:
        ModelError: it is an adapter, or no checkpoint of ours.
    """
    if (folder / "adapter_config.json").is_file():
        raise ModelError(
            "it is an adapter", where=str(folder), fix=f"rewardsmith export --model {folder} --to hf --out DIR, first"
        )
    record = read_checkpoint_record(folder)
    if record is None:
        raise ModelError(
            f"there is no {RECORD}, so nothing says what it was trained from",
            where=str(folder),
            fix=f"rewardsmith export --model {folder} --to hf --out DIR, then name its base there in base_model",
        )
    return record


def _refuse_too_few(folders: Sequence[Path]) -> None:
    """Refuse fewer than two, and the same one twice.

    Raises:
        ModelError: there are.
    """
    distinct = {folder.resolve() for folder in folders}
    if len(folders) < 2 or len(distinct) < len(folders):
        raise ModelError(
            f"{len(distinct)} different checkpoints in {len(folders)} places",
            where="DIR DIR…",
            fix="name two or more checkpoints, each once; --weights gives one more weight than another",
        )


def _refuse_other_lineage(first: Path, one: CheckpointRecord, folder: Path, other: CheckpointRecord) -> None:
    """Compare base, configuration, rendering and tokenizer; the fingerprint of the base counts where both have one.

    Raises:
        ModelError: one of them differs.
    """
    if one.base_fingerprint and other.base_fingerprint:
        _refuse_unlike(first, folder, RECORD, [("base_fingerprint", one.base_fingerprint, other.base_fingerprint)])
    else:
        _refuse_unlike(first, folder, RECORD, [("base_model", one.base_model, other.base_model)])
    _refuse_unlike(first, folder, "config.json", _fields(_config(first), _config(folder)))
    _refuse_unlike(first, folder, RECORD, _rendering(one, other))
    _refuse_unlike(first, folder, "tokenizer.json", _fields(_json(first), _json(folder)))


def _refuse_unlike(first: Path, folder: Path, file: str, fields: Iterable[tuple[str, object, object]]) -> None:
    """Refuse the first of (name, value in the first checkpoint, value in the other) that differs.

    Raises:
        ModelError: one does.
    """
    for name, wanted, found in fields:
        if wanted != found:
            raise ModelError(
                f"is {_short(found)}, and {_short(wanted)} in {first}: these are not of one lineage",
                where=f"{folder / file}, field {name!r}",
                fix="average checkpoints of the same base and the same texts; combine others as an ensemble, by reward",
            )


def _rendering(one: CheckpointRecord, other: CheckpointRecord) -> list[tuple[str, object, object]]:
    return [(name, getattr(one.rendering, name), getattr(other.rendering, name)) for name in _DECIDES_TEXT]


def _config(folder: Path) -> dict[str, Any]:
    said = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    # In both spellings: a parent of 0.1.0 has one of them only.
    return {name: value for name, value in both_spellings(said).items() if name not in _SAYS_NOTHING}


def _json(folder: Path) -> dict[str, Any]:
    path = folder / "tokenizer.json"
    said: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return said


def _fields(one: dict[str, Any], other: dict[str, Any]) -> Iterator[tuple[str, object, object]]:
    for name in sorted(one.keys() | other.keys()):
        yield name, one.get(name), other.get(name)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
