"""From rows and a scorer to `results.json` and `rows.jsonl`, and the evaluated sets of a run side by side.

    rewards    = score_conversations(rows, scorer, progress)        or `offline.read_rewards`
    reasons    = missing_reasons(rows, rewards, scorer)             why rewards are missing
    evaluation = score_rows(benchmark, rows, rewards, seed=…, reasons=reasons)
    write_evaluation(evaluation, run_dir / "eval" / key)
    skills(results) → OodRecord                                     ood.json: pure, from the results of a run

The scorer is handed in (`protocols.Scorer`): this room knows no model, no tokenizer and no torch. `score_once` and
`why_missing` ask it about what is no row: edited responses, policy samples.

`score_rows` is one pure function for every benchmark. The benchmark's tally gives scores; this module adds the
interval, the random and the length-only baseline, the p-value, the count of missing rewards, the distribution of
rewards and what `analysis` finds beside the scores. Intervals: Wilson's where each row is a unit of its own with a
result between 0 and 1, else by a bootstrap over units (a Ties id, the pairs of one prompt). The average and the
sections are weighted means of subset scores (`subsets`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np

from rewardsmith import statistics
from rewardsmith.evaluation.analysis import analyse
from rewardsmith.evaluation.contract import (
    Benchmark,
    BenchmarkRows,
    EvalRow,
    Floats,
    Rewards,
    Tally,
    pair_margins,
    row_digest,
)
from rewardsmith.evaluation.diagnosis import diagnose
from rewardsmith.evaluation.distribution import LENGTH_RULE, length_rewards, summarise_rewards
from rewardsmith.evaluation.subsets import (
    AVERAGE,
    LENGTH,
    Part,
    average_shares,
    resample,
    seed_of,
    shares_of,
    subset_parts,
    subset_places,
    tally_interval,
    weighted_baselines,
    weighted_score,
)
from rewardsmith.gates import BENCHMARK_FITTED, OWN_DISTRIBUTION, skill
from rewardsmith.protocols import Explaining, Progress, Scorer
from rewardsmith.records.evaluation import (
    LARGEST_REWARD,
    RESULTS_FILE,
    ROWS_FILE,
    BenchmarkResult,
    OodRecord,
    OodRow,
    RowResult,
    SourceResult,
    SubsetResult,
)
from rewardsmith.records.files import write_json, write_jsonl
from rewardsmith.types import Conversation

Reasons = Sequence[Mapping[int, str]]
"""One mapping a row: the place of a missing reward → why, `code: detail`."""

NOT_FINITE = "not_finite: the reward is infinite, or beyond what float32 can hold"
MISSING_REASON = "null"
"""Of rewards that came without a reason: the file says null."""

NO_REWARD = "no_reward"


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


def missing_reasons(rows: Sequence[EvalRow], rewards: Rewards, scorer: Scorer) -> Reasons:
    """Why rewards of these rows are missing, as `results.score_rows` takes it."""
    texts = [row.conversations for row in rows]
    absent = [np.flatnonzero(~np.isfinite(reward_N)).tolist() for reward_N in rewards]
    found = why_missing((texts[row][place] for row, places in enumerate(absent) for place in places), scorer)
    return [{place: found[texts[row][place]] for place in places} for row, places in enumerate(absent)]


def why_missing(conversations: Iterable[Conversation], scorer: Scorer) -> dict[Conversation, str]:
    """The reason, `code: detail`, of each distinct conversation to which the scorer gave no reward.

    A scorer that cannot explain itself leaves them `no_reward`.
    """
    distinct = list(dict.fromkeys(conversations))
    reasons = scorer.why(distinct) if distinct and isinstance(scorer, Explaining) else [NO_REWARD] * len(distinct)
    return dict(zip(distinct, reasons, strict=True))


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What `results.json` and `rows.jsonl` hold."""

    result: BenchmarkResult
    rows: tuple[RowResult, ...]


