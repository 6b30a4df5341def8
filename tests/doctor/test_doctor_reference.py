"""The rules as data: sound, sourced, and what docs/doctor.md says."""

from __future__ import annotations

import re
from pathlib import Path

from packaging.version import Version

from pages.doctor import doctor_page
from rewardsmith.doctor import load_rules
from rewardsmith.doctor.checkpoints import checkpoint_findings

BOOK = load_rules()


def test_every_checkpoint_finding_is_on_the_page() -> None:
    source = Path(checkpoint_findings.__code__.co_filename).read_text("utf-8")
    written = set(re.findall(r'"(checkpoint-[a-z-]+)"', source)) | {"checkpoint-pad", "checkpoint-num-labels"}
    assert written <= set(re.findall(r"\*\*(checkpoint-[a-z-]+)\*\*", doctor_page()))


def test_ranges_are_in_order_and_end_before_the_newest_known() -> None:
    for rule in BOOK.rules:
        ends = [Version(one) for one in (rule.deprecated, rule.since, rule.until) if one]
        assert ends == sorted(set(ends)), rule.id
        assert ends, rule.id
        assert ends[0] <= Version(BOOK.newest[rule.package]), rule.id


def test_every_rule_has_a_source_for_its_first_version() -> None:
    for rule in BOOK.rules:
        assert rule.source.startswith(f"https://pypi.org/project/{rule.package}/"), rule.id
        assert rule.fix, rule.id


def test_names_are_unique() -> None:
    ids = [rule.id for rule in (*BOOK.rules, *BOOK.combinations)]
    assert len(ids) == len(set(ids))


def test_a_rule_holds_from_since_to_before_until_and_warns_before() -> None:
    rule = next(rule for rule in BOOK.rules if rule.id == "trl-ppo-moved")
    versions = ("0.25.1", "0.26.0", "0.28.0", "0.29.0", "1.12.9", "1.13.0")
    assert [rule.severity_in(one) for one in versions] == [None, "warning", "warning", "error", "error", None]
