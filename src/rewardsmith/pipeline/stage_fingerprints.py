"""What each stage after the check depends on, as one hash: a stage whose hash is unchanged need not be done again.

Those of the stages after training stand on the training that the run directory holds.
"""

from __future__ import annotations

from rewardsmith.pipeline.context import Job
from rewardsmith.pipeline.fingerprints import place_fingerprint, versions
from rewardsmith.records import CheckRecord
from rewardsmith.spec import digest
from rewardsmith.spec.evaluation import HELD_OUT
from rewardsmith.training.openrlhf.environment import versions_of_backend
from rewardsmith.training.plan import weights_fingerprint


def train_fingerprint(job: Job, checked: CheckRecord) -> str:
    """Of everything that decides the weights."""
    return weights_fingerprint(
        job.spec,
        data_fingerprint=digest([checked.data_fingerprint, job.pairs_fingerprint]),
        base_fingerprint=job.base_fingerprint,
        versions=versions() | versions_of_backend(job.spec),
    )


def labels_fingerprint(job: Job) -> str:
    """Of everything that decides what the margins say."""
    trained = job.run.manifest.stages["train"]
    return digest(
        {
            "model": trained.fingerprint,
            "state": trained.state,
            "wanted": job.spec.evaluation.label_noise.model_dump(mode="json"),
            "versions": versions(),
        }
    )


def evaluate_fingerprint(job: Job) -> str:
    """Of everything that decides scores: model, rows, rendering, resampling."""
    return digest(
        {
            "model": job.run.manifest.stages["train"].fingerprint,
            "benchmarks": [
                [key, rows.dataset.sha256, rows.dataset.source] for key, (_, rows) in job.benchmarks.items()
            ],
            "renderings": {benchmark.key: benchmark.protocol for benchmark in job.spec.evaluation.benchmarks},
            "bootstrap": job.spec.evaluation.bootstrap,
            "pairs": job.pairs_fingerprint,
            "versions": versions(),
        }
    )


def probe_fingerprint(job: Job) -> str:
    """Of everything that decides what edits do to rewards."""
    wanted = job.spec.evaluation.probes
    return digest(
        {
            "model": job.run.manifest.stages["train"].fingerprint,
            "rows": job.pairs_fingerprint if wanted.data == HELD_OUT else place_fingerprint(wanted.data),
            "probes": wanted.model_dump(mode="json"),
            "bootstrap": job.spec.evaluation.bootstrap,
            "seed": job.spec.seed,
            "versions": versions(),
        }
    )
