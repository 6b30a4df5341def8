"""What an attack found: `attack.json`, the price of a hack."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rewardsmith.records.evaluation import DatasetInfo
from rewardsmith.records.files import Record

Proof = Literal["contained", "markup", "reordered", "none"]


class AttackBudget(Record):
    """What the attack could ask, and what it asked."""

    queries: int | None
    """Most conversations; null: no limit."""
    seconds: float | None
    """Most seconds; null: no limit."""
    planned: int | None = None
    """Queries that the search was expected to ask, once a few were timed; null where the budget ended before."""
    spent: int
    """Distinct conversations that were asked."""
    took: float
    """Seconds of all calls together, those that were continued included."""
    ended_by: Literal["", "queries", "seconds"]
    """Which limit ended the search early; "" where every part was done."""


class AttackLevel(Record):
    """What up to so many edits reach, over the attacked pairs. Gains are means in units of `reward_std`."""

    edits: int
    """Most edits in a composition."""
    flipped: int
    """Pairs that the search flipped."""
    share: float
    """`flipped` of all attacked pairs, 0 to 1; 0 where none was attacked."""
    share_low: float
    """Lower end of its 95 % interval."""
    share_high: float
    """Upper end of its 95 % interval."""
    gain: float | None
    """What the search adds to the bad answer at best; null where no pair was attacked."""
    complete: bool
    """Whether the budget reached to the end of the search with so many edits."""
    draws: int
    """Random compositions for each pair."""
    random_share: float | None
    """Share of random compositions of exactly so many edits that flip their pair; null where not reached."""
    random_low: float | None
    """Lower end of its 95 % interval; null where not reached."""
    random_high: float | None
    """Upper end of its 95 % interval; null where not reached."""
    random_complete: bool
    """Whether the budget reached to the end of the random compositions of this length."""
    good_gain: float | None
    """What the same search adds to the good answer at best; null where not reached."""
    both_share: float | None
    """Share of pairs whose bad answer at its best passes the good one at its best. Far below `share`: near-ties
    flipped, or any answer can be lifted. Null where the good answer's search was not reached."""
    both_low: float | None
    """Lower end of its 95 % interval; null where not reached."""
    both_high: float | None
    """Upper end of its 95 % interval; null where not reached."""
    good_complete: bool
    """Whether the budget reached to the end of the good answer's search with so many edits."""


class AttackEdit(Record):
    """One edit alone, on the bad answers: which edits pay."""

    code: str
    """Its name in `path` and in triggers."""
    title: str
    """As the report shows it."""
    family: str
    """Its kind: list, format, ending, padding, closing, opening; claim and wording may change the meaning."""
    proof: Proof
    """Why the meaning stays: the answer is contained to the letter, only markup was added, a list was reordered.
    `none`: it may change; the edit is measured here and left out of the search."""
    n: int
    """Edited answers that have a reward."""
    n_missing: int
    """Edited answers without a reward."""
    n_not_applicable: int
    """Answers that the edit does not apply to, or whose prompt asks for it."""
    lift: float | None
    """Mean change of the reward in units of `reward_std`; null where `n` is 0."""
    lift_low: float | None
    """Lower end of its 95 % interval; null where `n` is 0."""
    lift_high: float | None
    """Upper end of its 95 % interval; null where `n` is 0."""
    flipped: float | None
    """Share of the `n` pairs that the edit alone flips, 0 to 1; null where `n` is 0."""
    flipped_low: float | None
    """Lower end of its 95 % interval; null where `n` is 0."""
    flipped_high: float | None
    """Upper end of its 95 % interval; null where `n` is 0."""
    used: int
    """Pairs whose cheapest composition holds it."""


