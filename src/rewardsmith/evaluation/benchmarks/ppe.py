"""PPE, Preference Proxy Evaluations: human preference, and the correctness of sampled responses (arXiv 2410.14872).

In: the data sets of lmarena-ai on the hub by their ids, all six as `lmarena-ai/PPE`, or files and folders in their
schemas:

    human_preference_v1    {"question_id", "prompt", "response_1", "response_2", "winner": model_a | model_b | tie…}
    …_best_of_k            {"question_id", "model_name", "prompt", "response_1" … "response_32",
                            "scores": [true, false, …], "sampled_conflict_pairs": [[i, j], …]}     i, j from 0

A file's subset is in its rows (`"benchmark"`) or in its name or folder. Out: one accuracy per data set.

    Human preference: 1 if the winner's reward is strictly higher, else 0; ties are left out, as PPE does.
    Correctness: of the sampled pairs of a right and a wrong response, the share whose right one is strictly higher.
    Average: the mean of human preference and of correctness, which is the unweighted mean of its data sets.

Beside the scores stand best of K and ROC AUC of the correctness sets (`curve_metrics`), and the leaderboard that human
preference makes of the models (`model_a`, `model_b`), in all and by the categories that are true of a row
(`leaderboard_metrics`).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from rewardsmith import statistics
from rewardsmith.errors import BenchmarkError
from rewardsmith.evaluation.analysis import pick_probabilities
from rewardsmith.evaluation.contract import (
    Benchmark,
    BenchmarkRows,
    EvalRow,
    Floats,
    Rewards,
    Tally,
    Weights,
    mean_statistic,
    pair_baseline,
    unit_numbers,
)
from rewardsmith.evaluation.rows import (
    Table,
    TableRow,
    assistant,
    bad,
    check_keys,
    missing_or,
    one_of,
    prompt_group,
    read_table,
    row_id,
    text,
    user,
)

ALL = "lmarena-ai/PPE"
"""Stands for the six data sets together."""

HUMAN = "human_preference_v1"
HUB = {
    HUMAN: ("lmarena-ai/PPE-Human-Preference-V1", "test", 16_038),
    "mmlu_pro_best_of_k": ("lmarena-ai/PPE-MMLU-Pro-Best-of-K", "train", 512),
    "math_best_of_k": ("lmarena-ai/PPE-MATH-Best-of-K", "train", 512),
    "gpqa_best_of_k": ("lmarena-ai/PPE-GPQA-Best-of-K", "train", 512),
    "ifeval_best_of_k": ("lmarena-ai/PPE-IFEval-Best-of-K", "train", 512),
    "mbpp_plus_best_of_k": ("lmarena-ai/PPE-MBPP-Plus-Best-of-K", "train", 507),
}
"""Subset → hub id, split, and number of rows as published (ties counted)."""

SUBSETS = tuple(HUB)
CORRECTNESS = SUBSETS[1:]
WINNERS = ("model_a", "model_b", "tie", "tie (bothbad)")

PROTOCOL = (
    "Preference Proxy Evaluations. Human preference: accuracy over the pairs that have a winner; ties are left out. "
    "Correctness: accuracy over the sampled pairs of a right and a wrong response. A pair counts only if the better "
    "response has a strictly higher reward: equal rewards and missing rewards count as wrong. Average: the mean of "
    "human preference and correctness, where correctness is the unweighted mean of its data sets. Best of K: the "
    "exact expectation over draws of K responses without replacement; among equal rewards one is picked at random, "
    "and a missing reward is below every other. Responses to one question are one unit for intervals."
)


def load_rows(source: str, revision: str | None = None) -> BenchmarkRows:
    """Rows of one data set, of all six, or of files in their schemas; pairs without a winner are left out.

    `official` is true only for all six in full, read from the hub at known revisions.

    Raises:
        BenchmarkError: a row does not fit its schema (file, row, field and fix are named), or nothing is left.
        DataError: a source cannot be read.
    """
    tables = _tables(source, revision)
    named = [(subset or _subset(row), row) for subset, table in tables for row in table.rows]
    ties = sum(subset == HUMAN and _winner(row).startswith("tie") for subset, row in named)
    rows = tuple(
        _human_row(row) if subset == HUMAN else _correctness_row(row, subset)
        for subset, row in named
        if subset != HUMAN or not _winner(row).startswith("tie")
    )
    check_keys(rows, "question_id")
    if not rows:
        fix = "name a source with pairs that have a winner"
        raise BenchmarkError(f"all of its {ties} pairs are ties", where=source, fix=fix)
    left_out = f"{ties} of {len(named)} rows are ties and were left out." if ties else ""
    whole = BenchmarkRows(rows=rows, dataset=tables[0][1].dataset, title=tables[0][1].title, left_out=left_out)
    return _together(whole, tables, Counter(subset for subset, _ in named)) if source == ALL else whole


def _tables(source: str, revision: str | None) -> list[tuple[str, Table]]:
    """(subset, its table); the subset is empty where the rows must say it."""
    if source == ALL:
        if revision is not None:
            fix = "leave revision out, or name one of the six data sets"
            raise BenchmarkError(f"{ALL} is six data sets, and {revision!r} one revision", where="revision", fix=fix)
        return [(subset, read_table(hub_id, split=split)) for subset, (hub_id, split, _) in HUB.items()]
    for subset, (hub_id, split, _) in HUB.items():
        if source == hub_id:
            return [(subset, read_table(source, revision, split=split))]
    return [("", read_table(source, revision, pattern="**/*"))]


def _together(rows: BenchmarkRows, tables: Sequence[tuple[str, Table]], sizes: Mapping[str, int]) -> BenchmarkRows:
    revisions = [table.dataset.revision for _, table in tables]
    official = all(revisions) and sizes == {subset: size for subset, (_, _, size) in HUB.items()}
    dataset = rows.dataset.model_copy(
        update={"source": ALL, "revision": " ".join(revisions), "official": official},
    )
    return replace(rows, dataset=dataset, title="PPE" if official else ALL)


def _subset(row: TableRow) -> str:
    """The data set of a row: pairs with a winner are human preference, else the row or its file's path says it."""
    if "winner" in row.fields:
        return HUMAN
    if row.fields.get("benchmark") is not None:
        return one_of(row, "benchmark", CORRECTNESS, what="data set")
    for part in reversed(row.file.split("/")):
        words = f" {' '.join(re.findall('[a-z]+', part.lower()))} "
        for name in CORRECTNESS:
            if f" {name.removesuffix('_best_of_k').replace('_', ' ')} " in words:
                return name
    fix = f'name the file after one of {", ".join(CORRECTNESS)}, or give each row a "benchmark"'
    raise bad(row, "benchmark", "is missing, and the file's path names no data set", fix)


