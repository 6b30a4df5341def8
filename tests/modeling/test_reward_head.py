"""The reward is read at the last token that the mask keeps, whatever the pad id and whatever stands in the text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from rewardsmith.modeling.inference import compute_rewards
from rewardsmith.modeling.layouts import PaddedBatches, batches_by_length, pad_right
from rewardsmith.modeling.loading import load_base
from rewardsmith.modeling.reward_head import install_reward_forward, last_kept_position
from rewardsmith.rendering import load_renderer
from rewardsmith.spec import Spec


@pytest.fixture(scope="module")
def model(tiny_base: Path) -> torch.nn.Module:
    return load_base(Spec(), tiny_base, load_renderer(str(tiny_base), max_length=64).tokenizer, seed=1).eval()


def rewards_one_by_one(model: torch.nn.Module, texts: list[np.ndarray]) -> np.ndarray:
    """The oracle: hidden state of the last token of each text alone, times the head's weights."""
    out = []
    with torch.no_grad():
        for text in texts:
            hidden = model.model(input_ids=torch.tensor([text.tolist()])).last_hidden_state[0, -1]
            out.append(float(hidden @ model.score.weight[0]))
    return np.array(out)


@pytest.mark.parametrize("pad", [0, 2, 7], ids=["a pad token", "pad is eos", "pad stands in the text"])
def test_reward_does_not_depend_on_the_pad_id(model: torch.nn.Module, pad: int) -> None:
    texts = [np.array(ids, dtype=np.int32) for ids in ([1, 7, 9, 2], [5, 7, 7, 7, 7, 2], [3, 2], [4, 8, 6, 7])]
    model.config.pad_token_id = pad
    rewards = compute_rewards(model, texts, PaddedBatches(pad), token_budget=1000)
    np.testing.assert_allclose(rewards, rewards_one_by_one(model, texts), atol=1e-6)


def test_stock_pooling_would_have_read_another_token(model: torch.nn.Module, tiny_base: Path) -> None:
    """The fault that the mask prevents: with pad == eos, transformers reads the reward one token early."""
    stock = transformers.AutoModelForSequenceClassification.from_pretrained(tiny_base, num_labels=1)
    stock.load_state_dict(model.state_dict())
    stock.config.pad_token_id = 2
    inputs = pad_right([np.array([1, 9, 2]), np.array([1, 9, 8, 4, 2])], 2)
    with torch.no_grad():
        early = stock.eval()(**inputs).logits[:, 0]
        ours = model(**inputs).logits[:, 0]
    assert (early - ours).abs().min() > 1e-4


@pytest.mark.parametrize(
    ("mask", "position"),
    [([1, 1, 1, 0], 2), ([0, 1, 1, 1], 3), ([1, 0, 0, 0], 0), ([1, 1, 1, 1], 3), ([1, 0, 1, 0], 2)],
)
def test_last_kept_position(mask: list[int], position: int) -> None:
    assert last_kept_position(torch.tensor([mask])).tolist() == [position]


def test_encoders_keep_their_own_pooling() -> None:
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, num_labels=1
    )
    encoder = transformers.BertForSequenceClassification(config).eval()
    inputs = pad_right([np.array([1, 2, 3]), np.array([1, 2])], 0)
    with torch.no_grad():
        before = encoder(**inputs).logits
        after = install_reward_forward(encoder)(**inputs).logits
    assert torch.equal(before, after)


def test_batches_respect_the_budget_and_hold_every_text_once() -> None:
    lengths = [5, 1, 9, 3, 9, 40, 2]
    batches = batches_by_length(lengths, token_budget=20)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert batches == [[5], [2, 4], [0, 3, 6, 1]]
    assert all(len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= 20 for batch in batches)


def test_pad_right_is_ids_then_padding() -> None:
    inputs = pad_right([np.array([4, 5, 6]), np.array([7])], 9)
    assert inputs["input_ids"].tolist() == [[4, 5, 6], [7, 9, 9]]
    assert inputs["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
