"""The main job on embedded data: with a tiny base in seconds, and (slow) as `make demo` runs it."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_world import World

from rewardsmith.records.evaluation import BenchmarkResult
from rewardsmith.records.files import read_record
from rewardsmith.records.run import GatesRecord

SUBSETS = ["Factuality", "Precise IF", "Math", "Safety", "Focus", "Ties"]
QUICKSTART = Path(__file__).resolve().parents[1] / "examples" / "quickstart.yaml"


@pytest.fixture
def world(
    tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> World:
    monkeypatch.setenv("REWARDSMITH_CACHE", str(tmp_path / "cache"))
    return World(tmp_path, tiny_base, capsys, monkeypatch)


def test_embedded_data_with_another_base(world: World, tmp_path: Path) -> None:
    data = {
        "train": [{"embedded": "train", "limit": 40}],
        "held_out": {"sources": [{"embedded": "held_out", "limit": 20}]},
    }
    evaluation = {"benchmarks": [{"name": "rewardbench2", "data": "embedded"}], "bootstrap": 200}
    answer = world("run", world.write_spec(data=data, evaluation=evaluation))
    assert answer.code in (0, 1)
    result = read_record(tmp_path / "runs" / "tiny" / "eval" / "rewardbench2" / "results.json", BenchmarkResult)
    assert list(result.subsets) == SUBSETS
    assert (result.title, result.dataset.source) == ("Embedded best-of-4 rows", "embedded")
    assert result.dataset.official is False
    assert all(set(subset.extra_baselines) == {"bag of words"} for subset in result.subsets.values())
    assert "bag of words" in answer.out.lower()


@pytest.mark.slow
def test_the_quickstart_learns_most_categories(world: World, tmp_path: Path) -> None:
    """What `make demo` promises: at least three subsets above chance, the others named as failing their gate."""
    answer = world("run", str(QUICKSTART))
    run = tmp_path / "runs" / "quickstart"
    gates = read_record(run / "gates.json", GatesRecord)
    assert answer.code == (0 if gates.passed else 1)
    result = read_record(run / "eval" / "rewardbench2" / "results.json", BenchmarkResult)
    above = [name for name, subset in result.subsets.items() if subset.ci_low > subset.baseline]
    assert len(above) >= 3
    failing = {outcome.subset for outcome in gates.outcomes if outcome.name == "baseline" and outcome.verdict == "FAIL"}
    assert failing == set(SUBSETS) - set(above)
    for name, subset in result.subsets.items():
        if name != "Ties":  # its own formula has another scale; chance is 8 %
            assert abs(subset.length_baseline - 0.25) <= 0.1
            assert abs(subset.extra_baselines["bag of words"] - 0.25) <= 0.1
    assert (run / "report.html").is_file()
