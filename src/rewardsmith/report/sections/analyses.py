"""What stands beside the scores: spread within a prompt, length, calibration, best-of-n, skills side by side.

    analyses(results, ood) → Analyses | None

In: `results.json` of each benchmark (`rewards`, `analysis`) and `ood.json`. Out: rows and figures with numbers as they
are read; None where no result holds any of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rewardsmith.records.evaluation import (
    BenchmarkResult,
    BestOfNCurve,
    Calibration,
    LabelAgreement,
    OodRecord,
    OodRow,
    PairShare,
    ReliabilityPoint,
)
from rewardsmith.report.formatting import Number, capitalised, count, decimal, percent, plural, significant, visible
from rewardsmith.report.sections.scores import State, title_of

_KINDS = {"held_out": "own pairs", "domain": "domain of them", "pairs": "other pairs", "benchmark": "benchmark"}
_FLAGS: dict[str, State] = {"": "good", "distribution_specific": "bad", "benchmark_specific": "warn"}


@dataclass(frozen=True, slots=True)
class Spread:
    """Rewards among the answers of one prompt, and what was flagged about all rewards of a benchmark."""

    title: str
    prompts: Number
    std_median: Number
    std_mean: Number
    std_all: Number
    within: Number
    flat: Number
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Share:
    """Accuracy over some pairs, in per cent."""

    n: Number
    accuracy: Number
    low: Number
    high: Number


@dataclass(frozen=True, slots=True)
class Length:
    """How far one benchmark's rewards follow length. `raw` and `untrended` are averages in per cent."""

    title: str
    pearson: Number
    pearson_low: Number
    pearson_high: Number
    spearman: Number
    longer_wrong: Share
    longer_right: Share
    raw: Number
    untrended: Number


@dataclass(frozen=True, slots=True)
class Reliability:
    """One benchmark's calibration: facts to read and points to draw. `agreement` speaks of repeated labels."""

    title: str
    points: tuple[ReliabilityPoint, ...]
    facts: tuple[tuple[str, str], ...]
    note: str
    method: str


@dataclass(frozen=True, slots=True)
class Picking:
    """Best-of-n on one benchmark: the recorded curve, drawn and in words."""

    title: str
    curve: BestOfNCurve
    text: str
    state: State


@dataclass(frozen=True, slots=True)
class Skill:
    """One set of rows on the common scale."""

    title: str
    kind: str
    n: Number
    skill: Number
    low: Number
    high: Number
    gap: Number
    gap_low: Number
    gap_high: Number
    state: State
    reading: str


@dataclass(frozen=True, slots=True)
class Analyses:
    """All of it; a part without anything to show is empty."""

    spreads: tuple[Spread, ...]
    lengths: tuple[Length, ...]
    length_method: str
    reliabilities: tuple[Reliability, ...]
    pickings: tuple[Picking, ...]
    skills: tuple[Skill, ...]


def analyses(results: Mapping[str, BenchmarkResult], ood: OodRecord | None) -> Analyses | None:
    """What the report shows beside the scores."""
    found = Analyses(
        spreads=tuple(_spreads(results)),
        lengths=tuple(_lengths(results)),
        length_method=_length_method(results),
        reliabilities=tuple(
            _reliability(title_of(result), result.analysis.calibration, result.analysis.label_agreement)
            for result in results.values()
            if result.analysis and result.analysis.calibration
        ),
        pickings=tuple(
            _picking(title_of(result), result.analysis.best_of_n)
            for result in results.values()
            if result.analysis and result.analysis.best_of_n
        ),
        skills=tuple(_skill(row) for row in ood.rows) if ood and len(ood.rows) > 1 else (),
    )
    shown = (found.spreads, found.lengths, found.reliabilities, found.pickings, found.skills)
    return found if any(shown) else None


