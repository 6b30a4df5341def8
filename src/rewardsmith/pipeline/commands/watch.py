"""`rewardsmith watch`: a stream read to its end or followed, its audits answered, its record kept up to date.

    record = watch_job(options, events)

What it leaves in `out`, so that the same command continues and `rewardsmith open` shows it:

    watch.json          the record, at the end; followed, at every look
    watch.md            the same to read
    watch.prom          the same as gauges for Prometheus; `rewardsmith serve --watch` shows them
    audit.jsonl         every audited pair with its texts and what was said of it
    watch.state.json    where to continue
    calls.jsonl         the judge's calls: none is paid for twice

An interrupt ends a followed stream as its end does.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Literal

from rewardsmith.attacking.edits import PADDING
from rewardsmith.data.files import sha256_of
from rewardsmith.data.sources import Embedded, open_source
from rewardsmith.errors import DataError, RunDirectoryError
from rewardsmith.judging import LanguageModelJudge, load_prompts
from rewardsmith.pipeline.commands.judge import build_judge
from rewardsmith.pipeline.embedded import Resources
from rewardsmith.pipeline.events import Events, Silent
from rewardsmith.records.attack import AttackRecord
from rewardsmith.records.checkpoint import CheckpointRecord
from rewardsmith.records.files import (
    guard_files,
    guard_folder,
    read_jsonl,
    read_record,
    read_row,
    write_json,
    write_jsonl,
    write_text,
)
from rewardsmith.records.routing import RoutingRecord
from rewardsmith.records.watch import WatchAuditItem, WatchRecord, WatchState
from rewardsmith.report.markdown import section_page
from rewardsmith.report.sections.watch import watch_section
from rewardsmith.spec import JudgeSpec, SourceSpec, digest, load_spec
from rewardsmith.watching import (
    GAUGES_FILE,
    MOST_TOLERANCE,
    TOLERANCE,
    WATCH_FILE,
    Answer,
    Book,
    Settings,
    Stream,
    Trigger,
    Watcher,
    append_questions,
    ask,
    check_gauges,
    check_questions,
    exposition,
    read_replies,
    record_of,
    replied,
    runs_of,
    tolerance_for,
)
from rewardsmith.watching.results import By

STATE_FILE, AUDIT_FILE, SUMMARY_FILE = "watch.state.json", "audit.jsonl", "watch.md"
_FILES = (WATCH_FILE, SUMMARY_FILE, STATE_FILE, AUDIT_FILE, GAUGES_FILE)
_MOST_TRAINING = 100_000


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """What the command line says.

    Args:
        source: a file or a folder.
        out: folder of the record.
        settings: how the watch looks, but for the tolerance.
        rewards: columns that are rewards.
        per_step: answers of a step, for rows without one.
        reference: a file or folder of the reference policy's answers.
        training: preference data of the reward model, whose runs of words are known.
        run: of the reward model: its attack, training pairs and held-out rewards are taken where nothing else is named.
        attack: attack.json, or its folder: its triggers are looked for.
        phrases: further phrases that buy reward.
        judge: the judge that audits; None: nobody, people or the log.
        tolerance: of the audit; None: from the agreement of this judge and the reward model where the run's `route
            calibrate` has measured it, else `TOLERANCE`.
        judge_seed: where the section has none of its own.
        audit_file: people audit in this file.
        follow: go on until interrupted, looking every so many seconds.
        prometheus: the gauges once more, in a file for node exporter's textfile collector.
        overwrite: begin anew.
    """

    source: Path
    out: Path
    settings: Settings = field(default_factory=Settings)
    rewards: tuple[str, ...] = ()
    per_step: int | None = None
    reference: Path | None = None
    training: tuple[str, ...] = ()
    run: Path | None = None
    attack: Path | None = None
    phrases: tuple[str, ...] = ()
    judge: JudgeSpec | None = None
    tolerance: float | None = None
    judge_seed: int = 17
    audit_file: Path | None = None
    follow: float | None = None
    prometheus: Path | None = None
    overwrite: bool = False


def watch_job(
    options: WatchOptions, events: Events, *, shown: Callable[[WatchRecord], None] | None = None
) -> WatchRecord:
    """Read what is there, and with `follow` what comes, until interrupted.

    Args:
        options: of the command.
        events: told what happens.
        shown: called with the record when a followed stream has another outcome than before.

    Raises:
        UserError: a file or the folder cannot be used, or the folder holds another watch.
    """
    _guard(options)
    watch = _Watch(options, events)
    try:
        return asyncio.run(watch.go(shown))
    except KeyboardInterrupt:
        if options.follow is None:
            raise
        return watch.save(last=True)


def _guard(options: WatchOptions) -> None:
    out = options.out
    read = [str(one) for one in (options.source, options.reference, options.attack, *options.training) if one]
    guard_folder(out, _FILES, WATCH_FILE, read)
    own = [out / name for name in _FILES if name != GAUGES_FILE]  # the gauges may go to one file twice
    guard_files([*own, *(one for one in (options.audit_file, options.prometheus) if one)], read)
    if options.audit_file is not None:
        check_questions(options.audit_file)
    if options.prometheus is not None:
        check_gauges(options.prometheus)
    if options.overwrite:
        for name in _FILES:
            (out / name).unlink(missing_ok=True)
    out.mkdir(parents=True, exist_ok=True)


class _Watch:
    """One watch: stream, watcher, judge, files."""

    def __init__(self, options: WatchOptions, events: Events) -> None:
        tolerance, self._tolerance_origin = tolerance_of(options)
        options = replace(options, settings=replace(options.settings, tolerance=tolerance))
        self.options = options
        self.events = events
        if options.judge is not None:
            events.note(f"tolerance {tolerance:.2f}: {self._tolerance_origin}")
        known = known_of(options)
        self.triggers = triggers_of(known.attack, options.phrases)
        self.fingerprint = _fingerprint(options)
        state = self._state()
        items = _items(options.out / AUDIT_FILE) if state else []
        texts = known.texts
        book = Book(self.triggers, runs_of(texts)) if texts else Book(self.triggers)
        self.watcher = Watcher(
            options.settings, book, training=len(texts), held_out=known.held_out, state=state, items=items
        )
        self.stream = Stream(
            options.source,
            rewards=options.rewards,
            per_step=options.per_step,
            form=state.form if state else "",
            file=state.file if state else "",
            offset=state.offset if state else 0,
            mark=state.mark if state else "",
            served=state.served if state else 0,
            rotations=state.rotations if state else {},
        )
        if state is None and options.reference is not None:
            self.watcher.use_reference(_answers(options.reference, options), str(options.reference))
        if state is not None:
            events.note(f"continues after step {state.windows[-1].last if state.windows else 0:,}")
        self._judge: LanguageModelJudge | None = None
        self._noted: set[str] = set()

    @property
    def by(self) -> By:
        """Who audits."""
        if self.options.judge is not None:
            return "judge"
        if self.options.audit_file is not None:
            return "people"
        return "log" if any(one.quality is not None for one in self.watcher.kept) else "nobody"

    async def go(self, shown: Callable[[WatchRecord], None] | None) -> WatchRecord:
        """Look once, or again and again."""
        if self.options.judge is not None:
            self._judge = build_judge(self.options.judge, self.options.out, seed=self.options.judge_seed)
        try:
            before = ""
            while True:
                await self._look()
                record = self.save(last=True)
                if self.options.follow is None:
                    return record
                if shown is not None and record.outcome != before:
                    shown(record)
                    before = record.outcome
                await asyncio.sleep(self.options.follow)
        finally:
            if self._judge is not None:
                await self._judge.close()

    async def _look(self) -> None:
        """Everything that is new; what people have filled in meanwhile first."""
        self._take_replies()
        for read in self.stream.poll(last=self.options.follow is None):
            self._say_rotations()
            self.watcher.add(read)
            if self.watcher.due:
                await self._audit()
                if not (self.options.out / WATCH_FILE).exists():
                    self.save(last=False)  # the folder is ours from here on
                place = (read.file, read.offset, self.stream.mark_at(read.offset))
                self._save_state(place, self.stream.served - (self.stream.form == "served"))
        self._say_rotations()
        if len(self.watcher.pending) >= self.options.settings.answers and self.options.follow is None:
            self._note("the last window may not be finished: it is shown and not tested")

    async def _audit(self) -> None:
        """Draw the audit that is due, and ask who audits."""
        by = self.by
        if by == "nobody":
            self.watcher.skip_audit()
            return
        drawn = self.watcher.draw_audit()
        items = [item for item, _ in drawn]
        found = [said for _, said in drawn]
        if self._judge is not None:
            found = await ask(self._judge, items)
            if all(win is None for win, _ in found):
                refusal = self._judge.refusal
                self._note(
                    f"step {items[0].step:,}: the judge gave no answer{f': {refusal.problem}' if refusal else ''}"
                )
        elif by == "people" and self.options.audit_file is not None:
            found = [(None, "waiting")] * len(items)
            append_questions(self.options.audit_file, items)
        self.watcher.answer(items, found)

    def _take_replies(self) -> None:
        if self.options.audit_file is None or self.options.judge is not None:
            return
        replies, bad = read_replies(self.options.audit_file)
        for place in bad:
            self._note(place)
        new = [one for one in self.watcher.items if one.missing == "waiting" and one.id in replies]
        if new:
            self.watcher.answer(new, [(replied(one, replies[one.id]), "") for one in new])

    def _note(self, text: str) -> None:
        if text not in self._noted:
            self._noted.add(text)
            self.events.note(text)

    def _say_rotations(self) -> None:
        for what in self.stream.said:
            self.events.note(what)
        self.stream.said.clear()

    def save(self, *, last: bool) -> WatchRecord:
        """Write the record and what follows from it."""
        options = self.options
        record = record_of(
            self.watcher,
            source=str(options.source),
            form=self.stream.form,
            by=self.by,
            triggers=self.triggers,
            rotations=self.stream.rotations,
            tolerance_origin=self._tolerance_origin,
            last=last,
        )
        write_jsonl(options.out / AUDIT_FILE, self.watcher.items)
        write_json(options.out / WATCH_FILE, record)
        section = watch_section(record)
        if section is not None:
            write_text(options.out / SUMMARY_FILE, section_page(section))
        gauges = exposition(record, time.time())
        for path in (options.out / GAUGES_FILE, options.prometheus):
            if path is not None:
                write_text(path, gauges)
        return record

    def _save_state(self, place: tuple[str, int, str], served: int) -> None:
        write_jsonl(self.options.out / AUDIT_FILE, self.watcher.items)
        form, rotations = self.stream.form, self.stream.rotations
        state = self.watcher.state(self.fingerprint, form, place, served=served, rotations=rotations)
        write_json(self.options.out / STATE_FILE, state)

    def _state(self) -> WatchState | None:
        path = self.options.out / STATE_FILE
        if not path.exists():
            return None
        state = read_record(path, WatchState)
        if state.fingerprint != self.fingerprint:
            raise RunDirectoryError(
                "is the state of another watch: another stream, other settings or another reference",
                where=str(path),
                fix="name another --out, or add --overwrite",
            )
        return state


def tolerance_of(options: WatchOptions) -> tuple[float, str]:
    """The tolerance of the audit, and where it comes from in words.

    Raises:
        UserError: the calibration of the run, or a prompt of the judge, cannot be read.
    """
    if options.tolerance is not None:
        return options.tolerance, "--tolerance"
    if options.judge is None:
        return TOLERANCE, "the default: no judge whose agreement with the reward model could be known"
    if options.run is None:
        return TOLERANCE, "the default: no --run whose calibration would say how often judge and reward model agree"
    path = options.run / "routing" / "routing.json"
    if not path.exists():
        return TOLERANCE, f"the default: `rewardsmith route calibrate` has not measured the judge, there is no {path}"
    record = read_record(path, RoutingRecord)
    other = record.judge.name != options.judge.model
    if other or record.judge.prompts != load_prompts(options.judge.prompts)["pairwise"].sha256:
        what = f"another judge ({record.judge.name})" if other else "a judge with another prompt"
        return TOLERANCE, f"the default: {path} is of {what}"
    if record.agreement is None:
        return TOLERANCE, f"the default: {path} states no agreement, run `rewardsmith route calibrate` again"
    found = record.agreement
    value = tolerance_for(found.low)
    measured = f"{100 * found.value:.1f} % ({100 * found.low:.1f} to {100 * found.high:.1f} %) of the pairs of {path}"
    why = {TOLERANCE: "the least that there is", MOST_TOLERANCE: "the most that there is"}
    return value, (
        f"{why.get(value, '1 less the lower end of their agreement')}: judge and reward model agree in {measured}"
    )


def triggers_of(attack: Path | None, phrases: Sequence[str]) -> tuple[Trigger, ...]:
    """What is looked for: phrases of an attack's triggers and cheapest flips, sentences of padding, further phrases.

    Edits that put in markup or repeat the answer's own words have no text of their own: signals measure them.

    Raises:
        RunDirectoryError: the record cannot be read.
    """
    found: dict[str, Trigger] = {}
    if attack is not None:
        record = read_record(attack / "attack.json" if attack.is_dir() else attack, AttackRecord)
        codes = dict.fromkeys(code for one in record.triggers for code in one.edits)
        codes |= dict.fromkeys(one.code for one in record.edits if one.used)
        for code in codes:
            kind, _, phrase = code.partition(": ")
            if kind in ("opening", "closing"):
                found[phrase] = _phrase(phrase, kind)
            elif code == "padding":
                found |= {sentence: _phrase(sentence) for sentence in PADDING}
    return tuple((found | {phrase: _phrase(phrase) for phrase in phrases}).values())


def _phrase(phrase: str, kind: str = "") -> Trigger:
    text = r"\s+".join(re.escape(word) for word in phrase.split())
    before, after = (r"\A\W*" if kind == "opening" else r"(?<!\w)"), (r"\W*\Z" if kind == "closing" else r"(?!\w)")
    return Trigger(phrase, re.compile(before + text + after, re.IGNORECASE))


def _items(path: Path) -> list[WatchAuditItem]:
    return [read_row(WatchAuditItem, row, str(path)) for row in read_jsonl(path)] if path.exists() else []


def _answers(path: Path, options: WatchOptions) -> list[Answer]:
    """All answers of a reference; a file without any cannot be one."""
    reads = list(Stream(path, rewards=options.rewards, per_step=options.per_step).poll(last=True))
    found = [read.answer for read in reads if read.answer is not None]
    if len(found) < options.settings.answers:
        bad = next((f"; first: {read.why} at {read.place}" for read in reads if read.why), "")
        raise DataError(
            f"holds {len(found)} answers with a reward{bad}",
            where=str(path),
            fix=f"name a log of the reference policy with at least {options.settings.answers}",
        )
    return found


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the reward model: its attack, answers of its training pairs, its held-out rewards."""

    attack: Path | None
    texts: list[str]
    held_out: tuple[float | None, float | None] = (None, None)


def known_of(options: WatchOptions) -> Known:
    """What the options name, and what the run of the reward model holds beside it.

    Raises:
        UserError: there is no such run, or its data cannot be read.
    """
    named = [SourceSpec(path=one) for one in options.training]
    if options.run is None:
        return Known(options.attack, _texts(named, "chat", {}))
    spec = load_spec(options.run / "spec.yaml")
    record = read_record(options.run / "model" / "rewardsmith.json", CheckpointRecord)
    theirs = options.run / "attack.json"
    attack = options.attack or (theirs if theirs.exists() else None)
    sources = named or list(spec.data.train)
    texts = _texts(sources, spec.data.strings, Resources.of(spec, Silent(), with_base=False).pairs)
    return Known(attack, texts, (record.reward_mean, record.reward_std))


def _texts(sources: Sequence[SourceSpec], strings: Literal["chat", "text"], embedded: Embedded) -> list[str]:
    """Answers of preference data, both sides, as far as is needed."""
    texts: list[str] = []
    for source in sources:
        intake = open_source(source, role="train", strings=strings, seed=0, embedded=embedded)
        for _, pair in islice(intake.stream, (_MOST_TRAINING - len(texts)) // 2):
            texts += ["\n".join(turn.text for turn in side) for side in (pair.chosen, pair.rejected)]
    return texts


def _fingerprint(options: WatchOptions) -> str:
    """Of what decides windows and audits; a stream may grow, so that its content is no part."""
    reference = options.reference
    content = sha256_of(reference) if reference is not None and reference.is_file() else str(reference)
    who = "judge" if options.judge else "people" if options.audit_file else ""
    return digest(
        [
            str(options.source.resolve()),
            asdict(options.settings),
            list(options.rewards),
            options.per_step,
            content,
            list(options.training),
            str(options.run),
            str(options.attack),
            list(options.phrases),
            who,
        ]
    )
