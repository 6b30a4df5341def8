"""`rewardsmith serve` from the command line: what it refuses before it listens, and a start and stop for real."""

from __future__ import annotations

import base64
import json
import os
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from checkpoint_maker import make_checkpoint
from cli_world import World
from serving_soak import WAIT, served
from serving_world import TOKEN, chat

from rewardsmith.scoring import LocalScorer
from rewardsmith.serving.server import bind


@pytest.fixture
def world(tiny_base: Path, tmp_path: Path, capsys: Any, monkeypatch: Any) -> World:
    monkeypatch.delenv("REWARDSMITH_TOKEN", raising=False)
    return World(tmp_path, tiny_base, capsys, monkeypatch)


@pytest.fixture(scope="module")
def model(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("serve") / "model", tiny_base)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "nothing/here", "--port", "0"], "nothing/here: the tokenizer cannot be loaded"),
        (["--model", "a=x", "--model", "a=y"], "two models are called 'a'"),
        (["--model", "../a=x"], "'../a' cannot be the name of a model"),
        (["--model", "a=x", "--host", "::"], "everyone who reaches :: could use this server"),
        (["--model", "a=x", "--token-file", "missing"], "missing: the token file cannot be read"),
        (["--model", "a=x", "--watch", "spec.yaml"], "spec.yaml: is no folder"),
        (["--model", "a=x", "--watch", "w", "--engine", "ray"], "let a textfile collector read w/watch.prom"),
        (["--model", "a=x", "--host", "192.0.2.1", "--no-auth"], "192.0.2.1:8000: cannot listen"),
    ],
)
def test_what_cannot_be_served_is_said_with_exit_code_2(world: World, arguments: list[str], message: str) -> None:
    (world.folder / "spec.yaml").touch()
    answer = world("serve", *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert message in answer.err
    assert "Traceback" not in answer.err


def test_a_taken_port_is_said(world: World, model: Path) -> None:
    with closing(bind("127.0.0.1", 0)) as taken:
        taken.listen()
        answer = world("serve", "--model", f"tiny={model}", "--port", str(taken.getsockname()[1]))
    assert answer.code == 2
    assert "cannot listen" in answer.err


def test_without_the_extra_it_says_what_to_install(world: World, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("app", "gate", "routes", "metrics", "server"):
        monkeypatch.delitem(sys.modules, f"rewardsmith.serving.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    answer = world("serve", "--model", str(model))
    assert answer.code == 2
    assert "the package uvicorn is not installed" in answer.err
    assert "pip install 'rewardsmith[serve]'" in answer.err


@pytest.fixture(scope="module")
def url(model: Path) -> Iterator[str]:
    tokens = model.parent / "tokens"
    tokens.write_text(TOKEN + "\n")
    watched = ("--watch", str(model.parent / "watched"))
    with served(model, "--model", f"again={model}", "--token-file", str(tokens), *watched) as (url, process):
        yield url
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT) == 0


def call(url: str, path: str, body: Any = None, token: str = TOKEN) -> Any:
    """As `requests` sends the userinfo of a URL."""
    given = "Basic " + base64.b64encode(f"any:{token}".encode()).decode()
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", "Authorization": given}
    request = urllib.request.Request(url + path, data, headers)  # noqa: S310 - the url is this test's own
    with urllib.request.urlopen(request, timeout=WAIT) as found:  # noqa: S310
        text = found.read().decode()
        return text if path == "/metrics" else json.loads(text)


def test_a_server_gives_the_rewards_of_offline_scoring_and_reloads_by_name(url: str, model: Path) -> None:
    wanted = LocalScorer.load(model).score([chat("Say red.", "red"), chat("Say red.", "blue sky")])
    asked = {"prompt": "Say red.", "responses": ["red", "blue sky"], "model": "tiny"}
    first = call(url, "/v1/score", asked)
    assert first["rewards"] == pytest.approx(wanted.tolist(), abs=1e-5)
    assert call(url, "/v1/models/tiny/reload", {})["identity"] == first["identity"]
    assert call(url, "/models/again/v1/score", asked)["rewards"] == pytest.approx(wanted.tolist(), abs=1e-5)
    with pytest.raises(urllib.error.HTTPError, match="401") as refused:
        call(url, "/v1/models", token="another-token-of-16")
    refused.value.close()


def said_of_threads(model: Path) -> list[str]:
    log = (model.parent / "serve.log").read_text().splitlines()
    return [line["note"] for line in map(json.loads, log) if line["event"] == "threads"]


@pytest.mark.usefixtures("url")
def test_a_stated_number_of_threads_stands_and_is_said(model: Path) -> None:
    assert said_of_threads(model) == ["1 thread computes: OMP_NUM_THREADS is 1"]


def test_a_server_takes_the_threads_that_are_free_where_none_are_stated(tiny_base: Path, tmp_path: Path) -> None:
    """On a machine of two cores of which others keep 1.9 busy; torch is asked how many it computes with."""
    model = make_checkpoint(tmp_path / "model", tiny_base)
    program = (
        "from rewardsmith import threads\n"
        "from rewardsmith.cli import main\n"
        "threads.usable_cores, threads.busy_cores = (lambda: 2), (lambda: 1.9)\n"
        "main()\n"
    )
    with served(model, program=("-c", program), threads=None) as (_, process):
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT) == 0
    (said,) = said_of_threads(model)
    assert said.startswith("1 thread computes: 2 ")
    assert said.endswith(", others keep 1.9 of them busy")


def test_the_gauges_of_a_watch_are_in_its_metrics(url: str, model: Path) -> None:
    assert "\nrewardsmith_watch_readable 0\n" in call(url, "/metrics")
    (model.parent / "watched").mkdir()
    (model.parent / "watched" / "watch.prom").write_text("rewardsmith_watch_step 7\n")
    found = call(url, "/metrics")
    assert "\nrewardsmith_watch_readable 1\nrewardsmith_watch_step 7\n" in found
    assert "\n# TYPE rewardsmith_reward_mean gauge\n" in found


def test_a_reload_of_a_checkpoint_that_was_changed_is_refused_and_the_old_one_goes_on(url: str, model: Path) -> None:
    record = model / "rewardsmith.json"
    whole = record.read_text()
    changed = json.loads(whole)
    changed["golden"][0]["reward"] += 1.0
    record.write_text(json.dumps(changed))
    try:
        with pytest.raises(urllib.error.HTTPError, match="409") as refused:
            call(url, "/v1/models/tiny/reload", {})
        assert b"reload_refused" in refused.value.read()
        refused.value.close()
    finally:
        record.write_text(whole)
    assert len(call(url, "/v1/score", {"texts": ["red"], "model": "tiny"})["rewards"]) == 1


def test_answered_texts_stream_into_a_file_that_watch_reads(world: World, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "rollouts.jsonl"
    with served(model, "--stream", str(path)) as (url, process):
        rewards = call(url, "/v1/score", {"prompt": "Say red.", "responses": ["red", "blue sky"]})["rewards"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT) == 0
    assert '"event": "stream_ended", "written": 2, "dropped": 0' in (model.parent / "serve.log").read_text()
    watched = world("watch", str(path), "--per-step", "1", "--out", "watched", "--json")
    assert watched.code == 0, watched.err
    assert (watched.json()["form"], watched.json()["answers"]) == ("served", 2)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(row["prompt"], row["response"]) for row in rows] == [("Say red.", "red"), ("Say red.", "blue sky")]
    assert [row["reward"] for row in rows] == rewards


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "a=x", "--model", "b=y", "--stream", "s.jsonl"], "several models would stand in one file"),
        (["--model", "a=x", "--stream", "s.jsonl", "--engine", "ray"], "several processes would write one file"),
        (["--model", "a=x", "--stream", "train.jsonl", "--token-file", "train.jsonl"], "which is read"),
        (["--model", "a=x", "--port", "0", "--stream", "rows.jsonl"], "rows.jsonl: holds something else"),
        (["--model", "a=x", "--port", "0", "--stream", "."], "no regular file"),
        (["--model", "a=x", "--route", "spec.yaml", "--audit", "pipe"], "pipe: is no regular file"),
        (["--model", "a=x", "--route", "spec.yaml", "--audit", "spec.yaml"], "spec.yaml, which is read"),
        (["--model", "a=x", "--route", "spec.yaml", "--audit", "s", "--stream", "s"], "is also the file of s"),
    ],
)
def test_an_output_that_nobody_could_read_is_refused(world: World, arguments: list[str], message: str) -> None:
    world.write_spec()
    os.mkfifo(world.folder / "pipe")  # whoever opened it would wait for its reader
    answer = world("serve", *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert message in answer.err
    assert "Traceback" not in answer.err


def test_the_help_names_the_stream(world: World) -> None:
    answer = world("serve", "--help")
    assert answer.code == 0
    assert "--stream" in answer.out
    assert "JSONL for" in answer.out
