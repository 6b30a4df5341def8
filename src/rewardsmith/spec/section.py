"""What every section of the spec shares: strictness, and the small types that carry a rule with its reason.

A section is a frozen pydantic model that forbids unknown keys. A rule of the method is a type: `only(1, why)` is a
field with one allowed value whose refusal says why and what to write instead. A rule over several fields is a validator
that raises `Refusal`. The docstring under a field is its only description: the JSON schema, docs/spec.md and the
spec that `rewardsmith init` writes all take it from here.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Annotated, Any, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Keys = tuple[str | int, ...]
"""Where a field stands: the keys and list indices that lead to it."""


_LARGEST = 2**53  # beyond, whole numbers are rounded by whoever reads JSON's as float64


class Refusal(ValueError):  # noqa: N818 - a rule's answer, as its users read it
    """A value that breaks a rule of the method.

    Args:
        problem: what is wrong and why, without the field's name; reads on after "FIELD is VALUE, but" or "FIELD: ".
        fix: what to write instead.
        field: keys from the refusing section to the field; empty when the value itself is refused.
    """

    def __init__(self, problem: str, fix: str, *, field: Keys = ()) -> None:
        self.problem = problem
        self.fix = fix
        self.field = field
        super().__init__(f"{'.'.join(map(str, field))}{': ' if field else ''}{problem}; {fix}")


class Section(BaseModel):
    """Base of all sections: frozen, unknown keys are errors, docstrings become descriptions in the JSON schema."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=(), allow_inf_nan=False
    )

    @model_validator(mode="before")
    @classmethod
    def _as_written(cls, content: Any) -> Any:
        """A section with nothing under it keeps its defaults; yes and no are not numbers (pydantic reads 1 and 0).

        No file name holds NUL, and whole numbers that float64 cannot hold overflow in the libraries below.
        """
        if content is None:
            return {}
        for name, field in cls.model_fields.items():
            found = content.get(name) if isinstance(content, dict) else None
            if isinstance(found, bool) and {int, float} & _parts(field.annotation):
                raise Refusal(f"{str(found).lower()} is not a number", "write a number", field=(name,))
            if isinstance(found, int) and abs(found) > _LARGEST:
                raise Refusal("is too large to count", f"write a number up to {_LARGEST:,}", field=(name,))
            if isinstance(found, str) and "\0" in found:
                raise Refusal("holds a NUL character", "delete it", field=(name,))
        return content


def nearest(name: object, names: Iterable[str]) -> str:
    """The fix of a name that does not exist: the one that was probably meant, or all that there are."""
    known = list(names)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"the names there are: {', '.join(known)}"


def _parts(annotation: Any) -> set[Any]:
    """The plain types that a field may hold: `int | None` → int, NoneType."""
    return {part for inner in get_args(annotation) for part in _parts(inner)} or {annotation}


def only(allowed: object, why: str) -> BeforeValidator:
    """Refuse every value but `allowed`, with the reason and the fix."""

    def check(value: object) -> object:
        if value != allowed or isinstance(value, bool) != isinstance(allowed, bool):
            written = str(allowed).lower() if isinstance(allowed, bool) else str(allowed)
            raise Refusal(f"{written} is the only value: {why}", f"write {written}, or leave the line out")
        return allowed

    return BeforeValidator(check)


_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_COUNT = r"\s*([0-9][0-9_]*(?:\.[0-9]+)?)\s*([KMBT]?)\s*"


def parse_count(value: Any) -> Any:
    """Parameters as people write them: `8B`, `0.6B`, `125M`, `8_000_000_000` → int."""
    if isinstance(value, str):
        match = re.fullmatch(_COUNT, value.upper())
        if not match:
            raise Refusal("that is not a number of parameters", "write it like 8B, 0.6B, 125M or 8000000000")
        return round(float(match[1].replace("_", "")) * _UNITS[match[2]])
    return value


ParameterCount = Annotated[int, BeforeValidator(parse_count, json_schema_input_type=int | str), Field(gt=0)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
OPTIONAL_NAME_PATTERN = r"^([A-Za-z0-9][A-Za-z0-9._-]*)?$"
NAME_RULE = "use letters, digits, '.', '_' and '-' only, a letter or a digit first: it names a folder"
