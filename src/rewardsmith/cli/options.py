"""What the commands share: options, how a spec is read, progress of a long job, how a result or record is printed.

    with live() as events:                      bars on a terminal, plain lines elsewhere (a log file, a CI job)
        record = some_job(load(spec, overrides), events)
    print_record(record)                        `--json`
    lay_out(some_section(record))               tables, as the report lays them out

`Combine`, `Weights` and the like are the options by which `score`, `serve` and `route` combine several models.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from rewardsmith.benchmarks import BENCHMARKS
from rewardsmith.cli.terminal import errors, say_json, terminal
from rewardsmith.errors import UserError
from rewardsmith.threads import settle_threads

if TYPE_CHECKING:
    from rewardsmith.pipeline.events import StageName
    from rewardsmith.records.training import StepMetrics
    from rewardsmith.report.blocks import Section
    from rewardsmith.scoring import Combination
    from rewardsmith.spec import Spec
    from rewardsmith.training.progress import EpochProgress

SpecPath = Annotated[Path, typer.Argument(metavar="SPEC", help="The YAML spec.", show_default=False)]
SpecOfRun = Annotated[
    Path | None, typer.Argument(metavar="SPEC", help="Take the model and the settings of this spec's run.")
]
ModelFolder = Annotated[
    str | None,
    typer.Option(metavar="DIR", help="A checkpoint folder, or a server: http://HOST:PORT (docs/consumers.md)."),
]
BenchmarkName = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help=f"{', '.join(list(BENCHMARKS)[:-1])} or {list(BENCHMARKS)[-1]}.",
        show_default=False,
    ),
]
BenchmarkData = Annotated[str, typer.Option(help="A file in the benchmark's schema, or a hub id.", show_default=False)]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Dtype = Annotated[Literal["float32", "bfloat16"], typer.Option(help="Type of the weights in memory.")]
TokensPerBatch = Annotated[int, typer.Option(min=1, help="Most tokens of a batch.")]
TOKENS_PER_BATCH = 16384
Strings = Annotated[
    Literal["chat", "text"], typer.Option(help="Plain strings: turns of a chat, or joined as they are.")
]
NoCache = Annotated[
    bool, typer.Option("--no-cache", help="Compute every reward, also those that this checkpoint gave before.")
]
Overrides = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a field: a.b=c.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the record as JSON instead of tables.")]
AllSubsets = Annotated[
    bool, typer.Option("--all-subsets", help="List subsets of your own data under ten rows one by one, not pooled.")
]
OnEngine = Annotated[Literal["local", "ray"], typer.Option("--engine", help="This process, or workers under Ray.")]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="With --engine ray: one for each GPU or machine unless said.", show_default=False),
]
RayAddress = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="A Ray cluster to join; else $RAY_ADDRESS, else one starts here."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Delete another spec's run in the same folder.")]
Replace = Annotated[bool, typer.Option("--overwrite", help="Replace an output that is there.")]
Models = Annotated[
    list[str],
    typer.Option(
        metavar="[NAME=]DIR|URL", help="A checkpoint, or a server's model; several by name.", show_default=False
    ),
]
Combine = Annotated[
    Literal["mean", "min", "uwo"] | None,
    typer.Option(
        help="Several models as one: mean, minimum, or mean minus penalty times variance.", show_default=False
    ),
]
Weights = Annotated[
    str | None, typer.Option(metavar="NAME=W,…", help="Weights of the models; equal unless given.", show_default=False)
]
Penalty = Annotated[float, typer.Option(min=0.0, help="Of uwo: how much the variance counts.")]
Calibrated = Annotated[
    bool,
    typer.Option("--calibrated", help="Bring each model's rewards to a common scale first, by what its record says."),
]
LeaveOutFailing = Annotated[
    bool, typer.Option("--leave-out-failing", help="Combine the others when a model fails; the answer says so.")
]


def load(path: Path, overrides: list[str] | None = None) -> Spec:
    """The spec of a file with the `--set` overrides applied."""
    from rewardsmith.spec import load_spec

    return load_spec(path, overrides or [])


def look_for(models: list[str]) -> None:
    """Refuse a model that is nowhere, before what computes is loaded: that takes longer than to ask.

    Raises:
        ModelError: there is no such folder, or no such name on the hub.
    """
    from rewardsmith.addresses import is_address
    from rewardsmith.errors import ModelError
    from rewardsmith.hub import ask_hub

    for one in models:
        _, given, folder = ("", "", one) if is_address(one) else one.partition("=")
        if not is_address(folder if given else one):
            ask_hub(folder if given else one, error=ModelError, where="--model")


def combination(rule: str | None, weights: str | None, penalty: float, leave_out_failing: bool) -> Combination | None:
    """What the options say; None where no rule is given.

    Raises:
        UserError: an option that needs `--combine`, or weights that are none.
    """
    from rewardsmith.scoring import Combination

    if rule is None:
        given = "--weights" if weights is not None else "--leave-out-failing" if leave_out_failing else ""
        if given:
            raise UserError("there is nothing to combine", where=given, fix="add --combine mean, min or uwo")
        return None
    return Combination(rule, _weights(weights), penalty, leave_out_failing=leave_out_failing)  # type: ignore[arg-type]


def _weights(text: str | None) -> dict[str, float]:
    found: dict[str, float] = {}
    for part in (text or "").split(",") if text else ():
        name, _, number = part.strip().rpartition("=")
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if not name or not math.isfinite(weight) or name in found:
            raise UserError(f"{part.strip()!r} is no weight", where="--weights", fix="write NAME=NUMBER,NAME=NUMBER")
        found[name] = weight
    return found


def lay_out(*sections: Section | None) -> None:
    """Results on standard output, as the report lays them out."""
    from rewardsmith.report.terminal import print_sections

    print_sections(terminal(), *(section for section in sections if section is not None))


def print_record(record: Any) -> None:
    """A record as JSON, for `--json`."""
    from rewardsmith.records.files import to_json

    say_json(to_json(record))


def live() -> Live:
    """Progress of long work, on standard error. What computes is loaded after this, with the threads that are free."""
    settle_threads()
    return Live(errors())


_QUIET_SECONDS = 10.0
TRAINING = "training steps"
_TITLES: dict[StageName, str] = {
    "samples": "Samples",
    "check": "Check the data contract",
    "train": "Train",
    "labels": "Label noise",
    "evaluate": "Evaluate",
    "probe": "Bias probes",
    "attack": "Attack",
    "controls": "Negative controls",
    "gates": "Gates",
    "report": "Report",
}


class Live:
    """Events drawn on a console (standard error, so that `--json` stays clean). Use it as a context manager."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = console
        self._clock = clock
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._last_line: dict[str, float] = {}
        self._told: dict[str, str] = {}
        self._learned = ""
        self._left: float | None = None

    def __enter__(self) -> Live:
        if self.console.is_terminal:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=30),
                TextColumn("{task.fields[count]}"),
                TextColumn("{task.fields[info]}", style="cyan", markup=False),
                _TimeLeft(),
            )
            self._bars = Progress(*columns, console=self.console, transient=True)
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()
        if kind is KeyboardInterrupt:  # typer turns it into exit code 130 without a word
            self.console.print("interrupted: run the same command again to continue")

    def stage(self, name: StageName, state: Literal["started", "done", "unchanged"], detail: str = "") -> None:
        """One line when a stage ends or is skipped."""
        self._clear()
        self._learned, self._left = "", None
        if state == "started":
            return
        word = "unchanged, skipped" if state == "unchanged" else "done"
        self.console.print(f"{_TITLES[name]}: {word}{f' in {detail}' if detail else ''}", highlight=False)

    def progress(self, label: str, done: int, total: int) -> None:
        """A bar, or a line every ten seconds."""
        self._advance(label, done, total, "")

    def step(self, metrics: StepMetrics, steps: int) -> None:
        """Training: pairs per second, margin, time left."""
        self._learned = f"margin {metrics.margin_mean:+.3f}  loss {metrics.loss:.3f}"
        info = f"{metrics.pairs_per_second:,.1f} pairs/s  {self._learned}"
        self._advance(TRAINING, metrics.step, steps, info, left=self._left)

    def micro_batch(self, at: EpochProgress) -> None:
        """Within a step: micro-batches, tokens per second, time left, and what the last step said."""
        self._left = at.seconds_left
        said = [
            f"micro-batch {at.micro_batch:,}/{at.micro_batches:,}" if at.micro_batches else "",
            f"{at.tokens_per_second:,.0f} tokens/s" if at.tokens_per_second else "",
            self._learned,
        ]
        info = "  ".join(word for word in said if word)
        self._advance(TRAINING, at.step, at.steps, info, left=at.seconds_left, share=at.share)

    def note(self, text: str) -> None:
        """A line."""
        self.console.print(text, highlight=False, soft_wrap=True)

    def _advance(
        self, label: str, done: int, total: int, info: str, *, left: float | None = None, share: float | None = None
    ) -> None:
        """Say how far it is; `share`: `done` and a part of the next one; `left`: seconds, where they are known."""
        if self._bars is not None:
            known: dict[str, Any] = {"count": f"{done:,}/{total:,}", "info": info, "left": left}
            if label not in self._tasks:
                self._tasks[label] = self._bars.add_task(label, total=total, **known)
            self._bars.update(self._tasks[label], completed=done if share is None else share, total=total, **known)
            return
        now = self._clock()
        more = [info, f"{_clock_time(left)} left" if left is not None and done < total else ""]
        line = f"  {label}: {done:,}/{total:,}" + "".join(f"  {word}" for word in more if word)
        ends = done == total and line != self._told.get(label)  # a file is read before its last rows are rendered
        self._told[label] = line
        if ends or now - self._last_line.get(label, -math.inf) >= _QUIET_SECONDS:
            self._last_line[label] = now
            self.console.print(line, highlight=False, soft_wrap=True)

    def _clear(self) -> None:
        if self._bars is not None:
            for task in self._tasks.values():
                self._bars.remove_task(task)
        self._tasks.clear()


class _TimeLeft(TimeRemainingColumn):
    """What a task says of its time left, else by the count of what is done."""

    def render(self, task: Task) -> Text:
        seconds = task.fields.get("left")
        return super().render(task) if seconds is None else Text(_clock_time(seconds), style="progress.remaining")


def _clock_time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:d}:{minutes:02d}:{rest:02d}"
