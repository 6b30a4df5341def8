"""Time of an epoch: operations of the model, the share of the peak that is reached, and what the network adds.

    estimate = training_time(setup, lengths, machine, strategy="ddp", devices=8, budget=16384, pairs_per_step=64)

Operations (Kaplan et al. 2020, arXiv 2001.08361, §2.1; Chowdhery et al. 2022, PaLM, arXiv 2204.02311, appendix B): a
forward pass takes 2 a token for each parameter that is multiplied and 4·A a token, layer and attended key; the backward
pass twice that. Frozen matrices have no weight gradient, so that adapters take two thirds of it. Gradient
checkpointing repeats the forward pass.

How many tokens training will compute, from the data's own lengths in `check.json`.

    lengths = lengths_of(check.tokens, pairs=check.train_pairs, source="check.json")
    lengths = assumed_lengths(max_length=1024)           # before any check: every text as long as the limit allows
    batch = micro_batch(lengths, budget=2048, pairs_per_step=64, devices=1, tree=True)

The token tree computes what the two texts of a pair share once; the data contract has counted that for the whole data
set (`tokens.waste`), so that the mean of a pair is known and not estimated.

What is known about how large a reward model should be and how many pairs it wants, each with its source.

    for note in size_notes(base=600_000_000, policy=8_000_000_000, pairs=5_000): print(note.text, note.source)

Published laws give directions and thresholds, not the accuracy of your model on your data: their constants belong to
their own data. What they leave open, `run --learning-curve` measures.

How long each stage of a run takes, not training alone: check, training, labels, evaluation, probes, attack, report.

    times = stage_times(spec, shape, lengths, machine, training=time, rows={"held_out": 162, "rewardbench2": 1865})

Whatever asks the model is counted in forward passes (`forward_operations`) over texts as long as the training
texts; a text's prompt counts once where its row has several. What computes no model (reading, intervals, pages) goes by
rates measured on two CPU cores. These are upper bounds of what is asked: probes that do not apply to a row, and rewards
that are known already, cost nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rewardsmith.modeling.shapes import ModelShape
from rewardsmith.planning.hardware import Machine
from rewardsmith.planning.memory import MicroBatch, Strategy, TrainingSetup
from rewardsmith.records.plan import SourcedNote, StageTime, TimePlan
from rewardsmith.records.texts import LengthBin, TokenSummary
from rewardsmith.spec import BenchmarkSpec, Spec
from rewardsmith.spec.evaluation import DESTROYED_PROBES, HELD_OUT, SURFACE_PROBES


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lengths of the training texts, in tokens.

    Attributes:
        pairs: training pairs, where known.
        tree: tokens of a pair as a tree, on average.
        padded: tokens of a pair, both texts as long as the longer one, on average.
        text: of a text, on average.
        attended: keys that a token attends to, on average.
        longest: of the longest text.
        source: where the numbers are from, in words.
    """

    pairs: int | None
    tree: float
    padded: float
    text: float
    attended: float
    longest: float
    source: str

    def of_pair(self, *, tree: bool) -> float:
        """Tokens of a pair in a layout."""
        return self.tree if tree else self.padded


def lengths_of(tokens: TokenSummary, *, pairs: int, source: str) -> Lengths:
    """Lengths as the data contract found them.

    A record without `waste` (an older one) knows no shared prefixes: its trees count as both texts in full.
    """
    text = tokens.tokens / max(tokens.texts, 1)
    tree = tokens.waste.tree / max(pairs, 1) if tokens.waste else 2 * text
    return Lengths(
        pairs=pairs,
        tree=tree,
        # In length-sorted batches a text is padded to about its pair's longer side; the contract counted file order.
        padded=max(2 * text, tree),
        text=text,
        attended=attended_keys(tokens.histogram, text),
        longest=float(tokens.quantiles.get("max", text)),
        source=source,
    )


def assumed_lengths(max_length: int, pairs: int | None = None) -> Lengths:
    """Before any check: every text is as long as the limit allows, and shares nothing. An upper bound."""
    return Lengths(
        pairs=pairs,
        tree=2.0 * max_length,
        padded=2.0 * max_length,
        text=float(max_length),
        attended=(max_length + 1) / 2,
        longest=float(max_length),
        source=f"no check.json yet: every text is taken as long as data.max_length ({max_length})",
    )


