"""Tokenizers come from folders; what cannot be loaded is refused with one sentence and a fix."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rendering_tokenizers import CHATML, CHATML_TOKENS, build, chatml, llama3, plain

from rewardsmith.errors import RenderingError
from rewardsmith.rendering import Renderer, load_renderer
from rewardsmith.types import Message

GOOD = (Message("user", "Name a river."), Message("assistant", "The Loire."))


def test_a_folder_is_loaded(tmp_path):
    tokenizer = chatml()
    tokenizer.save_pretrained(tmp_path)
    renderer = load_renderer(tmp_path, max_length=99)
    expected = Renderer.from_tokenizer(chatml(), max_length=99)
    assert renderer.ids(GOOD).tolist() == expected.ids(GOOD).tolist()
    assert renderer.record == expected.record


def test_a_template_file_replaces_the_tokenizer_s_own(tmp_path):
    tokenizer = plain()
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path)
    file = tmp_path / "mine.jinja"
    file.write_text("{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}")
    renderer = load_renderer(tmp_path, max_length=99, chat_template_file=file)
    assert renderer.text(GOOD) == "<s><user>Name a river.\n<assistant>The Loire.\n</s>"


@pytest.mark.parametrize("content", [None, b"\xff\xfe{{"])
def test_a_template_file_that_cannot_be_read_is_named(content, tmp_path):
    chatml().save_pretrained(tmp_path)
    file = tmp_path / "mine.jinja"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(RenderingError, match=r"mine\.jinja: the chat template cannot be read"):
        load_renderer(tmp_path, max_length=99, chat_template_file=file)


@pytest.mark.parametrize("content", [None, "{", "[]", '{"model": {"type": "Nothing"}}'])
def test_a_folder_without_a_usable_tokenizer_is_refused(content, tmp_path):
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    with pytest.raises(RenderingError, match=r"cannot be loaded: .*\n  try: a folder needs tokenizer\.json"):
        load_renderer(tmp_path, max_length=99)


def test_a_hub_id_out_of_reach_says_so(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        RenderingError,
        match=r"no-such/model: the tokenizer cannot be loaded: there is no folder of this name(.|\n)*reaches the hub",
    ):
        load_renderer("no-such/model", max_length=99)


@pytest.mark.parametrize("field", ["template_sha256", "pad_token_id"])
def test_another_tokenizer_in_the_checkpoint_s_folder_is_refused(field, tmp_path):
    trained = Renderer.from_tokenizer(chatml(), max_length=99)
    other = Renderer.from_tokenizer(
        build([*CHATML_TOKENS, "<pad>"], CHATML, eos_token="<|im_end|>", pad_token="<pad>")
        if field == "pad_token_id"
        else llama3(),
        max_length=99,
    )
    other.save(tmp_path)
    with pytest.raises(RenderingError, match=f"the tokenizer has {field}"):
        Renderer.from_checkpoint(tmp_path, trained.record)


def edited(file: str, edit: Any):
    """A change of one JSON file of a tokenizer's folder."""

    def change(folder: Path) -> None:
        content = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps(edit(content) or content))

    return change


def without_json(tokenizer_class: str, **files: str | bytes):
    """`tokenizer.json` gone, another class, and other files beside."""

    def change(folder: Path) -> None:
        (folder / "tokenizer.json").unlink()
        edited("tokenizer_config.json", lambda content: content | {"tokenizer_class": tokenizer_class})(folder)
        for name, content in files.items():
            (folder / name.replace("__", ".")).write_bytes(content if isinstance(content, bytes) else content.encode())

    return change


def take_out_words(content: dict[str, Any]) -> None:
    content["added_tokens"] = []
    for token in CHATML_TOKENS:
        del content["model"]["vocab"][token]


def take_out_all_words(content: dict[str, Any]) -> None:
    content["model"] |= {"vocab": {}, "merges": []}


