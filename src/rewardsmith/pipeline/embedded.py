"""What the spec calls `embedded`: the files and the small base model that Rewardsmith makes itself, cached.

resources = Resources.of(spec, events)
resources.pairs            # {"train": path, "held_out": path} where the spec uses them
resources.base             # folder or hub id of the base model
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rewardsmith import samples
from rewardsmith.pipeline.events import Events
from rewardsmith.spec import SourceSpec, Spec

EMBEDDED = "embedded"


@dataclass(frozen=True, slots=True)
class Resources:
    """Where the spec's embedded parts are on disk.

    Attributes:
        base: folder or hub id of the base model.
        pairs: embedded preference pairs by role; empty when the spec names none.
        best_of_n: the embedded benchmark's file, when the spec uses it.
    """

    base: str
    pairs: Mapping[Literal["train", "held_out"], Path]
    best_of_n: Path | None

    @classmethod
    def of(cls, spec: Spec, events: Events, *, with_base: bool = True) -> Resources:
        """Make (or find in the cache) what the spec uses.

        Args:
            with_base: false when only data is needed; the embedded base takes a minute to make.
        """
        paths = samples.write_samples(seed=spec.seed) if uses_embedded_data(spec) else None
        base = spec.base_model.id
        if base == EMBEDDED and with_base:
            base = str(samples.build_base_model(seed=spec.seed, progress=_reporter(events)))
        return cls(
            base=base,
            pairs={"train": paths.train, "held_out": paths.held_out} if paths else {},
            best_of_n=paths.best_of_4 if paths else None,
        )

    def benchmark_data(self, data: str) -> str:
        """The file or hub id that a benchmark's `data` names."""
        return str(self.best_of_n) if data == EMBEDDED else data


def uses_embedded_data(spec: Spec) -> bool:
    """Whether any pairs or benchmark rows of the spec are embedded."""
    sources: tuple[SourceSpec, ...] = (*spec.data.train, *spec.data.held_out.sources)
    return any(source.embedded for source in sources) or any(
        benchmark.data == EMBEDDED for benchmark in spec.evaluation.benchmarks
    )


def _reporter(events: Events) -> samples.Progress:
    return lambda done, total: events.progress("warming up the embedded base model", done, total)
