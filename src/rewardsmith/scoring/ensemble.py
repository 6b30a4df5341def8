"""Several reward models as one `Scorer`, in this process or on other machines, and how their rewards become one.

    ensemble = EnsembleScorer([Member("a", scorer_a), Member("b", scorer_b)], Combination("uwo", penalty=0.5))
    rewards_B = ensemble.score(conversations)
    found = ensemble.score_members(conversations)
    found.members["a"], found.spread, found.left_out
    combined = combine({"a": reward_B, "b": reward_B}, Combination("uwo", penalty=0.5))     # arrays alone

Members read the conversation each in its own way: tokenizers, templates and machines may differ. A member that fails
is an error; with `leave_out_failing` it is left out of that call, and `left_out` says so.

With rewards r_k of the members k, weights w_k that sum to 1 (equal unless given), and m = Σ w_k r_k:

    mean   m
    min    min_k r_k                            (takes no weights)
    uwo    m − λ · Σ w_k (r_k − m)²             λ = `penalty`

These are the three of Coste et al. 2023 (arXiv 2310.02743): mean, worst case, uncertainty-weighted optimisation.

Rewards are combined as they are. Only if asked for (`calibrated_scales`) each member's reward is first brought to a
common scale, (r_k − mean_k) / scale_k: mean_k the recorded mean of its rewards on held-out pairs, scale_k its
temperature if every member has one (a margin is then a log-odds), else the recorded standard deviation. `scale_notes`
says where members are too different to be combined as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rewardsmith.errors import ModelError, RewardsmithError
from rewardsmith.protocols import Explaining, Progress, Scorer
from rewardsmith.scoring.local import NO_REWARD
from rewardsmith.types import Conversation

Rule = Literal["mean", "min", "uwo"]
Floats = NDArray[np.float64]

SCALE_RATIO = 2.0
"""Members whose rewards spread more than this many times as widely as another's are said to differ in scale."""


FAILURES = (RewardsmithError, RuntimeError, OSError)
"""What a member raises when it fails: unreachable, out of memory, refused. A programming mistake is none of these."""


@dataclass(frozen=True, slots=True)
class Scale:
    """What a checkpoint's record says of its rewards on held-out pairs; None where it says nothing."""

    mean: float | None = None
    std: float | None = None
    temperature: float | None = None


@dataclass(frozen=True, slots=True)
class Combination:
    """How the members' rewards become one.

    `weights` by member; empty: equal. `penalty` is λ of `uwo`. `scales` by member: (offset, divisor); empty: rewards
    are combined as they are.
    """

    rule: Rule = "mean"
    weights: Mapping[str, float] = field(default_factory=dict)
    penalty: float = 0.5
    scales: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    leave_out_failing: bool = False


@dataclass(frozen=True, slots=True)
class EnsembleRewards:
    """Shape (B,) each: combined rewards, the members' by name, and the (weighted) standard deviation over members.

    `members` are the values that were combined: raw rewards, or calibrated ones where that was asked for; NaN where a
    member gave none. `left_out` names the members that failed, with the reason.
    """

    rewards: Floats
    members: dict[str, Floats]
    spread: Floats
    left_out: dict[str, str]


@dataclass(frozen=True, slots=True)
class Member:
    """One reward model: its name, what scores with it, the recorded scale of its rewards.

    A `remote` member is asked in a thread of its own, while the others compute here.
    """

    name: str
    scorer: Scorer
    scale: Scale = field(default_factory=Scale)
    remote: bool = False


class EnsembleScorer:
    """Members behind one `score`; satisfies `protocols.Scorer`."""

    def __init__(self, members: Sequence[Member], combination: Combination | None = None) -> None:
        self.members = tuple(members)
        self.combination = combination or Combination()
        check_combination([member.name for member in self.members], self.combination)

    def score(self, conversations: Sequence[Conversation], progress: Progress | None = None) -> Floats:
        """Combined rewards, shape (len(conversations),), in input order; NaN as `combine` says.

        Raises:
            ModelError: a member failed, or with `leave_out_failing` all of them.
        """
        return self.score_members(conversations, progress).rewards

    def why(self, conversations: Sequence[Conversation]) -> list[str]:
        """Why each conversation has no reward, by the first member that has a reason."""
        said = [member.scorer.why(conversations) for member in self.members if isinstance(member.scorer, Explaining)]
        return [
            next((one[place] for one in said if one[place] != NO_REWARD), NO_REWARD)
            for place in range(len(conversations))
        ]

    def score_members(self, conversations: Sequence[Conversation], progress: Progress | None = None) -> EnsembleRewards:
        """Combined rewards, with the members' and their spread. Raises as `score`."""
        calls = {member.name: partial(member.scorer.score, conversations) for member in self.members}
        found, failed = ask_members(
            calls, remote={member.name for member in self.members if member.remote}, progress=progress
        )
        return combine_found(found, failed, len(conversations), self.combination)