def attended_keys(histogram: Sequence[LengthBin], text: float) -> float:
    """Keys that a token attends to on average: a text of L tokens has L·(L + 1)/2 of them for its L tokens.

    The mean over tokens is Σ L·(L + 1)/2 / Σ L; a bin stands for its middle. Without a histogram all texts are of the
    mean length.
    """
    middles = [((bin_.low + bin_.high) / 2, bin_.chosen + bin_.rejected) for bin_ in histogram]
    total = sum(length * count for length, count in middles)
    if not total:
        return (text + 1) / 2
    return sum(length * (length + 1) / 2 * count for length, count in middles) / total


def micro_batch(lengths: Lengths, *, budget: int, pairs_per_step: int, devices: int, tree: bool) -> MicroBatch:
    """What one forward pass holds: the pairs of a step, cut at `budget` tokens, dealt to `devices`.

    A pair that is longer than the budget has a forward pass of its own; a step that is smaller is one pass.
    """
    step = pairs_per_step * lengths.of_pair(tree=tree)
    largest_pair = max(lengths.of_pair(tree=tree), min(2 * lengths.longest, step))
    tokens = min(max(budget, largest_pair), step)
    return MicroBatch(tokens=tokens, several=passes(step, budget, devices) > 1, tree=tree)


def passes(step_tokens: float, budget: float, devices: int) -> int:
    """Forward passes of one device in a step."""
    return max(1, math.ceil(math.ceil(step_tokens / budget) / devices))


UTILISATION = {"cpu": 0.75, "cuda": 0.35, "mps": 0.35}
"""Share of the peak that useful operations reach.

CPU: the median of bench/results/train_speed.md. GPU: what is reported lies between 0.38 (Llama 3, arXiv 2407.21783,
table 4) and 0.52 (Megatron-LM, arXiv 2104.04473, table 1) for code tuned to one model; 0.35 is an assumption.
"""

PAIRS = 1000
"""Pairs that a time is given for where the number of pairs is not known."""


def forward_operations(shape: ModelShape, attended: float) -> float:
    """Operations of a forward pass, a token."""
    return 2.0 * shape.active + 4.0 * shape.layers * shape.attention * attended


def training_operations(setup: TrainingSetup, attended: float) -> float:
    """Operations of forward and backward pass, a token."""
    matrices = 2.0 * setup.shape.active
    attention = forward_operations(setup.shape, attended) - matrices
    backward = (2.0 if setup.adapter is None else 1.0) * matrices + 2.0 * attention
    repeated = matrices + attention if setup.checkpointing else 0.0
    return matrices + attention + backward + repeated


def step_traffic(setup: TrainingSetup, strategy: Strategy, devices: int, micro_batches: int) -> float:
    """Bytes that a device sends in one optimizer step.

    With N devices and Ψ bytes: a ring all-reduce sends 2·Ψ·(N − 1)/N, a gather or a scatter half of that (Patarasuk and
    Yuan 2009). DDP reduces gradients once a step. Sharded weights are gathered for each forward and each backward
    pass, and gradients scattered (1910.02054, §7: three times Ψ); FSDP scatters once a step (`no_sync`), DeepSpeed
    after each pass. ZeRO-2 scatters after each pass and gathers the new weights once.
    """
    if devices == 1:
        return 0.0
    ring = (devices - 1) / devices
    width = 4 if setup.adapter is not None else setup.numerics.weights
    gradients = setup.trained * width * ring
    weights = setup.shape.parameters * setup.numerics.compute * ring
    return {
        "single": 0.0,
        "ddp": 2 * gradients,
        "fsdp": 2 * weights * micro_batches + gradients,
        "zero2": gradients * micro_batches + setup.trained * 2 * ring,
        "zero3": (2 * weights + gradients) * micro_batches,
    }[strategy]


def training_time(
    setup: TrainingSetup,
    lengths: Lengths,
    machine: Machine,
    *,
    strategy: Strategy,
    devices: int,
    budget: float,
    pairs_per_step: int,
    utilisation: float | None = None,
) -> TimePlan:
    """One epoch over the data, or `PAIRS` pairs where their number is unknown. Computing and network overlap."""
    pairs = PAIRS if lengths.pairs is None else lengths.pairs
    share = UTILISATION[machine.kind] if utilisation is None else utilisation
    of_pair = lengths.of_pair(tree=setup.batch.tree)
    operations = pairs * of_pair * training_operations(setup, lengths.attended)
    compute = operations / (devices * machine.flops * share)
    steps = pairs / pairs_per_step
    traffic = steps * step_traffic(setup, strategy, devices, passes(pairs_per_step * of_pair, budget, devices))
    network = traffic / machine.link_between(devices)
    seconds = max(compute, network)
    return TimePlan(
        pairs=pairs,
        assumed=lengths.pairs is None,
        operations=operations,
        utilisation=share,
        compute_seconds=compute,
        network_seconds=network,
        network_bytes=traffic,
        seconds=seconds,
        cost=None if machine.price is None else seconds / 3600 * machine.price * devices,
    )


