"""A run directory as the stages would leave it, for the tests of the report: plausible, and hostile on request.

build_run(folder)                       a run that fails two gates
build_run(folder, hostile=True)         the same with markup, quotes and direction controls in every free text
Parts are left out by removing their file.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import report_data
from report_analyses import analysed

from rewardsmith.evaluation import skills
from rewardsmith.records.checkpoint import CheckpointRecord, GoldenReward
from rewardsmith.records.checks import CheckRecord, ExampleRow, Finding, RejectedRow, RenderingRecord, SourceCount
from rewardsmith.records.evaluation import BenchmarkResult, DatasetInfo, RewardSummary, RowResult, SubsetResult
from rewardsmith.records.files import write_json, write_jsonl, write_text
from rewardsmith.records.run import GateOutcome, GatesRecord, Manifest, StageRecord
from rewardsmith.records.training import MonitorRecord, StepMetrics, SuspectPair, TrainRecord, TrendTest
from rewardsmith.spec import Spec, dump_spec

HOSTILE = (
    "<script>alert(1)</script></style><img src=x onerror=alert(2)> \"'`|*_[x](javascript:1) "
    "\u202etxt.exe\u2066 @team https://evil.example\n| next"
)

SUBSETS = {  # score, low, high, baseline, length-only, bag of words, p, n
    "Factuality": (0.6417, 0.5526, 0.7219, 0.25, 0.2667, 0.3083, 1e-19, 120),
    "Precise IF": (0.5250, 0.4362, 0.6123, 0.25, 0.3250, 0.3417, 3e-11, 120),
    "Math": (0.2833, 0.2103, 0.3697, 0.25, 0.2417, 0.2583, 0.2301, 120),
    "Safety": (0.8917, 0.8231, 0.9357, 0.25, 0.3000, 0.6417, 1e-48, 120),
    "Focus": (0.7250, 0.6392, 0.7969, 0.25, 0.7083, 0.2917, 2e-27, 120),
    "Ties": (0.4012, 0.2795, 0.5231, 0.1402, 0.1333, 0.1874, 0.0005, 40),
}


def build_run(folder: Path, *, steps: int = 61, hostile: bool = False) -> Path:
    """Write every record of a run; returns the folder."""
    text = HOSTILE if hostile else ""
    write_text(folder / "spec.yaml", dump_spec(spec()))
    write_json(folder / "manifest.json", manifest(text))
    write_json(folder / "check.json", check_record(text))
    write_jsonl(folder / "rejected.jsonl", rejected(text))
    write_json(folder / "train" / "summary.json", train_record(steps, text))
    write_jsonl(folder / "train" / "metrics.jsonl", metrics(steps))
    write_json(folder / "label_noise.json", report_data.label_noise(text))
    rows = benchmark_rows(text)
    results = {"rewardbench2": analysed(benchmark(rows, text), 4, text), "held_out": analysed(held_out(text), 2, text)}
    for key, result in results.items():
        write_json(folder / "eval" / key / "results.json", result)
    write_json(folder / "ood.json", skills(results))
    write_jsonl(folder / "eval" / "rewardbench2" / "rows.jsonl", rows)
    write_json(folder / "gates.json", gates(text))
    (folder / "model").mkdir()
    (folder / "model" / "model.safetensors").write_bytes(b"\0" * 4096)
    (folder / "model" / "config.json").write_text("{}")
    return folder


def spec() -> Spec:
    return Spec.model_validate(
        {
            "name": "quickstart",
            "policy": {"parameters": "8M"},
            "evaluation": {"gates": {"minimum": {"rewardbench2": {"Safety": 0.8, "average": 0.5}}}},
        }
    )


def rendering() -> RenderingRecord:
    return RenderingRecord(
        template_sha256="9f2c41d07be85a3366d1c9e0b7a4f2d18c5e6b7a9d0f1e2c3b4a596877869504",
        conversational=True,
        eos_token="<|im_end|>",
        eos_token_id=2,
        bos_token_id=None,
        pad_token="<|pad|>",
        pad_token_id=0,
        added_pad_token=True,
        changed_template=True,
        max_length=512,
        over_length="drop",
    )


def check_record(text: str = "") -> CheckRecord:
    findings = (
        Finding(
            code="over_length",
            severity="warning",
            title="Pairs over the length limit" + text,
            meaning="31 pairs have a text of more than 512 tokens and were left out",
            why="a text that is cut loses its end, and the reward is read at the end",
            fix="raise data.max_length, or accept the loss",
            count=31,
            of=2012,
            examples=(
                ExampleRow(file="pairs/helpful.jsonl", row=214, id="helpful-214" + text, detail="618 tokens" + text),
                ExampleRow(file="pairs/helpful.jsonl", row=870, id="helpful-870", detail="544 tokens"),
            ),
        ),
        Finding(
            code="identical_pair",
            severity="warning",
            title="Chosen and rejected are the same text",
            meaning="11 pairs compare a text with itself",
            why="such a pair teaches nothing and costs a step",
            fix="nothing: the pairs were left out",
            count=11,
            of=2012,
            examples=(ExampleRow(file="pairs/safety.csv", row=12, id="s-12", detail="I can’t help with that."),),
        ),
        Finding(
            code="pad_added",
            severity="note",
            title="A pad token was added",
            meaning="the tokenizer had none",
            why="pad must differ from EOS, or the reward is read one token early",
            fix="nothing: it is saved with the checkpoint",
            count=1,
            of=1,
        ),
    )
    return CheckRecord(
        fingerprint="c1" * 32,
        data_fingerprint="d4e5f60718293a4b" * 4,
        passed=True,
        read=2012,
        kept=1970,
        rejected=42,
        rejected_by_reason={"over_length": 31, "identical_pair": 11},
        train_pairs=1870,
        held_out_pairs=100,
        held_out_origin="5 % of distinct prompts, never parted",
        distinct_prompts=1204,
        sources=(
            SourceCount(
                source="pairs/helpful.jsonl" + text, role="train", read=1412, kept=1381, rejected=31, sha256="ab" * 32
            ),
            SourceCount(source="pairs/safety.csv", role="train", read=600, kept=589, rejected=11, sha256="cd" * 32),
        ),
        findings=findings,
        tokens=report_data.tokens(text),
        **{name: make(text) for name, make in report_data.SECTIONS.items()},
        rendering=rendering(),
    )


def rejected(text: str = "") -> list[RejectedRow]:
    return [
        RejectedRow(
            source="pairs/helpful.jsonl",
            row=214 + 3 * index,
            id=f"helpful-{index}{text}",
            role="train",
            reason="over_length",
            detail=f"{520 + index} tokens{text}",
        )
        for index in range(31)
    ] + [
        RejectedRow(source="pairs/safety.csv", row=12 + index, id="", role="train", reason="identical_pair")
        for index in range(11)
    ]


def metrics(steps: int) -> list[StepMetrics]:
    """A margin that rises with noise; one step without a gradient norm."""
    rng = np.random.default_rng(5)
    rows = []
    for step in range(1, steps + 1):
        progress = step / steps
        margin = 1.6 * progress**1.3 + float(rng.normal(0, 0.12))
        spread = 0.2 + 1.5 * progress
        rows.append(
            StepMetrics(
                step=step,
                pairs=32,
                tokens=9800,
                loss=math.log(1 + math.exp(-margin)) + 0.03 * float(rng.random()),
                accuracy=min(1.0, 0.5 + 0.3 * progress + float(rng.normal(0, 0.04))),
                margin_mean=margin,
                margin_p10=margin - 1.2 * spread,
                margin_p50=margin,
                margin_p90=margin + 1.2 * spread,
                reward_mean=0.1 + 0.4 * progress + float(rng.normal(0, 0.05)),
                reward_std=spread,
                reward_min=-2.2 * spread,
                reward_max=2.6 * spread,
                grad_norm=None if step == 30 else 1.1 + 1.5 * float(rng.random()) * (1 - 0.5 * progress),
                learning_rate=3e-4 * min(step / 3, 0.5 * (1 + math.cos(math.pi * progress))),
                seconds=0.61,
                pairs_per_second=32 / 0.61,
                tokens_per_second=9800 / 0.61,
            )
        )
    return rows


def train_record(steps: int = 61, text: str = "") -> TrainRecord:
    return TrainRecord(
        fingerprint="e7" * 32,
        data_fingerprint="d4e5f60718293a4b" * 4,
        backend="trl",
        base_model="embedded" + text,
        base_parameters=4_211_456,
        policy_parameters=8_000_000,
        trainable_parameters=4_211_840,
        adapter="none",
        layout="padded",
        device="cpu (2 threads)",
        dtype="float32",
        processes=1,
        pairs=1870,
        pairs_per_step=32,
        steps=steps,
        seconds=37.4,
        pairs_per_second=50.0,
        tokens=597_800,
        resumed_from_step=None,
        first_loss=0.7013,
        last_loss=0.2894,
        monitor=MonitorRecord(
            steps=steps,
            falls=23,
            trend=TrendTest(
                method="Mann-Kendall, Hamed-Rao correction, Theil-Sen slope",
                n=steps,
                slope_per_step=1.6 / steps,
                slope_low=1.5 / steps,
                slope_high=1.7 / steps,
                p_value=1.3e-17,
                direction="rising",
            ),
            verdict="learning",
            stopped=False,
            suspects=tuple(
                SuspectPair(
                    id=f"helpful-{index}{text}",
                    source="pairs/helpful.jsonl",
                    subset="helpful",
                    step=40 + index,
                    margin=-3.4 + 0.2 * index,
                )
                for index in range(8)
            ),
        ),
        reward_range=(-25.0, 25.0),
        outside_reward_range=0,
    )


def benchmark_rows(text: str = "") -> list[RowResult]:
    rng = np.random.default_rng(11)
    rows = []
    for subset, (score, *_, n) in SUBSETS.items():
        for index in range(n):
            chosen = float(rng.normal(1.9 * score - 0.2, 0.9))
            others = [float(value) for value in rng.normal(-0.5 * score, 0.8, 3)]
            missing = subset == "Math" and index < 2
            rows.append(
                RowResult(
                    id=str(index),
                    subset=subset + (text if subset == "Focus" else ""),
                    rewards=(None if missing else chosen, *others),
                    n_chosen=1,
                    result=float(chosen > max(others)),
                )
            )
    return rows


def summary(values: list[float]) -> RewardSummary:
    array = np.array(values)
    shares = {"p01": 0.01, "p05": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "p99": 0.99}
    return RewardSummary(
        n=len(values),
        mean=float(array.mean()),
        std=float(array.std()),
        min=float(array.min()),
        max=float(array.max()),
        distinct=len(set(values)),
        texts=len(values),
        quantiles={name: float(np.quantile(array, share)) for name, share in shares.items()},
        histogram=tuple(np.histogram(array, bins=40)[0].tolist()),
    )


def benchmark(rows: list[RowResult], text: str = "") -> BenchmarkResult:
    by_subset: dict[str, list[float]] = {}
    for row in rows:
        by_subset.setdefault(row.subset, []).extend(reward for reward in row.rewards if reward is not None)
    return BenchmarkResult(
        benchmark="rewardbench2",
        title="six.jsonl" + text,
        average=0.5780,
        average_ci=(0.5447, 0.6113),
        average_baseline=0.2317,
        protocol="a row counts 1/m when the chosen one is among the m that reach the maximum; average is unweighted."
        + text,
        dataset=DatasetInfo(source="eval/six.jsonl" + text, sha256="77" * 32),
        subsets={
            name + (text if name == "Focus" else ""): SubsetResult(
                n=n,
                score=score,
                ci_low=low,
                ci_high=high,
                baseline=baseline,
                length_baseline=length,
                p_value=p,
                n_missing=2 if name == "Math" else 0,
                interval="bootstrap over 20 groups, 2000 resamples" if name == "Ties" else "Wilson",
                extra_baselines={"bag of words": words},
            )
            for name, (score, low, high, baseline, length, words, p, n) in SUBSETS.items()
        },
        metrics={"average_length_baseline": 0.3292, "ties_accuracy_" + text: 0.45, "ties_margin": None},
        rewards=summary([value for values in by_subset.values() for value in values]),
        rewards_by_subset={name: summary(values) for name, values in by_subset.items()},
        model="model/",
    )


def held_out(text: str = "") -> BenchmarkResult:
    rng = np.random.default_rng(3)
    rewards = summary(rng.normal(0.3, 1.1, 200).tolist())
    parts = {"helpful": (0.7286, 0.6148, 0.8190, 70), "safety": (0.8333, 0.6644, 0.9266, 30)}
    return BenchmarkResult(
        benchmark="pairs",
        title="held-out pairs",
        average=0.76,
        average_ci=(0.6677, 0.8331),
        average_baseline=0.5,
        protocol="a pair is right when its chosen response has the higher reward; equal rewards count half.",
        dataset=DatasetInfo(source="5 % of distinct prompts" + text),
        subsets={
            name: SubsetResult(
                n=n,
                score=score,
                ci_low=low,
                ci_high=high,
                baseline=0.5,
                length_baseline=0.5214,
                p_value=1e-4,
                interval="Wilson",
            )
            for name, (score, low, high, n) in parts.items()
        },
        metrics={"loss": 0.5102, "margin_mean": 1.031, "temperature": 0.87},
        rewards=rewards,
        rewards_by_subset={"helpful": rewards, "safety": rewards},
        held_out=True,
    )


def gates(text: str = "") -> GatesRecord:
    outcomes = [
        GateOutcome(
            name="computed",
            kind="gate",
            verdict="FAIL",
            benchmark="rewardbench2",
            value=2,
            threshold=0,
            message="2 of 2560 rewards could not be computed. Find out why: a missing reward is no evidence." + text,
        ),
        *(
            GateOutcome(
                name="baseline",
                kind="gate",
                verdict="PASS" if low > baseline and name != "Math" else "FAIL",
                benchmark="rewardbench2",
                subset=name,
                value=low,
                threshold=baseline,
                message=f"{name} {100 * score:.1f} % ({100 * low:.1f} % to {100 * high:.1f} %) "
                + ("is above chance" if low > baseline else "cannot be told from chance")
                + f" ({100 * baseline:.1f} %).",
            )
            for name, (score, low, high, baseline, *_) in SUBSETS.items()
        ),
        GateOutcome(
            name="minimum",
            kind="gate",
            verdict="PASS",
            benchmark="rewardbench2",
            subset="Safety",
            value=0.8917,
            threshold=0.8,
            message="Safety 89.2 % reaches the minimum of 80.0 %.",
        ),
        GateOutcome(
            name="spread_std",
            kind="gate",
            verdict="PASS",
            benchmark="rewardbench2",
            value=1.0132,
            threshold=0.05,
            message="reward standard deviation 1.013, at least 0.05 asked.",
        ),
        GateOutcome(
            name="baseline",
            kind="gate",
            verdict="PASS",
            benchmark="held_out",
            subset="average",
            value=0.6677,
            threshold=0.5,
            message="held-out pairs 76.0 % (66.8 % to 83.3 %) is above chance (50.0 %).",
        ),
        GateOutcome(
            name="ood_gap",
            kind="warning",
            verdict="PASS",
            benchmark="rewardbench2",
            value=0.07,
            threshold=0.5,
            message="skill 0.52 on the held-out pairs, 0.45 on rewardbench2 (0 is chance, 1 is perfect).",
        ),
        GateOutcome(
            name="margin",
            kind="warning",
            verdict="PASS",
            value=0.0261,
            message="margin over 61 steps: learning, trend +0.0261 per step.",
        ),
    ]
    return GatesRecord(passed=False, outcomes=tuple(outcomes))


def manifest(text: str = "") -> Manifest:
    seconds = {"check": 4.1, "train": 37.4, "evaluate": 12.9, "gates": 0.02}
    return Manifest(
        name="quickstart" + text,
        spec_fingerprint="5a" * 32,
        versions={
            "rewardsmith": "0.1.0",
            "python": "3.11.9",
            "torch": "2.13.0",
            "transformers": "5.23.0",
            "trl": "1.16.0",
        },
        platform="Linux-6.1 x86_64, 2 cores" + text,
        seeds={"spec": 17, "training": 17},
        hashes={"pairs/helpful.jsonl" + text: "ab" * 32, "chat template": "9f" * 32},
        stages={
            name: StageRecord(
                fingerprint=f"{index}a" * 32,
                state="done",
                seconds=took,
                finished=f"2026-03-14T10:0{index}:00Z",
                detail=text,
            )
            for index, (name, took) in enumerate(seconds.items())
        },
        verdict="fail",
    )


def jsonl(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def checkpoint(**changes: Any) -> CheckpointRecord:
    """What stands in `rewardsmith.json` beside the weights; `changes` replace fields."""
    known = GoldenReward(conversation=(("user", "What is the capital of France?"), ("assistant", "Paris.")), reward=2.5)
    fields = {
        "rewardsmith_version": "0.1.0",
        "base_model": "Qwen/Qwen3-0.6B",
        "rendering": rendering(),
        "data_fingerprints": ("ab" * 32,),
        "golden": (known,),
    }
    return CheckpointRecord.model_validate({**fields, **changes})
