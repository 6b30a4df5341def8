"""How long does the data contract take at a million pairs, in how much memory, and does the time grow linearly?

    python bench/check_scale.py --data FILE [FILE …]          10,000, 100,000 and 1,000,000 pairs; half an hour
    python bench/check_scale.py --data FILE [FILE …] --save   and bench/results/check_scale.md

Pairs are made from the real ones of the files (JSONL, `.gz` or not): each takes a random pair, replaces one word in ten
by a word of another, and turns the order of sentences in a third of the prompts; about 2 KB a pair. Contamination is
looked for in 5,000 prompts made in the same way. The check runs as `rewardsmith check` does, in a process of its own,
with the tokenizer of the embedded base model or of `--base`; what each part takes is measured around the calls of its
code. Pairs are rendered in a helper process: "tokens" is what the check itself renders, and waits for the helper.
Memory is that of both.
"""

from __future__ import annotations

import gzip
import json
import multiprocessing
import random
import resource
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rewardsmith import samples
from rewardsmith.data.prepare import prepare
from rewardsmith.data.registry import SURVEYS
from rewardsmith.data.surveys.survey import BenchmarkPrompt
from rewardsmith.rendering import RenderAhead, load_renderer
from rewardsmith.spec import Spec
from rewardsmith.types import Message
from tables import bench_parser, machine, markdown_table, publish

SIZES = (10_000, 100_000, 1_000_000)
BENCHMARK_ROWS = 5_000
PARTS = {
    "form, labels, repeats, shortcuts": (
        "read",
        "notes",
        "sources",
        "labels",
        "shortcuts",
        "balance",
        "private",
    ),
    "near-duplicates, contamination": ("overlap", "contamination"),
    "tokens": ("render", "tokens"),
}
LIMITS = {"form, labels, repeats, shortcuts": 360, "near-duplicates, contamination": 720, "tokens": 600}
HEAD = ("pairs", "MB of text", *PARTS, "all", "seconds per 1,000 pairs", "peak RSS, MiB", "kept")


def main() -> None:
    """Make pairs, check them, print, save."""
    parser = bench_parser(__doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="files of preference pairs")
    parser.add_argument("--base", help="a folder with a tokenizer; the embedded base model's when left out")
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES)
    arguments = parser.parse_args()
    base = arguments.base or str(samples.build_base_model(seed=0))
    found = [measure(rows, arguments.data, base) for rows in arguments.rows]
    publish("check_scale", page(found), arguments)


