"""Analyses of a plausible model as evaluation would record them, for the tests of the report."""

from __future__ import annotations

import numpy as np

from rewardsmith.evaluation import EvalRow, find_benchmark
from rewardsmith.evaluation.analysis import analyse
from rewardsmith.evaluation.distribution import summarise_rewards
from rewardsmith.records.evaluation import BenchmarkResult, RewardFlag
from rewardsmith.types import Message


def analysed(result: BenchmarkResult, answers: int, text: str = "") -> BenchmarkResult:
    """The result with analyses of 200 rows of so many answers; a model that likes length a little."""
    rng = np.random.default_rng(answers)
    rows = [_row(number, rng.integers(20, 300, answers)) for number in range(200)]
    rewards = [
        rng.normal(0, 1, answers)
        + np.where(np.arange(answers) == 0, 1.2, 0.0)
        + 0.004 * np.array([len(response[0].content) for response in row.responses])
        for row in rows
    ]
    benchmark = find_benchmark("rewardbench2" if answers > 2 else "pairs")
    summary = summarise_rewards(rows, rewards)
    flags = (
        *summary.flags,
        RewardFlag(code="saturated", text="7 % of the rewards are exactly the highest one." + text),
    )
    return result.model_copy(
        update={
            "rewards": result.rewards.model_copy(update={"within_prompt": summary.within_prompt, "flags": flags}),
            "analysis": analyse(benchmark, rows, rewards, seed=1, resamples=200),
        }
    )


def _row(number: int, lengths: np.ndarray) -> EvalRow:
    responses = tuple(
        (Message("assistant", f"{number}.{place}".ljust(size, "x")),) for place, size in enumerate(lengths.tolist())
    )
    return EvalRow(str(number), "Math", (Message("user", str(number)),), responses[:1], responses[1:])
