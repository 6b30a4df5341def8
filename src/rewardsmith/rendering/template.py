"""Rewrites a chat template so that a full conversation ends with EOS and nothing follows it. Text in, text out.

    closed = close_template(template, eos="<|im_end|>", bos=None)
    closed = close_template(template, eos="<|im_end|>", bos=None, closing="openrlhf")      # as another trainer did it
    is_closed(closed)        # True: never rewritten twice

The saved template is the definition: whoever sees only the tokenizer (TRL's GRPO, vLLM's `messages`, RewardBench's
script) gets the ids that training saw. The original template is kept whole inside a Jinja `set` block; what it writes
is captured and only its end is mended:

- it ends with EOS and whitespace follows (ChatML's newline): the whitespace goes;
- it does not end with EOS (Gemma, Llama 3 with another EOS, plain text): EOS is appended. Nothing is stripped, because
  a template's own newline cannot be told from one that ends the response;
- `bos` is given (a base whose tokenizer adds BOS to plain text) and the template writes none: BOS is put first;
- `add_generation_prompt` is set: nothing is appended, so that a prompt stays the beginning of its conversation;
- the messages have the role `text`: their contents are joined as they are, and closed in the same way.

A model that was trained elsewhere is read where its trainer read it (`Closing`): OpenRLHF cuts line breaks and appends
a space and EOS where the template wrote none; a published classifier has whatever its own template writes.
"""

from __future__ import annotations

import json
import re
from typing import Literal

Closing = Literal["eos", "openrlhf", "shipped"]

_MARK = "{#- rewardsmith 1: "
_SAYS: dict[Closing, str] = {
    "eos": "a full conversation ends with EOS and nothing follows it",
    "openrlhf": "a full conversation ends as OpenRLHF's trainer ends it",
    "shipped": "a full conversation ends as this template was shipped",
}

# The line break after the first `set` is eaten by trim_blocks, so that the original starts a line as it did before;
# the empty expression before `endset` keeps lstrip_blocks away from the original's last line.
_FRAME = """MARK
{%- if messages and messages[0]['role'] == 'text' -%}
{%- set rewardsmith_text -%}{%- for message in messages -%}{{- message['content'] -}}{%- endfor -%}{%- endset -%}
{%- else -%}
{%- set rewardsmith_text %}
ORIGINAL{{ '' }}{% endset -%}
{%- endif -%}
BEGIN{%- if add_generation_prompt -%}
{{- rewardsmith_text -}}
CLOSING{%- endif -%}"""

_CLOSINGS: dict[Closing, str] = {
    "eos": """{%- elif rewardsmith_text.rstrip().endswith(EOS) -%}
{{- rewardsmith_text.rstrip() -}}
{%- else -%}
{{- rewardsmith_text ~ EOS -}}
""",
    "openrlhf": r"""{%- elif rewardsmith_text.rstrip('\n').endswith(EOS) -%}
{{- rewardsmith_text.rstrip('\n') -}}
{%- else -%}
{{- rewardsmith_text.rstrip('\n') ~ ' ' ~ EOS -}}
""",
    "shipped": """{%- else -%}
{{- rewardsmith_text -}}
""",
}

_BEGIN = """{%- if not rewardsmith_text.startswith(BOS) -%}{{- BOS -}}{%- endif -%}
"""

TEXT_ONLY = "{{ raise_exception('this tokenizer has no chat template: it takes messages of role text only') }}"
"""Stands in for the template of a tokenizer that has none: chat messages are refused, plain text works."""


def is_closed(template: str) -> bool:
    """Whether `close_template` wrote this template."""
    return template.startswith(_MARK)


def close_template(template: str, *, eos: str, bos: str | None, closing: Closing = "eos") -> str:
    """The template, rewritten; one that is closed already comes back unchanged.

    Args:
        template: Jinja source as transformers understands it (`trim_blocks`, `lstrip_blocks`).
        eos: text of the EOS token.
        bos: text of the BOS token where the tokenizer adds one to plain text, else None.
        closing: how the model's trainer ended a text.
    """
    if is_closed(template):
        return template
    parts = {
        "MARK": f"{_MARK}{_SAYS[closing]} -#}}",
        "BEGIN": _BEGIN.replace("BOS", _literal(bos)) if bos else "",
        "CLOSING": _CLOSINGS[closing].replace("EOS", _literal(eos)),
        "ORIGINAL": _without_generation_tags(re.sub(r"(\r\n|\r|\n)\Z", "", template)),
    }
    return re.sub("MARK|BEGIN|CLOSING|ORIGINAL", lambda match: parts[match[0]], _FRAME)


def _literal(text: str) -> str:
    """A Jinja string. It stands in the template itself, because not every program that reads one passes `eos_token`."""
    return json.dumps(text, ensure_ascii=False)


def _without_generation_tags(template: str) -> str:
    """`{% generation %}` marks assistant tokens by their place in the output, which a captured block does not know.

    A wrong mask would be silent; with the tags gone transformers says that the template has none.
    """
    opened = re.sub(r"\{%([-+]?)\s*generation\s*([-+]?)%\}", r"{%\1 if true \2%}", template)
    return re.sub(r"\{%([-+]?)\s*endgeneration\s*([-+]?)%\}", r"{%\1 endif \2%}", opened)
