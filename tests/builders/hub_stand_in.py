"""A stand-in for the Hugging Face hub on loopback: as much of its HTTP API as an upload needs.

    with StandIn() as hub:            hub.url, hub.files("org/name"), hub.requests, hub.repositories

Small files come in the commit itself, `*.safetensors` through LFS, as on the hub. `hub.token` is the one that it takes;
`hub.public` names repositories that everybody can read.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import yaml

COMMIT = "c0ffee" + "0" * 34


class StandIn:
    """The hub's state, and its server while the block runs."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.public: set[str] = set()
        self.repositories: dict[str, dict[str, Any]] = {}
        self.requests: list[tuple[str, str]] = []
        self.blobs: dict[str, bytes] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"hub": self}))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def files(self, repository: str) -> dict[str, bytes]:
        """What the repository holds."""
        return self.repositories[repository]["files"]

    def create(self, asked: dict[str, Any]) -> tuple[int, Any]:
        name = f"{asked.get('organization') or 'me'}/{asked['name']}"
        there = name in self.repositories or name in self.public
        private = asked.get("private", asked.get("visibility") == "private")
        self.repositories.setdefault(name, {"private": private and name not in self.public, "files": {}})
        return 409 if there else 200, {"url": f"{self.url}/{name}"}

    def batch(self, asked: dict[str, Any]) -> Any:
        objects = [{**one, "actions": {"upload": {"href": f"{self.url}/lfs/{one['oid']}"}}} for one in asked["objects"]]
        return {"transfer": "basic", "objects": objects}

    def commit(self, repository: str, lines: list[dict[str, Any]]) -> Any:
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                self.files(repository)[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.files(repository)[value["path"]] = self.blobs[value["oid"]]
        return {"commitUrl": f"{self.url}/{repository}/commit/{COMMIT}", "commitOid": COMMIT, "success": True}


class _Handler(BaseHTTPRequestHandler):
    hub: StandIn

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def _answer(self, status: int, body: Any = None) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def _known(self) -> bool:
        self.hub.requests.append((self.command, self.path))
        known = self.headers.get("Authorization") == f"Bearer {self.hub.token}"
        if not known:
            self._body()
            self._answer(401, {"error": "who are you?"})
        return known

    def do_GET(self) -> None:
        if not self._known():
            return
        name = self.path.removeprefix("/api/models/").split("?")[0].removesuffix("/revision/main")
        found = self.hub.repositories[name]
        self._answer(200, {"id": name, "modelId": name, "private": found["private"], "sha": COMMIT, "siblings": []})

    def do_PUT(self) -> None:
        self.hub.requests.append((self.command, self.path))
        content = self._body()
        assert self.path == f"/lfs/{hashlib.sha256(content).hexdigest()}"
        self.hub.blobs[hashlib.sha256(content).hexdigest()] = content
        self._answer(200, {})

    def do_POST(self) -> None:
        if not self._known():
            return
        body = self._body()
        if self.path.endswith("/api/repos/create"):
            self._answer(*self.hub.create(json.loads(body)))
        elif self.path == "/api/validate-yaml":
            head = json.loads(body)["content"].split("---\n")[1]
            self._answer(200, {"errors": [] if yaml.safe_load(head) else ["empty"], "warnings": []})
        elif "/preupload/" in self.path:
            modes = {True: "lfs", False: "regular"}
            files = json.loads(body)["files"]
            answers = [{"path": f["path"], "uploadMode": modes[f["path"].endswith(".safetensors")]} for f in files]
            self._answer(200, {"files": [{**one, "shouldIgnore": False, "oid": None} for one in answers]})
        elif self.path.endswith("/info/lfs/objects/batch"):
            self._answer(200, self.hub.batch(json.loads(body)))
        elif "/commit/" in self.path:
            name = self.path.removeprefix("/api/models/").split("/commit/")[0]
            self._answer(200, self.hub.commit(name, [json.loads(line) for line in body.splitlines() if line]))
        else:
            self._answer(404, {"error": self.path})
