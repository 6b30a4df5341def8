"""What a checkpoint's folder holds before anything is loaded: weights by their headers, and who wrote it. No torch.

    stored = stored_weights(Path("runs/x/model"))       # {name: StoredTensor(file, kind, shape)}
    stored = stored_adapter(Path("runs/x/model"))       # of adapter_model.safetensors
    names = not_finite(Path("model.safetensors"))       # tensors with NaN or infinity: the one that reads values
    foreign = describe_foreign(config)                  # how another program's files and texts differ from ours

The files are those that transformers reads: what config.json names as `transformers_weights`, else `model.safetensors`,
else the shards of `model.safetensors.index.json`. What cannot be read whole (cut off, a shard lost, a pickle, a Git LFS
pointer) is refused with the file and the fix; every command that opens a checkpoint asks here first.

Checkpoints of two kinds of other programs are read as they are, wherever one is named (`--model DIR`):

openrlhf        `architectures: ["RewardModel"]`, weights `model.*` and `<value_head_prefix>.weight` (`score` or
                `value_head`), no `num_labels`, `mean` and `std` of its training data. Its trainer cuts line breaks from
                the rendered text and appends a space and EOS unless EOS stands there
                (openrlhf/datasets/reward_dataset.py).
transformers    `…ForSequenceClassification` with one label (the Skywork family, what TRL saves). The text is what the
                template that it ships writes, to the last line break: its trainer read the reward there.

`rewardsmith export --to hf` makes one of ours out of either, with golden rewards that loading verifies.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np
import safetensors

from rewardsmith.errors import ModelError
from rewardsmith.records.bounded import parse_json, regular
from rewardsmith.rendering.template import Closing

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
ADAPTER = "adapter_model.safetensors"

_LFS = b"version https://git-lfs"
_FLOATS = ("F64", "F32", "F16", "BF16")
_EXPONENTS = {
    "F64": ("<u8", 0x7FF0_0000_0000_0000),
    "F32": ("<u4", 0x7F80_0000),
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
    "F8_E5M2": ("u1", 0x7C),
    "F8_E4M3": ("u1", 0x7F),
}
"""By type, unsigned integers of its width, and the bits that are all set in NaN and infinity alone: the exponent. Numpy
lacks the smaller types, and torch stays out of this module. The last type has no infinity, and one NaN."""
_BLOCK = 1 << 24  # bytes; a whole number of elements of every type
_MASKS = ("bias_mask", "masked_bias")  # GPT-2's and GPT-Neo's buffers; -inf belongs there
_AGAIN = "copy or download the folder again, or save the model again"


class StoredTensor(NamedTuple):
    """A tensor of a weight file; `kind` as safetensors writes it (`F32`, `BF16`, …)."""

    file: Path
    kind: str
    shape: tuple[int, ...]


def stored_weights(folder: Path) -> dict[str, StoredTensor]:
    """The tensors of a model's folder by name.

    Raises:
        ModelError: there are no safetensors, or they cannot be read whole.
    """
    config = _config(folder)
    found = _one_each(weight_files(folder, config))
    if not config.get("quantization_config"):
        _refuse_integers(found)
    return found


def stored_adapter(folder: Path) -> dict[str, StoredTensor]:
    """The tensors of an adapter's folder by name.

    Raises:
        ModelError: there are none, or they cannot be read whole.
    """
    path = folder / ADAPTER
    if not path.is_file():
        raise ModelError(
            "the adapter's weights are missing",
            where=str(path),
            fix="save the adapter with safetensors; a .bin file may run code, so it is not read",
        )
    found = read_header(path)
    if not found:
        raise ModelError("it holds no tensor", where=str(path), fix="save the adapter again")
    _refuse_integers(found)
    return found


def weight_files(folder: Path, config: Mapping[str, Any] | None = None) -> list[Path]:
    """The files that transformers reads a model's weights from, in order.

    Raises:
        ModelError: there are none, or the index names one that is not there.
    """
    named = (_config(folder) if config is None else config).get("transformers_weights")
    first = str(named) if named else WEIGHTS
    if Path(first).name != first:
        raise ModelError(
            f"is {first!r}, which is no file of this folder",
            where=f"{folder}/config.json, field 'transformers_weights'",
            fix="write the name of a file that lies beside it, or leave the line out",
        )
    if not first.endswith(".json") and (folder / first).is_file():
        return [folder / first]
    index = folder / (first if first.endswith(".json") else INDEX)
    if not index.is_file() or (named and not first.endswith(".json")):
        raise _no_weights(folder, first)
    shards = sorted({folder / name for name in _weight_map(index).values()})
    lost = [shard.name for shard in shards if not shard.is_file()]
    if lost:
        raise ModelError(
            f"names {len(lost)} of {len(shards)} files that are not there: {listed(lost)}",
            where=str(index),
            fix="copy or download the missing shards",
        )
    return shards


def read_header(path: Path) -> dict[str, StoredTensor]:
    """Names, types and shapes of one safetensors file, whose size must be what its header says.

    Raises:
        ModelError: it is cut off, or no safetensors file.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as tensors:
            slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118 - no mapping
            return {name: StoredTensor(path, one.get_dtype(), tuple(one.get_shape())) for name, one in slices.items()}
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise ModelError(_why_unreadable(path, error), where=str(path), fix=_how_readable(path)) from error


