"""What kind of model rewards show: what it scores in place of which answer is right, or why nobody can say.

    diagnose(rows, rewards, seed=…, resamples=…) → Diagnosis | None

A pair is a chosen and a rejected answer of one row. A trait (length, a mark of Markdown, a refusal, the place in the
published list) stands on the chosen side (+1), on the rejected side (-1) or on neither (0). The model's preference, +1
for the chosen answer, -1 for the rejected one and 0 for equal rewards, is regressed on these signs with a constant by
ordinary least squares. The constant takes up what the label explains, so that an oracle gets 0 for every trait however
uneven the data are; a scorer of one trait gets 1 for it and 0 for the others, since signs do not ask how much. A
coefficient is half of the change of the preference from -1 to +1, hence the change of the accuracy: the *sway*.

Traits are taken in one after the other, the strongest first, as long as one surely sways the model with those before
it held equal (forward selection): bold marks make an answer longer, and a lover of bold is no lover of length. The
standard error is that of clusters (pairs of one prompt are one unit, White's sandwich with G / (G - 1)), and not below
what Agresti and Caffo (2000) give for the difference of two shares of so many prompts, since ten pairs that all go one
way leave a residual of 0. The decision corrects for the number of traits that are compared.

Thresholds, and why:

    SWAY 0.2, SURELY 0.1     pairs differ in difficulty: on honest models the accuracy where the longer answer is right
                             and where it is wrong lie some points apart; ten points are no longer noise, twenty decide
                             one pair in five by the trait
    PROMPTS 10               with fewer prompts on a side one odd pair moves its accuracy by ten points
    TIED 0.2 of the pairs, surely above 0.1        as for flat prompts: a policy learns nothing from these
    LEARNT 0.6               below it a model is no better than a single rule of the data check (`strong`)
    REVERSED 0.4             the mirror of it: the labels were read the wrong way round, or swapped
    ENOUGH 30 prompts        with fewer, and nothing found, the rewards show neither a sound model nor another
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from rewardsmith.data.shortcuts.features import FEATURES, Reading, read_response
from rewardsmith.evaluation.analysis import RESAMPLES, correlations, pair_share
from rewardsmith.evaluation.contract import EvalRow, Floats, Rewards, published_order
from rewardsmith.evaluation.distribution import FLAT, Ints, Margins, compact, group_sums, prompts_of
from rewardsmith.evaluation.subsets import seed_of
from rewardsmith.records.diagnosis import CauseCode, Diagnosis, PairShare, RowKey, Trait, TraitCode
from rewardsmith.types import Conversation

SWAY, SURELY = 0.2, 0.1
PROMPTS = 10
TIED, SURELY_TIED = 0.2, 0.1
LEARNT, REVERSED = 0.6, 0.4
ENOUGH = 30
ROWS_SHOWN = 5

_Z = float(ndtri(0.975))
MARKUP = ("bullets", "numbered_items", "headings", "bold", "code_blocks", "inline_code", "table_rows")
FORMAT = (*MARKUP, "emoji", "exclamations", "line_breaks", "paragraphs")
"""Features of the data check that are layout and no content: digits or formulas may be what a right answer needs."""

METHOD = (
    "sway: least squares of the sign of each margin on which side has more of the trait, with a constant and the other "
    f"found traits; found where it is at least {SWAY:g} and surely above {SURELY:g}, corrected for the traits "
    f"compared, with at least {PROMPTS} prompts in which the favoured answer is wrong. saturated: at least {TIED:.0%} "
    f"of the pairs nearly equal, surely more than {SURELY_TIED:.0%}; undertrained: accuracy surely under {LEARNT:g}; "
    f"reversed: surely under {REVERSED:g}; both only where no trait is found"
)


@dataclass(frozen=True, slots=True)
class Feature:
    """A candidate: its code, its name, and what the favoured answer is called where more, and where less, is liked."""

    code: TraitCode
    name: str
    more: str
    less: str

    def favours(self, direction: int) -> str:
        """The favoured answer in words."""
        return self.more if direction > 0 else self.less


def _features() -> dict[str, Feature]:
    found = [
        Feature("length", "characters", "the longer answer", "the shorter answer"),
        Feature("format", "markup", "the answer with more Markdown marks", "the answer with fewer Markdown marks"),
        *(_format(name) for name in FORMAT),
        Feature("refusal", "refusal", "the answer that refuses", "the answer that does not refuse"),
        Feature("position", "place", "the answer that is listed first", "the answer that is listed last"),
    ]
    return {feature.name: feature for feature in found}


def _format(name: str) -> Feature:
    meaning = FEATURES[name].meaning
    return Feature("format", name, f"the answer with more {meaning}", f"the answer with fewer {meaning}")


CANDIDATES = _features()
"""By name, in the order in which equally strong ones are tried."""


@dataclass(frozen=True, slots=True)
class _Pairs:
    """P pairs with both rewards: margins, prompts, rows, and places of both answers among N answers."""

    margins: Floats
    prompts: Ints
    rows: Ints
    chosen: Ints
    rejected: Ints

    @property
    def preference(self) -> Floats:
        """+1 where the chosen answer has the higher reward, -1 where the rejected one has, 0 where they are equal."""
        return np.sign(self.margins)

    def share(self, wanted: NDArray[np.bool_], seed: int, resamples: int) -> PairShare:
        """Accuracy over some of them."""
        return pair_share(Margins(self.margins, self.margins, self.prompts), wanted, seed, resamples)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A feature with its value of every answer (N), and on every pair (P) the side that has more of it."""

    feature: Feature
    values: Floats
    signs: Floats


