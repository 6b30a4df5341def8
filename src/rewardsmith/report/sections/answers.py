"""What commands answer that no page of a run holds: plans, paths to a reward, tokens, runs, versions.

plan_section(plan)            what a spec will need            verify_section(record)    the same reward on every path
dry_run_section(record)       what a run would do              explain_section(record)   a text as the model sees it
runs_section(record)          the runs of a folder             doctor_section(record)    what does not work any more
shown_section(pairs)          pairs as read and as rendered
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from rewardsmith.records.checkpoint import ExplainedText, ExplainRecord, FileFinding, PathResult, VerifyRecord
from rewardsmith.records.checks import ShownRow
from rewardsmith.records.doctor import DoctorFinding, DoctorRecord
from rewardsmith.records.plan import PlanRecord, StageTime
from rewardsmith.records.run import DryRunRecord, RunsRecord, RunSummary
from rewardsmith.report.blocks import Block, Cell, Column, Grid, Noted, Section, Sign
from rewardsmith.report.formatting import (
    MISSING,
    State,
    count,
    decimal,
    duration,
    parameters,
    percent,
    plural,
    signed,
    significant,
    visible,
)

_WORDS = 600  # characters of a message
_GIB = 2**30


def plan_section(plan: PlanRecord) -> Section:
    """What trains and whether it fits, and what that rests on."""
    choice = plan.choice
    fits = "fits" if choice.fits else "does not fit"
    return Section(
        "plan",
        f"{choice.backend}, {choice.strategy}: {fits}",
        (
            Block(
                "",
                reading=visible(choice.reason, _WORDS),
                state="good" if choice.fits else "bad",
                texts=tuple(f"`{visible(command, _WORDS)}`" for command in plan.launch),
                facts=tuple(_sizes(plan)),
                grids=(*_times(plan.times), _memory(plan), _graders(plan)),
            ),
            _contracts(plan),
            Block("What it rests on", lines=tuple(_rests_on(plan))),
        ),
    )


def _sizes(plan: PlanRecord) -> Iterator[tuple[str, str]]:
    model, machine, tokens, time = plan.model, plan.machine, plan.tokens, plan.time
    yield "Base", f"{visible(model.id, 60)}, {parameters(model.parameters)} parameters"
    yield "Trained", parameters(model.trained)
    family = f" ({model.policy_family})" if model.policy_family else ""
    known = model.policy_parameters is not None
    yield "Policy", (f"{parameters(model.policy_parameters)} parameters" if known else "not stated") + family
    each = f"{decimal(machine.memory / _GIB)} GiB each"
    yield "Machine", f"{machine.nodes} × {machine.devices_per_node} × {machine.name}, {each}"
    padded = f" ({model.why_padded})" if model.why_padded else ""
    yield "Pair", f"{tokens.of_pair:,.0f} tokens as {model.layout}{padded}"
    kernel = f"; attention: {model.kernel}" if model.kernel else ""
    yield "Pass", f"{tokens.micro_batch:,.0f} tokens; {tokens.passes_per_step} a device and step{kernel}"
    network = f"; network {duration(time.network_seconds)}, {significant(time.network_bytes)} bytes a device"
    cost = "" if time.cost is None else f", ${time.cost:,.2f}"
    took = f"{duration(time.seconds)} ({significant(time.operations)} operations"
    yield f"Time of {time.pairs:,} pairs", f"{took}{network if time.network_seconds else ''}){cost}"


def _times(times: Sequence[StageTime]) -> tuple[Grid, ...]:
    """Seconds of each stage, and of all; none in older records."""
    if not times:
        return ()
    total = sum(one.seconds for one in times)
    columns = (Column("Stage", "name"), Column("Time", strong=True), Column("Of all, %"), Column("Counts", "words"))
    rows = tuple(
        (one.stage, duration(one.seconds), percent(one.seconds / total if total else None), visible(one.basis, 120))
        for one in times
    )
    all_of_it = ("all stages", duration(total), percent(1.0 if total else None), "")
    return (Grid("Time of each stage, estimated", columns, rows, total=all_of_it),)


def _memory(plan: PlanRecord) -> Grid:
    columns = (
        *(Column(name, "words") for name in ("Backend", "Strategy", "Adapter")),
        *(Column(name) for name in ("Devices", "Weights", "Gradients", "Optimizer", "Activations", "Buffers")),
        Column("Peak", strong=True),
        Column("Peak at", "words"),
        Column("Fits", "badge"),
    )
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            row.backend,
            row.strategy,
            row.adapter,
            count(row.devices),
            *(
                decimal(part / _GIB)
                for part in (row.weights, row.gradients, row.optimizer, row.activations, row.buffers, row.peak)
            ),
            row.phase,
            Sign("good", "yes") if row.fits else Sign("bad", "no"),
        )
        for row in plan.memory
    )
    return Grid("Memory, GiB of a device", columns, rows)


def _graders(plan: PlanRecord) -> Grid:
    columns = (
        Column("Grader", "name"),
        Column("One reward, ms"),
        Column("A second"),
        Column("$ a million"),
        Column("Within budget", "words"),
        Column("From", "words"),
    )
    rows = tuple(
        (
            row.kind,
            decimal(row.seconds * 1000, 0),
            decimal(row.per_second, 1),
            decimal(row.per_million),
            "yes" if row.within_budget else "no",
            visible(row.source, 80),
        )
        for row in plan.scoring
    )
    return Grid(f"Graders: {plan.advice.kind}. {visible(plan.advice.reason, _WORDS)}", columns, rows)


def _contracts(plan: PlanRecord) -> Block:
    labels = ("Stage", "In this run", "Receives", "Returns", "Must not", "On failure")
    columns = tuple(Column(label, "words" if place else "name") for place, label in enumerate(labels))
    rows = tuple(
        (stage.title, "; ".join(stage.here), stage.receives, stage.returns, stage.must_not, stage.fails)
        for stage in plan.stages
    )
    return Block("Stages", grids=(Grid("The contract of each stage", columns, rows, titled=False),))


def _rests_on(plan: PlanRecord) -> Iterator[Sign | str]:
    for note in plan.sizing:
        yield f"size: {visible(note.text, _WORDS)} ({visible(note.source, 120)})"
    for warning in plan.warnings:
        yield Sign("warn", f"warning: {visible(warning, _WORDS)}")
    for assumption in plan.assumptions:
        yield f"assumed: {visible(assumption, _WORDS)}"


_STAGE_STATES: dict[str, State] = {"would run": "open", "would continue": "warn", "unchanged": "good"}


def dry_run_section(record: DryRunRecord) -> Section:
    """What was opened, and what a run would do at each stage."""
    deletes = " (what is there would be deleted)" if record.deletes else ""
    base = f"{visible(record.base, 80)}, {parameters(record.base_parameters)} parameters"
    found = "; ".join(visible(one) for one in record.findings) or "nothing to fix"
    stages = tuple(
        (stage.name, Sign(_STAGE_STATES[stage.state], stage.state), ", ".join(map(visible, stage.files)))
        for stage in record.stages
    )
    columns = (Column("Stage", "name"), Column("State", "badge"), Column("Files", "words"))
    return Section(
        "dry-run",
        "What a run would do",
        (
            Block(
                "",
                facts=(
                    ("Run", f"{visible(record.run)}{deletes}"),
                    ("Base", f"{base}; policy {parameters(record.policy_parameters)}"),
                    ("Trains", f"backend {record.backend}, device {record.device}"),
                    ("Pairs", f"{plural(record.rows, 'row')} looked at: {found}"),
                    *(
                        ("Asks", f"{visible(key, 60)}, {plural(rows, 'row')}")
                        for key, rows in record.benchmarks.items()
                    ),
                    ("Flight", visible(record.flight, _WORDS)),
                ),
                grids=(Grid("Stages", columns, stages, titled=False), *_times(record.times)),
                lines=(
                    *(Sign("warn", f"warning: {visible(warning, _WORDS)}") for warning in record.warnings),
                    "Nothing was written.",
                ),
            ),
        ),
    )


def verify_section(record: VerifyRecord) -> Section:
    """Every path to a reward beside the reference, and what stands wrong in the files."""
    columns = (
        Column("Verdict", "badge"),
        Column("Path", "name"),
        Column("Largest difference"),
        Column("Tolerance"),
        Column("Rank flips"),
        Column("Why", "words"),
    )
    lines: list[Sign | str] = []
    for path in record.paths:
        if path.verdict == "FAIL":
            worst = f"worst: {path.reference} became {path.reward}, at …{visible(path.worst)!r}"
            lines.append(Sign("bad", f"{path.path}: {visible(path.why, _WORDS)}; {worst}; try: {path.fix}"))
    lines += [f"note: {visible(note, _WORDS)}" for note in record.notes]
    if record.weights is not None and not any("in memory" in one.problem for one in record.findings):
        lines.append(f"weights: {record.weights} tensors in memory are those of the files")
    lines += map(_file_line, record.findings)
    return Section(
        "verify",
        f"Verification on {plural(record.conversations, 'conversation')}",
        (
            Block(
                "",
                grids=(Grid("Paths to a reward", columns, tuple(map(_path_cells, record.paths)), titled=False),),
                lines=tuple(lines),
            ),
        ),
        verdicts=(Sign("good", "PASS") if record.passed else Sign("bad", "FAIL"),),
    )


_VERDICTS: dict[str, State] = {"PASS": "good", "FAIL": "bad", "NO_DATA": "warn"}


def _path_cells(path: PathResult) -> tuple[Cell, ...]:
    return (
        Sign(_VERDICTS[path.verdict], path.verdict.replace("_", " ")),
        path.path,
        significant(path.largest, 2),
        significant(path.tolerance, 2),
        f"{path.flips:,} of {path.pairs:,}" if path.compared else "",
        visible(path.why) if path.verdict == "NO_DATA" else "",
    )


def _file_line(one: FileFinding) -> Sign:
    kind = "" if one.fails else "note: "
    said = f"{kind}{one.file}, field '{one.field}': {one.value}: {one.problem}; try: {one.fix}"
    return Sign("bad" if one.fails else "warn", visible(said, 2 * _WORDS))


_TOKENS_SHOWN = 120
_AROUND_A_JUMP = 2


def explain_section(record: ExplainRecord) -> Section:
    """Each text with its facts, its tokens and the biggest jumps of the reward; for a pair, the margin."""
    margin: tuple[Block, ...] = ()
    if record.margin is not None:
        apart = f"the texts differ from token {record.first_difference} on"
        margin = (Block("", lines=(f"margin (chosen − rejected): {signed(record.margin, 4)}; {apart}",)),)
    return Section("explain", "", (*(_text_block(text, record) for text in record.texts), *margin))


def _text_block(text: ExplainedText, record: ExplainRecord) -> Block:
    return Block(
        f"{text.name} of {visible(record.source)}",
        texts=(visible(text.text.replace("\n", "⏎"), 2000),),
        facts=tuple(_text_facts(text, record)),
        grids=(_token_grid(text),),
    )


def _text_facts(text: ExplainedText, record: ExplainRecord) -> Iterator[tuple[str, str]]:
    last, at = text.tokens[-1], len(text.tokens) - 1
    begins = f"the response begins at {text.response_start}"
    yield "Tokens", f"{len(text.tokens):,} of at most {record.max_length:,}; {begins}"
    if text.cut:
        yield "Cut", f"{text.cut:,} prompt tokens ({record.over_length}): {visible(text.cut_text, 300)}"
    ends = f"yes, {text.eos_token} at {at}" if text.ends_with_eos else f"NO: it ends with {visible(last.token)}"
    yield "EOS", f"{ends}{', DOUBLED' if text.eos_doubled else ''}"
    beside = f"; behind the one that the tokenizer adds to plain text the reward is {text.reward_with_bos}"
    times = {0: "none", 1: "once"}.get(text.bos, f"{text.bos} TIMES")
    yield "BOS", times + (beside if text.reward_with_bos is not None else "")
    where = "by the encoder's own pooler" if text.pooling_position is None else f"at token {text.pooling_position}"
    yield "Reward", f"{signed(text.reward, 4)}, read {where}"
    yield "Running", f"{record.running}; the head was trained at EOS only"


def _token_grid(text: ExplainedText) -> Grid:
    columns = (
        Column("Token"),
        Column("Id"),
        Column("Text", "name"),
        Column("Reward"),
        Column("Change"),
        Column("Jump", "words"),
    )
    ranks = {position: rank for rank, position in enumerate(text.jumps, start=1)}
    rows: list[tuple[Cell, ...]] = []
    before = text.response_start - 1
    if before > 0:
        rows.append(_left_out(f"… {before:,} prompt tokens …"))
    last = max(before, 0) - 1
    for position in _shown(text):
        if position > last + 1:
            rows.append(_left_out(f"… {position - last - 1:,} tokens …"))
        last = position
        token = text.tokens[position]
        up = (token.change or 0) > 0
        jump = Sign("good" if up else "bad", f"{'▲' if up else '▼'} {ranks[position]}") if position in ranks else ""
        blank = not token.text.strip(" ")
        written = repr(token.text) if blank else visible(token.text.replace("\n", "⏎"), 40)
        change = "" if token.change is None else signed(token.change, 3)
        reward = "" if token.reward is None else signed(token.reward, 3)
        rows.append((str(position), str(token.id), written, reward, change, jump))
    return Grid("Reward after each token", columns, tuple(rows), titled=False)


def _left_out(words: str) -> tuple[Cell, ...]:
    return ("", "", words, "", "", "")


def _shown(text: ExplainedText) -> list[int]:
    """Positions of the response with the token before it; of a long one, those around the largest jumps and the end."""
    positions = list(range(max(text.response_start - 1, 0), len(text.tokens)))
    if len(positions) <= _TOKENS_SHOWN:
        return positions
    centres = {positions[0], len(text.tokens) - 1, *text.jumps}
    return [position for position in positions if min(abs(position - one) for one in centres) <= _AROUND_A_JUMP]


_RUN_STATES: dict[str, State] = {"PASS": "good", "FAIL": "bad", "STOPPED": "bad"}
_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def runs_section(record: RunsRecord) -> Section:
    """One line a run, the newest first."""
    columns = (
        Column("Run", "name"),
        Column("Verdict", "badge"),
        Column("Stage", "words"),
        Column("Base", "words"),
        Column("Pairs"),
        Column("Average, %", strong=True),
        Column("Age"),
        Column("Of", "words"),
    )
    grid = Grid(f"Runs in {visible(record.folder)}", columns, tuple(map(_run_cells, record.runs)), titled=False)
    notes = tuple(
        Sign("warn", f"note: {visible(run.path)}: {visible(note, _WORDS)}") for run in record.runs for note in run.notes
    )
    return Section("runs", "", (Block("", grids=(grid,) if record.runs else (), lines=notes),))


def _run_cells(run: RunSummary) -> tuple[Cell, ...]:
    name = visible(run.name, 80)
    if run.problem:
        return (name, Sign("warn", "?"), visible(run.problem), "", "", "", "", "")
    benchmark: Cell = visible(run.benchmark, 60)
    if run.missing:
        benchmark = Noted(visible(run.benchmark, 60), (f"{run.missing:,} rewards missing",))
    return (
        name,
        Sign(_RUN_STATES.get(run.verdict, "open"), run.verdict),
        Sign("good", run.stage) if run.working else run.stage,
        visible(run.base, 80),
        count(run.pairs),
        percent(run.average),
        age(run.age),
        benchmark,
    )


def age(seconds: float | None) -> str:
    """A time in its largest unit: 45 s, 3 min, 2 h, 5 d; "–" where none is known."""
    if seconds is None:
        return MISSING
    unit, size = next((one for one in _UNITS if seconds >= one[1]), _UNITS[-1])
    return f"{int(seconds // size)} {unit}"


_SEVERITIES: dict[str, State] = {"error": "bad", "warning": "warn", "note": "open"}


def doctor_section(record: DoctorRecord) -> Section:
    """Versions, then every finding with place, reason and fix, then what was not read, then the count."""
    versions = {package.name: package.version for package in record.installed}
    rows = []
    for name in {**versions, **record.against}:
        judged = record.against.get(name, "")
        if name in record.assumed:
            judged += ", the newest known"
        elif judged == versions.get(name):
            judged = ""
        if name in versions or (judged and record.files):
            rows.append((visible(name, 60), visible(versions.get(name, "no"), 60), visible(judged, 80)))
    columns = (Column("Package", "name"), Column("Installed", "words"), Column("Checked as", "words"))
    title = f"Python {record.python_version}, {visible(record.python)}"
    return Section(
        "doctor",
        "",
        (
            Block(title, grids=(Grid("Versions", columns, tuple(rows), titled=False),)),
            *map(_doctor_block, record.findings),
            Block(
                "",
                lines=(
                    *(Sign("warn", f"not read: {visible(one.file)}: {visible(one.why)}") for one in record.unreadable),
                    doctor_counts(record),
                ),
            ),
        ),
    )


def _doctor_block(finding: DoctorFinding) -> Block:
    place = visible(finding.file)
    if finding.cell is not None:
        place += f", cell {finding.cell}"
    if finding.line is not None:
        place += f", line {finding.line}" if finding.cell is not None else f":{finding.line}"
    since = f" (since {finding.package} {finding.since})" if finding.since else ""
    source = f"source: {visible(finding.source)}, " if finding.source else ""
    return Block(
        f"{place}  {visible(finding.found)}" if place else visible(finding.found),
        badge=Sign(_SEVERITIES[finding.severity], finding.severity),
        texts=(
            f"{visible(finding.problem, _WORDS)}{since}",
            *((f"now: {visible(finding.replacement)}",) if finding.replacement else ()),
            f"try: {visible(finding.fix, _WORDS)}{' [--fix]' if finding.fixable else ''}",
            f"{source}rule {finding.rule}" if source else f"rule: {finding.rule}",
        ),
    )


def doctor_counts(record: DoctorRecord) -> str:
    """How many findings of each severity, and how much was looked at."""
    grave = [finding.severity for finding in record.findings]
    counted = ", ".join(f"{grave.count(kind)} {kind}s" for kind in ("error", "warning", "note") if kind in grave)
    looked = f"{record.files} files" + (f", {len(record.checkpoints)} checkpoints" if record.checkpoints else "")
    return f"{counted or 'nothing found'} ({looked})"


def shown_section(shown: Sequence[ShownRow]) -> Section:
    """Pairs as read, and the text that the model will see of each side."""
    return Section("shown", "", tuple(map(_shown_block, shown)))


def _shown_block(pair: ShownRow) -> Block:
    margin = "" if pair.margin is None else f", margin {pair.margin:g}"
    facts: list[tuple[str, str]] = []
    for name in ("prompt", "chosen", "rejected"):
        for turn in getattr(pair, name):
            rest = {key: value for key, value in turn.items() if key not in ("role", "content")}
            more = f" {json.dumps(rest, ensure_ascii=False)}" if rest else ""
            facts.append((f"{name} {turn['role']}", visible(f"{turn['content']}{more}", _WORDS)))
    if pair.tools:
        facts.append(("tools", visible(json.dumps(pair.tools, ensure_ascii=False), _WORDS)))
    facts += [(name.replace("_", " "), visible(repr(getattr(pair, name)), _WORDS)) for name in _RENDERED]
    return Block(f"{visible(pair.source)}, row {pair.row}{margin}", facts=tuple(facts))


_RENDERED = ("chosen_text", "rejected_text")
