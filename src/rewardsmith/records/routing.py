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
    """A rule as it was applied."""

    kind: RuleKind
    """What it looks at."""
    below: float | None = None
    """Comparisons below this limit are escalated; null for rules of subsets."""
    subsets: tuple[str, ...] = ()
    """Comparisons of these subsets are escalated."""
    outside: bool = False
    """Whether those of all other subsets are meant instead."""


class LoggedOpinion(Record):
    """What the reward model said."""

    margin: float | None
    """First minus second reward; null where one is missing."""
    probability: float | None
    """Calibrated probability that the first is better; null without a calibration or a margin."""
    spread: float | None
    """Of an ensemble's margins; null for one model."""


class LoggedAnswer(Record):
    """What the judge answered, and what it cost."""

    probability: float | None
    """That the first response is better; null where the answer is missing."""
    consistent: bool | None
    """Whether both orders named the same response; null where one order was asked."""
    missing: Literal["", "unparsed", "failed", "deadline", "budget"]
    """Why there is no answer; empty where there is one."""
    calls: int
    """Requests to the endpoint."""
    cached: int
    """Answers that were taken from the cache."""
    prompt_tokens: int
    """As the endpoint counts them."""
    completion_tokens: int
    """As the endpoint counts them."""
    cost: float
    """In the header's currency; 0 without prices."""


class AuditHeader(Record):
    """A line of the audit log that says by which rules the decisions after it were made, and by whom."""

    schema_version: Literal[1] = Field(1, alias="schema")
    """Version of this format: it counts breaking changes."""
    kind: Literal["router"] = "router"
    """Always `router`."""
    rules: tuple[LoggedRule, ...]
    """As applied."""
    combine: Literal["any", "all"]
    """Whether any rule or all rules must ask for the judge."""
    model: str = ""
    """The reward model, as it was named."""
    judge: str = ""
    """The judge's model; empty without one."""
    prompts: str = ""
    """Hash of the judge's prompts; empty without a judge."""
    currency: str = ""
    """Of costs; empty without prices."""
    fingerprint: str = ""
    """Of everything that the decisions depend on; empty for a server's log."""


class AuditEntry(Record):
    """One decision with everything that it was made of."""

    kind: Literal["decision"] = "decision"
    """Always `decision`."""
    id: str
    """Of the comparison."""
    row: int | None = None
    """Of the input file, counted from 1; null for a server."""
    places: tuple[int, int] = (0, 1)
    """Of the two responses in the row, from 0."""
    subset: str = ""
    """Of the row; empty where it names none."""
    digest: str
    """Of the texts."""
    opinion: LoggedOpinion
    """What the reward model said."""
    refusal: FallbackReason = ""
    """Why the judge was not asked though the rules asked for it; empty where it was asked or need not be."""
    verdict: LoggedAnswer | None = None
    """The judge's answer; null where it was not asked."""
    winner: Literal["first", "second", "tie"] | None
    """Null where nobody could decide."""
    by: Literal["reward_model", "judge", "nobody"]
    """Who decided."""
    escalated: bool
    """Whether the rules found the comparison ambiguous."""
    rule: str
    """The rule that did."""
    why: str
    """The decision in words."""
    fallback: FallbackReason
    """Why the reward model decided an ambiguous comparison; empty else."""


class RoutedScore(Record):
    """An accuracy, or a difference of two, with its 95 % interval."""

    value: float
    """0 to 1; a difference -1 to 1."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""


class RoutePoint(Record):
    """One limit of the fitted rule on the calibration pairs."""

    share: float
    """Of the comparisons that are escalated, 0 to 1."""
    limit: float
    """What is below it is escalated."""
    accuracy: RoutedScore
    """Of the router."""
    random: float
    """Accuracy of as many escalations drawn blindly."""
    difference: RoutedScore
    """The router's accuracy minus `random`."""
    oracle: float
    """Accuracy of as many escalations by who knows where the judge helps."""
    gain: float | None
    """Part of the judge's gain over the reward model that is reached; null where there is none."""
    cost: float
    """Money for 1,000 comparisons."""
    predicted: RoutedScore | None = None
    """What the model's calibration predicts, with the band that the whole curve should stay in; null without a
    calibration."""


class RouteTarget(Record):
    """What was asked for, and whether the pairs allow it."""

    kind: Literal["accuracy", "share", "cost", "gain", "wrong"]
    """What the value is of."""
    value: float
    """Accuracy, share, part of the gain or share of wrong confident verdicts, 0 to 1; or money for 1,000
    comparisons."""
    reached: bool
    """Whether some limit reaches it."""
    confidence: float | None = None
    """That the share of wrong confident verdicts holds; null for other kinds."""


