"""Everything that is to be shown on a GPU, in pieces that can be run again; torch, transformers and this package do.

    python bench/gpu.py prepare --pairs hh.jsonl.gz … --rows best_of_4.jsonl.gz    once, anywhere: ids, predictions
    python bench/gpu.py parity train-0.6b score …                                  pieces, in this order
    python bench/gpu.py all                                                        all of them: under 22 minutes
    python bench/gpu.py page                                                       bench/results/gpu.md of what is there
    python bench/gpu.py all --smoke                                                every piece on a CPU: tiny, seconds

Each piece writes `bench/results/gpu/PIECE.json` after each of its measurements, keeps to its seconds (`--seconds` for
another number), and begins, when it is called again, with what is missing there. What no time was left for, or no
memory, is said in its row.

No TRL, datasets, pydantic or pyarrow is needed, so that a bare machine will do. The training step is that of
`rewardsmith train` written out: its layout, its reward forward, autocast, clipping, fused AdamW. The peer is TRL's step
written out: rows padded to the longest, transformers' own forward and SDPA, the same optimizer. A test compares it with
TRL's trainer. Where TRL is installed, `bench/train_speed.py --device cuda` measures the trainers themselves.

MFU counts each token once, of the last layer only what the head needs, attention by the keys that a token sees, and no
recomputation; the peak is measured on the spot, by matrix products of the model's own shapes.
"""

from __future__ import annotations

import argparse
import gc
import gzip
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")
os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")

import numpy as np
import torch
from torch import Tensor, nn

from common import SHAPES, Shape, fit_tokenizer, gemm_rate, read_jsonl
from rewardsmith.modeling.inference import compute_rewards
from rewardsmith.modeling.layouts import Layout, PaddedBatches, PairIds, choose_layout, pad_right, send_inputs
from rewardsmith.modeling.reward_head import install_reward_forward
from rewardsmith.modeling.tree.attention import dense_tree_attention
from rewardsmith.modeling.tree.cuda import KERNEL_VARIABLE, flex_tree_attention
from rewardsmith.modeling.tree.token_tree import TreeLayout, pack_sequences
from rewardsmith.modeling.tree.varlen import gathered_tokens, reference_varlen, varlen_attention, varlen_call
from tables import RESULTS, Json, markdown_table

PREPARED = Path("build/gpu")
UNTIMED = 4
COMPILED_BY = 20
"""Steps after which nothing may be compiled any more."""

MOST_STEPS = 60
BUDGET = 16384


@dataclass
class Run:
    """One piece: its file, its clock, and where it runs."""

    name: str
    file: Path
    seconds: float
    data: Json
    device: str
    rows: dict[str, Json] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    @property
    def smoke(self) -> bool:
        """Whether this is a try on a CPU."""
        return self.device == "cpu"

    def left(self) -> float:
        """Seconds of the piece that are left."""
        return self.seconds - (time.monotonic() - self.started)

    def measure(self, name: str, work: Callable[[], Json]) -> None:
        """Do it unless it is done, or no time is left; save."""
        if name in self.rows and not self.rows[name].get("left out"):
            return
        if self.left() <= 0:
            self.rows[name] = {"left out": "no time"}
        else:
            begun = time.monotonic()
            try:
                self.rows[name] = work()
            except torch.OutOfMemoryError:
                self.rows[name] = {"failed": "out of memory"}
            except NotImplementedError as problem:
                if "backward on CPU" not in str(problem):
                    raise
                self.rows[name] = {"failed": "FlexAttention has no backward pass on a CPU"}
            self.rows[name]["wall"] = round(time.monotonic() - begun, 1)
        free()
        print(f"{self.name} / {name}: {json.dumps(self.rows[name])}", flush=True)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        content = {"piece": self.name, "machine": machine(self.device), "rows": self.rows}
        aside = self.file.with_suffix(".part")
        aside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        aside.replace(self.file)


def main() -> None:
    """Run what is asked for."""
    arguments = parse()
    if arguments.pieces == ["prepare"]:
        prepare(arguments)
        return
    if arguments.pieces != ["page"]:
        device = "cpu" if arguments.smoke else "cuda"
        if device == "cuda" and not torch.cuda.is_available():
            sys.exit("there is no CUDA device here; --smoke runs every piece tiny on the CPU")
        names = list(PIECES) if arguments.pieces == ["all"] else arguments.pieces
        data = smoke_data() if arguments.smoke else load(arguments.prepared)
        for name in names:
            file = arguments.results / f"{name}.json"
            seconds = arguments.seconds or PIECES[name][1]
            piece = Run(name, file, 1e9 if arguments.smoke else seconds, data, device, kept(file))
            PIECES[name][0](piece)
    if not arguments.smoke:
        (arguments.results.parent / "gpu.md").write_text(page(arguments.results), encoding="utf-8")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pieces", nargs="+", choices=[*PIECES, "all", "prepare", "page"], metavar="PIECE")
    parser.add_argument("--pairs", type=Path, nargs="+", help="prepare: JSONL of preference pairs")
    parser.add_argument("--rows", type=Path, help="prepare: JSONL of best-of-4 rows")
    parser.add_argument("--prepared", type=Path, default=PREPARED, help="where prepare writes and pieces read")
    parser.add_argument("--results", type=Path, default=RESULTS / "gpu", help="a JSON a piece")
    parser.add_argument("--seconds", type=float, help="of each piece, in place of its own")
    parser.add_argument("--smoke", action="store_true", help="tiny models and generated texts on the CPU")
    return parser.parse_args()


