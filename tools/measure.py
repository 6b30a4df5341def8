"""The size and shape of the package, counted from its files.

    python tools/measure.py                      this checkout
    python tools/measure.py OTHER …              other checkouts beside it, one column each
    python tools/measure.py --run runs/quickstart --spec examples/quickstart.yaml
                                                 also which of our modules `report RUN` and `check SPEC` load

Lines are physical lines. An import counts wherever it stands, inside functions too, but not below `if TYPE_CHECKING`:
those are never executed. The package root is left out of cycles: it names its public functions lazily. A module whose
one importer is its own package (`__init__`) is a list's entry or a public face, and does not count as a lone one.
"""

from __future__ import annotations

import argparse
import ast
import os
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median

PACKAGE = "rewardsmith"
LOADED = """
import runpy, sys
sys.argv = ["rewardsmith", *{arguments!r}]
try:
    runpy.run_module("rewardsmith", run_name="__main__")
except SystemExit:
    pass
sys.stdout.flush()
print("\\nLOADED", sum(name == "rewardsmith" or name.startswith("rewardsmith.") for name in sys.modules))
"""


def modules(checkout: Path) -> dict[str, Path]:
    """Dotted name → file, of every module of the package."""
    source = checkout / "src"
    found = {}
    for path in sorted((source / PACKAGE).rglob("*.py")):
        name = ".".join(path.relative_to(source).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


def imports(name: str, tree: ast.Module, known: dict[str, Path]) -> Iterator[str]:
    """Modules of ours that this one imports."""
    skipped = {
        id(node)
        for top in ast.walk(tree)
        if isinstance(top, ast.If) and ast.unparse(top.test).endswith("TYPE_CHECKING")
        for inner in top.body
        for node in ast.walk(inner)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == PACKAGE:
            for alias in node.names:
                longer = f"{node.module}.{alias.name}"
                found = longer if longer in known else node.module
                if found in known and found != name:
                    yield found
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known and alias.name != name)


def cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected components of more than one module (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            component = []
            while not component or component[-1] != node:
                component.append(stack.pop())
            if len(component) > 1:
                found.append(sorted(component))

    sys.setrecursionlimit(10_000)
    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


def function_lengths(tree: ast.Module) -> Iterator[int]:
    """Lines of each function, its decorators left out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield (node.end_lineno or node.lineno) - node.lineno + 1


def loaded(checkout: Path, *arguments: str) -> int:
    """How many of our modules are in memory when a command has ended."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "loaded.py"
        script.write_text(LOADED.format(arguments=list(arguments)), encoding="utf-8")
        environment = os.environ | {"PYTHONPATH": str(checkout.resolve() / "src"), "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(
            [sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False
        )
    line = done.stdout.rstrip().rsplit("\n", 1)[-1]
    if not line.startswith("LOADED "):
        raise SystemExit(f"rewardsmith {' '.join(arguments)}:\n{done.stderr}")
    return int(line.split()[1])


def measure(checkout: Path, run: Path | None, spec: Path | None) -> dict[str, object]:
    """Every figure of one checkout, in the order in which they are printed."""
    known = modules(checkout)
    texts = {name: path.read_text(encoding="utf-8") for name, path in known.items()}
    trees = {name: ast.parse(text) for name, text in texts.items()}
    lines = sorted(text.count("\n") for text in texts.values())
    graph = {name: set(imports(name, tree, known)) for name, tree in trees.items()}
    importers: dict[str, set[str]] = defaultdict(set)
    for name, targets in graph.items():
        for target in targets:
            importers[target].add(name)
    lone = [
        name
        for name, users in importers.items()
        if len(users) == 1
        and known[name].parent == (user := known[next(iter(users))]).parent
        and user.stem != "__init__"
    ]
    files_in = Counter(path.parent for path in known.values() if path.stem != "__init__")
    names: dict[tuple[str, str], int] = Counter(
        (name.split(".")[1], path.stem)
        for name, path in known.items()
        if name.count(".") > 1 and path.stem != "__init__"
    )
    folder, most = files_in.most_common(1)[0]
    functions = sorted(length for tree in trees.values() for length in function_lengths(tree))
    commented = sum(
        line.lstrip().startswith("#") or "  # " in line for text in texts.values() for line in text.splitlines()
    )
    own = {name: {other for other in targets if other != PACKAGE} for name, targets in graph.items() if name != PACKAGE}
    figures: dict[str, object] = {
        "modules": len(known),
        "lines of src": sum(lines),
        "lines of a module, median": round(median(lines)),
        "lines of a module, 90th percentile": lines[int(0.9 * len(lines))],
        "lines of the longest module": lines[-1],
        "lines of a function, 90th percentile": functions[int(0.9 * len(functions))],
        "lines of the longest function": functions[-1],
        "files in the fullest folder": f"{most} ({folder.relative_to(checkout / 'src' / PACKAGE)})",
        "modules with one importer, in the same folder": len(lone),
        "basenames shared within a feature": sum(count > 1 for count in names.values()),
        "import cycles, lazy imports included": len(cycles(own)),
        "lines with a comment, per cent": f"{100 * commented / sum(lines):.1f}",
        "lines of docs": sum(p.read_text(encoding="utf-8").count("\n") for p in (checkout / "docs").glob("*.md")),
        "lines of README": (checkout / "README.md").read_text(encoding="utf-8").count("\n"),
    }
    if run is not None:
        figures["modules loaded by `report RUN`"] = loaded(checkout, "report", str(run.resolve()))
    if spec is not None:
        figures["modules loaded by `check SPEC`"] = loaded(checkout, "check", str(spec.resolve()))
    return figures


def main() -> None:
    """Print the figures, a column for each checkout."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    here = Path(__file__).resolve().parents[1]
    parser.add_argument("checkouts", nargs="*", type=Path, default=[here], help="folders that hold src/rewardsmith")
    parser.add_argument("--run", type=Path, help="a finished run directory")
    parser.add_argument("--spec", type=Path, help="a spec")
    given = parser.parse_args()
    columns = [measure(checkout.resolve(), given.run, given.spec) for checkout in given.checkouts]
    wide = max(len(label) for column in columns for label in column)
    for label in dict.fromkeys(label for column in columns for label in column):
        print(label.ljust(wide), *(str(column.get(label, "")).rjust(14) for column in columns))


if __name__ == "__main__":
    main()
