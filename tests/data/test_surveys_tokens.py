"""The survey of tokens: every fault is planted and found, clean pairs show nothing, and the numbers are worked out."""

from __future__ import annotations

import random
import re
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rendering_tokenizers import CHATML, chatml, gemma, llama3, plain
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from conftest import make_pairs
from rewardsmith.data.lengths import LeftOut, TokenColumns, TokenNumbers, histogram, length_policy, token_waste
from rewardsmith.data.store import TokenizedPair, pair_keys
from rewardsmith.data.surveys import tokens
from rewardsmith.data.surveys.survey import Setting, Table
from rewardsmith.data.surveys.tokens import Tokens, any_of
from rewardsmith.records.checks import RejectedRow, SourceCount
from rewardsmith.records.files import to_json
from rewardsmith.rendering import Renderer
from rewardsmith.spec import Spec
from rewardsmith.types import Message, PreferencePair

CHECKS = {check.code: check for check in vars(tokens).values() if isinstance(check, tokens.Check)}
CLEAN = make_pairs(1000)


def renderer(tokenizer: Any, max_length: int = 400, **options: Any) -> Renderer:
    """Special tokens as text: otherwise the rows that hold some would not come here."""
    return Renderer.from_tokenizer(tokenizer, max_length=max_length, special_tokens="text", **options)


def pair(ask: str = "Name a river.", chosen: str = "The Loire.", rejected: str = "The Alps.") -> PreferencePair:
    sides = ((Message("assistant", text),) for text in (chosen, rejected))
    return PreferencePair((Message("user", ask),), *sides)


def survey(rendering: Renderer, pairs: list[PreferencePair], held_out: tuple[int, ...] = (), chunk: int = 64) -> Any:
    """Findings by code, and the section; pairs that are too long are left out, as `prepare` does it."""
    spec = Spec.model_validate({"training": {"pairs_per_step": 4}})
    watch = Tokens(Setting(spec, rendering, {}))
    rows, rejected = [], []
    for number, (one, done) in enumerate(zip(pairs, rendering.render_pairs(pairs), strict=True), start=1):
        if done.chosen_ids is None or done.rejected_ids is None:
            rejected.append(
                RejectedRow(source="a.jsonl", row=number, id="", role="train", reason=done.reason, detail=done.detail)
            )
        else:
            keys = pair_keys(one)
            rows.append(TokenizedPair(one, done.chosen_ids, done.rejected_ids, "a.jsonl", number, keys, done.cut))
    for start in range(0, len(rows), chunk):
        watch.see(rows[start : start + chunk])
        watch.see([])
    surveyed = watch.finish(table(rows, rejected, held_out))
    found = {one.code: one for one in surveyed.found if len(one.places) or one.count}
    assert set(found) <= set(CHECKS)
    to_json(surveyed.section)
    return found, surveyed.section


class Rejected(list):
    def by_reason(self) -> dict[str, int]:
        return {row.reason: 1 for row in self}


def table(rows: list[TokenizedPair], rejected: list[RejectedRow], held_out: tuple[int, ...]) -> Table:
    count = SourceCount(source="a.jsonl", role="train", read=len(rows), kept=len(rows), rejected=0)
    return Table(
        is_held_out=np.isin(np.arange(len(rows)), held_out),
        source=np.zeros(len(rows), dtype=np.int32),
        row=np.array([row.row for row in rows]),
        keys=np.frombuffer(b"".join(key for row in rows for key in row.keys), dtype="V16").reshape(-1, 3),
        lengths=np.array([(len(row.chosen_ids), len(row.rejected_ids)) for row in rows], dtype=np.int32),
        cut=np.array([row.cut for row in rows], dtype=np.int32),
        sources=(count,),
        rejected=Rejected(rejected),
        pairs=[row.pair for row in rows],
    )


@pytest.mark.parametrize("build_tokenizer", [chatml, llama3, gemma, plain])
def test_clean_pairs_have_no_finding(build_tokenizer):
    found, section = survey(renderer(build_tokenizer()), CLEAN[:200])
    assert found == {}
    assert section.markers == ()
    assert (section.prefix.pairs, section.prefix.text, section.prefix.tokens) == (200, 0, 0)
    assert (section.unknown.kind, section.unknown.texts, section.unknown.of) == ("bytes", 0, 400)
    assert not section.mentions_date


FAULTS = {
    "special_token_in_text": pair("Name one.<|im_end|>\n<|im_start|>assistant\nThe Ebro."),
    "role_marker_in_text": pair(chosen="The Loire.\n\nHuman: And another?\n\nAssistant: The Ebro."),
    "prompt_seam": pair(chosen="\n\nThe Loire."),
}


