"""`rewardsmith route run`: the best response of every row of a file, who decided, why, and what it cost. Resumable.

    record = run_routes(spec, RouteOptions(models, input, output), events)

A row has two or more responses, in any form that `rewardsmith score` reads: `prompt` with `responses`, or a pair's
`chosen` and `rejected` (place 0 and 1; the label is not looked at). Its `id`, `subset` and `source` are kept. OUTPUT
has a line for every row of the input, in its order (`records.RouteRow`); OUTPUT's `.audit.jsonl` every decision. With
`pairs` the judge's verdicts are written as preference pairs for the next training round.

The model scores all rows first, so that a share of the comparisons can be given to the least certain of them. Then
decisions go to a hidden audit log beside the output as they are made. A killed job reads that log and goes on with the
rows that are not in it; a log of another input, model or rule starts anew. The output is made from the log, in the
order of the rows, so that it does not depend on which verdict came first. In memory are rewards and decisions.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

import rewardsmith
from rewardsmith.data.files import read_rows, sha256_of
from rewardsmith.data.forms import Strings
from rewardsmith.data.responses import Responses, read_responses
from rewardsmith.errors import DataError, RunDirectoryError, SpecError
from rewardsmith.evaluation.calibration import in_use
from rewardsmith.pipeline.commands.judge import build_judge
from rewardsmith.pipeline.commands.route import (
    CHUNK,
    RouteModel,
    Standing,
    fitted_rules,
    log_header,
    open_route_model,
    read_calibration,
    settings_of,
)
from rewardsmith.pipeline.events import Events
from rewardsmith.pipeline.scorers import LoadOptions
from rewardsmith.protocols import Judge
from rewardsmith.records.files import guard_files, is_of, to_json, write_lines
from rewardsmith.records.routing import AuditEntry, AuditHeader, RouteRow, RouteRunRecord, RoutingRecord
from rewardsmith.routing import AuditLog, HybridRouter, Rules, best_of
from rewardsmith.routing.audit import check_log, decision_of, read_log
from rewardsmith.routing.rules import load_posterior
from rewardsmith.scoring import Combination
from rewardsmith.spec import Spec
from rewardsmith.types import Comparison, Conversation, Decision, Fallback, Opinion, Ruling, tools_of


@dataclass(frozen=True, slots=True)
class RouteOptions:
    """What `route run` was told. `pairs` is where verdicts go as preference pairs.

    Without `use_judge` nobody is asked.
    """

    models: tuple[str, ...]
    input: Path
    output: Path
    calibration: Path | None = None
    pairs: Path | None = None
    strings: Strings = "chat"
    use_judge: bool = True
    overwrite: bool = False
    combination: Combination | None = None
    load: LoadOptions = field(default_factory=LoadOptions)

    @property
    def audit(self) -> Path:
        """The log of every decision."""
        return self.output.with_name(f"{self.output.stem}.audit.jsonl")

    @property
    def journal(self) -> Path:
        """The same while the job works."""
        return self.output.with_name(f".{self.output.name}.audit.part")

    @property
    def judge_folder(self) -> Path:
        """The judge's calls: what is there is never paid for again."""
        return self.output.with_name(f"{self.output.stem}.judge")


def run_routes(spec: Spec, options: RouteOptions, events: Events, *, judge: Judge | None = None) -> RouteRunRecord:
    """Decide about every row of the input.

    Args:
        spec: `routing`, `judge`, seed.
        options: models, files.
        events: told how far it is.
        judge: in place of the spec's.

    Raises:
        UserError: the input cannot be read, model, judge or rules cannot be used, or the output is there.
    """
    _check_output(options)
    record = read_calibration(options.calibration) if options.calibration else None
    rules = fitted_rules(spec.routing, record)
    try:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(options.output.with_name(f".{options.output.name}.lock"), timeout=0) as lock:
            done = _Job(spec, options, events, record, rules, judge).run()
        Path(lock.lock_file).unlink(missing_ok=True)
    except Timeout as error:
        raise RunDirectoryError(
            "another process writes this output", where=str(options.output), fix="wait for it, or name another file"
        ) from error
    except OSError as error:
        if not is_of(error, options.output):
            raise
        raise RunDirectoryError(
            f"cannot be written: {error.strerror or error}", where=str(options.output), fix="name another file"
        ) from error
    return done


