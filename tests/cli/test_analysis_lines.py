"""The lines beside the scores on a terminal: the recorded numbers, and nothing where there is nothing."""

import numpy as np

from rewardsmith.cli.tables import analysis_lines
from rewardsmith.evaluation import find_benchmark, pair_rows, score_rows
from rewardsmith.records.evaluation import DatasetInfo, LabelAgreement
from rewardsmith.types import Message, PreferencePair


def evaluate(rewards, prompt=str):
    pairs = [
        PreferencePair(
            prompt=(Message("user", prompt(i)),),
            chosen=(Message("assistant", "a" * (3 + i % 4)),),
            rejected=(Message("assistant", "b" * (3 + i % 3)),),
        )
        for i in range(len(rewards))
    ]
    rows = pair_rows(pairs, DatasetInfo(source="here"), "here")
    return score_rows(find_benchmark("pairs"), rows, [np.array(pair) for pair in rewards], seed=1, resamples=200).result


def test_lines_of_pairs():
    result = evaluate(np.random.default_rng(0).normal((1, 0), size=(120, 2)))
    lines = list(analysis_lines(result))
    assert [line.split(":")[0] for line in lines] == ["within a prompt", "length", "calibration"]
    found = result.analysis
    assert f"given the prompt, {found.length.pearson:.2f} (" in lines[1]
    assert f"right in {100 * found.length.longer_wrong.accuracy:.1f} % where the longer response is wrong" in lines[1]
    assert f"(raw {100 * result.average:.1f})" in lines[1]
    assert f"temperature {found.calibration.temperature:.3g}, ECE {found.calibration.ece_debiased:.3f}" in lines[2]


def test_a_collapsed_model_is_said_to_be_one():
    lines = list(analysis_lines(evaluate(np.zeros((30, 2)))))
    assert "rewards: All 60 rewards are the same." in lines
    assert any(line.startswith("calibration: The mean margin is not positive") for line in lines)


def test_a_ceiling_and_a_missing_part():
    result = evaluate(np.random.default_rng(0).normal((1, 0), size=(5, 2)))
    ceiling = LabelAgreement(
        comparisons=7, labels=14, agreement=0.8, agreement_ci=(0.6, 0.9), ceiling_low=0.8, ceiling_high=0.887
    )
    only = result.analysis.model_copy(update={"length": None, "calibration": None, "label_agreement": ceiling})
    rewards = result.rewards.model_copy(update={"within_prompt": None, "flags": ()})
    lines = list(analysis_lines(result.model_copy(update={"analysis": only, "rewards": rewards})))
    assert lines == [
        "labels: 7 comparisons were labelled more than once; on these the best model is right in 80 to 89 %"
    ]
    assert list(analysis_lines(result.model_copy(update={"analysis": None, "rewards": rewards}))) == []
