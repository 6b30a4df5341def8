"""A small seeded part of bench/watch_streams.py: sound streams raise nothing, hacks are called in time."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCH))
    return import_module("watch_streams")


@pytest.mark.parametrize("kind", ["null", "honest", "edge"])
def test_sound_streams_raise_nothing_more_often_than_promised(bench: Any, kind: str) -> None:
    found = bench.streams(kind, 60, seed=5)
    assert np.isfinite(found.any).sum() <= 7  # at 5 % more than 7 of 60 have a chance of 1 in 100


@pytest.mark.parametrize(("kind", "early"), [("length", "length"), ("trigger", "triggers"), ("collapse", "duplicates")])
def test_hacks_are_called_within_the_stated_delay_and_their_signal_is_early(bench: Any, kind: str, early: str) -> None:
    found = bench.streams(kind, 20, seed=6)
    delay = found.audit - bench.ONSET
    assert ((delay >= 0) & (delay <= bench.DELAY)).mean() >= 0.9
    assert np.median(found.signals[early]) < np.median(found.audit)


def test_the_bench_and_the_command_take_the_same_limits_and_thresholds(bench: Any) -> None:
    """The bench's own arithmetic of limits on one series equals `signal_limit`, which the command uses."""
    from rewardsmith.watching.evidence import signal_limit

    values = np.random.default_rng(0).random((1, bench.REFERENCE)) * 0.3
    mean, spread = values.mean(1), values.std(1, ddof=1)
    own = mean + bench.SURE * spread / np.sqrt(bench.REFERENCE) + 0.25
    assert own[0] == pytest.approx(signal_limit(values[0].tolist(), 0.25))


def test_a_page_says_what_was_found(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    import argparse

    page = bench.page(argparse.Namespace(runs=2, hacks=2))
    assert "| collapse | 2 | 100.0 |" in page
    assert "| edge | 2 |" in page
    assert bench.when(np.array([np.inf] * 30)) == "-"
