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
        return _larger(strength), abs(strength)

    return decide


def _by_probability(form: Probability, look: Look) -> Decide:
    def decide(row: Row) -> tuple[Winner, float | None]:
        probability = _number(look(row), form.column)
        if not 0.0 <= probability <= 1.0:
            raise RowFault("unknown_verdict", f"{form.column} is {probability:g}, no probability from 0 to 1")
        gap = 2.0 * probability - 1.0 if form.of == "first" else 1.0 - 2.0 * probability
        return _larger(gap), abs(gap)

    return decide


def _by_scores(form: Scores, first: Look, second: Look) -> Decide:
    sign = 1.0 if form.better == "higher" else -1.0

    def decide(row: Row) -> tuple[Winner, float | None]:
        gap = (_number(first(row), form.first) - _number(second(row), form.second)) * sign
        return _larger(gap), abs(gap)

    return decide


def _larger(gap: float) -> Winner:
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
        return _majority([_known(meanings, vote, form.column) for vote in counted if vote is not None], form.column)

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
    look, called, ranked = path_of(form.column, names), path_of(form.names), path_of(form.ranks)
    first_names, second_names = _called(sides.first), _called(sides.second)
    sign = 1.0 if form.better == "higher" else -1.0
    counting = _counting(form, names)

    def lists(ranking: Any) -> tuple[Any, Any]:
        if isinstance(ranking, dict):  # as a table of columns
            return called(ranking), ranked(ranking)
        if isinstance(ranking, list) and all(isinstance(item, dict) for item in ranking):
            return [called(item) for item in ranking], [ranked(item) for item in ranking]
        return None, None

    def vote(ranking: Any) -> Winner:
        texts, ranks = lists(ranking)
        if not isinstance(texts, list) or not isinstance(ranks, list) or len(texts) != len(ranks):
            raise RowFault("unknown_verdict", f"{form.column} has {shown(ranking)}, no ranking of names")
        rank_of = dict(zip(map(str, texts), ranks, strict=True))
        found = [next((rank_of[name] for name in own if name in rank_of), None) for own in (first_names, second_names)]
        if None in found:
            raise RowFault("unknown_verdict", f"{form.column} ranks {', '.join(rank_of)}, not both answers")
        return _larger((_number(found[0], form.column) - _number(found[1], form.column)) * sign)

    def decide(row: Row) -> tuple[Winner, float | None]:
        rankings = parsed(look(row))
        if not isinstance(rankings, list):
            raise RowFault("unknown_verdict", f"{form.column} is {shown(rankings)}, no list of rankings")
        counted = counting(row, rankings)
        return _majority([vote(ranking) for ranking in counted if ranking is not None], form.column)

    return decide


def _majority(votes: Sequence[Winner], column: str) -> tuple[Winner, float | None]:
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
