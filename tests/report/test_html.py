"""The page, parsed: safe, self-contained, accessible, with the records' numbers."""

import base64
import hashlib
import re
import shutil
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from report_records import HOSTILE, SUBSETS, build_run

from rewardsmith.records.evaluation import BenchmarkResult
from rewardsmith.records.files import read_record
from rewardsmith.report.html import in_words, served_page, write_report
from rewardsmith.report.sections.rows import RowTexts

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Elements with their attributes and the text inside, in order; refuses elements that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self.stack: list[str] = []
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((tuple(self.stack), data))

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return "".join(text for stack, text in self.texts if "style" not in stack)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "hostile"])
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = build_run(tmp_path_factory.mktemp("run"), hostile=request.param)
    return write_report(folder, RowTexts()).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(source: str) -> Page:
    return Page(source)


def test_hostile_text_is_text(page: Page, source: str) -> None:
    names = {name for name, _ in page.elements}
    assert not names & {"img", "iframe", "object", "embed", "base", "foreignobject"}
    assert source.count("</style>") == 1
    kinds = [script.get("type", "") for script in page.all("script")]
    assert [kind for kind in kinds if kind != "text/plain"] == ["", "module"]
    assert source.count("</script>") == len(kinds)
    assert "\u202e" not in source
    attributes = {attribute for _, given in page.elements for attribute in given}
    assert not {attribute for attribute in attributes if attribute.startswith("on") or attribute == "style"}


def test_hostile_text_is_shown(tmp_path: Path) -> None:
    page = Page(write_report(build_run(tmp_path, hostile=True), RowTexts()).read_text(encoding="utf-8"))
    assert HOSTILE.split(" \u202e")[0] in page.text
    assert "\\u202etxt.exe\\u2066" in page.text


def test_nothing_is_loaded_or_linked_from_outside(page: Page, source: str) -> None:
    targets = [
        value
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in ("src", "href", "action", "srcset", "data", "poster", "xlink:href", "formaction")
    ]
    assert {target for target in targets if not target.startswith("#")} == {"data:,"}
    style = source.split("<style>")[1].split("</style>")[0]
    assert not re.search(r"url\(|@import|expression|//", style)


