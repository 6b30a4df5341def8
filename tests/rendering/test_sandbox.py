"""Templates that never end, or fill the memory: refused in time, with the limit's name; others are not touched."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import threading
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import pytest
from rendering_tokenizers import CHATML, chatml
from transformers.utils.chat_template_utils import render_jinja_template

from rewardsmith.errors import RenderingError
from rewardsmith.rendering import Renderer, sandbox
from rewardsmith.rendering.sandbox import LIMIT_STRIKES, STRIKES, TemplateRefusal, apply_template, run_template
from rewardsmith.types import Message, with_tools

TEMPLATES = sorted((Path(find_spec("trl").origin).parent / "chat_templates").glob("*.jinja"))
GOOD = (Message("user", "Q"), Message("assistant", "A"))
# Seconds of processor time that may pass here, and MiB.
CPU, MEMORY = "more than 1 s of processor time", "more than 1024 MiB of memory"
LOOP = "{% for a in range(99999) %}"
BOMBS = {
    "nested loops": (LOOP * 4 + "{% endfor %}" * 4, CPU),
    "power": ("{{ 10 ** (10 ** 9) }}", CPU),
    "power of a constant in a set": ("{% set x = 9 ** (9 ** 9) %}x", CPU),
    "text times number": ("{{ 'a' * 10 ** 11 }}", MEMORY),
    "doubling": (
        "{% set n = namespace(x='abcdefgh') %}{% for i in range(90) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}",
        MEMORY,
    ),
    "padding": ("{{ 'a'.ljust(10 ** 12) }}", MEMORY),
    "format": ("{{ '%1000000000000d' % 1 }}", ""),
    "lists of lists": (
        "{% set n = namespace(x=[1]) %}{% for i in range(90) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x }}",
        "",
    ),
    "macros": (
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        CPU,
    ),
    "recursion": ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion depth"),
    "words": ("{{ lipsum(n=10 ** 9) }}", ""),
    "long": ("{% for i in range(99999) %}{{ 'a' * 1000 }}{% endfor %}", "the limit is 67,108,864"),
    "range": ("{{ range(10 ** 9) | list }}", "Range too big"),
}


@pytest.fixture(scope="module")
def defused():
    """Of each bomb what its refusal says, the seconds of processor time and the peak KiB of the children so far.

    In a process of its own: a child's peak begins at the memory of the process that starts it, which here may be large.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    said = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, check=True)
    return json.loads(said.stdout)


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_within_ten_seconds_and_its_limit_named(name, defused):
    said, seconds, kibibytes = defused[name]
    assert re.search(f"refuses the conversation .*{BOMBS[name][1]}", said)
    # Processor time, since the machine may be busy: twice the limit, and what a helper takes to start.
    assert seconds < 4
    assert kibibytes < 2 * 2**20


def test_after_a_bomb_the_next_conversation_is_rendered():
    with pytest.raises(RenderingError, match=MEMORY):
        Renderer.from_tokenizer(chatml(), max_length=99, chat_template=BOMBS["padding"][0])
    assert apply_template(chatml(), [GOOD]) == ["<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n"]


TRIGGERED = CHATML + "{% if messages[-1].content == 'go' %}" + LOOP * 3 + "{% endfor %}" * 3 + "{% endif %}"


def test_a_bomb_that_a_text_sets_off_refuses_that_text_alone():
    renderer = Renderer.from_tokenizer(chatml(), max_length=99, chat_template=TRIGGERED)
    go = (Message("user", "Q"), Message("assistant", "go"))
    before, bomb, after = renderer.render_many([GOOD, go, GOOD])
    assert (before.reason, bomb.reason, after.reason) == ("", "template_refused", "")
    assert CPU in bomb.detail
    assert before.ids.tolist() == after.ids.tolist()


