"""The verdict of a run in one word, its reasons in one sentence each, and what to do next; and the gates behind it.

    run_verdict(records) → RunVerdict       .word, .headline, .reasons, .next_steps
    gates_section(gates) → Section          what was asked, what was found; gates before warnings, failures first

    PASS         every gate passes
    FAIL         a gate or a finding of the data contract says no
    STOPPED      the margin monitor ended training
    UNFINISHED   a stage that decides has not run
    JUDGED       a judge was evaluated: there is no reward model, and no gate

A folder of `rewardsmith watch` has the word of its record: FINE, WARNING, ALARM or SHORT. The word is worked out from
the records alone, never from what a manifest claims: a report that is made again says the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from rewardsmith.records.checks import Finding
from rewardsmith.records.run import GateOutcome, GatesRecord
from rewardsmith.records.watch import Outcome, WatchRecord
from rewardsmith.report.blocks import Block, Cell, Column, Grid, Noted, Section, Sign
from rewardsmith.report.formatting import Number, State, capitalised, percent, plural, significant, visible
from rewardsmith.report.reading import RunRecords
from rewardsmith.report.sections.diagnosis import diagnosis_sentences
from rewardsmith.report.sections.variants import outside_in_words

REASONS_SHOWN = 8
Word = Literal["PASS", "FAIL", "STOPPED", "UNFINISHED", "JUDGED", "FINE", "WARNING", "ALARM", "SHORT"]
_HEADLINES: dict[Word, str] = {
    "PASS": "Every gate passes.",
    "FAIL": "This reward model should not train a policy yet.",
    "STOPPED": "Training was stopped: the margin did not do what it must.",
    "UNFINISHED": "There is no verdict yet.",
    "JUDGED": "This is a judge, not a reward model: its scores have no gates.",
    "FINE": "Nothing speaks against this reward so far.",
    "WARNING": "Look at it: something has changed, or nobody can say.",
    "ALARM": "The reward no longer says what it should.",
    "SHORT": "There is no verdict yet.",
}


@dataclass(frozen=True, slots=True)
class RunVerdict:
    """What a reader sees first; `kind` says what kind of model this is, one paragraph a cause."""

    word: Word
    headline: str
    reasons: tuple[Sign, ...]
    next_steps: tuple[str, ...]
    kind: tuple[Sign, ...] = ()

    @property
    def state(self) -> State:
        """The colour and sign that go with the word."""
        states: dict[Word, State] = {"PASS": "good", "FAIL": "bad", "STOPPED": "bad"}
        states |= {"FINE": "good", "WARNING": "warn", "ALARM": "bad"}
        return states.get(self.word, "open")


def run_verdict(records: RunRecords) -> RunVerdict:
    """The verdict on whatever stages have run."""
    word = _word(records)
    reasons = [*_data_reasons(records), *_training_reasons(records), *_gate_reasons(records), *_absent(records)]
    shown = reasons[:REASONS_SHOWN]
    if len(reasons) > len(shown):
        shown.append(Sign("open", f"{plural(len(reasons) - len(shown), 'more reason')} below."))
    kind = tuple(Sign("warn", text) for text in diagnosis_sentences(records.diagnosis))
    headline = " ".join(part for part in (_kind_of(records), _HEADLINES[word]) if part)
    return RunVerdict(word, headline, tuple(shown), tuple(_next_steps(records, word)), kind)


def _kind_of(records: RunRecords) -> str:
    return visible(records.diagnosis.headline, 200) if records.diagnosis else ""


def _word(records: RunRecords) -> Word:
    check, train, gates = records.check, records.train, records.gates
    if train and train.monitor.stopped:
        return "STOPPED"
    if (check and not check.passed) or (gates and not gates.passed):
        return "FAIL"
    if gates:
        return "PASS"
    return "JUDGED" if records.judges and not (records.manifest or check or train) else "UNFINISHED"


def _absent(records: RunRecords) -> Iterator[Sign]:
    if _word(records) == "JUDGED":
        return
    if records.steps and not records.train:
        yield Sign("open", f"Training has not ended: {plural(len(records.steps), 'step')} so far.")
    absent = [stage for stage in missing_stages(records) if stage != "train" or not records.steps]
    if absent:
        yield Sign("open", f"Not run: {', '.join(absent)}.")


def missing_stages(records: RunRecords) -> list[str]:
    """Stages that have left no record, in order."""
    there = {
        "check": records.check,
        "train": records.train,
        "evaluate": records.benchmarks or None,
        "gates": records.gates,
    }
    return [name for name, record in there.items() if record is None]


def _data_reasons(records: RunRecords) -> Iterator[Sign]:
    if not records.check or records.check.passed:
        return
    decisive = _decisive_findings(records)
    for finding in decisive:
        yield Sign("bad", sentence(f"{finding.title}: {finding.count:,} of {finding.of:,}"))
    if not decisive:
        yield Sign("bad", sentence(f"The data contract failed on {', '.join(records.check.failed_on) or 'a finding'}"))


def _decisive_findings(records: RunRecords) -> list[Finding]:
    check = records.check
    return (
        [finding for finding in check.findings if {finding.code, finding.severity} & set(check.failed_on)]
        if check
        else []
    )


def _training_reasons(records: RunRecords) -> Iterator[Sign]:
    monitor = records.train.monitor if records.train else None
    if monitor and monitor.stopped:
        yield Sign(
            "bad", f"The margin monitor saw a {monitor.verdict} after {plural(monitor.steps, 'step')} and stopped."
        )


def _gate_reasons(records: RunRecords) -> Iterator[Sign]:
    if not records.gates:
        return
    gates = [outcome for outcome in records.gates.outcomes if outcome.kind == "gate"]
    for outcome in failing(records, "gate"):
        yield Sign("bad", _outcome_sentence(outcome))
    if gates and not failing(records, "gate"):
        yield Sign("good", f"All {plural(len(gates), 'gate')} pass." if len(gates) > 1 else "The one gate passes.")
    for outcome in failing(records, "warning"):
        yield Sign("warn", _outcome_sentence(outcome))
    for text in outside_in_words(records.controls):
        yield Sign("warn", sentence(text))


def failing(records: RunRecords, kind: Literal["gate", "warning"]) -> list[GateOutcome]:
    """Gates (or warnings) whose verdict is not PASS."""
    outcomes = records.gates.outcomes if records.gates else ()
    return [outcome for outcome in outcomes if outcome.kind == kind and outcome.verdict != "PASS"]


def _outcome_sentence(outcome: GateOutcome) -> str:
    text = outcome_message(outcome)
    place = visible(outcome.benchmark, 80)
    return f"{place}: {text}" if place and place not in text else text


def outcome_message(outcome: GateOutcome) -> str:
    """The record's message as a sentence; a subset that it begins with keeps its name as it is."""
    text, name = sentence(outcome.message), visible(outcome.subset)
    return name + text[len(name) :] if name and visible(outcome.message).startswith(f"{name} ") else text


