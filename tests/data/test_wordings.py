"""What people write themselves: rankings, strengths in words, probabilities, thumbs; read as they say, or refused."""

from __future__ import annotations

import json

import pytest

from rewardsmith.data.forms.recognise import recognise
from rewardsmith.data.forms.wordings import strengths
from rewardsmith.data.sources import read_source
from rewardsmith.errors import DataError, SpecError
from rewardsmith.spec import SourceSpec
from rewardsmith.spec.loading import parse_spec

Q, P = {"prompt": "Which river?"}, {"prompt": "Which town?"}
X, Y, Z = "It is the Loire.", "No idea at all.", "It is a long one."
TWO = {"response_a": X, "response_b": Y}
LIST = {"kind": "list", "better": "lower"}
THUMBS = {"kind": "grouped", "answer": "text", "score": "label", "better": "higher"}


def read(tmp_path, rows, **source):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = SourceSpec.model_validate({"path": str(path), **source})
    found = read_source(spec, role="train", strings="chat", seed=0, embedded={})
    pairs = [(pair.chosen[-1].content, pair.rejected[-1].content, pair.target_margin) for _, pair in found.pairs]
    return pairs, [(row.row, row.reason) for row in found.rejected]


# Rows; the pairs of the whole file, with their margins; how many rows are ties.
KNOWN = {
    "a verdict in double brackets": (
        [{**Q, **TWO, "winner": "[[B]]"}, {**P, **TWO, "winner": "[[A]]"}, {**Q, **TWO, "winner": "[[C]]"}],
        [(Y, X, None), (X, Y, None)], 1),
    "a strength in words": (
        [{**Q, **TWO, "said": "A is much better"}, {**P, **TWO, "said": "Response B is slightly better"},
         {**Q, **TWO, "said": "About the same"}],
        [(X, Y, 3.0), (Y, X, 1.0)], 1),
    "a strength in signs": (
        [{**Q, **TWO, "said": "A>>B"}, {**P, **TWO, "said": "B>A"}, {**Q, **TWO, "said": "A=B"}],
        [(X, Y, 2.0), (Y, X, 1.0)], 1),
    "a probability of the answer that its name says": (
        [{**Q, **TWO, "prob_b": 0.75}, {**P, **TWO, "prob_b": 0.25}, {**Q, **TWO, "prob_b": 0.5}],
        [(Y, X, 0.5), (X, Y, 0.5)], 1),
    "a ranking in letters of a list": (
        [{**Q, "answers": [X, Y, Z], "ranking": "B>A=C"}, {**P, "answers": [X, Y, Z], "ranking": "A > B > C"}],
        [(Y, X, 1.0), (Y, Z, 1.0), (X, Y, 1.0), (X, Z, 2.0), (Y, Z, 1.0)], 0),
    "a ranking by numbers from 1": (
        [{**Q, "answers": [X, Y], "ranking": "2>1"}, {**P, "answers": [X, Y], "ranking": "1>2"}],
        [(Y, X, 1.0), (X, Y, 1.0)], 0),
    "a ranking of columns, whatever their order": (
        [{**Q, "answer_c": Z, "answer_b": Y, "answer_a": X, "ranking": "C>A>B"}],
        [(Z, X, 1.0), (Z, Y, 2.0), (X, Y, 1.0)], 0),
    "three answers in columns with scores": (
        [{**Q, "answer_1": X, "answer_2": Y, "answer_3": Z, "score_1": 1, "score_2": 5, "score_3": 2}],
        [(Y, X, 4.0), (Y, Z, 3.0), (Z, X, 1.0)], 0),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_what_is_written_out_is_recognised_and_read(name, tmp_path):
    rows, pairs, ties = KNOWN[name]
    found = recognise(list(dict.fromkeys(key for row in rows for key in row)), rows)
    assert found.problem == ""
    kept, rejected = read(tmp_path, rows, form=found.form, columns=found.columns)
    assert (sorted(kept, key=repr), [reason for _, reason in rejected]) == (sorted(pairs, key=repr), ["tie"] * ties)


UNCLEAR = {
    "a probability of nobody knows which": [{**Q, **TWO, "probability": 0.75}, {**P, **TWO, "probability": 0.25}],
    "letters for numbered columns": [{**Q, "answer_1": X, "answer_2": Y, "answer_3": Z, "ranking": "B>A>C"}],
    "a negation": [{**Q, **TWO, "said": text} for text in ("A is not better", "B is better", "A is better") * 2],
    "votes within turns": [
        {"conversation": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": X, "vote": n}]}
        for n in (1, -1)
    ],
}


@pytest.mark.parametrize("name", UNCLEAR)
def test_what_does_not_say_it_is_not_guessed(name):
    rows = UNCLEAR[name]
    found = recognise(list(rows[0]), rows)
    assert found.problem
    assert found.fix
    if name == "votes within turns":
        assert "'conversation' is a conversation whose turns carry 'vote'" in found.problem


@pytest.mark.parametrize(
    ("values", "ends", "expected"),
    [
        (["Strongly prefer A", "slightly prefer B", "No preference"], ("a", "b"), [3, -1, 0]),
        (["response 1 is better", "Response 2 is much better than response 1"], ("1", "2"), [2, -3]),
        (["A is better", "A is much better"], ("a", "b"), None),  # one side alone may be a prompt to disagree
        (["A is better", "B is worse"], ("a", "b"), None),
        (["A is better", "B is better, I think"], ("a", "b"), None),
        (["A>B", "B>>A", "A<B"], ("a", "b"), [1, -2, -1]),
    ],
)
def test_strengths_in_words(values, ends, expected):
    found = strengths(values, ends)
    assert (found and list(found.values())) == expected


@pytest.mark.parametrize(("value", "pairs"), [(0.9, [(X, Y, pytest.approx(0.8))]), (0.0, [(Y, X, 1.0)]), ("0.5", [])])
def test_a_probability_decides_at_a_half(value, pairs, tmp_path):
    form = {"kind": "comparison", "first": "response_a", "second": "response_b", "probability": {"column": "p"}}
    kept, rejected = read(tmp_path, [{**Q, **TWO, "p": value}], form=form)
    assert kept == pairs
    assert rejected == ([] if pairs else [(1, "tie")])


def test_what_is_no_probability_is_rejected(tmp_path):
    form = {"kind": "comparison", "first": "response_a", "second": "response_b", "probability": {"column": "p"}}
    for value in (1.5, -0.1, 75, "high", None, True):
        assert read(tmp_path, [{**Q, **TWO, "p": value}], form=form) == ([], [(1, "unknown_verdict")])


@pytest.mark.parametrize("ranking", ["B>A", "B>A>D>C", "B>A>C>A", "A<B<C", "", None, 3, ["A", "B"]])
def test_a_ranking_of_other_answers_is_rejected(ranking, tmp_path):
    rows = [{**Q, "answers": [X, Y, Z], "r": ranking}]
    assert read(tmp_path, rows, form={**LIST, "answers": "answers", "ranking": "r"})[1] == [(1, "unknown_verdict")]


def test_answers_by_name_are_ranked_and_scored_by_name(tmp_path):
    rows = [{**Q, "answers": {"b": X, "a": Y}, "r": ["a", "b"], "s": {"a": 2, "b": 7}}]
    assert read(tmp_path, rows, form={**LIST, "answers": "answers", "ranking": "r"})[0] == [(Y, X, 1.0)]
    scored = {"kind": "list", "answers": "answers", "scores": "s", "better": "higher"}
    assert read(tmp_path, rows, form=scored)[0] == [(X, Y, 5.0)]


def test_thumbs_are_compared_within_a_prompt_and_counted_without(tmp_path):
    rows = [{**Q, "text": X, "label": True}, {**Q, "text": Y, "label": False}, {**P, "text": Z, "label": True}]
    assert read(tmp_path, rows, form=THUMBS) == ([(X, Y, 1.0)], [(3, "no_comparison")])
    words = [{**row, "label": "good" if row["label"] else "bad"} for row in rows]
    assert read(tmp_path, words, form=THUMBS)[1] == [(n, "unknown_verdict") for n in (1, 2, 3)]
    named = {**THUMBS, "words": {"Good": 1, "bad": 0}}
    assert read(tmp_path, words, form=named) == ([(X, Y, 1.0)], [(3, "no_comparison")])


def test_marked_turns_of_helpsteer_become_turns_or_are_rejected_with_their_place(tmp_path):
    earlier = "Hi\n<extra_id_1>Assistant\nHello\n<extra_id_1>User\nA river?"
    form = {**THUMBS, "transcript": "extra_id"}
    rows = [{"prompt": earlier, "text": X, "label": 2}, {"prompt": earlier, "text": Y, "label": 1},
            {"prompt": "Hi\n<extra_id_1>Assistant\nHello", "text": Y, "label": 1}]  # fmt: skip
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = SourceSpec.model_validate({"path": str(path), "form": form})
    found = read_source(spec, role="train", strings="chat", seed=0, embedded={})
    ((_, pair),) = found.pairs
    turns = [(turn.role, turn.content) for turn in pair.prompt]
    assert turns == [("user", "Hi"), ("assistant", "Hello"), ("user", "A river?")]
    (rejected,) = found.rejected
    assert (rejected.row, rejected.reason) == (3, "transcript")
    assert "ends with assistant's turn" in rejected.detail


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({**LIST, "answers": "a", "ranking": "r", "score": "s"}, "exactly one of score"),
        ({"kind": "list", "answers": "a", "ranking": "r", "better": "higher"}, "of which 1 is the best"),
        ({**LIST, "answers": ["a"], "ranking": "r"}, "a single answer"),
        ({**LIST, "answers": "a", "rankings": {"column": "r"}, "pairs": "adjacent"}, "A may beat B, B C, and C A"),
        ({**LIST, "answers": "a", "rankings": {"column": "r"}, "ranking": "r"}, "has ranking and rankings"),
    ],
)
def test_a_form_that_contradicts_itself_is_refused(form, says):
    with pytest.raises(SpecError, match=says):
        parse_spec({"data": {"train": [{"path": "x.jsonl", "form": form}]}})


