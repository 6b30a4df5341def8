"""Everything that a report shows, as one frozen value: both pages are made from it and from nothing else.

    view(records, texts) → Report

Texts that came from users (names, ids, messages of data) have passed `formatting.visible`; they are not escaped yet.
A part whose stage has not run is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rewardsmith.records.run import Manifest
from rewardsmith.report.blocks import Block
from rewardsmith.report.formatting import Number, count, duration, moment, parameters, plural, significant, visible
from rewardsmith.report.reading import RunRecords
from rewardsmith.report.sections.analyses import Analyses, analyses
from rewardsmith.report.sections.checklist import Constraint, checklist
from rewardsmith.report.sections.comparison import Against, against
from rewardsmith.report.sections.component_map import Stage, component_map
from rewardsmith.report.sections.data import DataView, data_view
from rewardsmith.report.sections.judges import judge_blocks, routing_block
from rewardsmith.report.sections.probes import ProbeTable, probe_table
from rewardsmith.report.sections.rows import BUDGET, Explorer, RowTexts, explorer
from rewardsmith.report.sections.scores import RewardTable, ScoreTable, reward_table, score_table
from rewardsmith.report.sections.training import TrainingView, Variants, noise_block, training_view, variants
from rewardsmith.report.sections.verdict import GateRow, Verdict, gate_rows, judge_run
from rewardsmith.spec import Spec, dump_spec


@dataclass(frozen=True, slots=True)
class KeyFigure:
    """One of the few numbers beside the verdict."""

    label: str
    number: Number
    unit: str
    note: str


@dataclass(frozen=True, slots=True)
class StageTime:
    """How a stage of the manifest ended."""

    name: str
    state: str
    seconds: str
    finished: str
    fingerprint: str
    detail: str


@dataclass(frozen=True, slots=True)
class Provenance:
    """What made this run."""

    platform: str
    versions: Mapping[str, str]
    hashes: Mapping[str, str]
    seeds: Mapping[str, int]
    stages: tuple[StageTime, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """The whole report."""

    title: str
    finished: str
    verdict: Verdict
    figures: tuple[KeyFigure, ...]
    benchmarks: tuple[ScoreTable, ...]
    judges: tuple[Block, ...]
    against: Against | None
    explorer: Explorer | None
    variants: Variants | None
    gates: tuple[GateRow, ...]
    stages: tuple[Stage, ...]
    constraints: tuple[Constraint, ...]
    training: TrainingView | None
    noise: Block | None
    rewards: tuple[RewardTable, ...]
    analyses: Analyses | None
    probes: ProbeTable | None
    routing: Block | None
    data: DataView | None
    provenance: Provenance | None
    spec: str


def view(records: RunRecords, texts: RowTexts | None = None, *, budget: int = BUDGET) -> Report:
    """From records to what is shown.

    Args:
        texts: of the rows; None leaves them out.
        budget: bytes that rows and texts may take in the page.
    """
    manifest = records.manifest
    name = manifest.name if manifest else records.spec.name if records.spec else _judges_name(records) or "run"
    stages = manifest.stages.values() if manifest else ()
    tables = tuple(score_table(key, result) for key, result in records.benchmarks.items())
    distributions = [
        reward_table(key, result, records.rewards.get(key, {})) for key, result in records.benchmarks.items()
    ]
    return Report(
        title=visible(name, 80),
        finished=moment(max((stage.finished for stage in stages), default="")),
        verdict=judge_run(records),
        figures=tuple(_figures(records, tables)),
        benchmarks=tables,
        judges=judge_blocks(records.judges),
        against=against(records.comparison),
        explorer=explorer(records, texts, budget=budget),
        variants=variants(records.benchmarks, records.replicas, records.curve),
        gates=gate_rows(records.gates),
        stages=component_map(records),
        constraints=checklist(records),
        training=training_view(records.train, records.steps, suspects=records.noise is None),
        noise=noise_block(records.noise),
        rewards=tuple(table for table in distributions if table),
        analyses=analyses(records.benchmarks, records.ood),
        probes=probe_table(records.probes),
        routing=routing_block(records.routing),
        data=data_view(records.check, records.rejected) if records.check else None,
        provenance=_provenance(manifest) if manifest else None,
        spec=_resolved(records.spec) if records.spec else "",
    )


def _judges_name(records: RunRecords) -> str:
    return " and ".join(dict.fromkeys(judge.settings.model for judge in records.judges.values()))


def _figures(records: RunRecords, tables: tuple[ScoreTable, ...]) -> list[KeyFigure]:
    figures = []
    for table in tables:
        row = table.average or (table.rows[0] if table.rows else None)
        if row:
            interval = f"{row.low} to {row.high}, " if row.low.value is not None else ""
            missing = f", {row.missing:,} rewards missing" if row.missing else ""
            figures.append(KeyFigure(table.title, row.score, "%", f"{interval}chance {row.baselines[0]}{missing}"))
    if records.check:
        note = f"of {plural(records.check.read, 'row')} read"
        figures.append(KeyFigure("Training pairs", count(records.check.train_pairs), "", note))
    if records.train:
        train = records.train
        base = Number(train.base_parameters, parameters(train.base_parameters))
        figures.append(KeyFigure("Base model", base, "", visible(train.base_model, 40)))
        note = f"{significant(train.pairs_per_second)} pairs per second"
        figures.append(KeyFigure("Training", Number(train.seconds, duration(train.seconds)), "", note))
    return figures


def _provenance(manifest: Manifest) -> Provenance:
    return Provenance(
        platform=visible(manifest.platform),
        versions={visible(name, 60): visible(version, 80) for name, version in manifest.versions.items()},
        hashes={"spec": manifest.spec_fingerprint}
        | {visible(name, 120): visible(value, 80) for name, value in manifest.hashes.items()},
        seeds={visible(name, 60): seed for name, seed in manifest.seeds.items()},
        stages=tuple(
            StageTime(
                visible(name, 60),
                stage.state,
                duration(stage.seconds),
                moment(stage.finished),
                stage.fingerprint,
                visible(stage.detail),
            )
            for name, stage in manifest.stages.items()
        ),
    )


def _resolved(spec: Spec) -> str:
    return "\n".join(visible(line, 2000) for line in dump_spec(spec).splitlines())
