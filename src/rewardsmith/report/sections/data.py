"""What the data contract found, ready to be shown: findings by harm, sources, rejected rows, what the surveys measured.

    data_section(check, rejected) → Section
    finding_block(finding) → Block                        also for findings of training

In: `check.json` and the first rows of `rejected.jsonl`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import get_args

from rewardsmith.records.checks import CheckRecord, ExampleRow, Finding, RejectedRow, Severity, SourceCount
from rewardsmith.report.blocks import Block, Cell, Column, Grid, Section, Sign, bar_strip
from rewardsmith.report.formatting import MISSING, State, capitalised, count, percent, plural, short_hash, visible
from rewardsmith.report.sections.data_surveys import data_blocks
from rewardsmith.report.sections.verdict import sentence

EXAMPLES_SHOWN = 5
_ORDER = get_args(Severity)
_SEVERITIES: dict[str, State] = {"error": "bad", "warning": "warn", "note": "open"}


def data_section(
    check: CheckRecord | None, rejected: Sequence[RejectedRow] = (), *, surveys: bool = True, verdict: bool = True
) -> Section:
    """The data contract: what became of the rows, what was found, and what the surveys measured.

    Args:
        rejected: the first rows that were left out.
        surveys: also what was measured besides findings.
        verdict: False after a look at some of the rows, which decides nothing.
    """
    if check is None:
        return Section("data", "Data", absent=("The data contract", "check.json"))
    findings = by_harm(check.findings)
    failed = f"The data contract does not hold: failed on {', '.join(map(visible, check.failed_on))}."
    decided = Sign("good", "The data contract holds.") if check.passed else Sign("bad", failed)
    return Section(
        "data",
        "Data",
        (
            Block("", texts=(f"{capitalised(counts_in_words(check))}.",), grids=(_sources(check.sources),)),
            *((Block("Findings", grids=(_findings(findings),)),) if len(findings) > 1 else ()),
            *map(finding_block, findings),
            *((_rejected_block(check, rejected),) if check.rejected_by_reason else ()),
            Block("Counts and rules", facts=_rules(check)),
            *(data_blocks(check) if surveys else ()),
        ),
        lead=f"{len(findings) or 'No'} finding{'' if len(findings) == 1 else 's'}; every row that was left out has its "
        "reason.",
        verdicts=(decided,) if verdict else (),
        sources=("check.json", "rejected.jsonl"),
    )


def _sources(sources: Sequence[SourceCount]) -> Grid:
    columns = (
        Column("Source", "code"),
        Column("Role", "words"),
        Column("Read"),
        Column("Kept"),
        Column("Rejected"),
        Column("Content", "code"),
    )
    rows = tuple(
        (
            visible(source.source, 120),
            source.role.replace("_", "-"),
            count(source.read),
            count(source.kept),
            count(source.rejected),
            short_hash(source.sha256 or source.revision or "") or MISSING,
        )
        for source in sources
    )
    return Grid("Sources", columns, rows)


def _findings(findings: Sequence[Finding]) -> Grid:
    columns = (
        Column("Severity", "badge"),
        Column("Finding", "name"),
        Column("Code", "code"),
        Column("Rows"),
        Column("%"),
        Column("95 % interval"),
    )
    rows = tuple(
        (
            _severity(found),
            visible(found.title),
            visible(found.code, 60),
            count(found.count),
            share_in_words(found),
            interval_in_words(found),
        )
        for found in findings
    )
    return Grid("Findings, the most harmful first", columns, rows, titled=False)


def _rejected_block(check: CheckRecord, rejected: Sequence[RejectedRow]) -> Block:
    largest = max(1, *check.rejected_by_reason.values())
    reasons = sorted(check.rejected_by_reason.items(), key=lambda item: (-item[1], item[0]))
    columns = (Column("Reason", "code"), Column("Rows"), Column("Share of the largest", "draw"))
    by_reason = tuple((visible(reason, 60), count(number), bar_strip(number / largest)) for reason, number in reasons)
    grids = [Grid("Rejected rows by reason", columns, by_reason, titled=False)]
    if rejected:
        of = (
            Column("Row", "code"),
            Column("Id", "code"),
            Column("Role", "words"),
            Column("Reason", "code"),
            Column("Found", "words"),
        )
        shown = f"The first {len(rejected):,} of {plural(check.rejected, 'rejected row')}"
        grids.append(Grid(shown, of, tuple(map(_rejected, rejected)), folded=shown))
    return Block("Rejected rows", grids=tuple(grids))


def _rejected(row: RejectedRow) -> tuple[Cell, ...]:
    return (
        f"{visible(row.source, 120)}:{row.row}",
        visible(row.id, 80),
        row.role.replace("_", "-"),
        visible(row.reason, 60),
        visible(row.detail),
    )


def _rules(check: CheckRecord) -> tuple[tuple[str, str], ...]:
    tokens, rendering = check.tokens, check.rendering
    padding = 1 - tokens.tokens / tokens.padded_tokens if tokens.padded_tokens else None
    changed = " (changed)" if rendering.changed_template else ""
    return (
        ("Distinct prompts", f"{check.distinct_prompts:,}"),
        ("Pairs to train on", f"{check.train_pairs:,}"),
        ("Held-out pairs", f"{check.held_out_pairs:,} ({visible(check.held_out_origin, 120)})"),
        ("Texts, tokens", f"{tokens.texts:,}, {tokens.tokens:,}"),
        ("Padding", f"{percent(padding)} % of a right-padded batch"),
        ("Longest text allowed", f"{rendering.max_length:,} tokens; over that: {rendering.over_length}"),
        ("Pairs cut", f"{tokens.truncated:,}"),
        ("EOS, pad", f"{visible(rendering.eos_token, 40)}, {visible(rendering.pad_token, 40)}"),
        ("Chat template", visible(rendering.template_sha256, 16) + changed),
    )


def finding_block(finding: Finding) -> Block:
    """A finding with what was measured, what it means, the fix, and the first rows that show it."""
    size = f"{finding.count:,} of {finding.of:,}" + (f" ({share_in_words(finding)} %)" if finding.of else "")
    interval = interval_in_words(finding)
    columns = (Column("Row", "code"), Column("Id", "code"), Column("Found", "words"))
    rows = tuple(map(_example, finding.examples[:EXAMPLES_SHOWN]))
    title = visible(finding.title)
    caption = f"Rows that show: {title}"
    return Block(
        title,
        badge=_severity(finding),
        aside=f"{size}{f', 95 % interval {interval}' if interval else ''} `{visible(finding.code, 60)}`",
        texts=(
            *((sentence(visible(finding.summary, 600)),) if finding.summary else ()),
            f"{sentence(finding.meaning)} {sentence(finding.why)}",
            f"Fix: {sentence(finding.fix)}",
        ),
        grids=(Grid(caption, columns, rows, folded=plural(len(rows), "example row"), titled=False),) if rows else (),
    )


def _severity(finding: Finding) -> Sign:
    return Sign(_SEVERITIES[finding.severity], finding.severity)


def _example(example: ExampleRow) -> tuple[Cell, ...]:
    place = visible(example.file, 120) + (f":{example.row}" if example.row else "")
    return place, visible(example.id, 80), visible(example.detail)


def by_harm(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Worst severity first, then the largest share of what it looks at, then the largest count."""

    def harm(finding: Finding) -> tuple[int, float, int]:
        return _ORDER.index(finding.severity), -finding.count / max(1, finding.of), -finding.count

    return tuple(sorted(findings, key=harm))