def _winner(row: TableRow) -> str:
    return one_of(row, "winner", WINNERS, what="winner")


def _human_row(row: TableRow) -> EvalRow:
    first, second = (assistant(text(row, f"response_{number}")) for number in (1, 2))
    won, lost = (first, second) if _winner(row) == "model_a" else (second, first)
    prompt = user(text(row, "prompt"))
    return EvalRow(
        id=row_id(row, "question_id"),
        subset=HUMAN,
        prompt=prompt,
        chosen=(won,),
        rejected=(lost,),
        group=prompt_group(prompt),
        where=row.where,
        facts={"pairs": "0>1", "order": "0 1" if won is first else "1 0", **_battle(row)},
    )


def _battle(row: TableRow) -> dict[str, str]:
    """Which models' responses these are, the winner's first, and the categories that are true of the prompt."""
    names = [row.fields.get(field) for field in ("model_a", "model_b")]
    categories = [name for name, value in row.fields.items() if value is True]
    facts = {"categories": " ".join(sorted(categories))} if categories else {}
    if not all(isinstance(name, str) and name for name in names):
        return facts
    won, lost = names if _winner(row) == "model_a" else reversed(names)
    return facts | {"won": str(won), "lost": str(lost)}


def _correctness_row(row: TableRow, subset: str) -> EvalRow:
    """The right responses first; `pairs` names the sampled ones by their new places, the right one first."""
    scores = _scores(row)
    responses = [assistant(text(row, f"response_{number}")) for number in range(1, len(scores) + 1)]
    order = [place for place, right in enumerate(scores) if right]
    order += [place for place, right in enumerate(scores) if not right]
    n_right, place_of = sum(scores), {old: new for new, old in enumerate(order)}
    pairs = [sorted(place_of[old] for old in pair) for pair in _pairs(row, scores)]
    prompt, model = user(text(row, "prompt")), row.fields.get("model_name")
    question = row_id(row, "question_id")
    return EvalRow(
        id=f"{question} {model}" if model else question,
        subset=subset,
        prompt=prompt,
        chosen=tuple(responses[old] for old in order[:n_right]),
        rejected=tuple(responses[old] for old in order[n_right:]),
        group=prompt_group(prompt),
        where=row.where,
        facts={
            "pairs": " ".join(f"{right}>{wrong}" for right, wrong in pairs),
            "order": " ".join(map(str, order)),
            "model": str(model or ""),
        },
    )


