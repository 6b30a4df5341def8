"""The table of paths: health, metrics, models, reload, and every dialect under its own path and under `/models/NAME`.

    route, name = routes.find("POST", "/models/helpful/get_reward")       # Refusal 404, 405
    response = await route.endpoint(Request(headers, body, name))
    document = openapi_document(DIALECTS.values())                        # of `GET /openapi.json`, for docs and tests

Every dialect does the same: read the request, let its model score, write the answer (`Routes._score`).
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jiter import from_json
from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

import rewardsmith
from rewardsmith.protocols import Router
from rewardsmith.serving.dialects import DIALECTS, Ask, Rewards
from rewardsmith.serving.dialects.contract import Dialect
from rewardsmith.serving.limits import ErrorAnswer, ItemFault, Limits, Refusal
from rewardsmith.serving.logs import log
from rewardsmith.serving.metrics import CONTENT_TYPE, Metrics
from rewardsmith.serving.models import NAME, Models, ServedModel
from rewardsmith.serving.queue import Answer, Failed, Reward
from rewardsmith.serving.stream import GROUP_CHARACTERS, STEP_DIGITS, RewardStream, mark_of

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Request:
    """What a route gets. `name` is the model named by the path, None where the path names none."""

    headers: Mapping[str, str]
    body: bytes = b""
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """What a route gives. `notes` go into the log line."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)


def answer(
    value: Any, *, status: int = 200, headers: dict[str, str] | None = None, notes: dict[str, Any] | None = None
) -> Response:
    """An answer in JSON."""
    return Response(status, to_json(value), headers=headers or {}, notes=notes or {})


def refused(refusal: Refusal) -> Response:
    """A refusal in JSON."""
    return Response(
        refusal.status, to_json(refusal.body()), headers=dict(refusal.headers), notes={"code": refusal.code}
    )


Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """What answers a path and a method; `label` is the path with names left out, `reads` whether it takes JSON."""

    label: str
    endpoint: Endpoint
    reads: bool = False
    open: bool = False


_PREFIX = re.compile(rf"/models/({NAME})(/.*)")
_MODEL = re.compile(rf"(/v1/models)/({NAME})(/reload)?")
_SHOWN_FAULTS = 20
_ON_THE_LOOP = 64 * 1024
"""Bytes of a body that is read in the event loop's thread; a larger one would let others wait."""


