"""A language model as a judge: the better of two, the best of several, a rating.

    judge = LanguageModelJudge(spec, prompts, client, seed=17)
    verdict = await judge.compare(comparison)             both orders, `samples` replies in each
    choice  = await judge.choose(prompt, answers, row)    `samples` replies, the answers at other places in each
    rating  = await judge.rate(conversation)

It fulfils `protocols.BenchmarkJudge`. A reply that cannot be read is asked for once more, with a word about its form;
what cannot be read then is missing. A verdict on a pair needs a reading of each order: one order alone would carry
the judge's preference for a place. Several readings become one by their mean or majority, each order of a pair weighing
the same.

A judge may prefer the first answer, or the last. So that this favours no answer, the order of a row is drawn from the
judge's seed and the row's name; rows that are known beforehand (`expect`) get balanced orders.

What an endpoint does not have (JSON by schema, token probabilities, a seed) is found out by asking: where it refuses a
request that has them and takes the same without, it is not asked for them again, in a resumed job neither.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, Literal, TypeVar

import numpy as np

from rewardsmith.errors import SpecError
from rewardsmith.judging.client import Answer, Client
from rewardsmith.judging.endpoint import Failure, refusal, too_long, unsuitable
from rewardsmith.judging.questions import (
    FEATURES,
    PAIR,
    TIE,
    Form,
    Kind,
    Prompt,
    Question,
    Reply,
    droppable,
    pairwise_question,
    ranking_question,
    rating_question,
    read_labels,
    read_rating,
    reply_form,
    request_body,
    sample_seed,
)
from rewardsmith.spec import JudgeSpec
from rewardsmith.types import Choice, Comparison, Conversation, JudgeAnswer, Missing, Rating, Usage

T = TypeVar("T")
Read = Callable[[Question, Reply, Form], T | None]


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """What one reply says, None where missing."""

    value: T | None
    missing: Missing
    usage: Usage


class LanguageModelJudge:
    """See the module.

    Args:
        spec: the `judge` section.
        prompts: by kind.
        client: asks the endpoint.
        seed: of orders and samples.
    """

    def __init__(self, spec: JudgeSpec, prompts: Mapping[Kind, Prompt], client: Client, *, seed: int) -> None:
        self.spec = spec
        self.prompts = prompts
        self.client = client
        self.tally = Tally()
        self.seed = seed
        self._orders: dict[str, Order] = {}

    @property
    def form(self) -> Form:
        """How replies are written, as far as the endpoint has had its say in it."""
        return reply_form(self.spec, self._off())

    @property
    def refusal(self) -> SpecError | None:
        """Why the endpoint cannot be used at all; None where it can, or was not asked yet."""
        return self.client.refusal

    def expect(self, rows: Mapping[str, int]) -> None:
        """Name the rows that `choose` will be asked, with the numbers of their answers: orders are then balanced."""
        self._orders |= balanced_orders(self.seed, rows)

    def order(self, row: str, answers: int) -> Order:
        """The order in which the answers of this row are shown: the number of the first one first."""
        known = self._orders.get(row, ())
        return known if len(known) == answers else drawn_order(self.seed, row, answers)

    async def compare(self, comparison: Comparison) -> JudgeAnswer:
        """The better of two responses; missing where an order has no reading."""
        return await self._in_time(self._compare(comparison), JudgeAnswer(None, missing="deadline"))

    async def choose(self, prompt: Conversation, answers: Sequence[str], row: str) -> Choice:
        """The best of several answers, which are shown in the order of the row's name."""
        return await self._in_time(self._choose(prompt, answers, row), Choice(None, missing="deadline"))

    async def rate(self, conversation: Conversation) -> Rating:
        """How good the last message is, from 1 to 10."""
        return await self._in_time(self._rate(conversation), Rating(None, missing="deadline"))

    async def close(self) -> None:
        """Wait for calls under way, and close what is open."""
        await self.client.close()
        self.client.log.close()

    async def _compare(self, comparison: Comparison) -> JudgeAnswer:
        pair, prompt = (comparison.first, comparison.second), self.prompts["pairwise"]
        orders = self._pair_orders(comparison)
        questions = [pairwise_question(prompt, comparison.prompt, pair[a], pair[b]) for a, b in orders]
        readings = await self._all(questions, read_labels)
        usage = sum((reading.usage for order in readings for reading in order), Usage())
        values = []
        for order, of_order in zip(orders, readings, strict=True):
            shares = [reading.value for reading in of_order if reading.value is not None]
            for share in shares:
                self.tally.named("pairwise", share, PAIR)
            if not shares:
                return JudgeAnswer(None, missing=_reason(of_order), usage=usage)
            values.append([_first_wins(share, order) for share in shares])
        how = self.spec.combine
        consistent = agree(values[0], values[1], how) if len(values) == 2 else None
        return JudgeAnswer(first_better(values, how), consistent, usage=usage)

    def _pair_orders(self, comparison: Comparison) -> list[Order]:
        if self.spec.orders == "both":
            return [(0, 1), (1, 0)]
        # Without an id the texts decide the order, so that the same pair is always shown alike.
        name = comparison.id or _digest((*comparison.prompt, *comparison.first, *comparison.second))
        return [drawn_order(self.seed, name, 2)]

    async def _choose(self, prompt: Conversation, answers: Sequence[str], row: str) -> Choice:
        order = self.order(row, len(answers))
        shown = [rotated(order, sample) for sample in range(self.spec.samples)]
        texts = [[answers[place] for place in places] for places in shown]
        questions = [ranking_question(self.prompts["ranking"], prompt, own) for own in texts]
        readings = await asyncio.gather(
            *(self._ask(question, sample, read_labels) for sample, question in enumerate(questions))
        )
        shares = []
        for places, question, reading in zip(shown, questions, readings, strict=True):
            if reading.value is not None:
                self.tally.named("ranking", reading.value, question.labels)
                shares.append(
                    {place: reading.value[label] for place, label in zip(places, question.labels, strict=True)}
                )
        if not shares:
            return Choice(None, _reason(readings))
        return Choice(best_answer(shares, order, self.spec.combine))

    async def _rate(self, conversation: Conversation) -> Rating:
        question = rating_question(self.prompts["rating"], conversation)
        [readings] = await self._all([question], read_rating)
        values = [reading.value for reading in readings if reading.value is not None]
        if not values:
            return Rating(None, _reason(readings))
        for value in values:
            self.tally.rated(value)
        return Rating(rating(values, self.spec.combine))

    async def _all(self, questions: Sequence[Question], read: Read[T]) -> list[list[Reading[T]]]:
        """For each question a reading of each sample, all asked at once."""
        samples = range(self.spec.samples)
        found = await asyncio.gather(
            *(self._ask(question, sample, read) for question in questions for sample in samples)
        )
        return [list(found[place * len(samples) :][: len(samples)]) for place in range(len(questions))]

    async def _ask(self, question: Question, sample: int, read: Read[T]) -> Reading[T]:
        """One reading of a question: asked, and asked once more where the reply cannot be read."""
        usage = Usage()
        # The second question has other words: the same request would be answered from the log.
        for again in (False, True):
            answer, form = await self._answer(question, sample, again=again)
            usage += answer.usage
            if answer.reply is None:
                return Reading(None, answer.missing, usage)
            value = read(question, answer.reply, form)
            self.tally.read(question.kind, readable=value is not None, again=again)
            if value is not None:
                return Reading(value, "", usage)
        return Reading(None, "unparsed", usage)

    async def _answer(self, question: Question, sample: int, *, again: bool) -> tuple[Answer, Form]:
        """The answer to the best-equipped request that the endpoint takes."""
        until = asyncio.get_running_loop().time() + self.spec.deadline
        off = self._off()
        usage = Usage()
        while True:
            body, form = request_body(self.spec, question, off, seed=sample_seed(self.seed, sample), again=again)
            answer = await self.client.ask(body, until)
            usage += answer.usage
            if answer.reply is not None:
                for feature in off:
                    self.client.log.refuses(self._feature(feature))
                return replace(answer, usage=usage), form
            dropped = droppable(self.spec, body) if answer.failure and unsuitable(answer.failure) else None
            if dropped is None:
                self._give_up(answer.failure)
                return replace(answer, usage=usage), form
            off |= {dropped}

    def _give_up(self, failure: Failure | None) -> None:
        """Report an endpoint that has rejected every request, in every form."""
        if failure and unsuitable(failure) and not too_long(failure) and not self.client.answered:
            self.client.refuse(refusal(self.spec, failure))

    def _off(self) -> frozenset[str]:
        """What the endpoint is known to refuse."""
        return frozenset(one for one in FEATURES if self._feature(one) in self.client.log.refused)

    def _feature(self, name: str) -> str:
        return f"{self.spec.endpoint} {self.spec.model} {name}"

    async def _in_time(self, work: Awaitable[T], late: T) -> T:
        try:
            async with asyncio.timeout(self.spec.deadline):
                return await work
        except TimeoutError:
            return late


