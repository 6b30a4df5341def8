"""Intervals and tests, in numpy and scipy: how sure a score is, which of two is higher, whether a series moves.

In: row results, sums per independent unit, votes, counts, or a series in time. Out: intervals, p-values, a trend.

    intervals.py     one score: Wilson's interval, also at the effective size that a bootstrap over groups shows;
                     a stream that is looked at after every value: e-values, where it changed, confidence sequences
    paired.py        two or many scores on the same units: differences, McNemar's test, Holm, which may be the best;
                     repeated labels: how often two agree, and what accuracy that leaves to a model;
                     one number, two kinds: how well it tells them apart; a noisy series of training steps
    smoothing.py     the smooth trend of a value over one variable (LOESS)

    rows that are independent, results in [0, 1]    wilson_interval, binomial_p_value
    rows in groups, ratios of sums                  bootstrap_sums → your statistic → score_interval, score_p_value
    weighted means of such scores                   weighted_interval
    the same units under two models                 bootstrap_sums of both → Difference.of, mcnemar_p_value
    values in [0, 1] that keep coming               evidence_below, change_point, mean_sequence

Every random draw comes from a seed that the caller gives; memory stays under about 64 MiB whatever the number of
rows. Coverage and error rates are measured by bench/coverage.py and bench/compare_aa.py.
"""

from rewardsmith.statistics.intervals import (
    CONFIDENCE,
    RESAMPLES,
    Floats,
    Interval,
    binomial_p_value,
    bootstrap_means,
    bootstrap_sums,
    change_point,
    evidence_below,
    grouped_sums,
    holm,
    mean_sequence,
    percentile_interval,
    score_interval,
    score_p_value,
    weighted_interval,
    wilson_interval,
)
from rewardsmith.statistics.paired import (
    TREND_POINTS,
    Agreement,
    Difference,
    Ranking,
    Trend,
    auc,
    best_accuracy,
    effective_number,
    label_agreement,
    largest_difference,
    mcnemar_p_value,
    rank_scores,
    trend_test,
    weighted_difference,
    within,
)
from rewardsmith.statistics.smoothing import local_linear

__all__ = [
    "CONFIDENCE",
    "RESAMPLES",
    "TREND_POINTS",
    "Agreement",
    "Difference",
    "Floats",
    "Interval",
    "Ranking",
    "Trend",
    "auc",
    "best_accuracy",
    "binomial_p_value",
    "bootstrap_means",
    "bootstrap_sums",
    "change_point",
    "effective_number",
    "evidence_below",
    "grouped_sums",
    "holm",
    "label_agreement",
    "largest_difference",
    "local_linear",
    "mcnemar_p_value",
    "mean_sequence",
    "percentile_interval",
    "rank_scores",
    "score_interval",
    "score_p_value",
    "trend_test",
    "weighted_difference",
    "weighted_interval",
    "wilson_interval",
    "within",
]
