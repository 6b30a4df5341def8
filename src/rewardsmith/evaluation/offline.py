"""Rewards that were computed elsewhere: `--rewards FILE`.

In: a file in the shape of `rows.jsonl` (`{"id", "subset", "rewards": [chosen…, rejected…]}`, one row a line,
`n_chosen` and `result` optional and `result` never read), or in a shape that RewardBench's scripts save
(`score_files`), and the benchmark's rows. Out: one array of rewards a row, in the rows' order.

`null` is a reward that could not be computed: the benchmark's protocol decides its score, and gates fail. Everything
else that is not a finite number, and every row that is missing, unknown or there twice, is an error that names the
row.
"""

from __future__ import annotations

import math
import reprlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rewardsmith.errors import BenchmarkError
from rewardsmith.evaluation.contract import EvalRow, Floats
from rewardsmith.evaluation.score_files import RewardLine, read_reward_lines
from rewardsmith.evaluation.tables import TableRow

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class OfflineRewards:
    """The rewards of each row, chosen first, NaN where there is none; why they are missing, as `score_rows` takes it;
    and what a reader of the scores must know of the file."""

    rewards: list[Floats]
    reasons: list[dict[int, str]]
    note: str = ""


def read_rewards(source: str, rows: Sequence[EvalRow]) -> list[Floats]:
    """The rewards of each row, chosen first, NaN for `null`. Raises as `read_offline`."""
    return read_offline(source, rows).rewards


def read_offline(source: str, rows: Sequence[EvalRow]) -> OfflineRewards:
    """The rewards of each row with the reasons of missing ones.

    Raises:
        BenchmarkError: the file cannot be read, or a row is missing, extra, double or malformed.
    """
    wanted = {row.key: row for row in rows}
    found: dict[tuple[str, str], TableRow] = {}
    rewards: dict[tuple[str, str], Floats] = {}
    for read in read_reward_lines(source):
        line, key = read.row, _key(read.row)
        if key in found:
            raise _bad(
                line, "id", f"{_named(key)} stands twice: first in {found[key].where}", "keep one of the two rows"
            )
        if key not in wanted:
            raise _bad(line, "id", f"{_named(key)} is not a row of the benchmark", "remove it, or mend subset and id")
        found[key] = line
        rewards[key] = _rewards(read, wanted[key])
    missing = [key for key in wanted if key not in found]
    if missing:
        names = ", ".join(_named(key) for key in missing[:_SHOWN]) + (", …" if len(missing) > _SHOWN else "")
        raise BenchmarkError(
            f"{len(missing)} of {len(wanted)} rows have no rewards: {names}",
            where=source,
            fix="add the rows; write null for a reward that could not be computed",
        )
    reasons = [_reasons(found[row.key], rewards[row.key]) for row in rows]
    return OfflineRewards([rewards[row.key] for row in rows], reasons)


def _reasons(line: TableRow, reward_N: Floats) -> dict[int, str]:
    """Why rewards are missing, where the file says so, as our own rows.jsonl does."""
    given = line.fields.get("reasons")
    known = given if isinstance(given, dict) else {}
    absent = np.flatnonzero(np.isnan(reward_N)).tolist()
    return {place: said for place in absent if isinstance(said := known.get(str(place)), str) and said}


def _key(line: TableRow) -> tuple[str, str]:
    subset, row_id = line.fields.get("subset"), line.fields.get("id")
    if not isinstance(subset, str):
        raise _bad(line, "subset", _missing_or(line, "subset", "a string"), "write the benchmark's subset and id")
    if isinstance(row_id, bool) or not isinstance(row_id, str | int):
        raise _bad(line, "id", _missing_or(line, "id", "a string"), "write the benchmark's subset and id")
    return subset, str(row_id)


def _rewards(read: RewardLine, row: EvalRow) -> Floats:
    values, field = read.rewards, read.places[0]
    if not isinstance(values, list):
        raise _bad(read.row, field, _missing_or(read.row, field, "a list"), "write [chosen, rejected, ...]")
    if len(values) != len(row.responses):
        problem = f"has {len(values)} rewards, but the row has {len(row.responses)} responses"
        raise _bad(read.row, field, problem, "give one reward a response, chosen first")
    if read.count is not None and read.count[1] != len(row.chosen):
        name, count = read.count
        problem = f"is {reprlib.repr(count)}, but the row has {len(row.chosen)} chosen responses"
        raise _bad(read.row, name, problem, "use the rewards of these very rows")
    return np.array([_number(read, place, value) for place, value in enumerate(values)], dtype=np.float64)


def _number(read: RewardLine, place: int, value: object) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        problem = f"is {reprlib.repr(value)}, not a finite number"
        raise _bad(read.row, read.place(place), problem, "write a number, or null where no reward could be computed")
    return float(value)


def _named(key: tuple[str, str]) -> str:
    return f"{key[0]} / {key[1]}"


def _missing_or(line: TableRow, field: str, wanted: str) -> str:
    return f"is {reprlib.repr(line.fields[field])}, not {wanted}" if field in line.fields else "is missing"


def _bad(line: TableRow, field: str, problem: str, fix: str) -> BenchmarkError:
    return BenchmarkError(problem, where=f"{line.where}, field {field!r}", fix=fix)
