"""Is the new one better? Several models on the same rows of one benchmark, compared unit by unit.

    compared = compare_benchmark(benchmark, [first, second, …], seed=…)     one benchmark
    compared.record                                                         differences, flipped rows, ranking, words
    compare_overall([compared, …])                                          verdicts and ranking over all of them

Everything is paired: each model's rewards on the rows that all have (`share_rows`) go through the benchmark's own rule,
and one bootstrap draws the same units (a row, the pairs of one prompt, a Ties id, a matrix) for all models. Intervals
of differences are Bonett and Price's form on the bootstrap's variance; the average's difference is the weighted mean of
the subsets'. A subset's p-value is McNemar's exact test where rows are independent and right or wrong, else of the same
interval; Holm corrects for the number of subsets.

What it says in words begins with the result, then the reason; it never says "better" or "worse" where the interval
holds 0, or the corrected p-value is large (`decide`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from rewardsmith import statistics
from rewardsmith.evaluation.contract import Benchmark, EvalRow, Floats, Rewards, Tally
from rewardsmith.evaluation.subsets import (
    average_parts,
    resample_together,
    seed_of,
    subset_places,
    tally_interval,
    tally_models,
)
from rewardsmith.records.comparison import (
    BenchmarkComparison,
    Conclusion,
    DifferenceResult,
    FlippedRow,
    OverallComparison,
    PairComparison,
    RankedModel,
    SubsetComparison,
)
from rewardsmith.records.evaluation import BenchmarkResult, RowResult, reasons_in_words
from rewardsmith.statistics import Difference, Interval

LEVEL = 0.05
APART: Conclusion = "cannot be told apart"

MCNEMAR = "McNemar, exact"
PAIRED = "paired bootstrap"
FLIPS_SHOWN = 10
RANKED_FROM = 3


@dataclass(frozen=True, slots=True)
class Evaluated:
    """One model on one benchmark: what its `results.json` and `rows.jsonl` hold."""

    name: str
    result: BenchmarkResult
    rows: tuple[RowResult, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that are scored together, under each model.

    `samples` are the models' scores under resampled units, the same units for all: shape (models, resamples).
    """

    tallies: tuple[Tally, ...]
    samples: Floats

    def difference(self, first: int, second: int) -> Difference:
        """Score of the second model minus that of the first, by their places."""
        return Difference.of(
            self.tallies[second].score - self.tallies[first].score,
            self.samples[second] - self.samples[first],
            len(self.tallies[first].units),
        )


@dataclass(frozen=True, slots=True)
class Average:
    """A weighted mean over parts: the benchmark's subsets, all its rows, or several benchmarks' parts.

    `weights` sum to 1.
    """

    parts: tuple[Part, ...]
    weights: tuple[float, ...]

    def score(self, model: int) -> float:
        """The average score of a model, by its place."""
        return sum(w * part.tallies[model].score for part, w in zip(self.parts, self.weights, strict=True))

    def interval(self, model: int) -> statistics.Interval:
        """The interval of that score."""
        tallies = [part.tallies[model] for part in self.parts]
        intervals = [tally_interval(part.tallies[model], part.samples[model]) for part in self.parts]
        return statistics.weighted_interval([tally.score for tally in tallies], intervals, self.weights)[1]

    def samples(self) -> Floats:
        """The averages under resampled units: shape (models, resamples)."""
        total = sum(w * part.samples for part, w in zip(self.parts, self.weights, strict=True))
        return np.asarray(total, dtype=np.float64)

    def difference(self, first: int, second: int) -> Difference:
        """Average of the second model minus that of the first."""
        return statistics.weighted_difference([part.difference(first, second) for part in self.parts], self.weights)


@dataclass(frozen=True, slots=True)
class Compared:
    """The record of one benchmark, and the average that it was made from."""

    record: BenchmarkComparison
    average: Average


