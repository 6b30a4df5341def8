"""What a base must be before it is trained: without dropout, without float16, with adapters that a file can hold.

    raise_float16(model)                  # weights that are trained are float32 or bfloat16
    switch_off_dropout(model)             # a forward in training is the forward in evaluation
    model = add_adapter(model, spec.adapter, seed, new=model.new_weights)

Dropout is on three shelves: modules (`nn.Dropout`), numbers that a module keeps and hands to a function (OPT's
`self.dropout`, Llama's `self.attention_dropout`, layers that are skipped by `layerdrop`), and the configuration, which
some forwards read. TRL empties the first alone. The two texts of a pair would be read through different weights.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, set_seed
from transformers.pytorch_utils import Conv1D

from rewardsmith.errors import ModelError
from rewardsmith.modeling.stored import quiet_upstream
from rewardsmith.spec import LoraAdapter

_DROPPING = ("dropout", "pdrop", "layerdrop", "drop_prob", "drop_path", "drop_rate")
# Noise on what a router or an expert reads, in training only. `router_jitter_noise` is not among them: PhiMoE's router
# masks experts by it in evaluation as well.
_NOISE = ("jitter_noise", "input_jitter_noise", "moe_jitter_eps")
# Their routers draw experts at random while training, whatever the settings.
_RANDOM_ROUTERS = ("PhimoeTopKRouter",)


def raise_float16(model: nn.Module) -> bool:
    """Turn float16 weights into float32, which holds them exactly; returns whether there were any.

    Gradients below 6e-8 vanish in float16 and Adam's step divides by their root, so that single weights moved by
    hundreds. Frozen weights under an adapter are raised as well: gradients flow through them, and there is no loss
    scaling here that would keep them in range.
    """
    found = [weight for weight in (*model.parameters(), *model.buffers()) if weight.dtype == torch.float16]
    for weight in found:
        weight.data = weight.data.float()
    if found:
        config: Any = model.config
        config.dtype = torch.float32
    return bool(found)


def switch_off_dropout(model: nn.Module) -> None:
    """Make a forward in training equal one in evaluation: every dropout of the model and its configuration is 0."""
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):  # noqa: SLF001 - the one parent of all of torch's
            module.p = 0.0
        for name, value in list(vars(module).items()):
            if isinstance(value, float) and (any(part in name for part in _DROPPING) or name in _NOISE):
                setattr(module, name, 0.0)
        if type(module).__name__ in _RANDOM_ROUTERS:
            module.train(mode=False)
            module.train = _stay.__get__(module)  # type: ignore[method-assign]
    _empty(model.config)


def _stay(self: nn.Module, mode: bool = True) -> nn.Module:
    """In place of `train` where evaluation is what training needs."""
    del mode
    return self


def _empty(config: Any) -> None:
    for name, value in list(vars(config).items()):
        if isinstance(value, PreTrainedConfig):
            _empty(value)
        elif isinstance(value, float) and any(part in name for part in _DROPPING):
            setattr(config, name, 0.0)


def head_modules(model: nn.Module) -> list[str]:
    """Names of the modules with weights that stand beside the base inside a sequence-classification model."""
    prefix = str(getattr(model, "base_model_prefix", ""))
    return [name for name, child in model.named_children() if name != prefix and any(True for _ in child.parameters())]


def add_adapter(model: Any, adapter: LoraAdapter, seed: int, *, new: Iterable[str] = ()) -> Any:
    """Low-rank matrices on the base; what stands beside the base, and what it lacked, is trained in full and saved.

    Args:
        model: a sequence-classification model.
        new: names of weights that the base's file did not hold: they were drawn here, and a reload would draw others.

    Raises:
        ModelError: no such module, or one that cannot carry an adapter.
    """
    import peft

    whole = head_modules(model)
    # Never a module inside one that is saved already: peft would wrap it twice.
    lacked = {name.rpartition(".")[0] for name in new}
    whole += sorted(name for name in lacked if not any(f"{name}.".startswith(f"{kept}.") for kept in whole))
    targets = _all_linear(model, whole) if adapter.target_modules == "all-linear" else list(adapter.target_modules)
    config = peft.LoraConfig(
        # SEQ_CLS is what makes peft train the reward head in full and save it with the adapter.
        task_type=peft.TaskType.SEQ_CLS,
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules=targets,
        modules_to_save=whole,
        bias="none",
    )
    set_seed(seed)
    try:
        with quiet_upstream():
            return peft.get_peft_model(model, config)
    except ValueError as error:
        raise ModelError(str(error).splitlines()[0], where="adapter.target_modules", fix="write all-linear") from error


def _all_linear(model: nn.Module, whole: list[str]) -> list[str]:
    """The linear maps of the base. Routers and their like, which inherit from one and compute something else, are not.

    peft looks for heads by two names (`score`, `classifier`) and would put matrices on the poolers of encoders.
    """
    found = [
        name
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, Conv1D))
        and not any(f"{name}.".startswith(f"{kept}.") for kept in whole)
        and _is_a_map(module)
    ]
    if not found:
        raise ModelError(
            "the base has no linear layers that an adapter could stand on", where="adapter.kind", fix="write none"
        )
    return found


def _is_a_map(module: Any) -> bool:
    """Whether it computes what it inherits: known forwards do, another is tried on one vector."""
    if type(module).forward in (nn.Linear.forward, Conv1D.forward) or "bitsandbytes" in type(module).__module__:
        return True
    vector = torch.ones(1, 1, module.in_features, dtype=module.weight.dtype, device=module.weight.device)
    try:
        with torch.no_grad():
            return torch.allclose(module(vector), nn.functional.linear(vector, module.weight, module.bias), atol=1e-5)
    except (TypeError, RuntimeError, ValueError, AttributeError, IndexError):
        return False
