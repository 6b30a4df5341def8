"""Phrases that responses use whatever the question, by kind, and how often a list of words uses each kind.

    count_phrases([b"i", b"think", b"so"])      → one count a kind, in the order of PHRASES

English, as most preference data is. A list names the common phrases, not all of them: a kind that is rare on both sides
decides few pairs, and what the lists do not name, `words` finds by itself.

All kinds are counted in one pass over the words: each phrase is looked up by its longest word, which is the rarest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

ANYWHERE = 10**9


class Kind(NamedTuple):
    """Phrases of one kind that begin among the first `within` words."""

    phrases: tuple[str, ...]
    within: int = ANYWHERE


PHRASES: dict[str, Kind] = {
    # A refusal comes first; a later "I cannot" is part of an answer.
    "refusal": Kind(
        (
            *(f"i {cannot}" for cannot in ("cannot", "can't", "can not", "won't", "will not")),
            *("i'm sorry but", "i am sorry but", "sorry but i", "unable to", "not able to", "not comfortable"),
            *(f"{must} {decline}" for must in ("must", "have to") for decline in ("decline", "refuse")),
            *("cannot assist", "can't assist", "cannot help with", "can't help with", "against my programming"),
        ),
        within=40,
    ),
    "opening_sure": Kind(("sure", "certainly", "of course", "absolutely"), within=1),
    "opening_praise": Kind(
        tuple(f"{praise} question" for praise in ("great", "good", "excellent", "fantastic", "interesting")), within=4
    ),
    "opening_here_is": Kind(("here is", "here are", "here's", "below is", "below are", "the following"), within=1),
    "opening_i": Kind(("i", "i'm", "i'd", "i've", "i'll", "my"), within=1),
    "first_person": Kind(("i", "i'm", "i've", "i'd", "i'll", "me", "my", "myself")),
    "second_person": Kind(("you", "your", "you're", "yours", "yourself", "you'll", "you've")),
    "as_an_ai": Kind(("as an ai", "language model", "i'm an ai", "ai assistant")),
    "apologies": Kind(("sorry", "apologize", "apologise", "apologies", "unfortunately", "i'm afraid")),
    "hedges": Kind(
        (
            *("may", "might", "perhaps", "maybe", "possibly", "probably", "likely", "generally", "typically"),
            *("i think", "i believe", "it seems", "seems to", "could be", "depends on", "not sure", "in some cases"),
        )
    ),
    "certainty": Kind(
        (
            *("definitely", "certainly", "absolutely", "clearly", "undoubtedly", "obviously"),
            *("always", "never", "surely", "without a doubt", "of course"),
        )
    ),
    "connectives": Kind(
        (
            *("however", "therefore", "thus", "hence", "additionally", "furthermore", "moreover", "overall"),
            *("in conclusion", "in summary", "on the other hand", "for example", "for instance", "such as"),
        )
    ),
    "steps": Kind(("step", "first", "second", "next", "then", "finally", "let's", "let us")),
    "disclaimers": Kind(
        ("important to note", "please note", "important to remember", "consult", "professional advice", "keep in mind")
    ),
    "offers": Kind(
        ("let me know", "feel free", "hope this helps", "happy to help", "any other questions", "anything else")
    ),
    "answer_is": Kind(("answer is", "the answer", "correct answer")),
}


class _Entry(NamedTuple):
    """A phrase under its longest word: its kind, how many words precede that word, all words, where it may begin."""

    kind: int
    before: int
    words: list[bytes]
    within: int


def _index() -> dict[bytes, list[_Entry]]:
    entries: dict[bytes, list[_Entry]] = {}
    for place, kind in enumerate(PHRASES.values()):
        for phrase in kind.phrases:
            words = phrase.encode().split()
            longest = max(words, key=len)
            entry = _Entry(place, words.index(longest), words, kind.within)
            entries.setdefault(longest, []).append(entry)
    return entries


_ENTRIES = _index()


def count_phrases(words: Sequence[bytes]) -> list[int]:
    """How often each kind is used."""
    counts = [0] * len(PHRASES)
    for place in [place for place, word in enumerate(words) if word in _ENTRIES]:
        for kind, before, phrase, within in _ENTRIES[words[place]]:
            begin = place - before
            if begin < within and (len(phrase) == 1 or (begin >= 0 and words[begin : begin + len(phrase)] == phrase)):
                counts[kind] += 1
    return counts