def share_in_words(finding: Finding) -> str:
    """The share of rows that show it, in per cent: 0.04 is no 0.0."""
    share = finding.count / finding.of if finding.of else None
    if share is not None and 0 < share < 0.0005:
        return "< 0.1"
    return percent(share).text


def interval_in_words(finding: Finding) -> str:
    """The interval of that share, in per cent; empty where it has none."""
    if finding.ci_low is None or finding.ci_high is None:
        return ""
    return f"{percent(finding.ci_low)} to {percent(finding.ci_high)}"


def counts_in_words(record: CheckRecord) -> str:
    """What became of the rows; where a row holds more than one comparison, or a mixture is drawn, of both."""
    sources = record.sources
    mixed, ties, capped = (sum(getattr(s, name) for s in sources) for name in ("mixed_out", "ties", "capped"))
    if all(source.form in ("pair", "transcript", "openai", "comparison") for source in sources) and not mixed:
        return f"read {record.read:,} rows = {record.kept:,} kept + {record.rejected:,} rejected"
    used, unused = sum(source.used for source in sources), sum(source.unused for source in sources)
    formed, failed = sum(source.formed for source in sources), sum(source.pairs - source.kept for source in sources)
    rows = f"read {record.read:,} rows = {used:,} used + {unused:,} rejected + {mixed:,} left out by the mixture"
    pairs = f"{formed:,} comparisons = {record.kept:,} pairs kept + {failed:,} rejected + {ties:,} ties"
    return f"{rows}; {pairs} + {capped:,} over the cap"


def counts_hold(record: CheckRecord) -> bool:
    """Whether every row and every comparison is accounted for."""
    for source in record.sources:
        if not source.formed:  # of a version that did not count comparisons
            continue
        rows = source.used + source.unused + source.mixed_out
        pairs = source.kept + source.rejected - source.unused
        if (source.read, source.formed, source.pairs) != (rows, source.pairs + source.ties + source.capped, pairs):
            return False
    mixed = sum(source.mixed_out for source in record.sources)
    left_out = sum(record.rejected_by_reason.values()) == record.rejected
    several = any(source.form in ("list", "grouped", "tree") for source in record.sources)
    return left_out and (several or record.read == record.kept + record.rejected + mixed)
