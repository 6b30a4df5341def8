r"""Shell text as commands made of words, each with its place; enough of the grammar to find flags, and no more.

    for command in commands_in(text): [word.value for word in command]

Known: quotes, `\` before a line break, comments, `;`, `&&`, `|`, here-documents (their lines are commands too: that is
how OpenRLHF's examples write theirs), arrays and strings in variables that a command then names. No more is expanded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

_TOKEN = re.compile(
    r"""(?P<join>\\\r?\n|[ \t\r]+)
      | (?P<comment>\#[^\n]*)
      | (?P<heredoc><<-?[ \t]*(?:'[^'\n]+'|"[^"\n]+"|\\?[\w.-]+))
      | (?P<redirect>\d*(?:<<<|>>|>&|<&|[<>])&?)
      | (?P<array>[A-Za-z_]\w*\+?=\()
      | (?P<break>[\n;|&()]+)
      | (?P<word>(?:
            \\[^\n] | \\\n | \$?'[^']*' | \$?"(?:\\.|[^"\\])*" | \$\((?:[^()]|\([^()]*\))*\) | `[^`]*` | \$\{[^}\n]*\}
          | [^\s;|&()<>'"`\\]
        )+)
      | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_ASSIGNED = re.compile(r"([A-Za-z_]\w*)\+?=(.*)", re.DOTALL)
_NAMED = re.compile(r"\"?\$\{?([A-Za-z_]\w*)(?:\[[@*]\])?\}?\"?$")


@dataclass(frozen=True)
class Word:
    """A word: its text without quotes, as written, and its span."""

    value: str
    start: int
    end: int


Command = tuple[Word, ...]


def commands_in(text: str) -> list[Command]:
    """All commands of a script in order; a variable that holds words stands for them, at the place where they stand."""
    variables: dict[str, Command] = {}
    commands = _Reader(text, variables).commands()
    return [whole for command in commands if (whole := _expanded(command, variables))]


@dataclass
class _Reader:
    """What has been read of the script so far: the words of the open command, an open array, bodies still to come."""

    text: str
    variables: dict[str, Command]
    words: list[Word] = field(default_factory=list)
    array: str | None = None
    pending: list[str] = field(default_factory=list)
    skip: bool = False
    at: int = 0

    def commands(self) -> Iterator[Command]:
        """Read token by token; a break ends a command, and the line break after a `<<` starts its body."""
        while (match := _TOKEN.match(self.text, self.at)) is not None:
            self.at = match.end()
            if match.lastgroup == "break":
                yield from self._break(match)
            else:
                self._token(match)
        yield from self._finished()

    def _token(self, match: re.Match[str]) -> None:
        kind, written = match.lastgroup, match[0]
        if kind == "word":
            if not self.skip:
                self.words.append(Word(_unquoted(written), match.start(), match.end()))
            self.skip = False
        elif kind == "redirect":
            self.skip = True
        elif kind == "heredoc":
            self.pending.append(written.lstrip("<-").strip(" \t'\"\\"))
        elif kind == "array":
            self.array, self.words = written.rstrip("(+="), []

    def _break(self, match: re.Match[str]) -> Iterator[Command]:
        if self.array is not None:
            if ")" in match[0]:
                self.variables[self.array], self.words, self.array = tuple(self.words), [], None
            return
        yield from self._finished()
        if "\n" in match[0] and self.pending:
            self.at = match.start() + match[0].index("\n") + 1
            for mark in self.pending:
                start, end, self.at = _heredoc(self.text, self.at, mark)
                inner = _Reader(self.text[start:end], self.variables)
                yield from (_moved(command, start) for command in inner.commands())
            self.pending = []

    def _finished(self) -> Iterator[Command]:
        """The open command, unless it is an assignment of a string of words, kept for the command that names it."""
        words, self.words, self.skip = self.words, [], False
        if len(words) == 1 and (assigned := _ASSIGNED.fullmatch(self.text[words[0].start : words[0].end])):
            quoted = assigned[2][:1] in ('"', "'")
            start = words[0].start + assigned.start(2) + quoted
            inner = _Reader(self.text[start : words[0].end - quoted], {})
            if parts := tuple(word for command in inner.commands() for word in command):
                self.variables[assigned[1]] = _moved(parts, start)
        elif words:
            yield tuple(words)


def _heredoc(text: str, at: int, mark: str) -> tuple[int, int, int]:
    """Start and end of the body, and where the line after its end mark begins."""
    end = re.compile(rf"^[\t ]*{re.escape(mark)}[ \t\r]*$", re.MULTILINE).search(text, at)
    return (at, end.start(), end.end()) if end else (at, len(text), len(text))


def _moved(command: Command, by: int) -> Command:
    return tuple(replace(word, start=word.start + by, end=word.end + by) for word in command)


def _expanded(command: Command, variables: Mapping[str, Command]) -> Command:
    """The words of variables in place of their names; a command that names none is itself."""
    words: list[Word] = []
    for word in command:
        named = _NAMED.match(word.value)
        words += variables.get(named[1], (word,)) if named else (word,)
    return tuple(words)


def _unquoted(word: str) -> str:
    return re.sub(r"\\\r?\n", "", word).replace('"', "").replace("'", "")
