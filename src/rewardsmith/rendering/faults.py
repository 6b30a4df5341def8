"""What can be wrong with one rendered text, as codes with their meaning. Pure functions.

find_fault(ids, tokens)             → "" or a key of REASONS
loses_response(text, conversation)  → whether the template dropped the response
"""

from __future__ import annotations

from rewardsmith.rendering.length import Ids
from rewardsmith.rendering.special_tokens import SpecialTokens
from rewardsmith.types import Conversation

REASONS = {
    "over_length": "the text is longer than the limit",
    "template_refused": "the chat template refuses the conversation",
    "response_lost": "the template does not write the whole response",
    "not_unicode": "the text is not valid Unicode",
    "eos_missing": "the last token is not EOS",
    "eos_doubled": "the text ends with EOS twice",
    "bos_doubled": "the text begins with BOS twice",
    "pad_in_text": "the pad token stands inside the text",
}


def find_fault(ids_T: Ids, tokens: SpecialTokens) -> str:
    """The first fault in the special tokens of one text; empty when there is none."""
    if len(ids_T) == 0 or (tokens.closes and ids_T[-1] != tokens.eos_id):
        return "eos_missing"
    if tokens.closes and len(ids_T) > 1 and ids_T[-2] == tokens.eos_id:
        return "eos_doubled"
    if tokens.bos_id is not None and len(ids_T) > 1 and ids_T[0] == ids_T[1] == tokens.bos_id:
        return "bos_doubled"
    if (ids_T == tokens.pad_id).any():
        return "pad_in_text"
    return ""


def loses_response(text: str, conversation: Conversation) -> bool:
    """Whether the last message's words are missing from the rendered text; templates may fold whitespace."""
    response = conversation[-1].content.strip()
    return response not in text and "".join(response.split()) not in "".join(text.split())
