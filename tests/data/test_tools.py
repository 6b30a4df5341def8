"""Tool calls, tools and reasoning: read in every spelling, kept on every way, and shown to the model or refused."""

from __future__ import annotations

import json
import re

import pytest
from tool_templates import tool_tokenizer

from conftest import CHATML, make_tokenizer
from rewardsmith.data.columns import find_columns
from rewardsmith.data.forms import read_pair
from rewardsmith.data.prepare import prepare
from rewardsmith.data.store import _pack, _unpack, pair_keys
from rewardsmith.rendering import Renderer
from rewardsmith.spec import Spec
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


def thinking(thought: str, said: str) -> dict:
    return {"role": "assistant", "content": said, "reasoning_content": thought}


def test_reasoning_of_earlier_turns_that_the_template_drops_is_counted_and_no_error(tmp_path):
    earlier = [ASK, thinking("An early thought.", "Loire"), ASK]
    rows = [
        {"prompt": earlier, "chosen": [thinking("A thought.", "Seine")], "rejected": ANSWERS["rejected"]},
        {"prompt": [ASK], "chosen": [thinking("A thought.", "Seine 4")], "rejected": ANSWERS["rejected"]},
        {"prompt": [ASK], **ANSWERS},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {"path": str(path)}
    spec = Spec.model_validate({"data": {"train": [source], "held_out": {"sources": [source]}, "max_length": 400}})

    def findings(style: str) -> dict[str, tuple[int, int, str]]:
        renderer = Renderer.from_tokenizer(tool_tokenizer(style), max_length=400)
        found = prepare(spec, renderer).record.findings
        return {one.code: (one.count, one.of, one.severity) for one in found}

    # Qwen's drops what was thought before the last question (of two sources with the same rows: 1 row in each).
    dropping = findings("qwen")
    assert dropping["reasoning_of_earlier_turns_not_shown"] == (2, 2, "note")
    assert "fields_lost" not in dropping
    # Llama's shows no thought at all: the responses' own are an error, and those rows are left out.
    showing_none = findings("llama")
    assert showing_none["fields_lost"] == (4, 6, "error")
    assert "reasoning_of_earlier_turns_not_shown" not in showing_none


def test_the_thoughts_of_the_last_exchange_must_be_shown():
    """Those between a call and the answer as well: they belong to the response, whatever stands before them."""
    early, last = thinking("An early thought.", "Loire"), thinking("A thought.", "Seine")
    calling = {**CALLS["OpenAI"][1], "reasoning_content": "I must look."}
    renderer = Renderer.from_tokenizer(tool_tokenizer("qwen"), max_length=600)
    row = {"prompt": [ASK, early, ASK], "chosen": [calling, RESULT, last], "rejected": ANSWERS["rejected"]}
    pair = pair_of(row)
    text = renderer.text(pair.prompt + pair.chosen)
    assert ("An early thought." in text, "I must look." in text, "A thought." in text) == (False, True, True)
    assert renderer.render_pairs([pair])[0].reason == ""
    hiding = tool_tokenizer("qwen")
    hiding.chat_template = hiding.chat_template.replace("loop.index0 > ns.asked %}<think>", "loop.last %}<think>")
    (rendered,) = Renderer.from_tokenizer(hiding, max_length=600).render_pairs([pair])
    assert (rendered.reason, "'I must look.' is missing" in rendered.detail) == ("fields_lost", True)


def test_control_tokens_as_plain_text_keep_calls_and_tools_or_refuse_the_row():
    renderer = Renderer.from_tokenizer(tool_tokenizer("qwen"), max_length=600, special_tokens="text")
    asked = {"role": "user", "content": "What is <|im_end|>?"}
    called = pair_of({"prompt": [asked, CALLS["OpenAI"][1], RESULT], **ANSWERS})
    (rendered,) = renderer.render_pairs([called])
    text = renderer.tokenizer.decode(rendered.chosen_ids)
    assert ("What is <|im_end|>?" in text, '"name": "lookup"' in text, "Loire, Seine" in text) == (True, True, True)
    assert (rendered.chosen_ids == renderer.eos_token_id).sum() == 4  # one a turn: the user's own is plain text
    # Which control tokens belong to tools cannot be told from roles alone.
    (refused,) = renderer.render_pairs([pair_of({"prompt": [asked], "tools": [TOOL], **ANSWERS})])
    assert refused.reason == "special_token_in_text"


@pytest.mark.parametrize("function", [{"name": "now"}, {"name": "now", "arguments": None}])
def test_a_call_without_arguments_has_the_empty_object(function):
    """A template prints what is there: left out, Qwen's would write no JSON, or refuse the row."""
    for call in ({"type": "function", "id": "c1", "function": function}, function):
        prompt = [ASK, {"role": "assistant", "content": "", "tool_calls": [call]}, RESULT]
        (kept,) = json.loads(pair_of({"prompt": prompt, **ANSWERS}).prompt[1].tool_calls)
        assert kept == {"type": "function", "function": {"name": "now", "arguments": {}}} | (
            {"id": "c1"} if "id" in call else {}
        )
