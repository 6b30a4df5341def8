"""Small subsets of the user's own data, pooled for reading: "other (19 subsets)" in place of 19 lines of 0 and 100.

    pool_scores(result)         → Pooled[SubsetResult]         scores of a benchmark
    pool_sources(result)        → Pooled[SourceResult]         scores of its pairs by source
    pool_rewards(result)        → Pooled[RewardSummary]        its rewards
    pool_skills(rows)           → Pooled[OodRow]               the domains within the held-out pairs
    pool_differences(found, …)  → Pooled[SubsetComparison]     differences of two models

Held-out pairs of a real mixture have many subsets of a few rows, whose intervals say nothing one by one. Subsets of
fewer than `SMALL` rows are taken together where the names are the data's own (`pairs`, `best_of_n`) and there are at
least two of them; subsets of a published benchmark keep their names, since its average and its gates speak of them.

The pooled row counts every row once: its score is the mean over rows, exactly what a subset of these rows would have.
Its interval is Wilson's where the subsets' are, else it comes from theirs (MOVER, `statistics.weighted_interval`).
Records on disk, gates and `--json` keep every subset; the page lists the pooled ones by name in a folded table, and
`--all-subsets` prints all of them in place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from rewardsmith.records.comparison import SubsetComparison
from rewardsmith.records.evaluation import BenchmarkResult, OodRow, RewardSummary, SourceResult, SubsetResult
from rewardsmith.report.blocks import Cell, Column, Grid
from rewardsmith.report.formatting import plural
from rewardsmith.statistics import Interval, binomial_p_value, weighted_interval, wilson_interval

SMALL = 10
"""A subset of fewer rows than this is pooled."""

_OWN_NAMES = ("pairs", "best_of_n")
"""Benchmarks whose subsets are named by the user's data."""

_WILSON = "Wilson"
_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class Pooled(Generic[_R]):
    """Subsets as they are shown: `shown` by name, the pooled ones last as one; `small` are those it was made of."""

    shown: Mapping[str, _R]
    small: Mapping[str, _R]
    kind: str = "subset"

    @property
    def title(self) -> str:
        """Of the part that lists the pooled ones; empty where none were."""
        return f"The {len(self.small)} {self.kind}s under {SMALL} rows" if self.small else ""


def pooled_note(title: str, source: str) -> str:
    """What stands under a table whose small subsets were pooled; `source` is the file that has each."""
    return f"{title} are pooled as one; each stands in `{source}`, and `--all-subsets` prints it." if title else ""


def small_grid(
    title: str,
    caption: str,
    columns: tuple[Column, ...],
    rows: tuple[tuple[Cell, ...], ...],
    look: Literal["compact", "scores"] = "compact",
) -> tuple[Grid, ...]:
    """The pooled subsets by name, folded, on the page alone; none where nothing was pooled."""
    return (Grid(caption, columns, rows, folded=title, titled=False, page_only=True, look=look),) if rows else ()


def pool_scores(result: BenchmarkResult) -> Pooled[SubsetResult]:
    """The subsets of one result, the small ones as one."""
    small = _small(result.benchmark, {name: subset.n for name, subset in result.subsets.items()})
    return _pooled(result.subsets, small, _one_score)


def pool_sources(result: BenchmarkResult) -> Pooled[SourceResult]:
    """The sources of held-out pairs, the small ones as one."""
    small = _small(result.benchmark, {name: source.n for name, source in result.by_source.items()})
    return _pooled(result.by_source, small, _one_source, "source")


def pool_rewards(result: BenchmarkResult) -> Pooled[RewardSummary]:
    """Rewards by subset, those of the subsets that `pool_scores` pools as one."""
    return _pooled(result.rewards_by_subset, pool_scores(result).small, _one_summary)


def pool_skills(rows: Sequence[OodRow]) -> Pooled[OodRow]:
    """Rows of `ood.json` by key and title; the small domains within the held-out pairs as one, at its place."""
    domains = {row.title: row for row in rows if row.kind == "domain"}
    found = _pooled(domains, _small(_OWN_NAMES[0], {name: row.n for name, row in domains.items()}), _one_skill)
    others = {f"{place} {row.key}": row for place, row in enumerate(rows) if row.kind != "domain"}
    own = {name: row for name, row in others.items() if row.kind == "held_out"}
    return Pooled({**own, **found.shown, **others}, found.small)


def pool_differences(benchmark: str, subsets: Mapping[str, SubsetComparison]) -> Pooled[SubsetComparison]:
    """Differences by subset. The pooled one has no verdict and no p-value of its own: nothing was corrected for it."""
    return _pooled(subsets, _small(benchmark, {name: part.n for name, part in subsets.items()}), _one_difference)


def _small(benchmark: str, sizes: Mapping[str, int]) -> tuple[str, ...]:
    few = tuple(name for name, n in sizes.items() if n < SMALL) if benchmark in _OWN_NAMES else ()
    return few if len(few) > 1 else ()


def _pooled(
    parts: Mapping[str, _R], small: Collection[str], unite: Callable[[Sequence[_R], str], _R], kind: str = "subset"
) -> Pooled[_R]:
    pooled = {name: part for name, part in parts.items() if name in small}
    if len(pooled) < 2:
        return Pooled(parts, {})
    name = f"other ({plural(len(pooled), kind)})"
    while name in parts:  # a user's own name
        name += "*"
    shown = {key: part for key, part in parts.items() if key not in pooled}
    return Pooled({**shown, name: unite(tuple(pooled.values()), name)}, pooled, kind)


