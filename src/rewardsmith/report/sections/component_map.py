"""The layers of a run, the contract at each boundary, and what this run did there, as a drawing and a table.

    map_section(records) → Section
    component_map(records) → eight stages, in the order in which data flows

The contract is the method's and is the same in every run; state and facts come from the records. `edge` is what flows
on to the next stage, in two short lines, and `boundary` what was verified of it there: constraints of the checklist.

The drawing has a box for each stage with the sign of how it ended, arrows that name what flows, and on each arrow the
sign of what was verified at that boundary. There are two layouts: `wide` snakes over two rows of four columns, `tall`
is one column for narrow screens. The page shows one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from rewardsmith.report.blocks import Block, Cell, Column, Grid, Noted, Section, Sign
from rewardsmith.report.formatting import State, duration, parameters, plural, significant, visible
from rewardsmith.report.reading import RunRecords
from rewardsmith.report.sections.checklist import Evidence, checklist
from rewardsmith.report.sections.verdict import failing, run_verdict
from rewardsmith.report.svg import drawing, element, line, sign, text


@dataclass(frozen=True, slots=True)
class Contract:
    """What a stage promises to its neighbours."""

    title: str
    receives: str
    returns: str
    must_not: str
    fails: str


@dataclass(frozen=True, slots=True)
class Progress:
    """What a stage did in this run; `facts` are short enough for a box."""

    state: State
    word: str
    facts: tuple[str, ...] = ()
    edge: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True)
class Boundary:
    """What leaves a stage, checked: how many of its constraints hold, and those that do not, or are not verified."""

    state: State
    words: str
    open: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stage:
    """One box of the map. `boundary` is None where nothing flows on."""

    key: str
    contract: Contract
    progress: Progress
    boundary: Boundary | None = None


def map_section(records: RunRecords) -> Section:
    """The map as a drawing, and the contract of each stage with what this run did there."""
    stages = component_map(records)
    columns = (
        Column("Stage", "name"),
        Column("Receives", "words"),
        Column("Returns", "words"),
        Column("Must not", "words"),
        Column("How it fails", "words"),
        Column("In this run", "badge"),
        Column("Verified where it ends", "words"),
    )
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            stage.contract.title,
            stage.contract.receives,
            stage.contract.returns,
            stage.contract.must_not,
            stage.contract.fails,
            Noted(Sign(stage.progress.state, stage.progress.word), ("; ".join(stage.progress.facts),)),
            _verdict_on(stage.boundary) if stage.boundary else "",
        )
        for stage in stages
    )
    caption = "The contract of each stage and what this run did there"
    return Section(
        "map",
        "Component map",
        (Block("", grids=(Grid(caption, columns, rows, titled=False, look="contracts"),)),),
        lead="What flowed where in this run, and the contract of each stage. The sign on an arrow says whether the "
        "constraints at that boundary were verified.",
        drawing=wide_map(stages) + tall_map(stages),
    )


def _verdict_on(boundary: Boundary) -> Sign:
    unmet = f"; not: {', '.join(boundary.open)}" if boundary.open else ""
    return Sign(boundary.state, boundary.words + unmet)


def component_map(records: RunRecords) -> tuple[Stage, ...]:
    """All stages with their contract, what this run did, and what was verified where they end."""
    found = checklist(records)
    return tuple(
        Stage(key, contract, _PROGRESS[key](records), _boundary(key, found)) for key, contract in CONTRACTS.items()
    )


CONTRACTS: dict[str, Contract] = {
    "data": Contract(
        "Data",
        "Sources named in the spec: hub ids, JSONL, Parquet, CSV.",
        "Preference pairs: prompt, chosen, rejected.",
        "Repair a row silently, or guess a column.",
        "Names file, row and field, and what to write instead.",
    ),
    "contract": Contract(
        "Data contract",
        "Preference pairs and the tokenizer.",
        "Kept pairs as tokens that end in EOS; held-out pairs; findings; every rejected row with its reason.",
        "Drop or cut anything without recording it.",
        "A finding under fail_on ends the run before training.",
    ),
    "architecture": Contract(
        "Architecture",
        "A pretrained decoder no larger than the policy.",
        "The same decoder with one reward per text, read at the last token that the mask keeps.",
        "Run code from a model repository; read pickled weights; squash the reward.",
        "Refuses the base with the numbers it compared.",
    ),
    "training": Contract(
        "Training",
        "Kept pairs of a check that passed with the same fingerprint.",
        "Weights after one epoch; every step’s numbers; the margin’s trend.",
        "See a pair twice; use target_margin; see a held-out pair.",
        "The margin monitor stops or warns, as the spec says.",
    ),
    "evaluation": Contract(
        "Evaluation",
        "The checkpoint as saved, and rows that were not trained on.",
        "A raw reward for every response; scores with intervals and baselines.",
        "Fill in a reward that could not be computed.",
        "Records null; the row counts as missing.",
    ),
    "gates": Contract(
        "Gates",
        "Scores and the thresholds of the spec.",
        "PASS, FAIL or NO_DATA for each rule, with the reason.",
        "Pass on missing data; accept a threshold that guessing reaches.",
        "The run ends with exit code 1; everything is kept.",
    ),
    "report": Contract(
        "Report",
        "The records that the stages wrote.",
        "This page and summary.md.",
        "Compute a score of its own; load anything from a network.",
        "Shows an absent stage as not run.",
    ),
    "checkpoint": Contract(
        "Checkpoint",
        "Trained weights and the rendering that they were trained with.",
        "Safetensors, tokenizer with its chat template, rewardsmith.json.",
        "Normalise rewards.",
        "Loading compares golden rewards and refuses a mismatch.",
    ),
}

BOUNDARIES: dict[str, tuple[str, ...]] = {
    "data": ("Every row is counted",),
    "contract": (
        "Over-length policy is explicit",
        "EOS is the last token",
        "Pad differs from EOS",
        "Padding on the right",
        "Held-out pairs are not trained on",
    ),
    "architecture": ("Base no larger than the policy", "No remote code"),
    "training": (
        "Trained on the data that passed",
        "One epoch",
        "Bradley-Terry loss",
        "target_margin never reaches the loss",
        "Rewards stay in their range",
    ),
    "evaluation": ("Every response has a reward",),
    "gates": ("Gates lie above the random baseline",),
    "checkpoint": ("No normalisation", "Weights are safetensors"),
}
"""Which constraints of the checklist are about what leaves a stage."""

_WORST: tuple[State, ...] = ("bad", "warn", "open", "good")


def _boundary(key: str, found: Mapping[str, Evidence]) -> Boundary | None:
    rules = BOUNDARIES.get(key, ())
    if not rules:
        return None
    states = {found[rule].state for rule in rules}
    unmet = tuple(rule for rule in rules if found[rule].state != "good")
    words = f"{len(rules) - len(unmet)} of {plural(len(rules), 'constraint')} verified"
    return Boundary(next(state for state in _WORST if state in states), words, unmet)


_NOT_RUN = Progress("open", "not run")


def _data(records: RunRecords) -> Progress:
    check = records.check
    if not check:
        return _NOT_RUN
    facts = (
        f"{plural(len(check.sources), 'source')}, {plural(check.read, 'row')} read",
        f"{check.distinct_prompts:,} distinct prompts",
    )
    return Progress("good", "read", facts, (f"{check.read:,}", "rows"))


def _contract(records: RunRecords) -> Progress:
    check = records.check
    if not check:
        return _NOT_RUN
    warnings = sum(finding.severity != "note" for finding in check.findings)
    facts = (
        f"{check.kept:,} kept, {check.rejected:,} rejected",
        f"{plural(warnings, 'finding')} to read" if warnings else "nothing found",
        f"held out: {plural(check.held_out_pairs, 'pair')}",
    )
    state: State = "good" if check.passed else "bad"
    return Progress(state, "passed" if check.passed else "failed", facts, (f"{check.train_pairs:,}", "pairs"))


def _architecture(records: RunRecords) -> Progress:
    train, spec = records.train, records.spec
    if not train:
        return Progress("open", "not run", (visible(spec.base_model.id, 32),)) if spec else _NOT_RUN
    limit = f"policy {parameters(train.policy_parameters)}" if train.policy_parameters else "policy not stated"
    facts = (
        visible(train.base_model, 32),
        f"{parameters(train.base_parameters)} parameters, {limit}",
        f"{parameters(train.trainable_parameters)} trained, adapter {visible(train.adapter, 12)}",
    )
    return Progress("good", "built", facts, (parameters(train.base_parameters), "weights"))


def _training(records: RunRecords) -> Progress:
    train = records.train
    if not train:
        unfinished = (f"{plural(len(records.steps), 'step')} so far",) if records.steps else ()
        return Progress("open", "not finished" if unfinished else "not run", unfinished)
    monitor = train.monitor
    facts = (
        f"{plural(train.steps, 'step')} of {plural(train.pairs_per_step, 'pair')}",
        f"loss {significant(train.first_loss)} → {significant(train.last_loss)}",
        f"margin: {monitor.verdict}; {duration(train.seconds)}",
    )
    states: dict[str, State] = {"learning": "good", "stall": "warn", "collapse": "bad", "too short": "warn"}
    state = "bad" if monitor.stopped else states[monitor.verdict]
    return Progress(state, "stopped" if monitor.stopped else "done", facts, ("", "checkpoint"))


def _evaluation(records: RunRecords) -> Progress:
    results = list(records.benchmarks.values())
    if not results:
        return _NOT_RUN
    rows = sum(subset.n for result in results for subset in result.subsets.values())
    missing = sum(subset.n_missing for result in results for subset in result.subsets.values())
    facts = (
        f"{plural(len(results), 'benchmark')}, {plural(rows, 'row')}",
        f"{plural(sum(result.rewards.n for result in results), 'reward')}, {missing:,} missing",
    )
    subsets = sum(len(result.subsets) for result in results)
    return Progress("bad" if missing else "good", "gaps" if missing else "done", facts, (f"{subsets:,}", "scores"))


def _gates(records: RunRecords) -> Progress:
    if not records.gates:
        return _NOT_RUN
    gates = sum(outcome.kind == "gate" for outcome in records.gates.outcomes)
    failed, warned = len(failing(records, "gate")), len(failing(records, "warning"))
    facts = (f"{gates - failed} of {plural(gates, 'gate')} pass", plural(warned, "warning"))
    if not records.gates.passed:
        return Progress("bad", "failed", facts, ("verdict", "FAIL"))
    return Progress("warn" if warned else "good", "passed", facts, ("verdict", "PASS"))


def _report(records: RunRecords) -> Progress:
    return Progress("good", "written", (f"verdict: {run_verdict(records).word}",))


def _checkpoint(records: RunRecords) -> Progress:
    weights = [name for name in records.files if name.endswith(".safetensors")]
    if not weights:
        return _NOT_RUN
    return Progress("good", "saved", (f"{plural(len(weights), 'safetensors file')}, raw rewards",))


_PROGRESS: dict[str, Callable[[RunRecords], Progress]] = {
    "data": _data,
    "contract": _contract,
    "architecture": _architecture,
    "training": _training,
    "evaluation": _evaluation,
    "gates": _gates,
    "report": _report,
    "checkpoint": _checkpoint,
}

_PIPE = ("data", "contract", "architecture", "training", "evaluation", "gates")
_FACT_CHARACTERS = 31


@dataclass(frozen=True, slots=True)
class _Box:
    x: float
    y: float
    width: float
    height: float


def wide_map(stages: Sequence[Stage]) -> Markup:
    """Two rows, read like a snake: data to training, then back to the report and the checkpoint."""
    width, gap, height = 222.0, 64.0, 122.0
    column = width + gap
    boxes = {key: _Box(column * index, 0, width, height) for index, key in enumerate(_PIPE[:4])}
    boxes |= {key: _Box(column * (3 - index), height + 62, width, height) for index, key in enumerate(_PIPE[4:])}
    boxes["report"] = _Box(column, height + 62, width, 56)
    boxes["checkpoint"] = _Box(column, height + 62 + 66, width, 56)
    found = {stage.key: stage for stage in stages}
    parts = [_box(found[key], box) for key, box in boxes.items()]
    parts += [_across(boxes[a], boxes[b], found[a]) for a, b in pairwise(_PIPE[:4])]
    parts.append(_down(boxes["training"], boxes["evaluation"], found["training"]))
    parts.append(_back(boxes["evaluation"], boxes["gates"], found["evaluation"]))
    parts += [_fork(boxes["gates"], boxes["report"], boxes["checkpoint"], found["gates"])]
    parts.append(_legend(height + 62))
    return drawing(3 * column + width, 2 * height + 64, _spoken(stages), *parts, class_="chart map wide")


def tall_map(stages: Sequence[Stage]) -> Markup:
    """One column."""
    width, gap = 340.0, 40.0
    parts, y = [], 0.0
    for index, stage in enumerate(stages):
        box = _Box(0, y, width, 44 + 18 * len(stage.progress.facts) + 6)
        parts.append(_box(stage, box))
        y += box.height
        if index < len(stages) - 1:
            joined = stage.key not in _PIPE
            parts.append(Markup("") if joined else _down(box, _Box(0, y + gap, width, 0), stage))
            y += 10 if joined else gap
    return drawing(width, y + 2, _spoken(stages), *parts, class_="chart map tall")


def _spoken(stages: Sequence[Stage]) -> str:
    return "Component map: " + "; ".join(
        ": ".join((stage.contract.title, ", ".join((stage.progress.word, *stage.progress.facts, *_verified(stage)))))
        for stage in stages
    )


def _verified(stage: Stage) -> tuple[str, ...]:
    return (stage.boundary.words,) if stage.boundary else ()


def _box(stage: Stage, box: _Box) -> Markup:
    state = stage.progress.state
    parts = [
        element(
            "rect",
            x=box.x + 0.75,
            y=box.y + 0.75,
            width=box.width - 1.5,
            height=box.height - 1.5,
            rx=9,
            class_=f"stage {state}",
        ),
        text(box.x + 16, box.y + 27, stage.contract.title, "title"),
        text(box.x + box.width - 36, box.y + 26, stage.progress.word, "word", "end"),
        element("g", sign(state), transform=f"translate({box.x + box.width - 30:.0f} {box.y + 14:.0f})"),
    ]
    parts += [
        text(
            box.x + 16,
            box.y + 50 + 20 * index if box.height > 60 else box.y + 45,
            visible(fact, _FACT_CHARACTERS),
            "fact",
        )
        for index, fact in enumerate(stage.progress.facts)
    ]
    return element("g", *parts)


def _across(start: _Box, end: _Box, stage: Stage) -> Markup:
    y, left, right = start.y + start.height / 2, start.x + start.width, end.x
    return _arrow((left + 4, y), (right - 3, y)) + _edge_label((left + right) / 2, y, stage)


def _back(start: _Box, end: _Box, stage: Stage) -> Markup:
    y, left, right = start.y + start.height / 2, end.x + end.width, start.x
    return _arrow((right - 4, y), (left + 3, y)) + _edge_label((left + right) / 2, y, stage)


def _down(start: _Box, end: _Box, stage: Stage) -> Markup:
    x, top, bottom = start.x + start.width / 2, start.y + start.height, end.y
    middle = (top + bottom) / 2
    label = text(x + 18, middle + 4, " ".join(stage.progress.edge).strip(), "flow")
    return _arrow((x, top + 4), (x, bottom - 3)) + _checked(x, middle - 2, stage) + label


def _fork(start: _Box, upper: _Box, lower: _Box, stage: Stage) -> Markup:
    """One arrow from the gates that parts into two: to the report and to the checkpoint."""
    middle, right, left = start.y + start.height / 2, start.x, upper.x + upper.width
    knee = left + 16
    parts = [line(right - 4, middle, knee, middle, "arrow")]
    for box in (upper, lower):
        y = box.y + box.height / 2
        parts += [line(knee, middle, knee, y, "arrow"), _arrow((knee, y), (left + 3, y))]
    return Markup("").join(parts) + _edge_label((knee + right) / 2, middle, stage)


def _edge_label(x: float, y: float, stage: Stage) -> Markup:
    above, below = stage.progress.edge
    return text(x, y - 13, above, "flow", "middle") + _checked(x, y, stage) + text(x, y + 23, below, "flow", "middle")


def _checked(x: float, y: float, stage: Stage) -> Markup:
    """The sign of what was verified at a boundary, on its arrow; a hovering pointer reads it."""
    if stage.boundary is None:
        return Markup("")
    words = element("title", f"{stage.contract.title}: {stage.boundary.words}")
    return element("g", words, sign(stage.boundary.state), transform=f"translate({x - 8:.1f} {y - 8:.1f})")


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> Markup:
    """A shaft and a head of its own: no marker ids, so that two drawings on a page cannot clash."""
    (x1, y1), (x2, y2) = start, end
    length = max(abs(x2 - x1), abs(y2 - y1)) or 1.0
    dx, dy = (x2 - x1) / length, (y2 - y1) / length
    base_x, base_y = x2 - 7 * dx, y2 - 7 * dy
    head = (
        f"M{x2:.1f} {y2:.1f}L{base_x - 4 * dy:.1f} {base_y + 4 * dx:.1f}L{base_x + 4 * dy:.1f} {base_y - 4 * dx:.1f}Z"
    )
    return line(x1, y1, base_x, base_y, "arrow") + element("path", d=head, class_="head")


def _legend(y: float) -> Markup:
    """What the signs mean, in the free corner."""
    meanings: dict[State, str] = {
        "good": "holds",
        "warn": "holds, with warnings",
        "bad": "does not hold",
        "open": "not run, not verified",
    }
    parts = []
    for index, (state, meaning) in enumerate(meanings.items()):
        top = y + 20 + 24 * index
        parts += [
            element("g", sign(state), transform=f"translate(2 {top - 12:.0f})"),
            text(26, top, meaning, "fact"),
        ]
    return Markup("").join(parts)
