"""How far the reading of all sources has come."""

from __future__ import annotations

from rewardsmith.data.sources import Intake
from rewardsmith.protocols import Progress


class ReadingProgress:
    """Progress over all sources: rows read, and how many there will be if the rest is like the beginning."""

    def __init__(self, progress: Progress | None, sources: int) -> None:
        self._progress = progress
        self._sources = sources
        self._finished = 0
        self._read = 0

    def tell(self, intake: Intake) -> None:
        """A chunk is done."""
        share = (self._finished + min(intake.position.share, 1.0)) / self._sources
        read = self._read + intake.read
        if self._progress is not None and share:
            self._progress(read, max(read, round(read / share)))

    def finish(self, intake: Intake) -> None:
        """A source is done."""
        self._finished += 1
        self._read += intake.read
        if self._progress is not None:
            self._progress(self._read, round(self._read * self._sources / self._finished))
