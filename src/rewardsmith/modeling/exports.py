"""A checkpoint, of whatever kind, as the folder that another program wants; its rewards stay what they were.

    record = export_checkpoint(Path("runs/x/model"), Path("out"), "vllm")

hf         a checkpoint of ours: full weights, tokenizer, `rewardsmith.json` with golden rewards. Also how a checkpoint
           of OpenRLHF or a published classifier becomes one of ours.
openrlhf   the same weights with the head called `<value_head_prefix>.weight`, `architectures: ["RewardModel"]`,
           `normalize_reward: false`, mean and std where the record has them, no `num_labels`.
vllm       as hf; checked to hold what vLLM and SGLang need: the architecture by name, one label, `problem_type:
           "regression"` (else vLLM applies a sigmoid), a pad token that is not EOS.

Adapters are merged. Every target keeps `rewardsmith.json`, and is loaded again before it appears under its name:
rewards that moved beyond the tolerance are an error.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from transformers.utils import cached_file

import rewardsmith
from rewardsmith.errors import ModelError
from rewardsmith.modeling.checkpoint import (
    BFLOAT16_TOLERANCE,
    FLOAT32_TOLERANCE,
    Checkpoint,
    golden_rewards,
    open_checkpoint,
    read_checkpoint_record,
    save_checkpoint,
)
from rewardsmith.modeling.reward_head import install_reward_forward, reads_one_token
from rewardsmith.modeling.spellings import verified_for
from rewardsmith.modeling.stored import INDEX, OPENRLHF_FIELDS, forget_openrlhf, stored_weights
from rewardsmith.records.checkpoint import CheckpointRecord, ExportRecord
from rewardsmith.statistics import largest_difference, within

Target = Literal["hf", "openrlhf", "vllm"]
StoredAs = Literal["auto", "float32", "bfloat16"]

EXACT = 1e-6
"""How far a reward may move where no weight changes."""

_TYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


def export_checkpoint(
    source: str | Path, out: Path, target: Target, *, dtype: StoredAs = "auto", value_head_prefix: str = "score"
) -> ExportRecord:
    """Write a checkpoint again for another program.

    Args:
        source: a folder or hub id that `open_checkpoint` reads; an adapter is merged into its base.
        out: the new folder; must be missing or empty.
        target: who is to read it.
        dtype: type of the weights; `auto` keeps each as it is stored, and a merged adapter in float32.
        value_head_prefix: what OpenRLHF calls the head there (its `--value_head_prefix`).

    Raises:
        ModelError: the source cannot be used, the target cannot hold it, or its rewards would change.
    """
    refuse_taken(out)
    opened = open_checkpoint(source)
    before = {golden.conversation: golden.reward for golden in golden_rewards(opened.model, opened.renderer)}
    model, merged = merge_adapter(opened.model)
    _check(target, model, opened)
    _store_as(model, {} if merged else _stored_types(source), dtype)
    forget_openrlhf(model.config)
    record = own_record(opened)
    tolerance = _tolerance(record, list(before.values()), merged=merged, rounded=dtype == "bfloat16")
    shape = partial(_as_openrlhf, record=record, prefix=value_head_prefix) if target == "openrlhf" else None
    moved = partial(_refuse_moved, before, tolerance)
    save_checkpoint(out, model, opened.renderer, record, shape=shape, check=moved)
    written = read_checkpoint_record(out)
    return ExportRecord(
        source=str(source),
        out=str(out),
        target=target,
        trainer=opened.foreign.trainer if opened.foreign else "rewardsmith",
        merged=merged,
        dtype=_type_name(model),
        conversations=len(before),
        largest_difference=_largest(before, written) if written else 0.0,
        tolerance=tolerance,
        normalization=record.normalization,
        transformers=verified_for(json.loads((out / "config.json").read_text(encoding="utf-8"))),
        start=_START[target](out, _type_name(model), value_head_prefix),
    )


def refuse_taken(out: Path) -> None:
    """Refuse an output folder that holds something.

    Raises:
        ModelError: it does.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ModelError("it holds something already", where=str(out), fix="name a new folder with --out")


def merge_adapter(model: Any) -> tuple[Any, bool]:
    """The model with its adapter added to the weights, and whether there was one."""
    if not hasattr(model, "merge_and_unload"):
        return model, False
    return install_reward_forward(model.merge_and_unload()), True


def own_record(opened: Checkpoint) -> CheckpointRecord:
    """The checkpoint's record; for one of another program, what is known of it."""
    if opened.record is not None:
        return opened.record
    return CheckpointRecord(
        rewardsmith_version=rewardsmith.__version__,
        base_model=str(opened.folder),
        rendering=opened.renderer.record,
        data_fingerprints=(),
        normalization=opened.foreign.normalization if opened.foreign else None,
    )


