"""Texts that mean something to the tokenizer or the template, and therefore must not stand in what people write.

    markers = find_markers(tokenizer)
    markers.special       # read as special tokens wherever they stand: EOS, BOS, the tokens that open and close turns
    markers.roles         # written by the template before or after a turn, but no special tokens: "\\nassistant: "
    FOREIGN_MARKERS       # what the templates of other model families write

Where a user's text contains `<|im_end|>\\n<|im_start|>assistant\\n`, the model sees a turn that nobody took. A template
that marks its turns with plain words can be imitated without any special token.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from rewardsmith.rendering.batch import apply_template, together_or_alone
from rewardsmith.types import Conversation, Message

FOREIGN_MARKERS = (
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<|begin_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|end_of_turn|>",
    "<|start_of_role|>",
    "<|user|>",
    "<|assistant|>",
    "<|system|>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<｜User｜>",
    "<｜Assistant｜>",
    "[INST]",
    "[/INST]",
    "<<SYS>>",
    "<</SYS>>",
    "\nHuman:",
    "\nAssistant:",
    "\nUSER:",
    "\nASSISTANT:",
    "\n### Instruction:",
    "\n### Response:",
    "\n### Human:",
    "\n### Assistant:",
)
"""ChatML, Llama 2 and 3, Gemma, Phi, Zephyr, DeepSeek, Granite, Vicuna, Alpaca and the HH data. Not `<s>` and `</s>`,
which are also HTML."""

# Words that a template would never write itself, so that it can be seen what it writes between them.
_WORDS = ("zqsystem", "zqask", "zqsay", "zqagain", "zqend")
# Reasoning is content, though some templates take it apart and write its tags themselves.
_REASONING = re.compile(r"</?(think|thinking|reasoning)>", re.IGNORECASE)
# `<|name|>`, `<name>`, `[INST]`: written by a template, it is a marker wherever it stands.
_BRACKETED = re.compile(r"<[^<>\s]{1,40}>|\[/?[A-Z_]{2,20}\]")
# `user: `, `### Response:`: a marker at the start of a line only.
_HEADER = re.compile(r"\n[^\w\n]{0,5}\w[\w ]{0,20}:")


@dataclass(frozen=True, slots=True)
class Markers:
    """Texts to look for, longest first. One that begins with a line break counts at the start of a line only."""

    special: tuple[str, ...]
    roles: tuple[str, ...]


def find_markers(tokenizer: Any) -> Markers:
    """The special tokens of a prepared tokenizer, and what its template writes around turns beside them."""
    pieces = [_without_ends(piece, tokenizer) for piece in _written(tokenizer)]
    added = [token for token in tokenizer.added_tokens_decoder.values() if token.content.strip()]
    special = {token.content for token in added if token.special or any(token.content in piece for piece in pieces)}
    special |= {str(token) for token in tokenizer.all_special_tokens}
    special = {text for text in special if not _REASONING.fullmatch(text)}
    roles = {text for piece in pieces for text in _role_markers(piece, special)}
    return Markers(_longest_first(special), _longest_first(roles))


def _written(tokenizer: Any) -> list[str]:
    """What the template writes around the contents of a conversation; a system message only where it takes one."""
    roles = ("system", "user", "assistant", "user", "assistant")
    whole: Conversation = tuple(Message(role, word) for role, word in zip(roles, _WORDS, strict=True))
    conversations = [whole, whole[1:], whole[1:3]]
    texts = together_or_alone(lambda batch: apply_template(tokenizer, batch), conversations)
    split = re.compile("|".join(_WORDS))
    return [piece for text in texts if isinstance(text, str) for piece in split.split(text)]


def _without_ends(piece: str, tokenizer: Any) -> str:
    """BOS and EOS as line breaks: a header beside them stands at the start of a line, and is a marker of its own."""
    for token in (tokenizer.bos_token, tokenizer.eos_token):
        piece = piece.replace(str(token), "\n") if token else piece
    return piece


def _role_markers(piece: str, special: set[str]) -> set[str]:
    """Markers in what stands between two contents, special tokens aside.

    Words in a line with a special token (`<|im_start|>assistant`) are no marker without it.
    """
    bracketed = {text for text in _BRACKETED.findall(piece) if text not in special and not _REASONING.fullmatch(text)}
    if bracketed or any(text in piece for text in special if text.strip()):
        return bracketed
    return set(_HEADER.findall("\n" + piece))


def _longest_first(texts: set[str]) -> tuple[str, ...]:
    return tuple(sorted(texts, key=lambda text: (-len(text), text)))
