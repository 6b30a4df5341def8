"""A run looked at: served while it works, listed beside others, and one evaluation held against a spec's gates.

    open_run(Path("runs/demo"), announce=print)                       `open`: until Ctrl-C
    record = list_runs(Path("runs"), now=time.time())                 `ls`
    verdict = gate_evaluation(spec, "rewardbench2", "rows.jsonl", result, Path("results"))    `evaluate --gates`

`open` serves on this machine only and writes nothing:

    /KEY/              the page, made from the records that are there now
    /KEY/live.json     what the run is doing, its curves, and whether the page is still that of the records
    /KEY/text/ROW      the whole texts of a row (the page carries them cut)

Other users of the machine, and pages of other sites in a browser, are kept out by the key in the address (drawn anew
each time) and by the `Host` and `Origin` that a browser sends.

`ls` reads a few small files of each run. A run whose records cannot be read is a line that says why.

`evaluate --gates` is for a checkpoint that was trained elsewhere, or for CI: only what the spec asks of this benchmark
counts; gates on other benchmarks, held-out pairs and probes are ignored. `gates.json` and `summary.md` appear beside
`results.json`.
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
from typing import Any, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

from rewardsmith import gates
from rewardsmith.errors import RewardsmithError, RunDirectoryError, SpecError, UserError
from rewardsmith.pipeline.commands.report import known_faults_of, texts_of_run, wants_texts
from rewardsmith.pipeline.events import LIVE_FILE, Silent, read_live
from rewardsmith.records.evaluation import BenchmarkResult
from rewardsmith.records.files import Record, read_record, write_json, write_text
from rewardsmith.records.run import GatesRecord, Manifest, RunsRecord, RunSummary
from rewardsmith.records.training import TrainRecord
from rewardsmith.report.formatting import written_out
from rewardsmith.report.html import LiveState, live_charts, live_state, served_page
from rewardsmith.report.markdown import render_markdown
from rewardsmith.report.reading import RunRecords
from rewardsmith.report.sections.rows import RowTexts
from rewardsmith.report.sections.verdict import run_verdict
from rewardsmith.report.view import view
from rewardsmith.serving.access import Access
from rewardsmith.serving.limits import Refusal
from rewardsmith.spec import BenchmarkSpec, EvaluationSpec, Spec, load_spec
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


def gate_evaluation(spec: Spec, benchmark: str, data: str, result: BenchmarkResult, out: Path) -> GatesRecord:
    """Judge one result by the spec's gates and leave the verdict in `out`.

    Args:
        spec: whose `evaluation.gates` apply.
        benchmark: the benchmark's name, or the label under which the spec lists it.
        data: what was evaluated; tells benchmarks of one name apart.
        result: its scores.
        out: folder of `results.json`.

    Raises:
        SpecError: the spec lists no such benchmark, or a threshold that a guessing model would pass.
    """
    from rewardsmith.evaluation.causes import diagnose_run  # `ls` needs none of it

    asked = _asked(spec, benchmark, data)
    known = {name: subset.baseline for name, subset in result.subsets.items()}
    if result.average_baseline is not None:
        known[gates.AVERAGE] = result.average_baseline
    evaluation = _narrowed(spec.evaluation, asked)
    gates.check_thresholds(evaluation.gates, {asked.key: known})
    verdict = gates.evaluate_gates({asked.key: result}, evaluation)
    write_json(out / "gates.json", verdict)
    results = {asked.key: result}
    records = RunRecords(benchmarks=results, gates=verdict, diagnosis=diagnose_run(results))
    write_text(out / "summary.md", render_markdown(view(records)))
    return verdict


def _asked(spec: Spec, benchmark: str, data: str) -> BenchmarkSpec:
    """The benchmark of the spec that was evaluated: by label, else by name, and by data where several have it."""
    listed = [one for one in spec.evaluation.benchmarks if benchmark in (one.name, one.key)]
    same = [one for one in listed if one.data == data]
    if not listed:
        names = ", ".join(one.key for one in spec.evaluation.benchmarks) or "none"
        raise SpecError(
            f"lists no benchmark {benchmark!r}, so it has no gates for it (there: {names})",
            where="evaluation.benchmarks",
            fix="add the benchmark to the spec, or leave --gates out",
        )
    return (same or listed)[0]


def _narrowed(evaluation: EvaluationSpec, asked: BenchmarkSpec) -> EvaluationSpec:
    """The same rules for this benchmark alone."""
    minimum = {asked.key: evaluation.gates.minimum.get(asked.key, {})}
    rules = evaluation.gates.model_copy(update={"minimum": minimum})
    probes = evaluation.probes.model_copy(update={"pairs": 0})
    return evaluation.model_copy(update={"benchmarks": (asked,), "gates": rules, "probes": probes})
