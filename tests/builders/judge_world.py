"""Rows with a planted truth, and one judgement of them: shared by the tests of judges."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rewardsmith.pipeline.commands.judge import JudgeOutcome, judge_job
from rewardsmith.pipeline.events import Silent
from rewardsmith.spec import Spec

PRICES = {"prompt": 2.0, "completion": 10.0}


def ranked_rows(count: int, subset: str = "Math") -> list[dict[str, Any]]:
    """Rows of four answers, the best of which says "quality 9"."""
    return [
        {
            "id": str(number),
            "subset": subset,
            "prompt": f"What is {number} + 1?",
            "chosen": [f"{number + 1}, quality 9"],
            "rejected": [f"{number + wrong}, quality {8 - wrong}" for wrong in (2, 3, 4)],
        }
        for number in range(count)
    ]


def tied_rows(count: int) -> list[dict[str, Any]]:
    """Ties rows, both halves of each id: every right answer says "quality 9", every wrong one "quality 3"."""
    rows = []
    for number in range(count):
        prompt = f"Name a colour, number {number}."
        wrong = [f"{word} {number}, quality 3" for word in ("dog", "cat")]
        right = [f"{word} {number}, quality 9" for word in ("red", "blue", "green")]
        rows.append({"id": f"ref:{number}", "subset": "Ties", "prompt": prompt, "chosen": right[:1], "rejected": wrong})
        rows.append({"id": f"tied:{number}", "subset": "Ties", "prompt": prompt, "chosen": right, "rejected": wrong})
    return rows


def pairs(count: int, *, long_loser: bool = False) -> list[dict[str, Any]]:
    """Pairs, the better of which says "quality 9"; the other may be longer and say "Moreover"."""
    tail = " Moreover, there is more to be said of it. Moreover, much more." if long_loser else ""
    return [
        {
            "id": str(number),
            "prompt": f"What is {number} + 1?",
            "chosen": f"{number + 1}, quality 9",
            "rejected": f"{number + 2}, quality 4{tail}",
        }
        for number in range(count)
    ]


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def judged(
    url: str, benchmark: str, data: Path, out: Path, *, missing_as_chance: bool = False, **settings: Any
) -> JudgeOutcome:
    """One evaluation of the judge at `url`; no probes unless they are asked for."""
    judge = {
        "endpoint": url,
        "model": "judge",
        "prices": PRICES,
        "backoff": 0.001,
        "probes": {"consistency": 0, "injection": 0},
    }
    spec = Spec(judge=judge | settings, evaluation={"bootstrap": 200})
    return judge_job(spec, benchmark, str(data), out, Silent(), missing_as_chance=missing_as_chance)


def read_rows(out: Path, benchmark: str) -> list[dict[str, Any]]:
    path = out / "eval" / benchmark / "rows.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
