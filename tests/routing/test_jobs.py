"""`route calibrate` and `route run` over files, with a model and a judge whose answers are planted in the texts."""

from __future__ import annotations

import asyncio
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoint_maker import make_checkpoint
from routing_files import MARGIN, ROWS, by_quality, calibrate, pair_rows, plant_model, planted, routed, row, spec, write
from routing_world import ScriptedJudge

from rewardsmith.data.sources import read_source
from rewardsmith.errors import DataError, ModelError, RewardsmithError, RunDirectoryError, SpecError, UserError
from rewardsmith.pipeline.commands.calibrate_route import CalibrateOptions, agreements, calibrate_job
from rewardsmith.pipeline.commands.run_route import RouteOptions, run_routes
from rewardsmith.pipeline.events import Silent
from rewardsmith.records.routing import RoutingRecord
from rewardsmith.routing import Target, replay
from rewardsmith.spec import SourceSpec, Spec
from rewardsmith.types import Comparison, JudgeAnswer, Usage


@pytest.fixture
def scripted_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model answers what is planted in the texts."""
    plant_model(monkeypatch)


@pytest.mark.usefixtures("scripted_model")
def test_calibration_finds_what_was_planted(tmp_path: Path) -> None:
    judge = ScriptedJudge(by_quality)
    record = calibrate(tmp_path, pair_rows(600), judge, target=Target("gain", 0.95))
    assert len(judge.asked) == 600
    assert (record.pairs, record.prompts, record.temperature, record.calibration) == (600, 600, 1.0, "rewardsmith.json")
    assert record.judge_only.value == record.everything.value == 1.0
    wrong = sum("reward=-" in row["chosen"] for row in pair_rows(600))
    assert record.model_only.value == pytest.approx(1 - wrong / 600)
    assert record.agreement == record.model_only, "the judge is always right"
    assert record.target.reached
    assert record.chosen.gain is not None
    assert record.chosen.gain >= 0.95
    assert record.chosen.share < 0.9
    assert record.verdict == "worth it"
    assert record.within_prediction is True
    assert record.rules[0].below == record.chosen.limit
    assert (record.judge.verdicts, record.judge.calls, record.judge.consistent) == (600, 1200, 1.0)
    assert record.judge.cost == pytest.approx(6.0)
    assert record.judge_pays is True
    assert "for 1,200 calls and 6 " in record.judge_statement
    assert RoutingRecord.model_validate_json((tmp_path / "routing" / "routing.json").read_text()) == record


def test_the_agreement_of_model_and_judge_by_hand() -> None:
    """1 − |r − q|: both for the first, one of them for it, a tie against a doubt, and two of which one says nothing."""
    said = [JudgeAnswer(q, None, "" if q is not None else "failed", Usage()) for q in (1.0, 0.75, 0.3, 1.0, None)]
    found = agreements(np.array([2.0, -1.0, 0.0, np.nan, 0.5]), said)
    assert found[:3] == pytest.approx([1.0, 0.25, 0.8])
    assert np.isnan(found[3:]).all()


@pytest.mark.usefixtures("scripted_model")
def test_a_judge_that_likes_a_place_is_seen_through(tmp_path: Path) -> None:
    record = calibrate(tmp_path, pair_rows(400), ScriptedJudge(lambda _: 1.0))
    assert record.judge_only.low < 0.5 < record.judge_only.high
    assert record.agreement is not None
    assert record.agreement.low < 0.5 < record.agreement.high
    assert record.judge_pays is False
    assert record.judge_statement.startswith("This judge is not worth its cost: on the 400 pairs")


@pytest.mark.usefixtures("scripted_model")
def test_verdicts_of_an_earlier_calibration_are_not_paid_again(tmp_path: Path) -> None:
    first = calibrate(tmp_path, pair_rows(100))
    judge = ScriptedJudge(by_quality)
    verdicts = tmp_path / "routing" / "verdicts.jsonl"
    again = calibrate(tmp_path, pair_rows(100), judge, verdicts=verdicts, out=tmp_path / "again")
    assert judge.asked == []
    assert again == first
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(DataError, match=r"pipe\.jsonl: is a pipe, no regular file"):
        calibrate(tmp_path, pair_rows(100), verdicts=tmp_path / "pipe.jsonl", out=tmp_path / "refused")
    assert not (tmp_path / "refused").exists()  # nothing was scored
    fewer = write(tmp_path / "fewer.jsonl", [json.loads(line) for line in verdicts.read_text().splitlines()[1:]])
    with pytest.raises(DataError, match="has no verdict on 1 of the 100 pairs"):
        calibrate(tmp_path, pair_rows(100), verdicts=fewer)


@pytest.mark.usefixtures("scripted_model")
def test_a_model_without_calibration_gets_its_temperature_from_the_pairs(tmp_path: Path) -> None:
    record = calibrate(tmp_path, pair_rows(2000), models=("uncalibrated",))
    assert record.calibration == "these pairs"
    assert record.temperature == pytest.approx(1.0, rel=0.15)


@pytest.mark.usefixtures("scripted_model")
def test_members_state_the_doubt_of_an_ensemble(tmp_path: Path) -> None:
    wanted = spec(rules=[{"kind": "interval"}])
    record = calibrate(tmp_path, pair_rows(60), spec=wanted, models=("a=m", "b=m"))
    assert record.doubt == "ensemble"  # of twins, who never differ: there is no doubt, and one limit for all
    assert [one.share for one in record.points] == [0.0, 1.0]
    with pytest.raises(ModelError, match="takes its doubt from ensemble"):
        calibrate(tmp_path, pair_rows(60), spec=spec(rules=[{"kind": "interval", "doubt": "ensemble"}]))


@pytest.mark.usefixtures("scripted_model")
@pytest.mark.parametrize("copied", [False, True])
def test_a_gated_benchmark_is_refused_by_name(tmp_path: Path, copied: bool) -> None:
    rows = pair_rows(40)
    there = write(tmp_path / "gated.jsonl", rows)
    gated = spec().model_dump(mode="json")
    gated["evaluation"] |= {
        "benchmarks": [{"name": "pairs", "data": str(there), "label": "ours"}],
        "gates": {"minimum": {"ours": {"average": 0.6}}},
    }
    wanted = Spec.model_validate(gated)
    named = there if not copied else write(tmp_path / "copy.jsonl", rows)
    with pytest.raises(DataError, match=r"is the benchmark 'ours', which evaluation.gates.minimum.ours decides on"):
        calibrate_job(wanted, CalibrateOptions(("m",), tmp_path / "out", str(named)), Silent())
    part = write(tmp_path / "part.jsonl", rows[:3] + [row | {"prompt": "else"} for row in pair_rows(30)])
    with pytest.raises(DataError, match=r"shares 3 of its 4 prompts with the benchmark 'ours'") as refused:
        calibrate_job(wanted, CalibrateOptions(("m",), tmp_path / "out", str(part)), Silent())
    assert refused.value.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_a_rule_with_every_limit_has_nothing_to_fit(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="nothing to fit"):
        calibrate(tmp_path, pair_rows(30), spec=spec(rules=[{"kind": "margin", "below": 1.0}]))


# route run


@pytest.mark.usefixtures("scripted_model")
def test_every_row_says_who_decided_why_and_at_what_cost(tmp_path: Path) -> None:
    record, rows = routed(tmp_path)
    assert [(one.id, one.best, one.by, one.judged, one.comparisons) for one in rows] == [
        ("clear", 0, "reward_model", 0, 1),
        ("close", 1, "judge", 1, 1),
        ("tied", 0, "reward_model", 0, 1),
        ("three", 1, "judge", 1, 2),
        ("one", None, "nobody", 0, 0),
        ("none", 1, "judge", 1, 1),
    ]
    assert rows[1].why == "margin 0.5 is below 1"
    assert (rows[1].calls, rows[1].cost, rows[0].cost) == (2, 0.01, 0.0)
    assert rows[2].fallback == "tie"
    assert rows[4].why == "has one response, and nothing to compare"
    assert (record.rows, record.bad_rows, record.comparisons, record.escalated, record.judged) == (6, 1, 6, 4, 3)
    assert record.fallbacks == {"tie": 1}
    assert (record.calls, record.cost) == (8, pytest.approx(0.04))
    assert replay(Path(record.audit)).differing == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.audit.jsonl", "out.jsonl"]


@pytest.mark.usefixtures("scripted_model")
def test_the_third_answer_is_pruned_though_its_quality_is_the_highest(tmp_path: Path) -> None:
    judge = ScriptedJudge(by_quality)
    routed(tmp_path, [ROWS[3]], judge)
    assert judge.asked == ["three#0:1"]


@pytest.mark.usefixtures("scripted_model")
def test_of_a_share_the_least_certain_are_escalated(tmp_path: Path) -> None:
    rows = [row(f"r{n}", (n / 10, 1), (0.0, 2)) for n in range(10)]
    judge = ScriptedJudge(by_quality)
    record, found = routed(tmp_path, rows, judge, routing=MARGIN | {"budget": {"share": 0.3}})
    assert sorted(judge.asked) == ["r0", "r1", "r2"]
    assert record.fallbacks == {"share": 7}
    assert all(one.best == 0 for one in found[3:])


@pytest.mark.usefixtures("scripted_model")
def test_verdicts_become_pairs_that_data_reads(tmp_path: Path) -> None:
    rows = [
        row("disagrees", (0.5, 1), (0.0, 2), subset="Math", source="here"),
        ROWS[0],
        ROWS[2],
        row("agrees", (0.5, 2), (0.0, 1)),
    ]
    record, _ = routed(tmp_path, rows, pairs=tmp_path / "pairs.jsonl")
    assert record.exported == 2
    written = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    first = written[0]["provenance"]
    assert (first["judge_model"], first["rule"], first["reward_margin"], first["reward_model"]) == (
        "scripted",
        "margin",
        -0.5,
        "m",
    )
    assert re.fullmatch("[0-9a-f]{64}", first["prompt_hash"])
    assert written[1]["provenance"]["reward_margin"] == 0.5
    read = read_source(
        SourceSpec(path=str(tmp_path / "pairs.jsonl")), role="train", strings="chat", seed=0, embedded={}
    )
    assert read.rejected == []
    pair = read.pairs[0][1]
    assert (pair.id, pair.subset, pair.source, pair.annotator) == ("disagrees", "Math", "here", "scripted")
    assert [planted(side, "quality") for side in (pair.chosen, pair.rejected)] == [2, 1]
    assert (pair.target_margin, pair.unread_margin) == (None, "")


class KillError(Exception):
    """The process ends here."""


class Killed(ScriptedJudge):
    """Ends the process, as far as a test can, at the verdict of that number."""

    def __init__(self, at: int) -> None:
        super().__init__(by_quality)
        self.at = at

    async def compare(self, comparison: Comparison) -> Any:
        if len(self.asked) == self.at:
            raise KillError
        return await super().compare(comparison)


@pytest.mark.usefixtures("scripted_model")
@pytest.mark.parametrize("at", [0, 3, 7, 19])
def test_a_killed_job_continues_and_ends_with_the_same_bytes(tmp_path: Path, at: int) -> None:
    rows = [row(f"r{n}", (n % 7 / 5, n % 3), (0.0, 1), *([(0.3, 2)] if n % 4 == 0 else [])) for n in range(25)]
    (tmp_path / "whole").mkdir()
    routed(tmp_path / "whole", rows)
    routing = MARGIN | {"concurrency": 1}
    with pytest.raises(KillError):
        routed(tmp_path, rows, Killed(at), routing=routing)
    assert not (tmp_path / "out.jsonl").exists()
    judge = ScriptedJudge(by_quality)
    record, _ = routed(tmp_path, rows, judge, routing=routing)
    whole = (tmp_path / "whole" / "out.jsonl").read_text()
    assert (tmp_path / "out.jsonl").read_text() == whole
    decided = [one for one in (json.loads(line) for line in whole.splitlines()) if one["escalated"]]
    assert record.resumed_rows > 0 or at == 0
    # A row of three whose first verdict was in, and whose second was not, is asked again.
    assert len(judge.asked) <= sum(one["calls"] // 2 for one in decided) - at + 1


@pytest.mark.usefixtures("scripted_model")
def test_another_rule_starts_anew(tmp_path: Path) -> None:
    with pytest.raises(KillError):
        routed(tmp_path, judge=Killed(1), routing=MARGIN | {"concurrency": 1})
    record, _ = routed(tmp_path, routing={"rules": [{"kind": "margin", "below": 0.2}]})
    assert record.resumed_rows == 0


@pytest.mark.usefixtures("scripted_model")
def test_money_spent_before_a_kill_counts(tmp_path: Path) -> None:
    rows = [row(f"r{n}", (0.1, 1), (0.0, 2)) for n in range(20)]
    routing = MARGIN | {"concurrency": 1, "budget": {"cost": 0.1}}
    with pytest.raises(KillError):
        routed(tmp_path, rows, Killed(6), routing=routing)
    judge = ScriptedJudge(by_quality)
    record, _ = routed(tmp_path, rows, judge, routing=routing)
    assert len(judge.asked) == 4
    assert record.cost == pytest.approx(0.1)
    assert record.fallbacks == {"cost": 10}


@pytest.mark.usefixtures("scripted_model")
def test_a_judge_that_is_down_leaves_the_reward_model(tmp_path: Path) -> None:
    rows = [row(f"r{n}", (0.1, 1), (0.0, 2)) for n in range(20)]
    judge = ScriptedJudge(lambda _: "failed")
    record, found = routed(tmp_path, rows, judge, routing=MARGIN | {"concurrency": 1, "breaker": {"failures": 3}})
    assert record.fallbacks == {"breaker": 17, "failed": 3}
    assert {(one.best, one.by) for one in found} == {(0, "reward_model")}
    record, _ = routed(tmp_path, rows, None, use_judge=True, overwrite=True)
    assert record.judged == 20


@pytest.mark.usefixtures("scripted_model")
def test_no_more_than_the_concurrency_is_with_the_judge(tmp_path: Path) -> None:
    class Slow(ScriptedJudge):
        async def compare(self, comparison: Comparison) -> Any:
            found = asyncio.ensure_future(super().compare(comparison))
            for _ in range(5):
                await asyncio.sleep(0)
            return await found

    judge = Slow(by_quality)
    routed(tmp_path, [row(f"r{n}", (0.1, 1), (0.0, 2)) for n in range(30)], judge, routing=MARGIN | {"concurrency": 4})
    assert judge.most_running <= 4
    assert len(judge.asked) == 30


@pytest.mark.usefixtures("scripted_model")
def test_the_limit_of_a_calibration_is_used_and_of_other_rules_refused(tmp_path: Path) -> None:
    record = calibrate(tmp_path, pair_rows(200), target=Target("share", 0.2))
    folder = tmp_path / "routing"
    done, _ = routed(tmp_path, pair_rows(200), routing={}, calibration=folder)
    assert done.escalated == pytest.approx(200 * record.chosen.share)
    assert done.escalated > 0
    with pytest.raises(SpecError, match="the calibration is of the rules probability"):
        routed(tmp_path, routing={"rules": [{"kind": "margin"}]}, calibration=folder, overwrite=True)
    with pytest.raises(SpecError, match="there is no calibration"):
        routed(tmp_path, routing={}, overwrite=True)


@pytest.mark.usefixtures("scripted_model")
def test_an_output_that_is_there_is_kept(tmp_path: Path) -> None:
    routed(tmp_path)
    with pytest.raises(RunDirectoryError, match="stands there already"):
        routed(tmp_path)
    with pytest.raises(RunDirectoryError, match="is no JSONL file"):
        routed(tmp_path, output=tmp_path / "out.csv")


def test_without_an_endpoint_there_is_no_judge(tmp_path: Path, scripted_model: None) -> None:
    del scripted_model
    source = write(tmp_path / "in.jsonl", ROWS)
    bare = spec(**MARGIN).model_copy(update={"judge": Spec().judge})
    options = RouteOptions(("m",), source, tmp_path / "out.jsonl")
    with pytest.raises(UserError, match="judge"):
        run_routes(bare, options, Silent())
    record = run_routes(bare, replace(options, use_judge=False), Silent())
    assert record.fallbacks == {"no_judge": 4}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint") / "model", tiny_base)


def test_a_real_model_states_its_doubt_by_laplace(tmp_path: Path, checkpoint: Path) -> None:
    rows = [
        {"id": str(n), "prompt": f"red {n}", "chosen": f"quality=2 {'blue ' * (n % 5)}", "rejected": f"quality=1 {n}"}
        for n in range(60)
    ]
    wanted = spec(rules=[{"kind": "interval"}])
    judge = ScriptedJudge(by_quality)
    record = calibrate(tmp_path, rows, judge, spec=wanted, models=(str(checkpoint),), target=Target("share", 0.5))
    assert record.doubt == "laplace"
    assert 0.3 < record.chosen.share <= 0.5
    done, _ = routed(
        tmp_path,
        rows,
        routing={"rules": [{"kind": "interval"}]},
        models=(str(checkpoint),),
        calibration=tmp_path / "routing",
    )
    assert done.escalated == pytest.approx(60 * record.chosen.share)
    three = [{"prompt": "red", "responses": ["blue", "green", "stone"]}]
    done, _ = routed(
        tmp_path,
        three,
        routing={"rules": [{"kind": "interval", "below": 1.0}]},
        models=(str(checkpoint),),
        calibration=tmp_path / "routing",
        overwrite=True,
    )
    assert (done.comparisons, done.escalated) == (2, 2)


def test_a_mistake_of_the_user_is_no_traceback(tmp_path: Path) -> None:
    with pytest.raises(RewardsmithError, match="there is no such file"):
        calibrate_job(spec(), CalibrateOptions(("m",), tmp_path, str(tmp_path / "absent.jsonl")), Silent())
