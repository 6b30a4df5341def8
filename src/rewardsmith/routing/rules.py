"""From rewards to a decision, without asking anybody: what a model says, when that is ambiguous, who decides.

    says = opinion(Rewarded(1.5), Rewarded(0.25), temperature=2.0)     margin, calibrated probability, spread
    rules = Rules((Rule("probability", below=0.8), Rule("subset", subsets=frozenset({"Safety"}))), "any")
    look = rules.look_at(says, subset="Math")                          .escalated, .rule, .why in words
    decision = settle("pair-7", look, says, refusal="", verdict=verdict)

Three rules look at how sure the reward model is; each gives a certainty, and escalates what lies below its limit:

    margin        |margin|, in units of the reward
    probability   max(p, 1 - p) with the calibrated p = sigmoid(margin / temperature); from 0.5 to 1
    interval      the confidence of the widest interval around the margin that leaves 0 out, erf(|margin| / (s √2)),
                  where s is the margin's standard deviation by the model's own doubt; from 0 to 1

`subset` escalates the categories that it names (with `outside`, all others). Rules combine by `any` or `all`. One rule
may have no limit yet (`below` is None): `route calibrate` fits it, and `sureness` is what it fits it on. A comparison
without a margin is always ambiguous.

The spread of an ensemble comes from its members' rewards (`opinion`), that of a single model from a Laplace
approximation over its reward head (`fit_laplace`).
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from rewardsmith.bradley_terry import pair_losses, preference_probability
from rewardsmith.errors import DataError, SpecError
from rewardsmith.records.files import guard_own
from rewardsmith.types import Decision, Fallback, JudgeAnswer, Opinion, Rewarded, Winner

Floats = NDArray[np.float64]


def opinion(first: Rewarded, second: Rewarded, temperature: float | None) -> Opinion:
    """What the rewards of two responses say of their comparison.

    The spread of an ensemble is the standard deviation, over its members, of the *margin*: what members share (a prompt
    that all of them find poor) takes itself out. With K members it is the sample standard deviation (K - 1 in the
    denominator), since a few members understate how far models differ.
    """
    if first.reward is None or second.reward is None:
        return Opinion(None)
    margin = first.reward - second.reward
    spread = None
    if len(first.members) == len(second.members) >= 2:
        spread = float(np.std(np.subtract(first.members, second.members), ddof=1))
    probability = None if temperature is None else float(preference_probability(margin, temperature))
    return Opinion(margin, probability, None if spread is None or math.isnan(spread) else spread)


def opinions(rewards_P2: Floats, temperature: float | None) -> list[Opinion]:
    """Opinions of many comparisons.

    Args:
        rewards_P2: rewards of the first and of the second response, shape (comparisons, 2); NaN where missing.
        temperature: of the calibration, None without one.
    """
    margin_P = rewards_P2[:, 0] - rewards_P2[:, 1]
    known_P = np.nan_to_num(margin_P)  # logaddexp warns of NaN
    probability_P = None if temperature is None else preference_probability(known_P, temperature)
    return [
        Opinion(None)
        if math.isnan(margin)
        else Opinion(float(margin), None if probability_P is None else float(probability_P[place]))
        for place, margin in enumerate(margin_P)
    ]


def rewarded(reward: float | None, members: Sequence[float | None] = ()) -> Rewarded:
    """A reward with its members', without those that gave none."""
    return Rewarded(reward, tuple(one for one in members if one is not None))


Kind = Literal["margin", "probability", "interval", "subset"]
Combine = Literal["any", "all"]
NO_REWARD = "no_reward"
"""What stands for a rule's name where there is no margin to look at."""


