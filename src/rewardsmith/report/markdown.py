"""View → `summary.md`: the same content and the same numbers as the page, for pull requests and terminals.

Texts from users pass through `markdown_text`, which escapes them.

The part of `summary.md` beside the scores: the same tables and numbers as the page.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from rewardsmith.report.blocks import Block, block_lines
from rewardsmith.report.charts import PLOTS
from rewardsmith.report.formatting import (
    Number,
    as_table,
    code,
    count,
    decimal,
    percent,
    prose,
    short_hash,
    significant,
    sparkline,
    visible,
)
from rewardsmith.report.sections.analyses import Analyses, Length, Reliability, Share, Skill
from rewardsmith.report.sections.comparison import against_lines
from rewardsmith.report.sections.component_map import Boundary
from rewardsmith.report.sections.data import DataView, FindingView
from rewardsmith.report.sections.probes import probe_lines
from rewardsmith.report.sections.scores import ScoreRow, ScoreTable, State
from rewardsmith.report.sections.training import Curves, as_lines, how_drawn
from rewardsmith.report.view import Report


def analyses_markdown(found: Analyses, signs: Mapping[State, str]) -> Iterator[str]:
    """Lines below the heading; a part without anything to show is left out."""
    if found.skills:
        yield from ("", "### Skill side by side", "")
        yield "Skill puts scores on one scale: 0 is chance, 1 is perfect. Gap: held-out pairs minus this one."
        yield ""
        head = ["Rows of", "Kind", "Rows", "Skill", "95 % interval", "Gap", "95 % interval of the gap", "Reading"]
        yield from as_table(head, [_skill(row, signs) for row in found.skills], right=range(2, 7))
    if found.spreads:
        yield from ("", "### Spread within a prompt", "")
        head = ["Rewards of", "Prompts", "Std within, median", "mean", "Std of all", "Variance within, %", "Flat, %"]
        yield from as_table(
            head,
            [
                [
                    prose(row.title),
                    *(
                        number.text
                        for number in (row.prompts, row.std_median, row.std_mean, row.std_all, row.within, row.flat)
                    ),
                ]
                for row in found.spreads
            ],
            right=range(1, 7),
        )
        flags = [(row.title, flag) for row in found.spreads for flag in row.flags]
        if flags:
            yield ""
            yield from (f"- {signs['warn']} {prose(title)}: {prose(flag)}" for title, flag in flags)
    if found.lengths:
        yield from _lengths(found)
    for reliability in found.reliabilities:
        yield from _reliability(reliability)
    for picking in found.pickings:
        yield from (
            "",
            f"### Best of n: {prose(picking.title)}",
            "",
            f"{signs[picking.state]} {prose(picking.text)}",
            "",
        )
        yield from as_table(
            ["n", "Gold", "95 % interval", "Any", "Best", "Reward", "KL at most"],
            [
                [
                    count(point.n).text,
                    f"**{decimal(point.gold, 3)}**",
                    f"{decimal(point.gold_low, 3)} to {decimal(point.gold_high, 3)}",
                    decimal(point.random, 3).text,
                    decimal(point.oracle, 3).text,
                    significant(point.reward).text,
                    decimal(point.kl_bound).text,
                ]
                for point in picking.curve.points
            ],
            right=range(7),
        )


def _lengths(found: Analyses) -> Iterator[str]:
    yield from ("", "### Length", "")
    yield "Correlation of reward and length among the answers of one prompt: 1 is a model that only measures length."
    yield ""
    head = ["Rewards of", "Correlation", "95 % interval", "of ranks", "Accuracy, longer is wrong", "longer is right"]
    rows = [_length(row) for row in found.lengths]
    yield from as_table([*head, "Score", "without trend"], rows, right=range(1, 8))
    if found.length_method:
        yield from ("", f"Without trend: {prose(found.length_method)}. For comparison only: rewards stay raw.")


def _length(row: Length) -> list[str]:
    return [
        prose(row.title),
        row.pearson.text,
        _interval(row.pearson_low, row.pearson_high),
        row.spearman.text,
        _share(row.longer_wrong),
        _share(row.longer_right),
        row.raw.text,
        row.untrended.text,
    ]


def _share(share: Share) -> str:
    if share.accuracy.value is None:
        return share.accuracy.text
    return f"{share.accuracy} ({share.low} to {share.high}, {share.n} pairs)"


def _skill(row: Skill, signs: Mapping[State, str]) -> list[str]:
    return [
        prose(row.title),
        row.kind,
        row.n.text,
        f"**{row.skill}**",
        _interval(row.low, row.high),
        row.gap.text,
        _interval(row.gap_low, row.gap_high),
        f"{signs[row.state]} {prose(row.reading)}" if row.reading else "",
    ]


def _reliability(found: Reliability) -> Iterator[str]:
    yield from ("", f"### Calibration: {prose(found.title)}", "")
    if found.note:
        yield from (prose(found.note), "")
    yield from as_table(["Fact", "Value"], [[prose(label), prose(value)] for label, value in found.facts])
    if found.points:
        yield ""
        yield from as_table(
            ["Stated, %", "Right, %", "95 % interval", "Pairs"],
            [
                [
                    percent(point.confidence).text,
                    percent(point.accuracy).text,
                    f"{percent(point.low)} to {percent(point.high)}",
                    count(point.n).text,
                ]
                for point in found.points
            ],
            right=range(4),
        )


def _interval(low: Number, high: Number) -> str:
    return "–" if low.value is None else f"{low} to {high}"


SIGNS: dict[State, str] = {"good": "✅", "warn": "⚠️", "bad": "❌", "open": "⬜"}


def render_markdown(report: Report) -> str:
    """The summary, ending in one newline."""
    parts = [
        _verdict(report),
        _scores(report),
        *([_judges(report.judges)] if report.judges else []),
        *([against_lines(report.against, SIGNS)] if report.against else []),
        *([as_lines(report.variants)] if report.variants else []),
        _gates(report),
        _map(report),
        _constraints(report),
        _training(report),
        *([_noise(report.noise)] if report.noise else []),
        _rewards(report),
        _analyses(report),
        *([probe_lines(report.probes, SIGNS)] if report.probes else []),
        *([block_lines(report.routing, SIGNS, level=2)] if report.routing else []),
        _data(report),
        _provenance(report),
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _verdict(report: Report) -> Iterator[str]:
    verdict = report.verdict
    yield f"# {SIGNS[verdict.state]} {verdict.word}: {prose(report.title)}"
    yield from ("", f"**{verdict.headline}**", "")
    yield from (f"- {SIGNS[reason.state]} {prose(reason.text)}" for reason in verdict.reasons)
    if verdict.next_steps:
        yield from ("", "What to do next:", "")
        yield from (f"{number}. {prose(step)}" for number, step in enumerate(verdict.next_steps, start=1))
    if report.figures:
        yield ""
        yield from as_table(
            [figure.label for figure in report.figures],
            [
                [f"**{figure.number}**{' ' + figure.unit if figure.unit else ''}" for figure in report.figures],
                [prose(figure.note) for figure in report.figures],
            ],
        )


def _scores(report: Report) -> Iterator[str]:
    yield "## Scores"
    if not report.benchmarks:
        yield from _absent("Evaluation", "eval/BENCHMARK/results.json")
    for table in report.benchmarks:
        yield from ("", f"### {prose(table.title)}", "", _source(table), "")
        rows = [*table.rows, *([table.average] if table.average else [])]
        head = ["Subset", "Rows", "Score, %", "95 % interval", *table.baseline_names, "p", "Reading"]
        yield from as_table(head, [_score_row(row) for row in rows], right=range(1, len(head) - 1))
        yield from ("", f"How this was counted: {prose(table.protocol)}")
        yield ""
        yield from (f"- Interval by {prose(method)}: {prose(subsets)}" for method, subsets in table.intervals)
        if table.measures:
            yield ""
            yield from as_table(
                ["Measure", "Value"], [[prose(name), value.text] for name, value in table.measures], right=[1]
            )


def _source(table: ScoreTable) -> str:
    if table.official:
        return f"The published data set in full: {code(table.source)}."
    if table.held_out:
        return f"The run’s own pairs, never trained on: {code(table.source)}."
    return f"{code(table.source)}, not the published data set: compare these scores among themselves only."


def _score_row(row: ScoreRow) -> list[str]:
    rows = f"{row.n} ({row.missing} missing)" if row.missing else row.n.text
    return [
        prose(row.name),
        rows,
        f"**{row.score}**",
        f"{row.low} to {row.high}",
        *(baseline.text for baseline in row.baselines),
        prose(row.p_value.text if row.p_holm.value is None else f"{row.p_value} (Holm {row.p_holm})"),
        f"{SIGNS[row.state]} {prose(row.reading)}",
    ]


def _gates(report: Report) -> Iterator[str]:
    yield from ("## Gates", "")
    if not report.gates:
        yield from _absent("Gates", "gates.json")
        return
    yield from as_table(
        ["Verdict", "Rule", "Of", "Value", "Threshold", "In words"],
        [
            [
                f"{SIGNS[gate.state]} {gate.verdict}",
                prose(gate.rule) + (" (warning)" if gate.kind == "warning" else ""),
                " · ".join(prose(part) for part in (gate.benchmark, gate.subset) if part) or "training",
                gate.value.text,
                gate.threshold.text,
                prose(gate.message),
            ]
            for gate in report.gates
        ],
        right=[3, 4],
    )


def _map(report: Report) -> Iterator[str]:
    yield from ("## Component map", "")
    yield "data → data contract → architecture → training → evaluation → gates → report, checkpoint"
    yield ""
    yield from as_table(
        ["Stage", "Receives", "Returns", "Must not", "How it fails", "In this run", "Verified where it ends"],
        [
            [
                f"**{stage.contract.title}**",
                prose(stage.contract.receives),
                prose(stage.contract.returns),
                prose(stage.contract.must_not),
                prose(stage.contract.fails),
                f"{SIGNS[stage.progress.state]} {prose('; '.join((stage.progress.word, *stage.progress.facts)))}",
                _boundary(stage.boundary) if stage.boundary else "",
            ]
            for stage in report.stages
        ],
    )


def _boundary(boundary: Boundary) -> str:
    unmet = f"; not: {', '.join(boundary.open)}" if boundary.open else ""
    return f"{SIGNS[boundary.state]} {prose(boundary.words + unmet)}"


def _constraints(report: Report) -> Iterator[str]:
    yield from ("## Constraints", "")
    yield from as_table(
        ["Constraint", "Verdict", "Found", "How"],
        [
            [
                prose(constraint.rule),
                f"{SIGNS[constraint.evidence.state]} {constraint.evidence.word}",
                prose(constraint.evidence.found),
                constraint.evidence.how,
            ]
            for constraint in report.constraints
        ],
    )


def _training(report: Report) -> Iterator[str]:
    yield from ("## Training", "")
    training = report.training
    if training is None:
        yield from _absent("Training", "train/summary.json")
        return
    trend = (
        f"**{training.verdict.capitalize()}.** {prose(training.trend)}" if training.trend else "Training has not ended."
    )
    yield trend
    if training.advice:
        yield from ("", prose(training.advice))
    if training.curves:
        yield ""
        yield from as_table(["Curve", "Over the epoch", "First", "Last"], _curve_rows(training.curves), right=[2, 3])
        yield from ("", how_drawn(training.curves).replace("Bold line", "Last: end of the bold line"))
    if training.facts:
        yield ""
        yield from as_table(["Fact", "Value"], [[label, prose(value)] for label, value in training.facts])
    yield from _findings(training.findings)
    if training.suspects:
        yield from ("", "### Suspected pairs", "")
        yield from as_table(
            ["Pair", "Source", "Subset", "Step", "Margin"],
            [
                [code(pair.id), code(pair.source), prose(pair.subset), pair.step.text, pair.margin.text]
                for pair in training.suspects
            ],
            right=[3, 4],
        )


def _noise(noise: Block) -> Iterator[str]:
    yield from block_lines(noise, SIGNS, level=2)


def _judges(judges: Sequence[Block]) -> Iterator[str]:
    yield "## Judge"
    for judge in judges:
        yield from ("", *block_lines(judge, SIGNS))


def _curve_rows(curves: Curves) -> list[list[str]]:
    plots = [plot for plot in PLOTS if np.isfinite(curves.series[plot.field]).any()]
    return [
        [
            plot.title,
            sparkline(curves.smooth[plot.field].tolist()),
            significant(curves.first(plot.field)).text,
            significant(curves.last(plot.field)).text,
        ]
        for plot in plots
    ]


def _rewards(report: Report) -> Iterator[str]:
    yield "## Rewards"
    if not report.rewards:
        yield from ("", *_absent("Evaluation", "eval/BENCHMARK/results.json"))
    for table in report.rewards:
        yield from ("", f"### {prose(table.title)}", "")
        yield from as_table(
            ["Subset", "Rewards", "Mean", "Std", "Lowest", "Highest", "Distinct"],
            [
                [
                    prose(row.name),
                    *(number.text for number in (row.n, row.mean, row.std, row.low, row.high, row.distinct)),
                ]
                for row in table.rows
            ],
            right=range(1, 7),
        )


def _analyses(report: Report) -> Iterator[str]:
    yield "## Beside the scores"
    if report.analyses is None:
        yield from ("", *_absent("Evaluation", "eval/BENCHMARK/results.json"))
    else:
        yield from analyses_markdown(report.analyses, SIGNS)


def _data(report: Report) -> Iterator[str]:
    yield from ("## Data", "")
    data = report.data
    if data is None:
        yield from _absent("The data contract", "check.json")
        return
    yield f"The data contract {'holds' if data.passed else 'does not hold'}."
    yield ""
    yield from as_table(
        ["Source", "Role", "Read", "Kept", "Rejected", "Content"],
        [
            [
                code(visible(source.source, 120)),
                source.role.replace("_", "-"),
                count(source.read).text,
                count(source.kept).text,
                count(source.rejected).text,
                code(short_hash(source.sha256 or source.revision) or "–"),
            ]
            for source in data.sources
        ],
        right=[2, 3, 4],
    )
    yield from _findings(data.findings)
    yield from _rejected(data)
    yield from ("", "### Counts and rules", "")
    yield from as_table(["Fact", "Value"], [[label, prose(value)] for label, value in data.facts])
    for block in data.blocks:
        yield ""
        yield from block_lines(block, SIGNS)


def _findings(findings: Iterable[FindingView]) -> Iterator[str]:
    for found in findings:
        yield from ("", f"### {SIGNS[found.state]} {prose(found.title)}", "")
        interval = f", 95 % interval {found.interval}" if found.interval else ""
        size = f"{found.severity.capitalize()} {code(found.code)}, {found.size}{interval}."
        yield f"{size} {prose(found.summary)}".strip()
        yield f"{prose(found.meaning)} {prose(found.why)}"
        yield f"Fix: {prose(found.fix)}"
        if found.examples:
            yield ""
            yield from (f"- {code(one.place)} {code(one.id)} {code(one.detail)}" for one in found.examples)


def _rejected(data: DataView) -> Iterator[str]:
    if not data.reasons:
        return
    yield from ("", "### Rejected rows", "")
    yield from as_table(
        ["Reason", "Rows"], [[code(reason), number.text] for reason, number, _ in data.reasons], right=[1]
    )
    if data.rejected:
        yield from ("", f"The first {len(data.rejected)} of {data.rejected_total:,}:", "")
        yield from as_table(
            ["Row", "Id", "Role", "Reason", "Found"],
            [[code(row.place), code(row.id), row.role, code(row.reason), code(row.detail)] for row in data.rejected],
        )


def _provenance(report: Report) -> Iterator[str]:
    yield from ("## Provenance", "")
    made = report.provenance
    if made is None:
        yield from _absent("The pipeline", "manifest.json")
        return
    yield from as_table(
        ["Stage", "State", "Time", "Ended", "Inputs", "Detail"],
        [
            [
                stage.name,
                stage.state,
                stage.seconds,
                stage.finished,
                code(short_hash(stage.fingerprint)),
                prose(stage.detail),
            ]
            for stage in made.stages
        ],
        right=[2],
    )
    yield ""
    facts = [("version of " + name, version) for name, version in made.versions.items()]
    facts += [("hash of " + name, value) for name, value in made.hashes.items()]
    facts += [("seed of " + name, str(seed)) for name, seed in made.seeds.items()]
    yield from as_table(["Fact", "Value"], [[prose(name), code(value)] for name, value in facts])
    yield from ("", f"Machine: {prose(made.platform)}")


def _absent(what: str, file: str) -> Iterator[str]:
    yield f"{what}: not run (`{file}` is not there)."
