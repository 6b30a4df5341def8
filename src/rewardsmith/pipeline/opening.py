"""`rewardsmith open RUN`: the report of a run, served on this machine, and kept up to date while the run works.

    open_run(Path("runs/demo"), announce=print)         until Ctrl-C

    /KEY/              the page, made from the records that are there now
    /KEY/live.json     what the run is doing, its curves, and whether the page is still that of the records
    /KEY/text/ROW      the whole texts of a row (the page carries them cut)

Only this machine is listened to. Its other users, and pages of other sites in a browser, are kept out by the key in the
address (drawn anew each time) and by the `Host` and `Origin` that a browser sends. Nothing is written.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from rewardsmith.errors import RewardsmithError, UserError
from rewardsmith.pipeline.events import Silent
from rewardsmith.pipeline.following import LIVE_FILE, read_live
from rewardsmith.pipeline.reporting import texts_of_run, wants_texts
from rewardsmith.records import Manifest, read_record
from rewardsmith.report import RowTexts, served_page
from rewardsmith.report.formatting import written_out
from rewardsmith.report.live import live_charts, live_state
from rewardsmith.serving.access import Access
from rewardsmith.serving.refusals import Refusal

_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_PAGE_POLICY = "frame-ancestors 'none'"  # the rest stands in the page itself, with the hashes of its scripts
_RECORDS = ("*.json", "*.jsonl", "spec.yaml", "train/summary.json", "eval/*/*.json", "eval/*/*.jsonl")


def open_run(run: Path, *, port: int = 0, announce: Callable[[str], None]) -> None:
    """Serve a run until Ctrl-C.

    Args:
        port: 0 for any free one.
        announce: told the address when it can be opened.

    Raises:
        RunDirectoryError: there is no run, or a record of it cannot be read.
        UserError: the port is taken.
    """
    with run_server(run, port) as server:
        announce(server.url)
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            return  # the way to end it


def run_server(run: Path, port: int = 0) -> RunServer:
    """The server, bound to this machine and not serving yet. Raises as `open_run` does."""
    following = FollowedRun(run)
    following.page()
    try:
        return RunServer(following, port)
    except OSError as error:
        raise UserError(
            f"cannot listen: {error.strerror}", where=f"127.0.0.1:{port}", fix="name another --port, or leave it out"
        ) from error


@dataclass(frozen=True, slots=True)
class _Made:
    """A page, and the state of the records that it was made from."""

    stamp: str
    html: str


class FollowedRun:
    """The report of a run as its records are at the moment; made again only when they have changed."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._lock = threading.Lock()
        self._made = _Made("", "")
        self._texts: tuple[str, RowTexts | None] = ("", None)

    def page(self) -> str:
        """The page as HTML.

        Raises:
            RunDirectoryError, SpecError: there is no run, or a record cannot be read.
        """
        with self._lock:
            stamp = self.stamp()
            if stamp != self._made.stamp:
                self._made = _Made(stamp, served_page(self._run, self._row_texts(), stamp))
            return self._made.html

    def live(self, known: int) -> dict[str, Any]:
        """What `live.json` says: state, stamp of the records, and the curves where there is more than is known.

        Args:
            known: bytes of metrics.jsonl when the asker last saw the curves.
        """
        file = self._run / "manifest.json"
        manifest = read_record(file, Manifest) if file.exists() else None
        state = live_state(manifest, read_live(self._run), time.time())
        metrics = self._run / "train" / "metrics.jsonl"
        size = metrics.stat().st_size if metrics.exists() else 0
        charts = live_charts(self._run) if size != known else {}
        return {**asdict(state), "stamp": self.stamp(), "metrics": size, "charts": charts}

    def text(self, key: str) -> dict[str, Any] | None:
        """The whole texts of a row by its key; None where they are not at hand, or not wanted."""
        with self._lock:
            texts = self._row_texts()
        found = texts.found.get(key) if texts else None
        if found is None:
            return None
        return {
            "prompt": written_out(found.prompt),
            "chosen": list(map(written_out, found.chosen)),
            "rejected": list(map(written_out, found.rejected)),
        }

    def stamp(self) -> str:
        """Changes whenever a record does; steps of training alone change nothing but the curves."""
        found = sorted(file for pattern in _RECORDS for file in self._run.glob(pattern) if file.name != LIVE_FILE)
        training = (self._run / "train" / "metrics.jsonl").exists()
        return _digest(found, str(training))

    def _row_texts(self) -> RowTexts | None:
        """Read again only when evaluations or suspects have changed."""
        stamp = _digest(sorted([*self._run.glob("eval/*/rows.jsonl"), *self._run.glob("label_noise.json")]), "texts")
        if stamp != self._texts[0]:
            self._texts = stamp, texts_of_run(self._run, Silent()) if wants_texts(self._run) else None
        return self._texts[1]


def _digest(files: list[Path], more: str) -> str:
    digest = hashlib.sha256(more.encode())
    for file in files:
        try:
            state = file.stat()
        except FileNotFoundError:
            continue
        digest.update(f"{file} {state.st_mtime_ns} {state.st_size}\n".encode())
    return digest.hexdigest()[:16]


class RunServer(ThreadingHTTPServer):
    """The server of one run, on 127.0.0.1."""

    daemon_threads = True

    def __init__(self, run: FollowedRun, port: int) -> None:
        self.run = run
        self.key = secrets.token_urlsafe(12)
        self.access = Access()
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://127.0.0.1:{self.server_address[1]}/{self.key}/"


class _Handler(BaseHTTPRequestHandler):
    """One request. `server` is a `RunServer`."""

    server: RunServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer; what goes wrong in a record is said on the page, and the server goes on."""
        try:
            self.server.access.check_host(self._given())
            self._answer(urlsplit(self.path))
        except Refusal as refusal:
            self._say(refusal.status, f"{refusal}")
        except RewardsmithError as error:
            self._say(500, str(error))

    def _answer(self, address: Any) -> None:
        _, key, *rest = address.path.split("/", 2)
        if not secrets.compare_digest(key.encode(), self.server.key.encode()):
            self._say(404, "open the address that `rewardsmith open` has printed")
        elif rest == [""]:
            self._send(200, "text/html", self.server.run.page(), policy=_PAGE_POLICY)
        elif rest == ["live.json"]:
            known = parse_qs(address.query).get("metrics", ["0"])[0]
            self._json(self.server.run.live(int(known) if known.isdecimal() else 0))
        elif rest and rest[0].startswith("text/"):
            found = self.server.run.text(unquote(rest[0].removeprefix("text/")))
            self._json(found) if found else self._say(404, "this text is not at hand")
        else:
            self._say(404, "there is nothing here")

    def _given(self) -> dict[str, str]:
        """Headers that access reads; one that stands twice counts as missing."""
        found = {name: self.headers.get_all(name) or [] for name in ("host", "origin")}
        return {name: values[0] for name, values in found.items() if len(values) == 1}

    def _json(self, content: dict[str, Any]) -> None:
        self._send(200, "application/json", json.dumps(content))

    def _say(self, status: int, message: str) -> None:
        self._send(status, "text/html", f"<!doctype html><title>rewardsmith</title><p>{escape(message)}</p>\n")

    def _send(self, status: int, kind: str, content: str, policy: str = "default-src 'none'") -> None:
        body = content.encode("utf-8", "replace")
        self.send_response(status)
        described = {"Content-Type": f"{kind}; charset=utf-8", "Content-Length": str(len(body))}
        for name, value in {**described, **_HEADERS, "Content-Security-Policy": policy}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
        """No line a request: the page asks every second."""
