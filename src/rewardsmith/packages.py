"""Which optional packages are there."""

from __future__ import annotations

from importlib.util import find_spec


def is_installed(package: str) -> bool:
    """Whether it can be imported. A folder of that name is no package: wandb and Ray make one where they run."""
    found = find_spec(package)
    return found is not None and found.origin is not None
