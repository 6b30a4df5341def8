"""Rows and rewards as flat arrays: what the analyses beside the scores compute on.

    answers_of(rows, rewards)       each distinct answer of a prompt once, with its reward, length and prompt
    margins_of(rows, rewards)       each chosen response against each rejected one of its row
    centred, ranks_within           a value relative to the other answers of its prompt

Suffixes: A answers, P pairs of responses, N anything. Rows with the same prompt have the same prompt number; a row
without a prompt is a prompt of its own. Answers and pairs without a reward are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewardsmith.evaluation.contract import EvalRow, Floats, Rewards
from rewardsmith.types import Conversation

Ints = NDArray[np.int64]


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


def _differences(reward_N: Floats, counts: tuple[int, int]) -> Floats:
    chosen = counts[0]
    return (reward_N[:chosen, None] - reward_N[None, chosen:]).ravel()
