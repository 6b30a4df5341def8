"""Which way a training job takes: in this process, or on several workers under Ray.

    record = run_training(TrainJob(...), events)

`hardware.workers` says how many; where `accelerate launch` or `torchrun` started this process, it is one of several
already and Ray is left alone.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from rewardsmith.errors import SpecError
from rewardsmith.pipeline.cluster import ray_cluster
from rewardsmith.pipeline.events import Events
from rewardsmith.pipeline.planning import copies_fit, trained_by
from rewardsmith.records import TrainRecord
from rewardsmith.spec import QloraAdapter, Spec
from rewardsmith.spec.architecture import HardwareSpec
from rewardsmith.training.trl_backend import TrainJob, train


def run_training(job: TrainJob, events: Events) -> TrainRecord:
    """Train for one epoch, or the rest of one. Raises as `trl_backend.train` and `ray_train.train_on_ray` do."""
    if trained_by(job.spec, job.base) == "openrlhf":
        from rewardsmith.training.openrlhf.backend import train as train_by_openrlhf

        return train_by_openrlhf(replace(job, spec=job.spec.model_copy(update={"backend": "openrlhf"})))
    count = wanted_workers(job.spec.hardware)
    if count == 1 or "WORLD_SIZE" in os.environ:
        return train(job)
    hardware = job.spec.hardware
    with ray_cluster(hardware.ray_address) as cluster:
        from rewardsmith.training.ray_train import Workers, train_on_ray

        share = cluster.share(count, hardware.device)
        workers = Workers(
            count=count,
            cpus=share.cpus,
            gpus=share.gpus,
            threads=share.threads,
            folder=Path(hardware.shared_storage) if hardware.shared_storage else None,
            restarts=hardware.restarts,
            sharded=choose_sharding(job.spec, job.base, count),
        )
        how = "FSDP" if workers.sharded else "DDP"
        events.note(f"{count} workers under Ray ({how}) on {cluster.nodes} machines")
        return train_on_ray(job, workers, events.note)


def wanted_workers(hardware: HardwareSpec) -> int:
    """Training processes over all machines."""
    if hardware.workers is not None:
        return hardware.workers
    return hardware.nodes * (hardware.devices_per_node or 1) if hardware.nodes > 1 else 1


def choose_sharding(spec: Spec, base: str, workers: int) -> bool:
    """Whether each worker holds a share of the weights (FSDP) in place of all of them (DDP).

    `auto`: where the planner's formula says that a device cannot hold all of it. Weights in 4 bits are never parted.

    Raises:
        SpecError: shares of weights held in 4 bits.
    """
    quantised = isinstance(spec.adapter, QloraAdapter)
    if spec.hardware.sharding == "auto":
        return not quantised and not copies_fit(spec, base, workers)
    if spec.hardware.sharding == "fsdp" and quantised:
        raise SpecError(
            "weights in 4 bits cannot be held in shares",
            where="hardware.sharding",
            fix="write ddp; or adapter.kind: lora with fsdp",
        )
    return spec.hardware.sharding == "fsdp"