def _first_wins(shares: Mapping[str, float], order: Order) -> float:
    """Probability that the first response is better, from the letters of one order; a tie counts half."""
    first = "A" if order[0] == 0 else "B"
    return shares[first] + shares[TIE] / 2


def _reason(readings: Sequence[Reading[T]]) -> Missing:
    """Why there is no reading: the reason that its user can do most about."""
    reasons = {reading.missing for reading in readings}
    order: tuple[Missing, ...] = ("budget", "deadline", "failed", "unparsed")
    return next(reason for reason in order if reason in reasons)


def _digest(conversation: Conversation) -> str:
    text = "\x1e".join(f"{message.role}\x1f{message.text}" for message in conversation)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


How = Literal["mean", "majority"]
_ROUNDING = 1e-9


def first_better(values: Sequence[Sequence[float]], how: How) -> float:
    """Probability that the first response is better, from the readings of each order; none may be empty.

    `mean` is the mean over orders of the means over readings; `majority` is 1, 0 or one half by the mean share of
    votes.
    """
    if how == "mean":
        return _mean([_mean(order) for order in values])
    return (1 + _side(_mean([_mean([(1 + _side(value)) / 2 for value in order]) for order in values]))) / 2


def agree(first_order: Sequence[float], second_order: Sequence[float], how: How) -> bool:
    """Whether both orders name the same response, or both a tie."""
    return _side(first_better([first_order], how)) == _side(first_better([second_order], how))


