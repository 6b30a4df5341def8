"""EOS is settled, and the pad token is never one that texts contain."""

from __future__ import annotations

import pytest
from rendering_tokenizers import CHATML, CHATML_TOKENS, build, chatml, gemma, plain

from rewardsmith.errors import RenderingError
from rewardsmith.rendering import Renderer


def test_a_sound_pad_token_stays():
    record = Renderer.from_tokenizer(gemma(), max_length=99).record
    assert (record.pad_token, record.pad_token_id, record.added_pad_token) == ("<pad>", 0, False)


@pytest.mark.parametrize("pad", [{"pad_token": "<|im_end|>"}, {"pad_token": None}])
def test_a_reserved_token_pads_where_pad_is_eos_or_missing(pad):
    tokenizer = chatml(**pad)
    size = len(tokenizer)
    record = Renderer.from_tokenizer(tokenizer, max_length=99).record
    assert (record.pad_token, record.pad_token_id, record.added_pad_token) == ("<|endoftext|>", 0, False)
    assert len(tokenizer) == size


@pytest.mark.parametrize("pad", [{"pad_token": "</s>"}, {"pad_token": "<s>"}, {}])
def test_a_new_pad_token_is_added_where_none_is_reserved(pad):
    tokenizer = plain(**pad)
    size = len(tokenizer)
    renderer = Renderer.from_tokenizer(tokenizer, max_length=99)
    record = renderer.record
    assert (record.pad_token, record.pad_token_id, record.added_pad_token) == ("<|pad|>", size, True)
    assert len(renderer.tokenizer) == size + 1
    assert tokenizer.pad_token_id != tokenizer.eos_token_id


def test_endoftext_is_not_taken_where_it_is_eos():
    tokenizer = build(CHATML_TOKENS, CHATML, eos_token="<|endoftext|>", pad_token="<|endoftext|>")
    assert Renderer.from_tokenizer(tokenizer, max_length=99).record.pad_token == "<|pad|>"


def test_preparing_twice_changes_nothing():
    tokenizer = plain()
    first = Renderer.from_tokenizer(tokenizer, max_length=99)
    second = Renderer.from_tokenizer(tokenizer, max_length=99)
    assert second.record.template_sha256 == first.record.template_sha256
    assert second.pad_token_id == first.pad_token_id
    assert not second.record.changed_template


def test_padding_goes_right_and_truncation_left():
    tokenizer = chatml()
    tokenizer.padding_side = "left"
    Renderer.from_tokenizer(tokenizer, max_length=99)
    assert (tokenizer.padding_side, tokenizer.truncation_side) == ("right", "left")


def test_an_encoder_s_sep_and_cls_serve_as_eos_and_bos():
    tokenizer = build(
        ["[CLS]", "[SEP]", "[PAD]"], None, adds_bos="[CLS]", cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]"
    )
    template = "{% for m in messages %}{{ m.content }}{% if not loop.last %}[SEP]{% endif %}{% endfor %}"
    renderer = Renderer.from_tokenizer(tokenizer, max_length=99, chat_template=template)
    assert (renderer.record.eos_token, renderer.record.bos_token_id, renderer.record.pad_token) == ("[SEP]", 0, "[PAD]")


def test_no_eos_is_refused():
    with pytest.raises(RenderingError, match="no EOS token"):
        Renderer.from_tokenizer(build(["<pad>"], CHATML, pad_token="<pad>"), max_length=99)
