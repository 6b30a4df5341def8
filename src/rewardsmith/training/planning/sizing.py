"""What is known about how large a reward model should be and how many pairs it wants, each with its source.

    for note in size_notes(base=600_000_000, policy=8_000_000_000, pairs=5_000): print(note.text, note.source)

Published laws give directions and thresholds, not the accuracy of your model on your data: their constants belong to
their own data. What they leave open, `run --learning-curve` measures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

LEAST_PAIRS = 2000
"""Comparisons below which the reward models of Gao et al. were hardly better than chance (2210.10760, §3.3)."""

SMALL_BASE = 0.02
"""A base below this share of its policy is pointed out: InstructGPT's was 6B of 175B, 0.034 (2203.02155, §3.5)."""

SERVING_SHARE = 0.5
"""A base above this share of its policy costs as much to ask as a large part of the policy's own forward pass."""


@dataclass(frozen=True, slots=True)
class SizeNote:
    """One piece of advice and where it is from."""

    text: str
    source: str


def size_notes(*, base: int, policy: int | None, pairs: int | None) -> tuple[SizeNote, ...]:
    """Advice on sizes for this base, policy and number of pairs."""
    notes = [
        SizeNote(
            "A larger reward model can be optimised against longer before its true quality falls: the coefficients of "
            "that law move smoothly with the logarithm of its parameters. Each doubling buys a constant step, at twice "
            "the price of every reward",
            "Gao et al. 2022, arXiv 2210.10760, §3.2",
        )
    ]
    notes += _pairs_notes(pairs)
    notes += _policy_notes(base, policy)
    return tuple(notes)


def _pairs_notes(pairs: int | None) -> list[SizeNote]:
    source = "Gao et al. 2022, arXiv 2210.10760, §3.3"
    if pairs is None:
        text = f"The number of pairs is not known yet; below about {LEAST_PAIRS:,} expect little more than chance"
        return [SizeNote(text, source)]
    if pairs < LEAST_PAIRS:
        text = (
            f"{pairs:,} pairs are few: below about {LEAST_PAIRS:,} comparisons reward models of all sizes were hardly "
            "better than chance. More pairs help more than a larger base here"
        )
        return [SizeNote(text, source)]
    doublings = math.log2(pairs / LEAST_PAIRS)
    text = (
        f"{pairs:,} pairs are {doublings:.1f} doublings above {LEAST_PAIRS:,}, where models of all sizes begin to "
        "learn. Accuracy on preferences grows about linearly with the logarithm of the pairs and of the parameters; "
        "`rewardsmith run SPEC --learning-curve 0.25,0.5,1` measures the slope of yours"
    )
    return [SizeNote(text, "Bai et al. 2022, arXiv 2204.05862, §3.1; Gao et al. 2022, §3.3")]


def _policy_notes(base: int, policy: int | None) -> list[SizeNote]:
    if policy is None:
        return [
            SizeNote(
                "The policy is not stated: state policy.id or policy.parameters. A base of the policy's own family is "
                "the safest first choice",
                "RewardBench 2, arXiv 2506.01937",
            )
        ]
    share = base / policy
    if share < SMALL_BASE:
        return [
            SizeNote(
                f"The base is {share:.1%} of its policy. Gao et al. found that larger policies gain less from a fixed "
                "reward model and do not over-optimise it more; InstructGPT took 6B for 175B (3.4%)",
                "Gao et al. 2022, §3.4; Ouyang et al. 2022, arXiv 2203.02155, §3.5",
            )
        ]
    if share > SERVING_SHARE:
        return [
            SizeNote(
                f"The base is {share:.0%} of its policy: each reward costs about as much as the policy's own forward "
                "pass over the same text. That is a small part of a rollout, which writes token by token; where "
                "rewards are the bottleneck, a base of a tenth is usual",
                "operations as in Kaplan et al. 2020, arXiv 2001.08361",
            )
        ]
    return [SizeNote(f"The base is {share:.0%} of its policy, within what is usual", "Ouyang et al. 2022, §3.5")]
