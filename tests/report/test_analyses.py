"""Beside the scores: the recorded numbers in the view, in both pages, and where the drawings put them."""

import re
from pathlib import Path

import pytest
from report_records import build_run

from rewardsmith.records.evaluation import BestOfNCurve, BestOfNPoint, Calibration, OodRecord, OodRow, ReliabilityPoint
from rewardsmith.report.html import write_report
from rewardsmith.report.markdown import render_markdown
from rewardsmith.report.reading import RunRecords, read_run
from rewardsmith.report.sections.analyses import (
    Picking,
    Reliability,
    analyses,
    picking_plot,
    reliability_plot,
    reward_plot,
    skill_strip,
)
from rewardsmith.report.view import view


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> RunRecords:
    return read_run(build_run(tmp_path_factory.mktemp("run")))


def curve(gold: list[float], turns_down_at: int | None = None) -> Picking:
    points = tuple(
        BestOfNPoint(
            n=n,
            gold=value,
            gold_low=value - 0.1,
            gold_high=value + 0.1,
            reward=float(n),
            random=0.25,
            oracle=1,
            kl_bound=0,
        )
        for n, value in enumerate(gold, start=1)
    )
    peak = 1 + gold.index(max(gold))
    found = BestOfNCurve(answers=len(gold), rows=9, prompts=9, points=points, peak_n=peak, turns_down_at=turns_down_at)
    return Picking("t", found, "", "good")


def test_the_view_holds_the_recorded_numbers(records: RunRecords) -> None:
    found = analyses(records.benchmarks, records.ood)
    result = records.benchmarks["rewardbench2"]
    assert [row.title for row in found.spreads] == ["six.jsonl", "Held-out pairs"]
    assert found.spreads[0].std_median.value == result.rewards.within_prompt.std_median
    assert found.lengths[0].pearson.value == result.analysis.length.pearson
    assert found.lengths[0].longer_wrong.n.value == result.analysis.length.longer_wrong.n
    assert found.lengths[0].untrended.value == result.analysis.length.calibrated.average
    assert [one.title for one in found.reliabilities] == ["Held-out pairs"]
    assert found.pickings[0].curve == result.analysis.best_of_n
    assert [row.kind for row in found.skills] == ["own pairs", "domain of them", "domain of them", "benchmark"]


def test_nothing_recorded_is_nothing_shown(records: RunRecords, tmp_path: Path) -> None:
    assert analyses({}, None) is None
    bare = {
        key: result.model_copy(
            update={"analysis": None, "rewards": result.rewards.model_copy(update={"within_prompt": None})}
        )
        for key, result in records.benchmarks.items()
    }
    assert analyses(bare, OodRecord(notable=0.1, rows=records.ood.rows[:1])) is None
    page = write_report(build_run_without_evaluation(tmp_path)).read_text(encoding="utf-8")
    assert "Beside the scores" in page


def build_run_without_evaluation(folder: Path) -> Path:
    run = build_run(folder)
    for path in [*run.glob("eval/*/*"), run / "ood.json"]:
        path.unlink()
    return run


def test_both_pages_show_the_same_numbers(tmp_path: Path) -> None:
    run = build_run(tmp_path)
    records = read_run(run)
    found = analyses(records.benchmarks, records.ood)
    page, summary = write_report(run).read_text(encoding="utf-8"), (run / "summary.md").read_text(encoding="utf-8")
    numbers = [number for row in found.lengths for number in (row.pearson, row.spearman, row.raw, row.untrended)]
    numbers += [number for row in found.skills for number in (row.skill, row.low, row.high)]
    numbers += [number for row in found.spreads for number in (row.std_median, row.within)]
    part = summary.split("## Beside the scores")[1].split("## Data")[0]
    for number in numbers:
        assert f'<data value="{number.value}">{number}</data>' in page
        assert number.text in part
    for one in found.reliabilities:
        for label, value in one.facts:
            assert label in part
            assert value in page


def test_a_reliability_plot_puts_bins_where_they_belong() -> None:
    points = (ReliabilityPoint(n=20, confidence=0.75, accuracy=0.7, low=0.5, high=0.9),)
    drawn = str(reliability_plot(Reliability("t", points, (), "", "")))
    # x: 46 + 0.5 · 272; y: 176 - (0.7 - 0.4) / 0.6 · 166
    assert '<circle cx="182" cy="93" r="4" class="end">' in drawn
    assert "75 stated 70 right" in drawn


def test_a_picking_plot_marks_the_turn() -> None:
    turned = str(picking_plot(curve([0.4, 0.6, 0.3], turns_down_at=2)))
    assert '<line x1="182" y1="10" x2="182" y2="176" class="chance">' in turned  # the middle of 46 to 318
    assert 'class="chance"' not in str(picking_plot(curve([0.4, 0.5, 0.6])))
    assert "0.600 at 2" in turned


def test_many_answers_are_drawn_by_their_logarithm() -> None:
    wide = curve([0.25 + 0.001 * n for n in range(256)])
    drawn = str(picking_plot(wide))
    ticks = re.findall(r'<text x="([\d.]+)" y="193" class="tick" text-anchor="middle">(\d+)<', drawn)
    assert [label for _, label in ticks] == ["1", "4", "16", "64", "256"]
    assert [float(x) for x, _ in ticks] == [46, 114, 182, 250, 318]
    assert "from 1 at 1 to 256 at 256" in str(reward_plot(wide))


def test_readings_of_skills() -> None:
    own = OodRow(key="held_out", title="x", kind="held_out", n=9, score=0.9, chance=0.5, skill=0.8, skill_ci=(0.7, 0.9))
    shared = {"key": "b", "kind": "benchmark", "n": 9, "score": 0.5, "chance": 0.5}
    far = OodRow(title="far", skill=0.1, gap=0.7, gap_ci=(0.5, 0.9), flag="distribution_specific", text="why", **shared)
    near = OodRow(title="near", skill=0.75, gap=0.05, gap_ci=(0.01, 0.09), **shared)
    same = OodRow(title="same", skill=0.8, gap=0.0, gap_ci=(-0.1, 0.1), **shared)
    found = analyses({}, OodRecord(notable=0.1, rows=(own, far, near, same))).skills
    assert [(row.state, row.reading) for row in found] == [
        ("open", ""),
        ("bad", "why"),
        ("good", "differs, by less than is flagged"),
        ("good", "close to the held-out pairs"),
    ]
    assert 'class="dot bad"' in str(skill_strip(found[1]))


def test_notes_of_calibration_are_shown(records: RunRecords) -> None:
    result = records.benchmarks["held_out"]
    note = Calibration(n=3, prompts=3, ece_raw=0.1, brier_raw=0.2, note="No pair is ordered wrongly.")
    changed = result.model_copy(update={"analysis": result.analysis.model_copy(update={"calibration": note})})
    found = analyses({"held_out": changed}, None).reliabilities[0]
    assert (found.note, found.points) == ("No pair is ordered wrongly.", ())
    assert found.facts[0] == ("pairs", "3")
    assert render_markdown(view(RunRecords(benchmarks={"held_out": changed}))).count("No pair is ordered wrongly.") == 1
