"""`rewardsmith route` from the command line, with the real judge client against a scripted judge that speaks HTTP."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from checkpoint_maker import make_checkpoint
from cli_world import World
from scripted_judge import scripted_judge

from rewardsmith.records.routing import RouteRow, RoutingRecord

pytest.importorskip("openai")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint") / "model", tiny_base)


@pytest.fixture
def world(tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> World:
    return World(tmp_path, tiny_base, capsys, monkeypatch)


def pairs(count: int, prefix: str) -> list[dict[str, Any]]:
    return [
        {
            "id": f"{prefix}{n}",
            "prompt": f"{prefix} question {n}?",
            "chosen": f"quality 9 {'red ' * (n % 4)}",
            "rejected": f"quality 2 {'blue ' * (n % 3)} {n}",
            "subset": "words",
        }
        for n in range(count)
    ]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_spec(world: World, url: str, **routing: Any) -> str:
    judge = {"endpoint": url, "model": "judge", "prices": {"prompt": 1.0, "completion": 4.0}, "backoff": 0.0}
    rules = {"rules": [{"kind": "margin"}], "target": {"kind": "share", "value": 0.5}}
    return world.write_spec(judge=judge, routing=rules | routing)


def test_calibrate_run_and_replay(world: World, checkpoint: Path) -> None:
    write(world.folder / "fit.jsonl", pairs(60, "fit"))
    write(world.folder / "in.jsonl", pairs(40, "new"))
    model = ("--model", str(checkpoint), "--device", "cpu")
    with scripted_judge(accuracy=1.0, failures=0.2, garbage=0.05, seed=3) as judge:
        spec = write_spec(world, judge.url)
        done = world("route", "calibrate", spec, *model, "--data", "fit.jsonl", "--out", "routing")
        assert done.code == 0, done.err
        assert re.search(r"Judge +judge *\n", done.out)
        record = RoutingRecord.model_validate_json(Path("routing/routing.json").read_text())
        assert 0.4 < record.chosen.share <= 0.5
        assert record.judge_only.value > 0.9
        assert len(record.judge.prompts) == 64
        paid = judge.counts()["paid"]

        again = world("route", "calibrate", spec, *model, "--data", "fit.jsonl", "--out", "routing", "--json")
        assert again.json()["judge"]["calls"] <= record.judge.calls
        assert judge.counts()["paid"] - paid <= 2 * sum(record.judge.missing.values()) * 6  # what failed is tried again

        run = ("route", "run", spec, *model, "--input", "in.jsonl", "--output", "out.jsonl", "--calibration", "routing")
        done = world(*run, "--pairs", "labels.jsonl", "--json")
        assert done.code == 0, done.err
        summary = done.json()
    rows = [RouteRow.model_validate_json(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert [row.id for row in rows] == [f"new{n}" for n in range(40)]
    assert summary["judged"] == sum(row.by == "judge" for row in rows) > 0
    assert all(row.best == 0 for row in rows if row.by == "judge")
    assert summary["cost"] == pytest.approx(sum(row.cost for row in rows))
    assert summary["cost"] > 0
    assert summary["exported"] == summary["judged"] == len(Path("labels.jsonl").read_text().splitlines())
    done = world("route", "replay", "out.audit.jsonl")
    assert (done.code, done.out.strip()) == (0, f"{summary['comparisons']} decisions, 0 come out otherwise")


def test_a_judge_that_is_gone_leaves_the_reward_model(world: World, checkpoint: Path) -> None:
    write(world.folder / "in.jsonl", pairs(12, "new"))
    spec = write_spec(
        world,
        "http://127.0.0.1:9/v1",
        rules=[{"kind": "margin", "below": 100.0}],
        concurrency=2,
        breaker={"failures": 2},
    )
    text = yaml.safe_load(Path(spec).read_text())
    text["judge"] |= {"retries": 0}
    Path(spec).write_text(yaml.safe_dump(text))
    done = world("route", "run", spec, "--model", str(checkpoint), "--input", "in.jsonl", "--output", "out.jsonl")
    assert done.code == 0, done.err
    rows = [RouteRow.model_validate_json(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert {row.by for row in rows} == {"reward_model"}
    assert {row.fallback for row in rows} == {"failed", "breaker"}
    assert "ambiguous, and decided by the reward model: breaker" in done.out


def test_verdicts_on_file_need_no_judge_and_a_target_that_is_out_of_reach_is_no(world: World, checkpoint: Path) -> None:
    rows = pairs(40, "fit")
    write(world.folder / "fit.jsonl", rows)
    write(
        world.folder / "verdicts.jsonl",
        [{"subset": "words", "id": row["id"], "probability": 1.0 if n % 2 else 0.0} for n, row in enumerate(rows)],
    )
    spec = write_spec(world, "http://127.0.0.1:9/v1")
    command = (
        "route",
        "calibrate",
        spec,
        "--model",
        str(checkpoint),
        "--data",
        "fit.jsonl",
        "--verdicts",
        "verdicts.jsonl",
        "--out",
        "routing",
        "--target",
    )
    assert world(*command, "share=0.3").code == 0
    done = world(*command, "accuracy=0.99")
    assert done.code == 1
    assert re.search(r"Target +accuracy 0\.99, not reached", done.out)
    done = world(*command, "accuracy=2")
    assert (done.code, "is no target" in done.err) == (2, True)


@pytest.mark.parametrize("data", ["rows.jsonl", "gated.jsonl"])
def test_a_gated_benchmark_is_refused_with_2_and_the_gate_named(world: World, checkpoint: Path, data: str) -> None:
    write(world.folder / "gated.jsonl", [row | {"prompt": "Say 0."} for row in pairs(30, "fit")])
    spec = write_spec(world, "http://127.0.0.1:9/v1")
    done = world("route", "calibrate", spec, "--model", str(checkpoint), "--data", data, "--out", "routing")
    assert done.code == 2
    assert "the benchmark 'rewardbench2', which evaluation.gates.above_baseline decides on" in done.err
    assert "calibrate on held-out pairs that no gate looks at" in done.err
    assert not Path("routing").exists()


def overwritten(world: World, spec: str) -> list[str]:
    """What a check says that deletes what stands in the folder of its run."""
    done = world("check", spec, "--overwrite")
    assert done.code == 0, done.err
    return [line for line in done.err.splitlines() if "routing" in line]


def test_the_router_may_be_in_the_folder_before_the_run_and_stays_there(world: World, checkpoint: Path) -> None:
    """A calibration of a model from elsewhere, decisions and labels beside it; then the run of the same spec."""
    write(world.folder / "fit.jsonl", pairs(60, "fit"))
    write(world.folder / "in.jsonl", pairs(12, "new"))
    model, folder = ("--model", str(checkpoint)), Path("runs/tiny/routing")
    with scripted_judge(accuracy=1.0, seed=3) as judge:
        spec = write_spec(world, judge.url)
        assert world("route", "calibrate", spec, *model, "--data", "fit.jsonl").code == 0
        routed = ("--input", "in.jsonl", "--output", str(folder / "out.jsonl"), "--pairs", str(folder / "labels.jsonl"))
        done = world("route", "run", spec, *model, *routed)
        assert done.code == 0, done.err
    before = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    names = {"routing.json", "verdicts.jsonl", "out.jsonl", "out.audit.jsonl", "labels.jsonl", "calls.jsonl"}
    assert names <= {path.name for path in before}
    assert {path.name for path in Path("runs/tiny").iterdir()} == {"routing"}

    plan = world("run", spec, "--dry-run", "--overwrite", "--json")
    assert (plan.code, plan.json()["deletes"]) == (0, False), plan.err
    assert overwritten(world, spec) == []
    assert {path: path.read_bytes() for path in before} == before

    for path in sorted(Path("runs/tiny").iterdir()):  # as before the check
        if path.is_file():
            path.unlink()
    done = world("check", spec)
    assert done.code == 0, done.err
    assert {path: path.read_bytes() for path in before} == before
    [said] = overwritten(world, spec)
    assert "runs/tiny/routing is deleted with the run that stood there, and the judge's calls with it" in said
    assert not folder.exists()


def test_what_the_router_did_not_write_makes_a_folder_no_run(world: World) -> None:
    folder = Path("runs/tiny/routing")
    folder.mkdir(parents=True)
    spec = world.write_spec()
    others = {
        "thesis.txt": "years of work",
        "routing.json": '{"mine": 1}',
        "pairs.jsonl": '{"prompt": "a", "chosen": "b", "rejected": "c"}\n',
    }
    for name, text in others.items():
        (folder / name).write_text(text)
        for overwrite in ((), ("--overwrite",)):
            done = world("check", spec, *overwrite)
            assert (done.code, "runs/tiny" in done.err, "routing" in done.err) == (2, True, True)
        assert (folder / name).read_text() == text
        (folder / name).unlink()
    (folder / "judge").mkdir()
    (folder / "judge" / "notes.md").write_text("mine")
    assert world("check", spec).code == 2
    (folder / "judge" / "notes.md").rename(folder / "judge" / "calls.jsonl")  # a server that was started before the run
    assert world("check", spec).code == 0


def test_without_a_run_there_are_no_held_out_pairs(world: World) -> None:
    spec = write_spec(world, "http://127.0.0.1:9/v1")
    done = world("route", "calibrate", spec)
    assert done.code == 2
    assert "name held-out pairs with --data FILE" in done.err


def test_rules_of_your_own_need_a_spec(world: World) -> None:
    Path("log.jsonl").write_text("")
    assert world("route", "replay", "log.jsonl", "--set", "seed=1").code == 2


def test_the_pairs_that_a_run_holds_out_and_the_report_of_the_run(world: World, checkpoint: Path) -> None:
    with scripted_judge(accuracy=1.0, seed=3) as judge:
        spec = write_spec(world, judge.url)
        assert world("check", spec).code == 0
        done = world("route", "calibrate", spec, "--model", str(checkpoint))
        assert done.code == 0, done.err
    record = RoutingRecord.model_validate_json(Path("runs/tiny/routing/routing.json").read_text())
    assert record.pairs == 15
    assert record.judge.verdicts == 15
    assert world("report", "runs/tiny").code == 0
    assert "## Routing" in Path("runs/tiny/summary.md").read_text()
    assert world("check", spec).code == 0  # the run is still this spec's
