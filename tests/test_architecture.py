"""The house: layers, a command line that answers at once, and public names that are there and documented."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import rewardsmith

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "pyarrow", "pandas", "scipy", "sklearn")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60, cwd=ROOT)


def test_every_layer_imports_only_from_layers_below_it() -> None:
    done = run("-c", "from importlinter.cli import lint_imports_command; lint_imports_command()", "--no-cache")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 kept, 0 broken" in done.stdout


@pytest.mark.parametrize(
    "statement",
    [
        "import rewardsmith",
        "import rewardsmith.cli",
        "import rewardsmith.spec.tree",
        "import sys; sys.argv = ['rewardsmith', '--help']; from rewardsmith.cli import main; main()",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(statement: str) -> None:
    watch = f"import atexit, sys\natexit.register(lambda: print('HEAVY', sorted(set({HEAVY!r}) & set(sys.modules))))\n"
    done = run("-c", watch + statement)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "HEAVY []"


def test_help_answers_in_under_half_a_second_of_processor_time() -> None:
    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = run("-m", "rewardsmith", "--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 0, done.stderr
        assert "evaluate" in done.stdout
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

    assert min(seconds() for _ in range(3)) < 0.5


PUBLIC = [
    "BestOfN",
    "EnsembleScorer",
    "LocalScorer",
    "Message",
    "PreferencePair",
    "RemoteScorer",
    "RewardsmithError",
    "Silent",
    "Spec",
    "__version__",
    "best_of_n",
    "check_job",
    "evaluate",
    "evaluate_job",
    "load",
    "load_spec",
    "reward_function",
    "run",
    "run_job",
    "score",
    "share_prefixes",
    "train_job",
    "tree_collator",
]


def test_the_public_interface_changes_only_on_purpose() -> None:
    assert rewardsmith.__all__ == PUBLIC
    assert [name for name in PUBLIC if getattr(rewardsmith, name, None) is None] == []


def test_a_public_name_is_the_one_of_its_room() -> None:
    from rewardsmith.spec import load_spec

    assert rewardsmith.load_spec is load_spec
    with pytest.raises(AttributeError, match="has no attribute 'lode_spec'; it has BestOfN"):
        rewardsmith.lode_spec  # noqa: B018 - the access is the test


def test_what_a_room_exports_is_there_and_documented() -> None:
    rooms = [module.name for module in pkgutil.iter_modules(rewardsmith.__path__, "rewardsmith.") if module.ispkg]
    for room in map(importlib.import_module, rooms):
        for name in getattr(room, "__all__", ()):
            value = getattr(room, name)
            if inspect.isclass(value) or inspect.isfunction(value):
                assert value.__doc__, f"{room.__name__}.{name} has no docstring"


def test_every_module_says_what_it_is() -> None:
    for path in sorted((ROOT / "src").rglob("*.py")):
        first = path.read_text(encoding="utf-8").lstrip()
        assert first.startswith(('"""', 'r"""')), f"{path.relative_to(ROOT)} has no docstring"


def test_no_room_for_odds_and_ends() -> None:
    refused = ("utils", "util", "helpers", "helper", "misc", "common", "manager")
    found = [path for path in (ROOT / "src").rglob("*.py") if path.stem.removeprefix("_") in refused]
    assert found == []


def test_no_path_of_one_machine_is_written_down() -> None:
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    machine = tuple(f"/{name}/" for name in ("root", "work", "Users"))
    paths = [ROOT / name for name in listed.stdout.splitlines()]
    for path in paths:
        if path.suffix in {".py", ".md", ".toml", ".yaml", ".yml", ".txt", ""} and path.is_file():
            text = path.read_text(encoding="utf-8")
            assert not any(part in text for part in machine), path.relative_to(ROOT)


def definitions() -> Iterator[tuple[str, str]]:
    """(module, name) of every class, function and type alias of ours."""
    for path in sorted((ROOT / "src" / "rewardsmith").rglob("*.py")):
        module = path.relative_to(ROOT / "src" / "rewardsmith").with_suffix("").as_posix()
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield module, node.name
        for node in tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                yield module, node.targets[0].id


def test_a_verdict_is_the_outcome_of_a_gate_and_defined_once() -> None:
    assert [module for module, name in definitions() if name == "Verdict"] == ["records/run"]


WHERE_A_LANGUAGE_MODEL_JUDGES = (
    "judging/",
    "routing/",
    "evaluation/judged",
    "planning/grader",
    "protocols",
    "types",
    "spec/judging",
    "records/judging",
    "records/routing",
    "report/sections/judges",
    "report/view",
    "report/markdown",
    "cli/judge",
    "cli/watch",
    "pipeline/commands/",
    "evaluation/offline",
    "evaluation/benchmarks/judgebench",
)


def test_only_a_language_model_judges() -> None:
    named = [(module, name) for module, name in definitions() if "judg" in name.lower()]
    assert ("judging/judge", "LanguageModelJudge") in named
    assert [f"{module}:{name}" for module, name in named if not module.startswith(WHERE_A_LANGUAGE_MODEL_JUDGES)] == []


def test_what_helps_is_called_a_fix() -> None:
    rooms = [ROOT / room for room in ("src", "docs", "tools", "bench")]
    files = [path for room in rooms for path in room.rglob("*") if path.suffix in (".py", ".md", ".toml")]
    assert len(files) > 300
    other = re.compile("(?i)(?<![a-z])m" + "end(s|ed|ing)?(?![a-z])")
    assert [str(path) for path in files if other.search(path.read_text(encoding="utf-8"))] == []
    assert other.search("how to " + "m" + "end it")


def test_the_list_of_files_in_a_package_names_files_that_are_there() -> None:
    source = Path(rewardsmith.__file__).parent
    stale = []
    for package in source.rglob("__init__.py"):
        told = ast.get_docstring(ast.parse(package.read_text(encoding="utf-8"))) or ""
        named = re.findall(r"^ *([a-z0-9_]+\.py)\b|(?<=[;(,:] )([a-z0-9_]+\.py)\b", told, flags=re.MULTILINE)
        stale += [
            f"{package.parent.relative_to(source)}: {name}"
            for name in (one or other for one, other in named)
            if not (package.parent / name).is_file()
        ]
    assert stale == []
