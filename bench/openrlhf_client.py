"""OpenRLHF's own remote-reward client against `rewardsmith serve`: the reward is the scorer's.

    pip download openrlhf==0.11.2 --no-deps -d wheel && python -m zipfile -e wheel/*.whl wheel
    pip install aiohttp
    python bench/openrlhf_client.py --openrlhf wheel/openrlhf-0.11.2.data/purelib/openrlhf

Runs `SingleTurnAgentExecutor.execute` of `openrlhf/utils/agent.py` as it is, with a stand-in for vLLM that returns
given response tokens. OpenRLHF's own packages are not initialised (they import deepspeed and flash-attn): only this
module and its logger are. Fails unless every reward equals that of `LocalScorer` to 1e-4.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bulk_score import write_model, write_rows
from rewardsmith.scoring import LocalScorer
from rewardsmith.types import Message

TOKEN = "a-token-of-this-bench"  # noqa: S105 - of a server that lives for seconds
RESPONSES = ["kabar loden", "mifil", "nugor rehin sabar kabar", "loden loden", "rehin"]


def main() -> None:
    """Ask once for each response, alone and all at once; compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--openrlhf", type=Path, required=True, help="the folder of its package")
    agent = load_agent(parser.parse_args().openrlhf)
    with tempfile.TemporaryDirectory(prefix="openrlhf-") as name:
        folder = Path(name)
        write_rows(folder / "rows.jsonl", 2000, 12)
        model = write_model(folder, "smoke")
        scorer = LocalScorer.load(model)
        question = Message("user", "kabar mifil?")
        wanted = scorer.score([(question, Message("assistant", response)) for response in RESPONSES])
        with server(model) as url:
            found = asyncio.run(ask(agent, url, scorer, question))
    for response, reward, output in zip(RESPONSES, wanted, found, strict=True):
        print(f"{reward:+.6f}  {output['reward']}  {output['scores']}  {response}")
        if output["reward"] is None or abs(output["reward"][0] - reward) > 1e-4:
            sys.exit("the client's reward is not the scorer's")
    print("every reward is the scorer's")


def load_agent(package: Path) -> Any:
    """`openrlhf.utils.agent`, its parents left empty."""
    for name, path in (("openrlhf", package), ("openrlhf.utils", package / "utils")):
        parent = types.ModuleType(name)
        parent.__path__ = [str(path)]
        sys.modules[name] = parent
    return importlib.import_module("openrlhf.utils.agent")


@dataclass
class Sampling:
    """What the client reads of vLLM's sampling parameters."""

    max_tokens: int = 64
    logprobs: int | None = None


class Engine:
    """Returns one response, closed with EOS as a policy closes it."""

    def __init__(self, tokenizer: Any, response: str) -> None:
        self.ids = tokenizer(response + tokenizer.eos_token, add_special_tokens=False)["input_ids"]

    async def generate(self, *_: Any, **__: Any) -> Any:
        """As vLLM's async engine."""
        output = types.SimpleNamespace(token_ids=self.ids, finish_reason="stop", logprobs=None)
        return types.SimpleNamespace(outputs=[output])


async def ask(agent: Any, url: str, scorer: LocalScorer, question: Message) -> list[dict[str, Any]]:
    """One `execute` for each response, all at once."""
    renderer = scorer.checkpoint.renderer
    prompt = renderer.text((question,), add_generation_prompt=True)
    executor = agent.SingleTurnAgentExecutor(url)
    calls = [
        executor.execute(prompt, None, Sampling(), 400, renderer.tokenizer, Engine(renderer.tokenizer, response))
        for response in RESPONSES
    ]
    return list(await asyncio.gather(*calls))


@contextmanager
def server(model: Path) -> Iterator[str]:
    """`rewardsmith serve` with a token, as the client's URL carries it."""
    log = model.parent / "serve.log"
    environment = {**os.environ, "REWARDSMITH_TOKEN": TOKEN}
    command = [sys.executable, "-m", "rewardsmith", "serve", "--model", f"m={model}", "--port", "0", "--device", "cpu"]
    with log.open("w") as stream:
        process = subprocess.Popen(command, env=environment, stderr=stream)
    try:
        yield f"{listening(log, process)}/get_reward".replace("://", f"://any:{TOKEN}@")
    finally:
        process.terminate()
        process.wait()


def listening(log: Path, process: subprocess.Popen[bytes]) -> str:
    """The address, from the server's log."""
    while process.poll() is None:
        time.sleep(0.1)
        for line in log.read_text().splitlines():
            if '"url"' in line:
                return str(json.loads(line)["url"])
    raise RuntimeError(f"the server did not start:\n{log.read_text()}")


if __name__ == "__main__":
    main()