def best_answer(shares: Sequence[Mapping[int, float]], order: Sequence[int], how: How) -> int:
    """The answer with the highest mean share, or with the most votes; among equals the one that `order` has first.

    Args:
        shares: one reading each: answer → its share.
        order: all answers; drawn, so that no answer gains by a tie.
    """
    if how == "majority":
        shares = [{_highest(share, order): 1.0} for share in shares]
    return _highest({answer: sum(share.get(answer, 0.0) for share in shares) for answer in order}, order)


def rating(values: Sequence[float], how: How) -> float:
    """The mean of ratings, or the most frequent one; the mean of those that are equally frequent."""
    if how == "mean":
        return _mean(values)
    counts = Counter(values)
    return _mean([value for value, count in counts.items() if count == max(counts.values())])


def _highest(share: Mapping[int, float], order: Sequence[int]) -> int:
    top = max(share.values())
    return next(answer for answer in order if share.get(answer, -1.0) >= top - _ROUNDING)


def _side(value: float) -> int:
    """1 where the first is better, -1 where the second is, 0 for a tie."""
    # Shares of several readings add up to one half only but for rounding.
    return 0 if abs(value - 0.5) <= _ROUNDING else 1 if value > 0.5 else -1


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


Order = tuple[int, ...]
"""The answers' numbers by place: `order[0]` is shown first."""


def drawn_order(seed: int, row: str, answers: int) -> Order:
    """An order that depends on nothing but the seed and the row's name."""
    return _permutation(answers, seed, row)


def balanced_orders(seed: int, rows: Mapping[str, int]) -> dict[str, Order]:
    """An order for each of these rows; `rows` maps a row's name to the number of its answers.

    Rows with the same number n of answers are shuffled by the seed and cut into blocks of n; the rows of a block get
    the n rotations of one drawn order. So over all rows an answer's place counts differ by one at most.
    """
    found: dict[str, Order] = {}
    for answers in sorted(set(rows.values())):
        names = sorted((name for name, n in rows.items() if n == answers), key=lambda name: (_hash(seed, name), name))
        for place, name in enumerate(names):
            block, turn = divmod(place, answers)
            found[name] = rotated(_permutation(answers, seed, f"{answers}\x1f{block}"), turn)
    return {name: found[name] for name in rows}


def rotated(order: Order, by: int) -> Order:
    """The same order, begun `by` places later; n rotations put each answer at each place once."""
    turn = by % len(order)
    return order[turn:] + order[:turn]


def _permutation(size: int, seed: int, name: str) -> Order:
    rng = np.random.default_rng(_hash(seed, name))
    return tuple(int(place) for place in rng.permutation(size))


def _hash(seed: int, name: str) -> int:
    text = f"{seed}\x1f{name}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big")


@dataclass(slots=True)
class Tally:
    """What a judge said, counted by kind of question.

    Counts only grow and do not depend on the order of replies, so that a job that was killed and resumed counts the
    same.

    Attributes:
        replies: replies to first asking.
        unread: of these, the ones that could not be read and were asked for again.
        unparsed: readings that were missing after that.
        places: (kind, letter) → how often the answer under this letter was named.
        ratings: rating → how often it was given.
    """

    replies: Counter[Kind] = field(default_factory=Counter)
    unread: Counter[Kind] = field(default_factory=Counter)
    unparsed: Counter[Kind] = field(default_factory=Counter)
    places: dict[Kind, Counter[str]] = field(default_factory=dict)
    ratings: Counter[float] = field(default_factory=Counter)

    def read(self, kind: Kind, *, readable: bool, again: bool) -> None:
        """One reply."""
        if again:
            self.unparsed[kind] += not readable
        else:
            self.replies[kind] += 1
            self.unread[kind] += not readable

    def named(self, kind: Kind, shares: Mapping[str, float], labels: Sequence[str]) -> None:
        """One reading that names a letter."""
        counts = self.places.setdefault(kind, Counter(dict.fromkeys(labels, 0)))
        counts[max(labels, key=lambda label: shares[label])] += 1

    def rated(self, value: float) -> None:
        """One rating."""
        self.ratings[value] += 1
