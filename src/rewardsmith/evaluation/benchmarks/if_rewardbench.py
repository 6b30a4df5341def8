"""IF-RewardBench: rankings of responses by how they follow instructions (arXiv 2603.04738; thu-coai/IF-RewardBench).

In: `data/if_rewardbench.json` of its repository, or rows in its schema:

    {"id", "instruction_type": Single_Turn | Multi_Turn | System_Prompt, "messages": [...],
     "responses": [{"response_id", "response"}…], "preference_graph": [{"chosen": {"response_id"}, "rejected": {…}}…]}

Out: accuracy by instruction type, and the mean of the three. Responses that stand in no preference are not scored.

    row         accuracy: the share of its preferences (each once) whose chosen response has the higher reward; equal
                rewards and comparisons with a missing one are not right
    kendall     (C - D) / max(1, √((C + D)(C + D + T))) of a row: C right, T equal, D the others and missing ones;
                the mean over rows by type, and the mean of the types
    average     the mean of the types that are there, each the mean over its rows

In the records a row's best responses (nothing is preferred to them) stand as chosen, the others as rejected.

Source: `calculate_pairwise_metrics` and the overall ranking in metrics/analysis_constraint_assessment.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rewardsmith.evaluation import rows as fields
from rewardsmith.evaluation.contract import (
    Benchmark,
    BenchmarkRows,
    EvalRow,
    Floats,
    Rewards,
    Tally,
    equal_weights,
    mean_tally,
    pair_baseline,
)
from rewardsmith.evaluation.rows import TableRow, prompt, prompt_group, read_table

SUBSETS = ("Single_Turn", "Multi_Turn", "System_Prompt")

PROTOCOL = (
    "The scoring rule of IF-RewardBench. A row scores the share of its preferences whose chosen response has the "
    "higher reward: equal rewards and comparisons with a missing reward are not right. Average: unweighted mean of the "
    "instruction types, each the mean over its rows. Kendall's coefficient in the metrics counts equal rewards as ties "
    "and comparisons with a missing reward as wrong. A row is one unit for intervals."
)


def load_rows(source: str, revision: str | None = None) -> BenchmarkRows:
    """Rows in the schema of the repository's file; never `official`: its hash was not at hand.

    Raises:
        BenchmarkError: the source cannot be read, or a row does not fit the schema (file, row, field and fix are
        named).
    """
    table = read_table(source, revision, pattern="**/*")
    rows = tuple(_row(row) for row in table.rows)
    fields.check_keys(rows)
    return BenchmarkRows(rows=rows, dataset=table.dataset, title=table.title)


def tally(subset: str, rows: Sequence[EvalRow], rewards: Rewards) -> Tally:
    """The mean over rows of the share of preferences that are kept."""
    counts = [_counts(row, reward_N) for row, reward_N in zip(rows, rewards, strict=True)]
    results = [right / (right + wrong + equal) for right, wrong, equal in counts]
    return replace(mean_tally(results, rows), independent=False)


def details(rows: Sequence[EvalRow], rewards: Rewards) -> dict[str, float | None]:
    """Kendall's coefficient by instruction type, and the mean of the types."""
    by_type: dict[str, list[float]] = {}
    for row, reward_N in zip(rows, rewards, strict=True):
        right, wrong, equal = _counts(row, reward_N)
        # Kendall's tau-b, ties in the rewards alone; 1 where all are equal, which makes the coefficient 0.
        whole = max(1.0, math.sqrt((right + wrong) * (right + wrong + equal)))
        by_type.setdefault(row.subset, []).append((right - wrong) / whole)
    means = {name: float(np.mean(by_type[name])) for name in SUBSETS if name in by_type}
    return {"kendall": float(np.mean(list(means.values()))), **{f"{name}_kendall": one for name, one in means.items()}}


