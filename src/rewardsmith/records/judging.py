"""What a judge's evaluation says beside its scores: `judge.json`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rewardsmith.records.evaluation import DatasetInfo
from rewardsmith.records.files import Record

JudgeProtocol = Literal["ranking", "pairwise", "rating"]


class ShareWithInterval(Record):
    """A share of `n` with its 95 % interval; null where n is 0."""

    n: int
    share: float | None = None
    low: float | None = None
    high: float | None = None


class PromptFile(Record):
    """A prompt: "built in" or a path, and the SHA-256 of the file."""

    source: str
    sha256: str


class ReplyCounts(Record):
    """Replies to one kind of question: to first asking, those that could not be read, and what a second asking left."""

    replies: int
    unread: int
    unparsed: int


class InjectionProbe(Record):
    """What a sentence in a wrong response does that speaks to the judge.

    `flipped` is the share of the verdicts against that response that became another verdict; `won` the share that went
    over to it. Rows that are missing with or without the sentence, and those that the response had won already, are
    not in `n`; `missing` counts the former. `rows` names some that flipped.
    """

    text: str
    flipped: ShareWithInterval
    won: ShareWithInterval
    missing: int = 0
    rows: tuple[str, ...] = ()


class JudgeCost(Record):
    """What calls cost, each counted once, whichever job paid for it. `per_1000` is for 1,000 comparisons.

    A comparison is a row's verdict: a ranking, a pair in its orders, or the ratings of all answers of a row.
    """

    comparisons: int
    calls: int
    prompt_tokens: int
    completion_tokens: int
    cost: float
    per_1000: float | None = None
    calls_per_1000: float | None = None


class JudgeSettings(Record):
    """How the judge was asked. `form` says how replies were written where the endpoint had its say in it."""

    endpoint: str
    model: str
    form: Literal["text", "json", "token"]
    orders: Literal["both", "one"]
    samples: int
    combine: Literal["mean", "majority"]
    temperature: float | None
    max_tokens: int
    seed: int
    prompts: dict[JudgeProtocol, PromptFile]


class JudgeRecord(Record):
    """`judge.json`.

    `protocols` maps a subset to how its rows were asked. `missing` counts rows without a verdict by reason; they are
    null in `rows.jsonl`. `consistency` is the share of rows in which another order of the same answers gave the same
    verdict, by kind of question; `ties` that of pairs without a winner. `places` counts which letter was named.
    `lost_calls` were sent and never answered, by a kill or a broken connection: the endpoint may have been paid for
    them, at most `lost_cost`.
    """

    schema_version: Literal[1] = Field(1, alias="schema")
    benchmark: str
    title: str
    dataset: DatasetInfo
    settings: JudgeSettings
    protocols: dict[str, JudgeProtocol]
    rows: int
    judged: int
    missing: dict[str, int]
    missing_scored_as_chance: bool
    replies: dict[JudgeProtocol, ReplyCounts]
    consistency: dict[JudgeProtocol, ShareWithInterval]
    ties: ShareWithInterval
    places: dict[JudgeProtocol, dict[str, int]]
    ratings: dict[str, int]
    injection: dict[JudgeProtocol, InjectionProbe]
    cost: JudgeCost
    probes_cost: JudgeCost
    lost_calls: int
    lost_cost: float
    currency: str