def test_a_batch_of_bombs_is_not_asked_to_its_end(monkeypatch):
    monkeypatch.setattr(sandbox, "_STRUCK", sandbox.Counter())
    template = "{{ 'a' * 10 ** 11 }}"
    found = run_template(template, {}, [GOOD] * 50)
    assert len(found) == 50
    assert [str(one).startswith("not asked") for one in found] == [False] * STRIKES + [True] * (50 - STRIKES)
    for _ in range(LIMIT_STRIKES // STRIKES - 2):
        run_template(template, {}, [GOOD] * 50)
    with pytest.raises(RenderingError, match=f"passed its limits {LIMIT_STRIKES} times"):
        _ = [run_template(template, {}, [GOOD] * 50) for _ in range(2)]


def test_a_refusal_of_the_template_s_own_counts_for_nothing():
    found = run_template("{{ raise_exception('no ' ~ messages[0].content) }}", {}, [GOOD] * 3)
    assert [(str(one), one.limit) for one in found] == [("no Q", False)] * 3


def test_nothing_is_lost_between_processes():
    text = "é🦀\ud800\x00 " + "x" * 3_000_000
    conversation = (Message("user", text), Message("assistant", "A"))
    assert run_template("{{ messages[0].content }}", {}, [conversation, GOOD] * 2) == [text, "Q", text, "Q"]


def test_the_clock_can_be_set_and_generation_tags_write_what_they_hold():
    template = "{{ strftime_now('%Y-%m') }}{% generation %}{{ messages[1].content }}{% endgeneration %}"
    assert run_template(template, {}, [GOOD], now=datetime(2001, 2, 3, tzinfo=UTC)) == ["2001-02A"]


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__ }}",
        "{{ messages.append(1) }}",
        "{% set n = namespace() %}{% set n._x = 1 %}",
        "{{ dict.mro() }}",
    ],
)
def test_the_sandbox_is_that_of_transformers(template):
    (found,) = run_template(template, {}, [GOOD])
    assert isinstance(found, TemplateRefusal) or found == ""


def test_threads_and_children_have_their_own_answers():
    texts = {}

    def ask(number: int) -> None:
        conversations = [(Message("user", f"{number}-{index}"), GOOD[1]) for index in range(40)]
        texts[number] = run_template("{{ messages[0].content }}", {}, conversations)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == {number: [f"{number}-{index}" for index in range(40)] for number in range(4)}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_starts_a_helper_of_its_own():
    assert run_template("a", {}, [GOOD]) == ["a"]
    child = os.fork()
    if child == 0:
        right = run_template("{{ messages[0].content }}", {}, [GOOD]) == ["Q"]
        sandbox._HELPER.close()
        os._exit(0 if right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert run_template("b", {}, [GOOD]) == ["b"]


TOOL = {"type": "function", "function": {"name": "river", "description": "Näme", "parameters": {"type": "object"}}}
CALL = json.dumps([{"id": "1", "type": "function", "function": {"name": "river", "arguments": {"land": "France"}}}])


@pytest.mark.parametrize("file", TEMPLATES, ids=lambda file: file.stem)
def test_tools_calls_and_reasoning_are_rendered_as_transformers_renders_them(file):
    template = file.read_text(encoding="utf-8")
    turns = (
        Message("user", "Name a river."),
        Message("assistant", "", tool_calls=CALL, reasoning_content="Which land?"),
        Message("tool", "Loire", tool_call_id="1", name="river"),
        Message("assistant", "The Loire."),
    )
    names = {"bos_token": "<s>", "eos_token": "</s>"}
    try:
        (expected,), _ = render_jinja_template(
            [[turn.as_dict() for turn in turns]], [TOOL], chat_template=template, **names
        )
    except Exception as error:
        expected = str(error)
    (found,) = run_template(template, names, [with_tools(turns, [TOOL])])
    if "strftime_now" not in template:
        assert str(found) == expected


def defuse() -> None:
    """Print what `defused` returns."""
    found = {}
    for name, (template, _) in BOMBS.items():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        try:
            Renderer.from_tokenizer(chatml(), max_length=99, chat_template=template)
        except RenderingError as error:
            said = str(error)
        else:
            said = "not refused"
        # A child counts when it has been waited for, and the helper renders on after a refusal that kills nothing.
        sandbox._HELPER.close()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        found[name] = (said, used, after.ru_maxrss)
    print(json.dumps(found))


if __name__ == "__main__":
    defuse()
