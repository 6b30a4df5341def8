"""EOS, and a pad token that is neither EOS nor BOS; and tokens that must not stand in what people write.

    tokens = prepare_special_tokens(tokenizer)  # changes the tokenizer in place
    markers = find_markers(tokenizer)
    markers.special       # control tokens: EOS, BOS, the tokens that open and close turns
    markers.roles         # written by the template before or after a turn, but no special tokens: "\\nassistant: "
    FOREIGN_MARKERS       # what the templates of other model families write
    control = ControlTokens(tokenizer)
    control.fault(conversation, text, ids)      # "<|im_end|> in message 2 (assistant)", or ""
    control.as_text(conversation)               # the same conversation with such tokens encoded as plain text

Pad and EOS must differ: transformers reads a reward at the rightmost token whose id is not the pad id, so with
pad = EOS it reads one token early. A reserved token that the vocabulary has and no text uses is taken first; only where
there is none a new one is added, and then the model's embedding may have to grow.

Where a user's text contains the tokens that close a turn and open another, the model sees a turn that nobody took. A
template that marks its turns with plain words can be imitated without any special token.
"""

from __future__ import annotations

import copy
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rewardsmith.errors import RenderingError
from rewardsmith.rendering.encoding import Ids, encode
from rewardsmith.rendering.sandbox import apply_template, template_texts
from rewardsmith.types import TOOLS, Conversation, Message

NEW_PAD = "<|pad|>"

# Tokens that their makers reserved for padding or for nothing, best first. `<|endoftext|>` pads where another token is
# EOS (Qwen's chat models); DeepSeek names EOS as pad beside a token for it, Mistral 0.3 names none, Phi-4 was published
# with its BOS as pad at first.
_RESERVED = (
    "<|finetune_right_pad_id|>",
    "<｜▁pad▁｜>",
    "<pad>",
    "[PAD]",
    NEW_PAD,
    "<|endoftext|>",
    "<|vision_pad|>",
    "<|fim_pad|>",
    "<|dummy_85|>",
    "<|reserved_special_token_0|>",
    "[control_768]",
    "<unused0>",
)


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """Texts and ids after preparation.

    `adds_bos`: the tokenizer puts BOS before plain text on its own. `shipped_pad`: the pad token before preparation,
    None where there was none. `closes`: every text ends with EOS, exactly once; false for a model trained elsewhere
    whose template does not end so.
    """

    eos: str
    eos_id: int
    bos: str | None
    bos_id: int | None
    adds_bos: bool
    pad: str
    pad_id: int
    added_pad: bool
    shipped_pad: str | None
    closes: bool = True

    def named_by(self, reason: str) -> str:
        """The token that a fault of `REASONS` is about; "" where it is about none."""
        return {"eos_doubled": self.eos, "bos_doubled": self.bos or "", "pad_in_text": self.pad}.get(reason, "")


def prepare_special_tokens(tokenizer: Any) -> SpecialTokens:
    """Settle EOS, BOS and pad, in place; an encoder's [SEP] and [CLS] serve as EOS and BOS.

    Raises:
        RenderingError: the tokenizer has neither EOS nor SEP.
    """
    if tokenizer.eos_token is None:
        if tokenizer.sep_token is None:
            raise RenderingError(
                "the tokenizer has no EOS token, and the reward is read at EOS",
                where=tokenizer_name(tokenizer),
                fix="choose a base whose tokenizer_config.json names an eos_token",
            )
        tokenizer.eos_token = tokenizer.sep_token
    if tokenizer.bos_token is None and tokenizer.cls_token is not None:
        tokenizer.bos_token = tokenizer.cls_token
    shipped_pad = tokenizer.pad_token
    added = _settle_pad(tokenizer)
    return SpecialTokens(
        eos=str(tokenizer.eos_token),
        eos_id=int(tokenizer.eos_token_id),
        bos=tokenizer.bos_token,
        bos_id=tokenizer.bos_token_id,
        adds_bos=_adds_bos(tokenizer),
        pad=str(tokenizer.pad_token),
        pad_id=int(tokenizer.pad_token_id),
        added_pad=added,
        shipped_pad=None if shipped_pad is None else str(shipped_pad),
    )


