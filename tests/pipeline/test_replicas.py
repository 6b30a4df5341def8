"""Other seeds and shares of the data: whole runs inside the run, resumable, with their spread and slope worked out."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_world import World, renamed

from conftest import make_pairs
from rewardsmith.cli.options import Live
from rewardsmith.errors import MarginStop, SpecError
from rewardsmith.pipeline import stages
from rewardsmith.records.checks import CheckRecord
from rewardsmith.records.diagnosis import DiagnosisRecord
from rewardsmith.records.evaluation import BenchmarkResult
from rewardsmith.records.files import read_record
from rewardsmith.records.training import LearningCurveRecord, ReplicasRecord, StepMetrics
from rewardsmith.spec import Spec, load_spec
from rewardsmith.training.plan import weights_fingerprint

WEIGHTS = "model/model.safetensors"


@pytest.fixture
def world(
    tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> World:
    return World(tmp_path, tiny_base, capsys, monkeypatch)


def seeded(world: World, *seeds: int, **changes: Any) -> str:
    training = {**world.spec()["training"], "seeds": list(seeds)}
    return world.write_spec(training=training, **changes)


def result(run: Path, key: str) -> BenchmarkResult:
    return read_record(run / "eval" / key / "results.json", BenchmarkResult)


def test_each_seed_is_a_run_of_its_own_and_the_spread_is_theirs(world: World, tmp_path: Path) -> None:
    answer = world("run", seeded(world, 5, 6, 7))
    assert answer.code in (0, 1), answer.err
    run = tmp_path / "runs" / "tiny"
    record = read_record(run / "replicas.json", ReplicasRecord)
    assert record.seeds == (5, 6, 7)
    folders = [run, run / "replicas" / "seed-6", run / "replicas" / "seed-7"]
    assert len({(folder / WEIGHTS).read_bytes() for folder in folders}) == 3
    for key in ("rewardbench2", "held_out"):
        results = [result(folder, key) for folder in folders]
        for name, spread in record.spread[key].items():
            scores = [one.average if name == "average" else one.subsets[name].score for one in results]
            assert spread.scores == tuple(scores)
            assert (spread.mean, spread.std) == pytest.approx((np.mean(scores), np.std(scores, ddof=1)))
            assert (spread.n, spread.low, spread.high) == (3, min(scores), max(scores))
    assert set(record.spread["rewardbench2"]) == {"Math", "Focus", "Ties", "average"}

    # each has a diagnosis of its own, and the run's says what the others are
    kinds = [read_record(folder / "diagnosis.json", DiagnosisRecord) for folder in folders]
    assert kinds[0].replicas == {"6": kinds[1].headline, "7": kinds[2].headline}
    assert kinds[1].replicas == {}
    # too little data is a fact of the sets: other seeds have nothing to say of it
    assert all(bool(cause.seeds) == (cause.code != "too_little_data") for cause in kinds[0].causes)

    # every page shows the spread beside the interval
    held_out = record.spread["held_out"]["average"]
    shown = f"{100 * held_out.mean:.1f} ± {100 * held_out.std:.1f}"
    assert shown in answer.out
    assert shown in (run / "summary.md").read_text()
    assert "Mean ± std over seeds" in (run / "report.html").read_text()
    assert world("run", "spec.yaml", "--json").json()["replicas"]["seeds"] == [5, 6, 7]

    # a seed of its own gives the same model
    alone = {**world.spec()["training"], "seed": 6}
    assert world("run", world.write_spec(name="alone", training=alone)).code in (0, 1)
    assert (tmp_path / "runs" / "alone" / WEIGHTS).read_bytes() == (folders[1] / WEIGHTS).read_bytes()


def test_seeds_can_be_added_and_only_the_new_one_is_trained(world: World, tmp_path: Path) -> None:
    training = {**world.spec()["training"], "seed": 5}
    assert world("run", world.write_spec(training=training)).code in (0, 1)
    run = tmp_path / "runs" / "tiny"
    times = [(run / WEIGHTS).stat().st_mtime_ns]
    assert not (run / "replicas.json").exists()
    assert "± " not in (run / "summary.md").read_text()
    answer = world("run", seeded(world, 5, 6))
    assert answer.code in (0, 1), answer.err
    assert answer.err.count("Train: done") == 1
    times.append((run / "replicas" / "seed-6" / WEIGHTS).stat().st_mtime_ns)
    again = world("run", seeded(world, 5, 6, 8))
    assert again.err.count("Train: done") == 1
    assert again.err.count("Train: unchanged") == 2
    assert [
        (run / WEIGHTS).stat().st_mtime_ns,
        (run / "replicas" / "seed-6" / WEIGHTS).stat().st_mtime_ns,
    ] == times
    # another first seed would be another model
    refused = world("run", seeded(world, 6, 5))
    assert refused.code == 2
    assert "training.seed was 5, is 6" in refused.err
    # without seeds the record goes, and so does its section
    assert world("run", world.write_spec(training=training)).code in (0, 1)
    assert not (run / "replicas.json").exists()
    assert "over seeds" not in (run / "summary.md").read_text()


def test_a_killed_replica_continues_and_ends_as_an_unbroken_one(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert world("run", seeded(world, 5, 6, name="whole")).code in (0, 1)
    steps = []
    step = Live.step

    def die(self: Live, metrics: StepMetrics, total: int) -> None:
        steps.append(metrics.step)
        if len(steps) == 16:  # the sixth step of the second model
            raise KeyboardInterrupt
        step(self, metrics, total)

    spec = seeded(world, 5, 6, name="killed")
    with monkeypatch.context() as patch:
        patch.setattr(Live, "step", die)
        assert world("run", spec).code == 130
    assert steps[-1] == 6
    answer = world("run", spec)
    assert answer.err.count("Train: done") == 1
    runs = tmp_path / "runs"
    for name in (WEIGHTS, "eval/held_out/rows.jsonl", f"replicas/seed-6/{WEIGHTS}"):
        assert (runs / "killed" / name).read_bytes() == (runs / "whole" / name).read_bytes(), name
    whole, killed = (read_record(runs / name / "replicas.json", ReplicasRecord) for name in ("whole", "killed"))
    assert killed.spread == whole.spread
    resumed = json.loads((runs / "killed" / "replicas" / "seed-6" / "train" / "summary.json").read_text())
    assert resumed["resumed_from_step"] == 4


def test_a_stopped_replica_is_named_and_has_no_scores(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = stages.train_model

    def stop_seed_6(job: Any, checked: CheckRecord) -> Any:
        if job.spec.training.seed == 6:
            raise MarginStop("training stopped at step 8 of 10: collapse")
        return train(job, checked)

    monkeypatch.setattr(stages, "train_model", stop_seed_6)
    answer = world("run", seeded(world, 5, 6, 7))
    assert answer.code in (0, 1), answer.err
    record = read_record(tmp_path / "runs" / "tiny" / "replicas.json", ReplicasRecord)
    assert record.stopped == {"6": "training stopped at step 8 of 10: collapse"}
    spread = record.spread["held_out"]["average"]
    assert (spread.n, spread.scores[1]) == (2, None)
    assert "seed 6 has no scores: training stopped at step 8 of 10: collapse" in answer.out


@pytest.mark.parametrize(
    ("training", "says"),
    [
        ({"seeds": [3]}, "one seed has no spread"),
        ({"seeds": [3, 4, 3]}, "equal seeds train equal models"),
        ({"seeds": [3, -1]}, "-1"),
        ({"seeds": [3, 4], "seed": 3}, "training.seed is 3 as well"),
    ],
)
def test_seeds_that_mean_nothing_are_refused(tmp_path: Path, training: dict[str, Any], says: str) -> None:
    (tmp_path / "spec.yaml").write_text(json.dumps({"training": training}))
    with pytest.raises(SpecError) as caught:
        load_spec(tmp_path / "spec.yaml")
    assert says in str(caught.value)
    assert caught.value.fix


def test_seeds_change_no_fingerprint_of_weights() -> None:
    def weights(**training: Any) -> str:
        spec = Spec.model_validate({"training": training})
        return weights_fingerprint(spec, data_fingerprint="d", base_fingerprint="b", versions={})

    assert weights(seeds=[17, 2]) == weights()  # the spec's own seed is 17
    assert weights(seeds=[5, 2]) == weights(seeds=[5, 9, 2]) == weights(seed=5)
    assert weights(seeds=[5, 2]) != weights(seeds=[2, 5])
    # what this spec gave before there were seeds
    content = Spec().training.model_dump(mode="json")
    assert content.pop("seeds") == []


# --- learning curve ---


@pytest.fixture
def curve_world(world: World, tmp_path: Path) -> World:
    """40 pairs of 20 prompts, two each."""
    pairs = make_pairs(20, seed=1)
    others = make_pairs(20, seed=9)
    doubled = [
        pair if turn == 0 else type(pair)(pair.prompt, other.chosen, other.rejected, id=f"{pair.id}b", source="tiny")
        for pair, other in zip(pairs, others, strict=True)
        for turn in (0, 1)
    ]
    world.write_pairs("train.jsonl", doubled)
    world.write_pairs("held_out.jsonl", [renamed(pair, "h") for pair in make_pairs(80, seed=2)[45:]])
    return world


def test_a_curve_on_nested_shares_of_the_prompts(curve_world: World, tmp_path: Path) -> None:
    spec = curve_world.write_spec()
    answer = curve_world("run", spec, "--learning-curve", "0.25,0.5,1")
    assert answer.code in (0, 1), answer.err
    run = tmp_path / "runs" / "tiny"
    record = read_record(run / "learning_curve.json", LearningCurveRecord)
    assert [(point.fraction, point.pairs, point.prompts) for point in record.points] == [
        (0.25, 10, 5),
        (0.5, 20, 10),
        (1.0, 40, 20),
    ]
    folders = [run / "learning_curve" / "share-0.25", run / "learning_curve" / "share-0.5", run]
    for key in ("held_out", "rewardbench2"):
        averages = [result(folder, key).average for folder in folders]
        assert [point.scores[key].score for point in record.points] == averages
        slope = np.polyfit(np.log2([10, 20, 40]), averages, 1)[0]
        assert record.slopes[key].per_doubling == pytest.approx(slope)
        assert record.slopes[key].low <= record.slopes[key].high
    losses = [result(folder, "held_out").metrics["loss"] for folder in folders]
    assert [point.loss for point in record.points] == losses
    assert record.loss_slope.per_doubling == pytest.approx(np.polyfit(np.log2([10, 20, 40]), losses, 1)[0])
    assert (record.basis, record.points[-1].scores["held_out"].score) == ("held_out", averages_of(run))
    assert record.statement in answer.out
    assert record.statement.split(":")[0] in (run / "summary.md").read_text()
    assert "Learning curve" in (run / "report.html").read_text()

    # the second time nothing is trained; another evaluation makes the curve stale
    again = curve_world("run", spec, "--learning-curve", "0.25,0.5,1")
    assert "Learning curve: unchanged, skipped" in again.err
    assert "Train: done" not in again.err
    assert read_record(run / "learning_curve.json", LearningCurveRecord) == record
    assert curve_world("run", spec).code == answer.code
    assert (run / "learning_curve.json").exists()
    curve_world("run", spec, "--set", "evaluation.bootstrap=300")
    assert not (run / "learning_curve.json").exists()


def averages_of(run: Path) -> float | None:
    return result(run, "held_out").average


def test_shares_are_nested_and_keep_prompts_whole(curve_world: World, tmp_path: Path) -> None:
    from rewardsmith.data.prepare import prepare, take_share
    from rewardsmith.rendering import load_renderer

    spec = load_spec(tmp_path / curve_world.write_spec())
    renderer = load_renderer(curve_world.base, max_length=200)
    whole = prepare(spec, renderer, fingerprint="f")
    shares = [take_share(whole, spec, renderer, share, fingerprint=str(share)) for share in (0.1, 0.3, 0.7)]
    ids = [[row.pair.id for row in part.train] for part in (*shares, whole)]
    assert [len(part) for part in ids] == [4, 12, 28, 40]
    for smaller, larger in pairwise(ids):
        assert [one for one in larger if one in smaller] == smaller  # nested, in the same order
    for part in ids:
        assert {one.removesuffix("b") for one in part} == {one for one in part if not one.endswith("b")}
    assert len({part.record.data_fingerprint for part in (*shares, whole)}) == 4
    assert shares[1].record.fingerprint == "0.3"
    assert (shares[1].record.train_pairs, shares[1].record.distinct_prompts) == (12, 6)
    assert shares[1].record.tokens.texts == 24
    assert shares[1].held_out == whole.held_out


FRACTIONS = {
    "0.5": "needs two fractions or more",
    "0.5,0.25": "is not in rising order",
    "0.5,0.5": "is not in rising order",
    "0,1": "0 is not a share",
    "0.5,1.5": "1.5 is not a share",
    "half,1": "is not a list of numbers",
    "": "is not a list of numbers",
    "nan,1": "nan is not a share",
}


@pytest.mark.parametrize("fractions", FRACTIONS)
def test_fractions_that_mean_nothing_are_refused_before_any_work(world: World, tmp_path: Path, fractions: str) -> None:
    answer = world("run", world.write_spec(), "--learning-curve", fractions)
    assert answer.code == 2, answer
    assert FRACTIONS[fractions] in answer.err
    assert "0.25,0.5,1" in answer.err
    assert not (tmp_path / "runs").exists()


def test_fractions_that_give_equal_data_are_refused(world: World) -> None:
    world.write_pairs("train.jsonl", make_pairs(8, seed=1))
    answer = world("run", world.write_spec(), "--learning-curve", "0.24,0.26,1")
    assert answer.code == 2
    assert "the fractions 0.24 and 0.26 both give 2 pairs" in answer.err


def test_several_processes_are_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for answer in (
        world("run", seeded(world, 1, 2)),
        world("run", world.write_spec(), "--learning-curve", "0.5,1"),
    ):
        assert answer.code == 2
        assert "on one process" in answer.err
