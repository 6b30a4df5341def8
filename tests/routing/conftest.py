"""The model that answers what is planted in the texts."""

from __future__ import annotations

import pytest
from routing_files import PlantedScorer

from rewardsmith.pipeline.commands import route as shared
from rewardsmith.pipeline.scorers import LoadOptions
from rewardsmith.scoring.ensemble import Member, Scale
from rewardsmith.serving.engine import ModelInfo


@pytest.fixture
def scripted_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model is `PlantedScorer`, with a temperature of 1."""

    def opened(name: str, source: str, options: LoadOptions) -> tuple[Member, ModelInfo]:
        del options
        temperature = None if "uncalibrated" in source else 1.0
        info = ModelInfo(identity=source, temperature=temperature)
        return Member(name, PlantedScorer(), Scale(0.0, 1.0, temperature)), info

    monkeypatch.setattr(shared, "open_member", opened)
