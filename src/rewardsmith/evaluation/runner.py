"""Runs a benchmark: asks the scorer for each distinct conversation once, scores, and writes the two files.

    rewards    = score_conversations(rows, scorer, progress)          or offline.read_rewards(file, rows)
    rewards    = score_once(conversations, scorer, progress)          what is no row: edited responses, policy samples
    evaluation = results.score_rows(benchmark, rows, rewards, seed=…)
    write_evaluation(evaluation, run_dir / "eval" / key)              results.json, rows.jsonl

The scorer is handed in (`protocols.Scorer`): this room knows no model, no tokenizer and no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from rewardsmith.evaluation.contract import EvalRow, Floats
from rewardsmith.evaluation.results import Evaluation
from rewardsmith.protocols import Progress, Scorer
from rewardsmith.records import write_json, write_jsonl
from rewardsmith.types import Conversation

RESULTS_FILE = "results.json"
ROWS_FILE = "rows.jsonl"


def score_conversations(rows: Sequence[EvalRow], scorer: Scorer, progress: Progress | None = None) -> list[Floats]:
    """Rewards of every row, chosen first, NaN where the scorer could compute none.

    Raises:
        ValueError: the scorer did not answer with one reward a conversation.
    """
    asked = [row.conversations for row in rows]
    rewards = score_once((text for texts in asked for text in texts), scorer, progress)
    return [np.array([rewards[text] for text in texts], dtype=np.float64) for texts in asked]


def score_once(
    conversations: Iterable[Conversation], scorer: Scorer, progress: Progress | None = None
) -> dict[Conversation, float]:
    """The reward of every distinct conversation, NaN where the scorer could compute none; asked for in one call.

    Equal conversations are scored once: their rewards are equal by construction, and no forward pass is wasted.

    Raises:
        ValueError: the scorer did not answer with one reward a conversation.
    """
    distinct = list(dict.fromkeys(conversations))
    rewards_C = np.asarray(scorer.score(distinct, progress), dtype=np.float64)
    if rewards_C.shape != (len(distinct),):
        raise ValueError(f"the scorer gave rewards of shape {rewards_C.shape} for {len(distinct)} conversations")
    return dict(zip(distinct, rewards_C.tolist(), strict=True))


def write_evaluation(evaluation: Evaluation, folder: Path) -> None:
    """Write `rows.jsonl`, then `results.json`: where the second is there, the first is whole.

    Raises:
        RunDirectoryError: the folder cannot be written.
    """
    write_jsonl(folder / ROWS_FILE, evaluation.rows)
    write_json(folder / RESULTS_FILE, evaluation.result)
