"""The rewards themselves: how they are distributed, and rows and rewards as flat arrays for the analyses.

    summarise_rewards(rows, rewards)    what the report draws and the spread gates read: all rewards, chosen beside
                                        rejected, the spread among the answers of one prompt, and flags in words
    length_rewards(rows)                the rewards of a scorer that only measures length
    answers_of(rows, rewards)           each distinct answer of a prompt once, with its reward, length and prompt
    margins_of(rows, rewards, lengths)  each chosen response against each rejected one of its row
    centred, ranks_within               a value relative to the other answers of its prompt

The spread within a prompt is what policy optimisation sees: a baseline or a group mean takes out what the answers of
one prompt have in common, and low reward variance there makes progress slow however accurate the model is (Razin et
al. 2025, arXiv 2503.15477).

Suffixes: A answers, P pairs of responses, N anything. Rows with the same prompt have the same prompt number; a row
without a prompt is a prompt of its own. Answers and pairs without a reward are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewardsmith.evaluation.contract import EvalRow, Floats, Rewards
from rewardsmith.records.evaluation import RewardFlag, RewardSummary, SideSummary, WithinPrompt
from rewardsmith.types import Conversation

Ints = NDArray[np.int64]

LENGTH_RULE = "the longer response wins (reward = number of characters of the response)"
FLAT = 0.01
"""A prompt is flat where its rewards span at most this share of the standard deviation of all rewards."""

_QUANTILES = {"p01": 0.01, "p05": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "p99": 0.99}
_BINS = 40
_ENOUGH = 20
"""Prompts, or rewards, under which a share of them says little."""

_MANY = 100
_COLLAPSED, _SATURATED, _FLAT_PROMPTS, _WITHIN = 0.5, 0.05, 0.2, 0.1


def length_rewards(rows: Sequence[EvalRow]) -> list[Floats]:
    """The length-only scorer: the number of characters of each response."""
    return [np.array([response_length(response) for response in row.responses], dtype=np.float64) for row in rows]


def summarise_rewards(rows: Sequence[EvalRow], rewards: Rewards) -> RewardSummary:
    """Distribution of the rewards that could be computed; `texts` counts distinct conversations."""
    values = _present(rewards)
    texts = len({conversation for row in rows for conversation in row.conversations})
    if values.size == 0:
        return RewardSummary(n=0, mean=None, std=None, min=None, max=None, distinct=0, texts=texts)
    within = within_prompt(answers_of(rows, rewards))
    return RewardSummary(
        n=values.size,
        mean=float(values.mean()),
        std=float(values.std()),
        min=float(values.min()),
        max=float(values.max()),
        distinct=len(np.unique(values)),
        texts=texts,
        quantiles={name: float(np.quantile(values, share)) for name, share in _QUANTILES.items()},
        histogram=_histogram(values),
        chosen=_side([reward_N[: len(row.chosen)] for row, reward_N in zip(rows, rewards, strict=True)]),
        rejected=_side([reward_N[len(row.chosen) :] for row, reward_N in zip(rows, rewards, strict=True)]),
        within_prompt=within,
        flags=reward_flags(values, within),
    )


def within_prompt(answers: Answers) -> WithinPrompt:
    """The spread of rewards among the distinct answers of one prompt. Answers without a reward are not there."""
    several = np.bincount(answers.prompts, minlength=1)[answers.prompts] > 1
    reward_A, prompt_A = answers.rewards[several], answers.prompts[several]
    if reward_A.size == 0:
        return WithinPrompt(prompts=0)
    place_A, prompts = compact(prompt_A)
    order_A = np.argsort(place_A, kind="stable")
    starts = np.searchsorted(place_A[order_A], np.arange(prompts))
    sorted_A = reward_A[order_A]
    span_G = np.maximum.reduceat(sorted_A, starts) - np.minimum.reduceat(sorted_A, starts)
    count_G = np.bincount(place_A)
    mean_G = np.bincount(place_A, weights=reward_A) / count_G
    squares_G = np.bincount(place_A, weights=(reward_A - mean_G[place_A]) ** 2)
    # By span: the deviations of equal rewards from their rounded mean need not be exactly 0.
    std_G = np.where(span_G > 0, np.sqrt(squares_G / count_G), 0.0)
    # As above: `std` of equal numbers can be 1e-17, and a share of it would make noise of flat prompts.
    spread = float(reward_A.std()) if float(np.ptp(reward_A)) > 0 else 0.0
    flat = int((span_G <= FLAT * spread).sum())
    return WithinPrompt(
        prompts=prompts,
        std_mean=float(std_G.mean()),
        std_median=float(np.median(std_G)),
        flat=flat,
        flat_share=flat / prompts,
        # The two sums round differently: the quotient can pass 1 in the last digit.
        variance_share=min(1.0, float(squares_G.sum()) / (spread**2 * reward_A.size)) if spread > 0 else None,
    )


def reward_flags(values: Floats, within: WithinPrompt) -> tuple[RewardFlag, ...]:
    """What a policy would stumble over, in words; `values` are all finite rewards."""
    found = _value_flags(values)
    if within.prompts >= _ENOUGH and within.flat_share is not None and within.flat_share >= _FLAT_PROMPTS:
        text = (
            f"{within.flat:,} of {within.prompts:,} prompts give all their answers nearly the same reward: the policy "
            "learns nothing from them."
        )
        found.append(RewardFlag(code="flat_within_prompt", text=text))
    if within.prompts >= _ENOUGH and within.variance_share is not None and within.variance_share < _WITHIN:
        text = (
            f"Only {100 * within.variance_share:.0f} % of the variance lies within prompts: the reward mostly rates "
            "the prompt, which a policy cannot change."
        )
        found.append(RewardFlag(code="between_prompts", text=text))
    return tuple(found)


def _value_flags(values: Floats) -> list[RewardFlag]:
    """Flags of the values alone."""
    distinct, counts = np.unique(values, return_counts=True)
    if values.size < 2:
        return []
    if len(distinct) == 1:
        return [RewardFlag(code="collapsed", text=f"All {values.size:,} rewards are the same.")]
    common = int(counts.argmax())
    if values.size >= _ENOUGH and counts[common] / values.size >= _COLLAPSED:
        share = 100 * counts[common] / values.size
        text = f"{share:.0f} % of the rewards are the same, {distinct[common]:.4g}: the model tells few texts apart."
        return [RewardFlag(code="collapsed", text=text)]
    found = []
    for end, side in ((-1, "highest"), (0, "lowest")):
        share = float(counts[end] / values.size)
        if values.size >= _MANY and share >= _SATURATED:
            text = (
                f"{100 * share:.0f} % of the rewards are exactly the {side} one, {distinct[end]:.4g}: the model is "
                "saturated there, or its rewards were clipped."
            )
            found.append(RewardFlag(code="saturated", text=text))
    if values.size >= _MANY and distinct[0] >= 0 and distinct[-1] <= 1:
        text = "All rewards lie between 0 and 1: a sigmoid may have been applied, and margins then mean something else."
        found.append(RewardFlag(code="probabilities", text=text))
    return found


def _present(rewards: Rewards) -> Floats:
    values: Floats = np.concatenate([np.empty(0), *rewards])
    return np.asarray(values[~np.isnan(values)], dtype=np.float64)


def _side(rewards: Rewards) -> SideSummary | None:
    values = _present(rewards)
    if values.size == 0:
        return None
    return SideSummary(
        n=values.size, mean=float(values.mean()), std=float(values.std()), median=float(np.median(values))
    )


def _histogram(values: Floats) -> tuple[int, ...]:
    low, high = float(values.min()), float(values.max())
    if low == high:
        return (values.size,)
    place = np.minimum(((values - low) / (high - low) * _BINS).astype(np.int64), _BINS - 1)
    return tuple(np.bincount(place, minlength=_BINS).tolist())


@dataclass(frozen=True, slots=True)
class Answers:
    """Distinct (prompt, response) texts that have a reward. `prompts` numbers their prompts from 0."""

    rewards: Floats
    lengths: Floats
    prompts: Ints


@dataclass(frozen=True, slots=True)
class Margins:
    """Pairs of a chosen and a rejected response, as chosen minus rejected; `prompts` numbers their prompts from 0."""

    rewards: Floats
    lengths: Floats
    prompts: Ints


def answers_of(rows: Sequence[EvalRow], rewards: Rewards) -> Answers:
    """Each distinct answer once; one that stands in several rows has the mean of its rewards there."""
    prompt_R = prompts_of(rows)
    places: dict[tuple[int, Conversation], int] = {}
    place_N = np.array(
        [
            places.setdefault((prompt, response), len(places))
            for row, prompt in zip(rows, prompt_R.tolist(), strict=True)
            for response in row.responses
        ],
        dtype=np.int64,
    )
    reward_N = np.concatenate([np.empty(0), *rewards])
    present_N = ~np.isnan(reward_N)
    count_A = np.bincount(place_N[present_N], minlength=len(places))
    total_A = np.bincount(place_N[present_N], weights=reward_N[present_N], minlength=len(places))
    length_A = np.array([response_length(response) for _, response in places], dtype=np.float64)
    prompt_A = np.array([prompt for prompt, _ in places], dtype=np.int64)
    known_A = count_A > 0
    return Answers(total_A[known_A] / count_A[known_A], length_A[known_A], prompt_A[known_A])


def margins_of(rows: Sequence[EvalRow], rewards: Rewards, lengths: Rewards) -> Margins:
    """All pairs of a chosen and a rejected response within a row, in the order of the rows."""
    prompt_R = prompts_of(rows)
    counts = [(len(row.chosen), len(row.rejected)) for row in rows]
    reward_P = np.concatenate([np.empty(0), *(_differences(*pair) for pair in zip(rewards, counts, strict=True))])
    length_P = np.concatenate([np.empty(0), *(_differences(*pair) for pair in zip(lengths, counts, strict=True))])
    prompt_P = np.repeat(prompt_R, [chosen * rejected for chosen, rejected in counts])
    known_P = ~np.isnan(reward_P)
    return Margins(reward_P[known_P], length_P[known_P], prompt_P[known_P])


def _differences(reward_N: Floats, counts: tuple[int, int]) -> Floats:
    chosen = counts[0]
    return (reward_N[:chosen, None] - reward_N[None, chosen:]).ravel()


def prompts_of(rows: Sequence[EvalRow]) -> Ints:
    """The number of each row's prompt, shape (rows,); equal prompts have equal numbers."""
    known: dict[object, int] = {}
    return np.array([known.setdefault(row.prompt or row.responses, len(known)) for row in rows], dtype=np.int64)


