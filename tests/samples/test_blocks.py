"""Swap blocks carry nothing that a reader of responses alone could use."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_verifiers import VERIFIERS

from rewardsmith.samples.blocks import Item, is_held_out, options_of, pick, swap_pairs, swap_rows
from rewardsmith.samples.generator import CATEGORIES

BLOCK = tuple(Item(f"prompt {i}", f"response {i}") for i in range(4))


@given(st.integers(), st.lists(st.floats(-5, 5), min_size=4, max_size=4, unique=True))
def test_pairs_of_a_block_are_a_coin_toss_for_every_prompt_blind_reward(seed: int, rewards: list[float]) -> None:
    reward = dict(zip((item.response for item in BLOCK), rewards, strict=True))
    wins = [reward[chosen] > reward[rejected] for _, chosen, rejected in swap_pairs(Random(seed), BLOCK)]
    assert (len(wins), sum(wins)) == (4, 2)


@given(st.lists(st.integers(0, 2), min_size=4, max_size=4))
def test_rows_of_a_block_score_a_quarter_for_every_prompt_blind_reward(rewards: list[int]) -> None:
    reward = dict(zip((item.response for item in BLOCK), rewards, strict=True))
    score = 0.0
    for _, chosen, rejected in swap_rows(BLOCK):
        of_all = [reward[chosen], *(reward[text] for text in rejected)]
        # Written out from RewardBench 2's rule: 1/m if the right one is among m equal maxima.
        score += (of_all[0] == max(of_all)) / of_all.count(max(of_all))
    assert score / 4 == pytest.approx(0.25, abs=1e-12)


def test_pairs_keep_each_response_with_its_prompt() -> None:
    for prompt, chosen, rejected in swap_pairs(Random(0), BLOCK):
        assert prompt[-1] == chosen[-1] != rejected[-1]


def test_every_matching_occurs() -> None:
    opponents = {(c, r) for seed in range(50) for _, c, r in swap_pairs(Random(seed), BLOCK)}
    assert len(opponents) == 12


@pytest.mark.parametrize(("n", "n_held_out"), [(2, 1), (4, 1), (6, 1), (8, 2), (16, 4)])
def test_options_part_without_overlap_and_every_option_is_trained(n: int, n_held_out: int) -> None:
    options = [f"wording {i}" for i in range(n)]
    trained: set[str] = set()
    for key in ("France", "Japan", "gold", "silver", "cow"):
        held_out, train = options_of(options, key, "held_out"), options_of(options, key, "train")
        assert len(held_out) == n_held_out
        assert sorted([*held_out, *train]) == sorted(options)
        trained.update(train)
    assert trained == set(options)


def test_pick_draws_every_option_of_its_part_and_no_other() -> None:
    options = [f"wording {i}" for i in range(8)]
    drawn = {pick(Random(seed), options, "France", "train") for seed in range(200)}
    assert drawn == set(options_of(options, "France", "train"))


def test_the_part_of_an_item_follows_its_crc32() -> None:
    # The check value of CRC-32 is 0xCBF43926 for "123456789"; it is even but no multiple of 4.
    assert 0xCBF43926 % 2 == 0
    assert is_held_out("123456789", share=2)
    assert not is_held_out("123456789", share=4)


@pytest.mark.parametrize("subset", CATEGORIES)
@pytest.mark.parametrize("part", ["train", "held_out"])
def test_each_response_of_a_block_is_right_for_its_own_prompt_only(subset: str, part: str) -> None:
    rng = Random(11)
    for _ in range(100):
        block = CATEGORIES[subset](rng, part)  # type: ignore[arg-type]
        for i, asked in enumerate(block):
            for j, given_ in enumerate(block):
                assert VERIFIERS[subset](asked.prompt, given_.response) == (i == j), (asked, given_)


@pytest.mark.parametrize("subset", CATEGORIES)
def test_a_verifier_refuses_what_it_cannot_read(subset: str) -> None:
    with pytest.raises(ValueError, match="in 'Sing a song"):
        VERIFIERS[subset]("Sing a song about nothing.", "It is 7.")
