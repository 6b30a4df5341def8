"""Training speed beside TRL's stock `RewardTrainer`: the same pairs, dtype, pairs per step and threads, in one run.

    python bench/train_speed.py --data pairs.jsonl.gz --name hh --pairs-per-step 8 --save
    python bench/train_speed.py --render                     the saved runs as bench/results/train_speed.md

Peers: TRL as it comes (gradient checkpointing on); without gradient checkpointing; and at its best: without it, and
with batches grouped by length. Ours is `rewardsmith train` on a spec. Each piece is a process of its own; they take
turns, `--alternations` times, and the medians are compared. With `--share n` a peer runs one batch of each n in the
order that its own sampler gives for all pairs, others at each turn: a peer that takes a second a pair is timed over
fewer steps of the same kind (`--grouped-share` for the grouped one). The peers get the token ids that ours trains on.

useful FLOP/s counts each token once: linear maps and attention, forward and backward, the last layer in full although
ours computes there only what the head reads; under an adapter no gradient of the weights, and not the adapter. Its
share is of plain matrix products of the model's own shapes in the same run.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from pathlib import Path

import numpy as np
import torch

from common import SHAPES, Shape, count_parameters, device_machine, gemm_rate, read_jsonl, texts_of, write_base
from rewardsmith.modeling.tree.token_tree import pack_pairs
from tables import Json, RunPage, about, bench_parser, markdown_table, publish_run
from trainings import Setup, choose_pairs, train_ours, train_peer

PEERS = {
    "as it comes": "TRL as it comes",
    "no checkpointing": "TRL without gradient checkpointing",
    "grouped": "TRL at its best (also grouped by length)",
}
OURS = "Rewardsmith"
SETTING = ("pairs", "pairs_per_step", "max_length", "order", "precision", "weights")
RARE_SETTING = ("untimed", "our_checkpointing", "adapter", "peer_micro_batch")


def main() -> None:
    """Measure, print, and save if asked."""
    publish_run(PAGE, parse(), measure)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = bench_parser(__doc__, renders=True)
    parser.add_argument("--data", type=Path, help="JSONL of preference pairs")
    parser.add_argument("--name", help="what results call this run")
    parser.add_argument("--pairs", type=int, default=512)
    parser.add_argument("--pairs-per-step", type=int, default=8)
    parser.add_argument("--max-length", type=int, default=1024)
    parser.add_argument("--order", choices=["shuffled", "by_prompt"], default="shuffled", help="order of ours")
    parser.add_argument("--peers", default=",".join(PEERS), help="comma-separated: " + ", ".join(PEERS))
    parser.add_argument("--alternations", type=int, default=3)
    parser.add_argument("--share", type=int, default=1)
    parser.add_argument("--grouped-share", type=int, default=1)
    parser.add_argument("--our-pairs", type=int, help="ours trains on the first so many pairs; all by default")
    parser.add_argument("--peer-micro-batch", type=int, default=0, help="pairs that TRL computes at once; 0: a step")
    parser.add_argument("--adapter", choices=["none", "lora"], default="none")
    parser.add_argument("--our-checkpointing", action="store_true", help="ours recomputes activations")
    parser.add_argument("--untimed", type=int, default=0, help="first steps of each that are not timed")
    parser.add_argument("--shape", choices=list(SHAPES), default="10M")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32", help="autocast type")
    parser.add_argument("--weights", choices=["float32", "bfloat16"], default="float32", help="type of the weights")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--base", type=Path, help="keep the base here, or take the one that is there, whatever --shape says"
    )
    return parser.parse_args()


def measure(arguments: argparse.Namespace, folder: Path) -> Json:
    """All alternations of all peers and of ours."""
    torch.set_num_threads(arguments.threads)
    rows = read_jsonl(arguments.data)
    base, named = arguments.base or folder / "base", arguments.shape
    if (base / "config.json").exists():
        named = base.resolve().name
    else:
        write_base(base, SHAPES[named], texts_of(rows), dtype=arguments.weights, device=arguments.device)
    shape = Shape.of(base)  # the base's own, whatever --shape says
    setup = make_setup(arguments, base)
    pairs, ids = choose_pairs(rows, setup, folder, count=arguments.pairs, of_ours=arguments.our_pairs)
    names = [name for name in arguments.peers.split(",") if name]
    runs: dict[str, list[Json]] = {name: [] for name in (*names, OURS)}
    for turn in range(arguments.alternations):
        for name in names:
            runs[name].append(run_peer(arguments, setup, name, ids, turn))
        runs[OURS].append(run_ours(arguments, setup, pairs, folder / f"run{turn}"))
        print(turn, {name: round(done[-1]["rate"], 2) for name, done in runs.items()}, flush=True)
    tree = tree_counts(json.loads(ids.read_text())[: arguments.our_pairs], arguments)
    dtype = getattr(torch, arguments.precision)
    peak = gemm_rate(shape, tokens=tree["budget"], backward=True, dtype=dtype, device=arguments.device)
    rate = statistics.median(run["rate"] for run in runs[OURS])
    passes = 3 if arguments.adapter == "none" else 2  # a frozen weight has no gradient
    useful = passes * shape.forward_flops(tree["tokens"], tree["attended"]) / tree["pairs"] * rate
    return {
        "name": arguments.name,
        "data": arguments.data.name,
        "machine": device_machine(arguments.device, arguments.threads),
        "shape": named,
        "parameters": count_parameters(base),
        "setting": {key: getattr(arguments, key) for key in SETTING}
        | {key: value for key in RARE_SETTING if (value := getattr(arguments, key)) not in (0, "none")},
        "tree": tree,
        "runs": runs,
        "gemm": peak,
        "useful": useful,
    }


def make_setup(arguments: argparse.Namespace, base: Path) -> Setup:
    """What both sides are told."""
    return Setup(
        base,
        arguments.pairs_per_step,
        math.ceil(arguments.pairs / arguments.pairs_per_step),
        arguments.max_length,
        order=arguments.order,
        device=arguments.device,
        precision=arguments.precision,
        weights=arguments.weights,
        adapter=arguments.adapter,
        micro_batch=arguments.peer_micro_batch,
        checkpointing=arguments.our_checkpointing,
        threads=arguments.threads,
        seed=arguments.seed,
    )


def run_peer(arguments: argparse.Namespace, setup: Setup, name: str, ids: Path, turn: int) -> Json:
    """One timed run of TRL's stock trainer."""
    share = arguments.grouped_share if name == "grouped" else arguments.share
    done = train_peer(setup, ids, name, share=share, turn=turn, untimed=arguments.untimed)
    if "failed" in done:
        return {"failed": done["failed"], "rate": 0.0}
    return {
        "rate": done["pairs"] / done["seconds"],
        "pairs": done["pairs"],
        "tokens": done["tokens"],
        "memory": done["memory"],
    }


