"""Who may stand in the queue: a bounded number of conversations and characters; and a bounded line in front of it.

    await admission.enter(items=3, size=2048, patience=0.0)      # Refusal 503 at once when the queue is full
    await admission.enter(items=1, size=2048, patience=170.0)    # OpenRLHF: waits for room, in order
    admission.leave(items=1, size=2048)

Used from the event loop's thread only.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from rewardsmith.serving.refusals import Refusal, overloaded

_LINE_TIMES = 4
"""How many times the characters of the queue may wait for room in it."""


@dataclass(frozen=True, slots=True)
class _Waiter:
    room: asyncio.Future[None]
    items: int
    size: int


class Admission:
    """The bound of one queue. `retry_after` says how long the queue will take."""

    def __init__(
        self, most_items: int, most_characters: int, most_waiting: int, retry_after: Callable[[], float] = lambda: 1.0
    ) -> None:
        self.items = 0
        self.characters = 0
        self._most_items = most_items
        self._most_characters = most_characters
        self._most_waiting = most_waiting
        self._retry_after = retry_after
        self._line: deque[_Waiter] = deque()

    @property
    def waiting(self) -> int:
        """Requests that wait for room."""
        return len(self._line)

    async def enter(self, items: int, size: int, patience: float) -> None:
        """Take room for a request, or wait `patience` seconds for it.

        Raises:
            Refusal: there is no room (503), or never can be (422).
        """
        if items > self._most_items or size > self._most_characters:
            name, value = (
                ("queue_items", self._most_items)
                if items > self._most_items
                else ("queue_characters", self._most_characters)
            )
            raise Refusal(
                422,
                "larger_than_queue",
                "the request alone is larger than the queue",
                fix="send it in parts",
                limit=(name, value),
            )
        if not self._line and self._fits(items, size):
            self._take(items, size)
            return
        waiting = sum(waiter.size for waiter in self._line)
        if (
            patience <= 0
            or len(self._line) >= self._most_waiting
            or waiting + size > _LINE_TIMES * self._most_characters
        ):
            raise self._full()
        await self._wait(_Waiter(asyncio.get_running_loop().create_future(), items, size), patience)

    def leave(self, items: int, size: int) -> None:
        """Give room back; those who wait for it enter in order."""
        self.items -= items
        self.characters -= size
        while self._line and self._fits(self._line[0].items, self._line[0].size):
            waiter = self._line.popleft()
            if not waiter.room.done():
                self._take(waiter.items, waiter.size)
                waiter.room.set_result(None)

    async def _wait(self, waiter: _Waiter, patience: float) -> None:
        self._line.append(waiter)
        try:
            async with asyncio.timeout(patience):
                await waiter.room
        except BaseException as error:
            if waiter.room.done() and not waiter.room.cancelled():
                self.leave(waiter.items, waiter.size)  # room was given in the same moment
            elif waiter in self._line:
                self._line.remove(waiter)
                self.leave(0, 0)  # whoever stands behind may be smaller
            if isinstance(error, TimeoutError):
                raise self._full() from None
            raise

    def _fits(self, items: int, size: int) -> bool:
        return self.items + items <= self._most_items and self.characters + size <= self._most_characters

    def _take(self, items: int, size: int) -> None:
        self.items += items
        self.characters += size

    def _full(self) -> Refusal:
        return overloaded(
            "queue_full", f"the queue is full: {self.items} conversations wait", retry_after=self._retry_after()
        )
