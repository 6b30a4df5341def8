"""`comparison`: two answers, and something in the row that says which of them is better.

Of eight ways to say it a source has exactly one (`spec.forms.ComparisonForm`). What says neither first, second nor tie
is a rejected row: a verdict is never guessed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rewardsmith.data.columns import Look, parsed, path_of
from rewardsmith.data.forms.form import Basis, Formed, Row, Tie, number_of, scored
from rewardsmith.rendering.messages import RowFault, shown
from rewardsmith.spec.forms import (
    ComparisonForm,
    LabelValues,
    OneHot,
    Probability,
    Rankings,
    Scores,
    Strength,
    Votes,
    same,
)

Winner = Literal["first", "second", "tie"]
Decide = Callable[[Row], tuple[Winner, float | None]]
"""Who wins, and by how much where the row says it."""


@dataclass(frozen=True, slots=True)
class ComparisonReader:
    """Reads rows of two answers and a verdict."""

    basis: Basis
    first: Look
    second: Look
    names: tuple[str, str]
    decide: Decide
    models: tuple[Look, Look] | None

    def read(self, row: Row, number: int) -> Formed:
        """One pair, the better answer as chosen.

        Raises:
            RowFault: the row has no two answers to one prompt or no known verdict; `Tie` where neither is better.
        """
        winner, margin = self.decide(row)
        if winner == "tie":
            raise Tie("the row says that neither answer is better")
        values = self.first(row), self.second(row)
        prompt, first, second = self.basis.parts(row, *values, self.names)
        models = (self.models[0](row), self.models[1](row)) if self.models else None
        written = self.basis.written(row, *values)
        if winner == "second":
            first, second, models = second, first, models and (models[1], models[0])
        return Formed(
            (self.basis.pair(row, number, (prompt, first, second), margin=margin, models=models, form=written),)
        )


def open_comparison(form: ComparisonForm, basis: Basis, names: Sequence[str]) -> ComparisonReader:
    """A reader of two answers and a verdict."""
    models = None
    if form.first_model and form.second_model:
        models = path_of(form.first_model, names), path_of(form.second_model, names)
    return ComparisonReader(
        basis,
        path_of(form.first, names),
        path_of(form.second, names),
        (form.first, form.second),
        _decider(form, names),
        models,
    )


def _decider(form: ComparisonForm, names: Sequence[str]) -> Decide:
    if form.verdict is not None:
        return _by_value(path_of(form.verdict.column, names), form.verdict.column, form.verdict.values)
    if form.named is not None:
        values = LabelValues(first=_called(form.first), second=_called(form.second), tie=form.named.tie)
        return _by_value(path_of(form.named.column, names), form.named.column, values)
    if form.strength is not None:
        return _by_strength(form.strength, path_of(form.strength.column, names))
    if form.scores is not None:
        return _by_scores(form.scores, path_of(form.scores.first, names), path_of(form.scores.second, names))
    if form.one_hot is not None:
        return _by_one_hot(form.one_hot, names)
    if form.votes is not None:
        return _by_votes(form.votes, names)
    if form.probability is not None:
        return _by_probability(form.probability, path_of(form.probability.column, names))
    if form.rankings is None:
        raise AssertionError("the spec has checked that a comparison says which answer is better")
    return _by_rankings(form.rankings, form, names)


def _called(path: str) -> tuple[str, ...]:
    """How a verdict may name a column: in full, or by the end of its path."""
    last = path.rpartition(".")[2]
    return (path,) if last == path else (path, last)


def _meaning(values: LabelValues) -> dict[str, Winner]:
    meanings: dict[str, Winner] = {}
    winners: tuple[Winner, ...] = ("first", "second", "tie")
    for winner in winners:
        meanings.update(dict.fromkeys(map(same, getattr(values, winner)), winner))
    return meanings


def _by_value(look: Look, column: str, values: LabelValues) -> Decide:
    meanings = _meaning(values)

    def decide(row: Row) -> tuple[Winner, float | None]:
        value = look(row)
        return _known(meanings, value, column), None

    return decide


def _known(meanings: dict[str, Winner], value: Any, column: str) -> Winner:
    winner = meanings.get(same(value)) if isinstance(value, str | int | float | None) else None
    if winner is None:
        raise RowFault("unknown_verdict", f"{column} is {shown(value)}; known: {', '.join(meanings)}")
    return winner


def _by_strength(form: Strength, look: Look) -> Decide:
    sign = -1.0 if form.first_is == "negative" else 1.0

    def decide(row: Row) -> tuple[Winner, float | None]:
        strength = scored(look(row), form.words, form.column) * sign
        return larger(strength), abs(strength)

    return decide


def _by_probability(form: Probability, look: Look) -> Decide:
    def decide(row: Row) -> tuple[Winner, float | None]:
        probability = _number(look(row), form.column)
        if not 0.0 <= probability <= 1.0:
            raise RowFault("unknown_verdict", f"{form.column} is {probability:g}, no probability from 0 to 1")
        gap = 2.0 * probability - 1.0 if form.of == "first" else 1.0 - 2.0 * probability
        return larger(gap), abs(gap)

    return decide


def _by_scores(form: Scores, first: Look, second: Look) -> Decide:
    sign = 1.0 if form.better == "higher" else -1.0

    def decide(row: Row) -> tuple[Winner, float | None]:
        gap = (_number(first(row), form.first) - _number(second(row), form.second)) * sign
        return larger(gap), abs(gap)

    return decide


def larger(gap: float) -> Winner:
    """Who wins by the first answer's lead."""
    return "first" if gap > 0 else "second" if gap < 0 else "tie"