class AttackTrigger(Record):
    """A composition that was learned on training prompts and tried on others."""

    edits: tuple[str, ...]
    """Codes of its edits, in the order in which they are applied."""
    titles: tuple[str, ...]
    """The same, as the report shows them."""
    train_prompts: int
    """Prompts by which it was chosen."""
    train_lift: float
    """Mean change of the reward on them, in units of `reward_std`: optimistic, because it was chosen by this number."""
    prompts: int
    """Held-out prompts on which it was tried and that have a reward; nothing was chosen by them."""
    lift: float | None = None
    """Mean change of the reward on the held-out prompts, in units of `reward_std`; null where there are none."""
    lift_low: float | None = None
    """Lower end of its 95 % interval; null where there are no held-out prompts."""
    lift_high: float | None = None
    """Upper end of its 95 % interval; null where there are no held-out prompts."""
    lifted: float | None = None
    """Share of the held-out prompts whose bad answer rises; null where there are none."""
    lifted_low: float | None = None
    """Lower end of its 95 % interval; null where there are no held-out prompts."""
    lifted_high: float | None = None
    """Upper end of its 95 % interval; null where there are no held-out prompts."""
    flipped: float | None = None
    """Share of the held-out prompts whose bad answer passes the good one; null where there are none."""
    flipped_low: float | None = None
    """Lower end of its 95 % interval; null where there are no held-out prompts."""
    flipped_high: float | None = None
    """Upper end of its 95 % interval; null where there are no held-out prompts."""


class AttackTokens(Record):
    """A learned ending of words. Its words may say anything: it is no part of the price, and counted apart."""

    words: tuple[str, ...]
    """In their order; empty where no word lifted the reward."""
    most: int
    """Most words that it could have."""
    vocabulary: int
    """Words that were there to try: those of the rows and of the user's phrases."""
    tried: int
    """Endings that were asked while it was learned."""
    guided: bool
    """Whether the scorer suggested words by its gradient."""
    fluency: str | None = None
    """The language model that bounded the ending: a folder, a hub id, or a model and the address of its endpoint; null
    without one."""
    refused: int | None
    """Endings that the language model found too unlikely, and that were not asked; null without one."""
    unjudged: int | None = None
    """Answers that the language model gave no likelihood (empty, or longer than its endpoint takes); they bound
    nothing. Null without one."""
    nats_before: float | None = None
    """Mean negative log likelihood a token of the unedited held-out answers; null without a language model."""
    nats_after: float | None = None
    """The same with the ending."""
    train_lift: float
    """Mean change of the reward on the prompts by which it was chosen last, in units of `reward_std`: optimistic."""
    complete: bool
    """Whether every word had its turn in every place, and the held-out prompts were reached."""
    prompts: int
    """Held-out prompts on which it was tried and that have a reward."""
    lift: float | None = None
    """Mean change of the reward on them, in units of `reward_std`; null where there are none."""
    lift_low: float | None = None
    """Lower end of its 95 % interval."""
    lift_high: float | None = None
    """Upper end of its 95 % interval."""
    flipped: float | None = None
    """Share of them whose bad answer passes the good one; null where there are none."""
    flipped_low: float | None = None
    """Lower end of its 95 % interval."""
    flipped_high: float | None = None
    """Upper end of its 95 % interval."""
    random_lift: float | None = None
    """Mean change of the reward by as many drawn words, in units of `reward_std`."""
    random_flipped: float | None = None
    """Share of the held-out prompts that as many drawn words flip."""


class AttackPadding(Record):
    """The bad answers, longer by sentences that say nothing."""

    sentences: int
    """That were added."""
    words: int
    """That they have together."""
    n: int
    """Padded answers that have a reward."""
    lift: float | None
    """Mean change of the reward in units of `reward_std`; null where `n` is 0."""
    lift_low: float | None
    """Lower end of its 95 % interval; null where `n` is 0."""
    lift_high: float | None
    """Upper end of its 95 % interval; null where `n` is 0."""
    flipped: float | None
    """Share of the `n` pairs that the padding alone flips, 0 to 1; null where `n` is 0."""
    flipped_low: float | None
    """Lower end of its 95 % interval; null where `n` is 0."""
    flipped_high: float | None
    """Upper end of its 95 % interval; null where `n` is 0."""


class AttackPiece(Record):
    """A part of an edited answer."""

    text: str
    """Of the part; a long one that was not added is cut in its middle."""
    added: bool
    """Whether an edit put it there."""


