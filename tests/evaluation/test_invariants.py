"""What holds for the rule of every benchmark in the registry, whatever the rewards.

Strictly monotone maps keep every accuracy; a shift changes nothing; neither does the order of rows, nor that of answers
within chosen or rejected; repeating all rows under fresh ids keeps the scores. Rewards are whole numbers, so that equal
rewards are frequent and shifts are exact.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardsmith.benchmarks import chance_of
from rewardsmith.evaluation import BENCHMARKS, EvalRow, random_baselines
from rewardsmith.evaluation.subsets import average_shares, subset_names
from rewardsmith.types import Message

NAMES = sorted(BENCHMARKS)
FEW = settings(max_examples=25)
PROMPT = (Message("user", "prompt"),)
ORDER_MATTERS = {
    "rm_bench": "the order of answers is the order of styles",
    "ppe": "its pairs name answers by place",
    "if_rewardbench": "its pairs name answers by place",
    "long_rewardbench": "the order of candidates is their rank",
}


class Drawn(NamedTuple):
    """Rows of one benchmark with their rewards."""

    rows: tuple[EvalRow, ...]
    rewards: tuple[np.ndarray, ...]


def shape_of(name: str, subset: str, draw: Callable[..., Any]) -> tuple[int, int]:
    """(chosen, rejected) of a row, as the benchmark's own data have it."""
    if name == "rm_bench":
        return 3, 3
    if name == "if_rewardbench" or (name in ("best_of_n", "ppe") and subset != "human_preference_v1"):
        return draw(st.integers(1, 3)), draw(st.integers(1, 3))
    if name == "rewardbench2" or subset.endswith("best-of-N") or subset == "BestOfN":
        return 1, draw(st.integers(1, 4))
    return 1, 1


def facts_of(name: str, shape: tuple[int, int], draw: Callable[..., Any]) -> dict[str, str]:
    if name == "judgebench":
        return {"label": draw(st.sampled_from(["A>B", "B>A"]))}
    if name == "rmb":
        return {"scenarios": "Pairwise_set/Helpfulness/Code"}
    if name == "long_rewardbench":
        return {"task": "Cite", "subtype": "same", "length": "8k"}
    if name == "m_rewardbench":
        return {"source": draw(st.sampled_from(["math-prm", "hep-go", "donotanswer", "alpacaeval-easy"]))}
    if name in ("ppe", "if_rewardbench"):
        right, wrong = (st.integers(0, shape[0] - 1), st.integers(shape[0], sum(shape) - 1))
        pairs = draw(st.lists(st.tuples(right, wrong), min_size=1, max_size=3))
        return {"pairs": " ".join(f"{i}>{j}" for i, j in pairs)}
    return {}


def answers(count: int) -> tuple[tuple[Message, ...], ...]:
    return tuple((Message("assistant", f"answer {place}"),) for place in range(count))


def row(
    row_id: str, subset: str, shape: tuple[int, int], group: str = "", facts: dict[str, str] | None = None
) -> EvalRow:
    return EvalRow(row_id, subset, PROMPT, answers(shape[0]), answers(shape[1]), group, "here:1", facts or {})


@st.composite
def drawn(draw: Callable[..., Any], name: str) -> Drawn:
    """A few rows in a few subsets; RewardBench 2 with Ties ids that have both halves."""
    known = [subset for subset in BENCHMARKS[name].subsets if subset != "Ties"] or ["all", "more"]
    rows = []
    for place in range(draw(st.integers(1, 7))):
        subset = draw(st.sampled_from(known))
        shape = shape_of(name, subset, draw)
        group = f"group {draw(st.integers(0, 3))}"
        rows.append(row(str(place), subset, shape, group, facts_of(name, shape, draw)))
    if name == "rewardbench2":
        for place in range(draw(st.integers(0, 3))):
            rows.append(row(f"ref:{place}", "Ties", (1, draw(st.integers(1, 3)))))
            rows.append(row(f"tied:{place}", "Ties", (draw(st.integers(2, 3)), draw(st.integers(1, 3)))))
    reward = st.one_of(st.integers(-4, 4).map(float), st.just(math.nan)) if draw(st.booleans()) else st.integers(-4, 4)
    rewards = tuple(
        np.array(draw(st.lists(reward, min_size=size, max_size=size)), dtype=float)
        for size in (len(each.responses) for each in rows)
    )
    return Drawn(tuple(rows), rewards)


def scores(name: str, found: Drawn) -> dict[str, float]:
    """The score of every subset, the average, and each row's result."""
    benchmark = BENCHMARKS[name]
    names = subset_names(benchmark, found.rows)
    tallies = {}
    for subset in names:
        places = [place for place, each in enumerate(found.rows) if each.subset == subset]
        own = [found.rows[place] for place in places], [found.rewards[place] for place in places]
        tallies[subset] = benchmark.tally(subset, *own)
    by_subset = {subset: tally.score for subset, tally in tallies.items()}
    if benchmark.average == "rows":
        return by_subset | {"average": benchmark.tally("average", found.rows, found.rewards).score}
    shares = average_shares(benchmark, {subset: len(tally.results) for subset, tally in tallies.items()})
    return by_subset | {"average": sum(shares[subset] * by_subset[subset] for subset in names)}


def details(name: str, found: Drawn) -> dict[str, float | None]:
    """What the benchmark measures beyond subsets, but for quantiles: interpolation depends on the number of rows."""
    measured = BENCHMARKS[name].details(found.rows, found.rewards)
    return {measure: value for measure, value in measured.items() if not measure.startswith("margin_p")}