def _number(value: Any, column: str) -> float:
    number = number_of(value)
    if number is None:
        raise RowFault("unknown_verdict", f"{column} is {shown(value)}, no finite number")
    return number


def _by_one_hot(form: OneHot, names: Sequence[str]) -> Decide:
    winners: tuple[Winner, ...] = ("first", "second", "tie")
    columns = [(winner, column) for winner in winners if (column := getattr(form, winner)) is not None]
    looks = [(winner, column, path_of(column, names)) for winner, column in columns]

    def decide(row: Row) -> tuple[Winner, float | None]:
        found = [(winner, column, look(row)) for winner, column, look in looks]
        for _, column, value in found:
            if not isinstance(value, str | int | float) or same(value) not in ("0", "1", "true", "false"):
                raise RowFault("unknown_verdict", f"{column} is {shown(value)}, neither 0 nor 1")
        ones = [winner for winner, _, value in found if same(value) in ("1", "true")]
        if len(ones) != 1:
            set_to = ", ".join(f"{column} is {shown(value)}" for _, column, value in found)
            raise RowFault("unknown_verdict", f"not exactly one of the columns is 1: {set_to}")
        return ones[0], None

    return decide


def _by_votes(form: Votes, names: Sequence[str]) -> Decide:
    look, meanings = path_of(form.column, names), _meaning(form.values)
    counting = _counting(form, names)

    def decide(row: Row) -> tuple[Winner, float | None]:
        votes = parsed(look(row))
        if not isinstance(votes, list):
            raise RowFault("unknown_verdict", f"{form.column} is {shown(votes)}, no list of votes")
        counted = counting(row, votes)
        return majority([_known(meanings, vote, form.column) for vote in counted if vote is not None], form.column)

    return decide


def _counting(form: Votes | Rankings, names: Sequence[str]) -> Callable[[Row, list[Any]], list[Any]]:
    """Which of the annotators' votes count."""
    if form.status is None:
        return lambda row, votes: votes
    status, counted = path_of(form.status, names), frozenset(map(same, form.counted))

    def counting(row: Row, votes: list[Any]) -> list[Any]:
        states = parsed(status(row))
        if not isinstance(states, list) or len(states) != len(votes):
            raise RowFault("unknown_verdict", f"{form.status} is {shown(states)}, not a status for each vote")
        return [vote for vote, state in zip(votes, states, strict=True) if same(state) in counted]

    return counting


