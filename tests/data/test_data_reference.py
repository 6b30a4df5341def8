"""docs/data_contract.md has every finding."""

from __future__ import annotations

from pages.data import contract_page
from rewardsmith.data.registry import CHECKS


def test_every_finding_stands_there_once() -> None:
    page = contract_page()
    assert [code for code in CHECKS if page.count(f"(`{code}`, ") != 1] == []
