"""The OpenAPI document, made from the dialects: what `GET /openapi.json` gives and what schemathesis tests.

document = openapi_document(DIALECTS.values())
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import TypeAdapter

import rewardsmith
from rewardsmith.serving.dialects.contract import Dialect
from rewardsmith.serving.models import NAME
from rewardsmith.serving.refusals import ErrorAnswer

Json = dict[str, Any]

_REF = "#/components/schemas/{model}"
_REFUSALS = {
    400: "The body is not JSON, or damaged; or the Host header is missing",
    401: "The token is missing or wrong",
    403: "A page of another site asks",
    404: "No model of that name is served",
    408: "The body did not arrive in time",
    409: "It is being reloaded already, or what is there cannot be used",
    413: "The body, as sent or decompressed, is over the limit",
    415: "The content-type is not JSON, or the content-encoding is not known",
    421: "The Host header names another site",
    422: "The request has another form, passes a limit, or cannot be scored",
    500: "The model failed",
    503: "The queue is full or the deadline passed: see Retry-After",
}
_STRANGER = (400, 403, 421)
_CLOSED = (*_STRANGER, 401)
_SCORING = (*_CLOSED, 404, 408, 413, 415, 422, 500, 503)
_NAME = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "The name of a served model.",
    "schema": {"type": "string", "pattern": f"^{NAME}$"},
}
_STATUS = {"type": "object", "properties": {"status": {"type": "string"}}, "required": ["status"]}
_CARD = {"$ref": "#/components/schemas/ModelCard"}


def openapi_document(dialects: Iterable[Dialect]) -> Json:
    """The document for all routes; two dialects of one path become alternatives."""
    dialects = list(dialects)
    schemas, components = _schemas(dialects)
    paths = _fixed_paths()
    for path in dict.fromkeys(dialect.path for dialect in dialects):
        here = [dialect for dialect in dialects if dialect.path == path]
        paths[path] = {"post": _scoring(here, schemas, "")}
        paths[f"/models/{{name}}{path}"] = {"parameters": [_NAME], "post": _scoring(here, schemas, "_named")}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Rewardsmith",
            "version": rewardsmith.__version__,
            "description": "Raw rewards of texts. Nothing is normalised and no sigmoid is applied in any dialect.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {str(status): _json(text, _schema("ErrorAnswer")) for status, text in _REFUSALS.items()},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic", "description": "The token as name or password."},
            },
        },
        "security": [{"bearer": []}, {"basic": []}],
    }


def _schemas(dialects: list[Dialect]) -> tuple[dict[tuple[str, str], Json], Json]:
    """The schema of each (dialect, "request" or "answer"), and the components that these refer to."""
    wanted: list[Any] = [((one.name, "request"), "validation", TypeAdapter(one.request)) for one in dialects]
    wanted += [((one.name, "answer"), "serialization", TypeAdapter(one.answer)) for one in dialects]
    wanted += [(("", "error"), "serialization", TypeAdapter(ErrorAnswer))]
    found, components = TypeAdapter.json_schemas(wanted, ref_template=_REF)
    return {key: schema for (key, _), schema in found.items()}, {**components["$defs"], "ModelCard": _card_schema()}


def _card_schema() -> Json:
    def maybe(kind: str) -> Json:
        return {"type": [kind, "null"]}

    fields: Json = {"id": {"type": "string"}, "object": {"const": "model"}, "identity": {"type": "string"}}
    fields |= {"base_model": {"type": "string"}, "layout": {"type": "string"}, "conversational": {"type": "boolean"}}
    fields |= {"max_length": maybe("integer"), "over_length": {"type": "string"}}
    fields |= {"reward_mean": maybe("number"), "reward_std": maybe("number"), "temperature": maybe("number")}
    return {"type": "object", "title": "ModelCard", "properties": fields, "required": list(fields)}


def _scoring(dialects: list[Dialect], schemas: dict[tuple[str, str], Json], suffix: str) -> Json:
    body = {
        "schema": _any_of([schemas[one.name, "request"] for one in dialects]),
        "examples": {one.name: {"value": one.example} for one in dialects},
    }
    return {
        "operationId": "_".join(one.name for one in dialects) + suffix,
        "summary": "; ".join(one.summary for one in dialects),
        "requestBody": {"required": True, "content": {"application/json": body}},
        "responses": {
            "200": _json("Raw rewards", _any_of([schemas[one.name, "answer"] for one in dialects])),
            **_refusals(_SCORING),
        },
    }


def _fixed_paths() -> Json:
    cards = {"type": "object", "properties": {"data": {"type": "array", "items": _CARD}}, "required": ["data"]}
    metrics = {"description": "Prometheus text format", "content": {"text/plain": {"schema": {"type": "string"}}}}
    unready = {"503": _json("It does not, and why", _STATUS)}
    reload = {
        "operationId": "reload",
        "summary": "Load a model again from where the server was started with; no request is dropped",
        "responses": {"200": _json("The card of the new weights", _CARD), **_refusals((*_CLOSED, 404, 409, 500))},
    }
    return {
        "/healthz": {"get": _open("healthz", "Whether the server runs", _json("It runs", _STATUS))},
        "/readyz": {"get": _open("readyz", "Whether it takes new work", _json("It does", _STATUS), unready)},
        "/metrics": {"get": _closed("metrics", "Metrics for Prometheus", metrics)},
        "/openapi.json": {"get": _closed("openapi", "This document", _json("OpenAPI 3.1", {"type": "object"}))},
        "/v1/models": {"get": _closed("models", "The models by name", _json("All", cards))},
        "/v1/models/{name}": {
            "parameters": [_NAME],
            "get": _closed("model", "One model", _json("Its card", _CARD), _refusals((404,))),
        },
        "/v1/models/{name}/reload": {"parameters": [_NAME], "post": reload},
    }


def _open(name: str, summary: str, found: Json, others: Json | None = None) -> Json:
    responses = {"200": found, **_refusals(_STRANGER), **(others or {})}
    return {"operationId": name, "summary": summary, "security": [], "responses": responses}


def _closed(name: str, summary: str, found: Json, others: Json | None = None) -> Json:
    return {
        "operationId": name,
        "summary": summary,
        "responses": {"200": found, **_refusals(_CLOSED), **(others or {})},
    }


def _schema(name: str) -> Json:
    return {"$ref": _REF.format(model=name)}


def _any_of(schemas: list[Json]) -> Json:
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _json(text: str, schema: Json) -> Json:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _refusals(statuses: tuple[int, ...]) -> Json:
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in statuses}
