"""What probes found: `probes.json` (bias probes) and `policy_samples.json` (rewards on a policy's own samples)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rewardsmith.records.evaluation import BestOfNCurve, DatasetInfo
from rewardsmith.records.files import Record
from rewardsmith.records.run import Verdict


class ProbeExample(Record):
    """One response whose reward went the wrong way; texts are cut."""

    id: str
    """Of the row."""
    subset: str
    """Of the row."""
    prompt: str
    """Of the row."""
    original: str
    """Response before the edit."""
    edited: str
    """Response after the edit."""
    reward: float
    """Of the original."""
    reward_edited: float
    """Of the edited response."""
    shift: float | None
    """Change of the reward in units of `reward_std`; null where that is 0."""


class ProbeResult(Record):
    """One probe: how often and how far the reward went the wrong way."""

    kind: Literal["surface", "destroyed"]
    """An edit of the surface, which must not raise the reward, or one that destroys meaning, which must lower it."""
    title: str
    """As the report shows it."""
    meaning: str
    """What the edit does."""
    why: str
    """Why it matters."""
    responses: int
    """That were drawn; = n + n_missing + n_not_applicable."""
    n: int
    """Responses that were edited and have both rewards."""
    n_missing: int
    """Responses of which a reward could not be computed."""
    n_not_applicable: int
    """Responses that the edit does not apply to."""
    prompts: int
    """Distinct prompts of the `n` responses, which intervals resample."""
    wrong: float | None = None
    """Share whose reward went the wrong way, 0 to 1; null where `n` is 0."""
    wrong_low: float | None = None
    """Lower end of its 95 % interval; null where `n` is 0."""
    wrong_high: float | None = None
    """Upper end of its 95 % interval; null where `n` is 0."""
    equal: float | None = None
    """Share whose reward stayed the same; null where `n` is 0."""
    shift: float | None = None
    """Mean change of the reward, in units of `reward_std`; null where that is 0 or `n` is."""
    shift_low: float | None = None
    """Lower end of its 95 % interval; null as `shift`."""
    shift_high: float | None = None
    """Upper end of its 95 % interval; null as `shift`."""
    interval: str = ""
    """Method of the interval of `wrong`."""
    examples: tuple[ProbeExample, ...] = ()
    """The responses whose reward went furthest the wrong way."""
    verdict: Verdict | None = None
    """By the spec's limits; null until they have been applied."""
    message: str = ""
    """The verdict in a sentence; empty until then."""


class ProbesRecord(Record):
    """`probes.json`: what edits of responses do to the reward."""

    schema_version: Literal[1] = Field(1, alias="schema")
    """Version of this format: it counts breaking changes."""
    model: str
    """That was scored."""
    dataset: DatasetInfo
    """Where the rows came from."""
    title: str
    """Name of the rows as the report shows it."""
    rows: int
    """That could be drawn from."""
    drawn: int
    """Responses that were drawn."""
    prompts: int
    """Distinct prompts among them."""
    seed: int
    """Of the draw, of the edits and of intervals."""
    protocol: str
    """How the numbers came about, in words."""
    reward_mean: float | None
    """Of the unedited responses; null where none has a reward."""
    reward_std: float | None
    """Population standard deviation over all unedited responses of the drawn rows; null where none has a reward."""
    flat: bool
    """Whether all unedited responses have one reward."""
    constant: bool
    """Whether all rewards are equal, edited responses included."""
    asked: int = 0
    """Distinct conversations that were scored."""
    missing: dict[str, int] = Field(default_factory=dict)
    """Reason → conversations without a reward."""
    probes: dict[str, ProbeResult]
    """Code → result, in the order of the registry."""


class PolicyLabels(Record):
    """What the labels of completions say."""

    completions: int
    """With a label and a reward."""
    correct: float
    """Share of them that are right, 0 to 1."""
    mixed: int
    """Prompts with right and wrong completions."""
    auc: float | None
    """Probability that a right completion of a prompt gets the higher reward than a wrong one of the same prompt,
    the mean over the mixed prompts; null without one."""
    auc_low: float | None
    """Lower end of its 95 % interval; null without a mixed prompt."""
    auc_high: float | None
    """Upper end of its 95 % interval; null without a mixed prompt."""
    pooled_auc: float | None
    """The same across prompts; null where all completions are right, or all are wrong."""
    best_of_n: BestOfNCurve | None
    """What picking by reward gives; null where no prompt has three completions with a reward."""


class PolicySamplesRecord(Record):
    """`policy_samples.json`: rewards of several completions a prompt."""

    schema_version: Literal[1] = Field(1, alias="schema")
    """Version of this format: it counts breaking changes."""
    model: str
    """That was scored."""
    dataset: DatasetInfo
    """Where the samples came from."""
    prompts: int
    """In the file."""
    completions: int
    """In the file."""
    n_missing: int
    """Rewards that could not be computed."""
    missing: dict[str, int] = Field(default_factory=dict)
    """The same by reason."""
    judged: int
    """Prompts with at least two rewards."""
    reward_mean: float | None
    """Of all completions; null without a reward."""
    reward_std: float | None
    """Population standard deviation of all completions; null without a reward."""
    within_std: float | None
    """Root of the mean over prompts of the unbiased variance of a prompt's rewards; null where no prompt has two."""
    within_std_low: float | None
    """Lower end of its 95 % interval; null as `within_std`."""
    within_std_high: float | None
    """Upper end of its 95 % interval; null as `within_std`."""
    between_std: float | None
    """Standard deviation of the prompts' means; null where no prompt has two rewards."""
    within_share: float | None
    """Part of the whole population variance that lies within prompts, 0 to 1; null where there is no variance."""
    flat: int
    """Prompts whose rewards are nearly equal: they span at most `flat_below`."""
    flat_share: float | None
    """`flat` / `judged`; null where `judged` is 0."""
    flat_low: float | None
    """Lower end of its 95 % interval; null where `judged` is 0."""
    flat_high: float | None
    """Upper end of its 95 % interval; null where `judged` is 0."""
    flat_below: float | None
    """The limit of `flat`, in reward units; null without a reward."""
    same_text: int
    """Prompts whose completions are all one text."""
    gains: dict[str, float] = Field(default_factory=dict)
    """N (2, 4, 8, … and all) → expected reward of the best of n completions minus the mean, in reward units; over
    the prompts with the most common number of completions, or more."""
    labels: PolicyLabels | None
    """What labels say; null where no completion has one."""
    reading: tuple[str, ...]
    """What this means for policy optimisation, in sentences."""
