"""`rewardsmith score`: rewards of the rows of a file, in flat memory, row for row, resumable.

    options = ScoreOptions(models=("runs/x/model",), input=Path("in.jsonl"), output=Path("out.parquet"))
    record = score_job(options, events)

For every row of the input, in its order, the output has

    {"row": 12, "id": "a", "rewards": [1.25, -0.5], "reason": ""}

`row` is the line (JSONL) or record, `rewards` has one number for each response (chosen, rejected for a pair), null
where there is none; `reason` says why. Such rows stand in OUTPUT.rejected.jsonl too, with the detail. A row that is
broken has no rewards.

While it works, rows go to a hidden file beside the output, window by window (`scoring/bulk.py`), each followed by a
record of how far it has come. A killed job goes on after the last whole window and ends with the same bytes; another
input or another model starts anew. The output appears whole, at the end.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal

from filelock import FileLock, Timeout

import rewardsmith
from rewardsmith.data.files import Position, read_rows, sha256_of
from rewardsmith.data.forms import LoneReader, Strings
from rewardsmith.data.responses import Responses, read_formed, read_responses
from rewardsmith.data.sources import named_source, open_reader
from rewardsmith.errors import DataError, RunDirectoryError
from rewardsmith.pipeline.cluster import ray_cluster
from rewardsmith.pipeline.events import Events
from rewardsmith.pipeline.scorers import LoadOptions, model_folders, open_models
from rewardsmith.protocols import Scorer
from rewardsmith.records.checkpoint import BulkRecord, BulkState
from rewardsmith.records.files import begins_with, guard_files, guard_own, is_of, read_record, write_json
from rewardsmith.scoring import Combination
from rewardsmith.scoring.bulk import BulkRow, ScoredWindow, windows, write_window

EngineName = Literal["local", "ray"]

_FORMATS = (".jsonl", ".ndjson", ".parquet")
_FAULT = ("row", "id", "reason", "detail")
_ROW_GROUP = 16384


@dataclass(frozen=True, slots=True)
class ScoreOptions:
    """What `rewardsmith score` was told. `models` as in `ServeOptions`; several need a `combination`.

    With `engine: ray` so many `workers` score on the cluster at `ray_address` (`pipeline/cluster.py`).
    """

    models: tuple[str, ...]
    input: Path
    output: Path
    strings: Strings = "chat"
    combination: Combination | None = None
    calibrated: bool = False
    overwrite: bool = False
    load: LoadOptions = field(default_factory=LoadOptions)
    engine: EngineName = "local"
    workers: int | None = None
    ray_address: str | None = None


Reading = Callable[[], Iterator[tuple[list[BulkRow], float]]]
"""The windows that are left to score, with the share of the input read after each; can be called on another machine."""

Opening = Callable[[Callable[[str], None]], tuple[Scorer, str]]
"""Opens the models, telling warnings to its argument: a scorer, and the identity of what it scores with."""


@dataclass(frozen=True, slots=True)
class Engine:
    """What computes: the models' identity, and how it turns windows into their part of the output, in order."""

    identity: str
    score: Callable[[Reading], Iterator[tuple[ScoredWindow, float]]]


@dataclass(frozen=True, slots=True)
class _Files:
    """The output and what lies beside it."""

    output: Path

    @property
    def rejected(self) -> Path:
        return self.output.with_name(f"{self.output.stem}.rejected.jsonl")

    @property
    def rows(self) -> Path:
        return self.output.with_name(f".{self.output.name}.rows.part")

    @property
    def bad(self) -> Path:
        return self.output.with_name(f".{self.output.name}.rejected.part")

    @property
    def state(self) -> Path:
        return self.output.with_name(f".{self.output.name}.state.json")

    @property
    def lock(self) -> Path:
        return self.output.with_name(f".{self.output.name}.lock")