def sentence(text: str) -> str:
    """A message as a sentence: capital letter, full stop."""
    text = capitalised(visible(text, 600).strip())
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


_ADVICE: dict[str, str] = {
    "computed": "Find the rows whose reward is null in {where}/rows.jsonl and have them scored.",
    "baseline": "Add pairs of the kind that {subjects} asks for, or clean those there are; then run again.",
    "minimum": "Train on more or cleaner pairs for {subjects}, or lower the minimum and say why in the spec.",
    "spread_std": "Look at the rewards of {benchmarks}: where they hardly differ, a policy has nothing to follow.",
    "spread_distinct": "Score {benchmarks} in float32: many texts share the very same reward.",
    "probe": "Read the worst examples of {subjects} in probes.json; add pairs that teach the difference.",
    "attack": "Read in attack.json which edits pay; add pairs whose rejected answer carries them.",
    "length": "Balance which answer is longer in the training pairs: the diagnosis says in which source.",
    "ood_gap": "Widen the training sources: the gap between held-out pairs and {benchmarks} is too large.",
}


def _next_steps(records: RunRecords, word: Word) -> Iterator[str]:
    for finding in _decisive_findings(records) if records.check and not records.check.passed else ():
        yield sentence(finding.fix)
    monitor = records.train.monitor if records.train else None
    if monitor and monitor.stopped and monitor.advice:
        yield sentence(monitor.advice)
    for cause in records.diagnosis.causes if records.diagnosis else ():
        yield sentence(cause.fix)
    yield from _gate_advice(failing(records, "gate"))
    if word == "PASS":
        yield "Use the checkpoint in model/ with its own chat template; its rewards are raw, and stay so."
        if failing(records, "warning"):
            yield "Read the warnings below before a policy sees a reward."
    elif word == "UNFINISHED":
        yield "Run `rewardsmith run SPEC` with the same spec: what is done is kept, the rest follows."
    elif failing(records, "gate"):
        yield "Read the worst rows of the failing subsets in eval/ (result 0 in rows.jsonl) before changing anything."


def _gate_advice(outcomes: list[GateOutcome]) -> Iterator[str]:
    """One step for each kind of gate that did not pass, naming what it is about."""
    for name in dict.fromkeys(outcome.name for outcome in outcomes):
        same = [outcome for outcome in outcomes if outcome.name == name]
        benchmarks = _listed(outcome.benchmark for outcome in same)
        subjects = _listed(outcome.subset or outcome.benchmark for outcome in same)
        if name in _ADVICE:
            where = ", ".join(f"eval/{visible(key, 80)}" for key in dict.fromkeys(one.benchmark for one in same))
            yield _ADVICE[name].format(benchmarks=benchmarks, subjects=subjects, where=where)
        if any(outcome.verdict == "NO_DATA" for outcome in same):
            yield f"Evaluate {benchmarks}: a gate without data fails."


