"""OpenRLHF's checkpoint as one of ours, verified against the rewards that OpenRLHF itself computed.

    compared = import_checkpoint(job, folder, evaluation)

After its last step OpenRLHF evaluates the held-out texts with the weights that it then saves; `inside.py` wrote those
rewards down. The imported model must give the same, to what bfloat16 rounds: OpenRLHF computes every layer and the head
in it, we read the same weights in float32.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rewardsmith.errors import ModelError
from rewardsmith.modeling.checkpoint import save_checkpoint
from rewardsmith.modeling.imports import describe_foreign, forget_openrlhf
from rewardsmith.modeling.inference import compute_rewards
from rewardsmith.modeling.layouts import PaddedBatches, PairIds
from rewardsmith.modeling.loading import load_config, load_reward_model
from rewardsmith.records import CheckpointRecord
from rewardsmith.rendering import Ids, Renderer
from rewardsmith.statistics import largest_difference, within
from rewardsmith.training.openrlhf.progress import checksum

RELATIVE = 2.0**-6
"""Of the largest reward: bfloat16 keeps 8 bits, and a reward is rounded once for each layer that feeds it."""
OF_SPREAD = 0.1
"""Of the rewards' standard deviation, by the root mean square of the differences."""


class Compared(NamedTuple):
    """How far the imported model's rewards are from OpenRLHF's own, over `texts` texts."""

    texts: int
    largest: float
    root_mean_square: float
    spread: float


def import_checkpoint(
    source: Path, target: Path, base: str, renderer: Renderer, record: CheckpointRecord, evaluation: Sequence[PairIds]
) -> Compared:
    """Write `source` as a checkpoint of ours; returns the comparison.

    Args:
        source: what `train_rm` saved; its rewards stand in `rewards/` beside it.
        target: where ours appears, when the rewards agree.
        base: the base model, whose configuration (dropout, cache) comes back.
        record: `rewardsmith.json` without golden rewards.
        evaluation: token ids of the evaluation set.

    Raises:
        ModelError: the checkpoint cannot be loaded, or its rewards are not those that OpenRLHF computed.
    """
    compared = compare_rewards(source, renderer, evaluation)
    foreign = describe_foreign(load_config(source))
    model = load_reward_model(source, dtype="auto")
    model.score.to(next(model.parameters()).dtype)
    forget_openrlhf(model.config)
    _restore(model.config, load_config(base))
    save_checkpoint(target, model, renderer, record.model_copy(update={"normalization": foreign.normalization}))
    return compared


def compare_rewards(source: Path, renderer: Renderer, evaluation: Sequence[PairIds]) -> Compared:
    """Rewards of the saved weights by our forward, beside those that OpenRLHF computed with them.

    Raises:
        ModelError: OpenRLHF wrote none, or they differ by more than bfloat16 rounds.
    """
    theirs = _their_rewards(source.parent / "rewards")
    texts = {checksum(ids_T): ids_T for pair in evaluation for ids_T in pair}
    known = [key for key in texts if key in theirs]
    if not known:
        raise ModelError(
            "OpenRLHF left no reward of the evaluation set, so its checkpoint cannot be verified",
            where=str(source.parent / "rewards"),
            fix="delete the folder above it and train again",
        )
    ours = _our_rewards(source, renderer, [texts[key] for key in known])
    return judge(ours, np.array([theirs[key] for key in known]), where=str(source))


def judge(ours: np.ndarray[Any, Any], theirs: np.ndarray[Any, Any], *, where: str) -> Compared:
    """Compare two sets of rewards of the same texts.

    Raises:
        ModelError: they differ by more than bfloat16 rounds (`RELATIVE`, `OF_SPREAD`).
    """
    difference = ours - theirs
    found = Compared(
        texts=len(ours),
        largest=largest_difference(ours, theirs),
        root_mean_square=float(np.sqrt(np.mean(difference**2))),
        spread=float(theirs.std()),
    )
    rounding = RELATIVE * float(np.abs(theirs).max())
    if not within(found.root_mean_square, max(OF_SPREAD * found.spread, rounding)):
        raise ModelError(
            f"the imported model's rewards are not OpenRLHF's: they differ by {found.root_mean_square:.3g} "
            f"(root mean square over {found.texts} texts), their standard deviation is {found.spread:.3g}",
            where=where,
            fix="its version saves or reads rewards in another way; train with 0.9.8 to 0.11.2, or backend: trl",
        )
    return found


def _our_rewards(source: Path, renderer: Renderer, texts: Sequence[Ids]) -> np.ndarray[Any, Any]:
    model = load_reward_model(source)
    return compute_rewards(model, texts, PaddedBatches(renderer.record.pad_token_id), token_budget=4096)


def _their_rewards(folder: Path) -> dict[int, float]:
    """OpenRLHF's rewards by the checksum of the token ids."""
    found: dict[int, float] = {}
    for path in sorted(folder.glob("rank-*.jsonl")):
        row = json.loads(path.read_text(encoding="utf-8"))
        for side in ("chosen", "rejected"):
            found |= dict(zip(row[f"{side}_ids"], row[side], strict=True))
    return found


def _restore(config: Any, base: Any) -> None:
    """What OpenRLHF and `start.py` switched off for training comes back: it is the base's, not the training's."""
    for name, value in base.to_dict().items():
        if name == "use_cache" or "dropout" in name or name.endswith("pdrop"):
            setattr(config, name, value)