@pytest.mark.parametrize("rate", [0.001, 0.01, 0.1])
@pytest.mark.parametrize("code", FAULTS)
def test_planted_faults_are_all_found_and_nothing_else_is(code, rate):
    tokenizer = merging_line_breaks() if code == "prompt_seam" else chatml()
    planted = sorted(random.Random(7).sample(range(len(CLEAN)), round(rate * len(CLEAN))))
    pairs = [FAULTS[code] if place in planted else one for place, one in enumerate(CLEAN)]
    found, _ = survey(renderer(tokenizer), pairs)
    assert set(found) == {code}
    assert found[code].places.tolist() == planted
    assert found[code].detail(planted[0])


def merging_line_breaks() -> Any:
    """ChatML on a tokenizer that has a token for two line breaks, as most have."""
    tokenizer = chatml()
    core = tokenizer.backend_tokenizer
    vocabulary = core.get_vocab()
    words = {word: place for word, place in vocabulary.items() if len(word) == 1} | {"ĊĊ": len(vocabulary)}
    core.model = models.BPE({**vocabulary, **words}, [("Ċ", "Ċ")])
    return tokenizer


@pytest.mark.parametrize("text", ["<|im_end|>", "<|im_start|>user"])
@pytest.mark.parametrize("field", ["ask", "chosen", "rejected"])
def test_a_special_token_is_found_in_every_field_and_counted_there(text, field):
    found, section = survey(renderer(chatml()), [*CLEAN[:9], pair(**{field: f"well {text} well"})])
    assert found["special_token_in_text"].places.tolist() == [9]
    assert found["special_token_in_text"].remove.tolist() == [9]
    name = {"ask": "prompt"}.get(field, field)
    token = text.removesuffix("user")
    assert found["special_token_in_text"].detail(9) == f"{token} in {name}"
    assert found["special_token_in_text"].summary == (
        f"{token} in 1 pairs; plain text in the ids of this training, special tokens in those of TRL and vLLM"
    )
    (count,) = section.markers
    assert (count.text, count.kind, count.pairs) == (token, "special", 1)
    assert [count.prompt, count.chosen, count.rejected] == [int(name == at) for at in ("prompt", "chosen", "rejected")]


def test_markers_of_the_own_template_and_of_others_are_told_apart():
    texts = ["a\nUser: b", "User: b", "the User: b", "<|im_start|>", "[INST] x [/INST]", "</s>"]
    found, section = survey(renderer(plain()), [pair(text) for text in texts])
    assert found["role_marker_in_text"].places.tolist() == [0, 1, 3, 4]
    assert found["special_token_in_text"].places.tolist() == [5]
    assert [(count.text, count.kind, count.pairs) for count in section.markers] == [
        ("</s>", "special", 1),
        ("\nUser:", "role", 2),
        ("<|im_start|>", "foreign", 1),
        ("[/INST]", "foreign", 1),
        ("[INST]", "foreign", 1),
    ]
    assert found["role_marker_in_text"].detail(4) == "[INST] in prompt, [/INST] in prompt"


literals = st.lists(st.text("<|ab>", min_size=1, max_size=5), min_size=1, max_size=8)


@given(literals, st.text("<|ab>", max_size=30))
def test_grouped_literals_are_found_as_one_by_one(texts, where):
    plainly = re.compile("|".join(map(re.escape, sorted(texts, key=len, reverse=True))))
    assert any_of(texts).findall(where) == plainly.findall(where)


def test_whole_texts_bring_their_own_markup():
    text = [(Message("text", f"<|im_start|>user\nA river?<|im_end|>\n{answer}"),) for answer in ("Loire", "Alps")]
    found, _ = survey(renderer(chatml()), [PreferencePair((), *text)])
    assert found == {}


FORGETTING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' and loop.revindex > 2 %}...{% else %}"
    "{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ANSWERING = CHATML.replace("'<|im_start|>assistant\\n'", "'<|im_start|>assistant\\n<answer>'")


def test_a_prompt_that_the_template_rewrites_is_found():
    """This template forgets all answers but those of the last two messages: a response makes it forget one more."""
    asked = (Message("user", "A river?"), Message("assistant", "The Loire."), Message("user", "Another?"))
    rewritten = PreferencePair(asked, *((Message("assistant", text),) for text in ("The Ebro.", "The Alps.")))
    found, section = survey(renderer(chatml(), chat_template=FORGETTING), [*CLEAN[:5], rewritten, CLEAN[6]])
    assert found["prompt_rewritten"].places.tolist() == [5]
    assert found["prompt_rewritten"].of == 7
    assert (section.prefix.pairs, section.prefix.text, section.prefix.tokens) == (7, 1, 0)
    assert 0.02 < section.prefix.text_low < 1 / 7 < section.prefix.text_high < 0.6


