"""Rewards on a policy's own samples: will policy optimisation move, and will it move the right way?

    samples = read_policy_samples("samples.jsonl")       {"prompt", "completions": […], "labels": […]}
    rewards = score_samples(samples, scorer)             one array a prompt, NaN where there is no reward
    record = policy_record(samples, rewards, seed=17, resamples=2000, model="runs/x/model")
    record.reading                                       what it means, in sentences: the finding, the reason, the fix

`prompt` is text or a list of messages; `responses` is read as `completions`, `correct` as `labels` (true or false, or 1
and 0, one a completion). Rows of one prompt are joined.

A policy gradient sees only differences among completions of one prompt: adding a number to all rewards of a prompt
changes nothing, and GRPO and RLOO subtract the prompt's mean outright. So the variance *within* prompts decides how
fast the policy moves; a reward model with more accuracy and less of it can be the slower teacher (Razin et al. 2025,
arXiv 2503.15477). Labels, where they exist, say whether it moves the right way.
"""

from __future__ import annotations

import math
import reprlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rewardsmith import statistics
from rewardsmith.errors import BenchmarkError
from rewardsmith.evaluation.analysis import best_of_n_curve, pick_probabilities
from rewardsmith.evaluation.contract import Floats, Rewards
from rewardsmith.evaluation.distribution import FLAT
from rewardsmith.evaluation.results import score_once, why_missing
from rewardsmith.evaluation.rows import TableRow, bad, prompt, read_table, texts
from rewardsmith.protocols import Progress, Scorer
from rewardsmith.records.evaluation import DatasetInfo, reason_code
from rewardsmith.records.probes import PolicyLabels, PolicySamplesRecord
from rewardsmith.rendering.messages import plain_text
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


def policy_record(
    samples: PolicySamples, rewards: Rewards, *, seed: int, resamples: int, model: str
) -> PolicySamplesRecord:
    """Variance, flat prompts, gain of best-of-n, and accuracy where labels exist.

    Args:
        samples: the prompts.
        rewards: one array a prompt; NaN where there is no reward.
        seed: of the bootstrap.
        resamples: bootstrap resamples.
        model: name of the scored model, for the record.
    """
    present = [reward_N[~np.isnan(reward_N)] for reward_N in rewards]
    several = [reward_N for reward_N in present if len(reward_N) > 1]
    every = np.concatenate([np.empty(0), *present])
    # By range: `std` of equal rewards can be 1e-17, and prompts are flat by a share of it.
    std = None if not every.size else 0.0 if np.ptp(every) == 0 else float(every.std())
    flat = sum(float(np.ptp(reward_N)) <= FLAT * (std or 0.0) for reward_N in several)
    flat_interval = statistics.wilson_interval(flat, len(several)) if several else None
    record = PolicySamplesRecord(
        model=model,
        dataset=samples.dataset,
        prompts=len(samples.prompts),
        completions=sum(len(sample.completions) for sample in samples.prompts),
        n_missing=sum(int(np.isnan(reward_N).sum()) for reward_N in rewards),
        judged=len(several),
        reward_mean=float(every.mean()) if every.size else None,
        reward_std=std,
        **_spread(several, seed, resamples),
        flat=flat,
        flat_share=flat / len(several) if several else None,
        flat_low=flat_interval.low if flat_interval else None,
        flat_high=flat_interval.high if flat_interval else None,
        flat_below=None if std is None else FLAT * std,
        same_text=sum(len(sample.completions) > 1 and len(set(sample.completions)) == 1 for sample in samples.prompts),
        gains=_gains(several),
        labels=_group_labels(samples, rewards, seed, resamples),
        reading=(),
    )
    return record.model_copy(update={"reading": read_in_words(record)})


def _spread(several: Rewards, seed: int, resamples: int) -> dict[str, float | None]:
    """Standard deviations within and between prompts, and the part of the variance that lies within."""
    if not several:
        names = ("within_std", "within_std_low", "within_std_high", "between_std", "within_share")
        return dict.fromkeys(names)
    variance_P = np.array([reward_N.var(ddof=1) if np.ptp(reward_N) else 0.0 for reward_N in several])
    samples = statistics.bootstrap_means(variance_P, seed=seed, resamples=resamples)
    interval = statistics.percentile_interval(samples)
    mean_P = np.array([reward_N.mean() for reward_N in several])
    every = np.concatenate(list(several))
    within = sum(float(((reward_N - reward_N.mean()) ** 2).sum()) for reward_N in several if np.ptp(reward_N))
    whole = float(((every - every.mean()) ** 2).sum()) if np.ptp(every) else 0.0
    return {
        "within_std": math.sqrt(variance_P.mean()),
        "within_std_low": math.sqrt(max(0.0, interval.low)),
        "within_std_high": math.sqrt(max(0.0, interval.high)),
        "between_std": float(mean_P.std()) if np.ptp(every) else 0.0,
        "within_share": within / whole if whole else None,
    }


def _gains(several: Rewards) -> dict[str, float]:
    """n → expected best reward of n completions minus their mean, for n = 2, 4, 8, … and all.

    Over the prompts with at least as many completions as most prompts have, so that all points are over the same ones.
    """
    if not several:
        return {}
    counts = Counter(len(reward_N) for reward_N in several)
    most = max(counts, key=lambda size: (counts[size], size))
    steps = sorted({most, *(2**power for power in range(1, most.bit_length()) if 2**power <= most)})
    gain_PN = [
        pick_probabilities(len(reward_N), steps) @ np.sort(reward_N) - reward_N.mean()
        for reward_N in several
        if len(reward_N) >= most
    ]
    return {str(n): float(gain) for n, gain in zip(steps, np.mean(gain_PN, axis=0), strict=True)}


