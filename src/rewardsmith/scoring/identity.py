"""What a reward depends on besides the text's token ids, as one hash: the model as it is in memory.

    model_identity(checkpoint.model)       # 64 hex digits

Covered: every weight and buffer with its type (an adapter's and its base's), the configuration, the adapter's settings,
the kind of device, and the versions of Rewardsmith, torch and transformers. Not covered, because the token ids say it
already: tokenizer, template, length policy. Not covered, because it changes a reward by rounding only (about 1e-6 in
float32): layout, batch size, threads.

Weights are hashed as they stand in memory, about a second a gigabyte, once for each loaded model. File names and times
play no part: a copied or a downloaded checkpoint has the identity of the original.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
import transformers

import rewardsmith

_SAYS_NOTHING = ("transformers_version", "dtype", "torch_dtype")


def model_identity(model: Any) -> str:
    """SHA-256 of everything that decides the reward of given token ids, beyond rounding."""
    hasher = hashlib.sha256(json.dumps(_settings(model), sort_keys=True, default=_plain).encode())
    for name, tensor in sorted(model.state_dict().items()):
        if isinstance(tensor, torch.Tensor):
            hasher.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            hasher.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return hasher.hexdigest()


def _settings(model: Any) -> dict[str, Any]:
    adapters = getattr(model, "peft_config", None) or {}
    return {
        "config": _content(model.config.to_dict()),
        "adapters": {name: _content(adapter.to_dict()) for name, adapter in adapters.items()},
        "device": next(model.parameters()).device.type,
        "versions": [rewardsmith.__version__, torch.__version__, transformers.__version__],
    }


def _content(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings without what only says where a model came from."""
    where = {"base_model_name_or_path", "revision", *_SAYS_NOTHING}
    return {str(key): value for key, value in settings.items() if not str(key).startswith("_") and key not in where}


def _plain(value: Any) -> Any:
    """What JSON does not know: sets (in a fixed order), enumerations, types."""
    return sorted(map(str, value)) if isinstance(value, set | frozenset) else str(value)
