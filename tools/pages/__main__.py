"""Write the reference pages, or say which are out of date: see `pages`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pages import PAGES, page


def main() -> None:
    """Write or compare the pages that the command names; all of them where it names none."""
    parser = argparse.ArgumentParser(prog="python -m pages", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", metavar="PAGE", help=f"one of {', '.join(PAGES)}; all of them by default")
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 where a page is out of date")
    asked = parser.parse_args()
    unknown = [name for name in asked.names if name not in PAGES]
    if unknown:
        parser.error(f"no such page: {', '.join(unknown)}; the pages are {', '.join(PAGES)}")
    stale = []
    for name in asked.names or PAGES:
        path, text = asked.folder / name, page(name)
        if not asked.check:
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
    if stale:
        sys.exit(f"Out of date, run `make docs`: {', '.join(stale)}")


if __name__ == "__main__":
    main()
