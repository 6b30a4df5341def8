"""Rewards that were computed elsewhere: `--rewards FILE`.

    rewards = read_rewards(file, rows)       one array a row, in the rows' order, NaN where there is no reward
    offline = read_offline(file, rows)       these, with the reasons of the missing ones and a note for reports

A file has one line a row of the benchmark, in a form that people have (`FORMS`); the field that holds its rewards tells
which, and there must be exactly one:

    ours          {"id", "subset", "rewards": [chosen…, rejected…], "n_chosen"}             rows.jsonl, or a table
    run_v2.py     {"id", "subset", "scores": [[1.5], [0.2], …], "num_correct", …}           RewardBench 2
    run_rm.py     {"id", "subset", "scores_chosen": 1.5, "scores_rejected": [0.2], …}       RewardBench
    RM-Bench      {"id", "domain", "score_chosen": [3 of them], "score_rejected": [3], …}   its scripts/run_rm.py
    JudgeBench    {"pair_id", "label", "judgments": [{"judgment": {"scores": [A, B]}}]}     its run_judge.py
    RMB           {"pair_uid", "category_path", "chosen_reward", "reject_reward"}           its my_run_rm.py
    PPE           {"question_id", "score_1", "score_2", …}; best of K: "model_name", to "score_32"

The first three may also be one JSON object that holds a list for each column (and the model's name as plain text), as
allenai/reward-bench saves them under `eval-set-scores/`; a folder is read file by file. A reward may stand in a list of
its own, as a model's logits do. Of our own form `n_chosen`, `result` and `reasons` are optional, and `result` is never
read. PPE's repository was not at hand: its form is that of the published results (lmarena-ai/ppe-result-data, one JSON
list under a folder of each data set's name) as other projects read them.

`null` is a reward that could not be computed: the benchmark's protocol decides its score, and gates fail. In our own
form everything else that is not a finite number is an error that names the row; scripts of others write NaN and
Infinity where a model overflows, and these are missing rewards, counted in the note. Every row that is missing,
unknown or there twice is an error; so is a row whose texts are not the benchmark's, where the file repeats them.
"""

from __future__ import annotations

import math
import re
import reprlib
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rewardsmith.data.files import LONGEST_FILE
from rewardsmith.errors import BenchmarkError
from rewardsmith.evaluation.contract import EvalRow, Floats, published_order
from rewardsmith.evaluation.rows import TableRow, bad, missing_or, read_table
from rewardsmith.records.bounded import inflated, parse_json
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
        key = _row_key(read, by_id)
        if key in found:
            problem = f"{_named(key)} stands twice: first in {found[key].where}"
            raise bad(read.row, read.key_fields[1], problem, "keep one of the two rows")
        if key not in wanted:
            if read.others_allowed:
                others += 1
                continue
            problem, fix = f"{_named(key)} is not a row of the benchmark", "remove it, or correct subset and id"
            raise bad(read.row, read.key_fields[1], problem, fix)
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


def _row_key(read: RewardLine, by_id: dict[str, list[Key]]) -> Key:
    """(subset, id). Where a script says no subset, or one of its own, the id must be that of one row alone."""
    line, (subset, row_id) = read.row, read.key
    subset_field, id_field = read.key_fields
    if isinstance(row_id, bool) or not isinstance(row_id, str | int):
        raise bad(line, id_field, missing_or(line, id_field, "a string"), "write the benchmark's subset and id")
    if isinstance(subset, str) and subset:
        return subset, str(row_id)
    keys = by_id.get(str(row_id), [])
    if not read.script or len(keys) > 1:
        problem = missing_or(line, subset_field, "a string")
        if read.script and subset_field not in line.fields:
            problem = f"is missing, and the id {row_id} stands in several subsets: {', '.join(key[0] for key in keys)}"
        raise bad(line, subset_field, problem, "write the benchmark's subset and id")
    return keys[0] if keys else ("", str(row_id))


