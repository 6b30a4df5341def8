"""Names and shapes in the files matched to those of a model, before a value is read.

    settled = settle("Qwen/Qwen3-0.6B", config, head="base", revision=None)      # renamings and notes, or a refusal
    renamed(name, settled.renames)                                               # the model's name of a stored tensor

Each load is tried first with tensors that have shapes and no values (the meta device), through upstream's own renaming
and merging. What is missing, unexpected or of another shape is refused, named, with its likely cause. Prefixes that
wrappers leave in the names (`_orig_mod.`, `module.`, …) are taken off, and said.

What may be absent or left over: the head of a base (drawn anew), the language-model head that a classifier has no use
for, a pooler that its architecture does not read, and what transformers itself lists for the architecture.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors
import torch
import transformers
from transformers.utils import cached_file

from rewardsmith.errors import ModelError, first_line
from rewardsmith.modeling.quiet import quiet_upstream
from rewardsmith.modeling.stored import (
    INDEX,
    WEIGHTS,
    StoredTensor,
    head_names,
    listed,
    refuse_adapter,
    stored_weights,
)

Head = Literal["needed", "base", "new"]
"""`needed`: a reward model, whose head must be in the files. `base`: a head is kept where it can be held, and drawn
where there is none. `new`: a head in the files is dropped."""

_WRAPPERS = (
    (r"_orig_mod\.", "", "torch.compile"),
    (r"(?:_orig_mod)\.", "", "torch.compile"),  # a renaming acts once a name: this one takes a second one off
    (r"_fsdp_wrapped_module\.", "", "FSDP"),
    (r"(?:_fsdp_wrapped_module)\.", "", "FSDP"),
    (r"_checkpoint_wrapped_module\.", "", "activation checkpointing"),
    (r"^_forward_module\.", "", "Lightning or DeepSpeed"),
    (r"^(?:module\.)+", "", "DDP or DataParallel"),
    (r"^base_model\.model\.", "", "peft"),
    (r"^pretrained_model\.", "", "TRL's value-head wrapper"),
    (r"^(?:model\.)?language_model\.lm_head\.", "lm_head.", "a vision-language model"),
    (r"^(?:model\.)?(?:language_model|text_model)\.(?:model\.)?", "{base}.", "a vision-language model"),
    (r"^model\.(?=(?:model|transformer|backbone)\.)", "", "a module around the model"),
)
_LANGUAGE_HEAD = re.compile(
    r"^(lm_head|embed_out|cls|predictions|sop_classifier|generator_(predictions|lm_head)|discriminator_predictions"
    r"|vocab_(transform|layer_norm|projector)|lm_predictions|mask_predictions|lm_loss|pred_layer|decoder\.(weight|bias)$"
    r"|final_logits_bias$)\b"
)
_OLD_BUFFERS = re.compile(
    r"(attn|attention|self_attention)\.(masked_)?bias$|\.(inv_freq|cos_cached|sin_cached|(position|token_type)_ids)$"
)
"""Causal masks and rotary tables, which transformers used to save and computes today; a mask has four dimensions."""
_HEADS = (
    *("score", "classifier", "classification_head", "pre_classifier", "sequence_summary", "logits_proj", "head"),
    *("v_head", "value_head", "regression_head", "reward_head", "rm_head", "summary", "out_proj"),
)
CAN_FAIL = (
    *(OSError, ValueError, RuntimeError, ImportError, LookupError, TypeError, AttributeError, ArithmeticError),
    *(AssertionError, safetensors.SafetensorError),
)
"""What upstream raises over files that are damaged or of another model."""


@dataclass(frozen=True, slots=True)
class Settled:
    """How the names of the files become those of the model, and what was done to them, in words."""

    stored: dict[str, StoredTensor]
    renames: dict[str, str]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Report:
    """What upstream makes of the names: without a place, without a value, and (name, in the file, in the model)."""

    missing: list[str]
    unexpected: list[str]
    mismatched: list[tuple[str, tuple[int, ...], tuple[int, ...]]]

    @property
    def clean(self) -> bool:
        return not (self.missing or self.unexpected or self.mismatched)


@contextmanager
def told(problem: str, where: str, fix: str) -> Iterator[None]:
    """Upstream's errors as one `ModelError` with a fix."""
    try:
        yield
    except ModelError:
        raise
    except CAN_FAIL as error:
        raise ModelError(f"{problem}: {first_line(error)}", where=where, fix=fix) from error


