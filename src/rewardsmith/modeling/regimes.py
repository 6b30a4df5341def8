"""Models whose reward for a text depends on the longest text beside it, and how each text gets its own.

    regimes = find_regimes(model)            # None for most models
    regimes.key(700)                         # texts with equal keys may share a forward pass

longrope (Phi-3) takes its long factors for a whole batch as soon as one text is longer than
`original_max_position_embeddings`; dynamic NTK computes its base from the longest text that it has seen, and keeps it
for the batches after. XLNet and FNet read padding. A batch is therefore parted into forward passes of one regime each:
short and long for longrope, each length its own beyond the limit of dynamic NTK, and for who reads padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

ATTRIBUTE = "_rewardsmith_regimes"


@dataclass(frozen=True, slots=True)
class Regimes:
    """What decides the regime of a text of some length.

    Attributes:
        limits: longer than one of these, the rest of the factors hold (longrope).
        growing: longer than one of these, each length has its own frequencies (dynamic NTK).
        alone: texts of different lengths never share a pass, because the model reads padding.
        modules: the rotary modules that remember the longest text so far.
    """

    limits: tuple[int, ...] = ()
    growing: tuple[int, ...] = ()
    alone: bool = False
    modules: Sequence[nn.Module] = field(default=(), repr=False, compare=False)

    def key(self, length: int) -> tuple[int, ...]:
        """Texts of equal keys get from one pass what each would get alone."""
        grown = [length if length > limit else 0 for limit in self.growing]
        return (length if self.alone else 0, *(int(length > limit) for limit in self.limits), *grown)

    def forget(self) -> None:
        """Make dynamic rotary modules forget the texts before."""
        for module in self.modules:
            first: int = module.original_max_seq_len  # type: ignore[assignment]
            for name in [one for one in module._buffers if one.endswith("original_inv_freq")]:  # noqa: SLF001
                prefix = name.removesuffix("original_inv_freq")
                original: Tensor = getattr(module, name)
                module.register_buffer(f"{prefix}inv_freq", original.clone(), persistent=False)
                if prefix and hasattr(module, f"{prefix}max_seq_len_cached"):
                    setattr(module, f"{prefix}max_seq_len_cached", first)
            module.max_seq_len_cached = first  # type: ignore[assignment]


def find_regimes(model: nn.Module) -> Regimes | None:
    """The regimes of a model's rotary positions; None where a text's positions are its own."""
    limits, growing, modules = set[int](), set[int](), []
    for module in model.modules():
        kinds = getattr(module, "rope_type", None)
        if kinds is None:
            continue
        for layer, kind in kinds.items() if isinstance(kinds, dict) else [(None, kinds)]:
            if kind == "longrope":
                settings: Any = module.config.rope_parameters  # type: ignore[union-attr]
                settings = settings if layer is None else settings[layer]
                limits.add(int(settings["original_max_position_embeddings"]))
            elif "dynamic" in str(kind):
                growing.add(int(module.original_max_seq_len))  # type: ignore[arg-type]
                modules.append(module)
    if not limits and not growing:
        return None
    return Regimes(tuple(sorted(limits)), tuple(sorted(growing)), modules=tuple(modules))


def regimes_of(model: Any) -> Regimes | None:
    """What `install_reward_forward` found for this model."""
    owner = model.get_base_model() if hasattr(model, "peft_config") and hasattr(model, "get_base_model") else model
    found: Regimes | None = getattr(owner, ATTRIBUTE, None)
    return found


def reads_padding(model: Any) -> bool:
    """Whether right padding beside a text changes its reward: computed for a few random short texts.

    Raises:
        RuntimeError, ValueError: the forward does not take plain token ids.
    """
    draw = torch.Generator().manual_seed(0)
    rows, device = model.get_input_embeddings().weight.shape[0], next(model.parameters()).device
    pad = model.config.get_text_config().pad_token_id or 0
    special = {pad, model.config.get_text_config().eos_token_id, model.config.get_text_config().bos_token_id}
    usual = torch.tensor([token for token in range(min(rows, 4096)) if token not in special])
    texts = [usual[torch.randint(len(usual), (length,), generator=draw)] for length in (11, 5, 8)]
    ids_BT = torch.full((len(texts), 11), pad)
    mask_BT = torch.zeros_like(ids_BT)
    for row, text in enumerate(texts):
        ids_BT[row, : len(text)] = text
        mask_BT[row, : len(text)] = 1
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            ones = [
                model(input_ids=text[None].to(device), attention_mask=torch.ones_like(text[None]).to(device))
                for text in texts
            ]
            together = model(input_ids=ids_BT.to(device), attention_mask=mask_BT.to(device)).logits.float()
    finally:
        model.train(training)
    alone = torch.cat([one.logits.float() for one in ones])
    tolerance = 1e-4 if torch.finfo(next(model.parameters()).dtype).eps < 1e-6 else 5e-2
    # Relative, because a random head may give rewards near 0; `not <=`, so that NaN counts as reading padding.
    return not bool((alone - together).abs().max() <= tolerance * alone.abs().max())
