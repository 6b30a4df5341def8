"""The router on disk: what calibration found (`routing.json`), the audit log, and the rows of `route run`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rewardsmith.records.evaluation import DatasetInfo
from rewardsmith.records.files import Record

RuleKind = Literal["margin", "probability", "interval", "subset"]
FallbackReason = Literal[
    "", "no_judge", "share", "rate", "cost", "breaker", "tie", "unparsed", "failed", "deadline", "budget"
]


class LoggedRule(Record):
    """A rule as it was applied: what is below the limit was escalated, or what is of these subsets."""

    kind: RuleKind
    below: float | None = None
    subsets: tuple[str, ...] = ()
    outside: bool = False


class LoggedOpinion(Record):
    """What the reward model said: margin (first minus second), calibrated probability of the first, spread."""

    margin: float | None
    probability: float | None
    spread: float | None


class LoggedVerdict(Record):
    """What the judge said of the first response being the better one, and what it cost."""

    probability: float | None
    consistent: bool | None
    missing: Literal["", "unparsed", "failed", "deadline", "budget"]
    calls: int
    cached: int
    prompt_tokens: int
    completion_tokens: int
    cost: float


class AuditHeader(Record):
    """A line of the audit log that says by which rules the decisions after it were made, and by whom."""

    schema_version: Literal[1] = Field(1, alias="schema")
    kind: Literal["router"] = "router"
    rules: tuple[LoggedRule, ...]
    combine: Literal["any", "all"]
    model: str = ""
    judge: str = ""
    prompts: str = ""
    currency: str = ""
    fingerprint: str = ""


class AuditEntry(Record):
    """One decision with everything that it was made of. `digest` is of the texts.

    `row` is the row of the input file, `places` are those of the two responses in it.
    """

    kind: Literal["decision"] = "decision"
    id: str
    row: int | None = None
    places: tuple[int, int] = (0, 1)
    subset: str = ""
    digest: str
    opinion: LoggedOpinion
    refusal: FallbackReason = ""
    verdict: LoggedVerdict | None = None
    winner: Literal["first", "second", "tie"] | None
    by: Literal["reward_model", "judge", "nobody"]
    escalated: bool
    rule: str
    why: str
    fallback: FallbackReason


class RoutedScore(Record):
    """An accuracy or a difference of two, with its 95 % interval."""

    value: float
    low: float
    high: float


class RoutePoint(Record):
    """One limit of the fitted rule on the calibration pairs.

    `share` of the comparisons is escalated, what is below `limit`. `random` is the accuracy of as many escalations
    drawn blindly, `difference` the router's minus that, `oracle` that of who knows where the judge helps. `gain` is
    the part of the judge's gain over the reward model that is reached, null where there is none. `cost` is money for
    1,000 comparisons. `predicted` is what the model's calibration predicts, with the band that the whole curve should
    stay in; null without a calibration.
    """

    share: float
    limit: float
    accuracy: RoutedScore
    random: float
    difference: RoutedScore
    oracle: float
    gain: float | None
    cost: float
    predicted: RoutedScore | None = None


class RouteTarget(Record):
    """What was asked for, and whether the pairs allow it. `cost` is money for 1,000 comparisons."""

    kind: Literal["accuracy", "share", "cost", "gain"]
    value: float
    reached: bool


class RouteJudge(Record):
    """The judge on the calibration pairs: verdicts that are there, missing ones by reason, ties, and what it cost.

    `prompts` is the hash of its prompts. `consistent` is the share of pairs asked in both orders that named the same
    response both times.
    """

    name: str
    prompts: str = ""
    verdicts: int
    missing: dict[str, int] = Field(default_factory=dict)
    ties: int
    consistent: float | None = None
    calls: int = 0
    cost: float = 0.0
    currency: str = ""


class RouteVerdict(Record):
    """One line of `verdicts.jsonl`: what the judge said of the chosen response being the better one of a pair."""

    subset: str
    id: str
    probability: float | None = Field(None, ge=0.0, le=1.0)
    consistent: bool | None = None
    missing: Literal["", "unparsed", "failed", "deadline", "budget"] = ""
    calls: int = 0
    cost: float = 0.0


class RoutingRecord(Record):
    """`routing.json`: a rule's limit fitted on held-out pairs, the curve behind it, and whether routing is worth it.

    `rules` are those of the spec with the fitted limit. `temperature` turns margins into probabilities; `calibration`
    says where it comes from. `doubt` names what states the model's own doubt. `checked` and `checked_share` are of
    limits that were fitted without the pair's prompt (five folds). `model_only`, `judge_only` and `everything` (all
    of it escalated; a judge's tie or missing verdict falls back to the model) are accuracies. `advantage` is the
    router's accuracy minus that of random routing, the mean over budgets of 5 to 50 %. `missing_rewards` counts pairs
    without a margin, `missing` their missing rewards by reason.
    """

    schema_version: Literal[1] = Field(1, alias="schema")
    model: str
    identity: str
    dataset: DatasetInfo
    pairs: int
    prompts: int
    missing_rewards: int = 0
    missing: dict[str, int] = Field(default_factory=dict)
    rules: tuple[LoggedRule, ...]
    combine: Literal["any", "all"]
    temperature: float | None
    calibration: str = ""
    doubt: str = ""
    judge: RouteJudge
    target: RouteTarget
    chosen: RoutePoint
    checked: RoutedScore | None = None
    checked_share: float | None = None
    model_only: RoutedScore
    judge_only: RoutedScore
    everything: RoutedScore
    points: tuple[RoutePoint, ...]
    advantage: RoutedScore
    within_prediction: bool | None = None
    verdict: Literal["worth it", "not worth it", "undecided", "nothing to gain"]
    statement: str
    method: str = ""


class RouteRow(Record):
    """One line of the output of `route run`: who decided what about a row, why, and what it cost.

    `best` is the place of the best response, from 0; null for a tie or where nobody could decide (`by`). `probability`
    is that of the first of two responses being the better one, by whoever decided. `comparisons` counts the decisions
    behind the row, `escalated` how many the rule found ambiguous, `judged` how many the judge decided. Of several
    responses, `why` and `rule` are of the last decision that the best one took part in.
    """

    row: int
    id: str | None
    best: int | None
    by: Literal["reward_model", "judge", "nobody"]
    escalated: int
    judged: int
    comparisons: int
    rule: str
    why: str
    fallback: FallbackReason
    probability: float | None
    margin: float | None
    calls: int
    cost: float


class RouteRunRecord(Record):
    """A finished `route run`. `fallbacks` counts ambiguous comparisons that the reward model decided, by reason;
    `rewards` what the model gave, `missing` what it could not, by reason."""

    schema_version: Literal[1] = Field(1, alias="schema")
    output: str
    audit: str
    pairs_output: str | None = None
    rows: int
    bad_rows: int
    comparisons: int
    escalated: int
    judged: int
    fallbacks: dict[str, int] = Field(default_factory=dict)
    rewards: int = 0
    missing: dict[str, int] = Field(default_factory=dict)
    exported: int = 0
    calls: int
    cost: float
    currency: str = ""
    resumed_rows: int = 0


class ReplayRecord(Record):
    """Decisions of an audit log, made again from their logged inputs."""

    schema_version: Literal[1] = Field(1, alias="schema")
    audit: str
    decisions: int
    differing: int
    examples: tuple[str, ...] = ()
