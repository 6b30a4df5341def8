"""A share of the training prompts with all their pairs: the points of a learning curve.

half = take_share(prepared, spec, renderer, 0.5, fingerprint="…")

Shares are nested: prompts are ranked once by the spec's seed, and a smaller share is the beginning of a larger one.
Held-out pairs stay as they are.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rewardsmith.data.lengths import summarize_tokens
from rewardsmith.data.prepare import PreparedData
from rewardsmith.data.rows import data_fingerprint
from rewardsmith.data.split import hold_out
from rewardsmith.rendering import Renderer
from rewardsmith.spec import Spec


def take_share(
    prepared: PreparedData, spec: Spec, renderer: Renderer, share: float, *, fingerprint: str
) -> PreparedData:
    """The same data with the pairs of `share` of the training prompts, at least of one, in their order.

    Args:
        prepared: all pairs.
        spec: says the seed and the pairs per step.
        renderer: names tokens in the record.
        share: above 0 and below 1.
        fingerprint: of this share, for the record. What was read, rejected and found stays that of the whole.
    """
    places = prepared.table.train
    kept = places[hold_out(prepared.table.keys[places, 0], fraction=share, seed=spec.seed)]
    train = prepared.rows(kept)
    keys = prepared.table.keys[kept]
    changes = {
        "fingerprint": fingerprint,
        "data_fingerprint": data_fingerprint(keys),
        "train_pairs": len(train),
        "distinct_prompts": len(np.unique(keys[:, 0])),
        "tokens": summarize_tokens(
            train,
            pairs_per_step=spec.training.pairs_per_step,
            name_of=renderer.tokenizer.convert_ids_to_tokens,
        ),
    }
    return replace(prepared, train=train, record=prepared.record.model_copy(update=changes))
