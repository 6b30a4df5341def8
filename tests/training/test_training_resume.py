"""A run that is killed at any step, in the middle of a checkpoint too, ends with the weights of an unbroken run."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import make_pairs
from rewardsmith.errors import ModelError
from rewardsmith.modeling.layouts import PairIds
from rewardsmith.modeling.shapes import Size
from rewardsmith.records.training import StepMetrics, TrainRecord
from rewardsmith.rendering import load_renderer
from rewardsmith.spec import Spec
from rewardsmith.training import trainer, trl_backend
from rewardsmith.training.job import TrainJob
from rewardsmith.training.resume import MARKER, find_resumable, mark_complete, remove_all_but
from rewardsmith.training.trl_backend import train

STEPS = 7
FINGERPRINT = "f" * 64


def make_job(
    base: Path, folder: Path, announce: Callable[[StepMetrics, int], None] | None = None, **spec: object
) -> TrainJob:
    training = {"pairs_per_step": 4, "learning_rate": 1e-3, "checkpoint_every_steps": 2, "tokens_per_micro_batch": 200}
    renderer = load_renderer(str(base), max_length=256)
    pairs = make_pairs(4 * STEPS - 2, seed=11)
    ids = [PairIds(pair.chosen_ids, pair.rejected_ids) for pair in renderer.render_pairs(pairs)]
    return TrainJob(
        spec=Spec.model_validate({"training": training, "hardware": {"device": "cpu", "threads": 1}, **spec}),
        base=str(base),
        base_size=Size(1, "qwen3"),
        policy_size=Size(None, None),
        pairs=pairs,
        ids=ids,
        renderer=renderer,
        folder=folder / "train",
        model_folder=folder / "model",
        fingerprint=FINGERPRINT,
        data_fingerprint="d" * 64,
        announce=announce,
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(next((folder / "model").glob("*.safetensors")))


def killed_run(base: str, folder: str, spec: dict[str, object], die_at: int, in_checkpoint: bool) -> None:
    """Train in this process until the end of step `die_at`, or until its checkpoint is half written; then SIGKILL."""

    def die(metrics: StepMetrics, _: int) -> None:
        if metrics.step == die_at and not in_checkpoint:
            os.kill(os.getpid(), signal.SIGKILL)

    def die_before_marking(checkpoint: Path, fingerprint: str) -> None:
        if checkpoint.name == f"checkpoint-{die_at}":
            next(checkpoint.glob("*.safetensors")).write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        mark_complete(checkpoint, fingerprint)

    if in_checkpoint:
        trainer.mark_complete = die_before_marking
    train(make_job(Path(base), Path(folder), die, **spec))


@pytest.fixture(scope="module")
def unbroken(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainRecord]:
    folder = tmp_path_factory.mktemp("unbroken")
    return folder, train(make_job(tiny_base, folder))


@pytest.mark.parametrize(
    ("die_at", "in_checkpoint", "resumed_from"),
    [(1, False, None), (3, False, 2), (4, True, 2), (5, False, 4), (7, True, 6)],
    ids=["before the first checkpoint", "after one", "while writing one", "after two", "while writing the last"],
)
def test_killed_run_ends_with_the_same_weights(
    tiny_base: Path,
    tmp_path: Path,
    unbroken: tuple[Path, TrainRecord],
    die_at: int,
    in_checkpoint: bool,
    resumed_from: int | None,
) -> None:
    process = multiprocessing.get_context("spawn").Process(
        target=killed_run, args=(str(tiny_base), str(tmp_path), {}, die_at, in_checkpoint)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "model").exists()

    record = train(make_job(tiny_base, tmp_path))
    folder, whole = unbroken
    assert record.resumed_from_step == resumed_from
    wanted, found = weights(folder), weights(tmp_path)
    assert wanted.keys() == found.keys()
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)
    assert steps_of(tmp_path) == steps_of(folder)
    assert record.monitor == whole.monitor
    assert not list((tmp_path / "train").glob("checkpoint-*"))


def steps_of(folder: Path) -> list[tuple[int, float, float]]:
    """What each step saw; times differ from run to run."""
    lines = (folder / "train" / "metrics.jsonl").read_text().splitlines()
    return [(row["step"], row["loss"], row["margin_mean"]) for row in map(json.loads, lines)]


def test_one_epoch_meets_every_pair_once(unbroken: tuple[Path, TrainRecord]) -> None:
    folder, record = unbroken
    rows = [json.loads(line) for line in (folder / "train" / "margins.jsonl").read_text().splitlines()]
    met = [index for row in rows for index in row["pairs"]]
    assert sorted(met) == list(range(record.pairs))
    assert [len(row["pairs"]) for row in rows] == [4] * 6 + [2]
    assert record.steps == STEPS


def test_a_checkpoint_of_another_fingerprint_is_not_resumed(tmp_path: Path) -> None:
    for step, fingerprint in ((2, FINGERPRINT), (4, "another")):
        (tmp_path / f"checkpoint-{step}").mkdir()
        mark_complete(tmp_path / f"checkpoint-{step}", fingerprint)
    (tmp_path / "checkpoint-6").mkdir()
    (tmp_path / "checkpoint-8").mkdir()
    (tmp_path / "checkpoint-8" / MARKER).write_text("{")
    assert find_resumable(tmp_path, FINGERPRINT).checkpoint == tmp_path / "checkpoint-2"
    assert find_resumable(tmp_path, "nobody's").checkpoint is None
    remove_all_but(tmp_path, keep=tmp_path / "checkpoint-2")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-2"]


def flip(file: Path) -> None:
    """The planted fault that nothing else notices: one bit of one byte in the middle."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def interrupted(base: Path, folder: Path, die_at: int) -> Path:
    class Killed(Exception):  # noqa: N818
        pass

    def die(metrics: StepMetrics, _: int) -> None:
        if metrics.step == die_at:
            raise Killed

    with pytest.raises(Killed):
        train(make_job(base, folder, die))
    return folder / "train"