@dataclass(frozen=True, slots=True)
class _Fit:
    """A candidate's coefficient beside the traits before it, and its standard error."""

    candidate: _Candidate
    sway: float
    error: float

    @property
    def direction(self) -> int:
        return 1 if self.sway >= 0 else -1


def diagnose(rows: Sequence[EvalRow], rewards: Rewards, *, seed: int, resamples: int) -> Diagnosis | None:
    """The diagnosis of one benchmark; None where no pair has both rewards.

    Args:
        rows: rows of one benchmark.
        rewards: one array a row, chosen first; NaN where there is none.
        seed: of the bootstraps over prompts.
        resamples: bootstrap resamples; at most `analysis.RESAMPLES` are used.
    """
    # The seed of the analysis of length: accuracies and a correlation that both show have one interval.
    seed, resamples = seed_of(seed, "length"), min(resamples, RESAMPLES)
    pairs = _pairs(rows, rewards)
    if pairs.margins.size == 0:
        return None
    candidates = [one for one in _measured(rows, pairs) if _tells(one, pairs)]
    found = _select(candidates, pairs)
    shown = [*found, *_strongest_others(candidates, found, pairs)]
    told = partial(_trait, rows, rewards, pairs, seed=seed, resamples=resamples)
    traits = tuple(told(fit, found=place < len(found)) for place, fit in enumerate(shown))
    all_P = np.ones(len(pairs.rows), dtype=bool)
    differs_P = np.any([fit.candidate.signs != 0 for fit in found], axis=0) if found else all_P
    tied = _tied(pairs, differs_P, float(np.nanstd(np.concatenate(rewards))), seed, resamples)
    accuracy = pairs.share(all_P, seed, resamples)
    prompts = compact(pairs.prompts)[1]
    known = {trait.code for trait in traits}
    return Diagnosis(
        pairs=len(pairs.rows),
        prompts=prompts,
        accuracy=accuracy,
        tied=tied.accuracy or 0.0,
        tied_ci=_interval(tied),
        traits=traits,
        unmeasured=tuple(dict.fromkeys(one.code for one in CANDIDATES.values() if one.code not in known)),
        causes=(*(trait.code for trait in traits if trait.found), *_state(accuracy, tied, prompts, bool(found))),
        method=METHOD,
    )


def _state(accuracy: PairShare, tied: PairShare, prompts: int, swayed: bool) -> tuple[CauseCode, ...]:
    """What is wrong beside traits: at most one thing."""
    low, high = _interval(accuracy)
    if (tied.accuracy or 0.0) >= TIED and _interval(tied)[0] > SURELY_TIED:
        return ("saturated",)
    if swayed:
        return ()
    if high < REVERSED:
        return ("reversed",)
    if high < LEARNT:
        return ("undertrained",)
    undecided = low <= 0.5 and high >= LEARNT
    return ("too_little_data",) if undecided or prompts < ENOUGH else ()


def _interval(share: PairShare) -> tuple[float, float]:
    return (share.ci_low or 0.0, 1.0 if share.ci_high is None else share.ci_high)


def _pairs(rows: Sequence[EvalRow], rewards: Rewards) -> _Pairs:
    """Every chosen answer against every rejected one of its row, as `distribution.margins_of` has them."""
    counts = [(len(row.chosen), len(row.rejected)) for row in rows]
    starts = np.cumsum([0, *(chosen + rejected for chosen, rejected in counts)])
    chosen_P = [start + np.repeat(np.arange(c), r) for start, (c, r) in zip(starts, counts, strict=False)]
    rejected_P = [start + c + np.tile(np.arange(r), c) for start, (c, r) in zip(starts, counts, strict=False)]
    sizes = [c * r for c, r in counts]
    first, second = (np.concatenate([np.empty(0, dtype=np.int64), *part]) for part in (chosen_P, rejected_P))
    reward_N = np.concatenate([np.empty(0), *rewards])
    margin_P = reward_N[first] - reward_N[second]
    known_P = ~np.isnan(margin_P)
    return _Pairs(
        margins=margin_P[known_P],
        prompts=np.repeat(prompts_of(rows), sizes)[known_P],
        rows=np.repeat(np.arange(len(rows)), sizes)[known_P],
        chosen=first[known_P],
        rejected=second[known_P],
    )


