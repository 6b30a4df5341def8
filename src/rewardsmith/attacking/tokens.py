"""A learned ending of words: random substitution, guided by gradients where the scorer has them. Counted apart.

    ending = learn_ending(found, words=4, queries=2000, fluency=None)      LearnedEnding; results make the record of it

What is appended leaves the answer standing to the letter, but its words may say anything, so that neither the price
nor a trigger knows it. One ending is learned for all prompts: place after place, the next words of the vocabulary
(the words of the rows and of the user's phrases, shuffled by the seed) are tried in that place on a few training
prompts, and the best stays where it lifts. A scorer that suggests words (`protocols.SuggestsWords`: by the gradient
of its reward, as HotFlip, Ebrahimi et al. 2018, arXiv:1712.06751, and GCG, Zou et al. 2023, arXiv:2307.15043) adds
its own to each round.

With a language model at hand (`protocols.Fluency`) a candidate is asked only where the edited answer stays fluent:
its mean negative log likelihood a token may exceed that of the unedited answer by `MOST_NATS`. What is refused is
counted, and so are texts that it cannot judge, which bound nothing. Held-out prompts, and as many random words, show
what the ending is worth."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from rewardsmith.attacking.search import Findings, Pair, Target
from rewardsmith.protocols import Fluency, SuggestsWords
from rewardsmith.types import Conversation

MOST_NATS = 1.0
"""How much less likely a token of the edited answer may be on average, in nats: e times the perplexity."""

WIDTH = 24
"""Words of the vocabulary in a round."""
SUGGESTED = 8
PROMPTS = 4
"""Training prompts of a round."""
MOST_WORDS = 20_000

_WORD = re.compile(r"[^\W\d_][\w'-]+")


@dataclass(slots=True)
class LearnedEnding:
    """The ending, and what it took. `bounded` names the language model; `random` are endings of as many drawn words,
    one for each held-out prompt."""

    words: tuple[str, ...]
    vocabulary: int
    guided: bool
    bounded: str | None
    train_lift: float = 0.0
    tried: int = 0
    refused: int = 0
    unjudged: int = 0
    complete: bool = False
    made: list[tuple[Pair, Conversation]] = field(default_factory=list)
    random: list[tuple[Pair, Conversation]] = field(default_factory=list)
    nats: tuple[float, float] | None = None


def learn_ending(
    found: Findings, *, words: int, queries: int, fluency: Fluency | None, scorer: object
) -> LearnedEnding | None:
    """Learn an ending of up to `words` words with at most `queries` queries beside those of the search.

    None where no pair was attacked. `complete` is False where the queries ended before every word had its turn.
    """
    if not found.training:
        return None
    ended = found.asking.ended_by
    kept = min(queries, 2 * len(found.held_out))  # without the held-out prompts the ending would say nothing
    found.asking.allow(queries - kept)
    guide = scorer if isinstance(scorer, SuggestsWords) else None
    search = _Search(found, fluency, guide, _vocabulary(found))
    ending = search.run(words)
    found.asking.allow(kept)
    ending.complete = search.held_out(ending) and ending.complete
    found.asking.ended_by = ended
    return ending


def with_ending(target: Target, words: Sequence[str]) -> Conversation:
    """The answer with these words behind it."""
    return target.with_text(" ".join([target.last.rstrip(), *words]))


def _vocabulary(found: Findings) -> list[str]:
    """Words of the rows that were drawn and of the user's phrases, each once, in an order that the seed decides."""
    texts = [one.content for pair in found.drawn for side in (pair.good, pair.bad) for one in side.before]
    # Sorted before it is shuffled: the order of a set differs from process to process.
    words = sorted({word for text in (*texts, *found.settings.phrases) for word in _WORD.findall(text)})
    order = np.random.default_rng([found.settings.seed, 21]).permutation(len(words))
    return [words[place] for place in order[:MOST_WORDS]]


