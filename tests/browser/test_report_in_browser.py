"""The report of a real run in headless Chromium: opened from disk, used by mouse and keyboard, printed, followed."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from browser_world import PLANTED, Watched, launched, real_run, watched
from watch_world import PHRASE, rows, write_log

from rewardsmith.pipeline import report_job
from rewardsmith.pipeline.commands.look import run_server
from rewardsmith.pipeline.commands.watch import WatchOptions, watch_job
from rewardsmith.pipeline.events import Followed, Silent
from rewardsmith.records.files import read_jsonl
from rewardsmith.records.training import StepMetrics
from rewardsmith.watching import Settings

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as found:
        yield found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    return real_run(tmp_path_factory.mktemp("run"), tiny_base)


@pytest.fixture
def shown(browser: Any, run: Path) -> Iterator[Watched]:
    """The report, opened from disk; whatever a test does with it, it asks nobody and breaks nothing."""
    address = (run / "report.html").as_uri()
    with watched(browser, address) as found:
        yield found
        assert found.faults == []
        assert found.requests == [address]


def status(page: Any) -> str:
    return str(page.locator("#explorer .status").text_content())


def ids(page: Any) -> list[str]:
    return list(page.locator("#explorer button.row").all_text_contents())


def margins(page: Any) -> list[float]:
    cells = page.locator("#explorer tbody tr:not(.detail) td:last-child").all_text_contents()
    return [float(cell.replace("−", "-")) for cell in cells]


def until(page: Any, expression: str) -> None:
    """Wait until this holds. Playwright's own waiting evaluates strings inside the page, whose policy forbids that."""
    from playwright.sync_api import Error

    for _ in range(600):
        with suppress(Error):  # the page is just being loaded again
            if page.evaluate(expression):
                return
        page.wait_for_timeout(50)
    raise AssertionError(f"never true: {expression}")


def choose(page: Any, name: str, label: str) -> None:
    field = page.locator(f"#explorer select[name={name}]")
    field.select_option(label=next(one for one in field.locator("option").all_text_contents() if one.startswith(label)))


def test_it_opens_from_disk_and_asks_nobody(shown: Watched) -> None:
    assert shown.page.title().endswith("planted – reward model report")
    assert shown.page.locator("h1").text_content() == "planted"


BREAKS = (999, 1199, 1399)
"""Widths at which style.css has a layout's last pixel; the next layout is at its narrowest one pixel on."""


def test_it_is_as_wide_as_the_screen(browser: Any, run: Path) -> None:
    with watched(browser, (run / "report.html").as_uri()) as found:
        assert wider(found.page) == {}


def test_the_page_of_a_watch_is_as_wide_as_the_screen(browser: Any, stream: Path) -> None:
    with served(stream) as address, watched(browser, address) as found:
        assert wider(found.page) == {}


def wider(page: Any) -> dict[int, int]:
    """Widths of the screen at which the page is wider than it, and how wide the page is there."""
    found = {}
    for width in (*range(320, 1500, 20), *BREAKS):
        page.set_viewport_size({"width": width, "height": 900})
        shown = page.evaluate("document.documentElement.scrollWidth")
        if shown > width:
            found[width] = shown
    return found


def test_the_worst_mistakes_come_first(shown: Watched) -> None:
    page = shown.page
    assert page.locator("#explorer select[name=show]").input_value() == "worst"
    found = margins(page)
    assert found == sorted(found)
    assert max(found) <= 0
    assert page.locator("#explorer tbody .icon .disc.bad").count() == len(found)


def test_filters(shown: Watched) -> None:
    page = shown.page
    choose(page, "show", "All rows")
    choose(page, "source", "Held-out pairs")
    assert status(page) == "30 rows of " + status(page).split(" of ")[1]
    assert set(ids(page)) == {f"h-{number}" for number in range(30)}
    choose(page, "subset", "odd")
    assert set(ids(page)) == {f"h-{number}" for number in range(0, 30, 2)}
    choose(page, "subset", "All subsets")
    whole = margins(page)
    page.locator("[name=low]").fill(str(sorted(whole)[5] - 1e-4))
    assert len(ids(page)) in (24, 25)  # margins are shown rounded
    page.locator("[name=high]").fill("-1000")
    assert status(page) == "No row fits these filters."
    page.locator("#explorer button[type=reset]").click()
    until(page, "document.querySelector('#explorer [name=show]').value === 'worst'")
    assert page.locator("[name=high]").input_value() == ""


