"""How soon does a report of 10,000 rows paint, and how long does a filter of its rows take?

    python bench/report_browser.py            headless Chromium; a minute or two (make test-browser installs the driver)
    python bench/report_browser.py --save     and bench/results/report_browser.md

A report with 10,000 rows of four responses is written and opened from disk, five times each: with short texts (all of
them in the page), and with texts of 1,500 characters (more than its 8 MB can carry: the page holds those of the worst
rows). First paint is the browser's own first-contentful-paint; "rows" is when the table can be used, "texts" when all
texts can be searched; a filter is timed from the input event until the browser has painted what it changed, the median
and the slowest of ten.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rewardsmith.records.evaluation import BenchmarkResult, DatasetInfo, RewardSummary, RowResult, SubsetResult
from rewardsmith.records.files import write_json, write_jsonl
from rewardsmith.report.html import write_report
from rewardsmith.report.sections.rows import RowText, RowTexts
from tables import bench_parser, machine, markdown_table, publish

ROWS = 10_000
LOADS, TIMES = 5, 10
LIMIT_PAINT, LIMIT_FILTER, LIMIT_SIZE = 1500, 200, 8.0
SUBSETS = ("Factuality", "Focus", "Math", "Precise IF", "Safety", "Ties")
HEAD = ("texts", "page, MB", "rows with texts", "written, s", "first paint, ms", "rows, ms", "texts, ms")
FILTERS: dict[str, tuple[str, str]] = {
    "all rows": ("show", "all"),
    "one subset": ("subset", "2"),
    "margin from −0.5": ("low", "-0.5"),
    "search, common": ("query", "the"),
    "search, rare": ("query", "zzzyx"),
}
PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
TIMED = """([name, value]) => new Promise((done) => {
  const form = document.querySelector("#explorer form");
  form.elements.show.value = "all";
  for (const one of ["query", "low", "high", "subset"]) form.elements[one].value = "";
  form.dispatchEvent(new Event("input", { bubbles: true }));
  requestAnimationFrame(() => setTimeout(() => {
    form.elements[name].value = value;
    const start = performance.now();
    form.dispatchEvent(new Event("input", { bubbles: true }));
    requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)));
  }));
})"""


def main() -> None:
    """Write the reports, open them, print, save."""
    parser = bench_parser(__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    arguments = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "browser"))
    from browser_world import launched

    pages, filters = [], []
    with tempfile.TemporaryDirectory() as folder, launched() as browser:
        for words, title in ((12, "short"), (250, "1,500 characters")):
            run = Path(folder) / title
            made, with_text = write_run(run, arguments.rows, words)
            found = [look(browser, run / "report.html") for _ in range(LOADS)]
            size = (run / "report.html").stat().st_size / 1e6
            medians = [statistics.median(one[name] for one in found) for name in ("paint", "rows", "texts")]
            pages.append(
                [title, f"{size:.2f}", f"{with_text:,}", f"{made:.1f}", *(f"{value:.0f}" for value in medians)]
            )
            filters += [[title, *cells] for cells in filter_cells([one["filters"] for one in found])]
    worst = max(float(cells[-1]) for cells in filters)
    head = (
        f"A report of {arguments.rows:,} rows, opened from disk in headless Chromium {VERSION[0]}; medians of {LOADS} "
        f"loads. Wanted: first paint within {LIMIT_PAINT:,} ms, a filter within {LIMIT_FILTER} ms, at most "
        f"{LIMIT_SIZE:.0f} MB. The slowest filter took {worst:.0f} ms. {machine()}. "
        "Made by `python bench/report_browser.py --save`."
    )
    lines = markdown_table(("texts", "filter", "median, ms", "slowest, ms"), filters)
    text = f"# The report in a browser\n\n{head}\n\n{markdown_table(HEAD, pages)}\n{lines}"
    publish("report_browser", text, arguments)


VERSION: list[str] = []
"""Of the browser, once it has been launched."""


def look(browser: Any, page: Path) -> dict[str, Any]:
    """One load in a fresh context: times in milliseconds since the navigation began."""
    VERSION[:] = [browser.version]
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    tab = context.new_page()
    tab.add_init_script(
        "new MutationObserver(() => { for (const name of ['rows', 'texts'])"
        " if (document.getElementById('explorer')?.dataset[name] && !window[name + 'At'])"
        " window[name + 'At'] = performance.now(); })"
        ".observe(document, { subtree: true, childList: true, attributes: true })"
    )
    tab.goto(page.as_uri())
    tab.wait_for_selector("#explorer[data-texts=read]")
    times = {"paint": tab.evaluate(PAINT), "rows": tab.evaluate("rowsAt"), "texts": tab.evaluate("textsAt")}
    tab.wait_for_timeout(500)
    filters = {
        name: [tab.evaluate(TIMED, list(change)) for _ in range(TIMES // LOADS)] for name, change in FILTERS.items()
    }
    context.close()
    return {**times, "filters": filters}


def filter_cells(found: Sequence[dict[str, list[float]]]) -> Iterator[list[str]]:
    """A line a filter, over all loads."""
    for name in FILTERS:
        times = [value for one in found for value in one[name]]
        yield [name, f"{statistics.median(times):.0f}", f"{max(times):.0f}"]


def write_run(folder: Path, rows: int, words: int) -> tuple[float, int]:
    """A run of which only one evaluation is there; returns the seconds that its report took, and rows with texts."""
    draw = random.Random(7)  # noqa: S311 - generated texts
    letters = "abcdefghijklmnopqrstuvwxyz"
    vocabulary = ["the", *("".join(draw.choices(letters, k=draw.randint(2, 9))) for _ in range(5000))]

    def text() -> str:
        return " ".join(draw.choices(vocabulary, k=draw.randint(words // 2, words * 3 // 2)))

    results, texts = [], {}
    for number in range(rows):
        rewards = tuple(draw.gauss(0.7 if place == 0 else 0.0, 1.0) for place in range(4))
        right = rewards[0] > max(rewards[1:])
        subset, digest = SUBSETS[number % len(SUBSETS)], f"{draw.getrandbits(64):016x}"
        results.append(
            RowResult(id=str(number), subset=subset, rewards=rewards, n_chosen=1, result=float(right), digest=digest)
        )
        texts[digest] = RowText(text(), (text(),), tuple(text() for _ in range(3)))
    write_jsonl(folder / "eval" / "rewardbench2" / "rows.jsonl", results)
    write_json(folder / "eval" / "rewardbench2" / "results.json", result_of(results))
    started = time.perf_counter()
    page = write_report(folder, RowTexts(texts))
    seconds = time.perf_counter() - started
    html = page.read_text(encoding="utf-8")
    return seconds, rows - _without(html)


def _without(html: str) -> int:
    """Rows whose texts would have made the page too large, as it says."""
    before, found, _ = html.partition(" rows would make this page too large")
    return int(before.rsplit(" ", 1)[1].replace(",", "")) if found else 0


def result_of(rows: Sequence[RowResult]) -> BenchmarkResult:
    """The scores of these rows, as plain shares."""
    nothing = RewardSummary(n=0, mean=None, std=None, min=None, max=None, distinct=0)
    shares = {name: [row.result or 0.0 for row in rows if row.subset == name] for name in SUBSETS}
    return BenchmarkResult(
        benchmark="rewardbench2",
        title="Generated rows",
        average=0.5,
        protocol="generated",
        dataset=DatasetInfo(source="generated"),
        subsets={
            name: SubsetResult(
                n=len(found),
                score=statistics.fmean(found),
                ci_low=0.4,
                ci_high=0.6,
                baseline=0.25,
                length_baseline=0.25,
                p_value=0.01,
            )
            for name, found in shares.items()
        },
        rewards=nothing,
    )


if __name__ == "__main__":
    main()
