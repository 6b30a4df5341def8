"""Evaluation: rewards in, scores with intervals and baselines out.

A scorer or a file gives the rewards; this room knows no model.

contract.py      what a benchmark is: rows, tally, rule
benchmarks/      a file each; `rewardsmith.benchmarks` is the registry
rows.py          files, folders and hub data sets as plain rows, and their fields
results.py       each distinct conversation scored once; scores, intervals, baselines → results.json, rows.jsonl; the
                 evaluated sets side by side → ood.json
offline.py       rewards that were computed elsewhere, from the files that people have
subsets.py       what is known of each subset, and weighted means over them
distribution.py  how rewards are distributed, within prompts too, and the length-only scorer
analysis.py      all that stands beside the scores, in one record; what picking by reward would gain
calibration.py   a temperature, of all pairs or of a subset that carries its own, and a calibration error
diagnosis.py     what kind of model the rewards of one benchmark show
controls.py      where theory puts trainings on changed data, and whether they are there
causes.py        the same of a whole run, with what the data check foretold → diagnosis.json
comparison.py    models compared on shared rows, and what may be said of it
learning_curve.py    the slope of a score per doubling of the data, and what it says
judged.py        a judge on a benchmark, and what is found out about the judge itself
label_noise.py   wrong training labels, from margins
probes/          bias probes: edited responses; rewards on a policy's own samples

    benchmark = find_benchmark("rewardbench2")
    rows = benchmark.load("six.jsonl.gz", None)
    rewards = score_conversations(rows.rows, scorer)
    evaluation = score_rows(benchmark, rows, rewards, seed=17)
    write_evaluation(evaluation, Path("runs/NAME/eval/rewardbench2"))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rewardsmith import lazy_names

if TYPE_CHECKING:
    from rewardsmith.evaluation.benchmarks import BENCHMARKS, find_benchmark
    from rewardsmith.evaluation.benchmarks.pairs import pair_rows
    from rewardsmith.evaluation.calibration import checkpoint_calibration
    from rewardsmith.evaluation.causes import DIAGNOSIS_FILE, diagnose_run
    from rewardsmith.evaluation.contract import Benchmark, BenchmarkRows, EvalRow, Tally
    from rewardsmith.evaluation.offline import read_offline, read_rewards
    from rewardsmith.evaluation.results import (
        Evaluation,
        missing_reasons,
        random_baselines,
        score_conversations,
        score_rows,
        skills,
        write_evaluation,
    )

__all__ = [
    "BENCHMARKS",
    "DIAGNOSIS_FILE",
    "Benchmark",
    "BenchmarkRows",
    "EvalRow",
    "Evaluation",
    "Tally",
    "checkpoint_calibration",
    "diagnose_run",
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

_HOMES = {
    "BENCHMARKS": "benchmarks",
    "Benchmark": "contract",
    "BenchmarkRows": "contract",
    "EvalRow": "contract",
    "Evaluation": "results",
    "Tally": "contract",
    "checkpoint_calibration": "calibration",
    "DIAGNOSIS_FILE": "causes",
    "diagnose_run": "causes",
    "find_benchmark": "benchmarks",
    "missing_reasons": "results",
    "pair_rows": "benchmarks.pairs",
    "random_baselines": "results",
    "read_offline": "offline",
    "read_rewards": "offline",
    "score_conversations": "results",
    "score_rows": "results",
    "skills": "results",
    "write_evaluation": "results",
}

if not TYPE_CHECKING:
    __getattr__ = lazy_names(__name__, _HOMES)
