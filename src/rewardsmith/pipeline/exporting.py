"""`rewardsmith export` and `rewardsmith average`: checkpoints in, another checkpoint out.

record = export_job("runs/x/model", Path("out"), "vllm")
record = average_job([Path("runs/a/model"), Path("runs/b/model")], Path("out"), weights=(0.7, 0.3))
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rewardsmith.errors import UserError
from rewardsmith.modeling.averaging import average_checkpoints
from rewardsmith.modeling.exports import StoredAs, Target, export_checkpoint
from rewardsmith.records import CheckpointRecord, ExportRecord


def export_job(
    model: str, out: Path, target: Target, *, dtype: StoredAs = "auto", value_head_prefix: str = "score"
) -> ExportRecord:
    """Write a checkpoint for another program; arguments and errors as `export_checkpoint`."""
    if target != "openrlhf" and value_head_prefix != "score":
        raise UserError(
            f"{value_head_prefix!r} is a name of OpenRLHF's", where="--value-head-prefix", fix="write --to openrlhf"
        )
    return export_checkpoint(model, out, target, dtype=dtype, value_head_prefix=value_head_prefix)


def average_job(folders: Sequence[Path], out: Path, *, weights: str | None = None) -> CheckpointRecord:
    """Average checkpoints of one lineage.

    Args:
        folders: two or more checkpoints of ours.
        out: the new folder.
        weights: shares with commas, as many as folders; equal ones when None. They are scaled to sum to 1.

    Raises:
        UserError: the weights cannot be read, or the folders do not fit.
    """
    return average_checkpoints(folders, out, parse_weights(weights, len(folders)))


def parse_weights(text: str | None, count: int) -> tuple[float, ...]:
    """Shares that sum to 1.

    Raises:
        UserError: they are not numbers, not as many as checkpoints, or not all above 0.
    """
    if text is None:
        return (1 / count,) * count if count else ()
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if len(found) != count or not all(0 < share < float("inf") for share in found):
        raise UserError(
            f"{text!r} is not {count} numbers above 0",
            where="--weights",
            fix=f"write {','.join(['1'] * count)}, a number for each checkpoint",
        )
    return tuple(share / sum(found) for share in found)