def _spreads(results: Mapping[str, BenchmarkResult]) -> Iterator[Spread]:
    for result in results.values():
        within = result.rewards.within_prompt
        if within is not None:
            yield Spread(
                title=title_of(result),
                prompts=count(within.prompts),
                std_median=significant(within.std_median),
                std_mean=significant(within.std_mean),
                std_all=significant(result.rewards.std),
                within=percent(within.variance_share),
                flat=percent(within.flat_share),
                flags=tuple(visible(flag.text) for flag in result.rewards.flags),
            )


def _lengths(results: Mapping[str, BenchmarkResult]) -> Iterator[Length]:
    for result in results.values():
        length = result.analysis.length if result.analysis else None
        if length is not None:
            low, high = length.pearson_ci or (None, None)
            yield Length(
                title=title_of(result),
                pearson=decimal(length.pearson),
                pearson_low=decimal(low),
                pearson_high=decimal(high),
                spearman=decimal(length.spearman),
                longer_wrong=_share(length.longer_wrong),
                longer_right=_share(length.longer_right),
                raw=percent(result.average),
                untrended=percent(length.calibrated.average if length.calibrated else None),
            )


def _length_method(results: Mapping[str, BenchmarkResult]) -> str:
    """How the trend was taken out; the same in every benchmark."""
    for result in results.values():
        if result.analysis and result.analysis.length and result.analysis.length.calibrated:
            return visible(result.analysis.length.calibrated.method)
    return ""


def _share(share: PairShare) -> Share:
    return Share(count(share.n), percent(share.accuracy), percent(share.ci_low), percent(share.ci_high))


def _reliability(title: str, found: Calibration, agreement: LabelAgreement | None) -> Reliability:
    facts = [("pairs", count(found.n).text)]
    if found.temperature is not None:
        facts.append(("temperature", _with_interval(found.temperature, found.temperature_ci)))
    if found.ece is not None:
        facts += [
            ("ECE, noise taken out", _with_interval(found.ece_debiased, found.ece_ci)),
            ("ECE, plain", significant(found.ece).text),
            ("ECE of a calibrated model", significant(found.ece_if_calibrated).text),
            ("Brier score", significant(found.brier).text),
        ]
    facts += [
        ("ECE at temperature 1", significant(found.ece_raw).text),
        ("Brier score at temperature 1", significant(found.brier_raw).text),
    ]
    if agreement is not None:
        ceiling = f"{percent(agreement.ceiling_low)} to {percent(agreement.ceiling_high)} %"
        of = plural(agreement.comparisons, "comparison")
        facts.append(("accuracy that repeated labels allow", f"{ceiling} (on {of} with {agreement.labels:,} labels)"))
    return Reliability(title, found.points, tuple(facts), visible(found.note), capitalised(visible(found.method, 400)))


def _with_interval(value: float | None, interval: tuple[float, float] | None) -> str:
    if interval is None:
        return significant(value).text
    return f"{significant(value)} ({significant(interval[0])} to {significant(interval[1])})"


def _picking(title: str, curve: BestOfNCurve) -> Picking:
    state: State = "bad" if curve.turns_down_at is not None else "good"
    if curve.turns_down_at is None and curve.peak_n < curve.points[-1].n:
        state = "warn"
    return Picking(title, curve, visible(curve.text, 400), state)


def _skill(row: OodRow) -> Skill:
    low, high = row.skill_ci or (None, None)
    gap_low, gap_high = row.gap_ci or (None, None)
    reading = row.text or ("close to the held-out pairs" if row.gap is not None else "")
    if not row.text and row.gap is not None and row.gap_ci is not None and not row.gap_ci[0] <= 0 <= row.gap_ci[1]:
        reading = "differs, by less than is flagged"
    return Skill(
        title="Held-out pairs" if row.kind == "held_out" else visible(row.title, 80),
        kind=_KINDS[row.kind],
        n=count(row.n),
        skill=decimal(row.skill),
        low=decimal(low),
        high=decimal(high),
        gap=decimal(row.gap),
        gap_low=decimal(gap_low),
        gap_high=decimal(gap_high),
        state=_FLAGS[row.flag] if row.gap is not None else "open",
        reading=visible(reading, 400),
    )
