"""JudgeBench: pairs of responses to hard questions, of which one is objectively right.

In: `ScalerLab/JudgeBench` from the hub (split `gpt`, the published 350 pairs), or a file in its schema (`pair_id`,
`source`, `question`, `response_A`, `response_B`, `label`), or a folder of such files, as `data` of its repository.
Out: accuracy by category and over all pairs.

    category    by the beginning of `source`: mmlu-pro → knowledge, livebench-reasoning → reasoning, livebench-math →
                math, livecodebench → coding
    pair        its code reads the rewards as `A>B` where A's is higher, else `B>A`, and counts 1 where that equals the
                label. So equal rewards are right exactly where the label is `B>A`. A missing reward counts 0; with
                `--missing upstream` it is read as `B>A`, as NaN is by its code.

Source: `GRMReward`, `SkyworkReward` and `InternLM2Reward` in utils/judges.py, `compute_final_metrics` in
utils/metrics.py and the categories in run_judge.py of ScalerLab/JudgeBench. A reward model is asked once: the order of
the responses does not matter to it (`--single_game`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rewardsmith.evaluation import rows as fields
from rewardsmith.evaluation.contract import Benchmark, BenchmarkRows, EvalRow, Rewards, Tally, pair_baseline, pair_tally
from rewardsmith.evaluation.rows import TableRow, prompt_group, read_table

HUB_ID = "ScalerLab/JudgeBench"
SPLIT = "gpt"
FILES = "*.jsonl"
"""Of a folder, as `data` in the repository: both response models together; each is a set of its own in the paper."""

PUBLISHED_SHA256 = "d5106306b38dead1b2e964ecf5534a3e7b2fc4b8d3b8da327599edfcebd76042"
"""Of `data/dataset=judgebench,response_model=gpt-4o-2024-05-13.jsonl` in the repository."""

CATEGORIES = {
    "mmlu-pro": "knowledge",
    "livebench-reasoning": "reasoning",
    "livebench-math": "math",
    "livecodebench": "coding",
}
"""Beginning of a row's `source`: its category."""

PUBLISHED_ROWS = {"knowledge": 154, "reasoning": 98, "math": 56, "coding": 42}
LABELS = ("A>B", "B>A")

PROTOCOL = (
    "The scoring rule of JudgeBench. A pair scores 1 where the reward of the right response is higher, else 0; equal "
    "rewards are read as B>A, as its code does, so such a pair scores 1 exactly where the label is B>A; a pair with a "
    "missing reward scores 0 (its code reads NaN as B>A too, so that a missing reward can be right there). Average: "
    "accuracy over all pairs together. Pairs of one question are one unit for intervals."
)
UPSTREAM_PROTOCOL = PROTOCOL.replace(
    "a pair with a missing reward scores 0 (its code reads NaN as B>A too, so that a missing reward can be right "
    "there)",
    "a missing reward is read as B>A too, as its code reads NaN",
)


def load_rows(source: str, revision: str | None = None) -> BenchmarkRows:
    """Rows of the hub data set or of a file in its schema.

    `official` is true only for the published 350 pairs: from the hub at a known revision, or the repository's own file
    to the byte.

    Raises:
        BenchmarkError: the source cannot be read, or a row does not fit the schema (file, row, field and fix are
        named).
    """
    table = read_table(source, revision, split=SPLIT, pattern=FILES)
    rows = tuple(_row(row) for row in table.rows)
    fields.check_keys(rows, "pair_id")
    models = sorted({model for row in rows if (model := row.facts.get("model"))})
    note = f"The pairs of {' and '.join(models)} are taken together." if len(models) > 1 else ""
    return replace(fields.published(table, rows, "JudgeBench", [HUB_ID], PUBLISHED_ROWS, PUBLISHED_SHA256), note=note)


def tally(subset: str, rows: Sequence[EvalRow], rewards: Rewards) -> Tally:
    """Accuracy; equal rewards are read as `B>A`."""
    return pair_tally(rows, rewards, equal=[float(row.facts["label"] == "B>A") for row in rows])


def upstream_tally(subset: str, rows: Sequence[EvalRow], rewards: Rewards) -> Tally:
    """As `tally`, but a missing reward is read as `B>A` too: no comparison with NaN is true in its code."""
    read_as_b = [float(row.facts["label"] == "B>A") for row in rows]
    return pair_tally(rows, rewards, equal=read_as_b, missing=read_as_b)


def details(rows: Sequence[EvalRow], rewards: Rewards) -> dict[str, float | None]:
    """The accuracy by response model, where the rows are of several."""
    return _by_model(rows, tally("", rows, rewards))


def upstream_details(rows: Sequence[EvalRow], rewards: Rewards) -> dict[str, float | None]:
    """As `details`, with missing rewards read as `B>A`."""
    return _by_model(rows, upstream_tally("", rows, rewards))


def _by_model(rows: Sequence[EvalRow], found: Tally) -> dict[str, float | None]:
    models = np.array([row.facts.get("model", "") for row in rows])
    names = sorted(set(models.tolist()))
    if len(names) < 2:
        return {}
    results = np.array(found.results)
    return {f"accuracy_{name or 'unnamed'}": float(results[models == name].mean()) for name in names}


def _row(row: TableRow) -> EvalRow:
    label = fields.one_of(row, "label", LABELS, what="label")
    right, wrong = ("response_A", "response_B") if label == "A>B" else ("response_B", "response_A")
    question, model = fields.user(fields.text(row, "question")), row.fields.get("response_model")
    return EvalRow(
        id=fields.row_id(row, "pair_id"),
        subset=_category(row),
        prompt=question,
        chosen=(fields.assistant(fields.text(row, right)),),
        rejected=(fields.assistant(fields.text(row, wrong)),),
        group=prompt_group(question),
        where=row.where,
        facts={"label": label} | ({"model": model} if isinstance(model, str) and model else {}),
    )


def _category(row: TableRow) -> str:
    source = fields.text(row, "source")
    for beginning, category in CATEGORIES.items():
        if source.startswith(beginning):
            return category
    known = ", ".join(CATEGORIES)
    raise fields.bad(row, "source", f"unknown source {source!r}", f"write one that begins with one of {known}")


JUDGEBENCH = Benchmark(
    name="judgebench",
    title="JudgeBench",
    protocol=PROTOCOL,
    load=load_rows,
    subsets=tuple(PUBLISHED_ROWS),
    tally=tally,
    baseline=pair_baseline,
    average="rows",
    details=details,
    known_chance=0.5,
    missing_upstream={"tally": upstream_tally, "details": upstream_details, "protocol": UPSTREAM_PROTOCOL},
)
