"""Rows, tables, texts and edits for the tests of overlap."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np

from rewardsmith.data.store import TokenizedPair, pair_keys
from rewardsmith.data.surveys.survey import BenchmarkPrompt, Setting, Table
from rewardsmith.records.checks import SourceCount
from rewardsmith.types import Conversation, Message, PreferencePair

NO_IDS = np.zeros(0, np.int32)
_SYLLABLES = [a + b for a in "bcdfghjklmnprstvw" for b in ("a", "e", "i", "o", "u", "an", "er", "ol")]
_WORDS = Random(5)
VOCABULARY = ["".join(_WORDS.choices(_SYLLABLES, k=_WORDS.choice((1, 2, 2, 3)))) for _ in range(4000)]
# Zipf: the word of rank r as often as 1 / r, as in natural text.
WEIGHTS = [1 / rank for rank in range(1, len(VOCABULARY) + 1)]


def asks(*contents: str, system: str = "") -> Conversation:
    """A conversation of user and assistant turns that ends with a user."""
    roles = ("user", "assistant")
    turns = tuple(Message(roles[index % 2], content) for index, content in enumerate(contents))
    return (Message("system", system), *turns) if system else turns


def row(
    prompt: str | Conversation, chosen: str = "yes", rejected: str = "no", *, number: int = 1, file: str = "pairs.jsonl"
) -> TokenizedPair:
    """A kept row; token ids do not matter here."""
    conversation = asks(prompt) if isinstance(prompt, str) else prompt
    pair = PreferencePair(conversation, (Message("assistant", chosen),), (Message("assistant", rejected),))
    return TokenizedPair(pair, NO_IDS, NO_IDS, file, number, pair_keys(pair))


def rows_of(triples: Sequence[tuple[Any, ...]]) -> list[TokenizedPair]:
    """Rows of (prompt, chosen, rejected), numbered from 1."""
    return [row(*triple, number=number) for number, triple in enumerate(triples, start=1)]


def table(rows: Sequence[TokenizedPair], held_out: Sequence[int] = ()) -> Table:
    """The table after the split; `held_out` names places."""
    size = len(rows)
    is_held_out = np.zeros(size, np.bool_)
    is_held_out[list(held_out)] = True
    keys = np.array([[key[:16] for key in one.keys] for one in rows], dtype="V16").reshape(size, 3)
    return Table(
        is_held_out=is_held_out,
        source=np.zeros(size, np.int32),
        row=np.array([one.row for one in rows], np.int64),
        keys=keys,
        lengths=np.zeros((size, 2), np.int32),
        cut=np.zeros(size, np.int32),
        sources=[SourceCount(source="pairs.jsonl", role="train", read=size, kept=size, rejected=0)],
        rejected=[],
        pairs=[one.pair for one in rows],
    )


def surveyed(survey: Any, rows: Sequence[TokenizedPair], held_out: Sequence[int] = (), chunk: int = 512) -> Any:
    """What a survey finds; a dict of findings by code, and its section."""
    for start in range(0, len(rows), chunk):
        survey.see(rows[start : start + chunk])
    outcome = survey.finish(table(rows, held_out))
    return {found.code: found for found in outcome.found}, outcome.section


def setting(**benchmarks: Sequence[BenchmarkPrompt]) -> Setting:
    """What a survey of overlap needs to know: the benchmarks."""
    return Setting(None, None, benchmarks)  # type: ignore[arg-type]


def text(rng: Random, words: int) -> str:
    """Sentences of made-up words, frequent and rare as in natural text."""
    drawn = rng.choices(VOCABULARY, WEIGHTS, k=words)
    sentences, start = [], 0
    while start < words:
        end = start + rng.randint(6, 14)
        sentences.append(" ".join(drawn[start:end]).capitalize() + ".")
        start = end
    return " ".join(sentences)


def edited(rng: Random, original: str, share: float) -> str:
    """One word in 1 / share replaced, left out or doubled, at least one."""
    words = original.split()
    for place in rng.sample(range(len(words)), max(1, round(share * len(words)))):
        new = rng.choice(VOCABULARY)
        words[place] = rng.choice((new, new, "", f"{words[place]} {new}"))
    return " ".join(word for word in words if word)


def reordered(rng: Random, original: str) -> str:
    """The same sentences in another order."""
    sentences = [sentence for sentence in original.split(". ") if sentence]
    rng.shuffle(sentences)
    return ". ".join(sentences)


def prefixed(rng: Random, original: str) -> str:
    """The same text behind a sentence of its own."""
    return f"{text(rng, rng.randint(5, 15))} {original}"
