"""docs/records.md and docs/results.schema.json, written from the records: every file of a run and every answer of
`--json`, field by field, in the words of the docstring under each field.
"""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from typing import cast

from pages.words import Schema, heading_link, schema_words, table_cell
from rewardsmith.records.attack import AttackRecord
from rewardsmith.records.checkpoint import BulkRecord, CheckpointRecord, ExplainRecord, ExportRecord, VerifyRecord
from rewardsmith.records.checks import CheckRecord, FixRecord, RejectedRow
from rewardsmith.records.comparison import ComparisonRecord
from rewardsmith.records.diagnosis import DiagnosisRecord
from rewardsmith.records.doctor import DoctorRecord
from rewardsmith.records.evaluation import BenchmarkResult, OodRecord, RowResult
from rewardsmith.records.files import Record
from rewardsmith.records.judging import JudgeRecord
from rewardsmith.records.plan import PlanRecord
from rewardsmith.records.probes import PolicySamplesRecord, ProbesRecord
from rewardsmith.records.routing import AuditEntry, AuditHeader, ReplayRecord, RouteRow, RouteRunRecord, RoutingRecord
from rewardsmith.records.run import (
    DryRunRecord,
    GatesRecord,
    LiveRecord,
    Manifest,
    PushRecord,
    RunsRecord,
    TrackersRecord,
)
from rewardsmith.records.training import (
    ControlsRecord,
    LabelNoiseRecord,
    LearningCurveRecord,
    ReplicasRecord,
    StepMetrics,
    TrainRecord,
)
from rewardsmith.records.watch import WatchAuditItem, WatchRecord, WatchState

FILES: dict[str, tuple[str, type[Record]]] = {
    "check.json": ("check", CheckRecord),
    "rejected.jsonl, one a line": ("check", RejectedRow),
    "fix.json": ("check --fix", FixRecord),
    "train/summary.json": ("train", TrainRecord),
    "train/metrics.jsonl, one a line": ("train", StepMetrics),
    "label_noise.json": ("run", LabelNoiseRecord),
    "model/rewardsmith.json": ("train", CheckpointRecord),
    "eval/BENCHMARK/results.json": ("evaluate", BenchmarkResult),
    "eval/BENCHMARK/rows.jsonl, one a line": ("evaluate", RowResult),
    "probes.json": ("probe", ProbesRecord),
    "attack.json": ("attack", AttackRecord),
    "watch.json": ("watch", WatchRecord),
    "audit.jsonl, one a line": ("watch", WatchAuditItem),
    "watch.state.json": ("watch", WatchState),
    "policy_samples.json": ("probe --policy-samples", PolicySamplesRecord),
    "gates.json": ("run, evaluate --gates", GatesRecord),
    "ood.json": ("run", OodRecord),
    "diagnosis.json": ("run", DiagnosisRecord),
    "controls.json": ("run --controls", ControlsRecord),
    "manifest.json": ("run", Manifest),
    "live.json, while it works": ("run", LiveRecord),
    "trackers.json": ("run", TrackersRecord),
    "replicas.json": ("run, training.seeds", ReplicasRecord),
    "learning_curve.json": ("run --learning-curve", LearningCurveRecord),
    "run --dry-run --json": ("run --dry-run", DryRunRecord),
    "comparison.json": ("compare", ComparisonRecord),
    "plan.json": ("plan", PlanRecord),
    "score --json": ("score", BulkRecord),
    "explain --json": ("explain", ExplainRecord),
    "verify.json": ("verify", VerifyRecord),
    "doctor --json": ("doctor", DoctorRecord),
    "judge.json": ("judge", JudgeRecord),
    "routing.json": ("route calibrate", RoutingRecord),
    "route run, a row of its output": ("route run", RouteRow),
    "route run --json": ("route run", RouteRunRecord),
    "audit log, first line": ("route run, serve --audit", AuditHeader),
    "audit log, every other line": ("route run, serve --audit", AuditEntry),
    "route replay --json": ("route replay", ReplayRecord),
    "export --json": ("export", ExportRecord),
    "push --json": ("push", PushRecord),
    "ls --json": ("ls", RunsRecord),
}
"""What each file or answer holds: the command that writes it, and its record."""

_HEAD = """\
# Records: every file, field by field

What Rewardsmith writes for other programs. `schema` counts breaking changes; numbers are raw; NaN and infinity are
`null`. A file appears whole or not at all. Intervals are 95 %; shares and scores go from 0 to 1. For programs there is
[results.schema.json](results.schema.json). This page and the schema are generated from the records by `make docs`.

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


def field_docs(kind: type[Record]) -> dict[str, str]:
    """Name on disk → the docstring under the field in the source of the record, or of the record that it extends."""
    told = {}
    for base in reversed([base for base in kind.__mro__ if issubclass(base, Record)]):
        tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        for field, below in pairwise(cast("ast.ClassDef", tree.body[0]).body):
            match field, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    told[kind.model_fields[name].alias or name] = " ".join(text.split())
    return told


def _record(kind: type[Record]) -> str:
    schema: Schema = kind.model_json_schema(mode="serialization")
    told = inspect.cleandoc(kind.__doc__ or "")
    fields: Schema = schema["properties"] if "properties" in schema else schema["$defs"][kind.__name__]["properties"]
    docs = field_docs(kind)
    rows = "".join(
        f"| `{name}` | {table_cell(schema_words(field, heading_link))} | {table_cell(docs.get(name, ''))} |\n"
        for name, field in fields.items()
    )
    return f"\n## {kind.__name__}\n\n{told}\n\n| field | holds | meaning |\n| --- | --- | --- |\n{rows}"


def results_schema() -> Schema:
    """JSON schema (draft 2020-12) of `results.json`; what older versions did not write is not required."""
    schema = BenchmarkResult.model_json_schema()
    known = {kind.__name__: kind for kind in _every(Record)}
    for name, part in {BenchmarkResult.__name__: schema, **schema["$defs"]}.items():
        for field, text in field_docs(known[name]).items():
            part["properties"][field]["description"] = text
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def results_schema_page() -> str:
    """docs/results.schema.json: the schema as a file."""
    return json.dumps(results_schema(), indent=2, ensure_ascii=False) + "\n"
