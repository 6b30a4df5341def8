"""Two lines in a TRL script: the same losses and gradients as TRL's own collator, and a model that saves as before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, BertConfig, BertForSequenceClassification
from trl import RewardConfig, RewardTrainer

from conftest import make_pairs
from rewardsmith import share_prefixes, tree_collator
from rewardsmith.errors import DataError, ModelError
from rewardsmith.rendering import load_renderer

PAIRS = 12


def rows(base: Path, *, margin: bool) -> datasets.Dataset:
    rendered = load_renderer(str(base), max_length=256).render_pairs(make_pairs(PAIRS, seed=4, shared_prompts=True))
    columns: dict[str, list[Any]] = {
        "chosen_ids": [pair.chosen_ids.tolist() for pair in rendered],
        "rejected_ids": [pair.rejected_ids.tolist() for pair in rendered],
    }
    return datasets.Dataset.from_dict(columns | ({"margin": np.linspace(-1, 2, PAIRS).tolist()} if margin else {}))


def plain_model(base: Path) -> Any:
    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    torch.nn.init.normal_(model.score.weight, std=0.1)
    return model


def trainer_of(base: Path, folder: Path, model: Any, **arguments: Any) -> RewardTrainer:
    from transformers import AutoTokenizer

    config = RewardConfig(
        output_dir=str(folder),
        per_device_train_batch_size=4,
        num_train_epochs=1,
        learning_rate=1e-3,
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    return RewardTrainer(model=model, args=config, processing_class=AutoTokenizer.from_pretrained(base), **arguments)


def losses(trainer: RewardTrainer) -> list[float]:
    trainer.train()
    return [line["loss"] for line in trainer.state.log_history if "loss" in line]


@pytest.mark.parametrize("margin", [False, True], ids=["plain", "with the margin that TRL subtracts"])
def test_an_epoch_has_the_losses_and_weights_of_stock_trl(tiny_base: Path, tmp_path: Path, margin: bool) -> None:
    data = rows(tiny_base, margin=margin)
    stock = trainer_of(tiny_base, tmp_path / "stock", plain_model(tiny_base), train_dataset=data)
    model = share_prefixes(plain_model(tiny_base))
    ours = trainer_of(tiny_base, tmp_path / "ours", model, train_dataset=data, data_collator=tree_collator)
    wanted = losses(stock)
    assert len(wanted) == PAIRS / 4
    assert losses(ours) == pytest.approx(wanted, abs=1e-5)
    for (name, one), (_, other) in zip(stock.model.named_parameters(), ours.model.named_parameters(), strict=True):
        assert (one - other).norm() <= 1e-4 * one.norm().clamp_min(1e-6), name


def test_a_step_computes_each_token_once(tiny_base: Path) -> None:
    data = list(rows(tiny_base, margin=False))
    inputs = tree_collator(data)
    assert inputs["input_ids"].shape[1] < sum(len(row["chosen_ids"]) + len(row["rejected_ids"]) for row in data)
    assert len(inputs["reward_positions"]) == 2 * PAIRS
    assert "margin" not in inputs


def test_what_is_saved_loads_without_rewardsmith(tiny_base: Path, tmp_path: Path) -> None:
    data = rows(tiny_base, margin=False)
    model = share_prefixes(plain_model(tiny_base)).eval()
    with torch.inference_mode():
        inputs = tree_collator(list(data))
        rewards = model(**inputs, use_cache=False).logits.squeeze(-1)
    model.save_pretrained(tmp_path)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    with torch.inference_mode():
        alone = [
            float(plain(input_ids=torch.tensor([row[side]])).logits)
            for side in ("chosen_ids", "rejected_ids")
            for row in data
        ]
    assert rewards.tolist() == pytest.approx(alone, abs=1e-5)


def test_an_encoder_is_refused() -> None:
    config = BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, num_labels=1)
    with pytest.raises(ModelError, match="token tree cannot be used"):
        share_prefixes(BertForSequenceClassification(config))


@pytest.mark.parametrize("examples", [[], [{"input_ids": [1]}]], ids=["nothing", "other columns"])
def test_rows_of_another_kind_are_refused(examples: list[dict[str, Any]]) -> None:
    with pytest.raises(DataError, match="chosen_ids and rejected_ids"):
        tree_collator(examples)
