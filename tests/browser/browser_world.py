"""A browser, a page that notes everything it should not have done, and real runs to look at.

Chromium comes from the system, its driver (playwright) and axe-core from PyPI: `make test-browser` installs them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rewardsmith.pipeline import Silent, run_job
from rewardsmith.spec import Spec

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
"""Commands under which a browser is looked for."""

PLANTED = {
    "script": "<script>window.planted = 1</script>",
    "end": "</script><script>window.planted = 2</script>",
    "image": "<img src=x onerror='window.planted = 3'>",
    "link": '<a href="javascript:window.planted = 4">javascript:window.planted = 4</a>',
    "template": "{{ 7 * 7 }} ${7 * 7} <svg onload=window.planted=5>",
    "override": "safe \u202egnp.exe\u2066 text",
    "hebrew": "שלום עולם, מה שלומך?",
    "long": "word " * 900,
}
"""Texts that must stay texts."""


@dataclass
class Watched:
    """A page, and what it has asked for, said or broken."""

    page: Any
    requests: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


@contextmanager
def launched() -> Iterator[Any]:
    """Headless Chromium."""
    from playwright.sync_api import sync_playwright

    command = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    assert command, f"none of {', '.join(CHROMIUM)} is installed: apt-get install chromium"
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=command, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def watched(browser: Any, address: str, **context: Any) -> Iterator[Watched]:
    """A page at an address, its rows read."""
    opened = browser.new_context(viewport={"width": 1400, "height": 1000}, **context)
    page = opened.new_page()
    found = Watched(page)
    page.on("request", lambda request: found.requests.append(request.url))
    page.on("console", lambda message: found.faults.append(message.text) if message.type != "info" else None)
    page.on("pageerror", lambda error: found.faults.append(str(error)))
    page.on("dialog", lambda dialog: (found.faults.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.goto(address)
    if page.locator("#rows-index").count() or page.locator("#explorer[data-rows]").count():
        page.wait_for_selector("#explorer[data-texts=read]")
    yield found
    opened.close()


def real_run(folder: Path, base: Path) -> Path:
    """A run of the main job: ten steps of a tiny model on pairs with planted texts; returns its folder."""
    write_rows(folder / "train.jsonl", [pair("t", number) for number in range(40)])
    write_rows(folder / "held_out.jsonl", [pair("h", number) for number in range(30)])
    spec = {
        "name": "planted",
        "output_dir": str(folder),
        "base_model": {"id": str(base)},
        "data": {
            "train": [{"path": str(folder / "train.jsonl")}],
            "held_out": {"sources": [{"path": str(folder / "held_out.jsonl")}]},
            "max_length": 500,
            "over_length": "truncate_prompt",
            "fail_on": [],  # the questions of both files resemble each other, which is no matter here
        },
        "hardware": {"device": "cpu", "threads": 1},
        "training": {"pairs_per_step": 4, "learning_rate": 1e-3},
        "evaluation": {"bootstrap": 200},
    }
    run_job(Spec.model_validate(spec), Silent())
    return folder / "planted"


def pair(kind: str, number: int) -> dict[str, Any]:
    """A pair; every planted text stands in some prompt, chosen or rejected response."""
    texts = [f"Question {number} of {kind}?", f"answer {number} is right", f"answer {number} is quite wrong"]
    names = list(PLANTED)
    name, place = names[number % len(names)], number // len(names)
    if place < 3 and (name != "long" or place == 0):  # a response that is too long would be left out
        texts[place] = PLANTED[name] if name == "hebrew" else f"{texts[place]} {PLANTED[name]}"
    return {
        "prompt": [{"role": "user", "content": texts[0]}],
        "chosen": [{"role": "assistant", "content": texts[1]}],
        "rejected": [{"role": "assistant", "content": texts[2]}],
        "id": f"{kind}-{number}",
        "subset": ("odd", "even")[number % 2],
    }


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """One object a line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