def score_rows(
    benchmark: Benchmark,
    benchmark_rows: BenchmarkRows,
    rewards: Rewards,
    *,
    seed: int,
    resamples: int = statistics.RESAMPLES,
    model: str = "",
    held_out: bool = False,
    others: Mapping[str, Rewards] = MappingProxyType({}),
    reasons: Reasons = (),
    rendering: str = "",
) -> Evaluation:
    """Score the rewards of all rows by the benchmark's rule.

    Args:
        benchmark: the rule.
        benchmark_rows: rows as loaded.
        rewards: one array a row, chosen first; NaN or infinite where no reward could be computed.
        seed: of the bootstrap and of the random baselines.
        resamples: bootstrap resamples.
        model: name of the scored model, for the record.
        held_out: these are the spec's own held-out pairs.
        others: name → rewards of a simpler scorer, in the shape of `rewards`; what it reaches stands in each subset's
            `extra_baselines`.
        reasons: one mapping a row, why its missing rewards are missing; none at all where no reason is known.
        rendering: by which protocol text became tokens, for the record.

    Raises:
        BenchmarkError: there is no row.
        ValueError: `rewards` does not fit the rows.
    """
    rows = benchmark_rows.rows
    clean = _finite(rows, rewards)
    compared = {name: _finite(rows, other) for name, other in others.items()} | {LENGTH: length_rewards(rows)}
    parts = subset_parts(benchmark, rows, clean, compared, seed, resamples)
    row_results = _row_results(rows, clean, parts, _reasons(rewards, reasons))
    shares = average_shares(benchmark, _sizes(parts))
    baseline, length_baseline = weighted_baselines(shares, parts)
    average, interval = weighted_score(shares, parts)
    if benchmark.average == "rows":
        whole = benchmark.tally(AVERAGE, rows, clean)
        average, interval = whole.score, tally_interval(whole, resample(whole, seed_of(seed, AVERAGE), resamples))
    result = BenchmarkResult(
        benchmark=benchmark.name,
        title=benchmark_rows.title,
        average=average,
        average_ci=(interval.low, interval.high),
        average_baseline=baseline,
        protocol=_protocol(benchmark, _sizes(parts), f"{benchmark_rows.left_out} {benchmark_rows.note}".strip()),
        left_out=benchmark_rows.left_out,
        dataset=benchmark_rows.dataset,
        subsets=_with_reasons(_subset_results(parts), row_results),
        by_source=_by_source(benchmark, rows, clean, compared, seed, resamples),
        metrics={
            "average_length_baseline": length_baseline,
            **_sections(benchmark, parts),
            **benchmark.details(rows, clean),
        },
        rewards=summarise_rewards(rows, clean),
        rewards_by_subset={name: summarise_rewards(part.rows, part.rewards) for name, part in parts.items()},
        model=model,
        held_out=held_out,
        rendering=rendering,
        analysis=analyse(benchmark, rows, clean, seed=seed, resamples=resamples),
        diagnosis=diagnose(rows, clean, seed=seed, resamples=resamples),
    )
    return Evaluation(result, row_results)


def random_baselines(benchmark: Benchmark, rows: Sequence[EvalRow], seed: int) -> dict[str, float]:
    """What random rewards reach on each subset, and on the average (key `average`): known before any reward is.

    With `gates.check_thresholds` a threshold that a guessing model would pass is refused before training starts.
    """
    places = subset_places(benchmark, rows)
    baselines = {name: benchmark.baseline(name, [rows[i] for i in own], seed) for name, own in places.items()}
    shares = average_shares(benchmark, {name: len(own) for name, own in places.items()})
    return {**baselines, AVERAGE: sum(shares[name] * baselines[name] for name in places)}


def write_evaluation(evaluation: Evaluation, folder: Path) -> None:
    """Write `rows.jsonl`, then `results.json`: where the second is there, the first is whole.

    Raises:
        RunDirectoryError: the folder cannot be written.
    """
    write_jsonl(folder / ROWS_FILE, evaluation.rows)
    write_json(folder / RESULTS_FILE, evaluation.result)


def _finite(rows: Sequence[EvalRow], rewards: Rewards) -> list[Floats]:
    """Rewards with infinities, and what overflows float32, as NaN: neither is a reward.

    Checks that each row has its number of rewards.
    """
    clean = [np.asarray(reward_N, dtype=np.float64) for reward_N in rewards]
    if [reward_N.shape for reward_N in clean] != [(len(row.responses),) for row in rows]:
        raise ValueError("need one array of rewards a row, one reward a response")
    return [np.where(np.abs(reward_N) <= LARGEST_REWARD, reward_N, np.nan) for reward_N in clean]


def _reasons(rewards: Rewards, given: Reasons) -> list[dict[str, str]]:
    """Every missing reward's reason: what was given, else that it is no float32, else what a null says."""
    known = given or [{}] * len(rewards)
    return [
        {
            str(place): reason_N.get(place) or (MISSING_REASON if np.isnan(reward) else NOT_FINITE)
            for place, reward in enumerate(reward_N)
            if not abs(reward) <= LARGEST_REWARD
        }
        for reward_N, reason_N in zip(rewards, known, strict=True)
    ]


