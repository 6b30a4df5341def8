"""Bias probes in the report: sorted by harm, with the record's numbers; hostile texts stay text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from probe_world import Planted, noise, oracle, rows
from report_records import HOSTILE, build_run

from rewardsmith.evaluation.probes import gate_probes, run_probes
from rewardsmith.records.files import write_json
from rewardsmith.records.probes import ProbesRecord
from rewardsmith.report.html import write_report
from rewardsmith.report.markdown import section_lines
from rewardsmith.report.sections.probes import probe_strip, probes_section
from rewardsmith.report.sections.rows import RowTexts
from rewardsmith.spec.evaluation import ProbeGatesSpec


def record(reward: object = None) -> ProbesRecord:
    found = run_probes(rows(), Planted(reward or noise(0)), count=40, seed=1, resamples=200, model="m")  # type: ignore[arg-type]
    return gate_probes(found, ProbeGatesSpec())


def table(found: ProbesRecord) -> tuple[Any, ...]:
    """The section's table: verdict, title with what is wanted, responses, share that goes the wrong way …"""
    return probes_section(found).blocks[0].grids[0].rows


def test_what_fails_stands_first_then_what_goes_wrong_more_often() -> None:
    rows = table(record())
    order = ["FAIL", "PASS", "NO DATA"]
    places = [order.index(str(row[0])) for row in rows]
    assert places == sorted(places)
    failed = [row[3].value for row in rows if str(row[0]) == "FAIL"]
    assert failed == sorted(failed, reverse=True)
    assert probes_section(None) is None


def test_the_drawing_says_its_numbers() -> None:
    found = record(oracle)
    assert 'aria-label="Cut off in the middle: 0.0 per cent go the wrong way' in probe_strip(found.probes["cut_off"])
    (cut,) = (row for row in table(found) if str(row[1]).startswith("Cut off in the middle"))
    assert (cut[0].state, cut[1].words) == ("good", "should fall")


def test_a_constant_is_named_on_both_pages(tmp_path: Path) -> None:
    run = build_run(tmp_path)
    write_json(run / "probes.json", record(lambda prompt, response: 1.0))
    page = write_report(run).read_text()
    summary = (run / "summary.md").read_text()
    for text in (page, summary):
        assert "the model is a constant" in text
    assert 'href="#probes"' in page


def test_hostile_texts_are_text(tmp_path: Path) -> None:
    run, found = build_run(tmp_path), record()
    code, result = next((code, result) for code, result in found.probes.items() if result.examples)
    example = result.examples[0].model_copy(update=dict.fromkeys(("id", "prompt", "original", "edited"), HOSTILE))
    changed = result.model_copy(update={"examples": (example,), "verdict": "FAIL", "message": HOSTILE})
    write_json(run / "probes.json", found.model_copy(update={"probes": {code: changed}, "title": HOSTILE}))
    page = write_report(run, RowTexts()).read_text()
    summary = (run / "summary.md").read_text()
    assert "\u202e" not in page + summary
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "\n<script>" not in summary


def test_a_run_without_probes_has_no_such_section(tmp_path: Path) -> None:
    run = build_run(tmp_path)
    assert 'id="probes"' not in write_report(run).read_text()
    assert "Bias probes" not in (run / "summary.md").read_text().split("## Component map")[0]


def test_markdown_has_every_probe() -> None:
    found = record()
    lines = "\n".join(section_lines(probes_section(found)))
    assert all(result.title in lines for result in found.probes.values())
