"""Names that may be on the hub: a path is never sent there, and whoever is not there is asked for once."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cli_world import World
from huggingface_hub import constants

from rewardsmith import hub
from rewardsmith.data.files import hub_revision, read_hub
from rewardsmith.errors import DataError, ModelError, RenderingError
from rewardsmith.hub import ask_hub
from rewardsmith.modeling import shapes
from rewardsmith.modeling.loading import load_config
from rewardsmith.rendering import load_tokenizer
from rewardsmith.spec import SourceSpec


class Hub:
    """Answers every request with one status, or closes the connection (0); remembers what it was asked."""

    def __init__(self) -> None:
        self.status = 404
        self.asked: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.asked.append(self.path.partition("?")[0])
                if hub.status:
                    content = json.dumps({"id": "org/name", "modelId": "org/name", "sha": "0" * 40, "siblings": []})
                    self.send_response(hub.status)
                    if hub.status == 404:
                        self.send_header("X-Error-Code", "RepoNotFound")
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content.encode())
                self.close_connection = True

            do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    found = Hub()
    thread = threading.Thread(target=found.server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setattr(constants, "ENDPOINT", found.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hub, "_ASKED", {})
    monkeypatch.chdir(tmp_path)
    yield found
    found.server.shutdown()
    found.server.server_close()
    thread.join()


PATHS = {
    "./model": "written as a path",
    "../model": "written as a path",
    "/no/such": "written as a path",
    "~/no-such-model": "written as a path",
    "runs\\model": "written as a path",
    "C:models": "written as a path",
    "model/": "NAME or ORGANISATION/NAME",
    "runs/helpful/model": "NAME or ORGANISATION/NAME",
    "model.safetensors": "named like a file",
    "org/pairs.jsonl": "named like a file",
    "runs/model": "there is a folder 'runs' here",
    "my model": "no name that a hub could have",
    "a--b": "no name that a hub could have",
    " ": "the name is empty",
}


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_a_path_is_never_sent_to_the_hub(name: str, kind: Any, there: Hub, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    with pytest.raises(ModelError, match="no such folder") as error:
        ask_hub(name, error=ModelError, where="--model", kind=kind)
    assert PATHS[name] in error.value.problem
    assert there.asked == []


def test_what_is_here_is_not_asked_for(there: Hub, tmp_path: Path) -> None:
    (tmp_path / "org" / "model").mkdir(parents=True)
    ask_hub("org/model", error=ModelError, where="--model")
    assert there.asked == []


@pytest.mark.parametrize("status", [401, 404])
def test_a_misspelt_name_costs_one_request_and_says_so_in_one_line(there: Hub, status: int) -> None:
    there.status = status
    for _ in range(2):
        with pytest.raises(
            ModelError, match=r"^--model: there is no folder 'org/nmae', and the hub \(http.*\) shows nobody"
        ) as e:
            ask_hub("org/nmae", error=ModelError, where="--model")
        assert len(str(e.value).splitlines()) == 2
    assert there.asked == ["/api/models/org/nmae"]


@pytest.mark.parametrize("status", [0, 500, 503])
def test_a_hub_that_does_not_answer_is_asked_once(there: Hub, status: int) -> None:
    there.status = status
    with pytest.raises(DataError, match=r"the hub cannot be reached at http://127\.0\.0\.1"):
        ask_hub("org/name", error=DataError, where="data.train[0].id", kind="dataset")
    assert there.asked == ["/api/datasets/org/name"]


def test_what_the_hub_has_passes(there: Hub) -> None:
    there.status = 200
    ask_hub("org/name", error=ModelError, where="--model")
    assert there.asked == ["/api/models/org/name"]


def test_with_the_cache_and_without_the_hub_the_process_goes_on_offline(there: Hub, tmp_path: Path) -> None:
    there.status = 0
    (tmp_path / "cache" / "models--org--name" / "snapshots" / "main").mkdir(parents=True)
    ask_hub("org/name", error=ModelError, where="--model")
    assert constants.HF_HUB_OFFLINE
    assert there.asked == ["/api/models/org/name"]


def test_every_way_to_the_hub_asks_first_and_only_once(there: Hub) -> None:
    source = SourceSpec(id="org/data")
    ways: list[tuple[Any, type[Exception]]] = [
        (lambda: load_config("org/model"), ModelError),
        (lambda: shapes.load_config("org/model"), ModelError),
        (lambda: load_tokenizer("org/model"), RenderingError),
        (lambda: list(read_hub(source)), DataError),
        (lambda: hub_revision(source), DataError),
    ]
    for way, error in ways:
        with pytest.raises(error, match="shows nobody"):
            way()
    assert there.asked == ["/api/models/org/model", "/api/datasets/org/data"]


@pytest.mark.parametrize("command", ["score", "verify", "explain", "serve", "export"])
def test_a_command_says_it_in_one_line_before_anything_is_loaded(
    command: str, there: Hub, tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    world = World(tmp_path, tiny_base, capsys, monkeypatch)
    more = {
        "score": ("--input", "in.jsonl", "--output", "out.jsonl"),
        "explain": ("--input", "in.jsonl"),
        "export": ("--to", "hf", "--out", "out"),
    }
    answer = world(command, "--model", "org/nmae", *more.get(command, ()))
    assert answer.code == 2
    assert "there is no folder 'org/nmae', and the hub" in answer.err
    assert there.asked == ["/api/models/org/nmae"]
