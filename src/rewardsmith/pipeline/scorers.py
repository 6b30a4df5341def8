"""How every command opens what it scores with: a checkpoint, a server's URL, several of them, and engines for a server.

    scorer = checkpoint_scorer(spec, run.model, events)      device and batch size by the spec, rewards cached
    note_reuse(scorer, events)                               "3,120 rewards came from the cache"
    scorer, identity = open_models({"a": "runs/a/model", "b": "http://10.0.0.7:8000"}, options, rule, False, note)

    engine = CheckpointEngine(LocalScorer.load(folder))      what a server scores with: a checkpoint in this process,
    engine = ScorerEngine(scorer, info)                      any scorer,
    engine = EnsembleEngine({"a": one, "b": other}, rule, remote={"b"})         or several engines behind one

An engine's rewards are those of offline scoring: the same renderer, the same layouts, the same forward pass.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rewardsmith import samples
from rewardsmith.errors import DataError, ModelError, RewardsmithError, UserError
from rewardsmith.modeling.loading import choose_device
from rewardsmith.pipeline.events import Events
from rewardsmith.protocols import Scorer
from rewardsmith.rendering import REASONS, Rendered
from rewardsmith.rendering.messages import plain_text
from rewardsmith.scoring import CachedScorer, CheckpointScorer, open_scorer
from rewardsmith.scoring.cached import model_identity
from rewardsmith.scoring.connection import parse_address
from rewardsmith.scoring.ensemble import (
    Combination,
    EnsembleScorer,
    Member,
    Scale,
    ask_members,
    calibrated_scales,
    check_combination,
    combine_found,
    scale_notes,
)
from rewardsmith.scoring.local import LocalScorer
from rewardsmith.scoring.remote import RemoteScorer, is_url
from rewardsmith.serving.engine import Engine, ModelInfo, Prepared, Scored, Unscorable
from rewardsmith.serving.models import NAME
from rewardsmith.serving.queue import prefix_blocks
from rewardsmith.spec import Spec
from rewardsmith.types import Conversation


def checkpoint_scorer(spec: Spec, model: str | Path, events: Events, *, cache: bool = True) -> CheckpointScorer:
    """A scorer for a checkpoint folder or hub id.

    Args:
        spec: says the device and the tokens scored at a time.
        model: the checkpoint.
        events: told when the cache cannot be used.
        cache: false computes every reward and keeps none.

    Raises:
        ModelError: the checkpoint or the device cannot be used.
    """
    return open_scorer(
        model,
        device=choose_device(spec.hardware.device).type,
        token_budget=spec.evaluation.tokens_per_batch,
        cache=reward_cache() if cache else None,
        note=events.note,
    )


def any_scorer(spec: Spec, model: str, events: Events, *, cache: bool = True) -> tuple[Scorer, str, bool]:
    """A scorer for a checkpoint or for a server's URL, its name in records, and whether it takes chat messages.

    A server's rewards are not cached: it may serve other weights tomorrow.

    Raises:
        ModelError: the checkpoint or the device cannot be used, or the server is not there.
    """
    if is_url(model):
        remote = RemoteScorer(model)
        return remote, remote.url, remote.describe().conversational
    scorer = checkpoint_scorer(spec, model, events, cache=cache)
    return scorer, model, scorer.checkpoint.renderer.record.conversational


def reward_cache() -> Path:
    """The folder of cached rewards, beside the embedded samples: `$REWARDSMITH_CACHE/rewards`."""
    return samples.cache_folder() / "rewards"


def note_reuse(scorer: Scorer, events: Events) -> None:
    """Say how many rewards were not computed again."""
    if isinstance(scorer, CachedScorer) and scorer.reused:
        events.note(f"  {scorer.reused:,} rewards came from the cache")


Note = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How checkpoints are loaded and servers asked."""

    device: str = "auto"
    dtype: str = "float32"
    layout: str = "auto"
    token_budget: int = 16384
    patience: float = 60.0


