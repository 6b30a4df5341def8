"""Everything that a report shows, as one frozen value: both pages are made from it and from nothing else.

    view(records, texts) → Report

Texts that came from users (names, ids, messages of data) have passed `formatting.visible`; they are not escaped yet.
A part whose stage has not run is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rewardsmith.records.run import Manifest
from rewardsmith.records.training import TrainRecord
from rewardsmith.records.watch import WatchRecord
from rewardsmith.report.blocks import Block, Cell, Column, Grid, Section
from rewardsmith.report.formatting import (
    MISSING,
    Number,
    count,
    duration,
    moment,
    parameters,
    plural,
    short_hash,
    significant,
    visible,
)
from rewardsmith.report.reading import RunRecords
from rewardsmith.report.sections.analyses import analyses_section
from rewardsmith.report.sections.attack import attack_section
from rewardsmith.report.sections.checklist import constraints_section
from rewardsmith.report.sections.comparison import comparison_section
from rewardsmith.report.sections.component_map import map_section
from rewardsmith.report.sections.data import data_section
from rewardsmith.report.sections.diagnosis import diagnosis_section
from rewardsmith.report.sections.judges import judge_section, routing_section
from rewardsmith.report.sections.probes import probes_section
from rewardsmith.report.sections.rewards import rewards_section
from rewardsmith.report.sections.rows import BUDGET, Explorer, RowTexts, explorer
from rewardsmith.report.sections.scores import score_table, scores_section, sources_section
from rewardsmith.report.sections.training import noise_section, training_section
from rewardsmith.report.sections.variants import controls_section, variants_section
from rewardsmith.report.sections.verdict import RunVerdict, gates_section, run_verdict, watch_verdict
from rewardsmith.report.sections.watch import watch_section
from rewardsmith.spec import Spec, dump_spec


@dataclass(frozen=True, slots=True)
class KeyFigure:
    """One of the few numbers beside the verdict."""

    label: str
    number: Number
    unit: str
    note: str


@dataclass(frozen=True, slots=True)
class Report:
    """The whole report: the verdict, then sections in order; the rows stand after the gates, on the page alone."""

    title: str
    finished: str
    verdict: RunVerdict
    figures: tuple[KeyFigure, ...]
    sections: tuple[Section, ...]
    explorer: Explorer | None
    spec: str


def view(records: RunRecords, texts: RowTexts | None = None, *, budget: int = BUDGET) -> Report:
    """From records to what is shown.

    Args:
        texts: of the rows; None leaves them out.
        budget: bytes that rows and texts may take in the page.
    """
    if records.watch is not None and records == RunRecords(watch=records.watch):
        return _watched(records.watch)
    manifest = records.manifest
    name = manifest.name if manifest else records.spec.name if records.spec else _judges_name(records) or "run"
    stages = manifest.stages.values() if manifest else ()
    rows = explorer(records, texts, budget=budget)
    sections = (
        diagnosis_section(records.diagnosis, records.benchmarks, rows.mistakes_of if rows else {}),
        scores_section(records.benchmarks, rows.mistakes_of if rows else {}),
        sources_section(records.benchmarks, records.check),
        controls_section(records.controls),
        judge_section(records.judges),
        comparison_section(records.comparison),
        variants_section(records.benchmarks, records.replicas, records.curve),
        gates_section(records.gates),
        map_section(records),
        constraints_section(records),
        training_section(records.train, records.steps, suspects=records.noise is None),
        noise_section(records.noise),
        rewards_section(records.benchmarks, records.rewards),
        analyses_section(records.benchmarks, records.ood),
        probes_section(records.probes),
        attack_section(records.attack),
        watch_section(records.watch),
        routing_section(records.routing),
        data_section(records.check, records.rejected),
        provenance_section(manifest, records.train),
    )
    return Report(
        title=visible(name, 80),
        finished=moment(max((stage.finished for stage in stages), default="")),
        verdict=run_verdict(records),
        figures=tuple(_figures(records)),
        sections=tuple(section for section in sections if section),
        explorer=rows,
        spec=_resolved(records.spec) if records.spec else "",
    )


def _watched(record: WatchRecord) -> Report:
    """The page of a stream that was watched: there is no run beside it."""
    section = watch_section(record)
    return Report(
        title=visible(record.source, 80),
        finished="",
        verdict=watch_verdict(record),
        figures=(),
        sections=(section,) if section else (),
        explorer=None,
        spec="",
    )


def _judges_name(records: RunRecords) -> str:
    return " and ".join(dict.fromkeys(judge.settings.model for judge in records.judges.values()))


def _figures(records: RunRecords) -> list[KeyFigure]:
    figures = []
    for table in (score_table(key, result) for key, result in records.benchmarks.items()):
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


def provenance_section(manifest: Manifest | None, train: TrainRecord | None = None) -> Section:
    """What made this run: stages and what they cost in time, versions, hashes, seeds, machine."""
    if manifest is None:
        return Section("provenance", "Provenance", absent=("The pipeline", "manifest.json"))
    hashes = {"spec": manifest.spec_fingerprint} | dict(manifest.hashes)
    return Section(
        "provenance",
        "Provenance",
        (
            Block("", grids=(_stages(manifest, train),)),
            Block("Versions", facts=_pairs(manifest.versions)),
            Block(
                "Hashes",
                grids=(
                    Grid(
                        "Hashes of what went in",
                        (Column("Of", "name"), Column("SHA-256", "code")),
                        _pairs(hashes),
                        titled=False,
                    ),
                ),
            ),
            Block("Seeds and machine", facts=(*_pairs(manifest.seeds), ("Machine", visible(manifest.platform)))),
        ),
        sources=("manifest.json", "spec.yaml"),
    )


def _stages(manifest: Manifest, train: TrainRecord | None) -> Grid:
    """Each stage with its time, and that of the planner beside it where one was predicted."""
    predicted = {name: one.predicted for name, one in manifest.stages.items() if one.predicted is not None}
    columns = (
        Column("Stage", "name"),
        Column("State", "words"),
        Column("Time"),
        *((Column("Predicted"), Column("Time / predicted")) if predicted else ()),
        Column("Ended", "words"),
        Column("Inputs", "code"),
        Column("Detail", "words"),
    )
    rows = tuple(
        (
            visible(name, 60),
            stage.state,
            duration(stage.seconds),
            *(_beside(stage.seconds, stage.predicted) if predicted else ()),
            moment(stage.finished),
            short_hash(stage.fingerprint),
            visible(stage.detail) or (_continued(train) if name == "train" else "") or MISSING,
        )
        for name, stage in manifest.stages.items()
    )
    if not predicted:
        return Grid("Stages", columns, rows)
    took, foretold = sum(manifest.stages[name].seconds for name in predicted), sum(predicted.values())
    total = ("those predicted", "", duration(took), *_beside(took, foretold), "", "", "")
    return Grid("Stages", columns, rows, total=total)


def _beside(seconds: float, predicted: float | None) -> tuple[Cell, Cell]:
    if predicted is None:
        return MISSING, MISSING
    return duration(predicted), significant(seconds / predicted) if predicted else MISSING


def _continued(train: TrainRecord | None) -> str:
    """Why the time of a training is not that of its epoch."""
    step = train.resumed_from_step if train else None
    return f"continued from step {step:,}: the time of the rest" if step else ""


def _pairs(named: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    return tuple((visible(name, 120), visible(str(value), 80)) for name, value in named.items())


def _resolved(spec: Spec) -> str:
    return "\n".join(visible(line, 2000) for line in dump_spec(spec).splitlines())
