"""How a command ends: what was raised → one message and an exit code.

    0     done, and every gate passes               70    a fault of the program; a file holds its traceback
    1     a negative verdict                        130   interrupted
    2     the input, the disk or the memory cannot  141   whoever read the output has closed it
          be used

An uncaught exception would end with 1, which CI reads as a gate that failed. So nothing passes uncaught. The file with
the traceback is readable by its owner alone, and holds neither arguments nor texts beyond the exception's own message.
"""

from __future__ import annotations

import errno
import os
import platform
import select
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TextIO

import typer

import rewardsmith
from rewardsmith.addresses import redacted
from rewardsmith.cli.terminal import say, shown, speak_any_text
from rewardsmith.errors import RewardsmithError, first_line

FAULT = 70
"""EX_SOFTWARE of sysexits.h."""

INTERRUPTED = 130
UNREAD = 141  # as a shell reports a program that SIGPIPE ended

_DISK = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up", errno.EFBIG: "it is too large"}
_MACHINE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ENAMETOOLONG, errno.ELOOP, errno.EMFILE}
_SOME_FILE = "standard output or a file"
_ARCHIVE = "inline_container.cc"  # "unexpected pos 151872 vs 151764": less was written than was handed over
_FULL_BY_TEXT = ("No space left on device", "os error 28", "Disk quota exceeded", "os error 122")


def ended(command: Callable[[], Any]) -> int:
    """Call a typer app in its non-standalone mode; print what went wrong, and return the exit code."""
    speak_any_text()
    with warnings.catch_warnings():
        warnings.showwarning = _warn
        try:
            code = _code(command)
            sys.stdout.flush()  # here, where a full disk or a closed pipe can still be told
        except OSError as error:
            if _is_unread(error):
                return _unread()
            code = _said_on_error(f"error: standard output: cannot be written: {error.strerror}", 2)
    return code


def _code(command: Callable[[], Any]) -> int:
    try:
        returned = command()
    except RewardsmithError as error:
        return _said_on_error(f"error: {error}", error.exit_code)
    except KeyboardInterrupt:
        return _said_on_error("interrupted: run the same command again to continue", INTERRUPTED)
    except typer.Abort:
        return _said_on_error("error: standard input has ended before the answer\n  try: answer by options: --help", 2)
    except SystemExit as stop:
        return _library_exit(stop)
    except Exception as error:
        return _raised(error)
    return returned if isinstance(returned, int) else 0


def _raised(error: Exception) -> int:
    if callable(getattr(error, "format_message", None)):  # click's, which typer carries under a name of its own
        return _usage(error)
    if _is_unread(error):
        return _unread()
    told = _machine_fault(error)
    return _said_on_error(told, 2) if told else _said_on_error(_fault(error), FAULT)


def _usage(error: Any) -> int:
    from typer import rich_utils

    if isinstance(getattr(error, "message", None), str):
        error.message = shown(error.message)
    rich_utils.rich_format_error(error)
    return int(error.exit_code)


def _library_exit(stop: SystemExit) -> int:
    """Ours never raise it: it is typer's, about completion or a closed pipe, or a library's."""
    if any(isinstance(one, BrokenPipeError) for one in _chain(stop)):
        return _unread()
    if stop.code in (None, 0) or "_REWARDSMITH_COMPLETE" in os.environ:
        return stop.code if isinstance(stop.code, int) else 0
    return _said_on_error(_fault(stop), FAULT)


def _machine_fault(error: BaseException) -> str:
    """What the machine lacks: room on the disk, memory, a permission; empty where it is something else."""
    for one in _chain(error):
        if isinstance(one, OSError) and (one.errno in _DISK or one.errno in _MACHINE):
            reason = _DISK.get(one.errno or 0) or one.strerror or str(one)
            # A copy names its source first, and it is the other file that finds no room.
            where = one.filename2 or one.filename or _path_written(error) or _SOME_FILE
            fix = _room(where) if one.errno in _DISK else "check the path and its permissions"
            return f"error: {_name(where)}: cannot be read or written: {reason}\n  try: {fix}"
        if any(words in str(one) for words in _FULL_BY_TEXT) or _is_torch_write(one):
            where = _path_written(error) or _SOME_FILE
            return f"error: {_name(where)}: cannot be written: {first_line(one)}\n  try: {_room(where)}"
        if isinstance(one, MemoryError) or type(one).__name__ == "OutOfMemoryError":
            return (
                f"error: out of memory: {first_line(one)}\n  try: a smaller "
                "training.tokens_per_micro_batch, evaluation.tokens_per_batch or --tokens-per-batch, or a smaller model"
            )
    return ""


def _is_torch_write(error: BaseException) -> bool:
    """torch.save on a full disk: a RuntimeError that names no reason, or a position in its own source."""
    return isinstance(error, RuntimeError) and ("PytorchStreamWriter" in str(error) or _ARCHIVE in str(error))


def _path_written(error: BaseException) -> str:
    """The file that was being written: the nearest local variable of a frame that names one."""
    found = ""
    for one in _chain(error):
        for frame, _ in traceback.walk_tb(one.__traceback__):
            for name in ("path", "file", "folder", "aside", "filename", "save_directory", "output_dir", "output"):
                value = frame.f_locals.get(name)
                if isinstance(value, str | os.PathLike) and os.fspath(value):
                    found = os.fsdecode(value)
    return found


def _room(where: object) -> str:
    folder = os.path.dirname(os.path.abspath(_name(where))) if where != _SOME_FILE else os.getcwd()  # noqa: PTH100, PTH109, PTH120
    return f"free space on the disk of {folder}, then run the same command again: what was finished is kept"


def _name(where: object) -> str:
    return os.fsdecode(where) if isinstance(where, str | bytes | os.PathLike) else str(where)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__


def _fault(error: BaseException) -> str:
    """One line, after the traceback is on disk."""
    text = redacted("".join(traceback.format_exception(error)))
    said = f"internal error: {type(error).__name__}: {first_line(error)}"
    try:
        handle, path = tempfile.mkstemp(prefix="rewardsmith-fault-", suffix=".txt")  # mode 0600
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            versions = f"rewardsmith {rewardsmith.__version__}, Python {platform.python_version()}, {sys.platform}"
            file.write(f"{versions}\n{text}")
    except OSError as fault:
        return f"{said}; its traceback could not be written ({fault.strerror}):\n{text}"
    return f"{said}; traceback: {path}"


def _said_on_error(text: str, code: int) -> int:
    try:
        say(text, error=True)
    except (BrokenPipeError, ValueError, OSError):
        return code  # nobody listens, or the stream is closed
    return code


def _is_unread(error: BaseException | None) -> bool:
    """A broken pipe that is standard output's, and not that of some connection."""
    if not isinstance(error, BrokenPipeError):
        return False
    try:
        waiting = select.poll()
        waiting.register(sys.stdout.fileno(), 0)
        return bool(waiting.poll(0))  # only an error or a hang-up is told without being asked for
    except (AttributeError, OSError, ValueError):
        return True  # no poll on this system, or no file beneath: an output is the likelier one


def _unread() -> int:
    """Standard output is closed: stay silent, and let Python's own flush at the end go nowhere."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
    except (OSError, ValueError):
        pass
    return UNREAD


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    del filename, lineno, file, line  # a place in a library says nothing to a user
    _said_on_error(f"warning: {category.__name__}: {message}", 0)
