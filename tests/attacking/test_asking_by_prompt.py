"""In which chunks an attack asks: prompt by prompt, so that a token tree holds what candidates share once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewardsmith.attacking.asking import CHUNK, Asking
from rewardsmith.attacking.edits import actions_of, compose, padded
from rewardsmith.attacking.results import attack
from rewardsmith.attacking.search import Settings
from rewardsmith.evaluation.contract import BenchmarkRows, EvalRow
from rewardsmith.records.evaluation import DatasetInfo
from rewardsmith.types import Conversation, Message


class Recording:
    """Rewards what is right; keeps the chunks that it is asked."""

    def __init__(self) -> None:
        self.chunks: list[list[tuple[str, str]]] = []

    def score(self, conversations: Sequence[Conversation], progress: Any = None) -> NDArray[np.float64]:
        del progress
        self.chunks.append([(one[0].content, one[-1].content) for one in conversations])
        return np.array([float("right" in one[-1].content) for one in conversations])


def texts(wanted: Sequence[tuple[str, int]]) -> list[Conversation]:
    return [(Message("user", prompt), Message("assistant", str(answer))) for prompt, answer in wanted]


def test_prompts_stay_together_within_the_size_of_a_chunk() -> None:
    assert CHUNK == 256
    scorer = Recording()
    # Asked answer by answer over three prompts of 100, 100 and 300 answers.
    wanted = [(prompt, answer) for answer in range(300) for prompt in "abc" if answer < (300 if prompt == "c" else 100)]
    assert Asking(scorer).ask(texts(wanted))
    # a and b fit into one chunk, c into none: it fills one, and the rest of it is the next.
    assert [Counter(prompt for prompt, _ in chunk) for chunk in scorer.chunks] == [
        Counter(a=100, b=100),
        Counter(c=256),
        Counter(c=44),
    ]
    assert [int(answer) for chunk in scorer.chunks for prompt, answer in chunk if prompt == "c"] == list(range(300))


def test_a_budget_takes_the_first_that_were_asked_for_whatever_their_prompt() -> None:
    scorer = Recording()
    asking = Asking(scorer, queries=3)
    assert not asking.ask(texts([("a", 0), ("b", 0), ("a", 1), ("b", 1)]))
    assert scorer.chunks == [[("a", "0"), ("a", "1"), ("b", "0")]]
    assert (asking.spent, asking.ended_by) == (3, "queries")


def test_what_waits_for_no_reward_is_asked_in_one_visit_of_each_prompt() -> None:
    made = tuple(
        EvalRow(
            str(number),
            "planted",
            (Message("user", f"What of matter {number}?"),),
            ((Message("assistant", f"It is right to say so of {number}."),),),
            ((Message("assistant", f"It is wrong to say so of {number}."),),),
        )
        for number in range(6)
    )
    scorer = Recording()
    rows = BenchmarkRows(made, DatasetInfo(source="planted"), "Planted")
    found = attack(rows, scorer, Settings(resamples=200), model="planted")
    assert (found.attacked, found.levels[-1].complete) == (6, True)
    assert len(scorer.chunks[0]) == 12  # both answers of six pairs
    asked = [one for chunk in scorer.chunks[1:] for one in chunk]
    visits = [(prompt, {text for _, text in visit}) for prompt, visit in groupby(asked, key=lambda one: one[0])]
    # First the edits of two pairs alone, which are timed; then all prompts, one after the other.
    (first, _), (second, _), *every = visits[:8]
    assert {prompt for prompt, _ in every} == {f"What of matter {number}?" for number in range(6)}
    for prompt, texts_of in every:
        if prompt in (first, second):
            continue
        number = prompt.split()[-1].rstrip("?")
        bad, good = (f"It is {what} to say so of {number}." for what in ("wrong", "right"))
        kept = [action for action in actions_of().values() if action.kept]
        alone = {compose([action], prompt, bad, 17)[0] for action in actions_of().values()} - {None}
        alone |= {compose([action], prompt, good, 17)[0] for action in kept} - {None}
        alone |= {padded(bad, sentences) for sentences in (1, 2, 4, 8, 16)}
        assert alone <= texts_of
        more = len(texts_of - alone)  # random compositions: three lengths, four of each
        pair = next(place for place, row in enumerate(found.pairs) if row.id == number)
        if pair % 2:
            assert more <= 12
        else:  # a training prompt: the first look at compositions of two edits, each on two of three prompts
            assert more > found.arms / 2
