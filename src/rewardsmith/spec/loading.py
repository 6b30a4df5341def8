"""From a YAML file and `--set` overrides to a checked spec, or to an error that says what to write instead.

    load_spec(path, overrides)  → Spec           raises SpecError with file, line, field, value, reason and fix
    default_spec(overrides)     → Spec           the defaults, for commands that need no file
    parse_spec(dict)            → Spec           the same rules for what is no file
    dump_spec(spec)             → YAML text      every field, as resolved

`explain` puts pydantic's errors into one message for people. A rule of the method arrives as a `Refusal` and says all
of this itself; pydantic's own kinds of error are put into words here.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rewardsmith.errors import SpecError
from rewardsmith.records.bounded import YAML_SIZE, BoundedLoader, parse_yaml, read_bounded
from rewardsmith.spec.architecture import AdapterSpec
from rewardsmith.spec.forms import FormSpec
from rewardsmith.spec.judging import RouteRule
from rewardsmith.spec.section import NAME_PATTERN, NAME_RULE, OPTIONAL_NAME_PATTERN, Keys, Refusal, nearest
from rewardsmith.spec.tree import Spec


def load_spec(path: Path, overrides: Sequence[str] = ()) -> Spec:
    """Read, override and check a spec.

    Args:
        path: the YAML file.
        overrides: `a.b=c` assignments; `c` is read as YAML.

    Raises:
        SpecError: the file cannot be read, a key is unknown, or a value breaks a rule.
    """
    text = _read(path)
    content = _parse(text, path)
    return _checked(content, path, text, [_assign(content, override) for override in overrides])


def default_spec(overrides: Sequence[str]) -> Spec:
    """The defaults with overrides, for commands that need no file.

    Raises:
        SpecError: a key is unknown, or a value breaks a rule.
    """
    content: dict[Any, Any] = {}
    return _checked(content, Path("--set"), "", [_assign(content, override) for override in overrides])


def parse_spec(content: Mapping[str, Any]) -> Spec:
    """Check a spec that is no file: sections and fields as a dict.

    Raises:
        SpecError: a key is unknown, or a value breaks a rule.
    """
    return _checked(dict(content), Path("spec"), "")


def _checked(content: dict[Any, Any], path: Path, text: str, overridden: Sequence[Keys] = ()) -> Spec:
    try:
        return Spec.model_validate(content)
    except ValidationError as error:
        raise explain(error, path, text, overridden) from error


def dump_spec(spec: Spec) -> str:
    """The resolved spec as YAML, fields in the order in which they are declared."""
    return yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _read(path: Path) -> str:
    try:
        return read_bounded(path, 4 * YAML_SIZE).decode("utf-8")
    except FileNotFoundError as error:
        raise SpecError(
            "no such file", where=str(path), fix="check the path, or write a spec with `rewardsmith init`"
        ) from error
    except OSError as error:
        raise SpecError(
            f"cannot be read: {error.strerror}", where=str(path), fix="name a readable YAML file"
        ) from error
    except UnicodeDecodeError as error:
        raise SpecError("is not UTF-8 text", where=str(path), fix="save the spec as UTF-8") from error
    except ValueError as error:  # a zero byte in the path, or a size or kind of file beyond what is read
        raise SpecError(f"cannot be read: {error}", where=str(path), fix="name a readable YAML file") from error


def _parse(text: str, path: Path) -> dict[Any, Any]:
    """The sections as written; an empty file has none and so takes every default."""
    try:
        content = parse_yaml(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        raise SpecError(
            f"not valid YAML: {reason}", where=f"{path}:{mark.line + 1 if mark else 1}", fix=_fix(reason)
        ) from error
    except yaml.YAMLError as error:
        raise SpecError(
            f"not valid YAML: {error}".splitlines()[0], where=str(path), fix="save the spec as plain text"
        ) from error
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise SpecError(
            f"holds a {type(content).__name__}, not sections", where=str(path), fix="start from `rewardsmith init`"
        )
    return content


_MERGE = "tag:yaml.org,2002:merge"


class _Loader(BoundedLoader):
    """YAML within limits that refuses a key written twice: the second would silently win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
                if (key.tag, key.value) in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark
                    )
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


