"""View → one self-contained HTML page; and the pages of a run directory, `report.html` and `summary.md`.

    write_report(run_dir, texts)         read the records, write both pages
    served_page(run_dir, texts, stamp)   the page as `rewardsmith open` gives it: it asks its own server for news
    render_html(report)                  the page of a view; opens from disk and asks nothing of any network

The texts of rows come from the pipeline (`sections.rows.RowTexts`); without them no text of a user stands on the pages.

Templates, style sheet and scripts lie in `templates/`. Jinja escapes everything that is not `Markup`; the drawings are
the only `Markup`, and they escape what they hold. The page has no `style` attribute, no event attribute and no address
outside itself; its Content-Security-Policy allows exactly its own style sheet and its two scripts, by hash. Rows travel
as base64 in elements that no browser runs, and reach the page as text nodes.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache, partial
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from rewardsmith import __version__
from rewardsmith.errors import RunDirectoryError
from rewardsmith.records.files import is_record, write_text
from rewardsmith.report import svg
from rewardsmith.report.blocks import Lines, Noted, Sign, Span
from rewardsmith.report.formatting import CODE, count
from rewardsmith.report.markdown import render_markdown
from rewardsmith.report.reading import read_run, without_texts
from rewardsmith.report.sections.rows import RowTexts
from rewardsmith.report.view import Report, view

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


def _hash_source(content: str) -> str:
    """A Content-Security-Policy source for one inline element: the hash of exactly its text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


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


def in_words(text: str) -> Markup:
    """A message: escaped, with what stands between backticks as code."""
    return Markup(CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped first


_TESTS: dict[str, Any] = {
    kind.__name__.lower(): partial(lambda kind, value: isinstance(value, kind), kind)
    for kind in (Noted, Span, Sign, Lines, Markup)
}
