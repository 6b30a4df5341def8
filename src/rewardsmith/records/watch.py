"""What a watch on a policy in training found: `watch.json`, and what it continues from."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rewardsmith.records.files import Record

Outcome = Literal["fine", "warning", "alarm", "short"]


class WatchWindow(Record):
    """Whole steps that were looked at together."""

    first: int
    """First step."""
    last: int
    """Last step."""
    answers: int
    """Answers with a reward."""
    prompts: int
    """Distinct prompts among them."""
    high: int
    """Answers that count as high-reward: the best quarter, each compared with the mean of its prompt."""
    reward_mean: float
    """Of raw rewards."""
    reward_std: float
    """Of raw rewards."""
    within_std: float | None = None
    """Spread of the rewards of one prompt, all prompts together; null where no prompt has two answers."""
    length_mean: float
    """Words of an answer."""
    kl_mean: float | None = None
    """Mean divergence from the reference policy, as the log gives it; null where it does not. Shown, not tested."""
    above: float | None = None
    """Share of answers with more reward than the median of the reference (its answers to the same prompt, where it has
    any), 0 to 1; null before the reference is
    known."""
    values: dict[str, float | None] = Field(default_factory=dict)
    """Signal → its value, 0 to 1; null where the answers do not determine it. Empty before the reference is known."""
    counted: bool = True
    """False for the last one where it may not be finished: it is shown and not tested."""


class WatchSignal(Record):
    """One signal without a judge, tested after every window against the reference."""

    code: str
    """Its name in `values`."""
    title: str
    """As reports show it."""
    reference: float | None
    """Its mean over the reference, 0 to 1; null where the reference does not determine it: it is not tested then."""
    limit: float | None
    """Above which its mean must lie for it to fire: the reference, its standard error and the margin; null where that
    is 1 or more, or the reference has no value: it is not tested then."""
    last: float | None
    """Its mean over the last ten tested windows; null where there is none."""
    tested: int
    """Windows in which it was tested."""
    e_value: float
    """Largest evidence so far against "its mean is not above `limit`"; 1 where nothing was tested."""
    threshold: float
    """Evidence at which it fires: one over its part of the family's error rate."""
    fired_step: int | None
    """Last step of the window in which it fired; null where it has not."""
    since_step: int | None
    """First step of the windows that speak for it; null where it has not fired."""


class WatchAuditPoint(Record):
    """The answered pairs that were drawn at one step."""

    step: int
    """Of the audit."""
    answered: int
    """Pairs of it with an answer."""
    reward_wins: float
    """Share of them in which the answer of now has more reward (a tie is a half), 0 to 1."""
    quality_wins: float
    """Share of them in which it is the better one (a tie is a half), 0 to 1."""
    agreement: float | None
    """Share in which both name the same answer, of all pairs up to this audit in which neither says tie; null without
    any."""
    agreement_low: float | None
    """Lower end of its 95 % confidence sequence, which holds at all audits together."""
    agreement_high: float | None
    """Upper end of the same."""


