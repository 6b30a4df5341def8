"""View → one self-contained HTML page.

Templates and the style sheet lie in `templates/`. Jinja escapes everything that is not `Markup`; the drawings are the
only `Markup`, and they escape what they hold. The page has no script, no `style` attribute and no address outside
itself; its Content-Security-Policy allows exactly the one style sheet, by hash.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from rewardsmith import __version__
from rewardsmith.report import analysis_charts, charts, map_drawing, probes, svg
from rewardsmith.report.blocks import Block
from rewardsmith.report.curve_charts import epoch_charts
from rewardsmith.report.curves import how_drawn
from rewardsmith.report.formatting import count, decimal, short_hash, significant, visible
from rewardsmith.report.replicas import seeds_in_words
from rewardsmith.report.view import Report

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
    "wide_map": map_drawing.wide_map,
    "tall_map": map_drawing.tall_map,
    "epoch_charts": epoch_charts,
    "how_drawn": how_drawn,
    "count": count,
    "decimal": decimal,
    "significant": significant,
    "seeds_in_words": seeds_in_words,
    "short_hash": short_hash,
    "visible": visible,
}


def render_html(report: Report) -> str:
    """The page. The same view gives the same bytes."""
    style = resources.files(__package__).joinpath("templates/style.css").read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; style-src '{_hash_source(style)}'; img-src data:; base-uri 'none'; form-action 'none'"
    )
    page = _environment().get_template("report.html.j2")
    return page.render(report=report, style=Markup(style), policy=policy, version=__version__)  # noqa: S704 - our own file


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