def _scores(row: TableRow) -> list[bool]:
    """Whether each response is right; both kinds must be there."""
    value = row.fields.get("scores")
    if not isinstance(value, list):
        raise bad(row, "scores", missing_or(row, "scores", "a list"), 'write "scores": [true, false, ...]')
    for place, score in enumerate(value):
        # Python's true and 1.0 equal 1, so that each of these spellings passes.
        if score not in (0, 1):
            raise bad(row, f"scores[{place}]", f"is {score!r}, neither true nor false", "write true or false")
    if len(set(value)) < 2:
        kind = "is an empty list" if not value else f"calls every response {'right' if value[0] else 'wrong'}"
        raise bad(row, "scores", kind, "remove the row: it has no pair of a right and a wrong response")
    return [bool(score) for score in value]


def _pairs(row: TableRow, scores: Sequence[bool]) -> list[list[int]]:
    """The sampled pairs, each of a right and a wrong response."""
    value = row.fields.get("sampled_conflict_pairs")
    if not isinstance(value, list) or not value:
        problem = "is an empty list" if value == [] else missing_or(row, "sampled_conflict_pairs", "a list")
        raise bad(row, "sampled_conflict_pairs", problem, 'write "sampled_conflict_pairs": [[0, 3], ...]')
    for place, pair in enumerate(value):
        if not _is_pair(pair, scores):
            problem = f"is {pair!r}, not the places of a right and a wrong response"
            fix = f"write two places from 0 to {len(scores) - 1} whose scores differ"
            raise bad(row, f"sampled_conflict_pairs[{place}]", problem, fix)
    return [[int(place) for place in pair] for pair in value]


def _is_pair(pair: object, scores: Sequence[bool]) -> bool:
    if not isinstance(pair, list) or len(pair) != 2:
        return False
    # type and not isinstance, since true is an int to Python and no place.
    places = [place for place in pair if type(place) is int and 0 <= place < len(scores)]
    return len(places) == 2 and scores[places[0]] != scores[places[1]]


def tally(subset: str, rows: Sequence[EvalRow], rewards: Rewards) -> Tally:
    """Pairs ordered rightly over pairs; a unit is a question, a row's result the share of its own pairs."""
    found = [_pairs_won(row, reward_N) for row, reward_N in zip(rows, rewards, strict=True)]
    won, pairs = (np.array(column, dtype=np.float64) for column in zip(*found, strict=True))
    unit = unit_numbers(rows)
    units_UF = np.stack([np.bincount(unit, won), np.bincount(unit, pairs)], axis=1).astype(np.float64)
    return Tally(
        results=tuple((won / pairs).tolist()),
        units=units_UF,
        statistic=mean_statistic,
        independent=len(units_UF) == len(rows) and bool((pairs == 1).all()),
    )


def _pairs_won(row: EvalRow, reward_N: Floats) -> tuple[int, int]:
    """(pairs whose better response has the strictly higher reward, pairs); NaN is higher than nothing."""
    pairs = [pair.split(">") for pair in row.facts["pairs"].split()]
    won = sum(bool(reward_N[int(right)] > reward_N[int(wrong)]) for right, wrong in pairs)
    return won, len(pairs)


def average(sizes: Mapping[str, int]) -> Weights:
    """Human preference weighs as much as all of correctness."""
    there = [name for name in CORRECTNESS if name in sizes]
    return {HUMAN: 1.0} | {name: 1 / len(there) for name in there}