FLAT = {**Q, "response1": X, "response2": Y, "response3": Z}
VOTED = {"kind": "list", "answers": ["response1", "response2", "response3"], "better": "lower"}


def test_several_rankings_are_votes_on_every_two_answers(tmp_path):
    """By hand. Of 2 before 1 all three say so, of 2 before 3 two of three, and of 1 and 3 one more says 3."""
    rankings = [
        ["response2", "response1", "response3"],
        ["response3", "response2", "response1"],
        ["response2", "response3", "response1"],
    ]
    form = {**VOTED, "rankings": {"column": "said"}}
    pairs, left = read(tmp_path, [{**FLAT, "said": rankings}], form=form)
    assert (sorted(pairs), left) == (sorted([(Y, X, 3.0), (Y, Z, 1.0), (Z, X, 1.0)]), [])
    pairs, _ = read(tmp_path, [{**FLAT, "said": rankings}], form={**form, "min_gap": 2})
    assert pairs == [(Y, X, 3.0)]


def test_rankings_in_a_circle_give_the_circle(tmp_path):
    """A over B, B over C, C over A, each by two of three: the finding `preference_cycle` is what looks at that."""
    rankings = [["response1", "response2", "response3"], ["response2", "response3", "response1"],
                ["response3", "response1", "response2"]]  # fmt: skip
    pairs, _ = read(tmp_path, [{**FLAT, "said": rankings}], form={**VOTED, "rankings": {"column": "said"}})
    assert sorted(pairs) == sorted([(X, Y, 1.0), (Y, Z, 1.0), (Z, X, 1.0)])