def score_job(options: ScoreOptions, events: Events) -> BulkRecord:
    """Score every row of the input.

    Raises:
        UserError: the input cannot be read, a model cannot be used, or the output is there or cannot be written.
    """
    files = _Files(options.output)
    _check_output(options)
    named = named_source(options.input)
    if named is not None and named.path is None:
        raise DataError("names a hub data set; rows of a file are scored", where=str(options.input), fix="name a file")
    digest = sha256_of(options.input) + (sha256_of(Path(named.path)) if named and named.path else "")
    opening = partial(open_models, model_folders(options.models), options.load, options.combination, options.calibrated)
    with _writable(files), ENGINES[options.engine](opening, options, events) as engine:
        state = _resume(files, _fingerprint(digest, engine.identity, options), events)
        reading = partial(_windows, options.input.resolve(), options.strings, state.rows, windows)
        done = _write(files, engine.score(reading), state, events)
        _finish(options.output, files)
    bad = sum(done.reasons.values())
    return BulkRecord(
        output=str(options.output),
        rejected=str(files.rejected) if bad else None,
        rows=done.rows,
        rewards=done.rewards,
        bad_rows=bad,
        reasons=done.reasons,
        missing=done.missing,
        resumed_rows=state.rows,
    )


@contextmanager
def _in_this_process(opening: Opening, options: ScoreOptions, events: Events) -> Iterator[Engine]:
    """One window after the other."""
    del options
    scorer, identity = opening(events.note)
    yield Engine(identity, lambda read: ((write_window(scorer, window), share) for window, share in read()))


@contextmanager
def _on_ray(opening: Opening, options: ScoreOptions, events: Events) -> Iterator[Engine]:
    """Windows on several workers; what comes out is the same."""
    with ray_cluster(options.ray_address) as cluster:
        from rewardsmith.scoring.ray_data import Actors, describe_models, score_on_ray

        count = options.workers or cluster.workers(options.load.device)
        share = cluster.share(count, options.load.device)
        actors = Actors(count, share.cpus, share.gpus, share.threads)
        identity, notes = describe_models(opening, actors)
        for note in notes:
            events.note(note)
        events.note(f"{count} workers under Ray on {cluster.nodes} machines")
        yield Engine(identity, lambda read: score_on_ray(read, opening, actors))


ENGINES: dict[EngineName, Callable[[Opening, ScoreOptions, Events], AbstractContextManager[Engine]]] = {
    "local": _in_this_process,
    "ray": _on_ray,
}
"""Where the rewards are computed."""


def _check_output(options: ScoreOptions) -> None:
    where = str(options.output)
    if options.output.suffix not in _FORMATS:
        raise RunDirectoryError(
            f"the suffix {options.output.suffix or '(none)'} names no format that can be written",
            where=where,
            fix=f"name a file that ends in {', '.join(_FORMATS)}",
        )
    files = _Files(options.output)
    if options.output.exists() and not options.overwrite:
        raise RunDirectoryError("stands there already", where=where, fix="name another file, or say --overwrite")
    guard_files(
        (options.output, files.rejected, files.rows, files.bad, files.state),
        (options.input, *model_folders(options.models).values()),
    )
    # Outputs of one stem share it, and nobody has named it: --overwrite says nothing of it.
    guard_own(files.rejected, lambda file: begins_with(file, _FAULT), "rows that were rejected")


@contextmanager
def _writable(files: _Files) -> Iterator[None]:
    """The output's folder, held against a second job of the same output."""
    try:
        files.output.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(files.lock, timeout=0)
        with lock:
            yield
        files.lock.unlink(missing_ok=True)
    except Timeout as error:
        raise RunDirectoryError(
            "another process writes this output", where=str(files.output), fix="wait for it, or name another file"
        ) from error
    except OSError as error:
        if not is_of(error, files.output):
            raise
        raise RunDirectoryError(
            f"cannot be written: {error.strerror or error}",
            where=str(files.output),
            fix="make room, or name a file that you may write; what is done is kept",
        ) from error


