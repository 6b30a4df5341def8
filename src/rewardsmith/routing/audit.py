"""The audit log: one JSON line for each decision with everything that it was made of, so that it can be replayed.

    check_log(path)                           refuses a file of something else before anything is loaded
    log = AuditLog(path, header)              appends; each line is on its way to the disk when `write` returns
    log.write(entry_of(comparison, decision, refusal))
    replay(path)                              → ReplayRecord: decisions made again from the logged inputs; what differs

    {"kind": "router", "rules": [...], "combine": "any", "model": "…", "judge": "…", "prompts": "…", …}
    {"kind": "decision", "id": "pair-7", "digest": "…", "opinion": {…}, "refusal": "", "verdict": {…}, "winner": …}

A line of kind `router` says by which rules the decisions after it were made. Texts do not stand in the log: `digest` is
the SHA-256 of prompt and responses, so that a line can be matched with the rows it is about.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO

from pydantic import ValidationError

from rewardsmith.errors import DataError, RunDirectoryError
from rewardsmith.records.bounded import BeyondLimitError, parse_json, regular
from rewardsmith.records.files import guard_own, to_json
from rewardsmith.records.routing import AuditEntry, AuditHeader, LoggedAnswer, LoggedOpinion, LoggedRule, ReplayRecord
from rewardsmith.routing.rules import Rule, Rules, settle
from rewardsmith.types import Comparison, Decision, Fallback, JudgeAnswer, Opinion, Usage

_DIFFERENCES_KEPT = 20

_BLOCK = 2**16
_BEGINNINGS = (b'{"kind":"decision",', b'{"schema":1,"kind":"router",')
"""Of every line of a log: fields are written in their order."""


def check_log(path: Path) -> None:
    """Refuse to write a log into a file that is there and is none.

    Raises:
        RunDirectoryError: a line is none of a log, or the file is no regular one or cannot be read.
    """
    guard_own(path, _is_log, "the audit log of a router")


def _is_log(handle: BinaryIO) -> bool:
    """By the beginnings of its lines, since a log is as long as its server has lived."""
    first = handle.readline()
    if not first.endswith(b"\n") or not first.startswith(_BEGINNINGS[1]):
        return False
    # A last line without an end was being written when the process ended.
    return all(line.startswith(_BEGINNINGS) or not line.endswith(b"\n") for line in handle)


class AuditLog:
    """Appends lines to a file. Use it in one thread, and close it. `append`: a log that has this header already.

    Raises:
        RunDirectoryError: the file holds something else, another process writes it, or it cannot be written.
    """

    def __init__(self, path: Path, header: AuditHeader, *, append: bool = False) -> None:
        check_log(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._handle: IO[str] = path.open("a", encoding="utf-8")
        except OSError as error:
            raise RunDirectoryError(
                f"cannot be written: {error.strerror}", where=str(path), fix="name a file that you may write to"
            ) from error
        try:
            # Decisions of two routers in one log would be replayed by the rules of one of them.
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._handle.close()
            raise RunDirectoryError("another process writes it", where=str(path), fix="name another file") from error
        _drop_half_a_line(path)
        if not append:
            self._put(to_json(header, indent=None))

    def write(self, entry: AuditEntry) -> None:
        """One decision."""
        self._put(to_json(entry, indent=None))

    def close(self) -> None:
        """No line may follow."""
        self._handle.close()

    def _put(self, line: str) -> None:
        self._handle.write(line + "\n")
        # To the system, not to the disk: a killed process loses no line, a machine that crashes may.
        self._handle.flush()


def _drop_half_a_line(path: Path) -> None:
    """Cut off a last line without an end: no reader counts it, and what comes after it would be no line either."""
    with path.open("rb+") as handle:
        end = handle.seek(0, os.SEEK_END)
        while end:
            handle.seek(max(0, end - _BLOCK))
            block = handle.read(min(end, _BLOCK))
            whole = block.rfind(b"\n") + 1
            if whole or end <= _BLOCK:
                handle.truncate(end - len(block) + whole)
                return
            end -= len(block)


def header_of(rules: Rules, *, model: str = "", judge: str = "", prompts: str = "", currency: str = "") -> AuditHeader:
    """What stands before the decisions of one router."""
    logged = tuple(
        LoggedRule(kind=rule.kind, below=rule.below, subsets=tuple(sorted(rule.subsets)), outside=rule.outside)
        for rule in rules.rules
    )
    return AuditHeader(
        rules=logged, combine=rules.combine, model=model, judge=judge, prompts=prompts, currency=currency
    )


def entry_of(
    comparison: Comparison,
    decision: Decision,
    refusal: Fallback,
    row: int | None = None,
    places: tuple[int, int] = (0, 1),
) -> AuditEntry:
    """The line of a decision; `refusal` is why the judge was not asked, "" where it was or need not be.

    `row` and `places` say which responses of a file were compared.
    """
    verdict = decision.verdict
    return AuditEntry(
        id=decision.id,
        row=row,
        places=places,
        subset=comparison.subset,
        digest=comparison_digest(comparison),
        opinion=LoggedOpinion(
            margin=decision.opinion.margin,
            probability=decision.opinion.probability,
            spread=decision.opinion.spread,
        ),
        refusal=refusal,
        verdict=None if verdict is None else _logged_answer(verdict),
        winner=decision.winner,
        by=decision.by,
        escalated=decision.escalated,
        rule=decision.rule,
        why=decision.why,
        fallback=decision.fallback,
    )


def comparison_digest(comparison: Comparison) -> str:
    """SHA-256 of a comparison's texts; the id plays no part."""
    parts = [
        [[turn.role, turn.content] if turn.is_plain else turn.as_dict() for turn in side]
        for side in (comparison.prompt, comparison.first, comparison.second)
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def decision_of(entry: AuditEntry) -> Decision:
    """The decision that a line holds."""
    return Decision(
        entry.id,
        entry.winner,
        entry.by,
        entry.escalated,
        entry.rule,
        entry.why,
        entry.fallback,
        _opinion(entry),
        _verdict(entry.verdict),
    )


def replay(path: Path, rules: Rules | None = None) -> ReplayRecord:
    """Make every decision of a log again from its logged inputs.

    Args:
        path: the log.
        rules: other rules than those of the log: then only who wins, who decides and whether it is escalated count,
            not the reasons. A comparison that they would escalate, and whose verdict is not in the log, differs.

    Raises:
        DataError: the log cannot be read.
    """
    decisions = differing = 0
    examples: list[str] = []
    current = rules
    for number, line in _lines(path):
        if isinstance(line, AuditHeader):
            current = rules or rules_of(line)
            continue
        if current is None:
            raise DataError("a decision stands before its rules", where=f"{path}:{number}", fix="give the whole log")
        decisions += 1
        again, logged = _again(line, current), decision_of(line)
        if again != logged if rules is None else _outcome(again) != _outcome(logged):
            differing += 1
            if len(examples) < _DIFFERENCES_KEPT:
                examples.append(
                    f"line {number}: {logged.winner} by {logged.by} ({logged.why}); "
                    f"again: {again.winner} by {again.by} ({again.why})"
                )
    return ReplayRecord(audit=str(path), decisions=decisions, differing=differing, examples=tuple(examples))


def rules_of(header: AuditHeader) -> Rules:
    """The rules that a header states."""
    rules = (Rule(one.kind, one.below, frozenset(one.subsets), one.outside) for one in header.rules)
    return Rules(tuple(rules), header.combine)


def read_log(path: Path) -> Iterator[AuditHeader | AuditEntry]:
    """The lines of a log; a last line that was being written when the process ended is left out.

    Raises:
        DataError: another line cannot be read.
    """
    for _, line in _lines(path):
        yield line


def _again(entry: AuditEntry, rules: Rules) -> Decision:
    opinion = _opinion(entry)
    return settle(entry.id, rules.look_at(opinion, entry.subset), opinion, entry.refusal, _verdict(entry.verdict))


def _outcome(decision: Decision) -> tuple[object, ...]:
    return decision.winner, decision.by, decision.escalated


def _lines(path: Path) -> Iterator[tuple[int, AuditHeader | AuditEntry]]:
    try:
        with regular(path).open(encoding="utf-8") as handle:
            for number, line in enumerate(handle, start=1):
                # The process was ended while it wrote this line.
                if not line.endswith("\n"):
                    return
                yield number, _parse(line, f"{path}:{number}")
    except (OSError, UnicodeDecodeError, BeyondLimitError) as error:
        raise DataError(f"cannot be read: {error}", where=str(path), fix="name the audit log of `route run`") from error


def _parse(line: str, where: str) -> AuditHeader | AuditEntry:
    try:
        found: Any = parse_json(line)
        kind = found.get("kind") if isinstance(found, dict) else None
        return (AuditHeader if kind == "router" else AuditEntry).model_validate_json(line)
    except (ValueError, ValidationError) as error:
        problem = str(error).splitlines()[0]
        raise DataError(
            f"is no line of an audit log: {problem}", where=where, fix="give a log as it was written"
        ) from error


def _opinion(entry: AuditEntry) -> Opinion:
    return Opinion(entry.opinion.margin, entry.opinion.probability, entry.opinion.spread)


def _logged_answer(verdict: JudgeAnswer) -> LoggedAnswer:
    usage = verdict.usage
    return LoggedAnswer(
        probability=verdict.probability,
        consistent=verdict.consistent,
        missing=verdict.missing,
        calls=usage.calls,
        cached=usage.cached,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cost=usage.cost,
    )


def _verdict(logged: LoggedAnswer | None) -> JudgeAnswer | None:
    if logged is None:
        return None
    usage = Usage(logged.calls, logged.cached, logged.prompt_tokens, logged.completion_tokens, logged.cost)
    return JudgeAnswer(logged.probability, logged.consistent, logged.missing, usage)