def _with_reasons(subsets: Mapping[str, SubsetResult], rows: Sequence[RowResult]) -> dict[str, SubsetResult]:
    """The subsets with their missing rewards counted by reason."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in subsets}
    for row in rows:
        counts[row.subset].update(row.missing_rewards)
    return {
        name: subset.model_copy(update={"missing": dict(sorted(counts[name].items()))})
        for name, subset in subsets.items()
    }


def _sizes(parts: Mapping[str, Part]) -> dict[str, int]:
    return {name: len(part.rows) for name, part in parts.items()}


def _sections(benchmark: Benchmark, parts: Mapping[str, Part]) -> dict[str, float | None]:
    """`section_NAME` with its interval and baselines, for the sections that have a subset here."""
    metrics: dict[str, float | None] = {}
    for name, weights in benchmark.sections(_sizes(parts)).items():
        shares = shares_of(weights, parts)
        score, interval = weighted_score(shares, parts)
        baseline, length_baseline = weighted_baselines(shares, parts)
        metrics |= {
            f"section_{name}": score,
            f"section_{name}_ci_low": interval.low,
            f"section_{name}_ci_high": interval.high,
            f"section_{name}_baseline": baseline,
            f"section_{name}_length_baseline": length_baseline,
        }
    return metrics


def _subset_results(parts: Mapping[str, Part]) -> dict[str, SubsetResult]:
    """Each subset's result, with its p-value corrected for their number."""
    found = {name: _subset_result(part) for name, part in parts.items()}
    corrected = statistics.holm([subset.p_value for subset in found.values()])
    return {
        name: subset.model_copy(update={"p_holm": p_value})
        for (name, subset), p_value in zip(found.items(), corrected, strict=True)
    }


def _subset_result(part: Part) -> SubsetResult:
    interval, p_value, method = _certainty(part.tally, part.samples, part.baseline)
    return SubsetResult(
        n=len(part.rows),
        score=part.tally.score,
        ci_low=interval.low,
        ci_high=interval.high,
        baseline=part.baseline,
        length_baseline=part.length_baseline,
        p_value=p_value,
        n_missing=sum(int(np.isnan(reward_N).sum()) for reward_N in part.rewards),
        interval=method,
        extra_baselines=part.extra_baselines,
    )


def _by_source(
    benchmark: Benchmark,
    rows: Sequence[EvalRow],
    rewards: Rewards,
    compared: Mapping[str, Rewards],
    seed: int,
    resamples: int,
) -> dict[str, SourceResult]:
    """The rows once more, with their source in place of their subset; empty where all have one source."""
    sources = [row.facts.get(benchmark.apart_by, "") for row in rows] if benchmark.apart_by else []
    if len(set(sources)) < 2:
        return {}
    named = [replace(row, subset=source) for row, source in zip(rows, sources, strict=True)]
    parts = subset_parts(benchmark, named, rewards, compared, seed, resamples)
    scored = _with_reasons(_subset_results(parts), _row_results(named, rewards, parts, _reasons(rewards, ())))
    largest = sorted(scored, key=lambda source: -scored[source].n)
    return {name: SourceResult(**dict(scored[name]), margin_mean=_mean_margin(parts[name].rewards)) for name in largest}


def _mean_margin(rewards: Rewards) -> float | None:
    margins_P = pair_margins(rewards)
    known_P = margins_P[~np.isnan(margins_P)]
    return float(known_P.mean()) if known_P.size else None


def _certainty(tally: Tally, samples: Floats, baseline: float) -> tuple[statistics.Interval, float, str]:
    """(interval, one-sided p-value against the baseline, method) of one tally and its resampled scores."""
    interval = tally_interval(tally, samples)
    if tally.independent:
        p_value = statistics.binomial_p_value(float(sum(tally.results)), len(tally.results), baseline)
        return interval, p_value, "Wilson"
    method = f"bootstrap over {len(tally.units)} groups, {len(samples)} resamples"
    return interval, statistics.score_p_value(tally.score, samples, len(tally.units), baseline), method


def _averaged(benchmark: Benchmark, sizes: Mapping[str, int]) -> str:
    """What the average is over, where subsets are absent: what it is a mean of need not be the subsets."""
    if benchmark.average == "rows":
        return f"the average is over the {sum(sizes.values()):,} rows of the {len(sizes)} present"
    names = benchmark.averaged(sizes)
    return f"the average is over the {len(names)} present ({', '.join(names)})"


def _protocol(benchmark: Benchmark, sizes: Mapping[str, int], note: str) -> str:
    absent = [name for name in benchmark.subsets if name not in sizes]
    missing = f"Absent here: {', '.join(absent)}; {_averaged(benchmark, sizes)}." if absent else ""
    return " ".join(part for part in (benchmark.protocol, missing, note, f"Length baseline: {LENGTH_RULE}.") if part)


