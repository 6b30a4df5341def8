"""A circuit breaker: after several failures in a row the judge is left alone for a while, then tried once.

    breaker = Breaker(failures=5, seconds=30.0, clock=time.monotonic)
    if breaker.enter():            # False: it is open, do not ask
        …
        breaker.leave(failed)      # True, False, or None: nothing was learned (cancelled)

Closed, everyone may ask. Open, nobody. When the time is up one call is let through: if it succeeds the breaker closes,
if it fails the time begins again. No wall clock: time is handed in.
"""

from __future__ import annotations

import math
from collections.abc import Callable


class Breaker:
    """See the module. Use it in one thread."""

    def __init__(self, failures: int, seconds: float, clock: Callable[[], float]) -> None:
        self._limit = failures
        self._seconds = seconds
        self._clock = clock
        self._failed = 0
        self._until = -math.inf
        self._probing = False

    @property
    def open(self) -> bool:
        """Whether nobody may ask now."""
        if self._failed < self._limit:
            return False
        return self._probing or self._clock() < self._until

    def enter(self) -> bool:
        """Whether the judge may be asked now; if so, `leave` must follow."""
        if self.open:
            return False
        if self._failed >= self._limit:
            self._probing = True
        return True

    def leave(self, failed: bool | None) -> None:
        """How a call that was let through ended."""
        self._probing = False
        if failed is None:
            return
        self._failed = min(self._failed + 1, self._limit) if failed else 0
        if self._failed >= self._limit:
            self._until = self._clock() + self._seconds
