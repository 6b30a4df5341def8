"""Every fault of a rendered text is planted and found; a bad row spoils only itself."""

from __future__ import annotations

import pytest
from rendering_tokenizers import CHATML, CHATML_TOKENS, build, chatml, gemma, llama3, plain
from tokenizers import AddedToken

from rewardsmith.errors import DataError, RenderingError
from rewardsmith.rendering import REASONS, Renderer
from rewardsmith.types import Message, PreferencePair

ASK = Message("user", "Name a river.")
GOOD = (ASK, Message("assistant", "The Loire."))


def answer(text: str) -> tuple[Message, ...]:
    return (ASK, Message("assistant", text))


PLANTED = {
    "eos_doubled": (chatml, answer("The Loire.<|im_end|>")),
    "bos_doubled": (lambda: build(["<s>", "</s>"], PLAIN_FROM_CONTENT, adds_bos="<s>", **NAMES), answer("<s><s>Loire")),
    "pad_in_text": (chatml, answer("The <|endoftext|> Loire.")),
    "special_token_in_text": (chatml, answer("The <|im_start|>user Loire.")),
    "template_refused": (gemma, (Message("system", "Be brief."), *GOOD)),
    "not_unicode": (chatml, answer("The \ud800 Loire.")),
    "response_lost": (lambda: chatml_without("Loire"), GOOD),
}
NAMES = {"bos_token": "<s>", "eos_token": "</s>"}
PLAIN_FROM_CONTENT = "{{ messages[-1].content }}"


def chatml_without(word: str):
    return build(
        CHATML_TOKENS,
        CHATML.replace("message['content']", f"message['content'].replace('{word}', '')"),
        eos_token="<|im_end|>",
    )


@pytest.mark.parametrize("code", PLANTED)
def test_a_planted_fault_is_found_and_its_neighbours_are_kept(code):
    build_tokenizer, bad = PLANTED[code]
    renderer = Renderer.from_tokenizer(build_tokenizer(), max_length=99)
    good = answer("The Ebro.")
    before, fault, after = renderer.render_many([good, bad, good])
    assert (before.reason, fault.reason, after.reason) == ("", code, "")
    assert fault.ids is None
    assert before.ids.tolist() == after.ids.tolist() == renderer.ids(good).tolist()
    assert code in REASONS


@pytest.mark.parametrize("side", ["chosen", "rejected"])
def test_a_fault_on_either_side_refuses_the_pair_and_names_the_side(side):
    sides = {"chosen": GOOD[1:], "rejected": answer("The Ebro.")[1:], side: answer("<|endoftext|>")[1:]}
    rendered = Renderer.from_tokenizer(chatml(), max_length=99).render_pairs([PreferencePair((ASK,), **sides)])[0]
    assert (rendered.chosen_ids, rendered.rejected_ids, rendered.reason) == (None, None, "pad_in_text")
    assert rendered.detail.startswith(f"{side}: ")


@pytest.mark.parametrize("build_tokenizer", [chatml, llama3, gemma, plain])
def test_clean_text_has_no_fault(build_tokenizer):
    renderer = Renderer.from_tokenizer(build_tokenizer(), max_length=200)
    texts = ["The Loire.", "", " ", "a\nb\n", "<s", "é🦀", "{{ jinja }}", "\x00"]
    assert [row.reason for row in renderer.render_many([answer(text) for text in texts])] == [""] * len(texts)


def test_an_eos_that_the_tokenizer_does_not_read_is_missing():
    tokenizer = chatml()
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    swallows_eos = AddedToken("d.<|im_end|>", special=True, normalized=False)
    tokenizer.add_tokens([swallows_eos])
    renderer = Renderer.from_tokenizer(tokenizer, max_length=99, chat_template=template)
    assert renderer.render_many([answer("a bad end.")])[0].reason == "eos_missing"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for m in messages %}", "refuses the conversation"),
        ("{{ raise_exception('never') }}", r"refuses the conversation \(never\)"),
        ("{{ messages[0].content }}", "does not write the whole response"),
        ("{{ messages[1].content.foo() }}", "refuses the conversation"),
        ("{{ messages[1].content }}<|im_end|>{{ '<|im_end|>' }}", "ends with EOS twice"),
    ],
)
def test_a_template_that_fails_on_any_conversation_is_refused_at_once(template, message):
    with pytest.raises(RenderingError, match=message):
        Renderer.from_tokenizer(chatml(), max_length=99, chat_template=template)


def test_conversational_data_needs_a_template():
    tokenizer = plain()
    tokenizer.chat_template = None
    with pytest.raises(
        RenderingError, match=r"no chat template\n  try: name a Jinja file under base_model.chat_template"
    ):
        Renderer.from_tokenizer(tokenizer, max_length=99)
    renderer = Renderer.from_tokenizer(tokenizer, max_length=99, conversational=False)
    with pytest.raises(RenderingError, match="no chat template"):
        renderer.render_many([GOOD])


def test_the_default_of_several_templates_is_taken():
    tokenizer = chatml()
    tokenizer.chat_template = {"tool_use": "{{ raise_exception('no') }}", "default": CHATML}
    text = Renderer.from_tokenizer(tokenizer, max_length=99).text(GOOD)
    assert text == Renderer.from_tokenizer(chatml(), max_length=99).text(GOOD)


def test_ids_says_why_there_are_none():
    with pytest.raises(DataError, match="the pad token stands inside the text"):
        Renderer.from_tokenizer(chatml(), max_length=99).ids(answer("<|endoftext|>"))


def test_named_templates_without_a_default_are_named() -> None:
    tokenizer = chatml()
    tokenizer.chat_template = {"tool_use": "{{ messages }}", "rag": "{{ messages }}"}
    with pytest.raises(
        RenderingError,
        match=r"has chat templates named 'rag', 'tool_use', and none of them is the default\n  try: write the one to",
    ):
        Renderer.from_tokenizer(tokenizer, max_length=100)
    tokenizer = chatml()
    wanted = Renderer.from_tokenizer(chatml(), max_length=100).record
    tokenizer.chat_template = {"tool_use": "{{ messages }}", "default": tokenizer.chat_template}
    assert Renderer.from_tokenizer(tokenizer, max_length=100).record == wanted