def compare_benchmark(
    benchmark: Benchmark,
    models: Sequence[Evaluated],
    *,
    seed: int,
    resamples: int = statistics.RESAMPLES,
    shown: int = FLIPS_SHOWN,
) -> Compared | None:
    """Compare models on the rows that they share; None where they share none.

    Args:
        benchmark: the rule by which all of them were scored.
        models: at least two; each is compared with the first, and three or more are ranked.
        seed: of the bootstrap.
        resamples: bootstrap resamples.
        shown: rows of each direction that the record holds of those that flipped.
    """
    shared = share_rows(models)
    if not shared.rows:
        return None
    places, averaged = subset_places(benchmark, shared.rows), average_parts(benchmark, shared.rows)
    parts = {name: _part(benchmark, name, shared, own, seed, resamples) for name, own in places.items()}
    whole = parts
    if benchmark.average == "rows":
        whole = {name: _part(benchmark, name, shared, own, seed, resamples) for name, (own, _) in averaged.items()}
    average = Average(tuple(whole.values()), tuple(share for _, share in averaged.values()))
    title = models[0].result.title
    names = [model.name for model in models]
    flipped = _Flips(shared, parts, places, shown)
    ranking = rank(names, average)
    missing = {name: _missing(lines) for name, lines in zip(names, shared.lines, strict=True)}
    asked = sum(len(line.rewards) for line in shared.lines[0])
    record = BenchmarkComparison(
        benchmark=benchmark.name,
        title=title,
        rows=len(shared.rows),
        notes=(*shared.notes, *(note for name in names for note in _missing_notes(name, missing[name], asked))),
        missing={name: counts for name, counts in missing.items() if counts},
        no_data=tuple(name for name in names if sum(missing[name].values()) == asked),
        pairs=tuple(_pair(names, place, title, parts, average, flipped) for place in range(1, len(models))),
        ranking=ranking,
        ranking_words=of_ranking(ranking, title),
    )
    return Compared(record, average)


def _missing(lines: Sequence[RowResult]) -> dict[str, int]:
    """A model's missing rewards on these rows, by reason."""
    counts: Counter[str] = Counter()
    for line in lines:
        counts.update(line.missing_rewards)
    return dict(sorted(counts.items()))


def _missing_notes(name: str, reasons: Mapping[str, int], asked: int) -> Iterator[str]:
    if reasons:
        yield (
            f"{name}: {sum(reasons.values()):,} of {asked:,} rewards are missing ({reasons_in_words(reasons)}): "
            "differences may be theirs, not the model's."
        )


def _part(
    benchmark: Benchmark, name: str, shared: SharedRows, places: Sequence[int], seed: int, resamples: int
) -> Part:
    """Score some rows under every model and resample their units together."""
    tallies = tally_models(benchmark, name, shared.rows, places, shared.rewards)
    return Part(tallies, resample_together(tallies, seed_of(seed, name), resamples))


def _pair(
    names: Sequence[str], place: int, title: str, parts: Mapping[str, Part], average: Average, flipped: _Flips
) -> PairComparison:
    """The model at `place` against the first."""
    gains = {name: flipped.counts(name, place) for name in parts}
    p_values = {name: _subset_test(part, place, gains[name]) for name, part in parts.items()}
    corrected = statistics.holm([p_value for p_value, _ in p_values.values()])
    subsets = {
        name: _subset(part, place, gains[name], *p_values[name], p_holm)
        for (name, part), p_holm in zip(parts.items(), corrected, strict=True)
    }
    found = average.difference(0, place)
    whole = DifferenceResult(
        **_difference(found, average.score(0), average.score(place)),
        p_value=found.p_value,
        test=PAIRED,
        verdict=decide(found.interval(), found.p_value),
    )
    gained, lost = flipped.rows(place)
    return PairComparison(
        first=names[0],
        second=names[place],
        average=whole,
        subsets=subsets,
        gained_rows=sum(gain for gain, _ in gains.values()),
        lost_rows=sum(loss for _, loss in gains.values()),
        gained=gained,
        lost=lost,
        words=of_pair(names[0], names[place], title, whole, subsets),
    )


def _subset_test(part: Part, place: int, gains: tuple[int, int]) -> tuple[float, str]:
    """(p-value, test) of one subset: McNemar's where each row is a unit and right or wrong."""
    pair = part.tallies[0], part.tallies[place]
    binary = all(tally.independent and set(tally.results) <= {0.0, 1.0} for tally in pair)
    if binary:
        return statistics.mcnemar_p_value(*gains), MCNEMAR
    return part.difference(0, place).p_value, PAIRED


