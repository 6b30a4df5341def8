"""Three chat templates with tools, calls, their results and reasoning, in the styles of families that use them.

Written for these tests; each with the special tokens that it needs, and a tokenizer that has them.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from rendering_tokenizers import CHATML_TOKENS, LLAMA3_TOKENS, build

# ChatML, as Qwen3: thoughts before the last question are not shown, results stand in a user turn.
QWEN = """{%- macro written(arguments) %}
{{- arguments if arguments is string else arguments | tojson }}
{%- endmacro %}
{%- if tools %}<|im_start|>system
{% if messages[0].role == 'system' %}{{ messages[0].content }}

{% endif %}# Tools
<tools>
{%- for tool in tools %}

{{ tool | tojson }}
{%- endfor %}

</tools><|im_end|>
{% elif messages[0].role == 'system' %}<|im_start|>system
{{ messages[0].content }}<|im_end|>
{% endif %}
{%- set ns = namespace(asked=-1) %}
{%- for message in messages %}{% if message.role == 'user' %}{% set ns.asked = loop.index0 %}{% endif %}{% endfor %}
{%- for message in messages %}
{%- if message.role == 'user' or (message.role == 'system' and not loop.first) -%}
<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% elif message.role == 'assistant' -%}
<|im_start|>assistant
{% if message.reasoning_content and loop.index0 > ns.asked %}<think>
{{ message.reasoning_content.strip() }}
</think>

{% endif %}{{ message.content }}
{%- for call in message.tool_calls or [] %}
{%- if message.content or not loop.first %}

{% endif -%}
<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ written(call.function.arguments) }}}
</tool_call>
{%- endfor %}<|im_end|>
{% elif message.role == 'tool' -%}
{% if loop.first or messages[loop.index0 - 1].role != 'tool' %}<|im_start|>user{% endif %}

<tool_response>
{{ message.content }}
</tool_response>
{%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}<|im_end|>
{% endif %}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

# Llama 3.1: tools in the first question, one call a turn, results as `ipython`.
LLAMA = """{{- bos_token }}
{%- if messages[0].role == 'system' %}{% set said = messages[0].content %}{% set messages = messages[1:] %}
{%- else %}{% set said = '' %}{% endif %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\n' }}
{%- if tools %}{{ 'Environment: ipython\\n' }}{% endif %}
{{- said + '<|eot_id|>' }}
{%- if tools %}
{{- '<|start_header_id|>user<|end_header_id|>\\n\\nAnswer with a call of one of these functions.\\n\\n' }}
{%- for tool in tools %}{{ tool | tojson(indent=4) }}{{ '\\n\\n' }}{% endfor %}
{{- messages[0].content | trim + '<|eot_id|>' }}{% set messages = messages[1:] %}
{%- endif %}
{%- for message in messages %}
{%- if message.tool_calls %}
{%- if message.tool_calls | length != 1 %}{{ raise_exception('one call a turn') }}{% endif %}
{%- set call = message.tool_calls[0].function %}
{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n{"name": "' + call.name + '", "parameters": ' }}
{{- (call.arguments if call.arguments is string else call.arguments | tojson) + '}<|eot_id|>' }}
{%- elif message.role == 'tool' %}
{{- '<|start_header_id|>ipython<|end_header_id|>\\n\\n' + (message.content | tojson) + '<|eot_id|>' }}
{%- else %}
{{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + message.content | trim + '<|eot_id|>' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"""

# Mistral: tools before the last question, calls and results as JSON with their ids.
MISTRAL = """{{- bos_token }}
{%- if messages[0].role == 'system' %}{% set said = messages[0].content %}{% set messages = messages[1:] %}{% endif %}
{%- set ns = namespace(asked=-1) %}
{%- for message in messages %}{% if message.role == 'user' %}{% set ns.asked = loop.index0 %}{% endif %}{% endfor %}
{%- for message in messages %}
{%- if message.role == 'user' %}
{%- if tools and loop.index0 == ns.asked %}{{ '[AVAILABLE_TOOLS]' + tools | tojson + '[/AVAILABLE_TOOLS]' }}{% endif %}
{{- '[INST]' + (said + '\\n\\n' if said is defined and loop.index0 == ns.asked else '') + message.content + '[/INST]' }}
{%- elif message.role == 'tool' %}
{{- '[TOOL_RESULTS]{"content": ' + message.content | tojson + ', "call_id": ' + message.tool_call_id | tojson + '}' }}
{{- '[/TOOL_RESULTS]' }}
{%- elif message.tool_calls %}
{{- '[TOOL_CALLS][' }}
{%- for call in message.tool_calls %}
{{- '{"name": ' + call.function.name | tojson + ', "arguments": ' }}
{{- (call.function.arguments if call.function.arguments is string else call.function.arguments | tojson) }}
{{- ', "id": ' + call.id | tojson + '}' + ('' if loop.last else ', ') }}
{%- endfor %}
{{- ']' + eos_token }}
{%- else %}{{ message.content + eos_token }}
{%- endif %}
{%- endfor %}"""

MISTRAL_TOKENS = ["<s>", "</s>", "<pad>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"]
MISTRAL_TOKENS += ["[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]"]


def tool_tokenizer(style: str) -> Any:
    """A tokenizer with one of the templates: `qwen`, `llama` or `mistral`."""
    if style == "qwen":
        return build(CHATML_TOKENS, QWEN, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    if style == "llama":
        return build(LLAMA3_TOKENS, LLAMA, bos_token="<|begin_of_text|>", eos_token="<|eot_id|>")
    return build(MISTRAL_TOKENS, MISTRAL, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def tool_base(folder: Path, base: Path, style: str) -> Path:
    """A base model whose tokenizer is that of `tool_tokenizer`."""
    shutil.copytree(base, folder)
    for file in folder.glob("*token*"):
        file.unlink()
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    tool_tokenizer(style).save_pretrained(folder)
    return folder
