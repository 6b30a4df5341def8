"""docs/http.md, written from the OpenAPI document: every route with what it takes and gives, and every refusal."""

from __future__ import annotations

import json
from collections.abc import Iterator

from pages.words import Schema, heading_link, schema_words, table_cell
from rewardsmith.serving.dialects import DIALECTS
from rewardsmith.serving.routes import openapi_document

_HEAD = """\
# HTTP: every route

What `rewardsmith serve` answers; [serving.md](serving.md) says how to use it. `GET /openapi.json` gives the same for
programs, and this page is generated from it by `make docs`. Every scoring route also stands under `/models/NAME/…`,
for a server with several models. Rewards are raw in all of them: nothing is normalised, and no sigmoid is applied. A
token is sent as `Authorization: Bearer …`, or as name or password of HTTP Basic (`http://TOKEN@host/…`).

| route | what it does |
| --- | --- |
"""
_HEADERS = """
## Headers

Every scoring route takes them. A wrong one is refused with 422.

| header | holds | what it says |
| --- | --- | --- |
"""
_REFUSALS = """
## Refusals

A refusal is JSON with `error`: `code`, `message`, `fix`, and `limit` where one was passed.

| status | when |
| --- | --- |
"""


def http_page() -> str:
    """The page: routes, what each takes and gives with an example, headers, refusals, the parts of all."""
    document = openapi_document(DIALECTS.values())
    routes = [route for route in _routes(document) if not route[1].startswith("/models/{name}/")]
    rows = "".join(f"| `{method} {path}` | {route['summary']} |\n" for method, path, route in routes)
    answers = document["components"]["responses"]
    refusals = "".join(f"| {status} | {table_cell(answer['description'])} |\n" for status, answer in answers.items())
    marks = document["components"]["parameters"].values()
    headers = "".join(
        f"| `{one['name']}`, optional | {table_cell(schema_words(one['schema'], heading_link))} "
        f"| {table_cell(one['description'])} |\n"
        for one in marks
    )
    models = document["components"]["schemas"]
    parts = "".join(f"\n### {name}\n\n{_described(models[name])}" for name in sorted(models))
    told = "".join(_route(*route) for route in routes if "requestBody" in route[2])
    return f"{_HEAD}{rows}{told}{_HEADERS}{headers}{_REFUSALS}{refusals}\n## Parts\n{parts}"


def _routes(document: Schema) -> Iterator[tuple[str, str, Schema]]:
    for path, methods in document["paths"].items():
        yield from ((name.upper(), path, route) for name, route in methods.items() if name != "parameters")


def _route(method: str, path: str, route: Schema) -> str:
    """One scoring route: what it takes and gives, and an example for each dialect that it speaks."""
    body = route["requestBody"]["content"]["application/json"]
    given = route["responses"]["200"]["content"]["application/json"]["schema"]
    examples = "".join(
        f"\n```text\n{json.dumps(example['value'], ensure_ascii=False)}\n```\n" for example in body["examples"].values()
    )
    takes, gives = schema_words(body["schema"], heading_link), schema_words(given, heading_link)
    return f"\n## {method} {path}\n\n{route['summary']}. Takes {takes}; gives {gives}.\n{examples}"


def _described(model: Schema) -> str:
    told = f"{model['description']}\n\n" if "description" in model else ""
    required = set(model.get("required", ()))
    rows = "".join(
        f"| `{name}`{'' if name in required else ', optional'} | {table_cell(schema_words(field, heading_link))} |\n"
        for name, field in model.get("properties", {}).items()
    )
    return f"{told}| field | holds |\n| --- | --- |\n{rows}" if rows else f"{told}{schema_words(model, heading_link)}\n"
