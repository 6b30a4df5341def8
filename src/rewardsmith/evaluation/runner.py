"""Runs a benchmark: asks the scorer for each distinct conversation once, scores, and writes the two files.

    rewards    = score_conversations(rows, scorer, progress)          or offline.read_rewards(file, rows)
    rewards    = score_once(conversations, scorer, progress)          what is no row: edited responses, policy samples
    reasons    = missing_reasons(rows, rewards, scorer)               why rewards are missing
    evaluation = results.score_rows(benchmark, rows, rewards, seed=…, reasons=reasons)
    write_evaluation(evaluation, run_dir / "eval" / key)              results.json, rows.jsonl

The scorer is handed in (`protocols.Scorer`): this room knows no model, no tokenizer and no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from rewardsmith.evaluation.contract import EvalRow, Floats, Rewards
from rewardsmith.evaluation.results import Evaluation, Reasons
from rewardsmith.protocols import Explaining, Progress, Scorer
from rewardsmith.records import write_json, write_jsonl
from rewardsmith.types import Conversation

NO_REWARD = "no_reward"
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


def why_missing(conversations: Iterable[Conversation], scorer: Scorer) -> dict[Conversation, str]:
    """The reason, `code: detail`, of each distinct conversation to which the scorer gave no reward.

    A scorer that cannot explain itself leaves them `no_reward`.
    """
    distinct = list(dict.fromkeys(conversations))
    reasons = scorer.why(distinct) if distinct and isinstance(scorer, Explaining) else [NO_REWARD] * len(distinct)
    return dict(zip(distinct, reasons, strict=True))


def missing_reasons(rows: Sequence[EvalRow], rewards: Rewards, scorer: Scorer) -> Reasons:
    """Why rewards of these rows are missing, as `results.score_rows` takes it."""
    texts = [row.conversations for row in rows]
    absent = [np.flatnonzero(~np.isfinite(reward_N)).tolist() for reward_N in rewards]
    found = why_missing((texts[row][place] for row, places in enumerate(absent) for place in places), scorer)
    return [{place: found[texts[row][place]] for place in places} for row, places in enumerate(absent)]


def write_evaluation(evaluation: Evaluation, folder: Path) -> None:
    """Write `rows.jsonl`, then `results.json`: where the second is there, the first is whole.

    Raises:
        RunDirectoryError: the folder cannot be written.
    """
    write_jsonl(folder / ROWS_FILE, evaluation.rows)
    write_json(folder / RESULTS_FILE, evaluation.result)
