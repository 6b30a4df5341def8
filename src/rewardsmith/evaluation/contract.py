"""What a benchmark is, what passes between its parts, and the rule that all benchmarks of pairs share.

    load(source)                     → BenchmarkRows     rows with their prompts, chosen and rejected responses
    a scorer, or a file of rewards   → rewards           one array a row: chosen…, rejected…; NaN where there is none
    tally(subset, rows, rewards)     → Tally             the benchmark's own rule, as sums over independent units
    results.score_rows               → BenchmarkResult   scores, intervals, baselines

A benchmark is one `Benchmark` value in one file and one line in `rewardsmith.benchmarks`. It says how rows are read,
how a subset is scored, what a random scorer reaches, how subsets are averaged and how a judge is asked; intervals,
missing rewards and records are the same for all, and the spec and `--help` read its names from there. What equal and
missing rewards count is its own rule: its `protocol` says it in words.

An average is a weighted mean of the subsets' scores (`Weigh`: sizes → weights), or the score of all rows taken
together (`"rows"`). A section is a named weighted mean of some subsets, as RewardBench's Chat is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rewardsmith.records.evaluation import DatasetInfo
from rewardsmith.records.judging import JudgeProtocol
from rewardsmith.statistics import grouped_sums
from rewardsmith.types import Conversation, Message

Floats = NDArray[np.float64]
Rewards = Sequence[Floats]
"""One array a row, in the order of `EvalRow.conversations`: chosen first, then rejected; NaN where there is none."""

Weights = Mapping[str, float]
"""Subset → its weight in a mean; they need not sum to 1, and a subset that is not named weighs 0."""

Weigh = Callable[[Mapping[str, int]], Weights]
"""The number of rows of each subset that is there, in order → weights."""


@dataclass(frozen=True, slots=True)
class EvalRow:
    """One row of any benchmark: a prompt with its chosen and rejected responses.

    (`subset`, `id`) is the row's key in `rows.jsonl`. Rows with equal `group` were not drawn independently and are
    one unit for intervals; an empty group is a unit of its own. `where` is file and row, for messages. `facts` is what
    the benchmark's own rule reads of a row besides its rewards (JudgeBench: the label, which decides equal rewards).
    """

    id: str
    subset: str
    prompt: Conversation
    chosen: tuple[Conversation, ...]
    rejected: tuple[Conversation, ...]
    group: str = ""
    where: str = ""
    facts: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def key(self) -> tuple[str, str]:
        """(subset, id)."""
        return self.subset, self.id

    @property
    def responses(self) -> tuple[Conversation, ...]:
        """Chosen first, then rejected: the order of every list of rewards."""
        return self.chosen + self.rejected

    @property
    def conversations(self) -> tuple[Conversation, ...]:
        """What a scorer is asked: the prompt with each response."""
        return tuple(self.prompt + response for response in self.responses)


DIGEST_LENGTH = 16
"""Hexadecimal digits of a row's digest: 64 bits, for telling rows of one benchmark apart."""

_END = Message("text", "\x1e")


def row_digest(row: EvalRow) -> str:
    """Of the texts of a row, in order, and which are chosen; not of roles, which plain text has not."""
    parts = [message.text for conversation in (row.prompt, *row.responses) for message in (*conversation, _END)]
    text = f"{len(row.chosen)}\x1f" + "\x1f".join(parts)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:DIGEST_LENGTH]


def published_order(row: EvalRow) -> list[int]:
    """Where each response of a row, chosen first, stands in the published data set.

    Benchmarks whose data are not chosen first keep it in their facts: `order`, or JudgeBench's `label`.
    """
    if "order" in row.facts:
        return [int(place) for place in row.facts["order"].split()]
    return [1, 0] if row.facts.get("label") == "B>A" else list(range(len(row.responses)))


@dataclass(frozen=True, slots=True)
class BenchmarkRows:
    """Rows as they were read, where they came from, and what reports call them.

    `note` says what a reader of the scores must know about these rows, `left_out` which rows of the source are not
    among them; both become part of the protocol, and the second is said wherever rows are used.
    """

    rows: tuple[EvalRow, ...]
    dataset: DatasetInfo
    title: str
    note: str = ""
    left_out: str = ""


@dataclass(frozen=True, slots=True)
class Tally:
    """What a benchmark's rule makes of the rewards of some rows.

    `results` has one number a row. The score is `statistic` of the column sums of `units`, shape (independent
    units, columns), so that resampled units give resampled scores. `independent` says that each row is a unit of its
    own with a result between 0 and 1 and the score their mean: Wilson's interval applies.
    """

    results: tuple[float, ...]
    units: Floats
    statistic: Callable[[Floats], Floats]
    independent: bool

    @property
    def score(self) -> float:
        """The score of these rows."""
        return float(self.statistic(self.units.sum(axis=0, keepdims=True))[0])


Tallier = Callable[[str, Sequence[EvalRow], Rewards], Tally]
"""(subset, its rows, their rewards) → what the rule makes of them."""


def equal_weights(sizes: Mapping[str, int]) -> Weights:
    """Every subset counts the same: the unweighted mean of the subsets."""
    return dict.fromkeys(sizes, 1.0)


def no_sections(sizes: Mapping[str, int]) -> Mapping[str, Weights]:
    """The benchmark has no sections."""
    return {}


def by_number(row: EvalRow) -> JudgeProtocol:
    """Two responses are compared, more are ranked."""
    return "pairwise" if len(row.responses) == 2 else "ranking"


