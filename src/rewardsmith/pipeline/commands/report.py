"""`rewardsmith report`: the records of a run and the texts of its rows → report.html, summary.md, the model card.

    page = report_job(Path("runs/demo"), events)
    page = report_job(Path("runs/demo"), events, against=Path("runs/last"))     with what changed since that run

Evaluations keep no texts: they are read again from where they came from (`row_texts.py`). What cannot be found, a data
set of the hub without network for instance, is a note on the page, never an error. `report.texts: false` in the spec,
or `texts=False`, leaves all texts of users out; what reads data and benchmarks is imported where texts are wanted.
"""

from __future__ import annotations

from pathlib import Path

from rewardsmith.errors import UserError
from rewardsmith.modeling.faults import known_faults
from rewardsmith.pipeline.directory import MODEL
from rewardsmith.pipeline.events import Events
from rewardsmith.records.evaluation import RESULTS_FILE, ROWS_FILE, BenchmarkResult
from rewardsmith.records.files import read_jsonl, read_record
from rewardsmith.records.training import LabelNoiseRecord
from rewardsmith.report.card import RECORD, write_card
from rewardsmith.report.html import check_pages, write_report
from rewardsmith.report.sections.rows import RowText, RowTexts, pair_place
from rewardsmith.spec import load_spec

_NOISE_FILE = "label_noise.json"
COMPARED_ROWS = 5
"""Flipped rows that a comparison with another run shows, each way."""


def report_job(run: Path, events: Events, *, texts: bool | None = None, against: Path | None = None) -> Path:
    """Write report.html and summary.md; returns the former.

    Args:
        texts: whether texts of users stand in them; None as the run's spec says.
        against: another run or evaluation; what changed since is written to comparison.json first.

    Raises:
        UserError: there is no run, a record cannot be read, a page there is somebody else's, or the two share no rows.
    """
    check_pages(run)
    if against is not None:
        from rewardsmith.pipeline.commands.compare import compare_job

        compare_job([against, run], events, seed=17, resamples=10_000, shown=COMPARED_ROWS, out=run)
    if (run / MODEL / RECORD).is_file():
        write_card(run / MODEL, run)
    wanted = wants_texts(run) if texts is None else texts
    return write_report(run, texts_of_run(run, events) if wanted else None)


def texts_of_run(run: Path, events: Events) -> RowTexts:
    """Texts of all evaluated rows and of the training pairs in doubt, as far as they are at hand."""
    from rewardsmith.pipeline.commands.row_texts import Origin, find_rows, text_of

    origins, wanted = [], set()
    for file in sorted((run / "eval").glob(f"*/{RESULTS_FILE}")):
        origins.append(Origin(read_record(file, BenchmarkResult), run))
        rows = file.with_name(ROWS_FILE)
        wanted |= {row["digest"] for row in read_jsonl(rows) if row.get("digest")} if rows.exists() else set()
    rows_found, reasons = find_rows(wanted, origins, events) if wanted else ({}, [])
    found = {
        digest: RowText(text_of(row.prompt), tuple(map(text_of, row.chosen)), tuple(map(text_of, row.rejected)))
        for digest, row in rows_found.items()
    }
    pairs, why = _pairs_in_doubt(run, events)
    return RowTexts({**found, **pairs}, tuple(dict.fromkeys([*reasons, *why])))


def _pairs_in_doubt(run: Path, events: Events) -> tuple[dict[str, RowText], list[str]]:
    path = run / _NOISE_FILE
    if not path.exists():
        return {}, []
    from rewardsmith.pipeline.commands.row_texts import text_of, training_pairs

    places = {(pair.file, pair.row, pair.id) for pair in read_record(path, LabelNoiseRecord).suspects}
    try:
        pairs = training_pairs(run, places, events)
    except UserError as error:
        return {}, [f"{error.where}: {error.problem}" if error.where else error.problem]
    return {
        pair_place(*where): RowText(text_of(pair.prompt), (text_of(pair.chosen),), (text_of(pair.rejected),))
        for where, pair in pairs.items()
    }, []


def wants_texts(run: Path) -> bool:
    """Whether the run's spec lets texts of users into its report."""
    path = run / "spec.yaml"
    return load_spec(path).report.texts if path.is_file() else True


def known_faults_of(run: Path) -> tuple[str, ...]:
    """What is known to be wrong with a run's model because of the version of Rewardsmith that made it, in words."""
    return tuple(map(str, known_faults(run / MODEL)))