def _counts(row: EvalRow, reward_N: Floats) -> tuple[int, int, int]:
    """(right, wrong, equal) of the row's preferences; a missing reward makes one wrong."""
    pairs = [tuple(map(int, pair.split(">"))) for pair in row.facts["pairs"].split()]
    right = sum(bool(reward_N[better] > reward_N[worse]) for better, worse in pairs)
    equal = sum(bool(reward_N[better] == reward_N[worse]) for better, worse in pairs)
    return right, len(pairs) - right - equal, equal


def _row(row: TableRow) -> EvalRow:
    texts, edges = _responses(row), _edges(row)
    unknown = sorted({name for edge in edges for name in edge} - set(texts))
    if unknown:
        raise fields.bad(row, "preference_graph", f"names no response: {unknown[0]}", "use the ids of the responses")
    worse = {rejected for _, rejected in edges}
    best = [name for name in texts if name not in worse and any(name == chosen for chosen, _ in edges)]
    order = [*best, *(name for name in texts if name in worse)]
    if not best:
        problem = "prefers responses in a circle, so that none is best"
        raise fields.bad(row, "preference_graph", problem, "remove one of the preferences")
    place = {name: number for number, name in enumerate(order)}
    conversation = prompt(row, "messages")
    return EvalRow(
        id=fields.row_id(row),
        subset=fields.one_of(row, "instruction_type", SUBSETS, what="instruction type"),
        prompt=conversation,
        chosen=tuple(fields.assistant(texts[name]) for name in best),
        rejected=tuple(fields.assistant(texts[name]) for name in order[len(best) :]),
        group=prompt_group(conversation),
        where=row.where,
        facts={"pairs": " ".join(f"{place[better]}>{place[lower]}" for better, lower in edges)},
    )


def _responses(row: TableRow) -> dict[str, str]:
    """Response id → text; the place in the list where a response has no id of its own."""
    value = row.fields.get("responses")
    if not isinstance(value, list) or not value:
        problem = fields.missing_or(row, "responses", "a list of responses")
        raise fields.bad(row, "responses", problem, 'write "responses": [{"response_id": 0, "response": "text"}, …]')
    found: dict[str, str] = {}
    for number, one in enumerate(value):
        text = one.get("response") if isinstance(one, dict) else None
        name = str(one.get("response_id", number)) if isinstance(one, dict) else ""
        if not isinstance(text, str) or name in found:
            problem = "holds no response that is text" if not isinstance(text, str) else f"the id {name} stands twice"
            fix = 'write {"response_id": 0, "response": "text"}'
            raise fields.bad(row, f"responses[{number}]", problem, fix)
        found[name] = text
    return found


def _edges(row: TableRow) -> list[tuple[str, str]]:
    """(chosen, rejected) of every preference, each once."""
    value = row.fields.get("preference_graph")
    if not isinstance(value, list) or not value:
        problem = "is an empty list" if value == [] else fields.missing_or(row, "preference_graph", "a list")
        raise fields.bad(row, "preference_graph", problem, "remove the row: it prefers nothing")
    found: dict[tuple[str, str], None] = {}
    for number, one in enumerate(value):
        sides = [one.get(side) for side in ("chosen", "rejected")] if isinstance(one, dict) else [None, None]
        ids = [side.get("response_id") if isinstance(side, dict) else None for side in sides]
        if any(isinstance(name, bool) or not isinstance(name, int | str) for name in ids) or ids[0] == ids[1]:
            fix = 'write {"chosen": {"response_id": 0}, "rejected": {"response_id": 1}}'
            raise fields.bad(row, f"preference_graph[{number}]", "names no two responses", fix)
        found[str(ids[0]), str(ids[1])] = None
    return list(found)


IF_REWARDBENCH = Benchmark(
    name="if_rewardbench",
    title="IF-RewardBench",
    protocol=PROTOCOL,
    load=load_rows,
    subsets=SUBSETS,
    tally=tally,
    baseline=pair_baseline,
    average=equal_weights,
    details=details,
    known_chance=0.5,
    judged=lambda row: "rating",  # every preference of a graph would be asked one by one
)