def plain_errors(model: str) -> AbstractContextManager[None]:
    """Those of building or filling a model."""
    return told(
        f"{model!r} cannot be loaded as a reward model",
        where="base_model.id",
        fix="name a text model with safetensors weights, in a folder, in the hub cache or on the hub",
    )


def settle(model: str, config: Any, *, head: Head, revision: str | None) -> Settled:
    """Which stored name is which weight of the classifier that `config` describes.

    Raises:
        ModelError: a weight is missing, left over or of another shape, or stands there twice.
    """
    stored = _stored(model, revision)
    with plain_errors(model), torch.device("meta"), quiet_upstream():
        skeleton = transformers.AutoModelForSequenceClassification.from_config(
            copy.deepcopy(config), trust_remote_code=False
        )
    renames = {} if head == "new" else head_names(config)
    _refuse_lost_experts(stored, model)
    if getattr(config, "quantization_config", None):  # packed weights have other names and shapes: the load itself says
        return Settled(stored, renames, ())
    report = _left_over(_tried(skeleton, config, stored, renames, model), skeleton, stored, head)
    notes: tuple[str, ...] = ()
    if not report.clean:
        wrapped, causes = _unwrapping(stored, skeleton)
        if wrapped:
            tried = _tried(skeleton, config, stored, wrapped | renames, model)
            other = _left_over(tried, skeleton, stored, head)
            if len(other.missing) < len(report.missing) or other.clean:
                report, renames = other, wrapped | renames
                said = "; ".join(f"the prefix of {cause} is taken off" for cause in causes)
                notes = (f"{said}: {listed(prefixed(stored, wrapped))}",)
    _refuse_twins(stored, renames, skeleton, model)
    _refuse(report, skeleton, stored, model, head)
    return Settled(stored, renames, notes)


def _stored(model: str, revision: str | None) -> dict[str, StoredTensor]:
    """Headers of the weight files; those of a hub id come from the hub's cache, and into it."""
    if Path(model).is_dir():
        refuse_adapter(model)
        return stored_weights(Path(model))
    with plain_errors(model), quiet_upstream():
        first = None
        for name in (WEIGHTS, INDEX):
            first = first or cached_file(model, name, revision=revision, _raise_exceptions_for_missing_entries=False)
        if first is None:
            raise ModelError(
                f"{model!r} has no safetensors",
                where="base_model.id",
                fix="name a model with model.safetensors; a .bin file may run code, so it is not read",
            )
        if Path(first).name == INDEX:
            shards = set(json.loads(Path(first).read_text(encoding="utf-8"))["weight_map"].values())
            for name in sorted(shards):
                cached_file(model, name, revision=revision)
    return stored_weights(Path(first).parent)


def refuse_unmatched(
    found: Mapping[str, Any], model: Any, stored: Mapping[str, StoredTensor], where: str, head: Head
) -> None:
    """Refuse what a real load left over, as the trial did: `found` is upstream's report of it.

    Raises:
        ModelError: as `settle`.
    """
    _refuse(_left_over(_report_of(found), model, stored, head), model, stored, where, head)


def _tried(
    skeleton: Any, config: Any, stored: Mapping[str, StoredTensor], renames: dict[str, str], model: str
) -> _Report:
    """Upstream's own renaming and merging, on tensors without values."""
    empty = {name: torch.empty(one.shape, device="meta") for name, one in stored.items()}
    with plain_errors(model), quiet_upstream():
        _, found = type(skeleton).from_pretrained(
            None,
            config=copy.deepcopy(config),
            state_dict=empty,
            device_map={"": "meta"},
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            key_mapping=renames or None,
        )
    return _report_of(found)


