"""schemathesis against the OpenAPI document: no request that it allows breaks the server, no answer leaves it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import hypothesis
import pytest
import schemathesis
from schemathesis.specs.openapi.checks import positive_data_acceptance
from serving_world import TOKEN, WAIT, World, serving

from rewardsmith.serving.dialects import DIALECTS
from rewardsmith.serving.routes import openapi_document

schema = schemathesis.openapi.from_dict(openapi_document(DIALECTS.values()))


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with serving(token=TOKEN) as world:
        yield world


UNSAYABLE = {"no_response", "unscorable", "unreadable_message"}
"""What JSON Schema cannot say of a request: that a conversation ends with a response, that a text can be rendered; nor
says of a message, that it has content or calls, and calls a name."""


@schema.parametrize()
@hypothesis.settings(max_examples=15, derandomize=True, deadline=None)
def test_requests_of_the_document_and_others_are_answered_as_it_says(case: schemathesis.Case, world: World) -> None:
    found = case.call(
        base_url=f"http://{world.host}:{world.port}", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=WAIT
    )
    said = found.json()["error"]["code"] in UNSAYABLE if found.status_code == 422 else False
    case.validate_response(found, excluded_checks=[positive_data_acceptance] if said else [])


def test_the_document_names_every_route_and_every_refusal(world: World) -> None:
    document = world.get("/openapi.json").json()
    assert document == openapi_document(DIALECTS.values())
    paths = {dialect.path for dialect in DIALECTS.values()}
    fixed = {"/healthz", "/readyz", "/metrics", "/openapi.json", "/v1/models", "/v1/models/{name}"}
    assert set(document["paths"]) == (
        fixed | {"/v1/models/{name}/reload"} | paths | {f"/models/{{name}}{path}" for path in paths}
    )
    scoring = document["paths"]["/v1/score"]["post"]
    assert set(scoring["responses"]) >= {"200", "400", "401", "413", "415", "422", "503"}
    assert document["paths"]["/healthz"]["get"]["security"] == []


def test_every_scoring_route_takes_step_and_group_within_what_the_server_accepts(world: World) -> None:
    document = world.get("/openapi.json").json()
    named = document["components"]["parameters"]
    step, group = named["Step"], named["Group"]
    assert [(one["name"], one["in"], one["required"]) for one in (step, group)] == [
        ("X-Rewardsmith-Step", "header", False),
        ("X-Rewardsmith-Group", "header", False),
    ]
    references = [{"$ref": f"#/components/parameters/{name}"} for name in ("Step", "Group")]
    scoring = [path for path, methods in document["paths"].items() if "requestBody" in methods.get("post", {})]
    assert set(scoring) == {
        f"{prefix}{dialect.path}" for dialect in DIALECTS.values() for prefix in ("", "/models/{name}")
    }
    assert all(document["paths"][path]["post"]["parameters"] == references for path in scoring)
    pattern, longest = step["schema"]["pattern"], group["schema"]["maxLength"]
    for value, wanted in (("0", 200), ("9" * 15, 200), ("9" * 16, 422), ("-1", 422), ("1.0", 422), ("", 422)):
        assert bool(re.search(pattern, value)) is (wanted == 200)
        assert world.post("/get_reward", {"query": ["A"]}, X_Rewardsmith_Step=value).status == wanted
    assert longest == 200
    for size, wanted in ((longest, 200), (longest + 1, 422)):
        assert world.post("/get_reward", {"query": ["A"]}, X_Rewardsmith_Group="q" * size).status == wanted
