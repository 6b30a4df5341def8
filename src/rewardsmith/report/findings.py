"""What the data contract found, ready to be shown: findings by harm, sources, rejected rows, measured sections.

data_view(check, rejected) → DataView
finding_view(finding) → FindingView          also for findings of training
by_harm(findings)                            worst severity first, then the largest share
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import get_args

from rewardsmith.records import CheckRecord, ExampleRow, Finding, RejectedRow, Severity, SourceCount
from rewardsmith.report.blocks import Block
from rewardsmith.report.data_sections import data_blocks
from rewardsmith.report.formatting import Number, count, percent, visible
from rewardsmith.report.scores import State
from rewardsmith.report.verdict import sentence

EXAMPLES_SHOWN = 5

_ORDER = get_args(Severity)


@dataclass(frozen=True, slots=True)
class Example:
    """Where something was seen."""

    place: str
    id: str
    detail: str


@dataclass(frozen=True, slots=True)
class FindingView:
    """One finding of the data contract or of training."""

    code: str
    severity: str
    state: State
    title: str
    count: Number
    share: str
    interval: str
    size: str
    summary: str
    meaning: str
    why: str
    fix: str
    examples: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class RejectedView:
    """A row that was left out."""

    place: str
    id: str
    role: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class DataView:
    """What the data contract found. `padding` is the share of tokens in a padded batch that are padding."""

    passed: bool
    sources: tuple[SourceCount, ...]
    findings: tuple[FindingView, ...]
    reasons: tuple[tuple[str, Number, float], ...]
    rejected: tuple[RejectedView, ...]
    rejected_total: int
    padding: Number
    facts: tuple[tuple[str, str], ...]
    blocks: tuple[Block, ...]


def data_view(check: CheckRecord, rejected: tuple[RejectedRow, ...]) -> DataView:
    """The data contract's record with the first rejected rows."""
    tokens, rendering = check.tokens, check.rendering
    largest = max(check.rejected_by_reason.values(), default=1)
    padding = 1 - tokens.tokens / tokens.padded_tokens if tokens.padded_tokens else None
    return DataView(
        passed=check.passed,
        sources=check.sources,
        findings=tuple(finding_view(finding) for finding in by_harm(check.findings)),
        reasons=tuple(
            (visible(reason, 60), count(number), number / max(1, largest))
            for reason, number in sorted(check.rejected_by_reason.items(), key=lambda item: (-item[1], item[0]))
        ),
        rejected=tuple(_rejected(row) for row in rejected),
        rejected_total=check.rejected,
        padding=percent(padding),
        facts=(
            ("Distinct prompts", f"{check.distinct_prompts:,}"),
            ("Held-out pairs", f"{check.held_out_pairs:,} ({visible(check.held_out_origin, 120)})"),
            ("Texts, tokens", f"{tokens.texts:,}, {tokens.tokens:,}"),
            ("Padding", f"{percent(padding)} % of a right-padded batch"),
            ("Longest text allowed", f"{rendering.max_length:,} tokens; over that: {rendering.over_length}"),
            ("Pairs cut", f"{tokens.truncated:,}"),
            ("EOS, pad", f"{visible(rendering.eos_token, 40)}, {visible(rendering.pad_token, 40)}"),
            (
                "Chat template",
                visible(rendering.template_sha256, 16) + (" (changed)" if rendering.changed_template else ""),
            ),
        ),
        blocks=data_blocks(check),
    )


def finding_view(finding: Finding) -> FindingView:
    """A finding as sentences with its first examples."""
    states: dict[str, State] = {"error": "bad", "warning": "warn", "note": "open"}
    return FindingView(
        code=visible(finding.code, 60),
        severity=finding.severity,
        state=states[finding.severity],
        title=visible(finding.title),
        size=f"{finding.count:,} of {finding.of:,}" + (f" ({share_in_words(finding)} %)" if finding.of else ""),
        count=count(finding.count),
        share=share_in_words(finding),
        interval=interval_in_words(finding),
        summary=sentence(visible(finding.summary, 600)) if finding.summary else "",
        meaning=sentence(finding.meaning),
        why=sentence(finding.why),
        fix=sentence(finding.fix),
        examples=tuple(_example(example) for example in finding.examples[:EXAMPLES_SHOWN]),
    )


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


def _example(example: ExampleRow) -> Example:
    place = visible(example.file, 120) + (f":{example.row}" if example.row else "")
    return Example(place, visible(example.id, 80), visible(example.detail))


def _rejected(row: RejectedRow) -> RejectedView:
    return RejectedView(
        f"{visible(row.source, 120)}:{row.row}",
        visible(row.id, 80),
        row.role.replace("_", "-"),
        visible(row.reason, 60),
        visible(row.detail),
    )


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
    several = any(source.form in ("list", "grouped") for source in record.sources)
    return left_out and (several or record.read == record.kept + record.rejected + mixed)
