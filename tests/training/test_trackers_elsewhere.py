"""Weights & Biases (offline) and MLflow, written and read back. They are large: `make test-trackers` installs them."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rewardsmith.training.trackers import TRACKERS, TrackedRun

SECRET = "do-not-write-this-key"


def tell(kind: str, folder: Path) -> str:
    """Two steps, a break as between two processes, then scores; returns what the tracker calls the run."""
    run = TrackedRun("tiny", folder, "ab" * 32, {"training.learning_rate": 1e-3, "adapter.kind": "none"})
    first = TRACKERS[kind].open(run)
    first.log({"train/loss": 0.75, "train/margin_mean": -0.5}, 1)
    first.log({"train/loss": 0.5, "train/margin_mean": 0.25}, 2)
    first.finish(None)
    again = TRACKERS[kind].open(TrackedRun(run.name, folder, run.fingerprint, run.settings, first.id))
    again.log({"eval/rewardbench2/Math/score": 0.625, "gates/passed": 0.0}, 3)
    again.finish(False)
    assert again.id == first.id
    return first.id


def test_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="62 MB that TRL imports wherever it is: `make test-trackers` installs it")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    name = tell("wandb", tmp_path)
    rows, config, summary = read_wandb(sorted((tmp_path / "wandb").glob("offline-run-*/*.wandb")))
    assert [row["train/loss"] for row in rows if "train/loss" in row] == [0.75, 0.5]
    assert [row["_step"] for row in rows if "train/loss" in row] == [1, 2]
    assert [row["eval/rewardbench2/Math/score"] for row in rows if "eval/rewardbench2/Math/score" in row] == [0.625]
    assert config["training.learning_rate"] == 1e-3
    assert summary["passed"] is False
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert all(name in str(path) for path in written if path.suffix == ".wandb")
    assert [path for path in written if SECRET.encode() in path.read_bytes()] == []


def read_wandb(files: list[Path]) -> tuple[list[dict[str, Any]], dict[str, Any], dict[str, Any]]:
    """History, config and summary from wandb's own log files."""
    from wandb.proto.wandb_internal_pb2 import Record

    rows, config, summary = [], {}, {}

    def items(found: Any) -> dict[str, Any]:
        return {one.key or "/".join(one.nested_key): json.loads(one.value_json) for one in found}

    for data in (data for file in files for data in leveldb_records(file.read_bytes())):
        record = Record.FromString(data)
        rows += [items(record.history.item)] if record.HasField("history") else []
        config |= items(record.run.config.update) if record.HasField("run") else {}
        summary |= items(record.summary.update) if record.HasField("summary") else {}
    return rows, config, summary


def leveldb_records(content: bytes) -> Iterator[bytes]:
    """Records of a log in LevelDB's format, which wandb writes behind a header of seven bytes."""
    block, head, whole = 32768, 7, b""
    place = head
    while place + head <= len(content):
        if block - place % block < head:
            place += block - place % block
            continue
        _, size, kind = struct.unpack("<IHB", content[place : place + head])
        whole += content[place + head : place + head + size]
        place += head + size
        if kind in (1, 4):  # a full record, or the last part of one
            yield whole
            whole = b""


def test_mlflow_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "100 MB with what it brings: `make test-trackers` installs it"
    tracking = pytest.importorskip("mlflow.tracking", reason=reason)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    name = tell("mlflow", tmp_path)
    client = tracking.MlflowClient()
    found = client.get_run(name)
    assert client.get_experiment_by_name("rewardsmith").experiment_id == found.info.experiment_id
    assert [(one.step, one.value) for one in client.get_metric_history(name, "train/loss")] == [(1, 0.75), (2, 0.5)]
    assert found.data.metrics["eval/rewardbench2/Math/score"] == 0.625
    assert found.data.params["training.learning_rate"] == "0.001"
    assert (found.info.status, found.data.tags["passed"], found.info.run_name) == ("FINISHED", "false", "tiny")
