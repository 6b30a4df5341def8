"""The held-out pairs that a router is calibrated on: where they come from, and that no gate decides on them.

    rows = calibration_rows(spec, data, events)          # BenchmarkRows of pairs
    rows = draw(rows, 1000, seed)

A limit that was fitted on the rows of a gate would be tested on what it has seen. So a source that is one of the
spec's benchmarks (its hub id, its file, or a copy of it), or that shares prompts with one, is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from rewardsmith.data.files import sha256_of
from rewardsmith.errors import DataError, UserError
from rewardsmith.evaluation import BenchmarkRows, find_benchmark
from rewardsmith.pipeline.context import Job
from rewardsmith.pipeline.directory import RunDirectory, checkpoint_folder
from rewardsmith.pipeline.evaluating import held_out_rows, load_benchmark
from rewardsmith.pipeline.events import Events
from rewardsmith.pipeline.resources import EMBEDDED, Resources
from rewardsmith.records import CheckRecord, read_record
from rewardsmith.spec import BenchmarkSpec, Spec
from rewardsmith.types import Conversation

_FIX = "calibrate on held-out pairs that no gate looks at"


def calibration_rows(spec: Spec, data: str | None, events: Events) -> BenchmarkRows:
    """Pairs of a file or a hub id; those that the spec's run holds out where `data` is None.

    Raises:
        UserError: a gate decides on them, they cannot be read, or the run has none.
    """
    if data is None:
        return _held_out(spec, events)
    _refuse_sources(spec, data)
    rows = find_benchmark("pairs").load(data, None)
    _refuse_prompts(spec, rows, data, events)
    return rows


def draw(rows: BenchmarkRows, most: int | None, seed: int) -> BenchmarkRows:
    """At most `most` of the rows, drawn by the seed, in their order."""
    if most is None or len(rows.rows) <= most:
        return rows
    chosen = np.sort(np.random.default_rng(seed).permutation(len(rows.rows))[:most])
    return replace(rows, rows=tuple(rows.rows[place] for place in chosen))


def _held_out(spec: Spec, events: Events) -> BenchmarkRows:
    """The pairs that the run of this spec holds out."""
    run = checkpoint_folder(spec).parent
    if not (run / "check.json").exists():
        raise UserError(
            "the spec's run is not there, and with it the pairs that it holds out",
            where=str(run),
            fix="run `rewardsmith run` with this spec first, or name held-out pairs with --data FILE",
        )
    with RunDirectory.open(spec) as directory:
        job = Job(spec, directory, events)
        job.checked = read_record(run / "check.json", CheckRecord)
        pairs = job.prepared.held_out
        if not pairs:
            raise UserError("the run holds out no pairs", where=str(run), fix="name some with --data FILE")
        rows = held_out_rows(pairs, job.prepared.record.held_out_origin)[1]
        _refuse_prompts(spec, rows, str(run), events)
        return rows


def _refuse_sources(spec: Spec, data: str) -> None:
    """Refuse a source that is named as a benchmark, or is a copy of its file."""
    path = Path(data)
    digest = sha256_of(path) if path.is_file() else None
    for benchmark in spec.evaluation.benchmarks:
        there = Path(benchmark.data)
        same_file = there.is_file() and digest is not None and sha256_of(there) == digest
        if benchmark.data == data or same_file or (there.exists() and path.exists() and there.samefile(path)):
            raise DataError(
                f"is the benchmark {benchmark.key!r}, which {_gate(spec, benchmark)} decides on", where=data, fix=_FIX
            )


def _refuse_prompts(spec: Spec, rows: BenchmarkRows, where: str, events: Events) -> None:
    """Refuse pairs whose prompts stand in a benchmark."""
    own = {_words(row.prompt) for row in rows.rows if row.prompt}
    for benchmark, prompts in _prompts(spec, events):
        shared = len(own & prompts)
        if shared:
            raise DataError(
                f"shares {shared:,} of its {len(own):,} prompts with the benchmark {benchmark.key!r}, which "
                f"{_gate(spec, benchmark)} decides on",
                where=where,
                fix=_FIX,
            )


def _prompts(spec: Spec, events: Events) -> Iterator[tuple[BenchmarkSpec, set[str]]]:
    resources = Resources.of(spec, events, with_base=False)
    for benchmark in spec.evaluation.benchmarks:
        if benchmark.data != EMBEDDED and not Path(benchmark.data).exists():
            events.note(f"{benchmark.key} is not on this machine: whether pairs share its prompts was not looked at")
            continue
        found = load_benchmark(benchmark, resources.benchmark_data(benchmark.data))[1]
        yield benchmark, {_words(row.prompt) for row in found.rows if row.prompt}


def _gate(spec: Spec, benchmark: BenchmarkSpec) -> str:
    """The gate that decides on a benchmark, by its field."""
    gates = spec.evaluation.gates
    if benchmark.key in gates.minimum:
        return f"evaluation.gates.minimum.{benchmark.key}"
    return "evaluation.gates.above_baseline" if gates.above_baseline else "the gate `computed`"


def _words(prompt: Conversation) -> str:
    """A prompt as it is compared: case and white space are nothing."""
    return "\0".join(" ".join(turn.content.casefold().split()) for turn in prompt)