LEAST_PAIRS = 2000
"""Comparisons below which the reward models of Gao et al. were hardly better than chance (2210.10760, §3.3)."""

SMALL_BASE = 0.02
"""A base below this share of its policy is pointed out: InstructGPT's was 6B of 175B, 0.034 (2203.02155, §3.5)."""

SERVING_SHARE = 0.5
"""A base above this share of its policy costs as much to ask as a large part of the policy's own forward pass."""


def size_notes(*, base: int, policy: int | None, pairs: int | None) -> tuple[SourcedNote, ...]:
    """Advice on sizes for this base, policy and number of pairs."""
    notes = [
        _note(
            "A larger reward model can be optimised against longer before its true quality falls: the coefficients of "
            "that law move smoothly with the logarithm of its parameters. Each doubling buys a constant step, at twice "
            "the price of every reward",
            "Gao et al. 2022, arXiv 2210.10760, §3.2",
        )
    ]
    notes += _pairs_notes(pairs)
    notes += _policy_notes(base, policy)
    return tuple(notes)


def _note(text: str, source: str) -> SourcedNote:
    return SourcedNote(text=text, source=source)


def _pairs_notes(pairs: int | None) -> list[SourcedNote]:
    source = "Gao et al. 2022, arXiv 2210.10760, §3.3"
    if pairs is None:
        text = f"The number of pairs is not known yet; below about {LEAST_PAIRS:,} expect little more than chance"
        return [_note(text, source)]
    if pairs < LEAST_PAIRS:
        text = (
            f"{pairs:,} pairs are few: below about {LEAST_PAIRS:,} comparisons reward models of all sizes were hardly "
            "better than chance. More pairs help more than a larger base here"
        )
        return [_note(text, source)]
    doublings = math.log2(pairs / LEAST_PAIRS)
    text = (
        f"{pairs:,} pairs are {doublings:.1f} doublings above {LEAST_PAIRS:,}, where models of all sizes begin to "
        "learn. Accuracy on preferences grows about linearly with the logarithm of the pairs and of the parameters; "
        "`rewardsmith run SPEC --learning-curve 0.25,0.5,1` measures the slope of yours"
    )
    return [_note(text, "Bai et al. 2022, arXiv 2204.05862, §3.1; Gao et al. 2022, §3.3")]


def _policy_notes(base: int, policy: int | None) -> list[SourcedNote]:
    if policy is None:
        return [
            _note(
                "The policy is not stated: state policy.id or policy.parameters. A base of the policy's own family is "
                "the safest first choice",
                "RewardBench 2, arXiv 2506.01937",
            )
        ]
    share = base / policy
    if share < SMALL_BASE:
        return [
            _note(
                f"The base is {share:.1%} of its policy. Gao et al. found that larger policies gain less from a fixed "
                "reward model and do not over-optimise it more; InstructGPT took 6B for 175B (3.4%)",
                "Gao et al. 2022, §3.4; Ouyang et al. 2022, arXiv 2203.02155, §3.5",
            )
        ]
    if share > SERVING_SHARE:
        return [
            _note(
                f"The base is {share:.0%} of its policy: each reward costs about as much as the policy's own forward "
                "pass over the same text. That is a small part of a rollout, which writes token by token; where "
                "rewards are the bottleneck, a base of a tenth is usual",
                "operations as in Kaplan et al. 2020, arXiv 2001.08361",
            )
        ]
    usual = f"The base is {share:.0%} of its policy, within what is usual"
    return [_note(usual, "Ouyang et al. 2022, §3.5")]


CHECK_SECONDS = 1.7e-3
"""Of a pair in the data contract, on two cores: the slowest of bench/results/check_scale.md."""

READ_SECONDS = 0.6e-3
"""Of a pair that is read and rendered again for training: tokens in the same table."""

OPEN_SECONDS = 5.0
"""Of opening a checkpoint with its golden rewards, and of what is computed beside rewards; an assumption."""

ONE_IN = 10
"""At most one in so many pairs is asked about again for its label (`pipeline.label_noise.ONE_IN`)."""

ASSUMED_ROWS = 2000
"""Of a benchmark that is no local file of lines, about as many as RewardBench 2 has."""

