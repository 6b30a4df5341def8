"""The data contract: from the spec's sources to tokenized training pairs, held-out pairs, and the record of both.

    prepared = prepare(spec, renderer, fingerprint=fingerprint)
    prepared.train          # TokenizedPair: what training consumes
    prepared.held_out       # PreferencePair: what evaluation scores
    prepared.rejected       # every row that was left out, with its reason
    prepared.record         # check.json; read = kept + rejected

The order of work: read, check the form, render, check the tokens, keep on disk, show to the surveys; all of it in one
pass over chunks of rows. Then hold out, and hear what the surveys found. Memory does not grow with the texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.findings import check_codes, failed_on, find_all
from rewardsmith.data.lengths import summarize_tokens
from rewardsmith.data.reading import ReadingProgress
from rewardsmith.data.registry import CHECKS, SURVEYS
from rewardsmith.data.rows import TokenizedPair, data_fingerprint
from rewardsmith.data.sources import Embedded, Intake, Mixed, Role, mixture, open_source
from rewardsmith.data.split import hold_out
from rewardsmith.data.store import Rejections, RowStore
from rewardsmith.data.surveys.contract import BenchmarkPrompt, Found, Places, Setting, Table
from rewardsmith.data.surveys.prompt_groups import PromptGroups
from rewardsmith.data.tokenize import tokenized
from rewardsmith.errors import DataError
from rewardsmith.protocols import Progress
from rewardsmith.records import CheckRecord, Finding, RejectedRow, SourceCount, TokenSummary
from rewardsmith.rendering import RenderAhead, Renderer
from rewardsmith.spec import SourceSpec, Spec
from rewardsmith.types import PreferencePair


class Watcher(Protocol):
    """Sees the kept rows as they pass."""

    def see(self, rows: Sequence[TokenizedPair]) -> None:
        """The next rows, in order."""
        ...


@runtime_checkable
class Grouping(Protocol):
    """Says which rows the split must not part."""

    def groups(self) -> NDArray[np.int64]:
        """The number of each row's group, shape (P,)."""
        ...


@dataclass(frozen=True, slots=True)
class PreparedData:
    """What layer 1 hands on. `train` and `held_out` are in the order of the spec's sources and their rows.

    They are read from disk when asked for, as `rows` does for any places of `table`. `found` is what the surveys found,
    with every row.
    """

    train: Sequence[TokenizedPair]
    held_out: Sequence[PreferencePair]
    rejected: Sequence[RejectedRow]
    record: CheckRecord
    table: Table
    rows: Callable[[Places], Sequence[TokenizedPair]]
    found: Sequence[Found] = ()