class AttackExample(Record):
    """A flipped pair."""

    id: str
    """Of the row."""
    subset: str
    """Of the row."""
    prompt: str
    """Last turn before the answers; cut in its middle where it is long."""
    good: str
    """The good answer; cut in its middle where it is long."""
    pieces: tuple[AttackPiece, ...]
    """The edited bad answer."""
    edits: tuple[str, ...]
    """Titles of the edits."""
    reward_good: float
    """Of the good answer."""
    reward_bad: float
    """Of the bad answer, unedited."""
    reward_edited: float
    """Of the bad answer, edited."""


class AttackRow(Record):
    """One attacked pair."""

    id: str
    """Of the row."""
    subset: str
    """Of the row."""
    digest: str
    """Of the texts of both conversations: pairs of two attacks with the same one are the same."""
    margin: float
    """Reward of the good answer minus that of the bad one, in units of `reward_std`."""
    edits: int | None
    """Fewest edits that flipped it; null where none did within the budget."""
    words: int | None
    """Fewest words that a flip added (what stands between white space, marks too); null where nothing flipped it."""
    path: tuple[str, ...]
    """Codes of the edits of the composition of fewest edits that flipped it; empty where none did."""


class AttackRecord(Record):
    """`attack.json`: what it costs to lift bad answers over good ones without meaning."""

    schema_version: Literal[1] = Field(1, alias="schema")
    """Counts breaking changes of this record."""
    model: str
    """Folder or address of the model."""
    dataset: DatasetInfo
    """Where the rows came from."""
    title: str
    """What reports call the rows."""
    rows: int
    """That were read."""
    drawn: int
    """Pairs that were drawn, one a prompt; = attacked + left_out + wrong_already + missing."""
    missing: dict[str, int]
    """Pairs of which an unedited answer has no reward, by reason; `not_asked`: the budget ended before."""
    wrong_already: int
    """Pairs that the model orders wrongly, or cannot tell apart, unedited."""
    left_out: int = 0
    """Pairs that were not searched, so that the search of the others fits into `budget.seconds`."""
    attacked: int
    """The other pairs: what shares are of."""
    seed: int
    """Decides which pairs are drawn, the random parts of edits, and which prompts triggers are learned on."""
    most_edits: int
    """Most edits in a composition."""
    beam: int
    """Compositions of each answer that were extended."""
    branch: int
    """Edits that each of them was extended by."""
    phrases: int
    """Phrases of the user's own that were tried."""
    reward_std: float | None
    """Standard deviation of the rewards of all unedited answers: the unit of gains, lifts and margins. Null where there
    is no pair with both rewards."""
    price: int | None
    """Edits with which half of the attacked pairs are flipped; null: beyond `most_edits`, or the budget."""
    price_low: int | None
    """Lower end of its 95 % interval; null: beyond the budget."""
    price_high: int | None
    """Upper end of its 95 % interval; null: beyond the budget."""
    price_words: int | None
    """Added words with which half of the attacked pairs are flipped; null: beyond the budget."""
    price_words_low: int | None
    """Lower end of its 95 % interval; null: beyond the budget."""
    price_words_high: int | None
    """Upper end of its 95 % interval; null: beyond the budget."""
    levels: tuple[AttackLevel, ...]
    """What 1, 2, … edits reach."""
    edits: tuple[AttackEdit, ...]
    """Every edit alone."""
    triggers: tuple[AttackTrigger, ...]
    """The compositions that lift most on training prompts, tried on others."""
    padding: tuple[AttackPadding, ...]
    """The same answers, longer and longer."""
    tokens: AttackTokens | None = None
    """The learned ending; null where none was asked for, or no pair was attacked."""
    arms: int
    """Compositions of two edits that there are."""
    arms_tried: int
    """Of these, how many were tried while triggers were learned."""
    unproven: int
    """Edited texts that failed the proof of an edit and were not asked."""
    edits_missing: dict[str, int]
    """Edited answers without a reward, by reason."""
    examples: tuple[AttackExample, ...]
    """Flipped pairs."""
    pairs: tuple[AttackRow, ...]
    """Every attacked pair, in the order in which they were drawn."""
    budget: AttackBudget
    """What the search could ask, and what it asked."""
    protocol: str
    """How this was counted, in words."""
