"""The size and shape of the package, counted from its files.

    python tools/measure.py                      this checkout
    python tools/measure.py OTHER …              other checkouts beside it, one column each
    python tools/measure.py --quick              files only; else two commands are run, in half a minute

Lines are physical lines. An import counts wherever it stands, inside functions too, but not below `if TYPE_CHECKING`:
those are never executed. The package root is left out of cycles: it names its public functions lazily. A module whose
one importer is its own package (`__init__`) is a list's entry or a public face, and does not count as a lone one.

What a command goes through is counted twice: modules of ours in memory when it has ended (`__init__` files and records
too), and files of which it has run a function, the walk of whoever reads along. The tests' builders make the run and
the spec for it.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

PACKAGE = "rewardsmith"
PROBE = """
import json, runpy, sys, threading
from pathlib import Path

source, out, arguments = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
ran = set()

def seen(frame, event, _):
    code = frame.f_code
    name = code.co_filename
    if event != "call" or name in ran or not name.startswith(source) or not name.endswith(".py"):
        return
    if not code.co_flags & 1:  # CO_OPTIMIZED: a function, not the body of a module or of a class
        return
    while frame is not None:  # what an import calls (decorators, the making of records) is loading, not running
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return
        frame = frame.f_back
    ran.add(name)

sys.argv = ["rewardsmith", *arguments]
sys.setprofile(seen)
threading.setprofile(seen)
try:
    runpy.run_module("rewardsmith", run_name="__main__")
except SystemExit as stop:
    code = stop.code or 0
sys.setprofile(None)
names = list(sys.modules)
out.write_text(json.dumps({
    "code": code,
    "loaded": sorted(name for name in names if name.split(".")[0] == "rewardsmith"),
    "ran": sorted(ran),
    "others": sorted({name.split(".")[0] for name in names} - {"rewardsmith"}),
}))
"""
FIXTURES = """
import json, sys
from pathlib import Path
import yaml
from cli_world import as_row
from conftest import make_base, make_pairs
from report_records import build_run

folder = Path(sys.argv[1])
(folder / "run").mkdir()
build_run(folder / "run")
base = make_base(folder / "base")
for name, seed in (("train", 1), ("held_out", 2)):
    rows = [json.dumps(as_row(pair) | {"id": f"{name} {pair.id}"}) for pair in make_pairs(40, seed=seed)]
    (folder / f"{name}.jsonl").write_text("\\n".join(rows))
(folder / "rows.jsonl").write_text("\\n".join(
    json.dumps({"id": str(i), "subset": "Math", "prompt": f"Say {i}.", "chosen": [f"{i}"], "rejected": ["a", "b", "c"]})
    for i in range(2)
))
spec = {
    "name": "tiny",
    "base_model": {"id": str(base)},
    "output_dir": str(folder / "runs"),
    "data": {
        "train": [{"path": str(folder / "train.jsonl")}],
        "held_out": {"sources": [{"path": str(folder / "held_out.jsonl")}]},
        "max_length": 200,
    },
    "evaluation": {"benchmarks": [{"name": "rewardbench2", "data": str(folder / "rows.jsonl")}]},
}
(folder / "spec.yaml").write_text(yaml.safe_dump(spec))
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


@dataclass(frozen=True)
class Walk:
    """What one command goes through: its exit code, our modules in memory when it has ended, those of our files of
    which it has run a function, and the other packages in memory.
    """

    code: int
    loaded: list[str]
    ran: list[str]
    others: list[str]


def environment(checkout: Path, *more: str) -> dict[str, str]:
    """The environment with a checkout's source, and these folders of it, in front."""
    paths = [str(checkout / name) for name in ("src", *more)]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


def walk(checkout: Path, *arguments: str) -> Walk:
    """Run a command of a checkout in a process of its own, and watch it."""
    checkout = checkout.resolve()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "walk.json"
        command = [sys.executable, "-c", PROBE, str(checkout / "src"), str(out), *arguments]
        done = subprocess.run(command, env=environment(checkout), capture_output=True, text=True, check=False)
        if not out.exists():
            raise SystemExit(f"rewardsmith {' '.join(arguments)}:\n{done.stderr}")
        return Walk(**json.loads(out.read_text(encoding="utf-8")))


def fixtures(checkout: Path, folder: Path) -> bool:
    """A finished run and a spec with a tiny base, by the checkout's own test builders; whether it has such builders."""
    made = subprocess.run(
        [sys.executable, "-c", FIXTURES, str(folder)],
        env=environment(checkout, "tests", "tests/builders"),
        capture_output=True,
        text=True,
        check=False,
    )
    return made.returncode == 0


def walks(checkout: Path) -> Iterator[tuple[str, object]]:
    """How many of our modules two commands load, and through how many of our files they run."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        if not fixtures(checkout, folder):
            return
        for label, arguments in (
            ("report RUN", ("report", str(folder / "run"))),
            ("check SPEC", ("check", str(folder / "spec.yaml"))),
        ):
            found = walk(checkout, *arguments)
            yield f"modules loaded by `{label}`", len(found.loaded)
            yield f"files that `{label}` runs through", len(found.ran)


def measure(checkout: Path, *, commands: bool) -> dict[str, object]:
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
    if commands:
        figures |= dict(walks(checkout))
    return figures


def main() -> None:
    """Print the figures, a column for each checkout."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    here = Path(__file__).resolve().parents[1]
    parser.add_argument("checkouts", nargs="*", type=Path, default=[here], help="folders that hold src/rewardsmith")
    parser.add_argument("--quick", action="store_true", help="count files only; run no command")
    given = parser.parse_args()
    columns = [measure(checkout.resolve(), commands=not given.quick) for checkout in given.checkouts]
    wide = max(len(label) for column in columns for label in column)
    for label in dict.fromkeys(label for column in columns for label in column):
        print(label.ljust(wide), *(str(column.get(label, "")).rjust(14) for column in columns))


if __name__ == "__main__":
    main()