def prepare(
    spec: Spec,
    renderer: Renderer,
    *,
    fingerprint: str = "",
    embedded: Embedded | None = None,
    benchmarks: Mapping[str, Sequence[BenchmarkPrompt]] | None = None,
    survey: bool = True,
    split: NDArray[np.bool_] | None = None,
    sample: int | None = None,
    progress: Progress | None = None,
) -> PreparedData:
    """Read, check, render and split all pairs of a spec.

    Args:
        spec: its `data` section, `seed` and `training.pairs_per_step` are used.
        renderer: the tokenizer, template and length policy of the training.
        fingerprint: of the stage's inputs, for the record.
        embedded: files of the pairs that Rewardsmith generates itself.
        benchmarks: prompts that must not be trained on, by benchmark.
        survey: look at the set as a whole; without it the pairs are the same, and the record has less in it.
        split: `table.is_held_out` of an earlier preparation of the same rows, which need not be split again.
        sample: a quick look: at most this many rows of each source.
        progress: called with rows read and an estimate of how many there are.

    Raises:
        DataError: a source cannot be read, is empty, or has no usable row; a text is too long under policy `error`.
        RenderingError: conversational pairs, and the tokenizer has no chat template.
        SpecError: `data.fail_on` or `data.severity` names no check.
    """
    check_codes(spec.data.fail_on, spec.data.severity)
    setting = Setting(spec, renderer, benchmarks or {})
    surveys = {name: make(setting) for name, make in SURVEYS.items() if survey}
    groups = PromptGroups() if split is None and not survey and not spec.data.held_out.sources else None
    watchers: list[Watcher] = [*surveys.values(), *([groups] if groups else [])]
    store, rejected, sources = RowStore(), Rejections(), list[SourceCount]()
    reading = ReadingProgress(progress, len(_sources(spec)))
    mixed = _mixtures(spec, embedded or {}, sample)
    with RenderAhead(renderer) as ahead:
        for (role, source), rows in zip(_sources(spec), mixed, strict=True):
            intake = open_source(
                source,
                role=role,
                strings=spec.data.strings,
                seed=spec.seed,
                embedded=embedded or {},
                bad_lines=spec.data.bad_lines,
                sample=sample,
                rejected=rejected,
                mixed=rows,
            )
            sources.append(_take_in(intake, source, ahead, store, watchers, reading))
    _refuse_if_empty(spec, sources, rejected)
    if split is None:
        split = _split(spec, store, sources, groups or surveys.get("overlap"))
    table = _table(store, split, sources, rejected)
    outcomes = {name: watcher.finish(table) for name, watcher in surveys.items()}
    found = [one for outcome in outcomes.values() for one in outcome.found]
    train = store.rows(table.train)
    sections = {name: outcome.section for name, outcome in outcomes.items() if outcome.section is not None}
    tokens = sections.get("tokens")
    if not isinstance(tokens, TokenSummary):
        name_of = renderer.tokenizer.convert_ids_to_tokens
        tokens = summarize_tokens(train, pairs_per_step=spec.training.pairs_per_step, name_of=name_of)
    record = _record(spec, renderer, table, tokens, find_all(found, table, spec.data.severity), fingerprint)
    record = record.model_copy(update=sections)
    return PreparedData(train, store.pairs(table.held_out), rejected, record, table, store.rows, found)


def _take_in(
    intake: Intake,
    source: SourceSpec,
    ahead: RenderAhead,
    store: RowStore,
    watchers: Sequence[Watcher],
    reading: ReadingProgress,
) -> SourceCount:
    """One source, chunk by chunk: tokenized, kept, shown to the surveys; and what became of its rows."""
    before = len(store)
    store.begin(intake.title)
    for rows in tokenized(intake, ahead):
        for row in rows:
            store.append(row)
        for watcher in watchers:
            watcher.see(rows)
        reading.tell(intake)
    reading.finish(intake)
    return _count(intake, source, len(store) - before)


def _mixtures(spec: Spec, embedded: Embedded, sample: int | None) -> list[Mixed | None]:
    """The rows that each source's mixture takes; weights are relative to those of the same role."""
    found: list[Mixed | None] = []
    for role in ("train", "held_out"):
        of_role = [source for its, source in _sources(spec) if its == role]
        found += mixture(
            of_role,
            strings=spec.data.strings,
            seed=spec.seed,
            embedded=embedded,
            bad_lines=spec.data.bad_lines,
            sample=sample,
        )
    return found


def _sources(spec: Spec) -> list[tuple[Role, SourceSpec]]:
    held_out: list[tuple[Role, SourceSpec]] = [("held_out", source) for source in spec.data.held_out.sources]
    return [*(("train", source) for source in spec.data.train), *held_out]


def _count(intake: Intake, source: SourceSpec, kept: int) -> SourceCount:
    rows = intake.used + intake.unused + intake.mixed_out
    if intake.read != rows or intake.pairs != kept + intake.left_out - intake.unused:
        raise AssertionError(f"{intake.title}: {intake.read} rows read, {rows} told; {intake.pairs} pairs, {kept} kept")
    taken = {name: value for name in ("rows", "share", "weight") if (value := getattr(source, name)) is not None}
    return SourceCount(
        source=intake.title,
        role=intake.role,
        read=intake.read,
        kept=kept,
        rejected=intake.left_out,
        form=source.form.kind,
        used=intake.used,
        unused=intake.unused,
        mixed_out=intake.mixed_out,
        formed=intake.formed,
        pairs=intake.pairs,
        ties=intake.ties,
        capped=intake.capped,
        mixture=", ".join(f"{name} {value}" for name, value in taken.items()),
        unread=dict(intake.unread),
        sha256=intake.sha256,
        revision=intake.revision,
    )