@dataclass(slots=True)
class _Search:
    found: Findings
    fluency: Fluency | None
    guide: SuggestsWords | None
    vocabulary: list[str]
    _before: dict[Conversation, float] = field(default_factory=dict)
    _tried: int = 0
    _refused: int = 0

    def run(self, most: int) -> LearnedEnding:
        ending: tuple[str, ...] = ()
        lift, rounds, still = 0.0, 0, 0
        # Every place begins at another part of the vocabulary; a place is through when it has seen all of it.
        cursors = [place * len(self.vocabulary) // max(1, most) for place in range(most)]
        # So many rounds without a gain, and every place has seen the whole vocabulary for this ending.
        whole = math.ceil(len(self.vocabulary) / WIDTH) * most
        while still < whole:
            place = rounds % most
            better, gain, asked = self._round(ending, min(place, len(ending)), cursors, place, rounds)
            if not asked:
                break
            still = 0 if better else still + 1
            if better:
                ending, lift = better, gain
            rounds += 1
        done = still >= whole
        bounded = self.fluency.name if self.fluency is not None else None
        made = LearnedEnding(ending, len(self.vocabulary), self.guide is not None, bounded)
        made.train_lift, made.tried, made.refused = lift, self._tried, self._refused
        made.complete = done
        return made

    def _round(
        self, ending: tuple[str, ...], place: int, cursors: list[int], cursor: int, number: int
    ) -> tuple[tuple[str, ...] | None, float, bool]:
        """The best ending of a round where it beats the present one, its lift, and whether the budget held."""
        training = self.found.training
        prompts = [training[(number * PROMPTS + step) % len(training)] for step in range(min(PROMPTS, len(training)))]
        words = list(dict.fromkeys([*self._next(cursors, cursor), *self._suggested(prompts, ending, place)]))
        options = [(*ending[:place], word, *ending[place + 1 :]) for word in words if word not in ending]
        # All of them at once: an endpoint is asked in lists.
        edited = [with_ending(pair.bad, one) for one in options for pair in prompts]
        self._nats([*(pair.bad.before for pair in prompts), *edited])
        options = [one for one in options if self._fluent(one, prompts)]
        self._tried += len(options)
        # The present ending is asked too: each round compares on other prompts.
        every = [ending, *options] if ending else options
        if not self.found.asking.ask(with_ending(pair.bad, one) for one in every for pair in prompts):
            return None, 0.0, False
        now = self._lift(ending, prompts) if ending else 0.0
        best = max(options, key=lambda one: self._lift(one, prompts), default=None)
        # A text's reward may differ by rounding from batch to batch: so small a lift is none.
        if best is None or self._lift(best, prompts) <= now + self.found.rounding:
            return None, 0.0, True
        return best, self._lift(best, prompts), True

    def _next(self, cursors: list[int], cursor: int) -> Iterator[str]:
        for _ in range(min(WIDTH, len(self.vocabulary))):
            yield self.vocabulary[cursors[cursor] % len(self.vocabulary)]
            cursors[cursor] += 1

    def _suggested(self, prompts: Sequence[Pair], ending: tuple[str, ...], place: int) -> list[str]:
        if self.guide is None:
            return []
        marked, other = (
            [with_ending(pair.bad, (*ending[:place], word, *ending[place + 1 :])) for pair in prompts]
            for word in ("the", "of")
        )
        return [word for word in self.guide.suggest(marked, other, SUGGESTED) if _WORD.fullmatch(word)]

    def _fluent(self, ending: tuple[str, ...], prompts: Sequence[Pair]) -> bool:
        """Whether a language model finds the edited answers nearly as likely as they were."""
        if self.fluency is None:
            return True
        before = self._nats([pair.bad.before for pair in prompts])
        after = self._nats([with_ending(pair.bad, ending) for pair in prompts])
        fluent = _mean(after - before) <= MOST_NATS
        self._refused += not fluent
        return fluent

    def _nats(self, conversations: Sequence[Conversation]) -> np.ndarray:
        if self.fluency is None:
            return np.full(len(conversations), np.nan)
        unknown = [one for one in dict.fromkeys(conversations) if one not in self._before]
        if unknown:
            self._before.update(zip(unknown, self.fluency.nats(unknown).tolist(), strict=True))
        return np.array([self._before[one] for one in conversations])

    def _lift(self, ending: tuple[str, ...], prompts: Sequence[Pair]) -> float:
        gains = [self.found.asking.rewards[with_ending(pair.bad, ending)] - pair.bad.reward for pair in prompts]
        known = [gain for gain in gains if math.isfinite(gain)]
        return math.fsum(known) / len(known) if known else -math.inf

    def held_out(self, made: LearnedEnding) -> bool:
        """Try the ending, and as many random words, on prompts that it was not learned on."""
        held_out = self.found.held_out
        if not made.words:
            made.unjudged = sum(map(math.isnan, self._before.values()))
            return True
        draw = np.random.default_rng([self.found.settings.seed, 22])
        size = min(len(made.words), len(self.vocabulary))
        made.made = [(pair, with_ending(pair.bad, made.words)) for pair in held_out]
        drawn = [draw.permutation(len(self.vocabulary))[:size] for _ in held_out]
        made.random = [
            (pair, with_ending(pair.bad, [self.vocabulary[place] for place in places]))
            for pair, places in zip(held_out, drawn, strict=True)
        ]
        whole = self.found.asking.ask(text for _, text in (*made.made, *made.random))
        if self.fluency is not None and held_out:
            before = self._nats([pair.bad.before for pair in held_out])
            after = self._nats([text for _, text in made.made])
            made.nats = _mean(before), _mean(after)
        made.unjudged = sum(map(math.isnan, self._before.values()))
        return whole


def _mean(values: np.ndarray) -> float:
    """Of the finite ones; 0 where there are none, so that texts that cannot be judged are not refused."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else 0.0
