"""The data contract: from the spec's sources to tokenized training pairs, held-out pairs, and the record of both.

    prepared = prepare(spec, renderer, fingerprint=fingerprint)
    prepared.train          # TokenizedPair: what training consumes
    prepared.held_out       # PreferencePair: what evaluation scores
    prepared.rejected       # every row that was left out, with its reason
    prepared.record         # check.json; read = kept + rejected
    half = take_share(prepared, spec, renderer, 0.5, fingerprint="…")      # a point of a learning curve

One pass over chunks of rows: read, check the form, render, check the tokens, keep on disk, show to the surveys. Then
hold out, and ask the surveys what they found. Memory does not grow with the texts.
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.lengths import summarize_tokens
from rewardsmith.data.minhash import Labels, merge
from rewardsmith.data.registry import CHECKS, SURVEYS, check_codes, failed_on, find_all
from rewardsmith.data.sources import Embedded, Intake, Mixed, Role, mixture, open_source, sources_of
from rewardsmith.data.store import DIGEST, Rejections, RowStore, TokenizedPair, data_fingerprint, digest_of, pair_keys
from rewardsmith.data.surveys.leakage import PromptGroups
from rewardsmith.data.surveys.survey import BenchmarkPrompt, Found, Places, Setting, Table
from rewardsmith.errors import DataError
from rewardsmith.protocols import Progress
from rewardsmith.records.checks import CheckRecord, Finding, RejectedRow, SourceCount
from rewardsmith.records.texts import TokenSummary
from rewardsmith.rendering import RenderAhead, Renderer
from rewardsmith.rendering.ahead import Later
from rewardsmith.spec import SourceSpec, Spec
from rewardsmith.types import PreferencePair


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
    # The survey of overlaps knows the groups; where nothing is surveyed they are found for the split alone.
    groups = PromptGroups() if split is None and not survey and not spec.data.held_out.sources else None
    watchers: list[Watcher] = [*surveys.values(), *([groups] if groups else [])]
    store, rejected, sources = RowStore(), Rejections(), list[SourceCount]()
    reading = ReadingProgress(progress, len(sources_of(spec.data)))
    mixed = _mixtures(spec, embedded or {}, sample)
    with RenderAhead(renderer) as ahead:
        for (role, source), rows in zip(sources_of(spec.data), mixed, strict=True):
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


def _mixtures(spec: Spec, embedded: Embedded, sample: int | None) -> list[Mixed | None]:
    """The rows that each source's mixture takes; weights are relative to those of the same role."""
    found: list[Mixed | None] = []
    for role in ("train", "held_out"):
        of_role = [source for its, source in sources_of(spec.data) if its == role]
        found += mixture(
            of_role,
            strings=spec.data.strings,
            seed=spec.seed,
            embedded=embedded,
            bad_lines=spec.data.bad_lines,
            sample=sample,
        )
    return found


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


class ReadingProgress:
    """Progress over all sources: rows read, and how many there will be if the rest is like the beginning."""

    def __init__(self, progress: Progress | None, sources: int) -> None:
        self._progress = progress
        self._sources = sources
        self._finished = 0
        self._read = 0

    def tell(self, intake: Intake) -> None:
        """A chunk is done."""
        share = (self._finished + min(intake.position.share, 1.0)) / self._sources
        read = self._read + intake.read
        if self._progress is not None and share:
            self._progress(read, max(read, round(read / share)))

    def finish(self, intake: Intake) -> None:
        """A source is done."""
        self._finished += 1
        self._read += intake.read
        if self._progress is not None:
            self._progress(self._read, round(self._read * self._sources / self._finished))


def _count(intake: Intake, source: SourceSpec, kept: int) -> SourceCount:
    rows = intake.used + intake.unused + intake.mixed_out
    # No row may vanish unseen: each one that was read, and each pair that was formed, is accounted for.
    if intake.formed != intake.pairs + intake.ties + intake.capped:
        raise AssertionError(f"{intake.title}: {intake.formed} comparisons, of which {intake.pairs} pairs")
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


_CHUNK = 512
_BEGUN = 4  # chunks that are read and being rendered while the rows before them are looked at
Chunk = list[tuple[int, PreferencePair]]


def tokenized(intake: Intake, ahead: RenderAhead) -> Iterator[list[TokenizedPair]]:
    """Rendered rows in order; what cannot be rendered or fails a check of its tokens joins the rejected rows.

    Raises:
        DataError: a row cannot be read; a text is too long under policy `error`.
        RenderingError: conversational pairs, and the tokenizer has no chat template.
    """
    begun: deque[tuple[Chunk, Later]] = deque()
    while chunk := list(islice(intake.stream, _CHUNK)):
        places = [f"{intake.title}:{number}" for number, _ in chunk]
        begun.append((chunk, ahead.render([pair for _, pair in chunk], places)))
        if len(begun) > _BEGUN:
            yield _rows(intake, *begun.popleft())
    while begun:
        yield _rows(intake, *begun.popleft())


def _rows(intake: Intake, chunk: Chunk, rendered: Later) -> list[TokenizedPair]:
    kept: list[TokenizedPair] = []
    for (number, pair), result in zip(chunk, rendered(), strict=True):
        if result.chosen_ids is None or result.rejected_ids is None:
            intake.reject(number, pair.id, result.reason, result.detail)
            continue
        keys = pair_keys(pair)
        row = TokenizedPair(pair, result.chosen_ids, result.rejected_ids, intake.title, number, keys, result.cut)
        code, detail = _fault(row)
        if code:
            intake.reject(number, pair.id, code, detail)
        else:
            kept.append(row)
    return kept


