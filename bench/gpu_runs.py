"""Whole trainings on a GPU by `rewardsmith train`: the losses beside float32 on a CPU, LoRA and QLoRA.

    python bench/gpu_runs.py --data hh.jsonl.gz --base SMOLLM2 --save --only "float32, CPU"    anywhere: the reference
    python bench/gpu_runs.py --data hh.jsonl.gz --base SMOLLM2 --save                          where there is a GPU
    python bench/gpu_runs.py --data hh.jsonl.gz --device cpu --shape 10M --pairs 24            a try on a CPU

Every run takes the same pairs in the same order from the same weights, one epoch, and is a process of its own. What a
step's loss differs by from that of the float32 run on a CPU is bfloat16's doing; how much of it is, the padded run
says, which computes the same in another order. A run that was saved with its losses is not made again.

Peak is `torch.cuda.max_memory_allocated` on a GPU and resident memory on a CPU; the kernels are those that computed
rows of trees. The adapters' losses are not compared: they train other weights.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from common import SHAPES, WorkerKilledError, device_machine, read_jsonl, texts_of, write_base
from rewardsmith.errors import SpecError
from tables import RESULTS, Json, bench_parser, markdown_table
from trainings import Setup, choose_pairs, train_ours

REFERENCE = "float32, CPU"
RUNS: dict[str, Json] = {
    REFERENCE: {"device": "cpu", "precision": "float32"},
    "bfloat16, trees": {},
    "bfloat16, padded": {"layout": "padded"},
    "bfloat16, trees, recomputing": {"checkpointing": True},
    "LoRA": {"adapter": "lora"},
    "QLoRA": {"adapter": "qlora"},
}


def main() -> None:
    """Make the runs that are missing, print and save."""
    arguments = parse()
    file = arguments.results / "gpu_runs.json"
    saved: Json = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    setting = {name: getattr(arguments, name) for name in ("pairs", "pairs_per_step", "max_length", "seed")} | {
        "data": arguments.data.name,
        "base": arguments.base.name if arguments.base else arguments.shape,
    }
    runs: Json = saved["runs"] if saved.get("setting") == setting else {}
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.only or RUNS:
            if "losses" not in runs.get(name, {}):
                runs[name] = measure(arguments, RUNS[name], Path(folder))
                print(f"{name}: {json.dumps({key: v for key, v in runs[name].items() if key != 'losses'})}", flush=True)
            if arguments.save:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(json.dumps({"setting": setting, "runs": runs}, indent=1) + "\n", encoding="utf-8")
    text = page(setting, runs)
    print(text)
    if arguments.save:
        (arguments.results / "gpu_runs.md").write_text(text, encoding="utf-8")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = bench_parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="JSONL of preference pairs")
    parser.add_argument("--base", type=Path, help="a model folder; a random one of --shape without it")
    parser.add_argument("--shape", choices=list(SHAPES), default="qwen3-0.6b")
    parser.add_argument("--pairs", type=int, default=400)
    parser.add_argument("--pairs-per-step", type=int, default=8)
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda", help="of all runs but the reference")
    parser.add_argument("--only", nargs="+", choices=list(RUNS), metavar="RUN", help="; ".join(RUNS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.set_defaults(results=RESULTS)
    return parser.parse_args()


def measure(arguments: argparse.Namespace, changes: Json, folder: Path) -> Json:
    """One run: its losses, and what its record says."""
    base = arguments.base or folder / "base"
    rows = read_jsonl(arguments.data)
    if not base.exists():
        write_base(base, SHAPES[arguments.shape], texts_of(rows), device=arguments.device)
    steps = arguments.pairs // arguments.pairs_per_step
    setup = Setup(
        base,
        arguments.pairs_per_step,
        steps,
        arguments.max_length,
        order="as_given",
        warmup_steps=max(steps // 20, 1),
        device=arguments.device,
        precision="bfloat16",
        threads=arguments.threads,
        seed=arguments.seed,
    )
    setup = replace(setup, **changes)
    pairs, _ = choose_pairs(rows, setup, folder, count=steps * arguments.pairs_per_step)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        try:
            trained = train_ours(setup, pairs, Path(place) / "run")
        except WorkerKilledError:
            return {"failed": "killed: out of memory"}
        except SpecError as problem:
            return {"failed": re.sub(r"^\S*spec\.yaml:\d+: ", "", str(problem)).splitlines()[0]}
        except RuntimeError as problem:  # refused, or the GPU is too small: the others go on
            said = [line.removeprefix("error: ") for line in str(problem).splitlines() if line.startswith("error: ")]
            return {"failed": said[0] if said else str(problem)[-200:]}
    record = trained.record
    return {
        "machine": device_machine(setup.device, setup.threads),
        "losses": [step["loss"] for step in trained.steps],
        "layout": record.layout,
        "kernels": record.kernels,
        "tokens": record.tokens,
        "seconds": round(record.seconds, 1),
        "pairs_per_second": round(record.pairs_per_second, 3),
        "memory": trained.memory,
        "parameters": record.base_parameters,
        "monitor": record.monitor.verdict,
    }


def page(setting: Json, runs: Json) -> str:
    """All runs in Markdown."""
    exact = np.array(runs.get(REFERENCE, {}).get("losses", []))
    table = []
    for name in RUNS:
        run = runs.get(name, {"failed": "not run"})
        if "failed" in run:
            table.append([name, *[""] * 7, run["failed"]])
            continue
        losses = np.array(run["losses"])
        same = len(exact) == len(losses) and name not in (REFERENCE, "LoRA", "QLoRA")
        apart = np.abs(losses - exact) if same else None
        tenth = max(len(losses) // 10, 1)
        kernels = " + ".join(f"{count} {kernel}" for kernel, count in run["kernels"].items())
        table.append(
            [
                name,
                f"{losses[:tenth].mean():.4f}",
                f"{losses[-tenth:].mean():.4f}",
                "" if apart is None else f"{apart.max():.1e}",
                "" if apart is None else f"{apart.mean():.1e}",
                f"{run['pairs_per_second']:.2f}",
                f"{run['memory'] / 2**30:.1f}",
                run["monitor"],
                f"{run['layout']} {kernels}".strip(),
            ]
        )
    head = ["", "first tenth", "last tenth", "largest difference", "mean difference", "pairs/s", "peak, GiB", "monitor"]
    machines = "\n".join(f"- {name}: {run['machine']}" for name, run in runs.items() if "machine" in run)
    size = next((run["parameters"] for run in runs.values() if "parameters" in run), 0)
    return f"""# Whole trainings on a GPU

{(__doc__ or "").split(chr(10) * 2, 2)[2]}
{setting["base"]}, {size / 1e6:.0f}M parameters; {setting["pairs"]} pairs of {setting["data"]},
{setting["pairs_per_step"]} a step, up to {setting["max_length"]} tokens, learning rate 1e-05, seed {setting["seed"]}.

{markdown_table([*head, "rows"], table)}
{machines}
"""


if __name__ == "__main__":
    main()
