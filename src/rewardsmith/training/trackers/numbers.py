"""What trackers are told: names and numbers, the same for every tracker.

    train/loss, train/margin_mean, …                      each step: every number of `StepMetrics`
    eval/BENCHMARK/SUBSET/score, …/ci_low, …/ci_high, …/baseline      `average` is a subset too
    eval/BENCHMARK/rewards/mean, …/std
    probes/CODE/wrong, …/shift
    gates/passed, gates/failed                            1 or 0, and how many gates do not pass
    gates/RULE/BENCHMARK/SUBSET                           1 passes, 0 fails or has no data

Parts of a name keep letters, digits, `.`, `_` and `-`; anything else becomes `_`, because trackers differ in what they
take. Numbers that are missing or not finite are left out. No text of a user is among them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from rewardsmith.records.evaluation import BenchmarkResult
from rewardsmith.records.probes import ProbesRecord
from rewardsmith.records.run import GatesRecord
from rewardsmith.records.training import StepMetrics
from rewardsmith.spec import Spec

Numbers = dict[str, float]

_COMPARED = ("base_model", "adapter", "policy", "training", "seed", "backend")


def step_numbers(metrics: StepMetrics) -> Numbers:
    """One optimizer step."""
    return _finite((("train", name), value) for name, value in metrics.model_dump(exclude={"step"}).items())


def result_numbers(results: Mapping[str, BenchmarkResult]) -> Numbers:
    """Scores of all benchmarks, by key."""
    return _finite(pair for key, result in results.items() for pair in _of_result(key, result))


def probe_numbers(record: ProbesRecord | None) -> Numbers:
    """Bias probes; none where they did not run."""
    probes = record.probes if record else {}
    return _finite(
        (("probes", code, name), getattr(probe, name)) for code, probe in probes.items() for name in ("wrong", "shift")
    )


def gate_numbers(record: GatesRecord) -> Numbers:
    """Every gate and warning, and the verdict."""
    gates = [outcome for outcome in record.outcomes if outcome.kind == "gate"]
    verdict: list[tuple[tuple[str, ...], Any]] = [
        (("gates", "passed"), int(record.passed)),
        (("gates", "failed"), sum(outcome.verdict != "PASS" for outcome in gates)),
    ]
    each = [(("gates", one.name, one.benchmark, one.subset), int(one.verdict == "PASS")) for one in record.outcomes]
    return _finite([*verdict, *each])


def compared_settings(spec: Spec) -> dict[str, Any]:
    """Fields of the spec that people compare runs by, with dotted names; not where data and services are."""
    return dict(_flat(spec.model_dump(mode="json", include=set(_COMPARED))))


def metric_name(*parts: str) -> str:
    """A name that every tracker takes; empty parts are left out."""
    return "/".join(re.sub(r"[^A-Za-z0-9_.-]+", "_", part).strip(".") or "_" for part in parts if part)


def _of_result(key: str, result: BenchmarkResult) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, subset in result.subsets.items():
        for field in ("score", "ci_low", "ci_high", "baseline"):
            yield ("eval", key, name, field), getattr(subset, field)
    low, high = result.average_ci or (None, None)
    average = {"score": result.average, "ci_low": low, "ci_high": high, "baseline": result.average_baseline}
    yield from ((("eval", key, "average", field), value) for field, value in average.items())
    yield ("eval", key, "rewards", "mean"), result.rewards.mean
    yield ("eval", key, "rewards", "std"), result.rewards.std


def _finite(pairs: Any) -> Numbers:
    return {
        metric_name(*name): float(value) for name, value in pairs if value is not None and math.isfinite(float(value))
    }


def _flat(content: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name}.")
        elif value is not None:
            yield f"{above}{name}", value
