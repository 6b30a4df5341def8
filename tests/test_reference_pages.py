"""The reference pages: each is what the code says, all of it, with links that lead somewhere."""

from __future__ import annotations

import copy
import importlib
import json
import pkgutil
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jsonschema_rs
import numpy as np
import pytest
import typer
from pydantic import TypeAdapter

import rewardsmith.records
from pages import PAGES, page
from pages.__main__ import main
from pages.commands import commands_page
from pages.http import http_page
from pages.records import FILES, field_docs
from pages.words import schema_words
from rewardsmith.cli.app import application
from rewardsmith.evaluation import BenchmarkRows, EvalRow, find_benchmark, score_rows
from rewardsmith.records.evaluation import DatasetInfo
from rewardsmith.records.files import Record, write_json
from rewardsmith.serving.dialects import DIALECTS
from rewardsmith.types import Message

ROOT = Path(__file__).parents[1]


for module in pkgutil.iter_modules(rewardsmith.records.__path__):
    importlib.import_module(f"rewardsmith.records.{module.name}")


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
    names = Counter(kind.__name__ for kind in set(every(Record)))
    assert [name for name, count in names.items() if count > 1] == []


def unexplained(kind: type[Record]) -> list[str]:
    """Fields without a sentence of their own under them."""
    said = field_docs(kind)
    fields = (field.alias or name for name, field in kind.model_fields.items())
    return [f"{kind.__name__}.{name}" for name in fields if not re.fullmatch(r"(?s)[^a-z].*\.", said.get(name, ""))]


def test_every_field_of_every_record_says_what_it_is() -> None:
    assert [field for kind in every(Record) for field in unexplained(kind)] == []


def test_a_field_that_says_nothing_is_named() -> None:
    class Planted(Record):
        """Three fields, of which one is explained."""

        told: int
        """Rows that were read."""
        silent: int
        half: int
        """rows"""

    assert unexplained(Planted) == ["Planted.silent", "Planted.half"]


def test_the_page_has_the_words_under_the_field() -> None:
    assert "| `peak` | number | Bytes of the phase that needs most. |" in page("records.md")
    assert "| `worst` | text | End of the conversation with the largest difference. |" in page("records.md")


@pytest.fixture(scope="module")
def results() -> Iterator[dict[str, Any]]:
    """What `write_json` writes of rewards of pairs, one of them missing."""
    rows = tuple(
        EvalRow(
            str(n),
            "a",
            (Message("user", f"q{n}"),),
            ((Message("assistant", "right"),),),
            ((Message("assistant", "no"),),),
        )
        for n in range(4)
    )
    rewards = [np.array(pair) for pair in ((1.0, 0.0), (0.5, 2.0), (3.0, 1.0), (np.nan, 1.0))]
    bundle = BenchmarkRows(rows=rows, dataset=DatasetInfo(source="here"), title="here")
    result = score_rows(find_benchmark("pairs"), bundle, rewards, seed=1, resamples=100).result
    with TemporaryDirectory() as folder:
        write_json(Path(folder) / "results.json", result)
        yield json.loads((Path(folder) / "results.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def results_schema() -> jsonschema_rs.Draft202012Validator:
    schema = json.loads((ROOT / "docs" / "results.schema.json").read_text(encoding="utf-8"))
    jsonschema_rs.meta.validate(schema)
    return jsonschema_rs.Draft202012Validator(schema)


def test_a_written_result_is_what_the_schema_says(
    results: dict[str, Any], results_schema: jsonschema_rs.Draft202012Validator
) -> None:
    assert [str(error) for error in results_schema.iter_errors(results)] == []
    assert results["subsets"]["a"]["n_missing"] == 1
    assert results["analysis"]["calibration"]["n"] == 3


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("subsets", "a", "score"), "high"),
        (("subsets", "a", "unheard_of"), 1),
        (("schema",), 2),
        (("rewards", "histogram"), [0.5]),
        (("analysis", "length", "prompts"), None),
    ],
)
def test_what_is_no_result_breaks_the_schema(
    place: tuple[str, ...], value: object, results: dict[str, Any], results_schema: jsonschema_rs.Draft202012Validator
) -> None:
    broken = copy.deepcopy(results)
    inner = broken
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    assert not results_schema.is_valid(broken)


def test_every_command_of_the_readme_has_its_entry() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `rewardsmith ([a-z]+)", readme, flags=re.MULTILINE))
    entries = set(re.findall(r"^## rewardsmith ([a-z]+)", commands_page(), flags=re.MULTILINE))
    assert named == entries


def test_help_groups_the_commands_as_the_readme_does() -> None:
    tables = re.split(r"^\| (\w+) \| \|$", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    readme = {
        group.capitalize(): set(re.findall(r"^\| `rewardsmith ([a-z]+)", rows, flags=re.MULTILINE))
        for group, rows in zip(tables[::2], tables[1::2], strict=True)
    }
    shown: dict[str, set[str]] = {}
    for name, command in typer.main.get_group(application()).commands.items():
        shown.setdefault(command.rich_help_panel, set()).add(name)
    assert shown == readme
    assert list(shown) == list(readme) == ["Train", "Evaluate", "Serve", "Look"]


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