def run_ours(arguments: argparse.Namespace, setup: Setup, pairs: Path, folder: Path) -> Json:
    """One timed `rewardsmith train`."""
    record, steps, memory = train_ours(setup, pairs, folder)
    timed = steps[arguments.untimed :]
    count = sum(step["pairs"] for step in timed)
    return {
        "rate": count / sum(step["seconds"] for step in timed),
        "pairs": count,
        "tokens": sum(step["tokens"] for step in timed),
        "memory": memory,
        "layout": record.layout,
        "prompts_per_step": record.prompts_per_step,
    }


def tree_counts(ids: list[list[list[int]]], arguments: argparse.Namespace) -> Json:
    """Tokens of all pairs: unshared and without padding, each once, and keys that they attend to (each once)."""
    arrays = [(np.asarray(chosen, np.int32), np.asarray(rejected, np.int32)) for chosen, rejected in ids]
    budget = 2048 if arguments.device == "cpu" else 16384
    packs = [
        pack
        for start in range(0, len(arrays), arguments.pairs_per_step)
        for pack in pack_pairs(arrays[start : start + arguments.pairs_per_step], budget)
    ]
    return {
        "pairs": len(arrays),
        "budget": budget,
        "packed": sum(len(chosen) + len(rejected) for chosen, rejected in arrays),
        "tokens": sum(len(pack) for pack in packs),
        "attended": int(sum((pack.position_ids + 1).sum() for pack in packs)),
    }