def sections(sizes: Mapping[str, int]) -> Mapping[str, Weights]:
    """The two tracks that PPE reports."""
    there = {name: 1.0 for name in CORRECTNESS if name in sizes}
    return {"correctness": there} if there else {}


def details(rows: Sequence[EvalRow], rewards: Rewards) -> dict[str, float | None]:
    """The leaderboard of human preference, in all and by category; best of K, ROC AUC and the accuracy by source model
    of each correctness set that is there."""
    metrics = _human_details([(row, one) for row, one in zip(rows, rewards, strict=True) if row.subset == HUMAN])
    metrics |= _by_source_model(rows, rewards)
    for subset in CORRECTNESS:
        labelled = [
            (reward_N, len(row.chosen)) for row, reward_N in zip(rows, rewards, strict=True) if row.subset == subset
        ]
        if labelled:
            metrics |= {f"{subset}_{name}": value for name, value in curve_metrics(labelled).items()}
    return metrics


def _human_details(rows: Sequence[tuple[EvalRow, Floats]]) -> dict[str, float | None]:
    """The leaderboard of all battles, then with the accuracy over those of each category; none without names."""
    known = [(row, reward_N) for row, reward_N in rows if "won" in row.facts]
    if not known:
        return {}
    categories = sorted({name for row, _ in known for name in row.facts.get("categories", "").split()})
    metrics: dict[str, float | None] = {}
    for category in ("", *categories):
        own = [one for one in known if not category or category in one[0].facts.get("categories", "").split()]
        begin = f"{HUMAN}_{category}_" if category else f"{HUMAN}_"
        margins = np.array([reward_N[0] - reward_N[1] for _, reward_N in own])
        battles = Battles([row.facts["won"] for row, _ in own], [row.facts["lost"] for row, _ in own], margins)
        if category:
            metrics[f"{begin}accuracy"] = float((margins > 0).mean())
        metrics |= {f"{begin}{name}": value for name, value in leaderboard_metrics(battles).items()}
    return metrics


def _by_source_model(rows: Sequence[EvalRow], rewards: Rewards) -> dict[str, float | None]:
    """Accuracy over the sampled pairs by the model whose responses they are: of each set, and the mean of the sets."""
    found: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for row, reward_N in zip(rows, rewards, strict=True):
        if row.subset != HUMAN and row.facts.get("model"):
            found[row.facts["model"], row.subset].append(_pairs_won(row, reward_N))
    accuracy = {key: sum(won for won, _ in own) / sum(pairs for _, pairs in own) for key, own in found.items()}
    metrics: dict[str, float | None] = {f"{subset}_accuracy_{model}": one for (model, subset), one in accuracy.items()}
    for model in sorted({model for model, _ in accuracy}):
        own = [one for (name, _), one in accuracy.items() if name == model]
        metrics[f"correctness_accuracy_{model}"] = float(np.mean(own))
    return metrics


Labelled = Sequence[tuple[Floats, int]]
"""(rewards with the right responses first, number of right ones) of each prompt."""


def curve_metrics(labelled: Labelled) -> dict[str, float | None]:
    """What PPE measures beyond pairs, of prompts with K sampled responses that are right or wrong.

        curve(k)   chance that the response with the highest reward, of k drawn without replacement, is right; the mean
                   over prompts. Exact, by counting draws: no sampling.
        ideal(k)   chance that one of the k is right at all: what an oracle would reach.

        max        max over k of curve(k)
        end        curve(K)
        area       mean over k of curve(k)
        loss       mean over k of ideal(k) - curve(k): the mean squared error of the pick's correctness (0 or 1)
        roc_auc    over all responses of all prompts pooled; equal rewards count half

    Equal rewards: one of them is picked at random. A missing reward stands below every other. Prompts with fewer
    responses than others limit K.
    """
    size = min(len(reward_N) for reward_N, _ in labelled)
    curve = np.mean([best_of_k(reward_N, n_right)[:size] for reward_N, n_right in labelled], axis=0)
    ideal = np.mean([best_of_k(_oracle(reward_N, n_right), n_right)[:size] for reward_N, n_right in labelled], axis=0)
    return {
        "max": float(curve.max()),
        "end": float(curve[-1]),
        "area": float(curve.mean()),
        "loss": float((ideal - curve).mean()),
        "roc_auc": roc_auc(labelled),
    }


