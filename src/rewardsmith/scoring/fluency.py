"""How likely a causal language model finds answers: what bounds a learned ending of an attack.

    fluency = CausalFluency.load("HuggingFaceTB/SmolLM2-135M")
    fluency.nats(conversations)          # mean negative log likelihood a token of each last message

The messages before are joined as plain text; only the tokens of the last message count. Texts longer than the model's
positions keep their end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from rewardsmith.errors import ModelError
from rewardsmith.hub import ask_hub
from rewardsmith.records.bounded import refuse_odd_files
from rewardsmith.types import Conversation

_MOST_TOKENS = 2048


class CausalFluency:
    """A language model in this process."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model, self._tokenizer = model, tokenizer
        limit = getattr(model.config, "max_position_embeddings", None) or _MOST_TOKENS
        self._most = min(limit, _MOST_TOKENS)

    @classmethod
    def load(cls, name: str) -> Self:
        """A folder or a hub id.

        Raises:
            ModelError: there is none, or it is no causal language model.
        """
        import transformers

        ask_hub(name, error=ModelError, where="--fluency")
        refuse_odd_files(name, ModelError)
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(name)
            model = transformers.AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32).eval()
        except (OSError, ValueError) as error:
            raise ModelError(
                f"{name!r} cannot be loaded as a language model: {str(error).splitlines()[0][:300]}",
                where="--fluency",
                fix="name a folder or a hub id with a causal language model",
            ) from error
        return cls(model, tokenizer)

    def nats(self, conversations: Sequence[Conversation]) -> NDArray[np.float64]:
        """See `protocols.Fluency`."""
        return np.array([self._nats(one) for one in conversations])

    def _nats(self, conversation: Conversation) -> float:
        before = "\n\n".join(message.content for message in conversation[:-1])
        head = self._tokenizer(f"{before}\n\n" if before else "", add_special_tokens=False)["input_ids"]
        own = self._tokenizer(conversation[-1].content, add_special_tokens=False)["input_ids"]
        ids = (head + own)[-self._most :]
        counted = min(len(own), len(ids) - 1)
        if counted < 1:
            return float("nan")
        ids_1T = torch.tensor([ids], device=next(self._model.parameters()).device)
        with torch.inference_mode():
            logits_TV = self._model(input_ids=ids_1T).logits[0, -counted - 1 : -1].float()
        losses_T = torch.nn.functional.cross_entropy(logits_TV, ids_1T[0, -counted:], reduction="none")
        return float(losses_T.double().mean())
