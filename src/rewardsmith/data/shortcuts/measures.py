"""From pairs to numbers: how long both responses are, and which of them has more of each feature.

    measured = measure(rows)                   # TokenizedPairs → Measures; 64 bytes a pair and no text
    whole = join([measured, …])
    whole.more                                 # (P, F): 1 where chosen has more, -1 where rejected has, else 0

Everything that the survey says about lengths and features comes from these arrays, for any part of the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.rows import TokenizedPair
from rewardsmith.data.shortcuts.features import FEATURES
from rewardsmith.data.shortcuts.reading import read_response
from rewardsmith.rendering import Ids
from rewardsmith.rendering.length import shared_prefix

Signs = NDArray[np.int8]

UNITS = ("characters", "words", "tokens")
"""What lengths are counted in, in the order of `Measures.lengths`."""

_COUNTS = tuple(feature.count for feature in FEATURES.values())
_SIGN, _CHOSEN_HAS, _REJECTED_HAS = 0b0011, 0b0100, 0b1000


@dataclass(frozen=True, slots=True)
class Measures:
    """P pairs. `lengths` (P, U, 2) by unit, of chosen and rejected; `packed` (P, F), one byte a feature."""

    lengths: NDArray[np.int32]
    packed: NDArray[np.uint8]

    @property
    def longer(self) -> Signs:
        """(P, U): 1 where the chosen response is the longer, -1 where the rejected is, 0 where they are as long."""
        signs: Signs = np.sign(self.lengths[:, :, 0] - self.lengths[:, :, 1]).astype(np.int8)
        return signs

    @property
    def more(self) -> Signs:
        """(P, F): 1 where the chosen response has more of the feature, -1 where the rejected has, 0 where as much."""
        return np.asarray((self.packed & _SIGN).astype(np.int8) - 1, dtype=np.int8)

    def has(self) -> NDArray[np.float64]:
        """(F, 2): the share of chosen and of rejected responses that have the feature at all."""
        sides = [(self.packed & bit).astype(bool).mean(axis=0) for bit in (_CHOSEN_HAS, _REJECTED_HAS)]
        return np.stack(sides, axis=1)

    def at(self, places: NDArray[np.int64]) -> Measures:
        """Some of the pairs."""
        return Measures(self.lengths[places], self.packed[places])


def measure(rows: Sequence[TokenizedPair]) -> Measures:
    """Numbers of each pair, in order."""
    lengths, counts = [], []
    for row in rows:
        chosen, rejected = read_response(row.pair.chosen), read_response(row.pair.rejected)
        tokens = response_tokens(row.chosen_ids, row.rejected_ids)
        lengths.append((chosen.characters, rejected.characters, chosen.words, rejected.words, *tokens))
        counts.append([[count(side) for count in _COUNTS] for side in (chosen, rejected)])
    counted = np.array(counts, dtype=np.int32).reshape(len(rows), 2, len(_COUNTS))
    return Measures(np.array(lengths, dtype=np.int32).reshape(-1, len(UNITS), 2), _pack(counted[:, 0], counted[:, 1]))


def join(parts: Sequence[Measures]) -> Measures:
    """All pairs, in order."""
    if not parts:
        return measure(())
    return Measures(np.concatenate([part.lengths for part in parts]), np.concatenate([part.packed for part in parts]))


def response_tokens(chosen_ids: Ids, rejected_ids: Ids) -> tuple[int, int]:
    """Tokens after the beginning that both texts share: the responses without prompt and equal first words."""
    shared = shared_prefix(chosen_ids, rejected_ids)
    return len(chosen_ids) - shared, len(rejected_ids) - shared


def _pack(chosen_PF: NDArray[np.int32], rejected_PF: NDArray[np.int32]) -> NDArray[np.uint8]:
    packed: NDArray[np.int32] = np.sign(chosen_PF - rejected_PF) + 1
    packed |= np.where(chosen_PF > 0, _CHOSEN_HAS, 0) | np.where(rejected_PF > 0, _REJECTED_HAS, 0)
    return packed.astype(np.uint8)
