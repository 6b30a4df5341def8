"""Whole conversations end with EOS, for four families of templates; the saved tokenizer agrees with the renderer."""

from __future__ import annotations

import numpy as np
import pytest
from rendering_tokenizers import chatml, gemma, llama3, plain
from transformers import AutoTokenizer

from rewardsmith.rendering import Renderer
from rewardsmith.types import Conversation, Message

ASK = (Message("user", "Name a river in France."),)
ANSWER = (Message("assistant", "The Loire."),)
LONGER = (*ASK, *ANSWER, Message("user", "And in Spain?"), Message("assistant", "The Ebro,\n\n  or the Tajo."))
UNICODE = (Message("user", "日本の川? 🦀"), Message("assistant", "Shinano — 信濃川\u2028é"))

# What each template writes for ASK + ANSWER, closed with EOS: worked out by hand.
CLOSED = {
    "chatml": (
        chatml,
        "<|im_start|>user\nName a river in France.<|im_end|>\n<|im_start|>assistant\nThe Loire.<|im_end|>",
    ),
    "llama3": (
        llama3,
        (
            "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nName a river in France.<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nThe Loire.<|eot_id|>"
        ),
    ),
    "llama3, other eos": (
        lambda: llama3(eos_token="<|end_of_text|>"),
        (
            "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nName a river in France.<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nThe Loire.<|eot_id|><|end_of_text|>"
        ),
    ),
    "gemma": (
        gemma,
        (
            "<bos><start_of_turn>user\nName a river in France.<end_of_turn>\n"
            "<start_of_turn>model\nThe Loire.<end_of_turn>\n<eos>"
        ),
    ),
    "plain": (plain, "<s>User: Name a river in France.\nAssistant: The Loire.\n</s>"),
}


@pytest.mark.parametrize("name", CLOSED)
def test_the_text_is_the_template_s_closed_with_eos(name):
    build, expected = CLOSED[name]
    tokenizer = build()
    renderer = Renderer.from_tokenizer(tokenizer, max_length=200)
    assert renderer.text(ASK + ANSWER) == expected
    ids = renderer.ids(ASK + ANSWER)
    assert ids.dtype == np.int32
    assert ids[-1] == renderer.eos_token_id
    assert ids[-2] != renderer.eos_token_id
    assert tokenizer.decode(ids) == expected


@pytest.mark.parametrize("name", CLOSED)
@pytest.mark.parametrize("conversation", [ASK + ANSWER, LONGER, UNICODE, (Message("text", "Rivers:\n the Loire\n"),)])
def test_the_saved_tokenizer_gives_the_same_ids(name, conversation: Conversation, tmp_path):
    renderer = Renderer.from_tokenizer(CLOSED[name][0](), max_length=400)
    ours = renderer.ids(conversation).tolist()
    messages = [{"role": message.role, "content": message.content} for message in conversation]
    assert renderer.tokenizer.apply_chat_template(messages, tokenize=True)["input_ids"] == ours
    renderer.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert theirs.apply_chat_template(messages, tokenize=True)["input_ids"] == ours
    again = Renderer.from_checkpoint(tmp_path, renderer.record)
    assert again.ids(conversation).tolist() == ours
    assert again.record == renderer.record


@pytest.mark.parametrize("name", CLOSED)
def test_bos_stands_once_at_the_front_or_nowhere(name):
    renderer = Renderer.from_tokenizer(CLOSED[name][0](), max_length=400)
    bos = renderer.record.bos_token_id
    for conversation in (LONGER, (Message("text", "a river"),)):
        ids = renderer.ids(conversation).tolist()
        assert ids.count(bos) == (0 if bos is None else 1)
        assert bos is None or ids[0] == bos


def test_bos_is_added_where_the_template_forgets_it_and_the_tokenizer_would_not():
    tokenizer = llama3()
    tokenizer.chat_template = tokenizer.chat_template.replace("bos_token + ", "")
    ids = Renderer.from_tokenizer(tokenizer, max_length=200).ids(LONGER).tolist()
    assert ids[0] == tokenizer.bos_token_id
    assert ids.count(tokenizer.bos_token_id) == 1


@pytest.mark.parametrize("name", CLOSED)
def test_a_prompt_with_generation_header_is_what_the_original_template_writes_and_begins_the_conversation(name):
    original, closed = CLOSED[name][0](), CLOSED[name][0]()
    renderer = Renderer.from_tokenizer(closed, max_length=200)
    messages = [{"role": "user", "content": ASK[0].content}]
    written = original.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    bos = "<s>" if name == "plain" else ""  # the one template here that forgets its tokenizer's BOS
    assert renderer.text(ASK, add_generation_prompt=True) == bos + written
    assert renderer.text(ASK + ANSWER).startswith(bos + written)


def test_a_response_keeps_its_own_whitespace_before_eos():
    renderer = Renderer.from_tokenizer(chatml(), max_length=200)
    assert renderer.text((*ASK, Message("assistant", " The Loire. \n\n"))).endswith(
        "assistant\n The Loire. \n\n<|im_end|>"
    )


def test_plain_text_is_joined_and_closed_whatever_the_tokenizer_s_template():
    texts = (Message("text", "Q: a river?\nA:"), Message("text", " the Loire\n"))
    assert Renderer.from_tokenizer(chatml(), max_length=99).text(texts) == "Q: a river?\nA: the Loire\n<|im_end|>"
    assert Renderer.from_tokenizer(gemma(), max_length=99).text(texts) == "<bos>Q: a river?\nA: the Loire\n<eos>"


def test_a_tokenizer_without_template_renders_plain_text():
    tokenizer = plain()
    tokenizer.chat_template = None
    renderer = Renderer.from_tokenizer(tokenizer, max_length=99, conversational=False)
    assert renderer.text((Message("text", "the Loire"),)) == "<s>the Loire</s>"
    assert renderer.ids((Message("text", "the Loire"),))[-1] == tokenizer.eos_token_id


def test_many_conversations_come_back_in_order():
    renderer = Renderer.from_tokenizer(chatml(), max_length=200)
    conversations = [(*ASK, Message("assistant", f"river {n}")) for n in range(700)]
    rendered = renderer.render_many(conversations)
    assert [row.ids.tolist() for row in rendered[::99]] == [renderer.ids(c).tolist() for c in conversations[::99]]
