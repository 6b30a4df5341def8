"""What stands beside the scores on a terminal: the recorded numbers, and nothing where there is nothing."""

import io
import itertools
import re

import numpy as np
from rich.console import Console

from rewardsmith.evaluation import find_benchmark, pair_rows, score_rows
from rewardsmith.records.evaluation import DatasetInfo, LabelAgreement
from rewardsmith.report.sections.analyses import analysis_blocks
from rewardsmith.report.terminal import print_block
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


def printed(result):
    """The blocks beside a benchmark's scores by title, as a wide terminal shows them."""
    shown = {}
    for block in analysis_blocks({"pairs": result}):
        out = io.StringIO()
        print_block(Console(file=out, width=200), block)
        shown[block.title.split(":")[0]] = out.getvalue()
    return shown


def test_blocks_of_pairs():
    result = evaluate(np.random.default_rng(0).normal((1, 0), size=(120, 2)))
    shown = printed(result)
    assert list(shown) == ["Spread within a prompt", "Length", "Calibration"]
    found = result.analysis
    length = shown["Length"].splitlines()[-2].split()
    longer = found.length.longer_wrong
    assert length[:2] == ["here", f"{found.length.pearson:.2f}".replace("-", "−")]
    assert (
        f"{100 * longer.accuracy:.1f} ({100 * longer.ci_low:.1f} to {100 * longer.ci_high:.1f}, {longer.n} pairs)"
        in (shown["Length"])
    )
    assert length[-2:] == [f"{100 * result.average:.1f}", f"{100 * found.length.calibrated.average:.1f}"]
    calibration = re.split(r" {2,}|\n", shown["Calibration"])
    facts = dict(itertools.pairwise(calibration))
    assert facts["temperature"].startswith(f"{found.calibration.temperature:.3g} (")
    assert facts["ECE, noise taken out"].startswith(f"{found.calibration.ece_debiased:.3g} (")
    assert facts["Brier score"] == f"{found.calibration.brier:.3g}"


def test_a_collapsed_model_is_said_to_be_one():
    shown = printed(evaluate(np.zeros((30, 2))))
    assert "here: All 60 rewards are the same." in shown["Spread within a prompt"]
    assert "The mean margin is not positive" in shown["Calibration"]


def test_a_ceiling_and_a_missing_part():
    result = evaluate(np.random.default_rng(0).normal((1, 0), size=(5, 2)))
    ceiling = LabelAgreement(
        comparisons=7, labels=14, agreement=0.8, agreement_ci=(0.6, 0.9), ceiling_low=0.8, ceiling_high=0.887
    )
    only = result.analysis.model_copy(update={"length": None, "calibration": None, "label_agreement": ceiling})
    rewards = result.rewards.model_copy(update={"within_prompt": None, "flags": ()})
    assert printed(result.model_copy(update={"analysis": only, "rewards": rewards})) == {
        "Repeated labels": "Repeated labels: here\n7 comparisons were labelled more than once, with 14 labels in all: "
        "on these the best model is right in 80.0 to 88.7 %.\n"
    }
    assert printed(result.model_copy(update={"analysis": None, "rewards": rewards})) == {}


def test_names_of_facts_are_whole_where_there_is_room():
    result = evaluate(np.random.default_rng(0).normal((1, 0), size=(120, 2)))
    assert "ECE of a calibrated model" in printed(result)["Calibration"]


def test_what_only_a_drawing_shows_is_not_spoken_of():
    result = evaluate(np.random.default_rng(0).normal((1, 0), size=(120, 2)))
    assert "dashed" not in printed(result)["Calibration"]
