"""How often does `compare` call a winner where there is none, and does it find one that is there?

    python bench/compare_aa.py            4,000 simulations a line without a difference; two minutes of one core
    python bench/compare_aa.py --save     and bench/results/compare_aa.md

Each simulation makes two models' rewards on the same rows of one benchmark, and asks `compare_benchmark` itself for the
verdict on the average score. Without a difference, a 95 % interval may miss 0 in 5 % of cases; 5.7 % is two standard
errors above at 4,000. With 400 resamples here, 10,000 in `compare`.

- itself: the same rewards twice.
- equal noise: every row is right under each model with one probability; whether both are right together is drawn.
- planted: the second model fixes a share of the first one's wrong rows and breaks fewer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from rewardsmith.evaluation import Benchmark, find_benchmark
from rewardsmith.evaluation.comparison import Evaluated, compare_benchmark
from rewardsmith.records.evaluation import BenchmarkResult, DatasetInfo, RewardSummary, RowResult
from rewardsmith.statistics import wilson_interval
from tables import bench_parser, markdown_table, publish

SIMULATIONS = 4_000
RESAMPLES = 400
HEAD = ("benchmark", "rows", "models", "rows that differ, %", "winner called, %", "95 % interval", "second better, %")
Right = NDArray[np.bool_]
Draw = Callable[[np.random.Generator, int], tuple[Right, Right]]


def main() -> None:
    """Simulate, print, save."""
    parser = bench_parser(__doc__)
    parser.add_argument("--simulations", type=int, default=SIMULATIONS)
    arguments = parser.parse_args()
    started = time.process_time()
    lines = markdown_table(HEAD, list(table(arguments.simulations)), numbers=False)
    head = (
        f"Verdicts of `compare` on the average score over {arguments.simulations:,} simulations a line, a quarter "
        "of them where there is a difference, and 400 resamples. "
        f"{time.process_time() - started:.0f} s of one core. Made by `python bench/compare_aa.py --save`."
    )
    publish("compare_aa", f"# False calls of `compare`\n\n{head}\n\n{lines}", arguments)


def table(simulations: int) -> Iterator[list[str]]:
    """One line a setting."""
    few = simulations // 4
    subsets, grouped = rows_of_subsets((60, 40, 20)), rows_of_groups(48)
    rewardbench2, pairs = find_benchmark("rewardbench2"), find_benchmark("pairs")
    yield line("three subsets", rewardbench2, subsets, "the same", lambda rng, n: equal(rng, n, 0.6, 0.0), 100)
    for differ in (0.05, 0.3):
        draw = noise(0.6, differ)
        yield line("three subsets", rewardbench2, subsets, "equal noise, 60 % right", draw, simulations)
    yield line("three subsets", rewardbench2, subsets, "equal noise, 90 % right", noise(0.9, 0.15), simulations)
    yield line("pairs, 1 to 4 a prompt", pairs, grouped, "equal noise, 60 % right", noise(0.6, 0.3), simulations)
    yield line("three subsets", rewardbench2, subsets, "planted, +15 points", planted(0.6, 0.2, 0.05), few)
    yield line("pairs, 1 to 4 a prompt", pairs, grouped, "planted, +15 points", planted(0.6, 0.2, 0.05), few)


def line(
    name: str, benchmark: Benchmark, rows: Sequence[RowResult], what: str, draw: Draw, simulations: int
) -> list[str]:
    """The cells of one setting. Rows of one group are right or wrong together, under each model."""
    rng = np.random.default_rng(7)
    unit_of = np.unique([row.group or f"{row.subset}/{row.id}" for row in rows], return_inverse=True)[1]
    verdicts, differ = [], []
    for seed in range(simulations):
        first_U, second_U = draw(rng, int(unit_of.max()) + 1)
        differ.append(float((first_U != second_U)[unit_of].mean()))
        models = [
            evaluated(benchmark, rows, "first", first_U[unit_of]),
            evaluated(benchmark, rows, "second", second_U[unit_of]),
        ]
        compared = compare_benchmark(benchmark, models, seed=seed, resamples=RESAMPLES, shown=0)
        verdicts.append(compared.record.pairs[0].average.verdict if compared else "")
    called = sum(verdict in {"better", "worse"} for verdict in verdicts)
    interval = wilson_interval(called, simulations)
    return [
        name,
        str(len(rows)),
        what,
        f"{100 * np.mean(differ):.0f}",
        f"{100 * called / simulations:.2f}",
        f"{100 * interval.low:.2f} to {100 * interval.high:.2f}",
        f"{100 * verdicts.count('better') / simulations:.1f}",
    ]


def noise(accuracy: float, differ: float) -> Draw:
    """Two models of equal accuracy that disagree on this share of rows."""
    return lambda rng, n: equal(rng, n, accuracy, differ)


def equal(rng: np.random.Generator, n: int, accuracy: float, differ: float) -> tuple[Right, Right]:
    """Both right, the first alone, the second alone (equally often), or none."""
    alone = differ / 2
    drawn = rng.choice(4, size=n, p=[accuracy - alone, alone, alone, 1 - accuracy - alone])
    return drawn <= 1, (drawn == 0) | (drawn == 2)


def planted(accuracy: float, gained: float, lost: float) -> Draw:
    """The second model gains and loses these shares of all rows."""

    def draw(rng: np.random.Generator, n: int) -> tuple[Right, Right]:
        drawn = rng.choice(4, size=n, p=[accuracy - lost, lost, gained, 1 - accuracy - gained])
        return drawn <= 1, (drawn == 0) | (drawn == 2)

    return draw


def rows_of_subsets(sizes: Sequence[int]) -> list[RowResult]:
    """Independent rows in subsets of these sizes."""
    names = ("Factuality", "Math", "Safety")
    return [row(str(i), name) for name, size in zip(names, sizes, strict=True) for i in range(size)]


def rows_of_groups(groups: int) -> list[RowResult]:
    """One to four rows of each prompt."""
    return [row(f"{g}.{i}", "all", group=str(g)) for g in range(groups) for i in range(1 + g % 4)]


def row(name: str, subset: str, group: str = "") -> RowResult:
    """A row with one chosen and one rejected response."""
    return RowResult(id=name, subset=subset, rewards=(0.0, 0.0), n_chosen=1, result=0.0, group=group)


def evaluated(benchmark: Benchmark, rows: Sequence[RowResult], name: str, right_R: Right) -> Evaluated:
    """A model whose chosen reward is higher where it is right."""
    rewards = ((0.0, 1.0), (1.0, 0.0))
    scored = tuple(
        RowResult.model_construct(**{**row.__dict__, "rewards": rewards[int(right)]})
        for row, right in zip(rows, right_R, strict=True)
    )
    nothing = RewardSummary(n=0, mean=None, std=None, min=None, max=None, distinct=0)
    result = BenchmarkResult(
        benchmark=benchmark.name,
        title=benchmark.name,
        average=None,
        protocol="",
        dataset=DatasetInfo(source="simulated"),
        subsets={},
        rewards=nothing,
    )
    return Evaluated(name, result, scored)


if __name__ == "__main__":
    main()
