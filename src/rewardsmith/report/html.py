"""View → one self-contained HTML page.

    render_html(report)                  opens from disk: asks nothing of any network
    render_html(report, served="…")      the same page as `rewardsmith open` gives it: it asks its own server for news

Templates, style sheet and scripts lie in `templates/`. Jinja escapes everything that is not `Markup`; the drawings are
the only `Markup`, and they escape what they hold. The page has no `style` attribute, no event attribute and no address
outside itself; its Content-Security-Policy allows exactly its own style sheet and its two scripts, by hash. Rows travel
as base64 in elements that no browser runs, and reach the page as text nodes.

`report.html` and `summary.md` of a run directory.

    write_report(run_dir, texts)            read the records, write both pages
    served_page(run_dir, texts, stamp)      the page as a server gives it, written nowhere

The texts of rows come from the pipeline (`row_items.RowTexts`); without them no text of a user stands on the pages.

A run while it works: which stages are done, which one is at work, and the curves so far.

live_state(manifest, live, now) → LiveState          pure; `rewardsmith open` asks once a second
live_charts(run_dir) → {title: drawing}              the charts of the training section, drawn again

Results as a notebook shows them: small tables with their style inside, for `_repr_html_`.

    scores_html(result)                          one benchmark
    verdict_html(passed, gates, results)         a whole run

The numbers are those of the report; texts from data are escaped.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from rewardsmith import __version__
from rewardsmith.errors import RunDirectoryError
from rewardsmith.records.evaluation import BenchmarkResult
from rewardsmith.records.files import is_record, write_text
from rewardsmith.records.run import GatesRecord, LiveRecord, Manifest, StageRecord
from rewardsmith.report import svg
from rewardsmith.report.blocks import Lines, Noted, Sign, Span
from rewardsmith.report.formatting import CODE, State, capitalised, count, duration, visible
from rewardsmith.report.markdown import render_markdown
from rewardsmith.report.reading import read_run, read_steps, without_texts
from rewardsmith.report.sections.rows import RowTexts
from rewardsmith.report.sections.scores import ScoreRow, score_table
from rewardsmith.report.sections.training import epoch_charts, training_curves
from rewardsmith.report.sections.verdict import in_order, outcome_message, outcome_state
from rewardsmith.report.view import Report, view


def in_words(text: str) -> Markup:
    """A message: escaped, with what stands between backticks as code."""
    return Markup(CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped first


_TESTS: dict[str, Any] = {
    kind.__name__.lower(): partial(lambda kind, value: isinstance(value, kind), kind)
    for kind in (Noted, Span, Sign, Lines, Markup)
}


ROWS_AFTER = "gates"
"""The section after which the rows stand: a script lays them out, so no block does."""

_PAGE_SCRIPTS = ("diff.js", "explorer.js", "page.js")


def render_html(report: Report, served: str = "") -> str:
    """The page. The same view gives the same bytes.

    Args:
        served: what the records were when a server made the page; it then follows the run and fetches whole texts.
    """
    style, theme = _asset("style.css"), _asset("theme.js")
    script = "".join(_asset(name) for name in (*_PAGE_SCRIPTS, *(("live.js",) if served else ())))
    page = _environment().get_template("report.html.j2")
    return page.render(
        report=report,
        navigation=navigation(report),
        rows_after=ROWS_AFTER,
        style=Markup(style),  # noqa: S704 - our own files
        theme=Markup(theme),  # noqa: S704
        script=Markup(script),  # noqa: S704
        policy=_policy(style, theme, script, bool(served)),
        served=served,
        version=__version__,
    )


def navigation(report: Report) -> list[tuple[str, str]]:
    """Anchor and title of every section that the page has, in order."""
    found = [("verdict", "Verdict")]
    for section in report.sections:
        found.append((section.anchor, section.short or section.title))
        if section.anchor == ROWS_AFTER:
            found.append(("explorer", "Rows"))
    return found


def _policy(style: str, theme: str, script: str, served: bool) -> str:
    """What the page may do: nothing but its own style and scripts; a served one may ask its own server."""
    asks = "; connect-src 'self'" if served else ""
    return (
        f"default-src 'none'; script-src '{_hash_source(theme)}' '{_hash_source(script)}'; "
        f"style-src '{_hash_source(style)}'; img-src data:{asks}; base-uri 'none'; form-action 'none'"
    )


@cache
def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(f"templates/{name}").read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("rewardsmith.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(in_words=in_words, sign=svg.sign, count=count)
    environment.tests.update(_TESTS)
    return environment


def _hash_source(content: str) -> str:
    """A Content-Security-Policy source for one inline element: the hash of exactly its text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


REPORT, SUMMARY = "report.html", "summary.md"
_RECORDS = ("manifest.json", "results.json", "watch.json")
_FIRST = 2**14


def write_report(run_dir: Path, texts: RowTexts | None = None) -> Path:
    """Write `report.html` and `summary.md` into a run directory, from the records that are there.

    Args:
        texts: of its rows; None leaves all texts of users out, examples of findings and probes among them.

    Returns:
        The path of `report.html`.

    Raises:
        RunDirectoryError: there is no record, one cannot be read, or the folder cannot be written.
        SpecError: `spec.yaml` cannot be read.
    """
    page, summary = pages(run_dir, texts)
    write_text(run_dir / SUMMARY, summary)
    write_text(run_dir / REPORT, page)
    return run_dir / REPORT


