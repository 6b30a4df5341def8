"""From pydantic's errors to one message for people: file and line, field, value, reason, what to write instead.

explain(error, path, text, overridden)  → SpecError      one fault in one line, several as a list

A rule of the method arrives as a `Refusal` and says all of this itself; pydantic's own kinds of error are put into
words here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rewardsmith.errors import SpecError
from rewardsmith.records.bounded_yaml import BoundedLoader
from rewardsmith.spec.section import NAME_PATTERN, NAME_RULE, OPTIONAL_NAME_PATTERN, Keys, Refusal, nearest
from rewardsmith.spec.tree import Spec

_SHOWN = 60
_FEW = 3


class Fault(NamedTuple):
    """One field that cannot be used: its keys, what is wrong with it, and the mend."""

    keys: Keys
    problem: str
    fix: str


def explain(error: ValidationError, path: Path, text: str, overridden: Sequence[Keys] = ()) -> SpecError:
    """One message for all faults of a spec.

    Args:
        error: what pydantic found.
        path: the spec file, as the user wrote it.
        text: its content, for line numbers.
        overridden: keys that `--set` gave; they have no line.
    """
    faults = {fault.keys: fault for fault in map(_fault, reversed(_without_echoes(error.errors())))}
    placed = [(_place(text, keys, overridden), fault) for keys, fault in faults.items()]
    if len(placed) == 1:
        [(place, fault)] = placed
        where = place if place == "--set" else f"{path}:{place}" if place else str(path)
        return SpecError(fault.problem, where=where, fix=fault.fix)
    placed.sort(key=lambda item: int(item[0]) if item[0].isdecimal() else sys.maxsize)
    lines = "".join(f"\n  - {_prefix(place)}{fault.problem}\n    try: {fault.fix}" for place, fault in placed)
    return SpecError(f"{len(placed)} fields cannot be used{lines}", where=str(path))


def _prefix(place: str) -> str:
    return f"line {place}: " if place.isdecimal() else place and f"{place}: "


def _without_echoes(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Leave out "too short" of a list whose own items are refused: pydantic counts only the good ones."""
    inner = {detail["loc"][:depth] for detail in details for depth in range(len(detail["loc"]))}
    return [detail for detail in details if detail["type"] != "too_short" or detail["loc"] not in inner]


def _fault(detail: ErrorDetails) -> Fault:
    keys = _without_tags(detail["loc"])
    context = detail.get("ctx", {})
    refusal = context.get("error")
    if isinstance(refusal, Refusal):
        return _refused(keys, refusal, detail["input"])
    kind = detail["type"]
    field = _dotted(keys) or "the spec"
    if kind in ("extra_forbidden", "invalid_key"):
        return Fault(keys, f"unknown key {field!r}", _mend_unknown(keys))
    if kind == "union_tag_not_found":
        return Fault(keys, f"{field}.kind is missing", f"write kind: {_either(_kinds(keys))}")
    if kind == "union_tag_invalid":
        return Fault((*keys, "kind"), f"{field}.kind is {context['tag']!r}", nearest(context["tag"], _kinds(keys)))
    if kind == "missing" and keys and isinstance(keys[-1], str):
        return Fault(keys, f"{field} is missing", f"write {keys[-1]}: …")
    expectation, fix = _EXPECTED.get(kind, _in_pydantic_words)(detail, keys)
    return Fault(keys, f"{field} is {_shown(detail['input'])}{expectation}", fix)


def _refused(keys: Keys, refusal: Refusal, found: Any) -> Fault:
    """A rule's own words, with the value where it is a plain one."""
    keys = (*keys, *refusal.field)
    field = _dotted(keys)
    if refusal.field or isinstance(found, dict | BaseModel):
        return Fault(keys, f"{field}: {refusal.problem}" if field else refusal.problem, refusal.fix)
    return Fault(keys, f"{field} is {_shown(found)}, but {refusal.problem}", refusal.fix)


def _mend_unknown(keys: Keys) -> str:
    """The name that was meant: of the same spelling elsewhere in the spec, or the nearest in this section."""
    elsewhere = [place for place in _places(Spec) if place.split(".")[-1] == str(keys[-1])]
    if 0 < len(elsewhere) <= _FEW:
        return f"did you mean {' or '.join(map(repr, elsewhere))}?"
    return nearest(keys[-1], sorted({name for model in _sections_at(keys[:-1]) for name in model.model_fields}))


def _choice(detail: ErrorDetails, keys: Keys) -> tuple[str, str]:
    del keys
    names = [name.strip("' ") for name in detail["ctx"]["expected"].replace(" or ", ", ").split(", ")]
    mend = nearest(detail["input"], names)
    return "", mend if mend.startswith("did") else f"write {_either(names)}"


def _bound(detail: ErrorDetails, keys: Keys) -> tuple[str, str]:
    del keys
    words = {"gt": "greater than", "ge": "of at least", "lt": "less than", "le": "of at most"}
    side, limit = next((side, value) for side, value in detail["ctx"].items() if side in words)
    return "", f"write a number {words[side]} {limit}"


