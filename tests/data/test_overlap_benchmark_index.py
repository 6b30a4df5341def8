"""The index of benchmark prompts: the rule of Tülu 3, edited copies, and forms that are no contamination."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from overlap_world import edited, text

from rewardsmith.data.surveys.contamination import RULES, BenchmarkIndex, Matches
from rewardsmith.data.words import hash_words


def search(prompts: list[str], texts: list[str]) -> Matches:
    size = len(prompts)
    index = BenchmarkIndex(hash_words(prompts), np.arange(size), np.zeros(size, np.int64))
    return index.search(hash_words(texts))


def found(prompts: list[str], texts: list[str]) -> list[tuple[int, int, str, float]]:
    matches = search(prompts, texts)
    columns = (matches.text, matches.prompt, matches.rule, matches.share)
    return [
        (t, p, RULES[r], pytest.approx(s)) for t, p, r, s in zip(*(column.tolist() for column in columns), strict=True)
    ]


def letters(first: int, last: int) -> str:
    """Words w1 … w9: a text whose overlaps can be counted by hand."""
    return " ".join(f"w{number}" for number in range(first, last + 1))


def tulu_share(prompt: str, other: str) -> float:
    """Upstream's own way, with sets of words: the share of a prompt's words in an 8-gram that the other text has."""
    words, others = prompt.split(), other.split()
    known = {tuple(others[i : i + 8]) for i in range(len(others) - 7)}
    matched: set[int] = set()
    for start in range(len(words) - 7):
        if tuple(words[start : start + 8]) in known:
            matched.update(range(start, start + 8))
    return len(matched) / len(words)


def test_equal_words_are_found_at_any_length() -> None:
    prompts = ["Why?", letters(1, 5), letters(1, 30)]
    assert found(prompts, ["why", f"{letters(1, 5)}!", letters(1, 30), "why not", ""]) == [
        (0, 0, "equal", 1.0),
        (1, 1, "equal", 1.0),
        (2, 2, "equal", 1.0),
    ]


def test_more_than_half_of_the_words_in_runs_of_eight() -> None:
    prompt = letters(1, 20)
    assert found([prompt], [f"x {letters(1, 11)} y"]) == [(0, 0, "ngrams", 11 / 20)]
    assert found([prompt], [f"x {letters(1, 10)} y"]) == []
    assert found([prompt], [f"{letters(1, 8)} x {letters(13, 20)}"]) == [(0, 0, "ngrams", 16 / 20)]
    assert found([prompt], [f"{letters(1, 7)} x {letters(8, 14)} x {letters(15, 20)} x"]) != []  # triples


def test_a_short_prompt_has_to_be_there_as_a_whole() -> None:
    prompt = "Tom has 5 apples, Ann 9. How many has the one with fewer?"
    assert found([prompt], [f"Quick: {prompt.upper()} Think!"]) == [(0, 0, "ngrams", 1.0)]
    assert found([prompt], [prompt.replace("5", "7"), prompt.replace("fewer", "more")]) == []


def test_shares_are_those_that_upstream_counts() -> None:
    rng = Random(1)
    prompts = [text(rng, rng.randint(25, 60)).lower().replace(".", "") for _ in range(60)]
    texts = []
    for prompt in prompts:
        words = prompt.split()
        cut = rng.randint(1, len(words))
        texts.append(
            " ".join([*text(rng, 10).lower().replace(".", "").split(), *words[:cut], "and", *words[cut + 1 :]])
        )
    matches = search(prompts, texts)
    by_runs = matches.rule == RULES.index("ngrams")
    got = {
        (t, p): s
        for t, p, s in zip(matches.text[by_runs], matches.prompt[by_runs], matches.share[by_runs], strict=True)
    }
    expected = {
        (t, p): share
        for t, one in enumerate(texts)
        for p, prompt in enumerate(prompts)
        if (share := tulu_share(prompt, one)) > 0.5
    }
    assert got.keys() == expected.keys()
    assert all(got[key] == pytest.approx(expected[key]) for key in expected)


@pytest.mark.parametrize(("share", "recall"), [(0.05, 0.98), (0.10, 0.95)])
def test_edited_copies_are_found(share: float, recall: float) -> None:
    rng = Random(2)
    prompts = [text(rng, rng.randint(30, 150)) for _ in range(600)]
    texts = [f"{text(rng, rng.randint(0, 20))} {edited(rng, prompt, share)} {text(rng, 5)}" for prompt in prompts]
    matches = search(prompts, texts)
    assert np.count_nonzero(matches.text == matches.prompt) >= recall * 600
    assert (matches.text == matches.prompt).all()


def test_unlike_texts_hold_nothing() -> None:
    rng = Random(3)
    prompts = [text(rng, rng.randint(8, 100)) for _ in range(1000)]
    assert found(prompts, [text(rng, rng.randint(20, 600)) for _ in range(1000)]) == []


def test_the_form_of_the_questions_is_not_a_question() -> None:
    rng = Random(4)
    frame = text(rng, 60)
    prompts = [f"{frame} {text(rng, 30)}" for _ in range(200)]
    texts = [f"{frame} {text(rng, 30)}" for _ in range(200)]
    assert found(prompts, texts) == []
    matches = found(prompts, [prompts[7] + " Think.", edited(rng, prompts[8], 0.05)])
    assert [match[:2] for match in matches] == [(0, 7), (1, 8)]


def test_a_prompt_that_is_all_form_has_to_be_equal() -> None:
    prompts = [f"{letters(1, 30)} What is {number} plus {number}?" for number in range(100)]
    texts = [f"{letters(1, 30)} What is {number} plus {number}?" for number in range(90, 110)]
    assert [match[:3] for match in found(prompts, texts)] == [(place, 90 + place, "equal") for place in range(10)]


def test_an_index_without_words_finds_nothing() -> None:
    assert found(["?"], ["?", "words"]) == []
