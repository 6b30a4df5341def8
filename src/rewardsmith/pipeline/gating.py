"""The gates of a spec over one evaluation: for a checkpoint that was trained elsewhere, or in CI.

    verdict = gate_evaluation(spec, "rewardbench2", "rows.jsonl", result, Path("results"))

Only what the spec asks of this benchmark counts; what it asks of others, of held-out pairs and of probes is not this
evaluation's to answer. `gates.json` and `summary.md` appear beside `results.json`.
"""

from __future__ import annotations

from pathlib import Path

from rewardsmith import gates
from rewardsmith.errors import SpecError
from rewardsmith.records import BenchmarkResult, GatesRecord, write_json, write_text
from rewardsmith.report.markdown import render_markdown
from rewardsmith.report.reading import RunRecords
from rewardsmith.report.view import view
from rewardsmith.spec import BenchmarkSpec, EvaluationSpec, Spec


def gate_evaluation(spec: Spec, benchmark: str, data: str, result: BenchmarkResult, out: Path) -> GatesRecord:
    """Judge one result by the spec's gates and leave the verdict in `out`.

    Args:
        spec: whose `evaluation.gates` apply.
        benchmark: the benchmark's name, or the label under which the spec lists it.
        data: what was evaluated; tells benchmarks of one name apart.
        result: its scores.
        out: folder of `results.json`.

    Raises:
        SpecError: the spec lists no such benchmark, or a threshold that a guessing model would pass.
    """
    asked = _asked(spec, benchmark, data)
    known = {name: subset.baseline for name, subset in result.subsets.items()}
    if result.average_baseline is not None:
        known[gates.AVERAGE] = result.average_baseline
    evaluation = _narrowed(spec.evaluation, asked)
    gates.check_thresholds(evaluation.gates, {asked.key: known})
    verdict = gates.evaluate_gates({asked.key: result}, evaluation)
    write_json(out / "gates.json", verdict)
    write_text(out / "summary.md", render_markdown(view(RunRecords(benchmarks={asked.key: result}, gates=verdict))))
    return verdict


def _asked(spec: Spec, benchmark: str, data: str) -> BenchmarkSpec:
    """The benchmark of the spec that was evaluated: by label, else by name, and by data where several have it."""
    listed = [one for one in spec.evaluation.benchmarks if benchmark in (one.name, one.key)]
    same = [one for one in listed if one.data == data]
    if not listed:
        names = ", ".join(one.key for one in spec.evaluation.benchmarks) or "none"
        raise SpecError(
            f"lists no benchmark {benchmark!r}, so it has no gates for it (there: {names})",
            where="evaluation.benchmarks",
            fix="add the benchmark to the spec, or leave --gates out",
        )
    return (same or listed)[0]


def _narrowed(evaluation: EvaluationSpec, asked: BenchmarkSpec) -> EvaluationSpec:
    """The same rules for this benchmark alone."""
    minimum = {asked.key: evaluation.gates.minimum.get(asked.key, {})}
    rules = evaluation.gates.model_copy(update={"minimum": minimum})
    probes = evaluation.probes.model_copy(update={"pairs": 0})
    return evaluation.model_copy(update={"benchmarks": (asked,), "gates": rules, "probes": probes})
