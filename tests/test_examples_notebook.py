"""The example notebook: it was run from top to bottom, it names what there is, and it still runs."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

import rewardsmith

NOTEBOOK = Path(__file__).parents[1] / "examples" / "notebook.ipynb"


def cells(kind: str) -> list[dict[str, Any]]:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def test_it_was_run_from_top_to_bottom_without_an_error() -> None:
    code = cells("code")
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert not [output for cell in code for output in cell["outputs"] if output["output_type"] == "error"]
    shown = {output["output_type"] for cell in code for output in cell["outputs"]}
    assert "execute_result" in shown
    tables = [output["data"] for cell in code for output in cell["outputs"] if "data" in output]
    assert sum("text/html" in data for data in tables) >= 2  # the run's verdict, and an evaluation


def test_it_names_no_folder_of_the_machine_that_ran_it() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert not re.findall(r"(?<![\w.<])/(?:home|root|tmp|work|Users|usr|var)/[^\s\"\\]*", text)


def test_every_name_of_the_package_is_public() -> None:
    used = {
        node.attr
        for cell in cells("code")
        for node in ast.walk(ast.parse(source(cell)))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "rs"
    }
    assert used
    assert used <= set(rewardsmith.__all__)


@pytest.mark.slow
def test_it_still_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    space: dict[str, Any] = {}
    values = []
    for cell in cells("code"):
        tree = ast.parse(source(cell))
        *body, last = tree.body
        exec(compile(ast.Module(body, []), "cell", "exec"), space)  # noqa: S102 - the notebook is our own
        if isinstance(last, ast.Expr):
            values.append(eval(compile(ast.Expression(last.value), "cell", "eval"), space))  # noqa: S307
        else:
            exec(compile(ast.Module([last], []), "cell", "exec"), space)  # noqa: S102
    run, _, rewards, *_ = values
    assert (run.folder / "report.html").is_file()
    assert "PASS" in run._repr_html_() or "FAIL" in run._repr_html_()
    assert rewards.shape == (3,)
