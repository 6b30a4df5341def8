"""The server under Ray Serve, on a real cluster: the local server's answers, and one replica for one prompt."""

from __future__ import annotations

import os
import signal
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray_world import one_machine
from serving_world import TOKEN, CountingEngine, Reply, World, chat, reward_of, serving

from rewardsmith.errors import ModelError
from rewardsmith.serving.access import Access
from rewardsmith.serving.engine import ModelInfo, Prepared, Scored
from rewardsmith.serving.limits import Limits
from rewardsmith.serving.queue import Answer, Reward
from rewardsmith.serving.ray_serve import (
    BUCKETS,
    FrontSettings,
    Part,
    Replicas,
    SpreadBatcher,
    deployed,
    group_by_prompt,
)
from rewardsmith.serving.server import bind
from rewardsmith.types import Message

LIMITS = Limits(items=64)


class Located(CountingEngine):
    """Counts, and names as a member the process that did; a text with HOLD waits for the gate."""

    def __init__(self, folder: Path) -> None:
        shift = float((folder / "shift").read_text())
        if shift < 0:
            raise ModelError("a shift below zero", where=str(folder / "shift"), fix="raise it")
        super().__init__(ModelInfo(identity=f"shift {shift:g}", max_length=1000), shift=shift)
        self.folder = folder

    def score(self, batch: Sequence[Prepared]) -> Scored:
        if any("HOLD" in prepared.content for prepared in batch):
            (self.folder / "gate").read_bytes()
        scored = super().score(batch)
        here = np.full(len(batch), float(os.getpid()))
        return Scored(scored.rewards, {"process": here}, np.zeros(len(batch)))


@contextmanager
def spread(folder: Path) -> Iterator[World]:
    """Two replicas of each of two models."""
    (folder / "shift").write_text("0")
    with bind("127.0.0.1", 0) as listener:
        port = int(listener.getsockname()[1])
    loads = {"counting": CountingEngine, "located": partial(Located, folder)}
    front = FrontSettings(Access((TOKEN,)), LIMITS)
    with deployed(loads, Replicas(2, 2, cpus=0.4), front, host="127.0.0.1", port=port) as url:
        assert url == f"http://127.0.0.1:{port}"
        yield World("127.0.0.1", port, None, {}, None, TOKEN)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, Path]]:
    folder = tmp_path_factory.mktemp("spread")
    with one_machine(cpus=2), spread(folder) as world:
        yield world, folder


TURNS = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "yes"}]
REQUESTS: list[tuple[str, str, Any, dict[str, str]]] = [
    ("POST", "/v1/score", {"prompt": "Q", "responses": ["a", "b"], "model": "counting"}, {}),
    ("POST", "/models/counting/v1/score", {"conversations": [TURNS, TURNS]}, {}),
    ("POST", "/models/counting/v1/score", {"texts": [f"text {index}" for index in range(9)]}, {}),
    ("POST", "/models/counting/get_reward", {"query": ["one", "two"], "prompts": ["o", "t"], "labels": ["", ""]}, {}),
    ("POST", "/models/counting/v1/score", {"prompt": "Q", "responses": ["a", "REFUSE"], "allow_missing": True}, {}),
    ("POST", "/models/counting/v1/score", {"prompt": "Q", "responses": ["a", "REFUSE"]}, {}),
    ("POST", "/models/counting/v1/score", {"prompt": "Q", "responses": ["NAN"]}, {}),
    ("POST", "/models/counting/v1/score", {"prompt": "Q", "responses": ["a"] * 65}, {}),
    ("POST", "/models/nobody/v1/score", {"prompt": "Q", "responses": ["a"]}, {}),
    ("POST", "/v1/score", b"no json", {}),
    ("POST", "/v1/score", {"prompt": "Q", "responses": ["a"], "model": "counting"}, {"Authorization": "-"}),
    ("POST", "/v1/score", {"prompt": "Q", "responses": ["a"], "model": "counting"}, {"Host": "elsewhere.example"}),
    ("GET", "/healthz", None, {"Authorization": "-"}),
    ("GET", "/readyz", None, {"Authorization": "-"}),
    ("GET", "/v1/models/counting", None, {}),
    ("GET", "/nothing", None, {}),
]


def test_the_answers_are_those_of_the_local_server(world: tuple[World, Path], tmp_path: Path) -> None:
    (tmp_path / "shift").write_text("0")
    engines = {"counting": CountingEngine(), "located": Located(tmp_path)}
    with serving(engines, token=TOKEN, limits=LIMITS) as local:
        for method, path, body, headers in REQUESTS:
            wanted, found = (one.call(method, path, body, **headers) for one in (local, world[0]))
            assert (found.status, found.json()) == (wanted.status, wanted.json()), (path, body)
            for name in ("x-rewardsmith-model", "www-authenticate", "cache-control"):
                assert found.headers.get(name) == wanted.headers.get(name), (path, name)


def ask(world: World, prompt: str, responses: Sequence[str]) -> Reply:
    return world.post("/models/located/v1/score", {"prompt": prompt, "responses": list(responses)})


