"""Scoring speed beside padded batches: the same texts, model, dtype and threads, in one run.

    python bench/score_speed.py --data six.jsonl.gz --name six --save
    python bench/score_speed.py --data hh.jsonl.gz --name hh_smollm2 --base build/SmolLM2-135M-Instruct \\
        --kinds ours,vllm --rows 96 --max-length 1024 --save          beside vLLM, in `.venv-vllm` (`make test-vllm`)
    python bench/score_speed.py --render                     the saved runs as bench/results/score_speed.md

Peers: transformers' own sequence classifier on padded batches of 64 texts in file order, as RewardBench's script makes
them, and on the same batches of texts sorted by length; and vLLM's own server with its defaults (prefix caching on) and
the same threads, which is sent token ids, 64 texts a request and four requests at a time. It is started and warmed by
other texts first, which is not counted. Ours is `LocalScorer`, which `rewardsmith evaluate` and `score` use. All
tokenise first, which is counted. Each piece is a process of its own; they take turns, and medians are compared.
The rewards of all must agree, or the bench fails.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

from common import SHAPES, Shape, device_machine, gemm_rate, read_jsonl, run_worker, texts_of, write_base
from rewardsmith.modeling.checkpoint import Checkpoint
from rewardsmith.modeling.loading import load_base, load_reward_model
from rewardsmith.modeling.tree.token_tree import pack_sequences
from rewardsmith.rendering import load_renderer
from rewardsmith.scoring import LocalScorer
from rewardsmith.spec import Spec
from rewardsmith.types import Conversation, Message
from tables import Json, RunPage, about, bench_parser, markdown_table, publish_run
from vllm_server import vllm_server

KINDS = {
    "file order": "padded, 64 in file order",
    "sorted": "padded, 64 sorted by length",
    "vllm": "vLLM, served",
    "ours": "Rewardsmith",
}
UNLESS_TOLD = "file order,sorted,ours"
BATCH = 64
REQUESTS_AT_A_TIME = 4
TOLERANCE = 2e-4

Score = Callable[[list[Conversation]], np.ndarray]
"""From texts to rewards, tokenisation included."""


def main() -> None:
    """Measure, print, and save if asked; with `--worker`, one timed piece."""
    arguments = parse()
    if arguments.worker:
        print(json.dumps(work(json.loads(arguments.worker))))
    else:
        publish_run(PAGE, arguments, measure)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = bench_parser(__doc__, renders=True)
    parser.add_argument("--data", type=Path, help="JSONL of preference pairs or best-of-N rows")
    parser.add_argument("--name", help="what results call this run")
    parser.add_argument("--rows", type=int, default=200, help="rows, drawn by the seed, in file order")
    parser.add_argument("--max-length", type=int, default=2048)
    parser.add_argument("--kinds", default=UNLESS_TOLD, help="comma-separated: " + ", ".join(KINDS))
    parser.add_argument("--alternations", type=int, default=3)
    parser.add_argument("--shape", choices=list(SHAPES), default="10M")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32", help="type of the weights")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--base", type=Path, help="keep the base here, or take the one that is there")
    parser.add_argument("--vllm", default=".venv-vllm/bin/python", help="Python of vLLM's environment")
    parser.add_argument("--untimed", type=int, default=0, help="passes over all texts before the timed one")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(arguments: argparse.Namespace, folder: Path) -> Json:
    """All alternations of all kinds."""
    torch.set_num_threads(arguments.threads)
    shape = Shape.of(arguments.base) if is_there(arguments.base) else SHAPES[arguments.shape]
    rows = read_jsonl(arguments.data)
    drawn = np.sort(np.random.default_rng(arguments.seed).permutation(len(rows))[: arguments.rows])
    base = arguments.base or folder / "base"
    if not is_there(base):
        write_base(base, shape, texts_of(rows), dtype=arguments.precision, device=arguments.device)
    parameters = write_model(arguments, base, folder / "model")
    texts = folder / "texts.json"
    texts.write_text(json.dumps([conversation for index in drawn for conversation in conversations(rows[index])]))
    job = {
        "model": str(folder / "model"),
        "texts": str(texts),
        "threads": arguments.threads,
        "device": arguments.device,
        "precision": arguments.precision,
        "max_length": arguments.max_length,
        "untimed": arguments.untimed,
        "vllm": arguments.vllm,
    }
    runs: dict[str, list[Json]] = {name: [] for name in arguments.kinds.split(",")}
    rewards: dict[str, np.ndarray] = {}
    for turn in range(arguments.alternations):
        for name, done in runs.items():
            job |= {"kind": name, "out": str(folder / f"{name}.npy")}
            last, memory = run_worker([__file__, "--worker", json.dumps(job)], threads=arguments.threads)
            found = json.loads(last)
            done.append(found | {"memory": found["device_memory"] or memory, "rate": len(drawn) / found["seconds"]})
            rewards[name] = np.load(folder / f"{name}.npy")
        print(turn, {name: round(done[-1]["rate"], 2) for name, done in runs.items()}, flush=True)
    difference = max(float(np.nanmax(np.abs(values - rewards["ours"]))) for values in rewards.values())
    if arguments.precision == "float32" and difference > TOLERANCE:
        sys.exit(f"rewards differ by {difference}: a speed without the same rewards means nothing")
    tree = tree_counts(folder / "model", json.loads(texts.read_text()), arguments)
    dtype = getattr(torch, arguments.precision)
    peak = gemm_rate(shape, tokens=tree["budget"], backward=False, dtype=dtype, device=arguments.device)
    seconds = statistics.median(run["seconds"] for run in runs["ours"])
    return {
        "name": arguments.name,
        "data": arguments.data.name,
        "machine": device_machine(arguments.device, arguments.threads),
        "shape": arguments.base.name if arguments.base else arguments.shape,
        "parameters": parameters,
        "setting": {"rows": len(drawn), "max_length": arguments.max_length, "precision": arguments.precision}
        | ({"untimed": arguments.untimed} if arguments.untimed else {}),
        "tree": tree,
        "runs": runs,
        "difference": difference,
        "gemm": peak,
        "useful": shape.forward_flops(tree["tokens"], tree["attended"]) / seconds,
    }


def is_there(base: Path | None) -> bool:
    """Whether a folder holds a base."""
    return base is not None and (base / "config.json").exists()


def write_model(arguments: argparse.Namespace, base: Path, folder: Path) -> int:
    """A reward model of the base with a random head; returns its parameters.

    Without golden rewards: those of random weights lie close together, and need not keep their order in bfloat16.
    """
    spec = Spec.model_validate({"base_model": {"dtype": arguments.precision}})
    renderer = load_renderer(str(base), max_length=arguments.max_length)
    model = load_base(spec, str(base), renderer.tokenizer, seed=0)
    model.save_pretrained(folder)
    renderer.save(folder)
    return sum(weight.numel() for weight in model.parameters())


def conversations(row: Json) -> list[list[list[str]]]:
    """Every conversation of a pair or a best-of-N row, chosen first, as [role, content] turns."""
    if isinstance(row["prompt"], str):
        texts = [*row["chosen"], *row["rejected"]]
        return [[["user", row["prompt"]], ["assistant", text]] for text in texts]
    sides = [row["prompt"] + row["chosen"], row["prompt"] + row["rejected"]]
    return [[[turn["role"], turn["content"]] for turn in side] for side in sides]


def work(job: Json) -> Json:
    """One timed piece: texts to rewards, tokenisation included."""
    torch.set_num_threads(job["threads"])
    texts: list[Conversation] = [
        tuple(Message(*turn) for turn in text) for text in json.loads(Path(job["texts"]).read_text())
    ]
    if job["kind"] == "vllm":
        return served(job, texts)
    score = our_scorer(job) if job["kind"] == "ours" else padded_scorer(job)
    for _ in range(job["untimed"]):
        score(texts)
    started = time.perf_counter()
    rewards = score(texts)
    seconds = time.perf_counter() - started
    np.save(job["out"], rewards)
    memory = torch.cuda.max_memory_allocated() if job["device"] == "cuda" else 0
    return {"seconds": seconds, "texts": len(texts), "device_memory": memory}


def our_scorer(job: Json) -> Score:
    """Ours, on the model as it lies there."""
    model = load_reward_model(job["model"], dtype=job["precision"], device=job["device"])
    renderer = load_renderer(job["model"], max_length=job["max_length"])
    return LocalScorer(Checkpoint(model, renderer, None, Path(job["model"]))).score


def padded_scorer(job: Json) -> Score:
    """A peer: transformers' own model on padded batches. Texts over the limit are left out, as ours does."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    weights = getattr(torch, job["precision"])
    model = AutoModelForSequenceClassification.from_pretrained(job["model"], dtype=weights).to(job["device"]).eval()

    def score(texts: list[Conversation]) -> np.ndarray:
        chats = [[{"role": turn.role, "content": turn.content} for turn in text] for text in texts]
        ids = [tokenizer.apply_chat_template(chat, tokenize=True) for chat in chats]
        ids = [found["input_ids"] if hasattr(found, "keys") else found for found in ids]
        order = [index for index in range(len(ids)) if len(ids[index]) <= job["max_length"]]
        if job["kind"] == "sorted":
            order.sort(key=lambda index: -len(ids[index]))
        rewards = np.full(len(ids), np.nan)
        with torch.inference_mode():
            for start in range(0, len(order), BATCH):
                part = order[start : start + BATCH]
                batch = tokenizer.pad({"input_ids": [ids[index] for index in part]}, return_tensors="pt")
                batch = {name: value.to(job["device"]) for name, value in batch.items()}
                rewards[part] = model(**batch).logits.squeeze(-1).float().cpu().numpy()
        return rewards

    return score


