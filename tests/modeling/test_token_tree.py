"""The token tree: every token once, every sequence whole, nothing seen across sequences."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rewardsmith.errors import DataError
from rewardsmith.modeling.tree.token_tree import MIN_SHARED, Node, Pack, pack_pairs, pack_sequences

ENDLESS = 10**9
unhurried = settings(deadline=None)  # machines may be busy

# Few tokens and repeated openings, so that prefixes, equal texts and texts within texts are common.
openings = st.lists(st.lists(st.integers(0, 2), min_size=0, max_size=12), min_size=1, max_size=4)
endings = st.lists(st.integers(0, 3), min_size=1, max_size=12)


@st.composite
def texts(draw: st.DrawFn, count: int = 12) -> list[list[int]]:
    starts = draw(openings)
    drawn = st.tuples(st.sampled_from(starts), endings)
    return [start + ending for start, ending in draw(st.lists(drawn, min_size=1, max_size=count))]


@st.composite
def pairs_of_texts(draw: st.DrawFn) -> list[tuple[list[int], list[int]]]:
    pool = draw(texts(6))
    indices = st.integers(0, len(pool) - 1)
    return [(pool[a], pool[b]) for a, b in draw(st.lists(st.tuples(indices, indices), min_size=1, max_size=8))]


def path_to(pack: Pack, reward_position: int) -> list[int]:
    """The row's tokens that the token at `reward_position` depends on, by following the nodes, not the mask."""
    path: list[int] = []
    for node in pack.layout.nodes:
        if node.start <= reward_position < node.stop:
            path += range(node.start, min(node.end, reward_position + 1))
    return path


def reference_mask(pack: Pack) -> np.ndarray:
    """Who must attend to whom, from the sequences alone: along each sequence, everything before it and itself."""
    mask = np.zeros((len(pack), len(pack)), dtype=bool)
    for position in pack.layout.reward_positions:
        path = path_to(pack, int(position))
        for index, token in enumerate(path):
            mask[token, path[: index + 1]] = True
    return mask


def check_sequences(pack: Pack, expected: Sequence[Sequence[int]]) -> None:
    """`expected` in the order of `pack.reward_positions`."""
    assert len(pack.reward_positions) == len(expected)
    for position, sequence in zip(pack.reward_positions, expected, strict=True):
        path = path_to(pack, int(position))
        assert pack.input_ids[path].tolist() == list(sequence)
        assert pack.position_ids[path].tolist() == list(range(len(sequence)))


def test_example_of_the_module_docstring():
    a, b, c, d, e, f, x, y = range(8)
    (pack,) = pack_sequences([[a, b, c, d], [x, y], [a, b, c, e, f], [x, y]], ENDLESS, min_shared=1)
    assert pack.input_ids.tolist() == [a, b, c, d, e, f, x, y]
    assert pack.position_ids.tolist() == [0, 1, 2, 3, 3, 4, 0, 1]
    assert pack.layout.nodes == (Node(0, 3, 6), Node(3, 4, 4), Node(4, 6, 6), Node(6, 8, 8))
    assert pack.layout.reward_positions.tolist() == [3, 5, 7]
    assert dict(zip(pack.members.tolist(), pack.reward_positions.tolist(), strict=True)) == {0: 3, 1: 7, 2: 5, 3: 7}
    see = pack.layout.may_attend(slice(None), slice(None))
    seen = [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 4], [0, 1, 2, 4, 5], [6], [6, 7]]
    assert [np.flatnonzero(row).tolist() for row in see] == seen


def test_window_counts_back_from_each_token_along_its_own_sequence():
    (pack,) = pack_sequences([[0, 1, 2, 3], [0, 1, 4, 5, 6]], ENDLESS, min_shared=1)
    assert pack.input_ids.tolist() == [0, 1, 2, 3, 4, 5, 6]
    within = pack.layout.may_attend(slice(None), slice(None), window=2)
    assert [np.flatnonzero(row).tolist() for row in within] == [[0], [0, 1], [1, 2], [2, 3], [1, 4], [4, 5], [5, 6]]
    assert pack.layout.fits_window(5)
    assert not pack.layout.fits_window(4)
    assert pack.layout.fits_window(None)


def test_text_that_begins_another_is_read_inside_it():
    (pack,) = pack_sequences([[1, 2, 3, 4], [1, 2]], ENDLESS, min_shared=1)
    assert pack.input_ids.tolist() == [1, 2, 3, 4]
    assert pack.members.tolist() == [1, 0]
    assert pack.reward_positions.tolist() == [1, 3]