def _fingerprint(digest: str, identity: str, options: ScoreOptions) -> str:
    """Everything that a row of the output depends on, to the last bit."""
    parts = [digest, identity, rewardsmith.__version__, options.strings, options.input.suffix, repr(options.load)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _resume(files: _Files, fingerprint: str, events: Events) -> BulkState:
    """Where an earlier start stopped; the files are cut to that place."""
    fresh = BulkState(fingerprint=fingerprint)
    try:
        found = read_record(files.state, BulkState) if files.state.exists() else fresh
    except RunDirectoryError:
        found = fresh
    sizes = [path.stat().st_size if path.exists() else 0 for path in (files.rows, files.bad)]
    if found.fingerprint != fingerprint:
        events.note("the unfinished output is of another input, model or version: starting anew")
        found = fresh
    elif sizes[0] < found.output_bytes or sizes[1] < found.rejected_bytes:
        found = fresh
    for path, size in ((files.rows, found.output_bytes), (files.bad, found.rejected_bytes)):
        path.touch()
        os.truncate(path, size)
    if found.rows:
        events.note(f"continuing after {found.rows:,} rows")
    return found


def _write(files: _Files, scored: Iterable[tuple[ScoredWindow, float]], state: BulkState, events: Events) -> BulkState:
    """Windows in their order, each on disk before the next; with each comes the share of the input that is read."""
    reasons, missing = Counter(state.reasons), Counter(state.missing)
    with ExitStack() as stack:
        output, bad = (stack.enter_context(path.open("ab")) for path in (files.rows, files.bad))
        for window, share in scored:
            _append(output, window.lines)
            _append(bad, window.faults)
            reasons.update(window.reasons)
            missing.update(window.missing)
            state = BulkState(
                fingerprint=state.fingerprint,
                rows=state.rows + window.rows,
                rewards=state.rewards + window.rewards,
                reasons=dict(sorted(reasons.items())),
                missing=dict(sorted(missing.items())),
                output_bytes=output.tell(),
                rejected_bytes=bad.tell(),
            )
            write_json(files.state, state)
            events.progress("percent of the input", int(100 * share), 100)
    return state


def _windows(
    source: Path, strings: Strings, skip: int, cut: Callable[[Iterable[BulkRow]], Iterator[list[BulkRow]]]
) -> Iterator[tuple[list[BulkRow], float]]:
    """The windows after the first `skip` rows of the input, and what share of it is read then."""
    position = Position()
    for window in cut(islice(_rows(source, strings, position), skip, None)):
        yield window, position.share


def _rows(source: Path, strings: Strings, position: Position) -> Iterator[BulkRow]:
    """Every row of the input, broken lines in their place."""
    broken: list[tuple[int, str]] = []
    named = named_source(source)
    reader = open_reader(named, strings) if named else None
    path = Path(named.path) if named and named.path else source
    for number, row in read_rows(path, bad_lines=broken, position=position):
        yield from _broken(broken)
        yield _row(number, row, strings, reader)
    yield from _broken(broken)


def _broken(lines: list[tuple[int, str]]) -> Iterator[BulkRow]:
    for number, fault in lines:
        yield BulkRow(number, reason="broken_line", detail=fault)
    lines.clear()


def _row(number: int, row: dict[str, Any], strings: Strings, reader: LoneReader | None) -> BulkRow:
    name = row.get("id")
    found = read_responses(row, strings) if reader is None else read_formed(reader, row, number)
    known = str(name) if isinstance(name, str | int) else None
    if isinstance(found, Responses):
        return BulkRow(number, known, found.conversations)
    return BulkRow(number, known, reason=found.code, detail=found.detail)


def _append(handle: IO[bytes], lines: bytes) -> None:
    """On disk before the state says so."""
    handle.write(lines)
    handle.flush()
    os.fsync(handle.fileno())


def _finish(output: Path, files: _Files) -> None:
    """Rows into the wanted format, and all files under their names; the state goes last."""
    if output.suffix == ".parquet":
        table = output.with_name(f".{output.name}.table.part")
        _write_parquet(files.rows, table)
        table.replace(output)
        files.rows.unlink()
    else:
        files.rows.replace(output)
    if files.bad.stat().st_size:
        files.bad.replace(files.rejected)
    else:
        files.bad.unlink()
        files.rejected.unlink(missing_ok=True)
    files.state.unlink(missing_ok=True)


def _write_parquet(lines: Path, path: Path) -> None:
    """Stream the lines into row groups of a fixed size."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [("row", pa.int64()), ("id", pa.string()), ("rewards", pa.list_(pa.float64())), ("reason", pa.string())]
    )
    with lines.open("rb") as handle, pq.ParquetWriter(path, schema) as writer:
        while group := [json.loads(line) for line in islice(handle, _ROW_GROUP)]:
            writer.write_table(pa.Table.from_pylist(group, schema))