def close(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return first == pytest.approx(second, abs=1e-9, nan_ok=True)


def mapped(found: Drawn, change: Callable[[np.ndarray], np.ndarray]) -> Drawn:
    return found._replace(rewards=tuple(change(reward_N) for reward_N in found.rewards))


@pytest.mark.parametrize("name", NAMES)
@FEW
@given(data=st.data())
def test_strictly_monotone_maps_keep_every_accuracy(name, data):
    found = data.draw(drawn(name))
    changes = (np.exp, np.cbrt, lambda reward_N: 3 * reward_N - 7, lambda reward_N: np.sinh(reward_N) + reward_N)
    moved = mapped(found, data.draw(st.sampled_from(changes)))
    before, after = scores(name, found), scores(name, moved)
    if any(each.subset == "Ties" for each in found.rows):  # its margin terms compare gaps: only its accuracies stay
        for part in (before, after):
            del part["Ties"], part["average"]
        for term in ("ties_tied_accuracy", "ties_ref_accuracy"):
            before[term], after[term] = details(name, found)[term], details(name, moved)[term]
    assert close(after, before)


@pytest.mark.parametrize("name", NAMES)
@FEW
@given(data=st.data(), shift=st.integers(-1000, 1000))
def test_a_shift_changes_nothing(name, data, shift):
    found = data.draw(drawn(name))
    moved = mapped(found, lambda reward_N: reward_N + shift)
    assert scores(name, moved) == scores(name, found)
    assert close(details(name, moved), details(name, found))


@pytest.mark.parametrize("name", NAMES)
@FEW
@given(data=st.data())
def test_the_order_of_rows_changes_nothing(name, data):
    found = data.draw(drawn(name))
    order = data.draw(st.permutations(range(len(found.rows))))
    moved = Drawn(tuple(found.rows[place] for place in order), tuple(found.rewards[place] for place in order))
    assert close(scores(name, moved), scores(name, found))
    assert close(details(name, moved), details(name, found))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ORDER_MATTERS])
@FEW
@given(data=st.data())
def test_the_order_of_answers_within_a_class_changes_nothing(name, data):
    found = data.draw(drawn(name))
    moved = []
    for each, reward_N in zip(found.rows, found.rewards, strict=True):
        k, n = len(each.chosen), len(each.responses)
        order = [*data.draw(st.permutations(range(k))), *data.draw(st.permutations(range(k, n)))]
        moved.append(reward_N[order])
    assert scores(name, found._replace(rewards=tuple(moved))) == scores(name, found)


@pytest.mark.parametrize("name", NAMES)
@FEW
@given(data=st.data(), times=st.integers(2, 3))
def test_repeating_all_rows_keeps_the_scores(name, data, times):
    found = data.draw(drawn(name))
    rows = tuple(replace(each, id=_fresh(each, copy)) for copy in range(times) for each in found.rows)
    repeated = Drawn(rows, found.rewards * times)
    assert len({each.key for each in rows}) == len(rows)
    assert close(scores(name, repeated), scores(name, found))
    assert close(details(name, repeated), details(name, found))


def _fresh(each: EvalRow, copy: int) -> str:
    """An id of its own for each copy; a Ties id keeps its half."""
    if each.subset != "Ties":
        return f"{copy}-{each.id}"
    half, number = each.id.split(":")
    return f"{half}:{int(number) + 100 * copy}"


@pytest.mark.parametrize("name", NAMES)
@FEW
@given(data=st.data())
def test_results_and_scores_are_shares(name, data):
    found = data.draw(drawn(name))
    margin = 0.01 if name == "rewardbench2" else 0.0  # the Ties formula reaches from -0.01 to 1.01
    assert all(-margin <= score <= 1 + margin for score in scores(name, found).values())


@pytest.mark.parametrize("name", NAMES)
def test_an_oracle_reaches_one_and_its_opposite_nothing(name):
    known = [subset for subset in BENCHMARKS[name].subsets if subset != "Ties"] or ["all"]
    facts = {"label": "A>B", "scenarios": "Pairwise_set/Helpfulness/Code", "pairs": "0>3 1>4", "source": "hep-go"}
    rows = tuple(row(str(place), subset, (3, 3), facts=facts) for place, subset in enumerate(known))
    if name not in ("rm_bench", "ppe"):
        facts["pairs"] = "0>1"
        rows = tuple(row(str(place), subset, (1, 1), facts=facts) for place, subset in enumerate(known))
    for reward in (1.0, 0.0):
        rewards = tuple(np.array([reward] * len(each.chosen) + [1 - reward] * len(each.rejected)) for each in rows)
        assert list(scores(name, Drawn(rows, rewards)).values()) == pytest.approx(
            [reward] * len(scores(name, Drawn(rows, rewards)))
        )


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_chance_that_the_spec_knows_is_that_of_the_rows(name):
    """A threshold is refused by it before any row is read."""
    benchmark = BENCHMARKS[name]
    names = [*(benchmark.subsets or ("all",)), *benchmark.other_subsets]
    known = {subset: chance for subset in (*names, "average") if (chance := chance_of(name, subset)) is not None}
    one_of_four = (1, 3) if name == "rewardbench2" else (3, 3) if name == "rm_bench" else (1, 1)
    facts = {"pairs": "0>1", "source": "hep-go", "task": "Cite", "subtype": "", "length": ""}
    rows = [row("1", subset, one_of_four, facts=facts) for subset in names if subset != "Ties"]
    rows = [each for each in rows if each.subset != "BestOfN" or name != "long_rewardbench"]
    found = random_baselines(benchmark, rows, 1)
    assert {subset: found[subset] for subset in known} == pytest.approx(known)


def test_the_design_page_lists_the_registry():
    page = (Path(__file__).resolve().parents[2] / "docs" / "design.md").read_text(encoding="utf-8")
    table = page.split("## Benchmarks", 1)[1].split("\n## ", 1)[0]
    assert re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE) == list(BENCHMARKS)
