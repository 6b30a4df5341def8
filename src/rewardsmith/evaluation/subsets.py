"""The subsets of a benchmark with all that is known of each, and the weighted means over them.

    parts  = subset_parts(benchmark, rows, rewards, simpler scorers, …)    subset → Part
    shares = average_shares(benchmark, sizes)                              subset → share of the published average
    weighted_score(shares, parts)                                          the mean and its interval

    subset_places(benchmark, rows)                     subset → where its rows stand
    average_parts(benchmark, rows)                     what the average is made of → where its rows stand, its share
    tally_models(benchmark, name, rows, places, …)     one tally for each model's rewards
    resample_together(tallies, seed, resamples)        their scores under the same resamples: paired

The subsets' sizes and weights are the benchmark's; each subset's interval says how sure its score is, and the mean's
interval combines them.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rewardsmith import statistics
from rewardsmith.errors import BenchmarkError
from rewardsmith.evaluation.contract import Benchmark, EvalRow, Floats, Rewards, Tally, Weights

LENGTH = "length"
AVERAGE = "average"
"""What stands for the average, or for all rows taken together, where subsets stand by name."""


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of one subset with their rewards, tally and baselines.

    `samples` are the scores of resampled units, shape (resamples,); none where every row is its own unit.
    """

    rows: tuple[EvalRow, ...]
    rewards: Rewards
    tally: Tally
    samples: Floats
    baseline: float
    length_baseline: float
    extra_baselines: dict[str, float]


def subset_parts(
    benchmark: Benchmark,
    rows: Sequence[EvalRow],
    rewards: Rewards,
    compared: Mapping[str, Rewards],
    seed: int,
    resamples: int,
) -> dict[str, Part]:
    """What each subset that is there needs for its result, in published order.

    Args:
        compared: rewards of simpler scorers on all rows, among them `LENGTH`.

    Raises:
        BenchmarkError: there is no row.
    """
    return {
        name: _part(benchmark, name, own, rows, rewards, compared, seed, resamples)
        for name, own in subset_places(benchmark, rows).items()
    }


def subset_names(benchmark: Benchmark, rows: Sequence[EvalRow]) -> tuple[str, ...]:
    """The subsets that the rows have: published order first, others by name.

    Raises:
        BenchmarkError: there is no row.
    """
    present = {row.subset for row in rows}
    if not present:
        raise BenchmarkError("there is no row to score", where=benchmark.name, fix="name a file that has rows")
    return tuple(name for name in benchmark.subsets if name in present) + tuple(
        sorted(present - set(benchmark.subsets))
    )


def subset_places(benchmark: Benchmark, rows: Sequence[EvalRow]) -> dict[str, list[int]]:
    """Where the rows of each subset stand, in the order of `subset_names`.

    Raises:
        BenchmarkError: there is no row.
    """
    places: dict[str, list[int]] = {name: [] for name in subset_names(benchmark, rows)}
    for place, row in enumerate(rows):
        places[row.subset].append(place)
    return places


def average_parts(benchmark: Benchmark, rows: Sequence[EvalRow]) -> dict[str, tuple[Sequence[int], float]]:
    """What the average is the weighted mean of: name → where its rows stand, and its share; shares sum to 1.

    These are the subsets or, where the rule says `"rows"`, all rows taken together by the name of `AVERAGE`.

    Raises:
        BenchmarkError: there is no row.
    """
    places = subset_places(benchmark, rows)
    if benchmark.average == "rows":
        return {AVERAGE: (range(len(rows)), 1.0)}
    shares = average_shares(benchmark, {name: len(own) for name, own in places.items()})
    return {name: (own, shares[name]) for name, own in places.items()}


def tally_models(
    benchmark: Benchmark, name: str, rows: Sequence[EvalRow], places: Sequence[int], models: Iterable[Rewards]
) -> tuple[Tally, ...]:
    """The tally of the rows that stand at `places`, for each model's rewards of all rows."""
    own = [rows[place] for place in places]
    return tuple(benchmark.tally(name, own, [rewards[place] for place in places]) for rewards in models)


def average_shares(benchmark: Benchmark, sizes: Mapping[str, int]) -> dict[str, float]:
    """The share of each subset in the benchmark's average; they sum to 1. With `"rows"` it is its share of the rows."""
    return shares_of(sizes if benchmark.average == "rows" else benchmark.average(sizes), sizes)


def shares_of(weights: Weights, names: Iterable[str]) -> dict[str, float]:
    """The weights of these subsets, scaled to sum to 1; 0 for a subset that has none."""
    found = {name: float(weights.get(name, 0.0)) for name in names}
    total = sum(found.values())
    return {name: weight / total for name, weight in found.items()}


def weighted_score(shares: Weights, parts: Mapping[str, Part]) -> tuple[float, statistics.Interval]:
    """The weighted mean of the subsets' scores and its interval, from the intervals of the subsets."""
    return statistics.weighted_interval(
        [part.tally.score for part in parts.values()],
        [tally_interval(part.tally, part.samples) for part in parts.values()],
        [shares[name] for name in parts],
    )


def tally_interval(tally: Tally, samples: Floats) -> statistics.Interval:
    """Wilson's interval where every row is its own unit, else from the scores of resampled units."""
    if tally.independent:
        return statistics.wilson_interval(float(sum(tally.results)), len(tally.results))
    return statistics.score_interval(tally.score, samples, len(tally.units))


def weighted_baselines(shares: Weights, parts: Mapping[str, Part]) -> tuple[float, float]:
    """The weighted means of the random and of the length-only baselines."""
    return (
        float(sum(shares[name] * part.baseline for name, part in parts.items())),
        float(sum(shares[name] * part.length_baseline for name, part in parts.items())),
    )


def resample(tally: Tally, seed: int, resamples: int) -> Floats:
    """Scores of resampled units, shape (resamples,); none where every row is its own unit."""
    return np.empty(0) if tally.independent else np.asarray(resample_together([tally], seed, resamples)[0])


def resample_together(tallies: Sequence[Tally], seed: int, resamples: int) -> Floats:
    """Scores of several tallies of the same units, shape (tallies, resamples); each resample draws the same units."""
    units_UF = np.hstack([tally.units for tally in tallies])
    sums_BF = statistics.bootstrap_sums(units_UF, seed=seed, resamples=resamples)
    own_sums = np.split(sums_BF, len(tallies), axis=1)
    return np.array([tally.statistic(own_BF) for tally, own_BF in zip(tallies, own_sums, strict=True)])


def seed_of(seed: int, name: str) -> int:
    """A seed for each subset, so that subsets are resampled independently and adding one changes no other."""
    return zlib.crc32(f"{seed}:{name}".encode())


def _part(
    benchmark: Benchmark,
    subset: str,
    places: Sequence[int],
    rows: Sequence[EvalRow],
    rewards: Rewards,
    compared: Mapping[str, Rewards],
    seed: int,
    resamples: int,
) -> Part:
    own_rows, own_rewards = tuple(rows[place] for place in places), [rewards[place] for place in places]
    tally, *others = tally_models(benchmark, subset, rows, places, [rewards, *compared.values()])
    reached = {name: other.score for name, other in zip(compared, others, strict=True)}
    return Part(
        rows=own_rows,
        rewards=own_rewards,
        tally=tally,
        samples=resample(tally, seed_of(seed, subset), resamples),
        baseline=benchmark.baseline(subset, own_rows, seed),
        length_baseline=reached.pop(LENGTH),
        extra_baselines=reached,
    )