@dataclass(frozen=True, slots=True)
class Look:
    """What the rules make of one comparison: the rule that decided, and why in words."""

    escalated: bool
    rule: str
    why: str


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules and how they combine: a comparison is escalated if `any`, or if `all` of them say so."""

    rules: tuple[Rule, ...]
    combine: Combine = "any"

    def look_at(self, opinion: Opinion, subset: str = "") -> Look:
        """Whether a comparison is ambiguous.

        Raises:
            SpecError: a rule asks for what the model does not say, or has no limit.
        """
        if opinion.margin is None:
            return Look(True, NO_REWARD, "the reward model gives no reward")
        found = [(rule, *rule.escalates(opinion, subset)) for rule in self.rules]
        # With `any` the first rule that escalates decides, with `all` the first that does not.
        decided = (one for one in found if one[1] == (self.combine == "any"))
        rule, escalated, why = next(decided, found[0])
        # All rules said the same, so that none of them alone decided.
        if len(found) > 1 and escalated == (self.combine == "all"):
            return Look(escalated, self.combine, "; ".join(reason for _, _, reason in found))
        return Look(escalated, rule.name, why)

    @property
    def free(self) -> int | None:
        """The place of the rule without a limit, None where all have one.

        Raises:
            SpecError: there are several.
        """
        places = [place for place, rule in enumerate(self.rules) if rule.kind != "subset" and rule.below is None]
        if len(places) > 1:
            raise SpecError(
                f"{len(places)} rules have no limit, and one is fitted at a time",
                where="routing.rules",
                fix="write `below` for all but one of them",
            )
        return places[0] if places else None

    def rank(self, opinion: Opinion) -> float:
        """How sure an opinion is, for choosing among ambiguous ones: by the first rule that looks at certainty."""
        first = next((rule for rule in self.rules if rule.kind != "subset"), Rule("margin"))
        certainty = first.certainty(opinion)
        return -math.inf if certainty is None else certainty

    def with_limit(self, below: float) -> Rules:
        """The same rules with a limit for the free one; unchanged where there is none."""
        if (place := self.free) is None:
            return self
        return replace(
            self, rules=tuple(replace(rule, below=below) if i == place else rule for i, rule in enumerate(self.rules))
        )

    def sureness(self, opinions: Sequence[Opinion], subsets: Sequence[str]) -> Floats:
        """How sure each opinion is by the rule without a limit, shape (comparisons,).

        With a limit t the rules together escalate exactly the comparisons whose sureness is below t: what the other
        rules escalate anyway is -inf, what they never let be escalated +inf.

        Raises:
            SpecError: no rule lacks a limit, or a rule asks for what the model does not say.
        """
        place = self.free
        if place is None:
            raise SpecError(
                "no rule lacks a limit, so that there is nothing to fit",
                where="routing.rules",
                fix="leave `below` out of the rule that is to be fitted",
            )
        free, others = self.rules[place], [rule for i, rule in enumerate(self.rules) if i != place]
        return np.array([self._sure(free, others, *one) for one in zip(opinions, subsets, strict=True)])

    def _sure(self, free: Rule, others: Sequence[Rule], opinion: Opinion, subset: str) -> float:
        certainty = free.certainty(opinion)
        if certainty is None:
            return -math.inf
        said = [rule.escalates(opinion, subset)[0] for rule in others]
        if self.combine == "any":
            return -math.inf if any(said) else certainty
        return certainty if all(said) else math.inf


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; see the module. `below` is None where `route calibrate` is to fit it."""

    kind: Kind
    below: float | None = None
    subsets: frozenset[str] = frozenset()
    outside: bool = False

    @property
    def name(self) -> str:
        """What decisions call it."""
        return self.kind

    def certainty(self, opinion: Opinion) -> float | None:
        """How sure the opinion is; None without a margin.

        Raises:
            SpecError: the model does not say what the rule asks for.
        """
        if opinion.margin is None:
            return None
        found = CERTAINTIES[self.kind](opinion)
        if found is None:
            problem, fix = _LACKING[self.kind]
            raise SpecError(
                f"the rule {self.kind} cannot be used: the reward model {problem}", where="routing", fix=fix
            )
        return found

    def escalates(self, opinion: Opinion, subset: str) -> tuple[bool, str]:
        """Whether a comparison with a margin is ambiguous by this rule, and why (or why not)."""
        if self.kind == "subset":
            # Exclusive or: `outside` turns the list around.
            return (subset in self.subsets) != self.outside, f"subset {subset or '(none)'}"
        certainty = self.certainty(opinion)
        if certainty is None or self.below is None:
            raise SpecError(
                f"the rule {self.kind} has no limit", where="routing.rules", fix="run `rewardsmith route calibrate`"
            )
        escalated = certainty < self.below
        return escalated, f"{self.kind} {certainty:.4g} is {'' if escalated else 'not '}below {self.below:.4g}"


