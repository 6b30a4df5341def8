"""The server under load, side by side with OpenRLHF's own reward server, on the same model and machine, in one run.

    python bench/serve_load.py --save          about five minutes
    python bench/serve_load.py --base build/SmolLM2-135M-Instruct --peer vllm --seconds 40 --name serve_load_vllm --save

Theirs is its `serve_rm` handler, re-created from its documented behaviour, because the package does not install without
a GPU: FastAPI, `POST /get_reward`, a padded batch of the request's texts, the model called on the event loop. Ours is
`rewardsmith serve`. With `--peer vllm` the other one is vLLM's own server (`make test-vllm` makes its environment)
with its defaults, prefix caching on, asked at `POST /classify`; no load has a text or prompt of another one. Both run
all the time, in processes of their own, with the same threads; they take turns under load. The load generator is a
third process on the same cores: its own use of them stands beside the rates.

One query a request, as OpenRLHF's client sends them, on kept connections. *Independent*: every client sends another
text as soon as it has its answer. *Samples*: eight responses to one prompt are sent at once, by eight clients, and the
next prompt follows when all eight are answered, as GRPO and PPO do. A health check is sent every 50 ms meanwhile.
Rewards of both servers must agree, or the bench fails.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

from tables import Json, about, bench_parser, machine, markdown_table, publish
from vllm_server import vllm_server

SAMPLES = 8
TOLERANCE = 1e-4
CELLS = [("independent", 1), ("independent", 8), ("independent", 64), ("samples", 8), ("samples", 64)]
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
NAMES = {"theirs": "serve_rm, re-created", "vllm": "vLLM", "ours": "Rewardsmith"}


def main() -> None:
    """Measure, print, and save if asked; with `--worker`, one server or one load."""
    arguments = parse()
    if arguments.worker:
        job = json.loads(arguments.worker)
        print(json.dumps(WORKERS[job["work"]](job)), flush=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        result = measure(arguments, Path(folder))
    publish(arguments.name, page(result), arguments)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = bench_parser(__doc__)
    parser.add_argument("--name", default="serve_load", help="of the page")
    parser.add_argument("--peer", choices=["theirs", "vllm"], default="theirs")
    parser.add_argument("--vllm", default=".venv-vllm/bin/python", help="Python of vLLM's environment")
    parser.add_argument("--shape", default="10M", help="of bench/common.py; smoke for a try")
    parser.add_argument("--base", type=Path, help="a folder with a base, in place of a shape")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32", help="type of the weights")
    parser.add_argument(
        "--scale", type=int, default=1, help="times as many texts; they are repeated when all were sent"
    )
    parser.add_argument("--cells", nargs="+", default=[], help="only these, as samples,64")
    parser.add_argument("--seconds", type=float, default=12.0, help="of each load")
    parser.add_argument("--alternations", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=160, help="of an independent text")
    parser.add_argument("--prompt-tokens", type=int, default=256, help="of a sampled prompt")
    parser.add_argument("--response-tokens", type=int, default=64, help="of each of its responses")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(arguments: argparse.Namespace, folder: Path) -> Json:
    """All cells, all alternations."""
    parameters = write_model(arguments, folder)
    texts = write_texts(arguments, folder)
    runs: dict[str, dict[str, list[Json]]] = {}
    peer = arguments.peer
    rewards: dict[str, dict[str, float]] = {peer: {}, "ours": {}}
    with server(peer, arguments, folder) as theirs, server("ours", arguments, folder) as ours:
        urls = {peer: theirs, "ours": ours}
        for kind, clients in CELLS:
            if arguments.cells and f"{kind},{clients}" not in arguments.cells:
                continue
            cell = runs.setdefault(f"{kind}, {clients}", {name: [] for name in urls})
            for turn in range(arguments.alternations):
                place = [one for one in CELLS if one[0] == kind].index((kind, clients))
                part = (place * arguments.alternations + turn, 3 * arguments.alternations)
                for name, url in urls.items():
                    found = load(name, url, kind, clients, arguments.seconds, folder / f"{kind}.json", part)
                    rewards[name] |= found.pop("rewards")
                    cell[name].append(found)
            print(kind, clients, {name: round(done[-1]["rate"], 1) for name, done in cell.items()}, flush=True)
    shared = rewards["ours"].keys() & rewards[peer].keys()
    difference = max(abs(rewards["ours"][text] - rewards[peer][text]) for text in shared)
    if arguments.precision == "float32" and difference > TOLERANCE:
        sys.exit(f"rewards differ by {difference}: a speed without the same rewards means nothing")
    return {
        "runs": runs,
        "difference": difference,
        "shared": len(shared),
        "parameters": parameters,
        "precision": arguments.precision,
        **texts,
    }


def write_model(arguments: argparse.Namespace, folder: Path) -> int:
    """A reward model with random weights, whose tokenizer knows the words of the texts; returns its parameters."""
    import torch

    from common import SHAPES, write_base
    from rewardsmith.modeling.checkpoint import save_checkpoint
    from rewardsmith.modeling.loading import load_base
    from rewardsmith.records.checkpoint import CheckpointRecord
    from rewardsmith.rendering import load_renderer
    from rewardsmith.spec import Spec

    words = vocabulary()
    draw = np.random.default_rng(0)
    base = arguments.base or folder / "base"
    if not arguments.base:
        write_base(base, SHAPES[arguments.shape], (" ".join(draw.choice(words, 200)) for _ in range(500)))
    renderer = load_renderer(str(base), max_length=2048)
    spec = Spec.model_validate({"base_model": {"dtype": arguments.precision}})
    model = load_base(spec, str(base), renderer.tokenizer, seed=0)
    with torch.no_grad():
        model.score.weight.normal_(std=0.1, generator=torch.Generator().manual_seed(0))
    record = CheckpointRecord(
        rewardsmith_version="0", base_model="bench", rendering=renderer.record, data_fingerprints=("none",)
    )
    save_checkpoint(folder / "model", model, renderer, record)
    return sum(weight.numel() for weight in model.parameters())


def vocabulary() -> list[str]:
    """A thousand made-up words."""
    draw = np.random.default_rng(1)
    syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
    return ["".join(draw.choice(syllables, draw.integers(2, 4))) for _ in range(1000)]


def write_texts(arguments: argparse.Namespace, folder: Path) -> Json:
    """Rendered texts of the wanted lengths, as many as a load can need; returns their median tokens."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    words, draw = vocabulary(), np.random.default_rng(2)

    def some(tokens: int) -> str:
        drawn = draw.choice(words, tokens)
        ids = tokenizer(" ".join(drawn), add_special_tokens=False)["input_ids"][:tokens]
        return str(tokenizer.decode(ids))

    def rendered(prompt: str, response: str) -> str:
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
        return str(tokenizer.apply_chat_template(turns, tokenize=False))

    half = arguments.tokens // 2
    independent = [[rendered(some(half), some(half))] for _ in range(512 * arguments.scale)]
    samples = []
    for _ in range(128 * arguments.scale):
        prompt = some(arguments.prompt_tokens)
        samples.append([rendered(prompt, some(arguments.response_tokens)) for _ in range(SAMPLES)])
    found = {}
    for name, groups in (("independent", independent), ("samples", samples)):
        (folder / f"{name}.json").write_text(json.dumps(groups))
        lengths = [len(tokenizer(text, add_special_tokens=False)["input_ids"]) for group in groups for text in group]
        found[f"{name}_tokens"] = statistics.median(lengths)
    return found


