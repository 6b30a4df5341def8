"""The texts of rows that an evaluation names by digest: read again from where they came from, and checked.

    rows, reasons = find_rows(digests, origins, events)
    pairs = training_pairs(run, places, events)

An evaluation keeps rewards, not texts. They come from the benchmark's file or hub data set, from what Rewardsmith
generates, or, for held-out pairs, from the sources in the run's spec. A row's text is shown only where its digest is
the one that was scored; else the reason says why the texts are not at hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from rewardsmith.data.sources import Embedded, Intake, Role, open_source
from rewardsmith.errors import UserError
from rewardsmith.evaluation.benchmarks import find_benchmark
from rewardsmith.evaluation.benchmarks.pairs import pair_rows
from rewardsmith.evaluation.contract import EvalRow, row_digest
from rewardsmith.pipeline.embedded import EMBEDDED, Resources
from rewardsmith.pipeline.events import Events
from rewardsmith.records.evaluation import BenchmarkResult, DatasetInfo
from rewardsmith.spec import SourceSpec, Spec, load_spec
from rewardsmith.types import Conversation, PreferencePair


@dataclass(frozen=True, slots=True)
class Origin:
    """An evaluation, and the run directory that it stands in, if it does."""

    result: BenchmarkResult
    run: Path | None


def find_rows(wanted: Set[str], origins: Sequence[Origin], events: Events) -> tuple[dict[str, EvalRow], list[str]]:
    """Rows by digest, and why some sources could not be read; stops where all are found."""
    found: dict[str, EvalRow] = {}
    reasons: list[str] = []
    read: set[tuple[str, str, str]] = set()
    for origin in origins:
        source = (origin.result.dataset.source, origin.result.dataset.revision, str(origin.run or ""))
        if source in read or wanted <= found.keys():
            continue
        read.add(source)
        try:
            for row in _rows(origin, events):
                digest = row_digest(row)
                if digest in wanted:
                    found[digest] = row
                if wanted <= found.keys():
                    break
        except UserError as error:
            reasons.append(f"{error.where}: {error.problem}" if error.where else error.problem)
    return found, list(dict.fromkeys(reasons))


Place = tuple[str, int, str]
"""File (as in the spec), 1-based row, and the pair's id: a row may hold several pairs."""


def training_pairs(run: Path, places: Set[Place], events: Events) -> dict[Place, PreferencePair]:
    """Pairs of a run's training sources by their place; those that are no longer there lack.

    Raises:
        UserError: a source cannot be read.
    """
    spec = _spec(run)
    if spec is None or not places:
        return {}
    embedded = Resources.of(spec, events, with_base=False).pairs
    found: dict[Place, PreferencePair] = {}
    for source in spec.data.train:
        wanted = {(number, name) for file, number, name in places if file == source.title}
        if not wanted:
            continue
        for number, pair in _intake(source, "train", spec, embedded).stream:
            if (number, pair.id) in wanted:
                found[source.title, number, pair.id] = pair
                wanted.remove((number, pair.id))
            if not wanted:
                break
    return found


def _rows(origin: Origin, events: Events) -> Iterable[EvalRow]:
    """All rows of the place that an evaluation's rows came from."""
    result, spec = origin.result, _spec(origin.run)
    if result.held_out:
        return () if spec is None else _pairs(spec, events)
    source = result.dataset.source
    if source == EMBEDDED:
        path = None if spec is None else Resources.of(spec, events, with_base=False).best_of_n
        return () if path is None else find_benchmark(result.benchmark).load(str(path), None).rows
    return find_benchmark(result.benchmark).load(source, result.dataset.revision or None).rows


def _pairs(spec: Spec, events: Events) -> Iterator[EvalRow]:
    """Every pair of the spec's sources, whichever of them were held out; their digests say."""
    embedded = Resources.of(spec, events, with_base=False).pairs
    roles: tuple[tuple[Role, tuple[SourceSpec, ...]], ...] = (
        ("held_out", spec.data.held_out.sources),
        ("train", spec.data.train),
    )
    for role, sources in roles:
        for source in sources:
            for _, pair in _intake(source, role, spec, embedded).stream:
                yield from pair_rows([pair], DatasetInfo(source=source.title), "").rows


def _intake(source: SourceSpec, role: Role, spec: Spec, embedded: Embedded) -> Intake:
    return open_source(
        source,
        role=role,
        strings=spec.data.strings,
        seed=spec.seed,
        embedded=embedded,
        bad_lines=spec.data.bad_lines,
    )


def _spec(run: Path | None) -> Spec | None:
    return load_spec(run / "spec.yaml") if run is not None and (run / "spec.yaml").is_file() else None


def text_of(conversation: Conversation) -> str:
    """One message as it is; more of them with who speaks."""
    if len(conversation) == 1:
        return conversation[0].text
    return "\n\n".join(f"{message.role}: {message.text}" for message in conversation)
