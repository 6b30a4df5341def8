"""Two processes train the model that one trains: every pair weighs the same however the step is dealt out."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
from pathlib import Path

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from test_training_resume import make_job

from rewardsmith.training.plan import StepSampler, deal, order_pairs
from rewardsmith.training.trl_backend import train

# Micro-batches of unequal numbers of pairs, and a last step of two pairs, one of them alone in a process.
SPEC = {"training": {"pairs_per_step": 5, "learning_rate": 1e-3, "tokens_per_micro_batch": 150}}


def worker(base: str, folder: str, rank: int, port: int) -> None:
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
    }
    try:
        train(make_job(Path(base), Path(folder), **SPEC))
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def test_two_processes_train_what_one_trains(tiny_base: Path, tmp_path: Path) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    train(make_job(tiny_base, alone, **SPEC))
    port = free_port()
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=worker, args=(str(tiny_base), str(together), rank, port)) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]

    summary = json.loads((together / "train" / "summary.json").read_text())
    assert summary["processes"] == 2
    wanted, found = (load_file(folder / "model" / "model.safetensors") for folder in (alone, together))
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, atol=2e-5, rtol=1e-4)
    rows = [
        [json.loads(line) for line in (folder / "train" / "metrics.jsonl").read_text().splitlines()]
        for folder in (alone, together)
    ]
    assert [row["pairs"] for row in rows[1]] == [row["pairs"] for row in rows[0]] == [5, 5, 5, 5, 5, 1]
    for one, two in zip(*rows, strict=True):
        for field in ("loss", "margin_mean", "reward_std", "grad_norm", "accuracy"):
            assert abs(one[field] - two[field]) < 1e-4, (one["step"], field)


@given(st.integers(1, 60), st.integers(1, 17), st.integers(0, 5))
def test_an_epoch_is_a_permutation_cut_into_steps(pairs: int, per_step: int, seed: int) -> None:
    order = order_pairs(np.arange(pairs), "shuffled", seed)
    steps = list(StepSampler(order, per_step))
    assert sorted(index for step in steps for index in step) == list(range(pairs))
    assert len(steps) == len(StepSampler(order, per_step))
    assert all(len(step) == per_step for step in steps[:-1])
    assert steps == list(StepSampler(order_pairs(np.arange(pairs), "shuffled", seed), per_step))


@given(st.integers(1, 12), st.integers(1, 5))
def test_dealing_gives_every_process_as_many_turns_and_every_part_once(parts: int, processes: int) -> None:
    dealt = deal([[index] for index in range(parts)], processes)
    assert len({len(turns) for turns in dealt}) == 1
    assert sorted(turn[0] for turns in dealt for turn in turns if turn) == list(range(parts))
