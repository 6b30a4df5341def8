"""The layers of a run, the contract at each boundary, and what this run did there.

    component_map(records) → eight stages, in the order in which data flows

The contract is the method's and is the same in every run; state and facts come from the records. `edge` is what flows
on to the next stage, in two short lines, and `boundary` what was verified of it there: constraints of the checklist.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rewardsmith.report.checklist import Evidence, checklist
from rewardsmith.report.formatting import duration, parameters, plural, significant, visible
from rewardsmith.report.reading import RunRecords
from rewardsmith.report.scores import State
from rewardsmith.report.verdict import failing, judge_run


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


_NOT_RUN = Progress("open", "not run")

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


def component_map(records: RunRecords) -> tuple[Stage, ...]:
    """All stages with their contract, what this run did, and what was verified where they end."""
    found = {one.rule: one.evidence for one in checklist(records)}
    return tuple(
        Stage(key, contract, _PROGRESS[key](records), _boundary(key, found)) for key, contract in CONTRACTS.items()
    )


def _boundary(key: str, found: Mapping[str, Evidence]) -> Boundary | None:
    rules = BOUNDARIES.get(key, ())
    if not rules:
        return None
    states = {found[rule].state for rule in rules}
    unmet = tuple(rule for rule in rules if found[rule].state != "good")
    words = f"{len(rules) - len(unmet)} of {plural(len(rules), 'constraint')} verified"
    return Boundary(next(state for state in _WORST if state in states), words, unmet)


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
    return Progress("good", "written", (f"verdict: {judge_run(records).word}",))


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