SENTENCEPIECE = b"\n\x0e\n\x05<unk>\x15\x00\x00\x00\x00\x18\x02\n\x0c\n\x03<s>\x15\x00\x00\x00\x00\x18\x03"
ALL_UNKNOWN = {"type": "WordLevel", "vocab": {"[UNK]": 0, "qqq": 1, "zzz": 2}, "unk_token": "[UNK]"}
DAMAGE = {
    "a config alone, of a class with defaults": (without_json("Qwen2Tokenizer"), r"no file of a vocabulary"),
    "a config alone, Llama": (without_json("LlamaTokenizer"), r"no file of a vocabulary"),
    "a config alone, BERT": (without_json("BertTokenizer"), r"no file of a vocabulary"),
    "a config alone, T5": (without_json("T5Tokenizer"), r"no file of a vocabulary"),
    "a config alone, no class": (without_json("TokenizersBackend"), r"no file of a vocabulary.*tokenizer_config\.json"),
    "vocab.json without merges.txt": (without_json("GPT2Tokenizer", vocab__json='{"a": 0}'), r"merges\.txt"),
    "tokenizer.model and no sentencepiece": (
        without_json("LlamaTokenizer", tokenizer__model=SENTENCEPIECE),
        r"tokenizer\.model is read by the package sentencepiece, which is not installed\n  try: pip install sentencep",
    ),
    "tokenizer.model of tiktoken": (
        without_json("LlamaTokenizer", tokenizer__model="IQ== 0\nIg== 1\n"),
        r"tokenizer\.model is read by the package tiktoken, which is not installed\n  try: pip install tiktoken",
    ),
    "cut off": (lambda folder: (folder / "tokenizer.json").write_text("{" * 9), r"tokenizer\.json is damaged"),
    "no words": (edited("tokenizer.json", take_out_all_words), r"3 special tokens and no words"),
    "no merges": (
        edited("tokenizer.json", lambda content: content["model"].update(merges=[])),
        r"words of its own vocabulary 0 become their token again: merges are missing",
    ),
    "no added tokens": (
        edited("tokenizer.json", lambda content: content.update(added_tokens=[])),
        r"the chat template writes <\|im_start\|>, the vocabulary has it, and it is no added token",
    ),
    "special tokens lost": (
        edited("tokenizer.json", take_out_words),
        r"eos_token <\|im_end\|> stands in tokenizer_config\.json and in no vocabulary",
    ),
    "everything unknown": (
        edited("tokenizer.json", lambda content: content.update(model=ALL_UNKNOWN, pre_tokenizer=None, decoder=None)),
        r"different texts become . different tokens",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_tokenizer_that_does_not_tell_texts_apart_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.setattr("rewardsmith.rendering.tokenizer.is_installed", lambda package: package == "google.protobuf")
    damage, said = DAMAGE[name]
    wordy = build(CHATML_TOKENS, CHATML, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    wordy.save_pretrained(tmp_path)
    assert load_renderer(tmp_path, max_length=99).ids(GOOD).size
    damage(tmp_path)
    with pytest.raises(RenderingError, match=f"the tokenizer cannot be (loaded|used): (.|\n)*{said}"):
        load_renderer(tmp_path, max_length=99)


def test_a_few_words_are_a_vocabulary(tmp_path):
    content = {"type": "WordLevel", "vocab": {"[UNK]": 0, "loire": 1, "ebro": 2, "</s>": 3}, "unk_token": "[UNK]"}
    build(CHATML_TOKENS, CHATML, eos_token="<|im_end|>", pad_token="<|endoftext|>").save_pretrained(tmp_path)
    white = {"type": "Whitespace"}
    edited("tokenizer.json", lambda said: said.update(model=content, pre_tokenizer=white, decoder=None))(tmp_path)
    with pytest.raises(RenderingError, match="different texts become 2 different tokens"):
        load_renderer(tmp_path, max_length=99)
    content["vocab"]["rhine"] = 4
    edited("tokenizer.json", lambda said: said.update(model=content))(tmp_path)
    assert load_renderer(tmp_path, max_length=99)


def test_an_unknown_token_that_only_the_class_brings_is_not_missed(tmp_path):
    """Qwen2's class says <|endoftext|>; a byte-level vocabulary without it (as DeepSeek-R1-Distill-Qwen's) is whole."""
    whole = build([*CHATML_TOKENS, "<|pad|>"], CHATML, eos_token="<|im_end|>", pad_token="<|pad|>")
    whole.save_pretrained(tmp_path)
    edited("tokenizer.json", lambda content: take_out_token(content, "<|endoftext|>"))(tmp_path)
    edited("tokenizer_config.json", lambda content: content.update(tokenizer_class="Qwen2Tokenizer"))(tmp_path)
    assert load_renderer(tmp_path, max_length=99).ids(GOOD).size


def take_out_token(content, token):
    content["added_tokens"] = [one for one in content["added_tokens"] if one["content"] != token]
    content["model"]["vocab"].pop(token, None)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ({"num_hidden_layers": "two"}, r"config\.json is read before it, and cannot be: Validation error for field"),
        ({"dtype": "float7"}, r"config\.json is read before it, and cannot be: .*float7"),
    ],
)
def test_a_fault_of_the_configuration_is_not_the_tokenizer_s(edit, said, tmp_path):
    chatml().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen3"} | edit))
    with pytest.raises(RenderingError, match=said) as caught:
        load_renderer(tmp_path, max_length=99)
    assert "num_hidden_layers" not in edit or "two" in str(caught.value)
    assert "restore the config.json" in str(caught.value)