def _section(detail: ErrorDetails, keys: Keys) -> tuple[str, str]:
    del detail
    names = [name for model in _sections_at(keys) for name in model.model_fields]
    return ", not a section", f"write its fields on lines of their own below it: {', '.join(dict.fromkeys(names))}"


def _text(detail: ErrorDetails, keys: Keys) -> tuple[str, str]:
    del keys
    found = detail["input"]
    return ", not text", "write text" if isinstance(found, dict | list) or found is None else f'quote it: "{found}"'


def _pattern(detail: ErrorDetails, keys: Keys) -> tuple[str, str]:
    del keys
    pattern = detail["ctx"]["pattern"]
    return "", NAME_RULE if pattern in (NAME_PATTERN, OPTIONAL_NAME_PATTERN) else f"write text of the form {pattern}"


def _saying(expectation: str, fix: str) -> Callable[[ErrorDetails, Keys], tuple[str, str]]:
    return lambda detail, keys: (expectation, fix)


def _in_pydantic_words(detail: ErrorDetails, keys: Keys) -> tuple[str, str]:
    del keys
    message = detail["msg"]
    return "", message[0].lower() + message[1:]


_KINDS = {
    "adapter": ("none", "lora", "qlora"),
    "form": ("pair", "comparison", "list", "grouped", "transcript", "openai"),
}
_LIST = _saying(", not a list", "write [one, two], or each item on a line of its own after a dash")
_WHOLE = _saying(", not a whole number", "write a whole number")
_NUMBER = _saying(", not a number", "write a number, for example 0.5 or 1e-5")
_TRUTH = _saying(", not true or false", "write true or false")

_EXPECTED: dict[str, Callable[[ErrorDetails, Keys], tuple[str, str]]] = {
    "literal_error": _choice,
    "greater_than": _bound,
    "greater_than_equal": _bound,
    "less_than": _bound,
    "less_than_equal": _bound,
    "model_type": _section,
    "model_attributes_type": _section,
    "string_type": _text,
    "string_pattern_mismatch": _pattern,
    "string_too_short": _saying(", which names nothing", "write a name, or leave the line out"),
    "dict_type": _saying(", not a mapping", "write name: value on lines of their own below it"),
    "tuple_type": _LIST,
    "list_type": _LIST,
    "too_short": _saying(": there is nothing in it", "give at least one"),
    "too_long": _saying(": too many values", "write exactly two, the lower bound first"),
    "missing": _saying(": too few values", "write exactly two, the lower bound first"),
    "finite_number": _saying(", not a finite number", "write a finite number"),
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "bool_type": _TRUTH,
    "bool_parsing": _TRUTH,
}


def _dotted(keys: Keys) -> str:
    return ".".join(map(str, keys))


def _either(names: Sequence[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _shown(value: Any) -> str:
    """The value as found, cut where it would fill the screen."""
    text = {True: "true", False: "false", None: "null"}.get(value) if isinstance(value, bool | None) else None
    text = text or repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _without_tags(loc: Keys) -> Keys:
    """The keys as they stand in the file, without what pydantic adds for unions and mapping keys."""
    keys = tuple(key for key in loc if not (isinstance(key, str) and key.endswith("]")))
    is_tag = [False, *(key in _kinds((above,)) for above, key in pairwise(keys))]
    return tuple(key for key, tag in zip(keys, is_tag, strict=False) if not tag)


def _kinds(keys: Keys) -> tuple[str, ...]:
    """The kinds that the section at these keys may be of."""
    return _KINDS.get(str(keys[-1]), ()) if keys else ()


def _sections_at(keys: Keys) -> list[type[BaseModel]]:
    """The models that may stand where `keys` lead."""
    models: list[type[BaseModel]] = [Spec]
    for key in keys:
        if not isinstance(key, int):
            found = [model.model_fields[key].annotation for model in models if key in model.model_fields]
            models = [model for annotation in found for model in _models_in(annotation)]
    return models


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _places(model: type[BaseModel], above: str = "") -> list[str]:
    """Dotted names of all fields below `model`."""
    places = []
    for name, field in model.model_fields.items():
        places.append(f"{above}{name}")
        places += [place for inner in _models_in(field.annotation) for place in _places(inner, f"{above}{name}.")]
    return list(dict.fromkeys(places))


def _place(text: str, keys: Keys, overridden: Sequence[Keys]) -> str:
    """The line of the deepest key that the file has, "--set" for a field given there, "" where the file has none."""
    if any(keys[: len(given)] == given for given in overridden):
        return "--set"
    line, depth = _line_of(text, keys)
    is_set = depth < len(keys) and any(given[: len(keys)] == keys for given in overridden)
    return "--set" if is_set else line


def _line_of(text: str, keys: Keys) -> tuple[str, int]:
    """The line of the deepest of `keys` that the file has, and how many it has."""
    node: yaml.Node | None = yaml.compose(text, Loader=BoundedLoader)
    line = ""
    for depth, key in enumerate(keys):
        if isinstance(node, yaml.MappingNode):
            match = next(((k, v) for k, v in node.value if getattr(k, "value", None) == str(key)), None)
            if match is None:
                return line, depth
            line, node = str(match[0].start_mark.line + 1), match[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            node = node.value[key]
            line = str(node.start_mark.line + 1)
        else:
            return line, depth
    return line, len(keys)
