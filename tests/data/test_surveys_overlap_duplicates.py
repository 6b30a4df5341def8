"""Near-duplicate pairs and prompts: planted copies are found, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest
from overlap_world import edited, prefixed, reordered, row, rows_of, setting, surveyed, table, text

from rewardsmith.data.prepare import hold_out
from rewardsmith.data.store import TokenizedPair
from rewardsmith.data.surveys.near_duplicates import NearDuplicates
from rewardsmith.records.data import OverlapRecord
from rewardsmith.samples.generator import DEFAULT_SIZES, preference_pairs

Triple = tuple[str, str, str]


def check(rows: list[TokenizedPair], held_out: list[int] | None = None) -> tuple[dict[str, Any], OverlapRecord]:
    return surveyed(NearDuplicates(setting()), rows, held_out or [])


def clean(rng: Random, size: int) -> list[Triple]:
    return [
        (text(rng, rng.randint(10, 120)), text(rng, rng.randint(30, 90)), text(rng, rng.randint(30, 90)))
        for _ in range(size)
    ]


def edit_all(triple: Triple, edit: Callable[[str], str]) -> Triple:
    return edit(triple[0]), edit(triple[1]), edit(triple[2])


def places(found: Any) -> list[int]:
    return found.places.tolist()


@pytest.mark.parametrize("rate", [0.001, 0.01, 0.1])
def test_planted_pairs_are_found_and_nothing_else(rate: float) -> None:
    rng = Random(str(rate))
    triples = clean(rng, 1500)
    copied = rng.sample(range(1500), round(1500 * rate))
    copies = [edit_all(triples[index], lambda part: edited(rng, part, 0.05)) for index in copied]
    found, record = check(rows_of([*triples, *copies]))
    near = found["near_duplicate_pair"]
    assert set(places(near)) <= set(range(1500, 1500 + len(copies)))
    assert len(near.places) >= 0.95 * len(copies)
    assert near.remove.tolist() == places(near)
    assert record.duplicate_pairs == len(near.places) == record.pair_clusters


@pytest.mark.parametrize(
    ("edit", "recall"),
    [
        (lambda rng, part: edited(rng, part, 0.1), 0.8),
        (reordered, 0.95),
        (prefixed, 0.95),
    ],
)
def test_kinds_of_edits(edit: Callable[[Random, str], str], recall: float) -> None:
    rng = Random(11)
    triples = clean(rng, 800)
    copies = [edit_all(triple, lambda part: edit(rng, part)) for triple in triples[:200]]
    found, _ = check(rows_of([*triples, *copies]))
    assert set(places(found["near_duplicate_pair"])) <= set(range(800, 1000))
    assert len(found["near_duplicate_pair"].places) >= recall * 200


def test_the_generated_pairs_are_clean() -> None:
    pairs = preference_pairs("train", seed=0, sizes=DEFAULT_SIZES)
    rows = rows_of([tuple(pair[side][0]["content"] for side in ("prompt", "chosen", "rejected")) for pair in pairs])
    found, record = check(rows)
    distinct = len({one.keys[0] for one in rows})
    assert len(found["near_duplicate_pair"].places) <= 0.005 * len(rows)
    assert len(found["near_duplicate_prompt"].places) <= 0.005 * len(rows)
    assert record.prompt_clusters >= 0.995 * distinct


def test_pairs_without_the_duplicates_have_none() -> None:
    rng = Random(12)
    triples = clean(rng, 400)
    copies = [edit_all(rng.choice(triples), lambda part: edited(rng, part, 0.08)) for _ in range(400)]
    rows = rows_of([*triples, *copies])
    found, _ = check(rows)
    gone = set(found["near_duplicate_pair"].remove.tolist())
    assert len(gone) > 300
    found, _ = check([one for place, one in enumerate(rows) if place not in gone])
    assert places(found["near_duplicate_pair"]) == []


def test_other_answers_to_a_long_prompt_are_no_duplicates() -> None:
    rng = Random(13)
    rows = []
    for _ in range(50):
        prompt, answers = text(rng, 400), [text(rng, 40) for _ in range(5)]
        rows += [(prompt, a, b) for a in answers for b in answers if a != b]
    found, record = check(rows_of(rows))
    assert places(found["near_duplicate_pair"]) == []
    assert places(found["near_duplicate_prompt"]) == []
    assert (record.distinct_prompts, record.prompt_clusters, record.effective_prompts) == (50, 50, pytest.approx(50))


def test_the_same_answers_to_short_prompts_are_no_duplicates() -> None:
    rows = [(f"Is {number} even?", "It is.", "It is not.") for number in range(200)]
    found, _ = check(rows_of(rows))
    assert places(found["near_duplicate_pair"]) == places(found["near_duplicate_prompt"]) == []


def test_a_short_prompt_reworded_with_long_answers_is_a_duplicate() -> None:
    rng = Random(14)
    chosen, rejected = text(rng, 80), text(rng, 60)
    rows = [
        ("How do plants grow?", chosen, rejected),
        ("how plants do grow", edited(rng, chosen, 0.05), edited(rng, rejected, 0.05)),
        ("How do plants grow?", edited(rng, rejected, 0.05), edited(rng, chosen, 0.05)),  # the other label
    ]
    found, _ = check(rows_of(rows))
    assert places(found["near_duplicate_pair"]) == [1]
    assert found["near_duplicate_pair"].detail(1).startswith("nearly the pair of pairs.jsonl:1: chosen ")


def test_exact_repeats_are_left_to_their_own_check() -> None:
    rng = Random(15)
    triple = clean(rng, 1)[0]
    near = edit_all(triple, str.upper)
    found, _ = check(rows_of([triple, triple, near, near]))
    assert places(found["near_duplicate_pair"]) == [2]


def test_clusters_of_prompts_are_counted() -> None:
    """10 pairs: 4 of one prompt and its copies, 2 of another, 4 alone. Effective: 10² / (4² + 2² + 4) = 100 / 24."""
    rng = Random(16)
    first, second, *alone = (text(rng, 60) for _ in range(6))
    prompts = [first, edited(rng, first, 0.05), first, second, edited(rng, first, 0.05), second.lower(), *alone]
    found, record = check([row(prompt, text(rng, 30), text(rng, 30), number=n) for n, prompt in enumerate(prompts, 1)])
    near = found["near_duplicate_prompt"]
    assert places(near) == [0, 1, 2, 3, 4, 5]
    assert near.remove is None
    assert near.detail(4).startswith("nearly the prompt of pairs.jsonl:1: ")
    assert near.summary == "9 distinct prompts count for 4; the largest cluster has 4 pairs"
    assert (record.distinct_prompts, record.prompt_clusters) == (9, 6)
    assert record.effective_prompts == pytest.approx(100 / 24)
    assert [(one.pairs, one.prompts, one.row) for one in record.largest] == [(4, 3, 1), (2, 2, 4)]
    assert {(one.low, one.high): (one.clusters, one.pairs) for one in record.sizes if one.clusters} == {
        (1, 1): (4, 4),
        (2, 2): (1, 2),
        (3, 4): (1, 4),
    }


def test_a_split_by_groups_parts_no_near_duplicates() -> None:
    rng = Random(17)
    triples = clean(rng, 800)
    triples += [
        (edited(rng, prompt, 0.05), text(rng, 30), text(rng, 30))
        for prompt, _, _ in triples[:400]
        if len(prompt.split()) > 29
    ]
    rng.shuffle(triples)
    rows = rows_of(triples)
    survey = NearDuplicates(setting())
    survey.see(rows)
    groups = survey.groups()
    held_out = hold_out(table(rows).keys[:, 0], fraction=0.2, seed=1, groups=groups)
    assert 0.1 < held_out.mean() < 0.3
    assert not set(groups[held_out]) & set(groups[~held_out])
    found = {one.code: one for one in survey.finish(table(rows, np.flatnonzero(held_out).tolist())).found}
    assert all(not len(found[code].places) for code in ("leaked_prompt", "near_leaked_prompt", "leaked_turn"))


def test_rows_without_a_prompt_are_alone() -> None:
    rng = Random(18)
    rows = [row((), text(rng, 30), text(rng, 30), number=number) for number in range(1, 51)]
    survey = NearDuplicates(setting())
    survey.see(rows)
    assert survey.groups().tolist() == list(range(50))
    found = {one.code: one for one in survey.finish(table(rows)).found}
    assert all(not len(one.places) for one in found.values())


def test_an_empty_training_set_is_no_fault() -> None:
    found, record = check([row("a")], [0])
    assert all(not len(one.places) for one in found.values())
    assert (record.training_pairs, record.duplicate_share) == (0, None)
