"""The causes of a run: the diagnosis joined with the finding that foretold it, the rows, and what to do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from trait_world import drawn_rows, rewards_of

from rewardsmith.evaluation import BenchmarkRows, diagnose_run, find_benchmark, score_rows
from rewardsmith.records.checks import CheckRecord, Finding
from rewardsmith.records.diagnosis import Cause, PairShare
from rewardsmith.records.evaluation import BenchmarkResult, DatasetInfo
from rewardsmith.records.texts import GroupRules, LoneRule, ShortcutsRecord
from rewardsmith.records.training import LearningCurveRecord, MonitorRecord, TrainRecord, TrendTest
from rewardsmith.report.sections.diagnosis import diagnosis_section, diagnosis_sentences
from rewardsmith.statistics import wilson_interval

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
    # Right in every pair whose longer answer is right, and in no other: one half where lengths say nothing.
    assert "Until then it is right in 50.0 % (" in cause.fix
    assert cause.fix.endswith("where the longer answer is as often wrong as right, not surely better than guessing.")
    assert "correlate at 1.00" in cause.text
    assert len(cause.rows) == 5


def shared(right: int, n: int) -> PairShare:
    interval = wilson_interval(right, n)
    return PairShare(n=n, accuracy=right / n, ci_low=interval.low, ci_high=interval.high)


def with_trait(found: BenchmarkResult, **changes: object) -> BenchmarkResult:
    assert found.diagnosis is not None
    traits = tuple(trait.model_copy(update=changes) if trait.found else trait for trait in found.diagnosis.traits)
    return found.model_copy(update={"diagnosis": found.diagnosis.model_copy(update={"traits": traits})})


def test_until_then_it_is_right_in_the_mean_of_both_sides() -> None:
    # Right in 20 of 40 and in 57 of 60: (0.5 + 0.95) / 2 = 0.725. Wilson's intervals are 0.3520 to 0.6480 and 0.8630 to
    # 0.9829, so the mean has 0.725 - hypot(0.1480, 0.0870) / 2 = 0.6392 and 0.725 + hypot(0.1480, 0.0329) / 2 = 0.8008.
    cause = only({"held_out": with_trait(result(length), wrong=shared(20, 40), right=shared(57, 60))})
    assert cause.fix.endswith(
        "then train again. Until then it is right in 72.5 % (63.9 to 80.1) of the pairs where the longer answer is as "
        "often wrong as right."
    )


def test_nothing_is_said_of_a_side_with_few_pairs() -> None:
    for wrong, right in ((shared(2, 9), shared(30, 40)), (shared(9, 20), PairShare(n=0))):
        fix = only({"held_out": with_trait(result(length), wrong=wrong, right=right)}).fix
        assert fix.endswith("as many as those in which it is right; then train again.")


def test_what_decides_is_named_and_other_traits_are_held_equal_where_there_are_some() -> None:
    # Agresti and Caffo's error of 51 of 51 less 0 of 49: 52/53 * 1/53 / 53 + 1/51 * 50/51 / 51 = 0.02696², times 1.96.
    assert only({"held_out": result(length)}).text.endswith(
        "length decides 100.0 % (94.7 to 100.0) of the pairs that differ in it, whichever answer is right."
    )
    both = result(lambda text, right: len(text) / 150 + text.count("**") / 2)
    for cause in diagnose_run({"held_out": both}).causes:
        assert ("length" if cause.code == "length" else "`bold` decides") in cause.text
        assert cause.text.endswith("whichever answer is right, with the other traits equal.")


def test_one_pair_is_written_as_one() -> None:
    one = only({"held_out": result(sound, 1)})
    assert one.text == (
        "It orders 100.0 % (20.7 to 100.0) of 1 pair rightly, of 1 prompt: too few to tell a sound model from another."
    )


def test_other_seeds_say_whether_it_is_in_the_data_or_luck() -> None:
    lover, fine = diagnose_run({"held_out": result(length)}), diagnose_run({"held_out": result(sound)})
    for others, sentence in (
        ((lover,), "The other seed shows it too."),
        ((fine,), "The other seed does not show it: it may be luck of this training."),
        ((lover, lover), "Both other seeds show it too."),
        ((lover, lover, lover), "All 3 other seeds show it too."),
        ((lover, fine, fine), "Of 3 other seeds 1 shows it too."),
        ((fine, fine), "None of 2 other seeds shows it: it may be luck of this training."),
    ):
        record = diagnose_run({"held_out": result(length)}, replicas=dict(enumerate(others, start=18)))
        assert record.causes[0].seeds == sentence
        assert sentence in next(diagnosis_sentences(record))
    record = diagnose_run({"held_out": result(sound)}, replicas={18: lover, 19: fine})
    assert (record.causes, record.replicas) == ((), {"18": "It scores length.", "19": ""})
    section = diagnosis_section(record, {"held_out": result(sound)})
    assert section is not None
    assert section.blocks[-1].lines[-2:] == (
        "Seed 18: It scores length.",
        "Seed 19: no trait that was looked for decides its rewards.",
    )
    assert lover.causes[0].seeds == ""


def test_undertrained_says_what_the_learning_curve_said() -> None:
    noisy = result(lambda text, right: float(NOISE.normal()), 400)
    curve = LearningCurveRecord.model_construct(verdict="flat", statement="Flat: more pairs will hardly move it.")
    (cause,) = diagnose_run({"held_out": noisy}, curve=curve).causes
    assert (cause.code, cause.fix) == ("undertrained", "Flat: more pairs will hardly move it.")
    few = curve.model_copy(update={"verdict": "too few points"})
    for without in (None, few):
        (cause,) = diagnose_run({"held_out": noisy}, curve=without).causes
        assert cause.fix.startswith("See by `run --learning-curve 0.25,0.5,1` whether more pairs help")


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


def test_a_benchmark_that_is_ordered_badly_does_not_make_up_for_too_few_pairs() -> None:
    """Noise on 400 pairs is surely under 60 %: the held-out pairs decide, and no set shows a sound model."""
    noise = result(lambda text, right: float(NOISE.normal()), 400, held_out=False)
    assert noise.diagnosis is not None
    assert noise.diagnosis.causes == ("undertrained",)
    assert only({"held_out": result(sound, 12), "other": noise}).code == "too_little_data"


def test_too_few_pairs_are_no_luck_of_a_training() -> None:
    few = {"held_out": result(sound, 12)}
    (cause,) = diagnose_run(few, replicas={18: diagnose_run({"held_out": result(sound)})}).causes
    assert (cause.code, cause.seeds) == ("too_little_data", "")


def test_results_of_an_older_version_are_not_looked_at() -> None:
    old = result(length).model_copy(update={"diagnosis": None})
    assert diagnose_run({"held_out": old}) == diagnose_run({})