STATE = ["scheduler.pt", "optimizer.pt", "rng_state.pth", "model.safetensors"]


@pytest.mark.parametrize("name", [*STATE, MARKER])
def test_a_flipped_bit_is_not_resumed_and_the_checkpoint_before_is(
    tiny_base: Path, tmp_path: Path, unbroken: tuple[Path, TrainRecord], name: str
) -> None:
    folder = interrupted(tiny_base, tmp_path, die_at=5)
    assert sorted(path.name for path in folder.glob("checkpoint-*")) == ["checkpoint-2", "checkpoint-4"]
    flip(folder / "checkpoint-4" / name)
    said: list[str] = []
    record = train(replace(make_job(tiny_base, tmp_path), note=said.append))
    assert record.resumed_from_step == 2
    assert len(said) == 1
    assert f"checkpoint-4: {name}" in said[0]
    assert said[0].endswith("Training continues after step 2")
    assert [finding.code for finding in record.findings if finding.code == "damaged_checkpoint"]
    wanted, found = weights(unbroken[0]), weights(tmp_path)
    assert all(torch.equal(wanted[key], found[key]) for key in wanted)


def test_a_checkpoint_under_other_names_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    """The trainer would only warn, and go on with the base's weights; its marker vouches for the very bytes."""
    folder = interrupted(tiny_base, tmp_path, die_at=5) / "checkpoint-4"
    found = {f"_orig_mod.{name}": one for name, one in load_file(folder / "model.safetensors").items()}
    save_file(found, folder / "model.safetensors", metadata={"format": "pt"})
    mark_complete(folder, json.loads((folder / MARKER).read_text())["fingerprint"])
    with pytest.raises(ModelError, match=r"25 weights of the model are not in it .*25 in it have no place"):
        train(make_job(tiny_base, tmp_path))