def _split(spec: Spec, store: RowStore, sources: Sequence[SourceCount], grouping: object | None) -> NDArray[np.bool_]:
    """Which rows are held out: those of held-out sources, or a share of the prompts. Near-duplicates stay together."""
    if spec.data.held_out.sources:
        return np.array([source.role == "held_out" for source in sources])[store.source]
    groups = grouping.groups() if isinstance(grouping, Grouping) else None
    fraction, seed = spec.data.held_out.fraction, spec.seed
    return hold_out(store.keys[:, 0], fraction=fraction, seed=seed, groups=groups)


def _table(store: RowStore, split: NDArray[np.bool_], sources: Sequence[SourceCount], rejected: Rejections) -> Table:
    return Table(
        is_held_out=split,
        source=store.source,
        row=store.row,
        keys=store.keys,
        lengths=store.lengths,
        cut=store.cut,
        sources=sources,
        rejected=rejected,
        pairs=store.pairs(np.arange(len(store))),
    )


def _refuse_if_empty(spec: Spec, sources: Sequence[SourceCount], rejected: Rejections) -> None:
    """Say why no row could be used, by the most frequent reason.

    Raises:
        DataError: nothing is left to train on, or of held-out sources.
    """
    roles: tuple[Role, ...] = ("train", "held_out") if spec.data.held_out.sources else ("train",)
    for role in roles:
        if not any(source.kept for source in sources if source.role == role):
            raise _all_left_out(role, rejected)


def _all_left_out(role: Role, rejected: Rejections) -> DataError:
    counts = Counter[str]()
    for (of, _, reason), count in rejected.counts.items():
        counts[reason] += count if of == role else 0
    reasons = [(code, count) for code, count in counts.most_common() if count]
    example = next(row for row in rejected if row.role == role and row.reason == reasons[0][0])
    named = ", ".join(f"{CHECKS[code].title.lower()} ({code}) {count:,}" for code, count in reasons)
    return DataError(
        f"all {sum(count for _, count in reasons):,} rows were left out: {named}. "
        f"For example {example.source}:{example.row}: {example.detail}",
        where="data.train" if role == "train" else "data.held_out.sources",
        fix=CHECKS[reasons[0][0]].fix,
    )


def _record(
    spec: Spec,
    renderer: Renderer,
    table: Table,
    tokens: TokenSummary,
    findings: tuple[Finding, ...],
    fingerprint: str,
) -> CheckRecord:
    failed = failed_on(findings, spec.data.fail_on)
    return CheckRecord(
        fingerprint=fingerprint,
        data_fingerprint=data_fingerprint(table.keys[table.train]),
        passed=not failed,
        failed_on=failed,
        read=sum(source.read for source in table.sources),
        kept=len(table.row),
        rejected=len(table.rejected),
        rejected_by_reason=table.rejected.by_reason(),
        train_pairs=len(table.train),
        held_out_pairs=len(table.held_out),
        held_out_origin=_origin(spec, table),
        distinct_prompts=len(np.unique(table.keys[table.train, 0])),
        sources=tuple(table.sources),
        findings=findings,
        tokens=tokens,
        rendering=renderer.record,
    )


def _origin(spec: Spec, table: Table) -> str:
    """Where the held-out pairs come from, in words."""
    held_out = spec.data.held_out
    if held_out.sources:
        return "sources of their own: " + ", ".join(source.title for source in held_out.sources)
    if not len(table.held_out):
        return "none"
    return f"{held_out.fraction:.1%} of the training prompts, drawn by seed {spec.seed}"
