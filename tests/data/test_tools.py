"""Tool calls, tools and reasoning: read in every spelling, kept on every way, and shown to the model or refused."""

from __future__ import annotations

import json
import re

import pytest

from conftest import CHATML, make_tokenizer
from rewardsmith.data.columns import find_columns
from rewardsmith.data.forms import read_pair
from rewardsmith.data.rows import pair_keys
from rewardsmith.data.store import _pack, _unpack
from rewardsmith.rendering import Renderer
from rewardsmith.types import Message, PreferencePair, tools_of, with_tools

TOOL = {"type": "function", "function": {"name": "lookup", "description": "look up a word"}}
CALL = {"id": "c1", "type": "function", "function": {"name": "lookup", "arguments": '{"word": "river"}'}}
ASK = {"role": "user", "content": "Name a river."}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "Loire, Seine"}
ANSWERS = {"chosen": [{"role": "assistant", "content": "Loire"}], "rejected": [{"role": "assistant", "content": "No"}]}

SHOWING = (
    "{% if tools %}<|im_start|>system\n{{ tools | tojson }}<|im_end|>\n{% endif %}{% for message in messages %}"
    "<|im_start|>{{ message.role }}\n"
    "{% if message.reasoning_content %}<think>{{ message.reasoning_content }}</think>{% endif %}"
    "{{ message.content }}"
    "{% for call in message.tool_calls or [] %}{{ call.function.name }}({{ call.function.arguments }}){% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def pair_of(row: dict) -> PreferencePair:
    return read_pair(row, find_columns(row, {}, where="rows"), "chat", source="rows", number=1)


CALLS = {
    "OpenAI": ([CALL], {"role": "assistant", "content": None, "tool_calls": [CALL]}),
    "as JSON text": ([CALL], {"role": "assistant", "content": "", "tool_calls": json.dumps([CALL])}),
    "older": (
        [{"type": "function", "function": {"name": "lookup", "arguments": '{"word": "river"}'}}],
        {"role": "assistant", "content": "", "function_call": {"name": "lookup", "arguments": '{"word": "river"}'}},
    ),
    "ShareGPT": (
        [{"type": "function", "function": {"name": "lookup", "arguments": {"word": "river"}}}],
        {"from": "function_call", "value": '{"name": "lookup", "arguments": {"word": "river"}}'},
    ),
}


@pytest.mark.parametrize("spelling", CALLS)
def test_a_call_is_read_in_every_spelling(spelling):
    calls, turn = CALLS[spelling]
    pair = pair_of({"prompt": [ASK, turn, RESULT], "tools": [TOOL], **ANSWERS})
    tools, prompt = tools_of(pair.prompt)
    assert (tools, pair.tools) == ([TOOL], [TOOL])
    assert [message.role for message in prompt] == ["user", "assistant", "tool"]
    assert json.loads(prompt[1].tool_calls) == calls
    assert prompt[1].content == ""
    assert prompt[2] == Message("tool", "Loire, Seine", tool_call_id="c1")


def test_what_is_kept_is_what_was_read():
    thought = {"role": "assistant", "content": "Loire", "reasoning_content": "a long one"}
    row = {"prompt": [ASK, CALLS["OpenAI"][1], RESULT], "tools": json.dumps([TOOL]), **ANSWERS, "chosen": [thought]}
    pair = pair_of(row)
    assert _unpack(_pack(pair)) == pair
    assert pair.chosen[0].as_dict() == thought
    without = pair_of({**row, "tools": None})
    silent = pair_of({**row, "chosen": ANSWERS["chosen"]})
    assert pair_keys(pair)[0] != pair_keys(without)[0]  # another prompt
    assert pair_keys(pair)[1] != pair_keys(silent)[1]  # another response
    assert pair_keys(pair)[2] == pair_keys(silent)[2]


def test_tools_reach_the_template_as_they_stand_in_the_row():
    renderer = Renderer.from_tokenizer(make_tokenizer(chat_template=SHOWING), max_length=400)
    pair = pair_of({"prompt": [ASK, CALLS["OpenAI"][1], RESULT], "tools": [TOOL], **ANSWERS})
    plain = pair_of({"prompt": [ASK], **ANSWERS})
    rendered, other = renderer.render_pairs([pair, plain])
    upstream = renderer.tokenizer.apply_chat_template(
        [ASK, {**CALLS["OpenAI"][1], "content": ""}, RESULT, *ANSWERS["chosen"]],
        tools=[TOOL],
        tokenize=True,
        return_dict=False,
    )
    assert rendered.chosen_ids.tolist() == upstream
    text = renderer.tokenizer.decode(upstream)
    assert "look up a word" in text
    assert 'lookup({"word": "river"})' in text
    assert other.reason == ""


@pytest.mark.parametrize(
    ("row", "missing"),
    [
        ({"prompt": [ASK], "tools": [TOOL]}, "the tools: 'name' is missing"),
        ({"prompt": [ASK, CALLS["OpenAI"][1], RESULT]}, r"the tool calls of turn 2 \(assistant\): 'lookup' is"),
        (
            {"prompt": [ASK], "chosen": [{"role": "assistant", "content": "Loire", "reasoning": "a long one"}]},
            r"the reasoning of turn 2 \(assistant\): 'a long one' is missing",
        ),
        ({"prompt": [{**ASK, "name": "zoe"}]}, r"the name of turn 1 \(user\): 'zoe'"),
    ],
)
def test_a_template_that_does_not_show_them_says_so(row, missing):
    renderer = Renderer.from_tokenizer(make_tokenizer(chat_template=CHATML), max_length=400)
    (rendered,) = renderer.render_pairs([pair_of({**ANSWERS, **row})])
    assert (rendered.chosen_ids, rendered.reason) == (None, "fields_lost")
    assert re.search(missing, rendered.detail)


def test_with_tools_is_undone_by_tools_of():
    plain = (Message("user", "Hi"),)
    assert with_tools(plain, []) == plain
    assert tools_of(with_tools(plain, [TOOL])) == ([TOOL], plain)
    assert tools_of(plain) == ([], plain)
