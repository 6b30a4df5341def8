"""A run looked at: served while it works, or listed beside others.

    open_run(Path("runs/demo"), announce=print)                       `open`: until Ctrl-C
    record = list_runs(Path("runs"), now=time.time())                 `ls`

`open` serves on this machine only and writes nothing:

    /KEY/              the page, made from the records that are there now
    /KEY/live.json     what the run is doing, its curves, and whether the page is still that of the records
    /KEY/text/ROW      the whole texts of a row (the page carries them cut)

Other users of the machine, and pages of other sites in a browser, are kept out by the key in the address (drawn anew
each time) and by the `Host` and `Origin` that a browser sends.

`ls` reads a few small files of each run. A run whose records cannot be read is a line that says why.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

from rewardsmith.errors import RewardsmithError, RunDirectoryError, UserError
from rewardsmith.pipeline.commands.report import known_faults_of, texts_of_run, wants_texts
from rewardsmith.pipeline.events import LIVE_FILE, Silent, read_live
from rewardsmith.records.evaluation import BenchmarkResult
from rewardsmith.records.files import Record, read_record
from rewardsmith.records.run import GatesRecord, LiveRecord, Manifest, RunsRecord, RunSummary, StageRecord
from rewardsmith.records.training import TrainRecord
from rewardsmith.report.formatting import capitalised, duration, visible, written_out
from rewardsmith.report.html import served_page
from rewardsmith.report.reading import RunRecords, read_steps
from rewardsmith.report.sections.rows import RowTexts
from rewardsmith.report.sections.training import epoch_charts, training_curves
from rewardsmith.report.sections.verdict import run_verdict
from rewardsmith.serving.access import Access
from rewardsmith.serving.limits import Refusal
from rewardsmith.spec import Spec, load_spec
from rewardsmith.spec.evaluation import HELD_OUT

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
        if manifest is None and (self._run / "watch.json").exists():
            state = LiveState(False, "", ())  # a stream has no stages; a new record loads the page again
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


STAGES: dict[str, str] = {
    "check": "Data contract",
    "train": "Training",
    "labels": "Labels",
    "evaluate": "Evaluation",
    "probe": "Bias probes",
    "attack": "Attack",
    "controls": "Negative controls",
    "gates": "Gates",
}
"""The stages of the main job by the pipeline's names, in order."""

_ASKED = ("attack", "controls")
"""Those that are done only where they are asked for."""

_LEAST = 5.0  # seconds after which a rate says something

StageState = Literal["good", "bad", "open", "now"]


@dataclass(frozen=True, slots=True)
class LiveStage:
    """One stage: its state, and the word for it ("done in 9.0 s", "at work", "not yet")."""

    name: str
    title: str
    state: StageState
    word: str


@dataclass(frozen=True, slots=True)
class LiveState:
    """`running` while a process works in the run; `status` says in a sentence what it does."""

    running: bool
    status: str
    stages: tuple[LiveStage, ...]
    done: int = 0
    total: int = 0


def live_state(manifest: Manifest | None, live: LiveRecord | None, now: float) -> LiveState:
    """Which stages of a run are done and which one is at work; the page asks once a second.

    Args:
        live: None where no process works in the run.
        now: seconds since 1970.
    """
    records = manifest.stages if manifest else {}
    there = [name for name in STAGES if name not in _ASKED or name in records or (live and live.stage == name)]
    stages = tuple(_stage(name, records.get(name), live) for name in there)
    if live is None:
        return LiveState(False, _ended(manifest), stages)
    return LiveState(True, _doing(live, now), stages, live.done, live.total)


def _stage(name: str, record: StageRecord | None, live: LiveRecord | None) -> LiveStage:
    if live and live.stage == name:
        return LiveStage(name, STAGES[name], "now", "at work")
    if record is None:
        return LiveStage(name, STAGES[name], "open", "not yet" if live else "not run")
    if record.state != "done":
        return LiveStage(name, STAGES[name], "bad", f"{record.state} after {duration(record.seconds)}")
    return LiveStage(name, STAGES[name], "good", f"done in {duration(record.seconds)}")


def _doing(live: LiveRecord, now: float) -> str:
    title = STAGES.get(live.stage, capitalised(live.stage)) or "Getting ready"
    spent = max(0.0, now - live.since)
    if not live.total:
        return f"{title}: {duration(spent)}."
    left = ""
    if live.seconds_left is not None:
        left = f", about {duration(live.seconds_left)} left"
    elif live.done and live.done < live.total and spent > _LEAST:
        left = f", about {duration(spent * (live.total - live.done) / live.done)} left"
    part = f", micro-batch {live.part:,} of {live.parts:,} of the next" if live.parts else ""
    speed = f", {live.tokens_per_second:,.0f} tokens/s" if live.tokens_per_second else ""
    return f"{title}: {visible(live.label, 80)} {live.done:,} of {live.total:,}{part}{speed}{left}."


