"""The main job and its parts for a notebook or a script: paths and dicts in, results that show themselves out.

    import rewardsmith as rs

    done = rs.run("spec.yaml")                           # or a dict, or a Spec; a notebook shows verdict and tables
    found = rs.evaluate(done.model, "rewardbench2", "six.jsonl.gz")
    model = rs.load(done.model)                          # a folder, or the URL of a server
    rs.score(model, "What is 17 + 25?", ["41", "42"])    # array([-1.2, 3.4])

What these return are the records that the command line writes, with a table for the eye.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from rewardsmith.errors import UserError
from rewardsmith.pipeline.events import Events, Silent, StageName
from rewardsmith.pipeline.job import evaluate_job, run_job
from rewardsmith.protocols import Scorer
from rewardsmith.records.evaluation import BenchmarkResult
from rewardsmith.records.run import GatesRecord
from rewardsmith.report.formatting import State
from rewardsmith.report.sections.scores import ScoreRow, score_table
from rewardsmith.report.sections.verdict import in_order, outcome_message, outcome_state
from rewardsmith.scoring import LocalScorer, RemoteScorer
from rewardsmith.scoring.consumers import Said, answers_to
from rewardsmith.scoring.remote import is_url
from rewardsmith.spec import Spec, load_spec, parse_spec

SpecLike = Spec | Mapping[str, Any] | str | Path


class Printed(Silent):
    """Events as lines on standard error: one when a stage begins, one when it ends."""

    def stage(self, name: StageName, state: Literal["started", "done", "unchanged"], detail: str = "") -> None:
        """Say it."""
        print(f"{name}: {state}{f' ({detail})' if detail else ''}", file=sys.stderr)

    def note(self, text: str) -> None:
        """Say it."""
        print(text, file=sys.stderr)


@dataclass(frozen=True, slots=True, repr=False)
class Run:
    """How a run ended. `folder` has every file of it, `model` the checkpoint, `report` the page to read."""

    passed: bool
    folder: Path
    model: Path
    report: Path
    gates: GatesRecord
    results: Mapping[str, BenchmarkResult]

    def __repr__(self) -> str:
        return f"Run({'passed' if self.passed else 'failed'}, {str(self.folder)!r})"

    def _repr_html_(self) -> str:
        return str(verdict_html(self.passed, self.gates, self.results))


@dataclass(frozen=True, slots=True, repr=False)
class Evaluated:
    """One benchmark's scores; `folder`, where one was asked for, has `results.json` and `rows.jsonl`."""

    result: BenchmarkResult
    folder: Path | None

    def __repr__(self) -> str:
        found = {name: round(subset.score, 4) for name, subset in self.result.subsets.items()}
        return f"Evaluated({self.result.benchmark!r}, average={self.result.average}, {found})"

    def _repr_html_(self) -> str:
        return str(scores_html(self.result))


def run(spec: SpecLike, *, overwrite: bool = False, events: Events | None = None) -> Run:
    """Check, train, evaluate, gates and report: what `rewardsmith run` does.

    Args:
        spec: a file, a dict of its fields, or a `Spec`.
        overwrite: delete another spec's run in the same folder.
        events: told of progress; lines on standard error when None.

    Raises:
        NegativeVerdict: a finding or the margin monitor stopped it; the report is written.
        UserError: spec, data or run directory cannot be used.
    """
    outcome = run_job(_spec(spec), events or Printed(), overwrite=overwrite)
    if outcome is None:
        raise UserError(
            "this is a helping process of a distributed run, which has no result",
            fix="call run in one process, or use `accelerate launch -m rewardsmith run`",
        )
    return Run(outcome.passed, outcome.run, outcome.run / "model", outcome.report, outcome.gates, outcome.results)


def evaluate(
    model: str | Path, benchmark: str, data: str | Path, *, out: str | Path | None = None, events: Events | None = None
) -> Evaluated:
    """Score a checkpoint on one benchmark: what `rewardsmith evaluate` does.

    Args:
        model: a checkpoint folder or hub id.
        benchmark: a name as in the spec: rewardbench2, rm_bench, pairs, best_of_n, …
        data: a file in the benchmark's schema, or a hub id.
        out: a folder for `results.json` and `rows.jsonl`; kept nowhere when None.
        events: told of progress; lines on standard error when None.

    Raises:
        UserError: model or data cannot be used.
    """
    told = events or Printed()
    if out is not None:
        return Evaluated(evaluate_job(None, benchmark, str(data), Path(out), told, model=Path(model)), Path(out))
    with tempfile.TemporaryDirectory() as folder:
        return Evaluated(evaluate_job(None, benchmark, str(data), Path(folder), told, model=Path(model)), None)


