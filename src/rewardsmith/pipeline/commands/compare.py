"""`rewardsmith compare`: evaluations on disk → comparison.json, comparison.md.

    record = compare_job([Path("runs/a"), Path("runs/b")], events, out=Path("compared"))

A model is a run directory (its `eval/*/`), one evaluation (a folder with results.json and rows.jsonl), or a folder of
such. Benchmarks are matched by their key: the folder's name in a run, the benchmark's name elsewhere. No model is
loaded; texts of rows that flipped are read again from where they came from (`row_texts.py`). Where each of the folders
holds an `attack.json`, attacks are compared too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from rewardsmith.attacking.results import ATTACK_FILE, compare_attacks
from rewardsmith.errors import RunDirectoryError, UserError
from rewardsmith.evaluation.benchmarks import find_benchmark
from rewardsmith.evaluation.comparison import (
    Compared,
    Evaluated,
    compare_benchmark,
    compare_overall,
    of_ranking,
    rank_overall,
)
from rewardsmith.evaluation.contract import EvalRow
from rewardsmith.pipeline.commands.row_texts import Origin, find_rows, text_of
from rewardsmith.pipeline.events import Events
from rewardsmith.records.attack import AttackRecord
from rewardsmith.records.bounded import BeyondLimitError, regular
from rewardsmith.records.comparison import (
    AttackComparison,
    BenchmarkComparison,
    ComparedModel,
    ComparisonRecord,
    FlippedRow,
)
from rewardsmith.records.evaluation import RESULTS_FILE, ROWS_FILE, BenchmarkResult, RowResult
from rewardsmith.records.files import guard_folder, read_record, write_json, write_text
from rewardsmith.report.markdown import section_page
from rewardsmith.report.sections.comparison import comparison_section
from rewardsmith.spec.evaluation import HELD_OUT

COMPARISON_FILE, COMPARISON_PAGE = "comparison.json", "comparison.md"


@dataclass(frozen=True, slots=True)
class ComparedFolder:
    """One model's evaluations on disk, by key; `run` says that the folder is a run directory with a spec."""

    name: str
    path: Path
    run: bool
    evaluations: dict[str, Path]


def compare_job(
    paths: Sequence[Path], events: Events, *, seed: int, resamples: int, shown: int, out: Path | None = None
) -> ComparisonRecord:
    """Compare the evaluations in these folders, each with the first one; write the record and a page into `out`.

    Raises:
        UserError: fewer than two folders, a folder without evaluations, files that cannot be read, or nothing shared.
    """
    if len(paths) < 2:
        raise UserError("compare takes two or more folders", where="RUN", fix="rewardsmith compare runs/old runs/new")
    if out is not None:
        guard_folder(out, (COMPARISON_FILE, COMPARISON_PAGE), COMPARISON_FILE)
    folders = [_folder(path, name) for path, name in zip(paths, _names(paths), strict=True)]
    keys = [key for key in folders[0].evaluations if all(key in folder.evaluations for folder in folders)]
    compared: dict[str, Compared] = {}
    not_shared = _missing(folders)
    for key in keys:
        found = _compare(key, folders, seed, resamples, shown)
        if isinstance(found, str):
            not_shared.append(found)
        else:
            compared[key] = found
    attacks = _attacks(folders, not_shared, seed, resamples)
    if not compared and not attacks:
        raise UserError(
            f"share nothing that could be compared: {' '.join(not_shared)}",
            where=" and ".join(str(path) for path in paths),
            fix="evaluate them on the same rows, for instance with `rewardsmith evaluate --benchmark … --data …`",
        )
    record = _record(folders, compared, not_shared, events, seed, resamples).model_copy(update={"attacks": attacks})
    if out is not None:
        write_json(out / COMPARISON_FILE, record)
        section = comparison_section(record)
        if section is not None:
            write_text(out / COMPARISON_PAGE, section_page(section))
    return record


def _record(
    folders: Sequence[ComparedFolder],
    compared: dict[str, Compared],
    not_shared: Sequence[str],
    events: Events,
    seed: int,
    resamples: int,
) -> ComparisonRecord:
    names = [folder.name for folder in folders]
    ranking = rank_overall(list(compared.values()), names) if len(compared) > 1 else ()
    origins = {key: [_origin(folder, key) for folder in folders] for key in compared}
    return ComparisonRecord(
        models=tuple(
            ComparedModel(name=folder.name, path=str(folder.path), model=_model(folder, next(iter(compared), "")))
            for folder in folders
        ),
        benchmarks={key: with_texts(found.record, origins[key], events) for key, found in compared.items()},
        not_shared=tuple(not_shared),
        overall=compare_overall(compared, names) if compared else (),
        ranking=ranking,
        ranking_words=of_ranking(ranking, f"the mean of {len(compared)} benchmarks"),
        seed=seed,
        resamples=resamples,
    )


def _model(folder: ComparedFolder, key: str) -> str:
    return _result(folder, key).model if key else read_record(folder.path / ATTACK_FILE, AttackRecord).model


def _attacks(
    folders: Sequence[ComparedFolder], not_shared: list[str], seed: int, resamples: int
) -> tuple[AttackComparison, ...]:
    """Each attack beside the first one; what cannot be compared is added to `not_shared`."""
    there = [folder for folder in folders if (folder.path / ATTACK_FILE).is_file()]
    if there and len(there) < len(folders):
        without = ", ".join(folder.name for folder in folders if folder not in there)
        not_shared.append(f"attack: not attacked in {without}.")
    if len(there) < len(folders):
        return ()
    records = [read_record(folder.path / ATTACK_FILE, AttackRecord) for folder in there]
    found = []
    for folder, record in list(zip(there, records, strict=True))[1:]:
        names, pair = (there[0].name, folder.name), (records[0], record)
        one = compare_attacks(names, pair, seed=seed, resamples=resamples)
        if isinstance(one, str):
            not_shared.append(one)
        else:
            found.append(one)
    return tuple(found)


