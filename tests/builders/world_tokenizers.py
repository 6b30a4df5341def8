"""Small tokenizers of the families that people use, and how each writes a conversation.

What is theirs: names and order of the special tokens, which of them are EOS, BOS and pad, whether plain text gets a
BOS, whether blanks become "▁", and the structure of the chat template. The templates are written for these tests; names
of models, dates and instructions that the published ones write are left out or replaced. Known from the models' files:

Llama 3.1     BOS before plain text and in the template: twice, where a rendered text is encoded as plain text. No pad
Qwen 2.5      no BOS; `<|endoftext|>` pads; a system turn of its own where there is none
Qwen 3        the last answer always has a block of thoughts, empty or not; earlier thoughts are left out
Gemma 2       refuses a system turn; EOS is `<eos>`, which the template never writes
Gemma 3       puts the system turn into the first question
Mistral 0.3   sentencepiece: each piece between special tokens begins with a blank; the system turn goes into the last
              question; no generation prompt; no pad
Tekken        byte-level, `[SYSTEM_PROMPT]`, a `<pad>` in the vocabulary that nothing names
Phi 4         `<|im_sep|>` ends a header, no line breaks; BOS is `<|endoftext|>` and never written
OLMo 2        one token is BOS and EOS; roles are plain words
DeepSeek V3   pads with EOS; BOS before plain text and in the template; the tokens of roles are not special
GPT-OSS       Harmony: channels, today's date, an answer ends with `<|return|>` at the end and `<|end|>` before it
SmolLM2       ChatML with pad = EOS; a system turn of its own where there is none
ModernBERT    an encoder: no EOS but [SEP], no BOS but [CLS], no template
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors

_CHATML_TURNS = (
    "{%- for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_DEFAULT_SYSTEM = (
    "{%- if messages[0].role != 'system' %}{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}" + _CHATML_TURNS
)
_LLAMA = """{{- bos_token }}
{%- if messages[0].role == 'system' %}{% set said = messages[0].content | trim %}{% set messages = messages[1:] %}
{%- else %}{% set said = '' %}{% endif %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\nKnowledge: 2023\\n\\n' + said + '<|eot_id|>' }}
{%- for message in messages %}
{{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + message.content | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"""
_QWEN3 = """{%- set ns = namespace(asked=-1) %}
{%- for message in messages %}{% if message.role == 'user' %}{% set ns.asked = loop.index0 %}{% endif %}{% endfor %}
{%- for message in messages %}
{%- set thoughts = message.reasoning_content or '' %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.role == 'assistant' and loop.index0 > ns.asked and (loop.last or thoughts) %}
{{- '<think>\\n' + thoughts.strip('\\n') + '\\n</think>\\n\\n' }}
{%- endif %}
{{- message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""
_GEMMA_TURNS = """
{%- for message in messages %}
{%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('turns must alternate') }}{% endif %}
{{- '<start_of_turn>' + ('model' if message.role == 'assistant' else message.role) + '\\n' }}
{{- (said if loop.first else '') + message.content | trim + '<end_of_turn>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"""
_GEMMA2 = "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
_GEMMA2 += "{% set said = '' %}"
_GEMMA3 = """{{ bos_token }}{% set said = '' %}
{%- if messages[0].role == 'system' %}{% set said = messages[0].content + '\\n\\n' %}
{%- set messages = messages[1:] %}{% endif %}"""
_MISTRAL = """{{- bos_token }}
{%- if messages[0].role == 'system' %}{% set said = messages[0].content + '\\n\\n' %}{% set messages = messages[1:] %}
{%- else %}{% set said = '' %}{% endif %}
{%- for message in messages %}
{%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('turns must alternate') }}{% endif %}
{%- if message.role == 'user' %}
{%- set last = loop.index0 >= messages | length - 2 and 'user' not in messages[loop.index:] | map(attribute='role') %}
{{- '[INST] ' + (said if last else '') + message.content + '[/INST]' }}
{%- else %}{{ ' ' + message.content + eos_token }}{% endif %}
{%- endfor %}"""
_TEKKEN = """{{- bos_token }}
{%- for message in messages %}
{%- if message.role == 'system' %}{{ '[SYSTEM_PROMPT]' + message.content + '[/SYSTEM_PROMPT]' }}
{%- elif message.role == 'user' %}{{ '[INST]' + message.content + '[/INST]' }}
{%- else %}{{ message.content + eos_token }}{% endif %}
{%- endfor %}"""
_PHI4 = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '<|im_sep|>' + message.content + '<|im_end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}"
)
_OLMO2 = """{{- bos_token }}
{%- for message in messages %}
{{- '<|' + message.role + '|>\\n' + message.content }}
{%- if message.role == 'assistant' %}{{ eos_token }}{% endif %}{% if not loop.last %}{{ '\\n' }}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '\\n<|assistant|>\\n' }}{% endif %}"""
_DEEPSEEK = """{{- bos_token }}
{%- for message in messages %}{% if message.role == 'system' %}{{ message.content }}{% endif %}{% endfor %}
{%- for message in messages %}
{%- if message.role == 'user' %}{{ '<｜User｜>' + message.content }}
{%- elif message.role == 'assistant' %}
{{- '<｜Assistant｜>' + message.content.split('</think>')[-1] + '<｜end▁of▁sentence｜>' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<｜Assistant｜>' }}{% endif %}"""
_HARMONY = """{{- '<|start|>system<|message|>Date: ' + strftime_now('%Y-%m-%d') + '<|end|>' }}
{%- if messages[0].role == 'system' %}
{{- '<|start|>developer<|message|>' + messages[0].content + '<|end|>' }}{% set messages = messages[1:] %}
{%- endif %}
{%- for message in messages %}
{%- if message.role == 'user' %}{{ '<|start|>user<|message|>' + message.content + '<|end|>' }}
{%- else %}
{%- if '<|channel|>' in message.content %}{{ raise_exception('channels belong into thinking') }}{% endif %}
{%- if message.thinking and loop.last %}
{{- '<|start|>assistant<|channel|>analysis<|message|>' + message.thinking + '<|end|>' }}
{%- endif %}
{{- '<|start|>assistant<|channel|>final<|message|>' + message.content }}
{{- '<|return|>' if loop.last and not add_generation_prompt else '<|end|>' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}"""
_ENCODER = "{{ cls_token }}{% for message in messages %}{{ message.content + sep_token }}{% endfor %}"


@dataclass(frozen=True)
class Family:
    """A family of tokenizers.

    Attributes:
        tokens: its first tokens, in the order of their ids, which begin at 0.
        template: of conversations; None where it has none.
        named: what the tokenizer's configuration names: `eos_token` and the like.
        adds_bos: the token before plain text, "" for none; `adds_eos` the one after it.
        plain: those of `tokens` that are not special.
        blanks: how a sentencepiece model spells a piece, "prefixed" or "replaced"; "" for bytes.
    """

    tokens: tuple[str, ...]
    template: str | None
    named: dict[str, str]
    adds_bos: str = ""
    adds_eos: str = ""
    plain: tuple[str, ...] = ()
    blanks: str = ""

    def spelled(self, *pieces: str) -> list[int]:
        """The ids of a text by hand: a special token is its place, anything else its bytes after all of them."""
        ids: list[int] = []
        for piece in pieces:
            if piece in self.tokens:
                ids.append(self.tokens.index(piece))
                continue
            text = ("▁" if self.blanks == "prefixed" else "") + (piece.replace(" ", "▁") if self.blanks else piece)
            if not self.blanks:
                ids += [len(self.tokens) + byte for byte in text.encode()]
                continue
            ids += [len(self.tokens) + (256 if letter == "▁" else ord(letter)) for letter in text]  # ASCII only
        return ids

    def tokenizer(self, **changes: Any) -> Any:
        """As transformers loads it; `changes` are other names of special tokens."""
        core = self._letters() if self.blanks else self._bytes()
        core.add_special_tokens([token for token in self.tokens if token not in self.plain])
        core.add_tokens([AddedToken(token, special=False, normalized=False) for token in self.plain])
        if self.adds_bos:
            special = [(token, self.tokens.index(token)) for token in (self.adds_bos, self.adds_eos) if token]
            single = " ".join(filter(None, (self.adds_bos, "$A", self.adds_eos)))
            core.post_processor = processors.TemplateProcessing(single=single, pair=None, special_tokens=special)
        named = {**self.named, **changes}
        tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=core, **named)
        tokenizer.chat_template = self.template
        return tokenizer

    def _bytes(self) -> Any:
        order = _byte_letters()
        words = {token: place for place, token in enumerate((*self.tokens, *order))}
        core = tokenizers.Tokenizer(models.BPE(words, []))
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        core.decoder = decoders.ByteLevel()
        return core

    def _letters(self) -> Any:
        """A sentencepiece model without merges: bytes below 128 as they are, others by fallback, and "▁"."""
        letters = [chr(byte) if byte < 128 else f"<0x{byte:02X}>" for byte in range(256)]
        words = {token: place for place, token in enumerate((*self.tokens, *letters, "▁"))}
        core = tokenizers.Tokenizer(models.BPE(words, [], byte_fallback=True, unk_token="<unk>", fuse_unk=True))
        replace = normalizers.Replace(" ", "▁")
        prefixed = self.blanks == "prefixed"
        core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), replace]) if prefixed else replace
        core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
        return core


