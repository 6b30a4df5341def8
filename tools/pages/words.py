"""A JSON schema's fields in words, for the reference pages that are made from models: spec, records, HTTP.

schema_words({"type": "array", "items": {"type": "number"}}, link)     # "list of number"
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Schema = dict[str, Any]

_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
_TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "`true`, `false`",
    "null": "`null`",
    "object": "mapping",
}
_NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five"}


def schema_words(field: Schema, link: Callable[[str], str]) -> str:
    """What may stand in a field.

    Args:
        field: its schema.
        link: how a model that is defined elsewhere is called, by its name.
    """
    if "const" in field:
        return f"`{json.dumps(field['const'])}`".replace('"', "")
    if "enum" in field:
        return ", ".join(f"`{value}`" if value != "" else '`""`' for value in field["enum"])
    for several in ("anyOf", "oneOf"):
        if several in field:
            return " or ".join(dict.fromkeys(schema_words(part, link) for part in field[several]))
    if "$ref" in field:
        return link(field["$ref"].rpartition("/")[2])
    if field.get("type") == "array":
        return _list(field, link)
    if field.get("type") == "object" and ("propertyNames" in field or "additionalProperties" in field):
        return _mapping(field, link)
    if isinstance(field.get("type"), list):
        return " or ".join(schema_words({**field, "type": kind}, link) for kind in field["type"])
    bounds = [f"{sign} {field[key]:g}" for key, sign in _BOUNDS.items() if key in field]
    return " ".join([_TYPES[field["type"]] if "type" in field else "anything", " and ".join(bounds)]).strip()


def _list(field: Schema, link: Callable[[str], str]) -> str:
    if "prefixItems" in field:
        parts = ", ".join(schema_words(part, link) for part in field["prefixItems"])
        return f"list of {_NUMBERS.get(len(field['prefixItems']), 'several')}: {parts}"
    return f"list of {schema_words(field['items'], link)}" if field.get("items") else "list"


def _mapping(field: Schema, link: Callable[[str], str]) -> str:
    names = schema_words(field["propertyNames"], link) if "propertyNames" in field else "text"
    values = field.get("additionalProperties")
    return f"mapping of {names} to {schema_words(values, link) if isinstance(values, dict) and values else 'anything'}"


def heading_link(name: str) -> str:
    """A Markdown link to the heading of that name on the same page."""
    return f"[{name}](#{name.lower()})"


def table_cell(text: str) -> str:
    """Text as a cell of a Markdown table: on one line, its bars escaped."""
    return " ".join(text.split()).replace("|", r"\|")
