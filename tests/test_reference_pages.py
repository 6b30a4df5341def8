"""The reference pages: each is what the code says, all of it, with links that lead somewhere."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import TypeAdapter

import rewardsmith.records as records
from pages import PAGES, page
from pages.__main__ import main
from pages.commands import commands_page
from pages.http import http_page
from pages.records import FILES
from pages.words import schema_words
from rewardsmith.records.files import Record
from rewardsmith.serving.dialects import DIALECTS

ROOT = Path(__file__).parents[1]


def every(kind: type[Record]) -> Iterator[type[Record]]:
    for below in kind.__subclasses__():
        if below.__module__.startswith("rewardsmith.records."):
            yield below
        yield from every(below)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_code_says(name: str) -> None:
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == page(name), "run make docs"


def test_check_names_the_page_that_is_out_of_date_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("spec.md", "http.md", "spec.schema.json"):
        shutil.copy(ROOT / "docs" / name, tmp_path)
    arguments = ["pages", str(tmp_path), "spec.md", "http.md", "spec.schema.json"]
    monkeypatch.setattr(sys, "argv", [*arguments, "--check"])
    main()
    stale = (tmp_path / "http.md").read_text(encoding="utf-8").replace("POST", "PUT")
    (tmp_path / "http.md").write_text(stale, encoding="utf-8")
    with pytest.raises(SystemExit, match=r"^Out of date, run `make docs`: http\.md$"):
        main()
    assert (tmp_path / "http.md").read_text(encoding="utf-8") == stale
    monkeypatch.setattr(sys, "argv", arguments)
    main()
    assert (tmp_path / "http.md").read_text(encoding="utf-8") == (ROOT / "docs" / "http.md").read_text(encoding="utf-8")


def test_no_page_is_written_by_the_package_itself() -> None:
    source = ROOT / "src" / "rewardsmith"
    assert [path for path in source.rglob("*.py") if path.stem in {"reference", "schema_words"}] == []


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
    told = http_page()
    shown = [json.loads(block) for block in re.findall(r"```text\n(.*?)\n```", told)]
    for dialect in DIALECTS.values():
        assert f"\n## POST {dialect.path}\n" in told
        assert dialect.summary in told
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
