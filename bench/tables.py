"""What every bench shares, without torch: its options, Markdown tables, the machine in words, and pages of results.

    publish("coverage", text, arguments)           a page of one measurement: printed, and saved with --save
    publish_run(PAGE, arguments, measure)          a page of many: each run is kept as JSON, all of them make the page

Pages and runs lie in bench/results, or where `--results` says.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Json = dict[str, Any]

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class RunPage:
    """A page made of many runs.

    Attributes:
        name: of the page's file, and of the folder with its runs.
        title: the heading.
        about: what stands below it.
        section: one run in Markdown.
    """

    name: str
    title: str
    about: str
    section: Callable[[Json], str]

    def text(self, results: Path) -> str:
        """The page over all runs that are saved in the folder of results, in the order of their names."""
        runs = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((results / self.name).glob("*.json"))]
        return f"# {self.title}\n\n{self.about}\n" + "\n".join(map(self.section, runs))


def bench_parser(doc: str | None, *, renders: bool = False) -> argparse.ArgumentParser:
    """A parser that shows the module's docstring as help; `renders` for pages of many runs."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", action="store_true", help="write what is measured to the folder of results")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder of results")
    if renders:
        parser.add_argument("--render", action="store_true", help="measure nothing, write the page of the saved runs")
    return parser


def publish(name: str, text: str, arguments: argparse.Namespace) -> None:
    """Print a page, and save it if asked."""
    print(text)
    if arguments.save:
        _write(arguments.results / f"{name}.md", text)


def publish_run(
    page: RunPage, arguments: argparse.Namespace, measure: Callable[[argparse.Namespace, Path], Json]
) -> None:
    """Measure in a temporary folder, print, and save run and page if asked; with `--render` the page alone."""
    if not arguments.render:
        with tempfile.TemporaryDirectory() as folder:
            result = measure(arguments, Path(folder))
        print(page.section(result))
        if arguments.save:
            _write(arguments.results / page.name / f"{result['name']}.json", json.dumps(result, indent=1) + "\n")
    if arguments.render or arguments.save:
        _write(arguments.results / f"{page.name}.md", page.text(arguments.results))


def about(doc: str | None) -> str:
    """What a page says of itself: the module's docstring below its headline and its commands."""
    return (doc or "").split("\n\n", 2)[2]


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: bool = True) -> str:
    """A Markdown table; with `numbers`, all but the first column are right-aligned."""
    rule = ["---", *["---:" if numbers else "---"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *rows)) + "\n"


def machine() -> str:
    """The machine in words: processor, system, Python."""
    return f"{processor()}, {system()}"


def processor(cpu_info: Path = Path("/proc/cpuinfo")) -> str:
    """How many cores of which kind, and whether an x86 one multiplies bfloat16: most speeds depend on that."""
    cores = f"{os.cpu_count()} {platform.machine()} cores"
    try:
        lines = [line.partition(":") for line in cpu_info.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return cores
    first: dict[str, str] = {}
    for name, _, value in lines:
        first.setdefault(name.strip(), value.strip())
    if "model name" not in first or "flags" not in first:  # Arm has neither of them, or the first alone
        return cores
    model = " ".join(first["model name"].replace("(R)", "").replace("(TM)", "").split())
    able = {"avx512_bf16", "amx_bf16"} & set(first["flags"].split())
    return f"{cores} ({model}, {'with' if able else 'without'} bfloat16)"


def system() -> str:
    """Operating system and Python."""
    return f"{platform.system()}, Python {platform.python_version()}"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
