"""A running server asked for rewards, natively or as OpenRLHF's client asks.

    way = ask_server("http://127.0.0.1:8000", renderer, conversations)
    way = ask_server("http://any:TOKEN@127.0.0.1:5000/get_reward", renderer, conversations)

An address that ends in /get_reward is sent rendered texts, one a call, in OpenRLHF's protocol: so its own server can be
verified as well. Any other address is a server of ours. The token comes from the address or from $REWARDSMITH_TOKEN.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
from collections.abc import Sequence
from typing import Any
from urllib.parse import SplitResult, urlsplit

import numpy as np

from rewardsmith.addresses import fault_of_address, fault_of_secret, userinfo, without_userinfo
from rewardsmith.errors import ModelError
from rewardsmith.modeling.paths import Way
from rewardsmith.records.bounded import parse_json
from rewardsmith.rendering import Renderer
from rewardsmith.scoring.remote import TOKEN_VARIABLE, RemoteScorer
from rewardsmith.types import Conversation

OPENRLHF_PATH = "/get_reward"
NATIVE_PATH = "/v1/score"
_SECONDS = 180.0
_PATIENCE = 5.0


def ask_server(url: str, renderer: Renderer, conversations: Sequence[Conversation]) -> Way:
    """Rewards of a server, NaN where it has none.

    Raises:
        ModelError: it is not there, refuses the token, or answers something else.
    """
    if url.rstrip("/").endswith(OPENRLHF_PATH):
        return Way(_as_openrlhf(url, [renderer.text(one) for one in conversations]))
    scorer = RemoteScorer(url.rstrip("/").removesuffix(NATIVE_PATH), timeout=_SECONDS, patience=_PATIENCE)
    rewards = scorer.score(conversations)
    return Way(rewards, note=", ".join(f"{count} x {reason}" for reason, count in scorer.missing.items()))


def _as_openrlhf(url: str, texts: Sequence[str]) -> Any:
    shown = without_userinfo(url)
    if fault := fault_of_address(url):
        raise ModelError(f"is no address of a server: {fault}", where=shown, fix="write http://HOST:PORT/get_reward")
    parts = urlsplit(url)
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    rewards = np.full(len(texts), np.nan)
    for index, text in enumerate(texts):
        status, content = _post(parts, {"query": [text], "prompts": [], "labels": []}, shown)
        found = content.get("rewards") if isinstance(content, dict) else None
        if status == 401:
            raise ModelError("the server refuses the token", where=shown, fix=f"set ${TOKEN_VARIABLE}")
        if status != 200 or not isinstance(found, list) or len(found) != 1:
            raise ModelError(
                f"the server answers {status} without one reward for the text",
                where=shown,
                fix="see the server's log; does it speak OpenRLHF's protocol?",
            )
        try:
            rewards[index] = float(found[0])
        except (TypeError, ValueError, OverflowError) as error:
            raise ModelError(
                "the server answers with a reward that is no number", where=shown, fix="see the server's log"
            ) from error
    return rewards


def _post(parts: SplitResult, body: dict[str, Any], shown: str) -> tuple[int, Any]:
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    try:
        connection = kind(parts.hostname or "", parts.port, timeout=_SECONDS)
        try:
            connection.request("POST", parts.path, json.dumps(body), _headers(parts))
            answer = connection.getresponse()
            return answer.status, parse_json(answer.read())
        finally:
            connection.close()
    except (OSError, ValueError, RecursionError, http.client.HTTPException) as error:
        raise ModelError(
            f"no answer: {type(error).__name__}", where=shown, fix="start the server, or correct the address"
        ) from error


def _headers(parts: SplitResult) -> dict[str, str]:
    headers = {"Content-Type": "application/json"}
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if (given := userinfo(parts)) is not None:
        headers["Authorization"] = f"Basic {base64.b64encode(':'.join(given).encode()).decode()}"
    elif token:
        if fault := fault_of_secret(token):
            raise ModelError(f"the token {fault}", where=f"${TOKEN_VARIABLE}", fix="set it to the token alone")
        headers["Authorization"] = f"Bearer {token}"
    return headers
