"""What does the data contract say of real files?

    python bench/data_findings.py --data FILE [FILE …] --benchmark NAME=FILE [NAME=FILE …]          some minutes
    python bench/data_findings.py --data … --benchmark … --save                                     and bench/results/

Each file is checked alone, as `rewardsmith check` does it, with the tokenizer of the embedded base model or of
`--base`, a limit of 2,048 tokens, and the prompts of the benchmarks, which must not stand in it.
"""

from __future__ import annotations

from pathlib import Path

from rewardsmith import samples
from rewardsmith.data.prepare import prepare
from rewardsmith.data.surveys.survey import BenchmarkPrompt
from rewardsmith.evaluation import find_benchmark
from rewardsmith.records.checks import CheckRecord
from rewardsmith.rendering import load_renderer
from rewardsmith.spec import Spec
from tables import bench_parser, machine, markdown_table, publish

HEAD = ("severity", "finding", "rows", "share", "what was found")


def main() -> None:
    """Check each file, print, save."""
    parser = bench_parser(__doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="files of preference pairs")
    parser.add_argument("--benchmark", nargs="*", default=[], metavar="NAME=FILE", help="a benchmark and its file")
    parser.add_argument("--base", help="a folder with a tokenizer; the embedded base model's when left out")
    arguments = parser.parse_args()
    base = arguments.base or str(samples.build_base_model(seed=0))
    benchmarks = dict(prompts(entry) for entry in arguments.benchmark)
    sections = [section(path, checked(path, base, benchmarks)) for path in arguments.data]
    head = f"# Findings in real files\n\n{machine()}. Benchmarks: {', '.join(benchmarks) or 'none'}.\n\n"
    publish("data_findings", head + "\n".join(sections), arguments)


def prompts(entry: str) -> tuple[str, list[BenchmarkPrompt]]:
    """A benchmark's file and its prompts."""
    name, _, path = entry.partition("=")
    rows = find_benchmark(name).load(path, None).rows
    return f"{name} ({Path(path).name})", [BenchmarkPrompt(row.subset, row.id, row.prompt) for row in rows]


def checked(path: Path, base: str, benchmarks: dict[str, list[BenchmarkPrompt]]) -> CheckRecord:
    """The record of one file."""
    spec = Spec.model_validate({"data": {"train": [{"path": str(path), "label": path.name}]}})
    renderer = load_renderer(base, max_length=spec.data.max_length, over_length="drop", conversational=True)
    return prepare(spec, renderer, benchmarks=benchmarks).record


def section(path: Path, record: CheckRecord) -> str:
    """One file's findings; of the data itself no text but the checks' own words."""
    rows = [
        (
            finding.severity,
            finding.code,
            f"{finding.count:,} of {finding.of:,}",
            share(finding.count, finding.of),
            words,
        )
        for finding in record.findings
        for words in [(finding.summary or finding.meaning).replace("|", "\\|").replace("\n", " ")]
    ]
    counts = (
        f"{record.read:,} pairs, {record.distinct_prompts:,} prompts in the training part, {record.rejected:,} left out"
    )
    return f"## {path.name}\n\n{counts}.\n\n{markdown_table(HEAD, rows, numbers=False)}"


def share(count: int, of: int) -> str:
    """In percent."""
    return f"{count / of:.1%}" if of else ""


if __name__ == "__main__":
    main()
