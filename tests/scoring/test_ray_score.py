"""Bulk scoring on a real Ray cluster: the bytes of the local engine, whoever is done first and whatever fails."""

from __future__ import annotations

import json
import os
import select
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoint_maker import make_checkpoint
from ray_world import one_machine
from serving_world import joined, reward_of

from rewardsmith.errors import ModelError, UserError
from rewardsmith.pipeline import cluster
from rewardsmith.pipeline.cluster import Cluster, ray_cluster
from rewardsmith.pipeline.commands import score as bulk
from rewardsmith.pipeline.commands.score import ScoreOptions, score_job
from rewardsmith.pipeline.events import Silent
from rewardsmith.protocols import Progress
from rewardsmith.records.checkpoint import BulkRecord
from rewardsmith.scoring.bulk import windows
from rewardsmith.types import Conversation


@pytest.fixture(scope="module")
def machine() -> Iterator[None]:
    with one_machine(cpus=2):
        yield


LONGEST = 60.0  # seconds to wait for a worker that may not have come up


class Faulty:
    """`reward_of` the joined text. What the words of a text do to the window that it is in:

    WAIT    held back until another worker has begun its second window, where there is a gate
    FLAKY   fails the first time
    BREAK   fails always
    DIE     ends the worker
    STOP    ends the job, the first time
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls = 0

    def score(self, conversations: Sequence[Conversation], progress: Progress | None = None) -> np.ndarray:
        del progress
        self.calls += 1
        whole = " ".join(map(joined, conversations))
        self._fail(whole)
        if (self.folder / "gate").exists():
            self._rendezvous("WAIT" in whole)
        with (self.folder / "order").open("a") as order:
            order.write(f"{joined(conversations[0])}\n")
        return np.array([reward_of(joined(one)) for one in conversations])

    def _fail(self, whole: str) -> None:
        if "DIE" in whole:
            os._exit(1)
        if "BREAK" in whole:
            raise ValueError(whole)
        if "FLAKY" in whole and self._first("flaky"):
            raise OSError
        if "STOP" in whole and self._first("stop"):
            raise ModelError("no answer", where="http://h", fix="start it")

    def _first(self, name: str) -> bool:
        seen = (self.folder / name).exists()
        (self.folder / name).touch()
        return not seen

    def _rendezvous(self, waits: bool) -> None:
        gate = os.open(self.folder / "gate", os.O_RDWR)  # kept open: what is written stays until it is read
        if waits:
            select.select([gate], [], [], LONGEST)
        elif self.calls == 2 and self._first("released"):
            os.write(gate, b".")


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def score(folder: Path, texts: Sequence[str], monkeypatch: pytest.MonkeyPatch, **options: Any) -> BulkRecord:
    """Score a file with a text a row in windows of four, by two workers."""
    scorer = Faulty(folder)
    monkeypatch.setattr(bulk, "open_models", lambda *_: (scorer, "faulty"))
    monkeypatch.setattr(bulk, "windows", partial(windows, conversations=4))
    lines = [json.dumps({"prompt": "Q", "response": text, "id": text}) for text in texts]
    (folder / "in.jsonl").write_text("\n".join(lines) + "\n{late", encoding="utf-8")
    settings = {"engine": "ray", "workers": 2} | options
    return score_job(ScoreOptions(("x",), folder / "in.jsonl", folder / "out.jsonl", **settings), Silent())


def expected(texts: Sequence[str], failed: str) -> list[dict[str, Any]]:
    return [
        {
            "row": number,
            "id": text,
            "rewards": [None if failed in text else reward_of(f"Q{text}")],
            "reason": "model_failed" if failed in text else "",
        }
        for number, text in enumerate(texts, start=1)
    ] + [{"row": len(texts) + 1, "id": None, "rewards": [], "reason": "broken_line"}]


@pytest.mark.slow
def test_any_order_gives_the_order_of_the_input(machine: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "gate")
    texts = ["WAIT", *(f"a{index}" for index in range(16))]
    score(tmp_path, texts, monkeypatch)
    assert "QWAIT" not in (tmp_path / "order").read_text().splitlines()[0]
    assert rows(tmp_path / "out.jsonl") == expected(texts, "nothing")


def test_a_row_that_fails_stands_aside(machine: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [*(f"a{index}" for index in range(17)), "FLAKY", "b", "BREAK", "c", "d"]
    record = score(tmp_path, texts, monkeypatch)
    assert rows(tmp_path / "out.jsonl") == expected(texts, "BREAK")
    aside = rows(tmp_path / "out.rejected.jsonl")
    assert [(row["row"], row["reason"], row["detail"]) for row in aside[:1]] == [(20, "model_failed", "ValueError")]
    assert (record.rows, record.rewards, record.bad_rows) == (23, 21, 2)
    assert record.reasons == {"broken_line": 1, "model_failed": 1}
    assert (tmp_path / "flaky").exists()
    assert not list(tmp_path.glob(".out*"))


def test_the_bytes_are_those_of_the_local_engine(
    machine: None, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_checkpoint(tmp_path / "model", tiny_base, max_length=60)
    monkeypatch.setattr(bulk, "windows", partial(windows, conversations=8))
    lines = [
        {"prompt": f"Say {index % 4}.", "responses": ["red " * (2 * index), "blue sky"], "id": str(index)}
        for index in range(40)
    ]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as many as each worker has
    found = {}
    for engine in ("local", "ray"):
        output = tmp_path / engine / "out.jsonl"
        options = ScoreOptions((str(model),), tmp_path / "in.jsonl", output, engine=engine, workers=2)
        found[engine] = score_job(options, Silent())
    torch.set_num_threads(threads)
    assert found["ray"].rows == 40
    assert found["ray"].reasons["over_length"] > 5
    assert found["ray"].model_dump(exclude={"output", "rejected"}) == found["local"].model_dump(
        exclude={"output", "rejected"}
    )
    for name in ("out.jsonl", "out.rejected.jsonl"):
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "local" / name).read_bytes()


@pytest.mark.slow
def test_a_row_that_kills_its_worker_stands_aside(
    machine: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["a", "b", "c", "d", "e", "DIE"]
    score(tmp_path, texts, monkeypatch)
    assert rows(tmp_path / "out.jsonl") == expected(texts, "DIE")
    assert rows(tmp_path / "out.rejected.jsonl")[0]["detail"] == "the worker died while it scored this row"


@pytest.mark.slow
def test_an_error_of_ours_ends_the_job_which_goes_on_where_it_stopped(
    machine: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [*(f"a{index}" for index in range(40)), "STOP"]
    with pytest.raises(ModelError, match="http://h: no answer"):
        score(tmp_path, texts, monkeypatch)
    assert not (tmp_path / "out.jsonl").exists()
    record = score(tmp_path, texts, monkeypatch)
    assert record.rows == 42
    assert rows(tmp_path / "out.jsonl") == expected(texts, "nothing")


def test_a_worker_leaves_a_part_of_a_cpu_free_and_has_the_threads_of_its_share() -> None:
    small = Cluster(nodes=1, cpus=2, gpus=0)
    assert (small.workers("auto"), small.share(1, "auto").threads, small.share(2, "auto").threads) == (1, 2, 1)
    assert small.share(2, "auto").cpus == pytest.approx(0.9)
    large = Cluster(nodes=2, cpus=32, gpus=16)
    assert (large.workers("auto"), large.workers("cpu")) == (16, 2)
    assert (large.share(16, "auto").gpus, large.share(2, "cpu").gpus, large.share(2, "cpu").threads) == (1, 0, 16)
    with pytest.raises(UserError, match="3 workers need as many CPUs; the cluster has 1 machines"):
        small.share(3, "auto")
    with pytest.raises(UserError, match="need as many GPUs"):
        large.share(17, "auto")


def test_without_ray_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "is_installed", lambda package: False)
    with pytest.raises(UserError, match="the package ray is not installed") as found, ray_cluster():
        pass
    assert found.value.fix == "pip install 'rewardsmith[ray]'"