def _report_of(found: Mapping[str, Any]) -> _Report:
    shapes = [(name, tuple(one), tuple(other)) for name, one, other in found["mismatched_keys"]]
    return _Report(sorted(found["missing_keys"]), sorted(found["unexpected_keys"]), sorted(shapes))


def _left_over(report: _Report, skeleton: Any, stored: Mapping[str, StoredTensor], head: Head) -> _Report:
    """Without what may be absent or left over."""
    base = f"{skeleton.base_model_prefix}."
    old = tuple(name for name, one in stored.items() if _OLD_BUFFERS.search(f".{name}") and _no_bias(name, one.shape))

    def own_head(name: str) -> bool:
        return not name.startswith(base) or name.startswith(f"{base}pooler.")

    def ignored(name: str) -> bool:
        return bool(_LANGUAGE_HEAD.search(name.removeprefix(base))) or bool(re.match(rf"^({base})?pooler\.", name))

    def outdated(name: str) -> bool:
        return any(name.endswith(one) or one.endswith(name) for one in old)

    missing, mismatched = report.missing, report.mismatched
    unexpected = [name for name in report.unexpected if not ignored(name) and not outdated(name)]
    if head != "needed":
        missing = [name for name in missing if not own_head(name)]
    if head == "new":
        unexpected = [name for name in unexpected if not _of_a_head(name)]
        mismatched = [one for one in mismatched if not own_head(one[0])]
    return _Report(missing, unexpected, mismatched)


def _no_bias(name: str, shape: tuple[int, ...]) -> bool:
    return not name.endswith("bias") or len(shape) != 1


def _of_a_head(name: str) -> bool:
    return name.partition(".")[0] in _HEADS


def _unwrapping(stored: Iterable[str], skeleton: Any) -> tuple[dict[str, str], tuple[str, ...]]:
    """The renamings that apply to some of the names, in their order, and whose prefixes they take off."""
    names, causes = set(stored), []
    renames: dict[str, str] = {}
    for pattern, target, cause in _WRAPPERS:
        put = target.format(base=skeleton.base_model_prefix)
        changed = {re.sub(pattern, put, name, count=1) for name in names}
        if changed != names:
            names, renames = changed, renames | {pattern: put}
            causes.append(cause)
    return renames, tuple(dict.fromkeys(causes))


def prefixed(stored: Iterable[str], renames: Mapping[str, str]) -> list[str]:
    """Names before and after."""
    pairs = [(name, renamed(name, renames)) for name in stored]
    return [f"{name} → {new}" for name, new in pairs if name != new]


def renamed(name: str, renames: Mapping[str, str]) -> str:
    """A stored name as the model's."""
    for pattern, target in renames.items():
        name = re.sub(pattern, target, name, count=1)
    return name


def _refuse_twins(stored: Mapping[str, StoredTensor], renames: Mapping[str, str], skeleton: Any, model: str) -> None:
    """Two tensors for one weight: upstream would take either."""
    taken: dict[str, str] = {}
    for name in stored:
        own = renamed(name, renames).removeprefix(f"{skeleton.base_model_prefix}.")
        if own in taken:
            raise ModelError(
                f"holds {name} and {taken[own]}, both for the same weight",
                where=str(stored[name].file),
                fix="delete one of the two, or save the model again",
            )
        taken[own] = name


_EXPERT = re.compile(r"(.*\.experts\.)(\d+)(\..*)")


def _refuse_lost_experts(stored: Mapping[str, StoredTensor], model: str) -> None:
    """Experts that are stored one by one are merged into one weight; upstream's error names none that is lost."""
    parts = [found.groups() for name in stored if (found := _EXPERT.fullmatch(name))]
    numbers: dict[str, set[str]] = {}
    for layer, number, _ in parts:
        numbers.setdefault(layer, set()).add(number)
    suffixes = {(layer, suffix) for layer, _, suffix in parts}
    lost = sorted(f"{layer}{one}{suffix}" for layer, suffix in suffixes for one in numbers[layer])
    lost = [name for name in lost if name not in stored]
    if lost:
        raise ModelError(
            f"{len(lost)} weights of experts are not in the files ({listed(lost)})",
            where=model,
            fix="copy or download all files of one save again",
        )


