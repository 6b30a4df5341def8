"""The registry of benchmarks: name → the address of its `Benchmark`. Adding one: a file in `evaluation`, a line here.

    BENCHMARKS["judgebench"]       "rewardsmith.evaluation.benchmarks.judgebench:JUDGEBENCH"
    declared("judgebench")         that value; its module is imported now

It stands below every room, because the spec refuses a misspelt name, and `--help` lists the names, before any code of
`evaluation` is loaded. A room that needs more of a benchmark than its name asks for what stands at the address: nobody
below `evaluation` imports it, and nothing about a benchmark is written down twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Protocol

BENCHMARKS: dict[str, str] = {
    "rewardbench2": "rewardsmith.evaluation.benchmarks.rewardbench2:REWARDBENCH2",
    "rewardbench": "rewardsmith.evaluation.benchmarks.rewardbench:REWARDBENCH",
    "rm_bench": "rewardsmith.evaluation.benchmarks.rm_bench:RM_BENCH",
    "judgebench": "rewardsmith.evaluation.benchmarks.judgebench:JUDGEBENCH",
    "llmbar": "rewardsmith.evaluation.benchmarks.llmbar:LLMBAR",
    "rmb": "rewardsmith.evaluation.benchmarks.rmb:RMB",
    "ppe": "rewardsmith.evaluation.benchmarks.ppe:PPE",
    "plan_rewardbench": "rewardsmith.evaluation.benchmarks.plan_rewardbench:PLAN_REWARDBENCH",
    "if_rewardbench": "rewardsmith.evaluation.benchmarks.if_rewardbench:IF_REWARDBENCH",
    "long_rewardbench": "rewardsmith.evaluation.benchmarks.long_rewardbench:LONG_REWARDBENCH",
    "m_rewardbench": "rewardsmith.evaluation.benchmarks.m_rewardbench:M_REWARDBENCH",
    "pairs": "rewardsmith.evaluation.benchmarks.pairs:PAIRS",
    "best_of_n": "rewardsmith.evaluation.benchmarks.best_of_n:BEST_OF_N",
}

AVERAGE = "average"


class Declared(Protocol):
    """What the spec reads of a benchmark before any row is read.

    Attributes:
        name: its key in the registry.
        subsets, other_subsets: the names of its subsets, none where the rows name them.
        known_chance: what random rewards reach: of each subset (and `average`) that is named, or of all where it is one
            number; None where the rows decide.
        renders_upstream: whether `rendering` can render text as the benchmark's own script does.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def subsets(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def other_subsets(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def known_chance(self) -> Mapping[str, float] | float | None: ...  # noqa: D102
    @property
    def renders_upstream(self) -> bool: ...  # noqa: D102


def declared(name: str) -> Declared:
    """The benchmark of that name.

    Raises:
        KeyError: there is none.
    """
    module, _, attribute = BENCHMARKS[name].partition(":")
    found: Declared = getattr(import_module(module), attribute)
    return found


def rendered_upstream() -> list[str]:
    """The benchmarks that can be rendered as their own script does."""
    return [name for name in BENCHMARKS if declared(name).renders_upstream]


def chance_of(name: str, subset: str) -> float | None:
    """What random rewards reach on a subset, or on the `average`; None where only the rows can say it."""
    known = declared(name).known_chance if name in BENCHMARKS else None
    return known.get(subset) if isinstance(known, Mapping) else known


def subsets_of(name: str) -> tuple[str, ...]:
    """The names that a threshold may have: subsets and `average`; none where the rows name the subsets."""
    if name not in BENCHMARKS or not declared(name).subsets:
        return ()
    return (*declared(name).subsets, *declared(name).other_subsets, AVERAGE)
