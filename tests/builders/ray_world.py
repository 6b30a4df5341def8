"""Real Ray clusters for tests, small and quiet: one machine, or two raylets that each think they are one."""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",
    "RAY_worker_niceness": "0",  # 15 unless said: on a busy machine the tests would wait for their workers
}

import ray
from ray.cluster_utils import Cluster

T = TypeVar("T")

_STARTS = 4
_STORE = 100 * 2**20
_MACHINE: dict[str, Any] = {"include_dashboard": False, "object_store_memory": _STORE}
_DRIVER: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}


@contextmanager
def tests_importable() -> Iterator[None]:
    """Workers take their path from the raylet, and that from here: what tests plant is found there."""
    with pytest.MonkeyPatch.context() as patch:
        tests = Path(__file__).parents[1]
        folders = (tests, *(tests / name for name in ("builders", "scoring", "serving", "training")))
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, folders)), prepend=os.pathsep)
        yield


def _insist(start: Callable[[], T]) -> T:
    """Start something of Ray's, again if need be: Ray gives a raylet 30 s, which a busy machine may not have."""
    for _ in range(_STARTS - 1):
        try:
            return start()
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # processes that Ray ends when this one ends
            ray.shutdown()
            gc.collect()
    return start()


@contextmanager
def one_machine(cpus: int = 2) -> Iterator[None]:
    """A cluster of one raylet."""
    with tests_importable():
        _insist(lambda: ray.init(address="local", num_cpus=cpus, **_MACHINE, **_DRIVER))
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def two_machines() -> Iterator[None]:
    """A cluster of two raylets with one CPU each: two workers cannot share a machine."""
    with tests_importable():
        cluster = _insist(lambda: Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **_MACHINE}))
        _insist(lambda: cluster.add_node(num_cpus=1, object_store_memory=_STORE))
    try:
        ray.init(address=cluster.address, **_DRIVER)
        yield
    finally:
        ray.shutdown()
        cluster.shutdown()
