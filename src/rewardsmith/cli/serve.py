"""`rewardsmith serve`: rewards over HTTP, in the protocol of each RLHF framework."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rewardsmith.cli.options import (
    TOKENS_PER_BATCH,
    Calibrated,
    Combine,
    Device,
    Dtype,
    LeaveOutFailing,
    Models,
    OnEngine,
    Penalty,
    RayAddress,
    TokensPerBatch,
    Weights,
    combination,
    look_for,
)
from rewardsmith.errors import UserError
from rewardsmith.threads import settle_threads

if TYPE_CHECKING:
    from rewardsmith.pipeline.commands.route import ServedRouting


AllowHost = Annotated[list[str] | None, typer.Option(metavar="NAME", help="A name in Host that is ours; '*' for all.")]
Audit = Annotated[Path | None, typer.Option(metavar="FILE", help="With --route: every decision, one JSON line each.")]
StreamFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Answered texts and rewards, as JSONL for watch.", show_default=False),
]
WatchFolder = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="The --out of a watch: its gauges in /metrics.", show_default=False),
]


def serve(
    model: Models,
    host: Annotated[str, typer.Option(help="Where to listen; others than this machine need a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one, named in the log.")] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Tokens, one a line; else $REWARDSMITH_TOKEN.", show_default=False),
    ] = None,
    no_auth: Annotated[bool, typer.Option("--no-auth", help="Let everyone who reaches --host use the server.")] = False,
    allow_host: AllowHost = None,
    combine: Combine = None,
    weights: Weights = None,
    penalty: Penalty = 0.5,
    calibrated: Calibrated = False,
    leave_out_failing: LeaveOutFailing = False,
    device: Device = "auto",
    dtype: Dtype = "float32",
    tokens_per_batch: TokensPerBatch = TOKENS_PER_BATCH,
    max_queue: Annotated[int, typer.Option(min=1, help="Conversations that may wait; then 503.")] = 1024,
    max_items: Annotated[int, typer.Option(min=1, help="Conversations of a request.")] = 256,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Tokens of a conversation; else what the model takes.", show_default=False)
    ] = None,
    max_body: Annotated[int, typer.Option(min=1024, help="Bytes of a body, also after decompression.")] = 4 * 2**20,
    engine: OnEngine = "local",
    replicas: Annotated[
        str, typer.Option(metavar="N or N:M", help="With --engine ray: of each model; N:M follows the requests.")
    ] = "1",
    fronts: Annotated[int, typer.Option(min=1, help="With --engine ray: processes that speak HTTP.")] = 1,
    ray_address: RayAddress = None,
    route: Annotated[
        Path | None,
        typer.Option(metavar="SPEC", help="Rules and judge for /v1/compare with route: auto.", show_default=False),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --route: routing.json; else that of the spec's run.")
    ] = None,
    audit: Audit = None,
    stream: StreamFile = None,
    watch: WatchFolder = None,
    deadline: Annotated[float, typer.Option(min=0.001, help="Seconds until a request is given up: 503.")] = 60.0,
) -> None:
    """Serve rewards to TRL, OpenRLHF, verl, slime, LLaMA-Factory and clients of vLLM and SGLang."""
    if not model:
        raise UserError("there is no model to serve", fix="rewardsmith serve --model DIR")
    look_for(model)
    if engine == "local":  # a cluster gives each replica its own cores
        settle_threads()
    from rewardsmith.pipeline.commands.serve import ServeOptions, serve_job
    from rewardsmith.serving.limits import Limits
    from rewardsmith.serving.queue import QueueSettings

    serve_job(
        ServeOptions(
            models=tuple(model),
            host=host,
            port=port,
            token_file=token_file,
            no_auth=no_auth,
            allow_hosts=tuple(allow_host or ()),
            combination=combination(combine, weights, penalty, leave_out_failing),
            calibrated=calibrated,
            device=device,
            dtype=dtype,
            limits=Limits(body_bytes=max_body, items=max_items, seconds=deadline),
            queue=QueueSettings(items=max_queue, token_budget=tokens_per_batch, tokens=max_tokens),
            routing=_routing(route, calibration, audit),
            engine=engine,
            replicas=_least_and_most(replicas),
            fronts=fronts,
            ray_address=ray_address,
            stream=stream,
            watch=watch,
        )
    )


def _least_and_most(text: str) -> tuple[int, int]:
    """`3` is 3 replicas at all times, `1:8` between 1 and 8."""
    least, given, most = text.partition(":")
    numbers = [least, most if given else least]
    if not all(number.isascii() and number.isdecimal() and int(number) for number in numbers) or (
        int(numbers[0]) > int(numbers[1])
    ):
        raise UserError(f"{text!r} is no number of replicas", where="--replicas", fix="write 2, or 1:8")
    return int(numbers[0]), int(numbers[1])


def _routing(route: Path | None, calibration: Path | None, audit: Path | None) -> ServedRouting | None:
    """What `--route` and the options with it say.

    Raises:
        UserError: one of them without `--route`.
    """
    from rewardsmith.pipeline.commands.route import ServedRouting

    if route is None:
        given = "--calibration" if calibration is not None else "--audit" if audit is not None else ""
        if given:
            raise UserError("there is nothing to route by", where=given, fix="add --route SPEC")
        return None
    return ServedRouting(route, calibration, audit)
