"""Best of N with the fewest judge calls: the reward model prunes, the judge sees only close contenders.

    ruling = await best_of(rewards_N, compare, clear)

`compare(i, j)` decides as `HybridRouter.decide` does; `clear(i, j)` says whether the reward model would.

The answer with the highest reward is the champion. The others challenge it, best first; the judge is asked only where
the margin is ambiguous. A challenger that wins takes its place. An answer that is clearly worse than the reward
model's favourite costs nothing, also after another one beat the favourite: who beats the favourite beats it too. So k
contenders cost at most k - 1 verdicts, the fewest that can name the best of k.

An answer without a reward is compared last, by the judge alone. A tie leaves the champion where it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from rewardsmith.types import Decision, Ruling

Compare = Callable[[int, int], Awaitable[Decision]]
Clear = Callable[[int, int], bool]


async def best_of(rewards: Sequence[float | None], compare: Compare, clear: Clear) -> Ruling:
    """The best of N answers.

    Args:
        rewards: of each answer, None where there is none.
        compare: decides between two answers, named by their places; the first is the champion.
        clear: whether the reward model alone would decide between two answers.

    Returns:
        The place of the best answer, and the decisions in their order. Of two answers a tie has no best. Where nobody
        could say anything, `best` is None.
    """
    order = sorted(range(len(rewards)), key=lambda place: _rank(rewards[place]))
    favourite = champion = order[0]
    decisions = []
    for challenger in order[1:]:
        pruned = champion != favourite and clear(favourite, challenger)
        decision = await compare(favourite if pruned else champion, challenger)
        decisions.append(decision)
        if decision.winner == "second" and not pruned:
            champion = challenger
    undecided = all(decision.winner is None for decision in decisions)
    tied = len(order) == 2 and decisions[0].winner == "tie"
    return Ruling(None if undecided or tied else champion, tuple(decisions))


def _rank(reward: float | None) -> float:
    """Sorts by falling reward, missing ones last; equal rewards keep their order."""
    return float("inf") if reward is None else -reward