def ask_members(
    calls: Mapping[str, Callable[[], Floats]], *, remote: set[str], progress: Progress | None = None
) -> tuple[dict[str, Floats], dict[str, str]]:
    """What each member gave, and why the others gave nothing. Remote members work while the others compute here."""
    found: dict[str, Floats] = {}
    failed: dict[str, str] = {}
    with ThreadPoolExecutor(max(1, len(remote)), thread_name_prefix="member") as pool:
        waiting: dict[str, Future[Floats]] = {name: pool.submit(calls[name]) for name in calls if name in remote}
        for done, name in enumerate(sorted(calls, key=lambda one: one in remote), start=1):
            try:
                found[name] = waiting[name].result() if name in waiting else calls[name]()
            except FAILURES as error:
                failed[name] = error.problem if isinstance(error, RewardsmithError) else type(error).__name__
            if progress is not None:
                progress(done, len(calls))
    return {name: found[name] for name in calls if name in found}, failed


def combine_found(
    found: Mapping[str, Floats], failed: Mapping[str, str], count: int, combination: Combination
) -> EnsembleRewards:
    """As `combine`, where some members failed.

    Raises:
        ModelError: a member failed and may not be left out, or none is left.
    """
    if failed and (not found or not combination.leave_out_failing):
        name, reason = next(iter(failed.items()))
        raise ModelError(
            f"the member {name} failed: {reason}",
            where="ensemble",
            fix="fix it, or let it be left out: --leave-out-failing" if found else "fix it",
        )
    nothing = {name: np.full(count, np.nan) for name in failed}
    combined = combine({**found, **nothing}, combination)
    return EnsembleRewards(combined.rewards, combined.members, combined.spread, dict(failed))


def combine(members: Mapping[str, Floats], combination: Combination) -> EnsembleRewards:
    """One reward for each conversation from the raw rewards of the members.

    A NaN is a reward that a member does not have. It makes the combined reward NaN; with `leave_out_failing` the
    members that have one are combined, their weights made to sum to 1 again. Without any the reward is NaN.

    Args:
        members: raw rewards by name, shape (B,) each.
        combination: rule, weights, λ, scales.
    """
    scaled = {name: _scaled(rewards_B, combination.scales.get(name)) for name, rewards_B in members.items()}
    values_KB = np.stack(list(scaled.values()))
    there_KB = np.isfinite(values_KB)
    given_K = np.array([combination.weights.get(name, 1.0) for name in scaled])
    weights_KB = given_K[:, None] * there_KB
    total_B = weights_KB.sum(axis=0)
    weights_KB = weights_KB / np.where(total_B > 0, total_B, 1.0)
    known_KB = np.where(there_KB, values_KB, 0.0)
    usable_B = there_KB.any(axis=0) if combination.leave_out_failing else there_KB.all(axis=0)
    rewards_B = RULES[combination.rule](known_KB, weights_KB, combination.penalty)
    spread_B = np.sqrt(_variance(known_KB, weights_KB))
    return EnsembleRewards(
        np.where(usable_B, rewards_B, np.nan), scaled, np.where(there_KB.any(axis=0), spread_B, np.nan), {}
    )


def _scaled(rewards_B: Floats, scale: tuple[float, float] | None) -> Floats:
    rewards_B = np.asarray(rewards_B, dtype=np.float64)
    return rewards_B if scale is None else (rewards_B - scale[0]) / scale[1]


def _mean(values_KB: Floats, weights_KB: Floats, _: float) -> Floats:
    return np.asarray((weights_KB * values_KB).sum(axis=0))


def _min(values_KB: Floats, weights_KB: Floats, _: float) -> Floats:
    return np.asarray(np.where(weights_KB > 0, values_KB, np.inf).min(axis=0))


def _uwo(values_KB: Floats, weights_KB: Floats, penalty: float) -> Floats:
    return _mean(values_KB, weights_KB, penalty) - penalty * _variance(values_KB, weights_KB)


