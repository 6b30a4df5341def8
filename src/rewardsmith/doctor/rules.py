"""The rules of rules.toml as data: what upstream moved or removed, from which version on.

    rules = load_rules()
    here = applied_rules(rules, {"trl": "1.16.0", "openrlhf": "0.11.2"})     # [(rule, severity)] of these versions

A rule holds in the versions from `since` to before `until`; from `deprecated` to `since` the old name works and warns.

What a scanner of one text gives back: where a rule's old name stands, and which edits would fix it.

Offsets count characters of the text that was scanned, so that a fix changes these spans and nothing else.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from packaging.version import Version

RULES_FILE = Path(__file__).with_name("rules.toml")
Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Rule:
    """One change upstream. What each field means stands at the head of rules.toml; an empty new name is "gone"."""

    id: str
    package: str
    what: str
    fix: str
    source: str
    since: str | None = None
    until: str | None = None
    deprecated: str | None = None
    severity: Severity = "error"
    names: Mapping[str, str] = field(default_factory=dict)
    modules: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    arguments: Mapping[str, str] = field(default_factory=dict)
    unless: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    flags: Mapping[str, str] = field(default_factory=dict)
    value: str = ""
    words: bool = False
    yaml: str = ""
    rows: tuple[str, ...] = ()
    batches: tuple[str, ...] = ()
    trainers: tuple[str, ...] = ()
    keys: Mapping[str, str] = field(default_factory=dict)
    reverse: tuple[str, ...] = ()

    @property
    def starts(self) -> str:
        """The version to name: the first that breaks, else the first that warns."""
        return self.since or self.deprecated or ""

    @property
    def fixable(self) -> bool:
        """Whether `--fix` can rewrite at least one of the names."""
        return any((*self.names.values(), *self.arguments.values(), *self.flags.values()))

    def severity_in(self, version: str) -> Severity | None:
        """How grave the old name is in a version of the package; None where it is sound."""
        here = Version(version)
        if self.until and here >= Version(self.until):
            return None
        if (self.since and here >= Version(self.since)) or not (self.since or self.deprecated):
            return self.severity
        return "warning" if self.deprecated and here >= Version(self.deprecated) else None


@dataclass(frozen=True)
class Combination:
    """Versions that do not go together: all of `when` hold, and an installed package of `needs` misses its own."""

    id: str
    when: Mapping[str, str]
    what: str
    fix: str
    source: str
    severity: Severity = "error"
    needs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RuleBook:
    """All of rules.toml."""

    rules: tuple[Rule, ...]
    combinations: tuple[Combination, ...]
    newest: Mapping[str, str]


@cache
def load_rules(path: Path = RULES_FILE) -> RuleBook:
    """The rules, with `move` spelled out as names and `reverse` as the flags of the rules that it names."""
    read = tomllib.loads(path.read_text(encoding="utf-8"))
    rules = {rule.id: rule for rule in map(_rule, read["rule"])}
    rules |= {rule.id: _reversed(rule, rules) for rule in rules.values() if rule.reverse}
    combinations = tuple(Combination(**entry) for entry in read["combination"])
    return RuleBook(tuple(rules.values()), combinations, read["newest"])


def applied_rules(rules: Iterable[Rule], versions: Mapping[str, str]) -> list[tuple[Rule, Severity]]:
    """The rules that hold in these versions of their packages, with how grave each is there."""
    held = ((rule, rule.severity_in(versions[rule.package])) for rule in rules if rule.package in versions)
    return [(rule, severity) for rule, severity in held if severity]


def _rule(entry: dict[str, Any]) -> Rule:
    names = dict(entry.pop("names", {}))
    for move in entry.pop("move", ()):
        for module in move["from"]:
            names |= {f"{module}.{name}": f"{move['to']}.{name}" if "to" in move else "" for name in move["names"]}
    lists: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    return Rule(names=names, **lists)


def _reversed(rule: Rule, rules: Mapping[str, Rule]) -> Rule:
    """New flags → old ones, where one old flag became one new one."""
    flags: dict[str, str] = {}
    commands: dict[str, None] = {}
    for name in rule.reverse:
        flags |= {new: old for old, new in rules[name].flags.items() if " " not in new}
        commands |= dict.fromkeys(rules[name].commands)
    return replace(rule, flags=flags, commands=tuple(commands))


Applied = tuple[Rule, Severity]


@dataclass(frozen=True, order=True)
class Edit:
    """Replace the characters from `start` to before `end`."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Hit:
    """One old name at one place; `edits` is empty where nobody but the author can fix it.

    Flags of one command share a `command`: where its program stands; -1 elsewhere.
    """

    rule: Rule
    severity: Severity
    found: str
    replacement: str
    start: int
    edits: tuple[Edit, ...] = ()
    command: int = -1

    def shifted(self, by: int) -> Hit:
        """The same hit in a text that has `by` characters more in front."""
        moved = tuple(Edit(edit.start + by, edit.end + by, edit.text) for edit in self.edits)
        command = self.command if self.command < 0 else self.command + by
        return replace(self, start=self.start + by, edits=moved, command=command)


def each_once(hits: Iterable[Hit]) -> list[Hit]:
    """In the order of the text; a place that was reached twice, as a variable's words, counts once."""
    unique = {(hit.start, hit.rule.id, hit.found): hit for hit in hits}
    return [unique[key] for key in sorted(unique)]


def apply_edits(text: str, edits: Iterable[Edit]) -> str:
    """The text with the edits made; equal ones count once, and of two that overlap the first is made."""
    parts, end = [], 0
    for edit in sorted(set(edits)):
        if edit.start >= end:
            parts += [text[end : edit.start], edit.text]
            end = edit.end
    return "".join((*parts, text[end:]))


def line_of(text: str, offset: int) -> int:
    """The line of an offset, from 1."""
    return text.count("\n", 0, offset) + 1