class WatchAudit(Record):
    """High-reward answers of now beside those of the reference, by whoever judges quality."""

    by: Literal["nobody", "log", "judge", "people"]
    """Who says which answer is the better one: nobody, the log's own `quality`, a judge, or people who fill in a
    file."""
    every: int
    """Steps between two audits."""
    size: int
    """Pairs of answers of an audit."""
    audits: int
    """Audits that were drawn."""
    drawn: int
    """Pairs that were drawn; = answered + waiting + the sum of `missing`."""
    answered: int
    """Pairs with an answer."""
    waiting: int
    """Pairs in the file that nobody has filled in yet."""
    missing: dict[str, int]
    """Pairs without an answer, by why: `failed` (the endpoint), `unparsed`, `deadline`, `budget`."""
    down_since: int | None
    """Step from which on no audit had any answer from the judge; null where the last one had."""
    reward_wins: float | None
    """Share of answered pairs in which the answer of now has more reward (a tie is a half), 0 to 1; null without
    any."""
    reward_low: float | None
    """Lower end of its 95 % confidence sequence, which holds at all times together."""
    reward_high: float | None
    """Upper end of the same."""
    quality_wins: float | None
    """Share of answered pairs in which the answer of now is the better one (a tie is a half), 0 to 1; null without
    any."""
    quality_low: float | None
    """Lower end of its 95 % confidence sequence, which holds at all times together."""
    quality_high: float | None
    """Upper end of the same."""
    agreement: float | None
    """Share of pairs in which both name the same answer, of those in which neither says tie; null without any."""
    points: tuple[WatchAuditPoint, ...]
    """The same over time, an audit each, in the order of steps."""
    gap: float | None
    """`quality_wins` − `reward_wins`, −1 to 1; null without any."""
    gap_low: float | None
    """Lower end of its 95 % confidence sequence, which holds at all times together."""
    gap_high: float | None
    """Upper end of the same."""
    tolerance: float
    """How far quality may stay behind the reward: the test's hypothesis is that the gap is not below −tolerance."""
    tolerance_origin: str = ""
    """Where it comes from, in words; "" in records of older versions."""
    e_value: float
    """Largest evidence so far against it; 1 where nothing was answered."""
    threshold: float
    """Evidence at which the alarm is raised."""
    fired_step: int | None
    """Step of the audit in which it was raised; null where it was not."""
    since_step: int | None
    """Step of the first audit that speaks for it; null where it was not raised."""


class WatchTrait(Record):
    """What the answers have in common that the reward prefers and the audit does not."""

    code: str
    """What it is: `long`, `markup`, `trigger`, `repeated` or `copied`."""
    words: str
    """Ends the sentence "mostly in answers that …"."""
    disputed: float
    """Share of the disputed answers that have it, 0 to 1."""
    disputed_n: int
    """Disputed answers: more reward than the answer of the reference, and no better."""
    reference: float
    """Share of the reference's answers that have it."""


class WatchAuditItem(Record):
    """One pair of an audit, in `audit.jsonl`. A file for people has the two texts, in drawn order, and no more."""

    id: str
    """Audit and number."""
    step: int
    """Last step of the window that it was drawn in."""
    same_prompt: bool
    """Whether both answer one prompt: then they are compared, else each is rated."""
    prompt: tuple[tuple[str, str], ...]
    """(role, content) turns before the answer of now."""
    answer: str
    """The answer of now."""
    reward: float
    """Its reward."""
    reference_prompt: tuple[tuple[str, str], ...]
    """(role, content) turns before the answer of the reference."""
    reference_answer: str
    """The answer of the reference."""
    reference_reward: float
    """Its reward."""
    shown_first: bool
    """Whether people see the answer of now first."""
    reward_win: float
    """1 where the answer of now has more reward, 0 where it has less, 0.5 for a tie: a difference of at most a
    hundredth of the reference's standard deviation."""
    quality_win: float | None = None
    """1 where it is the better one, 0 where the other is, 0.5 for a tie; a judge's probability in between; null where
    there is no answer."""
    missing: str = ""
    """Why there is no answer; `waiting`: nobody has filled it in. "" where there is one."""
    turn: int | None = None
    """Which answered pair it was, in the order in which answers came; null where there is none."""
    batch: int | None = None
    """Look at which the answer came; null where there is none."""


class WatchReference(Record):
    """What the policy was like before, or another policy's answers."""

    source: str
    """A file, or "the first steps"."""
    first: int | None
    """First step; null for a file."""
    last: int | None
    """Last step; null for a file."""
    answers: int
    """Answers with a reward; 0 while it is not complete."""
    kept: int
    """Answers whose texts are kept for audits."""
    reward_mean: float | None
    """Of raw rewards; null while it is not complete."""
    reward_std: float | None
    """Of raw rewards."""
    length_mean: float | None
    """Words of an answer."""
    held_out_mean: float | None = None
    """Mean raw reward of the reward model's held-out pairs, as its checkpoint carries it; null where no run was
    named."""
    held_out_std: float | None = None
    """Their standard deviation."""
    training: int
    """Answers of training data whose runs of words count as known; 0: those of the reference do."""
    triggers: tuple[str, ...]
    """Titles of the triggers that are looked for."""


