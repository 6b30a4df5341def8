"""The options by which several models are given and combined, for `score`, `serve` and `route`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rewardsmith.errors import UserError

if TYPE_CHECKING:
    from rewardsmith.scoring import Combination

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
