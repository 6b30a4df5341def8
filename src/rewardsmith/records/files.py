"""The base of all records, how they reach the disk and come back, and what may be replaced there.

write_json(path, record)                  whole or not at all; write_jsonl, write_lines, write_text likewise
read_record(path, kind)                   or read_jsonl and read_row, line by line

guard_files(outputs, inputs)              before a command writes files: none is one of its inputs
guard_folder(folder, names, mark, …)      the same for a folder of records; what is there must be ours
is_of(error, output)                      whether what the system refused was the output, and not something read for it
guard_own(file, ours, what)               before a file is added to, or replaced unasked: it must begin as ours do
follow_umask(folder)                      after a library wrote files that only their owner may read
guard_removal(folder, inputs)             before a folder is emptied: no link, no home, nothing that is read from
inside(folder, path)                      before a file of a checkpoint is copied or uploaded: no link that leads out
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from rewardsmith.errors import ModelError, RunDirectoryError
from rewardsmith.records.bounded import MIB, RECORD_SIZE, BeyondLimitError, odd_kind, parse_json, read_bounded


class Record(BaseModel):
    """Base of all records: frozen, strict about names, written by field alias. The docstring under a field is its only
    description: docs/records.md and docs/results.schema.json take it from there."""

    # No `use_attribute_docstrings`: to read the source of every record takes 0.14 s of a command's start, and only the
    # pages need it (tools/pages/records.py).
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, ser_json_inf_nan="null")

    # What to do where the file cannot be read; a class that says so itself says it of a damaged file as well.
    when_lost: ClassVar[str] = "run the stage that writes it again"


R = TypeVar("R", bound=Record)
_LONGEST_LINE = 64 * MIB
_SPELT_OUT = 1000  # pydantic makes a dict of every error, also where only the first is wanted


def to_json(record: Record, indent: int | None = 2) -> str:
    """JSON of a record, by alias."""
    return record.model_dump_json(by_alias=True, indent=indent)


def write_json(path: Path, record: Record) -> None:
    """Write one record as indented JSON."""
    write_text(path, to_json(record) + "\n")


def write_jsonl(path: Path, records: Iterable[Record]) -> None:
    """Write records, one a line."""
    write_lines(path, (to_json(record, indent=None) for record in records))


def write_text(path: Path, text: str) -> None:
    """Write a file so that it appears whole or not at all: written aside, flushed to disk, renamed."""
    _write(path, [text])


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write lines as they come, so that a file larger than memory can be made; it too appears whole or not at all."""
    _write(path, (f"{line}\n" for line in lines))


def is_of(error: OSError, output: Path) -> bool:
    """Whether an error is of an output, a file beside it or a folder on its way, as far as the error names a file."""
    if not isinstance(error.filename, str | bytes):
        return True
    named, output = Path(os.fsdecode(error.filename)).absolute(), output.absolute()
    return named.parent == output.parent or output.is_relative_to(named)


def follow_umask(folder: Path) -> None:
    """Give a folder and what is in it the permissions that `mkdir` and `open` give.

    safetensors (0.8) and `mkdtemp` make theirs for their owner alone; who serves a checkpoint is often another user.
    """
    probe = folder / ".umask"
    probe.mkdir()
    mode = stat.S_IMODE(probe.stat().st_mode)
    probe.rmdir()
    folder.chmod(mode)
    for path in folder.rglob("*"):
        if not path.is_symlink():
            path.chmod(mode if path.is_dir() else mode & 0o666)


def _write(path: Path, parts: Iterable[str]) -> None:
    # In the same folder, since a rename is whole within one file system only; the number keeps two writers apart.
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("w", encoding="utf-8") as handle:
            handle.writelines(parts)
            handle.flush()
            # Before the rename: after a crash of the machine the new name might else have no content.
            os.fsync(handle.fileno())
        aside.replace(path)
    except OSError as error:
        raise RunDirectoryError(
            f"cannot be written: {error.strerror}", where=str(path), fix=_room_or_rights(error)
        ) from error
    finally:
        with suppress(OSError):
            aside.unlink()  # there is one only where something went wrong