def _subset(
    part: Part, place: int, gains: tuple[int, int], p_value: float, test: str, p_holm: float
) -> SubsetComparison:
    found = part.difference(0, place)
    return SubsetComparison(
        **_difference(found, part.tallies[0].score, part.tallies[place].score),
        p_value=p_value,
        test=test,
        verdict=decide(found.interval(), p_holm),
        n=len(part.tallies[0].results),
        units=len(part.tallies[0].units),
        p_holm=p_holm,
        gained=gains[0],
        lost=gains[1],
    )


def _difference(found: Difference, first: float, second: float) -> dict[str, float]:
    interval = found.interval()
    return {
        "first": first,
        "second": second,
        "difference": found.estimate,
        "ci_low": interval.low,
        "ci_high": interval.high,
        "smallest_shown": min(1.0, found.reach()),
    }


@dataclass(frozen=True, slots=True)
class _Flips:
    """Which rows score differently under two models."""

    shared: SharedRows
    parts: Mapping[str, Part]
    places: Mapping[str, Sequence[int]]
    shown: int

    def counts(self, subset: str, model: int) -> tuple[int, int]:
        """(rows that score higher, rows that score lower) under the model at that place than under the first."""
        changes = self._changes(subset, model)
        return int((changes > 0).sum()), int((changes < 0).sum())

    def rows(self, model: int) -> tuple[tuple[FlippedRow, ...], tuple[FlippedRow, ...]]:
        """The first rows gained and lost: the largest changes first, then in the order of the rows."""
        found = [
            (float(change), self.places[subset][i], first, second)
            for subset, part in self.parts.items()
            for i, (change, first, second) in enumerate(
                zip(self._changes(subset, model), part.tallies[0].results, part.tallies[model].results, strict=True)
            )
            if change != 0
        ]
        found.sort(key=lambda flip: (-abs(flip[0]), flip[1]))
        gained = [flip for flip in found if flip[0] > 0][: self.shown]
        lost = [flip for flip in found if flip[0] < 0][: self.shown]
        return tuple(self._row(model, *flip[1:]) for flip in gained), tuple(
            self._row(model, *flip[1:]) for flip in lost
        )

    def _changes(self, subset: str, model: int) -> Floats:
        tallies = self.parts[subset].tallies
        return np.subtract(tallies[model].results, tallies[0].results, dtype=np.float64)

    def _row(self, model: int, place: int, first: float, second: float) -> FlippedRow:
        row, other = self.shared.lines[0][place], self.shared.lines[model][place]
        return FlippedRow(
            id=row.id,
            subset=row.subset,
            n_chosen=row.n_chosen,
            first=first,
            second=second,
            rewards_first=row.rewards,
            rewards_second=other.rewards,
            digest=row.digest,
        )


def rank(names: Sequence[str], average: Average) -> tuple[RankedModel, ...]:
    """Three or more models, best first; nothing for two, which their difference compares."""
    places = range(len(names))
    if len(places) < RANKED_FROM:
        return ()
    errors = np.zeros((len(places), len(places)))
    for first, second in combinations(places, 2):
        errors[first, second] = errors[second, first] = average.difference(first, second).error
    scores = [average.score(place) for place in places]
    ranking = statistics.rank_scores(scores, average.samples(), errors)
    intervals = [average.interval(place) for place in places]
    return tuple(
        RankedModel(
            name=names[place],
            score=scores[place],
            ci_low=intervals[place].low,
            ci_high=intervals[place].high,
            probability_best=ranking.probabilities[place],
            candidate=ranking.candidates[place],
        )
        for place in sorted(places, key=lambda place: -scores[place])
    )


def compare_overall(compared: Mapping[str, Compared], names: Sequence[str]) -> tuple[OverallComparison, ...]:
    """Each model against the first over all benchmarks.

    The p-values of the averages are corrected for the number of benchmarks and of models.
    """
    tests = [(place, key) for place in range(1, len(names)) for key in compared]
    p_values = [compared[key].record.pairs[place - 1].average.p_value for place, key in tests]
    corrected = dict(zip(tests, statistics.holm(p_values), strict=True))
    return tuple(
        _overall(compared, names, place, {key: corrected[place, key] for key in compared})
        for place in range(1, len(names))
    )