def test_without_a_whole_checkpoint_training_starts_anew(
    tiny_base: Path, tmp_path: Path, unbroken: tuple[Path, TrainRecord]
) -> None:
    folder = interrupted(tiny_base, tmp_path, die_at=5)
    (folder / "checkpoint-4" / "scheduler.pt").unlink()
    (folder / "checkpoint-2" / "more.bin").write_bytes(b"")
    said: list[str] = []
    record = train(replace(make_job(tiny_base, tmp_path), note=said.append))
    assert record.resumed_from_step is None
    (text,) = said
    assert text.startswith(
        "warning: damaged, not resumed: checkpoint-4: scheduler.pt is missing; checkpoint-2: more.bin"
    )
    assert text.endswith("Training starts anew")
    wanted, found = weights(unbroken[0]), weights(tmp_path)
    assert all(torch.equal(wanted[key], found[key]) for key in wanted)


def test_a_log_that_lost_steps_is_not_continued(tiny_base: Path, tmp_path: Path) -> None:
    folder = interrupted(tiny_base, tmp_path, die_at=5)
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join(lines[:1] + lines[2:]))
    record = train(make_job(tiny_base, tmp_path))
    assert record.resumed_from_step is None
    assert [row[0] for row in steps_of(tmp_path)] == list(range(1, STEPS + 1))


def test_a_whole_checkpoint_is_named_by_nothing(tiny_base: Path, tmp_path: Path) -> None:
    interrupted(tiny_base, tmp_path, die_at=5)
    said: list[str] = []
    record = train(replace(make_job(tiny_base, tmp_path), note=said.append))
    assert (record.resumed_from_step, said) == (4, [])
    assert not [finding for finding in record.findings if finding.code == "damaged_checkpoint"]


def test_a_marker_of_an_older_version_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-4").mkdir()
    (tmp_path / "checkpoint-4" / MARKER).write_text(json.dumps({"fingerprint": FINGERPRINT, "step": 4}))
    found = find_resumable(tmp_path, FINGERPRINT)
    assert found.checkpoint is None
    assert "an older version wrote it" in found.damaged[0]


def test_a_loss_that_is_not_a_number_stops_training_with_a_message(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted fault: one weight becomes NaN in memory; a file that holds one is refused when it is read."""
    load = trl_backend.load_base

    def spoiled(*given: Any, **named: Any) -> Any:
        model = load(*given, **named)
        with torch.no_grad():
            model.model.norm.weight[0] = float("nan")
        return model

    monkeypatch.setattr(trl_backend, "load_base", spoiled)
    with pytest.raises(ModelError, match="the loss is nan at step 1: training has diverged"):
        train(make_job(tiny_base, tmp_path))
    assert (tmp_path / "train" / "metrics.jsonl").read_text() == ""


def test_nothing_of_the_model_is_alive_when_training_has_ended(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What follows loads the checkpoint: two models at a time are what the planner counts, not three."""
    alive: list[weakref.ref[object]] = []
    load = trl_backend.load_base

    def loaded(*given: object, **named: object) -> object:
        model = load(*given, **named)
        alive.append(weakref.ref(model))
        return model

    monkeypatch.setattr(trl_backend, "load_base", loaded)
    train(make_job(tiny_base, tmp_path))
    assert [one() for one in alive] == [None]


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_bfloat16_on_a_processor_without_it_is_a_warning(
    tiny_base: Path, tmp_path: Path, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trl_backend, "lacks_instructions", lambda dtype: dtype is torch.bfloat16)
    said: list[str] = []
    hardware = {"device": "cpu", "threads": 1, "precision": precision}
    train(replace(make_job(tiny_base, tmp_path, hardware=hardware), note=said.append))
    warned = [line for line in said if "no instructions for bfloat16" in line]
    assert len(warned) == (precision == "bfloat16")
    assert all("hardware.precision: float32" in line for line in warned)
