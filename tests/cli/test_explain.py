"""`rewardsmith explain`: ids and rewards are those that scoring sees, at every token; what cannot be used says why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoint_maker import make_checkpoint
from cli_world import World

from conftest import make_tokenizer
from rewardsmith.pipeline.commands.explain import _jumps, explain_job
from rewardsmith.report.formatting import signed
from rewardsmith.scoring import LocalScorer, local
from rewardsmith.scoring.local import running_rewards
from rewardsmith.types import Message

PROMPT = "Say red and green."
TURNS = [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": "red and blue"}]
PAIR = {"prompt": PROMPT, "chosen": "red green stone", "rejected": "red river"}


@pytest.fixture(scope="module")
def model(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("made") / "model", tiny_base)


@pytest.fixture
def world(
    tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> World:
    return World(tmp_path, tiny_base, capsys, monkeypatch)


def write(folder: Path, *rows: Any, name: str = "in.jsonl") -> Path:
    path = folder / name
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    return path


def test_the_last_running_reward_is_the_reward_and_each_one_is_that_of_its_prefix(model: Path) -> None:
    scorer = LocalScorer.load(model)
    conversation = tuple(Message(turn["role"], turn["content"]) for turn in TURNS)
    ids = scorer.checkpoint.renderer.ids(conversation)
    found = running_rewards(scorer, ids)
    alone = [float(scorer.score_ids([ids[: end + 1]])[0]) for end in range(len(ids))]
    np.testing.assert_allclose(found.rewards, alone, atol=1e-5)
    assert found.rewards[-1] == pytest.approx(scorer.score([conversation])[0], abs=1e-5)
    assert np.ptp(found.rewards) > 0.1  # the rewards differ, so that equality says something
    assert found.method.startswith("one forward pass")


def test_a_plain_layout_gives_the_same(model: Path) -> None:
    ids = np.arange(5, 40, dtype=np.int32)
    tree, padded = (LocalScorer.load(model, layout=layout) for layout in ("auto", "padded"))
    np.testing.assert_allclose(running_rewards(tree, ids).rewards, running_rewards(padded, ids).rewards, atol=1e-5)


def test_an_encoder_is_computed_prefix_by_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=400, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=32, num_labels=1
    )
    bert = transformers.BertForSequenceClassification(config)
    bert.classifier.weight.data.normal_(std=1.0)
    bert.save_pretrained(tmp_path / "bert")
    make_tokenizer().save_pretrained(tmp_path / "bert")
    scorer = LocalScorer.load(tmp_path / "bert")
    ids = np.arange(5, 25, dtype=np.int32)
    found = running_rewards(scorer, ids)
    alone = [float(scorer.score_ids([ids[: end + 1]])[0]) for end in range(20)]
    np.testing.assert_allclose(found.rewards, alone, atol=1e-5)
    assert found.method == "each prefix on its own: the model is not causal"
    monkeypatch.setattr(local, "MOST_PREFIXES", 3)
    short = running_rewards(scorer, ids)
    assert np.isnan(short.rewards[:17]).all()
    np.testing.assert_allclose(short.rewards[17:], alone[17:], atol=1e-5)
    assert short.method.endswith("the last 3 of 20 only")
    record = explain_job(tmp_path / "bert", write(tmp_path, {"messages": TURNS}), device="cpu")
    assert record.texts[0].pooling_position is None
    assert record.texts[0].tokens[0].reward is None


def test_one_conversation(model: Path, tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    record = explain_job(model, write(tmp_path, {"messages": TURNS}), device="cpu")
    (text,) = record.texts
    expected = f"<|im_start|>user\n{PROMPT}<|im_end|>\n<|im_start|>assistant\nred and blue<|im_end|>"
    assert text.text == expected
    ids = tokenizer(expected)["input_ids"]
    assert [token.id for token in text.tokens] == ids
    assert [token.token for token in text.tokens] == tokenizer.convert_ids_to_tokens(ids)
    assert "".join(token.text for token in text.tokens) == expected
    assert (text.ends_with_eos, text.eos_doubled, text.bos, text.cut) == (True, False, 0, 0)
    assert text.eos_positions == tuple(i for i, token in enumerate(ids) if token == tokenizer.eos_token_id)
    assert len(text.eos_positions) == 2  # of both turns
    assert text.pooling_position == len(ids) - 1
    header = tokenizer(expected.split("red and blue")[0])["input_ids"]
    assert text.response_start == len(header)
    assert text.reward == text.tokens[-1].reward
    changes = [b.reward - a.reward for a, b in zip(text.tokens, text.tokens[1:], strict=False)]
    assert [token.change for token in text.tokens] == [None, *changes]
    assert all(position >= text.response_start for position in text.jumps)
    assert (record.first_difference, record.margin) == (None, None)


def test_every_form_of_the_same_conversation_is_explained_alike(model: Path, tmp_path: Path) -> None:
    forms = [
        {"messages": TURNS},
        {"prompt": PROMPT, "response": "red and blue"},
        {"prompt": TURNS[:1], "response": TURNS[1:]},
        {"messages": [{"from": "human", "value": PROMPT}, {"from": "gpt", "value": "red and blue"}]},
    ]
    path = write(tmp_path, *forms)
    records = [explain_job(model, path, row=row, device="cpu") for row in range(1, 5)]
    assert len({record.texts for record in records}) == 1
    assert [record.source for record in records] == [f"{path}:{line}" for line in range(1, 5)]
    whole = tmp_path / "one.json"
    whole.write_text(json.dumps(forms[0], indent=2))
    assert explain_job(model, whole, device="cpu").texts == records[0].texts
    listed = tmp_path / "list.json"
    listed.write_text(json.dumps(forms))
    assert explain_job(model, listed, row=3, device="cpu").texts == records[0].texts


def test_a_pair_has_a_margin_and_the_place_where_it_parts(model: Path, tmp_path: Path) -> None:
    record = explain_job(model, write(tmp_path, PAIR), device="cpu")
    chosen, rejected = record.texts
    assert (chosen.name, rejected.name) == ("chosen", "rejected")
    sides = [[token.id for token in side.tokens] for side in record.texts]
    differs = [index for index, (a, b) in enumerate(zip(*sides, strict=False)) if a != b]
    assert record.first_difference == differs[0] > chosen.response_start
    prompt = (Message("user", PROMPT),)
    texts = [(*prompt, Message("assistant", PAIR[side])) for side in ("chosen", "rejected")]
    rewards = LocalScorer.load(model).score(texts)
    assert record.margin == pytest.approx(rewards[0] - rewards[1], abs=1e-5)
    shared = [(a.reward, b.reward) for a, b in zip(chosen.tokens, rejected.tokens, strict=False)][: differs[0]]
    np.testing.assert_allclose(*zip(*shared, strict=True), atol=1e-5)  # up to there both are one text


def test_what_the_length_policy_cut_is_shown(tiny_base: Path, tmp_path: Path) -> None:
    model = make_checkpoint(tmp_path / "model", tiny_base, max_length=30, over_length="truncate_prompt")
    prompt = " ".join(["river", "cloud", "seven"] * 12)
    record = explain_job(model, write(tmp_path, {"prompt": prompt, "response": "red"}), device="cpu")
    (text,) = record.texts
    whole = make_tokenizer()(text.text)["input_ids"]
    assert len(text.tokens) == 30
    assert text.cut == len(whole) - 30
    assert text.cut_text == make_tokenizer().decode(whole[: text.cut])
    assert [token.id for token in text.tokens] == whole[text.cut :]
    assert "".join(token.text for token in text.tokens[text.response_start :]) == "red<|im_end|>"


def test_a_model_of_plain_text(tiny_base: Path, tmp_path: Path) -> None:
    model = make_checkpoint(tmp_path / "model", tiny_base, conversational=False)
    record = explain_job(model, write(tmp_path, {"prompt": "Q: ", "response": "red"}), device="cpu")
    assert record.texts[0].text == "Q: red<|im_end|>"


def test_jumps_are_the_largest_changes_of_the_response() -> None:
    rewards = np.array([9.0, 0.0, 1.0, 5.0, 4.5, *[4.5] * 6])  # the prompt's own jump is larger
    assert _jumps(rewards, 2) == (3, 2, 4)
    assert _jumps(rewards[:6], 2) == (3,)  # at most a third of four tokens, but one
    assert _jumps(np.array([np.nan, np.nan, 1.0, 2.0]), 1) == (3,)


def test_the_terminal_shows_tokens_and_marks_jumps(world: World, model: Path, tmp_path: Path) -> None:
    path = write(tmp_path, PAIR)
    answer = world("explain", "--model", str(model), "--input", str(path), "--device", "cpu")
    assert answer.code == 0, answer.err
    record = explain_job(model, path, device="cpu")
    for text in record.texts:
        assert f"{signed(text.reward, 4)}, read at token {text.pooling_position}" in answer.out
    assert f"margin (chosen − rejected): {signed(record.margin, 4)}" in answer.out
    assert f"differ from token {record.first_difference} on" in answer.out
    assert answer.out.count("▲") + answer.out.count("▼") == sum(len(text.jumps) for text in record.texts)
    assert "yes, <|im_end|> at" in answer.out
    shown = world("explain", "--model", str(model), "--input", str(path), "--device", "cpu", "--json").json()
    assert shown["margin"] == record.margin


def test_a_long_response_is_shown_around_its_jumps(world: World, model: Path, tmp_path: Path) -> None:
    path = write(tmp_path, {"prompt": PROMPT, "response": "qzx " * 40})
    answer = world("explain", "--model", str(model), "--input", str(path), "--device", "cpu")
    assert answer.code == 0, answer.err
    assert len(answer.out.splitlines()) < 80
    assert answer.out.count("▲") + answer.out.count("▼") == 8
    assert "tokens …" in answer.out


def test_control_characters_do_not_reach_the_terminal(world: World, model: Path, tmp_path: Path) -> None:
    path = write(tmp_path, {"prompt": PROMPT, "response": "\u001b[31mred\u202e [bold]x[/bold]"})
    answer = world("explain", "--model", str(model), "--input", str(path), "--device", "cpu")
    assert answer.code == 0, answer.err
    assert "\u001b[31m" not in answer.out
    assert "\u202e" not in answer.out
    assert "[bold]x[/bold]" in answer.out


LONG = {"prompt": PROMPT, "response": "river " * 300}
MISTAKES = {
    "no such file": (None, ["in.jsonl", "no such file"]),
    "bad JSON": ("{'messages': 1}", ["in.jsonl:1", "broken JSON at column 2"]),
    "empty file": ("\n", ["there is no row 1: it is empty"]),
    "no conversation": ('{"text": "a"}', ["in.jsonl:1", "its fields are 'text'", '{"prompt": …, "response": …}']),
    "over-length": (json.dumps(LONG), ["in.jsonl:1", "longer than the limit", "200 tokens, policy drop", "shorten"]),
    "unknown role": (json.dumps({"messages": [{"role": "king", "content": "a"}]}), ["the role 'king'", "known: "]),
    "no answer": (json.dumps({"messages": TURNS[:1]}), ["the last message has the role 'user', not 'assistant'"]),
    "no messages": ('{"messages": []}', ["messages is an empty list"]),
    "a number": ('{"prompt": "a", "response": 7}', ["response is 7, neither text nor messages"]),
    "EOS in the text": (json.dumps({"prompt": "a", "response": "b<|im_end|>"}), ["ends with EOS twice"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_cannot_be_explained_says_why(world: World, model: Path, tmp_path: Path, mistake: str) -> None:
    content, says = MISTAKES[mistake]
    if content is not None:
        (tmp_path / "in.jsonl").write_text(content, encoding="utf-8")
    answer = world("explain", "--model", str(model), "--input", "in.jsonl", "--device", "cpu")
    assert answer.code == 2, answer
    assert answer.out == ""
    assert "try: " in answer.err
    for words in says:
        assert words in answer.err, answer.err


def test_a_row_beyond_the_last_one(world: World, model: Path, tmp_path: Path) -> None:
    path = write(tmp_path, PAIR, PAIR)
    answer = world("explain", "--model", str(model), "--input", str(path), "--row", "3", "--device", "cpu")
    assert answer.code == 2
    assert "there is no row 3: it has 2 rows" in answer.err