def _refuse(report: _Report, skeleton: Any, stored: Mapping[str, StoredTensor], model: str, head: Head) -> None:
    heads = [name for name in report.unexpected if _of_a_head(name)]
    keep = "serve it with the code that it was published with, and score it from there with --rewards FILE"
    drop = "write base_model.head: new to draw a new head on this model and drop the one it has"
    fix = keep if head == "needed" else f"{drop}; to keep it, train with the code that made it"
    if heads:
        raise ModelError(
            f"the head has {listed(heads)}, which a head of one linear layer without bias cannot hold",
            where=model,
            fix=fix,
        )
    base = f"{skeleton.base_model_prefix}."
    labels = [one for one in report.mismatched if not one[0].startswith(base)]
    if labels:
        name, found, wanted = labels[0]
        raise ModelError(
            f"its head is another: {name} is {by_shape(found)}, a reward needs {by_shape(wanted)} (one label)",
            where=model,
            fix="name a reward model with one label" if head == "needed" else drop,
        )
    if head == "needed" and report.missing and all(not name.startswith(base) for name in report.missing):
        raise head_missing(listed(report.missing), model)
    if not report.clean:
        cause, fix = _cause(report, skeleton, stored)
        raise ModelError(f"{_counted(report, skeleton)}: {cause}", where=model, fix=fix)


def head_missing(what: str, where: str) -> ModelError:
    """The refusal of a checkpoint without its reward head."""
    return ModelError(
        f"the checkpoint lacks {what}: its rewards would be random",
        where=where,
        fix="save the reward head with the model (for LoRA: task_type=SEQ_CLS or modules_to_save=['score'])",
    )


def _counted(report: _Report, skeleton: Any) -> str:
    parts = []
    if report.missing:
        needed = len(skeleton.state_dict())
        parts.append(f"{len(report.missing)} of {needed} weights are not in the files ({listed(report.missing)})")
    if report.unexpected:
        parts.append(f"{len(report.unexpected)} in the files have no place ({listed(report.unexpected)})")
    if report.mismatched:
        shapes = [f"{name} is {by_shape(found)}, not {by_shape(wanted)}" for name, found, wanted in report.mismatched]
        parts.append(f"{len(shapes)} have another shape ({listed(shapes, 2)})")
    return ", ".join(parts)


def by_shape(shape: Iterable[int]) -> str:
    """A shape in words: 1 × 32."""
    return " × ".join(map(str, shape)) or "one number"


_LAYER = re.compile(r"\.(?:layers?|h|blocks?)\.(\d+)\.")


def _cause(report: _Report, skeleton: Any, stored: Mapping[str, StoredTensor]) -> tuple[str, str]:
    """The likely cause and its fix."""
    again = "copy or download all files of one save again, config.json with them"
    if any("lora_" in name for name in report.unexpected):
        return "an adapter was saved inside the model's weights", "save the adapter alone, or merge it before saving"
    if any("vision" in name or "visual" in name for name in report.unexpected):
        return (
            "the files are of a vision-language model, config.json is of a text model",
            "save the language model alone, or restore the config.json of the whole model",
        )
    for name in report.unexpected:
        for wanted in report.missing:
            if name.endswith(f".{wanted}"):
                prefix = name.removesuffix(wanted)
                return f"the names carry a prefix that is not known, {prefix!r}", f"take {prefix!r} off when saving"
    layers = {int(found.group(1)) for name in stored if (found := _LAYER.search(f".{name}"))}
    asked = getattr(skeleton.config.get_text_config(), "num_hidden_layers", None)
    if layers and asked and len(layers) != asked:
        lost = sorted(set(range(asked)) - layers)
        said = f"config.json says {asked} layers, the files hold {len(layers)}"
        said += f" (without {listed(map(str, lost), 5)})" if lost and lost[0] < max(layers) else ""
        return said, "restore the lost weights, or the config.json that they were saved with"
    if report.mismatched and not report.missing:
        return "config.json is of a model of another size", again
    if report.missing and not report.unexpected:
        return "they would be random; a shard or a part of the model is lost", again
    return "the files are not of the model that config.json describes", again
