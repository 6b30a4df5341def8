"""Text of others → text on a terminal; and how a command ends: what was raised → one message and an exit code.

    terminal()       standard output, for results
    errors()         standard error, for progress and messages
    say(text)        a plain line, with `error=True` on standard error
    one_line(text)   a name that must not forge a line
    say_json(text)   JSON for a program; still JSON where the stream is not UTF-8
    ended(command)   calls a command, prints what went wrong, returns the exit code

Names of files, models and subsets, replies of judges and messages of libraries are written by others. None of
them is markup here. Control characters (ESC moves the cursor, recolours, renames the window) and characters that turn
the direction of writing or hide are written out, as `\\x1b`. What the stream's encoding lacks is written out as well.
Keys and tokens, which endpoints and libraries like to quote, are taken out (`addresses.redacted`).

    0     done, and every gate passes               70    a fault of the program; a file holds its traceback
    1     a negative verdict                        130   interrupted
    2     the input, the disk or the memory cannot  141   whoever read the output has closed it
          be used

An uncaught exception would end with 1, which CI reads as a gate that failed. So nothing passes uncaught. The file with
the traceback is readable by its owner alone, and holds neither arguments nor texts beyond the exception's own message.
"""

from __future__ import annotations

import codecs
import errno
import os
import platform
import re
import select
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TextIO

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

import rewardsmith
from rewardsmith.addresses import redacted
from rewardsmith.errors import RewardsmithError, first_line

_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and line feed, DEL, C1
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"  # line ends of Unicode and characters that turn the direction
    "\U000e0000-\U000e007f]"  # tags: text that nobody sees
)
_PLAIN = str.maketrans({"–": "-", "—": "-", "−": "-", "…": "...", "×": "x", "⏎": "|", "‘": "'", "’": "'", "→": "->"})
_WIDTH_OF_A_LOG = 140  # a file has no edge to wrap at


def terminal() -> Terminal:
    """Where tables go: standard output."""
    console = Terminal()
    if not console.is_terminal:
        console.width = max(console.width, _WIDTH_OF_A_LOG)
    return console


def errors() -> Terminal:
    """Where progress and messages go: standard error."""
    return Terminal(stderr=True)


def say(text: str, *, error: bool = False, end: str = "\n") -> None:
    """Plain text, never wrapped or coloured."""
    console = errors() if error else terminal()
    console.print(text, highlight=False, soft_wrap=True, end=end)


