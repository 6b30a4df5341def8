"""What a test may change of its process, put back after it: no test depends on the one before it.

    with restored():
        ...                     secrets, registries, variables, folder, signals, loggers, torch: as they were afterwards

Module- and session-scoped fixtures are set up outside of it, so that what they change lasts as long as they do.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rewardsmith import addresses

REGISTRIES = {
    "rewardsmith.benchmarks": ("BENCHMARKS",),
    "rewardsmith.spec.evaluation": ("SURFACE_PROBES", "DESTROYED_PROBES"),
    "rewardsmith.serving.dialects": ("DIALECTS",),
    "rewardsmith.data.registry": ("CHECKS",),
    "rewardsmith.training.trackers": ("TRACKERS",),
}
"""Dicts that recipes add to, by module. A module that a test is the first to import is read as it stands there."""

LOGGERS = (None, "rewardsmith", "rewardsmith.serving", "transformers", "datasets", "ray", "ray.data", "ray.serve")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGALRM)


@contextmanager
def restored() -> Iterator[None]:
    """Begin with known random states, end with everything else as it was."""
    _seed()
    before = _state()
    try:
        yield
    finally:
        _restore(before)


def _seed() -> None:
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


def _state() -> dict[str, Any]:
    torch = sys.modules.get("torch")
    return {
        "secrets": set(addresses._named),
        "registries": [(found, dict(found)) for found in _registries()],
        "variables": dict(os.environ),
        "folder": Path.cwd(),
        "signals": {one: signal.getsignal(one) for one in SIGNALS},
        "loggers": [_logger(name) for name in LOGGERS],
        "torch": torch
        and (
            torch.get_num_threads(),
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            torch.are_deterministic_algorithms_enabled(),
        ),
    }


def _restore(before: dict[str, Any]) -> None:
    addresses._named.clear()
    addresses._named.update(before["secrets"])
    for registry, entries in before["registries"]:
        if registry != entries or list(registry) != list(entries):
            registry.clear()
            registry.update(entries)
    for name in os.environ.keys() - before["variables"].keys() - {"PYTEST_CURRENT_TEST"}:
        del os.environ[name]
    os.environ.update(before["variables"])
    os.chdir(before["folder"])
    for one, handler in before["signals"].items():
        if signal.getsignal(one) is not handler and handler is not None:
            signal.signal(one, handler)
    for logger, handlers, level, disabled in before["loggers"]:
        logger.handlers[:], logger.disabled = handlers, disabled
        logger.setLevel(level)
    if before["torch"]:
        _restore_torch(*before["torch"])


def _restore_torch(threads: int, dtype: Any, gradients: bool, deterministic: bool) -> None:
    torch = sys.modules["torch"]
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    if torch.get_default_dtype() != dtype:
        torch.set_default_dtype(dtype)
    if torch.is_grad_enabled() != gradients:
        torch.set_grad_enabled(gradients)
    if torch.are_deterministic_algorithms_enabled() != deterministic:
        torch.use_deterministic_algorithms(deterministic)


def _registries() -> Iterator[dict[str, Any]]:
    for module, names in REGISTRIES.items():
        if module in sys.modules:
            yield from (getattr(sys.modules[module], name) for name in names)


def _logger(name: str | None) -> tuple[logging.Logger, list[logging.Handler], int, bool]:
    logger = logging.getLogger(name)
    return logger, list(logger.handlers), logger.level, logger.disabled
