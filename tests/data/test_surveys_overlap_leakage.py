"""Held-out prompts that are trained on: exact, near and by turn, each row once."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from overlap_world import asks, edited, row, setting, surveyed, text

from rewardsmith.data.store import TokenizedPair
from rewardsmith.data.surveys.near_duplicates import NearDuplicates
from rewardsmith.types import Conversation

CODES = ("leaked_prompt", "near_leaked_prompt", "leaked_turn")


def rows_of(prompts: list[str | Conversation]) -> list[TokenizedPair]:
    rng = Random(0)
    return [row(prompt, text(rng, 20), text(rng, 20), number=number) for number, prompt in enumerate(prompts, 1)]


def leaks(train: list[str | Conversation], held_out: list[str | Conversation]) -> dict[str, Any]:
    """Places of held-out rows count on from the training rows."""
    rows = rows_of([*train, *held_out])
    found, record = surveyed(NearDuplicates(setting()), rows, range(len(train), len(rows)))
    counts = (record.leaked_prompts, record.near_leaked_prompts, record.leaked_turns)
    assert counts == tuple(len(found[code].places) for code in CODES)
    return found


@pytest.mark.parametrize("rate", [0.001, 0.01, 0.1])
def test_planted_leaks_are_found_and_nothing_else(rate: float) -> None:
    rng = Random(str(rate))
    size = 2000
    train = [text(rng, rng.randint(30, 80)) for _ in range(size)]
    held_out = [text(rng, rng.randint(30, 80)) for _ in range(size)]
    planted = rng.sample(range(size), round(rate * size) * 3)
    exact, near, turn = planted[0::3], planted[1::3], planted[2::3]
    conversations: list[str | Conversation] = list(held_out)
    for place in exact:
        conversations[place] = train[place]
    for place in near:
        conversations[place] = edited(rng, train[place], 0.05)
    for place in turn:
        conversations[place] = asks(text(rng, 60), text(rng, 60), train[place])
    found = leaks(list(train), conversations)
    assert found["leaked_prompt"].places.tolist() == sorted(size + place for place in exact)
    assert found["leaked_prompt"].remove.tolist() == sorted(exact)
    nearly, by_turn = (set((found[code].places - size).tolist()) for code in CODES[1:])
    assert nearly | by_turn <= set(near) | set(turn)
    assert set(turn) <= nearly | by_turn  # a long question in a short conversation is both
    assert len(nearly & set(near)) >= 0.95 * len(near)
    assert set(found["leaked_turn"].remove.tolist()) == by_turn


def test_a_question_in_a_longer_conversation_is_a_leak() -> None:
    question = "Which of the two rivers is the longer one, and why?"
    train = [asks("Tell me about rivers.", "They flow.", question, "The first.", "Thanks!"), "Is water wet?"]
    found = leaks(train, [question, "Which river?"])
    assert found["leaked_turn"].places.tolist() == [2]
    assert found["leaked_turn"].remove.tolist() == [0]
    assert found["leaked_turn"].detail(2) == "pairs.jsonl:1 trains on the same question as a turn of its prompt"


def test_an_earlier_turn_or_a_short_one_is_no_leak() -> None:
    opening = "Please help me with the following problem in my garden, will you?"
    train = [asks(opening, "Sure.", "My roses have spots."), asks("Hello there.", "Hi.", "Go on.")]
    held_out = [asks(opening, "Sure.", "My lawn is brown."), asks("Tell me a story about a fox.", "Once.", "Go on.")]
    assert all(not len(one.places) for one in leaks(train, held_out).values() if one.code in CODES)


def test_a_turn_that_everyone_says_is_no_question() -> None:
    rng = Random(1)
    general = "Please continue with the text from where you stopped before."
    train = [asks(text(rng, 30), text(rng, 30), general) for _ in range(300)]
    found = leaks(train, [asks(text(rng, 30), text(rng, 30), general)])
    assert found["leaked_turn"].places.tolist() == []


def test_a_row_is_reported_once() -> None:
    prompt = text(Random(2), 60)
    found = leaks([prompt, prompt], [prompt, prompt.upper()])
    assert [found[code].places.tolist() for code in CODES] == [[2], [3], []]
    assert found["leaked_prompt"].detail(2) == "pairs.jsonl:1 trains on the same prompt"
    assert found["near_leaked_prompt"].detail(3) == "pairs.jsonl:1 trains on nearly the same prompt: 100% alike"


def test_a_system_prompt_that_all_share_is_no_leak() -> None:
    rng = Random(3)
    system = text(Random(4), 200)
    train = [asks(text(rng, 30), system=system) for _ in range(500)]
    held_out = [asks(text(rng, 30), system=system) for _ in range(200)]
    assert all(not len(one.places) for one in leaks(train, held_out).values() if one.code in CODES)


def test_conversations_cut_at_several_turns_stay_together() -> None:
    rng = Random(5)
    turns = [text(rng, 15) for _ in range(7)]
    rows = rows_of([asks(*turns[:length]) for length in (1, 3, 5, 7)] + [text(rng, 15)])
    survey = NearDuplicates(setting())
    survey.see(rows)
    assert survey.groups().tolist() == [0, 0, 0, 0, 4]
