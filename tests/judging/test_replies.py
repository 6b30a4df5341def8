"""The strict parser, and verdicts from token probabilities."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.judging.questions import (
    PAIR,
    RATINGS,
    Question,
    Reply,
    load_prompts,
    pairwise_question,
    ranking_question,
    rating_question,
    read_labels,
    read_rating,
)
from rewardsmith.spec import JudgePrompts
from rewardsmith.types import Message

PROMPTS = load_prompts(JudgePrompts())
ASKED = (Message("user", "What is 2 + 2?"),)
RANKING = ranking_question(PROMPTS["ranking"], ASKED, ["3", "4", "5", "6"])
PAIRED = pairwise_question(PROMPTS["pairwise"], ASKED, (Message("assistant", "3"),), (Message("assistant", "4"),))
RATED = rating_question(PROMPTS["rating"], (*ASKED, Message("assistant", "4")))


def named(question: Question, text: str, form: str = "text") -> str | None:
    shares = read_labels(question, Reply(text, 1, 1), form)
    if shares is None:
        return None
    assert sorted(shares.values())[:-1] == [0.0] * (len(question.labels) - 1)
    return max(shares, key=shares.__getitem__)


def tops(**shares: float) -> Reply:
    return Reply("", 1, 1, (tuple((token, math.log(share)) for token, share in shares.items()),))


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Because.\n[[B]]", "B"),
        ("[[b]]", "B"),
        ("Because.\n\n**Verdict: [[D]]**\n\n", "D"),
        ("The final verdict is [[A]].", "A"),
        ("Final answer: [[C]]", "C"),
        ("<think>[[A]] perhaps</think>\n[[B]]", "B"),
        ("Answer B tells me to\n[[A]]\nbut it is wrong.\n[[C]]", "C"),
        # none of these decides
        ("The best is [[B]]", None),
        ("[[A]] and [[B]]", None),
        ("[[A]]\nThat is my verdict.", None),
        ("[[E]]", None),
        ("[[AB]]", None),
        ("[A]", None),
        ("B", None),
        ("", None),
        ("[[?]]", None),
    ],
)
def test_a_verdict_stands_alone_on_the_last_line(text: str, label: str | None) -> None:
    assert named(RANKING, text) == label


def test_a_pair_knows_a_and_b_and_c_for_a_tie() -> None:
    assert [named(PAIRED, f"So.\n[[{label}]]") for label in "ABCD"] == ["A", "B", "C", None]


@pytest.mark.parametrize(
    ("text", "rating"),
    [("[[7]]", 7), ("So.\nRating: [[10]]", 10), ("[[0]]", None), ("[[11]]", None), ("[[7/10]]", None), ("7", None)],
)
def test_ratings_are_whole_numbers_from_1_to_10(text: str, rating: float | None) -> None:
    assert read_rating(RATED, Reply(text, 1, 1), "text") == rating


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ('{"reasoning": "x", "verdict": "B"}', "B"),
        ('```json\n{"verdict": "B"}\n```', "B"),
        ('Sure: {"verdict": "B"}', None),
        ('{"verdict": "E"}', None),
        ('{"verdict": ["B"]}', None),
        ('{"answer": "B"}', None),
        ('["B"]', None),
        ('{"verdict": "B"', None),
        ("[[B]]", None),
        ("[" * 100_000, None),
    ],
)
def test_json_is_the_whole_reply(text: str, label: str | None) -> None:
    assert named(RANKING, text, "json") == label


def test_a_rating_in_json_may_be_a_number_or_text_but_not_true() -> None:
    found = [read_rating(RATED, Reply(json.dumps({"rating": value}), 1, 1), "json") for value in (7, "7", True, 7.5)]
    assert found == [7.0, 7.0, None, None]


def test_token_probabilities_are_scaled_to_the_labels() -> None:
    shares = read_labels(PAIRED, tops(A=0.5, B=0.2, C=0.1, The=0.2), "token")
    assert shares == pytest.approx({"A": 0.625, "B": 0.25, "C": 0.125})


def test_variants_of_a_token_count_together() -> None:
    reply = Reply("", 1, 1, ((("A", math.log(0.4)), (" A", math.log(0.2)), ("B", math.log(0.2))),))
    assert read_labels(PAIRED, reply, "token") == pytest.approx({"A": 0.75, "B": 0.25, "C": 0.0})


def test_labels_without_most_of_the_probability_are_no_verdict() -> None:
    assert read_labels(PAIRED, tops(A=0.3, B=0.19, The=0.51), "token") is None
    assert read_rating(RATED, tops(I=0.9), "token") is None


def test_without_probabilities_the_letter_itself_counts() -> None:
    assert [named(PAIRED, text, "token") for text in ("B", " B\n", "[[B]]", "B it is", "")] == [
        "B",
        "B",
        "B",
        None,
        None,
    ]


def test_a_rating_is_the_mean_over_the_probabilities() -> None:
    reply = tops(**{"7": 0.5, "8": 0.25, "10": 0.25})
    assert read_rating(RATED, reply, "token") == pytest.approx(0.5 * 7 + 0.25 * 8 + 0.25 * 10)


def test_a_one_that_may_begin_a_ten_is_read_as_it_is_written() -> None:
    parted = (("1", math.log(0.6)), ("7", math.log(0.4)))
    assert read_rating(RATED, Reply("10", 1, 1, (parted,)), "token") == 10
    assert read_rating(RATED, Reply("7", 1, 1, (parted,)), "token") == 7


@given(st.text(max_size=200), st.sampled_from(["text", "json", "token"]))
def test_whatever_is_said_it_is_a_label_or_missing(text: str, form: str) -> None:
    shares = read_labels(RANKING, Reply(text, 1, 1), form)
    assert shares is None or (set(shares) == set("ABCD") and sum(shares.values()) == 1)
    rating = read_rating(RATED, Reply(text, 1, 1), form)
    assert rating is None or str(int(rating)) in RATINGS


@given(st.text(max_size=300))
def test_talk_before_the_verdict_changes_nothing(talk: str) -> None:
    assert named(PAIRED, f"{talk}\n[[B]]") == "B" or "</think>" in talk
    assert set(PAIR) == {"A", "B", "C"}
