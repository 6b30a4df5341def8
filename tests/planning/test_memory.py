"""Memory, tokens and the choice of a backend: numbers worked out by hand, and what must hold for all of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.errors import SpecError
from rewardsmith.modeling.shapes import LinearMap, ModelShape
from rewardsmith.planning.backend import LONGEST_ROW, ROOM, auto_tokens, choose_backend, memory_table, strategies
from rewardsmith.planning.hardware import ACCELERATORS, GIB, Machine, accelerator_machine, cpu_machine, plan_machine
from rewardsmith.planning.memory import (
    Adapter,
    MicroBatch,
    Numerics,
    TrainingSetup,
    activation_memory,
    most_tokens,
    training_memory,
    weight_bytes,
)
from rewardsmith.planning.time import Lengths, assumed_lengths, attended_keys, lengths_of, micro_batch, passes
from rewardsmith.records.texts import LengthBin, TokenSummary, TokenWaste
from rewardsmith.spec import HardwareSpec, Spec

SHAPE = ModelShape(
    family="llama", parameters=1_000_000_000, active=900_000_000, layers=30,
    layer_parameters=30_000_000, hidden=2048, attention=2048, keys=512, heads=16, key_heads=4, mlp=6144, gated=True,
    experts=0, readers=5, norms=2, layer_norm=False, head_norms=0, vocabulary=48_828, largest_table=100_000_000,
    linears=(LinearMap("q_proj", 2048, 2048, 30), LinearMap("up_proj", 2048, 6144, 30)), positions=4096, no_tree=None,
)  # fmt: skip
TINY = MicroBatch(tokens=1e-9)
"""A batch whose activations are nothing: what remains is by parameter."""
FULL = TrainingSetup(SHAPE, Numerics(), TINY)
LORA = TrainingSetup(SHAPE, Numerics(), TINY, Adapter(16))
BF16 = TrainingSetup(SHAPE, Numerics(2, 2), TINY)
GIGA = 1e9


def test_sixteen_bytes_a_parameter_in_float32() -> None:
    use = training_memory(FULL)
    assert (use.weights, use.gradients, use.optimizer) == (4e9, 4e9, 8e9)
    assert use.peak == pytest.approx(16e9 + 4 * 100_000_000)  # with the new gradient of the embeddings
    assert use.phase == "forward and backward"


def test_eight_in_bfloat16() -> None:
    assert training_memory(BF16).peak == pytest.approx(8e9 + 2 * 100_000_000)


def test_one_pass_a_step_has_gradients_or_activations() -> None:
    alone = replace(FULL, batch=replace(TINY, several=False))
    assert training_memory(alone).peak == pytest.approx(16e9)
    large = replace(FULL, batch=MicroBatch(tokens=20_000, several=False))
    use = training_memory(large)
    assert use.activations > 4e9
    assert use.peak == pytest.approx(12e9 + use.activations)


def test_adapters_by_hand() -> None:
    trained = 30 * 16 * (2048 + 2048) + 30 * 16 * (2048 + 6144) + 2048
    use = training_memory(LORA)
    assert LORA.trained == trained
    assert (use.weights, use.gradients, use.optimizer) == (4e9 + 4 * trained, 4 * trained, 8 * trained)
    assert use.phase == "forward and backward"
    here = training_memory(replace(LORA, on_host=True))
    assert (here.phase, here.peak) == ("saving", 4e9 + 4 * trained + 8 * trained + 4e9)


def test_four_bits_by_hand() -> None:
    setup = replace(LORA, numerics=Numerics(2, 2, autocast=True), adapter=Adapter(16, quantised=True))
    quantised = 30 * (2048 * 2048 + 2048 * 6144)
    expected = quantised * 4.127 / 8 + (1e9 - quantised) * 2 + 4 * setup.trained
    assert weight_bytes(setup) == pytest.approx(expected, rel=1e-4)


def test_ddp_adds_its_buckets() -> None:
    assert training_memory(FULL, "ddp", 1).peak == training_memory(FULL).peak
    assert training_memory(FULL, "ddp", 8).peak == pytest.approx(training_memory(FULL).peak + 4e9)


def test_fsdp_by_hand() -> None:
    whole = replace(FULL, batch=replace(TINY, several=False))
    gathered = 3 * 30_000_000 * 4
    use = training_memory(whole, "fsdp", 8)
    assert use.peak == pytest.approx((4e9 + 4e9 + 8e9) / 8 + gathered + 4 * 100_000_000)
    # several passes a step keep their gradients unsharded
    assert training_memory(FULL, "fsdp", 8).gradients == 4e9


def test_zero_by_hand() -> None:
    two, three = (training_memory(BF16, strategy, 8) for strategy in ("zero2", "zero3"))
    assert (two.weights, two.gradients, two.optimizer) == (2e9, 2e9 / 8, 12e9 / 8)
    assert (three.weights, three.gradients, three.optimizer) == (2e9 / 8, 2e9 / 8, 12e9 / 8)
    assert two.buffers == 2 * 500_000_000
    assert three.buffers == 2 * 1_000_000_000 + 2 * 500_000_000


@given(st.integers(1, 6), st.sampled_from(["fsdp", "zero2", "zero3"]), st.floats(1, 20_000))
def test_more_devices_need_no_more_each(doublings: int, strategy: str, tokens: float) -> None:
    setup = replace(BF16, batch=MicroBatch(tokens))
    few, many = (training_memory(setup, strategy, 2**power).peak for power in (doublings, doublings + 1))  # type: ignore[arg-type]
    assert many <= few


@given(st.floats(1, 20_000), st.floats(1, 20_000), st.sampled_from(["single", "ddp", "fsdp", "zero2", "zero3"]))
def test_more_tokens_need_no_less(one: float, other: float, strategy: str) -> None:
    low, high = (
        training_memory(replace(FULL, batch=MicroBatch(tokens)), strategy, 4).peak  # type: ignore[arg-type]
        for tokens in sorted((one, other))
    )
    assert low <= high


def summary(waste: TokenWaste | None) -> TokenSummary:
    return TokenSummary(
        texts=4, tokens=400, quantiles={"max": 150.0}, last_tokens={}, padded_tokens=500, truncated=0,
        histogram=(LengthBin(low=50, high=50, chosen=1, rejected=1, left_out=0),
                   LengthBin(low=149, high=151, chosen=1, rejected=1, left_out=0)), waste=waste,
    )  # fmt: skip


def test_lengths_are_the_datas_own() -> None:
    waste = TokenWaste(pairs_per_step=2, padded=600, packed=400, tree=260, prompt_tree=250)
    lengths = lengths_of(summary(waste), pairs=2, source="check.json")
    assert (lengths.text, lengths.tree, lengths.padded, lengths.longest) == (100, 130, 200, 150)
    # two texts of 50 attend to 50·51/2 keys each, two of 150 to 150·151/2, over 400 tokens
    assert lengths.attended == (2 * 1275 + 2 * 11325) / 400
    assert lengths_of(summary(None), pairs=2, source="").tree == 200


def test_without_a_check_every_text_is_as_long_as_allowed() -> None:
    lengths = assumed_lengths(512)
    assert (lengths.tree, lengths.text, lengths.attended, lengths.pairs) == (1024, 512, 256.5, None)
    assert attended_keys((), 9) == 5


LENGTHS = Lengths(1000, tree=100.0, padded=160.0, text=70.0, attended=36.0, longest=300.0, source="")


def test_a_micro_batch_by_hand() -> None:
    # 64 pairs of 100 tokens: 6,400 in passes of 2,048 are four, or two for each of two devices
    assert micro_batch(LENGTHS, budget=2048, pairs_per_step=64, devices=1, tree=True) == MicroBatch(2048, True, True)
    assert passes(6400, 2048, 1) == 4
    assert passes(6400, 2048, 2) == 2
    assert micro_batch(LENGTHS, budget=8192, pairs_per_step=64, devices=1, tree=True) == MicroBatch(6400, False, True)
    # a pair of two texts of 300 is longer than the budget and has a pass of its own
    assert micro_batch(LENGTHS, budget=128, pairs_per_step=64, devices=1, tree=True).tokens == 600
    assert micro_batch(LENGTHS, budget=2048, pairs_per_step=8, devices=1, tree=False).tokens == 1280


def setups(tokens: float = 1000) -> dict:
    batch = MicroBatch(tokens)
    trl = {
        ("trl", name): TrainingSetup(SHAPE, Numerics(), batch, adapter)
        for name, adapter in {"none": None, "lora": Adapter(16)}.items()
    }
    return {**trl, ("openrlhf", "none"): TrainingSetup(SHAPE, Numerics(2, 2), batch)}


def gpu(gib: float, *, nodes: int = 1, per_node: int = 8) -> Machine:
    return accelerator_machine("a100-80gb", nodes=nodes, devices_per_node=per_node).but(memory=gib * GIB)


@pytest.mark.parametrize(
    ("gib", "nodes", "backend", "strategy"),
    [(80, 1, "trl", "ddp"), (12, 1, "trl", "fsdp"), (7, 8, "openrlhf", "zero2")],
)
def test_auto_takes_the_simplest_that_fits(gib: float, nodes: int, backend: str, strategy: str) -> None:
    machine = gpu(gib, nodes=nodes)
    choice = choose_backend("auto", "none", memory_table(setups(), machine), machine)
    assert (choice.backend, choice.strategy, choice.fits) == (backend, strategy, True)
    assert choice.peak <= ROOM * gib * GIB
    assert "GiB" in choice.reason


def test_weights_that_fit_no_device_are_sharded_too() -> None:
    machine = gpu(40, nodes=8)
    large = {key: replace(setup, shape=replace(SHAPE, parameters=20_000_000_000)) for key, setup in setups().items()}
    choice = choose_backend("auto", "none", memory_table(large, machine), machine)
    assert (choice.backend, choice.strategy, choice.devices) == ("openrlhf", "zero3", 64)
    assert "TRL on one node would need" in choice.reason


def test_what_fits_nowhere_is_said_with_what_would() -> None:
    machine = gpu(4.4, per_node=1)
    choice = choose_backend("auto", "none", memory_table(setups(10), machine), machine)
    assert not choice.fits
    assert "nothing fits" in choice.reason
    assert "adapter.kind: lora would fit" in choice.reason


def test_the_specs_own_word_goes_first() -> None:
    machine = gpu(80)
    rows = memory_table(setups(), machine)
    assert choose_backend("openrlhf", "none", rows, machine).strategy == "zero2"
    assert choose_backend("trl", "none", rows, machine).strategy == "ddp"


def test_openrlhf_is_no_choice_without_cuda() -> None:
    machine = cpu_machine(1 * GIB, 2)
    assert strategies("openrlhf", machine) == ()
    choice = choose_backend("auto", "none", memory_table(setups(), machine), machine)
    assert (choice.backend, choice.fits) == ("trl", False)
    refused = choose_backend("openrlhf", "none", memory_table(setups(), machine), machine)
    assert not refused.fits
    assert "cannot train" in refused.reason


def test_the_machine_is_named_stated_or_this_one() -> None:
    here = cpu_machine(16 * GIB, 4)
    assert plan_machine(HardwareSpec(), here=here) == here
    named = plan_machine(HardwareSpec(nodes=2, devices_per_node=8), here=here, accelerator="h100-80gb", price=1.5)
    assert (named.devices, named.flops, named.price) == (16, 989e12, 1.5)
    stated = plan_machine(HardwareSpec(memory_gib=48, devices_per_node=4), here=here)
    assert (stated.name, stated.memory, stated.devices) == ("l40s-48gb", 48 * GIB, 4)
    assert "no GPU is named" in stated.assumptions[0]
    assert plan_machine(HardwareSpec(device="cpu", threads=2), here=here).flops == here.flops / 2
    assert named.link_between(8) == 450e9
    assert named.link_between(16) == 50e9


def test_an_unknown_accelerator_is_refused_with_the_nearest() -> None:
    with pytest.raises(SpecError, match="did you mean 'h100-80gb'"):
        plan_machine(HardwareSpec(), here=cpu_machine(GIB, 1), accelerator="h100-80")
    with pytest.raises(SpecError, match=r"hardware\.device"):
        plan_machine(HardwareSpec(device="cpu"), here=cpu_machine(GIB, 1), accelerator="h100-80gb")


def test_every_accelerator_names_its_sheet() -> None:
    assert all(device.sheet and device.tflops > 0 and device.price > 0 for device in ACCELERATORS.values())


@pytest.mark.parametrize("setup", [FULL, LORA, BF16], ids=["float32", "lora", "bfloat16"])
@pytest.mark.parametrize("strategy", ["single", "ddp", "fsdp"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_most_tokens_fill_the_memory_and_no_more(setup: TrainingSetup, strategy: str, checkpointing: bool) -> None:
    setup, limit = replace(setup, checkpointing=checkpointing), 60e9
    tokens = most_tokens(setup, limit, strategy, 4)
    assert tokens > 1000

    def peak(count: int) -> float:
        return training_memory(replace(setup, batch=MicroBatch(count)), strategy, 4).peak

    assert peak(tokens) <= limit < peak(tokens + 1)


def test_what_auto_comes_to_by_hand() -> None:
    """1B in bfloat16 on 40 GiB: 90 % of it less 2 bytes each of weights, gradients and two moments, over a token's."""
    spec, machine = Spec(), gpu(40, per_node=1)
    held = activation_memory(SHAPE, BF16.numerics, tokens=1.0)
    by_hand = int((0.9 * 40 * GIB - 8e9) / (held.saved + held.working))
    assert auto_tokens(spec, BF16, LENGTHS, machine) == by_hand // 128 * 128
    assert auto_tokens(spec, BF16, LENGTHS, gpu(400, per_node=1)) == LONGEST_ROW
    # Nothing fits: a pair of two texts of 300 tokens is still never parted.
    assert auto_tokens(spec, BF16, LENGTHS, gpu(4, per_node=1)) == 600
    # 18 GiB hold whole weights, buckets, and a row of few tokens; shares leave room for a useful one.
    assert auto_tokens(spec, BF16, LENGTHS, gpu(18, per_node=4)) > 4096 > most_tokens(BF16, 0.9 * 18 * GIB, "ddp", 4)
    assert auto_tokens(spec, BF16, LENGTHS, cpu_machine(40 * GIB, 2)) is None
    stated = Spec.model_validate({"training": {"tokens_per_micro_batch": 512}})
    assert auto_tokens(stated, BF16, LENGTHS, machine) is None


def test_copies_of_keys_count() -> None:
    """Twice the keys and values: 2 · 512 numbers of 2 bytes more a token and layer, the last one included."""
    twice = replace(BF16.numerics, gathered=2.0)
    more = activation_memory(SHAPE, twice, tokens=10).saved - activation_memory(SHAPE, BF16.numerics, tokens=10).saved
    assert more == 10 * 30 * 2 * 512 * 2
