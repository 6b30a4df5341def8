"""Records on disk: what is written is read back, files appear whole, and what cannot be read says so."""

from __future__ import annotations

import errno
import json
import math
import os
import stat
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.numpy import save_file

from rewardsmith.errors import RunDirectoryError
from rewardsmith.records.evaluation import LARGEST_REWARD, DatasetInfo, RowResult
from rewardsmith.records.files import (
    Record,
    follow_umask,
    is_of,
    read_jsonl,
    read_record,
    to_json,
    write_json,
    write_jsonl,
    write_text,
)
from rewardsmith.records.run import GateOutcome, GatesRecord, Manifest

GATE = GateOutcome(name="minimum", kind="gate", verdict="NO_DATA", benchmark="b", threshold=0.5, message="no é")
GATES = GatesRecord(passed=False, outcomes=(GATE,))


def test_a_record_is_read_back_as_it_was(tmp_path: Path) -> None:
    write_json(tmp_path / "deep" / "gates.json", GATES)
    assert read_record(tmp_path / "deep" / "gates.json", GatesRecord) == GATES


def test_the_schema_version_goes_by_its_short_name() -> None:
    content = json.loads(to_json(GATES))
    assert content["schema"] == 1
    assert "schema_version" not in content
    assert content["outcomes"][0]["value"] is None
    assert "é" in to_json(GATES)


@given(
    st.lists(st.floats(-LARGEST_REWARD, LARGEST_REWARD, allow_nan=False) | st.none(), max_size=5), st.text(max_size=20)
)
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_rewards_survive_to_the_last_bit_and_ids_to_the_last_character(
    tmp_path: Path, rewards: list[float | None], name: str
) -> None:
    rows = [RowResult(id=name, subset="s", rewards=tuple(rewards), n_chosen=0, result=None)] * 2
    write_jsonl(tmp_path / "rows.jsonl", rows)
    assert [RowResult.model_validate(row) for row in read_jsonl(tmp_path / "rows.jsonl")] == rows


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_reaches_a_file_as_null(value: float) -> None:
    row = RowResult(id="1", subset="s", rewards=(value, 1.0), n_chosen=1, result=value)
    assert json.loads(to_json(row))["rewards"] == [None, 1.0]
    assert json.loads(to_json(row))["result"] is None


def test_records_are_frozen_and_strict() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        GATE.verdict = "PASS"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="Extra inputs"):
        DatasetInfo(source="x", offical=True)  # type: ignore[call-arg]


def test_every_record_says_what_it_is() -> None:
    def kinds(base: type[Record]) -> list[type[Record]]:
        return [base, *(kind for sub in base.__subclasses__() for kind in kinds(sub))]

    assert all(kind.__doc__ and kind.model_config["extra"] == "forbid" for kind in kinds(Record))
    assert Manifest in kinds(Record)


def test_a_failed_write_leaves_the_old_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "gates.json"
    write_json(path, GATES)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunDirectoryError, match="No space left on device"):
        write_text(path, "half of something")
    assert read_record(path, GatesRecord) == GATES


def test_no_file_is_left_beside_the_one_that_was_written(tmp_path: Path) -> None:
    write_text(tmp_path / "a.json", "{}")
    write_text(tmp_path / "a.json", "[]")
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == "[]"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(RunDirectoryError) as caught:
        write_json(tmp_path / "file" / "gates.json", GATES)
    assert caught.value.where == str(tmp_path / "file" / "gates.json")
    assert caught.value.fix == "choose an output folder that you may write to"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"schema": 2, "passed": true, "outcomes": []}', "is not a GatesRecord: field 'schema'"),
        ('{"passed": true}', "is not a GatesRecord: field 'outcomes': Field required"),
        ('{"passed": tr', "is not a GatesRecord: field '': Invalid JSON"),
        ('{"passed": true, "outcomes": [], "more": 1}', "is not a GatesRecord: field 'more'"),
    ],
)
def test_a_file_of_another_kind_is_refused(content: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "gates.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(RunDirectoryError) as caught:
        read_record(path, GatesRecord)
    assert caught.value.problem.startswith(problem)
    assert caught.value.where == str(path)


def test_a_missing_record_says_which_stage_to_run(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="No such file or directory") as caught:
        read_record(tmp_path / "gates.json", GatesRecord)
    assert caught.value.fix == "run the stage that writes it again"


@pytest.mark.parametrize("content", ["{}", "{", '{"schema": 1, "name": 3}'])
def test_a_damaged_manifest_is_not_to_be_deleted(tmp_path: Path, content: str) -> None:
    """Without it a folder is no run of ours, and no command would touch it: deleting it is no fix."""
    path = tmp_path / "manifest.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(RunDirectoryError) as caught:
        read_record(path, Manifest)
    assert "delete" not in caught.value.fix
    assert caught.value.fix.startswith("restore it from a copy; without one move the run's folder away")


@pytest.mark.parametrize(
    ("umask", "folder", "file"), [(0o022, 0o755, 0o644), (0o027, 0o750, 0o640), (0o077, 0o700, 0o600)]
)
def test_files_of_libraries_get_the_permissions_of_new_files(
    tmp_path: Path, umask: int, folder: int, file: int
) -> None:
    before = os.umask(umask)
    try:
        made = Path(tempfile.mkdtemp(dir=tmp_path))  # 0700, as safetensors' files are 0600
        (made / "inner").mkdir(mode=0o700)
        save_file({"weight": np.zeros(2)}, made / "inner" / "model.safetensors")
        (tmp_path / "elsewhere").touch(mode=0o600)
        (made / "link").symlink_to(tmp_path / "elsewhere")
        follow_umask(made)
    finally:
        os.umask(before)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (made, made / "inner", made / "inner" / "model.safetensors")]
    assert modes == [folder, folder, file]
    assert stat.S_IMODE((tmp_path / "elsewhere").stat().st_mode) == 0o600
    assert sorted(path.name for path in made.iterdir()) == ["inner", "link"]


@pytest.mark.parametrize(
    ("named", "of_output"),
    [
        ("out/new/o.jsonl", True),
        ("out/new/.o.jsonl.lock", True),
        ("out", True),
        (None, True),
        (b"out/new", True),
        ("models/a/rewardsmith.json", False),
        ("out/other/o.jsonl", False),
    ],
)
def test_an_error_is_of_the_output_or_of_something_that_was_read(named: Any, of_output: bool) -> None:
    assert is_of(OSError(errno.EACCES, "Permission denied", named), Path("out/new/o.jsonl")) is of_output
