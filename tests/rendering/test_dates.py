"""A template that writes today's date is found by its source and by rendering it on two days, at no time of its own."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from rendering_tokenizers import CHATML, LLAMA3, chatml, llama3
from transformers.utils.chat_template_utils import render_jinja_template

from rewardsmith.rendering import Renderer
from rewardsmith.rendering.template import _DAYS, _render, close_template, date_use

# As Llama 3.2 has it.
DATED = "{% if not date is defined %}{% set date = strftime_now('%d %b %Y') %}{% endif %}Today: {{ date }}\n" + LLAMA3
ONLY_WITH_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ messages[0].content }} {{ strftime_now('%A') }}{% endif %}" + CHATML
)
NEVER = "{% if false %}{{ strftime_now('%Y') }}{% endif %}" + CHATML
FIXED = "{% set date = '26 Jul 2024' %}Today: {{ date }}\n" + LLAMA3


@pytest.mark.parametrize(
    ("template", "mentions", "differs"),
    [
        (DATED, True, True),
        (ONLY_WITH_SYSTEM, True, True),
        (NEVER, True, False),
        (FIXED, False, False),
        (CHATML, False, False),
    ],
)
def test_only_a_date_that_is_written_counts(template, mentions, differs):
    renderer = Renderer.from_tokenizer(llama3(), max_length=200, chat_template=template)
    found = renderer.date_use()
    assert (found.mentions, found.differs) == (mentions, differs)


def test_a_tokenizer_s_own_template_is_judged():
    assert not Renderer.from_tokenizer(chatml(), max_length=99).date_use().mentions


def test_a_template_that_refuses_is_the_same_every_day():
    assert not date_use("{{ raise_exception('no ' ~ messages[0].role) }}{{ strftime_now('%d') }}", {}).differs


TEMPLATES = sorted((Path(find_spec("trl").origin).parent / "chat_templates").glob("*.jinja"))
NAMES = {"bos_token": "<s>", "eos_token": "</s>"}
MESSAGES = [{"role": "user", "content": "Name a river."}, {"role": "assistant", "content": "The Loire."}]


@pytest.mark.parametrize("file", TEMPLATES, ids=lambda file: file.stem)
def test_templates_are_rendered_as_transformers_renders_them(file):
    template = close_template(file.read_text(encoding="utf-8"), eos="</s>", bos=None)
    if "strftime_now" in template:
        return  # theirs has a clock of its own
    try:
        expected = render_jinja_template([MESSAGES], chat_template=template, **NAMES)[0][0]
    except Exception as error:
        expected = f"refused: {error}"
    assert _render(template, NAMES, MESSAGES, _DAYS[0]) == expected
