"""The causes of a run: the diagnosis joined with the finding that foretold it, the rows, and what to do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from trait_world import drawn_rows, rewards_of

from rewardsmith.evaluation import BenchmarkRows, diagnose_run, find_benchmark, score_rows
from rewardsmith.records.checks import CheckRecord, Finding
from rewardsmith.records.diagnosis import Cause
from rewardsmith.records.evaluation import BenchmarkResult, DatasetInfo
from rewardsmith.records.texts import GroupRules, LoneRule, ShortcutsRecord
from rewardsmith.records.training import MonitorRecord, TrainRecord, TrendTest

NOISE = np.random.default_rng(8)
RULE = LoneRule(more=710, less=90, equal=0, effective=800, coverage=1.0, accuracy=0.8875, ci_low=0.86, ci_high=0.91)


def result(reward: Callable[[str, bool], float], n: int = 100, *, held_out: bool = True) -> BenchmarkResult:
    rows = drawn_rows(n, seed=1)
    found = BenchmarkRows(tuple(rows), DatasetInfo(source="planted"), "Planted")
    rewards = rewards_of(rows, reward)
    return score_rows(find_benchmark("pairs"), found, rewards, seed=1, resamples=200, held_out=held_out).result


def length(text: str, right: bool) -> float:
    return float(len(text))


def sound(text: str, right: bool) -> float:
    return 1.5 * right + float(NOISE.normal())


def checked(*groups: GroupRules, codes: tuple[str, ...] = ("length_shortcut",)) -> CheckRecord:
    """A data check whose sources have these rules; what a diagnosis does not read is left out."""
    record = ShortcutsRecord.model_construct(sources=groups, subsets=(), lengths=(), features=(), pairs=1600)
    findings = tuple(Finding.model_construct(code=code) for code in codes)
    return CheckRecord.model_construct(shortcuts=record, findings=findings)


def group(source: str, rule: LoneRule, grade: str = "strong") -> GroupRules:
    return GroupRules.model_construct(
        source=source, subset="", pairs=800, rules={"characters": rule}, grades={"characters": grade} if grade else {}
    )


def only(results: dict[str, BenchmarkResult], check: CheckRecord | None = None) -> Cause:
    (cause,) = diagnose_run(results, check).causes
    return cause


def test_the_finding_that_foretold_it_is_named_with_its_source_and_the_rows_to_leave_out() -> None:
    even = RULE.model_copy(update={"more": 400, "less": 400, "accuracy": 0.5})
    check = checked(group("even.jsonl", even, ""), group("mixed.jsonl", RULE))
    cause = only({"held_out": result(length)}, check)
    assert (cause.code, cause.title, cause.benchmark) == ("length", "scores length", "held_out")
    assert cause.predicted_by is not None
    assert (cause.predicted_by.code, cause.predicted_by.source) == ("length_shortcut", "mixed.jsonl")
    assert "in mixed.jsonl the longer answer is chosen in 88.8 % (86.0 to 91.0) of 800 pairs" in cause.prediction
    assert "Leave out 620 of the 710 pairs of mixed.jsonl" in cause.fix  # 710 - 90
    assert "leave that source out (800 pairs)" in cause.fix
    assert "score without the length trend" in cause.fix
    assert "correlate at 1.00" in cause.text
    assert len(cause.rows) == 5


def test_a_finding_in_the_other_direction_explains_nothing() -> None:
    cause = only({"held_out": result(lambda text, right: -len(text))}, checked(group("mixed.jsonl", RULE)))
    assert (cause.title, cause.predicted_by) == ("scores shortness", None)
    assert "does not explain it" in cause.prediction


def test_without_a_data_check_nothing_is_said_of_it() -> None:
    cause = only({"held_out": result(length)})
    assert (cause.predicted_by, cause.prediction) == (None, "")


def test_a_sound_model_has_no_cause() -> None:
    record = diagnose_run({"held_out": result(sound)}, checked(group("mixed.jsonl", RULE)))
    assert (record.causes, record.headline, record.sets) == ((), "", ("held_out",))


def test_two_causes_make_one_headline_the_stronger_first() -> None:
    both = result(lambda text, right: len(text) / 150 + text.count("**") / 2)
    record = diagnose_run({"held_out": both})
    assert {cause.code for cause in record.causes} == {"length", "format"}
    first, second = record.causes
    assert (first.value or 0) >= (second.value or 0)
    assert record.headline == f"It {first.title} and {second.title}."


def test_the_held_out_pairs_speak_first_and_other_sets_are_named() -> None:
    cause = only({"other": result(length, held_out=False), "held_out": result(length)})
    assert (cause.benchmark, cause.also) == ("held_out", ("other",))


def test_undertrained_names_what_the_margin_monitor_said() -> None:
    trend = TrendTest(method="", n=9, slope_per_step=0.01, slope_low=0, slope_high=0, p_value=1, direction="flat")
    monitor = MonitorRecord(steps=9, falls=1, trend=trend, verdict="too short", stopped=False)
    train = TrainRecord.model_construct(monitor=monitor, outside_reward_range=0)
    noisy = result(lambda text, right: float(NOISE.normal()), 400)
    (cause,) = diagnose_run({"held_out": noisy}, None, train).causes
    assert cause.code == "undertrained"
    assert "9 steps and says: too short" in cause.prediction


def test_a_hard_benchmark_does_not_make_a_model_undertrained() -> None:
    """The held-out pairs are learnt; the other set is noise."""
    other = result(lambda text, right: float(NOISE.normal()), 400, held_out=False)
    assert diagnose_run({"other": other, "held_out": result(sound)}).causes == ()


def test_too_little_data_is_said_only_where_no_set_can_tell() -> None:
    few = result(sound, 12)
    assert only({"held_out": few}).code == "too_little_data"
    assert diagnose_run({"held_out": few, "other": result(sound, held_out=False)}).causes == ()


def test_results_of_an_older_version_are_not_looked_at() -> None:
    old = result(length).model_copy(update={"diagnosis": None})
    assert diagnose_run({"held_out": old}) == diagnose_run({})
