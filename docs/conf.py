"""How `make docs` turns the Markdown pages of this repository into a site (Sphinx, MyST, Furo).

The source folder is the repository: links between pages, results and examples are the same here and on the site.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

project = "Rewardsmith"
author = "The Rewardsmith authors"
root_doc = "docs/index"
include_patterns = ["docs/*.md", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "bench/results/*.md"]
exclude_patterns = ["build", ".venv"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
autodoc_typehints = "description"
autodoc_member_order = "bysource"

html_theme = "furo"
html_title = "Rewardsmith"
html_copy_source = False
html_show_sphinx = False


def setup(app: Any) -> None:
    """README shows its picture by HTML, light and dark, which Sphinx leaves alone: the file must be there."""
    app.connect("build-finished", _copy_images)


def _copy_images(app: Any, error: Exception | None) -> None:
    if error is None:
        shutil.copytree(Path(app.srcdir) / "docs/images", Path(app.outdir) / "docs/images", dirs_exist_ok=True)
