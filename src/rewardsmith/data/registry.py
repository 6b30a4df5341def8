"""Every check and every survey, listed by name; and from what they saw to the findings of the record.

    findings = find_all(found, table, spec.data.severity)
    failed_on(findings, ("error", "duplicate_pair"))        # codes that the spec does not tolerate

To add a check of a row: write its function and its `Check` in `checks.py`, and add it to CHECKS. To add a survey: write
the class and the `Check`s that explain its findings in `surveys/`, and add it to SURVEYS and CHECKS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import get_args

from rewardsmith.data import checks
from rewardsmith.data.checks import Check
from rewardsmith.data.shortcuts import findings
from rewardsmith.data.surveys import balance, contamination, labels, leakage, near_duplicates, private
from rewardsmith.data.surveys import tokens as token_survey
from rewardsmith.data.surveys.survey import Found, Notes, Setting, Survey, Table
from rewardsmith.errors import SpecError
from rewardsmith.records.checks import ExampleRow, Finding, Severity
from rewardsmith.statistics import wilson_interval

CHECKS: dict[str, Check] = {
    check.code: check
    for check in (
        checks.BAD_LINE,
        checks.MISSING_FIELD,
        checks.NOT_TEXT,
        checks.NOT_UNICODE,
        checks.UNKNOWN_ROLE,
        checks.UNREAD_KEY,
        checks.MISSING_PROMPT,
        checks.PROMPT_DIFFERS,
        checks.HISTORIES_DIFFER,
        checks.TRANSCRIPT,
        checks.SERIALISED,
        checks.UNKNOWN_VERDICT,
        checks.TIE,
        checks.NO_COMPARISON,
        checks.BROKEN_TREE,
        checks.IDENTICAL_PAIR,
        checks.EMPTY_TEXT,
        checks.ROLE_ORDER,
        checks.NUL_CHARACTER,
        checks.OVER_LENGTH,
        checks.TEMPLATE_REFUSED,
        checks.RESPONSE_LOST,
        checks.FIELDS_LOST,
        checks.EOS_MISSING,
        checks.EOS_DOUBLED,
        checks.BOS_DOUBLED,
        checks.PAD_IN_TEXT,
        checks.IDENTICAL_TOKENS,
        token_survey.TRUNCATED_PROMPT,
        token_survey.SPECIAL_TOKEN_IN_TEXT,
        token_survey.ROLE_MARKER_IN_TEXT,
        token_survey.PROMPT_REWRITTEN,
        token_survey.PROMPT_SEAM,
        token_survey.REASONING_NOT_SHOWN,
        token_survey.UNKNOWN_TOKEN,
        token_survey.TEMPLATE_DEPENDS_ON_DATE,
        token_survey.PAD_IS_EOS,
        checks.PROMPT_REPEATED,
        checks.IDENTICAL_FOLDED,
        checks.MOJIBAKE,
        checks.REPLACEMENT_CHARACTER,
        checks.CONTROL_CHARACTER,
        labels.DUPLICATE_PAIR,
        labels.CONTRADICTORY_PAIR,
        labels.PREFERENCE_CYCLE,
        labels.MARGIN_AGAINST_LABEL,
        labels.MARGIN_OUT_OF_RANGE,
        labels.MARGIN_UNREAD,
        labels.MARGIN_ZERO,
        balance.MIXED_FORMS,
        balance.DOMINANT_PROMPT,
        balance.MODEL_TELLS_LABEL,
        private.SECRET_IN_TEXT,
        private.PERSONAL_DATA,
        findings.LENGTH_SHORTCUT,
        findings.FORMAT_SHORTCUT,
        findings.LEXICAL_SHORTCUT,
        findings.PROMPT_BLIND_CEILING,
        findings.WEAK_SHORTCUTS,
        near_duplicates.NEAR_DUPLICATE_PAIR,
        near_duplicates.NEAR_DUPLICATE_PROMPT,
        leakage.LEAKED_PROMPT,
        leakage.NEAR_LEAKED_PROMPT,
        leakage.LEAKED_TURN,
        contamination.CONTAMINATED,
        balance.MOSTLY_REJECTED,
        balance.UNREAD_CONTEXT,
    )
}
"""By code; a row is left out for the first check that it fails, in this order."""

SURVEYS: dict[str, Callable[[Setting], Survey]] = {
    "notes": lambda _: Notes(CHECKS.values()),
    "tokens": token_survey.Tokens,
    "sources": balance.Sources,
    "overlap": near_duplicates.NearDuplicates,
    "contamination": contamination.Contamination,
    "labels": labels.Labels,
    "balance": balance.Balance,
    "private": private.Private,
    "shortcuts": findings.Shortcuts,
}
"""By name; every one sees every kept row."""

_EXAMPLES = 5
_ORDER = {severity: place for place, severity in enumerate(get_args(Severity))}


def check_codes(fail_on: Sequence[str], severities: Mapping[str, Severity]) -> None:
    """Refuse an entry of `fail_on` or `severity` that would never match.

    Raises:
        SpecError: the entry is neither a severity nor the code of a check.
    """
    for entry in fail_on:
        if entry not in _ORDER and entry not in CHECKS:
            raise SpecError(
                f"{entry!r} is neither a severity nor the code of a check",
                where="data.fail_on",
                fix=f"write one of {', '.join(_ORDER)}, or of {', '.join(CHECKS)}",
            )
    for code in severities:
        if code not in CHECKS:
            raise SpecError(
                f"{code!r} is not the code of a check", where="data.severity", fix=f"write one of {', '.join(CHECKS)}"
            )


def find_all(found: Iterable[Found], table: Table, severities: Mapping[str, Severity]) -> tuple[Finding, ...]:
    """Every finding, worst severity first, then the largest share of what it looks at.

    Args:
        found: what the surveys found.
        table: sizes, places and the rows that were left out.
        severities: by code, where the spec says another than the check's own.
    """
    sizes = {
        "read": sum(source.read for source in table.sources),
        "kept": len(table.row),
        "train": len(table.train),
        "held_out": len(table.held_out),
        "sources": len(table.sources),
    }
    findings = [*_left_out(table, sizes["read"]), *(_finding(one, table, sizes) for one in found)]
    ranked = (
        finding.model_copy(update={"severity": severities.get(finding.code, finding.severity)})
        for finding in findings
        if finding.count
    )
    return tuple(sorted(ranked, key=lambda finding: (_ORDER[finding.severity], -finding.count / max(1, finding.of))))


def failed_on(findings: Sequence[Finding], fail_on: Sequence[str]) -> tuple[str, ...]:
    """Codes of the findings that the spec does not tolerate: by their severity or by their code."""
    return tuple(finding.code for finding in findings if {finding.code, finding.severity} & set(fail_on))


def _left_out(table: Table, read: int) -> list[Finding]:
    """The checks that left rows out: their counts, and their first rows."""
    counts = table.rejected.by_reason()
    examples: dict[str, list[ExampleRow]] = {code: [] for code in counts}
    for row in table.rejected if counts else ():
        if len(examples[row.reason]) < _EXAMPLES:
            examples[row.reason].append(ExampleRow(file=row.source, row=row.row, id=row.id, detail=row.detail))
        elif all(len(examples[code]) == min(_EXAMPLES, count) for code, count in counts.items()):
            break
    return [_described(code, count, read, examples=tuple(examples[code])) for code, count in counts.items()]


def _finding(found: Found, table: Table, sizes: Mapping[str, int]) -> Finding:
    examples = found.examples or tuple(
        ExampleRow(
            file=table.sources[table.source[place]].source,
            row=int(table.row[place]),
            id=table.pairs[place].id,
            detail=found.detail(place),
        )
        for place in found.places[:_EXAMPLES].tolist()
    )
    count = len(found.places) if found.count is None else found.count
    of = sizes[CHECKS[found.code].of] if found.of is None else found.of
    return _described(found.code, count, of, examples=examples, summary=found.summary, severity=found.severity)


def _described(
    code: str,
    count: int,
    of: int,
    *,
    examples: tuple[ExampleRow, ...],
    summary: str = "",
    severity: Severity | None = None,
) -> Finding:
    check = CHECKS[code]
    interval = wilson_interval(count, of) if of else None
    return Finding(
        code=code,
        severity=severity or check.severity,
        title=check.title,
        meaning=check.meaning,
        why=check.why,
        fix=check.fix,
        count=count,
        of=of,
        summary=summary,
        ci_low=interval.low if interval else None,
        ci_high=interval.high if interval else None,
        examples=examples,
    )