def test_rankings_that_are_none_are_rejected(tmp_path):
    form = {**VOTED, "rankings": {"column": "said", "status": "state"}}
    whole = ["response2", "response1", "response3"]
    rows = [
        {**FLAT, "said": [whole], "state": ["submitted"]},
        {**FLAT, "said": [whole], "state": ["draft"]},  # no vote that counts
        {**FLAT, "said": [whole[:2]], "state": ["submitted"]},  # one answer is not ranked
        {**FLAT, "said": [[*whole, "response1"]], "state": ["submitted"]},  # one is ranked twice
        {**FLAT, "said": [whole], "state": ["submitted", "submitted"]},
        {**FLAT, "said": "response2", "state": ["submitted"]},
    ]
    pairs, left = read(tmp_path, rows, form=form)
    assert len(pairs) == 3
    assert left == [(number, "unknown_verdict") for number in range(2, 7)]


def flat_export(orders):
    """Rows of Argilla's client: a list of rankings a row, each a list of names."""
    one = "preference.responses"
    return [{**FLAT, "id": str(n), one: [order], f"{one}.status": ["submitted"]} for n, order in enumerate(orders)]


def test_a_flat_export_whose_rankings_are_all_alike_has_lost_its_ranks(tmp_path):
    """What Argilla's page for annotators saves stands in the order of the options (its issue 5712)."""
    options, other = ["response1", "response2", "response3"], ["response3", "response2", "response1"]
    rows = flat_export([options] * 5)
    found = recognise(list(rows[0]), rows)
    assert "each of its 5 rankings has the same order (response1, response2, response3)" in found.problem
    form = {**VOTED, "rankings": {"column": "preference.responses", "status": "preference.responses.status"}}
    with pytest.raises(DataError, match="each of its 5 rankings has the same order"):
        read(tmp_path, rows, form=form)
    pairs, _ = read(tmp_path, rows, form=form, ignore=["preference.responses"])
    assert len(pairs) == 15
    for sound in (flat_export([options] * 4), flat_export([options] * 5 + [other])):
        found = recognise(list(sound[0]), sound)
        assert (found.problem, found.form["kind"], found.form["answers"]) == ("", "list", options)
        assert read(tmp_path, sound, form=found.form, columns=found.columns)[1] == []


def test_a_flat_export_whose_rankings_name_no_columns_says_so():
    rows = flat_export([["reply-1", "reply-2"], ["reply-2", "reply-1"]])
    assert "its rankings name reply-1, reply-2, which are not all columns" in recognise(list(rows[0]), rows).problem


def test_nested_rankings_of_three_answers_are_all_compared(tmp_path):
    """They were read as a comparison of the first two alone."""
    ranking = [{"value": "response3", "rank": 1}, {"value": "response1", "rank": 2}, {"value": "response2", "rank": 2}]
    rows = [{**FLAT, "preference": [{"user_id": "u", "value": ranking, "status": "submitted"}]}]
    found = recognise(list(rows[0]), rows)
    pairs, _ = read(tmp_path, rows, form=found.form, columns=found.columns)
    assert pairs == [(Z, X, 1.0), (Z, Y, 1.0)]
