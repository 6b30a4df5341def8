"""LLMBar: pairs in which one output follows the instruction and the other, often more pleasing, does not.

In: the folder `Dataset/LLMBar` of its repository (`Natural/dataset.json`, `Adversarial/Neighbor/dataset.json` …), one
of these files, or a file whose rows name their `subset`; fields `input`, `output_1`, `output_2`, `label` (1 or 2). Rows
without an `id` are numbered within their subset. The hub data set is a loading script, which `datasets` runs no more.
Out: accuracy by subset, their mean, and the mean of the four adversarial ones.

    pair    1 where the reward of the right output is higher, 1/2 where both are equal or one is missing, else 0: its
            code asks in both orders and means the two answers; equal ratings, and those it cannot read, win for one
            output in one order and for the other in the other

Source: the branch `Rating` of `annotate`, and `correct_average`, in LLMEvaluator/evaluate.py of princeton-nlp/LLMBar;
the averages: table 2 of arXiv 2310.07641.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rewardsmith.errors import BenchmarkError
from rewardsmith.evaluation import rows as fields
from rewardsmith.evaluation.contract import (
    Benchmark,
    BenchmarkRows,
    EvalRow,
    Rewards,
    Tally,
    Weights,
    equal_weights,
    pair_baseline,
    pair_margins,
    pair_tally,
)
from rewardsmith.evaluation.rows import Table, TableRow, prompt_group, read_table

HUB_ID = "princeton-nlp/LLMBar"
FILES = "**/dataset.json"
PUBLISHED_SHA256 = "33d128c539f56500a041542071651eaddb76d8e72f49265da98431e9b54f8cb7"
"""Of the names and contents of the five files of `Dataset/LLMBar` in the repository."""

PUBLISHED_ROWS = {"Natural": 100, "Neighbor": 134, "GPTInst": 92, "GPTOut": 47, "Manual": 46}
SUBSETS = tuple(PUBLISHED_ROWS)
ADVERSARIAL = SUBSETS[1:]

PROTOCOL = (
    "The scoring rule of LLMBar. A pair scores 1 where the reward of the right output is higher, 1/2 where both are "
    "equal or one is missing (its code asks in both orders and takes the mean), else 0. Average: unweighted mean of "
    "the subsets; section Adversarial: that of Neighbor, GPTInst, GPTOut and Manual. Pairs of one instruction are one "
    "unit for intervals."
)


def load_rows(source: str, revision: str | None = None) -> BenchmarkRows:
    """Rows of the repository's folder, or of files in its schema.

    `official` is true only for the five published files to the byte.

    Raises:
        BenchmarkError: the source cannot be read, or a row does not fit the schema (file, row, field and fix are
        named).
    """
    if source == HUB_ID and not Path(source).exists():
        raise BenchmarkError(
            "the hub data set is a loading script, which `datasets` no longer runs",
            where=source,
            fix=f"git clone https://github.com/{HUB_ID} and name its folder Dataset/LLMBar",
        )
    table = read_table(source, revision, pattern=FILES)
    rows = _rows(table)
    fields.check_keys(rows)
    return fields.published(table, rows, "LLMBar", (), PUBLISHED_ROWS, PUBLISHED_SHA256)


def tally(subset: str, rows: Sequence[EvalRow], rewards: Rewards) -> Tally:
    """Accuracy of one subset; equal and missing rewards count 1/2."""
    return pair_tally(rows, rewards, equal=0.5, missing=0.5)


def details(rows: Sequence[EvalRow], rewards: Rewards) -> dict[str, float | None]:
    """What its script prints beside the accuracy, over all rows and by subset.

    `correct_both`: both orders name the right output, as where its reward is strictly higher. `equal`: both orders name
    the same output, as where the rewards differ; equal ratings win for another output in each order.
    """
    margins_P = pair_margins(rewards)
    subsets = np.array([row.subset for row in rows])
    metrics: dict[str, float | None] = {}
    for name in ("", *(name for name in SUBSETS if name in subsets)):
        own_P = margins_P if not name else margins_P[subsets == name]
        begin = f"{name}_" if name else ""
        metrics[f"{begin}correct_both"] = float((own_P > 0).mean())
        metrics[f"{begin}equal"] = float((np.nan_to_num(own_P) != 0).mean())
    return metrics


def sections(sizes: Mapping[str, int]) -> dict[str, Weights]:
    """The adversarial sets, each of the same weight."""
    present = dict.fromkeys((name for name in ADVERSARIAL if name in sizes), 1.0)
    return {"Adversarial": present} if present else {}


def _rows(table: Table) -> tuple[EvalRow, ...]:
    numbers: Counter[str] = Counter()
    rows = []
    for row in table.rows:
        subset = _subset(row)
        numbers[subset] += 1
        rows.append(_row(row, subset, numbers[subset]))
    return tuple(rows)


def _row(row: TableRow, subset: str, number: int) -> EvalRow:
    label = row.fields.get("label")
    if isinstance(label, bool) or str(label) not in ("1", "2"):
        raise fields.bad(
            row, "label", fields.missing_or(row, "label", "1 or 2"), "write the number of the right output"
        )
    right, wrong = ("output_1", "output_2") if str(label) == "1" else ("output_2", "output_1")
    instruction = fields.user(fields.text(row, "input"))
    return EvalRow(
        # Published rows have no id: their place within the subset stands for it.
        id=fields.row_id(row) if "id" in row.fields else str(number),
        subset=subset,
        prompt=instruction,
        chosen=(fields.assistant(fields.text(row, right)),),
        rejected=(fields.assistant(fields.text(row, wrong)),),
        group=prompt_group(instruction),
        where=row.where,
    )


def _subset(row: TableRow) -> str:
    """The row's own `subset`, else the folder that its file lies in."""
    if "subset" in row.fields:
        return fields.one_of(row, "subset", SUBSETS, what="subset")
    folder = Path(row.file).resolve().parent.name if row.file else ""
    if folder not in SUBSETS:
        problem = f"is missing, and the folder {folder!r} is no subset of LLMBar"
        fix = f"keep the repository's folders, or give each row a subset: {', '.join(SUBSETS)}"
        raise fields.bad(row, "subset", problem, fix)
    return folder


LLMBAR = Benchmark(
    name="llmbar",
    title="LLMBar",
    protocol=PROTOCOL,
    load=load_rows,
    subsets=SUBSETS,
    tally=tally,
    baseline=pair_baseline,
    average=equal_weights,
    details=details,
    sections=sections,
    known_chance=0.5,
)
