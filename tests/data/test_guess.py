"""What a file of preferences seems to hold: names of columns as people give them, and what must not be guessed."""

from __future__ import annotations

import json

import pytest

from rewardsmith.data.forms.recognise import look, recognise, unread_columns
from rewardsmith.data.forms.wordings import guess_columns
from rewardsmith.data.sources import first_pair, read_source
from rewardsmith.errors import DataError
from rewardsmith.spec import SourceSpec
from rewardsmith.spec.forms import same

GOOD, BAD = "It is the Loire.", "I would rather not say."


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
        ("question context chosen rejected", {"prompt": "question"}, ()),
    ],
)  # fmt: skip
def test_names(names, columns, missing):
    assert guess_columns(names.split()) == (columns, missing)


def test_what_nothing_will_read_is_named():
    names = ["question", "better", "worse", "where from", "id", "score_chosen", "score_rejected"]
    mapped, _ = guess_columns(names)

    def unread(**changes):
        return unread_columns(names, SourceSpec.model_validate({"path": "x.csv", "columns": mapped, **changes}))

    assert unread() == ("where from",)
    assert unread(columns={**mapped, "source": "where from"}) == ()
    assert unread(ignore=["where from"]) == ()


def found_in(*rows):
    return recognise(list(dict.fromkeys(name for row in rows for name in row)), rows)


