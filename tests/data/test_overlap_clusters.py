"""Clusters of near-duplicate texts: recall on edits, no false alarms, no chains, one cost a text."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from overlap_world import edited, prefixed, reordered, text

from rewardsmith.data.minhash import SketchBook, Sketches, cluster_texts, connect, merge
from rewardsmith.data.words import hash_words

EDITS: dict[str, tuple[Callable[[Random, str], str], float]] = {
    "one word in twenty": (lambda rng, original: edited(rng, original, 0.05), 0.95),
    "sentences in another order": (reordered, 0.95),
    "a prefix": (prefixed, 0.95),
    "upper case, no punctuation": (lambda _, original: original.upper().replace(".", " "), 1.0),
    "one word in ten": (lambda rng, original: edited(rng, original, 0.10), 0.80),
}


def sketches_of(texts: list[str], chunk: int = 512) -> Sketches:
    book = SketchBook(64, np.uint32)
    for start in range(0, len(texts), chunk):
        words = hash_words(texts[start : start + chunk])
        book.add(words, words.digests())
    return book.close()


def clusters_of(texts: list[str]) -> list[int]:
    return cluster_texts(sketches_of(texts)).tolist()


@pytest.mark.parametrize("kind", EDITS)
def test_edited_copies_are_found(kind: str) -> None:
    """A fifth of 2,000 texts of 30 to 200 words has an edited copy somewhere behind it."""
    edit, recall = EDITS[kind]
    rng = Random(kind)
    originals = [text(rng, rng.choice((30, 31, 35, 40, 60, 100, 200))) for _ in range(2000)]
    copied = rng.sample(range(2000), 400)
    labels = clusters_of([*originals, *(edit(rng, originals[index]) for index in copied)])
    found = sum(labels[2000 + number] == index for number, index in enumerate(copied))
    assert found >= recall * 400
    assert labels[:2000] == list(range(2000))


def test_unlike_texts_are_apart() -> None:
    rng = Random(3)
    labels = clusters_of([text(rng, rng.randint(20, 120)) for _ in range(4000)])
    assert labels == list(range(4000))


@pytest.mark.parametrize("frame_words", [30, 150])
def test_a_form_that_all_texts_share_does_not_join_them(frame_words: int) -> None:
    rng = Random(4)
    frame = text(rng, frame_words)
    originals = [f"{frame} {text(rng, 40)}" for _ in range(3000)]
    copied = rng.sample(range(3000), 300)
    questions = [originals[index].removeprefix(frame).strip() for index in copied]
    labels = clusters_of([*originals, *(f"{frame} {edited(rng, question, 0.05)}" for question in questions)])
    assert labels[:3000] == list(range(3000))
    found = sum(labels[3000 + number] == index for number, index in enumerate(copied))
    assert found >= 0.95 * 300


def test_a_filled_in_form_is_known_by_its_exact_words() -> None:
    frame = text(Random(5), 60)
    texts = [f"{frame} What is {number} plus {number + 1}?" for number in range(1000)]
    labels = clusters_of([*texts, texts[3].upper(), texts[4]])
    assert labels[:1000] == list(range(1000))
    assert labels[1000:] == [3, 4]


def test_short_texts_have_to_be_equal() -> None:
    labels = clusters_of(
        ["What is the capital of France?", "what is the capital of France", "What is the capital of Spain?"]
    )
    assert labels == [0, 0, 2]


def test_chains_do_not_swallow_a_set() -> None:
    """Each text shares half with the next one: 2,000 links, and no cluster of more than a few."""
    rng = Random(6)
    parts = [text(rng, 40) for _ in range(2001)]
    labels = np.array(clusters_of([f"{parts[i]} {parts[i + 1]}" for i in range(2000)]))
    assert np.bincount(labels).max() <= 100


def test_many_copies_of_one_text_are_one_cluster() -> None:
    rng = Random(7)
    original = text(rng, 50)
    others = [text(rng, 50) for _ in range(3000)]
    labels = clusters_of([original, *others, *(edited(rng, original, 0.04) for _ in range(60))])
    assert labels.count(0) == 61
    assert labels[1:3001] == list(range(1, 3001))


def test_the_order_of_chunks_does_not_matter() -> None:
    rng = Random(8)
    originals = [text(rng, 40) for _ in range(300)]
    texts = originals + [edited(rng, original, 0.05) for original in originals[:50]]
    assert cluster_texts(sketches_of(texts, 512)).tolist() == cluster_texts(sketches_of(texts, 64)).tolist()


@given(
    st.integers(2, 30).flatmap(
        lambda n: st.tuples(st.just(n), st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1))))
    )
)
def test_merging_gives_the_connected_components(case: tuple[int, list[tuple[int, int]]]) -> None:
    size, edges = case
    expected = list(range(size))
    for left, right in edges:  # one edge at a time, the slow way
        low, high = sorted((expected[left], expected[right]))
        expected = [low if label == high else label for label in expected]
    left, right = np.array(edges, np.int64).reshape(-1, 2).T
    assert merge(np.arange(size), left, right).tolist() == expected


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40))
def test_equal_keys_connect_what_is_alike_and_zero_connects_nothing(keys: list[int]) -> None:
    labels = connect(len(keys), [np.array(keys, np.uint64)], lambda left, right: np.ones(len(left), np.bool_))
    first = {key: keys.index(key) for key in set(keys)}
    assert labels.tolist() == [first[key] if key else place for place, key in enumerate(keys)]


def test_a_bucket_costs_two_comparisons_an_item() -> None:
    compared = 0

    def alike(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        nonlocal compared
        compared += len(left)
        return np.zeros(len(left), np.bool_)

    connect(1000, [np.ones(1000, np.uint64)], alike)
    assert compared == 999 + 998
