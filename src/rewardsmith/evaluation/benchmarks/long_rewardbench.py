"""Long-RewardBench: pairs and rankings over contexts of 4k to 128k tokens (arXiv 2510.06915; LCM-Lab/LongRM on GitHub).

In: `LCM-Lab/LongRewardBench` from the hub (all seven tasks), a folder of `TASK.jsonl`, or one of these files; fields
`id`, `prompt_template` (messages), `tasktype`, and for `PairWise` rows `chosen`, `rejected`, for `BestOfN` rows
`candidates`, the best first. Out: accuracy of the pairs of each task, the rankings as a subset of their own, and
the score of all rows together.

    row        the share of its responses whose rank by reward is their place in the published order: of a pair 1 or 0,
               of a ranking of n a multiple of 1/n
    equal      each of the equal ones has every rank of them with the same chance: of a pair 1/2. The script ranks them
               in the order in which a seeded shuffle shows them, which is luck.
    missing    a row with a missing reward scores 0 (the script sorts NaN, which has no defined result)
    average    all rows taken together, as its `AVG.`

Metrics: `pairwise`, `rank` and rankings by their subtype (2, 3, 4), pairs whose responses are of the same model or not,
pairs by length of the context. The script cuts texts of 131,072 tokens and more in the middle; here a text beyond the
model's limit has no reward.

Source, in evaluate/evaluating/longreward_bench: `evaluate` in evaluator.py, the preprocessing in preprocess.py, and
`extract_judgement` (`is_disrm`) in utils/prompt.py. That candidates are published best first is read from there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from rewardsmith.evaluation import rows as fields
from rewardsmith.evaluation.contract import Benchmark, BenchmarkRows, EvalRow, Floats, Rewards, Tally, mean_tally
from rewardsmith.evaluation.rows import TableRow, prompt, prompt_group, read_table

HUB_ID = "LCM-Lab/LongRewardBench"
SPLIT = "train"
PUBLISHED_ROWS = {"LongQA": 522, "Summ": 429, "Safety": 140, "ICL": 162, "Cite": 390, "Code": 197, "Math": 60}
"""Task → rows of both kinds."""

TASKS = tuple(PUBLISHED_ROWS)
RANKING = "BestOfN"
SUBSETS = (*TASKS, RANKING)
LENGTHS = ("4k", "8k", "16k", "32k", "64k", "128k")
TYPES = ("PairWise", RANKING)

PROTOCOL = (
    "The scoring rule of Long-RewardBench. A row scores the share of its responses whose rank by reward is their place "
    "in the published order: of a pair 1 or 0. Equal rewards have each of their ranks with the same chance (of a pair "
    "1/2); a row with a missing reward scores 0. Subsets: the pairs of each task, and all rankings. Average: all rows "
    "together. Rows of one prompt are one unit for intervals."
)


def load_rows(source: str, revision: str | None = None) -> BenchmarkRows:
    """Rows of the hub data set, of a folder of its files, or of a file in its schema.

    `official` is true only for the published 1,900 rows, read from the hub at a known revision.

    Raises:
        BenchmarkError: the source cannot be read, or a row does not fit the schema (file, row, field and fix are
        named).
    """
    from_hub = source == HUB_ID and not Path(source).exists()
    parts = [(task, read_table(source, revision, split=SPLIT, config=task)) for task in TASKS] if from_hub else []
    tables = parts or [("", read_table(source, revision, pattern="**/*"))]
    seen: Counter[tuple[str, str]] = Counter()
    rows = tuple(_row(row, task or _task(row), seen) for task, table in tables for row in table.rows)
    sizes = Counter(row.facts["task"] for row in rows)
    official = from_hub and all(table.dataset.revision for _, table in tables) and sizes == PUBLISHED_ROWS
    dataset = tables[0][1].dataset.model_copy(update={"official": official})
    return BenchmarkRows(rows=rows, dataset=dataset, title="Long-RewardBench" if official else tables[0][1].title)


def tally(subset: str, rows: Sequence[EvalRow], rewards: Rewards) -> Tally:
    """The mean over rows of the share of right ranks."""
    results = [share_of_ranks(reward_N) for reward_N in rewards]
    found = mean_tally(results, rows)
    return found if set(results) <= {0.0, 0.5, 1.0} else replace(found, independent=False)


def share_of_ranks(reward_N: Floats) -> float:
    """The expected share of responses, best first, whose rank by reward is their own place."""
    if np.isnan(reward_N).any():
        return 0.0
    above = (reward_N[None, :] > reward_N[:, None]).sum(axis=1)
    equal = (reward_N[None, :] == reward_N[:, None]).sum(axis=1)
    place_N = np.arange(len(reward_N))
    # Equal rewards share the ranks from `above` to `above + equal - 1`, each with the same chance.
    right = np.where((above <= place_N) & (place_N < above + equal), 1 / equal, 0.0)
    return float(right.mean())


def baseline(subset: str, rows: Sequence[EvalRow], seed: int) -> float:
    """A random order puts each of n responses into its place with chance 1/n."""
    return float(np.mean([1 / len(row.responses) for row in rows]))


def details(rows: Sequence[EvalRow], rewards: Rewards) -> dict[str, float | None]:
    """Pairs and rankings apart, and by what the script prints beside them."""
    scored = [(row, share_of_ranks(reward_N)) for row, reward_N in zip(rows, rewards, strict=True)]
    metrics: dict[str, float | None] = {}

    def mean(name: str, belongs: Callable[[EvalRow], bool]) -> None:
        own = [result for row, result in scored if belongs(row)]
        if own:
            metrics[name] = float(np.mean(own))

    mean("pairwise", lambda row: row.subset != RANKING)
    mean("pairwise_same", lambda row: row.subset != RANKING and row.facts["subtype"] == "same")
    mean("pairwise_different", lambda row: row.subset != RANKING and row.facts["subtype"] != "same")
    mean("rank", lambda row: row.subset == RANKING)
    for size in ("2", "3", "4"):
        mean(f"rank_{size}", lambda row, size=size: row.subset == RANKING and row.facts["subtype"] == size)  # type: ignore[misc]
    for length in LENGTHS:
        mean(f"pairwise_{length}", lambda row, length=length: row.subset != RANKING and row.facts["length"] == length)  # type: ignore[misc]
    return metrics


def _row(row: TableRow, task: str, seen: Counter[tuple[str, str]]) -> EvalRow:
    kind = row.fields.get("tasktype") or TYPES[0]
    if kind not in TYPES:
        raise fields.bad(row, "tasktype", f"unknown type {kind!r}", f"write one of {', '.join(TYPES)}")
    conversation = prompt(row, "prompt_template")
    if kind == RANKING:
        best, *others = fields.texts(row, "candidates")
        if not others:
            raise fields.bad(
                row, "candidates", "is one response, which has no order", "give two or more, the best first"
            )
    else:
        best, others = fields.text(row, "chosen"), [fields.text(row, "rejected")]
    subset = RANKING if kind == RANKING else task
    name = f"{task} {fields.row_id(row)}" if kind == RANKING else fields.row_id(row)
    return EvalRow(
        id=fields.distinct_id(subset, name, seen),
        subset=subset,
        prompt=conversation,
        chosen=(fields.assistant(best),),
        rejected=tuple(fields.assistant(text) for text in others),
        group=prompt_group(conversation),
        where=row.where,
        facts={
            "task": task,
            "subtype": str(row.fields.get("subtype") or ""),
            "length": str(row.fields.get("ctx_length_for_length") or ""),
        },
    )


def _task(row: TableRow) -> str:
    """The task that the file is named after, else the row's `subset`."""
    name = Path(row.file).name.partition(".")[0]
    return name if name in TASKS else fields.one_of(row, "subset", TASKS, what="task")


LONG_REWARDBENCH = Benchmark(
    name="long_rewardbench",
    title="Long-RewardBench",
    protocol=PROTOCOL,
    load=load_rows,
    subsets=SUBSETS,
    tally=tally,
    baseline=baseline,
    average="rows",
    details=details,
    known_chance=dict.fromkeys(TASKS, 0.5),
    # A ranking needs the order of all responses, not the best one.
    judged=lambda row: "rating" if row.subset == RANKING else "pairwise",
)
