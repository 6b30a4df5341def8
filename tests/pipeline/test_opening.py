"""A run served on this machine: who may ask, what is answered, and that the page follows the records."""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_records import build_run, metrics
from typer.testing import CliRunner

from rewardsmith.cli.app import application
from rewardsmith.errors import RunDirectoryError, UserError
from rewardsmith.pipeline.commands.look import FollowedRun, RunServer, live_state, run_server
from rewardsmith.pipeline.events import LIVE_FILE, Followed, Silent, followed, read_live
from rewardsmith.records.files import write_json
from rewardsmith.records.run import LiveRecord, Manifest, StageRecord
from rewardsmith.report.sections.rows import RowText, RowTexts


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return build_run(tmp_path / "run")


@pytest.fixture
def server(run: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunServer]:
    texts = RowTexts({"a/row 1": RowText("p", ("x" * 3000,), ("\u202eno",))})
    monkeypatch.setattr("rewardsmith.pipeline.commands.look.texts_of_run", lambda *_: texts)
    with run_server(run) as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def ask(server: RunServer, path: str, **headers: str) -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=60)
    connection.request("GET", path, headers={name.title(): value for name, value in headers.items()})
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, dict(answer.headers), body


def live(server: RunServer, metrics: int = 0) -> Any:
    status, _, body = ask(server, f"/{server.key}/live.json?metrics={metrics}")
    assert status == 200
    return json.loads(body)


def test_the_page_is_the_report_and_may_be_shown_in_no_other(server: RunServer) -> None:
    status, headers, body = ask(server, f"/{server.key}/")
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Content-Security-Policy"] == "frame-ancestors 'none'"
    assert headers["Cache-Control"] == "no-store"
    assert f'<html lang="en" data-served="{live(server)["stamp"]}">' in body
    assert "connect-src &#39;self&#39;" in body


def test_it_listens_on_this_machine_alone(server: RunServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert server.url == f"http://127.0.0.1:{server.server_address[1]}/{server.key}/"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"host": "127.0.0.1.evil.example:80"}, 421),
        ({"host": "localhost:8000", "origin": "https://evil.example"}, 403),
        ({"host": "localhost:8000", "origin": "null"}, 403),
        ({"host": "localhost:8000"}, 200),
        ({"host": "[::1]:8000"}, 200),
    ],
)
def test_other_sites_are_refused(server: RunServer, headers: dict[str, str], status: int) -> None:
    found, _, body = ask(server, f"/{server.key}/live.json", **headers)
    assert found == status
    assert status == 200 or "<script" not in body


@pytest.mark.parametrize("path", ["/", "/live.json", "/wrong/", "/wrong/live.json", "//", "/wrong"])
def test_without_the_key_there_is_nothing(server: RunServer, path: str) -> None:
    status, headers, body = ask(server, path)
    assert status == 404
    assert headers["Content-Security-Policy"] == "default-src 'none'"
    assert "open the address that `rewardsmith open` has printed" in body


@pytest.mark.parametrize("path", ["../../etc/passwd", "spec.yaml", "text/none", "text/../../spec.yaml"])
def test_no_file_is_served(server: RunServer, path: str) -> None:
    assert ask(server, f"/{server.key}/{path}")[0] == 404


def test_whole_texts_by_key(server: RunServer) -> None:
    status, _, body = ask(server, f"/{server.key}/text/a%2Frow%201")
    assert status == 200
    assert json.loads(body) == {"prompt": "p", "chosen": ["x" * 3000], "rejected": ["\\u202eno"]}


