"""TensorBoard: event files in `RUN/tensorboard/`; `tensorboard --logdir runs` shows all runs side by side.

Written with TensorBoard's own event writer, which needs neither torch nor TensorFlow.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from rewardsmith.training.trackers import TrackedRun


def open_run(run: TrackedRun) -> TensorboardRun:
    """A new event file beside those that are there; another training has a folder of its own."""
    name = run.id or f"{run.name}-{run.fingerprint[:8]}"
    opened = TensorboardRun(name, EventFileWriter(str(run.folder / "tensorboard" / name)))
    if run.id is None:
        opened.describe(run.settings)
    return opened


class TensorboardRun:
    """An open event file."""

    def __init__(self, name: str, writer: Any) -> None:
        self.id = name
        self._writer = writer

    def describe(self, settings: Mapping[str, Any]) -> None:
        """The settings as a text, which TensorBoard shows as Markdown."""
        text = "".join(f"    {name}: {json.dumps(value)}\n" for name, value in settings.items())
        metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
        tensor = TensorProto(dtype=DT_STRING, string_val=[text.encode()])
        self._add([Summary.Value(tag="settings/text_summary", metadata=metadata, tensor=tensor)], 0)

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """One event with all numbers."""
        self._add([Summary.Value(tag=name, simple_value=value) for name, value in numbers.items()], step)

    def finish(self, passed: bool | None) -> None:
        """Flush and close; the verdict stands among the numbers."""
        del passed
        self._writer.close()

    def _add(self, values: list[Any], step: int) -> None:
        self._writer.add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))