def test_search_finds_prompts_responses_and_ids(shown: Watched) -> None:
    page = shown.page
    choose(page, "show", "All rows")
    search = page.get_by_label("Search")
    search.fill("QUESTION 13 of h")
    assert ids(page) == ["h-13"]
    assert page.locator("#explorer tbody mark").text_content() == "Question 13 of h"
    search.fill("answer 3 is quite")
    assert ids(page) == ["h-3"]
    search.fill("h-21")
    assert ids(page) == ["h-21"]
    search.fill("no such thing")
    assert status(page) == "No row fits these filters."


def test_sorting_by_the_heads(shown: Watched) -> None:
    page = shown.page
    choose(page, "show", "All rows")
    choose(page, "source", "Held-out pairs")
    head = page.locator("#explorer th:has(button[data-sort=margin])")
    assert head.get_attribute("aria-sort") == "ascending"
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert margins(page) == sorted(margins(page), reverse=True)
    page.locator("button[data-sort=id]").click()
    assert ids(page) == [f"h-{number}" for number in range(30)]
    assert head.get_attribute("aria-sort") is None


def test_a_row_shows_its_texts_side_by_side_with_what_differs(shown: Watched) -> None:
    page = shown.page
    choose(page, "show", "All rows")
    page.get_by_label("Search").fill("h-25")
    page.locator("button.row").click()
    texts = page.locator(".detail .text").all_text_contents()
    assert texts == ["Question 25 of h?", "answer 25 is right", "answer 25 is quite wrong"]
    assert page.locator(".text.chosen mark").all_text_contents() == ["right"]
    assert page.locator(".text.rejected mark").all_text_contents() == ["quite wrong"]
    page.locator("button.row").click()
    assert page.locator(".detail").count() == 0


def test_keyboard_alone(shown: Watched) -> None:
    page = shown.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#content"
    page.locator("button.row").first.focus()
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.textContent") == ids(page)[1]
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.ariaExpanded") == "true"
    assert page.locator(".detail").count() == 1
    page.keyboard.press("Escape")
    assert page.locator(".detail").count() == 0
    assert page.evaluate("document.activeElement.textContent") == ids(page)[1]


def test_scores_lead_to_their_mistakes(shown: Watched) -> None:
    page = shown.page
    link = page.locator("a.to-rows").first
    wanted = int(str(link.text_content()).split()[0].replace(",", ""))
    subset = link.get_attribute("data-subset")
    link.click()
    assert status(page).startswith(f"{wanted:,} row")
    assert set(page.locator("#explorer .where bdi").all_text_contents()) == {subset}
    assert page.evaluate("location.hash") == "#explorer"


def test_planted_texts_do_nothing_and_are_shown_as_they_are(shown: Watched) -> None:
    page = shown.page
    choose(page, "show", "All rows")
    choose(page, "source", "Held-out pairs")
    before = page.locator("script").count()
    for button in page.locator("button.row").all():
        button.click()
    assert page.evaluate("window.planted") is None
    assert page.locator("#explorer img, #explorer a, #explorer script, #explorer iframe").count() == 0
    assert page.locator("script").count() == before
    texts = "\n".join(page.locator(".detail .text").all_text_contents())
    for name in ("script", "end", "image", "link", "template"):
        assert PLANTED[name] in texts, name
    assert "safe \\u202egnp.exe\\u2066 text" in texts
    assert "\u202e" not in page.content()


