"""Planted snippets, one hit and one near-miss for each rule: nothing is missed, and nothing else is found."""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rewardsmith.doctor import applied_rules, fixes, load_rules, scan_text

BOOK = load_rules()
CASES = tomllib.loads((Path(__file__).with_name("corpus.toml")).read_text("utf-8"))["case"]
IDS = [f"{case['rule']}-{case['file']}" for case in CASES]
each_case = pytest.mark.parametrize("case", CASES, ids=IDS)


def text_of(case: dict[str, Any], name: str) -> str:
    return case[name].removeprefix("\n")


def applied(case: dict[str, Any], version: str | None = None) -> list[Any]:
    own = {case["rule"].partition("-")[0]: version} if version else {}
    return applied_rules(BOOK.rules, {**BOOK.newest, **case["against"], **own})


def found(case: dict[str, Any], text: str, version: str | None = None) -> Counter[tuple[str, int]]:
    """(rule, line) of every finding; the flags of one command count once, as the command prints them."""
    scanned = scan_text(Path(case["file"]), text, applied(case, version))
    assert not scanned.unreadable
    first: dict[Any, tuple[str, int]] = {}
    for number, (cell, hit) in enumerate(scanned.hits):
        key = (hit.command, hit.rule.id) if hit.command >= 0 else number
        first.setdefault(key, (hit.rule.id, scanned.line(cell, hit)))
    return Counter(first.values())


def wanted(case: dict[str, Any]) -> Counter[tuple[str, int]]:
    return Counter((case["rule"], line) for line in case["lines"])


@each_case
def test_the_planted_name_is_found_where_it_stands_and_nothing_else(case: dict[str, Any]) -> None:
    assert found(case, text_of(case, "hit")) == wanted(case)


@each_case
def test_the_near_miss_is_left_alone(case: dict[str, Any]) -> None:
    assert found(case, text_of(case, "miss")) == Counter()


@each_case
def test_the_same_text_is_sound_in_an_earlier_version(case: dict[str, Any]) -> None:
    rules = {rule for rule, _ in found(case, text_of(case, "hit"), case["before"])}
    assert case["rule"] not in rules


@each_case
def test_its_severity_is_that_of_the_rule(case: dict[str, Any]) -> None:
    scanned = scan_text(Path(case["file"]), text_of(case, "hit"), applied(case))
    assert {hit.severity for _, hit in scanned.hits} == {case.get("severity", "error")}


@each_case
def test_the_fix_is_exactly_the_expected_text_and_finds_nothing_more_to_do(case: dict[str, Any]) -> None:
    rules = applied(case)
    text = text_of(case, "hit")
    done = list(fixes([scan_text(Path(case["file"]), text, rules)], rules))
    after = done[0].after if done else text
    assert after == (text_of(case, "fixed") if "fixed" in case else text)
    assert not list(fixes([scan_text(Path(case["file"]), after, rules)], rules))


def test_precision_and_recall_over_the_corpus_are_one() -> None:
    planted, reported = Counter[tuple[str, int, int]](), Counter[tuple[str, int, int]]()
    for number, case in enumerate(CASES):
        planted += Counter({(rule, line, number): n for (rule, line), n in wanted(case).items()})
        for text in ("hit", "miss"):
            reported += Counter(
                {(rule, line, number): n for (rule, line), n in found(case, text_of(case, text)).items()}
            )
    right = (planted & reported).total()
    assert (right / reported.total(), right / planted.total()) == (1.0, 1.0)
    assert 2 * len(CASES) >= 40


def test_every_rule_has_a_case() -> None:
    assert {rule.id for rule in BOOK.rules} == {case["rule"] for case in CASES}
