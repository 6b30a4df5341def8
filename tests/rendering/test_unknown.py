"""What the vocabulary lacks: one token for all of it, its bytes, or nothing at all."""

from __future__ import annotations

from typing import Any

import pytest
from rendering_tokenizers import chatml
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from rewardsmith.rendering.encoding import encode
from rewardsmith.rendering.tokenizer import find_unknown, unknown_parts


def word_level() -> Any:
    core = Tokenizer(models.WordLevel({"[UNK]": 0, "[SEP]": 1, "the": 2, "Loire": 3, ".": 4}, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="[SEP]", unk_token="[UNK]")


def byte_fallback() -> Any:
    """Letters a and b, a line break as a byte, and all bytes, after the unknown token that is never needed."""
    words = ["<unk>", "</s>", "a", "b", *(f"<0x{byte:02X}>" for byte in range(256))]
    vocabulary = {word: place for place, word in enumerate(words)}
    core = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>", unk_token="<unk>")


def test_one_token_for_all_that_is_unknown():
    tokenizer = word_level()
    unknown = find_unknown(tokenizer)
    assert (unknown.kind, unknown.ids, unknown.token) == ("unk", (0,), "[UNK]")
    assert unknown_parts(tokenizer, unknown, "the Ebro . the 川") == ["Ebro", "川"]


def test_bytes_of_unknown_characters_and_no_others():
    tokenizer = byte_fallback()
    unknown = find_unknown(tokenizer)
    assert (unknown.kind, unknown.token, len(unknown.ids)) == ("byte_fallback", "", 128)
    (ids,) = encode(tokenizer, ["a\né"])
    assert [int(token) in unknown.ids for token in ids] == [False, False, True, True]


@pytest.mark.parametrize("unk", [None, "<|im_end|>", "<|endoftext|>"])
def test_bytes_know_everything_whatever_is_named_unknown(unk):
    unknown = find_unknown(chatml(unk_token=unk) if unk else chatml())
    assert (unknown.kind, unknown.ids) == ("bytes", ())


def test_a_tokenizer_in_python_names_no_places():
    tokenizer = ByT5Tokenizer()
    assert unknown_parts(tokenizer, find_unknown(tokenizer), "川") == []
