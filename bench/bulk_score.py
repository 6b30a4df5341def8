"""Bulk scoring of many rows: memory above the model, and the same bytes after a kill.

    python bench/bulk_score.py --rows 200000 --save         hours on two cores with the 10M model
    python bench/bulk_score.py --rows 200000 --shape smoke --save     minutes: what grows with rows, grows here too

Rows are prompts with two responses each, made of words; every eighth prompt comes again, one row in a thousand is
broken. `rewardsmith score` runs three times, each in a process of its own: on one window of rows, for the memory of
the model and the libraries; on all rows; and on all rows again, killed (SIGKILL) after a third and two thirds of the
rows and started again. Peak RSS of the whole run must be within 2 GiB of the first, and both outputs must be equal,
byte for byte.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import rewardsmith
from common import SHAPES, count_parameters, device_machine, write_base
from rewardsmith.modeling.checkpoint import save_checkpoint
from rewardsmith.modeling.loading import load_base
from rewardsmith.records.checkpoint import CheckpointRecord
from rewardsmith.rendering import load_renderer
from rewardsmith.spec import Spec
from tables import Json, bench_parser, markdown_table, publish

WINDOW_ROWS = 2048
ALLOWED = 2 * 2**30
MIB = 2**20


def main() -> None:
    """Measure and print; fail if memory grows or the outputs differ."""
    arguments = parse()
    with tempfile.TemporaryDirectory(prefix="bulk-") as name:
        result = measure(arguments, Path(name))
    publish("bulk_score", page(result), arguments)
    if result["above"] > ALLOWED or not result["equal"]:
        sys.exit("memory or output is not as it should be")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = bench_parser(__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--shape", choices=SHAPES, default="10M")
    parser.add_argument("--words", type=int, default=12, help="mean words of a response")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    return parser.parse_args()


def measure(arguments: argparse.Namespace, folder: Path) -> Json:
    """The three runs."""
    rows = folder / "rows.jsonl"
    write_rows(rows, arguments.rows, arguments.words)
    few = folder / "few.jsonl"
    write_rows(few, WINDOW_ROWS, arguments.words)
    model = write_model(folder, arguments.shape)
    base = run(model, few, folder / "few_out.jsonl", arguments.threads)
    whole = run(model, rows, folder / "whole.jsonl", arguments.threads)
    for share in (1 / 3, 2 / 3):
        run(model, rows, folder / "again.jsonl", arguments.threads, kill_at=int(share * arguments.rows))
    rest = run(model, rows, folder / "again.jsonl", arguments.threads)
    return {
        "rows": arguments.rows,
        "bytes": rows.stat().st_size,
        "shape": arguments.shape,
        "parameters": count_parameters(model),
        "machine": device_machine("cpu", arguments.threads),
        "base": base["peak"],
        "peak": whole["peak"],
        "above": whole["peak"] - base["peak"],
        "seconds": whole["seconds"],
        "resumed_rows": rest["record"]["resumed_rows"],
        "bad_rows": whole["record"]["bad_rows"],
        "equal": all(
            digest(folder / f"whole{end}") == digest(folder / f"again{end}") for end in (".jsonl", ".rejected.jsonl")
        ),
    }


def write_rows(path: Path, count: int, words: int) -> None:
    """Prompts with two responses; a broken line in a thousand."""
    draw = random.Random(0)  # noqa: S311 - rows, no secrets
    vocabulary = [f"{a}{b}" for a in ("ka", "lo", "mi", "nu", "re", "sa") for b in ("bar", "den", "fil", "gor", "hin")]

    def text(mean: int) -> str:
        return " ".join(draw.choices(vocabulary, k=max(1, int(draw.expovariate(1 / mean)))))

    with path.open("w", encoding="utf-8") as handle:
        prompt = text(words)
        for number in range(count):
            prompt = prompt if number % 8 == 7 else text(words)
            row = {"id": str(number), "prompt": prompt, "responses": [text(words), text(words)]}
            handle.write("{broken\n" if number % 1000 == 999 else json.dumps(row) + "\n")


def texts_of_rows(path: Path) -> Iterator[str]:
    """What the tokenizer is fitted on."""
    with path.open(encoding="utf-8") as handle:
        yield from (line for _, line in zip(range(2000), handle, strict=False))


def write_model(folder: Path, shape: str) -> Path:
    """A reward model of that shape with random weights."""
    base, model_folder = folder / "base", folder / "model"
    write_base(base, SHAPES[shape], texts_of_rows(folder / "rows.jsonl"))
    renderer = load_renderer(str(base), max_length=512)
    model = load_base(Spec(base_model={"id": str(base)}), base, renderer.tokenizer, seed=0).eval()
    record = CheckpointRecord(
        rewardsmith_version=rewardsmith.__version__,
        base_model="random",
        rendering=renderer.record,
        data_fingerprints=(),
    )
    save_checkpoint(model_folder, model, renderer, record)
    return model_folder


def run(model: Path, rows: Path, output: Path, threads: int, kill_at: int | None = None) -> Json:
    """`rewardsmith score` to its end, or killed when that many rows are done: record, peak memory in bytes, seconds."""
    command = [sys.executable, "-m", "rewardsmith", "score", "--model", str(model), "--device", "cpu", "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
    started = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--input", str(rows), "--output", str(output)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    if kill_at is not None:
        wait_for_rows(output.with_name(f".{output.name}.state.json"), kill_at)
        process.send_signal(signal.SIGKILL)
    said = process.stdout.read() if process.stdout else ""
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != (0 if kill_at is None else -signal.SIGKILL):
        raise RuntimeError(f"{' '.join(command)} ended with {status}")
    return {
        "record": json.loads(said) if said.strip() else {},
        "peak": usage.ru_maxrss * 1024,
        "seconds": time.perf_counter() - started,
    }


def wait_for_rows(state: Path, count: int) -> None:
    """Until the job says that so many rows are on disk."""
    while not state.exists() or json.loads(state.read_text())["rows"] < count:
        time.sleep(0.02)


def digest(path: Path) -> str:
    """SHA-256 of a file; of none, an empty text."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


def page(result: Json) -> str:
    """The result in Markdown."""
    rows = [
        ["rows", f"{result['rows']:,} ({result['bytes'] / MIB:,.0f} MiB)"],
        ["model", f"{result['shape']}, {result['parameters'] / 1e6:.1f}M parameters, random"],
        ["peak memory on one window", f"{result['base'] / MIB:,.0f} MiB"],
        ["peak memory on all rows", f"{result['peak'] / MIB:,.0f} MiB"],
        ["above the model", f"{result['above'] / MIB:,.0f} MiB (allowed 2,048)"],
        ["seconds", f"{result['seconds']:,.0f}"],
        ["rows without a reward", f"{result['bad_rows']:,}"],
        ["after two kills, rows that the last start found done", f"{result['resumed_rows']:,}"],
        ["output after kills", "equal, byte for byte" if result["equal"] else "DIFFERENT"],
    ]
    about = f"`rewardsmith score` on rows of a prompt and two responses. {result['machine']}."
    return f"# Bulk scoring\n\n{about}\n\n{markdown_table(['', ''], rows)}\n"


if __name__ == "__main__":
    main()
