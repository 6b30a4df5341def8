"""The embedded base model: its tokenizer's rules, and a build that is whole, cached and repeatable."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from rewardsmith import samples
from rewardsmith.samples import Sizes, base_model
from rewardsmith.samples.base_model import SPECIAL_TOKENS, Recipe, Shape, build_base_model, build_tokenizer, warm_up
from rewardsmith.samples.facts import CATEGORIES as GROUPS
from rewardsmith.samples.facts import RELATIONS
from rewardsmith.samples.generator import best_of_n_rows, warm_up_texts

SIZES = Sizes(train_blocks=2, held_out_blocks=2, row_blocks=2, ties=4, warm_up_blocks=24)
SHAPE = Shape(vocabulary=600, width=32, inner_width=64, layers=2, heads=2)
TALK = [
    {"role": "user", "content": "Add 3 and 4."},
    {"role": "assistant", "content": "It is 7."},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_base_model(tmp_path_factory.mktemp("cache"), seed=0, sizes=SIZES, shape=SHAPE)


@pytest.fixture(scope="module")
def tokenizer(folder: Path):
    return AutoTokenizer.from_pretrained(folder)


def test_special_tokens_are_distinct_and_there_is_no_bos(tokenizer) -> None:
    assert (tokenizer.pad_token, tokenizer.eos_token, tokenizer.bos_token) == ("<|pad|>", "<|end|>", None)
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == [0, 1, 2, 3, 4]
    assert tokenizer.padding_side == "right"


def test_a_conversation_ends_with_its_only_last_eos(tokenizer) -> None:
    ids = tokenizer.apply_chat_template(TALK, tokenize=True, return_dict=False)
    text = tokenizer.apply_chat_template(TALK, tokenize=False)
    assert text == "<|user|>Add 3 and 4.<|end|><|assistant|>It is 7.<|end|>"
    assert ids[-1] == tokenizer.eos_token_id
    assert ids.count(tokenizer.eos_token_id) == 2
    # Tokenised with special tokens, as other programs do it, nothing doubles.
    assert tokenizer(text)["input_ids"] == ids


def test_a_generation_prompt_opens_the_assistants_turn(tokenizer) -> None:
    text = tokenizer.apply_chat_template(TALK[:1], tokenize=False, add_generation_prompt=True)
    assert text == "<|user|>Add 3 and 4.<|end|><|assistant|>"


def test_system_turns_are_known_and_other_roles_refused(tokenizer) -> None:
    system = {"role": "system", "content": "Be brief."}
    assert tokenizer.apply_chat_template([system, *TALK], tokenize=False).startswith(
        "<|system|>Be brief.<|end|><|user|>"
    )
    with pytest.raises(Exception, match="the roles are system, user and assistant, not tool"):
        tokenizer.apply_chat_template([{"role": "tool", "content": "x"}], tokenize=False)


@pytest.mark.parametrize("text", ["Hello", "naïve café ☕", "  two  spaces\nand a line", "日本語", "\t{}[]\\"])
def test_any_text_survives_the_tokenizer(tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_the_tokenizer_is_the_same_every_time() -> None:
    texts = [text for pair in warm_up_texts(seed=0, sizes=SIZES) for text in pair]
    first, second = (build_tokenizer(texts, 600).backend_tokenizer.to_str() for _ in range(2))
    assert first == second


def test_most_answers_are_single_tokens() -> None:
    texts = [text for pair in warm_up_texts(seed=0) for text in pair]
    tokenizer = build_tokenizer(texts, base_model.DEFAULT_SHAPE.vocabulary)
    names = [a for r in RELATIONS.values() for a in r.answers.values()] + [
        m for g in GROUPS.values() for m in g.members
    ]
    names += [str(number) for number in range(1, 24)]
    assert sum(len(tokenizer(f" {name}")["input_ids"]) == 1 for name in names) > 0.7 * len(names)


def test_the_checkpoint_loads_as_a_language_model_and_as_a_reward_model(folder: Path, tokenizer) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.config.model_type == "qwen3"
    assert (model.config.pad_token_id, model.config.eos_token_id, model.config.bos_token_id) == (0, 1, None)
    assert model.config.vocab_size == len(tokenizer)
    assert next(model.parameters()).dtype == torch.float32
    reward_model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)
    assert reward_model.score.weight.shape == (1, SHAPE.width)
    for name, weights in model.model.state_dict().items():
        assert torch.equal(weights, reward_model.model.state_dict()[name])


def test_the_default_has_a_few_million_parameters() -> None:
    shape = base_model.DEFAULT_SHAPE
    attention, mlp = 4 * shape.width**2, 3 * shape.width * shape.inner_width
    assert 2e6 < shape.vocabulary * shape.width + shape.layers * (attention + mlp) < 4e6


def test_a_second_call_finds_the_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("built twice")

    monkeypatch.setattr(base_model, "_build", never)
    assert build_base_model(folder.parent, seed=0, sizes=SIZES, shape=SHAPE) == folder
    with pytest.raises(AssertionError, match="built twice"):
        build_base_model(folder.parent, seed=1, sizes=SIZES, shape=SHAPE)


def test_a_rebuild_gives_the_same_weights_and_leaves_the_callers_random_numbers(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    again = build_base_model(tmp_path, seed=0, sizes=SIZES, shape=SHAPE)
    assert torch.equal(torch.rand(3), expected)
    for name in ("model.safetensors", "tokenizer.json"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()
    assert json.loads((again / "config.json").read_text()) == json.loads((folder / "config.json").read_text())


def test_progress_counts_to_the_end(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    build_base_model(
        tmp_path, seed=2, sizes=SIZES, shape=SHAPE, progress=lambda done, total: calls.append((done, total))
    )
    # 24 blocks of 4 texts for each of six subsets, 16 texts a step.
    assert calls == [(step, 36) for step in range(1, 37)]


def test_the_warm_up_learns_the_right_answers(tmp_path: Path) -> None:
    """After a pass over 40 equal questions the model prefers the answer that it read."""
    tokenizer = build_tokenizer(["Add 3 and 4.", "It is 7."], 300)
    texts = [base_model._encode(tokenizer, "Add 3 and 4.", "It is 7.")] * 40
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(base_model._config(tokenizer, SHAPE))
    warm_up(model, texts, Recipe(texts_per_step=2), seed=0, pad_token_id=0)
    ids, n_prompt = texts[0]
    with torch.no_grad():
        predicted = model(torch.tensor([ids])).logits[0].argmax(-1).tolist()
    assert predicted[n_prompt - 1 : -1] == ids[n_prompt:]


def test_the_prompt_weighs_what_the_recipe_says() -> None:
    tokenizer = build_tokenizer(["Add 3 and 4.", "It is 7."], 300)
    ids, n_prompt = base_model._encode(tokenizer, "Add 3 and 4.", "It is 7.")
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(base_model._config(tokenizer, SHAPE)).eval()
    from rewardsmith.samples.base_model import _loss

    with torch.no_grad():
        # The reference: logits over the whole sequence, weights by hand, beside a shorter text that needs padding.
        log_probabilities = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        losses = [-float(log_probabilities[t, ids[t + 1]]) for t in range(len(ids) - 1)]
        short = [-float(log_probabilities[t, ids[t + 1]]) for t in range(2)]
        weights = [0.25 if t + 1 < n_prompt else 1.0 for t in range(len(losses))]
        expected = (sum(w * x for w, x in zip(weights, losses, strict=True)) + 0.25 * sum(short)) / (sum(weights) + 0.5)
        found = _loss(model, [(ids, n_prompt), (ids[:3], 3)], 0.25, pad_token_id=0)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_what_the_base_reads_holds_no_held_out_prompt() -> None:
    asked = {row["prompt"] for row in best_of_n_rows(seed=0)}
    assert not any(prompt in asked for prompt, _ in warm_up_texts(seed=0))


def test_the_package_gives_the_builder_and_refuses_unknown_names() -> None:
    assert samples.build_base_model is build_base_model
    with pytest.raises(AttributeError, match="no attribute 'build_nothing'"):
        _ = samples.build_nothing
