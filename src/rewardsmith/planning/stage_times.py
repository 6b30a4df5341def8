"""How long each stage of a run takes, not training alone: check, training, labels, evaluation, probes, attack, report.

    times = stage_times(spec, shape, lengths, machine, training=time, rows={"held_out": 162, "rewardbench2": 1865})

Whatever asks the model is counted in forward passes (`time.forward_operations`) over texts as long as the training
texts; a text's prompt counts once where its row has several. What computes no model (reading, intervals, pages) goes by
rates measured on two CPU cores. These are upper bounds of what is asked: probes that do not apply to a row, and rewards
that are known already, cost nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from rewardsmith.modeling.shapes import ModelShape
from rewardsmith.planning.hardware import Machine
from rewardsmith.planning.time import PAIRS, UTILISATION, Lengths, forward_operations
from rewardsmith.records.plan import StageTime, TimePlan
from rewardsmith.spec import BenchmarkSpec, Spec
from rewardsmith.spec.evaluation import DESTROYED_PROBES, HELD_OUT, SURFACE_PROBES

CHECK_SECONDS = 1.7e-3
"""Of a pair in the data contract, on two cores: the slowest of bench/results/check_scale.md."""

READ_SECONDS = 0.6e-3
"""Of a pair that is read and rendered again for training: tokens in the same table."""

OPEN_SECONDS = 5.0
"""Of opening a checkpoint with its golden rewards, and of what is computed beside rewards; an assumption."""

ONE_IN = 10
"""At most one in so many pairs is asked about again for its label (`pipeline.label_noise.ONE_IN`)."""

ASSUMED_ROWS = 2000
"""Of a benchmark that is no local file of lines, about as many as RewardBench 2 has."""

TEXTS = {"rewardbench2": 4, "best_of_n": 4, "rm_bench": 6}
"""Of a row; others have two."""


def stage_times(
    spec: Spec,
    shape: ModelShape,
    lengths: Lengths,
    machine: Machine,
    *,
    training: TimePlan,
    rows: Mapping[str, int] | None = None,
) -> tuple[StageTime, ...]:
    """Seconds of each stage that the spec asks for, in order.

    Args:
        training: the time of the epoch; its pairs are those of all stages.
        rows: evaluated set → its rows, `held_out` among them; what is not there is counted or assumed.
    """
    pair = lengths.tree * forward_operations(shape, lengths.attended) / (machine.flops * UTILISATION[machine.kind])
    return tuple(_times(spec, training, lengths, pair, rows or {}))


def _times(
    spec: Spec, training: TimePlan, lengths: Lengths, pair: float, rows: Mapping[str, int]
) -> Iterator[StageTime]:
    wanted, pairs = spec.evaluation, training.pairs
    yield _time("check", pairs * CHECK_SECONDS, f"{pairs:,} pairs at {1000 * CHECK_SECONDS:g} s a thousand")
    yield _time("train", training.seconds + pairs * READ_SECONDS, f"one epoch of {pairs:,} pairs")
    again = min(wanted.label_noise.rescore, math.ceil(pairs / ONE_IN))
    if wanted.label_noise.suspects:
        yield _time("labels", _asked(again, pair), f"{again:,} pairs asked about again")
    sets = _sets(spec, lengths, rows)
    texts = sum(count * each for count, each in sets.values())
    said = ", ".join(f"{name} {count:,} rows{_guessed(spec, name, rows)}" for name, (count, _) in sets.items())
    yield _time("evaluate", _asked(texts / 2, pair), said or "nothing")
    held_out = sets.get(HELD_OUT, (PAIRS, 2))[0]
    if wanted.probes.pairs:
        drawn = min(wanted.probes.pairs, held_out) if wanted.probes.data == HELD_OUT else wanted.probes.pairs
        edits = len(SURFACE_PROBES) + len(DESTROYED_PROBES)
        yield _time("probe", _asked(drawn * (1 + edits) / 2, pair), f"{drawn:,} rows, {edits} edits of each")
    if wanted.attack.pairs:
        texts, limit = wanted.attack.queries, wanted.attack.seconds
        most = math.inf if limit is None else OPEN_SECONDS + limit
        said = "" if limit is None else f" and {limit:g} s"
        yield _time("attack", min(most, _asked(texts / 2, pair)), f"at most {texts:,} texts{said}")
    yield _time("report", OPEN_SECONDS, "gates and pages")


def _asked(pairs: float, seconds: float) -> float:
    return OPEN_SECONDS + pairs * seconds if pairs else 0.0


def _time(stage: str, seconds: float, basis: str) -> StageTime:
    return StageTime(stage=stage, seconds=seconds, basis=basis)


def _sets(spec: Spec, lengths: Lengths, rows: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Evaluated set → its rows, and texts of a row."""
    found = {}
    held_out = rows.get(HELD_OUT, _held_out(spec, lengths))
    if held_out:
        found[HELD_OUT] = held_out, 2
    for benchmark in spec.evaluation.benchmarks:
        count = rows.get(benchmark.key)
        found[benchmark.key] = (_rows_of(benchmark) if count is None else count), TEXTS.get(benchmark.name, 2)
    return found


def _held_out(spec: Spec, lengths: Lengths) -> int:
    """Held-out pairs by the spec's fraction of the training pairs that are left."""
    fraction = spec.data.held_out.fraction or 0.0
    pairs = PAIRS if lengths.pairs is None else lengths.pairs
    return round(pairs * fraction / (1 - fraction)) if fraction < 1 else 0


def _rows_of(benchmark: BenchmarkSpec) -> int:
    """Lines of a local file of lines, else an assumption."""
    if not _has_lines(benchmark):
        return ASSUMED_ROWS
    with Path(benchmark.data).open("rb") as lines:
        return sum(1 for _ in lines)


def _has_lines(benchmark: BenchmarkSpec) -> bool:
    return benchmark.data.endswith(".jsonl") and Path(benchmark.data).is_file()


def _guessed(spec: Spec, name: str, rows: Mapping[str, int]) -> str:
    own = [one for one in spec.evaluation.benchmarks if one.key == name]
    return " (assumed)" if name not in rows and not any(map(_has_lines, own)) else ""
