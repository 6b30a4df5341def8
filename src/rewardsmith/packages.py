"""Which optional packages are there."""

from __future__ import annotations

from importlib.util import find_spec


def is_installed(module: str) -> bool:
    """Whether it can be imported. A folder of that name is no package: wandb and Ray make one where they run."""
    try:
        found = find_spec(module)
    except ModuleNotFoundError:  # the package around it, for `google.protobuf`
        return False
    return found is not None and found.origin is not None
