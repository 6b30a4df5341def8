"""A policy's own samples: a file of prompts, each with several completions and, where known, whether they are right.

    samples = read_policy_samples("samples.jsonl")       {"prompt", "completions": […], "labels": […]}
    rewards = score_samples(samples, scorer)             one array a prompt, NaN where there is no reward

`prompt` is text or a list of messages; `responses` is read as `completions`, `correct` as `labels` (true or false, or 1
and 0, one a completion). Rows of one prompt are joined.
"""

from __future__ import annotations

import reprlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rewardsmith.errors import BenchmarkError
from rewardsmith.evaluation.contract import Floats
from rewardsmith.evaluation.fields import bad, texts
from rewardsmith.evaluation.prompts import plain_text, prompt
from rewardsmith.evaluation.runner import score_once, why_missing
from rewardsmith.evaluation.tables import TableRow, read_table
from rewardsmith.protocols import Progress, Scorer
from rewardsmith.records import DatasetInfo, reason_code
from rewardsmith.types import Conversation, Message

COMPLETIONS = ("completions", "responses")
LABELS = ("labels", "correct")


@dataclass(frozen=True, slots=True)
class PolicySample:
    """One prompt with its completions; a label is None where none was given."""

    prompt: Conversation
    completions: tuple[str, ...]
    labels: tuple[bool | None, ...]

    @property
    def conversations(self) -> tuple[Conversation, ...]:
        """What a scorer is asked; completions of a plain-text prompt are plain text."""
        role = "text" if self.prompt[-1].role == "text" else "assistant"
        return tuple((*self.prompt, Message(role, text)) for text in self.completions)


@dataclass(frozen=True, slots=True)
class PolicySamples:
    """All prompts of a file, in order."""

    prompts: tuple[PolicySample, ...]
    dataset: DatasetInfo
    title: str


def read_policy_samples(source: str) -> PolicySamples:
    """Prompts with their completions.

    Raises:
        BenchmarkError: a row does not fit (file, row, field and fix are named), or no prompt has two completions.
        DataError: the file cannot be read.
    """
    table = read_table(source)
    joined: dict[Conversation, PolicySample] = {}
    for row in table.rows:
        found = _sample(row)
        before = joined.get(found.prompt, PolicySample(found.prompt, (), ()))
        joined[found.prompt] = PolicySample(
            found.prompt, before.completions + found.completions, before.labels + found.labels
        )
    if all(len(sample.completions) < 2 for sample in joined.values()):
        raise BenchmarkError(
            "no prompt has two completions, and rewards within a prompt are what policy optimisation sees",
            where=source,
            fix="sample several completions for each prompt",
        )
    return PolicySamples(tuple(joined.values()), table.dataset, table.title)


def as_plain_text(samples: PolicySamples) -> PolicySamples:
    """The same samples as plain text, for a model that was trained without a chat template."""
    prompts = tuple(
        PolicySample(plain_text(sample.prompt), sample.completions, sample.labels) for sample in samples.prompts
    )
    return PolicySamples(prompts, samples.dataset, samples.title)


def score_samples(samples: PolicySamples, scorer: Scorer, progress: Progress | None = None) -> list[Floats]:
    """Rewards of each prompt's completions; equal conversations are scored once, infinities count as missing.

    Raises:
        ValueError: the scorer did not answer with one reward a conversation.
    """
    asked = [sample.conversations for sample in samples.prompts]
    rewards = score_once((text for texts in asked for text in texts), scorer, progress)
    found = [np.array([rewards[text] for text in texts], dtype=np.float64) for texts in asked]
    return [np.where(np.isfinite(reward_N), reward_N, np.nan) for reward_N in found]


def missing_samples(samples: PolicySamples, rewards: Sequence[Floats], scorer: Scorer) -> dict[str, int]:
    """How many rewards are missing, by reason."""
    absent = [
        text
        for sample, reward_N in zip(samples.prompts, rewards, strict=True)
        for text, reward in zip(sample.conversations, reward_N, strict=True)
        if not np.isfinite(reward)
    ]
    reasons = why_missing(absent, scorer)
    return dict(sorted(Counter(reason_code(reasons[text]) for text in absent).items()))


def _sample(row: TableRow) -> PolicySample:
    completions = texts(row, _given(row, COMPLETIONS) or COMPLETIONS[0])
    field = _given(row, LABELS)
    labels = (None,) * len(completions) if field is None else _labels(row, field, len(completions))
    return PolicySample(prompt(row), tuple(completions), labels)


def _given(row: TableRow, names: Sequence[str]) -> str | None:
    """The one of several names that the row has."""
    there = [name for name in names if row.fields.get(name) is not None]
    if len(there) > 1:
        raise bad(row, there[1], f"stands beside {there[0]!r}, which means the same", "keep one of the two")
    return there[0] if there else None


def _labels(row: TableRow, field: str, count: int) -> tuple[bool | None, ...]:
    value = row.fields[field]
    if not isinstance(value, list) or len(value) != count:
        found = f"{len(value)} of them" if isinstance(value, list) else reprlib.repr(value)
        problem = f"there are {count} completions, but the labels are {found}"
        raise bad(row, field, problem, "give one label a completion")
    for place, label in enumerate(value):
        if label is not None and label not in (0, 1):
            problem = f"is {reprlib.repr(label)}, not true or false"
            raise bad(row, f"{field}[{place}]", problem, "write true, false, 1, 0, or null where it is not known")
    return tuple(None if label is None else bool(label) for label in value)
