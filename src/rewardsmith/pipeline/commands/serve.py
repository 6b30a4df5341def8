"""`rewardsmith serve`: loads the models, refuses what would be open by mistake, and serves until SIGTERM.

    serve_job(ServeOptions(models=("helpful=runs/helpful/model",), port=8000))

Each model has a queue of its own; all share one worker thread, since they share one device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from rewardsmith.errors import UserError
from rewardsmith.modeling.loading import choose_device, cpu_threads
from rewardsmith.pipeline.cluster import ray_cluster, until_told
from rewardsmith.pipeline.commands.route import ServedRouting, serving_router
from rewardsmith.pipeline.scorers import (
    CheckpointEngine,
    EnsembleEngine,
    LoadOptions,
    ScorerEngine,
    model_folders,
    open_local,
    open_remote,
    settled,
)
from rewardsmith.records.files import guard_files
from rewardsmith.routing import HybridRouter
from rewardsmith.routing.audit import check_log
from rewardsmith.scoring import Combination
from rewardsmith.scoring.ensemble import Scale
from rewardsmith.scoring.remote import is_url
from rewardsmith.serving.access import Access, is_loopback, read_tokens
from rewardsmith.serving.engine import Engine
from rewardsmith.serving.limits import Limits
from rewardsmith.serving.logs import log, server_log
from rewardsmith.serving.models import Models, ServedModel
from rewardsmith.serving.queue import MicroBatcher, QueueSettings
from rewardsmith.threads import in_words, thread_choice
from rewardsmith.watching.gauges import GAUGES_FILE

TOKEN_VARIABLE = "REWARDSMITH_TOKEN"  # noqa: S105 - a name, not a secret

ENSEMBLE = "ensemble"
"""What the combined models are called."""

_MEMBER_PATIENCE = 5.0
"""Seconds for which a member that is full is asked again: the other requests wait meanwhile."""


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What `rewardsmith serve` was told.

    `models` are `NAME=DIR` or `DIR`; in place of DIR the URL of another server's model. With `no_auth` the server may
    be open to other machines without a token. With a `combination` the models are members of one, called "ensemble".
    Answered texts and their rewards go to the file `stream`; the gauges of the `watch` on it, in its folder, are shown
    with the server's own. With `engine: ray` each model has between so many
    `replicas` on the cluster at `ray_address`, behind `fronts`.
    """

    models: tuple[str, ...]
    host: str = "127.0.0.1"
    port: int = 8000
    token_file: Path | None = None
    no_auth: bool = False
    allow_hosts: tuple[str, ...] = ()
    device: str = "auto"
    dtype: str = "float32"
    layout: str = "auto"
    combination: Combination | None = None
    calibrated: bool = False
    limits: Limits = field(default_factory=Limits)
    queue: QueueSettings = field(default_factory=QueueSettings)
    routing: ServedRouting | None = None
    engine: Literal["local", "ray"] = "local"
    replicas: tuple[int, int] = (1, 1)
    fronts: int = 1
    ray_address: str | None = None
    stream: Path | None = None
    watch: Path | None = None


def serve_job(options: ServeOptions) -> None:
    """Load, listen, serve, drain.

    Raises:
        UserError: names or folders cannot be used, the server would be open to others, or the address is taken.
        ModelError: a checkpoint cannot be used.
    """
    try:
        from rewardsmith.serving.metrics import Metrics
        from rewardsmith.serving.server import RewardServer, State, bind, reward_app
        from rewardsmith.serving.stream import RewardStream
    except ModuleNotFoundError as error:
        raise UserError(f"the package {error.name} is not installed", fix="pip install 'rewardsmith[serve]'") from error
    if options.engine == "ray" and options.routing is not None:
        raise UserError(
            "the router asks models of its own process",
            where="--route",
            fix="leave --engine ray out, or route elsewhere",
        )
    folders = model_folders(options.models)
    _check_stream(options)
    _check_outputs(options)
    _check_watch(options)
    access = choose_access(options)
    listener = bind(options.host, options.port)
    if options.engine == "ray":
        port = int(listener.getsockname()[1])
        listener.close()  # Ray's proxy takes it
        _serve_on_ray(_loads(folders, options), options, access, port)
        return
    metrics = Metrics(options.watch / GAUGES_FILE if options.watch is not None else None)
    with ExitStack() as stack:
        stack.enter_context(server_log())
        stack.enter_context(listener)
        stream = None
        if options.stream is not None:
            stream = stack.enter_context(closing(RewardStream(options.stream, metrics.streamed)))
        worker = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="model"))
        models = Models(_serve(name, load, worker, options) for name, load in _loads(folders, options).items())
        _say_threads(folders.values(), options)
        state = State()
        router = _router(models, options)
        application = reward_app(models, access, options.limits, metrics, state, router, stream)
        RewardServer(application, listener, state).run()
        if router is not None:
            router.close()


def _say_threads(folders: Iterable[str], options: ServeOptions) -> None:
    """Log how many threads compute and why, where a model is on this machine's CPU."""
    if choose_device(options.device).type == "cpu" and not all(map(is_url, folders)):
        choice = thread_choice()
        reason = choice.reason if choice else "torch's own choice"
        log("threads", note=in_words(cpu_threads(), reason))


def _check_stream(options: ServeOptions) -> None:
    """Refuse a stream that could not be read: rewards of two models in one file, or of several processes."""
    if options.stream is None:
        return
    if options.engine == "ray":
        raise UserError("several processes would write one file", where="--stream", fix="leave --engine ray out")
    if len(options.models) > 1 and options.combination is None:
        raise UserError(
            "the rewards of several models would stand in one file", where="--stream", fix="serve one, or add --combine"
        )


