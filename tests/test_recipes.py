"""The recipes of CONTRIBUTING: what is added in its own file and one line is then known everywhere.

Each adds a toy through the public registry. A benchmark's recipe is in test_benchmark_recipe.py.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from probe_world import plain, rows
from pydantic import BaseModel, ValidationError
from rendering_tokenizers import chatml
from serving_world import serving

from pages import page
from rewardsmith.data.checks import Check
from rewardsmith.data.prepare import prepare
from rewardsmith.data.registry import CHECKS, SURVEYS
from rewardsmith.data.surveys.survey import Found, Setting, Surveyed
from rewardsmith.errors import SpecError
from rewardsmith.evaluation.probes import PROBES, Probe, Subject, gate_probes, run_probes
from rewardsmith.records.probes import ProbesRecord
from rewardsmith.rendering import Renderer
from rewardsmith.report.sections.probes import probes_section
from rewardsmith.serving.dialects import DIALECTS, Ask, Dialect, Rewards
from rewardsmith.serving.dialects.contract import RequestBody, text
from rewardsmith.spec import Spec
from rewardsmith.spec.evaluation import SURFACE_PROBES, ProbeGatesSpec
from rewardsmith.types import PreferencePair


def shout(subject: Subject, random: Random) -> str | None:
    del random
    return subject.response.upper()


SHOUTING = Probe("shouting", "surface", "Shouting", "All letters become capitals.", "A policy would shout.", shout)


@pytest.fixture
def shouting(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("toy_probe")
    module.SHOUTING = SHOUTING  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "toy_probe", module)
    monkeypatch.setitem(SURFACE_PROBES, "shouting", "toy_probe:SHOUTING")  # the one line


class Share:
    """Rewards a response by its share of capital letters, or not at all."""

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def score(self, conversations: Any, progress: Any = None) -> Any:
        del progress
        last = [conversation[-1].content for conversation in conversations]
        return np.array([self.weight * sum(map(str.isupper, one)) / len(one) + len(one) / 1000 for one in last])


def probed(weight: float) -> ProbesRecord:
    record = run_probes(plain(rows()), Share(weight), count=40, seed=1, resamples=200, model="toy")
    return gate_probes(record, ProbeGatesSpec())


@pytest.mark.usefixtures("shouting")
def test_a_probe_is_measured_and_has_a_verdict() -> None:
    assert PROBES["shouting"] is SHOUTING
    assert len(PROBES) == len(list(PROBES)) == 24
    lover, sound = (probed(weight).probes["shouting"] for weight in (1.0, 0.0))
    assert (lover.verdict, lover.wrong, lover.n_not_applicable) == ("FAIL", 1.0, 0)
    assert (sound.verdict, sound.equal, sound.shift) == ("PASS", 1.0, 0.0)


@pytest.mark.usefixtures("shouting")
def test_a_probe_is_known_to_spec_page_and_report() -> None:
    spec = Spec.model_validate({"evaluation": {"gates": {"probes": {"each": {"shouting": {"kind": "gate"}}}}}})
    assert spec.evaluation.gates.probes.each["shouting"].kind == "gate"
    with pytest.raises(ValidationError, match="did you mean 'shouting'"):
        Spec.model_validate({"evaluation": {"gates": {"probes": {"each": {"shoutin": {"kind": "gate"}}}}}})
    assert "### Shouting (`shouting`)\n\nAll letters become capitals. A policy would shout." in page("probes.md")
    assert "Shouting. " in str(probes_section(probed(1.0)))


class ToyRequest(RequestBody):
    """Texts under `say`."""

    say: list[str]


class ToyAnswer(BaseModel):
    """Rewards under `heard`."""

    heard: list[float]


def read_toy(request: ToyRequest) -> Ask:
    return Ask([text(one) for one in request.say])


def write_toy(request: ToyRequest, rewards: Rewards) -> ToyAnswer:
    del request
    return ToyAnswer(heard=rewards.present)


TOY = Dialect(
    name="toy",
    path="/toy",
    summary="Toy: what is said",
    request=ToyRequest,
    answer=ToyAnswer,
    read=read_toy,
    write=write_toy,
    example={"say": ["Hi there"]},
)


def test_a_dialect_is_served_and_described(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as world:
        assert world.call("POST", "/toy", {"say": ["AB", "C"]}).status == 404
    monkeypatch.setitem(DIALECTS, "toy", TOY)  # the one line
    with serving() as world:
        # "AB" is 65 + 66 = 131, over 8; "C" is 67 / 8.
        assert world.call("POST", "/toy", {"say": ["AB", "C"]}).json() == {"heard": [16.375, 8.375]}
        assert world.call("POST", "/models/counting/toy", {"say": ["C"]}).json() == {"heard": [8.375]}
        assert world.call("POST", "/toy", {"said": []}).status == 422
        described = world.call("GET", "/openapi.json").json()["paths"]["/toy"]["post"]
    assert described["summary"] == "Toy: what is said"
    assert "\n## POST /toy\n" in page("http.md")


def says_xyzzy(pair: PreferencePair) -> str:
    return "the chosen response says xyzzy" if "xyzzy" in pair.chosen[-1].content else ""


MAGIC = Check(
    code="magic",
    severity="note",
    title="Magic word",
    meaning="A chosen response says xyzzy.",
    why="Nothing happens.",
    fix="leave the rows out",
    pair=says_xyzzy,
)


class Rivers:
    """Counts pairs about the Loire: a finding about the data as a whole."""

    def __init__(self, setting: Setting) -> None:
        del setting
        self.places: list[int] = []
        self.seen = 0

    def see(self, kept: Any) -> None:
        self.places += [self.seen + n for n, row in enumerate(kept) if "Loire" in row.pair.chosen[-1].content]
        self.seen += len(kept)

    def finish(self, table: Any) -> Surveyed:
        del table
        return Surveyed([Found("rivers", np.array(self.places, np.int64), summary=f"{len(self.places)} on the Loire")])


RIVERS = Check("rivers", "warning", "Rivers", "A response is about the Loire.", "There are others.", "name others")


def data(tmp_path: Path, **more: Any) -> Any:
    answers = ["The Loire.", "The Rhine.", "xyzzy", "The Po."]
    lines = [{"prompt": f"River {n}?", "chosen": answer, "rejected": "No."} for n, answer in enumerate(answers)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    train = [{"path": str(tmp_path / "pairs.jsonl")}]
    spec = Spec.model_validate({"data": {"train": train, "held_out": {"fraction": 0}, "max_length": 120, **more}})
    return prepare(spec, Renderer.from_tokenizer(chatml(), max_length=120, over_length="drop"))


class TestAFindingOfTheData:
    def test_before_it_is_added_its_code_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(SpecError, match="'magic' is not the code of a check"):
            data(tmp_path, severity={"magic": "error"})
        assert data(tmp_path).record.rejected == 0

    def test_a_row_check_leaves_rows_out_and_is_explained(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(CHECKS, "magic", MAGIC)  # the one line
        prepared = data(tmp_path, severity={"magic": "error"})
        (row,) = prepared.rejected
        assert (row.row, row.reason, row.detail) == (3, "magic", "the chosen response says xyzzy")
        (found,) = [one for one in prepared.record.findings if one.code == "magic"]
        assert (found.severity, found.count, found.of, found.fix) == ("error", 1, 4, "leave the rows out")
        assert prepared.record.failed_on == ("magic",)
        assert "A chosen response says xyzzy." in page("data_contract.md")

    def test_a_survey_counts_rows_and_is_explained(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(CHECKS, "rivers", RIVERS)
        monkeypatch.setitem(SURVEYS, "rivers", Rivers)
        prepared = data(tmp_path, fail_on=["rivers"])
        (found,) = [one for one in prepared.record.findings if one.code == "rivers"]
        assert (found.severity, found.count, found.summary) == ("warning", 1, "1 on the Loire")
        assert (found.examples[0].row, prepared.record.kept) == (1, 4)
        assert prepared.record.failed_on == ("rivers",)
        assert "A response is about the Loire." in page("data_contract.md")