def model_folders(wanted: Sequence[str]) -> dict[str, str]:
    """Folders (or hub ids) by name; a model without a name is called like its folder, or its run.

    Raises:
        UserError: a name cannot be used, or is used twice.
    """
    found: dict[str, str] = {}
    for one in wanted:
        name, given, folder = ("", "", one) if is_url(one) else one.partition("=")
        folder = folder if given else one
        name = name if given else _default_name(folder)
        if not re.fullmatch(NAME, name):
            raise UserError(
                f"{name!r} cannot be the name of a model", where="--model", fix="write NAME=DIR with a short plain name"
            )
        if name in found:
            raise UserError(
                f"two models are called {name!r}", where="--model", fix=f"write NAME={folder} with another name"
            )
        found[name] = folder
    return found


def _default_name(folder: str) -> str:
    """`runs/helpful/model` is called helpful, `some/folder` folder, `http://host:8000/models/safe` safe."""
    if is_url(folder):
        address = parse_address(folder)
        return (
            address.options.get("model", "").replace("/", "-") or Path(address.path).name or str(address.parts.hostname)
        )
    path = Path(folder)
    return path.parent.name if path.name == "model" and path.parent.name else path.name


def open_member(name: str, source: str, options: LoadOptions) -> tuple[Member, ModelInfo]:
    """A checkpoint folder or hub id, verified by its golden rewards, or a server's URL.

    Raises:
        ModelError: it cannot be used.
    """
    if is_url(source):
        return open_remote(name, source, options)
    local = open_local(source, options)
    info = describe(local)
    return Member(name, local, Scale(info.reward_mean, info.reward_std, info.temperature)), info


def open_local(source: str, options: LoadOptions) -> LocalScorer:
    """A checkpoint in this process. Raises as `open_member`."""
    return LocalScorer.load(
        source,
        device=choose_device(options.device).type,
        dtype=options.dtype,
        layout=options.layout,
        token_budget=options.token_budget,
    )


def open_remote(name: str, url: str, options: LoadOptions) -> tuple[Member, ModelInfo]:
    """A model behind a server, and what the server says of it. Raises as `open_member`."""
    remote = RemoteScorer(url, patience=options.patience)
    said = remote.describe()
    info = ModelInfo(
        identity=said.identity,
        base_model=remote.url,
        max_length=said.max_length,
        conversational=said.conversational,
        layout="remote",
        reward_mean=said.scale.mean,
        reward_std=said.scale.std,
        temperature=said.scale.temperature,
    )
    return Member(name, remote, said.scale, remote=True), info


def describe(scorer: LocalScorer) -> ModelInfo:
    """What a server says of a checkpoint.

    Raises:
        ModelError: a number of its record that rewards are compared with is none: a temperature of 0, a mean of NaN.
    """
    checkpoint = scorer.checkpoint
    rendering, record = checkpoint.renderer.record, checkpoint.record
    calibration = (record.calibration if record else None) or {}
    for field, value, sound in (
        ("reward_mean", record.reward_mean if record else None, math.isfinite),
        ("reward_std", record.reward_std if record else None, lambda std: math.isfinite(std) and std >= 0),
        ("calibration.temperature", calibration.get("temperature"), lambda heat: math.isfinite(heat) and heat > 0),
    ):
        if value is not None and not sound(value):
            raise ModelError(
                f"is {value}",
                where=f"{checkpoint.folder / 'rewardsmith.json'}, field '{field}'",
                fix="restore the file; or remove the field: then there is no such comparison",
            )
    return ModelInfo(
        identity=model_identity(checkpoint.model)[:12],
        base_model=record.base_model if record else checkpoint.folder.name,
        max_length=rendering.max_length,
        over_length=rendering.over_length,
        conversational=rendering.conversational,
        layout=scorer.layout.name,
        reward_mean=record.reward_mean if record else None,
        reward_std=record.reward_std if record else None,
        temperature=calibration.get("temperature"),
    )