# Columns of one row (more rows where the values of one column need more), and the form that says what they mean.
SAID = {
    "a letter that ends the answer's column": (
        [{"prompt": "Q?", "answer_a": GOOD, "answer_b": BAD, "winner": winner} for winner in ("a", "b", "tie")],
        {"first": "answer_a", "second": "answer_b",
         "verdict": {"column": "winner", "values": {"first": ["a"], "second": ["b"], "tie": ["tie"]}}},
    ),
    "left and right": (
        [{"prompt": "Q?", "text1": GOOD, "text2": BAD, "choice": side} for side in ("left", "right", "left")],
        {"first": "text1", "second": "text2",
         "verdict": {"column": "choice", "values": {"first": ["left"], "second": ["right"]}}},
    ),
    "the index that ends the answer's column": (
        [{"prompt": "Q?", "response_0": GOOD, "response_1": BAD, "label": label} for label in (0, 1, 1)],
        {"first": "response_0", "second": "response_1",
         "verdict": {"column": "label", "values": {"first": [0], "second": [1]}}},
    ),
    "the name of the column": (
        [{"prompt": "Q?", "one": GOOD, "two": BAD, "chosen": name} for name in ("one", "two", "one")],
        {"first": "one", "second": "two", "named": {"column": "chosen"}},
    ),
    "a column for each outcome": (
        [{"prompt": "Q?", "reply_a": GOOD, "reply_b": BAD, "wins_a": 1, "wins_b": 0},
         {"prompt": "Q?", "reply_a": GOOD, "reply_b": BAD, "wins_a": 0, "wins_b": 1}],
        {"first": "reply_a", "second": "reply_b", "one_hot": {"first": "wins_a", "second": "wins_b"}},
    ),
    "a score of each, in the middle of the names": (
        [{"conv_A": [{"role": "user", "content": "Q?"}], "conv_B": [], "conv_A_rating": 1, "conv_B_rating": 0}],
        {"first": "conv_A", "second": "conv_B",
         "scores": {"first": "conv_A_rating", "second": "conv_B_rating", "better": "higher"}},
    ),
    "AlpacaFarm": (
        [{"instruction": "Q?", "input": "x", "output_1": GOOD, "output_2": BAD, "preference": n} for n in (1, 2, 1)],
        {"first": "output_1", "second": "output_2",
         "verdict": {"column": "preference", "values": {"first": [1], "second": [2]}}},
    ),
    "a score of each": (
        [{"prompt": "Q?", "answer_1": GOOD, "answer_2": BAD, "score_1": 3, "score_2": 1.5}],
        {"first": "answer_1", "second": "answer_2",
         "scores": {"first": "score_1", "second": "score_2", "better": "higher"}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", SAID)
def test_a_file_that_says_which_answer_is_better(way):
    rows, form = SAID[way]
    assert found_in(*rows).form == {"kind": "comparison", **form}


@pytest.mark.parametrize(
    ("rows", "form"),
    [
        (
            [{"prompt": "Q?", "responses": [GOOD, BAD], "scores": [2, 1]}],
            {"kind": "list", "answers": "responses", "scores": "scores", "better": "higher"},
        ),
        (
            [{"question": "Q?", "answers": [{"text": GOOD, "rank": 1}, {"text": BAD, "rank": 2}]}],
            {"kind": "list", "answers": "answers", "text": "text", "score": "rank", "better": "lower"},
        ),
        (
            [{"prompt": "Q?", "response": text, "rating": n} for n, text in enumerate((GOOD, BAD, GOOD + "!", "No."))],
            {"kind": "grouped", "answer": "response", "score": "rating", "better": "higher"},
        ),
        (
            [{"prompt": "\n\nHuman: Q?\n\nAssistant:", "chosen": GOOD, "rejected": BAD, "extra": 1}],
            {"kind": "transcript"},
        ),
        (
            [{"question": "Q?", "better": f"Q? {GOOD}", "worse": f"Q? {BAD}"}],
            {"kind": "pair", "repeated": True},
        ),
    ],
)
def test_other_ways_to_write_a_preference(rows, form):
    found = found_in(*rows)
    assert {name: found.form.get(name) for name in form} == form
    assert found.problem == ""


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        # 0 and 1 beside A and B: SHP means B by 0, others A
        (
            [{"prompt": "Q?", "answer_A": GOOD, "answer_B": BAD, "label": label} for label in (0, 1, 1)],
            "not which value means which",
        ),
        ([{"prompt": "Q?", "x": GOOD, "y": BAD, "winner": "a"}], "'winner' says which of two answers won (a), but not"),
        (
            [{"prompt": "Q?", "x": GOOD, "y": BAD}],
            "no single column seems to hold the chosen and the rejected response",
        ),
    ],
)
def test_what_the_file_does_not_say_is_not_guessed(rows, says):
    found = found_in(*rows)
    assert says in found.problem
    assert "kind: comparison" in found.fix


def test_the_prompt_is_found_where_one_column_can_hold_it():
    asked = [{"from": "user", "value": "Q?"}]
    assert found_in({"trajectory": asked, "chosen": GOOD, "rejected": BAD, "id": "1"}).columns == {
        "prompt": "trajectory"
    }
    farm = found_in(*SAID["AlpacaFarm"][0])
    assert farm.columns == {"prompt": "instruction", "input": "input"}
    whole = [*asked, {"from": "gpt", "value": GOOD}]
    assert found_in({"trajectory": asked, "chosen": whole, "rejected": whole}).columns == {}  # the sides begin with it


def test_context_is_mapped_by_its_name():
    found = found_in(
        {"question": "Q?", "chosen": GOOD, "rejected": BAD, "system": "Be brief.", "context": "It says 5."}
    )
    assert found.columns == {"prompt": "question", "system": "system", "context": "context"}


def test_short_answers_are_no_verdicts(tmp_path):
    path = tmp_path / "choices.csv"
    path.write_text("question,winner,worse\nA or B?,A,B\n1 or 3?,three,1\n")
    assert look(path).found.columns == {"prompt": "question", "chosen": "winner", "rejected": "worse"}


@pytest.mark.parametrize(("text", "says"), [(None, "no such file"), ("question,better\n", "has no rows")])
def test_nothing_to_look_at(text, says, tmp_path):
    path = tmp_path / "pairs.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=says):
        look(path)


def test_the_first_pair_is_read_as_check_will_read_it(tmp_path):
    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": "Q?", "chosen": GOOD, "rejected": GOOD}, {"prompt": "Q?", "chosen": GOOD, "rejected": BAD}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    shown = first_pair(SourceSpec(path=str(path)))
    assert (shown.row, shown.read, shown.rejected) == (2, 2, {"identical_pair": 1})
    assert shown.pair.chosen[0].content == GOOD


# What no schema is known for: a question, a good answer and a bad one; two of three times the good one is first.
ROWS = [(f"Question {n}?", f"It is the Loire {n}.", f"I will not say {n}.", n % 3 != 0) for n in range(24)]


def ordered(good, bad, first):
    return (good, bad) if first else (bad, good)


def two(first="response_a", second="response_b", **label):
    """Rows of two answers; a label is called with whether the first is the better one, and the row's place."""
    return [
        {"prompt": question, first: one, second: other} | {name: of(is_first, n) for name, of in label.items()}
        for n, (question, good, bad, is_first) in enumerate(ROWS)
        for one, other in [ordered(good, bad, is_first)]
    ]


def inside(rows, make):
    return [make(row["prompt"], row["response_a"], row["response_b"], row.get("winner")) for row in rows]


A, B = "response_a", "response_b"
COMPARED = {"kind": "comparison", "first": A, "second": B}
WON = {"first": ["a"], "second": ["b"]}
AB = two(winner=lambda is_first, n: "a" if is_first else "b")


def verdict(column, **values):
    return {"verdict": {"column": column, "values": values}}


# Rows; what `init` says is missing (a part of it); and the form that a reader of that message writes.
UNPUBLISHED = {
    "five points": (
        two(rating=lambda is_first, n: (1 + n % 2) if is_first else (4 + n % 2)),
        "'rating' (1, 2, 4, 5) may say which is better",
        COMPARED | verdict("rating", first=[1, "2"], second=[4.0, 5], tie=[3]),
    ),
    "signed": (
        two(strength=lambda is_first, n: 2 if is_first else -1),
        "'strength' (-1, 2) may say",
        COMPARED | {"strength": {"column": "strength", "first_is": "positive"}},
    ),
    "truth value": (
        two(a_is_better=lambda is_first, n: is_first),
        "'a_is_better' (False, True) says which is better, but not which value means which",
        COMPARED | verdict("a_is_better", first=[True], second=["FALSE"]),
    ),
    "by name": (
        inside(
            AB,
            lambda q, a, b, w: {
                "prompt": q,
                "responses": {"gpt": a, "llama": b},
                "winner": "gpt" if w == "a" else "llama",
            },
        ),
        "column 'responses' holds answers by name (gpt, llama), and not which is better",
        {"kind": "comparison", "first": "responses.gpt", "second": "responses.llama"}
        | verdict("winner", first=["gpt"], second=["llama"]),
    ),
    "nested": (
        inside(
            AB, lambda q, a, b, w: {"prompt": q, "out": {"a": {"text": a}, "b": {"text": b}}, "note": {"choice": w}}
        ),
        "column 'out' holds answers by name (a, b)",
        {"kind": "comparison", "first": "out.a.text", "second": "out.b.text"} | verdict("note.choice", **WON),
    ),
    "by place": (
        inside(AB, lambda q, a, b, w: {"prompt": q, "candidates": [a, b], "best": "ab".index(w)}),
        "column 'candidates' holds several answers",
        {"kind": "comparison", "first": "candidates[0]", "second": "candidates[1]"}
        | verdict("best", first=[0], second=[1]),
    ),
    "a list of labels": (
        inside(AB, lambda q, a, b, w: {"prompt": q, "answers": [a, b], "labels": [int(w == "a"), int(w == "b")]}),
        "column 'answers' holds several answers",
        {"kind": "list", "answers": "answers", "scores": "labels", "better": "higher"},
    ),
}


@pytest.mark.parametrize("name", UNPUBLISHED)
def test_a_file_of_no_known_schema_says_what_is_missing_and_reads_with_the_form_it_names(name, tmp_path):
    rows, problem, form = UNPUBLISHED[name]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = look(path).found
    assert problem in found.problem
    assert "form" in found.fix
    if form is not None:
        assert found.fix.count(f"kind: {form['kind']}") == 1
        read = read_source(
            SourceSpec.model_validate({"path": str(path), "form": form}),
            role="train",
            strings="chat",
            seed=0,
            embedded={},
        )
        sides = [(pair.prompt[-1].content, pair.chosen[0].content, pair.rejected[0].content) for _, pair in read.pairs]
        assert sides == [(question, good, bad) for question, good, bad, _ in ROWS]


WRITTEN_OUT = {
    "brackets": {"judgement": lambda is_first, n: "[[A]]" if is_first else "[[B]]"},
    "likert": {"preference": lambda is_first, n: f"{'A' if is_first else 'B'} is {('much', 'slightly')[n % 2]} better"},
    "probability": {"p_a": lambda is_first, n: 0.9 if is_first else 0.2},
}


@pytest.mark.parametrize("name", WRITTEN_OUT)
def test_a_file_that_writes_its_verdict_out_is_read_by_it(name, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in two(**WRITTEN_OUT[name])))
    found = look(path).found
    assert found.problem == ""
    source = SourceSpec.model_validate({"path": str(path), "form": found.form, "columns": found.columns})
    read = read_source(source, role="train", strings="chat", seed=0, embedded={})
    sides = [(pair.prompt[-1].content, pair.chosen[0].content, pair.rejected[0].content) for _, pair in read.pairs]
    assert sides == [(question, good, bad) for question, good, bad, _ in ROWS]