def _fault(row: TokenizedPair) -> tuple[str, str]:
    """The first check of its tokens that a row fails: code and detail, empty where it fails none."""
    for check in CHECKS.values():
        detail = check.tokens(row) if check.tokens else ""
        if detail:
            return check.code, detail
    return "", ""


def _split(spec: Spec, store: RowStore, sources: Sequence[SourceCount], grouping: object | None) -> NDArray[np.bool_]:
    """Which rows are held out: those of held-out sources, or a share of the prompts. Near-duplicates stay together."""
    if spec.data.held_out.sources:
        return np.array([source.role == "held_out" for source in sources])[store.source]
    groups = _with_trees(store, sources, grouping.groups() if isinstance(grouping, Grouping) else None)
    fraction, seed = spec.data.held_out.fraction, spec.seed
    return hold_out(store.keys[:, 0], fraction=fraction, seed=seed, groups=groups)


def _with_trees(store: RowStore, sources: Sequence[SourceCount], groups: Labels | None) -> Labels | None:
    """The groups, joined where prompts begin with the same message of a tree.

    The prompt of a deep message holds answers that are compared further up.
    """
    places = np.flatnonzero(np.array([source.form == "tree" for source in sources])[store.source])
    if not len(places):
        return groups
    if groups is None:
        _, first, prompt_of_row = np.unique(store.keys[:, 0], return_index=True, return_inverse=True)
        groups = first[prompt_of_row.reshape(-1)]
    roots = np.array([digest_of(pair.prompt[:1]) for pair in store.pairs(places)], dtype=f"V{DIGEST}")
    _, first, root_of_place = np.unique(roots, return_index=True, return_inverse=True)
    return merge(groups, places[first][root_of_place.reshape(-1)], places)


def hold_out(
    prompts: NDArray[np.void], *, fraction: float, seed: int, groups: NDArray[np.int64] | None = None
) -> NDArray[np.bool_]:
    """Which rows are held out, shape (P,): equal prompts are never parted, and the order of the rows decides nothing.

    Prompts are ranked by a hash of seed and prompt, and the first `fraction` of the distinct ones are held out: at
    least one where there are two, never all. A group of prompts goes as a whole, in the rank of its first, and is
    passed over where it would hold out more than `fraction`.

    Args:
        prompts: digest of each row's prompt, shape (P,).
        fraction: share of the distinct prompts, 0 to 1.
        seed: of the draw.
        groups: number of the group that each row's prompt belongs to (near-duplicates, say), shape (P,).
    """
    if not len(prompts):
        return np.zeros(0, dtype=np.bool_)
    distinct, first, prompt_of_row = np.unique(prompts, return_index=True, return_inverse=True)
    count = round(len(distinct) * fraction)
    if fraction > 0:
        count = min(max(count, 1), len(distinct) - 1)
    group_of_prompt = np.arange(len(distinct)) if groups is None else groups[first]
    chosen = _draw(group_of_prompt, [_rank(key.tobytes(), seed) for key in distinct], count)
    return np.isin(group_of_prompt, chosen)[prompt_of_row.reshape(-1)]


def _draw(group_of_prompt: NDArray[np.int64], ranks: list[bytes], count: int) -> list[int]:
    """Groups in the order of their best prompt while they fit into `count` prompts; if none fits, the smallest."""
    numbers, sizes = np.unique(group_of_prompt, return_counts=True)
    size = dict(zip(numbers.tolist(), sizes.tolist(), strict=True))
    ranked = dict.fromkeys(int(group_of_prompt[prompt]) for prompt in sorted(range(len(ranks)), key=ranks.__getitem__))
    chosen, taken = [], 0
    for group in ranked:
        if taken + size[group] <= count:
            chosen.append(group)
            taken += size[group]
    if not chosen and count and len(size) > 1:
        return [min(ranked, key=size.__getitem__)]
    return chosen


def _rank(prompt_key: bytes, seed: int) -> bytes:
    return hashlib.blake2b(prompt_key, digest_size=16, salt=seed.to_bytes(16, "little")).digest()


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


def take_share(
    prepared: PreparedData, spec: Spec, renderer: Renderer, share: float, *, fingerprint: str
) -> PreparedData:
    """The same data with the pairs of `share` of the training prompts, at least of one, in their order.

    Shares are nested: prompts are ranked once by the spec's seed, and a smaller share is the beginning of a larger one.
    Held-out pairs stay as they are.

    Args:
        prepared: all pairs.
        spec: says the seed and the pairs per step.
        renderer: names tokens in the record.
        share: above 0 and below 1.
        fingerprint: of this share, for the record. What was read, rejected and found stays that of the whole.
    """
    places = prepared.table.train
    kept = places[hold_out(prepared.table.keys[places, 0], fraction=share, seed=spec.seed)]
    train = prepared.rows(kept)
    keys = prepared.table.keys[kept]
    changes = {
        "fingerprint": fingerprint,
        "data_fingerprint": data_fingerprint(keys),
        "train_pairs": len(train),
        "distinct_prompts": len(np.unique(keys[:, 0])),
        "tokens": summarize_tokens(
            train,
            pairs_per_step=spec.training.pairs_per_step,
            name_of=renderer.tokenizer.convert_ids_to_tokens,
        ),
    }
    return replace(prepared, train=train, record=prepared.record.model_copy(update=changes))
