"""A limit in seconds is spread over the search: how many pairs fit, what is told, and that no number is missing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rewardsmith.attacking.asking import COMPOSED, FEWEST, Asking, Parts, make_plan
from rewardsmith.attacking.results import attack
from rewardsmith.attacking.search import Findings, Settings, search
from rewardsmith.evaluation.contract import BenchmarkRows, EvalRow
from rewardsmith.gates import FEWEST_ATTACKED
from rewardsmith.records.attack import AttackRecord
from rewardsmith.records.evaluation import DatasetInfo
from rewardsmith.report.sections.attack import attack_section
from rewardsmith.types import Conversation, Message


def rows(count: int) -> BenchmarkRows:
    made = tuple(
        EvalRow(
            f"{number:03d}",
            "planted",
            (Message("user", f"What do you think of matter {number:03d}?"),),
            ((Message("assistant", f"It is right to say so of number {number:03d}. That is my view."),),),
            ((Message("assistant", f"It is wrong to say so of number {number:03d}. That is my view."),),),
        )
        for number in range(count)
    )
    return BenchmarkRows(made, DatasetInfo(source="planted"), "Planted pairs")


class Slow:
    """An oracle that takes `each` seconds of its own clock for a text."""

    def __init__(self, each: float) -> None:
        self.each, self.now, self.asked = each, 0.0, 0

    def clock(self) -> float:
        return self.now

    def score(self, conversations: Sequence[Conversation], progress: Any = None) -> NDArray[np.float64]:
        del progress
        self.now += self.each * len(conversations)
        self.asked += len(conversations)
        return np.array([float("right" in one[-1].content) for one in conversations])


def searched(
    each: float, seconds: float | None, count: int = 40, journal: Path | None = None, **settings: Any
) -> tuple[Findings, Slow, list[str]]:
    scorer, notes = Slow(each), list[str]()
    asking = Asking(scorer, queries=None, seconds=seconds, clock=scorer.clock, journal=journal, fingerprint="a")
    wanted = Settings(pairs=count, queries=None, seconds=seconds, resamples=200, **settings)
    try:
        return search(rows(count), asking, wanted, notes.append), scorer, notes
    finally:
        asking.close()


def test_a_plan_takes_as_many_pairs_as_fit_and_says_what_all_of_them_take() -> None:
    # A pair of 100 characters asks 10 single edits and 32 compositions, which count 1.25 times: 50 units. At 0.01 s a
    # unit of 100 characters that is half a second a pair; 3 seconds are gone. 40 pairs take 23 s. Of 16 seconds a tenth
    # stays free: 14.4 s hold 3 + 22 * 0.5 = 14.0.
    assert COMPOSED == 1.25
    plan = make_plan([100] * 40, lambda pairs: Parts(10 * pairs, 32 * pairs), rate=1e-4, spent=3.0, limit=16.0)
    assert (plan.pairs, plan.of, plan.queries) == (22, 40, 22 * 42)
    assert (plan.seconds, plan.whole) == pytest.approx((14.0, 23.0))
    assert plan.fits
    assert plan.in_words() == (
        "about 924 queries at 0.015 s each, 14 s; 22 of 40 pairs are attacked, because all of them would take 23 s and "
        "the limit is 16 s"
    )


@pytest.mark.parametrize(
    ("limit", "pairs", "said"),
    [
        (None, 40, "about 1,680 queries at 0.014 s each, 23 s"),
        (60.0, 40, "about 1,680 queries at 0.014 s each, 23 s"),
        (4.0, FEWEST, "more than the limit of 4 s, so that the end will be cut off; 10 of 40 pairs are attacked"),
    ],
)
def test_a_plan_without_a_limit_or_within_it_takes_all_and_ten_are_always_taken(
    limit: float | None, pairs: int, said: str
) -> None:
    plan = make_plan([100] * 40, lambda pairs: Parts(10 * pairs, 32 * pairs), rate=1e-4, spent=3.0, limit=limit)
    assert (plan.pairs, plan.fits) == (pairs, limit != 4.0)
    assert said in plan.in_words()
    assert FEWEST == FEWEST_ATTACKED


def test_pairs_of_long_texts_count_for_their_length() -> None:
    # 10 pairs of 100 characters, then 30 of 1,000: 5 seconds hold 0.5 s each for the first, and no long one more.
    plan = make_plan([100] * 10 + [1000] * 30, lambda n: Parts(50 * n, 0), rate=1e-4, spent=0.0, limit=5.6)
    assert (plan.pairs, plan.seconds) == (10, pytest.approx(5.0))
    assert plan.whole == pytest.approx(50 * 1e-4 * (10 * 100 + 30 * 1000))


def test_the_estimate_is_near_what_the_whole_search_takes() -> None:
    found, scorer, notes = searched(0.01, None)
    assert found.plan is not None
    assert len(found.attacked) == 40
    assert scorer.asked / 1.5 < 2 * 40 + found.plan.queries < 1.5 * scorer.asked
    # Every text costs the same here, so that compositions, which are taken to cost more, are overestimated.
    assert scorer.now < found.plan.seconds < 2 * scorer.now
    (note,) = notes
    assert note == found.plan.in_words()


def test_a_limit_leaves_out_pairs_and_no_part_of_the_search() -> None:
    whole, scorer, _ = searched(0.01, None)
    limit = scorer.now / 2
    found, cut, notes = searched(0.01, limit)
    assert FEWEST <= len(found.attacked) < 40
    assert len(found.left_out) == 40 - len(found.attacked)
    assert found.asking.ended_by == ""
    assert cut.now <= limit
    every = {"bad 1", "alone", "learned", "bad 2", "bad 3", "good 1", "good 2", "good 3"}
    assert every <= found.done
    assert set(found.random) == {1, 2, 3}
    # The first pairs in the order in which they are drawn, whichever the limit.
    assert [pair.row.id for pair in found.attacked] == [pair.row.id for pair in whole.attacked[: len(found.attacked)]]
    assert f"{len(found.attacked)} of 40 pairs are attacked" in notes[0]


def test_a_limit_that_ten_pairs_pass_is_kept_and_what_matters_most_comes_first() -> None:
    found, scorer, notes = searched(0.01, 5.0)
    assert len(found.attacked) == FEWEST
    assert found.asking.ended_by == "seconds"
    # No chunk is begun that would end behind the limit.
    assert scorer.now <= 5.0
    assert {"bad 1", "alone"} <= found.done
    assert "good 1" not in found.done
    assert "the end will be cut off" in notes[0]


def test_a_continued_search_plans_the_same_pairs_whatever_its_own_speed(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    first, slow, _ = searched(0.01, 40.0, journal=journal)
    assert len(first.attacked) < 40
    lines = journal.read_text().splitlines()
    assert json.loads(lines[1])["scored"] == pytest.approx(0.01 * 80)
    # Killed in its middle, and continued on a machine that is twenty times as fast.
    journal.write_text("\n".join(lines[: len(lines) // 2]) + "\n")
    again, quick, _ = searched(0.0005, 40.0, journal=journal)
    assert quick.asked < slow.asked
    assert [pair.row.id for pair in again.attacked] == [pair.row.id for pair in first.attacked]
    assert again.asking.rewards == first.asking.rewards
    more, _, _ = searched(0.0005, 1000.0, journal=journal)
    assert len(more.attacked) == 40


def test_a_search_without_time_says_so() -> None:
    found, scorer, notes = searched(0.01, 0.0)
    assert (found.asking.ended_by, scorer.asked, notes, found.plan) == ("seconds", 0, [], None)


def test_the_report_says_which_pairs_were_left_out_and_what_was_not_reached() -> None:
    scorer = Slow(0.0)
    whole = attack(rows(20), scorer, Settings(pairs=20, resamples=200), model="m")
    assert whole.budget.planned is not None
    assert (whole.attacked, whole.left_out) == (20, 0)
    assert "Not reached" not in facts_of(whole)
    short = attack(rows(20), scorer, Settings(pairs=20, queries=1500, resamples=200), model="m")
    assert not short.levels[-1].good_complete
    budget = short.budget.model_copy(update={"seconds": 60.0})
    cut = short.model_copy(update={"left_out": 4, "attacked": 16, "budget": budget})
    said = facts_of(cut)
    assert said["Attacked"] == (
        "16 of 20 pairs drawn; 4 were left out, so that the search of the others fits into 60 s"
    )
    reached = [level.complete for level in short.levels]
    lengths = " and ".join(str(level.edits) for level in short.levels if not level.complete)
    bad = "bad answers" if not any(reached) else f"bad answers with up to {lengths} edits"
    assert said["Not reached"] == f"{bad}, as many random edits, good answers"


def facts_of(record: AttackRecord) -> dict[str, str]:
    section = attack_section(record)
    assert section is not None
    return dict(section.blocks[0].facts)