def _measured(rows: Sequence[EvalRow], pairs: _Pairs) -> list[_Candidate]:
    """Every candidate on every answer."""
    readings: dict[Conversation, tuple[float, ...]] = {}
    value_NF = np.array(
        [_counted(response, readings) for row in rows for response in row.responses], dtype=np.float64
    ).reshape(-1, len(CANDIDATES) - 1)
    place_N = np.array([-float(place) for row in rows for place in _places(row)])
    columns = [*value_NF.T, place_N]
    return [
        _Candidate(feature, value_N, np.nan_to_num(np.sign(value_N[pairs.chosen] - value_N[pairs.rejected])))
        for feature, value_N in zip(CANDIDATES.values(), columns, strict=True)
    ]


def _counted(response: Conversation, readings: dict[Conversation, tuple[float, ...]]) -> tuple[float, ...]:
    """All features but the place of one answer, counted once for each text."""
    if response not in readings:
        reading = read_response(response)
        marks = [_count(name, reading) for name in FORMAT]
        markup = sum(marks[: len(MARKUP)])
        readings[response] = (float(reading.characters), markup, *marks, _count("refusal", reading))
    return readings[response]


def _count(name: str, reading: Reading) -> float:
    count: Callable[[Reading], int] = FEATURES[name].count
    return float(count(reading))


def _places(row: EvalRow) -> Sequence[float]:
    """Where each response stood in the published list; NaN where the row does not keep it."""
    if "order" in row.facts or row.facts.get("label") in ("A>B", "B>A"):
        return published_order(row)
    return [float("nan")] * len(row.responses)


def _tells(candidate: _Candidate, pairs: _Pairs) -> bool:
    """Whether pairs differ in it on enough prompts, and there are others to compare them with."""
    sides = [len(np.unique(pairs.prompts[candidate.signs == sign])) for sign in (-1, 0, 1)]
    return sum(count >= PROMPTS for count in sides) >= 2 and max(sides[0], sides[2]) >= PROMPTS


def _select(candidates: Sequence[_Candidate], pairs: _Pairs) -> list[_Fit]:
    """The traits that surely sway the model, by their strength once all of them are known."""
    taken: list[_Candidate] = []
    z = float(ndtri(1 - 0.025 / max(1, len(candidates))))
    while True:
        codes = {one.feature.code for one in taken}
        rest = [one for one in candidates if one.feature.code not in codes]
        fits = sorted((_fit(one, taken, pairs) for one in rest), key=lambda fit: -abs(fit.sway))
        best = next((fit for fit in fits if _sure(fit, pairs, z)), None)
        if best is None:
            break
        taken.append(best.candidate)
    final = [_fit(one, [other for other in taken if other is not one], pairs) for one in taken]
    return sorted((fit for fit in final if _sure(fit, pairs, z)), key=lambda fit: -abs(fit.sway))


def _sure(fit: _Fit, pairs: _Pairs, z: float) -> bool:
    wrong_P = fit.candidate.signs * fit.direction < 0
    enough = len(np.unique(pairs.prompts[wrong_P])) >= PROMPTS
    return enough and abs(fit.sway) >= SWAY and abs(fit.sway) - z * fit.error > SURELY


def _fit(candidate: _Candidate, others: Sequence[_Candidate], pairs: _Pairs) -> _Fit:
    """Least squares of the preference on a constant, the candidate and the others; its coefficient and error."""
    sign_PK = np.stack([candidate.signs, np.ones(len(pairs.rows)), *(one.signs for one in others)], axis=1)
    inverse_KK = np.linalg.pinv(sign_PK.T @ sign_PK)
    coefficient_K = inverse_KK @ (sign_PK.T @ pairs.preference)
    residual_P = pairs.preference - sign_PK @ coefficient_K
    scores_GK = group_sums(list((sign_PK * residual_P[:, None]).T), pairs.prompts)
    groups = len(scores_GK)
    spread_KK = inverse_KK @ (scores_GK.T @ scores_GK) @ inverse_KK * groups / max(1, groups - 1)
    error = max(float(np.sqrt(max(0.0, spread_KK[0, 0]))), _least_error(candidate, pairs))
    return _Fit(candidate, float(np.clip(coefficient_K[0], -1, 1)), error)


