"""The Python interface: dicts and paths in, the command line's records out, tables that escape what data hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cli_world import World

import rewardsmith
from rewardsmith.errors import SpecError, UserError
from rewardsmith.pipeline.notebook import scores_html
from rewardsmith.records.evaluation import BenchmarkResult
from rewardsmith.records.files import read_record
from rewardsmith.scoring import LocalScorer
from rewardsmith.types import Message


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path):
    """A run from a dict, in its own folder."""
    with pytest.MonkeyPatch.context() as patch:
        world = World(tmp_path_factory.mktemp("notebook"), tiny_base, None, patch)  # type: ignore[arg-type]
        yield rewardsmith.run({**world.spec(), "output_dir": str(world.folder / "runs")}), world


def test_a_run_shows_itself(done, capsys):
    run, world = done
    html = run._repr_html_()
    assert run.folder == world.folder / "runs" / "tiny"
    assert run.report.is_file()
    assert ("FAIL", "PASS")[run.passed] in html
    results = read_record(run.folder / "eval" / "rewardbench2" / "results.json", BenchmarkResult)
    assert run.results["rewardbench2"] == results
    assert f"{100 * results.subsets['Math'].score:.1f}" in html
    assert html.count("<table") == len(run.results)
    assert repr(run) == f"Run({'passed' if run.passed else 'failed'}, '{run.folder}')"


def test_an_evaluation_is_that_of_the_command(done, tmp_path):
    run, world = done
    found = rewardsmith.evaluate(run.model, "rewardbench2", world.folder / "rows.jsonl", out=tmp_path / "out")
    assert found.result.average == run.results["rewardbench2"].average
    assert (tmp_path / "out" / "rows.jsonl").is_file()
    assert "Math" in found._repr_html_()
    assert repr(found).startswith("Evaluated('rewardbench2', average=")
    again = rewardsmith.evaluate(run.model, "rewardbench2", world.folder / "rows.jsonl")
    assert (again.folder, again.result.subsets) == (None, found.result.subsets)


def test_scores_are_the_scorer_s(done):
    run, _ = done
    rewards = rewardsmith.score(run.model, "red blue", ["blue", "red " * 400, "green"])
    scorer = LocalScorer.load(run.model)
    asked = (Message("user", "red blue"),)
    expected = scorer.score([(*asked, Message("assistant", text)) for text in ("blue", "red " * 400, "green")])
    assert np.array_equal(rewards, expected, equal_nan=True)
    assert np.isnan(rewards).tolist() == [False, True, False]
    messages = [{"role": "user", "content": "red blue"}]
    same = rewardsmith.score(rewardsmith.load(run.model), messages, [[{"role": "assistant", "content": "blue"}]])
    assert same.tolist() == rewards[:1].tolist()


def test_what_cannot_be_used(done):
    run, _ = done
    with pytest.raises(UserError, match="responses is one text"):
        rewardsmith.score(run.model, "red", "blue")
    with pytest.raises(SpecError, match=r"spec: unknown key 'data\.trian'"):
        rewardsmith.run({"data": {"trian": []}})
    with pytest.raises(SpecError, match="no such file"):
        rewardsmith.run("nowhere.yaml")


def test_names_of_data_are_escaped(done):
    run, _ = done
    result = run.results["rewardbench2"]
    evil = {"<script>alert(1)</script>": next(iter(result.subsets.values()))}
    html = str(scores_html(result.model_copy(update={"subsets": evil, "title": "<img src=x>"})))
    assert "<script" not in html
    assert "<img" not in html
    assert "&lt;script&gt;" in html