def _rewards(read: RewardLine, row: EvalRow) -> tuple[Floats, dict[int, str]]:
    """The row's rewards in the order of its responses, and why some are missing."""
    values, field = read.rewards, read.places[0]
    if not isinstance(values, list):
        raise bad(read.row, field, missing_or(read.row, field, "a list"), "write [chosen, rejected, ...]")
    if len(values) != len(row.responses):
        problem = f"has {len(values)} rewards, but the row has {len(row.responses)} responses"
        raise bad(read.row, field, problem, "give one reward a response, chosen first")
    if read.count is not None and read.count[1] != len(row.chosen):
        name, count = read.count
        problem = f"is {reprlib.repr(count)}, but the row has {len(row.chosen)} chosen responses"
        raise bad(read.row, name, problem, "use the rewards of these very rows")
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


def _check_texts(read: RewardLine, row: EvalRow, order: Sequence[int]) -> None:
    """The file's own copy of the responses is the row's, in its order."""
    if not read.texts:
        return
    told = [read.texts[place] for place in order] if len(read.texts) == len(order) else []
    own = ["".join(message.content for message in response) for response in row.responses]
    if any(own) and told != own:
        problem = f"the texts are not those of {_named(row.key)}: the rewards belong to other responses"
        raise bad(read.row, read.key_fields[1], problem, "use the rewards of these very rows")


def _number(read: RewardLine, place: int, value: object) -> tuple[float, str]:
    """A reward, NaN where it is missing, and why as far as the value says it."""
    if value is None:
        return math.nan, ""
    if read.script and isinstance(value, float) and not math.isfinite(value):
        return math.nan, "nan: the script saved NaN" if math.isnan(value) else f"not_finite: the script saved {value}"
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST_REWARD:
        problem = f"is {reprlib.repr(value)}, not a finite number that float32 can hold"
        raise bad(read.row, read.place(place), problem, "write a number, or null where no reward could be computed")
    return float(value), ""


def _named(key: Key) -> str:
    return f"{key[0]} / {key[1]}"


COUNTS = ("n_chosen", "num_correct")
_RM_BENCH_FILE = re.compile(r"(chat|code|math|safety-refuse|safety-response)_filtered")


@dataclass(frozen=True, slots=True)
class RewardLine:
    """One row of a file of rewards.

    Attributes:
        row: the row itself.
        script: who wrote it; empty for our own form.
        key: (subset, id) as far as the file says them; an empty subset is to be found by the id.
        rewards: as they stand there; `places` names their fields for messages.
        count: the number of chosen responses that the file states, and its field.
        as_published: the rewards stand in the order in which the data set has its responses, not chosen first.
        texts: the responses in the order of the rewards, where the file repeats them: they must be these rows'.
        missing: why the row has no rewards at all.
        others_allowed: the script also scores rows that the benchmark leaves out (PPE: ties).
    """

    row: TableRow
    script: str
    key: tuple[object, object]
    key_fields: tuple[str, str]
    rewards: object
    places: tuple[str, ...]
    count: tuple[str, object] | None = None
    as_published: bool = False
    texts: tuple[str, ...] = ()
    missing: str = ""
    others_allowed: bool = False

    def place(self, number: int) -> str:
        """Where the reward of that number stands."""
        return self.places[number] if len(self.places) > 1 else f"{self.places[0]}[{number}]"


def read_reward_lines(source: str) -> Iterator[RewardLine]:
    """The lines of a file, or of a folder's files, in order.

    Raises:
        BenchmarkError: a line holds rewards in no known field or in several, or columns differ in length.
        DataError: the file cannot be read.
    """
    columns = _columns(source)
    for row in read_table(source, pattern="**/*").rows if columns is None else _rows(source, columns):
        yield _line(row)


