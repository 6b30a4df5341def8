"""Reading a run directory: what is absent, half written or broken."""

from pathlib import Path

import pytest
from report_records import build_run

from rewardsmith.errors import RunDirectoryError
from rewardsmith.report.reading import REJECTED_SHOWN, read_run


def test_a_whole_run(tmp_path: Path) -> None:
    records = read_run(build_run(tmp_path))
    assert records.spec.name == "quickstart"
    assert len(records.steps) == 61
    assert len(records.rejected) == REJECTED_SHOWN
    assert set(records.files) == {"config.json", "model.safetensors"}
    math = records.rewards["rewardbench2"]["Math"]
    assert (len(math.chosen), len(math.rejected)) == (118, 360)


def test_a_missing_folder_and_an_empty_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="no such folder"):
        read_run(tmp_path / "nowhere")
    with pytest.raises(RunDirectoryError, match="holds no record"):
        read_run(tmp_path)


def test_a_line_that_was_still_being_written_is_left_out(tmp_path: Path) -> None:
    path = build_run(tmp_path) / "train" / "metrics.jsonl"
    path.write_text(path.read_text()[:-40])
    assert len(read_run(tmp_path).steps) == 60


def test_a_broken_line_inside_a_file_is_an_error_with_its_number(tmp_path: Path) -> None:
    path = build_run(tmp_path) / "train" / "metrics.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:4], "{broken", *lines[5:]]) + "\n")
    with pytest.raises(RunDirectoryError, match=r"metrics\.jsonl:5"):
        read_run(tmp_path)


def test_a_broken_record_is_an_error_not_an_absent_stage(tmp_path: Path) -> None:
    (build_run(tmp_path) / "gates.json").write_text('{"schema": 1, "passed": true}')
    with pytest.raises(RunDirectoryError, match="outcomes"):
        read_run(tmp_path)


def test_a_loss_that_was_not_finite_is_a_gap(tmp_path: Path) -> None:
    path = build_run(tmp_path) / "train" / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 0.7}\n{"step": 2, "loss": null}\n')
    assert [step["loss"] for step in read_run(tmp_path).steps] == [0.7, None]
