"""What a file of pairs seems to hold: names of columns as people give them, and what must not be guessed."""

from __future__ import annotations

import json

import pytest

from rewardsmith.data.guess import guess_columns, look, unread_columns
from rewardsmith.errors import DataError


@pytest.mark.parametrize(
    ("names", "columns", "missing"),
    [
        ("prompt chosen rejected", {}, ()),
        ("input chosen rejected", {}, ()),
        ("question better worse", {"chosen": "better", "rejected": "worse", "prompt": "question"}, ()),
        ("Query BestText BadText", {"chosen": "BestText", "rejected": "BadText", "prompt": "Query"}, ()),
        ("response_win response_lose", {"chosen": "response_win", "rejected": "response_lose"}, ()),
        ("instruction winner loser", {"chosen": "winner", "rejected": "loser", "prompt": "instruction"}, ()),
        ("chosen rejected", {}, ()),
        ("best_answer good_answer worst", {"rejected": "worst"}, ("chosen",)),  # two would fit
        ("query goodness badly", {"prompt": "query"}, ("chosen", "rejected")),  # whole words only
        ("a b", {}, ("chosen", "rejected")),
        ("question query chosen rejected", {}, ()),  # which of the two is the prompt is left open
    ],
)  # fmt: skip
def test_names(names, columns, missing):
    assert guess_columns(names.split()) == (columns, missing)


def test_what_nothing_will_read_is_named():
    names = ["question", "better", "worse", "where from", "id", "score_chosen", "score_rejected"]
    mapped, _ = guess_columns(names)
    assert unread_columns(names, mapped) == ("where from",)
    assert unread_columns(names, {**mapped, "source": "where from"}) == ()


def test_a_column_that_says_who_won_is_no_answer(tmp_path):
    path = tmp_path / "rated.jsonl"
    rows = [{"prompt": "2 + 2?", "a": "4", "b": "5", "winner": winner} for winner in ("a", "b", "tie")]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    seen = look(path)
    assert (seen.names, seen.columns, seen.missing) == (("prompt", "a", "b", "winner"), {}, ("chosen", "rejected"))
    assert seen.verdict == "winner"


def test_short_answers_are_no_verdicts(tmp_path):
    path = tmp_path / "choices.csv"
    path.write_text("question,answer,worse\nA or B?,A,B\n")
    assert look(path).verdict == ""
    path.write_text("question,winner,worse\nA or B?,A,B\n1 or 3?,three,1\n")
    seen = look(path)
    assert (seen.verdict, seen.columns["chosen"]) == ("", "winner")


@pytest.mark.parametrize(("text", "says"), [(None, "no such file"), ("question,better\n", "has no rows")])
def test_nothing_to_look_at(text, says, tmp_path):
    path = tmp_path / "pairs.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=says):
        look(path)
