"""From what checks and surveys saw to findings, and from findings to the verdict.

findings = find_all(found, table, spec.data.severity)
failed_on(findings, ("error", "duplicate_pair"))
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

from rewardsmith.data.registry import CHECKS
from rewardsmith.data.surveys.contract import Found, Table
from rewardsmith.errors import SpecError
from rewardsmith.records import ExampleRow, Finding, RejectedRow, Severity
from rewardsmith.statistics import wilson_interval

_EXAMPLES = 5
_ORDER = {severity: place for place, severity in enumerate(get_args(Severity))}


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


def _left_out(table: Table, read: int) -> list[Finding]:
    """The checks that left rows out: their counts, and their first rows."""
    counts = table.rejected.by_reason()
    examples: dict[str, list[ExampleRow]] = {code: [] for code in counts}
    for row in table.rejected if counts else ():
        if len(examples[row.reason]) < _EXAMPLES:
            examples[row.reason].append(_example(row))
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


def _example(row: RejectedRow) -> ExampleRow:
    return ExampleRow(file=row.source, row=row.row, id=row.id, detail=row.detail)
