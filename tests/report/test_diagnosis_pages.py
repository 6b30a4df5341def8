"""The verdict opens with the diagnosis on both pages and the card; a run without one says nothing of it."""

from __future__ import annotations

from pathlib import Path

from report_records import build_run

from rewardsmith.records.checkpoint import CheckpointRecord
from rewardsmith.records.diagnosis import Cause, DiagnosisRecord, Prediction, RowKey
from rewardsmith.records.files import write_json
from rewardsmith.report.card import CardSource, _head
from rewardsmith.report.html import write_report
from rewardsmith.report.reading import read_run
from rewardsmith.report.sections.diagnosis import diagnosis_section
from rewardsmith.report.sections.verdict import run_verdict

SOURCE = "/home/me/secret/mixed.jsonl"
CAUSE = Cause(
    code="length",
    title="scores length",
    benchmark="rewardbench2",
    value=0.54,
    ci=(0.4, 0.7),
    text="Reward and length correlate at 0.75 (0.61 to 0.85) within a prompt.",
    predicted_by=Prediction(code="length_shortcut", source=SOURCE, feature="characters", pairs=9, chosen=8, rejected=1),
    prediction=f"The data check had warned (`length_shortcut`): in {SOURCE} the longer answer is chosen in 88.9 %.",
    rows=(RowKey(subset="Math", id="math-<b>7</b>"),),
    fix="Leave out 7 pairs.",
)
RECORD = DiagnosisRecord(sets=("rewardbench2",), causes=(CAUSE,), headline="It scores length.")


def diagnosed(folder: Path, record: DiagnosisRecord = RECORD) -> Path:
    run = build_run(folder)
    write_json(run / "diagnosis.json", record)
    return run


def test_both_pages_open_with_it(tmp_path: Path) -> None:
    run = diagnosed(tmp_path)
    page = write_report(run).read_text(encoding="utf-8")
    summary = (run / "summary.md").read_text(encoding="utf-8")
    head = page[page.index('id="verdict"') : page.index("</header>")]
    assert "It scores length." in head
    assert "correlate at 0.75 (0.61 to 0.85)" in head
    assert "<code>length_shortcut</code>" in head
    assert "math-&lt;b&gt;7&lt;/b&gt;" in head
    assert head.index("correlate at 0.75") < head.index('id="reasons"')
    assert summary.index("correlate at 0.75") < summary.index("Why:") < summary.index("## ")
    assert "1. Leave out 7 pairs." in summary or "Leave out 7 pairs." in summary.split("## ")[0]
    assert 'id="diagnosis"' in page


def test_the_card_names_it_without_folders_and_rows(tmp_path: Path) -> None:
    source = CardSource(CheckpointRecord.model_construct(), read_run(diagnosed(tmp_path)), "helpful-rm")
    text = "\n".join(_head(source))
    assert "correlate at 0.75" in text
    assert "mixed.jsonl" in text
    assert "secret" not in text
    assert "Rows that show it" not in text


def test_without_a_cause_the_section_says_so_and_the_verdict_nothing(tmp_path: Path) -> None:
    sound = DiagnosisRecord(sets=("rewardbench2",), causes=())
    records = read_run(diagnosed(tmp_path, sound))
    verdict = run_verdict(records)
    assert verdict.kind == ()
    assert verdict.headline == "This reward model should not train a policy yet."
    section = diagnosis_section(records.diagnosis, records.benchmarks)
    assert section is not None
    assert section.verdicts[0].state == "good"


def test_a_run_of_an_older_version_has_no_such_section(tmp_path: Path) -> None:
    records = read_run(build_run(tmp_path))
    assert records.diagnosis is None
    assert diagnosis_section(records.diagnosis, records.benchmarks) is None
