"""How a source writes preferences: `data.train[].form`, one section for each kind.

A form says what a label means, so that nothing has to guess it. `rewardsmith init` recognises the published ones and
writes them; `docs/public_data.md` shows each. Names of columns may be paths into a row: `question.full_text`,
`summaries[0].text`, `annotations[*].result[0].value` (a list). A column whose name has dots or brackets comes first.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from rewardsmith.spec.section import Refusal, Section

Value = str | int | float | bool | None
"""What a verdict may be in a file; 1 and "1" count as the same, because CSV has no numbers."""

TranscriptStyle = Literal[
    "human_assistant", "chatml", "llama3", "gemma", "zephyr", "user_assistant", "instruction_response", "extra_id"
]
Better = Literal["higher", "lower"]


class _Form(Section):
    """What every form may say."""

    transcript: TranscriptStyle | None = None
    """Texts that hold whole conversations: how their turns are marked. `human_assistant` is that of hh-rlhf, `extra_id`
    that of HelpSteer2, whose first turn has no marker."""
    by_turn: bool = False
    """Prompt and answers are lists of texts, one for each turn (or JSON text of such lists)."""
    repeated: bool = False
    """The answers begin with the prompt; it is taken off."""
    strip: bool = False
    """Blanks around answers that are texts are taken off."""


class LabelValues(Section):
    """Which values mean what; any other value is a rejected row."""

    first: tuple[Value, ...] = Field(min_length=1)
    """The first answer is the better one."""
    second: tuple[Value, ...] = Field(min_length=1)
    """The second answer is the better one."""
    tie: tuple[Value, ...] = ()
    """Neither is: the row is left out as `tie`."""

    @model_validator(mode="after")
    def _told_apart(self) -> LabelValues:
        seen: dict[str, str] = {}
        for name in ("first", "second", "tie"):
            for value in getattr(self, name):
                if seen.setdefault(same(value), name) != name:
                    raise Refusal(f"{value!r} means both {seen[same(value)]} and {name}", "list it once", field=(name,))
        return self


class LabelColumn(Section):
    """A column that says which answer won."""

    column: str
    """Name of the column, or a path."""
    values: LabelValues
    """What its values mean. For example `{first: [model_a], second: [model_b], tie: [tie]}`."""


class Votes(LabelColumn):
    """A list of such values, one for each annotator: the majority counts, a draw is a tie."""

    status: str | None = None
    """A list beside it that says which votes count."""
    counted: tuple[Value, ...] = ("submitted",)
    """The values of `status` that count."""


def _keys_as_text(value: Any) -> Any:
    """YAML reads a key such as `true` or `1` as what it looks like."""
    return {same(key): number for key, number in value.items()} if isinstance(value, dict) else value


Words = Annotated[dict[str, float], BeforeValidator(_keys_as_text)]


class Strength(Section):
    """A signed number: its sign says which answer won, its size is the margin, 0 is a tie."""

    column: str
    """Name of the column, or a path."""
    first_is: Literal["negative", "positive"]
    """The sign that means that the first answer is the better one."""
    words: Words = Field(default_factory=dict)
    """Numbers of values that are words; then any other value is a rejected row. For example `{A is much better: 2}`."""


class Probability(Section):
    """How probable it is that the first answer is the better one, from 0 to 1 (a soft label, a share of votes).

    Above 0.5 the first answer wins, below it the second, 0.5 is a tie; the margin is the difference of the two
    probabilities, 2p - 1 of the winner.
    """

    column: str
    """Name of the column, or a path such as `probabilities[0]`."""
    of: Literal["first", "second"] = "first"
    """Of which answer this is the probability."""


class Scores(Section):
    """A score of each answer; equal scores are a tie, the margin is their difference."""

    first: str
    """Column of the first answer's score."""
    second: str
    """Column of the second answer's score."""
    better: Better = "higher"
    """`lower` for ranks."""


class OneHot(Section):
    """A column for each outcome, of which exactly one is 1 (or true)."""

    first: str
    """1 where the first answer is the better one."""
    second: str
    """1 where the second answer is the better one."""
    tie: str | None = None
    """1 where neither is."""


class Named(Section):
    """A column that holds the name of the winning answer's column."""

    column: str
    """Name of the column, or a path."""
    tie: tuple[Value, ...] = ()
    """Values that mean that neither is better."""