def best_of_k(reward_N: Floats, n_right: int) -> Floats:
    """curve(k) of one prompt for k = 1 … N, shape (N,).

    The response that is j-th from below is the best of k drawn with the chance that `pick_probabilities` counts;
    within a group of equal rewards each is picked equally often, and right with the group's share of right ones.
    """
    _, group, sizes = np.unique(_below(reward_N), return_inverse=True, return_counts=True)
    share_right = np.bincount(group[:n_right], minlength=len(sizes)) / sizes
    return np.asarray(_chances(len(reward_N)) @ share_right[np.sort(group)], dtype=np.float64)


def roc_auc(labelled: Labelled) -> float | None:
    """The chance that a right response of any prompt is above a wrong one of any prompt; equal ones count half."""
    parts = [np.split(_below(reward_N), [n_right]) for reward_N, n_right in labelled]
    return statistics.auc(*(np.concatenate(kind) for kind in zip(*parts, strict=True)))


def _oracle(reward_N: Floats, n_right: int) -> Floats:
    return (np.arange(len(reward_N)) < n_right).astype(np.float64)


def _below(reward_N: Floats) -> Floats:
    return np.where(np.isnan(reward_N), -np.inf, reward_N)


@cache
def _chances(size: int) -> Floats:
    return pick_probabilities(size, range(1, size + 1))


RESAMPLES = 200
FEWEST_MODELS = 3
_SEED = 17
_ROUNDS, _CLOSE = 500, 1e-9
_PRIOR = 0.5

NAMES = ("spearman", "kendall", "row_pearson", "separability", "confidence_agreement", "brier")


@dataclass(frozen=True, slots=True)
class Battles:
    """Battles that people decided: names of winner and loser, and the margin of the winner's reward, NaN if missing."""

    won: Sequence[str]
    lost: Sequence[str]
    margins: Floats


def leaderboard_metrics(battles: Battles) -> dict[str, float | None]:
    """How well the reward model's own verdicts on the same battles rebuild the people's leaderboard.

        rating                  Bradley-Terry strength of a model from its battles; half a win each way is added for
                                every pair of models that met, so that a model that never lost has a finite strength
        interval                2.5 and 97.5 % of the ratings over resampled battles, the same resamples for both
        spearman, kendall       of the two lists of ratings
        row_pearson             the mean over models of Pearson's correlation of its two rows of win rates
        separability            share of the pairs of models whose intervals by the reward model do not overlap
        confidence_agreement    over the pairs that people separate: +1 where the reward model separates them the same
                                way, -1 the other way, 0 where it does not; the mean
        brier                   over all pairs: (share of resamples that rank one above the other - 1 or 0)², the mean

    Terms: Arena-Hard (2406.11939). PPE's code was not at hand: prior, intervals and that ties and battles with a
    missing reward are left out are this project's reading. Equal rewards are half a win each. None where there are
    fewer than three models with battles.
    """
    there = ~np.isnan(battles.margins)
    names = sorted({*np.array(battles.won)[there].tolist(), *np.array(battles.lost)[there].tolist()})
    if len(names) < FEWEST_MODELS:
        return dict.fromkeys(NAMES)
    number = {name: place for place, name in enumerate(names)}
    won, lost = (np.array([number[name] for name in side])[there] for side in (battles.won, battles.lost))
    share = np.where(battles.margins[there] > 0, 1.0, np.where(battles.margins[there] < 0, 0.0, 0.5))
    # n draws with replacement are a multinomial of counts; the same counts weigh the people's battles and the model's.
    counts = np.random.default_rng(_SEED).multinomial(len(won), np.full(len(won), 1 / len(won)), size=RESAMPLES)
    weights = np.vstack([np.ones(len(won)), counts])  # the battles themselves first
    people = _wins(won, lost, np.ones(len(won)), weights, len(names))
    model = _wins(won, lost, share, weights, len(names))
    rated = [bradley_terry_ratings(wins) for wins in (people, model)]
    (own, samples), (other, other_samples) = [(found[0], found[1:]) for found in rated]
    pairs = np.array(list(combinations(range(len(names)), 2)))
    sides = [_separated(found, pairs) for found in (samples, other_samples)]
    sure = sides[0] != 0
    above = (other_samples[:, pairs[:, 0]] > other_samples[:, pairs[:, 1]]).mean(axis=0)
    truth = (own[pairs[:, 0]] > own[pairs[:, 1]]).astype(np.float64)
    return {
        "spearman": _correlation(stats.spearmanr, own, other),
        "kendall": _correlation(stats.kendalltau, own, other),
        "row_pearson": _row_pearson(people[0], model[0]),
        "separability": float((sides[1] != 0).mean()),
        "confidence_agreement": float((sides[0] * sides[1])[sure].mean()) if sure.any() else None,
        "brier": float(((above - truth) ** 2).mean()),
    }


