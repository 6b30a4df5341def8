"""What the server drives: something that turns conversations into tokens, and batches of them into rewards.

    prepared = engine.prepare(conversations)       # in the worker thread: tokens, or why there are none
    scored = engine.score([one for one in prepared if isinstance(one, Prepared)])

The pipeline builds engines: of a checkpoint in this process, or of any `protocols.Scorer` (an ensemble, a remote
model). Both methods are called from one worker thread at a time.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rewardsmith.types import Conversation


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What the server says of a model, and what it compares its rewards with.

    `identity` changes with the weights. `reward_mean` and `reward_std` are of held-out pairs (`rewardsmith.json`);
    `temperature` is the calibration: P = sigmoid(margin / temperature). None where the checkpoint does not say.
    """

    identity: str
    base_model: str = ""
    max_length: int | None = None
    over_length: str = ""
    conversational: bool = True
    layout: str = ""
    reward_mean: float | None = None
    reward_std: float | None = None
    temperature: float | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """One conversation, ready to be scored.

    `content` is the engine's own. Equal keys have equal rewards. `blocks` name the beginning of the text, block by
    block (`queue.prefix_blocks`): texts that share the first n share n blocks of tokens. `cut` counts prompt tokens
    that the checkpoint's length policy took away.
    """

    content: Any = field(repr=False)
    tokens: int
    key: Hashable = field(repr=False)
    blocks: tuple[int, ...] = field(default=(), repr=False)
    cut: int = 0


@dataclass(frozen=True, slots=True)
class Unscorable:
    """A conversation that has no sound rendering, and why: a code and its detail, without the text."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Scored:
    """Raw rewards of a batch, shape (len(batch),), in its order; of an ensemble also each member's, and their spread.

    A member that gave nothing has NaN in `members`. `failure` says why a reward is not finite, if the engine knows.
    """

    rewards: NDArray[np.float64]
    members: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    spread: NDArray[np.float64] | None = None
    failure: str = "not_finite"


class Engine(Protocol):
    """Gives raw rewards."""

    @property
    def info(self) -> ModelInfo:
        """What the model says of itself."""
        ...

    def prepare(self, conversations: Sequence[Conversation]) -> list[Prepared | Unscorable]:
        """Each conversation as it will be scored, in order."""
        ...

    def score(self, batch: Sequence[Prepared]) -> Scored:
        """Raw rewards of prepared conversations, in order; NaN where the model gave none."""
        ...