def response_length(response: Conversation) -> int:
    """Characters of a response."""
    return sum(len(message.text) for message in response)


def centred(value_N: Floats, group_N: Ints) -> Floats:
    """Each value minus the mean of its group."""
    count_G = np.maximum(np.bincount(group_N), 1)
    return np.asarray(value_N - (np.bincount(group_N, weights=value_N) / count_G)[group_N], dtype=np.float64)


def ranks_within(value_N: Floats, group_N: Ints) -> Floats:
    """Each value's rank in its group, from 1; equal values share their mean rank."""
    order_N = np.lexsort((value_N, group_N))
    value, group = value_N[order_N], group_N[order_N]
    place_N = np.arange(len(value), dtype=np.float64)
    new_group = np.concatenate([np.ones(1, dtype=bool), group[1:] != group[:-1]])[: len(value)]
    new_block = new_group | np.concatenate([np.ones(1, dtype=bool), value[1:] != value[:-1]])[: len(value)]
    block_N = np.cumsum(new_block) - 1
    mean_place = np.bincount(block_N, weights=place_N) / np.maximum(np.bincount(block_N), 1)
    start_N = np.maximum.accumulate(np.where(new_group, place_N, 0.0)) if len(value) else place_N
    rank_N = np.empty(len(value))
    rank_N[order_N] = mean_place[block_N] - start_N + 1
    return rank_N


def compact(group_N: Ints) -> tuple[Ints, int]:
    """Groups renumbered from 0 without gaps, and how many there are."""
    names, place_N = np.unique(group_N, return_inverse=True)
    return place_N.astype(np.int64), len(names)


def group_sums(columns: Sequence[Floats], group_N: Ints) -> Floats:
    """Sums of each column over each group, shape (groups, columns): the units of a bootstrap over groups."""
    place_N, groups = compact(group_N)
    return np.stack([np.bincount(place_N, weights=column, minlength=groups) for column in columns], axis=1)
