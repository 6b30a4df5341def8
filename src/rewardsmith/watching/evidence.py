"""Windows and audited pairs → which signals fired, whether quality stays behind the reward, and since when.

    signal_evidence(windows, reference windows)     `WatchSignal` for each
    audit_evidence(items, …)                         `WatchAudit`
    reward_risen(windows)                        the step at which the reward was sure to have risen

One error rate for the whole stream, looked at as often as one likes: half of α is the audit's, half is shared equally
among the signals, whether or not they can be computed. Each hypothesis speaks of means given all that came before:

    audit      E[quality win − reward win] ≥ −tolerance: against the same answers of the reference, the policy's answers
               do not win by quality that much less often than by reward
    signal     E[value] ≤ mean of the reference + 2.58 standard errors + margin; not tested where that is 1 or more

A pair's two wins lie in [0, 1], so (1 + quality win − reward win) / 2 does too.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np

from rewardsmith.records.watch import WatchAudit, WatchAuditItem, WatchAuditPoint, WatchSignal, WatchWindow
from rewardsmith.statistics import Floats, change_point, evidence_below, mean_sequence
from rewardsmith.watching.windows import SIGNALS

ALPHA = 0.05
TOLERANCE = 0.2
MOST_TOLERANCE = 0.9
RISE = 0.05
"""Share of answers above the median of the reference, beyond one half, that is no rise yet."""

# Normal quantile of a two-sided interval of 99 %.
SURE = 2.58
# Ville's inequality: under its hypothesis an e-process ever reaches 1 / a with probability a at most.
AUDIT_THRESHOLD = 2 / ALPHA
SIGNAL_THRESHOLD = 2 * len(SIGNALS) / ALPHA
_LAST = 10


def tolerance_for(agreement: float) -> float:
    """The tolerance of an audit by a judge who agrees with the reward model in a measured share of pairs.

    Let r be the reward's and q the judge's win in a pair (1, 0, or between for a tie and a doubt), and
    A = 1 − E|q − r| the agreement, with a tie on one side as half of one. Then

        E[q − r] ≥ −E|q − r| = −(1 − A)

    whatever the policy does, and with equality where the reward wins wherever the two disagree: so far may an honest
    policy that wins nearly all pairs by reward fall behind by quality, for no other reason than that the judge and the
    reward model differ. With a tolerance of 1 − A the audit's hypothesis holds of it, as long as the two agree on the
    audited pairs as often as on those that A was measured on. Two of the best paid answers are closer to each other
    than a chosen and a rejected one, so that it is never below `TOLERANCE`; beyond `MOST_TOLERANCE` nothing could fire.

    Args:
        agreement: lower end of the interval of A, 0 to 1.
    """
    return min(MOST_TOLERANCE, max(TOLERANCE, 1 - agreement))


def signal_limit(values: Sequence[float], margin: float) -> float | None:
    """The level that a signal must pass: mean of the reference's windows, their error, and the margin; None where
    nothing can pass it, or the reference has no value."""
    if not values:
        return None
    # A single window has no spread to estimate an error from: its mean stands as it is.
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    limit = float(np.mean(values)) + SURE * error + margin
    return limit if limit < 1 else None


def signal_evidence(reference: Sequence[WatchWindow], windows: Sequence[WatchWindow]) -> tuple[WatchSignal, ...]:
    """Each signal over the windows after the reference. `reference` has one window where it is a file."""
    return tuple(_signal(code, reference, windows) for code in SIGNALS)


def _signal(code: str, reference: Sequence[WatchWindow], windows: Sequence[WatchWindow]) -> WatchSignal:
    signal = SIGNALS[code]
    known = [value for one in reference if (value := one.values.get(code)) is not None]
    seen = [one for one in windows if one.values.get(code) is not None]
    values = np.array([one.values[code] for one in seen], dtype=np.float64)
    limit = signal_limit(known, signal.margin)
    # The test looks for means that are too low, so that what may be too high is mirrored.
    found = evidence_below(1 - values, 1 - limit) if limit is not None and len(values) else np.zeros(0)
    fired = first_at_least(found, SIGNAL_THRESHOLD)
    since = None
    if fired is not None and limit is not None:
        since = seen[change_point(1 - values[: fired + 1], 1 - limit)].first
    return WatchSignal(
        code=code,
        title=signal.title,
        reference=float(np.mean(known)) if known else None,
        limit=limit,
        last=float(values[-_LAST:].mean()) if len(values) else None,
        tested=len(found),
        e_value=float(found.max(initial=1.0)),
        threshold=SIGNAL_THRESHOLD,
        fired_step=None if fired is None else seen[fired].last,
        since_step=since,
    )


def reward_risen(windows: Sequence[WatchWindow]) -> int | None:
    """The last step of the window at which answers were sure to exceed the reference's median more often than not."""
    seen = [one for one in windows if one.above is not None]
    if not seen:
        return None
    shares = np.array([one.above for one in seen], dtype=np.float64)
    fired = first_at_least(evidence_below(1 - shares, 0.5 - RISE), 1 / ALPHA)
    return None if fired is None else seen[fired].last


