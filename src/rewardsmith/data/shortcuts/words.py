"""Words and openings that stand in chosen responses and not in rejected ones, or the other way round.

    bags = compare_bags(texts, pairs)     # (N, V): 1 only chosen has the word, -1 only rejected, 0 both or none
    words, openings = word_rules(bags, lengths, prompts, …)     # WordRule of the most telling ones of either side

A word is a lone rule like any other: among the pairs where one side has it, how often is that side the chosen one?
Presence, not frequency, so that one response full of a word is one vote. Words are ranked by the z-score of their
log-odds with a symmetric prior (Monroe, Colaresi and Quinn 2008, "Fightin' Words", section 3.3; the prior is a fair
coin: a word should stand on both sides equally often). An opening is the first one, two or three words of a response.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from rewardsmith import statistics
from rewardsmith.data.shortcuts.equal_length import LengthBins
from rewardsmith.data.shortcuts.lone_rules import Floats, Ints, Tallies, tally
from rewardsmith.data.shortcuts.reading import plain_words
from rewardsmith.data.shortcuts.tables import grade_rules
from rewardsmith.data.shortcuts.verdicts import LEAST_SHARE
from rewardsmith.records import WordRule

OPENING = "^"
"""Stands before the first words of a response where they are looked at as an opening."""

_OPENING_WORDS = 3
_LEAST_PAIRS = 20
"""Words that decide fewer pairs are left out: even if always right, they would not survive the correction."""

_SHOWN = 15

_PRIOR = 5.0
"""Pairs that the prior adds on each side: a word with 3 pairs to 0 ranks below one with 300 to 200."""


@dataclass(frozen=True, slots=True)
class Bags:
    """Which side of each of N pairs has which of V words: 1 only chosen, -1 only rejected, 0 both or neither."""

    words: Sequence[str]
    signs: csr_matrix


def bag(text: str) -> set[str]:
    """The different words of a text, and its openings."""
    words = [word.decode() for word in plain_words(text.encode("utf-8", "replace"))]
    openings = (OPENING + " ".join(words[: count + 1]) for count in range(min(len(words), _OPENING_WORDS)))
    return {*words, *openings}


def compare_bags(texts: Iterable[str], pairs: int) -> Bags:
    """Bags of pairs of texts, without the words that decide too few pairs.

    Args:
        texts: the chosen responses of all pairs, then the rejected ones in the same order.
        pairs: how many pairs.
    """
    if pairs < _LEAST_PAIRS:
        return Bags([], csr_matrix(np.zeros((pairs, 0), dtype=np.int32)))
    from sklearn.feature_extraction.text import CountVectorizer

    # The empty word stands on both sides: without it, texts of punctuation alone would be an error.
    vectorizer = CountVectorizer(analyzer=lambda text: {"", *bag(text)}, dtype=np.int32)
    present = vectorizer.fit_transform(texts)
    signs = (present[:pairs] - present[pairs:]).tocsr()
    signs.eliminate_zeros()
    telling = np.flatnonzero(np.bincount(signs.indices, minlength=signs.shape[1]) >= _LEAST_PAIRS)
    names = vectorizer.get_feature_names_out()
    return Bags([str(name) for name in names[telling]], csr_matrix(signs[:, telling]))


def log_odds(tallies: Tallies) -> tuple[Floats, Floats]:
    """Of each rule the log-odds that its bearer is chosen, and its z-score, both with the prior.

    Counts are scaled to the pairs that they are worth, so that one prompt with many pairs does not make a word telling.
    """
    decided = np.maximum(tallies.more + tallies.less, 1)
    worth = tallies.effective / decided
    more, less = tallies.more * worth + _PRIOR, tallies.less * worth + _PRIOR
    odds = np.log(more / less)
    return odds, odds / np.sqrt(1 / more + 1 / less)


def word_rules(
    bags: Bags, lengths: LengthBins, prompts_N: Ints, *, confidence: float
) -> tuple[tuple[WordRule, ...], tuple[WordRule, ...]]:
    """Words and openings that are worth a look: the most telling of each side, and those that are shortcuts.

    Args:
        bags: of the sampled pairs.
        lengths: which side of each is longer, and how much.
        prompts_N: number of each pair's prompt.
        confidence: of the intervals that grade.
    """
    tallies = tally(bags.signs, prompts_N)
    odds, z = log_odds(tallies)
    p_values = statistics.holm(tallies.p_values().tolist())
    is_opening = np.array([word.startswith(OPENING) for word in bags.words], dtype=bool)
    frequent = tallies.more + tallies.less >= LEAST_SHARE * len(prompts_N)
    telling = [_extremes(np.flatnonzero(is_opening == kind), z) for kind in (False, True)]
    looked_at = np.unique(np.concatenate([*telling, np.flatnonzero(frequent)]))
    graded = grade_rules(
        np.asarray(bags.signs[:, looked_at].toarray(), dtype=np.int8),
        lengths,
        prompts_N,
        total=len(prompts_N),
        confidence=confidence,
    )
    rules = [
        WordRule(
            text=bags.words[word].removeprefix(OPENING),
            opening=bool(is_opening[word]),
            rule=tallies.record(word, p_values[word]),
            log_odds=float(odds[word]),
            z=float(z[word]),
            at_equal_length=graded.equal_length[index],
            grade=graded.grades[index],
        )
        for index, word in enumerate(looked_at.tolist())
    ]
    words, openings = (_shown([rule for rule in rules if rule.opening == kind]) for kind in (False, True))
    return words, openings


def _extremes(words: Ints, z: Floats) -> Ints:
    """The most telling words of either side."""
    order = words[np.argsort(z[words], kind="stable")]
    return np.concatenate([order[:_SHOWN], order[-_SHOWN:]])


def _shown(rules: Sequence[WordRule]) -> tuple[WordRule, ...]:
    """The most telling of either side, and shortcuts; those that speak for chosen first."""
    order = sorted(rules, key=lambda rule: (-rule.z, rule.text))
    graded = sorted((rule for rule in order if rule.grade), key=lambda rule: -abs(rule.z))[:_SHOWN]
    chosen = [rule for rule in order[:_SHOWN] if rule.z > 0]
    rejected = [rule for rule in order[-_SHOWN:] if rule.z < 0]
    return tuple(rule for rule in order if rule in chosen or rule in rejected or rule in graded)
