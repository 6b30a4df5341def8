"""The rows that the checks see, and the digests that say which texts are equal.

keys = pair_keys(pair)           # of prompt, chosen and rejected: 16 bytes each
words = halves(digests)          # digests as numbers, for sorting and for np.unique
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewardsmith.rendering import Ids
from rewardsmith.types import Conversation, PreferencePair

Keys = tuple[bytes, bytes, bytes]
"""Digests of prompt, chosen and rejected. A missing prompt counts as one of its own for every two responses."""

DIGEST = 16
"""Bytes of a digest."""


@dataclass(frozen=True, slots=True)
class TokenizedPair:
    """A pair that was kept, as token ids (shape (T,), int32), with its place.

    `file` as written in the spec, `row` 1-based; `cut` counts prompt tokens that the length policy took away.
    """

    pair: PreferencePair
    chosen_ids: Ids
    rejected_ids: Ids
    file: str
    row: int
    keys: Keys
    cut: int = 0


def pair_keys(pair: PreferencePair) -> Keys:
    """Digests of the three texts; equal exactly where roles and contents are."""
    chosen, rejected = digest_of(pair.chosen), digest_of(pair.rejected)
    if pair.prompt:
        return digest_of(pair.prompt), chosen, rejected
    both = b"".join(sorted((chosen, rejected)))  # whichever was preferred
    return hashlib.blake2b(both, digest_size=DIGEST).digest(), chosen, rejected


def data_fingerprint(keys: NDArray[np.void]) -> str:
    """SHA-256 over the sorted digests of the pairs, shape (P, 3): the same texts in any order give the same value."""
    return hashlib.sha256(np.sort(whole(keys)).tobytes()).hexdigest()


def whole(keys: NDArray[np.void]) -> NDArray[np.void]:
    """The three digests of each pair as one value, shape (P, 3) → (P,): equal exactly where all texts are."""
    return np.ascontiguousarray(keys).view(f"V{3 * DIGEST}").reshape(-1)


def halves(digests: NDArray[np.void]) -> NDArray[np.uint64]:
    """Digests as two numbers each, shape (N,) → (N, 2). One half tells ten million texts apart well enough to group."""
    return np.ascontiguousarray(digests).view(np.uint64).reshape(-1, 2)


def digest_of(conversation: Conversation) -> bytes:
    """16 bytes, equal exactly where all messages are."""
    digest = hashlib.blake2b(digest_size=DIGEST)
    for message in conversation:
        content = message.content.encode()
        digest.update(f"{message.role} {len(content)} ".encode())
        digest.update(content)
        if not message.is_plain:  # plain turns keep the digests that earlier versions gave them
            digest.update(json.dumps(message.as_dict(), ensure_ascii=False).encode())
    return digest.digest()
