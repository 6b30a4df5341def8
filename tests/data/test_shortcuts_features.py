"""Features of responses: counts worked out by hand, and what must hold for any text."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.data.shortcuts.features import (
    FEATURES,
    join,
    measure,
    plain_words,
    read_response,
    read_text,
    response_tokens,
)
from rewardsmith.data.store import TokenizedPair, pair_keys
from rewardsmith.types import Message, PreferencePair


def counts(text: str) -> dict[str, int]:
    reading = read_text(text)
    return {code: feature.count(reading) for code, feature in FEATURES.items()}


def row(chosen: str, rejected: str, prompt: str = "Why?") -> TokenizedPair:
    pair = PreferencePair(
        (Message("user", prompt),), (Message("assistant", chosen),), (Message("assistant", rejected),)
    )
    ids = [np.array([1, 2, *map(ord, text), 0], dtype=np.int32) for text in (chosen, rejected)]
    return TokenizedPair(pair, *ids, "pairs.jsonl", 1, pair_keys(pair))


MARKDOWN = """Certainly! Here's **what** I'd do, *friend*:

# Plan
## Steps
- one
  * two
+ three
• four

1. first
2) second

| a | b |
|---|---|

```python
print("HELLO")
```

Use `x` and `y`. See https://example.org [1] (Smith, 2019)! 🎉 ✅ #hashtag
"""


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ("bullets", 4),
        ("numbered_items", 2),
        ("headings", 2),
        ("bold", 1),
        ("code_blocks", 1),
        ("inline_code", 2),
        ("table_rows", 2),
        ("emoji", 2),
        ("exclamations", 2),
        ("questions", 0),
        ("digits", 7),  # 1. 2) [1] 2019
        ("paragraphs", 5),
        ("urls", 1),
        ("citations", 2),
        ("capitals", 1),
        ("outer_space", 1),
        ("unfinished", 1),  # ends with a hashtag
        ("opening_sure", 1),
        ("first_person", 1),
        ("opening_here_is", 0),
        ("steps", 2),  # Steps is another word than step: first, second
    ],
)
def test_counts_of_a_page_of_markdown(code: str, count: int) -> None:
    assert counts(MARKDOWN)[code] == count


@pytest.mark.parametrize(
    ("text", "code", "count"),
    [
        ("I’m sorry, but I can’t help with that.", "refusal", 1),
        ("I'm sorry, but no.", "apologies", 1),
        ("As an AI language model, I have no body.", "as_an_ai", 2),
        ("What a great question! Yes.", "opening_praise", 1),
        ("My cat has a great question.", "opening_praise", 0),
        ("Here are three ideas.", "opening_here_is", 1),
        ("Sure, why not.", "opening_sure", 1),
        ("Surely not.", "opening_sure", 0),
        ("It may rain, perhaps; it might\nnot.", "hedges", 3),
        ("Definitely. It never rains.", "certainty", 2),
        ("However, it rains. Therefore: stay.", "connectives", 2),
        ("Let me know if that helps. Feel free to ask.", "offers", 2),
        ("Please note: consult a doctor.", "disclaimers", 2),
        ("You and your dog.", "second_person", 2),
        ("The answer is (C).", "answer_is", 2),
        ("A formula: \\(x\\) and $$y$$ and \\frac{1}{2}.", "formulas", 3),
        ("One — two – three - four", "dashes", 3),
        ("Wait... what…", "ellipses", 2),
        ("naïve", "foreign_letters", 1),
        ("Nothing here.", "unfinished", 0),
        ("Nothing he", "unfinished", 1),
        ("“Quoted.”", "unfinished", 0),
        (" both ", "outer_space", 2),
        ("a\nb\n\nc", "line_breaks", 3),
        ("a\nb\n\nc", "paragraphs", 1),
        ("Is it? Is it?", "questions", 2),
        ("#hashtag is no heading", "headings", 0),
        ("3.14 is no list", "numbered_items", 0),
        ("-5 is no bullet", "bullets", 0),
        ("See et al. (2010) and page (1234).", "citations", 2),
        ("unclosed ```code", "code_blocks", 1),
    ],
)
def test_one_feature_by_hand(text: str, code: str, count: int) -> None:
    assert counts(text)[code] == count


def test_words_are_runs_of_letters_digits_and_apostrophes() -> None:
    text = "Don’t STOP—well, it's 3.5 km (Zürich)!"
    assert [word.decode() for word in plain_words(text.encode())] == [
        "don't",
        "stop—well",
        "it's",
        "3",
        "5",
        "km",
        "zürich",
    ]


def test_a_response_of_several_turns_is_one_text() -> None:
    reading = read_response((Message("assistant", "One."), Message("tool", "Two!")))
    assert (reading.raw, reading.words, reading.characters) == (b"\nOne.\nTwo!", 2, 9)


@given(st.text())
def test_no_text_breaks_a_feature_and_no_count_is_negative(text: str) -> None:
    found = counts(text)
    assert set(found) == set(FEATURES)
    assert all(count >= 0 for count in found.values())


@given(st.lists(st.tuples(st.text(max_size=40), st.text(max_size=40)), max_size=6))
def test_swapping_the_sides_negates_every_sign(texts: list[tuple[str, str]]) -> None:
    there = measure([row(chosen, rejected) for chosen, rejected in texts])
    back = measure([row(rejected, chosen) for chosen, rejected in texts])
    np.testing.assert_array_equal(there.more, -back.more)
    np.testing.assert_array_equal(there.longer, -back.longer)
    if texts:
        np.testing.assert_array_equal(there.has(), back.has()[:, ::-1])


def test_measures_by_hand() -> None:
    rows = [row("Yes! Yes!", "No."), row("A", "B"), row("Hm", "Yes, sir!")]
    part, rest = measure(rows[:2]), measure(rows[2:])
    whole = join([part, rest])
    exclamations = list(FEATURES).index("exclamations")
    assert whole.more[:, exclamations].tolist() == [1, 0, -1]
    assert whole.has()[exclamations].tolist() == pytest.approx([1 / 3, 1 / 3])
    assert whole.lengths.tolist() == [[[9, 3], [2, 1], [10, 4]], [[1, 1], [1, 1], [2, 2]], [[2, 9], [1, 2], [3, 10]]]
    assert whole.longer.tolist() == [[1, 1, 1], [0, 0, 0], [-1, -1, -1]]
    np.testing.assert_array_equal(whole.packed, measure(rows).packed)
    assert measure([]).packed.shape == join([]).packed.shape == (0, len(FEATURES))


def test_tokens_begin_where_the_texts_part() -> None:
    chosen, rejected = (np.array(ids, dtype=np.int32) for ids in ([5, 6, 7, 8, 0], [5, 6, 9, 0]))
    assert response_tokens(chosen, rejected) == (3, 2)
    assert response_tokens(chosen[:2], rejected[:2]) == (0, 0)
    assert response_tokens(chosen[:2], rejected) == (0, 2)


def test_every_feature_says_what_it_counts() -> None:
    assert all(feature.meaning and not feature.meaning.endswith(".") for feature in FEATURES.values())
    assert len({feature.meaning for feature in FEATURES.values()}) == len(FEATURES)
