"""Bulk scoring on several workers by Ray Data: one reader streams windows to actors that hold the model.

    actors = Actors(count=2, cpus=0.9)
    identity, notes = describe_models(opening, actors)
    for scored, share in score_on_ray(read, opening, actors):       # in the order of the input
        ...

    read() ─► windows ─► [actor: write_window] ─► ScoredWindow ─► the driver appends

The unit is the window of `bulk.py`, whole: what lies in one batch decides the last bits of a reward, so the output has
the bytes of the local engine at the same number of threads, whichever actor takes which window and whoever is done
first. Ray Data hands the windows out and back in order, holds only as many as its budget of memory allows, replaces an
actor that died, and sends its window to another.

A window that fails is tried again; failing again it is halved, until the rows that fail stand alone. They are written
aside without a reward. Attempts are counted outside of the actors, so that a row that kills its actor is found as well.
Errors of Rewardsmith (a checkpoint that cannot be used, `over_length: error`) end the job as they do locally.
"""

from __future__ import annotations

import logging
import os
import pickle
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray
import ray.data
import torch
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask

from rewardsmith.errors import ModelError, RewardsmithError
from rewardsmith.protocols import Scorer
from rewardsmith.scoring.bulk import BulkRow, ScoredWindow, join_windows, refuse_window, write_window

Reading = Callable[[], Iterator[tuple[list[BulkRow], float]]]
Opening = Callable[[Callable[[str], None]], tuple[Scorer, str]]

TRIES = 2
"""How often a window, and each half of it, may fail before it is parted."""

"""The reason of a row that fails alone."""

_READER_CPUS = 0.05
_IN_FLIGHT = 2


@dataclass(frozen=True, slots=True)
class Actors:
    """How many hold the model, what each of them reserves, and its CPU threads.

    Whole CPUs less a little: what is left over lets the reader run, and a cluster without room for it would wait for
    ever.
    """

    count: int
    cpus: float
    gpus: float = 0.0
    threads: int = 1


def describe_models(opening: Opening, actors: Actors) -> tuple[str, list[str]]:
    """The identity of what the actors will score with, found where they will run; and warnings.

    Raises:
        ModelError: a model cannot be used.
    """
    with _raised_as_ours():
        task = ray.remote(_describe).options(num_cpus=actors.cpus, num_gpus=actors.gpus).remote(opening)
        identity, notes = ray.get(task)
        return identity, notes


def _describe(opening: Opening) -> tuple[str, list[str]]:
    notes: list[str] = []
    _, identity = opening(notes.append)
    return identity, notes


def score_on_ray(read: Reading, opening: Opening, actors: Actors) -> Iterator[tuple[ScoredWindow, float]]:
    """Windows scored by the actors, in the order in which `read` gives them.

    Args:
        read: called once, on this machine, in another process.
        opening: called once by each actor.
        actors: how many, and what they reserve.

    Raises:
        RewardsmithError: input or model cannot be used.
    """
    attempts = _attempts()
    with _raised_as_ours(), ray.data.DataContext.current(_context()):
        dataset = ray.data.read_datasource(
            _Windows(read),
            num_cpus=_READER_CPUS,
            override_num_blocks=1,
            label_selector={"ray.io/node-id": ray.get_runtime_context().get_node_id()},
        ).map_batches(
            _Worker,
            fn_constructor_args=(opening, attempts),
            batch_size=1,
            num_cpus=actors.cpus,
            num_gpus=actors.gpus or None,
            # Ray itself would give a worker as many threads as it reserves whole CPUs.
            runtime_env={"env_vars": {"OMP_NUM_THREADS": str(actors.threads)}},
            compute=ray.data.ActorPoolStrategy(size=actors.count, max_tasks_in_flight_per_actor=_IN_FLIGHT),
            udf_modifying_row_count=False,
        )
        for row in dataset.iter_rows():
            content = pickle.loads(row["content"])  # noqa: S301 - from an actor of this job
            if isinstance(content, RewardsmithError):
                raise content
            yield content, row["share"]