def served(job: Json, texts: list[Conversation]) -> Json:
    """vLLM's server on the same texts, each of them once: its prefix cache would answer a second time from memory."""
    renderer = load_renderer(job["model"], max_length=job["max_length"])
    folder = Path(job["model"])
    options = ("--max-model-len", str(job["max_length"]))
    with vllm_server(folder, folder.parent / "vllm.log", *options, python=job["vllm"], dtype=job["precision"]) as url:

        def ask(batch: list[list[int]]) -> list[float]:
            body = json.dumps({"model": "rm", "input": batch}).encode()
            request = urllib.request.Request(f"{url}/classify", body, {"Content-Type": "application/json"})  # noqa: S310
            with urllib.request.urlopen(request, timeout=3600) as answer:  # noqa: S310 - our own
                found = sorted(json.loads(answer.read())["data"], key=lambda one: one["index"])
            return [one["probs"][0] for one in found]

        def score(conversations: list[Conversation], *, backwards: bool = False) -> np.ndarray:
            ids = [one.ids for one in renderer.render_many(conversations)]
            there = [index for index, one in enumerate(ids) if one is not None]
            lists = [one.tolist()[:: -1 if backwards else 1] for one in ids if one is not None]
            parts = [lists[start : start + BATCH] for start in range(0, len(lists), BATCH)]
            rewards = np.full(len(ids), np.nan)
            with ThreadPoolExecutor(REQUESTS_AT_A_TIME) as pool:
                rewards[there] = [reward for part in pool.map(ask, parts) for reward in part]
            return rewards

        score(texts[:16], backwards=True)  # other texts, and no prefix of theirs
        started = time.perf_counter()
        rewards = score(texts)
        seconds = time.perf_counter() - started
    np.save(job["out"], rewards)
    return {"seconds": seconds, "texts": len(texts), "device_memory": 0}


