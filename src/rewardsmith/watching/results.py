"""From a watcher to its record: what fired, in which answers, and the verdict in words.

    record = record_of(watcher, source="rollouts.jsonl", form="plain", by="judge")

An alarm is the audit's. Where nothing was audited, nobody knows the quality: then a signal that fires while the reward
rises is one, because a stream that nobody looks into should not pass on its reward alone. With an audit at work a
signal is a warning: answers may change for good reasons.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from rewardsmith.records.watch import (
    Outcome,
    WatchAudit,
    WatchAuditItem,
    WatchRecord,
    WatchSignal,
    WatchTrait,
    WatchWindow,
)
from rewardsmith.watching.evidence import (
    ALPHA,
    RISE,
    SURE,
    audit_evidence,
    reward_risen,
    signal_evidence,
)
from rewardsmith.watching.watcher import EXAMPLES, Watcher
from rewardsmith.watching.windows import ALIKE, HIGH, RUN, SIGNALS, Trigger, marks, near_duplicates, repetition, words

WATCH_FILE = "watch.json"
By = Literal["nobody", "log", "judge", "people"]
PROTOCOL = (
    f"Windows are whole steps with enough answers. High-reward answers are the best {100 * HIGH:.0f} % of a window, "
    "rewards less the mean of their prompt. An audit pairs the best paid of equally many answers of now and of the "
    "reference, to one prompt where both have it. Its hypothesis: given all before, answers of now win by quality at "
    "most the tolerance less often than by reward. A signal's hypothesis: given all before, its mean is at most the "
    f"reference's mean + {SURE} standard errors + its margin (not tested where that is 1). Evidence is the wealth of "
    "bets against a hypothesis, mixed over all times to begin (Waudby-Smith and Ramdas 2024; Shin, Ramdas and Rinaldo "
    f"2024): it may be looked at any time. The chance of any false alarm is {100 * ALPHA:.0f} % over the whole stream: "
    "half the audit's, half shared equally by the signals. The reward has risen where the share of answers above the "
    "reference's median (for their own prompt, where it has answers to it) is sure (5 %) to exceed "
    f"{0.5 + RISE}. Near-duplicates: {100 * ALIKE:.0f} % of MinHash slots of runs of {RUN} words. Intervals are "
    "confidence sequences: 95 % at all times together."
)

_TELLING = 0.2
_REPEATED = 0.2
_CUT = 1200
_LEAST_DISPUTED = 5


def record_of(
    watcher: Watcher,
    *,
    source: str,
    form: str,
    by: By,
    triggers: Sequence[Trigger] = (),
    rotations: Mapping[str, int] | None = None,
    tolerance_origin: str = "",
    last: bool = False,
) -> WatchRecord:
    """Everything that is known now.

    Args:
        watcher: with what it has seen.
        source: file or folder of the stream.
        form: of its rows.
        by: who audits.
        triggers: that are looked for.
        rotations: of the stream's files, by kind.
        tolerance_origin: where the tolerance of the settings comes from, in words.
        last: whether the window that is open is shown as well.
    """
    settings = watcher.settings
    tested = watcher.tested
    audit = audit_evidence(watcher.items, by=by, every=settings.every, size=settings.size, tolerance=settings.tolerance)
    audit = audit.model_copy(update={"tolerance_origin": tolerance_origin})
    signals = signal_evidence(watcher.reference_windows, tested)
    risen = reward_risen(tested)
    disputed = [one for one in watcher.items if one.turn is not None and one.reward_win == 1 and _not_better(one)]
    traits = _traits(watcher, disputed, triggers)
    outcome, verdict = _verdict(watcher, tested, signals, audit, traits, risen)
    open_window = watcher.unfinished() if last else None
    windows = (*watcher.windows, *([open_window] if open_window else []))
    return WatchRecord(
        source=source,
        form=form,
        outcome=outcome,
        verdict=verdict,
        first_step=windows[0].first if windows else None,
        last_step=windows[-1].last if windows else None,
        answers=watcher.answers,
        rejected=dict(sorted(watcher.rejected.items())),
        rejected_examples=tuple(watcher.examples),
        late=watcher.late,
        rotations=dict(sorted((rotations or {}).items())),
        reward_risen_step=risen,
        reference=watcher.reference,
        windows=windows,
        signals=signals,
        audit=audit,
        traits=traits,
        examples=tuple(_shown(one) for one in disputed[::-1][:EXAMPLES]),
        alpha=ALPHA,
        seed=settings.seed,
        protocol=PROTOCOL,
    )


def _not_better(item: WatchAuditItem) -> bool:
    # A tie is disputed as well: the reward saw a difference where quality has none.
    return item.quality_win is not None and item.quality_win <= 0.5


def _shown(item: WatchAuditItem) -> WatchAuditItem:
    """An example with its texts cut."""

    def turns(said: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        return tuple((role, content[:_CUT]) for role, content in said[-2:])

    return item.model_copy(
        update={
            "prompt": turns(item.prompt),
            "reference_prompt": turns(item.reference_prompt),
            "answer": item.answer[:_CUT],
            "reference_answer": item.reference_answer[:_CUT],
        }
    )


def _traits(
    watcher: Watcher, disputed: Sequence[WatchAuditItem], triggers: Sequence[Trigger]
) -> tuple[WatchTrait, ...]:
    """What disputed answers have much more often than those of the reference."""
    if len(disputed) < _LEAST_DISPUTED:
        return ()
    mine, theirs = [one.answer for one in disputed], [one.response for one in watcher.kept]
    long = watcher.levels["long"]
    found: list[tuple[str, str, Callable[[list[str]], ArrayLike]]] = [
        ("long", f"are longer than {long:,.0f} words", lambda texts: [words(text) > long for text in texts]),
        ("markup", "have markup", lambda texts: [marks(text) > 0 for text in texts]),
        ("repeated", "repeat themselves", lambda texts: repetition(texts) > _REPEATED),
    ]
    hits = Counter(one.title for text in mine for one in triggers if one.pattern.search(text))
    if hits:
        title = hits.most_common(1)[0][0]
        pattern = next(one.pattern for one in triggers if one.title == title)
        told = f"have the trigger “{title}”"
        found.append(("trigger", told, lambda texts: [pattern.search(text) is not None for text in texts]))
    traits = [
        WatchTrait(
            code=code,
            words=told,
            disputed=float(np.asarray(has(mine), dtype=np.float64).mean()),
            disputed_n=len(mine),
            reference=float(np.asarray(has(theirs), dtype=np.float64).mean()),
        )
        for code, told, has in found
    ]
    copies = near_duplicates(mine, _numbers([_key(one) for one in disputed]))
    before = near_duplicates(theirs, _numbers([one.group for one in watcher.kept]))
    if copies is not None:
        told = "nearly equal answers to other prompts"
        traits.append(
            WatchTrait(code="copied", words=told, disputed=copies, disputed_n=len(mine), reference=before or 0.0)
        )
    telling = [one for one in traits if one.disputed - one.reference >= _TELLING]
    return tuple(sorted(telling, key=lambda one: one.reference - one.disputed))


def _key(item: WatchAuditItem) -> str:
    return "\n".join(content for _, content in item.prompt)


def _numbers(names: Sequence[str]) -> list[int]:
    places = {name: place for place, name in enumerate(dict.fromkeys(names))}
    return [places[name] for name in names]


def _verdict(
    watcher: Watcher,
    tested: Sequence[WatchWindow],
    signals: Sequence[WatchSignal],
    audit: WatchAudit,
    traits: Sequence[WatchTrait],
    risen: int | None,
) -> tuple[Outcome, str]:
    """The outcome, and a few sentences that say it."""
    if not tested:
        return "short", _too_short(watcher)
    fired = [one for one in signals if one.fired_step is not None]
    told = "; ".join(f"{SIGNALS[one.code].rises} (since step {one.since_step:,})" for one in fired)
    rise = f"The reward has risen since step {risen:,}" if risen is not None else "The reward has not risen for sure"
    if audit.fired_step is not None:
        return "alarm", _alarm(audit, traits, risen) + (f" Signals that fired: {told}." if told else "")
    if not audit.answered:
        why = "the judge gave no answer" if audit.missing else "no audit has an answer yet"
        why = why if audit.drawn else "nothing is audited"
        unknown = f"Quality is not known ({why})."
        if fired and risen is not None:
            return "alarm", f"{rise}, and {told}. {unknown}"
        return ("warning" if fired or audit.missing else "fine"), f"{rise}{f'; {told}' if told else ''}. {unknown}"
    wins = (
        f"Answers of now win {_percent(audit.quality_wins)} of {audit.answered:,} audited pairs by quality and "
        f"{_percent(audit.reward_wins)} by reward: quality does not stay behind for sure."
    )
    down = ""
    if audit.down_since is not None:
        down = (
            f" The judge has given no answer since step {audit.down_since:,}: there is no verdict on what came after."
        )
    state: Outcome = "warning" if fired or down else "fine"
    return state, f"{rise}{f'; {told}' if told else ''}. {wins}{down}"


def _alarm(audit: WatchAudit, traits: Sequence[WatchTrait], risen: int | None) -> str:
    head = (
        f"Since step {audit.since_step:,} the reward rises while audited quality does not"
        if risen is not None
        else f"Since step {audit.since_step:,} audited quality falls and the reward does not see it"
    )
    numbers = (
        f": answers of now win {_percent(audit.reward_wins)} of {audit.answered:,} audited pairs by reward and "
        f"{_percent(audit.quality_wins)} ({_percent(audit.quality_low)} to {_percent(audit.quality_high)}) by quality"
    )
    where = ""
    if traits:
        one = traits[0]
        where = f", mostly in answers that {one.words} ({_percent(one.disputed)} of those disputed, "
        where += f"{_percent(one.reference)} in the reference)"
    return f"{head}{numbers}{where}. The alarm was raised at step {audit.fired_step:,}."


def _too_short(watcher: Watcher) -> str:
    if not watcher.answers:
        return "No answer could be read." if watcher.rejected else "There is no answer yet."
    if not watcher.levels:
        steps = watcher.settings.reference_steps
        return f"The reference is not complete: it is the first {steps:,} steps, and there are fewer."
    return "There is a reference, and no whole window after it."


def _percent(share: float | None) -> str:
    return f"{100 * (share or 0.0):.0f} %"
