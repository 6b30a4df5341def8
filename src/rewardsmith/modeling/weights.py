"""The one way of weights from files into a model: every name and shape is settled before a value is read.

    model = load_classifier("Qwen/Qwen3-0.6B", config, head="base", dtype=torch.float32)
    model = load_adapter(model, Path("runs/x/model"))
    check_weights("runs/x/model")                       # the same refusals, from headers and configuration alone
    compared = compare_with_files(model, "runs/x/model")     # what is in memory beside what is in the files

transformers draws at random what it does not find, and leaves out what it does not know; peft does the same for
adapters; both only warn. So names and shapes are matched first (matching.py), and values are looked at afterwards: a
weight that is not finite, and a head or an embedding of zeros, are refused.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import re
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers.core_model_loading import revert_weight_conversion

from rewardsmith.errors import ModelError, first_line
from rewardsmith.modeling.matching import (
    Head,
    by_shape,
    head_missing,
    plain_errors,
    prefixed,
    refuse_unmatched,
    renamed,
    settle,
    told,
)
from rewardsmith.modeling.quiet import quiet_upstream
from rewardsmith.modeling.stored import (
    ADAPTER,
    BEFORE_IT_DIVERGED,
    INDEX,
    WEIGHTS,
    StoredTensor,
    listed,
    none_in,
    stored_adapter,
    stored_weights,
)

_KEPT = "it has a reward head, and training goes on with it; base_model.head: new draws another"
_LOG = logging.getLogger(__name__)


def load_classifier(model: str, config: Any, *, head: Head, **arguments: Any) -> Any:
    """A one-label classifier with the weights of a folder or hub id, all of them or none.

    Args:
        config: says one label already.
        head: what is to become of the reward head.
        arguments: for `from_pretrained`; `revision` names the hub's revision.

    Raises:
        ModelError: files that cannot be read, a weight without a place or a place without a weight, one that is not
            a finite number.
    """
    settled = settle(model, config, head=head, revision=arguments.get("revision"))
    with plain_errors(model), quiet_upstream():
        loaded, report = transformers.AutoModelForSequenceClassification.from_pretrained(
            model,
            config=config,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # named and refused below; upstream's own error names nothing
            key_mapping=settled.renames or None,
            **arguments,
        )
    refuse_unmatched(report, loaded, settled.stored, model, head)
    if settled.renames:
        loaded._weight_conversions = None  # noqa: SLF001 - saving would give the weights their foreign names back
    if head == "new":
        _draw_head(loaded, drawn={*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])})
    refuse_not_finite(loaded, model)
    _refuse_zeros(loaded, model, with_head=head == "needed")
    for note in settled.notes:
        _LOG.warning("note: %s: %s", model, note)
    outside = (name.partition(".")[0] for name in report["missing_keys"])
    kept = head == "base" and all(first == loaded.base_model_prefix for first in outside)
    loaded.weight_notes = (*settled.notes, *((_KEPT,) if kept else ()))
    loaded.new_weights = tuple(sorted(report["missing_keys"]))
    return loaded


def head_modules(model: nn.Module) -> list[str]:
    """Names of the modules with weights that stand beside the base inside a sequence-classification model."""
    prefix = str(getattr(model, "base_model_prefix", ""))
    return [name for name, child in model.named_children() if name != prefix and any(True for _ in child.parameters())]


def _draw_head(model: Any, drawn: set[str]) -> None:
    """Initialise a head that was read once more, as upstream does one that the files do not have."""
    named = [(name, module) for name, module in model.named_modules()]
    heads = [(name, module) for name, module in named if name.partition(".")[0] not in ("", model.base_model_prefix)]
    read = {f"{name}.{own}" for name, module in heads for own, _ in module.named_parameters(recurse=False)} - drawn
    if not read:
        return
    for _, module in heads:
        for one in module.parameters(recurse=False):
            one._is_hf_initialized = False  # noqa: SLF001 - upstream leaves alone what it has read
    with torch.no_grad():
        for _, module in heads:
            model._init_weights(module)  # noqa: SLF001 - what `from_pretrained` calls itself


def check_weights(model: str | Path, config: Any, *, head: Head, revision: str | None = None) -> tuple[str, ...]:
    """Settle names and shapes from headers and configuration; no value is read. Returns what would be said.

    Raises:
        ModelError: as `load_classifier`, but for values.
    """
    return settle(str(model), config, head=head, revision=revision).notes


def refuse_not_finite(model: torch.nn.Module, where: str | Path) -> None:
    """Refuse NaN and infinity among the weights: every reward would be one.

    Raises:
        ModelError: there are some; the first tensors that have them are named.
    """
    named = [*model.named_parameters(), *model.named_buffers()]
    # What is on the meta device comes later, from another process (FSDP).
    values = [(name, one) for name, one in named if one.is_floating_point() and one.numel() and not one.is_meta]
    odd = [name for name, one in values if not _finite(one)]
    odd = [name for name in odd if not name.endswith(("bias_mask", "masked_bias"))]
    if odd:
        raise ModelError(
            f"{none_in(odd)}: every reward would be none",
            where=str(where),
            fix=BEFORE_IT_DIVERGED,
        )


def _refuse_zeros(model: Any, where: str | Path, *, with_head: bool) -> None:
    """Refuse an embedding or a reward head of zeros (a file of holes, say): every text would get the same reward."""
    owner = model.get_base_model() if hasattr(model, "peft_config") else model
    looked_at = []
    with contextlib.suppress(NotImplementedError, AttributeError):
        looked_at.append(("the embedding of the tokens", owner.get_input_embeddings().weight))
    if with_head:
        heads = [module for name, module in owner.named_modules() if name in head_modules(owner)]
        weights = [one for head in heads for name, one in head.named_parameters() if name.endswith("weight")]
        looked_at += [("the reward head", one) for one in weights if one.ndim > 1]
    for what, weight in looked_at:
        if not weight.is_meta and weight.numel() and not bool(weight.any()):
            raise ModelError(
                f"{what} holds nothing but zeros: every text would get the same reward",
                where=str(where),
                fix="copy or download the weights again, or save the model again",
            )


def _finite(tensor: Tensor) -> bool:
    # One sum instead of a mask of the same size; a sum of finite values can overflow, so it is looked at again then.
    whole = tensor.detach().sum(dtype=torch.promote_types(tensor.dtype, torch.float32))
    return bool(torch.isfinite(whole)) or bool(torch.isfinite(tensor).all())


def _plain_adapter_errors(path: Path) -> AbstractContextManager[None]:
    """peft's errors."""
    return told(
        "the adapter cannot be put on its base",
        where=str(path),
        fix="restore the adapter_config.json that it was saved with, and name the base that it was trained on",
    )