def _overall(
    compared: Mapping[str, Compared], names: Sequence[str], place: int, corrected: dict[str, float]
) -> OverallComparison:
    averages = {key: found.record.pairs[place - 1].average for key, found in compared.items()}
    decided = {
        key: decide(statistics.Interval(found.ci_low, found.ci_high), corrected[key]) for key, found in averages.items()
    }
    verdict = together(tuple(decided.values()))
    titles = [compared[key].record.title for key in decided]
    named = dict(zip(titles if len(set(titles)) == len(titles) else decided, decided.values(), strict=True))
    tests = len(compared) * (len(names) - 1)
    words = of_all(names[0], names[place], verdict, named, tests)
    return OverallComparison(first=names[0], second=names[place], verdict=verdict, p_holm=corrected, words=words)


def rank_overall(compared: Sequence[Compared], names: Sequence[str]) -> tuple[RankedModel, ...]:
    """The ranking by the unweighted mean of the benchmarks' averages."""
    averages = [found.average for found in compared]
    parts = tuple(part for average in averages for part in average.parts)
    weights = tuple(weight / len(averages) for average in averages for weight in average.weights)
    return rank(names, Average(parts, weights))


Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class SharedRows:
    """Rows that all models have, without texts, which a benchmark's rule does not need.

    `lines` and `rewards` hold each model's own, in the same order.
    """

    rows: tuple[EvalRow, ...]
    lines: tuple[tuple[RowResult, ...], ...]
    rewards: tuple[Rewards, ...]
    notes: tuple[str, ...]


def share_rows(models: Sequence[Evaluated]) -> SharedRows:
    """The rows that several evaluations of one benchmark share, in the order of the first model's.

    Two rows are the same where subset, id, number of responses and the digest of their texts agree. Rows without a
    digest (written by hand, or before there were digests) are taken to be the same unless the files that they came from
    differ. `notes` counts for each other model what it does not share with the first.
    """
    first = models[0]
    tables = [{(row.subset, row.id): row for row in model.rows} for model in models]
    faults = [
        {key: _fault(row, table.get(key), first.result, model.result) for key, row in tables[0].items()}
        for model, table in zip(models, tables, strict=True)
    ]
    keys = [key for key in tables[0] if not any(fault[key] for fault in faults)]
    lines = tuple(tuple(table[key] for key in keys) for table in tables)
    rows = tuple(_without_texts(row) for row in lines[0])
    notes = [
        note
        for model, table, fault in zip(models[1:], tables[1:], faults[1:], strict=True)
        for note in _notes(first.name, model.name, fault, len(table.keys() - tables[0].keys()))
    ]
    return SharedRows(rows, lines, tuple(_rewards(table) for table in lines), tuple(notes))


def _fault(row: RowResult, other: RowResult | None, first: BenchmarkResult, second: BenchmarkResult) -> str:
    """Why a row is not the same row in another evaluation; empty where it is."""
    if other is None:
        return "absent"
    if (row.n_chosen, len(row.rewards)) != (other.n_chosen, len(other.rewards)):
        return "texts"
    if row.digest and other.digest:
        return "texts" if row.digest != other.digest else ""
    digests = first.dataset.sha256, second.dataset.sha256
    return "source" if all(digests) and digests[0] != digests[1] else ""


def _notes(first: str, second: str, faults: dict[Key, str], more: int) -> list[str]:
    """What two evaluations do not share, in words."""
    counts = Counter(faults.values())
    found = []
    if counts["absent"]:
        found.append(f"{counts['absent']:,} of {len(faults):,} rows of {first} are not among those of {second}")
    if more:
        found.append(f"{more:,} rows of {second} are not among those of {first}")
    if counts["texts"]:
        found.append(f"{counts['texts']:,} rows carry the same id in {first} and {second}, and other responses")
    if counts["source"]:
        found.append(
            f"{counts['source']:,} rows carry the same id in {first} and {second}, and came from files that differ"
        )
    return [f"{note}: left out." for note in found]


def _without_texts(row: RowResult) -> EvalRow:
    nothing = ((),)
    return EvalRow(
        id=row.id,
        subset=row.subset,
        prompt=(),
        chosen=nothing * row.n_chosen,
        rejected=nothing * (len(row.rewards) - row.n_chosen),
        group=row.group,
        facts=row.facts,
    )


def _rewards(rows: Sequence[RowResult]) -> Rewards:
    return [np.array([np.nan if reward is None else reward for reward in row.rewards]) for row in rows]


