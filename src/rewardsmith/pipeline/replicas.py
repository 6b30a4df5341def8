"""`training.seeds`: the same spec trained once for each seed, and how far scores differ between them.

    record = run_replicas(job, results)          # None without seeds; replicas.json

The seed draws the order of the pairs and the initial head. The run's own model is the first seed's, so a run gets no
better by choosing among its seeds; the others stand in `replicas/seed-K/`, each a run directory. An interval says what
another draw of rows would change, this spread what another draw of the training would.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rewardsmith.evaluation.subsets import AVERAGE
from rewardsmith.pipeline.context import Job
from rewardsmith.pipeline.variants import run_variant
from rewardsmith.records import BenchmarkResult, ReplicasRecord, SeedSpread, write_json

REPLICAS = "replicas.json"

Results = Mapping[str, BenchmarkResult]


def run_replicas(job: Job, results: Results) -> ReplicasRecord | None:
    """Train and evaluate the other seeds, or read what they gave before.

    Args:
        job: the run, its own model trained and evaluated.
        results: of the run's own model.

    Raises:
        UserError: as the stages do.
    """
    path = job.run.path / REPLICAS
    seeds = job.spec.training.seeds
    if not seeds:
        path.unlink(missing_ok=True)
        return None
    found: list[Results] = [results]
    stopped = {}
    for number, seed in enumerate(seeds[1:], start=2):
        job.events.note(f"Seed {seed} ({number} of {len(seeds)})")
        outcome = run_variant(job, f"replicas/seed-{seed}", seed=seed)
        found.append(outcome.results)
        if outcome.stopped:
            stopped[str(seed)] = outcome.stopped
    record = ReplicasRecord(
        fingerprint=job.run.manifest.stages["evaluate"].fingerprint,
        seeds=seeds,
        spread={key: spread_of(key, found) for key in results},
        stopped=stopped,
    )
    write_json(path, record)
    return record


def spread_of(key: str, results: Sequence[Results]) -> dict[str, SeedSpread]:
    """Spread of each subset of one benchmark, and of its average, over the seeds."""
    own = results[0][key]
    names = [*own.subsets, *([AVERAGE] if own.average is not None else [])]
    return {name: _spread([_score(found.get(key), name) for found in results]) for name in names}


def _score(result: BenchmarkResult | None, name: str) -> float | None:
    if result is None:
        return None
    if name in result.subsets:
        return result.subsets[name].score
    return result.average if name == AVERAGE else None


def _spread(scores: Sequence[float | None]) -> SeedSpread:
    there = np.array([score for score in scores if score is not None])
    return SeedSpread(
        scores=tuple(scores),
        n=len(there),
        mean=float(there.mean()) if len(there) else None,
        std=float(there.std(ddof=1)) if len(there) > 1 else None,
        low=float(there.min()) if len(there) else None,
        high=float(there.max()) if len(there) else None,
    )