def _byte_letters() -> list[str]:
    """The letters by which byte-level BPE writes bytes 0 to 255."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    moved = [byte for byte in range(256) if byte not in kept]
    return [chr(byte) if byte in kept else chr(256 + moved.index(byte)) for byte in range(256)]


_QWEN = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")
_IM_END = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
_MISTRAL_NAMED = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
_GEMMA_NAMED = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
_GEMMA_TOKENS = ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>")

FAMILIES = {
    "llama 3.1": Family(
        (
            *("<|begin_of_text|>", "<|end_of_text|>", "<|finetune_right_pad_id|>", "<|start_header_id|>"),
            *("<|end_header_id|>", "<|eom_id|>", "<|eot_id|>", "<|python_tag|>"),
        ),
        _LLAMA,
        {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"},
        adds_bos="<|begin_of_text|>",
    ),
    "qwen 2.5": Family(_QWEN[:3], _DEFAULT_SYSTEM, _IM_END),
    "qwen 3": Family(_QWEN, _QWEN3, _IM_END, plain=("<think>", "</think>")),
    "gemma 2": Family(_GEMMA_TOKENS, _GEMMA2 + _GEMMA_TURNS, _GEMMA_NAMED, adds_bos="<bos>", blanks="replaced"),
    "gemma 3": Family(_GEMMA_TOKENS, _GEMMA3 + _GEMMA_TURNS, _GEMMA_NAMED, adds_bos="<bos>", blanks="replaced"),
    "mistral 0.3": Family(
        ("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[control_768]"),
        _MISTRAL,
        _MISTRAL_NAMED,
        adds_bos="<s>",
        blanks="prefixed",
    ),
    "tekken": Family(
        ("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "<pad>", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
        _TEKKEN,
        _MISTRAL_NAMED,
        adds_bos="<s>",
    ),
    "phi 4": Family(
        ("<|endoftext|>", "<|fim_prefix|>", "<|im_start|>", "<|im_end|>", "<|im_sep|>", "<|dummy_85|>"),
        _PHI4,
        {"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>", "pad_token": "<|dummy_85|>"},
    ),
    "olmo 2": Family(
        ("<|endoftext|>", "<|fim_prefix|>", "<|pad|>"),
        _OLMO2,
        {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|pad|>"},
    ),
    "deepseek v3": Family(
        ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>", "<｜User｜>", "<｜Assistant｜>"),
        _DEEPSEEK,
        {
            "bos_token": "<｜begin▁of▁sentence｜>",
            "eos_token": "<｜end▁of▁sentence｜>",
            "pad_token": "<｜end▁of▁sentence｜>",
        },
        adds_bos="<｜begin▁of▁sentence｜>",
        plain=("<｜User｜>", "<｜Assistant｜>"),
    ),
    "gpt-oss": Family(
        (
            *("<|startoftext|>", "<|endoftext|>", "<|return|>", "<|constrain|>", "<|channel|>", "<|start|>", "<|end|>"),
            *("<|message|>", "<|call|>"),
        ),
        _HARMONY,
        {"bos_token": "<|startoftext|>", "eos_token": "<|return|>", "pad_token": "<|endoftext|>"},
    ),
    "smollm2": Family(
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        _DEFAULT_SYSTEM,
        {
            "bos_token": "<|im_start|>",
            "eos_token": "<|im_end|>",
            "pad_token": "<|im_end|>",
            "unk_token": "<|endoftext|>",
        },
    ),
    "modernbert": Family(
        ("[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"),
        None,
        {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]"}
        | {"mask_token": "[MASK]"},
        adds_bos="[CLS]",
        adds_eos="[SEP]",
    ),
}
ENCODER_TEMPLATE = _ENCODER
"""A template that a user may write for ModernBERT."""


def world_base(folder: Path, name: str, *, width: int = 32) -> Path:
    """A tiny random base with the tokenizer of a family, saved as a hub checkpoint is."""
    family = FAMILIES[name]
    tokenizer = family.tokenizer()
    sizes: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 1024,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    torch.manual_seed(3)
    if name == "modernbert":
        more = {"cls_token_id": tokenizer.cls_token_id, "sep_token_id": tokenizer.sep_token_id}
        model: Any = transformers.ModernBertForMaskedLM(transformers.ModernBertConfig(**sizes, **more))
    else:
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, num_key_value_heads=2))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