def _listed(names: Iterator[str]) -> str:
    shown = [visible(name, 80) for name in dict.fromkeys(names) if name]
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown) or "the benchmark"


def watch_verdict(record: WatchRecord) -> RunVerdict:
    """The verdict on a stream that was watched."""
    words: dict[Outcome, Word] = {"fine": "FINE", "warning": "WARNING", "alarm": "ALARM", "short": "SHORT"}
    word = words[record.outcome]
    steps = []
    if record.outcome == "alarm":
        steps.append("Read the disputed pairs, and let the policy not go on under this reward before it is fixed.")
    if record.outcome == "warning" and record.audit.answered:
        steps.append("Read what the policy says now: an audit may need more pairs to decide.")
    if record.outcome != "short" and not record.audit.answered and not record.audit.drawn:
        steps.append("Have answers audited: `--judge SPEC`, or by people with `--audit-file FILE`.")
    if record.audit.down_since is not None:
        steps.append("Bring the judge back: nothing is known without its answers.")
    return RunVerdict(word, _HEADLINES[word], (Sign(_state(word), sentence(record.verdict)),), tuple(steps))


def _state(word: Word) -> State:
    return RunVerdict(word, "", (), ()).state


_GATE_NAMES = {
    "computed": "every reward computed",
    "baseline": "interval above chance",
    "minimum": "minimum score",
    "spread_std": "reward spread",
    "spread_distinct": "distinct rewards",
    "ood_gap": "out-of-distribution gap",
    "length": "length bias within a prompt",
    "probe": "bias probe",
    "probes": "bias probes",
    "attack": "price of a hack",
    "margin": "margin trend",
    "reward_range": "reward range",
}
_SCORES = ("baseline", "minimum", "length", "probe", "attack")


def gates_section(gates: GatesRecord | None) -> Section:
    """Every gate and warning with what it asked and what it found."""
    columns = (
        Column("Verdict", "badge"),
        Column("Rule", "name"),
        Column("Of", "words"),
        Column("Value"),
        Column("Threshold"),
        Column("In words", "words"),
    )
    rows = tuple(
        (
            Sign(outcome_state(outcome), outcome.verdict.replace("_", " ")),
            _rule(outcome),
            _place(outcome),
            _number(outcome, outcome.value),
            _number(outcome, outcome.threshold),
            outcome_message(outcome),
        )
        for outcome in in_order(gates)
    )
    caption = "Gates and warnings with value, threshold and verdict"
    return Section(
        "gates",
        "Gates",
        (Block("", grids=(Grid(caption, columns, rows, titled=False, look="plain"),)),),
        lead="A gate decides the exit code; a warning does not. Missing data never passes.",
        verdicts=(gates_verdict(gates.outcomes),) if gates else (),
        absent=None if gates and rows else ("Gates", "gates.json"),
        sources=("gates.json",),
    )


def in_order(gates: GatesRecord | None) -> list[GateOutcome]:
    """All outcomes: gates before warnings; within each, what does not pass first."""
    outcomes = gates.outcomes if gates else ()
    return sorted(outcomes, key=lambda outcome: (outcome.kind != "gate", outcome.verdict == "PASS"))


def gates_verdict(outcomes: Iterable[GateOutcome]) -> Sign:
    """PASS where every gate passes, and how many do."""
    verdicts = [outcome.verdict for outcome in outcomes if outcome.kind == "gate"]
    passing = verdicts.count("PASS")
    word = "PASS" if passing == len(verdicts) else "FAIL"
    return Sign("good" if word == "PASS" else "bad", f"{word}, {passing} of {len(verdicts)} gates pass")


def outcome_state(outcome: GateOutcome) -> State:
    """What to think of it: a warning that does not pass is no failure, and missing data never passes."""
    if outcome.verdict == "PASS":
        return "good"
    return "bad" if outcome.kind == "gate" else "warn"


def _rule(outcome: GateOutcome) -> Cell:
    name = _GATE_NAMES.get(outcome.name, visible(outcome.name, 60))
    return Noted(name, ("warning",)) if outcome.kind == "warning" else name


def _place(outcome: GateOutcome) -> Cell:
    subset, benchmark = visible(outcome.subset, 80), visible(outcome.benchmark, 80)
    return Noted(subset, (benchmark,)) if subset and benchmark else subset or benchmark or "training"


def _number(outcome: GateOutcome, value: float | None) -> Number:
    return _share(value) if outcome.name in _SCORES else significant(value)


def _share(value: float | None) -> Number:
    shown = percent(value)
    return shown if value is None else Number(value, f"{shown} %")
