"""Training under Ray Train on two raylets: the curve of one process, and a killed worker that changes nothing."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from ray_world import two_machines
from test_training_resume import make_job, steps_of, weights

from rewardsmith.errors import ModelError, SpecError
from rewardsmith.pipeline.stages import choose_sharding, wanted_workers
from rewardsmith.records.training import StepMetrics, TrainRecord
from rewardsmith.spec import Spec
from rewardsmith.training import ray_train
from rewardsmith.training.job import TrainJob
from rewardsmith.training.ray_train import Workers, train_on_ray
from rewardsmith.training.trainer import WholeStepTrainer
from rewardsmith.training.trl_backend import train

# Micro-batches of unequal numbers of pairs, and a last step of one pair, alone in a process.
SPEC = {
    "training": {
        "pairs_per_step": 5,
        "learning_rate": 1e-4,
        "tokens_per_micro_batch": 150,
        "checkpoint_every_steps": 2,
    }
}
TWO = Workers(count=2, cpus=0.9)


@pytest.fixture(scope="module")
def machines() -> Iterator[None]:
    with two_machines():
        yield


class Planted(str):
    """A text that, when a worker reads it, plants a fault there: rank 1 is killed once, after a step."""

    marker: str
    step: int

    def __reduce__(self) -> Any:
        return _plant, (str(self), self.marker, self.step)


def _plant(text: str, marker: str, step: int) -> str:
    written = WholeStepTrainer._write_step

    def write_and_die(trainer: WholeStepTrainer, logs: dict[str, float]) -> None:
        written(trainer, logs)
        if os.environ.get("RANK") == "1" and trainer.state.global_step == step and not Path(marker).exists():
            Path(marker).touch()
            os.kill(os.getpid(), signal.SIGKILL)

    WholeStepTrainer._write_step = write_and_die
    return text


def killing(job: TrainJob, marker: Path, step: int) -> TrainJob:
    text = Planted("base")
    text.marker, text.step = str(marker), step
    return replace(job, base_fingerprint=text)


@pytest.fixture(scope="module")
def alone(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process trains."""
    folder = tmp_path_factory.mktemp("alone")
    train(make_job(tiny_base, folder, **SPEC))
    return folder


@dataclass
class Trained:
    """A run on two machines over a shared storage: its folder, its record, and what the driver was told."""

    folder: Path
    record: TrainRecord
    told: list[tuple[int, int]]
    notes: list[str]


def train_together(base: Path, folder: Path, *, die_at: int | None = None, **workers: Any) -> Trained:
    told: list[tuple[int, int]] = []
    notes: list[str] = []

    def announce(metrics: StepMetrics, steps: int) -> None:
        told.append((metrics.step, steps))

    job = make_job(base, folder, announce, **SPEC)
    if die_at is not None:
        job = killing(job, folder / "killed", die_at)
    record = train_on_ray(job, replace(TWO, folder=folder / "shared", **workers), notes.append)
    return Trained(folder, record, told, notes)


@pytest.fixture(scope="module")
def together(machines: None, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train_together(tiny_base, tmp_path_factory.mktemp("together"))


def rows(folder: Path, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "train" / name).read_text().splitlines()]


def assert_same_curve(one: Path, other: Path) -> None:
    for first, second in zip(rows(one), rows(other), strict=True):
        assert first["pairs"] == second["pairs"]
        for field in ("loss", "margin_mean", "reward_std", "accuracy"):
            assert abs(first[field] - second[field]) < 1e-5, (first["step"], field)
    wanted, found = weights(one), weights(other)
    assert wanted.keys() == found.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-5, rtol=1e-4)


def test_two_workers_draw_the_loss_curve_of_one(alone: Path, together: Trained) -> None:
    assert (together.record.processes, together.record.resumed_from_step, together.record.steps) == (2, None, 6)
    assert_same_curve(alone, together.folder)


def test_the_driver_hears_each_step_and_has_the_files(together: Trained) -> None:
    folder = together.folder
    assert together.told == [(step, 6) for step in range(1, 7)]
    assert not together.notes
    assert json.loads((folder / "train" / "summary.json").read_text())["processes"] == 2
    assert sorted(index for row in rows(folder, "margins.jsonl") for index in row["pairs"]) == list(range(26))
    assert not list((folder / "shared").iterdir())
    assert not list((folder / "train").glob("checkpoint-*"))


def test_a_folder_that_a_machine_does_not_see_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"elsewhere: the machine .* does not see this folder"):
        ray_train._check_sight(tmp_path / "elsewhere" / ".seen-1")


def hardware(**changes: Any) -> Spec:
    return Spec.model_validate({"hardware": changes})


