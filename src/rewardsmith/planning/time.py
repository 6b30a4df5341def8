"""Time of an epoch and of every stage of a run: from the data's lengths, the model's operations, and the network.

    lengths = lengths_of(check.tokens, pairs=check.train_pairs, source="check.json")
    lengths = assumed_lengths(max_length=1024)           # before any check: every text as long as the limit allows
    batch = micro_batch(lengths, budget=2048, pairs_per_step=64, devices=1, tree=True)
    time = training_time(setup, lengths, machine, strategy="ddp", devices=8, budget=16384, pairs_per_step=64)
    times = stage_times(spec, shape, lengths, machine, training=time, rows={"held_out": 162, "rewardbench2": 1865})

The token tree computes what the two texts of a pair share once; the data contract has counted that for the whole data
set (`tokens.waste`), so that the mean of a pair is known and not estimated.

Operations (Kaplan et al. 2020, arXiv 2001.08361, §2.1; Chowdhery et al. 2022, PaLM, arXiv 2204.02311, appendix B): a
forward pass takes 2 a token for each parameter that is multiplied and 4·A a token, layer and attended key; the backward
pass twice that. Frozen matrices have no weight gradient, so that adapters take two thirds of it. Gradient
checkpointing repeats the forward pass.

Stages that ask the model are counted in forward passes over texts as long as the training texts; a text's prompt counts
once where its row has several. What computes no model (reading, intervals, pages) goes by rates measured on two CPU
cores. These are upper bounds: probes that do not apply to a row, and rewards that are known already, cost nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rewardsmith.modeling.shapes import ModelShape
from rewardsmith.planning.hardware import Machine
from rewardsmith.planning.memory import MicroBatch, Strategy, TrainingSetup
from rewardsmith.records.plan import StageTime, TimePlan
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
