"""What the products of docs/cpu.md and memory that is kept save: products alone, and scoring with all four choices.

    python bench/cpu_speed.py --data ../shared/data/held_out/hh_harmless_base_test.jsonl.gz --name intel --save

Seven minutes and more; a processor is a page of its own, bench/results/cpu_speed_NAME.md.

One thread; CPU seconds of the process, the kernel's among them, so that other work on the machine counts for little.
Products: 4,096 rows by a matrix of SmolLM2's MLP (576 by 1,536), the best of seven. Scoring: `LocalScorer` on pairs,
tokenisation included, each choice in a process of its own, in turns; the second pass over all texts is counted, and
medians are compared. Rewards of all choices must agree, or the bench fails.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common import device_machine, read_jsonl, run_worker
from rewardsmith.allocation import KEEP_VARIABLE
from rewardsmith.modeling.checkpoint import Checkpoint
from rewardsmith.modeling.cpu_matmul import (
    MATMUL_VARIABLE,
    lacks_instructions,
    onednn_agrees,
    product,
    widened_product,
)
from rewardsmith.modeling.loading import load_base
from rewardsmith.rendering import load_renderer
from rewardsmith.scoring import LocalScorer
from rewardsmith.spec import Spec
from rewardsmith.types import Message
from score_speed import conversations
from tables import Json, about, bench_parser, markdown_table, publish

CHOICES = {
    "torch's products, memory given back": ("torch", "0"),
    "torch's products, memory kept": ("torch", "1"),
    "products by the rule, memory given back": ("auto", "0"),
    "both, as it comes": ("auto", "1"),
}
TOLERANCE = {"float32": 2e-4, "bfloat16": 0.5}


def main() -> None:
    """Measure and print; with `--worker`, one timed piece."""
    parser = bench_parser(__doc__)
    parser.add_argument("--data", type=Path, help="JSONL of preference pairs or best-of-N rows")
    parser.add_argument("--base", type=Path, default=Path("build/SmolLM2-135M-Instruct"))
    parser.add_argument("--name", help="of the processor, for the page")
    parser.add_argument("--rows", type=int, default=24)
    parser.add_argument("--alternations", type=int, default=3)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        print(json.dumps(work(json.loads(asked.worker))))
    elif asked.data is None or asked.name is None:
        parser.error("--data FILE and --name PROCESSOR are needed")
    else:
        publish(f"cpu_speed_{asked.name}", page(asked), asked)


def work(job: Json) -> Json:
    """CPU seconds of one pass over all texts, after another one."""
    torch.set_num_threads(1)
    renderer = load_renderer(job["base"], max_length=1024)
    spec = Spec.model_validate({"base_model": {"dtype": job["dtype"]}})
    model = load_base(spec, job["base"], renderer.tokenizer, seed=0).eval()
    scorer = LocalScorer(Checkpoint(model, renderer, None, Path(job["base"])))
    rows = read_jsonl(Path(job["data"]))[: job["rows"]]
    texts = [tuple(Message(*turn) for turn in one) for row in rows for one in conversations(row)]
    scorer.score(texts)
    before = resource.getrusage(resource.RUSAGE_SELF)
    rewards = scorer.score(texts)
    after = resource.getrusage(resource.RUSAGE_SELF)
    kernel = after.ru_stime - before.ru_stime
    return {"seconds": after.ru_utime - before.ru_utime + kernel, "kernel": kernel, "rewards": rewards.tolist()}


def page(asked: argparse.Namespace) -> str:
    """Both tables."""
    parts = [f"# On a CPU: {asked.name}\n\n{about(__doc__)}\n{device_machine('cpu', 1)}.\n\n## Products\n"]
    parts += [products(torch.float32), products(torch.bfloat16)]
    for dtype in ("float32", "bfloat16"):
        job = {"data": str(asked.data), "base": str(asked.base), "rows": asked.rows, "dtype": dtype}
        runs: dict[str, list[Json]] = {name: [] for name in CHOICES}
        for _ in range(asked.alternations):
            for name, (matmul, keep) in CHOICES.items():
                os.environ |= {MATMUL_VARIABLE: matmul, KEEP_VARIABLE: keep}
                last, memory = run_worker([__file__, "--worker", json.dumps(job)], threads=1)
                runs[name].append(json.loads(last) | {"memory": memory})
        first = np.array(next(iter(runs.values()))[0]["rewards"])
        apart = max(float(np.nanmax(np.abs(np.array(done[0]["rewards"]) - first))) for done in runs.values())
        if apart > TOLERANCE[dtype]:
            sys.exit(f"rewards differ by {apart}: a speed without the same rewards means nothing")
        slowest = statistics.median(run["seconds"] for run in next(iter(runs.values())))
        table = [
            [
                name,
                f"{(seconds := statistics.median(run['seconds'] for run in done)):.1f}",
                f"{statistics.median(run['kernel'] for run in done):.1f}",
                f"{slowest / seconds:.2f}×",
                f"{max(run['memory'] for run in done) / 2**20:,.0f}",
            ]
            for name, done in runs.items()
        ]
        head = ["", "CPU seconds", "kernel's", "faster by", "peak memory, MiB"]
        parts.append(
            f"## Scoring in {dtype}\n\n{asked.data.name}: {asked.rows} rows, {len(first)} texts, {asked.base.name}. "
            f"Rewards differ by at most {apart:.1e}.\n\n{markdown_table(head, table)}"
        )
    return "\n".join(parts)


def products(dtype: torch.dtype) -> str:
    """GFLOP/s of torch's way and ours, output and gradients."""
    torch.set_num_threads(1)
    draw = torch.Generator().manual_seed(0)
    shapes = ((4096, 576), (1536, 576), (4096, 1536))
    x_NI, w_OI, grad_NO = (torch.randn(shape, generator=draw).to(dtype) for shape in shapes)
    ways: dict[str, Callable[..., Tensor]] = {"torch": torch.nn.functional.linear}
    if dtype == torch.float32 and onednn_agrees():
        ways["oneDNN"] = product
    if lacks_instructions(dtype):
        ways["widened"] = widened_product
    rows = []
    for what in ("output", "gradient of the input", "gradient of the weights"):
        rates = []
        for way in ways.values():
            best = float("inf")
            for _ in range(7):
                x_NI.requires_grad_(what == "gradient of the input")
                w_OI.requires_grad_(what == "gradient of the weights")
                started = time.process_time()
                out = way(x_NI, w_OI)
                if what != "output":
                    started = time.process_time()
                    torch.autograd.grad(out, x_NI if what.endswith("input") else w_OI, grad_NO)
                best = min(best, time.process_time() - started)
            rates.append(f"{2 * 4096 * 576 * 1536 / best / 1e9:.0f}")
        rows.append([what, *rates])
    return markdown_table([f"{str(dtype).removeprefix('torch.')}, GFLOP/s", *ways], rows)


if __name__ == "__main__":
    main()