def section(result: Json) -> str:
    """One run as a Markdown section."""
    setting, runs, tree = result["setting"], result["runs"], result["tree"]
    ours = statistics.median(run["rate"] for run in runs[OURS])
    table = []
    for name, done in runs.items():
        if any("failed" in run for run in done):
            table.append([PEERS[name], "", "", next(run["failed"] for run in done if "failed" in run), "", ""])
            continue
        rates = sorted(run["rate"] for run in done)
        rate = statistics.median(rates)
        ratio = "" if name == OURS else f"{ours / rate:.1f}×"
        tokens = statistics.mean(run["tokens"] / run["pairs"] for run in done)
        memory = max(run["memory"] for run in done) / 2**20
        spread = f"{rate:.2f} ({rates[0]:.2f} to {rates[-1]:.2f})"
        pairs = f"{statistics.median(run['pairs'] for run in done):.0f}"
        table.append([label(name, done), pairs, f"{tokens:,.0f}", spread, ratio, f"{memory:,.0f}"])
    share = result["useful"] / result["gemm"]
    grouped = "" if setting["order"] == "shuffled" else ", the pairs of a prompt grouped"
    apart = f" Not timed: the first {setting['untimed']} steps of each." if "untimed" in setting else ""
    apart += " Ours recomputes activations, as TRL as it comes does." if "our_checkpointing" in setting else ""
    if "peer_micro_batch" in setting:
        apart += (
            f" TRL computes {setting['peer_micro_batch']} pairs at once and accumulates; a whole step is too large."
        )
    apart += " LoRA of rank 16 on all linear maps, the base frozen." if setting.get("adapter") == "lora" else ""
    return f"""## {result["name"]}

{result["data"]}: {setting["pairs"]} pairs up to {setting["max_length"]} tokens, {setting["pairs_per_step"]} a
step{grouped}; {setting["precision"]}; {result["parameters"] / 1e6:.1f}M parameters ({result["shape"]}).
{result["machine"]}.
{turns(len(runs[OURS]))}.{apart}

{markdown_table(["", "pairs timed", "tokens a pair", "pairs/s", "ours is faster by", "peak memory, MiB"], table)}
Tokens a pair: {tree["packed"] / tree["pairs"]:,.0f} packed without padding, {tree["tokens"] / tree["pairs"]:,.0f} as
trees of one step's pairs. Useful FLOP/s of ours: {result["useful"] / 1e9:,.1f} G, {share:.0%} of matrix products of the
model's shapes ({result["gemm"] / 1e9:,.1f} G).{of_tokens(runs)}
"""


def turns(count: int) -> str:
    """How many measurements a row stands for."""
    return "One run of each" if count == 1 else f"Median of {count} alternations (lowest to highest)"


def of_tokens(runs: dict[str, list[Json]]) -> str:
    """Speed against the grouped peer beside what fewer tokens alone would give, "" without that peer."""
    if "grouped" not in runs or any("failed" in run for run in runs["grouped"]):
        return ""
    theirs, ours = (runs[name] for name in ("grouped", OURS))
    rates, tokens = (
        [statistics.median(how(run) for run in side) for side in (theirs, ours)]
        for how in (lambda run: run["rate"], lambda run: run["tokens"] / run["pairs"])
    )
    fewer, faster = tokens[0] / tokens[1], rates[1] / rates[0]
    return (
        f" Against TRL at its best {fewer:.2f} times fewer tokens\nand {faster:.2f} times the speed, "
        f"{faster / fewer:.2f} of that ratio."
    )


def label(name: str, done: list[Json]) -> str:
    """What the table calls a peer, or ours with its layout where that is not the tree."""
    layouts = {run["layout"] for run in done if "layout" in run} - {"tree"}
    return " ".join([PEERS.get(name, name), *(f"({layout} layout)" for layout in sorted(layouts))])


PAGE = RunPage("train_speed", "Training speed", about(__doc__), section)

if __name__ == "__main__":
    main()
