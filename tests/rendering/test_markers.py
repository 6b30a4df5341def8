"""What a tokenizer and a template would not take for content, read off the template itself."""

from __future__ import annotations

import pytest
from rendering_tokenizers import CHATML, CHATML_TOKENS, GEMMA_TOKENS, LLAMA3_TOKENS, build, chatml, gemma, llama3, plain

from rewardsmith.rendering import Renderer

INSTRUCT = (
    "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %} {{ m.content }}"
    "{% endif %}{% endfor %}"
)
ALPACA = (
    "{% for m in messages %}### {{ {'user': 'Instruction'}.get(m.role, 'Response') }}:\n{{ m.content }}\n{% endfor %}"
)


def markers(tokenizer, **options):
    return Renderer.from_tokenizer(tokenizer, max_length=99, **options).markers()


@pytest.mark.parametrize(
    ("build_tokenizer", "special"),
    [(chatml, CHATML_TOKENS), (llama3, LLAMA3_TOKENS), (gemma, GEMMA_TOKENS), (plain, ["<s>", "</s>"])],
)
def test_special_tokens_are_the_tokenizer_s(build_tokenizer, special):
    found = set(markers(build_tokenizer()).special)
    assert found - {"<|pad|>"} == set(special)


@pytest.mark.parametrize(
    ("template", "roles"),
    [
        (None, {"\nUser:", "\nAssistant:", "\nSystem:"}),
        (INSTRUCT, {"[INST]", "[/INST]"}),
        (ALPACA, {"\n### Instruction:", "\n### Response:"}),
        (CHATML, {"<|im_start|>", "<|im_end|>"}),
    ],
)
def test_a_template_without_special_tokens_has_role_markers(template, roles):
    assert set(markers(plain(), chat_template=template).roles) == roles


@pytest.mark.parametrize("build_tokenizer", [chatml, llama3, gemma])
def test_a_word_beside_a_special_token_is_no_marker_without_it(build_tokenizer):
    assert markers(build_tokenizer()).roles == ()


def test_tokens_that_the_template_writes_count_though_they_are_not_special():
    tokenizer = build(["<pad>", "</s>"], CHATML, eos_token="</s>", pad_token="<pad>")
    tokenizer.add_tokens(["<|im_start|>", "<|im_end|>", "    ", "<|unused|>"])
    assert set(markers(tokenizer).special) == {"<pad>", "</s>", "<|im_start|>", "<|im_end|>"}


def test_reasoning_is_content():
    template = "{% for m in messages %}<think>\n\n</think>\n{{ m.content }}{% endfor %}"
    tokenizer = chatml()
    tokenizer.add_tokens(["<think>", "</think>"])
    found = markers(tokenizer, chat_template=template)
    assert not {"<think>", "</think>"} & {*found.special, *found.roles}


def test_plain_text_has_special_tokens_and_no_roles():
    tokenizer = plain()
    tokenizer.chat_template = None
    found = markers(tokenizer, conversational=False)
    assert set(found.special) == {"<s>", "</s>", "<|pad|>"}
    assert found.roles == ()
