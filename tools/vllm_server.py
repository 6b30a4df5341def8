"""A vLLM server of one folder on this machine, for tests and benches; `make .venv-vllm/.installed` is its environment.

    with vllm_server(folder, log, python=".venv-vllm/bin/python") as url: …                      our exports: rewards
    with vllm_server(folder, log, python=…, runner="generate", name="smol") as url: …           a policy, or a judge

Whatever happens, the server and its workers are ended. It takes a minute to start on a quiet machine.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

STARTS_WITHIN = 900.0
"""Seconds; a busy machine takes many minutes."""
_ENVIRONMENT = {
    "VLLM_TARGET_DEVICE": "cpu",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
}


@contextmanager
def vllm_server(
    folder: Path,
    log: Path,
    *options: str,
    python: str,
    runner: Literal["pooling", "generate"] = "pooling",
    name: str = "rm",
    dtype: str = "float32",
    port: int = 0,
) -> Iterator[str]:
    """The address of a server while the block runs.

    Args:
        folder: the model.
        log: takes what the server says.
        options: more of its command line.
        python: of vLLM's environment.
        runner: rewards, or texts.
        name: under which the model is asked.
        dtype: of weights and products.
        port: a free one unless stated.

    Raises:
        OSError: the port is taken.
        RuntimeError: it ended, or did not start; the end of its log is in the message.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the one before may have just ended
        probe.bind(("127.0.0.1", port))
        port = int(probe.getsockname()[1])
    command = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder), "--served-model-name", name]
    command += ["--runner", runner, "--dtype", dtype, "--enforce-eager", "--host", "127.0.0.1", "--port", str(port)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | _ENVIRONMENT
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *options], stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
        try:
            _wait_for(f"http://127.0.0.1:{port}/health", process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # workers that outlive it
            process.wait()


@contextmanager
def generating(
    endpoint: str | None, base: Path, log: Path, *, length: int, python: str, port: int = 0
) -> Iterator[str]:
    """The OpenAI-style address of a model that answers: `endpoint`, or a server of `base` while the block runs.

    A judge's answers are kept under its address: with a stated `port` they are found again.
    """
    if endpoint:
        yield endpoint
        return
    limit = ("--max-model-len", str(length))
    with vllm_server(base, log, *limit, python=python, runner="generate", name="smol", port=port) as url:
        yield f"{url}/v1"


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"vLLM ended with {process.returncode}:\n{log.read_text(errors='replace')[-3000:]}")
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - our own
                return
        except OSError:
            time.sleep(1)
    raise RuntimeError(f"vLLM did not start within {STARTS_WITHIN:g} s:\n{log.read_text(errors='replace')[-3000:]}")
