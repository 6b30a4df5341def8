"""Are the lower bounds of pyproject.toml versions that can be installed together, and are they what was resolved?

    uv pip compile --resolution lowest-direct --extra serve … pyproject.toml | python tools/lowest.py serve …

A bound below what another dependency requires is a claim that nobody can run. `make test-bounds` asks before it tests.
torch is left out: which one is installed, and whether it brings CUDA, is the machine's to say.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]


def bounds(extras: list[str]) -> dict[str, Version]:
    """The lowest version of each dependency, and of those of the extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    wanted = [Requirement(line) for line in lines]
    return {one.name: Version(part.version) for one in wanted for part in one.specifier if part.operator == ">="}


def main() -> int:
    """Name each bound that was not resolved to itself."""
    lines = [line.split()[0] for line in sys.stdin if "==" in line and not line.startswith(("#", " "))]
    resolved = {name: Version(version) for name, version in (line.split("==") for line in lines)}
    wanted = {name: bound for name, bound in bounds(sys.argv[1:]).items() if name != "torch"}
    beside = {name: bound for name, bound in wanted.items() if resolved[name] != bound}
    for name, bound in beside.items():
        print(f"{name}>={bound} cannot be had: the lowest that goes with the others is {resolved[name]}")
    return bool(beside)


if __name__ == "__main__":
    sys.exit(main())
