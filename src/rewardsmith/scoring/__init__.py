"""Scorers: things that turn conversations into raw rewards.

local.py        a checkpoint in this process
cached.py       the same with rewards on disk: each text once for a checkpoint; `open_scorer` opens either
remote.py       a model behind a `rewardsmith serve`; connection.py: the HTTP below it
engines.py      a checkpoint served by another engine; differences.py: how far its rewards are from ours
ensemble.py     several models as one, and the formulas
fluency.py      how likely a language model finds answers
consumers.py    what other programs' loops call: a reward function for TRL, best-of-N
recording.py    a reward function that writes down what it pays, for `watch`
bulk.py         rewards of a stream of rows, window by window
ray_data.py     the same on several workers under Ray
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rewardsmith import lazy_names

if TYPE_CHECKING:
    from rewardsmith.scoring.cached import CachedScorer, CheckpointScorer, open_scorer
    from rewardsmith.scoring.consumers import BestResponse, RewardFunction, best_of_n, reward_function
    from rewardsmith.scoring.ensemble import Combination, EnsembleScorer, Member
    from rewardsmith.scoring.local import LocalScorer
    from rewardsmith.scoring.recording import RecordedRewards, recorded
    from rewardsmith.scoring.remote import RemoteScorer

__all__ = [
    "BestResponse",
    "CachedScorer",
    "CheckpointScorer",
    "Combination",
    "EnsembleScorer",
    "LocalScorer",
    "Member",
    "RecordedRewards",
    "RemoteScorer",
    "RewardFunction",
    "best_of_n",
    "open_scorer",
    "recorded",
    "reward_function",
]

_HOMES = {
    "BestResponse": "consumers",
    "CachedScorer": "cached",
    "CheckpointScorer": "cached",
    "Combination": "ensemble",
    "EnsembleScorer": "ensemble",
    "LocalScorer": "local",
    "Member": "ensemble",
    "RecordedRewards": "recording",
    "RemoteScorer": "remote",
    "RewardFunction": "consumers",
    "best_of_n": "consumers",
    "open_scorer": "cached",
    "recorded": "recording",
    "reward_function": "consumers",
}

if not TYPE_CHECKING:
    __getattr__ = lazy_names(__name__, _HOMES)
