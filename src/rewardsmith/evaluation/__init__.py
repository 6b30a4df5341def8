"""Evaluation: rewards in, scores with intervals and baselines out.

A scorer or a file gives the rewards; this room knows no model.

contract.py      what a benchmark is: rows, tally, rule
benchmarks.py    a benchmark by its name in the registry, `rewardsmith.benchmarks`
rewardbench2.py  RewardBench 2; ties.py its Ties formula
rewardbench.py   RewardBench, version 1
rm_bench.py      RM-Bench
judgebench.py    JudgeBench
llmbar.py        LLMBar
pairwise.py      what all benchmarks of pairs share
rmb.py           RMB
ppe.py           PPE; ppe_curves.py its best of K and ROC AUC, ppe_leaderboard.py its ranking of models
plan_rewardbench.py, if_rewardbench.py, long_rewardbench.py, m_rewardbench.py    four benchmarks of 2025 and 2026
best_of_n.py     best-of-N rows of the user's own
pairs.py         preference pairs: the spec's held-out pairs, or a file
tables.py        files, folders and hub data sets as plain rows
fields.py        checked fields of such rows
prompts.py       prompts as text or messages, as plain text, and the group of a prompt
offline.py       rewards computed elsewhere; score_files.py the forms of their files
runner.py        each distinct conversation scored once; the two files written
distribution.py  how rewards are distributed, within prompts too, and the length-only scorer
analysis.py      all that stands beside the scores, in one record:
                 length_bias.py (loess.py), calibration.py, best_of_n_curve.py, label_agreement.py (answers.py)
probes/          bias probes: edited responses; rewards on a policy's own samples
ood.py           the evaluated sets of a run side by side → ood.json
subsets.py       what is known of each subset, and weighted means over them
results.py       scores, intervals, baselines → results.json, rows.jsonl
shared_rows.py   the rows that several evaluations share
learning_curve.py  the slope of a score per doubling of the data, and what it says
judged.py        a judge on a benchmark; gate_probes.py what is found out about the judge itself
label_noise.py   wrong training labels, from margins; noise_likelihood.py how likely a share of them is
comparison.py    models compared on shared rows; verdicts.py what may be said of it

    benchmark = find_benchmark("rewardbench2")
    rows = benchmark.load("six.jsonl.gz", None)
    rewards = score_conversations(rows.rows, scorer)
    evaluation = score_rows(benchmark, rows, rewards, seed=17)
    write_evaluation(evaluation, Path("runs/NAME/eval/rewardbench2"))
"""

from rewardsmith.evaluation.benchmarks import BENCHMARKS, find_benchmark
from rewardsmith.evaluation.benchmarks.pairs import pair_rows
from rewardsmith.evaluation.calibration import checkpoint_calibration
from rewardsmith.evaluation.contract import Benchmark, BenchmarkRows, EvalRow, Tally
from rewardsmith.evaluation.results import Evaluation, random_baselines, score_rows, skills
from rewardsmith.evaluation.runner import (
    RESULTS_FILE,
    ROWS_FILE,
    missing_reasons,
    read_offline,
    read_rewards,
    score_conversations,
    write_evaluation,
)

__all__ = [
    "BENCHMARKS",
    "RESULTS_FILE",
    "ROWS_FILE",
    "Benchmark",
    "BenchmarkRows",
    "EvalRow",
    "Evaluation",
    "Tally",
    "checkpoint_calibration",
    "find_benchmark",
    "missing_reasons",
    "pair_rows",
    "random_baselines",
    "read_offline",
    "read_rewards",
    "score_conversations",
    "score_rows",
    "skills",
    "write_evaluation",
]