def _check_output(options: RouteOptions) -> None:
    for path in (options.output, options.pairs):
        if path is None:
            continue
        if path.suffix not in (".jsonl", ".ndjson"):
            raise RunDirectoryError("is no JSONL file", where=str(path), fix="name a file that ends in .jsonl")
        if path.exists() and not options.overwrite:
            raise RunDirectoryError(
                "stands there already", where=str(path), fix="name another file, or say --overwrite"
            )
    written = [path for path in (options.output, options.audit, options.journal, options.pairs) if path is not None]
    guard_files(written, [options.input, *options.models, *([options.calibration] if options.calibration else [])])
    check_log(options.audit)  # nobody has named it: --overwrite says nothing of it


_ROUNDING = 1e-9


@dataclass(slots=True)
class _Journal:
    """What an earlier start decided: decisions by row, and the money that they cost."""

    entries: dict[int, list[AuditEntry]] = field(default_factory=dict)
    spent: float = 0.0


class _Job:
    """One `route run`."""

    def __init__(
        self,
        spec: Spec,
        options: RouteOptions,
        events: Events,
        record: RoutingRecord | None,
        rules: Rules,
        judge: Judge | None,
    ) -> None:
        self.spec, self.options, self.events, self.rules = spec, options, events, rules
        self.model = _open_model(spec, options, record, events)
        self._given = judge
        self.header = self._header()

    def run(self) -> RouteRunRecord:
        """Score, decide, write."""
        standings = self._score()
        journal = self._resume()
        resumed = len(journal.entries)
        denied = self._denied(standings)
        asyncio.run(self._decide(standings, denied, journal))
        self.events.progress("routing", len(standings), len(standings))
        return self._finish(resumed)

    def _rows(self) -> Iterator[RouteInput]:
        return read_comparisons(self.options.input, self.options.strings)

    def _score(self) -> list[Standing | None]:
        """What the model says of each row, in the order of the file; None where there is nothing to compare."""
        found: list[Standing | None] = []
        window: list[RouteInput] = []
        for row in self._rows():
            window.append(row)
            if sum(len(one.responses) for one in window) >= CHUNK:
                found += self._standings(window)
                window = []
                self.events.progress("scoring rows", len(found), len(found))
        return found + self._standings(window)

    def _standings(self, rows: Sequence[RouteInput]) -> list[Standing | None]:
        there = iter(self.model.standings([row.conversations for row in rows if row.responses]))
        return [next(there) if row.responses else None for row in rows]

    def _opinion(self, row: RouteInput, standing: Standing, first: int, second: int) -> Opinion:
        return standing.opinion(first, second, self.model.temperature_of(row.subset))

    def _denied(self, standings: Sequence[Standing | None]) -> set[int]:
        """Places of the rows that the share leaves to the model: of the ambiguous ones the most certain."""
        share = self.spec.routing.budget.share
        if share is None:
            return set()
        comparisons = sum(len(one.rewards) - 1 for one in standings if one is not None)
        allowed = int(share * comparisons + _ROUNDING)
        ambiguous = []
        for place, (row, standing) in enumerate(zip(self._rows(), standings, strict=True)):
            if standing is None:
                continue
            sure = self._ambiguous(row, standing)
            if sure:
                ambiguous.append((min(sure), place, len(sure)))
        denied = set()
        for _, place, count in sorted(ambiguous):
            if count > allowed:
                denied.add(place)
            else:
                allowed -= count
        return denied

    def _ambiguous(self, row: RouteInput, standing: Standing) -> list[float]:
        """How sure the model is of each ambiguous comparison with its favourite."""
        rewards = standing.rewards
        favourite = int(np.argmax(np.where(np.isnan(rewards), -np.inf, rewards)))
        found = [self._opinion(row, standing, favourite, place) for place in range(len(rewards)) if place != favourite]
        return [self.rules.rank(one) for one in found if self.rules.look_at(one, row.subset).escalated]

    async def _decide(self, standings: Sequence[Standing | None], denied: set[int], journal: _Journal) -> None:
        judge = self._judge()
        log = AuditLog(self.options.journal, self.header, append=bool(journal.entries))
        router = HybridRouter(self.rules, judge, settings_of(self.spec, share=None), log=log, spent=journal.spent)
        running: set[asyncio.Task[Ruling]] = set()
        try:
            for place, (row, standing) in enumerate(zip(self._rows(), standings, strict=True)):
                if standing is None or row.number in journal.entries:
                    continue
                refusal: Fallback = "share" if place in denied else ""
                if refusal or judge is None or not self._ambiguous(row, standing):
                    await self._rule(router, row, standing, refusal)  # nobody is waited for
                    continue
                if len(running) >= self.spec.routing.concurrency:
                    running = await _one_done(running)
                running.add(asyncio.create_task(self._rule(router, row, standing, refusal)))
                self.events.progress("routing", place + 1, len(standings))
            while running:
                running = await _one_done(running)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            log.close()
            if judge is not None and (close := getattr(judge, "close", None)):
                await close()
        if isinstance(unusable := getattr(judge, "refusal", None), SpecError):
            self.events.note(f"warning: the judge cannot be used: {unusable}")

    async def _rule(self, router: HybridRouter, row: RouteInput, standing: Standing, refusal: Fallback) -> Ruling:
        """All decisions about one row."""

        async def compare(first: int, second: int) -> Decision:
            pair, says = row.comparison(first, second), self._opinion(row, standing, first, second)
            return await router.decide(
                pair, says, refusal=refusal, patient=True, row=row.number, places=(first, second)
            )

        if len(row.responses) == 2:
            return Ruling(None, (await compare(0, 1),))

        def clear(first: int, second: int) -> bool:
            return not self.rules.look_at(self._opinion(row, standing, first, second), row.subset).escalated

        rewards = [float(one) if np.isfinite(one) else None for one in standing.rewards]
        return await best_of(rewards, compare, clear)

    def _judge(self) -> Judge | None:
        if self._given is not None or not self.options.use_judge:
            return self._given
        return build_judge(self.spec.judge, self.options.judge_folder, seed=self.spec.seed)

    def _header(self) -> AuditHeader:
        spec, options = self.spec, self.options
        header = log_header(spec, self.rules, self.model.identity, use_judge=options.use_judge)
        parts = [
            sha256_of(options.input),
            self.model.identity,
            repr((self.model.temperature, dict(self.model.temperatures))),
            repr(self.rules),
            options.strings,
            repr(options.combination),
            header.judge,
            header.prompts,
            spec.routing.budget.model_dump_json(),
            rewardsmith.__version__,
        ]
        return header.model_copy(update={"fingerprint": hashlib.sha256(json.dumps(parts).encode()).hexdigest()})

    def _resume(self) -> _Journal:
        """The rows that an earlier start has decided; what is left of an unfinished row is dropped."""
        path = self.options.journal
        if not path.exists():
            return _Journal()
        found = _read_journal(path, self.header.fingerprint)
        if found is None:
            self.events.note("the unfinished output is of another input, model, rule or judge: starting anew")
            path.unlink()
            return _Journal()
        responses = {row.number: len(row.responses) for row in self._rows()}
        whole = {row: own for row, own in found.items() if len(own) == responses.get(row, 0) - 1}
        costs = (entry.verdict.cost for own in whole.values() for entry in own if entry.verdict is not None)
        lines = [self.header, *(entry for own in whole.values() for entry in own)]
        write_lines(path, (to_json(line, indent=None) for line in lines))
        if whole:
            self.events.note(f"continuing after {len(whole):,} rows")
        return _Journal(whole, sum(costs))

    def _finish(self, resumed: int) -> RouteRunRecord:
        """Rows, log and pairs, in the order of the input."""
        options = self.options
        decided = _read_journal(options.journal, self.header.fingerprint) or {}
        if options.pairs is not None:
            write_lines(options.pairs, self._labels(decided))
        order = [row.number for row in self._rows()]
        lines = chain([self.header], (entry for row in order for entry in decided.get(row, ())))
        write_lines(options.audit, (to_json(line, indent=None) for line in lines))
        rows = (row_of(row, decided.get(row.number, ())) for row in self._rows())
        write_lines(options.output, (to_json(row, indent=None) for row in rows))
        options.journal.unlink()
        every = [entry for own in decided.values() for entry in own]
        verdicts = [entry.verdict for entry in every if entry.verdict is not None]
        return RouteRunRecord(
            output=str(options.output),
            audit=str(options.audit),
            pairs_output=str(options.pairs) if options.pairs else None,
            rows=len(order),
            bad_rows=len(order) - len(decided),
            comparisons=len(every),
            escalated=sum(entry.escalated for entry in every),
            judged=sum(entry.by == "judge" for entry in every),
            fallbacks=dict(sorted(Counter(entry.fallback for entry in every if entry.fallback).items())),
            rewards=self.model.rewards,
            missing=dict(sorted(self.model.missing.items())),
            exported=_count_lines(options.pairs),
            calls=sum(verdict.calls for verdict in verdicts),
            cost=sum(verdict.cost for verdict in verdicts),
            currency=self.header.currency,
            resumed_rows=resumed,
        )

    def _labels(self, decided: dict[int, list[AuditEntry]]) -> Iterator[str]:
        for row in self._rows():
            for entry in decided.get(row.number, ()):
                pair = _labelled_pair(row.comparison(*entry.places), decision_of(entry), self.header)
                if pair is not None:
                    yield json.dumps(pair, ensure_ascii=False)