def _settle_pad(tokenizer: Any) -> bool:
    """Set a pad token unlike EOS; True when the vocabulary had to grow for it."""
    in_texts = {tokenizer.eos_token_id, tokenizer.bos_token_id}
    if tokenizer.pad_token is not None and tokenizer.pad_token_id not in in_texts:
        return False
    reserved = {str(token): index for index, token in tokenizer.added_tokens_decoder.items()}
    for name in _RESERVED:
        if name in reserved and reserved[name] not in in_texts | {tokenizer.unk_token_id}:
            tokenizer.pad_token = name
            return False
    tokenizer.add_special_tokens({"pad_token": NEW_PAD})
    return True


def _adds_bos(tokenizer: Any) -> bool:
    ids = tokenizer("a")["input_ids"]
    return tokenizer.bos_token_id is not None and len(ids) > 1 and ids[0] == tokenizer.bos_token_id


def tokenizer_name(tokenizer: Any) -> str:
    """How messages call a tokenizer."""
    return f"tokenizer {tokenizer.name_or_path or type(tokenizer).__name__}"


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
# Names of tokens that mark content, without brackets and without what says "here it begins" or "here it ends".
_CONTENT = re.compile(
    r"think(ing)?|thoughts?|reasoning|reflection|scratchpad|answer|solution|python_tag|action|citation|code"
    r"|tools|available_tools|tool_?(calls?|use|sep)|tool_?(response|result|output)s?"
    r"|functions|function_?(calls?|response|results?|output)"
)
_ENDS_OF_CONTENT = re.compile(r"^(start|begin|end)_(of_)?|_(start|begin|end)$")
_NAMED = ("bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token")
# Stands in for a content: no template treats it in its own way, and it makes no added token with what is beside it.
_PLACEHOLDER = "zq"
_REMEMBERED = 4096
# Private characters around a token that is to be encoded as text. One that a text itself holds is dropped there.
_OPEN, _CLOSE = "\uee00", "\uee01"
# `<|name|>`, `<name>`, `[INST]`: written by a template, it is a marker wherever it stands.
_BRACKETED = re.compile(r"<[^<>\s]{1,40}>|\[/?[A-Z_]{2,20}\]")
# `user: `, `### Response:`: a marker at the start of a line only.
_HEADER = re.compile(r"\n[^\w\n]{0,5}\w[\w ]{0,20}:")
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Markers:
    """Texts to look for, longest first. One that begins with a line break counts at the start of a line only."""

    special: tuple[str, ...]
    roles: tuple[str, ...]


def find_markers(tokenizer: Any) -> Markers:
    """The control tokens of a prepared tokenizer, and what its template writes around turns beside them.

    Control tokens are the added tokens that open or close turns and texts:

    - BOS, EOS, pad, unk, sep, cls and mask of the tokenizer;
    - what the template writes around the contents of a conversation, special or not (`<|im_start|>`, header ids);
    - every other added token with `special: true` (reserved tokens, fill-in-the-middle, images),
      unless its name says that it marks content: reasoning, tool calls and their results (`_CONTENT`).

    `<think>`, `<tool_call>`, `<tool_response>` and their like are what a response may be made of; they pass.
    transformers draws the line in the same place (`apply_chat_template(sanitize_control_tokens=True)`, since 5.23), but
    for content marked as special.
    """
    pieces = [_without_ends(piece, tokenizer) for piece in _written(tokenizer)]
    added = [token for token in tokenizer.added_tokens_decoder.values() if token.content.strip()]
    special = {token.content for token in added if token.special and not _marks_content(token.content)}
    special |= {token.content for token in added if any(token.content in piece for piece in pieces)}
    special = {text for text in special if not _REASONING.fullmatch(text)}
    special |= {str(text) for name in _NAMED if (text := getattr(tokenizer, name, None))}
    roles = {text for piece in pieces for text in _role_markers(piece, special)}
    return Markers(_longest_first(special), _longest_first(roles))


def _marks_content(token: str) -> bool:
    """Whether a token's name says that it marks content (`<|tool_call|>`, `[THINK]`, `</tool_response>`)."""
    if not re.fullmatch(r"<.*>|\[.*\]", token):
        return False
    name = re.sub(r"[\u2581 -]", "_", token.strip("<>[]|/\uff5c").lower())
    return bool(_CONTENT.fullmatch(_ENDS_OF_CONTENT.sub("", name)))


