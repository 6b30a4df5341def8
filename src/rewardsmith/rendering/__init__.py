"""The only place where text becomes tokens. transformers is loaded when a tokenizer is, not before.

loading.py         a tokenizer from the hub or a folder → Renderer
messages.py        what files and requests hold → messages, with calls, tools and reasoning
renderer.py        conversations → token ids, or the reason why there are none
ahead.py           pairs rendered by other processes while this one works on
preparation.py     a tokenizer as it ships → the tokenizer of a reward model
batch.py           template and tokenizer over a batch
encoding.py        rendered texts → ids, what they share only once; words.py does so for words
template.py        a chat template → one whose full conversations end with EOS
special_tokens.py  EOS, BOS, and a pad token that is neither
faults.py          what can be wrong with one rendered text
length.py          what is cut from a text that is too long
markers.py         texts that tokenizer or template would not take for content; control tokens in messages
sandbox.py         chat templates in a process of their own, under limits
unknown.py         what a tokenizer does with characters that it lacks
dates.py           whether a template writes today's date
upstream.py        the same conversations as RewardBench's own script renders them
"""

from rewardsmith.rendering.ahead import RenderAhead
from rewardsmith.rendering.encoding import Ids, length_said
from rewardsmith.rendering.renderer import OverLength, RenderedPair, Renderer, Unknown, load_renderer, load_tokenizer
from rewardsmith.rendering.special_tokens import REASONS, Rendered
from rewardsmith.rendering.template import FOREIGN_MARKERS, DateUse, Markers
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