_LACKING = {
    "margin": ("has no reward", "score the responses first"),
    "probability": (
        "has no calibration, so that a margin is no probability",
        "evaluate the model on held-out pairs (rewardsmith run), or route by margin",
    ),
    "interval": (
        "states no doubt about its margins",
        "combine several models (an ensemble), let `route calibrate` fit a Laplace approximation, or route by margin",
    ),
}


def _by_margin(opinion: Opinion) -> float | None:
    return None if opinion.margin is None else abs(opinion.margin)


def _by_probability(opinion: Opinion) -> float | None:
    return None if opinion.probability is None else max(opinion.probability, 1 - opinion.probability)


def _by_interval(opinion: Opinion) -> float | None:
    if opinion.margin is None or opinion.spread is None:
        return None
    # Without doubt every interval is a point, which leaves 0 out unless the margin is 0.
    if opinion.spread == 0:
        return 1.0 if opinion.margin else 0.0
    return math.erf(abs(opinion.margin) / (opinion.spread * math.sqrt(2)))


CERTAINTIES: dict[Kind, Callable[[Opinion], float | None]] = {
    "margin": _by_margin,
    "probability": _by_probability,
    "interval": _by_interval,
}
"""Opinion → how sure it is, None where the opinion does not say."""

_WORDS: dict[Fallback, str] = {
    "no_judge": "no judge is there",
    "share": "the share of comparisons that may be escalated is used up",
    "rate": "the calls of this minute are used up",
    "cost": "the money is used up",
    "breaker": "the judge failed several times in a row and is left alone for a while",
    "tie": "the judge calls it a tie",
    "unparsed": "the judge's reply could not be read",
    "failed": "the judge failed",
    "deadline": "the judge took too long",
    "budget": "the judge has no budget left",
}


def settle(id: str, look: Look, opinion: Opinion, refusal: Fallback, verdict: JudgeAnswer | None) -> Decision:  # noqa: A002
    """Who decides a comparison; the router calls it, and so does a replay of the audit log.

    A judge's tie names no winner, so the reward model breaks it; that is a fallback like a judge that is down, and
    marked as one.

    Args:
        id: of the comparison.
        look: what the rules made of it.
        opinion: what the reward model says.
        refusal: why the judge was not asked, "" where it was or need not be.
        verdict: what the judge said, None where it was not asked.
    """
    if not look.escalated:
        return Decision(id, _of_margin(opinion), "reward_model", False, look.rule, look.why, "", opinion)
    fallback = refusal or _missing(verdict)
    if not fallback and verdict is not None and verdict.probability is not None:
        # Exactly 1/2 is a tie, which `_missing` has named already.
        winner: Winner = "first" if verdict.probability > 0.5 else "second"
        return Decision(id, winner, "judge", True, look.rule, look.why, "", opinion, verdict)
    mine = _of_margin(opinion)
    # The reward model cannot break the judge's tie either: then the tie is the verdict, and no fallback.
    if mine in (None, "tie") and fallback == "tie":
        return Decision(id, "tie", "judge", True, look.rule, look.why, "", opinion, verdict)
    why = f"{look.why}; {_WORDS[fallback]}"
    by = "nobody" if mine is None else "reward_model"
    return Decision(id, mine, by, True, look.rule, why, fallback, opinion, verdict)  # type: ignore[arg-type]


def _missing(verdict: JudgeAnswer | None) -> Fallback:
    """Why a verdict names no winner, "" where it names one."""
    if verdict is None:
        return "no_judge"
    if verdict.probability is None:
        return verdict.missing or "failed"
    return "tie" if verdict.probability == 0.5 else ""


def _of_margin(opinion: Opinion) -> Winner | None:
    if opinion.margin is None:
        return None
    return "first" if opinion.margin > 0 else "second" if opinion.margin < 0 else "tie"


# Ten decades, four values in each.
PRIORS = np.logspace(-4, 6, 41)
"""The values of λ that are tried."""

FILE = "laplace.npz"


