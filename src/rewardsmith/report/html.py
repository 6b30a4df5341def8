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
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib import resources
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from rewardsmith import __version__
from rewardsmith.records.files import write_text
from rewardsmith.report import charts, svg
from rewardsmith.report import charts as analysis_charts
from rewardsmith.report.blocks import Block
from rewardsmith.report.charts import epoch_charts
from rewardsmith.report.formatting import count, decimal, short_hash, significant, visible
from rewardsmith.report.markdown import render_markdown
from rewardsmith.report.reading import read_run, without_texts
from rewardsmith.report.sections import component_map, probes
from rewardsmith.report.sections.rows import RowTexts
from rewardsmith.report.sections.training import how_drawn, seeds_in_words
from rewardsmith.report.view import Report, view

_CODE = re.compile(r"`([^`<>]+)`")


def in_words(text: str) -> Markup:
    """A message: escaped, with what stands between backticks as code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped first


_FUNCTIONS = {
    "in_words": in_words,
    "sign": svg.sign,
    "score_strip": charts.score_strip,
    "score_axis": charts.score_axis,
    "baseline_key": charts.baseline_key,
    "reward_strip": charts.reward_strip,
    "reward_axis": charts.reward_axis,
    "reliability_plot": analysis_charts.reliability_plot,
    "picking_plot": analysis_charts.picking_plot,
    "reward_plot": analysis_charts.reward_plot,
    "skill_strip": analysis_charts.skill_strip,
    "skill_axis": analysis_charts.skill_axis,
    "probe_strip": probes.probe_strip,
    "probe_axis": probes.probe_axis,
    "wide_map": component_map.wide_map,
    "tall_map": component_map.tall_map,
    "epoch_charts": epoch_charts,
    "how_drawn": how_drawn,
    "count": count,
    "decimal": decimal,
    "significant": significant,
    "seeds_in_words": seeds_in_words,
    "short_hash": short_hash,
    "visible": visible,
}


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
        sections=sections(report),
        style=Markup(style),  # noqa: S704 - our own files
        theme=Markup(theme),  # noqa: S704
        script=Markup(script),  # noqa: S704
        policy=_policy(style, theme, script, bool(served)),
        served=served,
        version=__version__,
    )


def sections(report: Report) -> list[tuple[str, str]]:
    """Anchor and title of every section that the page has, in order: what its navigation shows."""
    there: list[tuple[str, str, object]] = [
        ("verdict", "Verdict", True),
        ("scores", "Scores", True),
        ("judge", "Judge", report.judges),
        ("against", "Compared", report.against),
        ("variants", "Seeds and data", report.variants),
        ("gates", "Gates", True),
        ("explorer", "Rows", True),
        ("map", "Component map", True),
        ("constraints", "Constraints", True),
        ("training", "Training", True),
        ("labels", report.noise.title if report.noise else "", report.noise),
        ("rewards", "Rewards", True),
        ("analyses", "Beside the scores", True),
        ("probes", "Bias probes", report.probes),
        ("routing", "Routing", report.routing),
        ("data", "Data", True),
        ("provenance", "Provenance", True),
    ]
    return [(anchor, title) for anchor, title, shown in there if shown]


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


def render_block(block: Block) -> Markup:
    """One block as it stands on the page."""
    made = _environment().get_template("macros.html.j2").make_module()
    return Markup(made.block(block))  # type: ignore[attr-defined]  # noqa: S704 - escaped by the template


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("rewardsmith.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(_FUNCTIONS)
    return environment


def _hash_source(content: str) -> str:
    """A Content-Security-Policy source for one inline element: the hash of exactly its text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


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
