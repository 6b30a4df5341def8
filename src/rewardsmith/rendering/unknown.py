"""What a tokenizer does with characters that its vocabulary lacks, tried out on rare scripts.

    unknown = find_unknown(tokenizer)
    unknown.kind       # "unk", "byte_fallback" or "bytes"
    unknown.ids        # the ids that stand for what it does not know
    unknown_parts(tokenizer, unknown, text)     # what these ids stand for in a text

`unk`: one token stands for whatever is unknown, and the text is lost. `byte_fallback`: such a character becomes one
token for each of its bytes; nothing is lost, at a price of three or four tokens. `bytes`: every text is made of bytes
to begin with, and nothing is unknown. A tokenizer may name an unknown token that it never writes (GPT-2 names its EOS).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from rewardsmith.rendering.encoding import encode

Kind = Literal["unk", "byte_fallback", "bytes"]

# Cuneiform, hieroglyphs, Linear B, Gothic, Osmanya: letters, so that no normalizer drops them.
_RARE = ("𒀀", "𓂀", "𐀀", "𐌰", "𐒀")
# Bytes below 0x80 stand for line breaks and the like, which are not unknown.
_BYTE = re.compile(r"<0x[89A-F][0-9A-F]>")


@dataclass(frozen=True, slots=True)
class Unknown:
    """`token` names the unknown token where `kind` is "unk", else ""."""

    kind: Kind
    ids: tuple[int, ...]
    token: str = ""


def find_unknown(tokenizer: Any) -> Unknown:
    """How a tokenizer treats what it does not know."""
    seen = {int(token) for ids_T in encode(tokenizer, _RARE) for token in ids_T}
    unk = tokenizer.unk_token_id
    if unk is not None and unk in seen:
        return Unknown("unk", (int(unk),), str(tokenizer.unk_token))
    names = tokenizer.convert_ids_to_tokens(sorted(seen))
    if not any(_BYTE.fullmatch(name) for name in names):
        return Unknown("bytes", ())
    every = tokenizer.convert_tokens_to_ids([f"<0x{byte:02X}>" for byte in range(0x80, 0x100)])
    return Unknown(
        "byte_fallback", tuple(sorted({int(token) for token in every if token is not None and token != unk}))
    )


def unknown_parts(tokenizer: Any, unknown: Unknown, text: str) -> list[str]:
    """What stands in a text where the tokenizer writes an unknown token; empty where it keeps no offsets."""
    if not tokenizer.is_fast:
        return []
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    spans = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    return [text[start:end] for token, (start, end) in spans if token in unknown.ids]