def _fix(reason: str) -> str:
    """What usually helps against what the YAML parser said."""
    if "twice" in reason:
        return "keep one of the two lines"
    if "another document" in reason:
        return "keep one document: delete the second '---' and what follows"
    if "'\\t'" in reason:
        return "indent with spaces: YAML allows no tabs"
    return "fix that line or the one above it: the indentation, a bracket, a quote or a colon"


_PLACE = re.compile(r"\[\s*(\d+)\s*\]")  # as Python, jq and Hydra write a place in a list


def _assign(content: dict[Any, Any], override: str) -> Keys:
    """Set `a.b.0.c=value` in place and return its keys; the value is YAML, so that numbers, lists and null work."""
    name, separator, value = override.partition("=")
    if not separator or not name.strip():
        raise SpecError(f"{override!r} is not an assignment", where="--set", fix="write it as section.field=value")
    dotted = _PLACE.sub(r".\1", name.strip())
    if dotted != name.strip():
        raise SpecError(
            f"{name.strip()!r} is no field: a place in a list is written with a dot",
            where="--set",
            fix=f"write --set '{dotted}={value}'",
        )
    parts = name.strip().split(".")
    try:
        parsed = parse_yaml(value, _Loader)
    except yaml.YAMLError as error:
        raise SpecError(
            f"the value of {override!r} is not YAML", where="--set", fix="quote it, for example --set 'name=\"a: b\"'"
        ) from error
    target: Any = content
    keys: list[str | int] = []
    for part, following in zip(parts, [*parts[1:], None], strict=True):
        key = _key(target, part, override, keys)
        keys.append(key)
        if following is None:
            target[key] = parsed
        elif target[key] is None:
            target[key] = [] if following == "0" else {}
        target = target[key]
    return tuple(keys)


def _key(target: Any, part: str, override: str, above: Sequence[str | int]) -> str | int:
    """The key that `part` names in `target`, made (as null) where it is new: a field, or one more list item."""
    section = ".".join(map(str, above))
    if isinstance(target, dict):
        target.setdefault(part, None)
        return part
    if not isinstance(target, list):
        raise SpecError(
            f"cannot set {override!r}: {section} is {target!r}, not a section",
            where="--set",
            fix=f"set {section} itself",
        )
    if not part.isdecimal() or int(part) > len(target):
        raise SpecError(
            f"cannot set {override!r}: {section} is a list of {len(target)}, and {part!r} is no place in it",
            where="--set",
            fix=f"write a number from 0 to {len(target)}",
        )
    if int(part) == len(target):
        target.append(None)
    return int(part)


_SHOWN = 60
_FEW = 3


class Fault(NamedTuple):
    """One field that cannot be used: its keys, what is wrong with it, and the fix."""

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
        return Fault(keys, f"unknown key {field!r}", _fix_unknown(keys))
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


def _fix_unknown(keys: Keys) -> str:
    """The name that was meant: of the same spelling elsewhere in the spec, or the nearest in this section."""
    elsewhere = [place for place in _places(Spec) if place.split(".")[-1] == str(keys[-1])]
    if 0 < len(elsewhere) <= _FEW:
        return f"did you mean {' or '.join(map(repr, elsewhere))}?"
    return nearest(keys[-1], sorted({name for model in _sections_at(keys[:-1]) for name in model.model_fields}))


def _choice(detail: ErrorDetails, keys: Keys) -> tuple[str, str]:
    del keys
    names = [name.strip("' ") for name in detail["ctx"]["expected"].replace(" or ", ", ").split(", ")]
    fix = nearest(detail["input"], names)
    return "", fix if fix.startswith("did") else f"write {_either(names)}"


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
    return tuple(key for place, key in enumerate(keys) if key not in _kinds(keys[:place]))


def _kinds(keys: Keys) -> tuple[str, ...]:
    """The kinds that the section at these keys, or in the list there, may be of."""
    name = next((key for key in reversed(keys) if isinstance(key, str)), "")
    models = _models_in(_UNIONS.get(name))
    return tuple(get_args(model.model_fields["kind"].annotation)[0] for model in models)


_UNIONS = {"adapter": AdapterSpec, "form": FormSpec, "rules": RouteRule}
"""Fields whose section is one of several kinds; pydantic puts the kind among the keys of its errors."""


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
