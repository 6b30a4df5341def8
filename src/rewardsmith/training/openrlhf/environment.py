"""OpenRLHF's own environment, asked through its Python: versions and devices. It is never imported here.

environment = ask(Path("/opt/openrlhf/bin/python"))
environment.versions["openrlhf"], environment.devices
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rewardsmith.errors import SpecError
from rewardsmith.spec import Spec
from rewardsmith.training.openrlhf.command import interpreter_of

PACKAGES = ("openrlhf", "deepspeed", "transformers", "torch", "datasets", "flash-attn", "ray")
_SECONDS = 120

_QUESTION = f"""
import importlib.metadata, json, sys
found = {{"python": sys.version.split()[0]}}
for name in {PACKAGES!r}:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
devices = 0
if "torch" in found and "--devices" in sys.argv:
    import torch
    devices = torch.cuda.device_count()
print("\\n" + json.dumps({{"versions": found, "devices": devices}}))
"""


@dataclass(frozen=True, slots=True)
class Environment:
    """What an interpreter says of itself: versions of `PACKAGES` that it has, and the GPUs that it sees."""

    versions: Mapping[str, str]
    devices: int


def versions_of_backend(spec: Spec) -> dict[str, str]:
    """Versions in OpenRLHF's environment, where the spec trains there and it is on this machine: part of the result."""
    if spec.backend != "openrlhf" or not interpreter_of(spec).is_file():
        return {}
    return {f"openrlhf: {name}": version for name, version in ask(interpreter_of(spec), devices=False).versions.items()}


def ask(interpreter: Path, *, devices: bool = True) -> Environment:
    """Ask an interpreter; counting devices takes the seconds that importing torch takes.

    Raises:
        SpecError: it does not run.
    """
    try:
        said = subprocess.run(  # noqa: S603 - the interpreter that the spec names
            [str(interpreter), "-c", _QUESTION, *(["--devices"] if devices else [])],
            capture_output=True,
            text=True,
            check=True,
            timeout=_SECONDS,
        )
        answer = json.loads(said.stdout.strip().splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        raise SpecError(
            f"{str(interpreter)!r} does not run as a Python: {_last_line(error)}",
            where="openrlhf.interpreter",
            fix="write the path of bin/python of the environment in which openrlhf is installed",
        ) from error
    return Environment(answer["versions"], answer["devices"])


def resolve_version(spec: Spec, environment: Environment) -> str:
    """OpenRLHF's version: as found, which must be the stated one where the spec states one.

    Raises:
        SpecError: it is not installed there, or it is another one.
    """
    found, stated = environment.versions.get("openrlhf"), spec.openrlhf.version
    if found is None:
        raise SpecError(
            f"openrlhf is not installed for {spec.openrlhf.interpreter!r}",
            where="openrlhf.interpreter",
            fix="install it there (pip install openrlhf), or name another environment's Python",
        )
    if stated not in ("auto", found):
        raise SpecError(
            f"it is {stated!r}, and the interpreter has {found}",
            where="openrlhf.version",
            fix="write auto, or install the stated version there",
        )
    return found


def environment_of(spec: Spec) -> Environment:
    """The environment that a spec names, or what the spec states of one that is on other machines.

    Raises:
        SpecError: it is neither here nor stated, or does not run.
    """
    interpreter = interpreter_of(spec)
    if interpreter.is_file():
        environment = ask(interpreter)
        resolve_version(spec, environment)
        return environment
    elsewhere = spec.openrlhf.launcher in ("slurm", "ray")
    if elsewhere and spec.openrlhf.version != "auto":
        return Environment({"openrlhf": spec.openrlhf.version}, spec.hardware.devices_per_node or 0)
    raise SpecError(
        f"{str(interpreter)!r} is not a file on this machine",
        where="openrlhf.interpreter",
        fix="name the Python of OpenRLHF's environment; where it is on the cluster only, state openrlhf.version as well"
        if elsewhere
        else "write the path of bin/python of the environment in which openrlhf is installed",
    )


def _last_line(error: Exception) -> str:
    said = getattr(error, "stderr", None) or str(error)
    return (str(said).strip().splitlines() or [type(error).__name__])[-1][:200]
