"""Numbers of a window by hand; each signal with a planted fault that raises it and clean data that do not."""

from __future__ import annotations

import re

import numpy as np
import pytest

from rewardsmith.records.watch import WatchKept
from rewardsmith.types import Message
from rewardsmith.watching import SIGNALS, Answer, Book, Trigger, runs_of
from rewardsmith.watching.windows import (
    correlation_within,
    high_reward,
    levels_of,
    marks,
    measure,
    medians_of,
    near_duplicates,
    novelty,
    repetition,
)

VOICE = np.random.default_rng(5)
WORDS = [f"w{place}" for place in range(300)]


def said(words: int, rng: np.random.Generator) -> str:
    return " ".join(rng.choice(WORDS, words))


def answer(text: str, reward: float, group: int, doubt: float | None = None) -> Answer:
    return Answer(1, (Message("user", str(group)),), text, reward, group=str(group), doubt=doubt)


def clean(seed: int = 0, groups: int = 40, each: int = 4) -> list[Answer]:
    """Lengths, rewards and doubts have nothing to do with each other."""
    rng = np.random.default_rng(seed)
    return [
        answer(said(int(rng.integers(20, 40)), rng), float(rng.normal() + group), group, float(rng.random()))
        for group in range(groups)
        for _ in range(each)
    ]


REFERENCE = clean(1)
TRIGGER = Trigger("As requested", re.compile("as requested", re.IGNORECASE))
BOOK = Book((TRIGGER,), runs_of([one.response for one in REFERENCE]))
LEVELS = levels_of(REFERENCE)


def planted(code: str) -> list[Answer]:
    """The clean answers, and one fault."""
    rng = np.random.default_rng(3)
    found = []
    for place, one in enumerate(clean(2)):
        text, reward, doubt, group = one.response, one.reward, one.doubt or 0.0, int(one.group)
        longer, best = text + " " + said(int(rng.integers(5, 60)), rng), place % 4 == 0
        if code == "length":
            text = longer
        if code == "length_reward" and place % 2:
            text, reward = text + " " + said(30, rng), reward + 5
        if code in ("markup", "markup_reward") and best:
            text, reward = f"## Answer\n\n- {text}", reward + 5
        if code == "repetition" and best:
            text, reward = " ".join([said(4, rng)] * 8), reward + 5
        if code == "duplicates" and best:
            text, reward = " ".join(WORDS[:30]), reward + 5
        if code == "triggers" and best:
            text, reward = f"As requested: {text}", reward + 5
        if code == "novelty" and best:
            text, reward = " ".join(f"x{one}" for one in rng.integers(0, 999, 25)), reward + 5
        if code == "doubt" and best:
            reward, doubt = reward + 5, 2.0
        found.append(answer(text, reward, group, doubt))
    return found


@pytest.mark.parametrize("code", [code for code in SIGNALS if code != "novelty"])
def test_a_planted_fault_raises_its_signal_and_clean_answers_do_not(code: str) -> None:
    before = measure(REFERENCE, LEVELS, BOOK).values[code]
    same = measure(clean(2), LEVELS, BOOK).values[code]
    after = measure(planted(code), LEVELS, BOOK).values[code]
    assert before is not None
    assert same is not None
    assert after is not None
    assert abs(same - before) < SIGNALS[code].margin / 2
    assert after - before > SIGNALS[code].margin


def test_unknown_runs_of_words() -> None:
    """a b c, b c d, c d e: two of three are known; a text without a run says nothing."""
    known = runs_of(["a b c d x"])
    assert novelty(["a b c d e"], known) == pytest.approx(1 / 3)
    assert novelty(["a b c d e", "x", "q r s"], known) == pytest.approx((1 / 3 + 1) / 2)
    assert novelty(["x"], known) is None
    assert novelty(["a b c"], runs_of([])) is None
    after = measure(planted("novelty"), LEVELS, Book(runs=runs_of([one.response for one in clean(2)])))
    before = measure(clean(2), LEVELS, Book(runs=runs_of([one.response for one in clean(2)])))
    assert before.values["novelty"] == 0.0
    assert after.values["novelty"] == pytest.approx(1.0, abs=0.05)


