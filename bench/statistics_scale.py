"""How long do the statistics of 100,000 responses take when their rewards are there, and in how much memory?

    python bench/statistics_scale.py            a minute or two on one core
    python bench/statistics_scale.py --save     and bench/results/statistics_scale.md

For each benchmark: rows with 100,000 generated responses (200 to 1,400 characters), scored with all that stands in
results.json (10,000 resamples, distributions, length, calibration, best of N …), written with rows.jsonl,
and compared with a second model. Each runs in a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rewardsmith.evaluation import BenchmarkRows, EvalRow, find_benchmark, score_rows, write_evaluation
from rewardsmith.evaluation.comparison import Evaluated, compare_benchmark
from rewardsmith.records.evaluation import DatasetInfo
from rewardsmith.types import Message
from tables import bench_parser, machine, markdown_table, publish

RESPONSES = 100_000
LIMIT_SECONDS, LIMIT_GIB = 60, 2
SHAPES = {
    "rewardbench2": "five subsets of one right answer of 4, and 500 Ties ids",
    "rm_bench": "matrices of 3 right and 3 wrong answers",
    "pairs": "pairs, 1 to 4 a prompt",
    "best_of_n": "1 to 3 right answers of 10",
}
HEAD = (
    "benchmark",
    "rows",
    "responses",
    "score, s",
    "write, s",
    "compare two, s",
    "peak RSS, MiB",
    "of it texts and rewards",
)


def main() -> None:
    """Measure each benchmark, print, save."""
    parser = bench_parser(__doc__)
    parser.add_argument("--responses", type=int, default=RESPONSES)
    parser.add_argument("--only", choices=SHAPES)
    arguments = parser.parse_args()
    names = [arguments.only] if arguments.only else list(SHAPES)
    found = {name: apart(name, arguments.responses) for name in names}
    lines = markdown_table(HEAD, [cells(name, row) for name, row in found.items()], numbers=False)
    slowest = max(row["score"] + row["write"] for row in found.values())
    largest = max(row["peak"] for row in found.values()) / 1024
    head = (
        f"Rewards given, one thread, seconds of CPU; {machine()}. Most: {slowest:.1f} s to score and write (limit "
        f"{LIMIT_SECONDS}), {largest:.2f} GiB (limit {LIMIT_GIB}). Made by `python bench/statistics_scale.py --save`."
    )
    publish("statistics_scale", f"# What the statistics of many responses cost\n\n{head}\n\n{lines}", arguments)


def apart(name: str, responses: int) -> dict[str, float]:
    """Measure in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(measure, (name, responses))


def measure(name: str, responses: int) -> dict[str, float]:
    """Seconds and MiB of one benchmark."""
    benchmark = find_benchmark(name)
    rows = BenchmarkRows(tuple(generated(name, responses)), DatasetInfo(source="generated"), "generated")
    rng = np.random.default_rng(1)
    models = []
    for noise in (1.0, 0.9):
        models.append([_rewards(rng, row, noise) for row in rows.rows])
    before = _peak()
    started = time.process_time()
    done = [score_rows(benchmark, rows, models[0], seed=1)]
    scored = time.process_time() - started
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        write_evaluation(done[0], Path(folder))
        size = len(json.loads((Path(folder) / "results.json").read_text(encoding="utf-8"))["subsets"])
    written = time.process_time() - started
    peak = _peak()
    done.append(score_rows(benchmark, rows, models[1], seed=1, resamples=100))
    started = time.process_time()
    compare_benchmark(
        benchmark, [Evaluated(f"model {i}", each.result, each.rows) for i, each in enumerate(done)], seed=1
    )
    compared = time.process_time() - started
    counted = sum(len(row.responses) for row in rows.rows)
    return {
        "rows": len(rows.rows),
        "responses": counted,
        "score": scored,
        "write": written,
        "compare": compared,
        "peak": peak,
        "before": before,
        "subsets": size,
    }


def cells(name: str, found: dict[str, float]) -> list[str]:
    """One line of the table."""
    seconds = [f"{found[key]:.1f}" for key in ("score", "write", "compare")]
    counts = [f"{found['rows']:,.0f}", f"{found['responses']:,.0f}"]
    return [f"{name}: {SHAPES[name]}", *counts, *seconds, f"{found['peak']:,.0f}", f"{found['before']:,.0f}"]


def generated(name: str, responses: int) -> Iterator[EvalRow]:
    """Rows of this benchmark's shape with about that many responses."""
    draw = random.Random(3)  # noqa: S311 - generated texts, no secret
    if name == "rewardbench2":
        for k in range(500):
            for half, right in (("ref", 1), ("tied", 3)):
                yield _row(draw, f"{half}:{k}", "Ties", right, 4)
        subsets = ("Factuality", "Precise IF", "Math", "Safety", "Focus")
        yield from (_row(draw, str(i), subsets[i % 5], 1, 3) for i in range((responses - 6_000) // 4))
    elif name == "rm_bench":
        subsets = ("chat", "code", "math", "safety-refuse", "safety-response")
        yield from (_row(draw, str(i), subsets[i % 5], 3, 3) for i in range(responses // 6))
    elif name == "pairs":
        yield from (_row(draw, str(i), f"subset {i % 12}", 1, 1, f"prompt {i * 2 // 5}") for i in range(responses // 2))
    else:
        yield from (_row(draw, str(i), f"subset {i % 12}", 1 + i % 3, 9 - i % 3) for i in range(responses // 10))


def _row(draw: random.Random, name: str, subset: str, right: int, wrong: int, group: str = "") -> EvalRow:
    def text() -> tuple[Message]:
        return (Message("assistant", f"{draw.random()} word " * draw.randint(8, 56)),)

    return EvalRow(
        name,
        subset,
        (Message("user", group or f"{subset} {name}"),),
        tuple(text() for _ in range(right)),
        tuple(text() for _ in range(wrong)),
        group,
    )


def _rewards(rng: np.random.Generator, row: EvalRow, noise: float) -> np.ndarray:
    rewards = noise * rng.normal(size=len(row.responses))
    rewards[: len(row.chosen)] += 1.0
    return rewards


def _peak() -> float:
    """Highest resident memory of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