def measure(rows: int, data: list[Path], base: str) -> dict[str, Any]:
    """Seconds by part, peak memory and counts for this many pairs."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.jsonl"
        write_pairs(path, rows, data)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            return pool.apply(checked, (path, data, base))


def checked(path: Path, data: list[Path], base: str) -> dict[str, Any]:
    """One check, in this process."""
    seconds: dict[str, float] = defaultdict(float)
    renderer = load_renderer(base, max_length=1024, over_length="drop", conversational=True)
    spec = Spec.model_validate({"data": {"train": [{"path": str(path)}], "max_length": 1024}})
    watch_surveys(seconds)
    watch_rendering(seconds)
    benchmarks = {"made": benchmark_prompts(data)}
    before = peak()
    start = time.perf_counter()
    prepared = prepare(spec, renderer, benchmarks=benchmarks)
    total = time.perf_counter() - start
    seconds["read"] = total - sum(seconds.values())
    record = prepared.record
    return {
        "rows": record.read,
        "bytes": path.stat().st_size,
        "seconds": dict(seconds),
        "total": total,
        "peak": peak(),
        "before": before,
        "kept": record.kept,
        "findings": {finding.code: finding.count for finding in record.findings},
    }


def watch_surveys(seconds: dict[str, float]) -> None:
    """Make every survey count the time of its `see`, `finish` and `groups`."""
    for name, make in list(SURVEYS.items()):

        def timed(setting: Any, name: str = name, make: Callable[[Any], Any] = make) -> Any:
            survey = make(setting)
            for method in ("see", "finish", "groups"):
                if hasattr(survey, method):
                    watch(survey, method, name, seconds)
            return survey

        SURVEYS[name] = timed


def watch_rendering(seconds: dict[str, float]) -> None:
    """Count the time that the check renders, hands pairs to its helper, or waits for them."""
    inner = RenderAhead.render

    def render(ahead: RenderAhead, pairs: Any, places: Any) -> Any:
        start = time.perf_counter()
        later = inner(ahead, pairs, places)
        seconds["render"] += time.perf_counter() - start

        def timed() -> Any:
            start = time.perf_counter()
            try:
                return later()
            finally:
                seconds["render"] += time.perf_counter() - start

        return timed

    RenderAhead.render = render  # type: ignore[method-assign]


def watch(owner: Any, method: str, name: str, seconds: dict[str, float]) -> None:
    """Replace a method by itself and a clock."""
    inner = getattr(owner, method)

    def timed(*args: Any, **more: Any) -> Any:
        start = time.perf_counter()
        try:
            return inner(*args, **more)
        finally:
            seconds[name] += time.perf_counter() - start

    setattr(owner, method, timed)


def write_pairs(path: Path, rows: int, data: list[Path]) -> None:
    """So many edited pairs."""
    with path.open("w", encoding="utf-8") as handle:
        for number, row in zip(range(rows), edited(data, seed=1), strict=False):
            handle.write(json.dumps({"id": str(number), **row}, ensure_ascii=False) + "\n")


def benchmark_prompts(data: list[Path]) -> list[BenchmarkPrompt]:
    """Prompts that a benchmark might have, edited by another seed."""
    drawn = zip(range(BENCHMARK_ROWS), edited(data, seed=2), strict=False)
    return [
        BenchmarkPrompt(f"subset {n % 5}", str(n), tuple(Message(m["role"], m["content"]) for m in row["prompt"]))
        for n, row in drawn
    ]


def edited(data: list[Path], seed: int) -> Iterator[dict[str, Any]]:
    """Endless pairs: a real one each, with words of others in it."""
    draw = random.Random(seed)  # noqa: S311 - rows to measure with, not a secret
    rows = [row for path in data for row in read(path)]
    some = draw.sample(rows, min(len(rows), 2_000))
    words = [word for row in some for word in row["chosen"][0]["content"].split(" ")]
    while True:
        row = draw.choice(rows)
        turns = draw.random() < 1 / 3
        yield {
            "prompt": [{**m, "content": edit(m["content"], words, draw, turns)} for m in row["prompt"]],
            **{side: [{**m, "content": edit(m["content"], words, draw)} for m in row[side]] for side in SIDES},
            "source": row.get("source", ""),
            "subset": row.get("subset", ""),
        }


SIDES = ("chosen", "rejected")


def edit(text: str, words: list[str], draw: random.Random, turns: bool = False) -> str:
    """One word in ten replaced; with `turns`, the sentences in another order."""
    if turns:
        sentences = text.split(". ")
        draw.shuffle(sentences)
        text = ". ".join(sentences)
    parts = text.split(" ")
    for _ in range(len(parts) // 10 + 1):
        parts[int(draw.random() * len(parts))] = words[int(draw.random() * len(words))]
    return " ".join(parts)


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a file of pairs."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as handle:
        yield from map(json.loads, handle)


def peak() -> int:
    """Largest memory of this process so far, and of its largest helper that has ended, bytes."""
    return sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) * 1024


def page(found: list[dict[str, Any]]) -> str:
    """The table, the parts of the largest run, and what was found in it."""
    largest = found[-1]
    parts = sorted(largest["seconds"].items(), key=lambda item: -item[1])
    findings = ", ".join(f"{code} {count:,}" for code, count in largest["findings"].items())
    return (
        "# The data contract at scale\n\n"
        f"{machine()}; {BENCHMARK_ROWS:,} benchmark prompts. Seconds.\n\n"
        f"{markdown_table(HEAD, [cells(run) for run in found])}\n"
        f"Asked at 1,000,000 pairs: {', '.join(f'{name} {limit} s' for name, limit in LIMITS.items())}; 3,072 MiB.\n\n"
        f"Parts of the largest run: {', '.join(f'{name} {value:,.0f} s' for name, value in parts)}.\n\n"
        f"Found in it: {findings}.\n"
    )


def cells(run: dict[str, Any]) -> list[str]:
    """One row of the table."""
    sums = [sum(run["seconds"].get(name, 0.0) for name in names) for names in PARTS.values()]
    return [
        f"{run['rows']:,}",
        f"{run['bytes'] / 1e6:,.0f}",
        *(f"{value:,.1f}" for value in sums),
        f"{run['total']:,.1f}",
        f"{run['total'] / run['rows'] * 1000:.2f}",
        f"{run['peak'] / 2**20:,.0f} (start: {run['before'] / 2**20:,.0f})",
        f"{run['kept']:,}",
    ]


if __name__ == "__main__":
    main()
