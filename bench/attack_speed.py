"""Queries per second of an attack: trees of shared prefixes beside length-sorted batches and one text at a time.

    python bench/attack_speed.py --model runs/quickstart/model --data pairs.jsonl --save

An attack is made once and what it asks is written down, in its order and over its default mix of edits. Chunks that
are drawn from it evenly are then scored three ways, each chunk as the attack asks it: as `LocalScorer` does (trees),
by the same scorer on padded batches sorted by length, and one text at a time (a drawn share of them), all with the
attack's own number of tokens a pass. Tokenisation is counted. The three take turns, and medians are compared; all
rewards must agree. A model of 135M parameters takes minutes for the attack alone: `--texts 512 --alternations 1`."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from common import device_machine
from rewardsmith.attacking.results import attack
from rewardsmith.attacking.search import Settings
from rewardsmith.pipeline.attacking import CPU_TOKENS
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
    parser.add_argument("--texts", type=int, default=2048, help="of the attack, that are scored by trees and padded")
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
    if arguments.device == "cpu":
        tree.token_budget = padded.token_budget = CPU_TOKENS
    recording = Recording(tree)
    settings = Settings(pairs=arguments.pairs, queries=arguments.queries)
    began = time.perf_counter()
    record = attack(load_rows(arguments.data, settings.seed), recording, settings, model=str(arguments.model))
    whole = time.perf_counter() - began
    chunks = drawn_chunks(recording.chunks, arguments.texts)
    texts = [one for chunk in chunks for one in chunk]
    drawn = np.sort(np.random.default_rng(0).permutation(len(texts))[: arguments.alone])
    ways = {
        f"{tree.layout.name} (the attack's own)": lambda: chunked(tree, chunks),
        "padded, sorted by length": lambda: chunked(padded, chunks),
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
            f"{device_machine(arguments.device, arguments.threads)}. {len(texts):,} of its texts are "
            "scored three ways. The whole attack, search included, took "
            f"{whole:.0f} s. {arguments.remark}".strip(),
            "",
            markdown_table(["texts as", "queries a second", "the first is so many times faster", "seconds"], rows),
            "",
        ]
    )


def drawn_chunks(chunks: Sequence[list[Conversation]], texts: int) -> list[list[Conversation]]:
    """Whole chunks with at least so many texts, drawn, in the order in which they were asked."""
    order = np.random.default_rng(1).permutation(len(chunks))
    before = np.concatenate([[0], np.cumsum([len(chunks[place]) for place in order])[:-1]])
    return [chunks[place] for place in sorted(order[before < texts].tolist())]


def chunked(scorer: LocalScorer, chunks: Sequence[list[Conversation]]) -> np.ndarray:
    """Rewards of chunks as an attack asks them."""
    return np.concatenate([scorer.score(chunk) for chunk in chunks])


if __name__ == "__main__":
    main()
