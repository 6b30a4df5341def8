"""What happens to texts that are longer than the limit: pure functions on token ids.

Only the oldest tokens of the prompt may be cut. BOS stays first, the response and EOS stay whole, and the two sides of
a pair lose the same tokens, so that they keep sharing their prompt.

`too_long` says in words that a text does not fit, and `length_said` reads the number of tokens out of them again.

Shapes: T tokens of one text.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]


def shared_prefix(first_T: Ids, second_T: Ids) -> int:
    """Number of leading tokens that two texts share."""
    length = min(len(first_T), len(second_T))
    differs = np.nonzero(first_T[:length] != second_T[:length])[0]
    return int(differs[0]) if len(differs) else length


def excess(texts: tuple[Ids, ...], max_length: int) -> int:
    """Tokens by which the longest text passes the limit; 0 when all fit."""
    return max(0, max(len(ids_T) for ids_T in texts) - max_length)


def too_long(texts: tuple[Ids, ...], max_length: int) -> str:
    """Says how long the longest text is."""
    return f"{max(len(ids_T) for ids_T in texts)} tokens, the limit is {max_length}"


def length_said(detail: str) -> int:
    """The number of tokens in what `too_long` said, also where more stands around it."""
    said = re.search(r"(\d+) tokens, the limit is \d+", detail)
    if said is None:
        raise ValueError(f"not said by too_long: {detail!r}")
    return int(said[1])


def cut_prompt(texts: tuple[Ids, ...], prompt_T: Ids, *, max_length: int, bos_id: int | None) -> tuple[Ids, ...] | None:
    """Cut the same oldest prompt tokens from texts that share a prompt, until the longest fits.

    Args:
        texts: token ids, the shared prompt first.
        prompt_T: ids of the prompt alone, with the header of the response. What a text shares with it may be cut.
        max_length: longest text allowed.
        bos_id: kept where it is the first token.

    Returns:
        The shortened texts; None when the prompt cannot give enough, that is, when a response alone is too long.
    """
    cut = excess(texts, max_length)
    start = int(bos_id is not None and all(len(ids_T) > 0 and ids_T[0] == bos_id for ids_T in texts))
    prompt_length = min(shared_prefix(ids_T, prompt_T) for ids_T in texts)
    if start + cut > prompt_length:
        return None
    return tuple(np.concatenate((ids_T[:start], ids_T[start + cut :])) for ids_T in texts)
