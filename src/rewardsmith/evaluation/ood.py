"""Every evaluated set of a run side by side: the run's own held-out pairs, other domains, benchmarks.

    skills(results) → OodRecord          ood.json: pure, from the results of a run

Scores of different benchmarks have different chances, so each is put on one scale, skill = (score - chance) / (1 -
chance), 0 for guessing and 1 for perfection, with its interval. The gap of two skills has an interval too: the sets
are independent, so squared distances to the ends add up (Zou and Donner 2008, "MOVER"). A set is flagged where that
interval excludes 0 and the gap is at least `NOTABLE`:

    skill falls on the set     distribution-specific fitting: the model does not carry over
    skill rises on the set     benchmark-specific fitting: the set may have been trained on

A flag is a reason to look; the verdict is the gate's (`gates`, rule `ood_gap`), whose words are used here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from rewardsmith.gates import BENCHMARK_FITTED, OWN_DISTRIBUTION, skill
from rewardsmith.records.evaluation import BenchmarkResult, OodRecord, OodRow

NOTABLE = 0.1
"""Gap of skills under which a flag would be noise to its reader."""

_PAIRS = "pairs"


def skills(results: Mapping[str, BenchmarkResult]) -> OodRecord:
    """The table of skills: held-out pairs first, then their subsets, then the other sets in the order of `results`.

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
