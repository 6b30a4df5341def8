"""Words, shingles, boilerplate and signatures: what overlap is counted on."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from overlap_world import text

from rewardsmith.data.minhash import EMPTY, MinHash, similarity
from rewardsmith.data.words import CommonShingles, ShingleSets, hash_words, ngrams, ranges, shingle_sets, starts_of

TEXTS = st.lists(st.text(max_size=60), max_size=8)


def words_in(text: str) -> int:
    return int(hash_words([text]).counts[0])


def same(one: str, other: str) -> bool:
    left, right = hash_words([one, other]).digests()
    return bool(left == right)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is 7 + 5?", "what  is 7+5"),
        ("Hello (world)!", "HELLO\n“world”"),
        ("It is so; or not?", "it is  so; or not"),
        ("well-known facts", "well known facts"),
        ("- item one\n- item two", "item one item two"),
        ("**bold** `code` | cell", "bold code cell"),
        ("cafe\u0301 no", "Café No"),
        ("ｆｕｌｌ width", "full width"),
        ("7 \u2212 5", "7 - 5"),
    ],
)
def test_case_spacing_and_punctuation_do_not_count(one: str, other: str) -> None:
    assert same(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("7 + 5", "7 - 5"),
        ("7 - 5", "7 5"),
        ("7*5", "7/5"),
        ("in C", "in C#"),
        ("in C", "in C++"),
        ("a < b", "a > b"),
        ("costs $5", "costs €5"),
        ("the cat", "cat the"),
        ("Name a few. End with a ?.", "Name a few. End with a !."),
        ("Let's eat, Tom", "Let's eat Tom"),
        ("ab c", "a bc"),
        ("1.5", "15"),
        ("好", "不好"),
        ("😀", "😁"),
    ],
)
def test_what_changes_the_meaning_counts(one: str, other: str) -> None:
    assert not same(one, other)


def test_words_are_counted_as_read() -> None:
    assert words_in("Don't panic: it's 42.") == 6
    assert words_in("naïve Ωmega слово") == 3
    assert words_in("今天天气很好") == 6
    assert words_in("한국어 문장") == 2
    assert words_in("good 👍👍") == 3
    assert words_in("") == words_in(" \n?!…") == 0


def test_equal_words_have_equal_hashes_wherever_they_stand() -> None:
    filler = "x " * 70_000  # beyond a block
    words = hash_words([filler + "apple pear apple", "Apple", "", "pear"])
    apple, pear, again = words.hashes[70_000:70_003]
    assert list(words.starts) == [0, 70_003, 70_004, 70_004, 70_005]
    assert apple == again == words.hashes[70_003]
    assert pear == words.hashes[70_004]
    assert apple != pear


def test_lone_surrogates_are_texts_like_others() -> None:
    assert words_in("a \ud800 b") == 2


@given(TEXTS)
def test_a_text_hashes_alone_as_it_does_among_others(texts: list[str]) -> None:
    together = hash_words(texts)
    for index, one in enumerate(texts):
        alone = hash_words([one])
        start, end = together.starts[index : index + 2]
        assert np.array_equal(alone.hashes, together.hashes[start:end])
        assert np.array_equal(alone.marks, together.marks[start:end])
        assert alone.digests()[0] == together.digests()[index]


@given(TEXTS)
def test_merged_messages_are_one_text(texts: list[str]) -> None:
    merged = hash_words(texts).merged(starts_of(np.array([len(texts)])))
    joined = hash_words(["\n".join(texts)])
    assert np.array_equal(merged.hashes, joined.hashes)


def test_no_two_words_of_a_large_vocabulary_share_a_hash() -> None:
    hashes = hash_words([" ".join(f"word{number} {number}" for number in range(50_000))]).hashes
    assert len(np.unique(hashes)) == 100_000


def test_ranges_counts_on_from_each_start() -> None:
    assert ranges(np.array([5, 0, 9]), np.array([2, 0, 3])).tolist() == [5, 6, 9, 10, 11]
    assert ranges(np.zeros(0, np.int64), np.zeros(0, np.int64)).tolist() == []


def test_ngrams_stay_within_a_text() -> None:
    grams = ngrams(hash_words(["a b c d", "a b", "b c d"]), 3)
    assert grams.text.tolist() == [0, 0, 2]
    assert grams.place.tolist() == [0, 1, 0]
    assert grams.hashes[1] == grams.hashes[2] != grams.hashes[0]


@given(st.lists(st.lists(st.sampled_from("abcd"), max_size=12), max_size=6), st.integers(1, 4))
def test_shingle_sets_are_the_sets_of_ngrams(texts: list[list[str]], n: int) -> None:
    sets = shingle_sets(hash_words([" ".join(words) for words in texts]), n)
    expected = [len({tuple(words[i : i + n]) for i in range(len(words) - n + 1)}) for words in texts]
    assert sets.counts.tolist() == expected


def test_signatures_estimate_the_jaccard_similarity() -> None:
    rng = Random(1)
    sets = shingle_sets(hash_words([" ".join(str(number) for number in range(300))]), 1)
    values = sets.values
    hasher = MinHash(512)
    for shared in (0.0, 0.2, 0.5, 0.9):
        mine = set(rng.sample(range(300), 150))
        common = set(rng.sample(sorted(mine), round(shared * 150)))
        other = common | set(rng.sample(sorted(set(range(300)) - mine), 150 - len(common)))
        signatures = [hasher.sign(ShingleSets(values[sorted(s)], np.array([0, len(s)]))) for s in (mine, other)]
        exact = len(mine & other) / len(mine | other)
        assert similarity(*signatures)[0] == pytest.approx(exact, abs=0.08)


def test_the_last_mark_of_each_message_does_not_count() -> None:
    one, other = (
        hash_words(messages).merged(starts_of(np.array([2]))) for messages in (["Hi. Go!", "On."], ["hi. go", "on"])
    )
    assert one.digests() == other.digests()


def test_a_slot_says_which_shingle_won_it() -> None:
    sets = shingle_sets(hash_words(["one two three four five", ""]), 1)
    hasher = MinHash(32)
    slots = hasher.sign(sets)
    assert set(hasher.winners(slots)[0].tolist()) <= set(sets.values.tolist())
    assert (slots[1] == EMPTY).all()


def test_empty_slots_do_not_speak() -> None:
    left, right = np.array([[7, 8, 0, 9]], np.uint32), np.array([[7, 5, 0, 0]], np.uint32)
    assert similarity(left, right).tolist() == [0.5]
    assert similarity(left, right, least=3).tolist() == [0.0]


def test_common_shingles_are_those_above_the_threshold() -> None:
    rng = Random(2)
    frame = "please answer the following question in one short sentence"
    texts = [f"{frame} {text(rng, 40)}" if number < 300 else text(rng, 40) for number in range(2000)]
    common = CommonShingles()
    for start in range(0, 2000, 500):
        words = hash_words(texts[start : start + 500])
        common.count(shingle_sets(words, 3), words.digests())
    framed = shingle_sets(hash_words([frame]), 3).values
    own = shingle_sets(hash_words([text(Random(99), 60)]), 3).values
    assert common.holds(framed).all()
    assert common.holds(own).mean() < 0.05


def test_a_text_counts_once_however_often_it_stands() -> None:
    words = hash_words(["the same long prompt stands in every single row of this set"] * 5000)
    sets = shingle_sets(words, 3)
    common = CommonShingles()
    common.count(sets, words.digests())
    common.count(sets, words.digests())
    assert not common.holds(sets.values).any()


@settings(max_examples=25)
@given(st.integers(0, 1000))
def test_a_shared_frame_does_not_make_texts_alike(seed: int) -> None:
    """What common shingles are for: alike with the frame, unlike without."""
    rng = Random(seed)
    frame = text(Random(7), 60)
    sets = shingle_sets(hash_words([f"{frame} {text(rng, 30)}" for _ in range(2)]), 3)
    own = sets.only(~np.isin(sets.values, shingle_sets(hash_words([frame]), 3).values))
    hasher = MinHash(64)
    assert similarity(*hasher.sign(sets)) > 0.3
    assert similarity(*hasher.sign(own)) < 0.1