def _check(target: Target, model: Any, opened: Checkpoint) -> None:
    config, where = model.config, str(opened.folder)
    if target == "openrlhf" and not (reads_one_token(model) and model.score.bias is None):
        raise ModelError(
            f"OpenRLHF reads decoders with a linear head without bias; this is {type(model).__name__}",
            where=where,
            fix="write --to hf or --to vllm",
        )
    pad, eos = config.get_text_config().pad_token_id, opened.renderer.eos_token_id
    if pad is None or pad == eos:
        raise ModelError(
            f"pad_token_id is {pad} and EOS is {eos}: a batch would be read at another token",
            where=f"{where}/config.json, field 'pad_token_id'",
            fix=f"write {opened.renderer.pad_token_id}, the pad token of its tokenizer",
        )


def _stored_types(source: str | Path) -> dict[str, torch.dtype]:
    """The type of each stored weight, by its name."""
    folder = Path(source) if Path(source).is_dir() else Path(cached_file(str(source), "config.json")).parent
    return {name: _TYPES[one.kind] for name, one in stored_weights(folder).items() if one.kind in _TYPES}


def _store_as(model: Any, stored: dict[str, torch.dtype], wanted: StoredAs) -> None:
    """Bring the weights into the type they are saved in; from float32 to the type they had is exact."""
    if wanted == "auto":
        usual = Counter(stored.values()).most_common(1)[0][0] if stored else torch.float32
        for name, weight in model.named_parameters():
            weight.data = weight.data.to(stored.get(name, usual))
        model.config.dtype = usual
    else:
        model.to(getattr(torch, wanted))
        model.config.dtype = getattr(torch, wanted)


def _type_name(model: Any) -> str:
    return str(model.config.dtype).removeprefix("torch.")


def _tolerance(record: CheckpointRecord, rewards: list[float], *, merged: bool, rounded: bool) -> float:
    if rounded:
        return BFLOAT16_TOLERANCE * (record.reward_std or float(torch.tensor(rewards).std(correction=0)))
    return FLOAT32_TOLERANCE if merged else EXACT * max(1.0, *map(abs, rewards))


def _largest(before: dict[Any, float], written: CheckpointRecord) -> float:
    after = {golden.conversation: golden.reward for golden in written.golden}
    if after.keys() != before.keys():
        return math.inf
    return largest_difference(list(before.values()), [after[key] for key in before])


def _refuse_moved(before: dict[Any, float], tolerance: float, written: CheckpointRecord) -> None:
    worst = _largest(before, written)
    if not within(worst, tolerance):
        raise ModelError(
            f"rewards of the written checkpoint differ by up to {worst:.3g} from those of the source "
            f"(tolerance {tolerance:.3g})",
            where="--out",
            fix="write --dtype float32, which keeps them",
        )


def _as_openrlhf(folder: Path, *, record: CheckpointRecord, prefix: str) -> None:
    """Rename the head and rewrite the configuration as OpenRLHF's `save_model` writes them."""
    _rename_head(folder, prefix)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    for field in ("id2label", "label2id", "num_labels", "problem_type", *OPENRLHF_FIELDS):
        config.pop(field, None)
    config |= {"architectures": ["RewardModel"], "value_head_prefix": prefix, "normalize_reward": False}
    known = record.normalization or {}
    config |= {field: known[field] for field in ("mean", "std") if field in known}
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _rename_head(folder: Path, prefix: str) -> None:
    head, renamed = "score.weight", f"{prefix}.weight"
    index = folder / INDEX
    if index.is_file():
        said = json.loads(index.read_text(encoding="utf-8"))
        shard = folder / said["weight_map"].pop(head)
        said["weight_map"][renamed] = shard.name
        index.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
    else:
        shard = folder / "model.safetensors"
    weights = load_file(shard)
    weights[renamed] = weights.pop(head)
    save_file(weights, shard, metadata={"format": "pt"})


def _start_hf(out: Path, dtype: str, prefix: str) -> tuple[str, ...]:
    del dtype, prefix
    return (f"rewardsmith verify --model {out}", f"rewardsmith serve --model {out}")


def _start_openrlhf(out: Path, dtype: str, prefix: str) -> tuple[str, ...]:
    del dtype
    return (
        # The names of 0.10.2 and later; before, --reward_pretrain and --value_head_prefix.
        f"python -m openrlhf.cli.serve_rm --reward.model_name_or_path {out} --ds.value_head_prefix {prefix}",
        f"rewardsmith serve --model {out}    # the same protocol; adds the EOS that serve_rm leaves out",
    )


def _start_vllm(out: Path, dtype: str, prefix: str) -> tuple[str, ...]:
    del prefix
    return (
        f"vllm serve {out} --runner pooling --dtype {dtype}",
        f"python -m sglang.launch_server --model-path {out} --is-embedding --dtype {dtype}",
    )


_START: dict[Target, Callable[[Path, str, str], tuple[str, ...]]] = {
    "hf": _start_hf,
    "openrlhf": _start_openrlhf,
    "vllm": _start_vllm,
}
