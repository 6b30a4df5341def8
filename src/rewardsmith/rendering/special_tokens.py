"""Gives a tokenizer the special tokens that a reward model needs: EOS, and a pad token that is neither EOS nor BOS.

    tokens = prepare_special_tokens(tokenizer)      # changes the tokenizer in place

Pad and EOS must differ: transformers reads a reward at the rightmost token whose id is not the pad id, so with
pad = EOS it reads one token early. A reserved token that the vocabulary has and no text uses is taken first; only where
there is none a new one is added, and then the model's embedding may have to grow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rewardsmith.errors import RenderingError

NEW_PAD = "<|pad|>"

# Tokens that their makers reserved for padding or for nothing, best first. `<|endoftext|>` pads where another token is
# EOS (Qwen's chat models).
_RESERVED = (
    "<|finetune_right_pad_id|>",
    "<pad>",
    "[PAD]",
    NEW_PAD,
    "<|endoftext|>",
    "<|vision_pad|>",
    "<|fim_pad|>",
    "<|reserved_special_token_0|>",
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