def _variance(values_KB: Floats, weights_KB: Floats) -> Floats:
    mean_B = (weights_KB * values_KB).sum(axis=0)
    return np.asarray((weights_KB * (values_KB - mean_B) ** 2).sum(axis=0))


RULES: dict[Rule, Callable[[Floats, Floats, float], Floats]] = {"mean": _mean, "min": _min, "uwo": _uwo}
"""Values (K, B), weights (K, B) with columns that sum to 1, λ → (B,)."""


def check_combination(names: Sequence[str], combination: Combination) -> None:
    """Refuse what has no meaning.

    Raises:
        ModelError: no member, a name twice, an unknown rule, weights that name others or are not positive, weights
            with `min`, a negative λ.
    """
    if not names or len(set(names)) != len(names):
        raise ModelError(
            f"an ensemble needs members with names of their own, found {', '.join(names) or 'none'}",
            where="ensemble",
            fix="give each member one name",
        )
    if combination.rule not in RULES:
        raise ModelError(
            f"there is no rule {combination.rule!r} to combine rewards by", where="combine", fix="mean, min or uwo"
        )
    if not (math.isfinite(combination.penalty) and combination.penalty >= 0):
        raise ModelError(
            f"the penalty of uwo is {combination.penalty}", where="penalty", fix="write a number of 0 or more"
        )
    _check_weights(names, combination)


def _check_weights(names: Sequence[str], combination: Combination) -> None:
    weights = combination.weights
    if not weights:
        return
    if combination.rule == "min":
        raise ModelError("the minimum has no weights", where="weights", fix="leave them out, or combine by mean or uwo")
    if set(weights) != set(names):
        raise ModelError(
            f"weights are given for {', '.join(weights)}; the members are {', '.join(names)}",
            where="weights",
            fix="give one weight for each member",
        )
    wrong = {name: weight for name, weight in weights.items() if not (math.isfinite(weight) and weight > 0)}
    if wrong:
        name, weight = next(iter(wrong.items()))
        raise ModelError(f"the weight of {name} is {weight}", where="weights", fix="write positive numbers")


def calibrated_scales(scales: Mapping[str, Scale]) -> dict[str, tuple[float, float]]:
    """(offset, divisor) of each member: its recorded mean, and its temperature where all have one, else its std.

    Raises:
        ModelError: a record lacks what is needed.
    """
    every = list(scales.values())
    for divisors in ([one.temperature for one in every], [one.std for one in every]):
        if all(divisor is not None and divisor > 0 for divisor in divisors) and all(
            one.mean is not None for one in every
        ):
            return {
                name: (float(one.mean or 0.0), float(divisor or 1.0))
                for (name, one), divisor in zip(scales.items(), divisors, strict=True)
            }
    lacking = [name for name, one in scales.items() if one.mean is None or not (one.std or one.temperature)]
    raise ModelError(
        f"the record of {', '.join(lacking or scales)} lacks mean and spread of its rewards on held-out pairs",
        where="rewardsmith.json",
        fix="evaluate the model on held-out pairs (rewardsmith run), or combine without --calibrated",
    )


def scale_notes(scales: Mapping[str, Scale], rule: Rule) -> list[str]:
    """Why rewards of these members may not be combined as they are, in words; empty where nothing speaks against it."""
    unknown = [name for name, scale in scales.items() if not (scale.std and math.isfinite(scale.std))]
    if unknown:
        return [f"the spread of rewards is not recorded for {', '.join(unknown)}: whether the scales agree is unknown"]
    notes = []
    stds = {name: scale.std or math.nan for name, scale in scales.items()}
    widest, narrowest = max(stds, key=stds.__getitem__), min(stds, key=stds.__getitem__)
    if stds[widest] > SCALE_RATIO * stds[narrowest]:
        ratio = stds[widest] / stds[narrowest]
        notes.append(
            f"rewards of {widest} spread {ratio:.1f} times as widely as those of {narrowest} "
            f"({stds[widest]:.3g} and {stds[narrowest]:.3g}): {widest} decides; --calibrated divides by the spread"
        )
    means = {name: scale.mean for name, scale in scales.items() if scale.mean is not None}
    if rule != "mean" and len(means) > 1:
        high, low = max(means, key=means.__getitem__), min(means, key=means.__getitem__)
        if means[high] - means[low] > SCALE_RATIO * stds[widest]:
            notes.append(
                f"rewards of {high} lie around {means[high]:.3g}, those of {low} around {means[low]:.3g}: {rule} "
                "compares levels; --calibrated subtracts the mean"
            )
    return notes
