"""Any Jinja template can be closed: what it writes stays, only its end is fixed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.utils.chat_template_utils import render_jinja_template

from rewardsmith.rendering.template import close_template, is_closed

EOS = "<|im_end|>"
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Name a river.\n"},
    {"role": "assistant", "content": "  The Loire. \n"},
]
FRAGMENTS = [
    "{%- set ns = namespace(turns=0) -%}\n",
    "  {% for message in messages %}\n    {{ message.content }}\n  {% endfor %}\n",
    "{%- for message in messages %}{% set ns2 = message.role %}[{{ ns2 }}]{{ message.content | trim }}{% endfor %}",
    (
        "{% macro show(text, depth) %}{{ text }}{% if depth %}{{ show('.', depth - 1) }}{% endif %}{% endmacro %}"
        "{{ show('go', 3) }}{{ later() if later is defined }}"
    ),
    "{% set names = [] %}{% for m in messages %}{% if m.role == 'user' %}{% continue %}{% endif %}.{% endfor %}",
    (
        "{% for m in messages %}{% if loop.last %}x<|im_end|>{% else %}{{ m.content }}<|im_end|>\n{% endif %}"
        "{% endfor %}"
    ),
    "{# a comment #}\n",
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "{{ '<|im_end|>' }}",
    "{% raw %}{{ not jinja }}{% endraw %}",
    "plain text ",
    "\n",
    "   ",
    "\t{% if true %}x{% endif %}   ",
    "{%- if tools %}tools{% endif -%}\n\n",
    '"quotes" and \\ backslashes MARK BEGIN EOS ORIGINAL\r\n',
]


def render(template: str, messages=MESSAGES, **options) -> str:
    return render_jinja_template([messages], chat_template=template, **options)[0][0]


@settings(max_examples=120, deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=6).map("".join))
def test_closing_changes_only_the_end(template):
    closed = close_template(template, eos=EOS, bos=None)
    written = render(template)
    assert render(closed, add_generation_prompt=True) == render(template, add_generation_prompt=True)
    assert render(closed) == (written.rstrip() if written.rstrip().endswith(EOS) else written + EOS)


TRL_TEMPLATES = sorted((Path(find_spec("trl").origin).parent / "chat_templates").glob("*.jinja"))


def written_or_refused(template: str, **options) -> str:
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    try:
        return render(template, **names, **options)
    except Exception as error:
        return f"refused: {error}"


@pytest.mark.parametrize("file", TRL_TEMPLATES, ids=lambda file: file.stem)
@pytest.mark.parametrize("messages", [MESSAGES, MESSAGES[1:], MESSAGES[1:2]], ids=["system", "answered", "asked"])
def test_the_templates_of_real_models_can_be_closed(file, messages):
    """As shipped with TRL: Cohere, DeepSeek, Gemma, GLM, GPT-OSS, Llama, Nemotron, Phi, Qwen and others."""
    template = file.read_text(encoding="utf-8")
    eos = EOS if EOS in template else "</s>"
    closed = close_template(template, eos=eos, bos=None)
    options = {"messages": messages, "add_generation_prompt": True}
    assert written_or_refused(closed, **options) == written_or_refused(template, **options)
    written, ending = (written_or_refused(source, messages=messages) for source in (template, closed))
    if written.startswith("refused: "):
        assert ending == written
    else:
        assert ending == (written.rstrip() if written.rstrip().endswith(eos) else written + eos)


def test_real_templates_were_found():
    assert len(TRL_TEMPLATES) > 20


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=6).map("".join))
def test_closing_twice_is_closing_once(template):
    closed = close_template(template, eos=EOS, bos="<s>")
    assert is_closed(closed)
    assert not is_closed(template)
    assert close_template(closed, eos=EOS, bos="<s>") == closed


@pytest.mark.parametrize(("template", "expected"), [("<s>hi", "<s>hi</s>"), ("hi", "<s>hi</s>"), ("", "<s></s>")])
def test_bos_is_written_unless_the_template_does(template, expected):
    assert render(close_template(template, eos="</s>", bos="<s>")) == expected


@pytest.mark.parametrize("eos", ["<｜end▁of▁sentence｜>", '"quoted"', "back\\slash", "<|im_end|>", "🏁"])
def test_special_tokens_are_quoted(eos):
    assert render(close_template("hi ", eos=eos, bos=None)) == "hi " + eos
    assert render(close_template(f"hi{eos} ", eos=eos, bos=None)) == "hi" + eos


def test_generation_tags_go_so_that_no_wrong_mask_is_given():
    template = "{% for m in messages %}{%- generation -%} {{ m.content }} {%- endgeneration %}{% endfor %}"
    closed = close_template(template, eos=EOS, bos=None)
    assert "generation %}" not in closed.replace("add_generation_prompt", "")
    assert render(closed) == render(template) + EOS


def test_raise_exception_reaches_the_caller():
    closed = close_template("{{ raise_exception('System role not supported') }}", eos=EOS, bos=None)
    with pytest.raises(Exception, match="System role not supported"):
        render(closed)


def test_the_last_message_can_be_left_open():
    closed = close_template("{% for m in messages %}{{ m.content }}<|im_end|>\n{% endfor %}", eos=EOS, bos=None)
    assert render(closed, MESSAGES[:2], continue_final_message=True) == "Be brief.<|im_end|>\nName a river.\n"