class Rankings(Section):
    """A list of rankings, one for each annotator: an item for each answer, or two lists, of its column and its rank; or
    a list of columns alone, the best first."""

    column: str
    """The list of rankings, or a path such as `preference[*].value`."""
    names: str = "value"
    """Where a ranking (or its item) names the column, as a path from it."""
    ranks: str = "rank"
    """Where a ranking (or its item) has the rank, as a path from it."""
    better: Better = "lower"
    """`lower`: rank 1 is the best. A list of columns alone has the best first either way."""
    status: str | None = None
    """A list beside it that says which rankings count."""
    counted: tuple[Value, ...] = ("submitted",)
    """The values of `status` that count."""


class PairForm(_Form):
    """A better and a worse answer in columns of their own (`columns.chosen`, `columns.rejected`)."""

    kind: Literal["pair"] = "pair"
    """Which form this is."""
    ties: dict[str, tuple[Value, ...]] = Field(default_factory=dict)
    """Rows that are ties: values by column. For example `{status: [tie]}`."""
    equal_scores: Literal["keep", "tie"] = "keep"
    """Rows whose two scores are equal: `tie` leaves them out as ties."""


class ComparisonForm(_Form):
    """Two answers, and a verdict that says which is better: exactly one of the ways to say it."""

    kind: Literal["comparison"]
    """Which form this is."""
    first: str
    """Column of the first answer."""
    second: str
    """Column of the second answer."""
    first_model: str | None = None
    """Column with the model that wrote the first answer; for the checks only."""
    second_model: str | None = None
    """Column with the model that wrote the second answer."""
    verdict: LabelColumn | None = None
    """A column that says which answer won."""
    strength: Strength | None = None
    """A signed number."""
    scores: Scores | None = None
    """A score of each answer."""
    one_hot: OneHot | None = None
    """A column for each outcome."""
    named: Named | None = None
    """A column with the name of the winner's column."""
    votes: Votes | None = None
    """A list of values, one for each annotator."""
    rankings: Rankings | None = None
    """A list of rankings, one for each annotator."""
    probability: Probability | None = None
    """A probability that the first answer is the better one."""

    @model_validator(mode="after")
    def _one_way(self) -> ComparisonForm:
        given = [name for name in WAYS if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise Refusal(f"a comparison has exactly one of {', '.join(WAYS)}; this one has {found}", "keep one")
        return self


WAYS = ("verdict", "strength", "scores", "one_hot", "named", "votes", "rankings", "probability")
"""The ways in which a comparison says which answer is better."""


class _Ranked(_Form):
    """What `list` and `grouped` share: answers with numbers, and which of them are compared."""

    better: Better
    """`higher` for scores, `lower` for ranks."""
    min_gap: float = Field(0.0, ge=0.0)
    """Two answers that are closer than this are a tie; equal ones always are."""
    pairs: Literal["all", "best_vs_rest", "adjacent"] = "all"
    """Which answers are compared: every two, the best with each other one, or neighbours in rank."""
    max_pairs: int | None = Field(None, ge=1)
    """At most this many pairs of a prompt, drawn by a hash of their texts."""
    words: Words = Field(default_factory=dict)
    """Numbers of scores that are words; then any other value is a rejected row. true is 1 and false 0 without it."""


class ListForm(_Ranked):
    """Several answers in a row, each with a score or a rank."""

    kind: Literal["list"]
    """Which form this is."""
    answers: str | tuple[str, ...]
    """Column of the list of answers (or of an object of answers by name); or the columns of all answers."""
    text: str = ""
    """Where an answer's text stands in its item, as a path; empty where the item is the answer."""
    score: str | None = None
    """Where an answer's number stands in its item, as a path."""
    scores: str | tuple[str, ...] | None = None
    """Column with the list of all numbers, in the order of the answers, or by their names; or a column for each."""
    ranking: str | None = None
    """Column that ranks the answers from best to worst: `B>A=C`, or a list of names. It gives ranks (better: lower)."""
    called: tuple[Value, ...] = ()
    """What `ranking` calls the answers, in their order. Without it A, B, C … for a list, the names of an object's
    fields, and the names of columns or their endings (`answer_b` is B)."""
    rankings: Rankings | None = None
    """A list of rankings, one for each annotator: of each two answers the one that most of them rank higher is the
    better one, and the margin is by how many more."""

    @model_validator(mode="after")
    def _one_number(self) -> ListForm:
        given = [name for name in ("score", "scores", "ranking", "rankings") if getattr(self, name) is not None]
        if len(given) != 1:
            raise Refusal(
                "a list has exactly one of score (in each item), scores (a column of their own), ranking and rankings; "
                f"this one has {' and '.join(given) or 'none of them'}",
                "keep one",
            )
        if (self.ranking or self.rankings) is not None and self.better == "higher":
            raise Refusal("a ranking gives ranks, of which 1 is the best", "write lower", field=("better",))
        if self.rankings is not None and self.pairs != "all":
            raise Refusal(
                "the votes of several rankings put no answer first: A may beat B, B C, and C A",
                "write all",
                field=("pairs",),
            )
        if isinstance(self.answers, tuple) and len(self.answers) < 2:
            raise Refusal("one column of answers in a list is a single answer", "name two or more", field=("answers",))
        return self


class GroupedForm(_Ranked):
    """One answer a row, with a score; the rows of one prompt are compared with each other."""

    kind: Literal["grouped"]
    """Which form this is."""
    answer: str
    """Column of the answer."""
    score: str
    """Column of its number."""


class TreeForm(_Ranked):
    """Messages that answer each other: sibling replies of the assistant are compared by their ranks. The prompt is the
    path from the root to the message that they answer."""

    kind: Literal["tree"]
    """Which form this is."""
    better: Better = "lower"
    """`lower` for ranks, of which the first may be 0 or 1; `higher` for scores."""
    root: str | None = None
    """Column of a tree's first message, which has the others inside it. Left out: each row is one message."""
    replies: str = "replies"
    """Where a message of such a tree has the list of its replies, as a path from it."""
    id: str = "message_id"
    """Column of a message's id, where each row is one."""
    parent: str = "parent_id"
    """Column of the id of the message that it answers; empty for a root."""
    tree: str | None = None
    """Column of the id of its tree: where a part of the rows is taken, it is whole trees."""
    role: str = "role"
    """Where a message has its role: a column, or a path from the message."""
    text: str = "text"
    """Where it has its text."""
    score: str = "rank"
    """Where it has its rank; a message without one is compared with none."""
    without: dict[str, tuple[Value, ...]] = Field(default_factory=dict)
    """Messages that are left out with all that is below them: values by column. For example `{deleted: [true]}`."""


class TranscriptForm(_Form):
    """A better and a worse side written as transcripts; the prompt is all before the last assistant turn."""

    kind: Literal["transcript"]
    """Which form this is."""
    transcript: TranscriptStyle = "human_assistant"
    """How the turns are marked."""


class OpenAIForm(_Form):
    """OpenAI's preference tuning: `input.messages`, `preferred_output`, `non_preferred_output`, with tools."""

    kind: Literal["openai"]
    """Which form this is."""


def _named(value: Any) -> Any:
    """`form: transcript` is short for `form: {kind: transcript}`, and a form that names no kind is a pair."""
    if isinstance(value, str):
        return {"kind": value}
    return {"kind": "pair", **value} if isinstance(value, dict) else value


FormSpec = Annotated[
    Annotated[
        PairForm | ComparisonForm | ListForm | GroupedForm | TreeForm | TranscriptForm | OpenAIForm,
        Field(discriminator="kind"),
    ],
    BeforeValidator(_named),
]


def same(value: Value) -> str:
    """A label as it is compared: 1, 1.0, "1" and " 1.0" are one value, as are true and "True", and null and "null"."""
    if value is None:
        return "null"  # a label that is missing is not the label `None` or `none`, which may mean a tie
    text = str(value).strip()
    if _WHOLE.fullmatch(text):
        return str(int(text))  # not by a float: ids of twenty digits would become one
    if not _NUMBER.fullmatch(text):  # Python takes `1_0` and `nan` for numbers
        return text.lower()
    number = float(text)
    return str(int(number)) if number.is_integer() else str(number)


_WHOLE = re.compile(r"[+-]?[0-9]{1,400}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?")
