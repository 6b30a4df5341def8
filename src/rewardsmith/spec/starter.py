"""The commented spec that `rewardsmith init` writes: every field with its value, and what it means beside it.

    starter_spec()                                              # every default
    starter_spec(name="helpful", base_model={"id": "Qwen/Qwen3-0.6B"})
    commented(spec)                                             # any spec in the same form

The comments are the descriptions of the models, so that they cannot fall behind them.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic.fields import FieldInfo

from rewardsmith.spec.section import Section
from rewardsmith.spec.tree import Spec

_HEADER = """\
# A Rewardsmith spec: one file says everything. Lines that stay as they are may be deleted: they are the defaults.
#
#   rewardsmith check SPEC    looks at the data, before any accelerator time is spent
#   rewardsmith run SPEC      check, train, evaluate, gates, report
"""
_WIDTH = 120
_FARTHEST_COMMENT = 48

Line = tuple[str, str]
"""YAML without a comment, and the comment that stands beside it."""


def starter_spec(**choices: Any) -> str:
    """A commented spec to start from: the defaults, with `choices` (fields of the root) in their place.

    Raises:
        pydantic.ValidationError: a choice breaks a rule of the spec.
    """
    return commented(Spec.model_validate(choices))


def commented(spec: Spec) -> str:
    """Any spec as YAML with every field and its meaning; `load_spec` reads the same spec back."""
    scalars = [name for name in Spec.model_fields if not isinstance(getattr(spec, name), Section)]
    blocks = [_HEADER, _aligned(list(_fields(spec, scalars, "")))]
    for name in Spec.model_fields:
        section = getattr(spec, name)
        if isinstance(section, Section):
            lines = list(_fields(section, list(type(section).model_fields), "  "))
            blocks.append(f"{_above(name, section)}{name}:\n{_aligned(lines)}")
    return "\n".join(blocks)


def _above(name: str, section: Section) -> str:
    """What stands above a section: its meaning, or one line for each kind that it may be."""
    kinds = get_args(Spec.model_fields[name].annotation)
    texts = [f"{kind.model_fields['kind'].default}: {kind.__doc__}" for kind in kinds] or [str(section.__doc__)]
    return "".join(f"# {line}\n" for text in texts for line in textwrap.wrap(text, _WIDTH - 2))


def _fields(section: Section, names: list[str], pad: str) -> Iterator[Line]:
    for name in names:
        field, value = type(section).model_fields[name], getattr(section, name)
        if isinstance(value, Section):
            yield f"{pad}{name}:", str(value.__doc__)
            yield from _fields(value, list(type(value).model_fields), f"{pad}  ")
        elif isinstance(value, tuple) and value and isinstance(value[0], Section):
            yield f"{pad}{name}:", str(field.description)
            for item in value:
                yield f"{pad}  - {_flow(_stated(item))}", ""
        else:
            yield f"{pad}{name}: {_flow(value)}", f"{field.description}{_choices(field)}"


def _stated(item: Section) -> dict[str, Any]:
    """What was written of an entry of a list, and its kind, without which it cannot be read."""
    kind = {"kind": item.kind} if "kind" in type(item).model_fields else {}  # type: ignore[attr-defined]
    return {**kind, **item.model_dump(mode="json", exclude_unset=True)}


def _choices(field: FieldInfo) -> str:
    """The values of a field that has a few, unless its description names them already."""
    values = [str(value) for value in get_args(field.annotation)] if get_origin(field.annotation) is Literal else []
    unnamed = len(values) > 1 and not all(value in str(field.description) for value in values)
    return f" One of {', '.join(values)}." if unnamed else ""


def _flow(value: Any) -> str:
    """A value on one line of YAML."""
    plain = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump(plain, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...")


def _aligned(lines: list[Line]) -> str:
    """Comments beside their lines, in one column, wrapped; above the line where it is too long for that."""
    beside = [len(code) + 2 for code, comment in lines if comment]
    column = max((width for width in beside if width <= _FARTHEST_COMMENT), default=0)
    text = ""
    for code, comment in lines:
        parts = textwrap.wrap(comment, _WIDTH - column - 2)
        if len(code) + 2 > column and parts:
            pad = code[: len(code) - len(code.lstrip())]
            text += "".join(f"{pad}# {part}\n" for part in parts) + f"{code}\n"
            continue
        first = f"{code:<{column}}# {parts[0]}" if parts else code
        text += first + "\n" + "".join(f"{' ' * column}# {part}\n" for part in parts[1:])
    return text
