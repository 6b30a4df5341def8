"""Texts that share a beginning are encoded in parts, and get the ids that they get as a whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rendering_tokenizers import CHATML_TOKENS, TEXTS, build, chatml, gemma, llama3, plain
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from rewardsmith.rendering import Renderer
from rewardsmith.rendering.encoding import Encoder, Words, encode, find_opening, parts_at_spaces
from rewardsmith.types import Message, PreferencePair

CHATML_HEADER = "<|im_start|>user\nName a river.<|im_end|>\n<|im_start|>assistant\n"


def trained(model: Any, trainer: Any, *, tokens: list[str], **parts: Any) -> Any:
    core = Tokenizer(model)
    for name, part in parts.items():
        setattr(core, name, part)
    core.train_from_iterator(TEXTS, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|im_end|>", unk_token="<unk>")
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=True) for token in tokens])
    return tokenizer


def wordpiece() -> Any:
    return trained(
        models.WordPiece(unk_token="<unk>"),
        trainers.WordPieceTrainer(vocab_size=200, special_tokens=["<unk>", *CHATML_TOKENS], show_progress=False),
        tokens=CHATML_TOKENS,
        normalizer=normalizers.BertNormalizer(),
        pre_tokenizer=pre_tokenizers.BertPreTokenizer(),
    )


def unigram(scheme: str = "first") -> Any:
    return trained(
        models.Unigram(),
        trainers.UnigramTrainer(
            vocab_size=80, special_tokens=["<unk>", *CHATML_TOKENS], unk_token="<unk>", show_progress=False
        ),
        tokens=CHATML_TOKENS,
        normalizer=normalizers.NFKC(),
        pre_tokenizer=pre_tokenizers.Metaspace(prepend_scheme=scheme),
        decoder=decoders.Metaspace(),
    )


def sentencepiece_bpe() -> Any:
    """As Llama 2 has it: a space before everything, spaces as U+2581, no splitting into words."""
    return trained(
        models.BPE(unk_token="<unk>"),
        trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>", *CHATML_TOKENS], show_progress=False),
        tokens=CHATML_TOKENS,
        normalizer=normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]),
    )


# As their tokenizer.json has them.
LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
QWEN_PATTERN = LLAMA3_PATTERN.replace("{1,3}", "")
GPT_4O_PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def split_bpe(pattern: str, *, normalizer: Any = None, behavior: str = "isolated", before: tuple[Any, ...] = ()) -> Any:
    """Byte-level BPE that parts texts by a pattern, with merges over spaces and line breaks."""
    parts = [
        *before,
        pre_tokenizers.Split(Regex(pattern), behavior),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
    tokenizer = trained(
        models.BPE(),
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=["<unk>", *CHATML_TOKENS],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
        tokens=CHATML_TOKENS,
        pre_tokenizer=pre_tokenizers.Sequence(parts),
    )
    if normalizer is not None:
        tokenizer.backend_tokenizer.normalizer = normalizer
    return tokenizer


# The tokenizer, the header of a response, the token where texts are cut, and whether words are encoded alone.
FAMILIES = {
    "chatml": (chatml, CHATML_HEADER, "<|im_start|>", True),
    "llama3": (
        llama3,
        (
            "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nName a river.<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n"
        ),
        "<|end_header_id|>",
        True,
    ),
    "gemma": (
        gemma,
        "<bos><start_of_turn>user\nName a river.<end_of_turn>\n<start_of_turn>model\n",
        "<start_of_turn>",
        True,
    ),
    "plain": (plain, "<s>User: Name a river.\nAssistant: ", "", True),
    "wordpiece": (wordpiece, CHATML_HEADER, "<|im_start|>", True),
    "Llama 3's pattern": (lambda: split_bpe(LLAMA3_PATTERN), CHATML_HEADER, "<|im_start|>", True),
    "Qwen's pattern": (
        lambda: split_bpe(QWEN_PATTERN, normalizer=normalizers.NFC()),
        CHATML_HEADER,
        "<|im_start|>",
        True,
    ),
    "GPT-4o's pattern": (lambda: split_bpe(GPT_4O_PATTERN), CHATML_HEADER, "<|im_start|>", True),
    "digits first": (
        lambda: split_bpe(LLAMA3_PATTERN, before=(pre_tokenizers.Digits(individual_digits=True),)),
        CHATML_HEADER,
        "<|im_start|>",
        True,
    ),
    "unigram, space first": (unigram, CHATML_HEADER, "<|im_start|>", False),
    "unigram, space always": (lambda: unigram("always"), CHATML_HEADER, "<|im_start|>", False),
    "sentencepiece": (sentencepiece_bpe, CHATML_HEADER, "<|im_start|>", False),
}
BUILT = {name: (build_tokenizer(), header) for name, (build_tokenizer, header, _, _) in FAMILIES.items()}
MARKS = sorted({token for tokenizer, _ in BUILT.values() for token in tokenizer.all_special_tokens})
WORDS = [
    " ",
    " ",
    " ",
    "  ",
    "\n",
    "\t",
    " \n",
    ".\n\n",
    "The Loire",
    "legs",
    "'s",
    "é",
    "川",
    "🦀",
    "１",
    "<",
    "|>",
    "_",
    "7",
]
pieces = st.sampled_from([*MARKS, *WORDS]) | st.characters(exclude_categories=["Cs"])
written = st.lists(pieces, max_size=12).map("".join)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_last_token_of_the_response_s_header_is_where_texts_are_cut(name):
    (tokenizer, header), (_, _, opening, by_words) = BUILT[name], FAMILIES[name]
    assert find_opening(tokenizer, header) == opening
    encoder = Encoder.of(tokenizer, header)
    assert encoder.backend is tokenizer.backend_tokenizer
    assert encoder.opening == opening
    assert (encoder.words is not None) == by_words == parts_at_spaces(tokenizer)


@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=60)
@given(batches=st.lists(st.lists(written, max_size=4), min_size=1, max_size=3), prompt=written)
def test_ids_are_those_of_the_whole_text(name, batches, prompt):
    tokenizer, header = BUILT[name]
    encoder = ENCODERS[name]
    for batch in batches:
        texts = [text for answer in batch for text in (prompt + header + answer, answer, prompt + answer)]
        expected = encode(tokenizer, texts)
        assert [ids.tolist() for ids in encoder.encode(texts)] == [ids.tolist() for ids in expected]


ENCODERS = {name: Encoder.of(*built) for name, built in BUILT.items()}


def test_arrays_are_not_shared_and_are_int32():
    encoder = Encoder.of(*BUILT["chatml"])
    first, second = encoder.encode([CHATML_HEADER + "a"] * 2)
    first[:] = 0
    assert second.dtype == np.int32
    assert second.tolist() == encoder.encode([CHATML_HEADER + "a"])[0].tolist()
    assert encoder.encode([]) == []


def test_a_shared_beginning_is_encoded_once(monkeypatch):
    encoder = Encoder.of(*BUILT["chatml"])
    seen: list[str] = []
    whole = Encoder._encode
    monkeypatch.setattr(Encoder, "_encode", lambda self, texts: seen.extend(texts) or whole(self, texts))
    encoder.encode([CHATML_HEADER + answer for answer in ("Loire", "Ebro", "Loire")])
    encoder.encode([CHATML_HEADER])
    head, opened = CHATML_HEADER[: CHATML_HEADER.rfind("<|im_start|>")], "<|im_start|>assistant\n"
    assert seen == [head, opened + "Loire", opened + "Ebro", opened]


def test_what_is_remembered_has_a_limit(monkeypatch):
    encoder = Encoder.of(*BUILT["sentencepiece"])
    monkeypatch.setattr("rewardsmith.rendering.encoding._CHARACTERS_KEPT", 10)
    for texts, kept in (
        (["abc", "de"], {"abc", "de"}),
        (["fgh", "abc"], {"abc", "de", "fgh"}),
        (["ij", "klm"], {"ij", "klm"}),
    ):
        assert [ids.tolist() for ids in encoder.encode(texts)] == [
            ids.tolist() for ids in encode(encoder.tokenizer, texts)
        ]
        assert set(encoder._recent) == kept
    encoder.encode(["a text that is too long to keep"])
    assert encoder._recent == {}


@pytest.mark.parametrize(
    "token",
    [
        AddedToken("<|im_start|>", special=True, normalized=False, lstrip=True),
        AddedToken("<|im_start|>", special=True, normalized=True),
        AddedToken("<|im_start|>", special=True, normalized=False, single_word=True),
    ],
)
def test_a_token_that_looks_around_itself_parts_nothing(token):
    tokenizer = build(["<|endoftext|>", "<|im_end|>"], None, eos_token="<|im_end|>")
    tokenizer.add_tokens([token])
    assert find_opening(tokenizer, CHATML_HEADER) == "<|im_end|>"


@pytest.mark.parametrize("other", ["\n<|im_start|>", "x<", "<|im_start|>assistant", "a<|im_start|>b"])
def test_a_token_that_another_one_overlaps_parts_nothing(other):
    tokenizer = chatml()
    tokenizer.add_tokens([AddedToken(other, special=True, normalized=False)])
    encoder = Encoder.of(tokenizer, CHATML_HEADER)
    assert encoder.opening != "<|im_start|>"
    texts = [CHATML_HEADER + "b", "x" + CHATML_HEADER, "a<|im_start|>b\n<|im_start|>"]
    assert [ids.tolist() for ids in encoder.encode(texts)] == [ids.tolist() for ids in encode(tokenizer, texts)]


def test_tokens_that_are_read_as_text_part_nothing():
    tokenizer = chatml()
    tokenizer.split_special_tokens = True
    encoder = Encoder.of(tokenizer, CHATML_HEADER)
    assert encoder.opening == ""
    assert encoder.encode([CHATML_HEADER])[0].tolist() == encode(tokenizer, [CHATML_HEADER])[0].tolist()


def test_a_tokenizer_in_python_is_called_as_it_is():
    tokenizer = ByT5Tokenizer()
    encoder = Encoder.of(tokenizer, "Name a river.</s>")
    assert encoder.backend is None
    assert encoder.encode(["é</s>"])[0].tolist() == encode(tokenizer, ["é</s>"])[0].tolist()


def test_truncation_and_padding_of_the_file_are_switched_off():
    tokenizer = chatml()
    tokenizer.backend_tokenizer.enable_truncation(3)
    tokenizer.backend_tokenizer.enable_padding(length=50)
    encoder = Encoder.of(tokenizer, CHATML_HEADER)
    tokenizer.backend_tokenizer.enable_truncation(3)
    tokenizer.backend_tokenizer.enable_padding(length=50)
    assert encoder.encode([CHATML_HEADER])[0].tolist() == encode(chatml(), [CHATML_HEADER])[0].tolist()


def test_a_backend_that_differs_is_not_used(monkeypatch):
    tokenizer = chatml()
    plainly = type(tokenizer)._encode_plus
    monkeypatch.setattr(
        type(tokenizer), "_encode_plus", lambda self, text, **rest: plainly(self, [t.lower() for t in text], **rest)
    )
    encoder = Encoder.of(tokenizer, CHATML_HEADER)
    assert (encoder.backend, encoder.opening) == (None, "")


def loire(**token: Any) -> Any:
    tokenizer = chatml()
    tokenizer.add_tokens([AddedToken(token.pop("text", "Loire"), **{"normalized": False, **token})])
    return tokenizer


def with_part(name: str, part: Any) -> Any:
    tokenizer = chatml()
    setattr(tokenizer.backend_tokenizer, name, part)
    return tokenizer


class Mine:
    def pre_tokenize(self, text: Any) -> None:
        """Parts nothing."""


AROUND_SPACES = {
    "a token with a space": lambda: loire(text="The Loire"),
    "a token that takes the space before it": lambda: loire(lstrip=True),
    "a token that takes the space after it": lambda: loire(rstrip=True),
    "a token that asks for a whole word": lambda: loire(single_word=True),
    "special tokens as text": lambda: setattr(tokenizer := chatml(), "split_special_tokens", True) or tokenizer,
    "spaces that change": lambda: with_part("normalizer", normalizers.Replace(" ", "▁")),
    "spaces that go": lambda: with_part("normalizer", normalizers.Strip()),
    "no pieces": lambda: with_part("pre_tokenizer", pre_tokenizers.ByteLevel(use_regex=False)),
    "pieces over spaces": lambda: with_part("pre_tokenizer", pre_tokenizers.Metaspace()),
    "digits alone": lambda: with_part(
        "pre_tokenizer", pre_tokenizers.Sequence([pre_tokenizers.Digits(), pre_tokenizers.ByteLevel(use_regex=False)])
    ),
    "pieces by Python": lambda: with_part("pre_tokenizer", pre_tokenizers.PreTokenizer.custom(Mine())),
    "another pattern": lambda: split_bpe(r"\w+ \w+|\s+|[^\s\w]+"),
    "another behavior": lambda: split_bpe(LLAMA3_PATTERN, behavior="merged_with_next"),
    "chance": lambda: with_part("model", models.BPE(chatml().backend_tokenizer.get_vocab(), [], dropout=0.5)),
}


@pytest.mark.parametrize("name", AROUND_SPACES)
def test_a_tokenizer_that_looks_across_spaces_is_not_given_words(name):
    assert not parts_at_spaces(AROUND_SPACES[name]())


def test_a_normalized_token_beside_a_normalizer_is_not_given_words():
    tokenizer = loire(normalized=True)
    assert parts_at_spaces(tokenizer)
    tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    assert not parts_at_spaces(tokenizer)


def test_words_are_encoded_once_and_forgotten_in_time(monkeypatch):
    tokenizer, _ = BUILT["chatml"]
    words = Words(tokenizer.backend_tokenizer, "<|im_end|>", tokenizer.eos_token_id)
    asked: list[set[str]] = []
    whole = Words._encode
    monkeypatch.setattr(Words, "_encode", lambda self, texts: asked.append(set(texts)) or whole(self, texts))
    long = "x" * 99
    for text in ("a b a b", f"a b c {long}", f"a c {long}"):
        assert words.encode([text])[0].tolist() == encode(tokenizer, [text])[0].tolist()
    assert asked == [{"a", " b", " a"}, {" c", f" {long}"}, {f" {long}"}]
    monkeypatch.setattr("rewardsmith.rendering.encoding._REMEMBERED", 2)
    words.encode(["a"])
    assert asked[-1] == {"a"}


@pytest.mark.parametrize("separator", [("<|im_end|>", 2), ("", -1)])
def test_words_that_contain_the_separator_are_encoded_alone(separator):
    tokenizer, _ = BUILT["chatml"]
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") == 2
    texts = ["<|im_end|>", " <|im_end|> b<|im_end|><|im_end|>c d", "<<|im_end|>> e", "<|im_end|", "|im_end|>", ""]
    found = Words(tokenizer.backend_tokenizer, *separator).encode(texts)
    assert [ids.tolist() for ids in found] == [ids.tolist() for ids in encode(tokenizer, texts)]


def test_more_words_than_one_call_takes():
    tokenizer, _ = BUILT["chatml"]
    text = " ".join(f"w{number}" for number in range(1000))
    (found,) = Words(tokenizer.backend_tokenizer, "<|im_end|>", tokenizer.eos_token_id).encode([text])
    assert found.tolist() == encode(tokenizer, [text])[0].tolist()


def test_prompts_are_the_beginnings_of_their_pairs():
    renderer = Renderer.from_tokenizer(chatml(), max_length=200)
    ask = (Message("user", "Name a river."),)
    sides = [(Message("assistant", text),) for text in ("The Loire.", "The Ebro.")]
    (pair,) = renderer.render_pairs([PreferencePair(ask, *sides)])
    (prompt,) = renderer.prompt_ids([ask])
    assert renderer.tokenizer.decode(prompt) == CHATML_HEADER
    for ids in (pair.chosen_ids, pair.rejected_ids):
        assert ids[: len(prompt)].tolist() == prompt.tolist()


def test_a_prompt_that_the_template_refuses_has_no_ids():
    renderer = Renderer.from_tokenizer(gemma(), max_length=200)
    system, ask = Message("system", "Be brief."), Message("user", "Name a river.")
    prompts = renderer.prompt_ids([(ask,), (system, ask), (ask,)])
    assert prompts[1] is None
    assert prompts[0].tolist() == prompts[2].tolist()
