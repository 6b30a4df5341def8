"""A reward does not depend on its neighbours: longrope, dynamic NTK, models that read padding; and dropout is off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from architecture_zoo import ZOO, Architecture, make_tiny
from checkpoint_maker import make_checkpoint

from conftest import make_tokenizer
from rewardsmith import share_prefixes
from rewardsmith.errors import ModelError
from rewardsmith.modeling import reward_head
from rewardsmith.modeling.inference import compute_rewards
from rewardsmith.modeling.layouts import PaddedBatches, PairIds, choose_layout
from rewardsmith.modeling.loading import load_base
from rewardsmith.modeling.paths import alone
from rewardsmith.modeling.regimes import find_regimes, regimes_of
from rewardsmith.modeling.reward_head import install_reward_forward
from rewardsmith.pipeline.commands.verify import verify_job
from rewardsmith.pipeline.events import Silent
from rewardsmith.spec import Spec
from rewardsmith.training.trl_backend import _refuse_parted

PAD = 0


def zoo(title: str) -> Architecture:
    return next(one for one in ZOO if one.title == title)


def load(title: str, folder: Path, **spec: Any) -> Any:
    base = make_tiny(zoo(title), folder)
    model = load_base(Spec.model_validate({"base_model": {"id": str(base)}, **spec}), base, make_tokenizer(), seed=1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 2 and "layer" in name:
                weight.mul_(5)  # attention that matters
            elif name.startswith("score"):
                weight.normal_(std=0.5)
    return model.eval()


def texts(*lengths: int) -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    return [draw.integers(3, 400, length).astype(np.int32) for length in lengths]


def by_definition(model: Any, ids: np.ndarray, long: bool) -> float:
    """The reward of one text with the frequencies that its length asks for, set by hand, through the plain decoder."""
    rotary = next(module for module in model.modules() if hasattr(module, "rope_type"))
    settings = rotary.config.rope_parameters
    width = torch.arange(0, 8, 2).float() / 8
    if settings["rope_type"] == "longrope":
        factors = torch.tensor(settings["long_factor" if long else "short_factor"])
        frequencies = 1 / (factors * settings["rope_theta"] ** width)
    else:
        most = rotary.config.max_position_embeddings
        stretch = settings["factor"] * max(len(ids), most) / most - (settings["factor"] - 1)
        frequencies = 1 / (settings["rope_theta"] * stretch ** (8 / 6)) ** width
    positions = torch.arange(len(ids)).float()[:, None] * frequencies
    both = torch.cat([positions, positions], -1)
    scale = rotary.attention_scaling
    handle = rotary.register_forward_hook(lambda *_: ((both.cos() * scale)[None], (both.sin() * scale)[None]))
    try:
        with torch.no_grad():
            hidden = model.model(input_ids=torch.from_numpy(ids)[None].long(), use_cache=False).last_hidden_state
    finally:
        handle.remove()
    return float(model.score(hidden[0, -1]).detach())


@pytest.mark.parametrize("title", ["phi3 longrope", "llama dynamic NTK"])
@pytest.mark.parametrize("layout", ["padded", "tree"])
def test_each_text_has_its_own_frequencies(tmp_path: Path, title: str, layout: str) -> None:
    model = load(title, tmp_path)
    several = texts(100, 20, 49, 48, 12, 100, 70)
    wanted = [by_definition(model, ids, long=len(ids) > 48) for ids in several]
    found = compute_rewards(model, several, choose_layout(layout, model, PAD), token_budget=1000)
    np.testing.assert_allclose(found, wanted, atol=2e-5)
    backwards = compute_rewards(model, several[::-1], choose_layout(layout, model, PAD), token_budget=1000)
    np.testing.assert_allclose(backwards[::-1], wanted, atol=2e-5)


@pytest.mark.parametrize("title", ["phi3 longrope", "llama dynamic NTK"])
def test_the_planted_fault_is_large(tmp_path: Path, title: str) -> None:
    """What stock transformers gives in one batch: the test above would see it."""
    model = load(title, tmp_path)
    one, short = texts(100, 20)
    batch = torch.zeros(2, 100, dtype=torch.long)
    batch[0], batch[1, :20] = torch.from_numpy(one), torch.from_numpy(short)
    mask = torch.ones(2, 100, dtype=torch.long)
    mask[1, 20:] = 0
    with torch.no_grad():
        stock = type(model).forward(model, input_ids=batch, attention_mask=mask).logits[1, 0]
    assert abs(float(stock) - by_definition(model, short, long=False)) > 1e-3


@pytest.mark.parametrize("title", ["phi3 longrope", "llama dynamic NTK"])
@pytest.mark.parametrize("layout", ["padded", "tree"])
def test_pairs_of_a_step_have_the_rewards_and_gradients_of_each_text_alone(
    tmp_path: Path, title: str, layout: str
) -> None:
    model = load(title, tmp_path)
    chosen, rejected = texts(100, 20, 30, 60), texts(80, 90, 21, 12)
    pairs = [PairIds(one, other) for one, other in zip(chosen, rejected, strict=True)]
    wanted = [by_definition(model, ids, long=len(ids) > 48) for ids in (*chosen, *rejected)]
    found, seen = np.full(8, np.nan), []
    for part in choose_layout(layout, model, PAD).cut(pairs, 1000):
        rewards = model(**part.inputs()).logits[:, 0]
        (-torch.nn.functional.logsigmoid(rewards[: len(part.indices)] - rewards[len(part.indices) :])).sum().backward()
        found[[*part.indices, *(4 + index for index in part.indices)]] = rewards.detach().numpy()
        seen += part.indices
    assert sorted(seen) == [0, 1, 2, 3]
    np.testing.assert_allclose(found, wanted, atol=2e-5)
    head = model.score.weight.grad.clone()
    model.zero_grad()
    for one, other in pairs:
        first, second = (model(input_ids=torch.from_numpy(ids)[None].long()).logits[0, 0] for ids in (one, other))
        (-torch.nn.functional.logsigmoid(first - second)).backward()
    torch.testing.assert_close(head, model.score.weight.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("title", ["xlnet", "fnet"])
def test_models_that_read_padding_get_none(tmp_path: Path, title: str) -> None:
    model = load(title, tmp_path)
    assert regimes_of(model).alone
    several = texts(30, 5, 17, 5, 29)
    with torch.no_grad():
        wanted = [float(type(model).forward(model, torch.from_numpy(ids)[None].long()).logits) for ids in several]
    found = compute_rewards(model, several, PaddedBatches(PAD), token_budget=1000)
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("title", ["bert", "llama", "deberta-v2", "mpt", "falcon alibi"])
def test_models_whose_texts_stand_for_themselves_are_not_parted(tmp_path: Path, title: str) -> None:
    assert regimes_of(load(title, tmp_path)) is None


@pytest.mark.parametrize("title", ["gpt2", "opt", "llama", "phi3 longrope", "bloom"])
def test_padding_on_the_left_moves_nothing(tmp_path: Path, title: str) -> None:
    model = load(title, tmp_path)
    several = texts(60, 7, 31)
    batch, mask = torch.zeros(3, 60, dtype=torch.long), torch.zeros(3, 60, dtype=torch.long)
    for row, ids in enumerate(several):
        batch[row, 60 - len(ids) :], mask[row, 60 - len(ids) :] = torch.from_numpy(ids), 1
    with torch.no_grad():
        found = model(input_ids=batch, attention_mask=mask).logits[:, 0].numpy()
    np.testing.assert_allclose(found, alone(model, several), atol=1e-5)


def test_a_row_of_trees_in_a_script_of_ones_own_is_refused_for_longrope(tmp_path: Path) -> None:
    make_tiny(zoo("phi3 longrope"), tmp_path)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=1)
    with pytest.raises(ModelError, match="up to 48 tokens with longer ones"):
        share_prefixes(model)
    assert find_regimes(install_reward_forward(model)).key(48) != find_regimes(model).key(49)


DROPPING = {
    "opt": {"dropout": 0.5, "attention_dropout": 0.5, "layerdrop": 0.5},
    "llama": {"attention_dropout": 0.5},
    "falcon": {"attention_dropout": 0.5, "hidden_dropout": 0.5},
    "bert": {"hidden_dropout_prob": 0.5, "attention_probs_dropout_prob": 0.5, "classifier_dropout": 0.5},
    "gpt2": {"attn_pdrop": 0.5, "embd_pdrop": 0.5, "resid_pdrop": 0.5},
    "mixtral": {"attention_dropout": 0.5, "router_jitter_noise": 0.5},
    "phimoe": {"attention_dropout": 0.5, "input_jitter_noise": 0.5},
    "deberta-v2": {"hidden_dropout_prob": 0.5, "attention_probs_dropout_prob": 0.5, "pooler_dropout": 0.5},
}


@pytest.mark.parametrize("title", DROPPING)
def test_a_forward_in_training_is_the_forward_in_evaluation(tmp_path: Path, title: str) -> None:
    known = zoo(title)
    dropping = Architecture(title, known.config | DROPPING[title])
    base = make_tiny(dropping, tmp_path)
    stock = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    several = torch.from_numpy(np.stack(texts(40, 40))).long()
    with torch.no_grad():
        drawn = [stock.train()(input_ids=several).logits for _ in range(2)]
        assert not torch.equal(*drawn), "the planted fault: stock transformers drops in training"
        model = load_base(Spec(base_model={"id": str(base)}), base, make_tokenizer(), seed=1)
        wanted = model.eval()(input_ids=several).logits
        for _ in range(2):
            assert torch.equal(model.train()(input_ids=several).logits, wanted)


def test_the_adapters_own_dropout_stays_on(tmp_path: Path) -> None:
    base = make_tiny(zoo("llama"), tmp_path)
    spec = Spec.model_validate(
        {"base_model": {"id": str(base)}, "adapter": {"kind": "lora", "rank": 4, "dropout": 0.5}}
    )
    model = load_base(spec, base, make_tokenizer(), seed=1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_()
        ids = torch.from_numpy(texts(40)[0])[None].long()
        assert not torch.equal(*(model.train()(input_ids=ids).logits for _ in range(2)))
        assert torch.equal(*(model.eval()(input_ids=ids).logits for _ in range(2)))


@pytest.mark.parametrize("adapter", ["none", "lora"])
def test_no_weight_is_trained_in_float16(tmp_path: Path, adapter: str, caplog: pytest.LogCaptureFixture) -> None:
    base = make_tiny(zoo("llama"), tmp_path)
    model = transformers.AutoModel.from_pretrained(base, dtype=torch.float16)
    model.save_pretrained(base)
    assert transformers.AutoModel.from_pretrained(base, dtype="auto").dtype == torch.float16
    spec = Spec.model_validate({"base_model": {"id": str(base), "dtype": "auto"}, "adapter": {"kind": adapter}})
    loaded = load_base(spec, base, make_tokenizer(), seed=1)
    assert "its float16 weights are trained, and kept, in float32" in caplog.text
    assert {weight.dtype for weight in loaded.parameters()} == {torch.float32}
    wanted = dict(model.named_parameters())["layers.0.mlp.up_proj.weight"].float()
    found = [weight for name, weight in loaded.named_parameters() if "0.mlp.up_proj" in name and "lora" not in name]
    assert [torch.equal(weight, wanted) for weight in found] == [True]


def test_verify_asks_long_texts_alone_and_in_company(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = make_tiny(zoo("phi3 longrope"), tmp_path / "base")
    folder = make_checkpoint(tmp_path / "model", base)
    record = verify_job(folder, Silent(), device="cpu")
    assert [(one.field, one.value, one.fails) for one in record.findings] == [("rope_parameters", "48", False)]
    clean = {path.path: path for path in record.paths}
    assert {clean[name].verdict for name in ("recorded", "padded", "saved template", "transformers", "tree")} == {
        "PASS"
    }
    monkeypatch.setattr(reward_head, "find_regimes", lambda _: None)  # the planted fault: the batch decides
    spoilt = {path.path: path.verdict for path in verify_job(folder, Silent(), device="cpu").paths}
    assert spoilt["padded"] == "FAIL"


def test_installing_twice_finds_the_same(tmp_path: Path) -> None:
    model = load("xlnet", tmp_path)
    several = texts(30, 5, 17)
    wanted = compute_rewards(model, several, PaddedBatches(PAD), token_budget=1000)
    install_reward_forward(model)
    assert regimes_of(model).alone
    np.testing.assert_array_equal(compute_rewards(model, several, PaddedBatches(PAD), token_budget=1000), wanted)


def test_shares_of_weights_and_texts_of_two_regimes_do_not_go_together(tmp_path: Path) -> None:
    regimes = regimes_of(load("phi3 longrope", tmp_path))
    short, long = texts(48, 49)
    _refuse_parted(regimes, [PairIds(short, short)])
    _refuse_parted(None, [PairIds(short, long)])
    with pytest.raises(ModelError, match="texts lie on both sides") as caught:
        _refuse_parted(regimes, [PairIds(short, long)])
    assert caught.value.where == "hardware.sharding"
