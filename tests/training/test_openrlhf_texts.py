"""Texts that OpenRLHF's code turns into exactly our token ids, and the pairs for which there is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import CHATML, make_pairs, make_tokenizer
from rewardsmith.modeling.layouts import PairIds
from rewardsmith.rendering import Renderer
from rewardsmith.training.openrlhf.setup import TextRow, as_rows, their_ids
from rewardsmith.types import Message, PreferencePair

GEMMA_LIKE = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] | trim }}\n{% endfor %}"


def renderer_of(template: str | None = CHATML, **options: Any) -> Renderer:
    settings = {"max_length": 256, "conversational": template is not None} | options
    return Renderer.from_tokenizer(make_tokenizer(chat_template=template), **settings)


def upstream(tokenizer: Any, text: str, longest: int) -> list[int]:
    """`RewardDataset.__getitem__` of 0.11.2 in our words: the text as `prompt + chosen`, one at a time."""
    while text.endswith("\n"):
        text = text[:-1]
    if text[-len(tokenizer.eos_token) :] != tokenizer.eos_token:
        text = text + " " + tokenizer.eos_token
    ids = tokenizer(text, max_length=longest, padding=False, truncation=True, add_special_tokens=False)["input_ids"]
    return [*ids[:-1], tokenizer.eos_token_id]


def rendered(renderer: Renderer, pairs: list[PreferencePair]) -> list[PairIds]:
    return [PairIds(both.chosen_ids, both.rejected_ids) for both in renderer.render_pairs(pairs)]


@pytest.mark.parametrize("template", [CHATML, GEMMA_LIKE], ids=["closed by EOS", "closed by us"])
def test_every_text_is_read_as_our_ids(template: str) -> None:
    renderer = renderer_of(template)
    pairs = make_pairs(40)
    ids = rendered(renderer, pairs)
    longest = max(len(text) for both in ids for text in both)
    for row, both in zip(as_rows(renderer, pairs, ids), ids, strict=True):
        assert row is not None
        assert upstream(renderer.tokenizer, row.chosen, longest) == both.chosen.tolist()
        assert upstream(renderer.tokenizer, row.rejected, longest) == both.rejected.tolist()


def test_plain_text() -> None:
    renderer = renderer_of(None)
    pairs = [PreferencePair((), (Message("text", "red stone\n"),), (Message("text", "blue \n\n"),), id="1")]
    ids = rendered(renderer, pairs)
    assert as_rows(renderer, pairs, ids) == [TextRow("red stone\n<|im_end|>", "blue \n\n<|im_end|>")]


def test_a_shortened_prompt_is_decoded() -> None:
    renderer = renderer_of(max_length=24, over_length="truncate_prompt")
    pairs = [pair for pair in make_pairs(60) if len(renderer.text(pair.prompt + pair.chosen)) > 60]
    kept = [(pair, both) for pair, both in zip(pairs, renderer.render_pairs(pairs), strict=True) if both.cut]
    assert len(kept) > 5
    ids = [PairIds(both.chosen_ids, both.rejected_ids) for _, both in kept]
    rows = as_rows(renderer, [pair for pair, _ in kept], ids)
    found = [(row, both) for row, both in zip(rows, ids, strict=True) if row is not None]
    assert found
    for row, both in found:
        assert upstream(renderer.tokenizer, row.chosen, 24) == both.chosen.tolist()
        assert upstream(renderer.tokenizer, row.rejected, 24) == both.rejected.tolist()


def test_a_cut_through_a_character_has_no_text() -> None:
    renderer = renderer_of()
    pair = make_pairs(1)[0]
    whole = rendered(renderer, [pair])[0]
    half = renderer.tokenizer("川", add_special_tokens=False)["input_ids"][1:]  # bytes that begin no character
    cut = PairIds(np.array([*half, *whole.chosen], dtype=np.int32), whole.rejected)
    assert as_rows(renderer, [pair], [cut]) == [None]
    assert as_rows(renderer, [pair], [whole]) != [None]


PIECES = st.sampled_from(["a", "b", " ", "\n", "é", "<|im_end|>", "川"])
TEXTS = st.lists(PIECES, min_size=1, max_size=12).map("".join)


@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_what_its_code_does_to_any_text(texts: list[str]) -> None:
    tokenizer = make_tokenizer_once()
    assert [ids_T.tolist() for ids_T in their_ids(tokenizer, texts)] == [
        upstream(tokenizer, text, 999) for text in texts
    ]


_MADE: list[Any] = []


def make_tokenizer_once() -> Any:
    if not _MADE:
        _MADE.append(make_tokenizer())
    return _MADE[0]
