"""Results as a notebook shows them: small tables with their style inside, for `_repr_html_`.

    scores_html(result)                          one benchmark
    verdict_html(passed, gates, results)         a whole run

The numbers are those of the report; texts from data are escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from markupsafe import Markup

from rewardsmith.records.evaluation import BenchmarkResult
from rewardsmith.records.run import GatesRecord
from rewardsmith.report.formatting import State
from rewardsmith.report.sections.scores import ScoreRow, score_table
from rewardsmith.report.sections.verdict import gate_rows

_COLOURS: Mapping[State, str] = {"good": "#1a7f4b", "warn": "#9a6700", "bad": "#c1342b", "open": "inherit"}
_TABLE = Markup('<table style="border-collapse:collapse;font-variant-numeric:tabular-nums">{}</table>')
_HEAD = Markup('<th style="text-align:{};padding:2px 10px">{}</th>')
_CELL = Markup('<td style="text-align:{};padding:2px 10px;color:{}">{}</td>')
_ROW = Markup("<tr>{}</tr>")
_TITLE = Markup("<p><b>{}</b>{}</p>")


def scores_html(result: BenchmarkResult) -> Markup:
    """A benchmark's subsets and average: score, 95 % interval, random and length-only baselines, reading; per cent."""
    table = score_table(result.benchmark, result)
    rows = [*table.rows, *([table.average] if table.average else [])]
    heads = ("subset", "n", "score", "95 % interval", *table.baseline_names, "reading")
    title = _TITLE.format(table.title, f" ({table.source})" if table.source else "")
    return title + _table(heads, (_score_row(row) for row in rows))


def verdict_html(passed: bool, gates: GatesRecord, results: Mapping[str, BenchmarkResult]) -> Markup:
    """The verdict, what speaks against it, and every benchmark."""
    colour = _COLOURS["good" if passed else "bad"]
    word = Markup('<span style="color:{}">{}</span>').format(colour, "PASS" if passed else "FAIL")
    against = [row for row in gate_rows(gates) if row.verdict != "PASS"]
    reasons = [Markup('<li style="color:{}">{}</li>').format(_COLOURS[row.state], row.message) for row in against]
    listed = Markup("<ul>{}</ul>").format(Markup().join(reasons)) if reasons else Markup()
    return _TITLE.format(word, "") + listed + Markup().join(scores_html(result) for result in results.values())


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