TEXTS = {"rewardbench2": 4, "best_of_n": 4, "rm_bench": 6}
"""Of a row; others have two."""


def stage_times(
    spec: Spec,
    shape: ModelShape,
    lengths: Lengths,
    machine: Machine,
    *,
    training: TimePlan,
    rows: Mapping[str, int] | None = None,
) -> tuple[StageTime, ...]:
    """Seconds of each stage that the spec asks for, in order.

    Args:
        training: the time of the epoch; its pairs are those of all stages.
        rows: evaluated set → its rows, `held_out` among them; what is not there is counted or assumed.
    """
    pair = lengths.tree * forward_operations(shape, lengths.attended) / (machine.flops * UTILISATION[machine.kind])
    return tuple(_times(spec, training, lengths, pair, rows or {}))


def _times(
    spec: Spec, training: TimePlan, lengths: Lengths, pair: float, rows: Mapping[str, int]
) -> Iterator[StageTime]:
    wanted, pairs = spec.evaluation, training.pairs
    yield _time("check", pairs * CHECK_SECONDS, f"{pairs:,} pairs at {1000 * CHECK_SECONDS:g} s a thousand")
    yield _time("train", training.seconds + pairs * READ_SECONDS, f"one epoch of {pairs:,} pairs")
    again = min(wanted.label_noise.rescore, math.ceil(pairs / ONE_IN))
    if wanted.label_noise.suspects:
        yield _time("labels", _asked(again, pair), f"{again:,} pairs asked about again")
    sets = _sets(spec, lengths, rows)
    texts = sum(count * each for count, each in sets.values())
    said = ", ".join(f"{name} {count:,} rows{_guessed(spec, name, rows)}" for name, (count, _) in sets.items())
    yield _time("evaluate", _asked(texts / 2, pair), said or "nothing")
    held_out = sets.get(HELD_OUT, (PAIRS, 2))[0]
    if wanted.probes.pairs:
        drawn = min(wanted.probes.pairs, held_out) if wanted.probes.data == HELD_OUT else wanted.probes.pairs
        edits = len(SURFACE_PROBES) + len(DESTROYED_PROBES)
        yield _time("probe", _asked(drawn * (1 + edits) / 2, pair), f"{drawn:,} rows, {edits} edits of each")
    if wanted.attack.pairs:
        texts, limit = wanted.attack.queries, wanted.attack.seconds
        most = math.inf if limit is None else OPEN_SECONDS + limit
        said = "" if limit is None else f" and {limit:g} s"
        yield _time("attack", min(most, _asked(texts / 2, pair)), f"at most {texts:,} texts{said}")
    yield _time("report", OPEN_SECONDS, "gates and pages")


def _asked(pairs: float, seconds: float) -> float:
    return OPEN_SECONDS + pairs * seconds if pairs else 0.0


def _time(stage: str, seconds: float, basis: str) -> StageTime:
    return StageTime(stage=stage, seconds=seconds, basis=basis)


def _sets(spec: Spec, lengths: Lengths, rows: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Evaluated set → its rows, and texts of a row."""
    found = {}
    held_out = rows.get(HELD_OUT, _held_out(spec, lengths))
    if held_out:
        found[HELD_OUT] = held_out, 2
    for benchmark in spec.evaluation.benchmarks:
        count = rows.get(benchmark.key)
        found[benchmark.key] = (_rows_of(benchmark) if count is None else count), TEXTS.get(benchmark.name, 2)
    return found


def _held_out(spec: Spec, lengths: Lengths) -> int:
    """Held-out pairs by the spec's fraction of the training pairs that are left."""
    fraction = spec.data.held_out.fraction or 0.0
    pairs = PAIRS if lengths.pairs is None else lengths.pairs
    return round(pairs * fraction / (1 - fraction)) if fraction < 1 else 0


def _rows_of(benchmark: BenchmarkSpec) -> int:
    """Lines of a local file of lines, else an assumption."""
    if not _has_lines(benchmark):
        return ASSUMED_ROWS
    with Path(benchmark.data).open("rb") as lines:
        return sum(1 for _ in lines)


def _has_lines(benchmark: BenchmarkSpec) -> bool:
    return benchmark.data.endswith(".jsonl") and Path(benchmark.data).is_file()


def _guessed(spec: Spec, name: str, rows: Mapping[str, int]) -> str:
    own = [one for one in spec.evaluation.benchmarks if one.key == name]
    return " (assumed)" if name not in rows and not any(map(_has_lines, own)) else ""
