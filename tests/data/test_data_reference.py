"""docs/data_contract.md says what the checks say."""

from __future__ import annotations

from pathlib import Path

from rewardsmith.data.reference import PAGE, contract_page
from rewardsmith.data.registry import CHECKS

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_page_is_what_the_checks_say() -> None:
    assert (DOCS / PAGE).read_text(encoding="utf-8") == contract_page(), "run `make docs`"


def test_every_finding_stands_there_once() -> None:
    page = contract_page()
    assert [code for code in CHECKS if page.count(f"(`{code}`, ") != 1] == []
