"""What writes the reference pages of docs/ from the code: not in the wheel, run by `make docs`.

    PYTHONPATH=tools python -m pages docs              # writes every page into docs/
    PYTHONPATH=tools python -m pages docs records.md   # one page
    PYTHONPATH=tools python -m pages docs --check      # writes none, names those that are out of date, ends with 1

A file a page: a function without arguments gives the whole page as text. `PAGES` is the only list of them; a test
compares each file of it with its function. `words.py` puts JSON schemas into words, for pages made from models.
"""

from __future__ import annotations

import importlib

PAGES: dict[str, str] = {
    "commands.md": "pages.commands:commands_page",
    "data_contract.md": "pages.data:contract_page",
    "doctor.md": "pages.doctor:doctor_page",
    "http.md": "pages.http:http_page",
    "probes.md": "pages.probes:probes_page",
    "public_data.md": "pages.data:public_page",
    "records.md": "pages.records:records_page",
    "results.schema.json": "pages.records:results_schema_page",
    "scale.md": "pages.scale:scale_page",
    "spec.md": "pages.spec:spec_page",
    "spec.schema.json": "pages.spec:schema_page",
}
"""File in docs/ → the function that gives its text; an address, because some of them import transformers."""


def page(name: str) -> str:
    """What a file of `PAGES` has to hold."""
    module, _, function = PAGES[name].partition(":")
    return str(getattr(importlib.import_module(module), function)())
