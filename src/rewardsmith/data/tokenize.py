"""The pairs of one source as token ids, chunk by chunk, with the checks of their tokens.

with RenderAhead(renderer) as ahead:
    for rows in tokenized(intake, ahead): …      # lists of TokenizedPair
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from rewardsmith.data.registry import CHECKS
from rewardsmith.data.rows import TokenizedPair, pair_keys
from rewardsmith.data.sources import Intake
from rewardsmith.rendering import RenderAhead, RenderedPair
from rewardsmith.rendering.ahead import Later
from rewardsmith.types import PreferencePair

_CHUNK = 512
_BEGUN = 4  # chunks that are read and being rendered while the rows before them are looked at
T = TypeVar("T")
Chunk = list[tuple[int, PreferencePair]]


def tokenized(intake: Intake, ahead: RenderAhead) -> Iterator[list[TokenizedPair]]:
    """Rendered rows in order; what cannot be rendered or fails a check of its tokens joins the rejected rows.

    Raises:
        DataError: a row cannot be read; a text is too long under policy `error`.
        RenderingError: conversational pairs, and the tokenizer has no chat template.
    """
    begun: deque[tuple[Chunk, Later]] = deque()
    for chunk in _batched(intake.stream, _CHUNK):
        places = [f"{intake.title}:{number}" for number, _ in chunk]
        begun.append((chunk, ahead.render([pair for _, pair in chunk], places)))
        if len(begun) > _BEGUN:
            yield _rows(intake, *begun.popleft())
    while begun:
        yield _rows(intake, *begun.popleft())


def _batched(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` values, the last one shorter (Python 3.12 has it in itertools)."""
    rest = iter(values)
    while batch := list(islice(rest, size)):
        yield batch


def _rows(intake: Intake, chunk: Chunk, rendered: Later) -> list[TokenizedPair]:
    kept: list[TokenizedPair] = []
    for (number, pair), result in zip(chunk, rendered(), strict=True):
        row = _row(intake.title, number, pair, result)
        code, detail = _fault(row) if row else (result.reason, result.detail)
        if row is None or code:
            intake.reject(number, pair.id, code, detail)
        else:
            kept.append(row)
    return kept


def _row(file: str, number: int, pair: PreferencePair, rendered: RenderedPair) -> TokenizedPair | None:
    if rendered.chosen_ids is None or rendered.rejected_ids is None:
        return None
    return TokenizedPair(pair, rendered.chosen_ids, rendered.rejected_ids, file, number, pair_keys(pair), rendered.cut)


def _fault(row: TokenizedPair) -> tuple[str, str]:
    """The first check of its tokens that a row fails: code and detail, empty where it fails none."""
    for check in CHECKS.values():
        detail = check.tokens(row) if check.tokens else ""
        if detail:
            return check.code, detail
    return "", ""