def kept(file: Path) -> dict[str, Json]:
    """What an earlier call measured."""
    return json.loads(file.read_text(encoding="utf-8"))["rows"] if file.exists() else {}


def machine(device: str) -> str:
    """The device and the versions that a speed depends on."""
    import transformers

    where = "a CPU, tiny models: a try, not a measurement"
    if device == "cuda":
        found = torch.cuda.get_device_properties(0)
        where = f"{found.name}, {found.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
    return f"{where}; torch {torch.__version__}, transformers {transformers.__version__}"


def free() -> None:
    """Give back what the last measurement held, and begin to count memory anew."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def wait(device: str) -> None:
    """Until the device has done its work."""
    if device == "cuda":
        torch.cuda.synchronize()


# What is carried to the machine: token ids and the planner's predictions.


def prepare(arguments: argparse.Namespace) -> None:
    """Token ids of pairs and rows by a tokenizer fitted on them, and what the planner predicts for `memory`."""
    pairs = [row for file in arguments.pairs or () for row in read_jsonl(file)]
    rows = [row for row in (read_jsonl(arguments.rows) if arguments.rows else ()) if answers_of(row) is not None]
    if not pairs or not rows:
        sys.exit("prepare: name --pairs and --rows")
    texts = [text for pair in pairs for text in pair_texts(pair)] + [
        text for row in rows for text in answers_of(row) or ()
    ]
    tokenizer = fit_tokenizer(SHAPES["qwen3-4b"].vocabulary, iter(texts))

    def ids(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]

    encoded_pairs = [[ids(text) for text in pair_texts(pair)] for pair in pairs]
    encoded_rows = [[ids(text) for text in answers_of(row) or ()] for row in rows]
    content = {
        "from": [file.name for file in (*arguments.pairs, arguments.rows)],
        "pairs": [pair for pair in encoded_pairs if max(map(len, pair)) <= 1024],
        "rows": [row for row in encoded_rows if max(map(len, row)) <= 1024],
        "predicted": predictions(MEMORY),
    }
    arguments.prepared.mkdir(parents=True, exist_ok=True)
    with gzip.open(arguments.prepared / "data.json.gz", "wt", encoding="utf-8") as handle:
        json.dump(content, handle)
    print({name: len(content[name]) for name in ("pairs", "rows", "predicted")}, "in", arguments.prepared)


def load(folder: Path) -> Json:
    """What `prepare` wrote."""
    file = folder / "data.json.gz"
    if not file.exists():
        sys.exit(f"{file} is not there: run prepare first")
    with gzip.open(file, "rt", encoding="utf-8") as handle:
        found: Json = json.load(handle)
    return found


def smoke_data() -> Json:
    """Generated ids: pairs and rows of four with a common prompt."""
    draw = np.random.default_rng(0)

    def texts(count: int) -> list[list[int]]:
        prompt = draw.integers(3, 500, draw.integers(10, 40)).tolist()
        return [prompt + draw.integers(3, 500, draw.integers(3, 20)).tolist() for _ in range(count)]

    content = {"from": ["generated"], "pairs": [texts(2) for _ in range(24)], "rows": [texts(4) for _ in range(6)]}
    try:
        return content | {"predicted": predictions(SMOKE_MEMORY)}
    except ModuleNotFoundError as missing:  # a bare machine has no pydantic, and real runs bring their predictions
        print(f"no predictions: {missing}")
        return content | {"predicted": {}}


def pair_texts(pair: Json) -> tuple[str, str]:
    """Both texts of a pair as chat."""
    return chat(pair["prompt"], pair["chosen"]), chat(pair["prompt"], pair["rejected"])


def answers_of(row: Json) -> list[str] | None:
    """The chosen and three rejected texts of a best-of-4 row; None for other rows."""
    if not isinstance(row.get("rejected"), list) or len(row["rejected"]) < 3:
        return None
    return [chat(row["prompt"], answer) for answer in (row["chosen"][0], *row["rejected"][:3])]


def chat(*parts: Any) -> str:
    """Turns as the bench's chat template writes them; a bare string is a turn."""
    turns = []
    for role, part in zip(("user", "assistant"), parts, strict=True):
        turns += [{"role": role, "content": part}] if isinstance(part, str) else part
    return "".join(f"<|im_start|>{turn['role']}\n{turn['content']}\n" for turn in turns)


