"""Several reward models as one `Scorer`, in this process or on other machines; `combining.py` has the formulas.

    ensemble = EnsembleScorer([Member("a", scorer_a), Member("b", scorer_b)], Combination("uwo", penalty=0.5))
    rewards_B = ensemble.score(conversations)
    found = ensemble.score_members(conversations)
    found.members["a"], found.spread, found.left_out

Members read the conversation each in its own way: tokenizers, templates and machines may differ. A member that fails
is an error; with `leave_out_failing` it is left out of that call, and `left_out` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from rewardsmith.errors import RewardsmithError
from rewardsmith.protocols import Explaining, Progress, Scorer
from rewardsmith.scoring.combining import (
    Combination,
    EnsembleRewards,
    Floats,
    Scale,
    check_combination,
    combine_found,
)
from rewardsmith.scoring.local import NO_REWARD
from rewardsmith.types import Conversation

FAILURES = (RewardsmithError, RuntimeError, OSError)
"""What a member raises when it fails: unreachable, out of memory, refused. A programming mistake is none of these."""


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
        calls = {member.name: _Call(member, conversations) for member in self.members}
        found, failed = ask_members(
            calls, remote={member.name for member in self.members if member.remote}, progress=progress
        )
        return combine_found(found, failed, len(conversations), self.combination)


@dataclass(frozen=True, slots=True)
class _Call:
    """One member's part of a call."""

    member: Member
    conversations: Sequence[Conversation]

    def __call__(self) -> Floats:
        return self.member.scorer.score(self.conversations)


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
