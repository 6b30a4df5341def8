"""Scorers: things that turn conversations into raw rewards.

local.py     a checkpoint in this process
cached.py    the same with rewards on disk: each text once for a checkpoint; `open_scorer` opens either
identity.py  what a reward depends on besides its text
store.py     rewards on disk
running.py   the reward after each token of one text
remote.py    a model behind a `rewardsmith serve`
ensemble.py  several models as one; combining.py has the formulas
consumers.py what other programs' loops call: a reward function for TRL, best-of-N
bulk.py      rewards of a stream of rows, window by window
ray_data.py  the same on several workers under Ray
"""

from rewardsmith.scoring.cached import CachedScorer, CheckpointScorer, open_scorer
from rewardsmith.scoring.consumers import BestResponse, RewardFunction, best_of_n, reward_function
from rewardsmith.scoring.ensemble import Combination, EnsembleScorer, Member
from rewardsmith.scoring.local import LocalScorer
from rewardsmith.scoring.remote import RemoteScorer

__all__ = [
    "BestResponse",
    "CachedScorer",
    "CheckpointScorer",
    "Combination",
    "EnsembleScorer",
    "LocalScorer",
    "Member",
    "RemoteScorer",
    "RewardFunction",
    "best_of_n",
    "open_scorer",
    "reward_function",
]
