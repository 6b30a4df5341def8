"""Are a prompt's tokens, with the header of the response, the first tokens of prompt and response?

    watch = PrefixWatch(renderer)
    watch.see(rows)
    watch.rewritten, watch.seams      # places of the pairs where they are not
    watch.pairs                       # how many have a prompt
    watch.record()

Two ways to fail. The *text* of the prompt may change once a response follows: a template that drops earlier reasoning,
or writes the system message into the last user turn. Or the text stays and the *tokens at the seam* merge: a response
that begins with a line break after a header that ends with one.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.rows import TokenizedPair
from rewardsmith.records import PrefixStability
from rewardsmith.rendering import Ids, Renderer
from rewardsmith.rendering.encoding import encode
from rewardsmith.rendering.length import shared_prefix
from rewardsmith.statistics import wilson_interval
from rewardsmith.types import PreferencePair

_SHOWN = 40


class PrefixWatch:
    """Renders the prompt of every pair alone and compares, in the order of places."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._seen = 0
        self.pairs = 0
        self._rewritten = array("q")
        self._seams = array("q")

    @property
    def rewritten(self) -> NDArray[np.int64]:
        """Places of pairs whose prompt has another text with the response than without it."""
        return np.array(self._rewritten, dtype=np.int64)

    @property
    def seams(self) -> NDArray[np.int64]:
        """Places of pairs whose prompt has the same text, and other tokens at its end."""
        return np.array(self._seams, dtype=np.int64)

    def see(self, rows: Sequence[TokenizedPair]) -> None:
        """The next rows."""
        asked = [(self._seen + number, row) for number, row in enumerate(rows) if row.pair.prompt]
        prompts = self._renderer.prompt_ids([row.pair.prompt for _, row in asked])
        for (place, row), prompt_T in zip(asked, prompts, strict=True):
            if prompt_T is None or not self._begins(row, prompt_T):
                stays = prompt_T is not None and self._keeps_text(row.pair)
                (self._seams if stays else self._rewritten).append(place)
        self.pairs += len(asked)
        self._seen += len(rows)

    def describe(self, pair: PreferencePair) -> str:
        """Which tokens of the prompt become others."""
        prompt_T = self._renderer.prompt_ids([pair.prompt])[0]
        if prompt_T is None:
            return ""
        tokenizer = self._renderer.tokenizer
        texts = [self._renderer.text(pair.prompt + side) for side in (pair.chosen, pair.rejected)]
        kept, side = min(
            (shared_prefix(prompt_T, ids_T), side)
            for ids_T, side in zip(encode(tokenizer, texts), ("chosen", "rejected"), strict=True)
        )
        ending = str(tokenizer.decode(prompt_T[kept:]))
        return f"{side}: the prompt's last {len(prompt_T) - kept} tokens ({ending[-_SHOWN:]!r}) become others"

    def record(self) -> PrefixStability:
        """Counts with 95 % intervals."""
        bounds = [
            wilson_interval(len(places), self.pairs) if self.pairs else None
            for places in (self._rewritten, self._seams)
        ]
        text, tokens = ((bound.low, bound.high) if bound else (None, None) for bound in bounds)
        return PrefixStability(
            pairs=self.pairs,
            text=len(self._rewritten),
            text_low=text[0],
            text_high=text[1],
            tokens=len(self._seams),
            tokens_low=tokens[0],
            tokens_high=tokens[1],
        )

    def _begins(self, row: TokenizedPair, prompt_T: Ids) -> bool:
        """Whether both texts begin with the prompt, apart from the tokens that the length policy cut out of it."""
        bos_id = self._renderer.record.bos_token_id
        start = int(bos_id is not None and len(prompt_T) > 0 and prompt_T[0] == bos_id)
        left_T = np.concatenate((prompt_T[:start], prompt_T[start + row.cut :])) if row.cut else prompt_T
        return all(np.array_equal(ids_T[: len(left_T)], left_T) for ids_T in (row.chosen_ids, row.rejected_ids))

    def _keeps_text(self, pair: PreferencePair) -> bool:
        prompt = self._renderer.text(pair.prompt, add_generation_prompt=True)
        return all(self._renderer.text(pair.prompt + side).startswith(prompt) for side in (pair.chosen, pair.rejected))
