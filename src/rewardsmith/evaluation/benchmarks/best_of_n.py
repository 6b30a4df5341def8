"""Best-of-N rows of the user's own: a prompt with right and wrong responses, in any subsets.

In: a file, a folder or a hub data set with rows `{"id", "prompt", "chosen": [...], "rejected": [...], "subset"}`.
`prompt` is text or a list of messages, the responses are texts, `subset` may be left out. Out: the rule that
RewardBench 2 uses outside Ties, for any number of chosen responses.

    With m responses at the maximum of a row, of which c are chosen, the row scores c/m: what picking one of the best
    at random would give. A missing reward gives the row 0. Subset score: the mean. Average: unweighted over subsets.

Rows that share a prompt are one unit for intervals. Random rewards reach k/n for k chosen of n responses.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rewardsmith.evaluation.contract import (
    Benchmark,
    BenchmarkRows,
    EvalRow,
    Floats,
    Rewards,
    Tally,
    always_ranked,
    equal_weights,
    mean_tally,
    no_details,
)
from rewardsmith.evaluation.rows import (
    TableRow,
    assistant,
    check_keys,
    prompt,
    prompt_group,
    read_table,
    row_id,
    text,
    texts,
)

UNNAMED = "all"
"""Subset of the rows that name none."""

PROTOCOL = (
    "Best-of-N: of the m responses with the highest reward, the share that is chosen (equal rewards share the row); a "
    "row with a missing reward scores 0. Random baseline: the chosen share of all responses. Average: unweighted mean "
    "of the subsets. Rows of one prompt are one unit for intervals."
)


def load_rows(source: str, revision: str | None = None) -> BenchmarkRows:
    """Rows of the user's own; never `official`.

    Raises:
        BenchmarkError: a row does not fit (file, row, field and fix are named), or a key stands twice.
        DataError: the source cannot be read.
    """
    table = read_table(source, revision, pattern="**/*")
    rows = tuple(_row(row) for row in table.rows)
    check_keys(rows)
    return BenchmarkRows(rows=rows, dataset=table.dataset, title=table.title)


def tally(subset: str, rows: Sequence[EvalRow], rewards: Rewards) -> Tally:
    """The rule for one subset; rewards chosen first, NaN where missing."""
    results = [share_of_maximum(reward_N, len(row.chosen)) for row, reward_N in zip(rows, rewards, strict=True)]
    return mean_tally(results, rows)


def baseline(subset: str, rows: Sequence[EvalRow], seed: int) -> float:
    """What random rewards reach: k chosen of n responses, averaged over the rows."""
    return float(np.mean([len(row.chosen) / len(row.responses) for row in rows]))


def share_of_maximum(reward_N: Floats, n_chosen: int) -> float:
    """Chosen share of the responses at the maximum; 0 where a reward is missing (NaN equals nothing)."""
    at_top = reward_N == reward_N.max()
    return float(at_top[:n_chosen].sum() / at_top.sum()) if at_top.any() else 0.0


def _row(row: TableRow) -> EvalRow:
    """One checked row."""
    conversation = prompt(row)
    return EvalRow(
        id=row_id(row),
        subset=text(row, "subset") if row.fields.get("subset") not in (None, "") else UNNAMED,
        prompt=conversation,
        chosen=tuple(assistant(response) for response in texts(row, "chosen")),
        rejected=tuple(assistant(response) for response in texts(row, "rejected")),
        group=prompt_group(conversation),
        where=row.where,
    )


BEST_OF_N = Benchmark(
    name="best_of_n",
    title="Best-of-N rows",
    protocol=PROTOCOL,
    load=load_rows,
    subsets=(),
    tally=tally,
    baseline=baseline,
    average=equal_weights,
    details=no_details,
    judged=always_ranked,
    unread_as_chance=True,
)
