"""Long texts: only the oldest prompt tokens may go, the same ones on both sides of a pair."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rendering_tokenizers import chatml, llama3

from rewardsmith.errors import DataError
from rewardsmith.rendering import Renderer
from rewardsmith.rendering.encoding import shared_prefix
from rewardsmith.rendering.renderer import cut_prompt
from rewardsmith.types import Message, PreferencePair

BOS, EOS = 0, 1
tokens = st.lists(st.integers(2, 5), max_size=12)


def array(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.int32)


@given(prompt=tokens, responses=st.lists(tokens, min_size=1, max_size=3), limit=st.integers(1, 20))
def test_cutting_keeps_bos_responses_eos_and_one_prompt(prompt, responses, limit):
    texts = tuple(array([BOS, *prompt, *response, EOS]) for response in responses)
    kept = cut_prompt(texts, array([BOS, *prompt]), max_length=limit, bos_id=BOS)
    longest = max(len(text) for text in texts)
    if longest - limit > len(prompt):
        assert kept is None
        return
    cut = max(0, longest - limit)
    assert kept is not None
    for text, response in zip(kept, responses, strict=True):
        assert text.tolist() == [BOS, *prompt[cut:], *response, EOS]
        assert len(text) <= max(limit, 0)


@given(tokens, tokens)
def test_shared_prefix_is_the_longest_one(first, second):
    length = shared_prefix(array(first), array(second))
    assert first[:length] == second[:length]
    assert length == min(len(first), len(second)) or first[length] != second[length]


def pair(words: int, chosen: int = 3, rejected: int = 3) -> PreferencePair:
    prompt = (Message("user", " ".join(f"w{n}" for n in range(words))),)
    answers = ((Message("assistant", mark * n),) for mark, n in (("y", chosen), ("z", rejected)))
    return PreferencePair(prompt, *answers, id="p1")


@pytest.mark.parametrize("build", [chatml, llama3])
def test_truncating_the_prompt_of_a_pair(build):
    whole = Renderer.from_tokenizer(build(), max_length=10_000).render_pairs([pair(60, 4, 9)])[0]
    limit = len(whole.rejected_ids) - 30
    renderer = Renderer.from_tokenizer(build(), max_length=limit, over_length="truncate_prompt")
    kept = renderer.render_pairs([pair(60, 4, 9)])[0]
    start = 1 if renderer.record.bos_token_id is not None else 0
    assert kept.cut == 30
    for short, long in ((kept.chosen_ids, whole.chosen_ids), (kept.rejected_ids, whole.rejected_ids)):
        assert short.tolist() == [*long[:start], *long[start + 30 :]]
    text = renderer.tokenizer.decode(kept.chosen_ids)
    assert text.endswith("yyyy" + renderer.record.eos_token)
    assert "w59" in text
    assert "w0 " not in text


def test_a_response_that_does_not_fit_alone_is_refused():
    renderer = Renderer.from_tokenizer(chatml(), max_length=20, over_length="truncate_prompt")
    rendered = renderer.render_pairs([pair(5, chosen=3, rejected=90)])[0]
    assert (rendered.chosen_ids, rendered.rejected_ids, rendered.reason) == (None, None, "over_length")
    assert "the limit is 20" in rendered.detail


def test_dropping_is_counted_with_a_reason():
    renderer = Renderer.from_tokenizer(chatml(), max_length=40)
    short, long = renderer.render_pairs([pair(1), pair(60)])
    assert short.reason == ""
    assert (long.chosen_ids, long.reason) == (None, "over_length")
    conversation = pair(60).prompt + pair(60).chosen
    assert renderer.render_many([conversation])[0].reason == "over_length"


def test_a_text_of_exactly_the_limit_stays():
    length = len(Renderer.from_tokenizer(chatml(), max_length=999).ids(pair(9).prompt + pair(9).chosen))
    for limit, reason in ((length, ""), (length - 1, "over_length")):
        renderer = Renderer.from_tokenizer(chatml(), max_length=limit)
        assert renderer.render_many([pair(9).prompt + pair(9).chosen])[0].reason == reason


def test_error_names_the_row():
    renderer = Renderer.from_tokenizer(chatml(), max_length=40, over_length="error")
    with pytest.raises(DataError, match=r"^pairs\.jsonl:7: \d+ tokens, the limit is 40\n  try: raise data.max_length"):
        renderer.render_pairs([pair(1), pair(60)], places=["pairs.jsonl:6", "pairs.jsonl:7"])
    with pytest.raises(DataError, match=r"^conversation 1: "):
        renderer.render_many([pair(60).prompt + pair(60).chosen])


def test_one_conversation_loses_its_oldest_tokens():
    conversation = pair(60).prompt + pair(60).chosen
    whole = Renderer.from_tokenizer(llama3(), max_length=999).ids(conversation)
    renderer = Renderer.from_tokenizer(llama3(), max_length=len(whole) - 7, over_length="truncate_prompt")
    rendered = renderer.render_many([conversation])[0]
    assert rendered.cut == 7
    assert rendered.ids.tolist() == [whole[0], *whole[8:]]


def test_plain_text_is_cut_at_its_prompt():
    conversation = (Message("text", "a b c d e f g h"), Message("text", " the answer"))
    whole = Renderer.from_tokenizer(llama3(), max_length=999).ids(conversation)
    renderer = Renderer.from_tokenizer(llama3(), max_length=len(whole) - 5, over_length="truncate_prompt")
    assert renderer.tokenizer.decode(renderer.ids(conversation)).endswith("h the answer<|eot_id|>")