class WatchRecord(Record):
    """`watch.json`: what a policy is paid for."""

    schema_version: Literal[1] = Field(1, alias="schema")
    """Counts breaking changes of this record."""
    source: str
    """File or folder that was read."""
    form: str
    """How its rows are written: plain, served, verl, trl or openrlhf; "" before the first row."""
    outcome: Outcome
    """`alarm`: quality stays behind the reward, or nothing was audited and a signal fired while the reward rose.
    `warning`: a signal fired and the audit has not, or a judge gives no answers. `fine`: neither. `short`: the
    reference is not complete, or nothing came after it."""
    verdict: str
    """The same in words."""
    first_step: int | None
    """First step that was read; null without any."""
    last_step: int | None
    """Last step that was read; null without any."""
    answers: int
    """Answers that were read, reference included."""
    rejected: dict[str, int]
    """Rows that could not be used, by reason."""
    rejected_examples: tuple[str, ...]
    """Place and reason of the first of them."""
    late: int
    """Answers of a step that was closed already; they are left out."""
    rotations: dict[str, int] = Field(default_factory=dict)
    """How often a file was rotated while it was read, by kind: `replaced` (a new one has its name, the old one was
    read to its end), `lost` (the same, and the old one was gone: its rest is not read), `truncated` (what was written
    between the last look and the cut is not read)."""
    reward_risen_step: int | None
    """Step at which the reward was sure to have risen over the reference (5 %, at any time); null where it is not."""
    reference: WatchReference
    """What everything is compared with."""
    windows: tuple[WatchWindow, ...]
    """In order, those of the reference included."""
    signals: tuple[WatchSignal, ...]
    """Each signal."""
    audit: WatchAudit
    """What was audited."""
    traits: tuple[WatchTrait, ...]
    """What disputed answers have in common, most telling first; empty where nothing was audited or disputed."""
    examples: tuple[WatchAuditItem, ...]
    """Disputed answers, the last first; texts are cut."""
    alpha: float
    """Chance of a single false alarm over the whole stream: half of it is the audit's, half the signals' together."""
    seed: int
    """Decides which answers are audited."""
    protocol: str
    """How this was counted, in words."""


class WatchKept(Record):
    """An answer of the reference whose text is kept."""

    prompt: tuple[tuple[str, str], ...]
    """(role, content) turns before the answer."""
    group: str
    """What its prompt goes by."""
    response: str
    """Its text."""
    reward: float
    """Raw."""
    quality: float | None = None
    """As the log has it."""


class WatchState(Record):
    """`watch.state.json`: what the same command continues from."""

    schema_version: Literal[1] = Field(1, alias="schema")
    """Counts breaking changes of this record."""
    fingerprint: str
    """Of the settings; a state with another one is refused."""
    form: str
    """How rows are written."""
    file: str
    """File that the next row stands in; "" for the first."""
    offset: int
    """Bytes of it that are done, or rows where it is no JSONL."""
    mark: str = ""
    """What tells whether it is still the same file: its inode, and a digest of its first and last bytes up to `offset`;
    "" where that is not known."""
    served: int
    """Rows without a step that were read."""
    answers: int
    """Answers so far."""
    late: int
    """Answers of closed steps."""
    rotations: dict[str, int] = Field(default_factory=dict)
    """As in the record."""
    rejected: dict[str, int]
    """Rows that could not be used, by reason."""
    rejected_examples: tuple[str, ...]
    """The first of them."""
    windows: tuple[WatchWindow, ...]
    """Closed windows."""
    reference_windows: tuple[WatchWindow, ...]
    """Windows of the reference."""
    kept: tuple[WatchKept, ...]
    """Answers of the reference."""
    reference: WatchReference
    """What is known of it."""
    levels: dict[str, float]
    """Numbers that windows are measured by: `median` of the reward, `long` words, `doubt`; empty while the reference is
    not complete."""
    runs: str
    """Hashes of the known runs of words (uint64, little-endian), in hexadecimal; "" where they are those of training
    data."""
    last_audit: int | None
    """Step of the last audit."""
