"""What the router costs where it does nothing, and how long 64 comparisons wait for a slow judge.

    python bench/routing_overhead.py                              about two minutes on one core
    python bench/routing_overhead.py --model runs/quickstart/model --save      and bench/results/routing_overhead.md

*Overhead*: the same pairs scored plainly, and scored and decided by the router with its audit log, where every pair is
clear, in turn, so that a machine that slows down slows both. Without --model the checkpoint is a small random decoder.
The router's own time is measured alone too: a ratio of two long times hides it.

*Waiting*: 64 comparisons at once, all ambiguous, with a judge that takes 100 ms, at several limits of concurrency. At
limit c the time implied is 0.1 s times 64 / c, rounded up.
"""

from __future__ import annotations

import asyncio
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from rewardsmith.pipeline.commands.route import RouteModel, open_route_model
from rewardsmith.pipeline.events import Silent
from rewardsmith.pipeline.scorers import LoadOptions
from rewardsmith.routing import AuditLog, HybridRouter, RouterSettings, Rule, Rules
from rewardsmith.routing.audit import header_of
from rewardsmith.samples import write_samples
from rewardsmith.spec import Spec
from rewardsmith.types import Comparison, Conversation, JudgeAnswer, Message, Opinion, Usage
from tables import bench_parser, machine, markdown_table, publish

PAIRS, TURNS = 600, 7
COMPARISONS, LATENCY = 64, 0.1
LIMITS = (4, 8, 16, 32, 64)
NEVER = Rules((Rule("margin", 0.0),))
ALWAYS = Rules((Rule("margin", 1e9),))


def main() -> None:
    """Measure, print, save."""
    parser = bench_parser(__doc__)
    parser.add_argument("--model", type=Path, help="a checkpoint; a small random one is made where none is named")
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--turns", type=int, default=TURNS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = arguments.model or random_checkpoint(Path(folder))
        model = open_route_model(Spec(), (str(place),), LoadOptions(device="cpu"), None, Silent().note)
        overhead = overhead_section(model, pairs_of(arguments.pairs), arguments.turns, Path(folder))
    head = f"# The router: overhead and waiting\n\n{machine()}. Made by `python bench/routing_overhead.py --save`."
    publish("routing_overhead", "\n\n".join([head, overhead, waiting_section()]), arguments)


def random_checkpoint(folder: Path) -> Path:
    """An untrained reward model on the embedded base's shape: what it computes costs the same."""
    import torch

    import rewardsmith
    from rewardsmith.modeling.checkpoint import save_checkpoint
    from rewardsmith.modeling.loading import load_base
    from rewardsmith.records.checkpoint import CheckpointRecord
    from rewardsmith.rendering import load_renderer
    from rewardsmith.samples import build_base_model

    base = build_base_model(seed=17)
    spec = Spec(base_model={"id": str(base)})
    renderer = load_renderer(base, max_length=256, over_length="drop", conversational=True)
    model = load_base(spec, base, renderer.tokenizer, seed=1).eval()
    with torch.no_grad():
        model.score.weight.normal_(std=0.3)
    record = CheckpointRecord(
        rewardsmith_version=rewardsmith.__version__,
        base_model="embedded",
        rendering=renderer.record,
        data_fingerprints=(),
    )
    save_checkpoint(folder / "model", model, renderer, record)
    return folder / "model"


def pairs_of(count: int) -> list[Comparison]:
    """Embedded held-out pairs."""
    from rewardsmith.evaluation import find_benchmark

    rows = find_benchmark("pairs").load(str(write_samples(seed=17).held_out), None).rows
    return [
        Comparison(rows[n % len(rows)].prompt, rows[n % len(rows)].chosen[0], rows[n % len(rows)].rejected[0], str(n))
        for n in range(count)
    ]