@contextmanager
def server(name: str, arguments: argparse.Namespace, folder: Path) -> Iterator[str]:
    """A server in a process of its own; its URL."""
    if name == "vllm":
        options = ("--max-model-len", "2048")
        os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
        log, python = folder / "vllm.log", arguments.vllm
        with vllm_server(folder / "model", log, *options, python=python, dtype=arguments.precision) as url:
            yield url
        return
    model = str(folder / "model")
    command = ["-m", "rewardsmith", "serve", "--model", f"bench={model}", "--port", "0"]
    if name == "theirs":
        command = [__file__, "--worker", json.dumps({"work": "serve", "model": model, "threads": arguments.threads})]
    environment = {**os.environ, "OMP_NUM_THREADS": str(arguments.threads), "TOKENIZERS_PARALLELISM": "false"}
    process = subprocess.Popen([sys.executable, *command], env=environment, stderr=subprocess.PIPE, text=True)
    try:
        yield _url(process)
    finally:
        process.terminate()
        process.communicate()


def _url(process: subprocess.Popen[str]) -> str:
    """From the line that says where a server listens; what it says after that is not kept."""
    said = ""
    for line in process.stderr or ():
        said += line
        if '"url"' in line:
            # Nobody reads on: a full pipe would stop the server.
            subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
            return str(json.loads(line)["url"])
    raise RuntimeError(f"the server did not start:\n{said}")


