"""`report.html` and `summary.md` of a run directory.

    write_report(run_dir, texts)            read the records, write both pages
    served_page(run_dir, texts, stamp)      the page as a server gives it, written nowhere

The texts of rows come from the pipeline (`row_items.RowTexts`); without them no text of a user stands on the pages.
"""

from __future__ import annotations

from pathlib import Path

from rewardsmith.records import write_text
from rewardsmith.report.html import render_html
from rewardsmith.report.markdown import render_markdown
from rewardsmith.report.reading import read_run, without_texts
from rewardsmith.report.row_items import RowTexts
from rewardsmith.report.view import Report, view

REPORT, SUMMARY = "report.html", "summary.md"


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