def _open_model(spec: Spec, options: RouteOptions, record: RoutingRecord | None, events: Events) -> RouteModel:
    """The model, with the temperature and the posterior of the calibration where it has none of its own."""
    model = open_route_model(spec, options.models, options.load, options.combination, events.note)
    if record is not None and record.identity != model.identity:
        events.note(f"warning: the calibration is of another model ({record.model})")
    elif record is not None and record.temperature is not None:
        model.temperature, model.calibration = record.temperature, record.calibration
        model.temperatures = in_use(record.subset_temperatures)
    if model.doubt == "laplace":
        if options.calibration is None:
            raise DataError(
                "the rule interval needs the Laplace approximation of a calibration",
                where="routing.rules",
                fix="run `rewardsmith route calibrate` and give its folder with --calibration",
            )
        folder = options.calibration if options.calibration.is_dir() else options.calibration.parent
        model.posterior = load_posterior(folder, model.identity)
    return model


def _read_journal(path: Path, fingerprint: str) -> dict[int, list[AuditEntry]] | None:
    """Decisions by row, in the order in which they were made; None if the log is of another job or cannot be read."""
    found: dict[int, list[AuditEntry]] = {}
    try:
        for line in read_log(path):
            if isinstance(line, AuditHeader):
                if line.fingerprint != fingerprint:
                    return None
            elif line.row is not None:
                found.setdefault(line.row, []).append(line)
    except DataError:
        return None
    return found


