"""Cost against accuracy of the hybrid router: planted pairs, and the held-out pairs of a trained reward model.

    python bench/routing_curve.py                            20,000 planted pairs; about a minute on one core
    python bench/routing_curve.py --run runs/quickstart      and a run's own held-out pairs (made by `make demo`)
    python bench/routing_curve.py --run runs/quickstart --save     and bench/results/routing_curve.md

*Planted*: a calibrated reward model of 78 % accuracy (a confidence drawn for each pair, right with exactly that
probability) and an independent judge of 85 %. Random routing asks the judge as often, blindly; the oracle knows where
the judge helps.

*Real*: rewards of a trained model on pairs that it never saw, and a judge simulated at a planted accuracy. The prompts
are parted at random: on one half the temperature is fitted, on the other the curve is measured and compared with what
the temperature predicts before any label of that half is seen (a band for the whole curve, 95 %, over the uncertainty
of the temperature and of the outcomes).
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rewardsmith.evaluation.calibration import calibrate
from rewardsmith.records.routing import RoutePoint
from rewardsmith.routing import SHARES, Rule, Rules, Target, Trial, curve, fit_limit, make_trial, opinions
from rewardsmith.routing.curve import (
    Band,
    accuracy,
    cross_fit,
    gain_of_everything,
    mean_advantage,
    predict,
    weigh,
)
from rewardsmith.types import JudgeAnswer, Usage
from tables import bench_parser, machine, markdown_table, publish

MODEL, JUDGE, PAIRS = 0.78, 0.85, 20_000
REAL_JUDGES = (0.85, 0.95)
RESAMPLES = 2_000
DRAWS, DRAWN = 200, 2_000
HEAD = ("escalated, %", "limit", "router, %", "95 % interval", "random", "router − random", "oracle", "gain, %")


def main() -> None:
    """Measure, print, save."""
    parser = bench_parser(__doc__)
    parser.add_argument("--run", type=Path, help="a run directory with eval/held_out/rows.jsonl")
    parser.add_argument("--pairs", type=int, default=PAIRS)
    arguments = parser.parse_args()
    started = time.process_time()
    sections = [planted_section(arguments.pairs)]
    if arguments.run:
        sections += real_sections(arguments.run)
    head = (
        f"# The router: cost against accuracy\n\n{machine()}, {time.process_time() - started:.0f} s of one core. Made "
        f"by `python bench/routing_curve.py{' --run RUN' if arguments.run else ''} --save`."
    )
    publish("routing_curve", "\n\n".join([head, *sections]), arguments)


def planted_section(n: int) -> str:
    """The planted pairs."""
    rng = np.random.default_rng(17)
    margins = planted_margins(rng, n)
    trial = trial_of(margins, 1.0, rng.random(n) < JUDGE, np.arange(n))
    points = curve(trial, SHARES, seed=1, resamples=RESAMPLES)
    used = [one for one in points if 0.049 <= one.share <= 0.501]
    fitted = fit_limit(trial, Target("gain", 0.95))
    share = float((trial.sureness < fitted.limit).mean())
    checked = cross_fit(trial, Target("gain", 0.95), seed=1, resamples=RESAMPLES)
    band = predict(trial, margins.tolist(), 1.0, None, [one.limit for one in points], judge_accuracy=JUDGE, seed=1)
    beaten = sum(one.difference.low > 0 for one in used)
    beyond = ""
    if checked is not None:
        beyond = f"; limits fitted without the pair itself escalate {100 * checked.share:.1f} % and reach "
        beyond += f"{100 * checked.accuracy.value:.1f} %"
    lines = [
        f"Reward model {score(trial.model)}, judge {score(trial.judge)}, {n:,} pairs.",
        f"Budgets from 5 to 50 % at which the router surely beats random routing: {beaten} of {len(used)}.",
        f"95 % of the judge's gain takes {100 * share:.1f} % of its calls{beyond}.",
        f"This curve {'stays within' if holds(band, points) else 'leaves'} the band that the calibration predicts.",
        f"Of {DRAWS} further draws of {DRAWN:,} pairs {held_in_draws()} stay within theirs; 95 % should.",
    ]
    return "## Planted\n\n" + "\n".join(f"- {line}" for line in lines) + "\n\n" + table(points)


def held_in_draws() -> int:
    """In how many draws of planted pairs the whole curve stays within its band."""
    held = 0
    for draw in range(DRAWS):
        rng = np.random.default_rng([29, draw])
        margins = planted_margins(rng, DRAWN)
        trial = trial_of(margins, 1.0, rng.random(DRAWN) < JUDGE, np.arange(DRAWN))
        limits = [float(np.quantile(trial.sureness, share)) for share in SHARES]
        band = predict(trial, margins.tolist(), 1.0, None, limits, judge_accuracy=JUDGE, seed=draw, draws=300)
        held += band.holds(
            [float(np.where(trial.sureness < limit, trial.routed, trial.model).mean()) for limit in limits]
        )
    return held


def planted_margins(rng: np.random.Generator, n: int) -> np.ndarray:
    """Margins of a calibrated model: 1/2 + u^k/2 is the confidence, with the mean `MODEL`."""
    power = 1 / (2 * MODEL - 1) - 1
    confidence = 0.5 + rng.random(n) ** power / 2 * (1 - 1e-9)
    size = np.log(confidence / (1 - confidence))
    return np.where(rng.random(n) < confidence, size, -size)


def real_sections(run: Path) -> list[str]:
    """A trained model's held-out pairs, one section a judge."""
    rows = [json.loads(line) for line in (run / "eval" / "held_out" / "rows.jsonl").open(encoding="utf-8")]
    rows = [row for row in rows if row["n_chosen"] == 1 and len(row["rewards"]) == 2 and None not in row["rewards"]]
    margins = np.array([row["rewards"][0] - row["rewards"][1] for row in rows])
    _, units = np.unique([row.get("group") or row["id"] for row in rows], return_inverse=True)
    first = np.isin(units, np.random.default_rng(17).permutation(units.max() + 1)[: (units.max() + 1) // 2])
    fitted = calibrate(margins[first], units[first], units[first] % 5, seed=1, resamples=RESAMPLES)
    if fitted is None or fitted.temperature is None:
        raise SystemExit(f"{run}: no temperature can be fitted on its held-out pairs")
    said = (
        f"Trained model of the run `{run.name}`: {len(rows):,} held-out pairs of {units.max() + 1:,} prompts; "
        f"temperature {fitted.temperature:.3g} from {int(first.sum()):,} of them, the curve from the others."
    )
    return [
        real_section(said, margins[~first], units[~first], fitted.temperature, fitted.temperature_ci, judge)
        for judge in REAL_JUDGES
    ]


def real_section(
    said: str,
    margins: np.ndarray,
    units: np.ndarray,
    temperature: float,
    interval: tuple[float, float] | None,
    judge: float,
) -> str:
    """One judge on real margins."""
    rng = np.random.default_rng([23, int(100 * judge)])
    trial = trial_of(margins, temperature, rng.random(len(margins)) < judge, units)
    points = curve(trial, SHARES, seed=1, resamples=RESAMPLES)
    band = predict(
        trial, margins.tolist(), temperature, interval, [one.limit for one in points], judge_accuracy=judge, seed=1
    )
    verdict, statement = weigh(
        points,
        mean_advantage(trial, seed=1, resamples=RESAMPLES),
        gain_of_everything(trial, seed=1, resamples=RESAMPLES),
    )
    lines = [
        f"Reward model {score(trial.model)}, judge simulated at {100 * judge:.0f} %: {score(trial.judge)}.",
        f"The curve {'stays within' if holds(band, points) else 'LEAVES'} the band that its calibration predicts.",
        f"{verdict}: {statement}",
    ]
    body = "\n".join(f"- {line}" for line in lines)
    return f"## Real pairs, judge of {100 * judge:.0f} %\n\n{said}\n\n{body}\n\n{table(points, band)}"


def trial_of(margins: np.ndarray, temperature: float, judge_right: np.ndarray, units: np.ndarray) -> Trial:
    """Pairs with the chosen response first, routed by calibrated probability."""
    said = opinions(np.stack([margins, np.zeros(len(margins))], axis=1), temperature)
    verdicts = [JudgeAnswer(float(right), usage=Usage(calls=2, cost=0.002)) for right in judge_right]
    return make_trial(Rules((Rule("probability"),)), said, [""] * len(margins), verdicts, units)


def holds(band: Band, points: Sequence[RoutePoint]) -> bool:
    """Whether a curve stays within its band."""
    return band.holds([one.accuracy.value for one in points])


def score(result: np.ndarray) -> str:
    """An accuracy with its interval."""
    found = accuracy(result, np.arange(len(result)), 1, RESAMPLES)
    return f"{100 * found.value:.1f} % ({100 * found.low:.1f} to {100 * found.high:.1f})"


def table(points: Sequence[RoutePoint], band: Band | None = None) -> str:
    """The curve; with a band, what was predicted."""
    rows = [
        [
            f"{100 * one.share:.1f}",
            f"{one.limit:.3f}",
            f"{100 * one.accuracy.value:.1f}",
            f"{100 * one.accuracy.low:.1f} to {100 * one.accuracy.high:.1f}",
            f"{100 * one.random:.1f}",
            f"{100 * one.difference.value:+.1f} ({100 * one.difference.low:.1f} to {100 * one.difference.high:.1f})",
            f"{100 * one.oracle:.1f}",
            "" if one.gain is None else f"{100 * one.gain:.0f}",
            *([] if band is None else [f"{100 * band.low[place]:.1f} to {100 * band.high[place]:.1f}"]),
        ]
        for place, one in enumerate(points)
    ]
    return markdown_table((*HEAD, *([] if band is None else ["predicted, %"])), rows)


if __name__ == "__main__":
    main()
