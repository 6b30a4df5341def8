"""Every form that preference data comes in gives the same pair; every row that is none says why."""

from __future__ import annotations

import json
from datetime import date

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rewardsmith.data.columns import find_columns
from rewardsmith.data.forms import read_pair
from rewardsmith.data.forms.transcripts import read_answers
from rewardsmith.data.sources import read_source
from rewardsmith.errors import DataError
from rewardsmith.rendering.messages import RowFault
from rewardsmith.spec import SourceSpec
from rewardsmith.types import Message, PreferencePair

ASK = {"role": "user", "content": "Name a river."}
LOIRE = {"role": "assistant", "content": "The Loire."}
NANTES = {"role": "assistant", "content": "Nantes."}
MORE = [ASK, LOIRE, {"role": "user", "content": "Another?"}]
EXPECTED = (
    (Message("user", "Name a river."),),
    (Message("assistant", "The Loire."),),
    (Message("assistant", "Nantes."),),
)


def pair_of(row: dict, strings: str = "chat", mapped: dict | None = None) -> PreferencePair:
    columns = find_columns(row.keys(), mapped or {}, where="pairs.jsonl")
    return read_pair(row, columns, strings, source="pairs.jsonl", number=7)


def parts(pair: PreferencePair):
    return pair.prompt, pair.chosen, pair.rejected


