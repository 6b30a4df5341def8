"""Every gate with a fault it must catch and clean data it must pass; missing data never passes."""

import pytest

from rewardsmith.errors import SpecError
from rewardsmith.gates import check_thresholds, evaluate_gates, skill
from rewardsmith.records.evaluation import BenchmarkResult, DatasetInfo, RewardSummary, SubsetResult
from rewardsmith.records.training import MonitorRecord, TrainRecord, TrendTest
from rewardsmith.spec import EvaluationSpec, GatesSpec


def subset(score=0.6, low=0.5, high=0.7, baseline=0.25, n_missing=0):
    return SubsetResult(
        n=100,
        score=score,
        ci_low=low,
        ci_high=high,
        baseline=baseline,
        length_baseline=0.3,
        p_value=0.01,
        n_missing=n_missing,
    )


REWARDS = RewardSummary(n=400, mean=0.0, std=1.0, min=-3.0, max=3.0, distinct=390, texts=400)


def result(subsets=None, **changes):
    fields = {
        "benchmark": "rewardbench2",
        "title": "mine.jsonl",
        "average": 0.6,
        "average_ci": (0.55, 0.65),
        "average_baseline": 0.25,
        "protocol": "…",
        "dataset": DatasetInfo(source="mine.jsonl"),
        "subsets": subsets or {"Math": subset()},
        "rewards": REWARDS,
    }
    return BenchmarkResult(**fields | changes)


def held_out(**changes):
    fields = {"average": 0.7, "average_ci": (0.66, 0.74), "average_baseline": 0.5, "held_out": True}
    return result({"all": subset(0.7, 0.66, 0.74, 0.5)}, **fields | changes)


def spec(**gates):
    """Without the gate on length, which has a file of its own: these results hold no pairs."""
    gates = {"length": {"max_gap": None}} | gates
    return EvaluationSpec.model_validate({"benchmarks": [{"name": "rewardbench2", "data": "embedded"}], "gates": gates})


def gate(benchmark=None, own=None, rules=None, train=None):
    results = {"rewardbench2": benchmark or result(), "held_out": own or held_out()}
    return evaluate_gates(results, rules or spec(), train)


def pick(record, name, benchmark="rewardbench2"):
    found = [o for o in record.outcomes if o.name == name and (o.benchmark == benchmark or not o.benchmark)]
    assert found, f"no outcome {name}"
    return found if len(found) > 1 else found[0]


def test_a_sound_model_passes_everything():
    record = gate()
    assert record.passed
    assert {outcome.verdict for outcome in record.outcomes} == {"PASS"}
    assert {o.name for o in record.outcomes} == {"computed", "baseline", "spread_std", "spread_distinct", "ood_gap"}


# Above the baseline


def test_an_interval_that_holds_chance_fails_and_the_others_pass():
    record = gate(result({"Math": subset(), "Focus": subset(0.3, 0.24, 0.36)}))
    verdicts = {outcome.subset: outcome.verdict for outcome in pick(record, "baseline")}
    assert verdicts == {"Math": "PASS", "Focus": "FAIL"}
    focus = next(outcome for outcome in record.outcomes if outcome.subset == "Focus")
    assert focus.message == "Focus 30.0 % (24.0 % to 36.0 %) cannot be told from chance (25.0 %)."
    assert not record.passed


def test_an_interval_below_chance_is_called_that():
    outcome = pick(gate(result({"Math": subset(0.1, 0.05, 0.2)})), "baseline")
    assert outcome.verdict == "FAIL"
    assert "is below chance (25.0 %): the model prefers wrong responses" in outcome.message


@pytest.mark.parametrize("low", [0.25, 0.25 + 1e-12])
def test_an_interval_that_starts_at_chance_is_not_above_it(low):
    assert pick(gate(result({"Math": subset(low=low)})), "baseline").verdict == "FAIL"


def test_the_baseline_gate_can_be_left_out():
    record = gate(result({"Math": subset(0.2, 0.1, 0.3)}), rules=spec(above_baseline=False))
    assert record.passed
    assert "baseline" not in {outcome.name for outcome in record.outcomes}


def test_held_out_pairs_are_gated_on_their_average():
    own = held_out(average=0.52, average_ci=(0.48, 0.56))
    outcome = pick(gate(own=own), "baseline", "held_out")
    assert (outcome.subset, outcome.verdict, outcome.value, outcome.threshold) == ("average", "FAIL", 0.48, 0.5)


# Missing data


