"""Pairs whose answers differ in length, layout and refusals by chance, and reward functions with a planted habit.

rows = drawn_rows(120, seed=1, longer=0.8)       the chosen answer is the longer one in four of five pairs
rewards = rewards_of(rows, lambda text, right: len(text))
"""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rewardsmith.evaluation.contract import EvalRow
from rewardsmith.types import Message

WORDS = ("answer", "brown", "city", "great", "house", "light", "number", "people", "river", "stone", "tree", "value")
REFUSAL = "I'm sorry, but I cannot help with that. "


def drawn_rows(n: int, *, seed: int, longer: float = 0.5, refused: float = 0.0) -> list[EvalRow]:
    """Pairs of different prompts; marks are drawn apart from length and from which answer is right.

    Args:
        longer: share of the pairs whose chosen answer is the longer one.
        refused: share of the pairs whose rejected answer begins with a refusal.
    """
    draw = random.Random(seed)
    return [_row(draw, place, longer, refused) for place in range(n)]


def rewards_of(rows: list[EvalRow], reward: Callable[[str, bool], float]) -> list[NDArray[np.float64]]:
    """What a scorer gives that sees the text, and whether it is the chosen answer."""
    return [
        np.array(
            [reward(response[0].content, place < len(row.chosen)) for place, response in enumerate(row.responses)],
            dtype=np.float64,
        )
        for row in rows
    ]


def _row(draw: random.Random, place: int, longer: float, refused: float) -> EvalRow:
    short, long = sorted(draw.sample(range(10, 80), 2))
    chosen, rejected = (long, short) if draw.random() < longer else (short, long)
    texts = [_text(draw, words) for words in (chosen, rejected)]
    if draw.random() < refused:
        texts[1] = REFUSAL + texts[1]
    answers = tuple((Message("assistant", text),) for text in texts)
    return EvalRow(f"row-{place}", "all", (Message("user", f"question {place}"),), answers[:1], answers[1:])


def _text(draw: random.Random, length: int) -> str:
    words = [draw.choice(WORDS) for _ in range(length)]
    for _ in range(draw.randrange(3) if draw.random() < 0.6 else 0):
        words.insert(draw.randrange(len(words)), "**key**")
    bullets = draw.randrange(4) if draw.random() < 0.5 else 0
    return " ".join(words) + "".join(f"\n- {draw.choice(WORDS)}" for _ in range(bullets))