def _context() -> Any:
    """Ray Data's settings: a block is a window, blocks come out in order, and nothing is drawn or told."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    # Fewer windows than actors: true of a small file, and of the rest of a job that goes on.
    warnings.filterwarnings("ignore", message="The minimum number of concurrent actors", category=UserWarning)
    context = ray.data.DataContext.get_current().copy()
    context.target_max_block_size = 1  # a block is closed after its first row, which is a window
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.issue_detectors_config.detectors = []
    return context


@contextmanager
def _raised_as_ours() -> Iterator[None]:
    """What a worker raised, without Ray's wrapping; a worker that Ray gives up is named.

    Raises:
        RewardsmithError: of a worker.
        ModelError: Ray could not go on.
    """
    try:
        yield
    except ray.exceptions.RayError as error:
        ours = _ours(error)
        if ours is not None:
            raise ours from error
        lines = [line for line in str(error).strip().splitlines() if line.strip()]
        raise ModelError(
            f"the workers failed: {type(error).__name__}: {lines[-1].strip() if lines else 'no message'}",
            where="--engine ray",
            fix="run it again: it goes on after the last whole window",
        ) from error


def _ours(error: BaseException | None) -> RewardsmithError | None:
    while error is not None:
        if isinstance(error, RewardsmithError):
            return error
        error = getattr(error, "cause", None) or error.__cause__
    return None


class _Windows(Datasource):
    """One task that reads windows, a row of a block each."""

    def __init__(self, read: Reading) -> None:
        super().__init__()
        self._read = read

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[ReadTask]:
        """One: where a window ends depends on all rows before it, and reading is fast beside scoring."""
        del parallelism, per_task_row_limit, data_context
        read = self._read
        return [ReadTask(lambda: _blocks(read), BlockMetadata(None, None, None, None))]

    def estimate_inmemory_data_size(self) -> int | None:
        """Not known before it is read."""
        return None


def _blocks(read: Reading) -> Iterator[pa.Table]:
    """Windows; an error of ours takes the place of the window at which it came, since Ray Data would wrap it."""
    index, share = -1, 0.0
    try:
        for index, (window, share) in enumerate(read()):
            yield _block(index, share, window)
    except RewardsmithError as error:
        yield _block(index + 1, share, error)


def _block(index: int, share: float, content: object) -> pa.Table:
    return pa.table({"index": [index], "share": [share], "content": [pickle.dumps(content)]})


def _attempts() -> Any:
    """An actor that counts the attempts at each part of a window; it outlives those that hold the model.

    Its class is made in here, so that Ray sends it whole: its process imports neither this module nor torch.
    """

    class Attempts:
        def __init__(self) -> None:
            self._begun: dict[int, Counter[tuple[int, int]]] = {}

        def begin(self, window: int, start: int, stop: int) -> int:
            """Count one more attempt at rows `start` to `stop`; returns how many did not end well, with this one."""
            found = self._begun.setdefault(window, Counter())
            found[start, stop] += 1
            return found[start, stop]

        def end(self, window: int, start: int, stop: int) -> None:
            """The last attempt at these rows ended well. It may be made again: when the worker dies of others."""
            self._begun[window][start, stop] = 0

        def forget(self, window: int) -> None:
            """A window is done."""
            self._begun.pop(window, None)

    return ray.remote(Attempts).options(num_cpus=0).remote()


class _Worker:
    """An actor: the model, and what it does with one window."""

    def __init__(self, opening: Opening, attempts: Any) -> None:
        self._scorer, _ = opening(_unheard)
        self._attempts = attempts

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """One row in, one row out: the window's part of the output, or an error of ours, in place of the window."""
        index = int(batch["index"][0])
        content = pickle.loads(batch["content"][0])  # noqa: S301 - from the reader of this job
        if not isinstance(content, RewardsmithError):
            try:
                content = self._score(index, content, 0)
            except RewardsmithError as error:
                content = error
        self._attempts.forget.remote(index)
        return {"index": [index], "share": batch["share"], "content": [pickle.dumps(content)]}

    def _score(self, index: int, window: Sequence[BulkRow], start: int) -> ScoredWindow:
        """The window; in halves, once it has failed or killed its actor too often."""
        why = "the worker died while it scored this row"
        part = (index, start, start + len(window))
        while ray.get(self._attempts.begin.remote(*part)) <= TRIES:
            try:
                scored = write_window(self._scorer, window)
            except RewardsmithError:
                raise
            except Exception as error:
                why = type(error).__name__
                _leave_if_broken(error)
            else:
                ray.get(self._attempts.end.remote(*part))
                return scored
        if len(window) == 1:
            return refuse_window(window, why)
        middle = len(window) // 2
        halves = (self._score(index, window[:middle], start), self._score(index, window[middle:], start + middle))
        return join_windows(halves)


def _leave_if_broken(error: Exception) -> None:
    """After a fault of its accelerator (not for want of memory) a process can compute nothing more: get a new one."""
    broken = getattr(torch, "AcceleratorError", ())
    if isinstance(error, broken) and not isinstance(error, torch.OutOfMemoryError):
        os._exit(1)


def _unheard(note: str) -> None:
    """The driver has told it already."""
    del note
