"""How RewardBench's own script turns a conversation into tokens (`protocol: upstream`), whatever training did.

    renderer = UpstreamRenderer.load("runs/x/model")
    renderer.render_many(conversations)       # the ids that the script's model sees
    renderer.bos_token_id                     # where a text begins with two of these, the first one is masked

Source: `prepare_dialogue_from_tokenizer`, `RewardBenchPipeline` and scripts/run_v2.py of allenai/reward-bench:

- the tokenizer as it was saved, its own chat template over the whole conversation as a string, no generation prompt;
- that string tokenised *with* special tokens, so that a BOS that the template wrote stands twice; the first keeps its
  place and its attention mask becomes 0 (`modeling.padded.pad_right` does that);
- cut to 2,048 tokens on the side that the tokenizer says, which is the right one unless it was saved otherwise; no EOS
  but the template's, and none after a cut;
- transformers reads the reward of a decoder at the rightmost token that is not the pad token. What stands behind it
  cannot change a causal model's reward there, so it is left out here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rewardsmith.errors import RenderingError
from rewardsmith.rendering.encoding import Ids
from rewardsmith.rendering.sandbox import template_texts, together_or_alone
from rewardsmith.rendering.special_tokens import tokenizer_name
from rewardsmith.rendering.template import Rendered, first_line
from rewardsmith.rendering.tokenizer import load_tokenizer
from rewardsmith.types import Conversation

MAX_LENGTH = 2048
"""`--max_length` of the script."""

_CHUNK = 512


class UpstreamRenderer:
    """A tokenizer used as RewardBench's script uses it."""

    def __init__(self, tokenizer: Any, *, reads_last_token: bool = True, limit: int | None = None) -> None:
        """Take a tokenizer as it was saved, not prepared by us.

        Args:
            tokenizer: a transformers tokenizer.
            reads_last_token: the model is a decoder that reads its reward at the last token.
            limit: the most tokens that the model has positions for; on longer texts the script fails, and here they
                have no ids.

        Raises:
            RenderingError: there is no chat template (the script refuses, too), or neither a pad nor an EOS token.
        """
        if tokenizer.chat_template is None:
            raise RenderingError(
                "RewardBench's script needs a chat template, and the tokenizer has none",
                where=tokenizer_name(tokenizer),
                fix="write protocol: checkpoint",
            )
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        if pad is None:
            raise RenderingError(
                "the tokenizer has neither a pad nor an EOS token, and RewardBench's script pads with one of them",
                where=tokenizer_name(tokenizer),
                fix="write protocol: checkpoint",
            )
        self.pad_token_id = int(pad)
        self.bos_token_id: int | None = tokenizer.bos_token_id if tokenizer.bos_token else None
        self._tokenizer = tokenizer
        self._reads_last_token = reads_last_token
        self._limit = limit

    @classmethod
    def load(cls, folder: str | Path, *, reads_last_token: bool = True, limit: int | None = None) -> UpstreamRenderer:
        """The renderer of a checkpoint folder or hub id; raises as the constructor and `load_tokenizer` do."""
        return cls(load_tokenizer(folder), reads_last_token=reads_last_token, limit=limit)

    def render_many(self, conversations: Sequence[Conversation]) -> list[Rendered]:
        """Token ids of many conversations, in order; none for a text that the script would fail on."""
        done: list[Rendered] = []
        for start in range(0, len(conversations), _CHUNK):
            done += self._render(conversations[start : start + _CHUNK])
        return done

    def _render(self, conversations: Sequence[Conversation]) -> list[Rendered]:
        texts = template_texts(self._tokenizer, conversations)
        encoded = iter(together_or_alone(self._encode, [text for text in texts if isinstance(text, str)]))
        return [
            Rendered(None, "template_refused", first_line(text))
            if isinstance(text, Exception)
            else self._fit(next(encoded))
            for text in texts
        ]

    def _encode(self, texts: Sequence[str]) -> list[Ids]:
        if not texts:
            return []
        encoded = self._tokenizer(list(texts), truncation=True, max_length=MAX_LENGTH, verbose=False)
        return [np.array(ids, dtype=np.int32) for ids in encoded["input_ids"]]

    def _fit(self, ids_T: Ids | Exception) -> Rendered:
        if isinstance(ids_T, Exception):
            return Rendered(None, "not_unicode", first_line(ids_T))
        if self._limit is not None and len(ids_T) > self._limit:
            return Rendered(None, "over_length", f"{len(ids_T)} tokens, the model has positions for {self._limit}")
        if not self._reads_last_token:
            return Rendered(ids_T)
        read = np.nonzero(ids_T != self.pad_token_id)[0]
        return Rendered(ids_T[: read[-1] + 1] if len(read) else ids_T)