def _by_rankings(form: Rankings, sides: ComparisonForm, names: Sequence[str]) -> Decide:
    ballots, both = Ballots.of(form, names), (sides.first, sides.second)

    def decide(row: Row) -> tuple[Winner, float | None]:
        return majority([larger(second - first) for first, second in ballots.read(row, both)], form.column)

    return decide


@dataclass(frozen=True, slots=True)
class Ballots:
    """Reads the rankings of several annotators."""

    form: Rankings
    look: Look
    called: Look
    ranked: Look
    counting: Callable[[Row, list[Any]], list[Any]]

    @classmethod
    def of(cls, form: Rankings, names: Sequence[str]) -> Ballots:
        """A reader of the rankings that a form names."""
        paths = path_of(form.column, names), path_of(form.names), path_of(form.ranks)
        return cls(form, *paths, _counting(form, names))

    def read(self, row: Row, answers: Sequence[str]) -> list[list[float]]:
        """Of each ranking of a row that counts the rank of every answer, by its column's name; lower is better.

        Raises:
            RowFault: one of them is no ranking of these answers.
        """
        rankings = parsed(self.look(row))
        if not isinstance(rankings, list):
            raise RowFault("unknown_verdict", f"{self.form.column} is {shown(rankings)}, no list of rankings")
        return [self._ranks(ranking, answers) for ranking in self.counting(row, rankings) if ranking is not None]

    def values(self, row: Row) -> list[Any]:
        """The rankings of a row as they stand there, those that count or not."""
        rankings = parsed(self.look(row))
        return rankings if isinstance(rankings, list) else []

    def names(self, row: Row) -> list[str]:
        """The names that they have, [] of what is no ranking."""
        try:
            return [name for ranking in self.values(row) if ranking is not None for name in self._named(ranking)]
        except RowFault:
            return []

    def _ranks(self, ranking: Any, answers: Sequence[str]) -> list[float]:
        column, sign = self.form.column, 1.0 if self.form.better == "lower" else -1.0
        rank_of = self._named(ranking)
        found = [next((rank_of[name] for name in _called(one) if name in rank_of), None) for one in answers]
        if None in found:
            every = "both" if len(answers) == 2 else f"all {len(answers)}"
            raise RowFault("unknown_verdict", f"{column} ranks {', '.join(rank_of)}, not {every} answers")
        return [_number(rank, column) * sign for rank in found]

    def _named(self, ranking: Any) -> dict[str, Any]:
        """Rank by name."""
        texts: Any = None
        ranks: Any = None
        if isinstance(ranking, dict):  # as a table of columns
            texts, ranks = self.called(ranking), self.ranked(ranking)
        elif is_order(ranking):
            places = range(1, len(ranking) + 1)
            texts, ranks = ranking, list(places if self.form.better == "lower" else reversed(places))
        elif isinstance(ranking, list) and all(isinstance(item, dict) for item in ranking):
            texts, ranks = [self.called(item) for item in ranking], [self.ranked(item) for item in ranking]
        if not isinstance(texts, list) or not isinstance(ranks, list) or len(texts) != len(ranks):
            raise RowFault("unknown_verdict", f"{self.form.column} has {shown(ranking)}, no ranking of names")
        rank_of = dict(zip(map(str, texts), ranks, strict=True))
        if len(rank_of) < len(texts):
            raise RowFault("unknown_verdict", f"{self.form.column} has one name of {shown(ranking)} twice")
        return rank_of


def is_order(ranking: Any) -> bool:
    """Whether a ranking is a list of names alone, the best first."""
    return isinstance(ranking, list) and bool(ranking) and all(isinstance(item, str) for item in ranking)


def majority(votes: Sequence[Winner], column: str) -> tuple[Winner, float | None]:
    """What most votes say, and by how many more where there are several; a draw is a tie."""
    if not votes:
        raise RowFault("unknown_verdict", f"{column} has no vote that counts")
    counts = Counter(votes)
    lead = counts["first"] - counts["second"]
    best = max(counts.values())
    winners = [winner for winner, count in counts.items() if count == best]
    if len(winners) > 1 or lead == 0:
        return "tie", None
    return winners[0], float(abs(lead)) if len(votes) > 1 else None