def test_a_spec_without_texts_serves_none(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rewardsmith.pipeline.commands.look.wants_texts", lambda _: False)
    found = FollowedRun(run)
    assert found.text("a/row 1") is None
    assert "Texts of rows are left out of this report." in found.page()


def test_steps_change_the_curves_and_records_change_the_page(server: RunServer, run: Path) -> None:
    first = live(server)
    assert set(first["charts"]) == {"Margin", "Loss", "Accuracy", "Reward", "Gradient norm", "Learning rate"}
    assert live(server, first["metrics"])["charts"] == {}
    with (run / "train" / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(metrics(62)[-1].model_dump_json() + "\n")
    second = live(server, first["metrics"])
    assert second["stamp"] == first["stamp"]
    assert "over 62 steps" in second["charts"]["Margin"]
    (run / "gates.json").unlink()
    assert live(server)["stamp"] != first["stamp"]
    assert "gates.json</code> is not there" in ask(server, f"/{server.key}/")[2]


def test_a_record_that_cannot_be_read_is_said_and_survived(server: RunServer, run: Path) -> None:
    whole = (run / "check.json").read_text(encoding="utf-8")
    (run / "check.json").write_text('{"<b>": 1}', encoding="utf-8")
    status, _, body = ask(server, f"/{server.key}/")
    assert status == 500
    assert "check.json" in body
    assert "<b>" not in body
    (run / "check.json").write_text(whole, encoding="utf-8")
    assert ask(server, f"/{server.key}/")[0] == 200


def test_no_run_and_no_port(tmp_path: Path, run: Path) -> None:
    with pytest.raises(RunDirectoryError, match="no such folder"):
        run_server(tmp_path / "none")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(UserError, match="cannot listen"):
            run_server(run, taken.getsockname()[1])


def test_what_a_run_does_is_written_down_and_gone_when_it_ends(tmp_path: Path) -> None:
    with followed(tmp_path, Silent()) as events:
        assert read_live(tmp_path) is not None
        events.stage("check", "started")
        events.progress("reading pairs", 3, 9)
        found = read_live(tmp_path)
        assert found is not None
        assert (found.stage, found.process) == ("check", os.getpid())
    assert not (tmp_path / LIVE_FILE).exists()


def test_progress_is_written_twice_a_second_at_most(tmp_path: Path) -> None:
    now = 100.0
    events = Followed(Silent(), tmp_path / LIVE_FILE, clock=lambda: now)
    events.stage("train", "started")
    seen = []
    for now in (100.1, 100.4, 100.5, 100.9, 101.0):
        events.progress("steps", int(now * 10), 2000)
        found = read_live(tmp_path)
        seen.append(found.done if found else None)
    assert seen == [0, 0, 1005, 1005, 1010]


def test_a_killed_run_is_not_at_work(tmp_path: Path) -> None:
    ended = LiveRecord(process=2**22 + 1, host=socket.gethostname(), stage="train")
    write_json(tmp_path / LIVE_FILE, ended)
    assert read_live(tmp_path) is None
    write_json(tmp_path / LIVE_FILE, ended.model_copy(update={"host": "another-node"}))
    assert read_live(tmp_path) is not None


def test_what_a_watcher_sees() -> None:
    done = StageRecord(fingerprint="f", state="done", seconds=9.0, finished="2026-01-01T00:00:00+00:00")
    manifest = Manifest(
        name="r",
        spec_fingerprint="f",
        versions={},
        platform="p",
        seeds={},
        stages={"check": done, "labels": done.model_copy(update={"state": "failed"})},
    )
    at_work = LiveRecord(process=1, host="h", stage="train", since=100.0, label="training steps", done=30, total=120)
    found = live_state(manifest, at_work, 130.0)
    assert found.status == "Training: training steps 30 of 120, about 1 min 30 s left."
    assert [(stage.name, stage.state, stage.word) for stage in found.stages] == [
        ("check", "good", "done in 9.0 s"),
        ("train", "now", "at work"),
        ("labels", "bad", "failed after 9.0 s"),
        ("evaluate", "open", "not yet"),
        ("probe", "open", "not yet"),
        ("gates", "open", "not yet"),
    ]
    within = at_work.model_copy(
        update={"done": 0, "part": 3, "parts": 16, "tokens_per_second": 412.4, "seconds_left": 754.0}
    )
    said = "Training: training steps 0 of 120, micro-batch 3 of 16 of the next, 412 tokens/s, about 12 min 34 s left."
    assert live_state(manifest, within, 130.0).status == said
    early = at_work.model_copy(update={"since": 128.0})
    assert live_state(manifest, early, 130.0).status == "Training: training steps 30 of 120."
    waiting = at_work.model_copy(update={"total": 0, "stage": ""})
    assert live_state(manifest, waiting, 130.0).status == "Getting ready: 30 s."
    ended = live_state(manifest, None, 130.0)
    assert (ended.running, ended.stages[1].word) == (False, "not run")
    assert "Give the same command again" in ended.status
    passed = live_state(manifest.model_copy(update={"verdict": "pass"}), None, 0.0)
    assert passed.status == "The run has ended: pass."


def test_the_command_prints_the_address_opens_it_and_ends_well_with_ctrl_c(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    opened: list[str] = []
    monkeypatch.setattr(RunServer, "serve_forever", interrupted)
    monkeypatch.setattr("webbrowser.open", opened.append)
    answer = CliRunner().invoke(application(), ["open", str(run)])
    assert answer.exit_code == 0
    assert len(opened) == 1
    assert answer.output.splitlines()[0] == f"{run}: {opened[0]}"
    assert opened[0].startswith("http://127.0.0.1:")
    assert CliRunner().invoke(application(), ["open", str(run), "--no-browser"]).exit_code == 0
    assert len(opened) == 1
