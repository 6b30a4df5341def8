"""Preference pairs as a benchmark: the spec's own held-out pairs, or any file of pairs.

In: preference pairs. Out: accuracy per subset and over all pairs, the margins' quantiles, the Bradley-Terry loss,
and the temperature that would calibrate the margins.

A pair scores 1 where the chosen reward is higher, 1/2 where both are equal, 0 otherwise; random rewards reach 1/2.
Pairs that share a prompt were not drawn independently: they are one unit for intervals.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from rewardsmith import bradley_terry
from rewardsmith.data.sources import named_source, read_source
from rewardsmith.errors import BenchmarkError
from rewardsmith.evaluation.contract import (
    Benchmark,
    BenchmarkRows,
    EvalRow,
    Rewards,
    Tally,
    pair_baseline,
    pair_margins,
    pair_tally,
)
from rewardsmith.evaluation.rows import distinct_id, locate
from rewardsmith.records.checks import RejectedRow
from rewardsmith.records.evaluation import DatasetInfo
from rewardsmith.types import Conversation, PreferencePair

UNNAMED = "all"
"""Subset of the pairs that name none."""
_SOURCE = "source"
_SHOWN = 3

PROTOCOL = (
    "Accuracy over preference pairs: 1 where the chosen reward is higher, 1/2 where both are equal, 0 otherwise; "
    "a pair with a missing reward scores 0. Average: accuracy over all pairs together. Pairs of one prompt are one "
    "unit for intervals."
)
_QUANTILES = {"margin_p05": 0.05, "margin_p25": 0.25, "margin_p50": 0.5, "margin_p75": 0.75, "margin_p95": 0.95}


def load_rows(source: str, revision: str | None = None) -> BenchmarkRows:
    """Pairs of a file or a hub data set; a spec in their place says in which form its source is written.

    Rows that are no preference pairs (a field is missing, both responses are equal …) are left out, as before training,
    and counted by reason, with the first rows of each.

    Raises:
        DataError: the source cannot be read or lacks a column.
        BenchmarkError: no row is a preference pair.
    """
    named = named_source(source) or locate(source, revision)
    intake = read_source(named, role="held_out", strings="chat", seed=0, embedded={})
    listed = _listed(intake.rejected)
    if not intake.pairs:
        raise BenchmarkError(
            f"none of its {intake.read} rows is a preference pair ({listed})",
            where=source,
            fix="give each row a prompt, a chosen and a different rejected response",
        )
    dataset = DatasetInfo(source=source, sha256=intake.sha256, revision=intake.revision)
    title = Path(source).name if intake.sha256 else source
    rows = pair_rows([pair for _, pair in intake.pairs], dataset, title)
    if not intake.rejected:
        return rows
    left_out = f"{len(intake.rejected)} of {intake.read} rows are no preference pairs and were left out ({listed})."
    return replace(rows, left_out=left_out)


def _listed(rejected: Sequence[RejectedRow]) -> str:
    """How many rows there are of each reason, and the first of them; no words of theirs, since records hold none."""
    places: dict[str, list[int]] = {}
    for row in rejected:
        places.setdefault(row.reason, []).append(row.row)
    return "; ".join(
        f"{reason} {len(rows)}: row {', '.join(map(str, rows[:_SHOWN]))}" + (", …" if len(rows) > _SHOWN else "")
        for reason, rows in sorted(places.items())
    )


def pair_rows(pairs: Sequence[PreferencePair], dataset: DatasetInfo, title: str) -> BenchmarkRows:
    """Preference pairs as benchmark rows.

    Pairs without a subset form the subset `all`; without an id they are numbered. An id that stands twice in a subset
    gets `#2`, `#3` … at its later places, so that rows keep distinct keys. A pair without a prompt is its own group.
    """
    groups: dict[Conversation, str] = {}
    seen: Counter[tuple[str, str]] = Counter()
    rows = []
    for number, pair in enumerate(pairs, start=1):
        subset, name = pair.subset or UNNAMED, pair.id or str(number)
        rows.append(
            EvalRow(
                id=distinct_id(subset, name, seen),
                subset=subset,
                prompt=pair.prompt,
                chosen=(pair.chosen,),
                rejected=(pair.rejected,),
                group=groups.setdefault(pair.prompt or pair.chosen + pair.rejected, str(len(groups))),
                where=f"{pair.source or title}, pair {name}",
                facts={_SOURCE: pair.source or title},
            )
        )
    return BenchmarkRows(rows=tuple(rows), dataset=dataset, title=title)


def tally(subset: str, rows: Sequence[EvalRow], rewards: Rewards) -> Tally:
    """Accuracy of some pairs, equal rewards as half; the rule is the same for every `subset`."""
    return pair_tally(rows, rewards, equal=0.5)


def details(_: Sequence[EvalRow], rewards: Rewards) -> dict[str, float | None]:
    """Margins (chosen - rejected), loss in nats and calibrating temperature, over pairs that have both rewards."""
    margins_P = pair_margins(rewards)
    margins_P = margins_P[~np.isnan(margins_P)]
    if margins_P.size == 0:
        return dict.fromkeys(("loss", "margin_mean", *_QUANTILES, "temperature"))
    quantiles = np.quantile(margins_P, list(_QUANTILES.values())).tolist()
    return {
        "loss": float(bradley_terry.pair_losses(margins_P).mean()),
        "margin_mean": float(margins_P.mean()),
        **dict(zip(_QUANTILES, quantiles, strict=True)),
        "temperature": bradley_terry.fit_temperature(margins_P),
    }


PAIRS = Benchmark(
    name="pairs",
    title="Preference pairs",
    protocol=PROTOCOL,
    load=load_rows,
    subsets=(),
    tally=tally,
    baseline=pair_baseline,
    average="rows",
    details=details,
    apart_by=_SOURCE,
    known_chance=0.5,
)