def test_trunks_below_trunks():
    (pack,) = pack_sequences([[1, 1, 1, 2, 2, 5], [1, 1, 1, 2, 2, 6], [1, 1, 1, 7]], ENDLESS, min_shared=2)
    assert pack.input_ids.tolist() == [1, 1, 1, 2, 2, 5, 6, 7]
    assert pack.layout.nodes == (Node(0, 3, 8), Node(3, 5, 7), Node(5, 6, 6), Node(6, 7, 7), Node(7, 8, 8))


def test_short_runs_are_not_shared():
    common = list(range(MIN_SHARED - 1))
    (short,) = pack_sequences([[*common, 98], [*common, 99]], ENDLESS)
    (long,) = pack_sequences([[*common, 50, 98], [*common, 50, 99]], ENDLESS)
    assert len(short) == 2 * MIN_SHARED
    assert len(long) == MIN_SHARED + 2


@unhurried
@given(texts())
def test_every_token_once(sequences: list[list[int]]):
    (pack,) = pack_sequences(sequences, ENDLESS, min_shared=1)
    prefixes = {tuple(sequence[:end]) for sequence in sequences for end in range(1, len(sequence) + 1)}
    assert len(pack) == len(prefixes)


@unhurried
@given(texts(), st.integers(1, 60), st.integers(1, 6))
def test_sequences_are_whole_wherever_they_lie(sequences: list[list[int]], budget: int, min_shared: int):
    packs = pack_sequences(sequences, budget, min_shared)
    assert sorted(member for pack in packs for member in pack.members) == list(range(len(sequences)))
    for pack in packs:
        check_sequences(pack, [sequences[member] for member in pack.members])
        assert len(pack.layout) == len(pack) == len(pack.position_ids)


@example([[0] * 8, [0] * 9, [0] * 10, [0, 0, 0, 0, 0, 1]], 17, 5)  # dearer as one tree than as two
@unhurried
@given(texts(), st.integers(1, 60), st.integers(1, 6))
def test_budget_is_kept_unless_one_sequence_exceeds_it(sequences: list[list[int]], budget: int, min_shared: int):
    for pack in pack_sequences(sequences, budget, min_shared):
        assert len(pack) <= budget or len(pack.layout.reward_positions) == 1


@unhurried
@given(texts(), st.integers(1, 60), st.integers(1, 6))
def test_attention_rule_is_the_sequences_own(sequences: list[list[int]], budget: int, min_shared: int):
    for pack in pack_sequences(sequences, budget, min_shared):
        everything = slice(None)
        np.testing.assert_array_equal(pack.layout.may_attend(everything, everything), reference_mask(pack))


@unhurried
@given(texts())
def test_parts_of_the_rule_are_cut_from_the_whole(sequences: list[list[int]]):
    (pack,) = pack_sequences(sequences, ENDLESS, min_shared=2)
    whole = pack.layout.may_attend(slice(None), slice(None), window=4)
    rows = pack.layout.reward_positions
    np.testing.assert_array_equal(pack.layout.may_attend(rows, slice(1, None), window=4), whole[rows, 1:])


@unhurried
@given(texts(), st.integers(1, 60))
def test_equal_sequences_share_a_slot(sequences: list[list[int]], budget: int):
    slot_of: dict[tuple[int, ...], set[tuple[int, int]]] = {}
    for number, pack in enumerate(pack_sequences(sequences, budget)):
        for member, slot in zip(pack.members, pack.slots, strict=True):
            slot_of.setdefault(tuple(sequences[member]), set()).add((number, int(slot)))
    assert all(len(places) == 1 for places in slot_of.values())
    assert len(set.union(*slot_of.values())) == len(slot_of)


@unhurried
@given(texts(), st.integers(1, 60))
def test_rewards_return_to_the_callers_order(sequences: list[list[int]], budget: int):
    rewards = np.full(len(sequences), np.nan)
    for pack in pack_sequences(sequences, budget, min_shared=1):
        sums = [pack.input_ids[path_to(pack, int(at))].sum() for at in pack.reward_positions]
        rewards[pack.members] = sums
    assert rewards.tolist() == [sum(sequence) for sequence in sequences]


@unhurried
@given(texts())
def test_packing_does_not_depend_on_the_order_given(sequences: list[list[int]]):
    forwards, backwards = (pack_sequences(order, 20) for order in (sequences, sequences[::-1]))
    assert sorted(p.input_ids.tolist() for p in forwards) == sorted(p.input_ids.tolist() for p in backwards)


