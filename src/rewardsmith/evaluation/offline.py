"""Rewards that were computed elsewhere: `--rewards FILE`.

In: a file in the shape of `rows.jsonl` (`{"id", "subset", "rewards": [chosen…, rejected…]}`, one row a line,
`n_chosen`, `result` and `reasons` optional and `result` never read), or what the scripts of RewardBench, RM-Bench,
JudgeBench, RMB or PPE save (`score_files`), and the benchmark's rows. Out: one array of rewards a row, in the rows'
order, with the reasons of the missing ones.

`null` is a reward that could not be computed: the benchmark's protocol decides its score, and gates fail. In our own
form everything else that is not a finite number is an error that names the row; scripts of others write NaN and
Infinity where a model overflows, and these are missing rewards, counted in the note. Every row that is missing,
unknown or there twice is an error; so is a row whose texts are not the benchmark's, where the file repeats them.
"""

from __future__ import annotations

import math
import reprlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rewardsmith.errors import BenchmarkError
from rewardsmith.evaluation.contract import EvalRow, Floats
from rewardsmith.evaluation.score_files import RewardLine, read_reward_lines
from rewardsmith.evaluation.tables import TableRow
from rewardsmith.records.evaluation import LARGEST_REWARD

_SHOWN = 5

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class OfflineRewards:
    """The rewards of each row, chosen first, NaN where there is none; why they are missing, as `score_rows` takes it;
    and what a reader of the scores must know of the file."""

    rewards: list[Floats]
    reasons: list[dict[int, str]]
    note: str = ""


def read_rewards(source: str, rows: Sequence[EvalRow]) -> list[Floats]:
    """The rewards of each row, chosen first, NaN where there is none. Raises as `read_offline`."""
    return read_offline(source, rows).rewards


def read_offline(source: str, rows: Sequence[EvalRow]) -> OfflineRewards:
    """The rewards of each row with the reasons of missing ones.

    Raises:
        BenchmarkError: the file cannot be read, or a row is missing, extra, double or malformed.
    """
    wanted = {row.key: row for row in rows}
    by_id: dict[str, list[Key]] = defaultdict(list)
    for key in wanted:
        by_id[key[1]].append(key)
    found: dict[Key, TableRow] = {}
    rewards: dict[Key, Floats] = {}
    reasons: dict[Key, dict[int, str]] = {}
    scripts: Counter[str] = Counter()
    others = 0
    for read in read_reward_lines(source):
        key = _key(read, by_id)
        if key in found:
            problem = f"{_named(key)} stands twice: first in {found[key].where}"
            raise _bad(read.row, read.key_fields[1], problem, "keep one of the two rows")
        if key not in wanted:
            if read.others_allowed:
                others += 1
                continue
            problem, fix = f"{_named(key)} is not a row of the benchmark", "remove it, or correct subset and id"
            raise _bad(read.row, read.key_fields[1], problem, fix)
        found[key] = read.row
        rewards[key], reasons[key] = _rewards(read, wanted[key])
        scripts[read.script] += 1
    missing = [key for key in wanted if key not in found]
    if missing:
        names = ", ".join(_named(key) for key in missing[:_SHOWN]) + (", …" if len(missing) > _SHOWN else "")
        raise BenchmarkError(
            f"{len(missing)} of {len(wanted)} rows have no rewards: {names}",
            where=source,
            fix="add the rows; write null for a reward that could not be computed",
        )
    note = _note(scripts, [reason for row in reasons.values() for reason in row.values()], others)
    return OfflineRewards([rewards[row.key] for row in rows], [reasons[row.key] for row in rows], note)


def _note(scripts: Counter[str], reasons: Sequence[str], others: int) -> str:
    """Whose file it is, what of it was read as missing, and what was left out."""
    names = sorted(script for script in scripts if script)
    if not names:
        return ""
    numbers = Counter(reason.partition(":")[0] for reason in reasons)
    unreadable = numbers["nan"] + numbers["not_finite"]
    told = [f"Rewards as the script of {' and '.join(names)} saved them."]
    if unreadable:
        told.append(f"{unreadable:,} of them are NaN or infinite there and count as missing.")
    if others:
        told.append(f"{others:,} rows of the file are not among these rows and were left out (ties, or other data).")
    return " ".join(told)


