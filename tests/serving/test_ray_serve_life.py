"""How a server under Ray Serve starts and ends: each test has a cluster of its own."""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from ray_world import one_machine
from serving_world import Reply, reward_of
from test_ray_serve import Located, ask, spread

from rewardsmith.errors import ModelError
from rewardsmith.serving.ray_serve import FrontSettings, Replicas, deployed
from rewardsmith.serving.server import bind


@pytest.mark.slow
def test_what_was_accepted_is_answered_before_the_server_ends(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    replies: list[Reply] = []
    with one_machine(cpus=2), ExitStack() as stack:
        server = stack.enter_context(spread(tmp_path))
        asking = threading.Thread(target=lambda: replies.append(ask(server, "Q", ["HOLD"])))
        asking.start()
        with (tmp_path / "gate").open("wb"):  # opens when the model has begun
            ending = threading.Thread(target=stack.close)
            ending.start()
            while server.get("/readyz").status != 503:
                pass
        ending.join()
        asking.join()
    assert [(reply.status, reply.json()["rewards"]) for reply in replies] == [(200, [reward_of("QHOLD")])]


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    (tmp_path / "shift").write_text("-1")
    with bind("127.0.0.1", 0) as listener:
        port = int(listener.getsockname()[1])
    loads = {"located": partial(Located, tmp_path)}
    with (
        one_machine(cpus=2),
        pytest.raises(ModelError, match=r"a replica did not start: .*a shift below zero"),
        deployed(loads, Replicas(), FrontSettings(), host="127.0.0.1", port=port),
    ):
        pass
