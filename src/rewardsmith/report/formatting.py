"""Numbers and untrusted text as people read them. All rounding of a report happens here.

A `Number` keeps the raw value beside its text, so that the page can carry both (`<data value="…">`) and the two pages
cannot differ.

Texts from users may hold anything. `visible` shows what would be hidden and cuts; for Markdown `prose` escapes what
Markdown and HTML would act on and keeps GitHub from turning addresses, mentions and issue numbers into links, and
`code` puts a text into a code span that it cannot end.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np

State = Literal["good", "warn", "bad", "open"]
"""What to think of a result: a colour and a sign in each writer. `open` is neither good nor bad, or not known."""

MISSING = "–"
MINUS = "\u2212"
EXCERPT = 240

# Control characters, surrogates, private use, and what changes the direction of text; not tab and line ends.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
    "\ud800-\udfff\ue000-\uf8ff\U000f0000-\U000ffffd\U00100000-\U0010fffd]"
)
_LINE_ENDS = str.maketrans("\n\r\t", "   ")


@dataclass(frozen=True, slots=True)
class Number:
    """A value as recorded, and as shown."""

    value: float | int | None
    text: str

    def __str__(self) -> str:
        return self.text


def percent(share: float | None) -> Number:
    """A share as a percentage with one decimal, without the sign: 0.642 → "64.2"."""
    return Number(share, MISSING) if share is None else Number(share, _fixed(100 * share, 1))


def decimal(value: float | None, digits: int = 2) -> Number:
    """A fixed number of decimals, for columns of like numbers."""
    return Number(value, MISSING) if value is None else Number(value, _fixed(value, digits))


def signed(value: float | None, digits: int = 1) -> Number:
    """A difference with its sign: "+1.2", "−0.3"; none before a zero."""
    shown = decimal(value, digits)
    return Number(value, f"+{shown}") if value is not None and value > 0 and shown.text.strip("0.,") else shown


def significant(value: float | None, digits: int = 3) -> Number:
    """A number of any size with `digits` significant digits: 0.000012345 → "1.23e−5"."""
    if value is None or not math.isfinite(value):
        return Number(None, MISSING)
    text = f"{value:.{digits}g}"
    if "e" in text:
        mantissa, exponent = text.split("e")
        text = f"{mantissa}e{int(exponent)}"
    return Number(value, _signed(text))


def count(value: int | None) -> Number:
    """A count with thousands separators."""
    return Number(value, MISSING) if value is None else Number(value, _signed(f"{value:,}"))


def p_value(value: float | None) -> Number:
    """A p-value to four decimals, and below that only "< 0.0001"; NaN is none."""
    if value is None or math.isnan(value):
        return Number(None, MISSING)
    return Number(value, "< 0.0001" if value < 0.0001 else f"{value:.4f}")


def plural(number: int, unit: str, units: str = "") -> str:
    """ "1 pair", "1,940 pairs"."""
    return f"{number:,} {unit if number == 1 else units or unit + 's'}"


def parameters(number: int | None) -> str:
    """A number of parameters as people say it: 4.2M, 8.03B."""
    if number is None:
        return MISSING
    for unit, size in (("T", 10**12), ("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return str(number)


def duration(seconds: float) -> str:
    """A time in at most two units: "0.4 s", "3 min 20 s", "2 h 5 min"."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours:,} h {minutes} min"


def moment(time: str) -> str:
    """An ISO time of a record to the minute: "2026-01-31 09:05 UTC"; what is no such time stays as it is."""
    try:
        return datetime.fromisoformat(time).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError):
        return visible(time, 40)


def size(number: int) -> str:
    """Bytes in decimal units."""
    value = float(number)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} GB"


def short_hash(value: str) -> str:
    """The first twelve characters of a hash: enough to tell two apart by eye."""
    return value.removeprefix("sha256:")[:12]


def visible(text: str, limit: int = EXCERPT) -> str:
    """Untrusted text on one line, cut, with control and direction-changing characters written out as `\\u202e`.

    Escaping for HTML or Markdown is the page's business and happens later.
    """
    shown = _HIDDEN.sub(_code_point, text[:limit]).translate(_LINE_ENDS)
    return shown if len(text) <= limit else shown + "…"


def written_out(text: str) -> str:
    """Untrusted text with its lines kept; other control and direction-changing characters are written as `\\u202e`."""
    return _HIDDEN.sub(_code_point, text.replace("\r\n", "\n").replace("\r", "\n"))


def capitalised(text: str) -> str:
    """The first letter as a capital, the rest as it is."""
    return text[:1].upper() + text[1:]


def _code_point(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def _fixed(value: float, digits: int) -> str:
    return _signed(f"{value:,.{digits}f}") if math.isfinite(value) else MISSING


def _signed(text: str) -> str:
    """A true minus sign, and none before a zero."""
    if text.startswith("-") and not text.strip("-0.,"):
        return text[1:]
    return text.replace("-", MINUS)


_BLOCKS = "▁▂▃▄▅▆▇█"
_SPARK_POINTS = 40
_SPECIAL = re.compile(r"([\\`*\[\]<>#|~&$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
_AT_START = re.compile(r"^(\s*(?:\d+(?=[.)]\s))?)([-+=]|(?<=\d)[.)])")  # what would begin a list or underline a heading
_LINKS = re.compile(r"(?i)(@|#|://|www\.|mailto:)")
CODE = re.compile(r"`([^`<>]+)`")
"""What a message has between backticks."""

_BREAK = "\u200b"  # zero-width space: what follows is no longer an address or a mention


def as_table(head: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> Iterator[str]:
    """A table; cells are Markdown already, the head is not. `right` lists the columns that are aligned right."""
    numbers = set(right)
    yield "| " + " | ".join(prose(cell) for cell in head) + " |"
    yield "|" + "|".join(" ---: " if index in numbers else " --- " for index in range(len(head))) + "|"
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def prose(text: str) -> str:
    """Text that nothing acts on: special characters escaped, links and mentions broken by a zero-width space."""
    escaped = _AT_START.sub(r"\1\\\2", _SPECIAL.sub(r"\\\1", text.replace("\n", " ")))
    return _LINKS.sub(lambda match: match[0] + _BREAK, escaped)


def inline(text: str) -> str:
    """A message: as `prose`, with what stands between backticks as code."""
    parts = CODE.split(text)
    return "".join(code(part) if place % 2 else prose(part) for place, part in enumerate(parts))


def code(text: str) -> str:
    """A code span that its content cannot end, safe inside a table; "–" for nothing."""
    if not text.strip():
        return "–"
    fence = "`" * (max((len(run) for run in re.findall(r"`+", text)), default=0) + 1)
    space = " " if "`" in text else ""
    # a backslash before a pipe would take away the pipe's own escape, and the cell would end there
    content = text.replace("\n", " ").replace("\\|", f"\\{_BREAK}|").replace("|", "\\|")
    return f"{fence}{space}{content}{space}{fence}"


def sparkline(values: Sequence[float]) -> str:
    """At most 40 block characters between the lowest and the highest value; a gap is a space."""
    chosen = (
        values
        if len(values) <= _SPARK_POINTS
        else [values[round(i)] for i in np.linspace(0, len(values) - 1, _SPARK_POINTS)]
    )
    finite = [value for value in chosen if np.isfinite(value)]
    low, span = min(finite, default=0.0), max(finite, default=0.0) - min(finite, default=0.0)
    top = len(_BLOCKS) - 1
    return "".join(
        _BLOCKS[round((value - low) / span * top) if span else 0] if np.isfinite(value) else " " for value in chosen
    )
