"""What Prometheus reads: requests, queue, batches, tokens, a router's decisions, and whether rewards drift.

    metrics = Metrics()
    metrics.request("/v1/score", 200, 0.031)
    metrics.model("helpful").batch(report)
    metrics.exposition()                       # text/plain; version=0.0.4

The drift gauge is (mean of the last `WINDOW` rewards - reference mean) / reference std, the reference being the
held-out pairs of `rewardsmith.json`. A policy in training moves it on purpose; a jump without a cause means other
texts, another template or another model than before. No text and no client is a label.

prometheus_client writes the format; the registry is this object's own, so that two servers in one process do not meet.
With the file of a watch, its gauges follow as the watch wrote them: another process reads the stream, tests and asks
the judge, and a scrape costs the reading of a small file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from rewardsmith.protocols import Router
from rewardsmith.records.bounded import BeyondLimitError, read_bounded
from rewardsmith.serving.engine import ModelInfo
from rewardsmith.serving.models import Batcher
from rewardsmith.serving.queue import BatchReport
from rewardsmith.types import Conversation, Decision, Rewarded, Ruling

WINDOW = 1024
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Up to the 180 s that OpenRLHF's client waits.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 180)
_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_TOKENS = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)


class Metrics:
    """All metrics of one server. Used from the event loop's thread only, but for `streamed`.

    Args:
        watch: file of the gauges of a watch, which may come and go; None for no watch.
    """

    def __init__(self, watch: Path | None = None) -> None:
        self._watch = watch
        self.registry = CollectorRegistry()
        name = "rewardsmith_"
        self._requests = Counter(f"{name}requests", "Answered requests.", ["route", "status"], registry=self.registry)
        self._seconds = Histogram(
            f"{name}request_seconds", "From the first byte read to the answer.", ["route"], buckets=_SECONDS,
            registry=self.registry,
        )  # fmt: skip
        self._dropped = Counter(
            f"{name}dropped_requests", "Requests that nobody waits for any more.", ["reason"], registry=self.registry
        )
        self._conversations = Histogram(
            f"{name}batch_conversations",
            "Conversations of a batch.",
            ["model"],
            buckets=_COUNTS,
            registry=self.registry,
        )
        self._tokens = Histogram(
            f"{name}batch_tokens", "Tokens computed in a batch.", ["model"], buckets=_TOKENS, registry=self.registry
        )
        self._batch_seconds = Histogram(
            f"{name}batch_seconds", "Time of a batch in the model.", ["model"], buckets=_SECONDS, registry=self.registry
        )
        self._received = Counter(
            f"{name}tokens_received", "Tokens of the conversations scored.", ["model"], registry=self.registry
        )
        self._computed = Counter(
            f"{name}tokens_computed", "Tokens computed: fewer, as prefixes are shared.", ["model"],
            registry=self.registry,
        )  # fmt: skip
        self._failures = Counter(
            f"{name}failures", "Conversations that the model gave no reward.", ["model"], registry=self.registry
        )
        self.running = Gauge(f"{name}requests_running", "Requests that are read or worked on.", registry=self.registry)
        self._reloads = Counter(f"{name}reloads", "Reloads by name.", ["model", "result"], registry=self.registry)
        self._gauges = {
            key: Gauge(f"{name}{key}", text, ["model"], registry=self.registry)
            for key, text in {
                "queue_conversations": "Conversations that wait for the model.",
                "queue_requests_before": "Requests that wait for room in the queue.",
                "reward_mean": f"Mean of the last {WINDOW} rewards.",
                "reward_std": f"Standard deviation of the last {WINDOW} rewards.",
                "reward_reference_mean": "Mean reward of the checkpoint's held-out pairs.",
                "reward_reference_std": "Standard deviation of these.",
                "reward_drift": "(reward_mean - reference mean) / reference std.",
            }.items()
        }
        self._decisions = Counter(
            f"{name}decisions", "Comparisons with `route: auto`.", ["by", "fallback"], registry=self.registry
        )
        self._judge_calls = Counter(f"{name}judge_calls", "Calls of the judge.", registry=self.registry)
        self._judge_cost = Counter(f"{name}judge_cost", "What they cost, by the spec's prices.", registry=self.registry)
        self._streamed = Counter(
            f"{name}stream_rows", "Rows of --stream: written, dropped as the file is too slow, failed.", ["result"],
            registry=self.registry,
        )  # fmt: skip
        self._models: dict[str, ModelMetrics] = {}

    def request(self, route: str, status: int, seconds: float) -> None:
        """One answered request; `route` is the path with its names left out."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def dropped(self, reason: str) -> None:
        """A request that nobody waits for any more: `disconnect`, `deadline`, `queue_full`."""
        self._dropped.labels(reason).inc()

    def reloaded(self, model: str, result: str) -> None:
        """A reload that was done or refused."""
        self._reloads.labels(model, result).inc()

    def streamed(self, result: str, rows: int) -> None:
        """Rows of the stream that were `written`, `dropped` or `failed`; from any thread."""
        self._streamed.labels(result).inc(rows)

    def decided(self, decision: Decision) -> None:
        """One decision of a router; `fallback` says why an ambiguous comparison was not the judge's."""
        self._decisions.labels(decision.by, decision.fallback).inc()
        self._judge_calls.inc(decision.usage.calls)
        self._judge_cost.inc(decision.usage.cost)

    def model(self, name: str) -> ModelMetrics:
        """The metrics of one model."""
        if name not in self._models:
            self._models[name] = ModelMetrics(self, name)
        return self._models[name]

    def exposition(self) -> bytes:
        """Everything, in the text format."""
        own = bytes(generate_latest(self.registry))
        return own if self._watch is None else own + watch_gauges(self._watch)


