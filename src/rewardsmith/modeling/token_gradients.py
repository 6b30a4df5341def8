"""Which tokens would lift a reward at a place of a text, to first order.

    scores_V = token_gradients(model, texts, places, pad_token_id)

The reward's gradient at the embedding of the token that stands there, times every embedding of the vocabulary (HotFlip,
Ebrahimi et al. 2018, arXiv:1712.06751): by how much the reward would rise if the model were linear. V tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rewardsmith.modeling.layouts import pad_right
from rewardsmith.rendering.encoding import Ids


def token_gradients(
    model: Any, texts: Sequence[Ids], places: Sequence[int], pad_token_id: int
) -> NDArray[np.float64] | None:
    """The mean over texts of gradient · embedding, shape (vocabulary,); None where the model has no such embedding.

    Args:
        model: a reward model in evaluation mode.
        texts: token ids, EOS included.
        places: of the token in each text, from 0.
        pad_token_id: of the renderer.
    """
    embedding = model.get_input_embeddings()
    if not isinstance(getattr(embedding, "weight", None), Tensor) or not embedding.weight.is_floating_point():
        return None
    device = embedding.weight.device
    total = torch.zeros(embedding.weight.shape[1], dtype=torch.float64)
    for ids, place in zip(texts, places, strict=True):
        read: list[Tensor] = []

        def keep(_: Any, __: Any, output: Tensor, read: list[Tensor] = read) -> Tensor:
            read.append(output.detach().requires_grad_())
            return read[-1]

        hook = embedding.register_forward_hook(keep)
        try:
            inputs = {name: value.to(device) for name, value in pad_right([ids], pad_token_id).items()}
            with torch.enable_grad():
                reward = model(**inputs).logits.sum()
                gradients: tuple[Tensor | None, ...] = torch.autograd.grad(reward, [read[-1]], allow_unused=True)
        finally:
            hook.remove()
        found = gradients[0]
        if found is None or found.ndim != 3 or found.shape[1] != len(ids):
            return None
        total += found[0, place].double().cpu()
    with torch.no_grad():
        scores = embedding.weight.double().cpu() @ (total / max(1, len(texts)))
    return np.asarray(scores.numpy(), dtype=np.float64)
