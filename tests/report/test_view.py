"""From records to what is shown: verdict, readings, constraints, map, numbers. Planted faults beside sound runs."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_records import HOSTILE, SUBSETS, build_run, check_record, manifest, metrics, train_record

from rewardsmith.records.checks import Finding
from rewardsmith.records.evaluation import BenchmarkResult
from rewardsmith.records.run import GatesRecord
from rewardsmith.records.training import MonitorRecord, TrendTest
from rewardsmith.report import formatting
from rewardsmith.report.reading import RowRewards, RunRecords, read_run
from rewardsmith.report.sections.checklist import checklist
from rewardsmith.report.sections.component_map import component_map
from rewardsmith.report.sections.rewards import Histogram, reward_rows, reward_scale
from rewardsmith.report.sections.scores import score_table
from rewardsmith.report.sections.training import MAX_POINTS, training_curves, training_section, trend_in_words
from rewardsmith.report.sections.verdict import run_verdict
from rewardsmith.report.view import provenance_section, view


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> RunRecords:
    return read_run(build_run(tmp_path_factory.mktemp("run")))


LEAK = Finding(
    code="leaked_prompt", severity="error", title="t", meaning="m", why="w", fix="f", count=3, of=100, examples=()
)


def passing(records: RunRecords) -> RunRecords:
    outcomes = tuple(outcome.model_copy(update={"verdict": "PASS"}) for outcome in records.gates.outcomes)
    return replace(records, gates=GatesRecord(passed=True, outcomes=outcomes))


# verdict


def test_a_subset_keeps_its_name_at_the_beginning_of_a_message(records: RunRecords) -> None:
    first = records.gates.outcomes[0]
    named = first.model_copy(update={"verdict": "FAIL", "subset": "c", "message": "c 75.0 % is below 80.0 %."})
    plain = first.model_copy(update={"verdict": "FAIL", "subset": "c", "message": "counted none."})
    verdict = run_verdict(replace(records, gates=GatesRecord(passed=False, outcomes=(named, plain))))
    said = [reason.text for reason in verdict.reasons]
    assert any(text.endswith("c 75.0 % is below 80.0 %.") for text in said)
    assert any(text.endswith("Counted none.") for text in said)


def test_a_failed_gate_fails_the_run_and_is_the_reason(records: RunRecords) -> None:
    verdict = run_verdict(records)
    assert verdict.word == "FAIL"
    assert [reason.text for reason in verdict.reasons] == [
        "rewardbench2: 2 of 2560 rewards could not be computed. Find out why: a missing reward is no evidence.",
        "rewardbench2: Math 28.3 % (21.0 % to 37.0 %) cannot be told from chance (25.0 %).",
    ]
    assert "the kind that Math asks for" in " ".join(verdict.next_steps)


def test_all_gates_passing_is_a_pass_whatever_the_manifest_says(records: RunRecords) -> None:
    verdict = run_verdict(passing(records))
    assert records.manifest.verdict == "fail"
    assert verdict.word == "PASS"
    assert verdict.reasons[0].text == "All 10 gates pass."


def test_a_failed_warning_is_named_and_does_not_fail(records: RunRecords) -> None:
    run = passing(records)
    outcomes = [
        outcome.model_copy(update={"verdict": "FAIL"}) if outcome.name == "ood_gap" else outcome
        for outcome in run.gates.outcomes
    ]
    verdict = run_verdict(replace(run, gates=GatesRecord(passed=True, outcomes=tuple(outcomes))))
    assert verdict.word == "PASS"
    assert [reason.state for reason in verdict.reasons] == ["good", "warn"]


def test_missing_gates_are_no_pass(records: RunRecords) -> None:
    verdict = run_verdict(replace(records, gates=None, benchmarks={}))
    assert verdict.word == "UNFINISHED"
    assert verdict.reasons[-1].text == "Not run: evaluate, gates."


def test_a_stopped_training_is_stopped_even_with_passing_gates(records: RunRecords) -> None:
    train = train_record()
    monitor = MonitorRecord.model_validate(
        train.monitor.model_dump() | {"stopped": True, "verdict": "collapse", "advice": "look at the labels"}
    )
    verdict = run_verdict(replace(passing(records), train=train.model_copy(update={"monitor": monitor})))
    assert verdict.word == "STOPPED"
    assert verdict.reasons[0].text == "The margin monitor saw a collapse after 61 steps and stopped."
    assert verdict.next_steps[0] == "Look at the labels."


def test_a_failed_check_gives_its_findings_as_reasons_and_their_fix_as_next_step() -> None:
    check = check_record().model_copy(update={"passed": False, "failed_on": ("over_length",)})
    verdict = run_verdict(RunRecords(check=check))
    assert verdict.word == "FAIL"
    assert verdict.reasons[0].text == "Pairs over the length limit: 31 of 2,012."
    assert verdict.next_steps[0] == "Raise data.max_length, or accept the loss."


def test_many_reasons_are_cut_with_their_number(records: RunRecords) -> None:
    outcomes = tuple(outcome.model_copy(update={"verdict": "NO_DATA"}) for outcome in records.gates.outcomes)
    verdict = run_verdict(replace(records, gates=GatesRecord(passed=False, outcomes=outcomes)))
    assert len(verdict.reasons) == 9
    assert verdict.reasons[-1].text == "4 more reasons below."
    assert "Evaluate rewardbench2: a gate without data fails." in verdict.next_steps


# scores


def test_readings_say_which_baselines_an_interval_clears(records: RunRecords) -> None:
    table = score_table("rewardbench2", records.benchmarks["rewardbench2"])
    assert {row.name: row.reading for row in table.rows} == {
        "Factuality": "above every baseline",
        "Precise IF": "above every baseline",
        "Math": "not above chance; 2 rewards missing (unknown 2)",
        "Safety": "above every baseline",
        "Focus": "above chance, not above length-only",
        "Ties": "above every baseline",
    }
    assert table.average.reading == "above chance and length-only; 2 rewards missing (unknown 2)"
    assert table.baseline_names == ("random", "length-only", "bag of words")


def test_the_figure_of_a_score_says_what_it_lacks(records: RunRecords) -> None:
    notes = [figure.note for figure in view(records).figures if "chance" in figure.note]
    assert notes[0].endswith(", 2 rewards missing")  # rewardbench2, whose Math lacks two
    assert not any("missing" in note for note in notes[1:])


def test_an_interval_that_touches_chance_is_not_above_it_and_one_under_it_is_below(records: RunRecords) -> None:
    result = records.benchmarks["held_out"]
    touching = {"a": (0.5, 0.7), "b": (0.30, 0.45)}
    subsets = {
        name: result.subsets["helpful"].model_copy(update={"ci_low": low, "ci_high": high})
        for name, (low, high) in touching.items()
    }
    rows = score_table("x", result.model_copy(update={"subsets": subsets})).rows
    assert [row.reading for row in rows] == ["not above chance", "below chance"]


def test_benchmarks_stand_in_the_spec_s_order_with_held_out_last(records: RunRecords) -> None:
    assert list(records.benchmarks) == ["rewardbench2", "held_out"]


# constraints


def test_a_sound_run_has_one_violated_constraint_the_planted_missing_rewards(records: RunRecords) -> None:
    found = checklist(records)
    assert [rule for rule, evidence in found.items() if evidence.word != "verified"] == ["Every response has a reward"]
    assert found["EOS is the last token"].found == "3,940 of 3,940 texts end in <|im_end|> (id 2)"
    assert found["Base no larger than the policy"].found == "base 4.21M, policy 8M"
    assert found["Every row is counted"].found == "read 2,012 rows = 1,970 kept + 42 rejected"
    assert found["Weights are safetensors"].found == "1 safetensors file, 4.1 kB"


@pytest.mark.parametrize(
    ("rule", "part", "change"),
    [
        ("Every row is counted", "check", {"kept": 1969}),
        ("Held-out pairs are not trained on", "check", {"findings": (LEAK,)}),
        ("Pad differs from EOS", "rendering", {"pad_token_id": 2}),
        ("EOS is the last token", "tokens", {"last_tokens": {"<|im_end|>": 3939, "\n": 1}}),
        ("Over-length policy is explicit", "tokens", {"quantiles": {"max": 513}}),
        ("Trained on the data that passed", "train", {"data_fingerprint": "other"}),
        ("Base no larger than the policy", "train", {"policy_parameters": 4_000_000}),
        ("One epoch", "train", {"pairs": 3740}),
    ],
)
def test_a_planted_fault_is_a_violated_constraint(
    records: RunRecords, rule: str, part: str, change: dict[str, object]
) -> None:
    check, train = records.check, records.train
    if part == "train":
        train = train.model_copy(update=change)
    elif part == "check":
        check = check.model_copy(update=change)
    else:
        check = check.model_copy(update={part: getattr(check, part).model_copy(update=change)})
    found = checklist(replace(records, check=check, train=train))
    assert found[rule].word == "violated"


def test_a_pickled_weight_beside_safetensors_is_violated(records: RunRecords) -> None:
    files = {**records.files, "pytorch_model.bin": 10}
    found = checklist(replace(records, files=files))
    assert found["Weights are safetensors"].word == "violated"


def test_without_records_nothing_is_verified_but_what_the_spec_says(records: RunRecords) -> None:
    found = {rule: evidence.word for rule, evidence in checklist(RunRecords(spec=records.spec)).items()}
    assert {rule for rule, word in found.items() if word == "verified"} == {
        "No remote code",
        "Bradley-Terry loss",
        "target_margin never reaches the loss",
        "No normalisation",
    }
    assert {one.word for one in checklist(RunRecords()).values()} == {"not verified"}


# component map


def test_the_map_tells_this_run_s_facts(records: RunRecords) -> None:
    stages = {stage.key: stage.progress for stage in component_map(records)}
    assert stages["data"].facts == ("2 sources, 2,012 rows read", "1,204 distinct prompts")
    assert stages["contract"].edge == ("1,870", "pairs")
    assert stages["evaluation"].state == "bad"
    assert stages["gates"].facts == ("8 of 10 gates pass", "0 warnings")
    assert stages["checkpoint"].word == "saved"


def test_stages_without_records_are_not_run() -> None:
    assert {stage.progress.word for stage in component_map(RunRecords()) if stage.key != "report"} == {"not run"}


def test_steps_without_a_summary_are_training_that_has_not_finished() -> None:
    steps = tuple(step.model_dump() for step in metrics(7))
    progress = {stage.key: stage.progress for stage in component_map(RunRecords(steps=steps))}["training"]
    assert (progress.word, progress.facts) == ("not finished", ("7 steps so far",))


# curves


def test_short_series_are_shown_as_recorded() -> None:
    steps = [step.model_dump() for step in metrics(61)]
    curves = training_curves(steps)
    assert curves.block == 1
    assert curves.window == 3
    np.testing.assert_array_equal(curves.series["loss"], [step["loss"] for step in steps])
    assert curves.smooth["loss"][1] == pytest.approx(sum(step["loss"] for step in steps[:3]) / 3)
    assert math.isnan(curves.series["grad_norm"][29])
    assert math.isnan(curves.smooth["grad_norm"][29])


def test_long_series_become_means_of_equal_blocks() -> None:
    steps = [{"step": index, "loss": float(index)} for index in range(1, 1002)]
    curves = training_curves(steps)
    assert curves.block == 4
    assert len(curves.steps) == 251 <= MAX_POINTS
    assert curves.series["loss"][0] == 2.5
    assert curves.series["loss"][-1] == 1001.0
    assert curves.last_step == 1001


def test_the_trend_in_words() -> None:
    text = trend_in_words(train_record().monitor)
    assert text.startswith(
        "The mean margin rises: 0.0262 per step (interval 0.0246 to 0.0279), p < 0.0001 over 61 steps"
    )
    assert "fell 23 times" in text


def test_a_flat_margin_that_is_called_learning_is_said_to_lie_above_zero() -> None:
    monitor = train_record().monitor
    flat = monitor.model_copy(update={"verdict": "learning", "trend": replace_direction(monitor.trend, "flat")})
    said = trend_in_words(flat)
    assert "neither rises nor falls" in said
    assert "above zero in the second half" in said
    stalled = flat.model_copy(update={"verdict": "stall"})
    assert "above zero" not in trend_in_words(stalled)
    assert "above zero" not in trend_in_words(monitor)


def replace_direction(trend: TrendTest, direction: str) -> TrendTest:
    return trend.model_copy(update={"direction": direction})


# rewards


def drawn(result: BenchmarkResult, rows: dict[str, RowRewards]) -> dict[str, Histogram | None]:
    return {name: found for name, (_, found) in reward_rows(result, rows, reward_scale(result)).items()}


def test_rewards_are_split_into_chosen_and_rejected_over_the_whole_range(records: RunRecords) -> None:
    rows, result = records.rewards["rewardbench2"], records.benchmarks["rewardbench2"]
    found = drawn(result, rows)
    ties = found["Ties"]
    assert sum(ties.chosen) == pytest.approx(1)
    assert sum(ties.rejected) == pytest.approx(1)
    assert ties.medians[0] == pytest.approx(np.median(rows["Ties"].chosen))
    assert (ties.edges[0], ties.edges[-1]) == (result.rewards.min, result.rewards.max)
    assert next(iter(found)) == "All rewards"


def test_without_rows_the_recorded_histogram_is_shown_and_equal_rewards_do_not_break_it(records: RunRecords) -> None:
    result = records.benchmarks["held_out"]
    assert sum(drawn(result, {})["All rewards"].whole) == pytest.approx(1)
    equal = result.rewards.model_copy(update={"min": 1.0, "max": 1.0, "std": 0.0, "histogram": (200,), "quantiles": {}})
    flat = drawn(result.model_copy(update={"rewards": equal, "rewards_by_subset": {}}), {})
    assert flat["All rewards"].whole == (1.0,)
    assert drawn(result, {"a": RowRewards((), ())})["All rewards"] is None


# numbers and texts


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (formatting.percent(0.64175), "64.2"),
        (formatting.percent(-0.004), "−0.4"),
        (formatting.percent(-0.0001), "0.0"),
        (formatting.percent(None), "–"),
        (formatting.decimal(-1234.5), "−1,234.50"),
        (formatting.significant(0.000012345), "1.23e−5"),
        (formatting.significant(float("nan")), "–"),
        (formatting.count(1940), "1,940"),
        (formatting.p_value(0.00003), "< 0.0001"),
        (formatting.p_value(0.2301), "0.2301"),
    ],
)
def test_numbers(shown: formatting.Number, text: str) -> None:
    assert shown.text == text


def test_words_for_sizes_and_times() -> None:
    assert [formatting.parameters(number) for number in (950, 4_211_456, 8_030_261_248)] == ["950", "4.21M", "8.03B"]
    assert [formatting.duration(seconds) for seconds in (0.44, 37.4, 59.7, 200, 7510)] == [
        "0.4 s",
        "37 s",
        "1 min 0 s",
        "3 min 20 s",
        "2 h 5 min",
    ]


@given(st.text())
def test_visible_text_has_no_control_or_direction_character(text: str) -> None:
    shown = formatting.visible(text, 1000)
    assert not any(ord(character) < 32 or 0x202A <= ord(character) <= 0x202E for character in shown)
    assert not any(0x2066 <= ord(character) <= 0x2069 or ord(character) == 0x7F for character in shown)
    shown.encode("utf-8")


def test_text_is_cut() -> None:
    assert formatting.visible("a" * 500) == "a" * 240 + "…"


def test_a_view_of_nothing_and_of_hostile_names_is_whole(tmp_path: Path) -> None:
    training = next(section for section in view(RunRecords()).sections if section.anchor == "training")
    assert (training.absent, training.blocks) == (("Training", "train/summary.json"), ())
    report = view(read_run(build_run(tmp_path, hostile=True)))
    assert "\u202e" not in repr(report).replace("\\u202e", "")
    shown = {section.anchor: section for section in report.sections}
    findings = [block for block in shown["data"].blocks if block.badge]
    assert findings[0].title.startswith("Pairs over the length limit<script>")
    assert HOSTILE.startswith("<script>")
    assert len(shown["scores"].blocks[0].grids[0].rows) == len(SUBSETS)


def test_forward_passes_are_counted_by_kernel_where_the_record_says() -> None:
    older = train_record()
    facts = dict(training_section(older, ()).blocks[0].facts)
    assert not {"Attention", "Optimizer"} & facts.keys()
    newer = older.model_copy(
        update={
            "optimizer": "adamw_torch_fused",
            "tokens_per_micro_batch": 23936,
            "kernels": {"flex": 3, "varlen": 1200},
        }
    )
    facts = dict(training_section(newer, ()).blocks[0].facts)
    assert facts["Optimizer"] == "adamw_torch_fused"
    assert facts["Attention"] == "forward passes of at most 23,936 tokens by kernel: flex 3, varlen 1,200"


# the time of stages beside what was predicted


def stage_rows(took: dict[str, tuple[float, float | None]], **train: object) -> tuple[list[str], list[list[str]]]:
    """Labels of the columns, and the cells of the rows and of the total, as text."""
    plain = manifest()
    one = plain.stages["train"]
    stages = {
        name: one.model_copy(update={"seconds": seconds, "predicted": predicted})
        for name, (seconds, predicted) in took.items()
    }
    section = provenance_section(plain.model_copy(update={"stages": stages}), train_record().model_copy(update=train))
    (grid,) = section.blocks[0].grids
    rows = [*grid.rows, *([grid.total] if grid.total else [])]
    return [column.label for column in grid.columns], [[str(cell) for cell in row] for row in rows]


def test_the_time_of_each_stage_stands_beside_what_was_predicted() -> None:
    took = {"check": (4.0, 2.0), "train": (30.0, 60.0), "labels": (1.0, 0.0), "gates": (0.5, None)}
    labels, rows = stage_rows(took)
    assert labels[:5] == ["Stage", "State", "Time", "Predicted", "Time / predicted"]
    assert [row[:1] + row[2:5] for row in rows] == [
        ["check", "4.0 s", "2.0 s", "2"],
        ["train", "30 s", "1 min 0 s", "0.5"],
        ["labels", "1.0 s", "0.0 s", "–"],
        ["gates", "0.5 s", "–", "–"],
        ["those predicted", "35 s", "1 min 2 s", "0.565"],  # 35 of 62 seconds
    ]


def test_a_continued_training_is_said_to_be_a_part() -> None:
    _, rows = stage_rows({"train": (30.0, 60.0)}, resumed_from_step=400)
    assert rows[0][-1] == "continued from step 400: the time of the rest"


def test_a_run_of_an_older_version_has_no_predictions() -> None:
    labels, rows = stage_rows({"check": (4.0, None), "train": (30.0, None)})
    assert labels == ["Stage", "State", "Time", "Ended", "Inputs", "Detail"]
    assert [row[2] for row in rows] == ["4.0 s", "30 s"]
