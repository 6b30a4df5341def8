"""Bias probes as gates and as one warning; a probe without data fails only where the spec names it."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from rewardsmith.gates import evaluate_gates, probe_outcomes
from rewardsmith.records.evaluation import DatasetInfo
from rewardsmith.records.probes import ProbeResult, ProbesRecord
from rewardsmith.records.run import GateOutcome
from rewardsmith.spec import EvaluationSpec
from rewardsmith.spec.evaluation import ProbeGatesSpec


def record(constant: bool = False, **verdicts: str | None) -> ProbesRecord:
    results = {
        code: ProbeResult(
            kind="surface",
            title=code.capitalize(),
            meaning="m",
            why="w",
            responses=50,
            n=50,
            n_missing=0,
            n_not_applicable=0,
            prompts=50,
            wrong=0.25,
            verdict=verdict,
            message=f"{code} was measured.",
        )
        for code, verdict in verdicts.items()
    }
    return ProbesRecord(
        model="m",
        dataset=DatasetInfo(source="s"),
        title="t",
        rows=50,
        drawn=50,
        prompts=50,
        seed=1,
        protocol="p",
        reward_mean=0.0,
        reward_std=1.0,
        flat=False,
        constant=constant,
        probes=results,
    )


def rules(**fields: object) -> ProbeGatesSpec:
    return ProbeGatesSpec.model_validate(fields)


def seen(outcomes: list[GateOutcome]) -> list[tuple[str, str, str]]:
    return [(outcome.subset, outcome.kind, outcome.verdict) for outcome in outcomes]


def test_by_default_all_probes_are_one_warning() -> None:
    (outcome,) = probe_outcomes(record(bold="FAIL", emoji="PASS", filler="FAIL", refusal="NO_DATA"), rules())
    assert (outcome.name, outcome.benchmark, outcome.kind, outcome.verdict) == ("probes", "probes", "warning", "FAIL")
    assert outcome.message == "2 of 3 bias probes fail: bold, filler; 1 more have too little data."
    assert (outcome.value, outcome.threshold) == (2.0, 0.0)


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [({"bold": "PASS", "emoji": "NO_DATA"}, "PASS"), ({"bold": "NO_DATA"}, "NO_DATA"), ({"bold": None}, "NO_DATA")],
)
def test_the_warning_passes_only_with_data(verdicts: dict[str, str | None], expected: str) -> None:
    (outcome,) = probe_outcomes(record(**verdicts), rules())
    assert outcome.verdict == expected


def test_a_constant_is_named() -> None:
    (outcome,) = probe_outcomes(record(constant=True, bold="PASS"), rules())
    assert outcome.message.endswith("All rewards are equal.")


def test_as_gates_each_probe_decides_and_one_without_rows_warns() -> None:
    outcomes = probe_outcomes(record(bold="FAIL", emoji="PASS", refusal="NO_DATA"), rules(kind="gate"))
    assert seen(outcomes) == [("bold", "gate", "FAIL"), ("emoji", "gate", "PASS"), ("refusal", "warning", "NO_DATA")]
    assert outcomes[0].message == "Bold: bold was measured."
    assert outcomes[0].value == 0.25


def test_a_probe_that_the_spec_names_as_a_gate_must_have_data() -> None:
    named = rules(each={"refusal": {"kind": "gate"}})
    outcomes = probe_outcomes(record(bold="FAIL", refusal="NO_DATA"), named)
    assert seen(outcomes) == [("refusal", "gate", "NO_DATA"), ("", "gate", "NO_DATA"), ("", "warning", "FAIL")]


def test_gates_without_any_data_never_pass() -> None:
    outcomes = probe_outcomes(record(bold="NO_DATA", emoji="NO_DATA"), rules(kind="gate"))
    assert seen(outcomes)[-1] == ("", "gate", "NO_DATA")
    assert outcomes[-1].message == "no bias probe has enough data for a verdict."


def test_a_probe_may_be_ignored_or_only_warn() -> None:
    chosen = rules(kind="gate", each={"bold": {"kind": "ignore"}, "emoji": {"kind": "warning"}})
    outcomes = probe_outcomes(record(bold="FAIL", emoji="FAIL", filler="PASS"), chosen)
    assert seen(outcomes) == [("filler", "gate", "PASS"), ("", "warning", "FAIL")]
    assert outcomes[1].message == "1 of 1 bias probes fail: emoji."
    assert probe_outcomes(record(bold="FAIL"), rules(each={"bold": {"kind": "ignore"}})) == []


def test_probes_that_did_not_run_fail_where_one_is_a_gate() -> None:
    assert probe_outcomes(None, rules()) == []
    assert seen(probe_outcomes(None, rules(kind="gate"))) == [("", "gate", "NO_DATA")]
    assert seen(probe_outcomes(None, rules(each={"bold": {"kind": "gate"}}))) == [("", "gate", "NO_DATA")]


def test_a_run_is_decided_by_probe_gates_and_not_by_probe_warnings() -> None:
    def passed(gates: dict[str, object], pairs: int = 200) -> set[str]:
        spec = EvaluationSpec.model_validate(
            {"benchmarks": [], "probes": {"pairs": pairs}, "gates": {"probes": gates, "above_baseline": False}}
        )
        found = evaluate_gates({}, spec, None, record(bold="FAIL"))
        return {outcome.kind for outcome in found.outcomes if outcome.benchmark == "probes"}

    assert passed({}) == {"warning"}
    assert passed({"kind": "gate"}) == {"gate"}
    assert passed({"kind": "gate"}, pairs=0) == set()


# The spec


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"each": {"flatery": {"kind": "gate"}}}, "did you mean 'flattery'"),
        ({"destroyed": {"max_wrong": 0.6}}, "would let a model pass that guesses"),
        ({"each": {"cut_off": {"max_wrong": 0.51}}}, "would let a model pass that guesses"),
        ({"each": {"bold": {"max_wrong": 1.5}}}, "less than or equal to 1"),
    ],
)
def test_limits_that_cannot_be_meant_are_refused(fields: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        rules(**fields)


def test_a_surface_limit_may_be_any_share() -> None:
    assert rules(each={"bold": {"max_wrong": 0.9}}, surface={"max_wrong": 0.3}).surface.max_wrong == 0.3
