"""What the command line says of Ray: where it is missing, and whole commands on a cluster of their own."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from checkpoint_maker import make_checkpoint
from cli_world import World
from serving_world import chat

from rewardsmith.pipeline import cluster
from rewardsmith.scoring import LocalScorer


@pytest.fixture
def world(tiny_base: Path, tmp_path: Path, capsys: Any, monkeypatch: Any) -> World:
    return World(tmp_path, tiny_base, capsys, monkeypatch)


def on_workers(world: World) -> str:
    """A spec that trains on two workers, kept in the world's folder."""
    spec = world.spec(hardware={"device": "cpu", "threads": 1, "workers": 2})
    (world.folder / "spec.yaml").write_text(yaml.safe_dump(spec))
    return "spec.yaml"


@pytest.mark.parametrize("command", ["score", "serve", "run"])
def test_without_ray_one_line_says_what_to_install(command: str, world: World, monkeypatch: Any) -> None:
    model = make_checkpoint(world.folder / "model", world.base)
    monkeypatch.setattr(cluster, "is_installed", lambda package: False)
    arguments = {
        "score": ["--model", str(model), "--input", "train.jsonl", "--output", "o.jsonl", "--engine", "ray"],
        "serve": ["--model", str(model), "--port", "0", "--engine", "ray"],
        "run": [on_workers(world)],
    }
    answer = world(command, *arguments[command])
    assert answer.code == 2
    assert "the package ray is not installed" in answer.err
    assert "pip install 'rewardsmith[ray]'" in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("wanted", ["0", "x", "3:1", "1:", "-1"])
def test_a_number_of_replicas_that_is_none(wanted: str, world: World) -> None:
    answer = world("serve", "--model", "m", "--engine", "ray", f"--replicas={wanted}")
    assert answer.code == 2
    assert f"--replicas: {wanted!r} is no number of replicas" in answer.err


@pytest.mark.slow
def test_a_spec_with_workers_trains_under_ray(world: World) -> None:
    answer = world("run", on_workers(world))
    assert answer.code in (0, 1), answer.err  # the gates may say no of ten steps
    run = world.folder / "runs" / "tiny"
    assert json.loads((run / "train" / "summary.json").read_text())["processes"] == 2
    assert (run / "report.html").is_file()


@pytest.mark.slow
def test_a_server_under_ray_gives_the_rewards_of_the_checkpoint_and_ends_on_sigterm(
    tiny_base: Path, tmp_path: Path
) -> None:
    model = make_checkpoint(tmp_path / "model", tiny_base)
    command = [sys.executable, "-m", "rewardsmith", "serve", "--model", f"tiny={model}", "--port", "0"]
    with subprocess.Popen(
        [*command, "--device", "cpu", "--engine", "ray"], stderr=subprocess.PIPE, text=True, env={**os.environ}
    ) as process:
        assert process.stderr is not None
        line = next((one for one in iter(process.stderr.readline, "") if '"listening"' in one), "")
        url = json.loads(line)["url"]
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
        body = json.dumps({"prompt": "Say red.", "responses": ["red", "blue"]})
        connection.request("POST", "/v1/score", body, {"Content-Type": "application/json"})
        found = json.loads(connection.getresponse().read())
        connection.close()
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
    assert process.returncode == 0
    assert '"draining"' in rest
    assert '"stopped"' in rest
    wanted = LocalScorer.load(model).score([chat("Say red.", one) for one in ("red", "blue")])
    assert found["rewards"] == pytest.approx(wanted.tolist(), abs=1e-5)
