"""A checkpoint in this process as a `Scorer`: rendered as in training, each distinct text computed once.

scorer = LocalScorer.load(Path("runs/x/model"))
rewards_B = scorer.score(conversations)      # NaN where a conversation cannot be rendered
scorer.missing                               # how often, and why: {"over_length": 3}
scorer.as_upstream()                         # the same weights, texts rendered as RewardBench's script does
running = running_rewards(scorer, ids_T)
running.rewards                              # (T,): of the text that ends with token t; the last is the reward
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from rewardsmith.errors import RenderingError
from rewardsmith.modeling.checkpoint import Checkpoint, open_checkpoint
from rewardsmith.modeling.inference import Keep, compute_rewards
from rewardsmith.modeling.layouts import PaddedBatches, choose_layout, supports_tree
from rewardsmith.modeling.regimes import regimes_of
from rewardsmith.modeling.reward_head import position_limit, reads_one_token
from rewardsmith.modeling.token_gradients import token_gradients
from rewardsmith.protocols import Progress
from rewardsmith.rendering import REASONS, Ids, Rendered, Renderer, UpstreamRenderer
from rewardsmith.rendering.encoding import shared_prefix
from rewardsmith.types import Conversation

ScoreIds = Callable[[Sequence[Ids], Progress], NDArray[np.float64]]
"""Rewards of rendered texts, in their order."""

NO_REWARD = "no_reward: the model gives none"

CHUNK = 8192
"""Conversations rendered and scored at a time, so that memory does not grow with the corpus."""


class LocalScorer:
    """Scores conversations with a checkpoint held in memory."""

    def __init__(self, checkpoint: Checkpoint, *, token_budget: int = 16384, layout: str = "auto") -> None:
        self.checkpoint = checkpoint
        self.token_budget = token_budget
        self.layout = choose_layout(layout, checkpoint.model, checkpoint.renderer.record.pad_token_id)
        self.missing: Counter[str] = Counter()
        self.renderer: Renderer | UpstreamRenderer = checkpoint.renderer

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        dtype: str = "float32",
        device: str = "cpu",
        token_budget: int = 16384,
        layout: str = "auto",
    ) -> Self:
        """Open a checkpoint folder, verify its golden rewards, score with it. Raises as `open_checkpoint` does."""
        return cls(open_checkpoint(folder, dtype=dtype, device=device), token_budget=token_budget, layout=layout)

    def as_upstream(self) -> LocalScorer:
        """The same weights with texts rendered, masked and read as RewardBench's own script does.

        Always padded: a masked BOS has no place in a tree.

        Raises:
            RenderingError: the script could not run this checkpoint: it has no chat template, or knows plain text only.
        """
        model = self.checkpoint.model
        if not self.checkpoint.renderer.record.conversational:
            raise RenderingError(
                "RewardBench's script renders chat messages, and this model was trained on plain text",
                where=str(self.checkpoint.folder),
                fix="write protocol: checkpoint",
            )
        renderer = UpstreamRenderer.load(
            self.checkpoint.folder, reads_last_token=reads_one_token(model), limit=position_limit(model)
        )
        other = copy.copy(self)
        other.renderer = renderer
        other.layout = PaddedBatches(renderer.pad_token_id, masked_bos_id=renderer.bos_token_id)
        other.missing = Counter()
        return other

    def render(self, conversations: Sequence[Conversation]) -> list[Rendered]:
        """What the model sees of each conversation, or why it sees none."""
        return self.renderer.render_many(conversations)

    def why(self, conversations: Sequence[Conversation]) -> list[str]:
        """Why each conversation has no reward, `code: detail`: it cannot be rendered, or the model gives none."""
        return [
            f"{one.reason}: {one.detail or REASONS.get(one.reason, '')}".rstrip(": ") if one.ids is None else NO_REWARD
            for one in self.render(conversations)
        ]

    def score(self, conversations: Sequence[Conversation], progress: Progress | None = None) -> NDArray[np.float64]:
        """Raw rewards, shape (len(conversations),), in input order; NaN where a text cannot be rendered."""
        return self.score_with(self.score_ids, conversations, progress)

    def score_with(
        self, compute: ScoreIds, conversations: Sequence[Conversation], progress: Progress | None = None
    ) -> NDArray[np.float64]:
        """As `score`, with `compute` in place of the forward passes: how a cache is put between text and model."""
        rewards = np.full(len(conversations), np.nan)
        for start in range(0, len(conversations), CHUNK):
            part = conversations[start : start + CHUNK]

            def report(done: int, _: int, start: int = start) -> None:
                if progress is not None:
                    progress(start + done, len(conversations))

            rewards[start : start + len(part)] = self._score_part(compute, part, report)
        return rewards

    def suggest(self, conversations: Sequence[Conversation], others: Sequence[Conversation], count: int) -> list[str]:
        """Words that would lift the reward in the place where each conversation and its other differ.

        See `protocols.SuggestsWords`.
        """
        texts, places = [], []
        for one, other in zip(self.render(conversations), self.render(others), strict=True):
            if one.ids is None or other.ids is None:
                continue
            place = shared_prefix(one.ids, other.ids)
            if place < min(len(one.ids), len(other.ids)):
                texts.append(one.ids)
                places.append(place)
        scores_V = token_gradients(self.checkpoint.model, texts, places, self.renderer.pad_token_id) if texts else None
        tokenizer = getattr(self.renderer, "tokenizer", None)
        if scores_V is None or tokenizer is None:
            return []
        found: dict[str, None] = {}
        for token in np.argsort(-scores_V, kind="stable")[: _LOOKED_AT * count].tolist():
            word = tokenizer.decode([token]).strip()
            if len(word) > 1 and word.isprintable() and word.replace("-", "").replace("'", "").isalpha():
                found.setdefault(word)
        return list(found)[:count]

    def score_ids(
        self, texts: Sequence[Ids], progress: Progress | None = None, keep: Keep | None = None
    ) -> NDArray[np.float64]:
        """Raw rewards of rendered texts, shape (len(texts),), in input order; `keep` as in `compute_rewards`."""
        return compute_rewards(self.checkpoint.model, texts, self.layout, self.token_budget, progress, keep)

    def _score_part(
        self, compute: ScoreIds, conversations: Sequence[Conversation], progress: Progress
    ) -> NDArray[np.float64]:
        rewards = np.full(len(conversations), np.nan)
        rendered = self.render(conversations)
        self.missing.update(result.reason or "unknown" for result in rendered if result.ids is None)
        usable = [(index, ids) for index, result in enumerate(rendered) if (ids := result.ids) is not None]
        texts = {ids.tobytes(): ids for _, ids in usable}
        found = dict(zip(texts, compute(list(texts.values()), progress), strict=True))
        for index, ids in usable:
            rewards[index] = found[ids.tobytes()]
        return rewards


_LOOKED_AT = 16
"""So many tokens are looked at for each word that is suggested: many are pieces of words or marks."""


MOST_PREFIXES = 256


@dataclass(frozen=True, slots=True)
class RunningRewards:
    """Rewards of all prefixes, shape (T,), NaN where none was computed; and how, in words."""

    rewards: NDArray[np.float64]
    method: str


def running_rewards(scorer: LocalScorer, ids_T: Ids) -> RunningRewards:
    """Rewards of the text cut after each of its tokens: where along a response a model makes up its mind.

    A causal decoder sees nothing to the right of a token, so the reward head applied at every position of one forward
    pass gives the reward of every prefix, exactly. For anything else (encoders, whose tokens see both sides; positions
    that change with the length of the text) each prefix is computed on its own, of a long text only the last
    `MOST_PREFIXES`.

    The head was trained at EOS only. A reward in the middle of a text shows where the number moves; it is no grade of
    the unfinished text.

    Args:
        scorer: the model.
        ids_T: token ids, at least one.
    """
    regimes = regimes_of(scorer.checkpoint.model)
    one_regime = regimes is None or regimes.key(1) == regimes.key(len(ids_T))
    if supports_tree(scorer.checkpoint.model) is None and one_regime:
        return RunningRewards(one_pass(scorer.checkpoint.model, ids_T), "one forward pass, exact for a causal model")
    return _prefix_by_prefix(scorer, ids_T, "the model is not causal" if one_regime else "its positions grow with them")


def one_pass(model: torch.nn.Module, ids_T: Ids) -> NDArray[np.float64]:
    """The reward after each token of a text, shape (T,), of a causal decoder."""
    device = next(model.parameters()).device
    positions_T = torch.arange(len(ids_T), device=device)
    input_ids = torch.from_numpy(np.asarray(ids_T, dtype=np.int64))[None].to(device)
    with torch.inference_mode():
        rewards_T1 = model(input_ids=input_ids, position_ids=positions_T[None], reward_positions=positions_T).logits
    return np.asarray(rewards_T1.squeeze(-1).float().cpu().numpy(), dtype=np.float64)


def _prefix_by_prefix(scorer: LocalScorer, ids_T: Ids, why: str) -> RunningRewards:
    first = max(0, len(ids_T) - MOST_PREFIXES)
    rewards = np.full(len(ids_T), np.nan)
    rewards[first:] = scorer.score_ids([ids_T[: end + 1] for end in range(first, len(ids_T))])
    method = f"each prefix on its own: {why}"
    return RunningRewards(rewards, method + (f"; the last {MOST_PREFIXES} of {len(ids_T)} only" if first else ""))
