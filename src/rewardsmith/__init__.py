"""Rewardsmith: preference pairs in, a reward model you can trust out.

    import rewardsmith as rs

    done = rs.run("spec.yaml")                                   # what `rewardsmith run` does
    rewards = rs.score(done.model, "What is 17 + 25?", ["41", "42"])
    scorer = rs.LocalScorer.load(done.model)
    rewards_B = scorer.score([(rs.Message("user", "2 + 2?"), rs.Message("assistant", "4"))])

The names below are the public interface. Each is imported when it is first used: `import rewardsmith` loads nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


def lazy_names(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` (PEP 562) of a room whose names are imported when they are first asked for.

    A command then loads only what it uses: torch takes seconds to import, and a report needs none of it.

    Args:
        package: the room's `__name__`.
        homes: name → module of the room that defines it. No name may be that of a module: once such a module is
            imported, Python puts it in the name's place.
    """

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}; it has {', '.join(sorted(homes))}")
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    return find


if not TYPE_CHECKING:  # mypy reads the imports above, and goes on refusing a name that is not there
    __getattr__ = lazy_names(__name__, _HOMES)