def _shares(sizes: Sequence[int]) -> list[float]:
    return [size / sum(sizes) for size in sizes]


def _mean(values: Sequence[float], shares: Sequence[float]) -> float:
    return math.fsum(share * value for share, value in zip(shares, values, strict=True))


def _one_score(parts: Sequence[SubsetResult], _name: str) -> SubsetResult:
    """Rows of several subsets as one. `p_value` is NaN where rows are no units of their own."""
    shares, n = _shares([part.n for part in parts]), sum(part.n for part in parts)
    baseline = _mean([part.baseline for part in parts], shares)
    score, interval = weighted_interval(
        [part.score for part in parts], [Interval(part.ci_low, part.ci_high) for part in parts], shares
    )
    p_value, method = math.nan, "the subsets' intervals (MOVER)"
    if all(part.interval == _WILSON for part in parts):
        total = math.fsum(part.score * part.n for part in parts)
        interval, p_value, method = wilson_interval(total, n), binomial_p_value(total, n, baseline), _WILSON
    extra = [name for name in parts[0].extra_baselines if all(name in part.extra_baselines for part in parts)]
    reasons = {reason for part in parts for reason in part.missing}
    return SubsetResult(
        n=n,
        score=score,
        ci_low=max(0.0, interval.low),
        ci_high=min(1.0, interval.high),
        baseline=baseline,
        length_baseline=_mean([part.length_baseline for part in parts], shares),
        p_value=p_value,
        n_missing=sum(part.n_missing for part in parts),
        missing={reason: sum(part.missing.get(reason, 0) for part in parts) for reason in sorted(reasons)},
        interval=method,
        extra_baselines={name: _mean([part.extra_baselines[name] for part in parts], shares) for name in extra},
    )


def _one_source(parts: Sequence[SourceResult], name: str) -> SourceResult:
    """Its margin is the mean over rows of sources that have one."""
    known = [(part.n, part.margin_mean) for part in parts if part.margin_mean is not None]
    margin = _mean([mean for _, mean in known], _shares([n for n, _ in known])) if known else None
    return SourceResult(**dict(_one_score(parts, name)), margin_mean=margin)


def _one_summary(parts: Sequence[RewardSummary], _name: str) -> RewardSummary:
    """Mean, deviation and range of all rewards; `distinct` is an upper bound, and quantiles are not known."""
    known = [part for part in parts if part.n and part.mean is not None and part.std is not None]
    if not known:
        return RewardSummary(n=0, mean=None, std=None, min=None, max=None, distinct=0)
    shares = _shares([part.n for part in known])
    means, deviations = [part.mean or 0.0 for part in known], [part.std or 0.0 for part in known]
    mean = _mean(means, shares)
    variance = _mean([std**2 + (own - mean) ** 2 for own, std in zip(means, deviations, strict=True)], shares)
    return RewardSummary(
        n=sum(part.n for part in known),
        mean=mean,
        std=math.sqrt(variance),
        min=min(part.min for part in known if part.min is not None),
        max=max(part.max for part in known if part.max is not None),
        distinct=sum(part.distinct for part in known),
        texts=sum(part.texts for part in known),
    )


def _one_skill(parts: Sequence[OodRow], name: str) -> OodRow:
    """Skill at the rows' mean score and mean chance."""
    shares = _shares([part.n for part in parts])
    chance = _mean([part.chance for part in parts], shares)
    score = _mean([part.score for part in parts], shares)
    ends = [part.skill_ci for part in parts if part.skill_ci is not None]
    interval = None
    if len(ends) == len(parts):
        rooms = [share * (1 - part.chance) / (1 - chance) for share, part in zip(shares, parts, strict=True)]
        _, found = weighted_interval([part.skill for part in parts], [Interval(*one) for one in ends], rooms)
        interval = (found.low, found.high)
    return OodRow(
        key=parts[0].key,
        title=name,
        kind="domain",
        n=sum(part.n for part in parts),
        score=score,
        chance=chance,
        skill=(score - chance) / (1 - chance),
        skill_ci=interval,
    )


def _one_difference(parts: Sequence[SubsetComparison], _name: str) -> SubsetComparison:
    shares = _shares([part.n for part in parts])
    difference, interval = weighted_interval(
        [part.difference for part in parts], [Interval(part.ci_low, part.ci_high) for part in parts], shares
    )
    return SubsetComparison(
        first=_mean([part.first for part in parts], shares),
        second=_mean([part.second for part in parts], shares),
        difference=difference,
        ci_low=max(-1.0, interval.low),
        ci_high=min(1.0, interval.high),
        p_value=math.nan,
        test="",
        smallest_shown=math.sqrt(
            math.fsum((s * part.smallest_shown) ** 2 for s, part in zip(shares, parts, strict=True))
        ),
        verdict="cannot be told apart",
        n=sum(part.n for part in parts),
        units=sum(part.units for part in parts),
        p_holm=math.nan,
        gained=sum(part.gained for part in parts),
        lost=sum(part.lost for part in parts),
    )
