"""From a YAML file and `--set` overrides to a checked spec, or to an error that says what to write instead.

load_spec(path, overrides)  → Spec           raises SpecError with file, line, field, value, reason and mend
parse_spec(dict)            → Spec           the same rules for what is no file
dump_spec(spec)             → YAML text      every field, as resolved
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from rewardsmith.errors import SpecError
from rewardsmith.records.bounded import read_bounded
from rewardsmith.records.bounded_yaml import YAML_SIZE, BoundedLoader, parse_yaml
from rewardsmith.spec.faults import explain
from rewardsmith.spec.section import Keys
from rewardsmith.spec.tree import Spec

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
    overridden = [_assign(content, override) for override in overrides]
    try:
        return Spec.model_validate(content)
    except ValidationError as error:
        raise explain(error, path, text, overridden) from error


def default_spec(overrides: Sequence[str]) -> Spec:
    """The defaults with overrides, for commands that need no file.

    Raises:
        SpecError: a key is unknown, or a value breaks a rule.
    """
    content: dict[Any, Any] = {}
    overridden = [_assign(content, override) for override in overrides]
    try:
        return Spec.model_validate(content)
    except ValidationError as error:
        raise explain(error, Path("--set"), "", overridden) from error


def parse_spec(content: Mapping[str, Any]) -> Spec:
    """Check a spec that is no file: sections and fields as a dict.

    Raises:
        SpecError: a key is unknown, or a value breaks a rule.
    """
    try:
        return Spec.model_validate(dict(content))
    except ValidationError as error:
        raise explain(error, Path("spec"), "") from error


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
            f"not valid YAML: {reason}", where=f"{path}:{mark.line + 1 if mark else 1}", fix=_mend(reason)
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


def _mend(reason: str) -> str:
    """What usually helps against what the YAML parser said."""
    if "twice" in reason:
        return "keep one of the two lines"
    if "another document" in reason:
        return "keep one document: delete the second '---' and what follows"
    if "'\\t'" in reason:
        return "indent with spaces: YAML allows no tabs"
    return "mend that line or the one above it: the indentation, a bracket, a quote or a colon"


def _assign(content: dict[Any, Any], override: str) -> Keys:
    """Set `a.b.0.c=value` in place and return its keys; the value is YAML, so that numbers, lists and null work."""
    name, separator, value = override.partition("=")
    if not separator or not name.strip():
        raise SpecError(f"{override!r} is not an assignment", where="--set", fix="write it as section.field=value")
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
