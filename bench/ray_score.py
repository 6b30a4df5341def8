"""Bulk scoring under Ray beside the local engine, on the same cores: what the cluster costs in steady state.

    python bench/ray_score.py --save                        two rounds of 120 s for each side: 15 minutes on two cores
    python bench/ray_score.py --shape smoke --seconds 10 --rounds 1      a try

Each side is `rewardsmith score` in a process of its own over the same rows: the local engine with all cores as its
threads; one worker under Ray with as many; and a worker a core, with one thread each. The sides take turns. A side's
rate is that of the windows between the end of its first and the end of its last within the measured seconds, so that
loading the model and starting the cluster stand apart. The overhead of a side is 1 - its rate / the local rate, of the
means over the rounds. The rows are those of `bulk_score.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bulk_score import write_model, write_rows
from common import SHAPES, count_parameters, device_machine
from tables import Json, about, bench_parser, markdown_table, publish

ALLOWED = 0.15
_POLL = 0.05


def main() -> None:
    """Measure and print; fail where Ray costs more than it may."""
    arguments = parse()
    # A shell's background jobs ignore the signal that ends a side, and so would the sides.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="ray-") as name:
        result = measure(arguments, Path(name))
    publish("ray_score", page(result), arguments)
    if max(overhead(result, side) for side in result["sides"]) > ALLOWED:
        sys.exit(f"Ray costs more than {ALLOWED:.0%}")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = bench_parser(__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="10M")
    parser.add_argument("--rows", type=int, default=400_000, help="more than any side scores in its time")
    parser.add_argument("--words", type=int, default=12, help="mean words of a response")
    parser.add_argument("--seconds", type=float, default=120.0, help="measured for each side in each round")
    parser.add_argument("--rounds", type=int, default=2)
    return parser.parse_args()


def measure(arguments: argparse.Namespace, folder: Path) -> Json:
    """All rounds; sides take turns, and every second round goes backwards."""
    cores = os.cpu_count() or 1
    rows = folder / "rows.jsonl"
    write_rows(rows, arguments.rows, arguments.words)
    model = write_model(folder, arguments.shape)
    sides = {
        "local": ["--engine", "local"],
        "Ray, 1 worker": ["--engine", "ray", "--workers", "1"],
        f"Ray, {cores} workers": ["--engine", "ray", "--workers", str(cores)],
    }
    runs: dict[str, list[Json]] = {side: [] for side in sides}
    for turn in range(arguments.rounds):
        for side, options in list(sides.items())[:: 1 if turn % 2 == 0 else -1]:
            output = folder / f"{turn}-{len(runs[side])}-{options[-1]}.jsonl"
            runs[side].append(run(model, rows, output, options, arguments.seconds))
            print(f"{side}: {runs[side][-1]['rate']:.1f} rows/s", file=sys.stderr)
    return {
        "machine": device_machine("cpu", cores),
        "shape": arguments.shape,
        "parameters": count_parameters(model),
        "seconds": arguments.seconds,
        "rounds": arguments.rounds,
        "sides": runs,
    }


def run(model: Path, rows: Path, output: Path, options: list[str], seconds: float) -> Json:
    """One side for so many seconds after its first window: rows a second, windows measured, seconds to the first."""
    command = [sys.executable, "-m", "rewardsmith", "score", "--model", str(model), "--device", "cpu"]
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "RAY_worker_niceness": "0"}
    environment.pop("OMP_NUM_THREADS", None)  # all cores, and under Ray each worker's share
    state = output.with_name(f".{output.name}.state.json")
    started = time.perf_counter()
    process = subprocess.Popen(
        [*command, *options, "--input", str(rows), "--output", str(output)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    seen: list[tuple[float, int]] = []
    try:
        while not seen or time.perf_counter() - seen[0][0] < seconds:
            if process.poll() is not None:
                raise RuntimeError(f"{' '.join(options)} ended early: give more --rows, or read {_said(process)}")
            done = _rows_done(state)
            if done and (not seen or done > seen[-1][1]):
                seen.append((time.perf_counter(), done))
            time.sleep(_POLL)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate()
    (first, before), (last, after) = seen[0], seen[-1]
    if len(seen) < 2:
        raise RuntimeError("no second window was done: give more --seconds")
    return {"rate": (after - before) / (last - first), "windows": len(seen) - 1, "start": first - started}


def _rows_done(state: Path) -> int:
    try:
        return int(json.loads(state.read_text(encoding="utf-8"))["rows"])
    except (OSError, ValueError, KeyError):
        return 0


def _said(process: subprocess.Popen[bytes]) -> str:
    return process.stderr.read().decode(errors="replace")[-500:] if process.stderr else ""


def rate(result: Json, side: str) -> float:
    """Mean rows a second over the rounds."""
    return statistics.fmean(run["rate"] for run in result["sides"][side])


def overhead(result: Json, side: str) -> float:
    """What the side loses against the local engine."""
    return 1 - rate(result, side) / rate(result, "local")


def page(result: Json) -> str:
    """The table."""
    lines = [
        [
            side,
            f"{rate(result, side):,.1f}",
            " ".join(f"{run['rate']:,.1f}" for run in runs),
            f"{overhead(result, side):+.1%}",
            f"{statistics.fmean(run['start'] for run in runs):.1f}",
            str(sum(run["windows"] for run in runs)),
        ]
        for side, runs in result["sides"].items()
    ]
    head = ["side", "rows/s", "by round", "overhead", "start-up, s", "windows"]
    told = f"{result['machine']}; {result['shape']} decoder of {result['parameters']:,} parameters"
    measured = f"{result['rounds']} rounds of {result['seconds']:g} s for each side, taking turns."
    return f"# Bulk scoring under Ray\n\n{about(__doc__)}\n{told}. {measured}\n\n{markdown_table(head, lines)}"


if __name__ == "__main__":
    main()
