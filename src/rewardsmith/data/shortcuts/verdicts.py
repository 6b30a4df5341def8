"""Which rules are strong enough for a finding.

    grade(interval, share, equal_length) → "strong", "weak" or ""

*Why these thresholds.* Annotators who label the same pair agree in about 0.73 of cases (InstructGPT, Ouyang et al.
2022, section 3.4: 72.6 ± 1.5 %), and reward models reach about as much on held-out pairs. A rule at 0.60 has covered
over two fifths of the way from a coin to there without a word of the prompt, and it is the easiest thing to learn: a
warning. At 0.55 it has covered a fifth: worth knowing. A classifier may use all rules at once, and some of what it
sees is quality that needs no prompt (a finished answer, correct language): a warning from 0.65, two thirds of the way.

*Why an interval, and which.* A grade needs the whole interval beyond the threshold, at a confidence that holds for all
rules that were compared at once (Bonferroni): of a few hundred rules on clean data, some exceed a plain 95 % limit.

*Why a least share.* A rule that decides fewer than one training pair in twenty moves accuracy by less than 2.5 points
even if it is always right.

*Why the length is taken out.* Where the longer response wins, everything that long responses have more of wins too:
lists, line breaks, most words. One cause is one finding. A feature or word that loses its edge between responses of
equal length (`equal_length`) gets no grade of its own.
"""

from __future__ import annotations

from rewardsmith import statistics
from rewardsmith.data.shortcuts.lone_rules import CHANCE
from rewardsmith.records import Estimate, Grade
from rewardsmith.statistics import Interval

STRONG, WEAK = 0.60, 0.55
BLIND = 0.65
LEAST_SHARE = 0.05


def simultaneous(rules: int) -> float:
    """The confidence of one interval among `rules`, such that all of them hold with the usual one."""
    return 1 - (1 - statistics.CONFIDENCE) / max(1, rules)


def edge(interval: Interval) -> float:
    """The least accuracy within the interval of the better of a rule and its opposite; 0.5 where it may be neither."""
    return max(interval.low, 1 - interval.high, CHANCE)


def grade(interval: Interval, share: float, equal_length: Estimate | None = None, *, strong: float = STRONG) -> Grade:
    """The grade of a rule.

    Args:
        interval: of its accuracy, at the simultaneous confidence.
        share: of all training pairs, those that it decides.
        equal_length: its accuracy between responses of equal length, where it is known.
        strong: the threshold of a warning.
    """
    direction = 1 if interval.low > CHANCE else -1
    explained = equal_length is not None and direction * (equal_length.value - CHANCE) < WEAK - CHANCE
    if share < LEAST_SHARE or explained:
        return ""
    least = edge(interval)
    return "strong" if least > strong else "weak" if least > WEAK else ""
