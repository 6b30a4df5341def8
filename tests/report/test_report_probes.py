"""Bias probes in the report: sorted by harm, with the record's numbers; hostile texts stay text."""

from __future__ import annotations

from pathlib import Path

from probe_world import Planted, noise, oracle, rows
from report_records import HOSTILE, build_run

from rewardsmith.evaluation.probes import gate_probes, run_probes
from rewardsmith.records.files import write_json
from rewardsmith.records.probes import ProbesRecord
from rewardsmith.report.html import write_report
from rewardsmith.report.markdown import section_lines
from rewardsmith.report.sections.probes import probe_strip, probe_table, probes_section
from rewardsmith.report.sections.rows import RowTexts
from rewardsmith.spec.evaluation import ProbeGatesSpec


def record(reward: object = None) -> ProbesRecord:
    found = run_probes(rows(), Planted(reward or noise(0)), count=40, seed=1, resamples=200, model="m")  # type: ignore[arg-type]
    return gate_probes(found, ProbeGatesSpec())


def test_what_fails_stands_first_then_what_goes_wrong_more_often() -> None:
    table = probe_table(record())
    assert table is not None
    order = ["FAIL", "PASS", "NO DATA"]
    places = [order.index(row.verdict) for row in table.rows]
    assert places == sorted(places)
    failed = [row.wrong.value for row in table.rows if row.verdict == "FAIL"]
    assert failed == sorted(failed, reverse=True)
    assert probe_table(None) is None


def test_the_drawing_says_its_numbers() -> None:
    table = probe_table(record(oracle))
    assert table is not None
    cut = next(row for row in table.rows if row.code == "cut_off")
    assert 'aria-label="Cut off in the middle: 0.0 per cent go the wrong way' in probe_strip(cut)
    assert (cut.state, cut.wanted) == ("good", "should fall")


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
    table = probe_table(record())
    assert table is not None
    lines = "\n".join(section_lines(probes_section(record())))
    assert all(row.title in lines for row in table.rows)
