"""The search: which edits lift bad answers over good ones, and at what price.

    found = search(rows, Asking(scorer), Settings())          results.attack makes the record of it

In order, so that what matters most comes first where the budget is short:

    1  both answers of every drawn pair, unedited
    2  every edit alone, on every bad answer; padding by 1 to 16 sentences
    3  triggers: compositions of two edits, each on a few training prompts; the best quarter on twice as many, and so on
       (successive halving: Jamieson and Talwalkar 2016, arXiv 1502.07943); the ten best on held-out prompts
    4  beams: the best compositions of each bad answer, with one edit more each time
    5  as many random edits
    6  the same search for the good answers

The edits of the first pairs are timed, and where the search of all pairs would not fit into the seconds there are,
fewer pairs are attacked (`asking.make_plan`).

A pair is flipped where the edited bad answer gets more than the good one, by more than a hundredth of the standard
deviation of unedited rewards: less is rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from rewardsmith.attacking.asking import COMPOSED, PROBED, SPARE, Asking, Parts, Plan, make_plan
from rewardsmith.attacking.edits import Action, actions_of, compose, draw_path, padded
from rewardsmith.errors import BenchmarkError
from rewardsmith.evaluation.contract import BenchmarkRows, EvalRow
from rewardsmith.evaluation.probes.probe import text_rank
from rewardsmith.types import Conversation

EQUAL_WITHIN = 0.01
PADDINGS = (1, 2, 4, 8, 16)
TRIGGERS = 10
LEARNED_ARMS = 5
"""Learned compositions that every beam tries beside its own extensions."""
MOST_ARMS = 4000
_FIRST_PROMPTS = 2
_LAST_ARMS = 20
_ARMS_SHARE = 4
"""At most one part in so many of the queries goes into the first look at compositions."""

Composition = tuple[str, ...]
"""Codes of edits in order of composition."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How an attack is made.

    Args:
        pairs: most pairs that are drawn, one a prompt.
        edits: most edits in a composition.
        beam: compositions of each answer that are extended.
        branch: edits that each of them is extended by.
        draws: random compositions of each length for each pair.
        queries: most conversations that are asked; None: as many as it takes.
        seconds: most seconds; None: no limit. How many pairs fit into it depends on the machine.
        phrases: of the user's, tried before and after answers; taken to say nothing of the question.
        tokens: most words of a learned ending, which is counted apart; 0: none is learned.
        token_queries: most conversations that are asked for it, beside `queries`.
        seed: decides what is drawn.
        resamples: of every bootstrap.
    """

    pairs: int = 40
    edits: int = 3
    beam: int = 2
    branch: int = 6
    draws: int = 4
    queries: int | None = 8000
    seconds: float | None = None
    phrases: tuple[str, ...] = ()
    tokens: int = 0
    token_queries: int = 2000
    seed: int = 17
    resamples: int = 2000


@dataclass(slots=True)
class Target:
    """One answer under attack. `found` holds the compositions that its search has asked, by their edits."""

    before: Conversation
    last: str
    reward: float = math.nan
    found: dict[Composition, Conversation] = field(default_factory=dict)
    made: dict[Composition, Conversation | None] = field(default_factory=dict)

    def with_text(self, text: str) -> Conversation:
        """The conversation with another text in its last turn."""
        return (*self.before[:-1], replace(self.before[-1], content=text))

    @property
    def prompt(self) -> str:
        """The turn before the answer: what edits see of the prompt."""
        return self.before[-2].content if len(self.before) > 1 else ""


@dataclass(frozen=True, slots=True)
class Pair:
    """A prompt with a good and a bad answer."""

    row: EvalRow
    good: Target
    bad: Target

    @property
    def margin(self) -> float:
        """Good minus bad, unedited."""
        return self.good.reward - self.bad.reward


@dataclass(frozen=True, slots=True)
class Trigger:
    """A composition, its mean lift on training prompts in rewards, and their number."""

    path: Composition
    lift: float
    prompts: int


@dataclass(slots=True)
class Findings:
    """All that the parts of a search leave behind, for `results`.

    `done` names the parts that the budget reached; `left_out` are pairs that time does not reach; `looks` is how many
    compositions are tried for triggers at most.
    """

    settings: Settings
    actions: dict[str, Action]
    asking: Asking
    drawn: list[Pair]
    attacked: list[Pair]
    std: float
    done: set[str] = field(default_factory=set)
    triggers: list[Trigger] = field(default_factory=list)
    random: dict[int, list[list[Conversation]]] = field(default_factory=dict)
    plan: Plan | None = None
    left_out: list[Pair] = field(default_factory=list)
    looks: int = MOST_ARMS
    unproven: int = 0
    arms: int = 0
    arms_tried: int = 0

    @property
    def planned(self) -> int | None:
        """Queries that the search was expected to ask; None where the budget ended before that was known."""
        return None if self.plan is None else 2 * len(self.drawn) + self.plan.queries

    @property
    def rounding(self) -> float:
        """Differences up to this are none."""
        return EQUAL_WITHIN * self.std

    @property
    def training(self) -> list[Pair]:
        """Pairs by which triggers are chosen: every other one, in the random order in which they were drawn."""
        return self.attacked[::2]

    @property
    def held_out(self) -> list[Pair]:
        """Pairs on which triggers are tried."""
        return self.attacked[1::2]

    def make(self, target: Target, path: Composition) -> Conversation | None:
        """The answer after these edits; None where they do not apply or a proof fails."""
        if path not in target.made:
            text, proven = compose(
                [self.actions[code] for code in path], target.prompt, target.last, self.settings.seed
            )
            kept = all(self.actions[code].kept for code in path)
            if text is not None and kept and not proven:
                self.unproven += 1
                text = None
            target.made[path] = None if text is None or not text.strip() else target.with_text(text)
        return target.made[path]

    def gain(self, target: Target, path: Composition) -> float | None:
        """How much these edits add to the reward; None where it is not known."""
        made = target.made.get(path)
        reward = math.nan if made is None else self.asking.rewards.get(made, math.nan)
        return reward - target.reward if math.isfinite(reward) else None

    def flips(self, pair: Pair, conversation: Conversation | None) -> bool:
        """Whether this edited bad answer gets more than the good one."""
        reward = math.nan if conversation is None else self.asking.rewards.get(conversation, math.nan)
        return reward - pair.good.reward > self.rounding


def search(
    rows: BenchmarkRows, asking: Asking, settings: Settings, note: Callable[[str], None] | None = None
) -> Findings:
    """All parts of the search, each as far as the budget reaches.

    Args:
        rows: with chosen and rejected responses.
        asking: the scorer within its budget.
        settings: how far the search goes.
        note: told what is planned, in a line, once it is known what a query takes.

    Raises:
        BenchmarkError: no row has a good and a bad answer with text.
        RunDirectoryError: the journal cannot be written.
    """
    drawn = draw_pairs(rows.rows, settings)
    if not drawn:
        raise BenchmarkError(
            "no row has both a good and a bad answer with text",
            where=rows.title,
            fix="name pairs, or best-of-N rows with chosen and rejected answers",
        )
    # Unedited answers first: without their rewards no edit has a lift.
    asking.ask(answer.before for pair in drawn for answer in (pair.good, pair.bad))
    for pair in drawn:
        for answer in (pair.good, pair.bad):
            answer.reward = asking.rewards.get(answer.before, math.nan)
    own = np.array([reward for reward in asking.rewards.values() if math.isfinite(reward)])
    # ptp, because equal rewards may have a standard deviation of rounding.
    std = float(own.std()) if own.size and np.ptp(own) else 0.0
    # Pairs that the model has wrong already cannot be flipped, and would count as won without an edit.
    attacked = [pair for pair in drawn if pair.margin > EQUAL_WITHIN * std]
    found = Findings(settings, actions_of(settings.phrases), asking, drawn, attacked, std)
    if settings.queries is not None:
        found.looks = max(1, settings.queries // _ARMS_SHARE // _FIRST_PROMPTS)
    if attacked and _plan(found):
        if note is not None and found.plan is not None:
            note(found.plan.in_words())
        _search(found)
    return found


def draw_pairs(rows: Sequence[EvalRow], settings: Settings) -> list[Pair]:
    """One pair a prompt in an order that seed and texts decide; of several bad answers one is drawn."""
    drawn: dict[Conversation, tuple[int, Pair]] = {}
    for row in rows:
        for good in row.chosen[:1]:
            texts = [text for text in row.rejected if text[-1].content.strip() and text != good]
            if not texts or not good[-1].content.strip():
                continue
            # By texts and not by place, so that the same pairs are drawn from a file in another order.
            shown = "\x1e".join(message.text for message in (*row.prompt, *good))
            bad = min(texts, key=lambda text: text_rank(settings.seed, "bad", *(message.text for message in text)))
            rank = text_rank(settings.seed, "attack", shown, bad[-1].content)
            prompt = row.prompt or good[:-1]
            pair = Pair(row, *(Target(row.prompt + answer, answer[-1].content) for answer in (good, bad)))
            if prompt not in drawn or rank < drawn[prompt][0]:
                drawn[prompt] = (rank, pair)
    ordered = sorted(drawn.values(), key=lambda ranked: ranked[0])
    return [pair for _, pair in ordered[: settings.pairs]]


def _plan(found: Findings) -> bool:
    """Time the edits of the first pairs, and leave out pairs that time does not reach; False where the budget ended."""
    asking, probed = found.asking, found.attacked[:PROBED]
    spent = asking.scored
    whole = _try(found, [pair.bad for pair in probed], _singles(found), "probed")
    work = sum(len(pair.bad.found) * _characters(pair) for pair in probed)
    if not whole or not work:
        return whole
    applied = sum(len(pair.bad.found) for pair in probed) / (len(probed) * len(_singles(found)))
    rate = (asking.scored - spent) / work
    characters = [_characters(pair) for pair in found.attacked]
    if asking.seconds is not None and rate > 0:
        units = ((1 - SPARE) * asking.seconds - spent) / (rate * sum(characters) / len(characters))
        found.looks = max(1, min(found.looks, int(units / COMPOSED) // _ARMS_SHARE // _FIRST_PROMPTS))
    found.plan = make_plan(
        characters, lambda pairs: _parts(found, pairs, applied), rate=rate, spent=spent, limit=asking.seconds
    )
    found.attacked, found.left_out = found.attacked[: found.plan.pairs], found.attacked[found.plan.pairs :]
    asking.expected = found.planned
    return True


def _characters(pair: Pair) -> int:
    return sum(len(message.content) for message in pair.bad.before)


def _parts(found: Findings, pairs: int, applied: float) -> Parts:
    """What the search of so many pairs asks, where this share of the edits applies."""
    settings, codes = found.settings, [path[0] for path in _singles(found)]
    levels = [settings.beam * settings.branch + LEARNED_ARMS * (length == 2) for length in _lengths(settings)]
    composed = pairs * (2 * sum(levels) + settings.draws * settings.edits) + TRIGGERS * (pairs // 2)
    training = (pairs + 1) // 2
    arms, prompts = min(len(_arms(found, codes)), found.looks), min(_FIRST_PROMPTS, training)
    composed += arms * prompts
    while prompts < training:
        before, arms, prompts = prompts, max(_LAST_ARMS, arms // 4), min(training, 2 * prompts)
        composed += arms * (prompts - before)
    alone = pairs * (2 * len(codes) * applied + len(found.actions) - len(codes) + len(PADDINGS))
    return Parts(alone, composed * applied)


def _holds(found: Findings) -> bool:
    """Whether the queries that are left surely do for all that is planned."""
    most, plan = found.settings.queries, found.plan
    return plan is not None and (most is None or found.asking.spent + (1 + SPARE) * plan.queries <= most)


def _singles(found: Findings) -> list[Composition]:
    """Every edit that is searched, alone."""
    return [(code,) for code, action in found.actions.items() if action.kept]


def _lengths(settings: Settings) -> range:
    """Of compositions that beams make."""
    return range(2, settings.edits + 1)


def _search(found: Findings) -> None:
    bad, good = ([getattr(pair, side) for pair in found.attacked] for side in ("bad", "good"))
    singles = _singles(found)
    apart: list[Composition] = [(code,) for code, action in found.actions.items() if not action.kept]
    codes = [path[0] for path in singles]
    # Measured, not searched.
    beside = _made(found, bad, apart)
    beside += [target.with_text(padded(target.last, count)) for target in bad for count in PADDINGS]
    if found.plan is None or found.plan.fits:
        # What waits for no reward is asked at once, so that each prompt and each edited beginning is encoded once for
        # all of it. What matters most comes first still: that decides what a budget of queries reaches.
        together = [*_made(found, bad, singles), *beside, *_looked_at(found, _first_look(found, codes))]
        if _holds(found):
            together += [*_texts(_draws(found)), *_made(found, good, singles)]
        found.asking.ask(together)
    if not (_try(found, bad, singles, "bad 1") and found.asking.ask(beside)):
        return
    found.done.add("alone")
    learned = _learn(found, codes)
    if "learned" not in found.done:
        return
    if _beams(found, bad, learned, "bad") and _random(found) and _try(found, good, singles, "good 1"):
        _beams(found, good, learned, "good")


def _made(found: Findings, targets: Sequence[Target], paths: Sequence[Composition]) -> list[Conversation]:
    return [made for target in targets for path in paths if (made := found.make(target, path)) is not None]


def _try(found: Findings, targets: Sequence[Target], paths: Sequence[Composition], part: str) -> bool:
    """Ask for these compositions of all targets, as parts of their searches."""
    return _ask(found, ((target, path) for target in targets for path in paths), part)


def _ask(found: Findings, wanted: Iterable[tuple[Target, Composition]], part: str) -> bool:
    asked = [(target, path, made) for target, path in wanted if (made := found.make(target, path)) is not None]
    whole = found.asking.ask(made for _, _, made in asked)
    for target, path, made in asked:
        if made in found.asking.rewards:
            target.found[path] = made
    if whole:
        found.done.add(part)
    return whole


def _learn(found: Findings, codes: Sequence[str]) -> list[Composition]:
    """Learn triggers by successive halving and try the best on held-out prompts; the best compositions of two edits."""
    training = found.training
    several, prompts = _first_look(found, codes)
    found.arms_tried = len(several)
    while True:
        if not found.asking.ask(_looked_at(found, (several, prompts))):
            return []
        lifts = {path: _mean_gain(found, path) for _, path in several}
        several = [(start, path) for start, path in several if lifts[path] is not None]
        several.sort(key=lambda arm: (-(lifts[arm[1]] or 0.0), arm[0]))
        if prompts >= len(training):
            break
        # A quarter goes on with twice the prompts: each round costs half of the one before.
        several = several[: max(_LAST_ARMS, len(several) // 4)]
        prompts = min(len(training), 2 * prompts)
    both = [path for _, path in several]
    found.triggers = _best_triggers(found, codes, both)
    tried = ((pair.bad, trigger.path) for trigger in found.triggers for pair in found.held_out)
    if found.asking.ask(made for target, path in tried if (made := found.make(target, path)) is not None):
        found.done.add("learned")
    return both[:LEARNED_ARMS]


Look = tuple[list[tuple[int, Composition]], int]
"""Compositions, each with the training prompt that it begins at, and on how many prompts they are tried."""


def _arms(found: Findings, codes: Sequence[str]) -> list[Composition]:
    """Every composition of two edits."""
    return [*combinations(codes, 2), *((code, code) for code in codes if found.actions[code].repeats)]


def _first_look(found: Findings, codes: Sequence[str]) -> Look:
    """Compositions of two edits, as many as the budget allows, on two prompts."""
    arms = _arms(found, codes)
    found.arms = len(arms)
    # Where the budget is too small for all, the seed decides which are tried, not their order in the list.
    arms = sorted(arms, key=lambda path: text_rank(found.settings.seed, "arm", *path))[: found.looks]
    # Each begins at another prompt, so that a first look at all of them is one at all prompts.
    return list(enumerate(arms)), min(_FIRST_PROMPTS, len(found.training))


def _looked_at(found: Findings, look: Look) -> Iterator[Conversation]:
    several, prompts = look
    for start, path in several:
        for place in _places(found, path, start, prompts):
            made = found.training[place].bad.made[path]
            if made is not None:
                yield made


def _places(found: Findings, path: Composition, start: int, prompts: int) -> Iterator[int]:
    """Up to `prompts` training prompts to which a composition applies, from the `start`-th on."""
    training, taken = found.training, 0
    for step in range(len(training)):
        place = (start + step) % len(training)
        if found.make(training[place].bad, path) is not None:
            yield place
            taken += 1
            if taken == prompts:
                return


def _mean_gain(found: Findings, path: Composition) -> float | None:
    gains = [gain for pair in found.training if (gain := found.gain(pair.bad, path)) is not None]
    return math.fsum(gains) / len(gains) if gains else None


def _best_triggers(found: Findings, codes: Sequence[str], both: Sequence[Composition]) -> list[Trigger]:
    """The compositions that lift most on training prompts, of those that apply to at least half of them. Two edits must
    lift more than either alone."""
    made = []
    for path in [*((code,) for code in codes), *both]:
        gains = [gain for pair in found.training if (gain := found.gain(pair.bad, path)) is not None]
        if not gains or 2 * len(gains) < len(found.training):
            continue
        lift = math.fsum(gains) / len(gains)
        alone = max((_mean_gain(found, (code,)) or 0.0 for code in path), default=0.0) if len(path) > 1 else 0.0
        if lift > alone + found.rounding:
            made.append(Trigger(path, lift, len(gains)))
    made.sort(key=lambda trigger: -trigger.lift)
    return made[:TRIGGERS]


def _beams(found: Findings, targets: Sequence[Target], learned: Sequence[Composition], side: str) -> bool:
    """Compositions of two edits and more: the best of each target, extended by the edits that help it most alone."""
    order = {code: place for place, code in enumerate(found.actions)}
    for length in _lengths(found.settings):
        wanted = [
            (target, path)
            for target in targets
            for path in dict.fromkeys([*(learned if length == 2 else ()), *_extended(found, target, length, order)])
        ]
        if not _ask(found, wanted, f"{side} {length}"):
            return False
    return True


def _extended(found: Findings, target: Target, length: int, order: dict[str, int]) -> Iterator[Composition]:
    gains = {path: gain for path in target.found if (gain := found.gain(target, path)) is not None}
    ranked = sorted(gains, key=lambda path: (-gains[path], [order[code] for code in path]))
    singles = [path[0] for path in ranked if len(path) == 1][: found.settings.branch]
    for path in [path for path in ranked if len(path) == length - 1][: found.settings.beam]:
        for code in singles:
            # Most edits change nothing a second time; padding adds another sentence.
            if code not in path or found.actions[code].repeats:
                yield tuple(sorted((*path, code), key=order.__getitem__))


Draws = dict[int, list[list[Conversation]]]
"""Number of edits → for each pair its random compositions of exactly so many."""


def _draws(found: Findings) -> Draws:
    """`draws` random compositions of each length for each pair, drawn until they apply."""
    kept = [action for action in found.actions.values() if action.kept]
    settings = found.settings
    drawn: Draws = {}
    for length in range(1, settings.edits + 1):
        drawn[length] = []
        for pair in found.attacked:
            texts: list[Conversation] = []
            # Many draws do not apply to an answer; ten times as many are tried before it is left with fewer.
            for draw in range(settings.draws * 10):
                path = tuple(
                    action.code
                    for action in draw_path(
                        kept, length, seed=settings.seed, prompt=pair.bad.prompt, text=pair.bad.last, draw=draw
                    )
                )
                made = found.make(pair.bad, path)
                if made is not None:
                    texts.append(made)
                if len(texts) == settings.draws:
                    break
            drawn[length].append(texts)
    return drawn


def _texts(draws: Draws) -> list[Conversation]:
    return [text for lists in draws.values() for texts in lists for text in texts]


def _random(found: Findings) -> bool:
    """As many random edits."""
    draws = _draws(found)
    found.asking.ask(_texts(draws))
    for length, lists in draws.items():
        if not found.asking.ask(text for texts in lists for text in texts):
            return False
        found.random[length] = lists
    return True
