"""Do 95 % intervals hold the true value in 95 % of cases? Simulated, with the functions that score benchmarks.

    python bench/coverage.py            20,000 simulations a line, about two minutes on one core
    python bench/coverage.py --save     and bench/results/coverage.md

Each simulation draws rows whose true accuracy is known, makes the interval, and looks whether it holds the truth:

- independent 0/1 rows: Wilson's interval;
- independent rows of which one in five has two equal rewards at the top and scores 1/2: the same; covers more;
- groups of rows whose results are alike (beta-binomial, intra-group correlation 0.4; or wholly alike): the bootstrap
  over groups in Wilson's form, beside the percentiles of the very same resamples;
- the average of three subsets.

n counts independent units: rows, or groups. The bootstrap draws 200 resamples here, 10,000 in an evaluation.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np

from rewardsmith import statistics
from rewardsmith.statistics import Floats
from tables import bench_parser, markdown_table, publish

SIMULATIONS = 20_000
RESAMPLES = 200
ACCURACIES = (0.25, 0.5, 0.75, 0.9)
UNITS = (100, 1000)
UNEQUAL = (1, 1, 2, 3, 8)
TIED = 0.2
HEAD = ("what is drawn", "n", "true accuracy", "coverage", "mean width", "percentiles of the same bootstrap")


def main() -> None:
    """Simulate, print, save."""
    parser = bench_parser(__doc__)
    parser.add_argument("--simulations", type=int, default=SIMULATIONS)
    arguments = parser.parse_args()
    started = time.process_time()
    lines = markdown_table(HEAD, list(table(arguments.simulations)), numbers=False)
    head = (
        f"Coverage of nominal 95 % intervals over {arguments.simulations:,} simulations a line (standard error 0.15 "
        f"points at 20,000). {time.process_time() - started:.0f} s of one core. "
        "Made by `python bench/coverage.py --save`."
    )
    publish("coverage", f"# Coverage of 95 % intervals\n\n{head}\n\n{lines}", arguments)


def table(simulations: int) -> Iterator[list[str]]:
    """One line a setting."""
    for n in UNITS:
        for p in ACCURACIES:
            yield line("independent rows, 0 or 1", n, p, *wilson(n, p, simulations))
    for n in UNITS:
        for p in ACCURACIES:
            truth = (1 - TIED) * p + TIED / 2
            yield line("independent rows, 1 in 5 scores 1/2", n, truth, *wilson(n, p, simulations, TIED))
    for n in UNITS:
        for p in ACCURACIES:
            yield line("groups of 4, correlation 0.4", n, p, *grouped(n, p, (4,), 0.4, simulations))
    for p in (0.5, 0.9):
        yield line("groups of 4, wholly alike", 100, p, *grouped(100, p, (4,), 1.0, simulations))
    for p in (0.5, 0.9):
        yield line("groups of 1, 1, 2, 3 and 8, correlation 0.4", 100, p, *grouped(100, p, UNEQUAL, 0.4, simulations))
    for n in UNITS:
        yield line("average of three subsets (0.25, 0.5, 0.9)", n, 0.55, *average(n, (0.25, 0.5, 0.9), simulations))


def line(what: str, n: int, p: float, coverage: float, width: float, percentile: float | None = None) -> list[str]:
    """The cells of one setting."""
    beside = "" if percentile is None else f"{100 * percentile:.1f}"
    return [what, f"{n:,}", f"{p:g}", f"{100 * coverage:.1f}", f"{100 * width:.1f}", beside]


def wilson(n: int, p: float, simulations: int, tied: float = 0.0) -> tuple[float, float]:
    """(coverage, mean width) of Wilson's interval; a `tied` share of rows scores 1/2, the others 1 with chance p."""
    rng = np.random.default_rng([1, n, int(100 * p)])
    halves = rng.binomial(n, tied, size=simulations)
    totals = rng.binomial(n - halves, p) + halves / 2
    known = {total: statistics.wilson_interval(total, n) for total in np.unique(totals)}
    found = [known[total] for total in totals]
    return _covered(found, (1 - tied) * p + tied / 2)


def grouped(n: int, p: float, sizes: Sequence[int], alike: float, simulations: int) -> tuple[float, float, float]:
    """(coverage, mean width, coverage of percentiles) over n groups of these sizes in turn."""
    rng = np.random.default_rng([2, n, int(100 * p), int(10 * alike), len(sizes)])
    size_G = np.resize(sizes, n)
    found, percentiles = [], []
    for simulation in range(simulations):
        units_GF = np.column_stack([right_of_groups(rng, size_G, p, alike), size_G])
        sums_BF = statistics.bootstrap_sums(units_GF, seed=simulation, resamples=RESAMPLES)
        samples_B = sums_BF[:, 0] / sums_BF[:, 1]
        score = float(units_GF[:, 0].sum() / units_GF[:, 1].sum())
        found.append(statistics.score_interval(score, samples_B, n))
        percentiles.append(statistics.percentile_interval(samples_B))
    return *_covered(found, p), _covered(percentiles, p)[0]


def right_of_groups(rng: np.random.Generator, size_G: Floats, p: float, alike: float) -> Floats:
    """Right rows of each group: all or none where `alike` is 1, else beta-binomial with that correlation."""
    if alike == 1:
        return (rng.random(len(size_G)) < p) * size_G
    spread = (1 - alike) / alike
    return rng.binomial(size_G, rng.beta(p * spread, (1 - p) * spread, size=len(size_G)))


def average(n: int, accuracies: Sequence[float], simulations: int) -> tuple[float, float]:
    """(coverage, mean width) of the interval of an unweighted mean of subsets with n rows each."""
    rng = np.random.default_rng([3, n])
    known = [statistics.wilson_interval(total, n) for total in range(n + 1)]
    weights = [1 / len(accuracies)] * len(accuracies)
    found = []
    for totals in rng.binomial(n, accuracies, size=(simulations, len(accuracies))):
        found.append(statistics.weighted_interval(totals / n, [known[total] for total in totals], weights)[1])
    return _covered(found, float(np.mean(accuracies)))


def _covered(intervals: Sequence[statistics.Interval], truth: float) -> tuple[float, float]:
    ends = np.array([(interval.low, interval.high) for interval in intervals])
    inside = (ends[:, 0] <= truth + 1e-12) & (truth - 1e-12 <= ends[:, 1])
    return float(inside.mean()), float((ends[:, 1] - ends[:, 0]).mean())


if __name__ == "__main__":
    main()