def not_finite(path: Path) -> list[str]:
    """The tensors of a safetensors file that hold NaN or infinity. The whole file is read, a block at a time.

    Raises:
        OSError, ValueError: it cannot be read, or is no safetensors file.
    """
    with regular(path).open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))
        if length > path.stat().st_size:
            raise ValueError("it is no safetensors file")
        header = parse_json(file.read(length))
        # In the order of the file, so that a disk reads it once.
        stored = sorted((one["data_offsets"], name, one["dtype"]) for name, one in header.items() if name[:2] != "__")
        return [
            name
            for (begin, end), name, kind in stored
            if kind in _EXPONENTS
            and not name.endswith(_MASKS)
            and _holds_none(file, 8 + length + begin, end - begin, kind)
        ]


def _holds_none(file: BinaryIO, start: int, size: int, kind: str) -> bool:
    """Whether `size` bytes of a file hold a number that is none."""
    file.seek(start)
    whole, exponent = _EXPONENTS[kind]
    for at in range(0, size, _BLOCK):
        bits = np.frombuffer(file.read(min(_BLOCK, size - at)), dtype=whole)
        if bits.size and int((bits & bits.dtype.type(exponent)).max()) == exponent:
            return True
    return False


def refuse_stored_not_finite(paths: Iterable[Path]) -> None:
    """Refuse weight files with NaN or infinity, which another program would load without a word.

    Raises:
        ModelError: a file has some; the first tensors that have them are named.
    """
    for path in paths:
        try:
            odd = not_finite(path)
        except (OSError, ValueError) as error:
            raise ModelError(_why_unreadable(path, error), where=str(path), fix=_how_readable(path)) from error
        if odd:
            raise ModelError(f"{none_in(odd)}: every reward would be none", where=str(path), fix=BEFORE_IT_DIVERGED)


BEFORE_IT_DIVERGED = "go back to a checkpoint from before the training diverged, or copy the files again"


def none_in(names: list[str]) -> str:
    """Weights with NaN or infinity, in words."""
    return f"{len(names)} weights hold NaN or infinity ({listed(names)})"


def refuse_adapter(folder: str | Path) -> None:
    """Refuse an adapter's folder where a whole model is needed: transformers would load its base, or both, unasked.

    Raises:
        ModelError: it is one.
    """
    if (Path(folder) / "adapter_config.json").is_file():
        raise ModelError(
            "it holds an adapter, and a whole model is needed here",
            where=str(folder),
            fix=f"rewardsmith export --model {folder} --to hf --out DIR, and name DIR; or remove adapter_config.json",
        )


def listed(names: Iterable[str], most: int = 3) -> str:
    """The first few names, and how many more there are."""
    every = list(names)
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more


def _config(folder: Path) -> dict[str, Any]:
    """config.json as it stands; what cannot be read is for the loader of configurations to refuse."""
    try:
        said = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _weight_map(index: Path) -> dict[str, str]:
    try:
        said = json.loads(index.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"it cannot be read: {error}", where=str(index), fix=_AGAIN) from error
    found = said.get("weight_map") if isinstance(said, dict) else None
    if not isinstance(found, dict) or not found:
        raise ModelError("it names no weights", where=f"{index}, field 'weight_map'", fix=_AGAIN)
    outside = [str(name) for name in found.values() if not isinstance(name, str) or Path(name).name != name]
    if outside:
        raise ModelError(
            f"names {outside[0]!r}, which is no file of this folder",
            where=f"{index}, field 'weight_map'",
            fix="write names of files that lie beside it",
        )
    return found


def _one_each(paths: list[Path]) -> dict[str, StoredTensor]:
    """The tensors of all files; with several, each in the file that the index names, and in no other."""
    found: dict[str, StoredTensor] = {}
    for path in paths:
        header = read_header(path)
        twice = found.keys() & header.keys()
        if twice:
            name = min(twice)
            raise ModelError(
                f"holds {name}, and so does {found[name].file.name}: which of them counts is not said",
                where=str(path),
                fix="save the model again, into an empty folder",
            )
        found |= header
    if not found:
        raise ModelError("it holds no tensor", where=str(paths[0]), fix=_AGAIN)
    index = paths[0].parent / INDEX
    if len(paths) > 1 and index.is_file():
        lost = [name for name, file in _weight_map(index).items() if name not in found or found[name].file.name != file]
        if lost:
            raise ModelError(
                f"names {len(lost)} tensors that are not in the files it says: {listed(lost)}",
                where=str(index),
                fix="copy or download the shards and their index again, all of one save",
            )
    return found