def always_ranked(row: EvalRow) -> JudgeProtocol:
    """The best of all responses is asked for, of two as well."""
    return "ranking"


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One benchmark: how its rows are read, scored and compared with chance.

    Args:
        name: its key in the registry.
        title: its published name, used for the published data set only.
        protocol: how equal rewards, missing rewards and subsets are counted, in words.
        load: (source, revision) → rows. Raises BenchmarkError for rows that do not fit.
        subsets: published order of the subsets; others follow by name.
        tally: (subset, its rows, their rewards) → tally.
        baseline: (subset, its rows, seed) → what random rewards reach.
        average: weights of the subsets in the published average, or `"rows"`: the score of all rows taken together.
        details: numbers beyond subsets, of all rows and their rewards.
        sections: sizes of the subsets → the weights of the subsets in each section; each becomes `section_NAME` in
            the results' metrics, with its interval and baselines.
        averaged: sizes of the subsets → the names of what the average is a mean of, where that is not the subsets.
        other_subsets: subsets that rows may have and the published set has not.
        apart_by: a fact of rows (`EvalRow.facts`) by which they are scored once more, as `by_source`; "" for none.
        known_chance: what random rewards reach, known before any row is read: by subset (and `average`), or one number
            for all of them. A threshold at or under it is refused when the spec is loaded.
        judged: how a language model is asked about a row: `pairwise`, `ranking` or `rating`.
        unread_as_chance: its rule gives equal rewards what guessing reaches, so that `judge --score-missing-as-chance`
            means something.
        renders_upstream: `rendering` can render text as its own script does (`--protocol upstream`).
        missing_upstream: where the benchmark's own code counts a missing reward otherwise: the fields that differ then.
    """

    name: str
    title: str
    protocol: str
    load: Callable[[str, str | None], BenchmarkRows]
    subsets: tuple[str, ...]
    tally: Tallier
    baseline: Callable[[str, Sequence[EvalRow], int], float]
    average: Weigh | Literal["rows"]
    details: Callable[[Sequence[EvalRow], Rewards], dict[str, float | None]]
    sections: Callable[[Mapping[str, int]], Mapping[str, Weights]] = no_sections
    averaged: Callable[[Mapping[str, int]], Sequence[str]] = tuple
    other_subsets: tuple[str, ...] = ()
    apart_by: str = ""
    known_chance: Mapping[str, float] | float | None = None
    judged: Callable[[EvalRow], JudgeProtocol] = by_number
    unread_as_chance: bool = False
    renders_upstream: bool = False
    missing_upstream: Mapping[str, Any] = field(default_factory=dict)

    def as_upstream(self) -> Benchmark:
        """The benchmark with missing rewards as its own code counts them; itself where our rule is the same."""
        return replace(self, **self.missing_upstream)

    def scored_by(self, protocol: str) -> Benchmark:
        """The rule that a result was scored by: what its `protocol` says of missing rewards is kept."""
        upstream = self.as_upstream()
        return upstream if upstream.protocol != self.protocol and protocol.startswith(upstream.protocol) else self


def mean_statistic(sums_BF: Floats) -> Floats:
    """Column 0 over column 1: the mean of results over rows, for units of (sum of results, number of rows)."""
    return np.asarray(sums_BF[:, 0] / sums_BF[:, 1], dtype=np.float64)


def unit_numbers(rows: Sequence[EvalRow]) -> list[int]:
    """The number of each row's unit, from 0: rows of one group share it, a row without a group is a unit of its own."""
    numbers: dict[str | int, int] = {}
    return [numbers.setdefault(row.group or place, len(numbers)) for place, row in enumerate(rows)]


def mean_tally(results: Sequence[float], rows: Sequence[EvalRow]) -> Tally:
    """The tally of a score that is the mean of one result, between 0 and 1, a row.

    Rows of one group are one unit; where every row is its own unit, Wilson's interval applies.
    """
    units_UF = grouped_sums(results, unit_numbers(rows))
    return Tally(
        results=tuple(float(result) for result in results),
        units=units_UF,
        statistic=mean_statistic,
        independent=len(units_UF) == len(rows),
    )


def pair_tally(rows: Sequence[EvalRow], rewards: Rewards, *, equal: ArrayLike, missing: ArrayLike = 0.0) -> Tally:
    """Accuracy over pairs; rows of one group are one unit.

    Args:
        equal: what a pair of equal rewards counts; one number, or one a row.
        missing: what a pair with a missing reward counts; one number, or one a row.
    """
    margins_P = pair_margins(rewards)
    results = np.select(
        [np.isnan(margins_P), margins_P > 0, margins_P == 0],
        [np.asarray(missing, dtype=np.float64), 1.0, np.asarray(equal)],
        0.0,
    )
    return mean_tally(results.tolist(), rows)


def pair_margins(rewards: Rewards) -> Floats:
    """Chosen reward - rejected reward of every pair, NaN where one is missing."""
    return np.array([chosen - rejected for chosen, rejected in rewards], dtype=np.float64)


def pair_baseline(subset: str, rows: Sequence[EvalRow], seed: int) -> float:
    """Random rewards order half of the pairs rightly."""
    return 0.5


def no_details(rows: Sequence[EvalRow], rewards: Rewards) -> dict[str, float | None]:
    """The benchmark defines nothing beyond its subsets."""
    return {}
