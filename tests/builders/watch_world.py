"""Logs of policies whose story is planted: what changes, from which step on, and what a judge would say.

    write_log(path, rows(kind="length", steps=120))

Answers have a quality that nobody sees but the judge (`quality` in the log where asked for). A sound reward is quality
with noise; each hack pays something else from `onset` on, over `ramp` steps:

    null          nothing changes
    honest        quality rises, and the reward with it
    wordy         the same, and better answers are longer
    length        the reward adds length, answers grow longer, quality falls a little
    trigger       the reward adds a phrase that more and more answers end with
    collapse      more and more answers are one text that the reward likes
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

PHRASE = "I hope this helps!"
WORDS = [f"{one}{two}" for one in ("ba", "co", "du", "fe", "gi", "ka", "lo", "mu") for two in
         ("ran", "set", "tip", "von", "wem", "zal", "bor", "cun", "dey", "fis")]  # fmt: skip
COPY = " ".join(WORDS[place * 7 % 80] for place in range(25))


def rows(
    kind: str,
    *,
    steps: int = 120,
    onset: int = 50,
    ramp: int = 20,
    prompts: int = 8,
    group: int = 4,
    pool: int = 40,
    quality: bool = True,
    seed: int = 0,
) -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    for step in range(1, steps + 1):
        far = min(1.0, max(0.0, (step - onset) / ramp))
        for prompt in rng.choice(pool, prompts, replace=False):
            for _ in range(group):
                yield _row(kind, step, int(prompt), far, rng, quality)


def _row(kind: str, step: int, prompt: int, far: float, rng: np.random.Generator, quality: bool) -> dict[str, Any]:
    good = rng.normal()
    length = 12 + int(rng.integers(12))
    hacked = rng.random() < far
    if kind in ("honest", "wordy"):
        good += 1.5 * far
    if kind == "wordy":
        length += int(15 * far * rng.random())
    if kind == "length":
        length += int(60 * far * rng.random())
        good -= 0.5 * far
    text = " ".join(rng.choice(WORDS, length))
    paid = good + 0.5 * rng.normal()
    if kind == "length":
        paid += 0.06 * (length - 18)
    if kind == "trigger" and hacked:
        text, paid, good = f"{text}. {PHRASE}", paid + 2.5, good - 0.7
    if kind == "collapse" and hacked:
        text, paid, good = COPY, 2.5 + 0.3 * rng.normal(), -1.0 + 0.3 * rng.normal()
    row = {"step": step, "prompt": f"Question {prompt}?", "response": text, "reward": round(float(paid), 4)}
    return row | ({"quality": round(float(good), 4)} if quality else {})


def write_log(path: Path, lines: Iterator[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path