class ControlTokens:
    """Looks for control tokens of a prepared tokenizer (with its template) in what people wrote.

    What counts is ids, not spelling. A conversation is sound where its control ids are exactly those that the template
    writes for these roles around other contents. So a token that a normalizer makes of another spelling is seen, one
    that arises where content and template meet is seen, and a spelling that this tokenizer takes apart passes.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._texts = find_markers(tokenizer).special
        ids = {text: tokenizer.convert_tokens_to_ids(text) for text in self._texts}
        self._name_of = {int(token): text for text, token in ids.items() if token is not None}
        # An unknown token also stands for what the vocabulary lacks: only its spelling says that somebody wrote it.
        unknown = tokenizer.unk_token_id
        named = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
        self._unknown = int(unknown) if unknown in self._name_of and unknown not in named else None
        self._is_control = np.zeros(max(self._name_of, default=0) + 2, dtype=bool)
        self._is_control[[token for token in self._name_of if token != self._unknown]] = True
        longest = sorted(self._texts, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest)) or "(?!)")
        self._ends = [str(token) for token in (tokenizer.bos_token, tokenizer.eos_token) if token]
        self._wanted: dict[tuple[str, ...], Ids | None] = {}
        self._plain: Any = None

    def fault(self, conversation: Conversation, text: str, ids_T: Ids) -> str:
        """Which control token stands in which message, "" where the template wrote all of them.

        Messages of the role `text` are rendered already: their control tokens are meant.

        Args:
            conversation: what was rendered.
            text: as the template wrote it.
            ids_T: its tokens, before anything is cut.
        """
        if conversation[0].role == "text":
            return ""
        unknown = self._unknown is not None and bool((ids_T == self._unknown).any())
        if unknown and (said := self._in_messages(conversation)):
            return said
        if not all(message.is_plain and message.role != TOOLS for message in conversation):
            # What a template writes of calls and tools depends on them: here the strings themselves are looked at.
            return self._in_messages(conversation)
        # A template closes (or begins) a text only where its content did not: a content's own EOS would pass for it.
        if any(token in message.content for message in conversation for token in self._ends):
            said = self._in_messages(conversation)
            if said:
                return said
        if self.is_the_template_s(conversation, ids_T):
            return ""
        return self._in_messages(conversation) or self._at_seams(conversation, text, ids_T)

    def is_the_template_s(self, conversation: Conversation, ids_T: Ids) -> bool:
        """Whether the control tokens are those that the template writes for messages of these roles."""
        wanted = self._wanted_of(tuple(message.role for message in conversation))
        return wanted is not None and np.array_equal(self._control(ids_T), wanted)

    def as_text(self, conversation: Conversation, *, add_generation_prompt: bool = False) -> tuple[str, Ids]:
        """Text and ids with the messages' control tokens as plain text; raises what template and tokenizer raise.

        As `encode_marked_chat` of transformers 5.24: the text is parted at such tokens, each part is encoded alone.
        """
        marked = tuple(replace(message, content=self._marked(message.content)) for message in conversation)
        (written,) = apply_template(self._tokenizer, [marked], add_generation_prompt=add_generation_prompt)
        pieces = re.split(f"{_OPEN}(.*?){_CLOSE}|[{_OPEN}{_CLOSE}]", written, flags=re.DOTALL)
        if self._plain is None:
            self._plain = copy.deepcopy(self._tokenizer)
            self._plain.split_special_tokens = True
        parts = [
            self._behind(self._plain if place % 2 else self._tokenizer, piece, first=place == 0)
            for place, piece in enumerate(pieces)
            if piece
        ]
        return "".join(piece or "" for piece in pieces), np.concatenate(parts)

    def _marked(self, content: str) -> str:
        return self._pattern.sub(f"{_OPEN}\\g<0>{_CLOSE}", content.replace(_OPEN, "").replace(_CLOSE, ""))

    def _behind(self, tokenizer: Any, piece: str, *, first: bool) -> Ids:
        """Ids of what stands behind something: SentencePiece puts a space before the beginning of a text only."""
        if first:
            return encode(tokenizer, [piece])[0]
        line, both = encode(tokenizer, ["\n", f"\n{piece}"])
        return both[len(line) :] if np.array_equal(both[: len(line)], line) else encode(tokenizer, [piece])[0]

    def _control(self, ids_T: Ids) -> Ids:
        """The control ids among others, in order."""
        return ids_T[self._is_control[np.minimum(ids_T, len(self._is_control) - 1)]]

    def _wanted_of(self, roles: tuple[str, ...]) -> Ids | None:
        """Control ids that the template writes for messages of these roles; None where it refuses to say."""
        if roles not in self._wanted:
            neutral = tuple(Message(role, "[]" if role == TOOLS else _PLACEHOLDER) for role in roles)
            (text,) = template_texts(self._tokenizer, [neutral])
            found = None if isinstance(text, Exception) else self._control(encode(self._tokenizer, [text])[0])
            if any(self._pattern.search(role) for role in roles):
                found = None
            if len(self._wanted) >= _REMEMBERED:
                self._wanted.clear()
            self._wanted[roles] = found
        return self._wanted[roles]

    def tokens_in(self, contents: Sequence[str]) -> list[list[str]]:
        """The control tokens that texts by themselves hold, each once."""
        found = []
        for content, ids_T in zip(contents, encode(self._tokenizer, contents), strict=True):
            names = [self._name_of[token] for token in self._control(ids_T).tolist()]
            if self._unknown is not None and self._name_of[self._unknown] in content:
                names.append(self._name_of[self._unknown])
            found.append(list(dict.fromkeys(names)))
        return found

    def _in_messages(self, conversation: Conversation) -> str:
        """Control tokens of messages by themselves."""
        messages = list(enumerate(conversation, start=0 if conversation[0].role == TOOLS else 1))
        said = [
            f"{name} in the role of message {place}"
            for place, one in messages
            for name in self._pattern.findall(one.role)
        ]
        for (place, one), names in zip(messages, self.tokens_in([_strings(one) for _, one in messages]), strict=True):
            where = f"message {place} ({one.role})" if one.role != TOOLS else "the tools"
            said += [f"{name} in {where}" for name in names]
        return ", ".join(said[:_SHOWN]) + (f" and {len(said) - _SHOWN} more" if len(said) > _SHOWN else "")

    def _at_seams(self, conversation: Conversation, text: str, ids_T: Ids) -> str:
        """Control tokens made of a content together with what stands beside it.

        Templates write other tokens for other contents (an empty message, a system prompt of their own); so where
        every content is found in the text, places decide, and numbers only where one is not.
        """
        spans = _spans(conversation, text)
        if spans is not None and self._tokenizer.is_fast:
            encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
            found = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
            control = [(token, span) for token, span in found if token in self._name_of and token != self._unknown]
            for token, span in control:
                for place, content in enumerate(spans, start=1):
                    if _holds(text, span, content):
                        where = f"message {place} ({conversation[place - 1].role})"
                        return f"{self._name_of[token]}, made with what the template writes beside {where}"
            return ""
        wanted = self._wanted_of(tuple(message.role for message in conversation))
        if wanted is None:
            return ""
        extra = Counter(self._control(ids_T).tolist()) - Counter(wanted.tolist())
        return f"{self._name_of[next(iter(extra))]}, more often than the template writes it" if extra else ""


def _spans(conversation: Conversation, text: str) -> list[tuple[int, int]] | None:
    """Where the contents stand in a rendered text, outer whitespace aside; None where one is not found in its turn."""
    found, start = [], 0
    for message in conversation:
        content = message.content.strip()
        place = text.find(content, start)
        if place < 0:
            return None
        start = place + len(content)
        found.append((place, start))
    return found


def _strings(message: Message) -> str:
    """All that a person or a model wrote in a message: content, reasoning, calls and names, JSON's escapes resolved."""
    if message.is_plain and message.role != TOOLS:
        return message.content
    content = _unescaped(message.content) if message.role == TOOLS else message.content
    calls = _unescaped(message.tool_calls) if message.tool_calls else ""
    return "\n".join((message.reasoning_content, content, calls, message.name, message.tool_call_id))


def _unescaped(text: str) -> str:
    """JSON text with its strings as they are."""
    found, waiting = [], [json.loads(text)]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            waiting += [*value, *value.values()]
    return "\n".join(found)


def _holds(text: str, token: tuple[int, int], content: tuple[int, int]) -> bool:
    """Whether a token takes visible characters of a content; a token with `lstrip` may take whitespace from it."""
    return bool(text[max(token[0], content[0]) : min(token[1], content[1])].strip())


def _written(tokenizer: Any) -> list[str]:
    """What the template writes around the contents of a conversation; a system message only where it takes one."""
    roles = ("system", "user", "assistant", "user", "assistant")
    whole: Conversation = tuple(Message(role, word) for role, word in zip(roles, _WORDS, strict=True))
    conversations = [whole, whole[1:], whole[1:3]]
    texts = template_texts(tokenizer, conversations)
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