def _columns(source: str) -> dict[str, Any] | None:
    """The object of columns that reward-bench saves; None for every other file."""
    path = Path(source)
    if not source.removesuffix(".gz").endswith(".json") or not path.is_file():
        return None
    try:
        with path.open("rb") as raw:
            handle = inflated(raw, path.stat().st_size) if path.suffix == ".gz" else raw
            content = parse_json(handle.read(LONGEST_FILE))
    except (ValueError, OSError, EOFError, zlib.error):
        return None  # `read_table` says what is wrong with it, or reads it line by line
    table = isinstance(content, dict) and all(isinstance(content.get(name), list) for name in ("id", "subset"))
    return content if table else None


def _rows(source: str, columns: Mapping[str, Any]) -> Iterator[TableRow]:
    lists = {name: column for name, column in columns.items() if isinstance(column, list)}
    length = len(lists["id"])
    for name, column in lists.items():
        if len(column) != length:
            raise BenchmarkError(
                f"has {len(column)} values, but the column 'id' has {length}",
                where=f"{source}, column {name!r}",
                fix="save the file again: every column has one value a row",
            )
    for number in range(length):
        yield TableRow(
            where=f"{source}: row {number + 1}", fields={name: column[number] for name, column in lists.items()}
        )


def _line(row: TableRow) -> RewardLine:
    told = [field for field in FORMS if field in row.fields]
    if len(told) != 1:
        found = "is missing" if not told else f"stands beside {told[1]!r}: only one of them can be meant"
        raise BenchmarkError(
            found,
            where=f"{row.where}, field {told[0] if told else 'rewards'!r}",
            fix='give each row "rewards": [chosen, rejected, ...], or what the scripts of RewardBench, RM-Bench, '
            "JudgeBench, RMB or PPE save",
        )
    return FORMS[told[0]](row)


def _ours(row: TableRow) -> RewardLine:
    return RewardLine(
        row, "", _key(row, "subset", "id"), ("subset", "id"), row.fields["rewards"], ("rewards",), _count(row)
    )


def _run_v2(row: TableRow) -> RewardLine:
    rewards = _logits(row.fields["scores"])
    return RewardLine(
        row, "RewardBench 2", _key(row, "subset", "id"), ("subset", "id"), rewards, ("scores",), _count(row)
    )


def _run_rm(row: TableRow) -> RewardLine:
    places = ("scores_chosen", "scores_rejected")
    rewards = [_out_of_list(row.fields.get(place)) for place in places]
    return RewardLine(row, "RewardBench", _key(row, "subset", "id"), ("subset", "id"), rewards, places, _count(row))


def _rm_bench(row: TableRow) -> RewardLine:
    """The domain stands in the row (`total_dataset.json`) or begins the file's name (`chat_filtered_MODEL_….json`)."""
    sides = [row.fields.get(field) for field in ("score_chosen", "score_rejected")]
    whole = all(isinstance(side, list) for side in sides)
    rewards = [_out_of_list(value) for side in sides for value in side] if whole else sides[0]  # type: ignore[union-attr]
    named = _RM_BENCH_FILE.match(Path(row.file).name)
    domain = row.fields.get("domain") or (named[1] if named else "")
    places = tuple(f"{field}[{place}]" for field in ("score_chosen", "score_rejected") for place in range(3))
    texts = [row.fields.get(field) for field in ("chosen", "rejected")]
    said = tuple(text for side in texts for text in side) if all(isinstance(side, list) for side in texts) else ()  # type: ignore[union-attr]
    key = (domain, row.fields.get("id"))
    return RewardLine(row, "RM-Bench", key, ("domain", "id"), rewards, places, texts=_all_texts(said))