def _row_results(
    rows: Sequence[EvalRow], rewards: Rewards, parts: Mapping[str, Part], reasons: Sequence[dict[str, str]]
) -> tuple[RowResult, ...]:
    """One line of rows.jsonl a row, in the order of the rows."""
    results = {
        row.key: value for part in parts.values() for row, value in zip(part.rows, part.tally.results, strict=True)
    }
    return tuple(
        RowResult(
            id=row.id,
            subset=row.subset,
            rewards=tuple(None if np.isnan(reward) else float(reward) for reward in reward_N),
            n_chosen=len(row.chosen),
            result=results[row.key],
            group=row.group,
            facts=dict(row.facts),
            digest=row_digest(row),
            reasons=reason_N,
        )
        for row, reward_N, reason_N in zip(rows, rewards, reasons, strict=True)
    )


NOTABLE = 0.1
"""Gap of skills under which a flag would be noise to its reader."""

_PAIRS = "pairs"


def skills(results: Mapping[str, BenchmarkResult]) -> OodRecord:
    """Every evaluated set of a run on one scale: held-out pairs first, then their subsets, then the other sets.

    Scores of different benchmarks have different chances, so each becomes skill = (score - chance) / (1 - chance), 0
    for guessing and 1 for perfection, with its interval. The gap of two skills has an interval too: the sets are
    independent, so squared distances to the ends add up (Zou and Donner 2008, "MOVER"). A set is flagged where that
    interval excludes 0 and the gap is at least `NOTABLE`:

        skill falls on the set     distribution-specific fitting: the model does not carry over
        skill rises on the set     benchmark-specific fitting: the set may have been trained on

    A flag is a reason to look; the verdict is the gate's (`gates`, rule `ood_gap`), whose words are used here.

    Args:
        results: key → results, the held-out pairs among them (`held_out` is set); without those there are no gaps.
    """
    own_key = next((key for key, result in results.items() if result.held_out), None)
    own = _average_row(own_key, results[own_key]) if own_key is not None else None
    rows = [own] if own is not None else []
    if own_key is not None and len(results[own_key].subsets) > 1:
        rows += _subset_rows(own_key, results[own_key])
    others = (_average_row(key, result) for key, result in results.items() if key != own_key)
    rows += [_compared(row, own) if own is not None else row for row in others if row is not None]
    return OodRecord(notable=NOTABLE, rows=tuple(rows))


def _average_row(key: str, result: BenchmarkResult) -> OodRow | None:
    """One set by its average; None where it has none."""
    score, chance = result.average, result.average_baseline
    if score is None or chance is None or chance >= 1:
        return None
    kind: Literal["held_out", "pairs", "benchmark"] = "benchmark"
    if result.held_out or result.benchmark == _PAIRS:
        kind = "held_out" if result.held_out else "pairs"
    return OodRow(
        key=key,
        title=result.title,
        kind=kind,
        n=sum(subset.n for subset in result.subsets.values()),
        score=score,
        chance=chance,
        skill=skill(score, chance),
        skill_ci=(skill(result.average_ci[0], chance), skill(result.average_ci[1], chance))
        if result.average_ci
        else None,
    )


def _subset_rows(key: str, result: BenchmarkResult) -> list[OodRow]:
    """The domains within the held-out pairs. They are parts of it, so no gap is computed."""
    return [
        OodRow(
            key=key,
            title=name,
            kind="domain",
            n=subset.n,
            score=subset.score,
            chance=subset.baseline,
            skill=skill(subset.score, subset.baseline),
            skill_ci=(skill(subset.ci_low, subset.baseline), skill(subset.ci_high, subset.baseline)),
        )
        for name, subset in result.subsets.items()
        if subset.baseline < 1
    ]


def _compared(row: OodRow, own: OodRow) -> OodRow:
    """The row with its gap to the held-out pairs, flagged where the gap is sure and notable."""
    gap = own.skill - row.skill
    interval = _gap_interval(own, row)
    flag: Literal["", "distribution_specific", "benchmark_specific"] = ""
    if interval is not None and abs(gap) >= NOTABLE and not interval[0] <= 0 <= interval[1]:
        flag = "distribution_specific" if gap > 0 else "benchmark_specific"
    text = {"": "", "distribution_specific": OWN_DISTRIBUTION, "benchmark_specific": BENCHMARK_FITTED}[flag]
    return row.model_copy(update={"gap": gap, "gap_ci": interval, "flag": flag, "text": text})


def _gap_interval(own: OodRow, row: OodRow) -> tuple[float, float] | None:
    """MOVER: the interval of own skill minus the row's, from the two intervals."""
    if own.skill_ci is None or row.skill_ci is None:
        return None
    gap = own.skill - row.skill
    down = math.hypot(own.skill - own.skill_ci[0], row.skill_ci[1] - row.skill)
    up = math.hypot(own.skill_ci[1] - own.skill, row.skill - row.skill_ci[0])
    return gap - down, gap + up
