"""The one place where text of others becomes text on a terminal.

    terminal()       standard output, for tables
    errors()         standard error, for progress and messages
    say(text)        a plain line, with `error=True` on standard error
    one_line(text)   a name that must not forge a line
    say_json(text)   JSON for a program; still JSON where the stream is not UTF-8
    Table            rich's, with every cell on one line

Names of files, models and subsets, replies of judges and messages of libraries come from whoever wrote them. None of
them is markup here. Control characters (ESC moves the cursor, recolours, renames the window) and characters that turn
the direction of writing or hide are written out, as `\\x1b`. What the stream's encoding lacks is written out as well.
Keys and tokens, which endpoints and libraries like to quote, are taken out (`addresses.redacted`).
"""

from __future__ import annotations

import codecs
import re
import sys
from collections.abc import Iterable
from typing import Any

import rich.table
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from rewardsmith.addresses import redacted

_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and line feed, DEL, C1
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"  # line ends of Unicode and characters that turn the direction
    "\U000e0000-\U000e007f]"  # tags: text that nobody sees
)
_PLAIN = str.maketrans({"–": "-", "—": "-", "−": "-", "…": "...", "×": "x", "⏎": "|", "‘": "'", "’": "'", "→": "->"})
_WIDTH_OF_A_LOG = 140  # a file has no edge to wrap at


def shown(text: str) -> str:
    """Text as it may go to a terminal: no secrets, hidden and steering characters written out, lines and tabs kept."""
    text = redacted(text)
    return _HIDDEN.sub(lambda found: _escape(found[0]), text)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


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


class Table(rich.table.Table):
    """A table whose cells, headings and title are one line each: a name with a line feed cannot forge a row."""

    def __init__(self, *headers: str, title: str | None = None, **options: Any) -> None:
        super().__init__(*headers, title=None if title is None else one_line(title), **options)

    def add_column(self, header: RenderableType = "", *arguments: Any, **options: Any) -> None:
        """As rich's."""
        super().add_column(one_line(header), *arguments, **options)

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        """As rich's."""
        super().add_row(*map(one_line, cells), **options)


def one_line(cell: Any) -> Any:
    """A string or rich text with its line feeds written as ⏎; anything else as it is."""
    if isinstance(cell, str):
        return shown(cell.replace("\n", "⏎"))
    if isinstance(cell, Text) and _HIDDEN.search(cell.plain.replace("\n", "\r")):
        return Text(shown(cell.plain.replace("\n", "⏎")), style=cell.style)
    return cell


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


def speak_any_text() -> None:
    """Let standard output and error take any text, whatever their encoding (`LANG=C`, PYTHONIOENCODING, code pages)."""
    codecs.register_error("rewardsmith", _written_out)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="rewardsmith")


def _written_out(error: UnicodeError) -> tuple[str | bytes, int]:
    """For what an encoding lacks: typographic signs as ASCII, the rest as Python writes it."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end].translate(_PLAIN)
    return lacking.encode("ascii", "backslashreplace").decode("ascii"), error.end
