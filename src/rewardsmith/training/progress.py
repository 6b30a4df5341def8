"""How far an epoch is, from its first micro-batch on: steps, micro-batches of the step at work, tokens, time left.

    clock = EpochClock(pair_tokens(ids), steps=27, watch=events.micro_batch)
    clock.begin_step(done=0, pairs=[4, 1, 9], micro_batches=8)
    clock.micro_batch(pairs=[4], tokens=812)             # after its backward pass
    clock.end_step()

The time left follows tokens, not steps: steps of long pairs take longer. What a pair will cost is its tokens as a tree
(a shared beginning once); how those relate to the tokens that a layout really computes is learned from the
micro-batches so far, so that padding, and prompts that several pairs of a step share, count as they come. Optimizer
steps and waiting are part of the time that has passed. Up to the end of the first step its optimizer's time is missing
from the estimate. On a GPU a micro-batch counts when it was handed over; each step's end waits for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rewardsmith.rendering.encoding import shared_prefix

_EVERY = 0.25  # seconds between two reports


@dataclass(frozen=True, slots=True)
class EpochProgress:
    """Where training stands.

    Attributes:
        step: optimizer steps that are done.
        steps: of the epoch.
        micro_batch: done of the step at work; of this process, where several train.
        micro_batches: of the step at work; 0 before the first.
        tokens_per_second: computed, over all processes, since training began here; None before the first micro-batch.
        seconds_left: of the epoch, by tokens; None before the first micro-batch.
    """

    step: int
    steps: int
    micro_batch: int = 0
    micro_batches: int = 0
    tokens_per_second: float | None = None
    seconds_left: float | None = None

    @property
    def share(self) -> float:
        """Steps and the part of the step at work, as a number of steps."""
        return self.step + (self.micro_batch / self.micro_batches if self.micro_batches else 0.0)


Watch = Callable[[EpochProgress], None]


class HasIds(Protocol):
    """Token ids of a pair."""

    @property
    def chosen(self) -> Sequence[int] | NDArray[np.integer]:
        """Of the chosen text."""
        ...

    @property
    def rejected(self) -> Sequence[int] | NDArray[np.integer]:
        """Of the rejected text."""
        ...


def pair_tokens(ids: Sequence[HasIds]) -> NDArray[np.int64]:
    """Tokens of each pair as a tree: both texts, what they share at their beginning once; shape (pairs,)."""
    both = [(np.asarray(pair.chosen), np.asarray(pair.rejected)) for pair in ids]
    return np.array([len(one_T) + len(other_T) - shared_prefix(one_T, other_T) for one_T, other_T in both], int)


class EpochClock:
    """Counts what is done and tells `watch`, at most four times a second but for the beginning of an epoch.

    Args:
        tokens_P: of each pair, as `pair_tokens` gives them.
        steps: of the epoch.
        watch: who is told; None: nobody.
        processes: that share each step's micro-batches.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        tokens_P: NDArray[np.int64],
        steps: int,
        watch: Watch | None,
        processes: int = 1,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._tokens_P = tokens_P
        self._steps = steps
        self._watch = watch
        self._processes = processes
        self._clock = clock
        self._left = float(tokens_P.sum())  # tokens of pairs whose step is not done
        self._step, self._step_left, self._step_done = 0, 0.0, 0.0
        self._turn, self._turns = 0, 0
        self._counted, self._computed = 0.0, 0  # tokens of pairs met here, and what was computed for them
        self._started: float | None = None
        self._told = -_EVERY

    def skip(self, pairs: Sequence[int], steps: int) -> None:
        """Pairs and steps that were done before this process began."""
        self._left -= float(self._tokens_P[list(pairs)].sum())
        self._step = steps

    def begin_step(self, done: int, pairs: Sequence[int], micro_batches: int) -> None:
        """A step of these pairs begins, cut into so many micro-batches of this process; `done` steps are before it."""
        first = self._started is None
        if first:
            self._started = self._clock()
        self._step, self._turn, self._turns = done, 0, micro_batches
        self._step_left, self._step_done = float(self._tokens_P[list(pairs)].sum()), 0.0
        self._tell(at_once=first)

    def micro_batch(self, pairs: Sequence[int], tokens: int) -> None:
        """A micro-batch of these pairs is computed; `tokens` is what its layout took."""
        own = float(self._tokens_P[list(pairs)].sum()) * self._processes
        self._step_done = min(self._step_left, self._step_done + own)
        self._counted += own
        self._computed += tokens * self._processes
        self._turn += 1
        self._tell(at_once=self._turn == 1 and self._counted == own)

    def end_step(self) -> None:
        """The optimizer has made its step."""
        self._left -= self._step_left
        self._step, self._turn, self._step_left, self._step_done = self._step + 1, 0, 0.0, 0.0
        self._turns = 0
        self._tell(at_once=False)

    def now(self) -> EpochProgress:
        """Where it stands."""
        rate, left = None, None
        if self._started is not None and self._counted:
            seconds = self._clock() - self._started
            rate = self._computed / seconds if seconds > 0 else None
            left = max(0.0, seconds * (self._left - self._step_done) / self._counted)
        return EpochProgress(self._step, self._steps, self._turn, self._turns, rate, left)

    def _tell(self, *, at_once: bool) -> None:
        if self._watch is None or (not at_once and self._clock() - self._told < _EVERY):
            return
        self._told = self._clock()
        self._watch(self.now())