# Models and steps.


def make_model(shape: Shape, device: str, *, dtype: torch.dtype, attention: str = "sdpa", checkpointing: bool) -> Any:
    """A Qwen3 reward model with random weights, made on the device."""
    from transformers import Qwen3ForSequenceClassification

    config = shape.config(num_labels=1, max_position_embeddings=40960, tie_word_embeddings=True)
    config._attn_implementation = attention  # noqa: SLF001
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = Qwen3ForSequenceClassification(config)
    finally:
        torch.set_default_dtype(before)
    model.config.use_cache = False
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return model


@dataclass
class Stepper:
    """One optimizer step after the other, as a trainer does them.

    Attributes:
        layout: of ours; None for the peer, whose batch is one padded forward pass.
    """

    model: Any
    layout: Layout | None
    device: str
    budget: int = BUDGET
    autocast: bool = True
    tokens: int = 0
    kernels: dict[str, int] = field(default_factory=dict)
    before: TreeLayout | None = None
    ahead: tuple[Any, list[Any]] = (None, [])

    def __post_init__(self) -> None:
        self.model.train()
        fused = {"fused": True} if self.device == "cuda" else {}
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-5, weight_decay=0.0, **fused)

    def step(self, pairs: Sequence[PairIds], following: Sequence[PairIds] = ()) -> float:
        """Forward, backward, clipping, AdamW; the mean Bradley-Terry loss. `following` is laid out meanwhile."""
        loss = self.gradients(pairs)
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.layout is not None and following:
            self.ahead = (following, self.layout.cut(following, self.budget))
        return float(loss)  # a trainer that logs every step waits here, too

    def gradients(self, pairs: Sequence[PairIds]) -> Tensor:
        """Forward and backward of one step, cut as the layout cuts it."""
        total = torch.zeros((), device=self.device)
        for count, inputs in self.passes(pairs):
            with torch.autocast(self.device, torch.bfloat16, enabled=self.autocast):
                logits = self.model(**inputs).logits
            chosen, rejected = logits.float().squeeze(-1).chunk(2)
            loss = -nn.functional.logsigmoid(chosen - rejected).mean()
            trl_reads(inputs, logits, chosen, rejected)
            (loss * (count / len(pairs))).backward()
            total += loss.detach() * (count / len(pairs))
        return total

    def passes(self, pairs: Sequence[PairIds]) -> Iterator[tuple[int, Json]]:
        """Pairs and inputs of each forward pass."""
        if self.layout is None:
            texts = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
            inputs = send_inputs(pad_right(texts, self.model.config.pad_token_id), self.device)
            self.tokens += inputs["input_ids"].numel()
            yield len(pairs), inputs
            return
        for part in self.ahead[1] if self.ahead[0] is pairs else self.layout.cut(pairs, self.budget):
            inputs = send_inputs(part.inputs(), self.device)
            row: TreeLayout | None = inputs.get("tree_layout")
            if row is not None and self.before is not None:
                row.prepare_like(self.before)
            self.before = row
            self.tokens += inputs["input_ids"].numel()
            yield len(part.indices), inputs
            name = "padded" if row is None else " + ".join(sorted(row.kernels))
            self.kernels[name] = self.kernels.get(name, 0) + 1


def trl_reads(inputs: Json, logits: Tensor, chosen: Tensor, rejected: Tensor) -> None:
    """What TRL's `compute_loss` reads of every forward pass, each with a wait: ours goes through it as well."""
    with torch.no_grad():
        inputs["attention_mask"].sum().item()
        for number in (logits.min(), logits.mean(), logits.max()):
            number.item()
        (chosen > rejected).float().mean().item()
        (chosen - rejected).mean().item()


def stepper(
    shape: Shape, device: str, *, ours: bool, checkpointing: bool = False, dtype: torch.dtype = torch.bfloat16
) -> Stepper:
    """Ours with trees, or the peer."""
    model = make_model(shape, device, dtype=dtype, checkpointing=checkpointing)
    if not ours:
        return Stepper(model, None, device)
    layout = choose_layout("tree", install_reward_forward(model), 0)
    return Stepper(model, layout, device, budget=512 if device == "cpu" else BUDGET)


def as_pairs(ids: Sequence[Sequence[Sequence[int]]]) -> list[PairIds]:
    """The chosen text of each against each of the others."""
    arrays = [[np.asarray(text, np.int32) for text in texts] for texts in ids]
    return [PairIds(chosen, other) for chosen, *others in arrays for other in others]


