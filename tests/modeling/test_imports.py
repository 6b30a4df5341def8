"""Checkpoints of other programs are read as those programs read them, or refused with a reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers
from checkpoint_maker import make_checkpoint
from foreign_maker import UNCLOSED, make_openrlhf, make_published, openrlhf_rewards, published_rewards
from safetensors.torch import load_file, save_file

from conftest import make_pairs
from rewardsmith.errors import ModelError, RenderingError
from rewardsmith.modeling.checkpoint import golden_conversations, open_checkpoint
from rewardsmith.modeling.loading import load_base, load_config
from rewardsmith.modeling.stored import describe_foreign
from rewardsmith.pipeline.commands.explain import explain_job
from rewardsmith.pipeline.commands.verify import verify_job
from rewardsmith.pipeline.events import Silent
from rewardsmith.rendering import load_renderer
from rewardsmith.scoring import LocalScorer
from rewardsmith.spec import Spec
from rewardsmith.types import Conversation, Message

CONVERSATIONS: list[Conversation] = [
    *golden_conversations(conversational=True),
    *(pair.prompt + pair.chosen for pair in make_pairs(6, seed=8)),
    (Message("user", "Say red."), Message("assistant", "red \n\n")),
]


@pytest.mark.parametrize("template", ["", UNCLOSED], ids=["ChatML", "a template without EOS"])
@pytest.mark.parametrize("prefix", ["score", "value_head", "regression_head"])
def test_openrlhf_gives_its_own_rewards(tmp_path: Path, prefix: str, template: str) -> None:
    """`mean` and `std` stand in its config and change nothing."""
    folder = make_openrlhf(tmp_path / "rm", prefix, template=template)
    wanted = openrlhf_rewards(folder, prefix, CONVERSATIONS)
    assert LocalScorer.load(folder).score(CONVERSATIONS).tolist() == pytest.approx(wanted, abs=1e-5)


def test_openrlhf_without_a_template_takes_plain_text(tmp_path: Path) -> None:
    folder = make_openrlhf(tmp_path / "rm", "value_head", template=None)
    texts: list[Conversation] = [(Message("text", text),) for text in ("Human: hi\nAssistant: hello\n", "no")]
    wanted = openrlhf_rewards(folder, "value_head", texts)
    assert LocalScorer.load(folder).score(texts).tolist() == pytest.approx(wanted, abs=1e-5)


def test_what_openrlhf_says_is_kept(tmp_path: Path) -> None:
    foreign = describe_foreign(load_config(make_openrlhf(tmp_path / "rm", "value_head", mean=0.5, std=3.0)))
    assert (foreign.trainer, foreign.closing, foreign.max_length) == ("openrlhf", "openrlhf", 300)
    assert foreign.normalization is not None
    assert (foreign.normalization["mean"], foreign.normalization["std"]) == (0.5, 3.0)


@pytest.mark.parametrize("family", ["llama", "llama without bos", "gemma2", "qwen3"])
def test_a_published_classifier_gives_the_rewards_of_its_model_card(tmp_path: Path, family: str) -> None:
    """Gemma's and Qwen's templates end with a line break, and there their trainers read the reward."""
    folder = make_published(tmp_path / "rm", family)
    scorer = LocalScorer.load(folder)
    wanted = published_rewards(folder, CONVERSATIONS)
    assert scorer.score(CONVERSATIONS).tolist() == pytest.approx(wanted, abs=1e-5)
    assert scorer.checkpoint.renderer.record.closing == "shipped"
    assert scorer.checkpoint.renderer.max_length == 300


def test_a_pad_token_that_is_eos_gives_way(tmp_path: Path) -> None:
    """The vocabulary grows by a token that no text has; what is scored in one batch is what is scored alone."""
    folder = make_published(tmp_path / "rm", "qwen3")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"pad_token": settings["eos_token"]}))
    vocabulary = (folder / "tokenizer.json").read_text().replace("<|pad|>", "<|other|>")
    (folder / "tokenizer.json").write_text(vocabulary)
    scorer = LocalScorer.load(folder, layout="padded")
    together = scorer.score(CONVERSATIONS)
    alone = [scorer.score([conversation])[0] for conversation in CONVERSATIONS]
    assert scorer.checkpoint.renderer.pad_token_id != scorer.checkpoint.renderer.eos_token_id
    assert together.tolist() == pytest.approx(alone, abs=1e-5)


def test_our_own_checkpoints_stay_ours(tmp_path: Path, tiny_base: Path) -> None:
    opened = open_checkpoint(make_checkpoint(tmp_path / "model", tiny_base))
    assert opened.foreign is None
    assert opened.renderer.record.closing == "eos"


@pytest.mark.parametrize("lost", ["value_head.bias", "score.bias"])
def test_a_head_with_more_than_one_matrix_is_refused(tmp_path: Path, lost: str) -> None:
    folder = make_openrlhf(tmp_path / "rm", lost.partition(".")[0])
    weights = load_file(folder / "model.safetensors")
    save_file(weights | {lost: torch.ones(1)}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"score\.bias.*one linear layer") as caught:
        open_checkpoint(folder)
    assert "try: " in str(caught.value)


def test_a_base_model_is_no_reward_model(tiny_base: Path) -> None:
    with pytest.raises(ModelError, match=r"lacks score\.weight"):
        open_checkpoint(tiny_base)


def test_a_published_classifier_without_a_template_is_refused(tmp_path: Path) -> None:
    folder = make_published(tmp_path / "rm", "qwen3")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(RenderingError, match="no chat template"):
        open_checkpoint(folder)


def test_a_bos_that_only_the_tokenizer_adds_is_not_read_and_both_rewards_are_shown(tmp_path: Path) -> None:
    """TRL trains on `apply_chat_template(tokenize=True)`; with special tokens the reward is that behind a BOS."""
    folder = make_published(tmp_path / "rm", "llama without bos")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    messages = [{"role": "user", "content": "Say red."}, {"role": "assistant", "content": "red"}]
    trained = tokenizer.apply_chat_template(messages, return_dict=False)
    plainly = tokenizer(tokenizer.apply_chat_template(messages, tokenize=False))["input_ids"]
    assert plainly == [tokenizer.bos_token_id, *trained]
    with torch.no_grad():
        without, behind = (float(model(torch.tensor([ids])).logits[0, 0]) for ids in (trained, plainly))
    assert abs(without - behind) > 1e-3
    asked = tmp_path / "asked.jsonl"
    asked.write_text(json.dumps({"messages": messages}))
    (text,) = explain_job(folder, asked, device="cpu").texts
    assert (text.reward, text.reward_with_bos) == (pytest.approx(without, abs=1e-5), pytest.approx(behind, abs=1e-5))
    assert text.bos == 0
    record = verify_job(folder, Silent(), device="cpu", made_up=2)
    assert next(path for path in record.paths if path.path == "saved template").verdict == "PASS"
    (note,) = record.notes
    assert note.startswith("the template writes no BOS, and the tokenizer adds one to plain text")


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_where_bos_is_written_or_none_is_added_there_is_one_number(tmp_path: Path, family: str) -> None:
    folder = make_published(tmp_path / "rm", family)
    asked = tmp_path / "asked.jsonl"
    asked.write_text(json.dumps({"prompt": "Say red.", "response": "red"}))
    (text,) = explain_job(folder, asked, device="cpu").texts
    assert text.reward_with_bos is None
    assert verify_job(folder, Silent(), device="cpu", made_up=0).notes == ()


@pytest.mark.parametrize(("size", "said"), [(300, "78 tokens without a row"), (900, "of another model")])
def test_the_tokenizer_of_another_model_is_refused(tmp_path: Path, tiny_base: Path, size: int, said: str) -> None:
    """378 tokens for 300 embeddings, or for 900."""
    folder = make_published(tmp_path / "rm", "qwen3")
    config = transformers.AutoConfig.from_pretrained(folder)
    config.vocab_size = size
    transformers.AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    with pytest.raises(ModelError, match=said):
        LocalScorer.load(folder)
    base = tmp_path / "base"
    transformers.Qwen3ForCausalLM(config).save_pretrained(base)
    transformers.AutoTokenizer.from_pretrained(tiny_base).save_pretrained(base)
    spec = Spec(base_model={"id": str(base)})
    with pytest.raises(ModelError, match=rf"378 tokens and the model {size} embeddings.*of another model"):
        load_base(spec, base, load_renderer(base, max_length=99).tokenizer, seed=1)