def test_a_benchmark_without_results_is_no_data_and_fails():
    record = evaluate_gates({"held_out": held_out()}, spec(minimum={"rewardbench2": {"Math": 0.4}}))
    assert not record.passed
    outcomes = [outcome for outcome in record.outcomes if outcome.benchmark == "rewardbench2"]
    assert {outcome.name: outcome.verdict for outcome in outcomes} == {
        "computed": "NO_DATA",
        "minimum": "NO_DATA",
        "ood_gap": "NO_DATA",
    }


def test_nothing_evaluated_fails():
    record = evaluate_gates({}, EvaluationSpec(benchmarks=()))
    assert [outcome.verdict for outcome in record.outcomes] == ["NO_DATA"]
    assert not record.passed


def test_missing_rewards_fail_the_subset_whatever_its_score():
    rules = spec(minimum={"rewardbench2": {"Math": 0.4, "average": 0.4}})
    record = gate(result({"Math": subset(0.99, 0.98, 1.0, n_missing=3)}, rewards=REWARDS), rules=rules)
    assert pick(record, "computed").message.startswith("3 of 403 rewards could not be computed (unknown 3)")
    assert pick(record, "computed").verdict == "FAIL"
    assert pick(record, "baseline").verdict == "FAIL"
    assert [outcome.verdict for outcome in pick(record, "minimum")] == ["FAIL", "FAIL"]


def test_a_missing_subset_is_no_data():
    outcome = pick(gate(rules=spec(minimum={"rewardbench2": {"Safety": 0.5}})), "minimum")
    assert (outcome.verdict, outcome.value) == ("NO_DATA", None)
    assert not gate(rules=spec(minimum={"rewardbench2": {"Safety": 0.5}})).passed


def test_rewards_that_are_not_there_have_no_spread():
    empty = RewardSummary(n=0, mean=None, std=None, min=None, max=None, distinct=0, texts=400)
    record = gate(result({"Math": subset(n_missing=400)}, rewards=empty))
    assert pick(record, "spread_std").verdict == pick(record, "spread_distinct").verdict == "NO_DATA"


def test_a_run_without_held_out_pairs_has_no_gap():
    record = evaluate_gates({"rewardbench2": result()}, spec())
    assert pick(record, "ood_gap").verdict == "NO_DATA"
    assert record.passed  # the gap is a warning by default
    assert not evaluate_gates({"rewardbench2": result()}, spec(ood={"kind": "gate"})).passed


def test_an_average_without_number_is_no_data():
    rules = spec(minimum={"rewardbench2": {"average": 0.4}})
    record = gate(result(average=None, average_ci=None), rules=rules)
    assert pick(record, "minimum").verdict == "NO_DATA"
    assert pick(record, "ood_gap").verdict == "NO_DATA"
    assert pick(gate(own=held_out(average_ci=None)), "baseline", "held_out").verdict == "NO_DATA"


# Minimum


@pytest.mark.parametrize(("threshold", "verdict"), [(0.59, "PASS"), (0.6, "PASS"), (0.61, "FAIL")])
def test_minimum_of_a_subset_and_of_the_average(threshold, verdict):
    rules = spec(minimum={"rewardbench2": {"Math": threshold, "average": threshold}})
    outcomes = pick(gate(rules=rules), "minimum")
    assert [(o.subset, o.verdict, o.value) for o in outcomes] == [("Math", verdict, 0.6), ("average", verdict, 0.6)]


def test_minimum_of_the_held_out_pairs():
    rules = spec(minimum={"held_out": {"average": 0.75}})
    outcome = pick(gate(rules=rules), "minimum", "held_out")
    assert (outcome.verdict, outcome.message) == ("FAIL", "average 70.0 % is under the minimum of 75.0 %.")


# Spread


def test_collapsed_rewards_fail():
    outcome = pick(gate(result(rewards=REWARDS.model_copy(update={"std": 0.01}))), "spread_std")
    assert (outcome.verdict, outcome.value, outcome.threshold) == ("FAIL", 0.01, 0.05)
    assert "tell a policy nothing" in outcome.message


def test_few_distinct_rewards_fail():
    outcome = pick(gate(result(rewards=REWARDS.model_copy(update={"distinct": 100}))), "spread_distinct")
    assert (outcome.verdict, outcome.value) == ("FAIL", 0.25)


def test_equal_texts_do_not_count_against_distinct_rewards():
    shared = REWARDS.model_copy(update={"n": 4000})  # each text stands in ten rows
    assert pick(gate(result(rewards=shared)), "spread_distinct").verdict == "PASS"


def test_spread_can_be_left_out():
    record = gate(rules=spec(spread={"min_std": None, "min_distinct": None}))
    assert not {"spread_std", "spread_distinct"} & {outcome.name for outcome in record.outcomes}


