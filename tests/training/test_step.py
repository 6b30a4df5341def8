"""One optimizer step of ours equals one of TRL's stock trainer: same pairs, same weights, same loss, same gradients."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from types import SimpleNamespace

import datasets
import numpy as np
import pytest
import torch
import trl
from trl import RewardConfig

from conftest import make_pairs
from rewardsmith import bradley_terry
from rewardsmith.modeling.layouts import PaddedBatches, PairIds, Part, choose_layout
from rewardsmith.modeling.loading import load_base
from rewardsmith.rendering import load_renderer
from rewardsmith.spec import Spec
from rewardsmith.training.plan import StepSampler, order_pairs
from rewardsmith.training.progress import EpochClock, EpochProgress, pair_tokens
from rewardsmith.training.trainer import WholeStepTrainer
from rewardsmith.training.trl_backend import optimizer_of

PAIRS = 24


@pytest.fixture(scope="module")
def world(tiny_base: Path) -> SimpleNamespace:
    renderer = load_renderer(str(tiny_base), max_length=256)
    pairs = make_pairs(PAIRS, seed=3)
    ids = [PairIds(pair.chosen_ids, pair.rejected_ids) for pair in renderer.render_pairs(pairs)]
    return SimpleNamespace(base=tiny_base, renderer=renderer, ids=ids)


def as_dataset(ids: list[PairIds]) -> datasets.Dataset:
    return datasets.Dataset.from_dict(
        {
            "chosen_ids": [pair.chosen for pair in ids],
            "rejected_ids": [pair.rejected for pair in ids],
            "index": list(range(len(ids))),
        }
    )


def config(folder: Path, batch: int) -> RewardConfig:
    return RewardConfig(
        output_dir=str(folder),
        num_train_epochs=1,
        per_device_train_batch_size=batch,
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
        max_length=None,
        remove_unused_columns=False,
        report_to="none",
        dataloader_pin_memory=False,
        logging_steps=1,
        save_strategy="no",
        disable_tqdm=True,
        learning_rate=1e-3,
        seed=0,
    )


def stock_step(world: SimpleNamespace, folder: Path) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of TRL's own trainer, forward and collator included, on all pairs as one batch."""
    model = fresh_model(world, ours=False)
    stock = as_dataset(world.ids).remove_columns("index")
    trainer = trl.RewardTrainer(
        model=model, args=config(folder, PAIRS), train_dataset=stock, processing_class=world.renderer.tokenizer
    )
    batch = trainer.data_collator([stock[index] for index in range(PAIRS)])
    trainer.create_optimizer()
    trainer.current_gradient_accumulation_steps = 1
    loss = trainer.training_step(trainer.model, batch)
    return float(loss), gradients(trainer.model)


def fresh_model(world: SimpleNamespace, *, ours: bool) -> torch.nn.Module:
    model = load_base(Spec(), world.base, world.renderer.tokenizer, seed=5)
    if not ours:
        del model.forward  # back to transformers' own pooling by pad id
    return model


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("layout_name", ["padded", "tree"])
@pytest.mark.parametrize("token_budget", [100_000, 300, 64], ids=["one micro-batch", "several", "one pair each"])
def test_step_equals_stock_trl(world: SimpleNamespace, tmp_path: Path, token_budget: int, layout_name: str) -> None:
    model = fresh_model(world, ours=True)
    layout = choose_layout(layout_name, model, world.renderer.pad_token_id)
    assert layout.name == layout_name
    trainer = WholeStepTrainer(
        model=model,
        args=config(tmp_path, PAIRS),
        train_dataset=as_dataset(world.ids).with_format("numpy"),
        processing_class=world.renderer.tokenizer,
        sampler=StepSampler(np.arange(PAIRS), PAIRS),
        prompts_P=np.arange(PAIRS),
        layout=layout,
        token_budget=token_budget,
        fingerprint="",
        on_step=lambda *_: False,
    )
    trainer.create_optimizer()
    step = next(iter(trainer.get_train_dataloader()))
    assert sorted(step.indices) == list(range(PAIRS))
    loss = float(trainer.training_step(trainer.model, step))

    stock_loss, stock_gradients = stock_step(world, tmp_path)
    assert loss == pytest.approx(stock_loss, abs=1e-6)
    ours = gradients(trainer.model)
    assert ours.keys() == stock_gradients.keys()
    for name, wanted in stock_gradients.items():
        difference = (ours[name] - wanted).norm() / wanted.norm().clamp_min(1e-12)
        assert difference <= 1e-5, name


def test_step_loss_is_the_bradley_terry_loss_of_its_rewards(world: SimpleNamespace, tmp_path: Path) -> None:
    records = []
    trainer = WholeStepTrainer(
        model=fresh_model(world, ours=True),
        args=config(tmp_path, PAIRS),
        train_dataset=as_dataset(world.ids).with_format("numpy"),
        processing_class=world.renderer.tokenizer,
        sampler=StepSampler(order_pairs(np.arange(PAIRS), "shuffled", 1), 10),
        prompts_P=np.arange(PAIRS),
        layout=PaddedBatches(world.renderer.pad_token_id),
        token_budget=400,
        fingerprint="",
        on_step=lambda metrics, indices, margins: bool(records.append((metrics, indices, margins))),
    )
    trainer.train()
    assert [metrics.pairs for metrics, _, _ in records] == [10, 10, 4]
    assert sorted(index for _, indices, _ in records for index in indices) == list(range(PAIRS))
    for metrics, _, margins in records:
        assert metrics.loss == pytest.approx(bradley_terry.loss(margins, np.zeros_like(margins)), abs=1e-6)
        assert metrics.margin_mean == pytest.approx(float(np.mean(margins)), abs=1e-9)
        assert metrics.accuracy == pytest.approx(float(np.mean(margins > 0) + np.mean(margins == 0) / 2))


