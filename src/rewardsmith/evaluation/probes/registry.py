"""The probes by code, in the order of reports; each is imported from its address in `spec.evaluation` when read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module

from rewardsmith.evaluation.probes.probe import Probe
from rewardsmith.spec.evaluation import DESTROYED_PROBES, SURFACE_PROBES


class _Probes(Mapping[str, Probe]):
    """A view of the addresses: a line there is a probe here."""

    def __getitem__(self, code: str) -> Probe:
        module, _, name = {**SURFACE_PROBES, **DESTROYED_PROBES}[code].partition(":")
        probe: Probe = getattr(import_module(module), name)
        return probe

    def __iter__(self) -> Iterator[str]:
        return iter((*SURFACE_PROBES, *DESTROYED_PROBES))

    def __len__(self) -> int:
        return len(SURFACE_PROBES) + len(DESTROYED_PROBES)


PROBES = _Probes()
