"""Beside the scores: the recorded numbers in the view, in both pages, and where the drawings put them."""

import re
from pathlib import Path

import pytest
from report_records import build_run

from rewardsmith.records.evaluation import (
    BenchmarkResult,
    BestOfNCurve,
    BestOfNPoint,
    Calibration,
    OodRecord,
    OodRow,
    ReliabilityPoint,
)
from rewardsmith.report.blocks import Block
from rewardsmith.report.html import write_report
from rewardsmith.report.markdown import render_markdown
from rewardsmith.report.reading import RunRecords, read_run
from rewardsmith.report.sections.analyses import (
    analysis_blocks,
    picking_plot,
    reliability_plot,
    reward_plot,
)
from rewardsmith.report.view import view


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> RunRecords:
    return read_run(build_run(tmp_path_factory.mktemp("run")))


def shown(results: dict[str, BenchmarkResult], ood: OodRecord | None = None) -> dict[str, Block]:
    return {block.title: block for block in analysis_blocks(results, ood)}


def curve(gold: list[float], turns_down_at: int | None = None) -> BestOfNCurve:
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
    return BestOfNCurve(answers=len(gold), rows=9, prompts=9, points=points, peak_n=peak, turns_down_at=turns_down_at)


def test_the_blocks_hold_the_recorded_numbers(records: RunRecords) -> None:
    found = shown(records.benchmarks, records.ood)
    result = records.benchmarks["rewardbench2"]
    spreads = found["Spread within a prompt"].grids[0].rows
    assert [row[0] for row in spreads] == ["six.jsonl", "Held-out pairs"]
    assert spreads[0][2].value == result.rewards.within_prompt.std_median
    length, recorded = found["Length"].grids[0].rows[0], result.analysis.length
    assert length[1].value.value == recorded.pearson
    assert length[3].note[2].value == recorded.longer_wrong.n
    assert length[6].value == recorded.calibrated.average
    assert [title for title in found if title.startswith("Calibration")] == ["Calibration: Held-out pairs"]
    picked = found["Best of n: six.jsonl"].grids[0].rows
    assert [row[1].value for row in picked] == [point.gold for point in result.analysis.best_of_n.points]
    skills = found["Skill side by side"].grids[0].rows
    assert [row[1] for row in skills] == ["own pairs", "domain of them", "domain of them", "benchmark"]


def test_nothing_recorded_is_nothing_shown(records: RunRecords, tmp_path: Path) -> None:
    assert analysis_blocks({}, None) == ()
    bare = {
        key: result.model_copy(
            update={"analysis": None, "rewards": result.rewards.model_copy(update={"within_prompt": None})}
        )
        for key, result in records.benchmarks.items()
    }
    assert analysis_blocks(bare, OodRecord(notable=0.1, rows=records.ood.rows[:1])) == ()
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
    found = shown(records.benchmarks, records.ood)
    page, summary = write_report(run).read_text(encoding="utf-8"), (run / "summary.md").read_text(encoding="utf-8")
    lengths, skills, spreads = (
        found[title].grids[0].rows for title in ("Length", "Skill side by side", "Spread within a prompt")
    )
    numbers = [number for row in lengths for number in (row[1].value, row[2], row[5], row[6])]
    numbers += [number for row in skills for number in (row[3], row[4].low, row[4].high)]
    numbers += [number for row in spreads for number in (row[2], row[5])]
    part = summary.split("## Beside the scores")[1].split("## Data")[0]
    for number in numbers:
        assert f'<data value="{number.value}">{number}</data>' in page
        assert number.text in part
    for label, value in found["Calibration: Held-out pairs"].facts:
        assert label in part
        assert value in page


def test_a_reliability_plot_puts_bins_where_they_belong() -> None:
    points = (ReliabilityPoint(n=20, confidence=0.75, accuracy=0.7, low=0.5, high=0.9),)
    drawn = str(reliability_plot(points))
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
    found = shown({}, OodRecord(notable=0.1, rows=(own, far, near, same)))["Skill side by side"].grids[0].rows
    assert [(row[-1].state, row[-1].text) for row in found] == [
        ("open", ""),
        ("bad", "why"),
        ("good", "differs, by less than is flagged"),
        ("good", "close to the held-out pairs"),
    ]
    assert 'class="dot bad"' in str(found[1][5])


def test_notes_of_calibration_are_shown(records: RunRecords) -> None:
    result = records.benchmarks["held_out"]
    note = Calibration(n=3, prompts=3, ece_raw=0.1, brier_raw=0.2, note="No pair is ordered wrongly.")
    changed = result.model_copy(update={"analysis": result.analysis.model_copy(update={"calibration": note})})
    found = shown({"held_out": changed})["Calibration: Held-out pairs"]
    assert ([str(one) for one in found.lines], found.figures, found.grids) == (["No pair is ordered wrongly."], (), ())
    assert found.facts[0] == ("pairs", "3")
    assert render_markdown(view(RunRecords(benchmarks={"held_out": changed}))).count("No pair is ordered wrongly.") == 1
