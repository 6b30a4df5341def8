"""The only place where text becomes tokens. transformers is loaded when a tokenizer is, not before.

messages.py        what files and requests hold → messages, with calls, tools and reasoning
tokenizer.py       a tokenizer from the hub or a folder, or why it cannot be used
renderer.py        a tokenizer → Renderer: conversations → ids, or the reason for none
ahead.py           pairs rendered by other processes while this one works on
encoding.py        rendered texts → ids, what they share only once
template.py        a chat template → one whose full conversations end with EOS; what it writes → ids, or a fault
special_tokens.py  EOS, BOS, and a pad token that is neither; tokens that must not stand in what people write
sandbox.py         chat templates in a process of their own, under limits
upstream.py        the same conversations as RewardBench's own script renders them
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rewardsmith import lazy_names

if TYPE_CHECKING:
    from rewardsmith.rendering.ahead import RenderAhead
    from rewardsmith.rendering.encoding import Ids
    from rewardsmith.rendering.renderer import (
        OverLength,
        RenderedPair,
        Renderer,
        length_said,
        load_renderer,
    )
    from rewardsmith.rendering.special_tokens import FOREIGN_MARKERS, Markers
    from rewardsmith.rendering.template import REASONS, DateUse, Rendered
    from rewardsmith.rendering.tokenizer import Unknown, load_tokenizer
    from rewardsmith.rendering.upstream import UpstreamRenderer

__all__ = [
    "FOREIGN_MARKERS",
    "REASONS",
    "DateUse",
    "Ids",
    "Markers",
    "OverLength",
    "RenderAhead",
    "Rendered",
    "RenderedPair",
    "Renderer",
    "Unknown",
    "UpstreamRenderer",
    "length_said",
    "load_renderer",
    "load_tokenizer",
]

_HOMES = {
    "DateUse": "template",
    "FOREIGN_MARKERS": "special_tokens",
    "Ids": "encoding",
    "Markers": "special_tokens",
    "OverLength": "renderer",
    "REASONS": "template",
    "RenderAhead": "ahead",
    "Rendered": "template",
    "RenderedPair": "renderer",
    "Renderer": "renderer",
    "Unknown": "tokenizer",
    "UpstreamRenderer": "upstream",
    "length_said": "renderer",
    "load_renderer": "renderer",
    "load_tokenizer": "tokenizer",
}

if not TYPE_CHECKING:
    __getattr__ = lazy_names(__name__, _HOMES)
