"""What a test changes of its process is gone after it, so that no order of tests shows anything else."""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path

import process_state
import pytest
import torch

from rewardsmith import addresses, benchmarks


def test_a_secret_of_one_test_is_no_secret_of_the_next() -> None:
    with process_state.restored():
        addresses.keep_hidden("pairs-of-the-other-test")
        assert addresses.redacted("/tmp/pairs-of-the-other-test/x") == "/tmp/[key]/x"
    assert addresses.redacted("/tmp/pairs-of-the-other-test/x") == "/tmp/pairs-of-the-other-test/x"


def test_a_registry_has_its_entries_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    before = list(benchmarks.BENCHMARKS.items())
    with process_state.restored():
        benchmarks.BENCHMARKS["toy"] = "toy:TOY"
        benchmarks.BENCHMARKS["pairs"] = benchmarks.BENCHMARKS.pop("pairs")  # now the last one
    assert list(benchmarks.BENCHMARKS.items()) == before


def test_variables_folder_signals_loggers_and_torch_are_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REWARDSMITH_KEPT", "kept")
    monkeypatch.setenv("REWARDSMITH_DELETED", "there")
    here, threads, logger = Path.cwd(), torch.get_num_threads(), logging.getLogger("rewardsmith")
    handlers, heard = list(logger.handlers), signal.getsignal(signal.SIGTERM)
    with process_state.restored():
        os.environ["REWARDSMITH_NEW"] = "new"
        os.environ["REWARDSMITH_KEPT"] = "changed"
        del os.environ["REWARDSMITH_DELETED"]
        os.chdir(tmp_path)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        logger.addHandler(logging.NullHandler())
        torch.set_num_threads(threads + 1)
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
    ours = ("REWARDSMITH_KEPT", "REWARDSMITH_DELETED", "REWARDSMITH_NEW")
    assert [os.environ.get(name) for name in ours] == ["kept", "there", None]
    assert (Path.cwd(), signal.getsignal(signal.SIGTERM), logger.handlers) == (here, heard, handlers)
    assert (torch.get_num_threads(), torch.get_default_dtype()) == (threads, torch.float32)
    assert torch.is_grad_enabled()


def test_each_test_begins_with_the_same_random_numbers() -> None:
    drawn = []
    for _ in range(2):
        with process_state.restored():
            drawn.append(torch.rand(3).tolist())
    assert drawn[0] == drawn[1]


def test_every_registry_is_where_it_is_said_to_be() -> None:
    import importlib

    for module, names in process_state.REGISTRIES.items():
        importlib.import_module(module)
        assert all(isinstance(getattr(sys.modules[module], name), dict) for name in names)
