"""A training job for OpenRLHF, over made pairs: for the tests against its miniature and against its own code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from conftest import make_pairs
from rewardsmith.modeling.layouts import PairIds
from rewardsmith.modeling.shapes import Size
from rewardsmith.rendering import load_renderer
from rewardsmith.spec import Spec
from rewardsmith.training.job import TrainJob


def openrlhf_job(
    folder: Path, base: Path, content: dict[str, Any], changes: dict[str, Any], *, count: int, held_out: int
) -> TrainJob:
    """A job on `count` pairs in `folder`, of a spec with `content`; `changes` replace fields of its sections."""
    changed = {section: {**content.get(section, {}), **values} for section, values in changes.items()}
    own = {"seed": 5, "backend": "openrlhf", "base_model": {"id": str(base)}}
    renderer = load_renderer(str(base), max_length=256)
    pairs = make_pairs(count, seed=3)
    return TrainJob(
        spec=Spec.model_validate({**own, **content, **changed}),
        base=str(base),
        base_size=Size(31_456, "qwen3"),
        policy_size=Size(None, None),
        pairs=pairs,
        ids=[PairIds(both.chosen_ids, both.rejected_ids) for both in renderer.render_pairs(pairs)],
        renderer=renderer,
        folder=folder / "train",
        model_folder=folder / "model",
        fingerprint=folder.name,
        data_fingerprint="pairs",
        held_out=make_pairs(held_out, seed=9),
    )