def batches(pairs: Sequence[PairIds], size: int, order: str) -> list[list[PairIds]]:
    """Optimizer steps: in a seeded order, of like lengths (TRL grouped), or as they stand (by prompt)."""
    numbers = np.random.default_rng(0).permutation(len(pairs)).tolist()
    if order == "as it stands":
        numbers = list(range(len(pairs)))
    if order == "grouped":  # transformers' sampler: sorted within 50 batches
        lengths = [max(len(pair.chosen), len(pair.rejected)) for pair in pairs]
        chunks = [numbers[start : start + 50 * size] for start in range(0, len(numbers), 50 * size)]
        numbers = [i for chunk in chunks for i in sorted(chunk, key=lambda i: -lengths[i])]
    found = [[pairs[i] for i in numbers[start : start + size]] for start in range(0, len(numbers), size)]
    if order == "grouped":  # batches of every length among the few that are timed
        found = [found[i] for i in np.random.default_rng(1).permutation(len(found))]
    return [batch for batch in found if len(batch) == size] or found


def graphs() -> int:
    """Graphs that dynamo has compiled in this process."""
    counted = torch._dynamo.utils.counters["stats"]["unique_graphs"]  # noqa: SLF001
    return int(counted)


# The pieces.


def parity(run: Run) -> None:
    """Trees against padded batches: float32, bfloat16 beside its own scatter, twice the same, 200 losses."""
    shape = SHAPES["smoke" if run.smoke else "14M"]
    pairs = as_pairs(run.data["pairs"][: 6 if run.smoke else 24])

    def rewards_of(dtype: torch.dtype, kernel: str | None) -> tuple[Tensor, list[Tensor]]:
        """Rewards and gradients; kernel None: padded, transformers' attention."""
        torch.set_float32_matmul_precision("highest")
        model = install_reward_forward(make_model(shape, run.device, dtype=torch.float32, checkpointing=False))
        if kernel is None:
            layout: Layout = PaddedBatches(0)
        else:
            layout = choose_layout("tree", model, 0)
        found = torch.zeros(2 * len(pairs), device=run.device)
        with taking(kernel):
            for part in layout.cut(pairs, 4096):
                inputs = send_inputs(part.inputs(), run.device)
                with torch.autocast(run.device, torch.bfloat16, enabled=dtype == torch.bfloat16):
                    logits = model(**inputs).logits.float().squeeze(-1)
                chosen, rejected = logits.chunk(2)
                (-nn.functional.logsigmoid(chosen - rejected).sum() / len(pairs)).backward()
                found[part.indices] = chosen.detach()
                found[[len(pairs) + i for i in part.indices]] = rejected.detach()
        return found, [weight.grad for weight in model.parameters() if weight.grad is not None]

    def apart(one: tuple[Tensor, list[Tensor]], other: tuple[Tensor, list[Tensor]]) -> Json:
        relative = [float((a - b).norm() / b.norm().clamp_min(1e-12)) for a, b in zip(one[1], other[1], strict=True)]
        return {"rewards": float((one[0] - other[0]).abs().max()), "gradients": max(relative)}

    exact = rewards_of(torch.float32, None)
    run.measure("float32 flex", lambda: apart(rewards_of(torch.float32, "flex"), exact))
    run.measure("float32 dense", lambda: apart(rewards_of(torch.float32, "dense"), exact))
    run.measure("bfloat16 padded", lambda: apart(rewards_of(torch.bfloat16, None), exact))
    for kernel in ("varlen", "flex"):
        run.measure(f"bfloat16 {kernel}", lambda kernel=kernel: apart(rewards_of(torch.bfloat16, kernel), exact))

    def twice() -> Json:
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            one, two = (rewards_of(torch.bfloat16, "varlen") for _ in range(2))
        finally:
            torch.use_deterministic_algorithms(False)
        same = all(torch.equal(a, b) for a, b in zip(one[1], two[1], strict=True))
        return {"the same bits twice": bool(same and torch.equal(one[0], two[0]))}

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    run.measure("deterministic", twice)
    run.measure("200 losses", lambda: loss_curves(run, shape))


@contextmanager
def taking(kernel: str | None) -> Iterator[None]:
    """That kernel for every row; None leaves the choice."""
    before = os.environ.get(KERNEL_VARIABLE)
    if kernel:
        os.environ[KERNEL_VARIABLE] = kernel
    try:
        yield
    finally:
        os.environ.pop(KERNEL_VARIABLE, None)
        if before is not None:
            os.environ[KERNEL_VARIABLE] = before