# ---------------------------------------------------------------------------------------------------------- adapters


ADAPTERS = ("LORA", "LOHA", "LOKR", "IA3", "OFT")
"""Kinds of adapters that are read: the rewards of each are tested against peft's."""
_PEFT_NOTES = ("peft_version",)


def adapter_config(folder: Path) -> Any:
    """The configuration of an adapter that adds to the weights.

    Raises:
        ModelError: it cannot be read, or it is of a kind that changes texts or activations instead.
    """
    import peft

    path = folder / "adapter_config.json"
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        kind = said["peft_type"]
    except (OSError, ValueError, RecursionError, LookupError, TypeError) as error:
        raise ModelError(
            f"it does not say what kind of adapter it is: {first_line(error)}",
            where=f"{path}, field 'peft_type'",
            fix="restore the file as peft saved it",
        ) from error
    if not isinstance(kind, str) or kind not in ADAPTERS:
        raise ModelError(
            f"is {kind!r}: only adapters that add to the weights are read ({', '.join(ADAPTERS)}), none that puts "
            "tokens before a text or changes what passes through",
            where=f"{path}, field 'peft_type'",
            fix="train a LoRA adapter with its head (adapter.kind: lora), or score it with peft and hand in --rewards",
        )
    known = {field.name for field in dataclasses.fields(peft.PEFT_TYPE_TO_CONFIG_MAPPING[peft.PeftType(kind)])}
    odd = [name for name, value in said.items() if value and name not in known and name not in _PEFT_NOTES]
    odd += [name for name in ("alora_invocation_tokens",) if said.get(name)]
    if odd:
        raise ModelError(
            f"is {said[odd[0]]!r}, which the installed peft {peft.__version__} does not know or this project not read",
            where=f"{path}, field {odd[0]!r}",
            fix="update peft to the version that saved it",
        )
    if kind == "LORA":
        _refuse_scale(said, path)
    with _plain_adapter_errors(path), quiet_upstream(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Unexpected keyword arguments")  # those left are empty
        config = peft.PeftConfig.from_pretrained(str(folder))
    config.inference_mode = True
    return config


def _refuse_scale(said: Mapping[str, Any], path: Path) -> None:
    """Refuse a LoRA without its scale: peft would take 8 for a missing one, and with 0 the adapter does nothing."""
    for field in ("r", "lora_alpha"):
        value = said.get(field)
        sound = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")
        if not sound:
            odd = f"is {value!r}: an adapter is scaled by lora_alpha / r"
            raise ModelError(
                odd if field in said else "is missing: peft would guess it",
                where=f"{path}, field {field!r}",
                fix="restore the file as peft saved it",
            )


def load_adapter(model: Any, folder: Path) -> Any:
    """The model with a saved adapter and its head on it, in evaluation mode.

    Raises:
        ModelError: a tensor without a place, a place without a tensor, another shape, a head that is missing.
    """
    import peft

    wrapped, renames, notes = _wrapped(model, folder)
    tensors = {renamed(name, renames): one for name, one in load_file(folder / ADAPTER).items()}
    with _plain_adapter_errors(folder / ADAPTER), quiet_upstream():
        result = peft.set_peft_model_state_dict(wrapped, tensors)
    missing = [name for name in result.missing_keys if ".default." in name or name.endswith(".default")]
    if missing or result.unexpected_keys:
        raise _adapter_unlike(missing, list(result.unexpected_keys), [], folder)
    refuse_not_finite(wrapped, folder / ADAPTER)
    _refuse_zeros(wrapped, folder / ADAPTER, with_head=True)
    for note in notes:
        _LOG.warning("note: %s: %s", folder, note)
    wrapped.weight_notes = (*getattr(model, "weight_notes", ()), *notes)
    return wrapped.eval()


def check_adapter(config: Any, folder: Path) -> tuple[str, ...]:
    """Settle names and shapes of an adapter on a base of this configuration; no value is read.

    Raises:
        ModelError: as `load_adapter`, but for values.
    """
    with plain_errors(str(folder)), torch.device("meta"), quiet_upstream():
        skeleton = transformers.AutoModelForSequenceClassification.from_config(config, trust_remote_code=False)
        return _wrapped(skeleton, folder)[2]


def _wrapped(model: Any, folder: Path) -> tuple[Any, dict[str, str], tuple[str, ...]]:
    """The model with a new adapter on it, and how the names in the file become the adapter's."""
    import peft

    config, stored = adapter_config(folder), stored_adapter(folder)
    heads = tuple(f".{name}" for name in head_modules(model))
    if not any(any(f"{head}." in f".{name}" for head in heads) and "lora_" not in name for name in stored):
        raise head_missing("the reward head", str(folder / ADAPTER))
    kinds = peft.MODEL_TYPE_TO_PEFT_MODEL_MAPPING
    with _plain_adapter_errors(folder / "adapter_config.json"), quiet_upstream():
        wrapped = kinds.get(config.task_type, peft.PeftModel)(model, config)
        wanted = {
            name: tuple(one.shape)
            for name, one in peft.get_peft_model_state_dict(wrapped, save_embedding_layers=False).items()
        }
    renames, notes = _adapter_renames(stored, wanted)
    found = {renamed(name, renames): one.shape for name, one in stored.items()}
    if len(found) < len(stored):
        raise _adapter_unlike([], [], ["two tensors for one weight"], folder)
    shapes = [
        f"{name} is {by_shape(found[name])}, not {by_shape(shape)}"
        for name, shape in wanted.items()
        if name in found and tuple(found[name]) != shape
    ]
    inside = wrapped.state_dict()
    unexpected = [name for name in found if name not in wanted and not _place(name, inside)]
    missing = [name for name in wanted if name not in found]
    # Experts that were saved one by one are merged by peft itself: their names differ on both sides, and peft reports.
    merged = any(".experts." in name for name in (*missing, *unexpected))
    if shapes or ((missing or unexpected) and not merged):
        raise _adapter_unlike(missing, unexpected, shapes, folder)
    return wrapped, renames, notes


def _place(name: str, inside: Mapping[str, Any]) -> bool:
    """Embeddings that were saved whole beside the adapter, because the vocabulary grew."""
    return name in inside and any(part in name for part in ("embed", "wte"))


def _adapter_renames(
    stored: Mapping[str, StoredTensor], wanted: Mapping[str, Any]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """The first way of taking prefixes off, or putting one in, under which every name has its place."""
    ways: list[tuple[dict[str, str], str]] = [({}, "")]
    first = "base_model.model."
    inner = next((name.removeprefix(first).partition(".")[0] for name in wanted if "lora_" in name), "model")
    off = {r"_orig_mod\.": "", r"(?:_orig_mod)\.": "", r"_fsdp_wrapped_module\.": "", r"^(?:module\.)+": ""}
    off |= {r"^base_model\.model\.(?:module\.)+": first}
    ways.append((off, "the prefixes of torch.compile, FSDP or DDP are taken off"))
    into = off | {
        rf"^(?:base_model\.model\.)?(?!base_model\.|{inner}\.|score\.|classifier\.)": f"{first}{inner}.",
        rf"^(?=(?:{inner}|score|classifier)\.)": first,
    }
    ways.append((into, f"the names were given the prefix {first}{inner}"))
    away = off | {r"^base_model\.model\.(?:model\.)?(?:language_model|text_model)\.(?:model\.)?": f"{first}{inner}."}
    ways.append((away, "the prefix of a vision-language model is taken off"))
    ways.append((off | {rf"^base_model\.model\.model\.(?={inner}\.|score\.)": first}, "a doubled prefix is taken off"))
    for renames, note in ways:
        if {renamed(name, renames) for name in stored} >= wanted.keys():
            changed = prefixed(stored, renames)
            return (renames, (f"{note}: {listed(changed, 1)}",)) if changed else ({}, ())
    return {}, ()


def _adapter_unlike(missing: list[str], unexpected: list[str], shapes: list[str], folder: Path) -> ModelError:
    parts = []
    if missing:
        parts.append(f"{len(missing)} weights of the adapter are not in the file ({listed(missing)})")
    if unexpected:
        parts.append(f"{len(unexpected)} in the file have no place ({listed(unexpected)})")
    if shapes:
        parts.append(f"{len(shapes)} have another shape ({listed(shapes, 2)})")
    return ModelError(
        ", ".join(parts) + ": file, adapter_config.json (r, target_modules) and base are not of one training",
        where=str(folder / ADAPTER),
        fix="restore file and adapter_config.json from one save, and name the base that the adapter was trained on",
    )


# ------------------------------------------------------------------------------------------------- memory and files


@dataclass(frozen=True, slots=True)
class Compared:
    """`tensors` in memory were held against the files; `differ` names those that are not what stands there."""

    tensors: int
    differ: tuple[str, ...]


def compare_with_files(model: Any, folder: str | Path, config: Any, adapter_base: str | None = None) -> Compared:
    """Hold every weight in memory against the file that it should come from, read here once more.

    Names go the other way than in loading: from the model's, through what `save_pretrained` would do to them, to the
    files'. A weight that a wrong name left at random differs, whatever upstream reported.

    Args:
        model: in float32, as loaded; an adapter not merged.
        config: of the classifier: says one label.
        adapter_base: where the weights below an adapter come from.
    """
    import peft

    owner = model.get_base_model() if hasattr(model, "peft_config") else model
    source = adapter_base or str(folder)
    settled = settle(source, config, head="new" if adapter_base else "needed", revision=None)
    counted, differ = 0, []
    if adapter_base:
        own = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
        stored = stored_adapter(Path(folder))
        renames, _ = _adapter_renames(stored, own)
        with safetensors.safe_open(Path(folder) / ADAPTER, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - no mapping
                inner = own.get(renamed(name, renames))
                if inner is not None:
                    counted += 1
                    differ += [name] if not _same(tensors.get_tensor(name), inner) else []
        differ += sorted(own.keys() - {renamed(name, renames) for name in stored})
    held = _as_saved(owner, adapter=adapter_base is not None)
    seen: set[int] = set()
    for name, one in settled.stored.items():
        key = renamed(name, settled.renames)
        while key not in held and key.startswith(f"{owner.base_model_prefix}."):
            key = key.removeprefix(f"{owner.base_model_prefix}.")
        if key not in held:
            continue
        counted += 1
        seen.add(held[key].data_ptr())
        with safetensors.safe_open(one.file, framework="pt") as tensors:
            if not _same(tensors.get_tensor(name), held[key]):
                differ.append(name)
    differ += [name for name, one in held.items() if one.numel() and one.data_ptr() not in seen]
    return Compared(counted, tuple(dict.fromkeys(differ)))


def check_saved(model: Any, folder: Path) -> None:
    """Refuse a training checkpoint that does not hold each weight of the model: the trainer would only warn.

    Args:
        model: what training goes on with; an adapter not merged.
        folder: what the trainer saved; shares of several processes (FSDP) are not looked at.

    Raises:
        ModelError: names are missing or left over.
    """
    import peft

    if (folder / ADAPTER).is_file():
        own = set(peft.get_peft_model_state_dict(model, save_embedding_layers=False))
        found = {name for name in stored_adapter(folder) if name in own or not _place(name, model.state_dict())}
    elif (folder / WEIGHTS).is_file() or (folder / INDEX).is_file():
        held = _as_saved(model, adapter=False)
        found = {name.removeprefix(f"{model.base_model_prefix}.") for name in stored_weights(folder)}
        there = {held[name].data_ptr() for name in found & held.keys()}  # of two tied weights one is saved
        own = {name for name, one in held.items() if name in found or one.data_ptr() not in there}
    else:
        return
    missing, unexpected = sorted(own - found), sorted(found - own)
    if missing or unexpected:
        raise ModelError(
            f"{len(missing)} weights of the model are not in it ({listed(missing)}), {len(unexpected)} in it have no "
            f"place ({listed(unexpected)})",
            where=str(folder),
            fix="delete this folder: training goes on from the checkpoint before it, or begins anew",
        )


def _as_saved(owner: Any, *, adapter: bool) -> dict[str, Tensor]:
    """The weights under the names that `save_pretrained` gives them, without the prefix of the base model."""
    state = {}
    for name, one in owner.state_dict().items():
        if adapter:
            if "lora_" in name or ".modules_to_save." in name or ".original_module." in name or ".default" in name:
                continue
            name = re.sub(r"(\.base_layer)+\.", ".", name)  # experts are wrapped once for each of their tensors
        state[name] = one
    plain = {name: one for name, one in revert_weight_conversion(owner, state).items() if isinstance(one, Tensor)}
    return {name.removeprefix(f"{owner.base_model_prefix}."): one for name, one in plain.items()}


def _same(stored: Tensor, held: Tensor) -> bool:
    """Equal in the type that is held; rows that an embedding gained for a pad token are not looked at."""
    held = held.detach().cpu()
    if held.ndim and stored.shape[1:] == held.shape[1:] and held.shape[0] > stored.shape[0]:
        held = held[: stored.shape[0]]
    return stored.shape == held.shape and torch.equal(stored.to(held.dtype), held)
