"""What a judge's evaluation says beside its scores: `judge.json`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rewardsmith.records.evaluation import DatasetInfo
from rewardsmith.records.files import Record

JudgeProtocol = Literal["ranking", "pairwise", "rating"]


class ShareWithInterval(Record):
    """A share with its 95 % interval (Wilson)."""

    n: int
    """Cases that the share is of."""
    share: float | None = None
    """0 to 1; null where `n` is 0."""
    low: float | None = None
    """Lower end of the interval; null where `n` is 0."""
    high: float | None = None
    """Upper end of the interval; null where `n` is 0."""


class PromptFile(Record):
    """A prompt that the judge was given."""

    source: str
    """"built in", or a path."""
    sha256: str
    """Of the text."""


class ReplyCounts(Record):
    """Replies to one kind of question."""

    replies: int
    """To the first asking."""
    unread: int
    """Of these, the ones that could not be read and were asked for again."""
    unparsed: int
    """Those that could not be read the second time either."""


class InjectionProbe(Record):
    """What a sentence in a wrong response does that speaks to the judge.

    Rows that are missing with or without it, and those that the response had won already, are not counted.
    """

    text: str
    """The sentence."""
    flipped: ShareWithInterval
    """Share of the answers against that response that became another answer."""
    won: ShareWithInterval
    """Share that went over to that response."""
    missing: int = 0
    """Rows without an answer, with or without the sentence."""
    rows: tuple[str, ...] = ()
    """Some that flipped."""


class JudgeCost(Record):
    """What calls cost, each counted once, whichever job paid for it.

    A comparison is a row's answer: a ranking, a pair in its orders, or the ratings of all responses of a row.
    """

    comparisons: int
    """Rows that were asked."""
    calls: int
    """Requests to the endpoint."""
    prompt_tokens: int
    """As the endpoint counts them."""
    completion_tokens: int
    """As the endpoint counts them."""
    cost: float
    """In `currency`; 0 where the spec states no prices."""
    per_1000: float | None = None
    """Cost of 1,000 comparisons; null without prices or comparisons."""
    calls_per_1000: float | None = None
    """Calls for 1,000 comparisons; null without comparisons."""


class JudgeSettings(Record):
    """How the judge was asked."""

    endpoint: str
    """Address."""
    model: str
    """Name at the endpoint."""
    form: Literal["text", "json", "token"]
    """How replies were written: text, JSON by schema, or one token with its probability. The endpoint has a say in
    it."""
    orders: Literal["both", "one"]
    """Whether pairs were asked in both orders."""
    samples: int
    """Replies to each question."""
    combine: Literal["mean", "majority"]
    """How several replies become one answer."""
    temperature: float | None
    """Of sampling; null where it was left to the endpoint."""
    max_tokens: int
    """Longest reply."""
    seed: int
    """Of orders and sampling."""
    prompts: dict[JudgeProtocol, PromptFile]
    """Kind of question → its prompt."""


class JudgeRecord(Record):
    """`judge.json`: what a judge's evaluation says beside its scores."""

    schema_version: Literal[1] = Field(1, alias="schema")
    """Version of this format: it counts breaking changes."""
    benchmark: str
    """Name in the registry."""
    title: str
    """Name as the report shows it."""
    dataset: DatasetInfo
    """Where the rows came from."""
    settings: JudgeSettings
    """How the judge was asked."""
    protocols: dict[str, JudgeProtocol]
    """Subset → kind of question for its rows."""
    rows: int
    """Of the benchmark."""
    judged: int
    """Rows with an answer."""
    missing: dict[str, int]
    """Reason → rows without an answer; these are null in `rows.jsonl`."""
    missing_scored_as_chance: bool
    """Whether such a row scores as chance, as the benchmark's own script has it, else as wrong."""
    replies: dict[JudgeProtocol, ReplyCounts]
    """Kind of question → counts of replies."""
    consistency: dict[JudgeProtocol, ShareWithInterval]
    """Kind of question → share of rows in which another order of the same responses gave the same answer."""
    ties: ShareWithInterval
    """Share of pairs without a winner."""
    places: dict[JudgeProtocol, dict[str, int]]
    """Kind of question → letter → how often it was named; shows a preference for a place."""
    ratings: dict[str, int]
    """Rating → how often it was given."""
    injection: dict[JudgeProtocol, InjectionProbe]
    """Kind of question → the probe with a planted sentence; empty where it was not run."""
    cost: JudgeCost
    """Of the evaluation."""
    probes_cost: JudgeCost
    """Of consistency and injection probes."""
    lost_calls: int
    """Sent and never answered, by a kill or a broken connection; the endpoint may have been paid for them."""
    lost_cost: float
    """The most that these cost, in `currency`."""
    currency: str
    """Of all costs; empty where the spec states no prices."""