def load(model: str | Path, *, device: str = "cpu", token: str | None = None) -> Scorer:
    """What gives rewards: a checkpoint in memory, or a server.

    Args:
        model: a checkpoint folder, a hub id, or the URL of a `rewardsmith serve`.
        device: of a checkpoint: cpu, cuda, cuda:1 or mps.
        token: of a server.

    Raises:
        ModelError: the checkpoint cannot be used.
    """
    return RemoteScorer(str(model), token=token) if is_url(model) else LocalScorer.load(model, device=device)


def score(model: str | Path | Scorer, prompt: Said, responses: Sequence[Said]) -> NDArray[np.float64]:
    """Raw rewards of several responses to one prompt, shape (responses,); NaN where one has no sound rendering.

    Args:
        model: what `load` takes or gives.
        prompt: what the user says, or messages.
        responses: texts of one assistant turn each, or messages.

    Raises:
        DataError: a message is none.
        ModelError: the checkpoint cannot be used, or the server cannot be reached.
    """
    if isinstance(responses, str):
        raise UserError("responses is one text", where="score", fix="give a list: score(model, prompt, [response])")
    scorer = load(model) if isinstance(model, str | Path) else model
    return scorer.score(answers_to(prompt, responses))


def _spec(spec: SpecLike) -> Spec:
    if isinstance(spec, Spec):
        return spec
    return parse_spec(spec) if isinstance(spec, Mapping) else load_spec(Path(spec))


_COLOURS: Mapping[State, str] = {"good": "#1a7f4b", "warn": "#9a6700", "bad": "#c1342b", "open": "inherit"}
_TABLE = Markup('<table style="border-collapse:collapse;font-variant-numeric:tabular-nums">{}</table>')
_HEAD = Markup('<th style="text-align:{};padding:2px 10px">{}</th>')
_CELL = Markup('<td style="text-align:{};padding:2px 10px;color:{}">{}</td>')
_ROW = Markup("<tr>{}</tr>")
_TITLE = Markup("<p><b>{}</b>{}</p>")


def verdict_html(passed: bool, gates: GatesRecord, results: Mapping[str, BenchmarkResult]) -> Markup:
    """The verdict, what speaks against it, and every benchmark, for `_repr_html_`; texts from data are escaped."""
    colour = _COLOURS["good" if passed else "bad"]
    word = Markup('<span style="color:{}">{}</span>').format(colour, "PASS" if passed else "FAIL")
    reasons = [
        Markup('<li style="color:{}">{}</li>').format(_COLOURS[outcome_state(outcome)], outcome_message(outcome))
        for outcome in in_order(gates)
        if outcome.verdict != "PASS"
    ]
    listed = Markup("<ul>{}</ul>").format(Markup().join(reasons)) if reasons else Markup()
    return _TITLE.format(word, "") + listed + Markup().join(scores_html(result) for result in results.values())


def scores_html(result: BenchmarkResult) -> Markup:
    """Subsets and average as in the report: score, 95 % interval, random and length-only baselines, reading."""
    table = score_table(result.benchmark, result)
    rows = [*table.rows, *([table.average] if table.average else [])]
    heads = ("subset", "n", "score", "95 % interval", *table.baseline_names, "reading")
    title = _TITLE.format(table.title, f" ({table.source})" if table.source else "")
    return title + _table(heads, (_score_row(row) for row in rows))


def _score_row(row: ScoreRow) -> Markup:
    interval = f"{row.low} to {row.high}"
    cells = [(row.name, "left"), (row.n, "right"), (row.score, "right"), (interval, "right")]
    cells += [(baseline, "right") for baseline in row.baselines]
    plain = [_CELL.format(side, "inherit", value) for value, side in cells]
    return Markup().join([*plain, _CELL.format("left", _COLOURS[row.state], row.reading)])


def _table(heads: Iterable[str], rows: Iterable[Markup]) -> Markup:
    titles = Markup().join(
        _HEAD.format("left" if place in ("subset", "reading") else "right", place) for place in heads
    )
    return _TABLE.format(Markup().join(_ROW.format(cells) for cells in (titles, *rows)))
