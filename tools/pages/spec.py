"""The spec for machines and for readers: its JSON schema and its reference page, both made from the models.

An editor that knows the JSON schema completes and checks a spec while it is written.
"""

from __future__ import annotations

import json

from pages.words import Schema, schema_words, table_cell
from rewardsmith.spec.tree import Spec

_INTRODUCTION = """\
# The spec: every field

One YAML file says everything. All fields have defaults, so a spec holds only what differs from them; unknown fields are
refused with the nearest valid name. `rewardsmith init` writes a commented file to start from, and
`--set section.field=value` changes a field for one command. Paths are relative to the folder that the command runs in.

This page and [spec.schema.json](spec.schema.json) are generated from the models by `make docs`.
"""


def json_schema() -> Schema:
    """JSON schema (draft 2020-12) of the spec."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Spec.model_json_schema()}


def schema_page() -> str:
    """docs/spec.schema.json: the schema as the file that editors read."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def spec_page() -> str:
    """Markdown page with a table of fields for every section, in the order of the file."""
    schema = json_schema()
    fields: Schema = schema["properties"]
    sections = {name: field for name, field in fields.items() if _sections(field, schema)}
    plain = {name: field for name, field in fields.items() if name not in sections}
    text = f"{_INTRODUCTION}\n## Top level\n\n{_table(plain, schema)}"
    for name, field in sections.items():
        text += _section(name, field, schema, "##")
    return text


def _section(path: str, field: Schema, schema: Schema, level: str) -> str:
    """One section (each kind of it, where there are several), then the sections inside it."""
    text = ""
    for model in _sections(field, schema):
        fields: Schema = model["properties"]
        kind = fields.get("kind", {}).get("const")
        text += f"\n{level} {path}{f' of kind {kind}' if kind else ''}\n\n{model['description']}\n\n"
        text += _table(fields, schema, path)
        for name, inner in fields.items():
            if _sections(inner, schema):
                text += _section(f"{path}.{name}", inner, schema, "###")
    return text


def _sections(field: Schema, schema: Schema) -> list[Schema]:
    """The models that stand in a field: itself, its kinds, or its list items."""
    if "$ref" in field:
        return [schema["$defs"][field["$ref"].rpartition("/")[2]]]
    for kinds in ("oneOf", "anyOf"):
        if kinds in field:
            return [model for kind in field[kinds] for model in _sections(kind, schema)]
    return _sections(field["items"], schema) if "items" in field else []


def _table(fields: Schema, schema: Schema, path: str = "") -> str:
    rows = "".join(
        f"| `{name}` | {schema_words(field, _called)} | {_default(field, schema)} | {_meaning(name, field, path)} |\n"
        for name, field in fields.items()
    )
    return f"| field | values | default | meaning |\n| --- | --- | --- | --- |\n{rows}"


def _meaning(name: str, field: Schema, path: str) -> str:
    inner = f"See {path}.{name}." if "$ref" in field else ""
    return table_cell(str(field.get("description", inner)))


def _default(field: Schema, schema: Schema) -> str:
    if "default" not in field or isinstance(field["default"], dict):
        return ""
    value = field["default"]
    if isinstance(value, list) and (sections := _sections(field, schema)):
        value = [_stated(item, sections[0]["properties"]) for item in value]
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _stated(item: Schema, fields: Schema) -> Schema:
    """What a list item says beyond its own defaults, or what it says at all where that is nothing."""
    stated = {name: value for name, value in item.items() if value != fields[name].get("default")}
    return stated or {name: value for name, value in item.items() if value}


def _called(name: str) -> str:
    del name  # each section has a table of its own, named by its path
    return "section"
