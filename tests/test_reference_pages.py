"""The reference pages of commands, records and HTTP: what the code says, all of it, with links that lead somewhere."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import TypeAdapter

import rewardsmith.records as records
from rewardsmith.cli.reference import commands_page
from rewardsmith.records.files import Record
from rewardsmith.records.reference import FILES, records_page
from rewardsmith.records.schema_words import schema_words
from rewardsmith.serving.dialects import DIALECTS
from rewardsmith.serving.reference import http_page

ROOT = Path(__file__).parents[1]
PAGES = {"commands.md": commands_page, "records.md": records_page, "http.md": http_page}


def every(kind: type[Record]) -> Iterator[type[Record]]:
    for below in kind.__subclasses__():
        if below.__module__.startswith("rewardsmith.records."):
            yield below
        yield from every(below)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_code_says(name: str) -> None:
    page: Callable[[], str] = PAGES[name]
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == page(), "run make docs"


@pytest.mark.parametrize("name", ["records.md", "http.md"])
def test_links_within_a_page_lead_to_a_heading(name: str) -> None:
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    headings = {line.lstrip("#").strip().lower() for line in text.splitlines() if line.startswith("##")}
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= headings


def test_every_record_with_a_schema_number_is_in_a_named_file() -> None:
    versioned = {kind.__name__ for kind in every(Record) if "schema_version" in kind.model_fields}
    # The state of an unfinished bulk job is its own business.
    assert versioned - {"BulkState"} <= {kind.__name__ for _, kind in FILES.values()}


def test_no_two_records_share_a_name() -> None:
    names = Counter(kind.__name__ for kind in every(Record))
    assert [name for name, count in names.items() if count > 1] == []
    assert {name for name in names if name in records.__all__} >= {kind.__name__ for _, kind in FILES.values()}


def test_every_command_of_the_readme_has_its_entry() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `rewardsmith ([a-z]+)", readme, flags=re.MULTILINE))
    entries = set(re.findall(r"^## rewardsmith ([a-z]+)", commands_page(), flags=re.MULTILINE))
    assert named == entries


def test_every_dialect_has_its_route_and_example() -> None:
    page = http_page()
    shown = [json.loads(block) for block in re.findall(r"```text\n(.*?)\n```", page)]
    for dialect in DIALECTS.values():
        assert f"\n## POST {dialect.path}\n" in page
        assert dialect.summary in page
        assert dialect.example in shown
        TypeAdapter(dialect.request).validate_python(dialect.example)
    assert len(shown) == len(DIALECTS)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 9}, "whole number ≥ 1 and ≤ 9"),
        ({"type": ["number", "null"]}, "number or `null`"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "text or `null`"),
        ({"enum": ["a", ""]}, '`a`, `""`'),
        ({"type": "array", "items": {"$ref": "#/$defs/Row"}}, "list of <Row>"),
        ({"type": "array", "prefixItems": [{"type": "string"}, {"type": "number"}]}, "list of two: text, number"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "mapping of text to number"),
        ({"type": "object"}, "mapping"),
        ({}, "anything"),
        ({"const": 1}, "`1`"),
    ],
)
def test_a_schema_in_words(schema: dict[str, object], words: str) -> None:
    assert schema_words(schema, lambda name: f"<{name}>") == words
