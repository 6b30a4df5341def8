"""How `make docs` turns the Markdown pages of this repository into a site (Sphinx, MyST, Furo).

The source folder is the repository: links between pages, results and examples are the same here and on the site.
"""

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
