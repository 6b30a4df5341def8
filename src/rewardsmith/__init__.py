"""Rewardsmith: preference pairs in, a reward model you can trust out.

    from rewardsmith import LocalScorer, Message, Silent, load_spec, run_job

    outcome = run_job(load_spec(Path("spec.yaml")), Silent())          # what `rewardsmith run` does
    scorer = LocalScorer.load(outcome.run / "model")
    rewards_B = scorer.score([(Message("user", "2 + 2?"), Message("assistant", "4"))])

The names below are the public interface. Each is imported when it is first used: `import rewardsmith` loads nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rewardsmith.errors import RewardsmithError
    from rewardsmith.modeling.adapter import share_prefixes, tree_collator
    from rewardsmith.pipeline import Silent, check_job, evaluate_job, run_job, train_job
    from rewardsmith.scoring import EnsembleScorer, LocalScorer, RemoteScorer, best_of_n, reward_function
    from rewardsmith.spec import Spec, load_spec
    from rewardsmith.types import BestOfN, Message, PreferencePair

__version__ = "0.1.0"

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
    "evaluate_job",
    "load_spec",
    "reward_function",
    "run_job",
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
    "evaluate_job": "pipeline",
    "load_spec": "spec",
    "reward_function": "scoring",
    "run_job": "pipeline",
    "share_prefixes": "modeling.adapter",
    "train_job": "pipeline",
    "tree_collator": "modeling.adapter",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its room when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'rewardsmith' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"rewardsmith.{_HOMES[name]}"), name)