async def _one_done(running: set[asyncio.Task[Ruling]]) -> set[asyncio.Task[Ruling]]:
    """Wait until one is done; raises what it raised."""
    done, others = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    return others


def _count_lines(path: Path | None) -> int:
    if path is None:
        return 0
    with path.open(encoding="utf-8") as handle:
        return sum(1 for _ in handle)


@dataclass(frozen=True, slots=True)
class RouteInput:
    """One row: its number, id, subset, source, and what to compare; or the reason why there is nothing to compare."""

    number: int
    id: str | None
    subset: str = ""
    source: str = ""
    prompt: Conversation = ()
    responses: tuple[Conversation, ...] = ()
    reason: str = ""

    @property
    def conversations(self) -> list[Conversation]:
        """The prompt with each response."""
        return [self.prompt + response for response in self.responses]

    def comparison(self, first: int, second: int) -> Comparison:
        """Two of its responses; of a row of two the id is the row's own."""
        name = self.id if self.id is not None else str(self.number)
        name = name if len(self.responses) == 2 else f"{name}#{first}:{second}"
        return Comparison(self.prompt, self.responses[first], self.responses[second], name, self.source, self.subset)


def read_comparisons(path: Path, strings: Strings) -> Iterator[RouteInput]:
    """Every row of a file; lines that cannot be read stand in their place, with the reason.

    Raises:
        DataError: the file cannot be read.
    """
    broken: list[tuple[int, str]] = []
    for number, row in read_rows(path, bad_lines=broken):
        yield from _broken(broken)
        yield _input(number, row, strings, path.name)
    yield from _broken(broken)


def _broken(lines: list[tuple[int, str]]) -> Iterator[RouteInput]:
    for number, fault in lines:
        yield RouteInput(number, None, reason=f"the line cannot be read: {fault}")
    lines.clear()


def _input(number: int, row: dict[str, Any], strings: Strings, source: str) -> RouteInput:
    name = row.get("id")
    known = str(name) if isinstance(name, str | int) and not isinstance(name, bool) else None
    subset, given = (str(row[key]) if isinstance(row.get(key), str) else "" for key in ("subset", "source"))
    found = read_responses(row, strings)
    if not isinstance(found, Responses):
        return RouteInput(number, known, subset, given or source, reason=found.detail)
    if len(found.conversations) < 2:
        return RouteInput(number, known, subset, given or source, reason="has one response, and nothing to compare")
    shared = _shared(found.conversations)
    responses = tuple(one[len(shared) :] for one in found.conversations)
    return RouteInput(number, known, subset, given or source, shared, responses)


