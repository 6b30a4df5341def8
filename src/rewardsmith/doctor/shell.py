"""Old programs and flags in shell commands: `trl`, `openrlhf.cli.*` under any launcher, RewardBench, verl, vLLM.

    hits = scan_shell(text, judged)

A program is found wherever it stands in a command, so that `deepspeed`, `torchrun`, `ray job submit --` and `srun` do
not matter; a command that only prints or installs is none. A flag is looked at only behind the program it belongs to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rewardsmith.doctor.hits import Edit, Hit, Judged, each_once
from rewardsmith.doctor.rules import Rule
from rewardsmith.doctor.shell_words import Command, Word, commands_in

_NOT_RUN = {"echo", "printf", "pip", "pip3", "conda", "git", "cd", "grep", "apt-get", "cat", "rm", "ls", "#"}
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")


@dataclass(frozen=True)
class _Program:
    """A program in a command: what a rule calls it, its own words, and those behind it."""

    words: Command
    arguments: Command


def scan_shell(text: str, judged: Sequence[Judged]) -> list[Hit]:
    """Every old program and flag of a script, in the order of the text."""
    return each_once(hit for command in commands_in(text) for hit in scan_command(text, command, judged))


def scan_command(text: str, command: Command, judged: Sequence[Judged]) -> Iterator[Hit]:
    """The hits of one command, whose words lie in `text`."""
    first = next((word.value for word in command if not _ASSIGNMENT.match(word.value)), "")
    if first.rpartition("/")[2] in _NOT_RUN:
        return
    for rule, severity in judged:
        for name in rule.commands:
            program = _find(name, command)
            if program is None:
                continue
            if not rule.flags:
                yield Hit(rule, severity, " ".join(word.value for word in program.words), "", program.words[0].start)
            for index in range(len(program.arguments)):
                yield from _flag(text, (rule, severity), program, index)


def _find(name: str, command: Command) -> _Program | None:
    """Where a command runs the program that a rule names; modules also by their path, repositories by theirs."""
    parts = name.split()
    for at in range(len(command) - len(parts) + 1):
        words = command[at : at + len(parts)]
        if all(_is(part, word.value) for part, word in zip(parts, words, strict=True)):
            return _Program(words, command[at + len(parts) :])
    return None


def _is(name: str, word: str) -> bool:
    owner, mark, path = name.rpartition(":")
    if path.endswith(".py"):
        pattern = rf"(.*/)?{re.escape(path)}"
        return bool(re.fullmatch(pattern, word)) and (not mark or owner in word.replace("-", "").lower())
    if "." in name and "/" in word:
        return word.endswith(f"{name.replace('.', '/')}.py")
    return word == name or (name == "trl" and word.endswith("/trl"))


def _flag(text: str, judged: Judged, program: _Program, index: int) -> Iterator[Hit]:
    (rule, severity), words = judged, program.arguments
    word = words[index]
    name, equals, given = word.value.partition("=")
    old = name.lstrip("+")
    if old not in rule.flags or (not old.startswith("-") and not equals):
        return
    values = [] if equals else _values(words, index)
    if rule.value and not re.search(rule.value, given if equals else " ".join(one.value for one in values[:1])):
        return
    new = rule.flags[old]
    edits = _edits(text, rule, word, new, values) if new else ()
    yield Hit(rule, severity, old, new, word.start, edits, command=program.words[0].start)


def _values(words: Command, index: int) -> list[Word]:
    """The words up to the next flag."""
    values = []
    for word in words[index + 1 :]:
        if word.value.startswith("--"):
            break
        values.append(word)
    return values


def _edits(text: str, rule: Rule, word: Word, new: str, values: Sequence[Word]) -> tuple[Edit, ...]:
    """The flag's name replaced where it stands; a flag that became two takes its values along to the second."""
    written = text[word.start : word.end]
    name = re.match(r"['\"]?\+*([\w.-]+)", written)
    if name is None:
        return ()
    start, end = word.start + name.start(1), word.start + name.end(1)
    flags = [new] if rule.words else new.split()
    edits = [Edit(start, end, flags[0])]
    rest, at = written[name.end(1) :], values[-1].end if values else word.end
    same = text[values[0].start : at] if values else ""
    edits += [Edit(at, at, f" {flag}{rest}" + (f" {same}" if same else "")) for flag in flags[1:]]
    return tuple(edits)
