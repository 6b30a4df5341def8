"""Reward models trained on real pairs, on real benchmarks: what they score, and whether `compare` tells them apart.

    python bench/real_models.py EVALUATIONS/best EVALUATIONS/quarter EVALUATIONS/shuffled --save

Each folder holds one model's evaluations, a folder each with results.json and rows.jsonl, as `rewardsmith evaluate
--out EVALUATIONS/best/NAME` writes them; the others are compared with the first. Scores are of the rows that every
model could score: a text beyond the models' length limit has no reward, and the protocols count it as wrong. How many
rows that leaves stands beside them. The differences are those of `rewardsmith compare`, over all rows.
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import numpy as np

from rewardsmith.pipeline import Silent
from rewardsmith.pipeline.commands.compare import compare_job
from rewardsmith.records.comparison import ComparisonRecord
from rewardsmith.records.evaluation import RowResult
from rewardsmith.statistics import wilson_interval
from tables import bench_parser, machine, markdown_table, publish

Rows = dict[tuple[str, str], RowResult]


def main() -> None:
    """Read, compare, print."""
    parser = bench_parser(__doc__)
    parser.add_argument("models", type=Path, nargs="+", help="one folder of evaluations a model, the best first")
    parser.add_argument("--note", default="", help="how the models were trained, for the head of the page")
    arguments = parser.parse_args()
    record = compare_job(arguments.models, Silent(), seed=17, resamples=10_000, shown=0)
    publish("real_models", page(record, arguments), arguments)


def page(record: ComparisonRecord, arguments: Namespace) -> str:
    """Scores with intervals, differences, and the verdict in words."""
    names = [model.name for model in record.models]
    table = [cells(key, record, arguments.models) for key in sorted(record.benchmarks)]
    differences = [f"{name} − {names[0]}" for name in names[1:]]
    head = ("evaluation", "rows with rewards", "chance", *names, *differences)
    verdicts = "\n".join(f"- {overall.words}" for overall in record.overall)
    about = (
        "Per cent of the rows that all models could score, with 95 % intervals; differences in points over all rows, "
        "as `compare` gives them. `six` has the subsets of RewardBench 2; the scores leave its Ties out."
    )
    return (
        f"# Real models on real benchmarks\n\n{arguments.note}\n\n{about} {machine()}.\n\n"
        f"{markdown_table(head, table)}\n{verdicts}\n"
    )


def cells(key: str, record: ComparisonRecord, models: list[Path]) -> list[str]:
    """One evaluation."""
    rows = [rows_of(folder / key) for folder in models]
    shared = [name for name in rows[0] if all(is_scored(model.get(name)) for model in rows)]
    chance = float(np.mean([rows[0][name].n_chosen / len(rows[0][name].rewards) for name in shared]))
    scores = [score([model[name] for name in shared]) for model in rows]
    found = [pair.average for pair in record.benchmarks[key].pairs]
    differences = [
        f"{100 * one.difference:+.1f} ({100 * one.ci_low:+.1f} to {100 * one.ci_high:+.1f})" for one in found
    ]
    return [key, f"{len(shared):,} of {len(rows[0]):,}", f"{100 * chance:.1f}", *scores, *differences]


def rows_of(folder: Path) -> Rows:
    """Rows of an evaluation, without Ties, whose score is of all of them together."""
    lines = (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [RowResult.model_validate_json(line) for line in lines]
    return {(row.subset, row.id): row for row in rows if row.subset != "Ties"}


def is_scored(row: RowResult | None) -> bool:
    """Whether every answer has a reward."""
    return row is not None and row.result is not None and None not in row.rewards


def score(rows: list[RowResult]) -> str:
    """Mean with Wilson's interval, in per cent; partial points count as their share."""
    results = [float(row.result or 0.0) for row in rows]
    interval = wilson_interval(sum(results), len(results))
    return f"{100 * float(np.mean(results)):.1f} ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


if __name__ == "__main__":
    main()