def test_a_generation_header_that_no_response_has_is_found_in_every_pair():
    found, _ = survey(renderer(chatml(), chat_template=ANSWERING), CLEAN[:20])
    assert found["prompt_rewritten"].places.tolist() == list(range(20))


def test_a_seam_says_which_tokens_become_others():
    found, section = survey(renderer(merging_line_breaks()), [CLEAN[0], FAULTS["prompt_seam"]])
    assert found["prompt_seam"].detail(1) == "chosen: the prompt's last 1 tokens ('\\n') become others"
    assert (section.prefix.text, section.prefix.tokens) == (0, 1)


@pytest.mark.parametrize("build_tokenizer", [chatml, llama3])
def test_prompts_that_were_cut_still_begin_their_texts(build_tokenizer):
    long = [pair("word " * 60 + str(number)) for number in range(5)]
    found, section = survey(
        renderer(build_tokenizer(), 100, over_length="truncate_prompt"), [*long, pair(), pair("Why?")]
    )
    assert set(found) == {"truncated_prompt"}
    assert found["truncated_prompt"].places.tolist() == [0, 1, 2, 3, 4]
    assert section.truncated == section.length.cut == 5


def word_level() -> Any:
    words = ["[UNK]", "[SEP]", "[PAD]", ":", ".", "user", "assistant", "Name", "a", "river", "The", "Loire", "Alps"]
    core = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="[SEP]", unk_token="[UNK]", pad_token="[PAD]")
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    return tokenizer


@pytest.mark.parametrize("rate", [0.001, 0.01, 0.1])
def test_unknown_tokens_are_all_found(rate):
    planted = sorted(random.Random(3).sample(range(1000), round(rate * 1000)))
    unknown = pair(rejected="The river 川 . Ebro")
    found, section = survey(renderer(word_level()), [unknown if n in planted else pair() for n in range(1000)])
    assert set(found) == {"unknown_token"}
    assert found["unknown_token"].places.tolist() == planted
    assert found["unknown_token"].detail(planted[0]) == "rejected: '川', 'Ebro'"
    record, count = section.unknown, len(planted)
    assert (record.kind, record.token, record.of) == ("unk", "[UNK]", 2000)
    assert (record.texts, record.tokens) == (count, 2 * count)
    assert record.texts_low < count / 2000 < record.texts_high
    # user : Name a river . assistant : The Loire . [SEP]
    total = 2 * 1000 * 12 + 2 * count
    assert record.share == pytest.approx(2 * count / total)


def test_a_date_in_the_template_is_found():
    dated = "{{ strftime_now('%d %b %Y') }}\n" + CHATML
    found, section = survey(renderer(chatml(), chat_template=dated), CLEAN[:5])
    assert set(found) == {"template_depends_on_date"}
    assert (found["template_depends_on_date"].count, found["template_depends_on_date"].of) == (5, 5)
    assert section.mentions_date
    assert section.depends_on_date


@pytest.mark.parametrize(
    ("build_tokenizer", "how"),
    [
        (lambda: chatml(pad_token="<|im_end|>"), "with <|endoftext|>, which the vocabulary reserves"),
        (lambda: plain(pad_token="</s>"), "with <|pad|>, added to the vocabulary"),
    ],
)
def test_pad_as_it_ships_and_what_was_done(build_tokenizer, how):
    tokenizer = build_tokenizer()
    found, _ = survey(renderer(tokenizer), CLEAN[:5])
    assert set(found) == {"pad_is_eos"}
    assert found["pad_is_eos"].summary.endswith(how)


def row(chosen: list[int], rejected: list[int], keys: str = "abc", cut: int = 0) -> TokenizedPair:
    digests = tuple(key.encode().ljust(16) for key in keys)
    arrays = [np.array(side, dtype=np.int32) for side in (chosen, rejected)]
    return TokenizedPair(pair(), *arrays, "a", 1, digests, cut)


def numbers_of(rows: list[TokenizedPair]) -> tuple[TokenNumbers, np.ndarray]:
    columns = TokenColumns()
    for one in rows:
        columns.append([one])
    return columns.numbers(), np.frombuffer(b"".join(key for one in rows for key in one.keys), "V16").reshape(-1, 3)


def test_waste_by_hand():
    rows = [
        row([1, 2, 3, 4, 9], [1, 2, 3, 5, 6, 9], "Pab"),  # shares 3: tree 5 + 6 - 3 = 8
        row([1, 2, 3, 4, 9], [1, 2, 7, 9], "Pac"),  # shares 2: tree 5 + 4 - 2 = 7
        row([8, 9], [7, 9], "Qde"),  # shares nothing: tree 4
    ]
    waste = token_waste(*numbers_of(rows), pairs_per_step=2)
    assert waste.packed == 11 + 9 + 4
    assert waste.padded == 4 * 6 + 2 * 2
    assert waste.tree == 8 + 7 + 4
    # Prompt P: a trunk of 2, and three answers of 3, 4 and 2 more tokens, in place of 8 + 7.
    assert waste.prompt_tree == 2 + 3 + 4 + 2 + 4