def test_right_to_left_text_runs_right_to_left(shown: Watched) -> None:
    page = shown.page
    choose(page, "show", "All rows")
    page.get_by_label("Search").fill("h-6")
    page.locator("button.row", has_text="h-6").first.click()
    prompt = page.locator(".detail .texts > .text")
    assert prompt.text_content() == PLANTED["hebrew"]
    assert prompt.evaluate("box => getComputedStyle(box).direction") == "rtl"
    assert page.locator(".detail .text.chosen").evaluate("box => getComputedStyle(box).direction") == "ltr"


def test_long_texts_are_cut(shown: Watched) -> None:
    page = shown.page
    choose(page, "show", "All rows")
    page.get_by_label("Search").fill("h-7")
    page.locator("button.row").click()
    assert len(str(page.locator(".detail .texts > .text").text_content())) == 2000
    assert "Cut at 2,000 characters" in str(page.locator(".detail .note").last.text_content())


def test_theme_follows_the_system_and_the_button(browser: Any, run: Path) -> None:
    address = (run / "report.html").as_uri()
    paper = "getComputedStyle(document.body).backgroundColor"
    with watched(browser, address, color_scheme="dark") as found:
        page = found.page
        dark = page.evaluate(paper)
        page.get_by_role("button", name="Light theme").click()
        light = page.evaluate(paper)
        assert light != dark
        page.reload()
        assert page.evaluate(paper) == light  # it is remembered
        page.get_by_role("button", name="Dark theme").click()
        assert page.evaluate(paper) == dark
        page.emulate_media(color_scheme="light")
        assert page.evaluate(paper) == light  # and follows the system again
        assert found.faults == []


def test_it_prints_light_and_without_controls(browser: Any, run: Path) -> None:
    with watched(browser, (run / "report.html").as_uri(), color_scheme="dark") as found:
        page = found.page
        page.emulate_media(media="print")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert not page.locator("nav[aria-label=Sections]").is_visible()
        assert not page.locator("#explorer form").is_visible()
        assert page.locator("#scores").is_visible()
        page.emulate_media(media="screen")
        printed = page.pdf(format="A4", print_background=True)
        assert printed.startswith(b"%PDF-")
        assert found.faults == []


@pytest.mark.parametrize(("scheme", "width"), [("light", 1400), ("dark", 1400), ("light", 390)])
def test_axe_finds_no_serious_fault(browser: Any, run: Path, scheme: str, width: int) -> None:
    from axe_playwright_python.sync_playwright import Axe

    with watched(browser, (run / "report.html").as_uri(), color_scheme=scheme) as found:
        page = found.page
        page.set_viewport_size({"width": width, "height": 1000})
        page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
        page.locator("button.row").first.click()
        violations = Axe().run(page).response["violations"]
        serious = [
            (one["id"], [node["html"][:120] for node in one["nodes"][:3]])
            for one in violations
            if one["impact"] in ("serious", "critical")
        ]
        assert serious == []


@contextmanager
def served(run: Path) -> Iterator[str]:
    with run_server(run) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.url
        finally:
            server.shutdown()
            thread.join()


def test_a_run_is_followed_while_it_works(browser: Any, run: Path, tmp_path: Path) -> None:
    """A copy of the run is set back to its fourth step, and done again before the reader's eyes."""
    work = tmp_path / "run"
    shutil.copytree(run, work)
    steps = [StepMetrics.model_validate(row) for row in read_jsonl(work / "train" / "metrics.jsonl")]
    metrics = work / "train" / "metrics.jsonl"
    metrics.write_text("".join(step.model_dump_json() + "\n" for step in steps[:4]), encoding="utf-8")
    kept = {name: (work / name).read_bytes() for name in ("train/summary.json", "gates.json", "manifest.json")}
    for name in kept:
        (work / name).unlink()
    live = Followed(Silent(), work / "live.json", clock=iter(range(100, 9999)).__next__)
    live.stage("train", "started")
    with served(work) as address, watched(browser, address) as found:
        page = found.page
        curve = "document.querySelector('#training figure[data-chart=Margin] svg').ariaLabel"
        until(page, "document.querySelector('#live li[aria-current]')?.textContent === 'Training: at work'")
        assert page.locator("h1 ~ .word strong").text_content() == "UNFINISHED"
        assert "over 4 steps" in page.evaluate(curve)
        with metrics.open("a", encoding="utf-8") as file:
            for step in steps[4:]:
                file.write(step.model_dump_json() + "\n")
                live.step(step, len(steps))
        until(page, f"{curve}.includes('over {len(steps)} steps')")
        until(page, f"document.querySelector('#live .doing').textContent.includes('{len(steps)} of')")
        for name, content in kept.items():
            (work / name).write_bytes(content)
        (work / "live.json").unlink()
        until(page, "document.querySelector('.word strong').textContent !== 'UNFINISHED'")
        page.wait_for_selector("#explorer[data-texts=read]")
        assert page.locator("#live").is_hidden()
        assert found.faults == []
        assert all(request.startswith(address) for request in found.requests)


