"""`train/openrlhf/` of the run directory: all that OpenRLHF reads, and whether it has finished.

    write_folder(job, setup)
    is_finished(setup)
    tidy(setup)                 # when the checkpoint is imported: weights and caches go, scripts and logs stay

`job.json` carries the identity of what is trained: the job's fingerprint, OpenRLHF's version, processes and flags. A
folder of another identity is made anew; of the same one it is what a killed or submitted training goes on from.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from rewardsmith.records import LeftOutPair, write_jsonl, write_text
from rewardsmith.spec import digest
from rewardsmith.training.openrlhf.command import BASE, CHECKPOINTS, EVAL_ROWS, OUT, TRAIN_ROWS
from rewardsmith.training.openrlhf.scripts import SUBMIT, write_scripts
from rewardsmith.training.openrlhf.setup import Setup
from rewardsmith.training.openrlhf.start import write_start
from rewardsmith.training.openrlhf.texts import TextRow
from rewardsmith.training.trl_backend import TrainJob

LEFT_OUT = "left_out.jsonl"


def write_folder(job: TrainJob, setup: Setup) -> None:
    """Everything that OpenRLHF reads. What another training left is removed; what this one left stays."""
    folder = setup.folder
    if _identity_of(folder / "job.json") != (identity := _identity(job, setup)):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        shared = job.spec.hardware.nodes > 1 or job.spec.openrlhf.launcher in SUBMIT
        write_start(folder / BASE, job.spec, job.base, job.renderer, shared=shared)
        _write_rows(folder / TRAIN_ROWS, setup.rows)
        _write_rows(folder / EVAL_ROWS, setup.evaluation_rows)
        write_text(folder / "job.json", json.dumps({"fingerprint": identity}) + "\n")
    write_scripts(folder, job.spec, setup.flags, setup.plan.device, processes_per_node=setup.processes_per_node)
    write_jsonl(job.folder / LEFT_OUT, left_out(job, setup))


def _write_rows(path: Path, rows: Sequence[TextRow]) -> None:
    # Parquet, because a reader of JSON guesses at types: a text may look like a date.
    table = pa.table({"chosen": [row.chosen for row in rows], "rejected": [row.rejected for row in rows]})
    pq.write_table(table, path)


def _identity(job: TrainJob, setup: Setup) -> str:
    return digest([job.fingerprint, setup.version, setup.processes, setup.flags])


def _identity_of(path: Path) -> str | None:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["fingerprint"])
    except (OSError, ValueError, KeyError):
        return None


def is_finished(setup: Setup) -> bool:
    """Whether `train_rm` has saved its checkpoint, of this very training."""
    done = _identity_of(setup.folder / "finished.json")
    return done is not None and done == _identity_of(setup.folder / "job.json")


def left_out(job: TrainJob, setup: Setup) -> list[LeftOutPair]:
    """The pairs that OpenRLHF does not train on, in the order of the data."""
    tail = {setup.index[row] for row in setup.dealt.left_out}
    kept = set(setup.index)
    return [
        LeftOutPair(
            index=index,
            id=pair.id,
            source=pair.source,
            subset=pair.subset,
            reason="incomplete_step" if index in tail else "text_without_these_tokens",
        )
        for index, pair in enumerate(job.pairs)
        if index in tail or index not in kept
    ]


def tidy(setup: Setup) -> None:
    """Remove weights, resumable state and caches; rows, scripts, logs and what each step saw stay."""
    for name in (BASE, OUT, CHECKPOINTS, "cache"):
        shutil.rmtree(setup.folder / name, ignore_errors=True)