def _room_or_rights(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "make room on this disk, and run the same command again: what was there before is as it was"
    return "choose an output folder that you may write to"


def read_record(path: Path, kind: type[R]) -> R:
    """Read one record back.

    Raises:
        RunDirectoryError: the file is missing, is not JSON or is of another schema.
    """
    try:
        return kind.model_validate_json(read_bounded(path))
    except (OSError, BeyondLimitError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise RunDirectoryError(f"cannot be read: {reason}", where=str(path), fix=kind.when_lost) from error
    except ValidationError as error:
        raise _not_a(kind, error, str(path)) from error


def read_jsonl(path: Path, *, growing: bool = False) -> Iterator[dict[str, Any]]:
    """The JSON objects of a file that Rewardsmith wrote itself, one a line.

    Args:
        growing: another process may be writing: a last line that is not whole is left out.

    Raises:
        RunDirectoryError: the file cannot be read, or a line is no object.
    """
    try:
        if path.exists() and (odd := odd_kind(path)):
            problem = f"cannot be read: it is {odd}, no regular file"
            raise RunDirectoryError(problem, where=str(path), fix="run the stage that writes it again")
        with path.open("rb") as handle:
            for number, line in enumerate(iter(lambda: handle.readline(RECORD_SIZE), b""), start=1):
                try:
                    row = parse_json(line.decode("utf-8")) if line.strip() else None
                except ValueError as error:
                    if growing and not line.endswith(b"\n"):
                        return
                    raise _bad_line(path, number, str(error)) from error
                if isinstance(row, dict):
                    yield row
                elif line.strip():
                    raise _bad_line(path, number, "it is no object")
    except OSError as error:
        raise RunDirectoryError(
            f"cannot be read: {error.strerror}", where=str(path), fix="run the stage that writes it again"
        ) from error


def _bad_line(path: Path, number: int, reason: str) -> RunDirectoryError:
    return RunDirectoryError(
        f"is not JSON: {reason}", where=f"{path}:{number}", fix="delete the file and run the stage again"
    )


def read_row(kind: type[R], row: dict[str, Any], where: str) -> R:
    """A record from an object that was read already.

    Raises:
        RunDirectoryError: it is of another schema.
    """
    try:
        return kind.model_validate(row)
    except ValidationError as error:
        raise _not_a(kind, error, where) from error


def _not_a(kind: type[Record], error: ValidationError, where: str) -> RunDirectoryError:
    fix = kind.when_lost if "when_lost" in vars(kind) else "delete the file and run the stage again"
    if error.error_count() > _SPELT_OUT:
        return RunDirectoryError(
            f"is not a {kind.__name__}: {error.error_count():,} fields are wrong", where=where, fix=fix
        )
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    return RunDirectoryError(f"is not a {kind.__name__}: field {field!r}: {first['msg']}", where=where, fix=fix)


def is_record(path: Path) -> bool:
    """Whether a file is a record of ours, of whatever version."""
    try:
        found = parse_json(read_bounded(path))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and "schema" in found


def guard_files(outputs: Iterable[Path], inputs: Iterable[str | Path] = ()) -> None:
    """Refuse to write a file where an input stands, whatever the path, link or spelling that leads there.

    Args:
        outputs: files that will be made or replaced.
        inputs: files and folders that are read; what is no path on this machine (a hub id) is passed over.

    Raises:
        RunDirectoryError: an output is an input, lies in an input folder, is no regular file, or stands twice.
    """
    read = [Path(one) for one in inputs if _exists(Path(one))]
    seen: dict[Path, Path] = {}
    for output in outputs:
        where, resolved = str(output), _resolved(output)
        if resolved in seen:
            raise RunDirectoryError(
                f"is also the file of {seen[resolved]}", where=where, fix="name another file for one of them"
            )
        seen[resolved] = output
        if not _exists(output):
            continue
        for one in read:
            inside = one.is_dir() and resolved.is_relative_to(_resolved(one))
            if inside or _is_same(one, output):
                raise RunDirectoryError(
                    f"is {'in ' if inside else ''}{one}, which is read: writing it would destroy the input",
                    where=where,
                    fix="name another output",
                )
        if not output.is_file():
            raise RunDirectoryError("is no regular file", where=where, fix="name another output")


def guard_folder(folder: Path, names: Collection[str], mark: str, inputs: Iterable[str | Path] = ()) -> None:
    """Refuse to write records into a folder where files of these names are an input, or are not ours.

    Args:
        folder: may be missing.
        names: the files that will be written there.
        mark: which of our records shows that an earlier call of the same command wrote the others.
        inputs: as in `guard_files`.

    Raises:
        RunDirectoryError: one of them is, or the folder is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise RunDirectoryError("is a file", where=str(folder), fix="name a folder for the output")
    there = [folder / name for name in names if _exists(folder / name)]
    guard_files(there, inputs)
    if there and not is_record(folder / mark):
        raise RunDirectoryError(
            f"holds a {there[0].name} that this command did not write: there is no {mark} of ours beside it",
            where=str(folder),
            fix="name another folder for the output, or move the file away",
        )


def guard_own(path: Path, ours: Callable[[BinaryIO], bool], what: str) -> None:
    """Refuse to add to a file, or to replace one that nobody has said to replace, where it is somebody else's.

    Args:
        path: may be missing or empty.
        ours: tells by what stands in it, as `begins_with` does.
        what: we write there, in words.

    Raises:
        RunDirectoryError: it holds something else, is no regular file, or cannot be read.
    """
    if not _exists(path):
        return
    try:
        if odd_kind(path):
            raise RunDirectoryError("is no regular file", where=str(path), fix="name another file")
        with path.open("rb") as handle:
            known = not path.stat().st_size or ours(handle)
    except OSError as error:
        raise RunDirectoryError(
            f"cannot be read: {error.strerror}", where=str(path), fix="name another file"
        ) from error
    if not known:
        raise RunDirectoryError(
            f"holds something else than {what}", where=str(path), fix="name another file, or move this one away"
        )


def begins_with(handle: BinaryIO, fields: Collection[str]) -> bool:
    """Whether the first row of a file is an object with these fields."""
    line = handle.readline(_LONGEST_LINE)
    while line and not line.strip():
        line = handle.readline(_LONGEST_LINE)
    try:
        row = parse_json(line.decode("utf-8"))
    except ValueError:
        return False
    return isinstance(row, dict) and set(fields) <= row.keys()


def guard_removal(folder: Path, inputs: Iterable[str | Path] = ()) -> None:
    """Refuse to delete what is in a folder that is more than an output.

    Raises:
        RunDirectoryError: it is a symbolic link, the root, a home, a folder above this process's own, or one that holds
            an input.
    """
    resolved = _resolved(folder)
    reason = ""
    if folder.is_symlink():
        reason = f"is a symbolic link to {resolved}"
    elif Path.cwd().is_relative_to(resolved) or resolved == resolved.parent:
        reason = "is this process's working directory, or a folder above it"
    elif resolved == _resolved(Path.home()):
        reason = "is your home"
    else:
        held = [one for one in map(Path, inputs) if _exists(one) and _resolved(one).is_relative_to(resolved)]
        reason = f"holds {held[0]}, which is read" if held else ""
    if reason:
        raise RunDirectoryError(
            f"is not emptied: it {reason}", where=str(folder), fix="name another folder, or empty it yourself"
        )


def remove(path: Path) -> None:
    """Delete a file, a link or a folder with what is in it; a link's target stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def inside(folder: Path, path: Path) -> Path:
    """The path itself, where it is a regular file of the folder.

    A snapshot in the hub's cache is made of links to the `blobs` beside it; these count as inside.

    Raises:
        ModelError: it leads elsewhere.
    """
    root = folder.resolve()
    roots = [root, root.parent.parent / "blobs"] if root.parent.name == "snapshots" else [root]
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise ModelError("is a link that leads nowhere", where=str(path), fix="restore the file") from error
    if not any(target.is_relative_to(one) for one in roots):
        raise ModelError(
            f"is a link to {target}, outside of the checkpoint: it is neither uploaded nor copied",
            where=str(path),
            fix="put a copy of the file in its place, if it belongs to the checkpoint",
        )
    if not target.is_file():
        raise ModelError("is no regular file", where=str(path), fix="restore the file")
    return path


def _exists(path: Path) -> bool:
    try:
        return os.path.lexists(path)
    except ValueError:  # a zero byte: no path
        return False


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # a loop of links
        return path.absolute()


def _is_same(one: Path, other: Path) -> bool:
    """One file by whatever names: relative, linked, or in other case where the file system does not tell case apart."""
    try:
        return one.samefile(other)
    except OSError:
        return _resolved(one) == _resolved(other)