def test_labels_with_blanks_around_them_are_the_labels(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = two(winner=lambda is_first, n: ((" a", "A ") if is_first else ("b", "B\n"))[n % 2])
    rows[5]["winner"] = None
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = look(path).found
    assert [[same(value) for value in found.form["verdict"]["values"][side]] for side in ("first", "second")] == [
        ["a"],
        ["b"],
    ]
    source = SourceSpec.model_validate({"path": str(path), "form": found.form, "columns": found.columns})
    read = read_source(source, role="train", strings="chat", seed=0, embedded={})
    assert [pair.chosen[0].content for _, pair in read.pairs] == [
        good for n, (_, good, _, _) in enumerate(ROWS) if n != 5
    ]
    assert [(row.row, row.reason) for row in read.rejected] == [(6, "unknown_verdict")]


def test_an_answer_without_a_score_rejects_its_row_and_no_other(tmp_path):
    rows = [
        {"prompt": q, "answers": [{"text": good, "score": 4}, {"text": bad, "score": 2}]} for q, good, bad, _ in ROWS
    ]
    del rows[3]["answers"][1]["score"]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "not all of them have a number" in look(path).found.problem
    form = {"kind": "list", "answers": "answers", "text": "text", "score": "score", "better": "higher"}
    source = SourceSpec.model_validate({"path": str(path), "form": form})
    read = read_source(source, role="train", strings="chat", seed=0, embedded={})
    assert (len(read.pairs), [(row.row, row.reason) for row in read.rejected]) == (23, [(4, "unknown_verdict")])


def test_labels_are_compared_as_what_they_say():
    assert [same(value) for value in (1, 1.0, "1", " 1.0", "+1", "1e0", "01")] == ["1"] * 7
    assert [same(value) for value in (True, "True", "TRUE ")] == ["true"] * 3
    assert same(None) != same("None") != same("")  # a missing label is no label that may mean a tie
    assert same("1_0") == "1_0"  # a name, though Python takes it for ten
    assert same("nan") == "nan"
    assert same("12345678901234567890") != same("12345678901234567891")  # ids that one float cannot tell apart
    assert same(-3) == same("-3.0") == "-3"
    assert same(0.5) == same("0.50")
