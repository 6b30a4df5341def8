"""Runs in OpenRLHF's environment, submitted by ray.sh: starts one torchrun on each of several nodes of a Ray cluster.

    python ray_nodes.py FOLDER NODES DEVICES_PER_NODE PORT FLAGS OF train_rm

OpenRLHF has no Ray trainer for reward models. Ray's part is to reserve whole nodes (a placement group that spreads) and
to end all when one fails. FOLDER is on storage that every node sees. It imports nothing of Rewardsmith.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

HANDED_ON = ("TOKENIZERS_PARALLELISM", "HF_DATASETS_CACHE", "OMP_NUM_THREADS", "DS_ACCELERATOR", "PYTHONPATH", "PATH")
"""Variables that the script sets, or that say where software is: every node needs them."""


def node_command(python: str, nodes: int, devices: int, meet: tuple[int, str, int], flags: list[str]) -> list[str]:
    """The torchrun of one node: its rank, and the address and port of the first, where all meet."""
    rank, address, port = meet
    return [
        *[python, "-m", "torch.distributed.run", "--nnodes", str(nodes), "--nproc_per_node", str(devices)],
        *["--node_rank", str(rank), "--master_addr", address, "--master_port", str(port)],
        *["inside.py", *flags],
    ]


def run_node(folder: str, nodes: int, devices: int, meet: tuple[int, str, int], flags: list[str]) -> None:
    """Run one node's processes to their end; fails when they fail."""
    command = node_command(sys.executable, nodes, devices, meet, flags)
    subprocess.run(command, cwd=folder, check=True)  # noqa: S603 - the command of this very module


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Of these variables what every node needs."""
    return {name: variables[name] for name in HANDED_ON if name in variables}


def main(folder: str, nodes: int, devices: int, port: int, flags: list[str]) -> None:
    """Reserve the nodes, start a torchrun on each, wait for all."""
    import ray
    from ray.util.placement_group import placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    ray.init(runtime_env={"env_vars": environment(os.environ)})
    # A cluster without GPUs is for trying this out: there a node gives one CPU.
    on_gpus = bool(ray.cluster_resources().get("GPU"))
    each: dict[str, float] = {"GPU": devices} if on_gpus else {"CPU": 1}
    group = placement_group([each] * nodes, strategy="STRICT_SPREAD" if nodes > 1 else "PACK")
    ray.get(group.ready())

    def on_node(function: Callable[..., Any], index: int) -> Any:
        place = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=index)
        return ray.remote(function).options(
            num_cpus=0 if on_gpus else 1, num_gpus=devices if on_gpus else 0, scheduling_strategy=place, max_retries=0
        )

    first = ray.get(on_node(ray.util.get_node_ip_address, 0).remote())
    running = [on_node(run_node, i).remote(folder, nodes, devices, (i, first, port), flags) for i in range(nodes)]
    while running:  # the first failure ends the job, and with it the other nodes
        done, running = ray.wait(running, num_returns=1)
        ray.get(done)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:])