def test_how_many_workers_a_spec_wants() -> None:
    assert wanted_workers(Spec().hardware) == 1
    assert wanted_workers(hardware(devices_per_node=8).hardware) == 1  # one machine: for planning
    assert wanted_workers(hardware(nodes=3).hardware) == 3
    assert wanted_workers(hardware(nodes=2, devices_per_node=8).hardware) == 16
    assert wanted_workers(hardware(nodes=2, devices_per_node=8, workers=4).hardware) == 4


def test_shares_where_whole_weights_do_not_fit(tmp_path: Path) -> None:
    """By hand: float32 weights, gradients, AdamW's two moments, and DDP's buckets as large as the gradients."""
    shape = Shape(hidden_size=256, num_hidden_layers=4, intermediate_size=1024, num_attention_heads=4, vocab_size=8192)
    base, parameters = str(tmp_path), shape.parameters(tmp_path)
    whole = 20 * parameters / 2**30
    # Ten per cent stay free; a batch of one short pair adds activations, of at most a tenth of the rest.
    roomy, tight = whole * 1.1 / 0.9, whole * 0.99 / 0.9
    assert choose_sharding(small(memory_gib=roomy), base, 2) is False
    assert choose_sharding(small(memory_gib=tight), base, 2) is True
    assert choose_sharding(small(memory_gib=tight, sharding="ddp"), base, 2) is False
    assert choose_sharding(small(memory_gib=roomy, sharding="fsdp"), base, 2) is True
    frozen = small(memory_gib=tight).model_copy(update={"adapter": Spec.model_validate(LORA).adapter})
    assert choose_sharding(frozen, base, 2) is False  # 4 bytes a parameter, and little more
    if not torch.cuda.is_available():
        assert choose_sharding(small(), base, 2) is False  # the memory of a device is not known
    with pytest.raises(SpecError, match=r"hardware\.sharding: weights in 4 bits"):
        choose_sharding(Spec.model_validate({"adapter": {"kind": "qlora"}, "hardware": {"sharding": "fsdp"}}), base, 2)


LORA = {"adapter": {"kind": "lora", "rank": 4}}


def small(**hardware: Any) -> Spec:
    """One pair of short texts a step."""
    return Spec.model_validate(
        {
            "hardware": hardware,
            "data": {"max_length": 16},
            "training": {"pairs_per_step": 1, "tokens_per_micro_batch": 64},
        }
    )


@dataclass(frozen=True)
class Shape:
    """A Qwen3 decoder as a folder with its config."""

    hidden_size: int
    num_hidden_layers: int
    intermediate_size: int
    num_attention_heads: int
    vocab_size: int

    def parameters(self, folder: Path) -> int:
        """Write the config; count what transformers makes of it."""
        config = transformers.Qwen3Config(**asdict(self), num_key_value_heads=4, head_dim=64, num_labels=1)
        config.save_pretrained(folder)
        model = transformers.AutoModelForSequenceClassification.from_config(config)
        return sum(weights.numel() for weights in model.parameters())


@pytest.mark.slow
def test_a_worker_that_is_killed_changes_no_bit(together: Trained, tiny_base: Path, tmp_path: Path) -> None:
    killed = train_together(tiny_base, tmp_path, die_at=5)
    assert (tmp_path / "killed").exists()
    assert killed.notes == ["a worker died; all start again from the last complete checkpoint"]
    assert killed.told == [(step, 6) for step in (1, 2, 3, 4, 5, 5, 6)]
    assert killed.record.resumed_from_step == 4
    wanted, found = weights(together.folder), weights(tmp_path)
    assert wanted.keys() == found.keys()
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)
    assert steps_of(tmp_path) == steps_of(together.folder)
    assert killed.record.monitor == together.record.monitor


@pytest.mark.slow
def test_shares_of_the_weights_train_what_whole_weights_train(
    machines: None, alone: Path, tiny_base: Path, tmp_path: Path
) -> None:
    """FSDP, with a worker killed and all resumed from a sharded checkpoint."""
    sharded = train_together(tiny_base, tmp_path, die_at=5, sharded=True)
    assert sharded.record.resumed_from_step == 4
    assert_same_curve(alone, tmp_path)


@pytest.mark.slow
def test_an_error_of_ours_is_raised_as_it_is_and_not_tried_again(
    machines: None, tiny_base: Path, tmp_path: Path
) -> None:
    """The planted fault: a base that is no checkpoint."""
    job = replace(make_job(tiny_base, tmp_path, **SPEC), base=str(tmp_path))
    notes: list[str] = []
    with pytest.raises(ModelError) as found:
        train_on_ray(job, TWO, notes.append)
    assert found.value.where != "hardware.workers"
    assert not notes