def _shared(conversations: Sequence[Conversation]) -> Conversation:
    """The longest common beginning that leaves every conversation a turn."""
    length, most = 0, min(map(len, conversations)) - 1
    while length < most and len({one[length] for one in conversations}) == 1:
        length += 1
    return conversations[0][:length]


def row_of(row: RouteInput, entries: Sequence[AuditEntry]) -> RouteRow:
    """What is written of a row, from the decisions about it in their order."""
    if not entries:
        return _undecided(row)
    champion, undecided, last = entries[0].places[0], True, entries[0]
    for entry in entries:
        first, second = entry.places
        undecided = undecided and entry.winner is None
        if first == champion and entry.winner == "second":
            champion = second
        if champion in (first, second):
            last = entry
    tied = len(entries) == 1 and entries[0].winner == "tie"
    verdicts = [entry.verdict for entry in entries if entry.verdict is not None]
    alone = entries[0] if len(entries) == 1 else None
    judged = alone is not None and alone.by == "judge" and alone.verdict is not None
    probability = None if alone is None else alone.verdict.probability if judged else alone.opinion.probability  # type: ignore[union-attr]
    places = alone.places if alone else (0, 1)
    return RouteRow(
        row=row.number,
        id=row.id,
        best=None if undecided or tied else champion,
        by=last.by,
        escalated=sum(entry.escalated for entry in entries),
        judged=sum(entry.by == "judge" for entry in entries),
        comparisons=len(entries),
        rule=last.rule,
        why=last.why,
        fallback=last.fallback,
        probability=probability if places == (0, 1) or probability is None else 1 - probability,
        margin=None if alone is None else _signed(alone),
        calls=sum(verdict.calls for verdict in verdicts),
        cost=sum(verdict.cost for verdict in verdicts),
    )


def _undecided(row: RouteInput) -> RouteRow:
    return RouteRow(
        row=row.number,
        id=row.id,
        best=None,
        by="nobody",
        escalated=0,
        judged=0,
        comparisons=0,
        rule="",
        why=row.reason,
        fallback="",
        probability=None,
        margin=None,
        calls=0,
        cost=0.0,
    )


def _signed(entry: AuditEntry) -> float | None:
    """The margin of the response at place 0 over that at place 1."""
    margin = entry.opinion.margin
    return margin if margin is None or entry.places == (0, 1) else -margin


def _labelled_pair(comparison: Comparison, decision: Decision, header: AuditHeader) -> dict[str, Any] | None:
    """The preference pair that a judge's verdict makes; None where it did not decide, or called it a tie.

    It is a row in the project's own schema, which `data` reads back; the annotator is the judge. Where the label comes
    from stands under `provenance`, apart from the columns that training reads: a negative margin of the reward model
    says that the judge disagreed with it.
    """
    if decision.by != "judge" or decision.winner not in ("first", "second") or decision.verdict is None:
        return None
    # Equal responses make no preference, whatever the judge said of their places.
    if comparison.first == comparison.second:
        return None
    flipped = decision.winner == "second"
    sides = (comparison.second, comparison.first) if flipped else (comparison.first, comparison.second)
    judge, probability = header.judge or "judge", decision.verdict.probability or 0.0
    margin = decision.opinion.margin
    tools, prompt = tools_of(comparison.prompt)
    return {
        "prompt": _turns(prompt),
        "chosen": _turns(sides[0]),
        "rejected": _turns(sides[1]),
        **({"tools": tools} if tools else {}),
        "id": comparison.id,
        "source": comparison.source or "judge",
        "subset": comparison.subset,
        "annotator": judge,
        "provenance": {
            "judge_model": judge,
            "prompt_hash": header.prompts,
            "rule": decision.rule,
            "why": decision.why,
            # Turned round with the sides, so that it is always of chosen minus rejected.
            "reward_margin": None if margin is None else -margin if flipped else margin,
            "reward_model": header.model,
            "probability": 1 - probability if flipped else probability,
            "consistent": decision.verdict.consistent,
        },
    }


def _turns(side: Conversation) -> list[dict[str, Any]]:
    return [turn.as_dict() for turn in side]