class Terminal(Console):
    """A rich console for text of others: no markup, no emoji codes, nothing that steers the terminal."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Cleaned before it is measured, so that columns stay columns."""
        return super().render_str(shown(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Cleaned again where it becomes output, whatever it was made of; rich's own control codes pass."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(shown(segment.text), segment.style)

    def on_broken_pipe(self) -> None:
        """Left to `main`; rich would end with 1, which means a negative verdict here."""
        raise BrokenPipeError


def shown(text: str) -> str:
    """Text as it may go to a terminal: no secrets, hidden and steering characters written out, lines and tabs kept."""
    text = redacted(text)
    return _HIDDEN.sub(lambda found: _escape(found[0]), text)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def one_line(cell: Any) -> Any:
    """A string or rich text with its line feeds written as ⏎; anything else as it is."""
    if isinstance(cell, str):
        return shown(cell.replace("\n", "⏎"))
    if isinstance(cell, Text) and _HIDDEN.search(cell.plain.replace("\n", "\r")):
        return Text(shown(cell.plain.replace("\n", "⏎")), style=cell.style)
    return cell


def say_json(text: str) -> None:
    """JSON on standard output; what would be written out elsewhere is escaped as JSON escapes it."""
    stream = sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(_json_escaped(redacted(text), encoding) + "\n")
    stream.flush()


def _json_escaped(text: str, encoding: str) -> str:
    text = re.sub(rf"(?![\n\r]){_HIDDEN.pattern}|[\ud800-\udfff]", lambda found: _units(found[0]), text)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return re.sub(r"[^\x00-\x7f]", lambda found: _units(found[0]), text)
    return text


def _units(character: str) -> str:
    """UTF-16 units, as JSON wants them."""
    raw = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{raw[i]:02x}{raw[i + 1]:02x}" for i in range(0, len(raw), 2))


FAULT = 70
"""EX_SOFTWARE of sysexits.h."""

INTERRUPTED = 130
UNREAD = 141  # as a shell reports a program that SIGPIPE ended


def ended(command: Callable[[], Any]) -> int:
    """Call a typer app in its non-standalone mode; print what went wrong, and return the exit code."""
    open_missing_streams()
    speak_any_text()
    with warnings.catch_warnings():
        warnings.showwarning = _warn
        return _flushed(_code(command))


def _flushed(code: int) -> int:
    """The exit code after all output was written: where it cannot be, Python would end with 120."""
    try:
        sys.stdout.flush()
    except OSError as error:
        _discard(sys.stdout)
        if _is_unread(error):
            return UNREAD
        if code in (0, 1):  # anything else has been said
            reason = _DISK.get(error.errno or 0) or error.strerror
            fix = "free space where it goes, then run the same command again: what was finished is kept"
            code = _said_on_error(f"error: standard output: cannot be written: {reason}\n  try: {fix}", 2)
    try:
        sys.stderr.flush()
    except OSError:
        _discard(sys.stderr)
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
        _discard(sys.stdout)
        return UNREAD
    told = _machine_fault(error) or _name_fault(error)
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
        _discard(sys.stdout)
        return UNREAD
    if stop.code in (None, 0) or "_REWARDSMITH_COMPLETE" in os.environ:
        return stop.code if isinstance(stop.code, int) else 0
    return _said_on_error(_fault(stop), FAULT)


_DISK = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up", errno.EFBIG: "it is too large"}
_MACHINE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ENAMETOOLONG, errno.ELOOP, errno.EMFILE}
_SOME_FILE = "standard output or a file"
_ARCHIVE = "inline_container.cc"  # "unexpected pos 151872 vs 151764": less was written than was handed over
_NO_UNICODE = ("surrogates not allowed", "as a unicode string")
_FULL_BY_TEXT = ("No space left on device", "os error 28", "Disk quota exceeded", "os error 122")


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


def _name_fault(error: BaseException) -> str:
    """Which argument is no UTF-8, where a record could not hold it; empty where it is something else."""
    if not any(words in str(one) for one in _chain(error) for words in _NO_UNICODE):
        return ""
    named = next((one for one in sys.argv[1:] if not one.isascii() and one != one.encode(errors="ignore").decode()), "")
    return named and f"error: {named}: is not UTF-8, which records are written in\n  try: rename the file or folder"


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


def _discard(stream: TextIO) -> None:
    """Send what the stream still holds nowhere: Python's own flush at the end must not fail again."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
    except (OSError, ValueError):
        pass


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


def speak_any_text() -> None:
    """Let standard output and error take any text, whatever their encoding (`LANG=C`, PYTHONIOENCODING, code pages)."""
    codecs.register_error("rewardsmith", _written_out)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="rewardsmith")


def open_missing_streams() -> None:
    """Where the program is started without a standard stream (`>&-`), reading ends at once and writing goes nowhere.

    Python has None for such a stream, and the next file that is opened would get its number.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is not None:
            continue
        nowhere = os.open(os.devnull, os.O_RDWR)  # the lowest free number, as a rule the stream's own
        os.set_inheritable(nowhere, True)
        setattr(sys, name, os.fdopen(nowhere, "w" if number else "r", encoding="utf-8"))


def _written_out(error: UnicodeError) -> tuple[str | bytes, int]:
    """For what an encoding lacks: typographic signs as ASCII, the rest as Python writes it."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end].translate(_PLAIN)
    return lacking.encode("ascii", "backslashreplace").decode("ascii"), error.end