def first_at_least(evidence: Floats, threshold: float) -> int | None:
    """The first place that reaches the threshold."""
    reached = np.flatnonzero(evidence >= threshold)
    return int(reached[0]) if reached.size else None


def as_bets(items: Sequence[WatchAuditItem]) -> Floats:
    """(1 + quality win − reward win) / 2 of answered pairs, in [0, 1]."""
    return np.array([(1 + (one.quality_win or 0.0) - one.reward_win) / 2 for one in items], dtype=np.float64)


def audit_evidence(
    items: Sequence[WatchAuditItem],
    *,
    by: Literal["nobody", "log", "judge", "people"],
    every: int,
    size: int,
    tolerance: float,
) -> WatchAudit:
    """What was audited so far; pairs count in the order in which their answers came."""
    answered = sorted((one for one in items if one.turn is not None), key=lambda one: one.turn or 0)
    bets, batches = as_bets(answered), [one.batch or 0 for one in answered]
    # E[quality win − reward win] ≥ −tolerance, on the scale of the bets.
    limit = (1 - tolerance) / 2
    found = evidence_below(bets, limit, batches) if answered else np.zeros(0)
    fired = first_at_least(found, AUDIT_THRESHOLD)
    since = None if fired is None else answered[change_point(bets[: fired + 1], limit, batches[: fired + 1])].step
    wins = [
        _sequence([one.reward_win for one in answered]),
        _sequence([one.quality_win or 0.0 for one in answered]),
        _sequence([(one.quality_win or 0.0) - one.reward_win for one in answered], span=2.0),
    ]
    points = _points(answered)
    missing = Counter(one.missing for one in items if one.missing not in ("", "waiting"))
    return WatchAudit(
        by=by,
        every=every,
        size=size,
        audits=len({one.id.partition(".")[0] for one in items}),
        drawn=len(items),
        answered=len(answered),
        waiting=sum(one.missing == "waiting" for one in items),
        missing=dict(sorted(missing.items())),
        down_since=_down_since(items),
        reward_wins=wins[0][0],
        reward_low=wins[0][1],
        reward_high=wins[0][2],
        quality_wins=wins[1][0],
        quality_low=wins[1][1],
        quality_high=wins[1][2],
        agreement=points[-1].agreement if points else None,
        points=points,
        gap=wins[2][0],
        gap_low=wins[2][1],
        gap_high=wins[2][2],
        tolerance=tolerance,
        e_value=float(found.max(initial=1.0)),
        threshold=AUDIT_THRESHOLD,
        fired_step=None if fired is None else answered[fired].step,
        since_step=since,
    )


def _points(answered: Sequence[WatchAuditItem]) -> tuple[WatchAuditPoint, ...]:
    """Wins of each audit, and agreement up to it."""
    points = []
    agree: list[float] = []
    for step in sorted({one.step for one in answered}):
        here = [one for one in answered if one.step == step]
        # A tie on either side names no answer to agree on.
        agree += [
            float((one.reward_win > 0.5) == ((one.quality_win or 0.0) > 0.5))
            for one in here
            if one.reward_win != 0.5 and one.quality_win != 0.5
        ]
        mean, low, high = _sequence(agree)
        points.append(
            WatchAuditPoint(
                step=step,
                answered=len(here),
                reward_wins=float(np.mean([one.reward_win for one in here])),
                quality_wins=float(np.mean([one.quality_win or 0.0 for one in here])),
                agreement=mean,
                agreement_low=low,
                agreement_high=high,
            )
        )
    return tuple(points)


def _sequence(values: Sequence[float], span: float = 1.0) -> tuple[float | None, float | None, float | None]:
    """Mean and limits after the last value, within what they can be."""
    if not values:
        return None, None, None
    mean, low, high = (float(one[-1]) for one in mean_sequence(values, span=span))
    return mean, max(low, -1.0 if span > 1 else 0.0), min(high, 1.0)


def _down_since(items: Sequence[WatchAuditItem]) -> int | None:
    """The step of the first of the last audits that no judge answered at all."""
    steps: dict[int, bool] = {}
    for one in items:
        if one.missing != "waiting":
            steps[one.step] = steps.get(one.step, False) or one.turn is not None
    down = None
    for step in sorted(steps, reverse=True):
        if steps[step]:
            break
        down = step
    return down