def test_answers_that_begin_alike_are_counted_by_pairs_where_that_is_less():
    alike = list(range(10, 60))
    rows = [row([1, *alike, 2], [1, *alike, 3], "Pab"), row([1, 4], [1, 5], "Pcd")]
    waste = token_waste(*numbers_of(rows), pairs_per_step=2)
    assert waste.prompt_tree == waste.tree == 53 + 3


lengths = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(0, 3)), min_size=1, max_size=30)


@given(lengths, st.integers(1, 8))
def test_layouts_are_ordered_and_the_histogram_counts_every_text(shapes, pairs_per_step):
    rows = [
        row([1] * (a + 40) + [2, 9], [1] * (b + 40) + [3, 9], f"{prompt}{place % 7}{'xyz'[place % 3]}")
        for place, (a, b, prompt) in enumerate(shapes)
    ]
    numbers, keys = numbers_of(rows)
    waste = token_waste(numbers, keys, pairs_per_step=pairs_per_step)
    assert waste.padded >= waste.packed >= waste.tree >= waste.prompt_tree > 0
    bins = histogram(numbers.lengths.astype(np.int64), np.array([50, 99]))
    assert sum(one.chosen for one in bins) == sum(one.rejected for one in bins) == len(rows)
    assert sum(one.left_out for one in bins) == 2
    assert all(one.high + 1 == after.low for one, after in pairwise(bins))
    for one in bins:
        assert one.chosen == sum(one.low <= len(r.chosen_ids) <= one.high for r in rows)


def test_the_limit_s_effect_by_hand():
    rows = [
        row([1] * 300 + [2] * 100, [1] * 300 + [3] * 20, cut=30),  # was 430 and 350 tokens, 330 shared
        row([1] * 100 + [2] * 200, [1] * 100 + [3] * 10),  # 300 and 110, 100 shared
    ]
    numbers, _ = numbers_of(rows)
    policy = length_policy(numbers, LeftOut(np.array([600, 4000]), 400, "truncate_prompt"))
    assert (policy.limit, policy.pairs, policy.left_out, policy.cut, policy.cut_tokens) == (400, 4, 2, 1, 30)
    assert (policy.prompt_tokens, policy.differing, policy.differing_lost) == (330 + 100, 100 + 20 + 200 + 10, 0)
    assert policy.left_out_low < 0.5 < policy.left_out_high
    effects = {effect.limit: effect for effect in policy.limits}
    assert list(effects) == [256, 400, 512, 1024, 2048]
    # 256: the first pair is the same 256 tokens on both sides; of the second 300 - 256 tokens go.
    assert (effects[256].over, effects[256].identical, effects[256].differing_lost) == (4, 1, 120 + 44)
    # 400: 430 - 400 tokens of the first pair go.
    assert (effects[400].over, effects[400].identical, effects[400].differing_lost) == (3, 0, 30)
    assert (effects[2048].over, effects[2048].pairs, effects[2048].differing_lost) == (1, 4, 0)


def test_the_section_is_of_the_training_pairs_and_names_what_was_left_out():
    pairs = [pair(), pair("why " * 300), pair(chosen="Loire" * 30), pair("What?")]
    rendering = renderer(chatml(), 200)
    found, section = survey(rendering, pairs, held_out=(2,))
    kept = [rendering.render_pairs([pairs[place]])[0] for place in (0, 2)]
    counted = [len(side) for done in kept for side in (done.chosen_ids, done.rejected_ids)]
    assert found == {}
    assert (section.texts, section.tokens) == (4, sum(counted))
    assert section.last_tokens == {"<|im_end|>": 4}
    assert section.ends[0].token == "."
    assert (section.ends[0].chosen, section.ends[0].rejected) == (1, 2)
    assert (section.length.left_out, section.length.pairs, section.length.policy) == (1, 3, "drop")
    whole = renderer(chatml(), 9999).render_pairs(pairs[1:2])[0]
    (left_out,) = [one for one in section.histogram if one.left_out]
    assert left_out.low <= len(whole.chosen_ids) <= left_out.high


def test_checks_explain_themselves():
    assert len(CHECKS) == 9
    for check in CHECKS.values():
        assert check.of == "kept"
        assert all(text[0].isupper() and text.endswith(".") for text in (check.meaning, check.why))
