"""Scoring a model, or rewards computed elsewhere, on one benchmark: shared by `run` and by `rewardsmith evaluate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rewardsmith import evaluation, samples
from rewardsmith.evaluation import Benchmark, BenchmarkRows, Evaluation
from rewardsmith.evaluation.contract import Rewards
from rewardsmith.evaluation.prompts import plain_text
from rewardsmith.protocols import Progress, Scorer
from rewardsmith.records import DatasetInfo
from rewardsmith.spec import BenchmarkSpec
from rewardsmith.types import Conversation, PreferencePair

HELD_OUT_TITLE = "Held-out pairs"


def load_benchmark(spec: BenchmarkSpec, data: str) -> tuple[Benchmark, BenchmarkRows]:
    """The benchmark and its rows.

    Args:
        data: the file or hub id, embedded names resolved.

    Raises:
        BenchmarkError: unknown name, or rows that do not fit.
    """
    benchmark = evaluation.find_benchmark(spec.name)
    return benchmark, benchmark.load(data, spec.revision)


def held_out_rows(pairs: Sequence[PreferencePair], origin: str) -> tuple[Benchmark, BenchmarkRows]:
    """The spec's own held-out pairs as benchmark rows, for the `pairs` rule."""
    info = DatasetInfo(source=origin)
    return evaluation.find_benchmark("pairs"), evaluation.pair_rows(pairs, info, HELD_OUT_TITLE)


def as_embedded(rows: BenchmarkRows) -> BenchmarkRows:
    """The same rows under the name that reports give to what Rewardsmith generates; their cache file says nothing."""
    dataset = rows.dataset.model_copy(update={"source": "embedded"})
    return replace(rows, title="Embedded best-of-4 rows", dataset=dataset)


def as_text(rows: BenchmarkRows) -> BenchmarkRows:
    """The same rows as plain text, for a model that was trained without a chat template (`data.strings: text`)."""
    changed = tuple(
        replace(
            row,
            prompt=plain_text(row.prompt),
            chosen=tuple(plain_text(response) for response in row.chosen),
            rejected=tuple(plain_text(response) for response in row.rejected),
        )
        for row in rows.rows
    )
    return replace(rows, rows=changed)


def evaluate_with(
    scorer: Scorer,
    benchmark: Benchmark,
    rows: BenchmarkRows,
    *,
    seed: int,
    resamples: int,
    model: str,
    held_out: bool = False,
    others: Mapping[str, Rewards] | None = None,
    rendering: str = "checkpoint",
    progress: Progress | None = None,
) -> Evaluation:
    """Score every distinct conversation once and apply the benchmark's rule."""
    rewards = evaluation.score_conversations(rows.rows, scorer, progress)
    return evaluation.score_rows(
        benchmark,
        rows,
        rewards,
        seed=seed,
        resamples=resamples,
        model=model,
        held_out=held_out,
        others=others or {},
        reasons=evaluation.missing_reasons(rows.rows, rewards, scorer),
        rendering=rendering,
    )


def prompt_blind_rewards(rows: BenchmarkRows, train: Sequence[PreferencePair]) -> list[NDArray[np.float64]]:
    """Rewards of a model that reads responses and no prompts (bag of words), fitted on the training pairs."""
    responses = [[_text(response) for response in row.responses] for row in rows.rows]
    fitted_on = [(_text(pair.chosen), _text(pair.rejected)) for pair in train]
    return samples.bag_of_words_rewards(fitted_on, responses)


def _text(conversation: Conversation) -> str:
    return "\n".join(message.content for message in conversation)
