"""What a server scores with: engines of a checkpoint in this process, or of any `Scorer`.

    engine = CheckpointEngine(LocalScorer.load(folder))
    engine = ScorerEngine(scorer, ModelInfo(identity="ensemble"))

The rewards are those of offline scoring: the same renderer, the same layouts, the same forward pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from rewardsmith.errors import DataError, ModelError, RewardsmithError
from rewardsmith.protocols import Scorer
from rewardsmith.rendering import REASONS, Rendered
from rewardsmith.scoring import LocalScorer
from rewardsmith.scoring.identity import model_identity
from rewardsmith.serving.batching import prefix_blocks
from rewardsmith.serving.engine import ModelInfo, Prepared, Scored, Unscorable
from rewardsmith.types import Conversation, Message

_CHARACTERS_A_TOKEN = 4
"""A guess, for scorers that do not say what a text costs."""


class CheckpointEngine:
    """A checkpoint in this process."""

    def __init__(self, scorer: LocalScorer) -> None:
        self._scorer = scorer
        self._shares = scorer.layout.name == "tree"
        self._conversational = scorer.checkpoint.renderer.record.conversational
        self.info = describe(scorer)

    def prepare(self, conversations: Sequence[Conversation]) -> list[Prepared | Unscorable]:
        """Token ids as in training; a model without a chat template reads messages as plain text."""
        wanted = [one if self._conversational else _as_text(one) for one in conversations]
        return [self._prepared(rendered) for rendered in self._render(wanted)]

    def score(self, batch: Sequence[Prepared]) -> Scored:
        """One forward pass, or as many as the layout makes of it."""
        return Scored(self._scorer.score_ids([prepared.content for prepared in batch]))

    def _render(self, conversations: Sequence[Conversation]) -> list[Rendered]:
        """Of a batch that is refused as a whole (the policy `error`, no template) each one alone."""
        try:
            return self._scorer.render(conversations)
        except RewardsmithError:
            return [self._render_alone(one) for one in conversations]

    def _render_alone(self, conversation: Conversation) -> Rendered:
        try:
            return self._scorer.render([conversation])[0]
        except DataError as error:
            return Rendered(None, "over_length", error.problem)
        except RewardsmithError:
            return Rendered(None, "template_refused")

    def _prepared(self, rendered: Rendered) -> Prepared | Unscorable:
        if rendered.ids is None:
            # The other details quote the text.
            detail = rendered.detail if rendered.reason == "over_length" else REASONS[rendered.reason]
            detail += f": {rendered.token}" if rendered.token else ""
            return Unscorable(rendered.reason, detail)
        ids_T = rendered.ids
        blocks = prefix_blocks(ids_T) if self._shares else ()
        return Prepared(ids_T, len(ids_T), ids_T.tobytes(), blocks, rendered.cut)


class ScorerEngine:
    """Any scorer: an ensemble, a remote model. What it cannot score is NaN, which the server answers with 500."""

    def __init__(self, scorer: Scorer, info: ModelInfo) -> None:
        self._scorer = scorer
        self.info = info

    def prepare(self, conversations: Sequence[Conversation]) -> list[Prepared | Unscorable]:
        """The conversations themselves, with a guess at their tokens."""
        return [Prepared(one, _guess(one), one) for one in conversations]

    def score(self, batch: Sequence[Prepared]) -> Scored:
        """As the scorer does."""
        return Scored(np.asarray(self._scorer.score([prepared.content for prepared in batch]), dtype=np.float64))


def describe(scorer: LocalScorer) -> ModelInfo:
    """What a server says of a checkpoint.

    Raises:
        ModelError: a number of its record that rewards are compared with is none: a temperature of 0, a mean of NaN.
    """
    checkpoint = scorer.checkpoint
    rendering, record = checkpoint.renderer.record, checkpoint.record
    calibration = (record.calibration if record else None) or {}
    for field, value, sound in (
        ("reward_mean", record.reward_mean if record else None, math.isfinite),
        ("reward_std", record.reward_std if record else None, lambda std: math.isfinite(std) and std >= 0),
        ("calibration.temperature", calibration.get("temperature"), lambda heat: math.isfinite(heat) and heat > 0),
    ):
        if value is not None and not sound(value):
            raise ModelError(
                f"is {value}",
                where=f"{checkpoint.folder / 'rewardsmith.json'}, field '{field}'",
                fix="restore the file; or remove the field: then there is no such comparison",
            )
    return ModelInfo(
        identity=model_identity(checkpoint.model)[:12],
        base_model=record.base_model if record else checkpoint.folder.name,
        max_length=rendering.max_length,
        over_length=rendering.over_length,
        conversational=rendering.conversational,
        layout=scorer.layout.name,
        reward_mean=record.reward_mean if record else None,
        reward_std=record.reward_std if record else None,
        temperature=calibration.get("temperature"),
    )


def _as_text(conversation: Conversation) -> Conversation:
    return tuple(Message("text", turn.content) for turn in conversation)


def _guess(conversation: Conversation) -> int:
    return 1 + sum(len(turn.content) for turn in conversation) // _CHARACTERS_A_TOKEN
