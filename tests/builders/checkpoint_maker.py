"""Checkpoints without training: a tiny decoder with a random reward head, saved as training saves one."""

from __future__ import annotations

from pathlib import Path

import torch

import rewardsmith
from rewardsmith.modeling.checkpoint import save_checkpoint
from rewardsmith.modeling.loading import load_base
from rewardsmith.records.checkpoint import CheckpointRecord
from rewardsmith.rendering import load_renderer
from rewardsmith.rendering.renderer import OverLength
from rewardsmith.spec import Spec


def make_checkpoint(
    folder: Path,
    base: Path,
    *,
    seed: int = 0,
    max_length: int = 200,
    over_length: OverLength = "drop",
    conversational: bool = True,
    head_std: float = 0.3,
) -> Path:
    """Save a reward model of `base` whose rewards have a spread of about 1: `head_std` is for a width of 32."""
    spec = Spec(base_model={"id": str(base)})
    renderer = load_renderer(base, max_length=max_length, over_length=over_length, conversational=conversational)
    model = load_base(spec, base, renderer.tokenizer, seed=seed).eval()
    with torch.no_grad():
        head = model.score if hasattr(model, "score") else model.classifier
        head.weight.normal_(std=head_std, generator=torch.Generator().manual_seed(seed))
    record = CheckpointRecord(
        rewardsmith_version=rewardsmith.__version__,
        base_model=str(base),
        rendering=renderer.record,
        data_fingerprints=(),
    )
    save_checkpoint(folder, model, renderer, record)
    return folder