@unhurried
@given(pairs_of_texts(), st.integers(1, 80), st.integers(1, 6))
def test_pairs_stay_together(pairs: list[tuple[list[int], list[int]]], budget: int, min_shared: int):
    packs = pack_pairs(pairs, budget, min_shared)
    assert sorted(member for pack in packs for member in pack.members) == list(range(len(pairs)))
    for pack in packs:
        chosen, rejected = zip(*(pairs[member] for member in pack.members), strict=True)
        check_sequences(pack, [*chosen, *rejected])
        assert len(pack) <= budget or len(pack.members) == 1
        np.testing.assert_array_equal(pack.layout.may_attend(slice(None), slice(None)), reference_mask(pack))


def test_ranking_makes_pairs_from_one_tree():
    prompt = list(range(20))
    answers = [[*prompt, 100 + k, 200 + k] for k in range(4)]
    ranking = [(answers[i], answers[j]) for i in range(4) for j in range(i + 1, 4)]
    (pack,) = pack_pairs(ranking, budget=28)
    assert len(pack) == 20 + 4 * 2
    assert pack.slots.tolist() == [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]
    assert pack.reward_positions.tolist() == [21, 21, 21, 23, 23, 25, 23, 25, 27, 25, 27, 27]


def test_one_call_can_hold_all_pairs_of_a_step_in_the_order_given():
    pairs = [([9, 9, 1], [9, 9, 2]), ([1, 1, 1], [1, 1, 2]), ([5], [6])]
    (pack,) = pack_pairs(pairs, ENDLESS)
    assert pack.members.tolist() == [0, 1, 2]
    assert pack.input_ids[pack.reward_positions].tolist() == [1, 1, 5, 2, 2, 6]


def test_tree_over_budget_is_cut_between_sequences():
    prompt = list(range(30))
    sequences = [[*prompt, 100 + k, *[k] * 9] for k in range(8)]
    packs = pack_sequences(sequences, budget=64)
    assert all(len(pack) <= 64 for pack in packs)
    assert sorted(map(len, packs)) == [50, 60, 60]  # 30 + 10 + 10 + 10 tokens hold three of the eight


def test_rows_are_filled():
    sequences = [[100 * i + j for j in range(length)] for i, length in enumerate([60, 50, 50, 40, 30, 30, 20, 20])]
    packs = pack_sequences(sequences, budget=100)
    assert sorted(map(len, packs)) == [100, 100, 100]


def test_arrays_and_lists_are_the_same_to_it():
    lists = [[1, 2, 70_000], [1, 2, 4]]
    arrays = [np.array(tokens, dtype=np.int32) for tokens in lists]
    (one,), (other,) = pack_sequences(lists, 100, min_shared=1), pack_sequences(arrays, 100, min_shared=1)
    assert one.input_ids.tolist() == other.input_ids.tolist() == [1, 2, 4, 70_000]
    assert one.input_ids.dtype == one.position_ids.dtype == np.int64


def test_nothing_makes_no_packs():
    assert pack_sequences([], 10) == []
    assert pack_pairs([], 10) == []


def test_sequence_without_tokens_is_refused():
    with pytest.raises(DataError, match="sequence 1"):
        pack_sequences([[1], []], 10)
    with pytest.raises(DataError, match="sequence 3"):
        pack_pairs([([1], [2]), ([1], [])], 10)


def test_deep_trees_need_no_recursion():
    turns = [list(range(2 * end)) for end in range(1, 1500)]
    (pack,) = pack_sequences(turns, ENDLESS, min_shared=1)
    assert len(pack) == 2998
    assert pack.reward_positions.tolist() == list(range(1, 2998, 2))


@settings(max_examples=20, deadline=None)
@given(texts())
def test_layouts_travel_between_processes_without_what_was_derived(sequences: list[list[int]]):
    (pack,) = pack_sequences(sequences, ENDLESS)
    assert pack.layout.derived("key", lambda: "made") == "made"
    assert pack.layout.derived("key", lambda: "made again") == "made"
    copy = pickle.loads(pickle.dumps(pack.layout))  # noqa: S301
    assert copy.nodes == pack.layout.nodes
    assert copy.derived("key", lambda: "made in the other process") == "made in the other process"
    np.testing.assert_array_equal(copy.stops(), pack.layout.stops())


def test_many_sequences_take_seconds():
    """Sorting, comparing and packing must stay near linear: 20,000 texts of 300 tokens, sharing 150."""
    draw = np.random.default_rng(0)
    prompts = draw.integers(0, 50_000, (4000, 150))
    sequences = [np.concatenate([prompts[i // 5], draw.integers(0, 50_000, 150)]) for i in range(20_000)]
    packs = pack_sequences(sequences, budget=8192)
    assert sum(map(len, packs)) == 4000 * 150 + 20_000 * 150
    assert all(len(a) <= 8192 for a, _ in pairwise(packs))
