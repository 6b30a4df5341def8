"""Scoring a model on one benchmark: shared by `run` and by `rewardsmith evaluate`.

    kind, rows = load_benchmark(spec, data)
    done = evaluate_with(scorer, kind, rows, seed=…, resamples=…, model=…)
    done = evaluate_renderings(scorer, "checkpoint", kind, rows, seed=…, resamples=…, model=…)

`evaluate_renderings` is for benchmarks whose own script renders text (RewardBench 2): text rendered as training did
(`checkpoint`) and as the script does (`upstream`) is compared token by token. Where all ids agree, one evaluation is
both, and the protocol says so. Where they differ, both are scored: the wanted one is the result, and the other's scores
stand in its metrics as `protocol_NAME_average` and `protocol_NAME_SUBSET`, with the largest difference of a reward.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rewardsmith import evaluation, samples
from rewardsmith.errors import RenderingError
from rewardsmith.evaluation import Benchmark, BenchmarkRows, Evaluation
from rewardsmith.evaluation.contract import Rewards
from rewardsmith.pipeline.events import Events
from rewardsmith.protocols import Progress, Scorer
from rewardsmith.records.evaluation import DatasetInfo
from rewardsmith.rendering import Rendered
from rewardsmith.rendering.messages import plain_text
from rewardsmith.spec import BenchmarkSpec
from rewardsmith.spec.evaluation import RenderingProtocol
from rewardsmith.types import Conversation, PreferencePair

if TYPE_CHECKING:
    from rewardsmith.scoring import CheckpointScorer

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


def tell_left_out(rows: BenchmarkRows, events: Events) -> None:
    """Say which rows of a source are not among these."""
    if rows.left_out:
        events.note(f"warning: {rows.title}: {rows.left_out}")


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


def evaluate_renderings(
    scorer: CheckpointScorer,
    protocol: RenderingProtocol,
    benchmark: Benchmark,
    rows: BenchmarkRows,
    *,
    seed: int,
    resamples: int,
    model: str,
    held_out: bool = False,
    others: Mapping[str, Rewards] | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate under one protocol and, where it makes a difference, under the other as well.

    Raises:
        RenderingError: `upstream` was asked for and the script could not run this checkpoint.
    """

    def run(asked: CheckpointScorer, noted: BenchmarkRows, rendering: RenderingProtocol) -> Evaluation:
        return evaluate_with(
            asked,
            benchmark,
            noted,
            seed=seed,
            resamples=resamples,
            model=model,
            held_out=held_out,
            others=others,
            rendering=rendering,
            progress=progress,
        )

    if not benchmark.renders_upstream:
        return run(scorer, rows, "checkpoint")
    try:
        upstream = scorer.as_upstream()
    except RenderingError as error:
        if protocol == "upstream":
            raise
        note = f"Text as training renders it (protocol: checkpoint); protocol upstream cannot run: {error.problem}."
        return run(scorer, replace(rows, note=f"{rows.note} {note}".strip()), "checkpoint")
    wanted, other = (scorer, upstream) if protocol == "checkpoint" else (upstream, scorer)
    other_name: RenderingProtocol = "upstream" if protocol == "checkpoint" else "checkpoint"
    texts = list(dict.fromkeys(text for row in rows.rows for text in row.conversations))
    differing = count_differences(scorer, upstream, texts)
    note = f"{rows.note} {_note(protocol, other_name, differing, len(texts))}".strip()
    done = run(wanted, replace(rows, note=note), protocol)
    return _beside(done, run(other, rows, other_name), other_name, differing) if differing else done


_WORDS: dict[RenderingProtocol, str] = {"checkpoint": "training", "upstream": "RewardBench's own script"}


def count_differences(first: CheckpointScorer, second: CheckpointScorer, texts: list[Conversation]) -> int:
    """How many of the conversations two scorers show their model as different token ids."""
    pairs = zip(first.render(texts), second.render(texts), strict=True)
    return sum(not _equal(one, two) for one, two in pairs)


def _equal(one: Rendered, two: Rendered) -> bool:
    if one.ids is None or two.ids is None:
        return one.ids is two.ids
    return bool(np.array_equal(one.ids, two.ids))


def _note(protocol: RenderingProtocol, other: RenderingProtocol, differing: int, texts: int) -> str:
    begin = f"Text as {_WORDS[protocol]} renders it (protocol: {protocol}); {_WORDS[other]}"
    if not differing:
        return f"{begin} gives the same token ids for all {texts:,} texts."
    return (
        f"{begin} gives other token ids for {differing:,} of {texts:,} texts: its scores are the metrics that begin "
        f"with protocol_{other}."
    )


def _beside(done: Evaluation, other: Evaluation, name: RenderingProtocol, differing: int) -> Evaluation:
    """The evaluation with the other protocol's scores among its metrics."""
    scores = {f"protocol_{name}_{subset}": found.score for subset, found in other.result.subsets.items()}
    metrics: dict[str, float | None] = {
        **done.result.metrics,
        f"protocol_{name}_average": other.result.average,
        **scores,
        f"protocol_{name}_missing": float(sum(other.result.missing_rewards.values())),
        "protocols_texts_that_differ": float(differing),
        "protocols_largest_reward_difference": _largest_difference(done, other),
    }
    return replace(done, result=done.result.model_copy(update={"metrics": metrics}))


def _largest_difference(one: Evaluation, two: Evaluation) -> float | None:
    """Over the rewards that both protocols have; None where there is no such reward."""
    pairs = [
        abs(first - second)
        for row, twin in zip(one.rows, two.rows, strict=True)
        for first, second in zip(row.rewards, twin.rewards, strict=True)
        if first is not None and second is not None
    ]
    return max(pairs, default=None)


def prompt_blind_rewards(rows: BenchmarkRows, train: Sequence[PreferencePair]) -> list[NDArray[np.float64]]:
    """Rewards of a model that reads responses and no prompts (bag of words), fitted on the training pairs."""
    responses = [[_text(response) for response in row.responses] for row in rows.rows]
    fitted_on = [(_text(pair.chosen), _text(pair.rejected)) for pair in train]
    return samples.bag_of_words_rewards(fitted_on, responses)


def _text(conversation: Conversation) -> str:
    return "\n".join(message.text for message in conversation)
