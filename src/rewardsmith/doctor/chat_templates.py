"""What a chat template writes at the end of a conversation, without a tokenizer: jinja2 in its sandbox.

ends_with_eos("{% for m in messages %}…", eos="<|im_end|>", bos="")     # None: it does; else what stands there
"""

from __future__ import annotations

import json
import re
from typing import Any

_CONVERSATION = (
    {"role": "user", "content": "Which is longer, a mile or a kilometre?"},
    {"role": "assistant", "content": "A mile."},
)
_GENERATION = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")
_SHOWN = 24


def ends_with_eos(template: str, eos: str, *, bos: str) -> str | None:
    """What a conversation ends with if that is not EOS; None if it is, or if the template needs more than messages."""
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals |= {"raise_exception": refuse, "strftime_now": lambda _: "1 January 2026"}
    environment.filters["tojson"] = _tojson
    try:
        rendered = environment.from_string(_GENERATION.sub("", template)).render(
            messages=_CONVERSATION, eos_token=eos, bos_token=bos, add_generation_prompt=False
        )
    except Exception:  # a template is a program of its own: what it raises says nothing of its end
        return None
    return None if rendered.endswith(eos) else rendered[-_SHOWN:]


def _tojson(value: Any, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=options.get("indent"))