def check_pages(run_dir: Path) -> None:
    """Refuse a folder whose `report.html` or `summary.md` is none of ours: it has no record of ours, nor such a page.

    Raises:
        RunDirectoryError: it has not.
    """
    there = [name for name in (REPORT, SUMMARY) if (run_dir / name).exists()]
    if there and not _is_page(run_dir / REPORT) and not any(is_record(run_dir / name) for name in _RECORDS):
        raise RunDirectoryError(
            f"holds a {there[0]} that is no report of ours",
            where=str(run_dir),
            fix="name another folder, or move the file away",
        )


def _is_page(path: Path) -> bool:
    try:
        with path.open("rb") as handle:
            return b'<meta name="generator" content="rewardsmith ' in handle.read(_FIRST)
    except OSError:
        return False


def pages(run_dir: Path, texts: RowTexts | None) -> tuple[str, str]:
    """Both pages as text, HTML and Markdown, written nowhere. Arguments and errors as `write_report`."""
    report = _report(run_dir, texts)
    return render_html(report), render_markdown(report)


def served_page(run_dir: Path, texts: RowTexts | None, stamp: str) -> str:
    """`report.html` for a server that follows the run.

    Args:
        stamp: says which state of the records this is.

    Raises:
        RunDirectoryError, SpecError: as `write_report`.
    """
    return render_html(_report(run_dir, texts), served=stamp)


def _report(run_dir: Path, texts: RowTexts | None) -> Report:
    records = read_run(run_dir)
    return view(records if texts is not None else without_texts(records), texts)


STAGES: dict[str, str] = {
    "check": "Data contract",
    "train": "Training",
    "labels": "Labels",
    "evaluate": "Evaluation",
    "probe": "Bias probes",
    "attack": "Attack",
    "controls": "Negative controls",
    "gates": "Gates",
}
"""The stages of the main job by the pipeline's names, in order."""
_ASKED = ("attack", "controls")
"""Those that are done only where they are asked for."""

_SVG = "http://www.w3.org/2000/svg"
_LEAST = 5.0  # seconds after which a rate says something

StageState = Literal["good", "bad", "open", "now"]


@dataclass(frozen=True, slots=True)
class LiveStage:
    """One stage: its state, and the word for it ("done in 9.0 s", "at work", "not yet")."""

    name: str
    title: str
    state: StageState
    word: str


@dataclass(frozen=True, slots=True)
class LiveState:
    """`running` while a process works in the run; `status` says in a sentence what it does."""

    running: bool
    status: str
    stages: tuple[LiveStage, ...]
    done: int = 0
    total: int = 0


def live_state(manifest: Manifest | None, live: LiveRecord | None, now: float) -> LiveState:
    """What a watcher sees.

    Args:
        live: None where no process works in the run.
        now: seconds since 1970.
    """
    records = manifest.stages if manifest else {}
    there = [name for name in STAGES if name not in _ASKED or name in records or (live and live.stage == name)]
    stages = tuple(_stage(name, records.get(name), live) for name in there)
    if live is None:
        return LiveState(False, _ended(manifest), stages)
    return LiveState(True, _doing(live, now), stages, live.done, live.total)


def _stage(name: str, record: StageRecord | None, live: LiveRecord | None) -> LiveStage:
    if live and live.stage == name:
        return LiveStage(name, STAGES[name], "now", "at work")
    if record is None:
        return LiveStage(name, STAGES[name], "open", "not yet" if live else "not run")
    if record.state != "done":
        return LiveStage(name, STAGES[name], "bad", f"{record.state} after {duration(record.seconds)}")
    return LiveStage(name, STAGES[name], "good", f"done in {duration(record.seconds)}")


def _doing(live: LiveRecord, now: float) -> str:
    title = STAGES.get(live.stage, capitalised(live.stage)) or "Getting ready"
    spent = max(0.0, now - live.since)
    if not live.total:
        return f"{title}: {duration(spent)}."
    left = ""
    if live.seconds_left is not None:
        left = f", about {duration(live.seconds_left)} left"
    elif live.done and live.done < live.total and spent > _LEAST:
        left = f", about {duration(spent * (live.total - live.done) / live.done)} left"
    part = f", micro-batch {live.part:,} of {live.parts:,} of the next" if live.parts else ""
    speed = f", {live.tokens_per_second:,.0f} tokens/s" if live.tokens_per_second else ""
    return f"{title}: {visible(live.label, 80)} {live.done:,} of {live.total:,}{part}{speed}{left}."


def _ended(manifest: Manifest | None) -> str:
    verdict = manifest.verdict if manifest else "unfinished"
    if verdict == "unfinished":
        return "No process works in this run. Give the same command again to continue it."
    return f"The run has ended: {verdict}."


def live_charts(run_dir: Path) -> dict[str, str]:
    """The training curves of what has been recorded so far, by title, as SVG documents.

    Raises:
        RunDirectoryError: metrics.jsonl cannot be read.
    """
    charts = epoch_charts(training_curves(read_steps(run_dir)), None)
    return {chart.title: _document(str(chart.drawing)) for chart in charts}


def _document(drawing: str) -> str:
    """A drawing as XML of its own."""
    return f'<svg xmlns="{_SVG}"{drawing.removeprefix("<svg")}'


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
    reasons = [
        Markup('<li style="color:{}">{}</li>').format(_COLOURS[outcome_state(outcome)], outcome_message(outcome))
        for outcome in in_order(gates)
        if outcome.verdict != "PASS"
    ]
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