def _refuse_integers(found: dict[str, StoredTensor]) -> None:
    """Whole numbers under a weight's name are of a quantised model: transformers would take them for the weights."""
    odd = [name for name, one in found.items() if name.endswith("weight") and one.kind not in _FLOATS]
    if odd:
        one = found[odd[0]]
        raise ModelError(
            f"{odd[0]} is stored as {one.kind}, and config.json names no quantization: its values are not the weights",
            where=str(one.file),
            fix="restore quantization_config in config.json, or save the model in float32 or bfloat16",
        )


def _no_weights(folder: Path, first: str) -> ModelError:
    """What lies there instead of safetensors, and what to do with it."""
    pickles = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for path in folder.glob(pattern))
    pickles = [name for name in pickles if name not in ("training_args.bin", "optimizer.pt", "scheduler.pt")]
    if (folder / "zero_to_fp32.py").is_file() or any(folder.glob("global_step*")):
        return ModelError(
            f"there is no {first}, only shares of DeepSpeed's ZeRO",
            where=str(folder),
            fix="python zero_to_fp32.py . . --safe_serialization, in that folder",
        )
    if any(folder.rglob("*.distcp")):
        return ModelError(
            f"there is no {first}, only shares of FSDP (*.distcp)",
            where=str(folder),
            fix="accelerate merge-weights SHARES OUT, which writes safetensors",
        )
    if pickles:
        return ModelError(
            f"there is no {first}, only {listed(pickles)}: a pickle may run code, so it is not read",
            where=str(folder),
            fix="load it where you trust it and save_pretrained it again: transformers 5 writes safetensors",
        )
    if any(folder.glob("*.gguf")):
        return ModelError(
            f"there is no {first}, only GGUF", where=str(folder), fix="name the safetensors that it was made from"
        )
    return ModelError(f"there is no {first}", where=str(folder), fix=_AGAIN)


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(_LFS))


def _why_unreadable(path: Path, error: Exception) -> str:
    try:
        size, start = path.stat().st_size, _start(path)
    except OSError as other:
        return f"it cannot be read: {other.strerror or other}"
    if start == _LFS:
        return "it is a Git LFS pointer, not the weights"
    if size == 0:
        return "it is empty"
    said = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return f"it is cut off or damaged ({size:,} bytes; safetensors: {said})"


def _how_readable(path: Path) -> str:
    try:
        return "run git lfs pull in its repository" if _start(path) == _LFS else _AGAIN
    except OSError:
        return "let this user read it"


Trainer = Literal["openrlhf", "transformers"]

OPENRLHF_FIELDS = ("value_head_prefix", "normalize_reward", "mean", "std")
"""What OpenRLHF adds to a configuration."""

_OPENRLHF_CLASSES = ("RewardModel", "LLMForSequenceRegression")
_OPENRLHF_HEADS = ("value_head", "regression_head")


@dataclass(frozen=True, slots=True)
class Foreign:
    """What is particular about a checkpoint without `rewardsmith.json`.

    Attributes:
        closing: how its trainer ended a text; the renderer does the same.
        normalization: mean and std of its rewards: kept in the record, never applied.
        max_length: the model's own limit in tokens, None where it names none.
    """

    trainer: Trainer
    closing: Closing
    normalization: dict[str, str | float] | None
    max_length: int | None


def describe_foreign(config: Any) -> Foreign:
    """Tell from a configuration who trained the model, and what follows from that."""
    limit = getattr(config.get_text_config(), "max_position_embeddings", None)
    ours = made_by_openrlhf(config)
    return Foreign(
        trainer="openrlhf" if ours else "transformers",
        closing="openrlhf" if ours else "shipped",
        normalization=_normalization(config) if ours else None,
        max_length=int(limit) if limit else None,
    )


def made_by_openrlhf(config: Any) -> bool:
    """Whether OpenRLHF's `train_rm` wrote this configuration."""
    architectures = getattr(config, "architectures", None) or ()
    return any(name in _OPENRLHF_CLASSES for name in architectures) or hasattr(config, "value_head_prefix")


def head_names(config: Any) -> dict[str, str]:
    """Patterns of weight names to rename while loading; empty for a head under its usual name."""
    if not made_by_openrlhf(config):
        return {}
    names = {*_OPENRLHF_HEADS, str(getattr(config, "value_head_prefix", "score"))} - {"score"}
    return {rf"^{name}\.": "score." for name in sorted(names)}


def forget_openrlhf(config: Any) -> None:
    """Take OpenRLHF's own fields out of a configuration, in place; mean and std live in the record from then on."""
    for field in OPENRLHF_FIELDS:
        if hasattr(config, field):
            delattr(config, field)


def _normalization(config: Any) -> dict[str, str | float] | None:
    mean, std = getattr(config, "mean", None), getattr(config, "std", None)
    if mean is None or std is None:
        return None
    return {"required_by": "OpenRLHF", "formula": "(reward - mean) / std", "mean": float(mean), "std": float(std)}