def _judgebench(row: TableRow) -> RewardLine:
    """The first game's scores: of response A, then of B. A second game has them in the other order."""
    judgments = row.fields["judgments"]
    first = judgments[0] if isinstance(judgments, list) and judgments else None
    judgment = first.get("judgment") if isinstance(first, dict) else None
    scores = judgment.get("scores") if isinstance(judgment, dict) else None
    failed = isinstance(judgments, list) and bool(judgments) and first is None
    if scores is None and not failed:
        raise BenchmarkError(
            "holds no scores: verdicts of a language model are no rewards",
            where=f"{row.where}, field 'judgments[0].judgment.scores'",
            fix="name the output of a reward model (judge_name=reward_model)",
        )
    return RewardLine(
        row,
        "JudgeBench",
        ("", row.fields.get("pair_id")),
        ("source", "pair_id"),
        [None, None] if failed else scores,
        ("judgments[0].judgment.scores",),
        as_published=True,
        texts=_all_texts([row.fields.get(field) for field in ("response_A", "response_B")]),
        missing="failed: the script could not judge the pair" if failed else "",
    )


def _rmb(row: TableRow) -> RewardLine:
    path = row.fields.get("category_path")
    parts = path.split("/") if isinstance(path, str) else []
    kinds = {"Pairwise_set": "pairwise", "BoN_set": "best-of-N"}
    subset = f"{parts[1]}, {kinds[parts[0]]}" if len(parts) > 1 and parts[0] in kinds else ""
    places = ("chosen_reward", "reject_reward")
    rewards = [_out_of_list(row.fields.get(place)) for place in places]
    return RewardLine(row, "RMB", (subset, row.fields.get("pair_uid")), ("category_path", "pair_uid"), rewards, places)


def _ppe(row: TableRow) -> RewardLine:
    """As many scores as there are from `score_1` on; the data set by `benchmark`, else by the path."""
    places: list[str] = []
    while f"score_{len(places) + 1}" in row.fields:
        places.append(f"score_{len(places) + 1}")
    question, model = row.fields.get("question_id"), row.fields.get("model_name")
    name = f"{question} {model}" if model and question is not None else question
    texts = [row.fields.get(f"response_{number + 1}") for number in range(len(places))]
    rewards = [_out_of_list(row.fields[place]) for place in places]
    key_fields = ("benchmark", "question_id")
    return RewardLine(
        row, "PPE", (row.fields.get("benchmark") or _ppe_set(row), name), key_fields, rewards, tuple(places),
        as_published=True, texts=_all_texts(texts), others_allowed=True,
    )  # fmt: skip


def _ppe_set(row: TableRow) -> str:
    """The data set that a folder or file is named after; empty where none is."""
    for part in reversed(Path(row.file).parts):
        words = "_".join(re.findall("[a-z0-9]+", part.lower()))
        for name in ("human_preference_v1", "mmlu_pro", "gpqa", "ifeval", "mbpp_plus", "math"):
            if name in words:
                return name if name.startswith("human") else f"{name}_best_of_k"
    return ""


FORMS: Mapping[str, Callable[[TableRow], RewardLine]] = {
    "rewards": _ours,
    "scores": _run_v2,
    "scores_chosen": _run_rm,
    "score_chosen": _rm_bench,
    "judgments": _judgebench,
    "chosen_reward": _rmb,
    "score_1": _ppe,
}
"""The field that tells a form → what reads it."""


def _key(row: TableRow, subset: str, name: str) -> tuple[object, object]:
    return row.fields.get(subset), row.fields.get(name)


def _count(row: TableRow) -> tuple[str, object] | None:
    counts = [(field, row.fields[field]) for field in COUNTS if row.fields.get(field) is not None]
    return counts[0] if counts else None


def _logits(values: object) -> object:
    return [_out_of_list(value) for value in values] if isinstance(values, list) else values


def _out_of_list(value: object) -> object:
    """A logit as `[1.5]` is 1.5."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _all_texts(texts: Any) -> tuple[str, ...]:
    """The texts, or nothing where one of them is not there."""
    return tuple(texts) if texts and all(isinstance(text, str) for text in texts) else ()
