"""The judge: built from the spec, and evaluated on benchmarks.

judge = build_judge(spec.judge, directory, seed=spec.seed)        what routing, serving and evaluation receive
"""

from __future__ import annotations

from pathlib import Path

from rewardsmith.errors import SpecError
from rewardsmith.protocols import BenchmarkJudge
from rewardsmith.spec import JudgeSpec


def build_judge(spec: JudgeSpec, directory: Path | None = None, *, seed: int = 17) -> BenchmarkJudge:
    """A judge that asks the spec's endpoint.

    Args:
        spec: the `judge` section.
        directory: folder of its calls: what it holds is never paid for again, and counts towards the budget. None:
            calls are kept in memory, and forgotten.
        seed: where the section has none of its own.

    Raises:
        SpecError: no endpoint is named, or a prompt file cannot be used.
        UserError: the extra `judge` is not installed.
        RunDirectoryError: the folder cannot be written, or another process has it.
    """
    if not spec.endpoint:
        raise SpecError(
            "no judge is named", where="judge.endpoint", fix="write its address, as http://127.0.0.1:8000/v1"
        )
    raise NotImplementedError