def open_models(
    sources: Mapping[str, str], options: LoadOptions, combination: Combination | None, calibrated: bool, note: Note
) -> tuple[Scorer, str]:
    """A scorer of one model, or of several combined; and the identity of what it scores with.

    Raises:
        ModelError: a model cannot be used; there are several, and no combination.
    """
    if len(sources) > 1 and combination is None:
        raise ModelError(
            f"there are {len(sources)} models and no rule to combine them", where="--model", fix="add --combine mean"
        )
    if calibrated and combination is None:
        raise UserError("there is nothing to calibrate", where="--calibrated", fix="add --combine mean, min or uwo")
    opened = [open_member(name, source, options) for name, source in sources.items()]
    identity = " ".join(f"{member.name}={info.identity} {_rendering(member.scorer)}" for member, info in opened)
    if combination is None:
        return opened[0][0].scorer, identity
    scales = {member.name: member.scale for member, _ in opened}
    whole = settled(combination, scales, calibrated, note)
    return EnsembleScorer([member for member, _ in opened], whole), f"{identity} {whole}"


def _rendering(scorer: Scorer) -> str:
    """How text becomes tokens, as far as it is known here."""
    return scorer.checkpoint.renderer.record.model_dump_json() if isinstance(scorer, LocalScorer) else ""


def settled(combination: Combination, scales: Mapping[str, Scale], calibrated: bool, note: Note) -> Combination:
    """The combination with its scales; says what speaks against combining rewards as they are.

    Raises:
        ModelError: weights, rule and members do not fit, or `calibrated` lacks a record.
    """
    check_combination(list(scales), combination)
    if not calibrated:
        for one in scale_notes(scales, combination.rule):
            note(f"warning: {one}")
        return combination
    found = calibrated_scales(scales)
    for name, (offset, divisor) in found.items():
        note(f"rewards of {name} are calibrated: (reward - {offset:.6g}) / {divisor:.6g}")
    return replace(combination, scales=found)


class CheckpointEngine:
    """A checkpoint in this process."""

    def __init__(self, scorer: LocalScorer) -> None:
        self._scorer = scorer
        self._shares = scorer.layout.name == "tree"
        self._conversational = scorer.checkpoint.renderer.record.conversational
        self.info = describe(scorer)

    def prepare(self, conversations: Sequence[Conversation]) -> list[Prepared | Unscorable]:
        """Token ids as in training; a model without a chat template reads messages as plain text."""
        wanted = [one if self._conversational else plain_text(one) for one in conversations]
        return [self._prepared(rendered) for rendered in self._render(wanted)]

    def score(self, batch: Sequence[Prepared]) -> Scored:
        """One forward pass, or as many as the layout makes of it."""
        return Scored(self._scorer.score_ids([prepared.content for prepared in batch]))

    def _render(self, conversations: Sequence[Conversation]) -> list[Rendered]:
        """Of a batch that is refused as a whole (the policy `error`, no template) each one alone."""
        try:
            return self._scorer.render(conversations)
        except RewardsmithError:
            return [self._render_alone(one) for one in conversations]

    def _render_alone(self, conversation: Conversation) -> Rendered:
        try:
            return self._scorer.render([conversation])[0]
        except DataError as error:
            return Rendered(None, "over_length", error.problem)
        except RewardsmithError:
            return Rendered(None, "template_refused")

    def _prepared(self, rendered: Rendered) -> Prepared | Unscorable:
        if rendered.ids is None:
            # The other details quote the text.
            detail = rendered.detail if rendered.reason == "over_length" else REASONS[rendered.reason]
            detail += f": {rendered.token}" if rendered.token else ""
            return Unscorable(rendered.reason, detail)
        ids_T = rendered.ids
        blocks = prefix_blocks(ids_T) if self._shares else ()
        return Prepared(ids_T, len(ids_T), ids_T.tobytes(), blocks, rendered.cut)


