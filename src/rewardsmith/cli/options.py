"""What the commands share: their options, and how a command reads its spec and prints.

A command with a file of its own imports from here; `app` registers it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rewardsmith.benchmarks import BENCHMARKS
from rewardsmith.cli.terminal import errors, say_json

if TYPE_CHECKING:
    from rewardsmith.cli.live import Live
    from rewardsmith.spec import Spec

SpecPath = Annotated[Path, typer.Argument(metavar="SPEC", help="The YAML spec.", show_default=False)]
SpecOfRun = Annotated[
    Path | None, typer.Argument(metavar="SPEC", help="Take the model and the settings of this spec's run.")
]
ModelFolder = Annotated[Path | None, typer.Option(metavar="DIR", help="A checkpoint folder.")]
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


def load(path: Path, overrides: list[str] | None = None) -> Spec:
    """The spec of a file with the `--set` overrides applied."""
    from rewardsmith.spec import load_spec

    return load_spec(path, overrides or [])


def live() -> Live:
    """Progress of long work, on standard error."""
    from rewardsmith.cli.live import Live

    return Live(errors())


def print_record(record: Any) -> None:
    """A record as JSON, for `--json`."""
    from rewardsmith.records import to_json

    say_json(to_json(record))


def look_for(models: list[str]) -> None:
    """Refuse a model that is nowhere, before what computes is loaded: that takes longer than to ask.

    Raises:
        ModelError: there is no such folder, or no such name on the hub.
    """
    from rewardsmith.errors import ModelError
    from rewardsmith.hub import ask_hub

    for one in models:
        if not one.lower().startswith(("http://", "https://")):
            _, given, folder = one.partition("=")
            ask_hub(folder if given else one, error=ModelError, where="--model")