class ModelMetrics:
    """What is counted by model. `batch` is what a `MicroBatcher` observes with."""

    def __init__(self, metrics: Metrics, name: str) -> None:
        self._metrics = metrics
        self._name = name
        self._ring = np.full(WINDOW, np.nan)
        self._count = 0
        self._info: ModelInfo | None = None

    def follow(self, batcher: Batcher) -> None:
        """Read the queue's gauges when they are asked for."""
        gauges = self._metrics._gauges  # noqa: SLF001 - one object in two parts
        gauges["queue_conversations"].labels(self._name).set_function(lambda: batcher.depth)
        gauges["queue_requests_before"].labels(self._name).set_function(lambda: batcher.admission.waiting)

    def serve(self, info: ModelInfo) -> None:
        """A model was loaded: its reference, and no rewards yet."""
        self._info = info
        self._ring[:] = np.nan
        self._count = 0
        for key, value in (("reward_reference_mean", info.reward_mean), ("reward_reference_std", info.reward_std)):
            self._set(key, value)

    def batch(self, report: BatchReport) -> None:
        """Count one batch."""
        metrics, name = self._metrics, self._name
        metrics._conversations.labels(name).observe(report.conversations)  # noqa: SLF001
        metrics._tokens.labels(name).observe(report.computed)  # noqa: SLF001
        metrics._batch_seconds.labels(name).observe(report.seconds)  # noqa: SLF001
        metrics._received.labels(name).inc(report.received)  # noqa: SLF001
        metrics._computed.labels(name).inc(report.computed)  # noqa: SLF001
        metrics._failures.labels(name).inc(report.failures)  # noqa: SLF001
        for reward in report.rewards:
            self._ring[self._count % WINDOW] = reward
            self._count += 1
        if report.rewards:
            self._rewards()

    def _rewards(self) -> None:
        seen = self._ring[: min(self._count, WINDOW)]
        mean, std = float(seen.mean()), float(seen.std())
        self._set("reward_mean", mean)
        self._set("reward_std", std)
        info = self._info
        # A reference of equal rewards has no unit to state a drift in.
        if info is not None and info.reward_mean is not None and info.reward_std:
            self._set("reward_drift", (mean - info.reward_mean) / info.reward_std)

    def _set(self, key: str, value: float | None) -> None:
        if value is not None:
            self._metrics._gauges[key].labels(self._name).set(value)  # noqa: SLF001


class CountedRouter:
    """Hands everything on to `router`, and its decisions to `metrics`."""

    def __init__(self, router: Router, metrics: Metrics) -> None:
        self._router = router
        self._metrics = metrics

    async def rule(
        self,
        prompt: Conversation,
        responses: Sequence[Conversation],
        rewards: Sequence[Rewarded],
        temperature: float | None,
    ) -> Ruling:
        """As the router does."""
        ruling = await self._router.rule(prompt, responses, rewards, temperature)
        for decision in ruling.decisions:
            self._metrics.decided(decision)
        return ruling


_WATCH_BYTES = 64 * 1024
# One damaged line, and Prometheus drops the whole scrape.
_WATCH_LINES = re.compile(
    rb"(?:# (?:HELP|TYPE) rewardsmith_watch_\w+ [^\n]+\n"
    rb'|rewardsmith_watch_\w+(?:\{\w+="\w+"\})? (?:-?[0-9.]+(?:e[-+]?[0-9]+)?|-?inf|nan)\n)+'
)
_WATCH_READABLE = (
    b"# HELP rewardsmith_watch_readable 1 where the gauges of the watch could be read.\n"
    b"# TYPE rewardsmith_watch_readable gauge\nrewardsmith_watch_readable %d\n"
)


def watch_gauges(path: Path) -> bytes:
    """The gauges that a watch wrote, and whether they could be read; that alone where they could not."""
    try:
        found = read_bounded(path, _WATCH_BYTES)
    except (OSError, BeyondLimitError):
        found = b""
    whole = _WATCH_LINES.fullmatch(found) is not None
    return _WATCH_READABLE % whole + (found if whole else b"")