class AbstentionStep(Record):
    """One tested limit: what the reward model decides alone on the pairs of the test."""

    limit: float
    """Comparisons below it are escalated."""
    decided: int
    """Tested pairs at or above it."""
    wrong: int
    """Of these, decided wrongly or not at all (equal rewards)."""
    p_value: float
    """Of a larger share of wrong verdicts than is allowed: the binomial tail."""


class AbstentionRecord(Record):
    """How a limit on wrong confident verdicts was certified: Learn then Test (arXiv:2110.01052), fixed sequence."""

    tested: int
    """Prompts of the test, one pair each."""
    fitted: int
    """Prompts that the ladder of limits, and whatever else was fitted, was fitted on."""
    needed: int
    """Decided pairs without a mistake that the smallest certificate takes."""
    steps: tuple[AbstentionStep, ...]
    """In the order in which they were tested; the sequence ends with the first that does not pass."""
    statement: str
    """What is certified and what is not, in words."""


class SubsetTemperature(Record):
    """A subset's own temperature, and whether it predicts better than the pooled one."""

    subset: str
    """Its name."""
    pairs: int
    """With a margin."""
    prompts: int
    """Distinct ones."""
    temperature: float | None
    """Fitted on its pairs; null where their likelihood has no maximum."""
    gain: float | None = None
    """Log loss a pair that it saves on held-out folds, in nats; null with too few prompts."""
    gain_low: float | None = None
    """Lower end of the 95 % interval."""
    gain_high: float | None = None
    """Upper end."""
    p_value: float | None = None
    """Of no difference, Holm-corrected over the subsets."""
    used: bool = False
    """Whether it replaces the pooled temperature."""


class RouteJudge(Record):
    """The judge on the calibration pairs."""

    name: str
    """Its model, or the file of its answers."""
    prompts: str = ""
    """Hash of its prompts."""
    verdicts: int
    """Pairs with an answer."""
    missing: dict[str, int] = Field(default_factory=dict)
    """Reason → pairs without one."""
    ties: int
    """Answers that prefer neither."""
    consistent: float | None = None
    """Share of the pairs asked in both orders that named the same response both times; null where none was."""
    calls: int = 0
    """Requests to the endpoint."""
    cached: int = 0
    """Answers that were there from earlier requests."""
    cost: float = 0.0
    """Of all of them."""
    currency: str = ""
    """Empty without prices."""


class RouteAnswer(Record):
    """One line of `verdicts.jsonl`: the judge's answer on a pair."""

    subset: str
    """Of the pair."""
    id: str
    """Of the pair within its subset."""
    probability: float | None = Field(None, ge=0.0, le=1.0)
    """That the chosen response is better; null where the answer is missing."""
    consistent: bool | None = None
    """Whether both orders named the same response; null where one order was asked."""
    missing: Literal["", "unparsed", "failed", "deadline", "budget"] = ""
    """Why there is no answer; empty where there is one."""
    calls: int = 0
    """Requests to the endpoint."""
    cost: float = 0.0
    """Of these."""


