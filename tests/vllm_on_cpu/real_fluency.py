"""Fluency from vLLM: nats of SmolLM2-135M-Instruct as an endpoint gives them, beside those of transformers: `make
test-vllm`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from rewardsmith.scoring.fluency import RemoteFluency
from rewardsmith.types import Conversation, Message
from vllm_server import vllm_server

PYTHON = os.environ.get("VLLM_PYTHON", "")
SMOLLM2 = Path(os.environ.get("SMOLLM2", "build/SmolLM2-135M-Instruct"))
pytestmark = [
    pytest.mark.skipif(not PYTHON, reason="run it as `make test-vllm`, which makes vLLM's environment"),
    pytest.mark.skipif(
        not (SMOLLM2 / "model.safetensors").is_file(), reason="make real-weights makes SmolLM2's folder"
    ),
]


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("fluency") / "log"
    with vllm_server(SMOLLM2, log, "--max-model-len", "512", python=PYTHON, runner="generate", name="smol") as url:
        yield f"{url}/v1"


def said(question: str, answer: str) -> Conversation:
    return (Message("user", question), Message("assistant", answer))


def in_this_process(conversations: list[Conversation]) -> list[float]:
    """Mean loss of the tokens that hold a character of the answer, of each text tokenized as a whole."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(SMOLLM2))
    model = transformers.AutoModelForCausalLM.from_pretrained(str(SMOLLM2), dtype=torch.float32).eval()
    found = []
    for conversation in conversations:
        head = "".join(f"{message.content}\n\n" for message in conversation[:-1])
        made = tokenizer(head + conversation[-1].content, return_offsets_mapping=True, return_tensors="pt")
        own = (made["offset_mapping"][0, :, 1] > len(head)).nonzero()[:, 0]
        own = own[own > 0]  # nothing stands before the first token
        with torch.inference_mode():
            losses_TV = -model(input_ids=made["input_ids"]).logits[0].log_softmax(-1)
        found.append(float(losses_TV[own - 1, made["input_ids"][0, own]].mean()))
    return found


def test_nats_are_those_of_the_same_model_in_this_process(endpoint: str) -> None:
    texts = [
        said("What is the capital of France?", "The capital of France is Paris."),
        said("What is the capital of France?", "The capital of France is Paris. verily hitherto"),
        said("Que dit-on à Zürich?", "On dit « grüezi » – naïve façade 🦀."),
        said("🦀?", "- first\n- second 🦀"),
        (Message("assistant", "Once upon a time there was a king."),),
    ]
    remote = RemoteFluency(endpoint)
    assert remote.name == f"smol at {endpoint}"
    found = remote.nats(texts)
    np.testing.assert_allclose(found, in_this_process(texts), atol=2e-3)
    assert found[1] - found[0] > 0.5


def test_a_text_that_is_too_long_is_none_and_does_not_spoil_the_others(endpoint: str) -> None:
    found = RemoteFluency(endpoint).nats([said("Why?", "Because. " * 400), said("Why?", "Because it is so.")])
    assert np.isnan(found[0])
    assert np.isfinite(found[1])