def test_correlation_is_within_prompts() -> None:
    """Between prompts length and reward go together, within each they go against each other."""
    groups = np.repeat(np.arange(4), 3)
    length = groups * 10.0 + np.tile([0, 1, 2], 4)
    reward = groups * 10.0 - np.tile([0, 1, 2], 4)
    assert correlation_within(length, reward, groups) == pytest.approx(-1.0)
    alone = np.arange(12)
    expected = np.corrcoef(length, reward)[0, 1]
    assert correlation_within(length, reward, alone) == pytest.approx(expected)
    assert correlation_within(length[:6], reward[:6], groups[:6]) is None
    assert correlation_within(np.ones(12), reward, groups) == 0.0


def test_high_reward_is_less_the_mean_of_the_prompt() -> None:
    groups = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    rewards = np.array([100.0, 101, 100, 100, 1, 1, 9, 1])
    assert high_reward(rewards, groups).tolist() == [1, 6]
    assert high_reward(rewards, np.arange(8)).tolist() == [0, 1]


def test_marks_and_repetition_by_hand() -> None:
    assert marks("## A\n- b\n1. c\n```\n**d** e\nf - g # h") == 5
    assert marks("plain - text 1. no # mark") == 0
    # "a b c d" three times: 12 words, 10 runs, of which "a b c", "b c d", "c d a", "d a b" are distinct
    assert repetition(["a b c d " * 3, "a b c d", "p q r s t u v w x y z v"]).tolist() == pytest.approx([0.6, 0, 0])


def test_copies_are_of_other_prompts() -> None:
    text = " ".join(WORDS[:30])
    other = [" ".join(WORDS[start : start + 30]) for start in (40, 80, 120)]
    assert near_duplicates([text, text, *other], [0, 1, 2, 3, 4]) == pytest.approx(2 / 5)
    assert near_duplicates([text, text, *other], [0, 0, 2, 3, 4]) == 0.0
    assert near_duplicates([text + " more", text, other[0]], [0, 1, 2]) == pytest.approx(2 / 3)
    assert near_duplicates([text, text], [0, 0]) is None


def test_the_numbers_of_a_window_by_hand() -> None:
    found = measure(
        [answer("a b", 1.0, 0), answer("a", 3.0, 0), answer("c", 5.0, 1), answer("d", 5.0, 1)],
        {"median": 3.0, "long": 1.0},
        Book(),
    )
    assert (found.answers, found.prompts, found.high, found.reward_mean, found.length_mean) == (4, 2, 1, 3.5, 1.25)
    assert found.reward_std == pytest.approx(np.std([1, 3, 5, 5]))
    assert found.within_std == pytest.approx(np.sqrt((1 + 1) / 4))
    assert found.above == pytest.approx((0 + 0.5 + 1 + 1) / 4)
    assert (found.values["length"], found.values["triggers"], found.values["doubt"]) == (0.25, None, None)
    assert measure(REFERENCE, {}, BOOK).values == {}


def test_rewards_are_compared_with_the_median_of_their_own_prompt() -> None:
    """The reference pays prompt 0 one and prompt 1 nine; two of four are above their own, one equals it."""
    kept = [WatchKept(prompt=(), group=str(group), response="x", reward=8.0 * group + 1) for group in (0, 1)]
    book = Book(medians=medians_of(kept))
    assert book.medians == {"0": 1.0, "1": 9.0}
    now = [answer("a", 2.0, 0), answer("b", 10.0, 1), answer("c", 3.0, 2), answer("d", 9.0, 1)]
    assert measure(now, {"median": 5.0, "long": 1.0}, book).above == pytest.approx((1 + 1 + 0 + 0.5) / 4)