FORMS = {
    "conversational": {"prompt": [ASK], "chosen": [LOIRE], "rejected": [NANTES]},
    "implicit prompt": {"chosen": [ASK, LOIRE], "rejected": [ASK, NANTES]},
    "prompt as text, repeated in the lists": {
        "prompt": ASK["content"],
        "chosen": [ASK, LOIRE],
        "rejected": [ASK, NANTES],
    },
    "prompt as list, repeated in the lists": {"prompt": [ASK], "chosen": [ASK, LOIRE], "rejected": [ASK, NANTES]},
    "one side repeats the prompt": {"prompt": [ASK], "chosen": [ASK, LOIRE], "rejected": [NANTES]},
    "strings": {"prompt": ASK["content"], "chosen": LOIRE["content"], "rejected": NANTES["content"]},
    "strings after messages": {"prompt": [ASK], "chosen": LOIRE["content"], "rejected": NANTES["content"]},
    "OpenRLHF strings": {"input": ASK["content"], "chosen": LOIRE["content"], "rejected": NANTES["content"]},
    "OpenRLHF lists": {"chosen": [ASK, LOIRE], "rejected": [ASK, NANTES], "extra": 1},
    "single messages": {"prompt": ASK, "chosen": LOIRE, "rejected": NANTES},
    "ShareGPT": {
        "prompt": [{"from": "human", "value": "Name a river."}],
        "chosen": {"from": "gpt", "value": "The Loire."},
        "rejected": {"from": "gpt", "value": "Nantes."},
    },
    "content parts": {
        "prompt": [
            {"role": "user", "content": [{"type": "text", "text": "Name "}, {"type": "text", "text": "a river."}]}
        ],
        "chosen": [LOIRE],
        "rejected": [NANTES],
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_pair(form):
    assert parts(pair_of(FORMS[form])) == EXPECTED


def test_columns_can_be_mapped():
    row = {"question": "Name a river.", "good": "The Loire.", "bad": "Nantes.", "grade": 2, "kind": "geo", "no": 5}
    mapped = {
        "prompt": "question",
        "chosen": "good",
        "rejected": "bad",
        "target_margin": "grade",
        "subset": "kind",
        "id": "no",
    }
    pair = pair_of(row, mapped=mapped)
    assert parts(pair) == EXPECTED
    assert (pair.target_margin, pair.subset, pair.id, pair.source) == (2.0, "geo", "5", "pairs.jsonl")


def test_the_implicit_prompt_is_the_longest_common_beginning():
    pair = pair_of({"chosen": [*MORE, LOIRE], "rejected": [*MORE, NANTES]})
    assert [message.role for message in pair.prompt] == ["user", "assistant", "user"]
    assert parts(pair)[1:] == EXPECTED[1:]


def test_an_implicit_prompt_does_not_end_with_an_assistant_turn_nor_eat_the_response():
    first = pair_of({"chosen": [ASK, LOIRE, ASK, LOIRE], "rejected": [ASK, LOIRE, ASK, LOIRE]})
    assert (len(first.prompt), len(first.chosen), first.chosen) == (3, 1, first.rejected)
    second = pair_of({"chosen": [ASK, LOIRE, LOIRE], "rejected": [ASK, LOIRE, NANTES]})
    assert (len(second.prompt), len(second.chosen)) == (1, 2)


def test_a_system_message_may_stand_before_the_stated_prompt():
    system = {"role": "system", "content": "Be brief."}
    pair = pair_of({"prompt": "Name a river.", "chosen": [system, ASK, LOIRE], "rejected": [system, ASK, NANTES]})
    assert [message.role for message in pair.prompt] == ["system", "user"]


def test_text_is_left_as_it_is():
    row = {"prompt": "Q: a river?\nA:", "chosen": " the Loire\n", "rejected": " Nantes\n"}
    assert parts(pair_of(row, "text")) == tuple(
        (Message("text", row[name]),) for name in ("prompt", "chosen", "rejected")
    )


@pytest.mark.parametrize(
    ("chosen", "rejected", "prompt"),
    [
        ("Human: a river? AI: Loire", "Human: a river? AI: London", "Human: a river? AI: "),
        ("Human:\tx\nAI:\nLoire", "Human:\tx\nAI:\nNantes", "Human:\tx\nAI:\n"),
        ("Loire", "London", ""),
    ],
)
def test_the_prompt_of_text_without_one_is_its_common_beginning(chosen, rejected, prompt):
    pair = pair_of({"chosen": chosen, "rejected": rejected}, "text")
    assert "".join(message.content for message in pair.prompt) == prompt
    assert prompt + pair.chosen[0].content == chosen
    assert prompt + pair.rejected[0].content == rejected


def test_messages_stay_messages_where_strings_are_text():
    assert parts(pair_of(FORMS["conversational"], "text")) == EXPECTED


@pytest.mark.parametrize(
    ("extra", "margin"),
    [
        ({}, None),
        ({"target_margin": 1}, 1.0),
        ({"margin": "0.5"}, 0.5),
        ({"margin": "much"}, None),
        ({"margin": float("nan")}, None),
        ({"margin": True}, None),
        ({"score_chosen": 8, "score_rejected": 3.5}, 4.5),
        ({"chosen_score": 8, "rejected_score": None}, None),
        ({"score_chosen": 8}, None),
    ],
)
def test_the_target_margin(extra, margin):
    assert pair_of(FORMS["strings"] | extra).target_margin == margin


def test_id_source_and_subset():
    named = pair_of(FORMS["strings"] | {"id": 12, "source": "hh", "subset": "safety"})
    assert (named.id, named.source, named.subset) == ("12", "hh", "safety")
    unnamed = pair_of(FORMS["strings"] | {"id": None, "source": ["x"]})
    assert (unnamed.id, unnamed.source, unnamed.subset) == ("7", "pairs.jsonl", "")


GOOD = FORMS["conversational"]
FAULTS = [
    (GOOD | {"chosen": None}, "missing_field", "chosen is missing"),
    (GOOD | {"rejected": []}, "missing_field", "rejected is an empty list"),
    (GOOD | {"prompt": None}, "missing_field", "prompt is missing"),
    (GOOD | {"chosen": [{"role": "assistant"}]}, "missing_field", r"chosen\[0\].content is missing"),
    (GOOD | {"chosen": 3}, "not_text", "chosen is 3, neither text nor messages"),
    (GOOD | {"chosen": ["text"]}, "not_text", r"chosen\[0\] is 'text', not a message"),
    (GOOD | {"chosen": [{"role": "assistant", "content": 3}]}, "not_text", "content is 3, not text"),
    (
        GOOD | {"chosen": [{"role": "assistant", "content": [{"type": "image"}]}]},
        "not_text",
        "not text: {'type': 'image'}",
    ),
    (GOOD | {"chosen": [{"role": "assistant", "tool_calls": [{}], "content": ""}]}, "not_text", "no call with a name"),
    (GOOD | {"chosen": [LOIRE | {"mood": "glad"}]}, "unread_key", r"chosen\[0\] has the key 'mood' \('glad'\)"),
    (GOOD | {"chosen": [LOIRE | {"images": ["a.png"]}]}, "unread_key", "images"),
    (GOOD | {"chosen": [LOIRE | {"reasoning": "a", "thinking": "b"}]}, "unread_key", "reasoning twice"),
    (GOOD | {"tools": "lookup"}, "not_text", "tools is 'lookup', no JSON"),
    (GOOD | {"tools": [3]}, "not_text", "no list of tools"),
    (GOOD | {"chosen": [{"role": "narrator", "content": "x"}]}, "unknown_role", "'narrator'; known: system"),
    (GOOD | {"chosen": [{"role": ["a"], "content": "x"}]}, "unknown_role", r"\['a'\]"),
    (GOOD | {"chosen": [{"content": "x"}]}, "unknown_role", "None"),
    (GOOD | {"chosen": "half \ud83d"}, "not_unicode", "at character 5"),
    ({"chosen": "a", "rejected": "b"}, "missing_prompt", "no prompt"),
    ({"chosen": [LOIRE], "rejected": [NANTES]}, "missing_prompt", "no prompt"),
    ({"chosen": [ASK, LOIRE], "rejected": [MORE[2], NANTES]}, "prompt_differs", "do not begin with the same"),
    ({"chosen": [ASK, LOIRE], "rejected": [NANTES]}, "prompt_differs", "do not begin with the same"),
    (
        {"prompt": "Other?", "chosen": [ASK, LOIRE], "rejected": [ASK, NANTES]},
        "prompt_differs",
        "the prompt is not the",
    ),
    (
        {
            "chosen": [{"role": "system", "content": ""}, ASK, LOIRE],
            "rejected": [{"role": "system", "content": ""}, NANTES],
        },
        "prompt_differs",
        "do not begin",
    ),
]


@pytest.mark.parametrize(("row", "code", "detail"), FAULTS)
def test_a_row_that_is_no_pair_says_why(row, code, detail):
    with pytest.raises(RowFault, match=detail) as caught:
        pair_of(row)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("names", "mapped", "message"),
    [
        (
            ["prompt", "good", "bad"],
            {},
            r"no column 'chosen'; its columns are 'bad', 'good', 'prompt'\n.*columns: {chosen: NAME}",
        ),
        (["chosen"], {}, "no column 'rejected'"),
        (["chosen", "rejected"], {"prompt": "question"}, "no column 'question'(.|\n)*columns.prompt names it"),
        (["instruction", "input", "chosen", "rejected"], {}, "either may be the prompt"),
        ([], {}, "its columns are none"),
    ],
)
def test_missing_columns_are_named_with_those_there_are(names, mapped, message):
    with pytest.raises(DataError, match=r"^pairs\.jsonl: ") as caught:
        find_columns(names, mapped, where="pairs.jsonl")
    with pytest.raises(DataError, match=message):
        raise caught.value


def test_turns_that_answers_have_in_common_change_nothing():
    """They are read once: only where all of them are the same."""
    base = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: A river?\n\nAssistant:"
    texts = {
        f"{base} Loire": ("Hi", "Hello", "A river?", "Loire"),
        f"{base}Seine": ("Hi", "Hello", "A river?", "Seine"),
        f"{base} Loire\n\nHuman: More\n\nAssistant: Rhine": ("Hi", "Hello", "A river?", "Loire", "More", "Rhine"),
        "\n\nHuman: Hi\n\nAssistant: Hello": ("Hi", "Hello"),
        " Nantes": ("Nantes",),
        "\n\nAssistant: Angers": ("Angers",),
    }
    for first in texts:
        for second in texts:
            read = read_answers([first, second], "human_assistant", ["chosen", "rejected"])
            assert [tuple(turn.content for turn in side) for side in read] == [texts[first], texts[second]]
    for broken in (f"{base} Loire\n\nAssistant: again", f"{base} Loire\n\nHuman: unanswered"):
        with pytest.raises(RowFault, match="rejected"):
            read_answers([f"{base} Loire", broken], "human_assistant", ["chosen", "rejected"])


def test_an_answer_may_begin_with_its_own_marker(tmp_path):
    row = {"prompt": "\n\nHuman: A river?", "chosen": "\n\nAssistant: Loire", "rejected": "\n\nAssistant: Nantes"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    source = SourceSpec.model_validate({"path": str(tmp_path / "rows.jsonl"), "form": "transcript"})
    ((_, pair),) = read_source(source, role="train", strings="chat", seed=0, embedded={}).pairs
    assert [side[-1].content for side in parts(pair)] == ["A river?", "Loire", "Nantes"]


def test_rows_with_dates_and_decimals_are_grouped_as_others(tmp_path):
    """What only Parquet holds: it cannot be kept as the rest is."""
    rows = [
        {"prompt": "Hi?", "text": f"answer {place}", "score": place, "made": date(2026, 1, place + 1), "id": "7"}
        for place in range(3)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    form = {"kind": "grouped", "answer": "text", "score": "score", "better": "higher"}
    source = SourceSpec.model_validate({"path": str(tmp_path / "rows.parquet"), "form": form})
    read = read_source(source, role="train", strings="chat", seed=0, embedded={})
    found = [(pair.chosen[0].content, pair.rejected[0].content, pair.target_margin) for _, pair in read.pairs]
    assert found == [("answer 2", "answer 1", 1.0), ("answer 2", "answer 0", 2.0), ("answer 1", "answer 0", 1.0)]
