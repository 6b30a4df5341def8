"""docs/scale.md: what large jobs take, by the planner's own formulas.

Nothing on that page was run: it is arithmetic, with every assumption written beside it, and a table of which formula
was compared with which measurement.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import transformers

from rewardsmith.modeling.shapes import ModelShape, shape_of
from rewardsmith.planning.backend import ROOM
from rewardsmith.planning.grader import OVERHEAD, scoring_speed
from rewardsmith.planning.hardware import ACCELERATORS, GIB, NODE_LINK, Machine, accelerator_machine
from rewardsmith.planning.memory import Adapter, MicroBatch, Numerics, Strategy, TrainingSetup, training_memory
from rewardsmith.planning.time import UTILISATION, Lengths, training_time

DEVICE = "h100-80gb"
PER_NODE = 8
PAIRS = 200_000
PAIRS_PER_STEP = 256
LENGTHS = Lengths(PAIRS, tree=900.0, padded=1400.0, text=600.0, attended=350.0, longest=2048.0, source="assumed")
BUDGET = 8192
RANK = 64

RESPONSES = 1_000_000_000
SAMPLES = 8
PROMPT = 300
BYTES_A_TOKEN = 4
BYTES_A_ROW = 40
FLEET = 64

REQUESTS = 10_000
LOAD = 0.6
"""Share of its capacity at which a server is run: above it, queues grow."""

SHAPES: dict[str, tuple[int, int, int, int]] = {
    "0.6B": (1024, 3072, 28, 16),
    "8B": (4096, 14336, 32, 32),
    "70B": (8192, 28672, 80, 64),
}
"""Width, width of the MLP, layers and heads: Llama 3 (arXiv 2407.21783, table 3), the smallest like Qwen3-0.6B."""

WAYS: tuple[tuple[str, Strategy, bool, bool], ...] = (
    ("OpenRLHF, ZeRO-3, all weights", "zero3", False, False),
    ("OpenRLHF, ZeRO-3, LoRA", "zero3", True, False),
    ("TRL, FSDP, all weights in bfloat16", "fsdp", False, False),
    ("TRL, FSDP, LoRA", "fsdp", True, False),
    ("TRL, DDP, QLoRA", "ddp", True, True),
)


_INTRODUCTION = """\
Arithmetic, not measurement: nothing on this page was run. The numbers come from the formulas of `rewardsmith plan`
(`src/rewardsmith/planning/`), and `make docs` writes them; which formula was compared with what stands
[at the end](#what-was-measured)."""


def scale_shape(name: str) -> ModelShape:
    """The shape of one of the page's models."""
    hidden, mlp, layers, heads = SHAPES[name]
    return shape_of(
        transformers.LlamaConfig(
            hidden_size=hidden,
            intermediate_size=mlp,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=8,
            vocab_size=128256,
            max_position_embeddings=8192,
            head_dim=128,
        )
    )


def scale_page() -> str:
    """The page, in Markdown."""
    shapes = {name: scale_shape(name) for name in SHAPES}
    return "\n\n".join(
        [
            "# On paper: 70B, a billion responses, ten thousand requests a second",
            _INTRODUCTION,
            _assumptions(shapes),
            _training(shapes["70B"]),
            _scoring(shapes),
            _serving(shapes),
            MEASURED,
        ]
    )


def _machine(devices: int) -> Machine:
    return accelerator_machine(DEVICE, nodes=max(1, devices // PER_NODE), devices_per_node=PER_NODE)


def _assumptions(shapes: dict[str, ModelShape]) -> str:
    device = ACCELERATORS[DEVICE]
    sizes = ", ".join(f"{name} ({shape.parameters / 1e9:.1f} billion)" for name, shape in shapes.items())
    return (
        "## Assumptions\n\n"
        f"- Devices: {DEVICE}, {device.memory_gib:g} GiB, {device.tflops:g} TFLOP/s dense in bfloat16 "
        f"({device.sheet}), {PER_NODE} a node;\n  {UTILISATION['cuda']:.0%} of the peak is reached; "
        f"{ROOM:.0%} of the memory may be used; ${device.price:g} a device and hour.\n"
        f"- Network: {device.link:g} GB/s within a node, {NODE_LINK / 1e9:g} GB/s a device between nodes; computing "
        "and sending overlap.\n"
        f"- Models: {sizes}, shapes of Llama 3 and Qwen3, with a reward head.\n"
        f"- Training data: {PAIRS:,} pairs; a text has {LENGTHS.text:.0f} tokens, a pair as a tree {LENGTHS.tree:.0f}, "
        f"padded {LENGTHS.padded:.0f},\n  the longest text {LENGTHS.longest:.0f}; {PAIRS_PER_STEP} pairs a step; "
        "activations are computed again (gradient checkpointing)."
    )


def _training(shape: ModelShape) -> str:
    rows = [_training_row(shape, way, devices) for devices in (8, 16, 64) for way in WAYS]
    head = ("GPUs", "way", "GiB a GPU", "fits", "compute, h", "network, h", "sent by a GPU, TB", "epoch, h", "$")
    least = _least_devices(shape)
    return (
        f"## 70B on 8, 16 and 64 GPUs\n\n{_table(head, rows)}\n\n"
        f"All weights fit with ZeRO-3 from {least} GPUs on: 16 bytes a parameter are "
        f"{16 * shape.parameters / GIB:,.0f} GiB, whatever holds them.\nOn 8, train adapters. With FSDP a step of "
        "several passes keeps its gradients unsharded (`no_sync`), so that its need does not\nfall with more devices; "
        "more pairs a step than one pass holds is what to change first. TRL's FSDP rows are for devices of one\nor "
        "several nodes under Ray Train."
    )


def _setup(shape: ModelShape, strategy: Strategy, adapted: bool, quantised: bool, devices: int) -> TrainingSetup:
    deepspeed = strategy in ("zero2", "zero3")
    tokens = 2 * LENGTHS.longest if deepspeed else float(BUDGET)
    step = PAIRS_PER_STEP * LENGTHS.of_pair(tree=not deepspeed)
    return TrainingSetup(
        shape,
        Numerics(2, 2, autocast=not deepspeed),
        MicroBatch(tokens, several=step / tokens > devices, tree=not deepspeed),
        Adapter(RANK, quantised=quantised) if adapted else None,
        checkpointing=True,
    )


def _training_row(shape: ModelShape, way: tuple[str, Strategy, bool, bool], devices: int) -> list[str]:
    name, strategy, adapted, quantised = way
    machine = _machine(devices)
    setup = _setup(shape, strategy, adapted, quantised, devices)
    use = training_memory(setup, strategy, devices)
    time = training_time(
        setup,
        LENGTHS,
        machine,
        strategy=strategy,
        devices=devices,
        budget=setup.batch.tokens,
        pairs_per_step=PAIRS_PER_STEP,
    )
    fits = use.peak <= ROOM * machine.memory
    hours = time.seconds / 3600
    return [
        str(devices),
        name,
        f"{use.peak / GIB:,.0f}",
        "yes" if fits else "no",
        f"{time.compute_seconds / 3600:,.1f}",
        f"{time.network_seconds / 3600:,.1f}",
        f"{time.network_bytes / 1e12:,.1f}",
        f"{hours:,.1f}" if fits else "",
        f"{hours * devices * (machine.price or 0):,.0f}" if fits else "",
    ]


def _least_devices(shape: ModelShape) -> int:
    """The fewest GPUs, in whole nodes, on which ZeRO-3 trains all weights."""
    setup = _setup(shape, "zero3", adapted=False, quantised=False, devices=1)
    room = ROOM * ACCELERATORS[DEVICE].memory_gib * GIB
    counts = range(PER_NODE, 513, PER_NODE)
    return next(count for count in counts if training_memory(setup, "zero3", count).peak <= room)


def _scoring(shapes: dict[str, ModelShape]) -> str:
    head = ("model", "GPU hours", f"days on {FLEET}", "$", "as trees: GPU hours", "$")
    table = _table(head, [_scoring_row(name, shape) for name, shape in shapes.items()])
    text, out = RESPONSES * LENGTHS.text * BYTES_A_TOKEN, RESPONSES * BYTES_A_ROW
    return (
        "## A billion responses\n\n"
        f"{RESPONSES:,} responses of {LENGTHS.text:.0f} tokens with their prompt, {SAMPLES} to a prompt of {PROMPT}. "
        f"As token trees a\nprompt is computed once: {_tree_tokens():.0f} tokens a response.\n\n{table}\n\n"
        f"Text to read: {text / 1e12:.1f} TB at {BYTES_A_TOKEN} bytes a token; to write: {out / 1e9:.0f} GB at "
        f"{BYTES_A_ROW} bytes a row. Over ten days that is\n{text / 10 / 86400 / 1e6:.1f} MB/s in all: the network is "
        "no limit. Memory does not grow with the corpus: rows are streamed in windows\n(`score`) or in blocks "
        "(`score --engine ray`)."
    )


def _tree_tokens() -> float:
    """Tokens of a response when the prompt of its siblings is computed once."""
    return LENGTHS.text - PROMPT + PROMPT / SAMPLES


def _scoring_row(name: str, shape: ModelShape) -> list[str]:
    machine = _machine(PER_NODE)
    plain = _gpu_hours(shape, machine, LENGTHS.text)
    tree = _gpu_hours(shape, machine, _tree_tokens())
    price = machine.price or 0.0
    return [
        name,
        f"{plain:,.0f}",
        f"{plain / FLEET / 24:,.1f}",
        f"{plain * price:,.0f}",
        f"{tree:,.0f}",
        f"{tree * price:,.0f}",
    ]


def _gpu_hours(shape: ModelShape, machine: Machine, tokens: float) -> float:
    speed = scoring_speed(shape, machine, tokens=tokens, attended=LENGTHS.attended)
    return RESPONSES / speed.per_second / 3600


def _serving(shapes: dict[str, ModelShape]) -> str:
    head = ("model", "GiB of weights", "GPUs a copy", "one request, ms", "GPUs", "$ an hour", "$ a million")
    rows = [_serving_row(name, shape) for name, shape in shapes.items()]
    sent = REQUESTS * LENGTHS.text * BYTES_A_TOKEN
    return (
        "## Ten thousand requests a second\n\n"
        f"Each one conversation of {LENGTHS.text:.0f} tokens; bfloat16 weights; servers run at {LOAD:.0%} of their "
        f"capacity.\n\n{_table(head, rows)}\n\n"
        f"A lone request takes one forward pass and {OVERHEAD * 1000:.0f} ms beside it. In come "
        f"{sent / 1e6:.0f} MB/s of text, out go {REQUESTS * 200 / 1e6:.0f} MB/s at 200 bytes an answer: less than\none "
        "network adapter carries. Where the samples of a prompt are routed to one replica "
        f"(`serve --engine ray`), {SAMPLES} of a prompt need\n{_tree_tokens() / LENGTHS.text:.0%} of the GPUs. A model "
        "that does not fit one GPU is exported (`export --to vllm`) and served in parts by vLLM."
    )


def _serving_row(name: str, shape: ModelShape) -> list[str]:
    machine = _machine(PER_NODE)
    speed = scoring_speed(shape, machine, tokens=LENGTHS.text, attended=LENGTHS.attended)
    a_copy = math.ceil(speed.memory / (ROOM * machine.memory))
    devices = a_copy * math.ceil(REQUESTS / (speed.per_second * LOAD) / a_copy)
    price = devices * (machine.price or 0.0)
    return [
        name,
        f"{speed.memory / GIB:,.1f}",
        str(a_copy),
        f"{speed.seconds * 1000:,.0f}",
        f"{devices:,}",
        f"{price:,.0f}",
        f"{price / 3600 / REQUESTS * 1e6:,.2f}",
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---:" if index else "---" for index in range(len(head))]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *rows))


MEASURED = """\
## What was measured

| formula | compared with | how well |
| --- | --- | --- |
| parameters, adapters | the modules themselves, and peft's | equal (`tests/planning/test_shapes.py`) |
| activations of a layer | what autograd saves, Llama and Qwen3, float32 and bfloat16, full and LoRA | to the byte \
(`tests/planning/test_activations.py`) |
| peak memory of one process | resident memory of `rewardsmith train` on a CPU, from 2 GiB on | \
[the table](../bench/results/plan_memory.md) |
| peak memory on a GPU | nothing yet; `python bench/plan_memory.py --device cuda` does | |
| operations, share of the peak on a CPU | pairs a second of `rewardsmith train` | \
[the table](../bench/results/train_speed.md): 0.49 to 0.97, median 0.75 |
| share of the peak on a GPU | nothing here; published runs reach 0.38 to 0.52 | |
| overhead of a request (5 ms) | an assumption; health checks of a busy server took 7 to 15 ms at p99 on two cores | \
[the table](../bench/results/serve_load.md) |
| DDP, FSDP, ZeRO: bytes and traffic | nothing here; the papers' own formulas | |
| tokens of trees | counted on your data by `rewardsmith check` | exact |
| prices | assumptions | |
"""
