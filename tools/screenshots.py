"""The pictures of the report in `docs/images/`, light and dark, from a finished run.

    make screenshots                                       runs the quickstart first where it has not run
    python tools/screenshots.py runs/quickstart/report.html
    python tools/screenshots.py runs/real-400x384/report.html --name real      after `make real`: docs/real.md

Chromium comes from the system, its driver from the extra `browser` (`make test-browser` installs both).
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
SIZE = {"width": 1280, "height": 860}  # CSS pixels: what a reader sees first, verdict and scores


def main() -> None:
    """Write NAME-light.png and NAME-dark.png."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=Path, help="report.html of a run")
    parser.add_argument("--name", default="report", help="of the pictures")
    asked = parser.parse_args()
    page = asked.page.resolve()
    command = next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
    )
    if command is None:
        raise SystemExit("no Chromium is installed; fix: apt-get install chromium")
    IMAGES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=command, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            context = browser.new_context(viewport=SIZE, color_scheme=scheme, device_scale_factor=1.5)
            tab = context.new_page()
            tab.goto(page.as_uri())
            tab.screenshot(path=IMAGES / f"{asked.name}-{scheme}.png")
            print(IMAGES / f"{asked.name}-{scheme}.png")
        browser.close()


if __name__ == "__main__":
    main()
