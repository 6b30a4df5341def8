"""docs/records.md, written from the records: every file of a run and every answer of `--json`, field by field."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from pages.words import Schema, heading_link, schema_words, table_cell
from rewardsmith import records
from rewardsmith.records.files import Record

FILES: dict[str, tuple[str, type[Record]]] = {
    "check.json": ("check", records.CheckRecord),
    "rejected.jsonl, one a line": ("check", records.RejectedRow),
    "fix.json": ("check --fix", records.FixRecord),
    "train/summary.json": ("train", records.TrainRecord),
    "train/metrics.jsonl, one a line": ("train", records.StepMetrics),
    "label_noise.json": ("run", records.LabelNoiseRecord),
    "model/rewardsmith.json": ("train", records.CheckpointRecord),
    "eval/BENCHMARK/results.json": ("evaluate", records.BenchmarkResult),
    "eval/BENCHMARK/rows.jsonl, one a line": ("evaluate", records.RowResult),
    "probes.json": ("probe", records.ProbesRecord),
    "policy_samples.json": ("probe --policy-samples", records.PolicySamplesRecord),
    "gates.json": ("run, evaluate --gates", records.GatesRecord),
    "ood.json": ("run", records.OodRecord),
    "manifest.json": ("run", records.Manifest),
    "live.json, while it works": ("run", records.LiveRecord),
    "trackers.json": ("run", records.TrackersRecord),
    "replicas.json": ("run, training.seeds", records.ReplicasRecord),
    "learning_curve.json": ("run --learning-curve", records.LearningCurveRecord),
    "run --dry-run --json": ("run --dry-run", records.DryRunRecord),
    "comparison.json": ("compare", records.ComparisonRecord),
    "plan.json": ("plan", records.PlanRecord),
    "score --json": ("score", records.BulkRecord),
    "explain --json": ("explain", records.ExplainRecord),
    "verify.json": ("verify", records.VerifyRecord),
    "doctor --json": ("doctor", records.DoctorRecord),
    "judge.json": ("judge", records.JudgeRecord),
    "routing.json": ("route calibrate", records.RoutingRecord),
    "route run, a row of its output": ("route run", records.RouteRow),
    "route run --json": ("route run", records.RouteRunRecord),
    "audit log, first line": ("route run, serve --audit", records.AuditHeader),
    "audit log, every other line": ("route run, serve --audit", records.AuditEntry),
    "route replay --json": ("route replay", records.ReplayRecord),
    "export --json": ("export", records.ExportRecord),
    "push --json": ("push", records.PushRecord),
    "ls --json": ("ls", records.RunsRecord),
}
"""What each file or answer holds: the command that writes it, and its record."""

_HEAD = """\
# Records: every file, field by field

What Rewardsmith writes for other programs. `schema` counts breaking changes; numbers are raw; NaN and infinity are
`null`. A file appears whole or not at all. This page is generated from the records by `make docs`.

| file or answer | written by | record |
| --- | --- | --- |
"""


def records_page() -> str:
    """The page: which file holds which record, then every record with its fields, in the order of the files."""
    kinds = [kind for _, kind in FILES.values()]
    rows = "".join(
        f"| {file} | {command} | {heading_link(kind.__name__)} |\n" for file, (command, kind) in FILES.items()
    )
    return _HEAD + rows + "".join(_record(kind) for kind in _with_parts(kinds))


def _with_parts(kinds: list[type[Record]]) -> Iterator[type[Record]]:
    """Each record, and behind it the records that stand in its fields, once."""
    known = {kind.__qualname__: kind for kind in _every(Record)}
    seen: set[str] = set()
    for kind in kinds:
        for name in (kind.__name__, *kind.model_json_schema(mode="serialization").get("$defs", ())):
            if name not in seen and name in known:
                seen.add(name)
                yield known[name]


def _every(kind: type[Record]) -> Iterator[type[Record]]:
    for below in kind.__subclasses__():
        yield below
        yield from _every(below)


def _record(kind: type[Record]) -> str:
    schema: Schema = kind.model_json_schema(mode="serialization")
    told = inspect.cleandoc(kind.__doc__ or "")
    fields: Schema = schema["properties"] if "properties" in schema else schema["$defs"][kind.__name__]["properties"]
    rows = "".join(
        f"| `{name}` | {table_cell(schema_words(field, heading_link))} |\n" for name, field in fields.items()
    )
    return f"\n## {kind.__name__}\n\n{told}\n\n| field | holds |\n| --- | --- |\n{rows}"