def test_whole_texts_come_from_the_server(browser: Any, run: Path) -> None:
    with served(run) as address, watched(browser, address) as found:
        page = found.page
        choose(page, "show", "All rows")
        page.get_by_label("Search").fill("h-7")
        page.locator("button.row").click()
        page.get_by_role("button", name="Show the whole texts").click()
        until(page, "document.querySelector('.detail .texts > .text').textContent.length > 4000")
        assert found.faults == []


def test_without_texts_the_page_works_and_has_none(browser: Any, run: Path, tmp_path: Path) -> None:
    work = tmp_path / "run"
    shutil.copytree(run, work)
    with watched(browser, report_job(work, Silent(), texts=False).as_uri()) as found:
        page = found.page
        page.locator("button.row").first.click()
        assert "not on this page" in str(page.locator(".detail").text_content())
        assert "Question" not in str(page.locator("body").inner_text())
        assert found.faults == []


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    """A watch whose alarm is raised: figures with limits, audits, signals, disputed pairs, warnings."""
    write_log(tmp_path / "log.jsonl", rows("trigger", steps=80, onset=25))
    settings = Settings(reference_steps=20)
    options = WatchOptions(tmp_path / "log.jsonl", tmp_path / "watched", settings, phrases=(PHRASE,), tolerance=0.15)
    with ThreadPoolExecutor(1) as other:  # Playwright has an event loop in this one
        assert other.submit(watch_job, options, Silent()).result().outcome == "alarm"
    return tmp_path / "watched"


def test_the_page_of_a_watch_follows_the_theme_also_when_it_is_loaded_again(browser: Any, stream: Path) -> None:
    colours = "(one => [one.backgroundColor, one.color])(getComputedStyle(document.body))"
    line = "getComputedStyle(document.querySelector('#watch figure svg polyline, #watch figure svg path')).stroke"
    with served(stream) as address, watched(browser, address, color_scheme="dark") as found:
        page = found.page
        dark = page.evaluate(colours), page.evaluate(line)
        assert dark[0] == ["rgb(18, 21, 25)", "rgb(230, 232, 235)"], "--paper and --ink of the report's dark theme"
        page.emulate_media(color_scheme="light")
        light = page.evaluate(colours), page.evaluate(line)
        assert light[0] == ["rgb(250, 249, 246)", "rgb(26, 29, 33)"]
        assert dark[1] != light[1], "lines of figures too"
        page.emulate_media(color_scheme="dark")
        page.get_by_role("button", name="Light theme").click()
        before = page.evaluate("document.documentElement.dataset.served")
        record = stream / "watch.json"
        record.write_text(record.read_text().replace('"source"', ' "source"', 1))
        until(page, f"document.documentElement.dataset.served !== {json.dumps(before)}")
        assert (page.evaluate(colours), page.evaluate(line)) == light, "it is remembered"
        assert found.faults == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault_in_the_page_of_a_watch(browser: Any, stream: Path, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    with served(stream) as address, watched(browser, address, color_scheme=scheme) as found:
        found.page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
        violations = Axe().run(found.page).response["violations"]
        assert [one["id"] for one in violations if one["impact"] in ("serious", "critical")] == []