def _ended(manifest: Manifest | None) -> str:
    verdict = manifest.verdict if manifest else "unfinished"
    if verdict == "unfinished":
        return "No process works in this run. Give the same command again to continue it."
    return f"The run has ended: {verdict}."


_SVG = "http://www.w3.org/2000/svg"


def live_charts(run_dir: Path) -> dict[str, str]:
    """The training curves of what has been recorded so far, by title, as SVG documents.

    Raises:
        RunDirectoryError: metrics.jsonl cannot be read.
    """
    charts = epoch_charts(training_curves(read_steps(run_dir)), None)
    # with a name space: each is a document of its own
    return {chart.title: f'<svg xmlns="{_SVG}"{str(chart.drawing).removeprefix("<svg")}' for chart in charts}


MANIFEST = "manifest.json"
R = TypeVar("R", bound=Record)


def list_runs(folder: Path, now: float) -> RunsRecord:
    """Runs directly in a folder, or the folder itself where it is a run; the newest first.

    Args:
        folder: as `output_dir` of a spec.
        now: seconds since 1970; ages count back from it.

    Raises:
        UserError: there is no such folder.
    """
    if not folder.is_dir():
        raise UserError("no such folder", where=str(folder), fix="name a folder of runs, as output_dir in the spec")
    found = [folder] if (folder / MANIFEST).is_file() else sorted(filter(_is_run, _entries(folder)))
    runs = [_summary(path, now) for path in found]
    runs.sort(key=lambda run: (run.age is None, run.age or 0.0, run.name))
    return RunsRecord(folder=str(folder), runs=tuple(runs))


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise UserError(
            f"cannot be read: {error.strerror}", where=str(folder), fix="name a folder that you may read"
        ) from error


def _is_run(path: Path) -> bool:
    """Whether something is called as a manifest is, also where it cannot be read: then the line of the run says why."""
    try:
        (path / MANIFEST).lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return path.is_dir()
    return True


def _summary(path: Path, now: float) -> RunSummary:
    name = path.name or path.resolve().name
    try:
        manifest = read_record(path / MANIFEST, Manifest)
        train = _optional(path / "train" / "summary.json", TrainRecord)
        gates = _optional(path / "gates.json", GatesRecord)
        spec = load_spec(path / "spec.yaml") if (path / "spec.yaml").is_file() else Spec()
        key, result = _result(path, spec)
        age = _age(path, manifest, now)
    except UserError as error:
        return RunSummary(name=name, path=str(path), problem=f"{error.where}: {error.problem}")
    except OSError as error:  # a folder in it that is not this user's to read
        return RunSummary(name=name, path=str(path), problem=f"{error.filename}: cannot be read: {error.strerror}")
    live = read_live(path)
    stage = live.stage or "between stages" if live else next(reversed(manifest.stages), "")
    return RunSummary(
        name=manifest.name,
        path=str(path),
        stage=f"{stage} {live.done}/{live.total}" if live and live.total else stage,
        working=live is not None,
        verdict=_verdict(manifest, train, gates),
        base=spec.base_model.id,
        pairs=train.pairs if train else None,
        benchmark=key,
        average=result.average if result else None,
        missing=sum(result.missing_rewards.values()) if result else 0,
        age=age,
        notes=known_faults_of(path),
    )


def _verdict(manifest: Manifest, train: TrainRecord | None, gates: GatesRecord | None) -> str:
    """By the records; the manifest alone knows of a check that ended a run."""
    word = run_verdict(RunRecords(train=train, gates=gates)).word
    return "STOPPED" if word == "UNFINISHED" and manifest.verdict == "stopped" else word


def _result(path: Path, spec: Spec) -> tuple[str, BenchmarkResult | None]:
    """The first benchmark of the spec that has results; the held-out pairs where none has."""
    for key in (*(benchmark.key for benchmark in spec.evaluation.benchmarks), HELD_OUT):
        result = _optional(path / "eval" / key / "results.json", BenchmarkResult)
        if result is not None:
            return key, result
    return "", None


def _age(path: Path, manifest: Manifest, now: float) -> float | None:
    ends = []
    for name, stage in manifest.stages.items():
        try:
            ends.append(datetime.fromisoformat(stage.finished).timestamp())
        except (ValueError, OverflowError, OSError) as error:
            raise RunDirectoryError(
                f"is not a Manifest: field 'stages.{name}.finished': {error}",
                where=str(path / MANIFEST),
                fix=Manifest.when_lost,
            ) from error
    return max(0.0, now - max(ends)) if ends else None


def _optional(path: Path, kind: type[R]) -> R | None:
    return read_record(path, kind) if path.is_file() else None
