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
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

import rewardsmith
from rewardsmith.data.files import Position, read_rows, sha256_of
from rewardsmith.data.forms import Strings
from rewardsmith.data.responses import Responses, read_responses
from rewardsmith.errors import RunDirectoryError
from rewardsmith.pipeline.ensembles import LoadOptions, model_folders, open_models
from rewardsmith.pipeline.events import Events
from rewardsmith.protocols import Scorer
from rewardsmith.records import BulkRecord, BulkState, read_record, write_json
from rewardsmith.rendering import REASONS
from rewardsmith.scoring import Combination, LocalScorer
from rewardsmith.scoring.bulk import BulkRow, score_window, windows
from rewardsmith.types import Conversation

_FORMATS = (".jsonl", ".ndjson", ".parquet")
_ROW_GROUP = 16384


@dataclass(frozen=True, slots=True)
class ScoreOptions:
    """What `rewardsmith score` was told. `models` as in `ServeOptions`; several need a `combination`."""

    models: tuple[str, ...]
    input: Path
    output: Path
    strings: Strings = "chat"
    combination: Combination | None = None
    calibrated: bool = False
    overwrite: bool = False
    load: LoadOptions = field(default_factory=LoadOptions)


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
    sources = model_folders(options.models)
    digest = sha256_of(options.input)
    with _writable(files):
        scorer, identity = open_models(sources, options.load, options.combination, options.calibrated, events.note)
        state = _resume(files, _fingerprint(digest, identity, options), events)
        done = _score(options, files, scorer, state, events)
        _finish(options.output, files)
    bad = sum(done.reasons.values())
    return BulkRecord(
        output=str(options.output),
        rejected=str(files.rejected) if bad else None,
        rows=done.rows,
        rewards=done.rewards,
        bad_rows=bad,
        reasons=done.reasons,
        resumed_rows=state.rows,
    )


def _check_output(options: ScoreOptions) -> None:
    where = str(options.output)
    if options.output.suffix not in _FORMATS:
        raise RunDirectoryError(
            f"the suffix {options.output.suffix or '(none)'} names no format that can be written",
            where=where,
            fix=f"name a file that ends in {', '.join(_FORMATS)}",
        )
    if options.output.exists() and not options.overwrite:
        raise RunDirectoryError("stands there already", where=where, fix="name another file, or say --overwrite")


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


def _score(options: ScoreOptions, files: _Files, scorer: Scorer, state: BulkState, events: Events) -> BulkState:
    """All rows after those that `state` has."""
    position = Position()
    reasons = Counter(state.reasons)
    rows = islice(_rows(options, position), state.rows, None)
    with ExitStack() as stack:
        output, bad = (stack.enter_context(path.open("ab")) for path in (files.rows, files.bad))
        for window in windows(rows):
            lines, faults = _lines(scorer, window)
            _append(output, lines)
            _append(bad, faults)
            reasons.update(str(fault["reason"]) for fault in faults)
            state = BulkState(
                fingerprint=state.fingerprint,
                rows=state.rows + len(window),
                rewards=state.rewards + sum(reward is not None for line in lines for reward in line["rewards"]),
                reasons=dict(sorted(reasons.items())),
                output_bytes=output.tell(),
                rejected_bytes=bad.tell(),
            )
            write_json(files.state, state)
            events.progress("percent of the input", int(100 * position.share), 100)
    return state


def _rows(options: ScoreOptions, position: Position) -> Iterator[BulkRow]:
    """Every row of the input, broken lines in their place."""
    broken: list[tuple[int, str]] = []
    for number, row in read_rows(options.input, bad_lines=broken, position=position):
        yield from _broken(broken)
        yield _row(number, row, options.strings)
    yield from _broken(broken)


def _broken(lines: list[tuple[int, str]]) -> Iterator[BulkRow]:
    for number, fault in lines:
        yield BulkRow(number, reason="broken_line", detail=fault)
    lines.clear()


def _row(number: int, row: dict[str, Any], strings: Strings) -> BulkRow:
    name = row.get("id")
    found = read_responses(row, strings)
    known = str(name) if isinstance(name, str | int) else None
    if isinstance(found, Responses):
        return BulkRow(number, known, found.conversations)
    return BulkRow(number, known, reason=found.code, detail=found.detail)


def _lines(scorer: Scorer, window: Sequence[BulkRow]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The window's rows of the output, and of those that lack a reward what is written aside."""
    lines, faults = [], []
    for row, rewards in zip(window, score_window(scorer, window), strict=True):
        reason, detail = (row.reason, row.detail) if row.reason else _why(scorer, row.conversations, rewards)
        values = [float(reward) if np.isfinite(reward) else None for reward in rewards]
        lines.append({"row": row.number, "id": row.id, "rewards": values, "reason": reason})
        if reason:
            faults.append({"row": row.number, "id": row.id, "reason": reason, "detail": detail})
    return lines, faults


def _why(scorer: Scorer, conversations: Sequence[Conversation], rewards: NDArray[np.float64]) -> tuple[str, str]:
    """Why the first missing reward is missing; two empty texts where none is."""
    missing = next((index for index, reward in enumerate(rewards) if not np.isfinite(reward)), None)
    if missing is None:
        return "", ""
    if isinstance(scorer, LocalScorer):
        rendered = scorer.render([conversations[missing]])[0]
        if rendered.ids is None:
            return rendered.reason, f"response {missing + 1}: {rendered.detail or REASONS[rendered.reason]}"
    return "no_reward", f"response {missing + 1}: the model gives none"


def _append(handle: IO[bytes], rows: Iterable[dict[str, Any]]) -> None:
    """Lines, on disk before the state says so."""
    handle.writelines(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n" for row in rows)
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
