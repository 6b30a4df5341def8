"""Rewardsmith: preference pairs in, a reward model you can trust out.

    import rewardsmith as rs

    done = rs.run("spec.yaml")                                   # what `rewardsmith run` does
    rewards = rs.score(done.model, "What is 17 + 25?", ["41", "42"])
    scorer = rs.LocalScorer.load(done.model)
    rewards_B = scorer.score([(rs.Message("user", "2 + 2?"), rs.Message("assistant", "4"))])

The names below are the public interface. Each is imported when it is first used: `import rewardsmith` loads nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rewardsmith.errors import RewardsmithError
    from rewardsmith.modeling.layouts import share_prefixes, tree_collator
    from rewardsmith.pipeline import Silent, check_job, evaluate_job, run_job, train_job
    from rewardsmith.pipeline.notebook import evaluate, load, run, score
    from rewardsmith.scoring import EnsembleScorer, LocalScorer, RemoteScorer, best_of_n, reward_function
    from rewardsmith.spec import Spec, load_spec
    from rewardsmith.types import BestOfN, Message, PreferencePair

__version__ = "0.2.0"

__all__ = [
    "BestOfN",
    "EnsembleScorer",
    "LocalScorer",
    "Message",
    "PreferencePair",
    "RemoteScorer",
    "RewardsmithError",
    "Silent",
    "Spec",
    "__version__",
    "best_of_n",
    "check_job",
    "evaluate",
    "evaluate_job",
    "load",
    "load_spec",
    "reward_function",
    "run",
    "run_job",
    "score",
    "share_prefixes",
    "train_job",
    "tree_collator",
]

_HOMES = {
    "BestOfN": "types",
    "EnsembleScorer": "scoring",
    "LocalScorer": "scoring",
    "Message": "types",
    "PreferencePair": "types",
    "RemoteScorer": "scoring",
    "RewardsmithError": "errors",
    "Silent": "pipeline",
    "Spec": "spec",
    "best_of_n": "scoring",
    "check_job": "pipeline",
    "evaluate": "pipeline.notebook",
    "evaluate_job": "pipeline",
    "load": "pipeline.notebook",
    "load_spec": "spec",
    "reward_function": "scoring",
    "run": "pipeline.notebook",
    "run_job": "pipeline",
    "score": "pipeline.notebook",
    "share_prefixes": "modeling.layouts",
    "train_job": "pipeline",
    "tree_collator": "modeling.layouts",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its room when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'rewardsmith' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"rewardsmith.{_HOMES[name]}"), name)
