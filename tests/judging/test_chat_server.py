"""The whole path against a real chat server: `transformers serve` in a process of its own, with a decoder made here.

The decoder has hardly learned anything, so that most of what it says is no verdict: that must be counted as missing,
and the job must end all the same.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from judge_world import judged, pairs, ranked_rows, read_rows, write_rows

from rewardsmith.samples import Sizes
from rewardsmith.samples.base_model import Shape, build_base_model

SIZES = Sizes(train_blocks=4, held_out_blocks=2, row_blocks=2, ties=4, warm_up_blocks=8)
SHAPE = Shape(vocabulary=600, width=32, inner_width=64, layers=1, heads=2)
SERVE = "from transformers.cli.transformers import main; main()"


@contextmanager
def chat_server(model: Path) -> Iterator[str]:
    """`transformers serve` with this model on a free port; ends with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", SERVE, "serve", str(model), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--device", "cpu", "--dtype", "float32", "--log-level", "info"]
    offline, silent = os.environ | {"HF_HUB_OFFLINE": "1"}, subprocess.DEVNULL
    with subprocess.Popen(command, stdout=silent, stderr=subprocess.PIPE, text=True, env=offline) as process:
        try:
            said = []
            for line in process.stderr or ():
                said.append(line)
                if "Uvicorn running on" in line:
                    break
            else:
                pytest.fail("".join(said))
            # what it says later must be read, or it would stop at a full pipe
            with subprocess.Popen(["cat"], stdin=process.stderr, stdout=silent):
                yield f"http://127.0.0.1:{port}/v1"
                process.kill()
        finally:
            process.kill()


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_base_model(tmp_path_factory.mktemp("decoder"), seed=0, sizes=SIZES, shape=SHAPE)


@pytest.mark.slow
def test_the_whole_path_against_transformers_serve(tmp_path: Path, decoder: Path) -> None:
    ranked = write_rows(tmp_path / "rows.jsonl", ranked_rows(4))
    paired = write_rows(tmp_path / "pairs.jsonl", pairs(3))
    out = tmp_path / "out"
    with chat_server(decoder) as url:
        settings = {"model": str(decoder), "max_tokens": 24, "concurrency": 2}
        done = judged(url, "rewardbench2", ranked, out, **settings)
        both = judged(url, "pairs", paired, out, **settings)
        again = judged(url, "rewardbench2", ranked, out, **settings)
    record = done.record
    assert record.judged + record.missing.get("unparsed", 0) == record.rows == 4
    assert set(record.missing) <= {"unparsed"}
    assert record.replies["ranking"].replies == 4
    missing = [row for row in read_rows(out, "rewardbench2") if None in row["rewards"]]
    assert len(missing) == record.missing.get("unparsed", 0) == done.result.subsets["Math"].n_missing // 4
    assert record.replies["ranking"].unread >= len(missing)
    assert record.cost.completion_tokens <= 24 * record.cost.calls
    assert both.record.rows == 3
    assert (again.paid, again.result) == (0, done.result)  # nothing was asked twice
    assert (out / "report.html").is_file()
    assert json.loads((out / "eval" / "pairs" / "judge.json").read_text())["benchmark"] == "pairs"
