"""Plan-RewardBench: pairs of agent trajectories with tool calls (arXiv 2604.08178; github: wyy-1112/Plan-RewardBench).

In: the folder `benchmark` of its repository (seven `SPLIT.jsonl`), one of these files, the hub data set, or rows that
name their `subset`; fields `query`, `tools`, `uuid`, `chosen` and `reject` (or `rejected`), both
`{"messages": [{"role", "content"}…]}` of user, assistant, tool_call and tool_response. Out: accuracy by split and
their mean.

    pair       |chosen reward - rejected reward| <= 1e-4 is a tie and counts 1/2; else 1 where the chosen one is higher
    missing    counts 0; its script leaves such a pair out of the mean instead
    average    the unweighted mean of the seven splits, of those that are there

Source: `judge_pair`, `_analyze_benchmark` and `_print_summary` in eval/evaluate_benchmark_final.py. Its reward models
see text: the tools and the query as one user turn, the trajectory as one assistant turn in which every message is a
paragraph that begins with its role, as its `RemoteBTRewardEvaluator` writes it. So it is here: any chat template can
render it, and both trajectories share their prompt. (`BTRewardEvaluator` keeps user turns apart.)
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rewardsmith.evaluation import rows as fields
from rewardsmith.evaluation.contract import (
    Benchmark,
    BenchmarkRows,
    EvalRow,
    Rewards,
    Tally,
    equal_weights,
    mean_tally,
    no_details,
    pair_baseline,
    pair_margins,
)
from rewardsmith.evaluation.rows import TableRow, prompt_group, read_table
from rewardsmith.types import Conversation

HUB_ID = "wyy1112/Plan-RewardBench"
SPLIT = "train"
"""All 1,171 pairs; its card says that this is no training set."""

BUCKETS = {"refusal": "safety_refusal", "irrelevance_unavailable": "tool_irrelevance"}
"""Values of `_lcp_bucket` that are not the split's own name."""

PUBLISHED_ROWS = {
    "planning_multi_easy": 109,
    "planning_multi_hard": 73,
    "planning_single_easy": 144,
    "planning_single_hard": 158,
    "robust_recovery": 361,
    "safety_refusal": 51,
    "tool_irrelevance": 275,
}
SUBSETS = tuple(PUBLISHED_ROWS)
TIE = 1e-4
_TOOL_ROLES = ("tool_call", "tool_response", "tool")

PROTOCOL = (
    "The scoring rule of Plan-RewardBench. Rewards that differ by at most 0.0001 are a tie and count 1/2, else a pair "
    "scores 1 where the chosen trajectory's reward is higher and 0 otherwise; a pair with a missing reward scores 0 "
    "(its script leaves it out). Tools and query are one user turn, the trajectory one assistant turn. Average: "
    "unweighted mean of the splits. Pairs of one query are one unit for intervals."
)


def load_rows(source: str, revision: str | None = None) -> BenchmarkRows:
    """Rows of the repository's folder, or of files in its schema.

    `official` is true only for the published 1,171 pairs from the hub at a known revision.

    Raises:
        BenchmarkError: the source cannot be read, or a row does not fit the schema (file, row, field and fix are
        named).
    """
    table = read_table(source, revision, split=SPLIT, pattern="**/*.jsonl")
    seen: Counter[tuple[str, str]] = Counter()
    rows = tuple(_row(row, seen) for row in table.rows)
    return fields.published(table, rows, "Plan-RewardBench", [HUB_ID], PUBLISHED_ROWS)


def tally(subset: str, rows: Sequence[EvalRow], rewards: Rewards) -> Tally:
    """Accuracy with ties within `TIE` as 1/2."""
    margins_P = pair_margins(rewards)
    tied = np.abs(margins_P) <= TIE
    results = np.select([np.isnan(margins_P), tied, margins_P > 0], [0.0, 0.5, 1.0], 0.0)
    return mean_tally(results.tolist(), rows)


def _row(row: TableRow, seen: Counter[tuple[str, str]]) -> EvalRow:
    """One checked row; a `uuid` may stand for several pairs of one task, which become `#2`, `#3` …"""
    subset, query = _subset(row), fields.text(row, "query")
    tools = row.fields.get("tools") or []
    if not isinstance(tools, list):
        raise fields.bad(row, "tools", fields.missing_or(row, "tools", "a list"), 'write "tools": [{…}], or []')
    blob = json.dumps(tools, ensure_ascii=False, indent=2)
    header = f"<tool_environment>\n{blob}\n</tool_environment>\n<user_query>\n{query}\n</user_query>"
    prompt = fields.user(header)
    other = "reject" if "reject" in row.fields or "rejected" not in row.fields else "rejected"
    return EvalRow(
        id=fields.distinct_id(subset, fields.row_id(row, "uuid"), seen),
        subset=subset,
        prompt=prompt,
        chosen=(_trajectory(row, "chosen"),),
        rejected=(_trajectory(row, other),),
        group=prompt_group(prompt),
        where=row.where,
    )


def _subset(row: TableRow) -> str:
    """The row's own `subset`, else the split that its file is named after, else its `_lcp_bucket`."""
    name = Path(row.file).name.partition(".")[0].removesuffix("_unified")
    if "subset" not in row.fields and name in SUBSETS:
        return name
    bucket = str(row.fields.get("_lcp_bucket"))
    bucket = "robust_recovery" if "recovery" in bucket or "robust" in bucket else BUCKETS.get(bucket, bucket)
    if "subset" not in row.fields and bucket in SUBSETS:
        return bucket
    if "subset" not in row.fields:
        fix = f"keep the repository's files, or give each row a subset: {', '.join(SUBSETS)}"
        raise fields.bad(row, "subset", f"is missing, and the file {name!r} is no split", fix)
    return fields.one_of(row, "subset", SUBSETS, what="split")


def _trajectory(row: TableRow, field: str) -> Conversation:
    """All messages as one assistant turn."""
    value = row.fields.get(field)
    messages = value.get("messages") if isinstance(value, dict) else value
    if not isinstance(messages, list) or not messages:
        problem = fields.missing_or(row, field, "a trajectory") if messages != [] else "has no messages"
        raise fields.bad(row, field, problem, 'write {"messages": [{"role": "user", "content": "text"}, …]}')
    return fields.assistant("\n\n".join(_line(row, f"{field}.messages[{n}]", turn) for n, turn in enumerate(messages)))


def _line(row: TableRow, place: str, turn: object) -> str:
    role, content = (turn.get("role"), turn.get("content")) if isinstance(turn, dict) else (None, None)
    if not isinstance(role, str) or not role or not isinstance(content, str | dict | list):
        raise fields.bad(row, place, "is not a message of a role and content", 'write {"role": …, "content": "text"}')
    said = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    name = turn.get("name") if isinstance(turn, dict) and role in _TOOL_ROLES else None
    return f"[{role.upper()} name={name}] {said}" if name else f"[{role.upper()}] {said}"


PLAN_REWARDBENCH = Benchmark(
    name="plan_rewardbench",
    title="Plan-RewardBench",
    protocol=PROTOCOL,
    load=load_rows,
    subsets=SUBSETS,
    tally=tally,
    baseline=pair_baseline,
    average=equal_weights,
    details=no_details,
    known_chance=0.5,
)
