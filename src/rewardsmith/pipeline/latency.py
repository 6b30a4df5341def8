"""How long a trained checkpoint takes for one reward, measured: a lone conversation, rendered, computed, waited for.

Its own golden conversations are the texts: they are in every checkpoint and nobody's data. Only a checkpoint of at most
`LARGEST` bytes is opened, and only where the machine to plan for is this kind of machine: a plan answers in seconds.
"""

from __future__ import annotations

import statistics
import time

from rewardsmith.errors import RewardsmithError
from rewardsmith.modeling.checkpoint import read_checkpoint_record
from rewardsmith.modeling.loading import choose_device
from rewardsmith.pipeline.directory import checkpoint_folder
from rewardsmith.pipeline.events import Events
from rewardsmith.scoring import LocalScorer
from rewardsmith.spec import Spec
from rewardsmith.training.planning.hardware import Machine
from rewardsmith.training.planning.scoring import OVERHEAD, Speed
from rewardsmith.types import Message

LARGEST = 2 * 2**30
"""Bytes of weights that are loaded for a measurement."""

ROUNDS = 5


def measured_latency(spec: Spec, machine: Machine, events: Events) -> Speed | None:
    """Seconds of one reward of the run's checkpoint; None where there is none that can be measured here."""
    folder = checkpoint_folder(spec)
    weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    if not weights or weights > LARGEST:
        return None
    try:
        device = choose_device(spec.hardware.device).type
        record = read_checkpoint_record(folder)
        if device != machine.kind or record is None or not record.golden:
            return None
        scorer = LocalScorer.load(folder, device=device)
    except RewardsmithError as problem:
        events.note(f"the checkpoint's latency cannot be measured: {problem.problem}")
        return None
    conversations = [tuple(Message(role, content) for role, content in golden.conversation) for golden in record.golden]
    scorer.score(conversations[:1])  # what is made at the first call is no part of a later one
    times = []
    for _ in range(ROUNDS):
        for conversation in conversations:
            started = time.perf_counter()
            scorer.score([conversation])
            times.append(time.perf_counter() - started)
    seconds = statistics.median(times) + OVERHEAD
    return Speed(seconds, 1 / seconds, None, float(weights), f"measured here on {folder}, {device}")