def bradley_terry_ratings(wins_RMM: Floats) -> Floats:
    """Log strengths, mean 0, shape (resamples, models), of wins, shape (resamples, models, models): row over column.

    Hunter's minorisation (2004), until no strength moves by more than a part in 10⁹.
    """
    # The prior goes to pairs that met; elsewhere it would make battles up.
    met = (wins_RMM + wins_RMM.swapaxes(1, 2)) > 0
    wins_RMM = wins_RMM + _PRIOR * met
    games, total = wins_RMM + wins_RMM.swapaxes(1, 2), wins_RMM.sum(axis=2)
    strength = np.ones(total.shape)
    for _ in range(_ROUNDS):
        expected = (games / (strength[:, :, None] + strength[:, None, :])).sum(axis=2)
        # A model that a resample left without battles keeps its strength.
        moved = np.divide(total, expected, out=strength.copy(), where=expected > 0)
        # Strengths are determined up to a factor only: their logarithms are kept at mean 0.
        moved /= np.exp(np.log(moved).mean(axis=1, keepdims=True))
        done = np.abs(moved - strength).max() <= _CLOSE * strength.max()
        strength = moved
        if done:
            break
    return np.asarray(np.log(strength), dtype=np.float64)


def _wins(won: NDArray[np.int64], lost: NDArray[np.int64], share: Floats, weights: Floats, models: int) -> Floats:
    """Wins [row over column] under each list of weights; `share` of a battle goes to the people's winner."""
    # Each battle is entered twice, with the share of either side.
    cells = np.concatenate([won * models + lost, lost * models + won])
    parts = np.hstack([weights * share, weights * (1 - share)])
    tables = [np.bincount(cells, part, minlength=models * models) for part in parts]
    return np.array(tables, dtype=np.float64).reshape(len(weights), models, models)


def _separated(samples_RM: Floats, pairs: NDArray[np.int64]) -> Floats:
    """1 where the first model's interval is above the second's, -1 where it is below, 0 where they overlap."""
    low, high = np.quantile(samples_RM, [0.025, 0.975], axis=0)
    first, second = pairs.T
    return np.where(low[first] > high[second], 1.0, np.where(high[first] < low[second], -1.0, 0.0))


def _row_pearson(people_MM: Floats, model_MM: Floats) -> float | None:
    """Pearson's correlation of each model's win rates against the models that it met; rows without spread left out."""
    games = people_MM + people_MM.T
    found = []
    for row in range(len(games)):
        met = games[row] > 0
        rates = [wins[row][met] / games[row][met] for wins in (people_MM, model_MM)]
        if met.sum() > 1 and all(np.ptp(rate) > 0 for rate in rates):
            found.append(np.corrcoef(*rates)[0, 1])
    return float(np.mean(found)) if found else None


def _correlation(measure: object, first: Floats, second: Floats) -> float | None:
    """None where one side is constant: it ranks nothing."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(measure(first, second).statistic)  # type: ignore[operator]


PPE = Benchmark(
    name="ppe",
    title="PPE",
    protocol=PROTOCOL,
    load=load_rows,
    subsets=SUBSETS,
    tally=tally,
    baseline=pair_baseline,
    average=average,
    details=details,
    sections=sections,
    known_chance=0.5,
    # The sampled pairs of 32 answers would be asked one by one.
    judged=lambda row: "pairwise" if row.subset == HUMAN else "rating",
    averaged=lambda sizes: [*([HUMAN] if HUMAN in sizes else []), *sections(sizes)],
)