def decide(interval: Interval, p_value: float) -> Conclusion:
    """About the second of two models: it is better or worse where the interval excludes 0 and the p-value is small.

    The p-value is corrected where it must be.
    """
    if p_value >= LEVEL or interval.low <= 0 <= interval.high:
        return APART
    return "better" if interval.low > 0 else "worse"


def together(found: Sequence[Conclusion]) -> Literal["better", "worse", "mixed", "cannot be told apart"]:
    """Over several benchmarks: better somewhere and worse nowhere is better."""
    if "better" in found and "worse" in found:
        return "mixed"
    return "better" if "better" in found else "worse" if "worse" in found else "cannot be told apart"


def of_pair(
    first: str, second: str, title: str, average: DifferenceResult, subsets: Mapping[str, SubsetComparison]
) -> str:
    """The verdict on one benchmark."""
    rows = sum(subset.n for subset in subsets.values())
    if all(subset.gained == subset.lost == 0 for subset in subsets.values()):
        return (
            f"{second} and {first} cannot be told apart on {title}: they score the same on each of its {rows:,} rows. "
            + _least(average, rows)
        )
    span = f"{_points(average.difference)} points (95 % interval {_plain(average.ci_low)} to {_plain(average.ci_high)})"
    if average.verdict == APART:
        head = f"{second} and {first} cannot be told apart on {title}: {span}, which holds 0. {_least(average, rows)}"
    else:
        head = f"{second} is {average.verdict} than {first} on {title}: {span}."
    return " ".join((head, *_of_subsets(subsets))) if len(subsets) > 1 else head


def of_all(first: str, second: str, verdict: str, found: Mapping[str, Conclusion], tests: int) -> str:
    """The verdict over all benchmarks; `found` has each one's by title, corrected for all `tests` of averages."""
    kinds: tuple[Conclusion, ...] = ("better", "worse", APART)
    where: dict[str, str] = {kind: ", ".join(title for title, of in found.items() if of == kind) for kind in kinds}
    corrected = f", corrected for {tests} comparisons" if tests > 1 else ""
    if verdict == APART:
        return f"{second} and {first} cannot be told apart on {where[APART]}{corrected}."
    if verdict == "mixed":
        head = f"{second} is better than {first} on {where['better']} and worse on {where['worse']}{corrected}."
    else:
        head = f"{second} is {verdict} than {first} on {where[verdict]}{corrected}."
    return head + (f" They cannot be told apart on {where[APART]}." if where[APART] else "")


def of_ranking(ranking: Sequence[RankedModel], title: str) -> str:
    """Which of several is the best, and how sure; empty without a ranking."""
    if not ranking:
        return ""
    best = ranking[0]
    chance = f"{best.name} has the highest score on {title} ({100 * best.score:.1f})"
    sure = f"the highest in {100 * best.probability_best:.0f} % of resamples"
    rivals = [model.name for model in ranking[1:] if model.candidate]
    if not rivals:
        return f"{chance}, {sure}; every other one can be told from it."
    return f"{chance}, {sure}; {_listed(rivals)} cannot be told from it (95 %, corrected for {len(ranking)} models)."


def _of_subsets(subsets: Mapping[str, SubsetComparison]) -> list[str]:
    """Subsets that differ after correction, in words."""
    parts = []
    for kind in ("better", "worse"):
        names = [f"{name} ({_points(found.difference)})" for name, found in subsets.items() if found.verdict == kind]
        if names:
            parts.append(f"{kind} in {_listed(names)}")
    if parts:
        return [f"By subset, corrected for {len(subsets)}: {'; '.join(parts)}."]
    return [f"No single one of the {len(subsets)} subsets differs after correction."]


def _least(average: DifferenceResult, rows: int) -> str:
    if average.smallest_shown >= 1.0:
        return f"With these {rows:,} rows, no difference could have been told from none."
    return (
        f"With these {rows:,} rows, a difference under {100 * average.smallest_shown:.1f} points could not have been "
        "told from none."
    )


_MINUS = "\u2212"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _points(share: float) -> str:
    """A difference of shares in points, with its sign."""
    text = f"{100 * share:+.1f}"
    return text.lstrip("+-") if text.strip("+-0.") == "" else text.replace("-", _MINUS)


def _plain(share: float) -> str:
    return f"{100 * share:.1f}".replace("-", _MINUS)
