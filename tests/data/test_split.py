"""The split never parts equal prompts, whatever the rows and their order."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.data.prepare import hold_out
from rewardsmith.data.store import TokenizedPair, data_fingerprint, pair_keys
from rewardsmith.types import Message, PreferencePair

IDS = np.array([1], dtype=np.int32)


def row(prompt: int, answer: int) -> TokenizedPair:
    pair = PreferencePair(
        (Message("user", f"prompt {prompt}"),),
        (Message("assistant", f"good {answer}"),),
        (Message("assistant", f"bad {answer}"),),
    )
    return TokenizedPair(pair, IDS, IDS, "a.jsonl", answer, pair_keys(pair))


def keys_of(rows):
    return np.array([key for kept in rows for key in kept.keys], dtype="V16").reshape(-1, 3)


def split_by_prompt(rows, **how):
    """Training rows and held-out rows."""
    out = hold_out(keys_of(rows)[:, 0], **how)
    return [kept for kept, held in zip(rows, out, strict=True) if not held], [
        kept for kept, held in zip(rows, out, strict=True) if held
    ]


rows_of = st.lists(st.tuples(st.integers(0, 15), st.integers(0, 40)), min_size=1, max_size=60).map(
    lambda cells: [row(*cell) for cell in cells]
)


@given(rows=rows_of, fraction=st.floats(0, 0.49), seed=st.integers(0, 2**32), draw=st.randoms())
def test_prompts_are_never_parted_and_order_decides_nothing(rows, fraction, seed, draw):
    train, held_out = split_by_prompt(rows, fraction=fraction, seed=seed)
    prompts = [{kept.pair.prompt for kept in side} for side in (train, held_out)]
    assert not prompts[0] & prompts[1]
    assert sorted(map(id, train + held_out)) == sorted(map(id, rows))
    distinct = len({kept.pair.prompt for kept in rows})
    expected = round(distinct * fraction)
    assert len(prompts[1]) == (min(max(expected, 1), distinct - 1) if fraction else 0)
    draw.shuffle(rows)
    assert {id(kept) for kept in split_by_prompt(rows, fraction=fraction, seed=seed)[1]} == set(map(id, held_out))


def test_adding_rows_of_known_prompts_moves_no_prompt():
    few = [row(prompt, 0) for prompt in range(40)]
    many = few + [row(prompt, answer) for prompt in range(40) for answer in range(1, 4)]
    held = [{kept.pair.prompt for kept in split_by_prompt(rows, fraction=0.2, seed=3)[1]} for rows in (few, many)]
    assert held[0] == held[1]
    assert len(held[0]) == 8


@given(
    group_of=st.lists(st.integers(0, 9), min_size=40, max_size=40),
    fraction=st.floats(0.01, 0.49),
    seed=st.integers(0, 2**32),
)
def test_groups_are_never_parted_and_never_hold_out_more_than_asked(group_of, fraction, seed):
    rows = [row(prompt, 0) for prompt in range(40)]
    groups = np.array(group_of)
    out = hold_out(keys_of(rows)[:, 0], fraction=fraction, seed=seed, groups=groups)
    assert not set(groups[out]) & set(groups[~out])
    sizes = np.unique(groups, return_counts=True)[1]
    if len(sizes) > 1:
        assert 0 < out.sum() <= max(round(40 * fraction), 1, sizes.min())
    else:
        assert not out.any()


def test_groups_of_one_change_nothing():
    rows = [row(prompt, answer) for prompt in range(40) for answer in range(2)]
    groups = np.repeat(np.arange(40) + 7, 2)
    keys = keys_of(rows)[:, 0]
    assert (hold_out(keys, fraction=0.2, seed=3) == hold_out(keys, fraction=0.2, seed=3, groups=groups)).all()


def test_another_seed_holds_out_other_prompts():
    rows = [row(prompt, 0) for prompt in range(200)]
    held = [{kept.pair.prompt for kept in split_by_prompt(rows, fraction=0.1, seed=seed)[1]} for seed in (1, 2)]
    assert held[0] != held[1]


@given(rows=rows_of, draw=st.randoms())
def test_the_fingerprint_knows_the_texts_and_not_their_order(rows, draw):
    before = data_fingerprint(keys_of(rows))
    assert before == hashlib.sha256(b"".join(sorted(b"".join(kept.keys) for kept in rows))).hexdigest()
    draw.shuffle(rows)
    assert data_fingerprint(keys_of(rows)) == before
    assert data_fingerprint(keys_of([*rows, row(99, 99)])) != before
    assert data_fingerprint(keys_of(rows[1:])) != before


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((Message("user", "a"), Message("user", "b")), (Message("user", "ab"),)),
        ((Message("user", "a"),), (Message("assistant", "a"),)),
        ((Message("user", "a 1 b"),), (Message("user", "a"), Message("1", "b"))),
    ],
)
def test_digests_tell_texts_apart(one, other):
    answers = ((Message("assistant", "x"),), (Message("assistant", "y"),))
    assert pair_keys(PreferencePair(one, *answers)) != pair_keys(PreferencePair(other, *answers))


def test_pairs_without_a_prompt_count_as_prompts_of_their_own():
    texts = [PreferencePair((), (Message("text", f"good {n}"),), (Message("text", "bad"),)) for n in range(3)]
    assert len({pair_keys(pair)[0] for pair in texts}) == 3