def _key(read: RewardLine, by_id: dict[str, list[Key]]) -> Key:
    """(subset, id). Where a script says no subset, or one of its own, the id must be that of one row alone."""
    line, (subset, row_id) = read.row, read.key
    subset_field, id_field = read.key_fields
    if isinstance(row_id, bool) or not isinstance(row_id, str | int):
        raise _bad(line, id_field, _missing_or(line, id_field, "a string"), "write the benchmark's subset and id")
    if isinstance(subset, str) and subset:
        return subset, str(row_id)
    keys = by_id.get(str(row_id), [])
    if not read.script or len(keys) > 1:
        problem = _missing_or(line, subset_field, "a string")
        if read.script and subset_field not in line.fields:
            problem = f"is missing, and the id {row_id} stands in several subsets: {', '.join(key[0] for key in keys)}"
        raise _bad(line, subset_field, problem, "write the benchmark's subset and id")
    return keys[0] if keys else ("", str(row_id))


def _rewards(read: RewardLine, row: EvalRow) -> tuple[Floats, dict[int, str]]:
    """The row's rewards in the order of its responses, and why some are missing."""
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
    order = published_order(row) if read.as_published else range(len(values))
    _check_texts(read, row, order)
    found = [_number(read, place, values[place]) for place in order]
    given = read.row.fields.get("reasons") if not read.script else None
    known = given if isinstance(given, dict) else {}
    reasons = {}
    for place, (number, reason) in enumerate(found):
        if math.isnan(number):
            said = known.get(str(place))
            reasons[place] = read.missing or reason or (said if isinstance(said, str) else "")
    return np.array([number for number, _ in found], dtype=np.float64), reasons


def published_order(row: EvalRow) -> list[int]:
    """Where each response of a row, chosen first, stands in the published data set.

    Benchmarks whose data are not chosen first keep it in their facts: `order`, or JudgeBench's `label`.
    """
    if "order" in row.facts:
        return [int(place) for place in row.facts["order"].split()]
    return [1, 0] if row.facts.get("label") == "B>A" else list(range(len(row.responses)))


def _check_texts(read: RewardLine, row: EvalRow, order: Sequence[int]) -> None:
    """The file's own copy of the responses is the row's, in its order."""
    if not read.texts:
        return
    told = [read.texts[place] for place in order] if len(read.texts) == len(order) else []
    own = ["".join(message.content for message in response) for response in row.responses]
    if any(own) and told != own:
        problem = f"the texts are not those of {_named(row.key)}: the rewards belong to other responses"
        raise _bad(read.row, read.key_fields[1], problem, "use the rewards of these very rows")


def _number(read: RewardLine, place: int, value: object) -> tuple[float, str]:
    """A reward, NaN where it is missing, and why as far as the value says it."""
    if value is None:
        return math.nan, ""
    if read.script and isinstance(value, float) and not math.isfinite(value):
        return math.nan, "nan: the script saved NaN" if math.isnan(value) else f"not_finite: the script saved {value}"
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST_REWARD:
        problem = f"is {reprlib.repr(value)}, not a finite number that float32 can hold"
        raise _bad(read.row, read.place(place), problem, "write a number, or null where no reward could be computed")
    return float(value), ""


def _named(key: Key) -> str:
    return f"{key[0]} / {key[1]}"


def _missing_or(line: TableRow, field: str, wanted: str) -> str:
    return f"is {reprlib.repr(line.fields[field])}, not {wanted}" if field in line.fields else "is missing"


def _bad(line: TableRow, field: str, problem: str, fix: str) -> BenchmarkError:
    return BenchmarkError(problem, where=f"{line.where}, field {field!r}", fix=fix)