def test_the_answers_to_one_prompt_go_to_one_replica(world: tuple[World, Path]) -> None:
    replicas = defaultdict(set)
    for sample in range(3):
        for prompt in range(12):
            found = ask(world[0], f"prompt {prompt}", [f"answer {sample}"]).json()
            assert found["rewards"] == [reward_of(f"prompt {prompt}answer {sample}")]
            replicas[prompt].update(found["members"]["process"])
    assert all(len(processes) == 1 for processes in replicas.values())
    assert len(set.union(*replicas.values())) == 2
    # A request with many prompts is parted among the same replicas, and put together again.
    talks = [[{"role": "user", "content": f"prompt {index % 12}"}, TURNS[1]] for index in range(24)]
    found = world[0].post("/models/located/v1/score", {"conversations": talks}).json()
    assert found["rewards"] == [reward_of(f"prompt {index % 12}yes") for index in range(24)]
    assert [{process} for process in found["members"]["process"]] == [replicas[index % 12] for index in range(24)]


def test_metrics_count_what_the_replicas_computed(world: tuple[World, Path]) -> None:
    def computed() -> float:
        lines = world[0].get("/metrics").body.decode().splitlines()
        name = 'rewardsmith_tokens_received_total{model="located"} '
        return next((float(line.removeprefix(name)) for line in lines if line.startswith(name)), 0.0)

    before = computed()
    assert ask(world[0], "Q", ["four", "five5"]).status == 200
    assert computed() - before == 11


def test_a_reload_changes_all_replicas_or_none(world: tuple[World, Path]) -> None:
    server, folder = world
    (folder / "shift").write_text("-1")
    refused = server.post("/v1/models/located/reload", {})
    assert (refused.status, refused.code) == (409, "reload_refused")
    prompts = [f"prompt {index}" for index in range(8)]
    assert [ask(server, one, ["a"]).json()["rewards"] for one in prompts] == [[reward_of(f"{one}a")] for one in prompts]
    (folder / "shift").write_text("2")
    assert server.post("/v1/models/located/reload", {}).json()["identity"] == "shift 2"
    found = [ask(server, one, ["a"]).json() for one in prompts]
    assert [one["rewards"] for one in found] == [[reward_of(f"{one}a") + 2] for one in prompts]
    assert {one["identity"] for one in found} == {"shift 2"}
    (folder / "shift").write_text("0")
    assert server.post("/v1/models/located/reload", {}).status == 200


@pytest.mark.slow
def test_a_replica_that_is_killed_is_replaced_and_no_request_notices(world: tuple[World, Path]) -> None:
    server, _ = world
    processes = {int(ask(server, f"prompt {index}", ["a"]).json()["members"]["process"][0]) for index in range(12)}
    os.kill(min(processes), signal.SIGKILL)
    for index in range(24):
        assert ask(server, f"prompt {index % 12}", ["a"]).json()["rewards"] == [reward_of(f"prompt {index % 12}a")]


@given(st.lists(st.tuples(st.sampled_from(["p", "q", "r", ""]), st.text(max_size=3)), max_size=30))
def test_every_conversation_is_in_one_group_and_equal_prompts_are_together(talks: list[tuple[str, str]]) -> None:
    conversations = [chat(prompt, response) for prompt, response in talks]
    groups = group_by_prompt(conversations)
    assert sorted(place for places in groups.values() for place in places) == list(range(len(talks)))
    assert all(0 <= int(bucket) < BUCKETS for bucket in groups)
    of = {place: bucket for bucket, places in groups.items() for place in places}
    for prompt in {prompt for prompt, _ in talks}:
        assert len({of[place] for place, talk in enumerate(talks) if talk[0] == prompt}) == 1


def test_a_text_goes_by_its_beginning() -> None:
    long = "x" * 600
    groups = group_by_prompt([(Message("text", long + tail),) for tail in "ab"])
    assert list(groups.values()) == [[0, 1]]


class Two:
    """A handle whose replicas are of two models until the third call."""

    def __init__(self) -> None:
        self.calls = 0
        self.score = self

    def options(self, session_id: str) -> Two:
        del session_id
        return self

    async def remote(self, part: Sequence[Any], seconds: float, patience: float) -> Part:
        del seconds, patience
        self.calls += 1
        info = ModelInfo(identity="new" if self.calls > 1 else "old")
        return Part(Answer([Reward(1.0, 1) for _ in part], info), None, [])


async def _submit(batcher: SpreadBatcher) -> Answer:
    return await batcher.submit([chat("p", "a"), chat("q", "b")], seconds=30)


def test_an_answer_is_of_one_model_though_a_reload_goes_through_the_replicas() -> None:
    import asyncio

    handle = Two()
    batcher = SpreadBatcher(handle, ModelInfo(identity="old"))
    assert len(group_by_prompt([chat("p", "a"), chat("q", "b")])) == 2
    answer = asyncio.run(_submit(batcher))
    assert (answer.info.identity, batcher.engine.info.identity, handle.calls) == ("new", "new", 4)
    assert batcher.depth == 0
