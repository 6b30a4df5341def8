"""The Ray cluster that trains, scores or serves: joined where there is one, else started on this machine.

    with ray_cluster(address) as cluster:
        share = cluster.share(workers=2, device="auto")      # what each of them reserves

What was joined is left as it was; what was started here ends here. Ray's usage statistics are off and no dashboard is
started. A process that called `ray.init` itself keeps its connection.
"""

from __future__ import annotations

import logging
import math
import os
import queue
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rewardsmith.errors import UserError
from rewardsmith.packages import is_installed

ADDRESS_VARIABLE = "RAY_ADDRESS"

FREE = 0.1
"""The part of a CPU that each worker leaves unreserved, so that what reads for it always finds room."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one of several workers reserves (`cpus`, `gpus`), and its CPU threads."""

    cpus: float
    gpus: float
    threads: int


@dataclass(frozen=True, slots=True)
class Cluster:
    """The machines of a cluster, and their CPUs and GPUs together."""

    nodes: int
    cpus: float
    gpus: float

    def workers(self, device: str) -> int:
        """How many workers there are where nobody says: one for each GPU, else one for each machine."""
        return int(self.gpus) if self._on_gpus(device) else self.nodes

    def room(self, device: str) -> int:
        """How many workers can be there at most, as the cluster is now."""
        return max(1, int(self.gpus if self._on_gpus(device) else self.cpus))

    def share(self, workers: int, device: str) -> Share:
        """What each of `workers` reserves.

        Raises:
            UserError: the cluster has fewer CPUs or GPUs than workers.
        """
        gpus = 1.0 if self._on_gpus(device) else 0.0
        if workers > self.cpus or (gpus and workers > self.gpus):
            raise UserError(
                f"{workers} workers need as many {'GPUs' if gpus else 'CPUs'}; the cluster has {self.nodes} machines "
                f"with {self.cpus:g} CPUs and {self.gpus:g} GPUs",
                where="workers",
                fix="ask for fewer, or join a larger cluster",
            )
        threads = max(1, math.floor(self.cpus / workers))
        return Share(threads - FREE, gpus, threads)

    def _on_gpus(self, device: str) -> bool:
        return device == "cuda" or (device == "auto" and self.gpus >= 1)


@contextmanager
def ray_cluster(address: str | None = None) -> Iterator[Cluster]:
    """Join the cluster at `address` (`host:port` or `auto`; else `$RAY_ADDRESS`), or start one on this machine.

    Raises:
        UserError: Ray is not installed, or there is no such cluster.
    """
    require_ray()
    _quiet()
    import ray

    if ray.is_initialized():
        yield _found()
        return
    _connect(address or os.environ.get(ADDRESS_VARIABLE) or "local")
    try:
        yield _found()
    finally:
        ray.shutdown()


class Told:
    """A signal to end, once it has come."""

    def __init__(self) -> None:
        self._come: queue.SimpleQueue[str] = queue.SimpleQueue()

    def hear(self, number: int, frame: object = None) -> None:
        """The signal's handler."""
        del frame
        self._come.put(signal.Signals(number).name)

    def wait(self) -> str:
        """Its name, when it comes."""
        return self._come.get()


@contextmanager
def until_told() -> Iterator[Told]:
    """SIGTERM and SIGINT end nothing in here; they are told."""
    told = Told()
    hangup = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)  # nohup
    before = {one: signal.signal(one, told.hear) for one in (signal.SIGTERM, signal.SIGINT, *hangup)}
    try:
        yield told
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def require_ray() -> None:
    """Refuse to go on without Ray.

    Raises:
        UserError: it is not installed.
    """
    if not is_installed("ray"):
        raise UserError("the package ray is not installed", fix="pip install 'rewardsmith[ray]'")


def _connect(address: str) -> None:
    import ray

    if address.startswith("ray://"):
        raise UserError(
            "a Ray client (ray://) cannot train, read or serve from here",
            where=address,
            fix="start it on a machine of the cluster with the address auto, or by ray job submit",
        )
    try:
        ray.init(
            address=address,
            include_dashboard=False if address == "local" else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except Exception as error:  # Ray raises whatever comes to hand, bare `Exception` for a machine too busy to start
        ray.shutdown()
        raise UserError(
            f"no Ray cluster can be joined or started: {str(error).splitlines()[0]}",
            where=address,
            fix="ray start --head, then the address auto; or leave the address out to start one here",
        ) from error


def _found() -> Cluster:
    import ray

    alive = [node for node in ray.nodes() if node["Alive"]]
    total = ray.cluster_resources()
    return Cluster(max(1, len(alive)), total.get("CPU", 0.0), total.get("GPU", 0.0))


def _quiet() -> None:
    """Before Ray is imported: no usage statistics, workers in their folder and of the same priority as this process."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "600")  # 60 is short for large models on busy disks
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's own is 15: a busy machine would leave them nothing
    for name in ("ray", "ray.train", "ray.data", "ray.serve"):
        logging.getLogger(name).setLevel(logging.ERROR)