def _group_labels(samples: PolicySamples, rewards: Rewards, seed: int, resamples: int) -> PolicyLabels | None:
    """What labels say; None where no completion with a reward has one."""
    labelled = [_labelled(reward_N, sample.labels) for sample, reward_N in zip(samples.prompts, rewards, strict=True)]
    labelled = [(reward_N, right_N) for reward_N, right_N in labelled if reward_N.size]
    if not labelled:
        return None
    mixed = [auc for reward_N, right_N in labelled if (auc := _auc(reward_N, right_N)) is not None]
    interval = None
    if mixed:
        resampled = statistics.bootstrap_means(mixed, seed=seed, resamples=resamples)
        interval = statistics.score_interval(float(np.mean(mixed)), resampled, len(mixed))
    right = np.concatenate([right_N for _, right_N in labelled])
    return PolicyLabels(
        completions=len(right),
        correct=float(right.mean()),
        mixed=len(mixed),
        auc=float(np.mean(mixed)) if mixed else None,
        auc_low=interval.low if interval else None,
        auc_high=interval.high if interval else None,
        pooled_auc=_auc(np.concatenate([reward_N for reward_N, _ in labelled]), right),
        best_of_n=best_of_n_curve(
            [reward_N for reward_N, _ in labelled],
            [right_N for _, right_N in labelled],
            np.arange(len(labelled)),
            seed=seed,
            resamples=resamples,
        ),
    )


def _labelled(reward_N: Floats, labels: Sequence[bool | None]) -> tuple[Floats, Floats]:
    """Rewards and labels (1 right, 0 wrong) of the completions that have both."""
    right_N = np.array([np.nan if label is None else float(label) for label in labels])
    both_N = ~np.isnan(right_N) & ~np.isnan(reward_N)
    return reward_N[both_N], right_N[both_N]


def _auc(reward_N: Floats, right_N: Floats) -> float | None:
    return statistics.auc(reward_N[right_N == 1], reward_N[right_N == 0])


LOW_WITHIN = 0.1
MANY_FLAT = 0.2
"""From these shares on, the sentence is a warning."""

_CHANCE = 0.5


def read_in_words(record: PolicySamplesRecord) -> tuple[str, ...]:
    """Sentences, the most important first; never empty."""
    return (*_missing(record), *_variance(record), *_flat(record), *_word_labels(record.labels), *_gain(record))


def _missing(record: PolicySamplesRecord) -> Iterator[str]:
    if record.n_missing:
        yield f"{record.n_missing:,} of {record.completions:,} rewards could not be computed and count nowhere."
    if not record.judged:
        yield "No prompt has two rewards: nothing can be said about what policy optimisation would see."


def _variance(record: PolicySamplesRecord) -> Iterator[str]:
    share = record.within_share
    if not record.judged:
        return
    if share is None:
        yield "All rewards are equal: policy optimisation has nothing to follow."
    elif share < LOW_WITHIN:
        yield (
            f"Only {share:.1%} of the reward variance lies between completions of one prompt; the rest tells prompts "
            "apart, which a policy gradient cannot use. Expect slow progress whatever the accuracy (arXiv 2503.15477): "
            "train on pairs from this policy's own samples, or sample with more variety."
        )
    else:
        yield (
            f"{share:.1%} of the reward variance lies between completions of one prompt (standard deviation "
            f"{record.within_std:.3g}): this is what policy optimisation sees and follows."
        )


def _flat(record: PolicySamplesRecord) -> Iterator[str]:
    if record.flat_share is not None and record.flat_share >= MANY_FLAT:
        yield (
            f"{record.flat:,} of {record.judged:,} prompts are flat: their completions get the same reward, up to 1 % "
            "of the standard deviation. Methods that subtract the prompt's mean learn nothing from them, and those "
            "that divide by its deviation learn noise."
        )
    if record.same_text:
        yield (
            f"{record.same_text:,} prompts have one text in all their completions: the policy does not vary there, "
            "whatever the reward."
        )


def _word_labels(labels: PolicyLabels | None) -> Iterator[str]:
    if labels is None:
        return
    if labels.auc is None or labels.auc_low is None or labels.auc_high is None:
        yield "No prompt has both right and wrong completions: labels say nothing about the order within a prompt."
        return
    found = (
        f"right completions get more than wrong ones of the same prompt in {labels.auc:.1%} of comparisons "
        f"({labels.auc_low:.1%} to {labels.auc_high:.1%}, {labels.mixed:,} prompts)"
    )
    if labels.auc_low > _CHANCE:
        yield f"On the policy's own samples, {found}: the policy moves towards right answers."
    elif labels.auc_high < _CHANCE:
        yield f"On the policy's own samples, {found}: below chance. The policy would learn to be wrong."
    else:
        yield f"On the policy's own samples, {found}: not to be told from chance. Do not optimise against this model."
    if labels.best_of_n is not None:
        yield labels.best_of_n.text


def _gain(record: PolicySamplesRecord) -> Iterator[str]:
    if record.gains and record.reward_std:
        n, gain = list(record.gains.items())[-1]
        yield f"Picking the best of {n} raises the reward by {gain / record.reward_std:.2f} standard deviations."
