"""The router in the report: the verdict in words, the curve, on both pages; hostile names stay text."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_records import HOSTILE, build_run
from routing_world import planted

from rewardsmith.records.evaluation import DatasetInfo
from rewardsmith.records.files import write_json
from rewardsmith.records.routing import LoggedRule, RouteJudge, RouteTarget, RoutingRecord
from rewardsmith.report.blocks import Sign
from rewardsmith.report.html import write_report
from rewardsmith.report.sections.judges import curve_plot, routing_block
from rewardsmith.routing import SHARES, Target, curve, fit_limit
from rewardsmith.routing.curve import accuracy, gain_of_everything, mean_advantage, point, weigh


@pytest.fixture(scope="module")
def record() -> RoutingRecord:
    trial = planted(600)
    points = curve(trial, SHARES[::4], seed=1, resamples=200)
    fitted = fit_limit(trial, Target("share", 0.25))
    advantage = mean_advantage(trial, seed=1, resamples=200)
    verdict, statement = weigh(points, advantage, gain_of_everything(trial, seed=1, resamples=200))
    return RoutingRecord(
        model="runs/x/model",
        identity="abc",
        dataset=DatasetInfo(source="held_out.jsonl"),
        pairs=600,
        prompts=600,
        rules=(LoggedRule(kind="probability", below=fitted.limit), LoggedRule(kind="subset", subsets=("Safety",))),
        combine="any",
        temperature=1.0,
        judge=RouteJudge(name="a judge", verdicts=590, missing={"failed": 10}, ties=3, consistent=0.9),
        target=RouteTarget(kind="share", value=0.25, reached=True),
        chosen=point(trial, fitted.limit, seed=1, resamples=200),
        model_only=accuracy(trial.model, trial.units, 1, 200),
        judge_only=accuracy(trial.judge, trial.units, 1, 200),
        everything=accuracy(trial.routed, trial.units, 1, 200),
        points=points,
        advantage=advantage,
        verdict=verdict,
        statement=statement,
    )


def test_both_pages_say_whether_it_is_worth_it(tmp_path: Path, record: RoutingRecord) -> None:
    run = build_run(tmp_path)
    assert 'href="#routing"' not in write_report(run).read_text()
    write_json(run / "routing" / "routing.json", record)
    page = write_report(run).read_text()
    summary = (run / "summary.md").read_text()
    assert 'href="#routing"' in page
    assert "## Routing" in summary
    for text in (page, summary):
        assert "doubt is worth routing on" in text
        assert "a judge" in text


def test_a_judge_that_is_not_worth_its_cost_is_a_warning_on_both_pages(tmp_path: Path, record: RoutingRecord) -> None:
    said = "This judge is not worth its cost: on the 500 pairs that it was asked about it is right in 50.0 %"
    run = build_run(tmp_path)
    write_json(
        run / "routing" / "routing.json", record.model_copy(update={"judge_pays": False, "judge_statement": said})
    )
    assert said in write_report(run).read_text()
    assert said in (run / "summary.md").read_text()
    for pays, lines in ((False, (Sign("warn", said),)), (None, (said,))):
        block = routing_block(record.model_copy(update={"judge_pays": pays, "judge_statement": said}))
        assert block is not None
        assert block.lines == lines
    older = routing_block(record)
    assert older is not None
    assert older.lines == ()


def test_the_facts_are_the_records(record: RoutingRecord) -> None:
    block = routing_block(record)
    assert block is not None
    facts = dict(block.facts)
    assert block.state == "good"
    assert facts["Rule"].startswith("probability below 0.6")
    assert facts["Rule"].endswith(" any subset")
    assert facts["Target"] == "share 0.25, reached"
    assert facts["Its verdicts"] == "590, 3 ties, 10 missing"
    assert f"{100 * record.chosen.accuracy.value:.1f} %" in facts["Chosen"]
    assert len(block.grids[0].rows) == len(record.points)
    assert routing_block(None) is None


def test_the_drawing_says_its_numbers(record: RoutingRecord) -> None:
    said = ", ".join(f"{100 * one.share:.1f} {100 * one.accuracy.value:.1f}" for one in record.points)
    assert f"per cent: {said}" in curve_plot(record)


def test_hostile_names_are_text(tmp_path: Path, record: RoutingRecord) -> None:
    run = build_run(tmp_path)
    judge = record.judge.model_copy(update={"name": HOSTILE})
    write_json(run / "routing" / "routing.json", record.model_copy(update={"judge": judge, "statement": HOSTILE}))
    page = write_report(run).read_text()
    assert "\u202e" not in page + (run / "summary.md").read_text()
    assert "<script>alert" not in page
