"""Queries per second of an attack: trees of shared prefixes beside length-sorted batches and one text at a time.

    python bench/attack_speed.py --model runs/quickstart/model --data pairs.jsonl --save

An attack is made once and what it asks is written down, in its order and over its default mix of edits. The same texts
are then scored three ways, in the chunks in which the attack asks them: as `LocalScorer` does (trees), by the same
scorer on padded batches sorted by length, and one text at a time (a drawn share of them). Tokenisation is counted. The
three take turns, and medians are compared; all rewards must agree.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from common import device_machine
from rewardsmith.attacking import Settings, attack
from rewardsmith.attacking.asking import CHUNK
from rewardsmith.pipeline.probing import load_rows
from rewardsmith.protocols import Progress
from rewardsmith.scoring import LocalScorer
from rewardsmith.types import Conversation
from tables import about, bench_parser, markdown_table, publish

TOLERANCE = 2e-4


class Recording:
    """A scorer that keeps what it is asked."""

    def __init__(self, scorer: LocalScorer) -> None:
        self.scorer = scorer
        self.chunks: list[list[Conversation]] = []

    def score(self, conversations: Sequence[Conversation], progress: Progress | None = None) -> np.ndarray:
        """As the scorer does."""
        self.chunks.append(list(conversations))
        return self.scorer.score(conversations, progress)

    def why(self, conversations: Sequence[Conversation]) -> list[str]:
        """As the scorer does."""
        return self.scorer.why(conversations)


def main() -> None:
    """Measure, print, and save if asked."""
    parser = bench_parser(__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--queries", type=int, default=8000)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--alone", type=int, default=200, help="texts that are scored one at a time")
    parser.add_argument("--alternations", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--remark", default="", help="what a reader must know of the machine")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    publish("attack_speed", measure(arguments), arguments)


def measure(arguments: argparse.Namespace) -> str:
    """The page."""
    tree, padded = (
        LocalScorer.load(str(arguments.model), device=arguments.device, layout=layout) for layout in ("auto", "padded")
    )
    recording = Recording(tree)
    settings = Settings(pairs=arguments.pairs, queries=arguments.queries)
    began = time.perf_counter()
    record = attack(load_rows(arguments.data, settings.seed), recording, settings, model=str(arguments.model))
    whole = time.perf_counter() - began
    texts = [one for chunk in recording.chunks for one in chunk]
    drawn = np.sort(np.random.default_rng(0).permutation(len(texts))[: arguments.alone])
    ways = {
        f"{tree.layout.name} (the attack's own)": lambda: chunked(tree, texts),
        "padded, sorted by length": lambda: chunked(padded, texts),
        "one text at a time": lambda: np.concatenate([padded.score([texts[place]]) for place in drawn]),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    found = {}
    for _ in range(arguments.alternations):
        for name, score in ways.items():
            began = time.perf_counter()
            found[name] = score()
            seconds[name].append(time.perf_counter() - began)
    first, second, third = found.values()
    for name, difference in (("padded", first - second), ("alone", first[drawn] - third)):
        finite = difference[np.isfinite(difference)]
        if not finite.size or np.abs(finite).max() > TOLERANCE:
            raise SystemExit(f"the rewards of {name} differ by {np.abs(finite).max() if finite.size else 'everything'}")
    rates = {
        name: (len(drawn) if name == "one text at a time" else len(texts)) / statistics.median(taken)
        for name, taken in seconds.items()
    }
    fastest = next(iter(rates.values()))
    rows = [
        [name, f"{rate:,.1f}", f"{fastest / rate:.2f}", f"{min(seconds[name]):.1f} to {max(seconds[name]):.1f}"]
        for name, rate in rates.items()
    ]
    parameters = sum(one.numel() for one in tree.checkpoint.model.parameters())
    return "\n".join(
        [
            "# Queries per second of an attack",
            "",
            about(__doc__),
            "",
            f"{record.budget.spent:,} queries on {record.drawn} pairs; {parameters / 1e6:.1f}M parameters; "
            f"{device_machine(arguments.device, arguments.threads)}. The whole attack, search included, took "
            f"{whole:.0f} s. {arguments.remark}".strip(),
            "",
            markdown_table(["texts as", "queries a second", "the first is so many times faster", "seconds"], rows),
            "",
        ]
    )


def chunked(scorer: LocalScorer, texts: list[Conversation]) -> np.ndarray:
    """Rewards in chunks as an attack asks them."""
    return np.concatenate([scorer.score(texts[start : start + CHUNK]) for start in range(0, len(texts), CHUNK)])


if __name__ == "__main__":
    main()
