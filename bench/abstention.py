"""Coverage of the router's bound on wrong confident verdicts, by simulation with a known truth.

    python bench/abstention.py                  2,000 calibrations a line; about a minute on one core
    python bench/abstention.py --save           and bench/results/abstention.md

A model's sureness u is uniform, and it is wrong with probability worst · (1 - u)^k, so that above a limit t the share
of wrong verdicts is worst · (1 - t)^k / (k + 1). Each calibration draws pairs, chooses a limit as `route calibrate`
does with the target `wrong`, and is broken where the true share above its limit is larger than was asked for. The
bound allows at most 1 - confidence of them. `clustered` has three pairs a prompt with one common error."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from rewardsmith import statistics
from rewardsmith.routing.abstention import abstain, fitting_part
from tables import about, bench_parser, machine, markdown_table, publish


@dataclass(frozen=True)
class Case:
    """A model, and what is asked for."""

    name: str
    prompts: int
    wrong: float
    confidence: float
    worst: float = 0.5
    power: int = 1
    per_prompt: int = 1

    def risk(self, limit: float) -> float:
        """The true share of wrong verdicts above a limit; 0 where nothing is decided."""
        return self.worst * (1 - limit) ** self.power / (self.power + 1) if limit < 1 else 0.0


CASES = (
    Case("knows", 200, 0.1, 0.9),
    Case("knows", 500, 0.1, 0.9),
    Case("knows", 1000, 0.1, 0.9),
    Case("knows", 1000, 0.05, 0.95),
    Case("knows, sharp", 1000, 0.05, 0.9, power=3),
    Case("does not know", 1000, 0.1, 0.9, worst=0.11, power=0),
    Case("clustered", 500, 0.1, 0.9, per_prompt=3),
)


def main() -> None:
    """Simulate, print, save."""
    parser = bench_parser(__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    arguments = parser.parse_args()
    began = time.process_time()
    rows = [simulated(case, arguments.runs) for case in CASES]
    head = [
        "model",
        "prompts",
        "wrong at most",
        "confidence",
        "broken, %",
        "95 % interval",
        "allowed, %",
        "certified, %",
    ]
    text = "\n".join(
        [
            "# The bound on wrong confident verdicts",
            "",
            about(__doc__),
            "",
            f"{arguments.runs:,} calibrations a line; {machine()}, {time.process_time() - began:.0f} s of one core.",
            "",
            markdown_table([*head, "decided, %", "best possible, %"], rows),
            "",
        ]
    )
    publish("abstention", text, arguments)


def simulated(case: Case, runs: int) -> list[str]:
    """One line."""
    broken, certified, decided = 0, 0, 0.0
    for seed in range(runs):
        rng = np.random.default_rng([seed, case.prompts])
        units = np.repeat(np.arange(case.prompts), case.per_prompt)
        sureness = rng.random(len(units))
        draw = np.repeat(rng.random(case.prompts), case.per_prompt)
        right = (draw >= case.worst * (1 - sureness) ** case.power).astype(np.float64)
        found = abstain(
            sureness,
            right,
            units,
            fitting_part(units, seed),
            wrong=case.wrong,
            confidence=case.confidence,
            seed=seed,
        )
        broken += case.risk(found.limit) > case.wrong
        certified += found.reached
        decided += max(0.0, 1 - found.limit)
    interval = statistics.wilson_interval(broken, runs)
    return [
        case.name,
        f"{case.prompts:,}",
        f"{case.wrong:g}",
        f"{case.confidence:g}",
        f"{100 * broken / runs:.1f}",
        f"{100 * interval.low:.1f} to {100 * interval.high:.1f}",
        f"{100 * (1 - case.confidence):.1f}",
        f"{100 * certified / runs:.1f}",
        f"{100 * decided / runs:.1f}",
        f"{100 * best(case):.1f}",
    ]


def best(case: Case) -> float:
    """The share that a model with this truth could decide if it were known."""
    limits = np.linspace(0, 1, 10_001)
    fits = [limit for limit in limits if case.risk(float(limit)) <= case.wrong]
    return float(1 - min(fits))


if __name__ == "__main__":
    main()
