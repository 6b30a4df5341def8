"""`rewardsmith serve` as a process: load of every kind, and SIGTERM under it."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import signal
import statistics
import subprocess
from pathlib import Path

import pytest
from checkpoint_maker import make_checkpoint
from serving_soak import WAIT, Soak, Stream, raw, resident, response, served

from conftest import WORDS
from rewardsmith.errors import ModelError
from rewardsmith.pipeline.commands.serve import ServeOptions, load_engine
from rewardsmith.scoring import LocalScorer
from rewardsmith.types import Message

LIMITS = ("--max-body", "100000", "--max-queue", "1000")


@pytest.fixture(scope="module")
def model(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("soak") / "model", tiny_base)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Rendered conversations: four samples to each of some prompts."""
    draw = random.Random(5)
    found = []
    for index in range(40):
        prompt = " ".join(draw.choices(WORDS, k=draw.randint(3, 30)))
        for _ in range(4):
            response = " ".join(draw.choices(WORDS, k=draw.randint(0, 12)))
            found.append(f"<|im_start|>user\n{index} {prompt}<|im_end|>\n<|im_start|>assistant\n{response}<|im_end|>\n")
    return found


@pytest.fixture(scope="module")
def rewards(model: Path, texts: list[str]) -> list[float]:
    """By offline scoring."""
    found = LocalScorer.load(model).score([(Message("text", text),) for text in texts])
    assert len(set(found.round(4))) > len(texts) / 2
    return [float(reward) for reward in found]


def test_a_mixed_load_and_then_sigterm_under_load(model: Path, texts: list[str], rewards: list[float]) -> None:
    with served(model, *LIMITS) as (url, process):
        soak = Soak(url, texts, rewards, seed=0)
        seen = asyncio.run(soak.run(requests=600, clients=24))
        assert seen["200"] > 400
        assert {"400", "404", "413", "421", "422"} <= set(seen)
        assert not {status for status in seen if status.startswith("5")} - {"503"}
        asyncio.run(drained(soak, process))
    log = (model.parent / "serve.log").read_text()
    assert not any(text in log for text in ("im_start", "river", "/etc/passwd", "evil"))
    lines = [json.loads(line) for line in log.splitlines()]
    assert not [line for line in lines if line["level"] in ("warning", "error") and line.get("status") != 503]
    events = [line["event"] for line in lines]
    assert events.index("draining") < len(events) - 1
    assert events[-1] == "stopped"


async def drained(soak: Soak, process: subprocess.Popen[str]) -> None:
    """SIGTERM when forty requests are accepted: all are answered, rightly, and the server ends well."""
    streams = [await soak.connect() for _ in range(40)]
    probe = await soak.connect()
    before = await accepted(probe)
    for index, (_, writer) in enumerate(streams):
        writer.write(raw("/v1/score", {"texts": soak.texts[index : index + 20]}))
    while await accepted(probe) < before + len(streams):
        pass
    process.send_signal(signal.SIGTERM)
    for index, (reader, writer) in enumerate(streams):
        status, _, body = await asyncio.wait_for(response(reader), WAIT)
        assert status == 200
        assert json.loads(body)["rewards"] == pytest.approx(soak.rewards[index : index + 20], abs=1e-5)
        writer.close()
    probe[1].close()
    assert await asyncio.to_thread(process.wait, WAIT) == 0
    with pytest.raises(ConnectionError):
        await soak.connect()


async def accepted(stream: Stream) -> int:
    """How many scoring requests the server has read, answered or not, without the one that asks."""
    stream[1].write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    _, _, body = await response(stream[0])
    found = {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in body.decode().splitlines() if line[0] != "#"
    }
    done = found.get('rewardsmith_requests_total{route="/v1/score",status="200"}', 0.0)
    return int(found["rewardsmith_requests_running"] - 1 + done)


@pytest.mark.parametrize(
    ("field", "value", "shown"),
    [
        *(("calibration.temperature", value, value) for value in ("0", "-1", "-0.0", "Infinity", "NaN")),
        ("reward_mean", "NaN", "NaN"),
        *(("reward_std", value, value) for value in ("-1", "Infinity")),
    ],
)
def test_numbers_of_a_record_that_compare_with_nothing_refuse_the_checkpoint(
    model: Path, tmp_path: Path, field: str, value: str, shown: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    record = json.loads((folder / "rewardsmith.json").read_text())
    section, _, name = field.rpartition(".")
    record |= {section: {name: float(value)}} if section else {name: float(value)}
    (folder / "rewardsmith.json").write_text(json.dumps(record))
    with pytest.raises(ModelError) as raised:
        load_engine(str(folder), ServeOptions(models=()))
    assert raised.value.where == f"{folder}/rewardsmith.json, field '{field}'"
    assert float(raised.value.problem.removeprefix("is ")) == pytest.approx(float(shown), nan_ok=True)
    record |= {section: {name: 0.7}} if section else {name: 0.7}
    (folder / "rewardsmith.json").write_text(json.dumps(record))
    found = load_engine(str(folder), ServeOptions(models=())).info
    assert {found.temperature, found.reward_mean, found.reward_std} == {0.7, None}


@pytest.mark.slow
def test_twenty_thousand_requests_and_flat_memory(model: Path, texts: list[str], rewards: list[float]) -> None:
    sizes: list[int] = []
    with served(model, *LIMITS) as (url, process):

        def watch(number: int) -> None:
            if number % 500 == 0:
                sizes.append(resident(process))

        seen = asyncio.run(Soak(url, texts, rewards, seed=2).run(requests=20_000, clients=64, after=watch))
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT) == 0
    assert seen["200"] > 14_000
    assert not {status for status in seen if status.startswith("5")} - {"503"}
    half = len(sizes) // 2
    third, last = statistics.median(sizes[half : half + half // 2]), statistics.median(sizes[half + half // 2 :])
    assert last - third < 4 * 2**20, [size >> 20 for size in sizes]