def fit_laplace(
    difference_PD: NDArray[np.floating], margin_P: Floats, head_D: Floats, temperature: float, identity: str = ""
) -> Posterior:
    """The Laplace approximation over the reward head: how much other heads, as probable by the data, would differ.

    The reward of a text is head · φ, so a margin is head · Δφ with Δφ the difference of what the head reads, and the
    Bradley-Terry likelihood is logistic regression in the head. Around the trained head the posterior is normal with

        precision = Σ p (1 - p) Δφ Δφᵀ / T² + λ I,     p = sigmoid(margin / T)

    and the variance of a margin is Δφᵀ precision⁻¹ Δφ. The prior's λ has the highest evidence on a grid (MacKay 1992;
    Daxberger et al. 2021, "Laplace Redux", post hoc, last layer). What lies below the head is taken as certain. The
    pairs are those of known preference, P of them; D is the hidden width. Memory: D² numbers.

    Args:
        difference_PD: features of the chosen minus those of the rejected response.
        margin_P: chosen minus rejected reward.
        head_D: the trained head.
        temperature: of the calibration.
        identity: of the model.
    """
    p_P = preference_probability(margin_P, temperature)
    # p (1 - p) / T² is the second derivative of a pair's loss by its margin; its root goes to each factor.
    weighted_PD = difference_PD.astype(np.float64) * (np.sqrt(p_P * (1 - p_P)) / temperature)[:, None]
    # Decomposed once: each prior of the grid only adds to the eigenvalues.
    values, vectors = np.linalg.eigh(weighted_PD.T @ weighted_PD)
    loss = float(pair_losses(margin_P / temperature).sum())
    square = float((np.asarray(head_D, dtype=np.float64) ** 2).sum())
    evidence = [_evidence(float(prior), np.maximum(values, 0.0), loss, square) for prior in PRIORS]
    return Posterior(vectors, values, float(PRIORS[int(np.argmax(evidence))]), identity)


def _evidence(prior: float, values_D: Floats, loss: float, square: float) -> float:
    """The log evidence of a prior, up to a constant."""
    return -loss - prior * square / 2 + float((np.log(prior) - np.log(values_D + prior)).sum()) / 2


@dataclass(frozen=True, slots=True)
class Posterior:
    """The normal posterior of a head, as eigenvectors (D, D) and eigenvalues (D,) of its precision without the prior.

    `identity` is of the model whose head it is.
    """

    vectors: Floats
    values: Floats
    prior: float
    identity: str = ""

    def spread(self, difference_PD: NDArray[np.floating]) -> Floats:
        """Standard deviation of each margin, shape (pairs,)."""
        projected_PD = difference_PD.astype(np.float64) @ self.vectors
        # eigh of a matrix that is not of full rank may give eigenvalues a little below 0.
        return np.asarray(np.sqrt((projected_PD**2 / (np.maximum(self.values, 0.0) + self.prior)).sum(axis=1)))


def check_posterior(folder: Path) -> None:
    """Refuse a folder whose `laplace.npz` is none of ours.

    Raises:
        RunDirectoryError: it is not, or cannot be read.
    """
    guard_own(folder / FILE, _is_posterior, "a Laplace approximation of ours")


def _is_posterior(handle: BinaryIO) -> bool:
    try:
        with zipfile.ZipFile(handle) as found:
            return {f"{name}.npy" for name in ("vectors", "values", "prior", "identity")} <= set(found.namelist())
    except (zipfile.BadZipFile, ValueError):
        return False


def save_posterior(posterior: Posterior, folder: Path) -> None:
    """Write `laplace.npz`."""
    # Written aside and renamed, so that a killed process leaves no half of a file.
    aside = folder / f".{FILE}"
    with aside.open("wb") as handle:
        np.savez(
            handle,
            vectors=posterior.vectors.astype(np.float32),
            values=posterior.values,
            prior=posterior.prior,
            identity=posterior.identity,
        )
    aside.replace(folder / FILE)


def load_posterior(folder: Path, identity: str) -> Posterior:
    """Read `laplace.npz`, of this very model.

    Raises:
        DataError: it is not there, cannot be read, or is of another model.
    """
    path = folder / FILE
    fix = "run `rewardsmith route calibrate` for this model again"
    try:
        # A pickle would run code of whoever wrote the file.
        with np.load(path, allow_pickle=False) as found:
            posterior = Posterior(
                found["vectors"].astype(np.float64),
                found["values"],
                float(found["prior"]),
                str(found["identity"]),
            )
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"cannot be read: {error}", where=str(path), fix=fix) from error
    if posterior.identity != identity:
        raise DataError("is of another model", where=str(path), fix=fix)
    return posterior