class Routes:
    """What answers which path. `ready` says why the server takes no new work, or "" while it does."""

    def __init__(
        self,
        models: Models,
        limits: Limits,
        metrics: Metrics,
        ready: Callable[[], str],
        router: Router | None = None,
        stream: RewardStream | None = None,
    ) -> None:
        self._models = models
        self._router = router
        self._stream = stream
        self._limits = limits
        self._metrics = metrics
        self._ready = ready
        self._document: dict[str, Any] | None = None
        self._table: dict[str, dict[str, Route]] = {
            "/healthz": {"GET": Route("/healthz", self._healthz, open=True)},
            "/readyz": {"GET": Route("/readyz", self._readyz, open=True)},
            "/metrics": {"GET": Route("/metrics", self._exposition)},
            "/openapi.json": {"GET": Route("/openapi.json", self._openapi)},
            "/v1/models": {"GET": Route("/v1/models", self._list)},
        }
        self._model_table: dict[str, dict[str, Route]] = {
            "": {"GET": Route("/v1/models/{name}", self._show)},
            "/reload": {"POST": Route("/v1/models/{name}/reload", self._reload)},
        }
        self._dialect_table: dict[str, dict[str, Route]] = {}
        for path in dict.fromkeys(dialect.path for dialect in DIALECTS.values()):
            endpoint = self._endpoint([dialect for dialect in DIALECTS.values() if dialect.path == path])
            self._table[path] = {"POST": Route(path, endpoint, reads=True)}
            self._dialect_table[path] = {"POST": Route(f"/models/{{name}}{path}", endpoint, reads=True)}

    def find(self, method: str, path: str) -> tuple[Route, str | None]:
        """The route of a path, and the model that the path names.

        Raises:
            Refusal: no such path (404), or not with this method (405).
        """
        methods, name = self._methods(path)
        if methods is None:
            raise Refusal(404, "unknown_path", "there is nothing at this path", fix="see GET /openapi.json")
        if method not in methods:
            allowed = ", ".join(methods)
            raise Refusal(405, "unknown_method", f"this path takes {allowed}", headers={"allow": allowed})
        return methods[method], name

    def _methods(self, path: str) -> tuple[dict[str, Route] | None, str | None]:
        if path in self._table:
            return self._table[path], None
        if found := _MODEL.fullmatch(path):
            return self._model_table[found[3] or ""], found[2]
        if found := _PREFIX.fullmatch(path):
            return self._dialect_table.get(found[2]), found[1]
        return None, None

    async def _healthz(self, request: Request) -> Response:
        del request
        return answer({"status": "ok"})

    async def _readyz(self, request: Request) -> Response:
        del request
        reason = self._ready()
        return answer({"status": reason or "ready"}, status=503 if reason else 200)

    async def _exposition(self, request: Request) -> Response:
        del request
        return Response(200, self._metrics.exposition(), CONTENT_TYPE)

    async def _openapi(self, request: Request) -> Response:
        del request
        if self._document is None:
            self._document = openapi_document(DIALECTS.values())
        return answer(self._document)

    async def _list(self, request: Request) -> Response:
        del request
        return answer({"object": "list", "data": [_card(self._models.find(name)) for name in self._models.names()]})

    async def _show(self, request: Request) -> Response:
        return answer(_card(self._models.find(request.name)))

    async def _reload(self, request: Request) -> Response:
        name = self._models.find(request.name).name
        started = time.perf_counter()
        try:
            model = await self._models.reload(name)
        except Refusal as refusal:
            self._metrics.reloaded(name, refusal.code)
            raise
        self._metrics.reloaded(name, "done")
        self._metrics.model(name).serve(model.info)
        seconds = round(time.perf_counter() - started, 3)
        log("reloaded", model=name, identity=model.info.identity, seconds=seconds)
        return answer(_card(model))

    def _endpoint(self, dialects: list[Dialect]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            return await self._score(dialects, request)

        return endpoint

    async def _score(self, dialects: list[Dialect], request: Request) -> Response:
        if len(request.body) > _ON_THE_LOOP:
            dialect, asked = await asyncio.to_thread(_validate, dialects, request.body)
        else:
            dialect, asked = _validate(dialects, request.body)
        ask = dialect.read(asked)
        self._check(ask)
        # Without a stream too, so that the document holds of every server.
        mark = mark_of(request.headers)
        model = self._models.find(ask.model if request.name is None else request.name)
        limits = self._limits
        seconds = limits.patient_seconds if dialect.patient else limits.seconds
        found = await model.batcher.submit(
            ask.conversations, seconds=seconds, patience=seconds if dialect.patient else 0.0
        )
        rewards = _rewards(found, ask, model)
        written = (
            await dialect.settle(asked, rewards, self._router) if dialect.settle else dialect.write(asked, rewards)
        )
        if self._stream is not None:
            self._stream.add(ask, rewards, mark)
        return answer(
            written,
            headers={"x-rewardsmith-model": f"{model.name} {found.info.identity}"},
            notes={"model": model.name, "conversations": len(rewards.values), "tokens": sum(rewards.tokens)},
        )

    def _check(self, ask: Ask) -> None:
        limits = self._limits
        if len(ask.conversations) > limits.items:
            raise Refusal(
                422,
                "too_many_items",
                f"{len(ask.conversations)} conversations in one request, this server takes {limits.items}",
                fix="send them in several requests",
                limit=("items", limits.items),
            )
        for index, conversation in enumerate(ask.conversations):
            size = sum(len(turn.text) for turn in conversation)
            if size > limits.characters:
                raise Refusal(
                    422,
                    "text_too_long",
                    f"a conversation has {size:,} characters, this server takes {limits.characters:,}",
                    fix="shorten it",
                    limit=("characters", limits.characters),
                    items=[ItemFault(where=f"conversations[{index}]", code="characters", detail=f"{size} characters")],
                )


def _card(model: ServedModel) -> dict[str, Any]:
    """What is said of a model."""
    info = model.info
    return {
        "id": model.name,
        "object": "model",
        "identity": info.identity,
        "base_model": info.base_model,
        "max_length": info.max_length,
        "over_length": info.over_length,
        "conversational": info.conversational,
        "layout": info.layout,
        "reward_mean": info.reward_mean,
        "reward_std": info.reward_std,
        "temperature": info.temperature,
    }


def _validate(dialects: list[Dialect], body: bytes) -> tuple[Dialect, Any]:
    """The dialect of a body, and the body as its request.

    Raises:
        Refusal: no JSON (400), or of another form (422).
    """
    try:
        # a name that stands twice has no meaning: the last one would win without a word
        found = from_json(body, allow_inf_nan=False, catch_duplicate_keys=True)
    except ValueError:
        raise Refusal(400, "not_json", "the body is not JSON, or names a field twice", fix="send UTF-8 JSON") from None
    marked = [one for one in dialects if one.marker and isinstance(found, dict) and one.marker in found]
    dialect = marked[0] if marked else next(one for one in dialects if one.marker is None)
    try:
        return dialect, dialect.request.model_validate(found)
    except ValidationError as error:
        raise Refusal(
            422,
            "invalid_request",
            f"the body is no request of {dialect.summary}",
            fix="see GET /openapi.json",
            items=_faults(error),
        ) from None


def _faults(error: ValidationError) -> list[ItemFault]:
    details = error.errors(include_url=False, include_context=False, include_input=False)
    return [
        ItemFault(where=".".join(map(str, detail["loc"])), code=detail["type"], detail=detail["msg"])
        for detail in details[:_SHOWN_FAULTS]
    ]


def _rewards(found: Answer, ask: Ask, model: ServedModel) -> Rewards:
    """Outcomes as a dialect writes them.

    Raises:
        Refusal: a conversation has no sound rendering (422), or the model failed (500).
    """
    if any(isinstance(outcome, Failed) for outcome in found.outcomes):
        kinds = sorted({outcome.kind for outcome in found.outcomes if isinstance(outcome, Failed)})
        raise Refusal(500, "model_failed", f"the model gave no reward: {', '.join(kinds)}", fix="see the server's log")
    scored = [outcome if isinstance(outcome, Reward) else None for outcome in found.outcomes]
    if None in scored and not ask.allow_missing:
        raise _unscorable(found)
    names = next((list(one.members) for one in scored if one is not None), [])
    return Rewards(
        values=[None if one is None else one.value for one in scored],
        tokens=[0 if one is None else one.tokens for one in scored],
        cut=[0 if one is None else one.cut for one in scored],
        reasons=["" if isinstance(one, Reward | Failed) else one.code for one in found.outcomes],
        members={name: [None if one is None else one.members[name] for one in scored] for name in names},
        model=model.name,
        info=found.info,
        spread=[None if one is None else one.spread for one in scored] if names else [],
    )


def _unscorable(found: Answer) -> Refusal:
    faults = [
        ItemFault(where=f"conversations[{index}]", code=outcome.code, detail=outcome.detail)
        for index, outcome in enumerate(found.outcomes)
        if not isinstance(outcome, Reward | Failed)
    ]
    limit = None
    if any(fault.code == "over_length" for fault in faults) and found.info.max_length is not None:
        limit = ("max_length", float(found.info.max_length))
    return Refusal(
        422,
        "unscorable",
        f"{len(faults)} of {len(found.outcomes)} conversations cannot be scored",
        fix="correct them, or ask with allow_missing where the dialect has it",
        limit=limit,
        items=faults[:_SHOWN_FAULTS],
    )


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
_MARKS = {
    "Step": {
        "name": "X-Rewardsmith-Step",
        "in": "header",
        "required": False,
        "description": f"Step of the policy's training, a whole number of at most {STEP_DIGITS} digits. `serve "
        "--stream` writes it with every row of the request.",
        "schema": {"type": "string", "pattern": f"^[0-9]{{1,{STEP_DIGITS}}}$"},
    },
    "Group": {
        "name": "X-Rewardsmith-Group",
        "in": "header",
        "required": False,
        "description": f"What answers to one prompt have in common, at most {GROUP_CHARACTERS} characters. "
        "`serve --stream` writes it with every row of the request.",
        "schema": {"type": "string", "maxLength": GROUP_CHARACTERS},
    },
}
_STATUS = {"type": "object", "properties": {"status": {"type": "string"}}, "required": ["status"]}
_CARD = {"$ref": "#/components/schemas/ModelCard"}


def openapi_document(dialects: Iterable[Dialect]) -> Json:
    """The OpenAPI document of all routes; two dialects of one path become alternatives."""
    dialects = list(dialects)
    error = {"$ref": _REF.format(model="ErrorAnswer")}
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
            "parameters": _MARKS,
            "responses": {str(status): _json(text, error) for status, text in _REFUSALS.items()},
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
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in _MARKS],
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


def _any_of(schemas: list[Json]) -> Json:
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _json(text: str, schema: Json) -> Json:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _refusals(statuses: tuple[int, ...]) -> Json:
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in statuses}