def _check_outputs(options: ServeOptions) -> None:
    """Refuse a stream or an audit log that is an input, the other one, or a pipe that would block the server; and an
    audit log that is somebody else's file, before models are loaded. A stream tells that when it is opened.
    """
    routing = options.routing
    written = [options.stream, routing.audit if routing else None]
    read = [options.token_file, *((routing.spec, routing.calibration) if routing else ())]
    # A calibration may be named by its folder, where an audit log may stand beside it.
    guard_files([one for one in written if one], [str(one) for one in read if one and not one.is_dir()])
    if routing is not None and routing.audit is not None:
        check_log(routing.audit)


def _check_watch(options: ServeOptions) -> None:
    """Refuse what no watch can write; its folder need not be there yet, since the watch begins with the stream."""
    if options.watch is None:
        return
    if options.engine == "ray":
        raise UserError(
            "the fronts of a cluster show no watch",
            where="--watch",
            fix=f"leave it out, and let a textfile collector read {options.watch / GAUGES_FILE}",
        )
    if options.watch.exists() and not options.watch.is_dir():
        raise UserError("is no folder", where=str(options.watch), fix="name the --out of `rewardsmith watch`")


def _serve_on_ray(loads: Mapping[str, Callable[[], Engine]], options: ServeOptions, access: Access, port: int) -> None:
    """As `serve_job`, on the workers of a cluster."""
    with server_log(), ray_cluster(options.ray_address) as cluster:
        from rewardsmith.serving.ray_serve import FrontSettings, Replicas, deployed

        least, most = (number * len(loads) for number in options.replicas)
        cluster.share(least, options.device)  # refuses what could never start
        share = cluster.share(min(most, cluster.room(options.device)), options.device)
        replicas = Replicas(*options.replicas, share.cpus, share.gpus, share.threads, options.fronts)
        front = FrontSettings(access, options.limits, options.queue)
        with until_told() as told, deployed(loads, replicas, front, host=options.host, port=port) as url:
            log("listening", url=url, engine="ray", machines=cluster.nodes)
            log("draining", signal=told.wait())
        log("stopped")


def _router(models: Models, options: ServeOptions) -> HybridRouter | None:
    """What `--route` asks for; None where it is not said."""
    if options.routing is None:
        return None
    infos = {name: models.find(name).info for name in models.names()}
    ensemble = options.combination is not None
    return serving_router(options.routing, infos, ensemble, lambda text: log("routing", note=text))


def choose_access(options: ServeOptions) -> Access:
    """Tokens and host names.

    Raises:
        UserError: others than this machine could ask, and no token is set.
    """
    tokens = read_tokens(options.token_file, TOKEN_VARIABLE)
    if options.no_auth:
        if tokens:
            raise UserError("there is a token, and --no-auth would ignore it", fix="leave one of them out")
    elif not tokens and not is_loopback(options.host):
        raise UserError(
            f"without a token, everyone who reaches {options.host} could use this server",
            where="--host",
            fix=f"set ${TOKEN_VARIABLE} or --token-file FILE; or say --no-auth if that is meant",
        )
    names = {options.host.strip("[]").lower(), *(name.lower() for name in options.allow_hosts)}
    return Access(tokens, frozenset(names), addresses=not is_loopback(options.host))


def load_engine(folder: str, options: ServeOptions) -> Engine:
    """A checkpoint, verified by its golden rewards.

    Raises:
        ModelError: it cannot be used.
    """
    loading = _load_options(options)
    if is_url(folder):
        member, info = open_remote(folder, folder, loading)
        return ScorerEngine(member.scorer, info)
    return CheckpointEngine(open_local(folder, loading))


def load_ensemble(folders: Mapping[str, str], options: ServeOptions) -> Engine:
    """All members, combined.

    Raises:
        ModelError: a member cannot be used, or members and combination do not fit.
    """
    engines = {name: load_engine(folder, options) for name, folder in folders.items()}
    scales = {
        name: Scale(engine.info.reward_mean, engine.info.reward_std, engine.info.temperature)
        for name, engine in engines.items()
    }

    def note(text: str) -> None:
        log("ensemble", note=text)

    whole = settled(options.combination or Combination(), scales, options.calibrated, note)
    remote = {name for name, folder in folders.items() if is_url(folder)}
    return EnsembleEngine(engines, whole, remote=remote, note=note)


def _loads(folders: Mapping[str, str], options: ServeOptions) -> dict[str, Callable[[], Engine]]:
    """How each served model is loaded, and loaded again."""
    if options.combination is not None:
        return {ENSEMBLE: partial(load_ensemble, folders, options)}
    if options.calibrated:
        raise UserError("there is nothing to calibrate", where="--calibrated", fix="add --combine mean, min or uwo")
    return {name: partial(load_engine, folder, options) for name, folder in folders.items()}


def _load_options(options: ServeOptions) -> LoadOptions:
    return LoadOptions(options.device, options.dtype, options.layout, options.queue.token_budget, _MEMBER_PATIENCE)


def _serve(name: str, load: Callable[[], Engine], worker: ThreadPoolExecutor, options: ServeOptions) -> ServedModel:
    # Where it will compute: OpenMP keeps a pool of threads for each thread that computed, and with more of them than
    # cores they sleep between operations, which costs a lone request half of its time.
    engine = worker.submit(load).result()
    log("loaded", model=name, identity=engine.info.identity, layout=engine.info.layout)
    return ServedModel(name, MicroBatcher(engine, worker, options.queue), load)
