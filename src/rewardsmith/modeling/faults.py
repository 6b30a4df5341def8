"""Faults of a checkpoint that its files alone show: a misleading config, and what older versions did. No torch.

    faults = config_faults(problem_type=None, num_labels=2, id2label={…}, pad=2, eos=2)
    for fault in known_faults(Path("runs/x/model")): fault.code, fault.said, fault.fix

`config_faults` are settings of `config.json` that make another program give another reward; `paths.config_findings`
asks for them of an opened checkpoint, `rewardsmith doctor` of a folder's files. `known_faults` are those that an older
Rewardsmith is known to have had, looked for in a checkpoint that it made.

Opening a checkpoint reproduces its golden rewards, so that rewards which are wrong here are an error of their own.
What is found here is what those cannot show: that it was trained from weights that never loaded, that training moved
float16 weights, that another program reads it otherwise. Nothing is said of a checkpoint of this version.

0.1.0    base-weights   weights of the base that did not load were drawn at random without a word
         float16        `dtype: auto` with a float16 base trained in float16, where a step can be thrown away or explode
         one-spelling   config.json without the names of transformers 4
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from packaging.version import InvalidVersion, Version

from rewardsmith.errors import ModelError, RewardsmithError
from rewardsmith.modeling.spellings import gaps
from rewardsmith.modeling.stored import ADAPTER, StoredTensor, listed, stored_adapter, stored_weights
from rewardsmith.records.bounded import parse_json
from rewardsmith.records.checkpoint import CheckpointRecord
from rewardsmith.records.files import read_record


@dataclass(frozen=True, slots=True)
class ConfigFault:
    """A field with its value, what follows from it, and what belongs there (empty where the caller knows it)."""

    field: str
    value: object
    problem: str
    wanted: str


def config_faults(
    *, problem_type: str | None, num_labels: int, id2label: Mapping[Any, Any] | None, pad: int | None, eos: int | None
) -> list[ConfigFault]:
    """What is wrong with these settings when the model is loaded with transformers, vLLM or SGLang."""
    found = []
    if problem_type != "regression":
        said = "vLLM and transformers' pipeline apply a sigmoid to the reward"
        found.append(ConfigFault("problem_type", problem_type, said, '"regression"'))
    if num_labels != 1:
        said = "transformers makes a head of another size"
        found.append(ConfigFault("id2label", id2label, said, '{"0": "LABEL_0"}'))
    if pad is None or pad == eos:
        said = "transformers takes no batch" if pad is None else "transformers reads a reward before EOS"
        found.append(ConfigFault("pad_token_id", pad, said, ""))
    return found


def pad_beyond(pad: Any, rows: Any) -> bool:
    """Whether a pad token id is no row of an embedding of `rows`; torch counts negative ids from the end."""
    return isinstance(pad, int) and isinstance(rows, int) and not -rows <= pad < rows


def refuse_pad_beyond(config: Any, where: str) -> None:
    """Refuse a transformers configuration whose pad token is no row of its embedding: no model can be built of it.

    Raises:
        ModelError: it is such a one.
    """
    settings = config.get_text_config()
    pad, rows = getattr(settings, "pad_token_id", None), getattr(settings, "vocab_size", None)
    if pad_beyond(pad, rows):
        raise ModelError(
            f"is {pad}, and the vocabulary has {rows} tokens (vocab_size)",
            where=f"{where}, field 'pad_token_id'",
            fix="write the id of the tokenizer's pad token, or null",
        )


FIXED_IN = Version("0.2.0")
"""The first version without these faults."""

_RECORD = "rewardsmith.json"
_EMBEDDED = "embedded"
_HEAD = re.compile(r"(^|\.)(score|classifier|v_head|value_head|regression_head)\.")
_ABOVE = 4
"""How many folders above a checkpoint a relative base is looked for: runs/NAME/model stands three below the spec."""


@dataclass(frozen=True, slots=True)
class KnownFault:
    """One fault: `certain` where the files show it, else where they cannot show that it is absent."""

    code: Literal["base-weights", "float16", "one-spelling"]
    version: str
    said: str
    fix: str
    certain: bool

    def __str__(self) -> str:
        return f"made by Rewardsmith {self.version}: {self.said}; {self.fix}"


def known_faults(folder: Path) -> tuple[KnownFault, ...]:
    """What is known to be wrong, or cannot be known to be right, with a checkpoint of an older version.

    Empty for one of this version, of another program, or whose record cannot be read: opening it says that.
    """
    path = folder / _RECORD
    try:
        record = read_record(path, CheckpointRecord) if path.is_file() else None
        old = record is not None and Version(record.rewardsmith_version) < FIXED_IN
    except (RewardsmithError, InvalidVersion):
        return ()
    return tuple(_found(folder, record)) if record and old else ()


def _found(folder: Path, record: CheckpointRecord) -> Iterator[KnownFault]:
    version = record.rewardsmith_version
    trained = bool(record.data_fingerprints) and not record.parents
    try:
        adapter = (folder / ADAPTER).is_file()
        stored = stored_adapter(folder) if adapter else stored_weights(folder)
    except ModelError:  # loading says so
        stored, adapter = {}, False
    if trained and stored and not adapter and record.base_model != _EMBEDDED:
        yield from _base_weights(folder, record, stored)
    half = [name for name, one in stored.items() if one.kind == "F16"]
    if trained and half:
        yield KnownFault(
            "float16",
            version,
            f"{len(half)} of {len(stored)} weights are float16, and training moved them in float16 ({listed(half)})",
            "train again: this version keeps trainable weights in float32 or bfloat16",
            certain=True,
        )
    if found := list(gaps(_config(folder))):
        yield KnownFault(
            "one-spelling",
            version,
            f"rewards are right here, and others in transformers 4, which reads {'; '.join(map(str, found))}",
            f"rewardsmith doctor {folder} --fix",
            certain=True,
        )


def _config(folder: Path) -> dict[str, Any]:
    """The configuration; empty where there is none or it cannot be read, which opening the model says."""
    path = folder / "config.json"
    try:
        read = parse_json(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}


def _base_weights(folder: Path, record: CheckpointRecord, stored: dict[str, StoredTensor]) -> Iterator[KnownFault]:
    """By name: what the checkpoint has and its base does not, neither as it is nor without the model's prefix."""
    version, base = record.rewardsmith_version, record.base_model
    said = "weights of the base that did not load were drawn at random without a word"
    there = _base_folder(folder, base)
    if there is None:
        yield KnownFault(
            "base-weights",
            version,
            f"{said}, and only the base can show it: {base!r} is not at hand",
            "bring it where base_model in rewardsmith.json says, and open the checkpoint again",
            certain=False,
        )
        return
    try:
        of_base = stored_weights(there)
    except ModelError as error:
        yield KnownFault(
            "base-weights",
            version,
            f"{said}, and its base {str(there)!r} does not load whole: {error.problem}",
            "train again from a whole base",
            certain=True,
        )
        return
    known = {name.replace(".gamma", ".weight").replace(".beta", ".bias") for name in of_base}  # as old BERTs have them
    lost = [name for name in stored if not ({name, name.partition(".")[2]} & known or _HEAD.search(name))]
    if lost:
        yield KnownFault(
            "base-weights",
            version,
            f"{said}: {len(lost)} of {len(stored)} weights are not in its base {str(there)!r} by name ({listed(lost)})",
            "train again: this version takes known prefixes off, and refuses a base in which weights are missing",
            certain=True,
        )


def _base_folder(folder: Path, base: str) -> Path | None:
    """Where the base lies: as it is named, below a folder above the checkpoint, or in the hub's cache."""
    above = folder.resolve().parents[:_ABOVE]
    try:
        there = next(
            (one for one in (Path(base), *(one / base for one in above)) if (one / "config.json").is_file()), None
        )
    except OSError:  # no name of a file at all
        return None
    if there is not None:
        return there
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", base):
        return None
    from huggingface_hub import try_to_load_from_cache

    for name in ("model.safetensors", "model.safetensors.index.json"):
        if isinstance(found := try_to_load_from_cache(base, name), str):
            return Path(found).parent
    return None