def test_the_policy_allows_exactly_this_style_sheet_and_these_scripts(page: Page, source: str) -> None:
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    theme, script, style = (digest_between(source, *tags) for tags in TAGS)
    assert policy == (
        f"default-src 'none'; script-src '{theme}' '{script}'; style-src '{style}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    assert source.index("Content-Security-Policy") < source.index("<script>")
    assert source.count("<script") >= 3
    assert source.index("Content-Security-Policy") < source.index("<style>")


def test_a_served_page_may_ask_its_own_server_and_nobody_else(tmp_path: Path) -> None:
    source = served_page(build_run(tmp_path), None, "stamp")
    page = Page(source)
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    script = digest_between(source, '<script type="module">', "</script>")
    assert f"'{script}'; style-src" in policy
    assert policy.endswith("img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'")
    assert page.all("html") == [{"lang": "en", "data-served": "stamp"}]


TAGS = (("<script>", "</script>"), ('<script type="module">', "</script>"), ("<style>", "</style>"))


def digest_between(source: str, start: str, end: str) -> str:
    """The Content-Security-Policy source of the one element between these tags."""
    content = source.split(start)[1].split(end)[0]
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def test_headings_do_not_skip_levels_and_anchors_lead_somewhere(page: Page) -> None:
    levels = [int(name[1]) for name, _ in page.elements if re.fullmatch(r"h[1-6]", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    anchors = [link["href"][1:] for link in page.all("a")]
    assert set(anchors) <= set(ids)
    navigation = [link["href"][1:] for link in page.all("a") if "class" not in link and "finding-" not in link["href"]]
    assert list(dict.fromkeys(navigation)) == [
        *("verdict", "scores", "gates", "explorer", "map", "constraints", "training", "labels", "rewards", "analyses"),
        *("data", "provenance"),
    ]
    mistakes = [link for link in page.all("a") if link.get("class") == "to-rows"]
    assert {link["data-subset"] for link in mistakes} <= {*SUBSETS}
    assert len(mistakes) >= 5


def test_tables_have_captions_and_drawings_words(page: Page) -> None:
    assert len(page.all("table")) == len(page.all("caption")) >= 8
    assert all("scope" in header for header in page.all("th"))
    for drawing in page.all("svg"):
        assert drawing.get("aria-hidden") == "true" or (drawing["role"] == "img" and drawing["aria-label"])


def test_the_numbers_are_the_records_numbers(tmp_path: Path) -> None:
    source = write_report(build_run(tmp_path)).read_text(encoding="utf-8")
    table = source.split('<table class="cards scores">')[1].split("</table>")[0]
    rows = [re.findall(r'<data value="([^"]+)">([^<]+)</data>', row) for row in table.split("<tr>")[2:]]
    result = read_record(tmp_path / "eval" / "rewardbench2" / "results.json", BenchmarkResult)
    for cells, subset in zip(rows, result.subsets.values(), strict=False):
        expected = [
            subset.n,
            subset.score,
            subset.ci_low,
            subset.ci_high,
            subset.baseline,
            subset.length_baseline,
            subset.extra_baselines["bag of words"],
            subset.p_value,
        ]
        assert [float(value) for value, _ in cells] == expected
        assert [text for _, text in cells[1:7]] == [f"{100 * value:.1f}" for value in expected[1:7]]
    assert len(rows) == len(SUBSETS) + 1
    assert [value for value, _ in rows[-1]] == ["640", "0.578", "0.5447", "0.6113", "0.2317", "0.3292"]


def test_commands_in_messages_are_code_and_stay_escaped() -> None:
    assert in_words("run `check <b>`, then `x`") == "run <code>check &lt;b&gt;</code>, then <code>x</code>"
    assert "<b>" not in in_words("`<b>`")


def test_verdict_first(page: Page) -> None:
    words = [text for stack, text in page.texts if stack[-1:] == ("strong",)]
    assert words == ["FAIL"]


@pytest.mark.parametrize(
    ("absent", "sentence"),
    [
        (["check.json", "rejected.jsonl"], "The data contract: not run (check.json is not there)."),
        (["train"], "Training: not run (train/summary.json is not there)."),
        (["eval"], "Evaluation: not run (eval/BENCHMARK/results.json is not there)."),
        (["gates.json"], "Gates: not run (gates.json is not there)."),
        (["manifest.json"], "The pipeline: not run (manifest.json is not there)."),
        (["spec.yaml"], "not verified"),
        (["model"], "no checkpoint in model/"),
    ],
)
def test_absent_stages_are_shown_as_not_run(tmp_path: Path, absent: list[str], sentence: str) -> None:
    build_run(tmp_path)
    for name in absent:
        path = tmp_path / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert sentence in Page(write_report(tmp_path).read_text(encoding="utf-8")).text


def test_a_run_in_training_shows_its_curves(tmp_path: Path) -> None:
    build_run(tmp_path)
    for name in ("gates.json", "manifest.json", "train/summary.json"):
        (tmp_path / name).unlink()
    shutil.rmtree(tmp_path / "eval")
    page = Page(write_report(tmp_path).read_text(encoding="utf-8"))
    assert "Training has not ended" in page.text
    assert sum("steps: from" in drawing.get("aria-label", "") for drawing in page.all("svg")) == 6


def test_the_same_records_give_the_same_bytes_under_half_a_megabyte(tmp_path: Path) -> None:
    folder = build_run(tmp_path, steps=5000)
    first = write_report(folder).read_bytes()
    assert write_report(folder).read_bytes() == first
    assert len(first) < 500_000
