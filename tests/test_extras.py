"""What an installation has: every import is declared, and without an extra a command says which one it needs."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import report_records

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "rewardsmith"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
IMPORTED_AS = {"mlflow-skinny": "mlflow", "pyyaml": "yaml", "scikit-learn": "sklearn"}
FOR_USERS = set(PROJECT["optional-dependencies"]) - {"browser", "dev", "docs"}


def modules(requirements: list[str]) -> set[str]:
    names = [re.match(r"[\w-]+", requirement)[0] for requirement in requirements]
    return {IMPORTED_AS.get(name, name.replace("-", "_")) for name in names}


BASE = modules(PROJECT["dependencies"])
OPTIONAL = set().union(*(modules(PROJECT["optional-dependencies"][extra]) for extra in FOR_USERS))


def imports(nodes: list[ast.stmt]) -> Iterator[str]:
    """Addresses that statements import, those inside of them too."""
    for node in (inner for statement in nodes for inner in ast.walk(statement)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def at_once(tree: ast.Module) -> Iterator[str]:
    """What a module imports when it is imported itself: not inside of a function, nor for types alone."""
    lazy = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    yield from imports(
        [node for node in tree.body if not isinstance(node, lazy) and "TYPE_CHECKING" not in ast.dump(node)]
    )


def name_of(path: Path) -> str:
    return ".".join(("rewardsmith", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    return {name_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in SOURCE.rglob("*.py")}


def test_every_import_is_of_a_package_that_is_declared(trees: dict[str, ast.Module]) -> None:
    roots = {address.partition(".")[0] for tree in trees.values() for address in imports(tree.body)}
    others = roots - sys.stdlib_module_names - {"rewardsmith"}
    # pydantic requires exactly one version of its own core; OpenRLHF is imported by the Python that has it.
    assert others - BASE - OPTIONAL == {"openrlhf", "pydantic_core"}


def test_only_these_modules_need_an_extra_to_be_imported(trees: dict[str, ast.Module]) -> None:
    wanted = {name: set(at_once(tree)) for name, tree in trees.items()}
    need = {name for name, found in wanted.items() if {address.partition(".")[0] for address in found} & OPTIONAL}
    while more := {name for name, found in wanted.items() if found & need} - need:
        need |= more
    serving = {"gate", "metrics", "ray_serve", "routes", "server"}
    assert need == {f"rewardsmith.serving.{name}" for name in serving} | {
        "rewardsmith.scoring.ray_data",
        "rewardsmith.training.ray_train",
    }


WITHOUT = """
import sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in %r else self.finder.find_spec(name, path, target)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
"""


def without_extras(code: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = WITHOUT % (OPTIONAL,) + code
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, cwd=folder
    )


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        ("serve --model none", "serve"),
        ("score --model none --input rows.jsonl --output out.jsonl --engine ray", "ray"),
        ("judge --benchmark pairs --data rows.jsonl --out judged --endpoint http://127.0.0.1:9 --model m", "judge"),
    ],
)
def test_a_command_says_which_extra_it_needs(command: str, extra: str, tmp_path: Path) -> None:
    row = {"id": "1", "prompt": "Say a.", "chosen": "a", "rejected": "b"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    for folder in ("ray", "openai"):  # no packages, though Python would import them
        (tmp_path / folder).mkdir()
    done = without_extras("from rewardsmith.cli import main; sys.exit(main())", tmp_path, *command.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert "is not installed" in done.stderr
    assert f"pip install 'rewardsmith[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_is_shown_without_the_server_of_rewards(tmp_path: Path) -> None:
    """`rewardsmith open` has a small server of its own."""
    report_records.build_run(tmp_path / "demo")
    code = """
import threading, urllib.request
from pathlib import Path
from rewardsmith.pipeline.commands.look import FollowedRun, RunServer
server = RunServer(FollowedRun(Path("demo")), 0)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(urllib.request.urlopen(server.url).status)
"""
    done = without_extras(code, tmp_path)
    assert (done.stdout, done.returncode) == ("200\n", 0), done.stderr