class ScorerEngine:
    """Any scorer: an ensemble, a remote model. What it cannot score is NaN, which the server answers with 500."""

    def __init__(self, scorer: Scorer, info: ModelInfo) -> None:
        self._scorer = scorer
        self.info = info

    def prepare(self, conversations: Sequence[Conversation]) -> list[Prepared | Unscorable]:
        """The conversations themselves, with a guess at their tokens."""
        return [Prepared(one, _guess(one), one) for one in conversations]

    def score(self, batch: Sequence[Prepared]) -> Scored:
        """As the scorer does."""
        return Scored(np.asarray(self._scorer.score([prepared.content for prepared in batch]), dtype=np.float64))


_CHARACTERS_A_TOKEN = 4
"""A guess, for scorers that do not say what a text costs."""


def _guess(conversation: Conversation) -> int:
    return 1 + sum(len(turn.text) for turn in conversation) // _CHARACTERS_A_TOKEN


class EnsembleEngine:
    """Several engines behind one; each member reads a conversation in its own way.

    A member's refusal of one text (too long, say) refuses that text, and a member that fails (gone, out of memory)
    fails the batch; with `leave_out_failing` the others answer.
    """

    def __init__(
        self, engines: Mapping[str, Engine], combination: Combination, *, remote: set[str], note: Note | None = None
    ) -> None:
        check_combination(list(engines), combination)
        self._engines = dict(engines)
        self._combination = combination
        self._remote = remote
        self._note = note
        self.info = _info(self._engines)

    def prepare(self, conversations: Sequence[Conversation]) -> list[Prepared | Unscorable]:
        """What each member makes of each conversation."""
        by_member = [engine.prepare(conversations) for engine in self._engines.values()]
        return [self._together(list(one)) for one in zip(*by_member, strict=True)]

    def score(self, batch: Sequence[Prepared]) -> Scored:
        """Combined rewards and the members'; NaN where a member that may not be left out gave none."""
        calls = {
            name: partial(_score_member, engine, [prepared.content[index] for prepared in batch])
            for index, (name, engine) in enumerate(self._engines.items())
        }
        found, failed = ask_members(calls, remote=self._remote)
        for name, reason in failed.items():
            if self._note is not None:
                self._note(f"member {name}: {reason}")
        nothing = np.full(len(batch), np.nan)
        try:
            combined = combine_found(found, failed, len(batch), self._combination)
        except ModelError:
            return Scored(nothing, failure=f"member_failed {next(iter(failed))}")
        members = {name: combined.members[name] for name in self._engines}
        return Scored(combined.rewards, members, combined.spread)

    def _together(self, found: list[Prepared | Unscorable]) -> Prepared | Unscorable:
        refused = [one for one in found if isinstance(one, Unscorable)]
        there = [one for one in found if isinstance(one, Prepared)]
        if refused and (not there or not self._combination.leave_out_failing):
            return refused[0]
        return Prepared(
            content=tuple(one if isinstance(one, Prepared) else None for one in found),
            tokens=max(one.tokens for one in there),  # limits are per text, whoever reads it
            key=tuple(one.key if isinstance(one, Prepared) else None for one in found),
            blocks=next((one.blocks for one in there if one.blocks), ()),
            cut=max(one.cut for one in there),
        )


def _score_member(engine: Engine, batch: Sequence[Prepared | None]) -> NDArray[np.float64]:
    """A member's rewards; NaN for the texts that it refused."""
    rewards = np.full(len(batch), np.nan)
    usable = [(index, one) for index, one in enumerate(batch) if one is not None]
    if usable:
        rewards[[index for index, _ in usable]] = engine.score([one for _, one in usable]).rewards
    return rewards


def _info(engines: Mapping[str, Engine]) -> ModelInfo:
    """An ensemble has no recorded scale and no calibration of its own."""
    infos = {name: engine.info for name, engine in engines.items()}
    limits = [info.max_length for info in infos.values() if info.max_length is not None]
    return ModelInfo(
        identity="+".join(info.identity for info in infos.values()),
        base_model="+".join(infos),
        max_length=min(limits, default=None),
        conversational=all(info.conversational for info in infos.values()),
        layout="ensemble",
    )