class RoutingRecord(Record):
    """`routing.json`: a rule's limit fitted on held-out pairs, the curve behind it, and whether routing is worth it."""

    schema_version: Literal[1] = Field(1, alias="schema")
    """Version of this format: it counts breaking changes."""
    model: str
    """The reward model, as it was named."""
    identity: str
    """Hash of the reward model: a router refuses another one."""
    dataset: DatasetInfo
    """Where the calibration pairs came from."""
    pairs: int
    """Calibration pairs."""
    prompts: int
    """Distinct prompts among them."""
    missing_rewards: int = 0
    """Pairs without a margin."""
    missing: dict[str, int] = Field(default_factory=dict)
    """Their missing rewards by reason."""
    rules: tuple[LoggedRule, ...]
    """Those of the spec with the fitted limit."""
    combine: Literal["any", "all"]
    """Whether any rule or all rules must ask for the judge."""
    temperature: float | None
    """Turns margins into probabilities; null without a calibration."""
    calibration: str = ""
    """Where the temperature comes from; empty without one."""
    doubt: str = ""
    """What states the model's own doubt; empty where nothing does."""
    subset_temperatures: tuple[SubsetTemperature, ...] = ()
    """By subset, where `routing.temperature` is `by_subset`."""
    abstention: AbstentionRecord | None = None
    """The certificate of a target of kind `wrong`; null for other targets."""
    judge: RouteJudge
    """The judge on these pairs."""
    target: RouteTarget
    """What was asked for."""
    chosen: RoutePoint
    """The fitted limit."""
    checked: RoutedScore | None = None
    """Accuracy by limits that were fitted without the pair's prompt (five folds); null where there are too few
    prompts."""
    checked_share: float | None = None
    """Share that these escalate; null as `checked`."""
    model_only: RoutedScore
    """Accuracy of the reward model alone."""
    judge_only: RoutedScore
    """Accuracy of the judge alone."""
    everything: RoutedScore
    """Accuracy with all of it escalated: a judge's tie or missing answer falls back to the model."""
    agreement: RoutedScore | None = None
    """How far the reward model and the judge name the same response, over the pairs with an answer of both: the mean of
    1 − |reward win − the judge's probability|, in which a tie agrees by half. `watch` takes its tolerance from it; null
    without such a pair, and in records of older versions."""
    points: tuple[RoutePoint, ...]
    """By share of escalations."""
    advantage: RoutedScore
    """The router's accuracy minus that of random routing, the mean over budgets of 5 to 50 %."""
    within_prediction: bool | None = None
    """Whether the curve stays in the predicted band; null without a calibration."""
    verdict: Literal["worth it", "not worth it", "undecided", "nothing to gain"]
    """Whether routing is worth it."""
    statement: str
    """The same in sentences."""
    judge_pays: bool | None = None
    """Whether the judge is worth its cost: true where it is surely better than the reward model, false where it surely
    is not or cannot be told from a coin, null where the pairs do not say."""
    judge_statement: str = ""
    """The same in a sentence; empty in records of older versions."""
    method: str = ""
    """How the numbers were computed, in words."""


class RouteRow(Record):
    """One line of the output of `route run`: who decided what about a row, why, and what it cost.

    Of several responses, `why` and `rule` are of the last decision that the best one took part in.
    """

    row: int
    """Of the input, counted from 1."""
    id: str | None
    """The row's own id; null where it has none."""
    best: int | None
    """Place of the best response, from 0; null for a tie, or where nobody could decide."""
    by: Literal["reward_model", "judge", "nobody"]
    """Who decided."""
    escalated: int
    """Decisions that the rules found ambiguous."""
    judged: int
    """Decisions by the judge."""
    comparisons: int
    """Decisions behind the row."""
    rule: str
    """The rule that asked for the judge; empty where none did."""
    why: str
    """The decision in words."""
    fallback: FallbackReason
    """Why the reward model decided an ambiguous comparison; empty else."""
    probability: float | None
    """That the first of two responses is better, by whoever decided; null for more than two, and where it is not
    known."""
    margin: float | None
    """First minus second reward; null for more than two responses, and where a reward is missing."""
    calls: int
    """Requests to the judge."""
    cost: float
    """Of these."""


class RouteRunRecord(Record):
    """A finished `route run`."""

    schema_version: Literal[1] = Field(1, alias="schema")
    """Version of this format: it counts breaking changes."""
    output: str
    """File of the rows."""
    audit: str
    """File of the decisions."""
    pairs_output: str | None = None
    """File of the pairs that were exported; null where none was asked for."""
    rows: int
    """Of the input."""
    bad_rows: int
    """That could not be read or compared."""
    comparisons: int
    """Decisions."""
    escalated: int
    """Decisions that the rules found ambiguous."""
    judged: int
    """Decisions by the judge."""
    fallbacks: dict[str, int] = Field(default_factory=dict)
    """Reason → ambiguous comparisons that the reward model decided."""
    rewards: int = 0
    """That the model gave."""
    missing: dict[str, int] = Field(default_factory=dict)
    """Reason → rewards that it could not give."""
    exported: int = 0
    """Pairs in `pairs_output`."""
    calls: int
    """Requests to the judge."""
    cost: float
    """Of these."""
    currency: str = ""
    """Empty without prices."""
    resumed_rows: int = 0
    """Rows that an earlier start had decided."""


class ReplayRecord(Record):
    """Decisions of an audit log, made again from their logged inputs."""

    schema_version: Literal[1] = Field(1, alias="schema")
    """Version of this format: it counts breaking changes."""
    audit: str
    """File of the decisions."""
    decisions: int
    """That were made again."""
    differing: int
    """That came out otherwise."""
    examples: tuple[str, ...] = ()
    """The first of these, in words."""