def overhead_section(model: RouteModel, pairs: list[Comparison], turns: int, folder: Path) -> str:
    """Plain scoring and routing, in turn."""
    rows: list[list[Conversation]] = [[pair.prompt + pair.first, pair.prompt + pair.second] for pair in pairs]
    every = [conversation for row in rows for conversation in row]

    def plain() -> None:
        model.scorer.score(every)

    def route() -> None:
        standings = model.standings(rows)
        decide(pairs, [one.opinion(0, 1, 1.0) for one in standings], folder)

    opinions = [one.opinion(0, 1, 1.0) for one in model.standings(rows)]
    seconds: dict[str, list[float]] = {"plain": [], "routed": [], "alone": []}
    for _ in range(turns):
        seconds["plain"].append(timed(plain))
        seconds["routed"].append(timed(route))
        seconds["alone"].append(timed(lambda: decide(pairs, opinions, folder)))
    median = {name: float(np.median(values)) for name, values in seconds.items()}
    by_turn = [100 * (b / a - 1) for a, b in zip(seconds["plain"], seconds["routed"], strict=True)]
    table = markdown_table(
        ("", "seconds, median", "lowest", "a comparison, µs"),
        [
            [label, f"{median[name]:.3f}", f"{min(seconds[name]):.3f}", f"{1e6 * median[name] / len(pairs):.0f}"]
            for name, label in (("plain", "scoring"), ("routed", "scoring and routing"), ("alone", "routing alone"))
        ],
    )
    return (
        f"## Where nothing escalates\n\n{len(pairs):,} pairs, {turns} turns. Overhead "
        f"{float(np.median(by_turn)):.1f} % (median of turns, {min(by_turn):.1f} to {max(by_turn):.1f}); by the lowest "
        f"times {100 * (min(seconds['routed']) / min(seconds['plain']) - 1):.1f} %; routing alone is "
        f"{100 * median['alone'] / median['plain']:.1f} % of scoring.\n\n{table}"
    )


def decide(pairs: list[Comparison], opinions: list[Opinion], folder: Path) -> None:
    """The router on all pairs, with its log."""
    log = AuditLog(folder / "audit.jsonl", header_of(NEVER))
    router = HybridRouter(NEVER, SlowJudge(), log=log)

    async def all_of_them() -> None:
        for pair, opinion in zip(pairs, opinions, strict=True):
            found = await router.decide(pair, opinion)
            if found.escalated:
                raise SystemExit("a pair was escalated")

    asyncio.run(all_of_them())
    log.close()


class SlowJudge:
    """Takes `LATENCY` seconds."""

    async def compare(self, comparison: Comparison) -> JudgeAnswer:
        """The first one, always."""
        del comparison
        await asyncio.sleep(LATENCY)
        return JudgeAnswer(1.0, True, "", Usage(calls=1))


def waiting_section() -> str:
    """64 comparisons at once."""
    rows = []
    for limit in LIMITS:
        implied = LATENCY * math.ceil(COMPARISONS / limit)
        seconds = min(waiting(limit) for _ in range(3))
        rows.append([str(limit), f"{implied:.2f}", f"{seconds:.3f}", f"{100 * (seconds / implied - 1):+.1f}"])
    table = markdown_table(("concurrency", "implied, s", "measured, s", "difference, %"), rows)
    return f"## {COMPARISONS} comparisons, a judge of {1000 * LATENCY:.0f} ms\n\n{table}"


def waiting(limit: int) -> float:
    """Seconds for all comparisons at one limit."""
    turn = (Message("user", "?"),), (Message("assistant", "a"),), (Message("assistant", "b"),)

    async def all_at_once() -> None:
        router = HybridRouter(ALWAYS, SlowJudge(), RouterSettings(concurrency=limit))
        found = await asyncio.gather(
            *(router.decide(Comparison(*turn, id=str(n)), Opinion(1.0)) for n in range(COMPARISONS))
        )
        if any(one.by != "judge" for one in found):
            raise SystemExit("a comparison was not decided by the judge")

    return timed(lambda: asyncio.run(all_at_once()))


def timed(work: Callable[[], None]) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
