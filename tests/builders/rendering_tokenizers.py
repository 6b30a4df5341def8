"""Small byte-level BPE tokenizers, trained in a moment, and the chat templates that the rendering tests put on them."""

from __future__ import annotations

from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

TEXTS = ["How many legs has a spider? A spider has eight legs.", "Name a river in France. The Loire is a river."] * 3

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + "
    "'\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
LLAMA3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + "
    "message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}"
    "{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}"
    "{% endif %}{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}"
)
PLAIN = """{%- for message in messages %}
{{ message.role.title() }}: {{ message.content }}
{% endfor %}
{%- if add_generation_prompt %}
Assistant:
{%- endif %}
"""

CHATML_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
LLAMA3_TOKENS = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
GEMMA_TOKENS = ["<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"]


def build(special: list[str], template: str | None = None, *, adds_bos: str = "", **named: str) -> Any:
    """A tokenizer whose first ids are `special`; `adds_bos` names the token that it puts before plain text."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=340, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(TEXTS, trainer)
    if adds_bos:
        core.post_processor = processors.TemplateProcessing(
            single=f"{adds_bos} $A", pair=None, special_tokens=[(adds_bos, special.index(adds_bos))]
        )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, **named)
    tokenizer.chat_template = template
    return tokenizer


def chatml(**named: str) -> Any:
    return build(CHATML_TOKENS, CHATML, **{"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", **named})


def llama3(**named: str) -> Any:
    names = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>", **named}
    return build(LLAMA3_TOKENS, LLAMA3, adds_bos="<|begin_of_text|>", **names)


def gemma(**named: str) -> Any:
    names = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", **named}
    return build(GEMMA_TOKENS, GEMMA, adds_bos="<bos>", **names)


def plain(**named: str) -> Any:
    return build(["<s>", "</s>"], PLAIN, adds_bos="<s>", **{"bos_token": "<s>", "eos_token": "</s>", **named})
