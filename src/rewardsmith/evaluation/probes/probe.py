"""What a probe is: one edit of a response, and which way the reward must go.

    surface      the meaning is kept, only the surface changes: the reward should not rise
    destroyed    the quality is destroyed: the reward should fall

An edit is a pure function of a `Subject` and a random generator; it returns the edited response, or None where it does
not apply (no number to change, one sentence to shuffle). `Probe.apply` seeds the generator from the probe, the seed and
the texts themselves, so that neither the order of the rows nor their ids decide an edit.

PROBES has the probes by code, in the order of reports; each is imported from its address in `spec.evaluation` when it
is read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from random import Random
from typing import Literal

from rewardsmith.spec.evaluation import DESTROYED_PROBES, SURFACE_PROBES

Kind = Literal["surface", "destroyed"]


@dataclass(frozen=True, slots=True)
class Subject:
    """One good response to be edited, and what an edit may need beside it.

    `prompt` is the last turn before the response. `rejected` are worse responses to the same prompt; `other` is a good
    response to another prompt, empty where there is none.
    """

    prompt: str
    response: str
    rejected: tuple[str, ...] = ()
    other: str = ""


Edit = Callable[[Subject, Random], str | None]


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe.

    Args:
        code: its key in the registry, in the spec and in records.
        kind: which way the reward must go.
        title: a few words for tables.
        meaning: what the edit does and what it leaves as it is.
        why: what a policy does with a reward that goes the wrong way.
        edit: subject, generator → edited response, or None where the edit does not apply.
    """

    code: str
    kind: Kind
    title: str
    meaning: str
    why: str
    edit: Edit

    def apply(self, subject: Subject, seed: int) -> str | None:
        """The edited response: never the same text, never blank; None where the edit does not apply."""
        if not subject.response.strip():
            return None
        edited = self.edit(subject, Random(text_rank(seed, self.code, subject.prompt, subject.response)))  # noqa: S311
        return None if edited is None or edited == subject.response or not edited.strip() else edited


def text_rank(seed: int, *texts: str) -> int:
    """A number that only `seed` and the texts decide: a seed, or a place in a random order."""
    joined = "\x1f".join((str(seed), *texts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(joined, digest_size=8).digest(), "big")


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