def test_nobody_is_told_that_a_trainer_was_built(
    world: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TRL's own trainer pings a usage counter, which shows that the counter is where this test looks."""
    told: list[dict[str, object]] = []
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr("trl.trainer.base_trainer.send_telemetry", lambda **given: told.append(given))
    stock_step(world, tmp_path)
    assert [given["topic"] for given in told] == ["trl/RewardTrainer"]
    WholeStepTrainer(
        model=fresh_model(world, ours=True),
        args=config(tmp_path, PAIRS),
        train_dataset=as_dataset(world.ids).with_format("numpy"),
        processing_class=world.renderer.tokenizer,
        sampler=StepSampler(np.arange(PAIRS), PAIRS),
        prompts_P=np.arange(PAIRS),
        layout=PaddedBatches(world.renderer.pad_token_id),
        token_budget=400,
        fingerprint="",
        on_step=lambda *_: False,
    )
    assert len(told) == 1


@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "gradient checkpointing"])
def test_every_micro_batch_of_every_step_is_told(world: SimpleNamespace, tmp_path: Path, checkpointing: bool) -> None:
    told: list[EpochProgress] = []
    ticks = count()
    arguments = config(tmp_path, PAIRS)
    arguments.gradient_checkpointing = checkpointing
    model = fresh_model(world, ours=True)
    layout = choose_layout("tree", model, world.renderer.pad_token_id)
    tokens_P = pair_tokens(world.ids)
    order = order_pairs(np.arange(PAIRS), "shuffled", 1)
    trainer = WholeStepTrainer(
        model=model,
        args=arguments,
        train_dataset=as_dataset(world.ids).with_format("numpy"),
        processing_class=world.renderer.tokenizer,
        sampler=StepSampler(order, 10),
        prompts_P=np.arange(PAIRS),
        layout=layout,
        token_budget=100,
        fingerprint="",
        on_step=lambda *_: False,
        clock=EpochClock(tokens_P, 3, told.append, clock=lambda: float(next(ticks))),
    )
    trainer.train()
    steps = [order[start : start + 10].tolist() for start in (0, 10, 20)]
    parts = [len(layout.cut([world.ids[i] for i in step], 100)) for step in steps]
    assert min(parts) > 1
    expected = []
    for step, micro_batches in enumerate(parts):
        expected += [(step, turn, micro_batches) for turn in range(micro_batches + 1)] + [(step + 1, 0, 0)]
    assert [(at.step, at.micro_batch, at.micro_batches) for at in told] == expected
    assert told[-1].seconds_left == 0.0
    assert all(at.steps == 3 for at in told)


def test_each_step_is_laid_out_while_the_one_before_is_computed(world: SimpleNamespace, tmp_path: Path) -> None:
    """10, 10 and 4 pairs: three layouts in all, each of its own step's pairs; forward passes are counted by kernel."""
    model = fresh_model(world, ours=True)
    layout = choose_layout("tree", model, world.renderer.pad_token_id)
    cuts: list[tuple[int, int]] = []
    steps: list[int] = []

    class Counted:
        name = layout.name

        def cut(self, pairs: list[PairIds], token_budget: int) -> list[Part]:
            cuts.append((len(steps), len(pairs)))
            return layout.cut(pairs, token_budget)

    order = order_pairs(np.arange(PAIRS), "shuffled", 1)
    trainer = WholeStepTrainer(
        model=model,
        args=config(tmp_path, PAIRS),
        train_dataset=as_dataset(world.ids).with_format("numpy"),
        processing_class=world.renderer.tokenizer,
        sampler=StepSampler(order, 10),
        prompts_P=np.arange(PAIRS),
        layout=Counted(),
        token_budget=400,
        fingerprint="",
        on_step=lambda metrics, indices, margins: bool(steps.append(sorted(indices))),
    )
    trainer.train()
    assert cuts == [(0, 10), (0, 10), (1, 4)], "the second and the third before the first and the second are written"
    assert steps == [sorted(order[start : start + 10].tolist()) for start in (0, 10, 20)]
    parts = sum(len(layout.cut([world.ids[i] for i in step], 400)) for step in steps)
    assert trainer.kernels == {"calls": parts}


def test_a_step_knows_the_one_after_it() -> None:
    sampler = StepSampler(np.array([4, 2, 0, 1, 3]), 2)
    assert (sampler.after([4, 2]), sampler.after([0, 1]), sampler.after([3])) == ([0, 1], [3], [])


def test_a_gpu_gets_the_fused_optimizer() -> None:
    assert optimizer_of("cuda") == {"optim": "adamw_torch_fused"}
    assert optimizer_of("cpu") == {}