def tree_counts(model: Path, texts: list[list[list[str]]], arguments: argparse.Namespace) -> Json:
    """Tokens of all texts: in padded batches, without padding, each once; and keys attended to (each once)."""
    renderer = load_renderer(str(model), max_length=arguments.max_length)
    rendered = renderer.render_many([tuple(Message(*turn) for turn in text) for text in texts])
    ids = [found.ids for found in rendered if found.ids is not None]
    packs = pack_sequences(ids, 16384)

    def padded(order: list[int]) -> int:
        parts = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
        return sum(len(part) * max(len(ids[index]) for index in part) for part in parts)

    return {
        "texts": len(ids),
        "budget": 2048 if arguments.device == "cpu" else 16384,
        "file order": padded(list(range(len(ids)))),
        "sorted": padded(sorted(range(len(ids)), key=lambda index: -len(ids[index]))),
        "packed": sum(len(text) for text in ids),
        "tokens": sum(len(pack) for pack in packs),
        "attended": int(sum((pack.position_ids + 1).sum() for pack in packs)),
    }


def section(result: Json) -> str:
    """One run as a Markdown section."""
    setting, runs, tree = result["setting"], result["runs"], result["tree"]
    ours = statistics.median(run["seconds"] for run in runs["ours"])
    table = []
    for name, done in runs.items():
        rates = sorted(run["rate"] for run in done)
        ratio = "" if name == "ours" else f"{statistics.median(run['seconds'] for run in done) / ours:.1f}×"
        spread = f"{statistics.median(rates):.1f} ({rates[0]:.1f} to {rates[-1]:.1f})"
        memory = max(run["memory"] for run in done) / 2**20
        tokens = {"ours": tree["tokens"]}.get(name, tree.get(name))
        served = name == "vllm"  # what it computes, and in how much memory, its processes know
        ratio = ratio if not served else f"{statistics.median(run['seconds'] for run in done) / ours:.2f}×"
        table.append(
            [KINDS[name], "–" if served else f"{tokens:,}", spread, ratio, "–" if served else f"{memory:,.0f}"]
        )
    again = f" Timed after {setting['untimed']} pass over all texts." if "untimed" in setting else ""
    return f"""## {result["name"]}

{result["data"]}: {setting["rows"]} rows, {tree["texts"]} texts up to {setting["max_length"]} tokens;
{setting["precision"]}; {result["parameters"] / 1e6:.1f}M parameters ({result["shape"]}). {result["machine"]}.
Median of {len(runs["ours"])} alternations (lowest to highest). Largest difference of a reward:
{result["difference"]:.1e}.{again}

{markdown_table(["", "tokens", "rows/s", "ours is faster by", "peak memory, MiB"], table)}
Tokens without padding: {tree["packed"]:,}. Useful FLOP/s of ours: {result["useful"] / 1e9:,.1f} G{share_of(result)}.
"""


def share_of(result: Json) -> str:
    """The share of the machine's limit, "" for runs of before it was measured with the faster product."""
    if result["gemm"] is None:
        return ""
    share = result["useful"] / result["gemm"]
    return f",\n{share:.0%} of matrix products of the model's shapes ({result['gemm'] / 1e9:,.1f} G)"


PAGE = RunPage("score_speed", "Scoring speed", about(__doc__), section)

if __name__ == "__main__":
    main()