def load(name: str, url: str, kind: str, clients: int, seconds: float, texts: Path, part: tuple[int, int]) -> Json:
    """One load of every n-th text from the k-th on (`part`), from a process of its own."""
    job = {"work": "load", "speaks": name, "url": url, "kind": kind, "clients": clients, "seconds": seconds}
    command = [sys.executable, __file__, "--worker", json.dumps(job | {"texts": str(texts), "part": part})]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def serve_peer(job: Json) -> Json:
    """OpenRLHF's handler, re-created: one padded batch for each request, computed on the event loop."""
    import socket

    import torch
    import uvicorn
    from fastapi import FastAPI, Request
    from fastapi.responses import JSONResponse
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.set_num_threads(job["threads"])
    tokenizer = AutoTokenizer.from_pretrained(job["model"], padding_side="left")
    model = AutoModelForSequenceClassification.from_pretrained(job["model"], dtype=torch.float32).eval()
    app = FastAPI()

    async def get_reward(request: Request) -> JSONResponse:
        queries = (await request.json()).get("query")
        batch = tokenizer(
            queries, padding=True, truncation=True, max_length=2048, add_special_tokens=False, return_tensors="pt"
        )
        with torch.no_grad():
            rewards = model(**batch).logits.squeeze(-1).tolist()
        return JSONResponse({"rewards": rewards, "scores": rewards, "extra_logs": {"dummy_scores": rewards}})

    async def healthz() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    # FastAPI looks annotations up among the module's names, where this import is not.
    get_reward.__annotations__ = {"request": Request}
    app.add_api_route("/get_reward", get_reward, methods=["POST"], response_model=None)
    app.add_api_route("/healthz", healthz, methods=["GET"], response_model=None)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    print(json.dumps({"url": "http://{}:{}".format(*listener.getsockname())}), file=sys.stderr, flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
    return {}


def run_load(job: Json) -> Json:
    """Send texts for some seconds; rates, latencies and rewards."""
    return asyncio.run(_load(job))


async def _load(job: Json) -> Json:
    host, port = job["url"].removeprefix("http://").split(":")
    groups = json.loads(Path(job["texts"]).read_text())
    first, step = job["part"]
    groups = groups[first::step]
    width = 1 if job["kind"] == "independent" else SAMPLES
    queue = iter(groups * 100)
    taken: list[float] = []
    rewards: dict[str, float] = {}
    lines = [
        [await asyncio.open_connection(host, int(port)) for _ in range(width)] for _ in range(job["clients"] // width)
    ]
    health = await asyncio.open_connection(host, int(port))
    path = "/health" if job["speaks"] == "vllm" else "/healthz"
    for line in (*lines, [health]):  # one request each before the clock starts
        await asyncio.gather(*(_get_health(stream, path) for stream in line))
    started, used = time.perf_counter(), _cpu()
    stop = started + job["seconds"]

    async def ask(stream: Stream, text: str) -> None:
        begun = time.perf_counter()
        reward = await (_ask_vllm if job["speaks"] == "vllm" else _ask)(stream, text)
        taken.append(time.perf_counter() - begun)
        rewards[text] = reward

    async def client(line: list[Stream]) -> None:
        while time.perf_counter() < stop:
            await asyncio.gather(*(ask(*pair) for pair in zip(line, next(queue), strict=True)))

    waits: list[float] = []
    checks = asyncio.create_task(_check_health(health, path, waits))
    await asyncio.gather(*map(client, lines))
    wall = time.perf_counter() - started
    checks.cancel()
    return {
        "requests": len(taken),
        "rate": len(taken) / wall,
        "p50": _quantile(taken, 0.5),
        "p99": _quantile(taken, 0.99),
        "generator_cpu": (_cpu() - used) / wall,
        "health_p50": _quantile(waits, 0.5),
        "health_p99": _quantile(waits, 0.99),
        "health_max": max(waits, default=float("nan")),
        "health_checks": len(waits),
        "rewards": rewards,
    }


async def _ask(stream: Stream, text: str) -> float:
    answer = await _post(stream, "/get_reward", {"query": [text], "prompts": [], "labels": []})
    return float(answer["rewards"][0])


async def _ask_vllm(stream: Stream, text: str) -> float:
    answer = await _post(stream, "/classify", {"model": "rm", "input": text, "add_special_tokens": False})
    return float(answer["data"][0]["probs"][0])


async def _check_health(stream: Stream, path: str, waits: list[float]) -> None:
    while True:
        begun = time.perf_counter()
        await _get_health(stream, path)
        waits.append(time.perf_counter() - begun)
        await asyncio.sleep(0.05)


async def _get_health(stream: Stream, path: str) -> None:
    stream[1].write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    await _answer(stream[0])


async def _post(stream: Stream, path: str, body: Json) -> Json:
    raw = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(raw)}"
    stream[1].write(head.encode() + b"\r\n\r\n" + raw)
    return dict(json.loads(await _answer(stream[0])))


async def _answer(reader: asyncio.StreamReader) -> bytes:
    """The body of an answer with status 200."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    if " 200 " not in head.splitlines()[0]:
        raise RuntimeError(head)
    length = next(line for line in head.splitlines() if line.startswith("content-length:"))
    return await reader.readexactly(int(length.partition(":")[2]))


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _quantile(values: list[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not pass."""
    return sorted(values)[max(0, -int(-share * len(values) // 1) - 1)] if values else float("nan")


WORKERS = {"serve": serve_peer, "load": run_load}


def page(result: Json) -> str:
    """The page in Markdown."""
    rows, ratios = [], []
    for cell, runs in result["runs"].items():
        medians = {name: _medians(done) for name, done in runs.items()}
        for name, found in medians.items():
            rows.append(
                [
                    f"{cell}: {NAMES[name]}",
                    f"{found['rate']:.1f}",
                    f"{1000 * found['p50']:,.0f}",
                    f"{1000 * found['p99']:,.0f}",
                    f"{1000 * found['health_p99']:,.1f}",
                    f"{1000 * found['health_max']:,.1f}",
                    f"{found['generator_cpu']:.0%}",
                    f"{sum(run['requests'] for run in runs[name]):,}",
                ]
            )
        ours = medians["ours"]
        theirs = next(found for name, found in medians.items() if name != "ours")
        ratios.append([cell, f"{ours['rate'] / theirs['rate']:.2f}×", f"{theirs['p99'] / ours['p99']:.2f}×"])
    head = ["load, clients", "requests/s", "p50, ms", "p99, ms", "health p99", "health max", "generator", "requests"]
    millions = f"{result['parameters'] / 1e6:.1f}M"
    lengths = f"{result['independent_tokens']:.0f} tokens, a sample {result['samples_tokens']:.0f}"
    same = f"{result['difference']:.1e} on {result['shared']:,} texts"
    return f"""# The server under load

{about(__doc__)}
{machine()}; {millions} parameters, {result["precision"]}. An independent text has {lengths}. Medians over
{_turns(result)} loads.
Rewards differ by at most {same} that both scored. "generator" is the share of one core that the load generator used;
health checks in ms.

{markdown_table(["ours against theirs", "requests/s", "p99 shorter by"], ratios)}
{markdown_table(head, rows)}"""


def _medians(runs: list[Json]) -> Json:
    keys = [key for key, value in runs[0].items() if isinstance(value, float)]
    return {key: statistics.median(run[key] for run in runs) for key in keys} | {
        "health_max": max(run["health_max"] for run in runs)
    }


def _turns(result: Json) -> int:
    return len(next(iter(result["runs"].values()))["ours"])


if __name__ == "__main__":
    main()
