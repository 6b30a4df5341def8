"""Files for `route calibrate` and `route run`, with a model and a judge whose answers are planted in the texts."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from routing_world import ScriptedJudge

from rewardsmith.pipeline.commands import route as shared
from rewardsmith.pipeline.commands.calibrate_route import CalibrateOptions, calibrate_job
from rewardsmith.pipeline.commands.run_route import RouteOptions, run_routes
from rewardsmith.pipeline.events import Silent
from rewardsmith.pipeline.scorers import LoadOptions
from rewardsmith.protocols import Progress
from rewardsmith.records.routing import RouteRow, RouteRunRecord, RoutingRecord
from rewardsmith.scoring.ensemble import Member, Scale
from rewardsmith.serving.engine import ModelInfo
from rewardsmith.spec import Spec
from rewardsmith.types import Comparison, Conversation


def planted(conversation: Conversation, name: str) -> float:
    """The number after `name=` in the last message: NaN where there is none."""
    found = re.search(rf"{name}=(-?[\d.]+)", conversation[-1].content)
    return float(found[1]) if found else float("nan")


class PlantedScorer:
    def score(self, conversations: Sequence[Conversation], progress: Progress | None = None) -> np.ndarray:
        del progress
        return np.array([planted(one, "reward") for one in conversations])


def plant_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model is `PlantedScorer`, with a temperature of 1 unless it is called uncalibrated."""

    def opened(name: str, source: str, options: LoadOptions) -> tuple[Member, ModelInfo]:
        del options
        temperature = None if "uncalibrated" in source else 1.0
        info = ModelInfo(identity=source, temperature=temperature)
        return Member(name, PlantedScorer(), Scale(0.0, 1.0, temperature)), info

    monkeypatch.setattr(shared, "open_member", opened)


def by_quality(comparison: Comparison) -> float:
    first, second = (planted(side, "quality") for side in (comparison.first, comparison.second))
    return 0.5 if first == second else float(first > second)


def spec(**routing: Any) -> Spec:
    judge = {"endpoint": "http://judge/v1", "model": "scripted", "prices": {"prompt": 1.0}}
    evaluation = {"benchmarks": [], "bootstrap": 200}
    return Spec.model_validate({"routing": routing, "judge": judge, "evaluation": evaluation})


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def pair_rows(n: int, seed: int = 0) -> list[dict[str, Any]]:
    """Calibrated pairs: the model is right with its confidence, the judge (by quality) always."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(n):
        size = float(np.abs(rng.normal(0, 2)))
        margin = size if rng.random() < 1 / (1 + np.exp(-size)) else -size
        rows.append(
            {
                "id": f"p{number}",
                "prompt": f"Question {number}?",
                "chosen": f"reward={margin / 2:.6f} quality=2",
                "rejected": f"reward={-margin / 2:.6f} quality=1",
                "subset": "Safety" if number % 10 == 0 else "Math",
            }
        )
    return rows


def calibrate(tmp_path: Path, rows: list[dict[str, Any]], judge: Any = None, **options: Any) -> RoutingRecord:
    data = write(tmp_path / "held_out.jsonl", rows)
    settings = {"models": ("m",), "out": tmp_path / "routing", "data": str(data)} | options
    wanted = settings.pop("spec", spec())
    return calibrate_job(wanted, CalibrateOptions(**settings), Silent(), judge=judge or ScriptedJudge(by_quality))


MARGIN = {"rules": [{"kind": "margin", "below": 1.0}]}


def row(name: str, *answers: tuple[float | None, float], **more: Any) -> dict[str, Any]:
    texts = [f"quality={quality}" + ("" if reward is None else f" reward={reward}") for reward, quality in answers]
    return {"id": name, "prompt": f"{name}?", "responses": texts} | more


ROWS = [
    row("clear", (2.0, 1), (0.0, 2)),
    row("close", (0.5, 1), (0.0, 2), subset="Math"),
    row("tied", (0.5, 1), (0.0, 1)),
    row("three", (1.0, 1), (0.5, 3), (-5.0, 9)),
    {"id": "one", "prompt": "one?", "response": "alone"},
    row("none", (None, 1), (None, 2)),
]


def routed(
    tmp_path: Path, rows: list[dict[str, Any]] | None = None, judge: Any = None, **options: Any
) -> tuple[RouteRunRecord, list[RouteRow]]:
    source = write(tmp_path / "in.jsonl", ROWS if rows is None else rows)
    routing = options.pop("routing", MARGIN)
    settings = {"models": ("m",), "input": source, "output": tmp_path / "out.jsonl"} | options
    record = run_routes(spec(**routing), RouteOptions(**settings), Silent(), judge=judge or ScriptedJudge(by_quality))
    lines = Path(record.output).read_text().splitlines()
    return record, [RouteRow.model_validate_json(line) for line in lines]
