"""A real judge: SmolLM2-135M-Instruct behind vLLM, asked by `rewardsmith judge` and the router: `make test-vllm`.

What vLLM answers to each way of asking, on pairs made here: how good the judge is, `bench/real_judge.py` measures.
"""

from __future__ import annotations

import json
import math
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from checkpoint_maker import make_checkpoint
from cli_world import as_row

from conftest import make_pairs
from rewardsmith.pipeline.commands.calibrate_route import CalibrateOptions, calibrate_job
from rewardsmith.pipeline.commands.judge import build_judge, judge_job
from rewardsmith.pipeline.events import Silent
from rewardsmith.spec import Spec
from vllm_server import vllm_server

PYTHON = os.environ.get("VLLM_PYTHON", "")
SMOLLM2 = Path(os.environ.get("SMOLLM2", "build/SmolLM2-135M-Instruct"))
pytestmark = [
    pytest.mark.skipif(not PYTHON, reason="run it as `make test-vllm`, which makes vLLM's environment"),
    pytest.mark.skipif(
        not (SMOLLM2 / "model.safetensors").is_file(), reason="make real-weights makes SmolLM2's folder"
    ),
]
PAIRS = 24


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("judge") / "log"
    with vllm_server(SMOLLM2, log, "--max-model-len", "2048", python=PYTHON, runner="generate", name="smol") as url:
        yield url


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    path.write_text("".join(json.dumps(as_row(pair)) + "\n" for pair in make_pairs(PAIRS)))
    return path


def spec(url: str, **judge: Any) -> Spec:
    settings = {"endpoint": f"{url}/v1", "model": "smol", "max_tokens": 120, "call_deadline": 600.0, "deadline": 3600.0}
    probes = {"consistency": 0, "injection": 0}
    return Spec.model_validate(
        {"judge": {**settings, "probes": probes, **judge}, "evaluation": {"benchmarks": [], "bootstrap": 200}}
    )


def ask(url: str, **body: Any) -> Any:
    messages = [
        {"role": "user", "content": "Which letter comes first in the alphabet, B or A? Answer with one letter."}
    ]
    sent = json.dumps({"model": "smol", "messages": messages, "temperature": 0, "max_tokens": 4, **body}).encode()
    request = urllib.request.Request(f"{url}/v1/chat/completions", sent, {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=600) as answer:  # noqa: S310 - our own
        return json.loads(answer.read())["choices"][0]


def test_a_choice_is_kept_to_and_its_token_probabilities_are_those_after_the_grammar(judge: str) -> None:
    """vLLM masks before it takes logprobs: the labels hold everything, in the proportion that they had before."""
    body = {"logprobs": True, "top_logprobs": 20}
    found = ask(judge, structured_outputs={"choice": ["A", "B"]}, **body)
    assert found["message"]["content"] in ("A", "B")
    masked, free = (
        {one["token"]: one["logprob"] for one in answer["logprobs"]["content"][0]["top_logprobs"]}
        for answer in (found, ask(judge, **body))
    )
    assert math.exp(masked["A"]) + math.exp(masked["B"]) == pytest.approx(1, abs=1e-6)
    assert masked["A"] - masked["B"] == pytest.approx(free["A"] - free["B"], abs=1e-2)
    assert math.exp(free["A"]) + math.exp(free["B"]) < 0.9


def test_a_schema_makes_every_reply_readable(judge: str, pairs: Path, tmp_path: Path) -> None:
    outcome = judge_job(spec(judge, output="json_schema"), "pairs", str(pairs), tmp_path, Silent())
    replies = outcome.record.replies["pairwise"]
    assert (replies.replies, replies.unparsed) == (2 * PAIRS, 0)
    assert outcome.record.judged == PAIRS
    again = judge_job(spec(judge, output="json_schema"), "pairs", str(pairs), tmp_path, Silent())
    assert (again.paid, again.record.places) == (0, outcome.record.places)  # what is there is not asked again


def test_token_probabilities_give_a_verdict_or_a_counted_reason(judge: str, pairs: Path, tmp_path: Path) -> None:
    outcome = judge_job(spec(judge, verdict="logprobs"), "pairs", str(pairs), tmp_path, Silent())
    record = outcome.record
    assert record.settings.form == "token"
    assert record.judged + sum(record.missing.values()) == PAIRS
    assert set(record.missing) <= {"unparsed"}


def test_the_router_says_that_this_judge_is_not_worth_its_cost(judge: str, pairs: Path, tmp_path: Path) -> None:
    """Random weights, and a judge that knows no better: 24 pairs are enough where it ties or leaves them all."""
    settings = spec(judge, output="json_schema")
    model = make_checkpoint(tmp_path / "rm", SMOLLM2, max_length=512, head_std=0.06)
    options = CalibrateOptions(models=(str(model),), out=tmp_path / "routing", data=str(pairs))
    record = calibrate_job(settings, options, Silent(), judge=build_judge(settings.judge, tmp_path / "calls"))
    assert record.pairs == PAIRS
    assert record.judge_only.low < 0.5
    assert record.judge_pays is not True
    assert f"on the {PAIRS} pairs that it was asked about it is right in" in record.judge_statement
    assert f"for {record.judge.calls:,} calls" in record.judge_statement
