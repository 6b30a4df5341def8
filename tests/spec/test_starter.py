"""What is generated from the models: the commented spec of `rewardsmith init`, the JSON schema, the reference page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from pages.spec import json_schema, spec_page
from rewardsmith.spec import NoAdapter, Spec, load_spec
from rewardsmith.spec.section import Section
from rewardsmith.spec.tree import commented, starter_spec

DOCS = Path(__file__).resolve().parents[2] / "docs"


def load(tmp_path: Path, text: str) -> Spec:
    path = tmp_path / "spec.yaml"
    path.write_text(text, encoding="utf-8")
    return load_spec(path)


def test_the_starter_is_every_default(tmp_path: Path) -> None:
    assert load(tmp_path, starter_spec()) == Spec()


def test_choices_take_the_place_of_defaults(tmp_path: Path) -> None:
    text = starter_spec(name="mine", base_model={"id": "org/base"}, data={"train": [{"path": "a.jsonl", "limit": 5}]})
    spec = load(tmp_path, text)
    assert (spec.name, spec.base_model.id) == ("mine", "org/base")
    assert [(source.path, source.limit) for source in spec.data.train] == [("a.jsonl", 5)]
    with pytest.raises(ValidationError):
        starter_spec(training={"epochs": 2})


def test_any_spec_survives_the_commented_form(tmp_path: Path) -> None:
    spec = Spec(
        name="x",
        adapter={"kind": "lora", "target_modules": ["q_proj"]},
        data={"train": [{"path": "a: #b.jsonl", "columns": {"chosen": "gut"}}, {"id": "c/d", "label": "d"}]},
        evaluation={"benchmarks": [], "gates": {"minimum": {"held_out": {"average": 0.6}}}},
    )
    assert load(tmp_path, commented(spec)) == spec


def described(section: Section, above: str = "") -> dict[str, str]:
    """Every field of a spec by its dotted name, with what the models say about it."""
    found = {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            found[f"{above}{name}"] = "" if isinstance(value, NoAdapter) else str(value.__doc__)
            found |= described(value, f"{above}{name}.")
        else:
            found[f"{above}{name}"] = str(field.description)
    return found


def comments_beside(text: str) -> dict[str, str]:
    """The comment of every field of a commented spec, by dotted name: beside it, and for a section above it."""
    found: dict[str, str] = {}
    path: list[str] = []
    above: list[str] = []
    for line in text.splitlines():
        code, _, comment = line.partition("# ")
        key = re.match(r"( *)([a-z_]+):", code)
        if key:
            path = [*path[: len(key[1]) // 2], key[2]]
            found[".".join(path)] = comment or " ".join(above)
            above = []
        elif not code.strip() and comment and code:
            found[".".join(path)] += f" {comment}"
        elif comment:
            above.append(comment)
        else:
            above = []
    return found


def test_every_field_stands_there_with_what_it_means() -> None:
    beside = comments_beside(starter_spec())
    for field, meaning in described(Spec()).items():
        assert beside[field].startswith(" ".join(meaning.split())), field
    assert set(beside) == set(described(Spec()))


def test_every_comment_has_something_to_say() -> None:
    assert all(len(meaning) > 10 for field, meaning in described(Spec()).items() if field != "adapter")


def test_lines_fit_a_screen() -> None:
    assert max(map(len, starter_spec().splitlines())) <= 120


@pytest.mark.parametrize("field", ["backend", "training.schedule", "training.monitor.on_stall"])
def test_a_choice_names_its_values(field: str) -> None:
    beside = comments_beside(starter_spec())[field]
    schema = json_schema()
    for name in field.split("."):
        schema = schema["properties"][name]
        schema = json_schema()["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    assert all(value in beside for value in schema["enum"])


def test_the_schema_describes_what_the_starter_holds() -> None:
    schema = json.loads((DOCS / "spec.schema.json").read_text(encoding="utf-8"))
    content = yaml.safe_load(starter_spec())
    assert set(schema["properties"]) == set(content)
    assert schema["additionalProperties"] is False
    training = schema["$defs"]["TrainingSpec"]
    assert set(training["properties"]) == set(content["training"])
    assert training["properties"]["epochs"]["const"] == 1
    assert training["properties"]["loss"]["const"] == "bradley_terry"
    assert schema["$defs"]["BaseModelSpec"]["properties"]["trust_remote_code"]["const"] is False
    count, none = schema["$defs"]["PolicySpec"]["properties"]["parameters"]["anyOf"]
    assert [kind["type"] for kind in (*count["anyOf"], none)] == ["integer", "string", "null"]


def test_the_reference_has_a_row_for_every_field() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", spec_page(), flags=re.MULTILINE)
    schema = json_schema()
    plain = {name for name, field in schema["properties"].items() if "$ref" not in field and "oneOf" not in field}
    assert set(rows) == plain.union(*(model["properties"] for model in schema["$defs"].values()))
    assert "| `learning_rate` | number > 0 | `1e-05` |" in spec_page()
    assert "| `reward_range` | list of two: number, number or `null` | `[-25.0, 25.0]` |" in spec_page()