# Gap


def test_skill_by_hand():
    assert skill(0.25, 0.25) == 0.0
    assert skill(1.0, 0.5) == 1.0
    assert skill(0.7, 0.5) == pytest.approx(0.4)
    assert skill(0.1, 0.25) == pytest.approx(-0.2)


@pytest.mark.parametrize(
    ("own", "other", "verdict", "words"),
    [
        (0.95, 0.40, "FAIL", "Distribution-specific fitting"),  # skills 0.9 and 0.2
        (0.55, 0.85, "FAIL", "Benchmark-specific fitting"),  # skills 0.1 and 0.8
        (0.70, 0.55, "PASS", "skill 0.40 on the held-out pairs, 0.40 on rewardbench2"),
    ],
)
def test_the_gap_is_flagged_both_ways(own, other, verdict, words):
    outcome = pick(gate(result(average=other), held_out(average=own)), "ood_gap")
    assert outcome.verdict == verdict
    assert words in outcome.message
    assert outcome.value == pytest.approx(skill(own, 0.5) - skill(other, 0.25))


def test_the_gap_warns_or_decides_as_the_spec_says():
    wide = (result(average=0.3), held_out(average=0.95))
    assert gate(*wide).passed
    assert not gate(*wide, rules=spec(ood={"kind": "gate"})).passed
    assert "ood_gap" not in {o.name for o in gate(*wide, rules=spec(ood={"max_gap": None})).outcomes}


# Training


def train(verdict="learning", outside=0, reward_range=(-25.0, 25.0)):
    trend = TrendTest(
        method="Mann-Kendall",
        n=40,
        slope_per_step=0.01,
        slope_low=0.0,
        slope_high=0.02,
        p_value=0.001,
        direction="rising",
    )
    monitor = MonitorRecord(steps=40, falls=3, trend=trend, verdict=verdict, stopped=False, advice="Look at the data.")
    return TrainRecord.model_construct(monitor=monitor, reward_range=reward_range, outside_reward_range=outside)


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [("learning", "PASS"), ("stall", "FAIL"), ("collapse", "FAIL"), ("too short", "NO_DATA")],
)
def test_the_margin_is_a_warning(verdict, expected):
    record = gate(train=train(verdict))
    outcome = pick(record, "margin")
    assert (outcome.verdict, outcome.kind, record.passed) == (expected, "warning", True)
    assert outcome.message.endswith("Look at the data.")


def test_the_reward_range_is_a_warning():
    said = [pick(gate(train=train(outside=count)), "reward_range").message for count in (7, 1)]
    assert said == [
        "7 steps of training with a reward outside -25 to 25.",
        "1 step of training with a reward outside -25 to 25.",
    ]
    assert pick(gate(train=train()), "reward_range").verdict == "PASS"
    assert "reward_range" not in {o.name for o in gate(train=train(reward_range=None)).outcomes}


# Thresholds before training

BASELINES = {
    "rewardbench2": {"Math": 0.25, "Precise IF": 0.5, "average": 0.33},
    "held_out": {"all": 0.5, "average": 0.5},
}


def thresholds(**minimum):
    return GatesSpec.model_validate({"minimum": minimum})


def test_thresholds_above_the_rows_own_baseline_are_accepted():
    check_thresholds(thresholds(rewardbench2={"Math": 0.26, "Precise IF": 0.51, "average": 0.34}), BASELINES)


@pytest.mark.parametrize(
    ("minimum", "where", "problem", "fix"),
    [
        ({"rewardbench2": {"Precise IF": 0.5}}, "rewardbench2.Precise IF", "not above the random baseline 0.5", "0.5"),
        ({"rewardbench2": {"Precise IF": 0.4}}, "rewardbench2.Precise IF", "a model that guesses would pass", "0.5"),
        ({"rewardbench2": {"average": 0.33}}, "rewardbench2.average", "not above the random baseline 0.33", "0.33"),
        ({"rewardbench2": {"Maths": 0.5}}, "rewardbench2.Maths", "have no subset 'Maths'", "'Math'"),
        ({"rewardbench": {"Math": 0.5}}, "minimum.rewardbench", "no benchmark 'rewardbench'", "'rewardbench2'"),
        ({"held_out": {"average": 0.5}}, "held_out.average", "not above the random baseline 0.5", "0.5"),
    ],
)
def test_thresholds_that_mean_nothing_are_refused(minimum, where, problem, fix):
    with pytest.raises(SpecError) as caught:
        check_thresholds(thresholds(**minimum), BASELINES)
    assert where in caught.value.where
    assert problem in caught.value.problem
    assert fix in caught.value.fix