def _compare(key: str, folders: Sequence[ComparedFolder], seed: int, resamples: int, shown: int) -> Compared | str:
    """One benchmark, or why it cannot be compared."""
    models = [Evaluated(folder.name, _result(folder, key), _shared_rows(folder.evaluations[key])) for folder in folders]
    kinds = {model.result.benchmark for model in models}
    if len(kinds) > 1:
        return f"{key}: scored by the rules of {' and '.join(sorted(kinds))}."
    kind = find_benchmark(kinds.pop())
    rules = [kind.scored_by(model.result.protocol) for model in models]
    upstream = [model.name for model, rule in zip(models, rules, strict=True) if rule.protocol != kind.protocol]
    if 0 < len(upstream) < len(models):
        return (
            f"{key}: missing rewards count as the benchmark's own code has it in {', '.join(upstream)} alone "
            "(--missing upstream); evaluate all models in one way."
        )
    found = compare_benchmark(rules[0], models, seed=seed, resamples=resamples, shown=shown)
    return found if found is not None else f"{key}: the models have no row in common."


def _folder(path: Path, name: str) -> ComparedFolder:
    """The evaluations of a folder.

    Raises:
        RunDirectoryError: there is none.
    """
    if (path / RESULTS_FILE).is_file():
        result = read_record(path / RESULTS_FILE, BenchmarkResult)
        return ComparedFolder(name, path, False, {HELD_OUT if result.held_out else result.benchmark: path})
    for parent in (path / "eval", path):
        found = {file.parent.name: file.parent for file in sorted(parent.glob(f"*/{RESULTS_FILE}"))}
        if found:
            return ComparedFolder(name, path, parent != path, found)
    if (path / ATTACK_FILE).is_file():
        return ComparedFolder(name, path, False, {})
    problem = "holds no evaluation" if path.is_dir() else "is not there"
    raise RunDirectoryError(
        problem, where=str(path), fix="name a run directory, or a folder with results.json and rows.jsonl"
    )


def _names(paths: Sequence[Path]) -> list[str]:
    """What the models are called: the folders' names, longer where two are equal, numbered where they are the same."""
    short = Counter(path.resolve().name for path in paths)
    named = [path.resolve().name if short[path.resolve().name] == 1 else str(path) for path in paths]
    seen: Counter[str] = Counter()
    names = []
    for name in named:
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return names


def _missing(folders: Sequence[ComparedFolder]) -> list[str]:
    """Benchmarks that only some of the folders have."""
    found = []
    for key in dict.fromkeys(key for folder in folders for key in folder.evaluations):
        without = [folder.name for folder in folders if key not in folder.evaluations]
        if without:
            found.append(f"{key}: not evaluated in {', '.join(without)}.")
    return found


def _result(folder: ComparedFolder, key: str) -> BenchmarkResult:
    return read_record(folder.evaluations[key] / RESULTS_FILE, BenchmarkResult)


def _shared_rows(folder: Path) -> tuple[RowResult, ...]:
    """The rows of one evaluation.

    Raises:
        RunDirectoryError: the file is not there, or a line of it is no row.
    """
    path = folder / ROWS_FILE
    rows = []
    try:
        with regular(path).open(encoding="utf-8") as handle:
            for number, line in enumerate(handle, start=1):
                if line.strip():
                    rows.append(_row(line, f"{path}:{number}"))
    except (OSError, UnicodeDecodeError, BeyondLimitError) as error:
        raise RunDirectoryError(
            "cannot be read", where=str(path), fix="evaluate again: rows.jsonl stands beside results.json"
        ) from error
    return tuple(rows)


def _row(line: str, where: str) -> RowResult:
    try:
        return RowResult.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise RunDirectoryError(
            f"is no row of an evaluation: field {field!r}: {first['msg']}", where=where, fix="evaluate again"
        ) from error


def _origin(folder: ComparedFolder, key: str) -> Origin:
    return Origin(_result(folder, key), folder.path if folder.run else None)


NOT_AT_HAND = "The texts of {count} of the rows that flipped are not at hand"


def with_texts(record: BenchmarkComparison, origins: Sequence[Origin], events: Events) -> BenchmarkComparison:
    """The same record with the texts of its flipped rows, and a note where some are not at hand."""
    flips = [flip for pair in record.pairs for flip in (*pair.gained, *pair.lost)]
    if not flips:
        return record
    texts, reasons = find_rows({flip.digest for flip in flips if flip.digest}, origins, events)
    missing = sum(flip.digest not in texts for flip in flips)
    notes = record.notes
    if missing:
        why = f": {'; '.join(reasons)}" if reasons else ""
        notes = (*notes, f"{NOT_AT_HAND.format(count=f'{missing:,}')}{why}.")
    pairs = tuple(
        pair.model_copy(
            update={side: tuple(_filled(flip, texts) for flip in getattr(pair, side)) for side in ("gained", "lost")}
        )
        for pair in record.pairs
    )
    return record.model_copy(update={"pairs": pairs, "notes": notes})


def _filled(flip: FlippedRow, texts: dict[str, EvalRow]) -> FlippedRow:
    row = texts.get(flip.digest)
    if row is None:
        return flip
    return flip.model_copy(
        update={
            "prompt": text_of(row.prompt),
            "chosen": tuple(text_of(response) for response in row.chosen),
            "rejected": tuple(text_of(response) for response in row.rejected),
        }
    )