def _least_error(candidate: _Candidate, pairs: _Pairs) -> float:
    """Agresti and Caffo's standard error of the difference of two accuracies, with each prompt counted once.

    The two sides are the pairs for and against the trait; where one has too few prompts, the pairs that are equal in it
    stand in for it, and the coefficient then spans half of the way.
    """
    right_P = (pairs.preference + 1) / 2
    sides = [candidate.signs == sign for sign in (1, -1)]
    counts = [len(np.unique(pairs.prompts[side])) for side in sides]
    short = [place for place, count in enumerate(counts) if count < PROMPTS]
    factor = 1.0
    if short:
        sides[short[0]] = candidate.signs == 0
        counts[short[0]] = len(np.unique(pairs.prompts[sides[short[0]]]))
        factor = 2.0
    variance = 0.0
    for side, count in zip(sides, counts, strict=True):
        share = (float(right_P[side].mean()) * count + 1) / (count + 2) if count else 0.5
        variance += share * (1 - share) / (count + 2)
    return factor * float(np.sqrt(variance))


def _strongest_others(candidates: Sequence[_Candidate], found: Sequence[_Fit], pairs: _Pairs) -> list[_Fit]:
    """Of each code that is not found, its strongest feature beside the found ones."""
    known = {fit.candidate.feature.code for fit in found}
    best: dict[TraitCode, _Fit] = {}
    for one in candidates:
        if one.feature.code in known:
            continue
        fit = _fit(one, [other.candidate for other in found], pairs)
        code = one.feature.code
        if code not in best or abs(fit.sway) > abs(best[code].sway):
            best[code] = fit
    return list(best.values())


def _trait(
    rows: Sequence[EvalRow], rewards: Rewards, pairs: _Pairs, fit: _Fit, *, found: bool, seed: int, resamples: int
) -> Trait:
    """One trait with everything that the record says of it."""
    feature, direction = fit.candidate.feature, fit.direction
    sign_P = fit.candidate.signs * direction
    sway = abs(fit.sway)
    correlation, interval = _correlation(rows, rewards, fit.candidate.values, seed, resamples)
    return Trait(
        code=feature.code,
        feature=feature.name,
        favours=feature.favours(direction),
        direction=1 if direction > 0 else -1,
        found=found,
        sway=sway,
        sway_ci=(max(-1.0, sway - _Z * fit.error), min(1.0, sway + _Z * fit.error)),
        correlation=correlation,
        correlation_ci=interval,
        wrong=pairs.share(sign_P < 0, seed, resamples),
        right=pairs.share(sign_P > 0, seed, resamples),
        equal=int((sign_P == 0).sum()),
        rows=_rows_that_show(rows, pairs, sign_P) if found else (),
    )


def _correlation(
    rows: Sequence[EvalRow], rewards: Rewards, value_N: Floats, seed: int, resamples: int
) -> tuple[float | None, tuple[float, float] | None]:
    """Of reward and value within prompts, over each distinct answer once."""
    prompt_R = prompts_of(rows).tolist()
    keys = [(prompt, response) for row, prompt in zip(rows, prompt_R, strict=True) for response in row.responses]
    places: dict[tuple[int, Conversation], int] = {}
    answer_N = np.array([places.setdefault(key, len(places)) for key in keys], dtype=np.int64)
    reward_N = np.concatenate([np.empty(0), *rewards])
    known_N = ~np.isnan(reward_N) & ~np.isnan(value_N)
    count_A, reward_A, value_A = (
        np.bincount(answer_N[known_N], weights=weights, minlength=len(places))
        for weights in (None, reward_N[known_N], value_N[known_N])
    )
    prompt_A = np.array([prompt for prompt, _ in places], dtype=np.int64)
    there_A = count_A > 0
    several_A = there_A & (np.bincount(prompt_A[there_A], minlength=int(prompt_A.max()) + 1)[prompt_A] > 1)
    count_A = count_A[several_A]
    both = [(reward_A[several_A] / count_A, value_A[several_A] / count_A)]
    return correlations(prompt_A[several_A], both, seed, resamples)[0]


def _rows_that_show(rows: Sequence[EvalRow], pairs: _Pairs, sign_P: Floats) -> tuple[RowKey, ...]:
    """Rows of the pairs in which the favoured answer is wrong and wins, the widest margins first."""
    misled_P = np.flatnonzero((sign_P < 0) & (pairs.margins < 0))
    ordered = misled_P[np.argsort(pairs.margins[misled_P], kind="stable")]
    names = list(dict.fromkeys(pairs.rows[ordered].tolist()))[:ROWS_SHOWN]
    return tuple(RowKey(subset=rows[name].subset, id=rows[name].id) for name in names)


def _tied(pairs: _Pairs, differs_P: NDArray[np.bool_], spread: float, seed: int, resamples: int) -> PairShare:
    """Share of nearly equal pairs, among those in which a found trait differs: what no trait explains."""
    tied_P = np.where(np.abs(pairs.margins) <= FLAT * spread, 1.0, -1.0)
    return pair_share(Margins(tied_P, tied_P, pairs.prompts), differs_P, seed, resamples)