def loss_curves(run: Run, shape: Shape) -> Json:
    """Losses of 200 steps over trees against padded ones, and of padded ones whose pairs come in another order."""
    steps = batches(as_pairs(run.data["pairs"]), 4 if run.smoke else 8, "shuffled")
    steps = (steps * (1 + 200 // len(steps)))[: 6 if run.smoke else 200]
    curves = {}
    for name in ("trees", "padded", "padded, pairs in another order"):
        one = stepper(shape, run.device, ours=name == "trees", dtype=torch.float32)
        if name != "trees":
            install_reward_forward(one.model)
        curves[name] = [one.step(batch[::-1] if "another" in name else batch) for batch in steps]
    ours, padded, other = (np.array(curve) for curve in curves.values())
    return {
        "steps": len(steps),
        "trees from padded": float(np.abs(ours - padded).max()),
        "padded from itself": float(np.abs(other - padded).max()),
        "last loss": float(padded[-1]),
    }


def train(name: str, size: int, *, long: bool = False) -> Callable[[Run], None]:
    """Training at one shape: ours and both peers, with and without recomputation, on pairs and on best-of-4 rows."""

    def piece(run: Run) -> None:
        shape, per_step = (SHAPES["smoke"], 4) if run.smoke else (SHAPES[name], size)
        if "GEMM peak" not in run.rows:
            run.measure("GEMM peak", lambda: {"tflops": peak_of(shape, run) / 1e12})
        pairs, rows = as_pairs(run.data["pairs"]), as_pairs(run.data["rows"])
        ways = {
            "ours": (True, False, pairs, "shuffled"),
            "TRL as it comes": (False, True, pairs, "shuffled"),
            "TRL grouped": (False, False, pairs, "grouped"),
            "ours, recomputing": (True, True, pairs, "shuffled"),
            "ours, best of 4": (True, False, rows, "as it stands"),
            "TRL grouped, best of 4": (False, False, rows, "grouped"),
            "TRL without recomputing": (False, False, pairs, "shuffled"),
            "TRL grouped, recomputing": (False, True, pairs, "grouped"),
        }
        share = run.seconds / (len(ways) + (3 if long else 1))
        for label, (ours, checkpointing, given, order) in ways.items():
            run.measure(
                label,
                lambda ours=ours, checkpointing=checkpointing, given=given, order=order: timed_steps(
                    run, shape, batches(given, per_step, order), ours=ours, checkpointing=checkpointing, seconds=share
                ),
            )
        if long:
            # A text that is longer than memory allows is what breaks first: 8B stops at fewer tokens.
            for label, history, answers, length in (
                ("8 answers to a history of 16k", 16000, 8, 200),
                ("a pair of 32k each", 30000, 2, 2000),
            ):
                given = long_pairs(*((60, 3, 10) if run.smoke else (history, answers, length)))
                run.measure(
                    label,
                    lambda given=given: timed_steps(
                        run, shape, [given], ours=True, checkpointing=True, seconds=share, budget=1 << 20, most=6
                    ),
                )

    return piece


def long_pairs(history: int, answers: int, length: int) -> list[PairIds]:
    """The first of `answers` to one long history against each other one."""
    draw = np.random.default_rng(0)
    trunk = draw.integers(3, 500, history).astype(np.int32)
    texts = [np.concatenate([trunk, draw.integers(3, 500, length).astype(np.int32)]) for _ in range(answers)]
    return [PairIds(texts[0], other) for other in texts[1:]]


def peak_of(shape: Shape, run: Run) -> float:
    """FLOP/s of matrix products of the model's shapes, forward and backward, as large as a row."""
    dtype = torch.float32 if run.smoke else torch.bfloat16
    return gemm_rate(shape, tokens=64 if run.smoke else 8192, backward=True, dtype=dtype, device=run.device)


def timed_steps(
    run: Run,
    shape: Shape,
    steps: list[list[PairIds]],
    *,
    ours: bool,
    checkpointing: bool,
    seconds: float,
    budget: int = 0,
    most: int = MOST_STEPS,
) -> Json:
    """Steps until the time or `most` of them are done; the first are not timed."""
    one = stepper(shape, run.device, ours=ours, checkpointing=checkpointing)
    one.budget = budget or one.budget
    most, untimed = (3, 1) if run.smoke else (most, UNTIMED if most > UNTIMED + 2 else 2)
    begun, took, compiled, done = time.monotonic(), [], 0, []
    for number in range(most):
        if number == COMPILED_BY:
            compiled = graphs()
        batch = steps[number % len(steps)]
        wait(run.device)
        if number == untimed:
            one.tokens = 0
        started = time.perf_counter()
        one.step(batch, steps[(number + 1) % len(steps)])
        wait(run.device)
        if number >= untimed:
            took.append(time.perf_counter() - started)
            done.append(batch)
        if time.monotonic() - begun > seconds and took:
            break
    pairs = sum(map(len, done))
    useful = sum(useful_flops(shape, batch) for batch in done)
    peak = run.rows["GEMM peak"].get("tflops", float("nan")) * 1e12
    found: Json = {
        "pairs a second": round(pairs / sum(took), 3),
        "slowest and fastest step": [round(max(took), 4), round(min(took), 4)],
        "steps timed": len(took),
        "tokens a pair": round(one.tokens / pairs, 1),
        "MFU": round(useful / sum(took) / peak, 4),
        "peak memory, GiB": round(torch.cuda.max_memory_allocated() / 2**30, 2) if run.device == "cuda" else None,
    }
    if ours:
        found["kernels"] = one.kernels
        found["compiled after 20 steps"] = graphs() - compiled if number >= COMPILED_BY else "fewer steps"
    return found


def useful_flops(shape: Shape, pairs: Sequence[PairIds]) -> float:
    """Operations of a step, each token once: forward and twice that for the backward pass."""
    (row,) = pack_sequences([text for pair in pairs for text in pair], 1 << 30)
    whole = shape.forward_flops(len(row), int((row.position_ids + 1).sum())) * (shape.layers - 1) / shape.layers
    reads = row.layout.reward_positions
    keys = 2 * 2 * shape.hidden * shape.key_heads * shape.head * len(row)
    rest = sum(2 * a * b for a, b in shape.linears()) - 2 * 2 * shape.hidden * shape.key_heads * shape.head
    last = keys + rest * len(reads) + 4 * shape.heads * shape.head * int((row.position_ids[reads] + 1).sum())
    return 3 * float(whole + last)


def score(run: Run) -> None:
    """Rewards of pairs and rows: trees against padded batches in the file's order, and sorted by length."""
    texts = [np.asarray(text, np.int32) for row in (*run.data["rows"], *run.data["pairs"]) for text in row]
    for name in ("smoke",) if run.smoke else ("qwen3-0.6b", "qwen3-4b"):
        held: list[Any] = []

        def model(name: str = name, held: list[Any] = held) -> Any:
            if not held:
                made = make_model(SHAPES[name], run.device, dtype=torch.bfloat16, checkpointing=False)
                held.append(install_reward_forward(made).eval())
            return held[0]

        ways = {
            "ours": lambda: compute_rewards(model(), texts, choose_layout("tree", model(), 0), BUDGET),
            "padded, 64 as they come": lambda: compute_rewards(model(), texts, InOrder(0), BUDGET),
            "padded, sorted by length": lambda: compute_rewards(model(), texts, PaddedBatches(0), BUDGET),
        }
        for label, work in ways.items():
            run.measure(f"{name}: {label}", lambda work=work: timed_scoring(run, work, len(texts)))
        held.clear()


class InOrder(PaddedBatches):
    """64 texts at a time as they come, padded to the longest: RewardBench's own script."""

    def batches(self, texts: Sequence[Any], token_budget: int) -> Iterator[Any]:
        """See `Layout.batches`."""
        del token_budget
        for start in range(0, len(texts), 64):
            indices = list(range(start, min(start + 64, len(texts))))
            yield self._part(indices, [texts[index] for index in indices])


def timed_scoring(run: Run, work: Callable[[], Any], count: int) -> Json:
    """Texts a second, after a pass that is not timed; the best of two."""
    work()
    took = []
    for _ in range(1 if run.smoke else 2):
        wait(run.device)
        started = time.perf_counter()
        rewards = work()
        took.append(time.perf_counter() - started)
    if not np.isfinite(rewards).all():
        raise RuntimeError("a reward is not a number")
    return {"texts": count, "texts a second": round(count / min(took), 1)}


def kernels(run: Run) -> None:
    """Milliseconds of attention alone, forward and backward, by kernel over length and sharing, at 4B's heads."""
    shape = SHAPES["smoke" if run.smoke else "qwen3-4b"]
    dtype = torch.float32 if run.smoke else torch.bfloat16
    for length in (64,) if run.smoke else (512, 2048, 8192, 16384):
        for sharing, texts in sharings(length).items():
            (pack,) = pack_sequences(texts, 1 << 30)
            for kernel in ("varlen", "flex", "dense"):
                name = f"{length} tokens, {sharing}: {kernel}"
                run.measure(name, lambda kernel=kernel, pack=pack: timed_kernel(run, shape, pack.layout, kernel, dtype))


def sharings(length: int) -> dict[str, list[list[int]]]:
    """Rows of about `length` tokens: nothing shared, pairs with half in common, 8 or 64 answers to a long trunk."""
    draw = np.random.default_rng(length)

    def some(count: int) -> list[int]:
        found: list[int] = draw.integers(0, 1 << 30, max(count, 1)).tolist()
        return found

    text = max(length // 8, 16)
    found = {"nothing shared": [some(text) for _ in range(8)]}
    found["pairs"] = []
    for _ in range(4):
        prompt = some(text * 2 // 3)
        found["pairs"] += [prompt + some(text * 2 // 3), prompt + some(text * 2 // 3)]
    for answers in (8, 64):
        trunk = some(length * 3 // 4)
        found[f"{answers} answers to one trunk"] = [trunk + some(length // 4 // answers) for _ in range(answers)]
    return found


def timed_kernel(run: Run, shape: Shape, layout: TreeLayout, kernel: str, dtype: torch.dtype) -> Json:
    """Forward and backward; the plan, the mask and the index tensors are made before."""
    torch.manual_seed(0)
    sizes = ((1, heads, len(layout), shape.head) for heads in (shape.heads, shape.key_heads, shape.key_heads))
    inputs = [torch.randn(size, dtype=dtype, device=run.device, requires_grad=True) for size in sizes]
    scale, module = shape.head**-0.5, nn.Identity()
    call = reference_varlen if run.smoke else varlen_call(dtype, shape.head, None, torch.device("cuda", 0))
    if kernel == "varlen" and call is None:
        return {"failed": "no varlen kernel here"}

    def attend() -> Tensor:
        if kernel == "dense":
            return dense_tree_attention(*inputs, layout, scale)
        if kernel == "flex":
            return flex_tree_attention(*inputs, layout, scale, None, None, compiled=not run.smoke)
        return varlen_attention(module, *inputs, layout, scale, None, None, call)

    forward, both = [], []
    for _ in range(2 if run.smoke else 13):
        wait(run.device)
        started = time.perf_counter()
        out = attend()
        wait(run.device)
        forward.append(time.perf_counter() - started)
        torch.autograd.grad(out, inputs, torch.ones_like(out))
        wait(run.device)
        both.append(time.perf_counter() - started)
    return {
        "tokens": len(layout),
        "gathered a token": round(gathered_tokens(layout) / len(layout), 2),
        "forward, ms": round(1000 * float(np.median(forward[1:])), 3),
        "forward and backward, ms": round(1000 * float(np.median(both[1:])), 3),
    }


@dataclass(frozen=True)
class Held:
    """A configuration of `memory`: tokens of a pass, and what else the planner is told."""

    shape: str
    tokens: int
    weights: str = "bfloat16"
    checkpointing: bool = False
    passes: int = 2
    tree: bool = True


MEMORY = {
    "0.6B": Held("qwen3-0.6b", 8000),
    "0.6B, long row": Held("qwen3-0.6b", 32000),
    "0.6B, one pass a step": Held("qwen3-0.6b", 16000, passes=1),
    "0.6B, recomputing": Held("qwen3-0.6b", 32000, checkpointing=True),
    "0.6B, float32 weights": Held("qwen3-0.6b", 8000, weights="float32"),
    "0.6B, padded": Held("qwen3-0.6b", 12000, tree=False),
    "4B": Held("qwen3-4b", 4000),
    "4B, recomputing": Held("qwen3-4b", 16000, checkpointing=True),
    "4B, one pass a step": Held("qwen3-4b", 4000, passes=1),
    "8B, recomputing": Held("qwen3-8b", 4000, checkpointing=True),
}
SMOKE_MEMORY = {"smoke": Held("smoke", 1200), "smoke, recomputing": Held("smoke", 1200, checkpointing=True)}
PAIR = (200, 100)
"""Tokens of the prompt and of each answer of the pairs that fill those passes: 400 as a tree, 600 padded."""


def predictions(setups: dict[str, Held]) -> dict[str, float]:
    """The planner's peaks in bytes. It needs pydantic, which a bare machine may lack: so they are made beforehand."""
    from rewardsmith.modeling.shapes import shape_of
    from rewardsmith.planning.memory import MicroBatch, Numerics, TrainingSetup, training_memory

    found = {}
    for name, held in setups.items():
        config = SHAPES[held.shape].config(num_labels=1, tie_word_embeddings=True, max_position_embeddings=40960)
        weights = 2 if held.weights == "bfloat16" else 4
        prompt, answer = PAIR
        gathered = (2 * (prompt + answer)) / (prompt + 2 * answer) if held.tree else 1.0
        numerics = Numerics(weights, 2, autocast=True, gathered=gathered)
        batch = MicroBatch(held.tokens, several=held.passes > 1, tree=held.tree)
        setup = TrainingSetup(shape_of(config), numerics, batch, None, held.checkpointing)
        found[name] = training_memory(setup).peak
    return found


def memory(run: Run) -> None:
    """The planner's peaks beside `max_memory_allocated`, with the rows that it was asked about."""
    for name, held in (SMOKE_MEMORY if run.smoke else MEMORY).items():
        run.measure(name, lambda name=name, held=held: measured_memory(run, name, held))


def measured_memory(run: Run, name: str, held: Held) -> Json:
    """Two steps of exactly those passes."""
    draw = np.random.default_rng(0)
    per_pass = held.tokens // (400 if held.tree else 600)

    def pair() -> PairIds:
        prompt, *answers = (draw.integers(3, 500, n).astype(np.int32) for n in (PAIR[0], PAIR[1], PAIR[1]))
        return PairIds(*(np.concatenate([prompt, answer]) for answer in answers))

    pairs = [pair() for _ in range(per_pass * held.passes)]
    dtype = getattr(torch, held.weights)
    model = make_model(SHAPES[held.shape], run.device, dtype=dtype, checkpointing=held.checkpointing)
    layout = choose_layout("tree" if held.tree else "padded", install_reward_forward(model), 0)
    one = Stepper(model, layout, run.device, budget=held.tokens)
    for _ in range(2):
        one.step(pairs)
    predicted = run.data["predicted"].get(name)
    found: Json = {"tokens a pass": one.tokens // 2 // held.passes}
    if predicted is not None:
        found["predicted, GiB"] = round(predicted / 2**30, 3)
    if run.device == "cuda" and predicted is not None:
        peak = torch.cuda.max_memory_allocated()
        found |= {"measured, GiB": round(peak / 2**30, 3), "error": round(predicted / peak - 1, 4)}
    return found


def serve(run: Run) -> None:
    """Rewards a second and milliseconds of requests of 10 answers to one prompt of 250 tokens, many at a time."""
    draw = np.random.default_rng(0)
    name, prompt, answer = ("smoke", 25, 5) if run.smoke else ("qwen3-0.6b", 250, 50)
    model = install_reward_forward(make_model(SHAPES[name], run.device, dtype=torch.bfloat16, checkpointing=False))
    model.eval()
    for label, layout in (("trees", choose_layout("tree", model, 0)), ("padded", PaddedBatches(0))):
        for together in (1, 4, 16, 64):

            def requests(together: int = together) -> list[Any]:
                texts = []
                for _ in range(together):
                    trunk = draw.integers(3, 500, prompt)
                    texts += [
                        np.concatenate([trunk, draw.integers(3, 500, answer)]).astype(np.int32) for _ in range(10)
                    ]
                return texts

            def work(requests: Any = requests, layout: Any = layout) -> Json:
                took = []
                for _ in range(2 if run.smoke else 23):
                    texts = requests()
                    wait(run.device)
                    started = time.perf_counter()
                    compute_rewards(model, texts, layout, BUDGET)
                    took.append(time.perf_counter() - started)
                middle = float(np.median(took[len(took) // 8 + 1 :]))
                return {"rewards a second": round(len(texts) / middle, 1), "ms": round(1000 * middle, 2)}

            run.measure(f"{together} requests together: {label}", work)


PIECES: dict[str, tuple[Callable[[Run], None], float]] = {
    "parity": (parity, 130),
    "train-0.6b": (train("qwen3-0.6b", 32), 180),
    "score": (score, 150),
    "kernels": (kernels, 150),
    "train-4b": (train("qwen3-4b", 16, long=True), 240),
    "memory": (memory, 150),
    "train-8b": (train("qwen3-8b", 8), 180),
    "serve": (serve, 60),
}
"""In the order of their worth, with their seconds: 1,240 together."""


def page(results: Path) -> str:
    """All saved pieces in Markdown."""
    parts = ["# On a GPU\n\nMade by `python bench/gpu.py page` from `gpu/*.json`; what each row means stands there.\n"]
    for name in PIECES:
        file = results / f"{name}.json"
        if not file.exists():
            parts.append(f"\n## {name}\n\nNot measured.\n")
            continue
        saved = json.loads(file.read_text(encoding="utf-8"))
        columns = list(dict.fromkeys(key for row in saved["rows"].values() for key in row))
        table = [[label, *(shown(row.get(key)) for key in columns)] for label, row in saved["rows"].items()]
        parts.append(f"\n## {name}\n\n{saved['machine']}.\n\n{markdown_table(['', *columns], table)}")
        parts.append(verdict(saved["rows"]))
    return "".join(parts)


def verdict(rows: dict[str, Json]) -> str:
    """How ours stands beside the peers of a training piece; empty for others."""
    key = "pairs a second"
    if not {"ours", "TRL as it comes", "TRL grouped"} <= rows.keys() or any(
        key not in rows[name] for name in ("ours", "TRL as it comes", "TRL grouped")
    ):
        return ""
    ours, comes, grouped = rows["ours"], rows["TRL as it comes"], rows["TRL grouped"]
    ratio = grouped["tokens a pair"] / ours["tokens a pair"]
    return (
        f"\nOurs: {ours[key] / comes[key]:.2f}× TRL as it comes; {ours[key] / grouped[key]:.2f}× TRL grouped, which "
        f"computes {ratio:.2f}× the tokens.\n"
    )


def shown(value: Any) -> str:
    """A cell."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {number}" for name, number in value.items())
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)


if __name__ == "__main__":
    main()
