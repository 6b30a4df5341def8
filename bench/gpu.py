"""Everything that is to be shown on a GPU, in one command.

    python bench/gpu.py --data hh_pairs.jsonl.gz      writes train_speed.md, score_speed.md and gpu.md in bench/results
    python bench/gpu.py --data … --shapes qwen3-8b    one shape alone
    python bench/gpu.py --smoke                       the same path on a CPU: a tiny model, a minute, nothing is kept

Parity of token trees and padded batches in float32 (rewards and gradients) and under bfloat16 autocast (rewards);
training and scoring beside TRL and padded batches in bfloat16 on the shapes of Qwen3-0.6B, 4B and 8B with random
weights; memory; share of the GEMM peak. Weights are bfloat16, so that 8B with its optimizer fits 80 GB; for it ours
recomputes activations, as TRL as it comes does. Larger shapes take fewer pairs and alternations. What compiles kernels
is not timed: the first steps of a training, and a first pass over the texts to score. A peer that runs out of memory is
said to. One GPU is used, the first that is visible.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from common import SHAPES, Shape, device_machine
from tables import bench_parser, publish

HERE = Path(__file__).parent
Options = dict[str, int | str]

CHECKPOINTED: Options = {"peers": "as it comes", "our-checkpointing": ""}
TRAINING: dict[str, Options] = {
    "qwen3-0.6b": {"pairs": 1024, "pairs-per-step": 32, "alternations": 3, "untimed": 4},
    "qwen3-4b": {"pairs": 256, "pairs-per-step": 16, "alternations": 2, "untimed": 4},
    "qwen3-8b": {"pairs": 128, "pairs-per-step": 8, "alternations": 1, "untimed": 4, **CHECKPOINTED},
    "smoke": {"pairs": 12, "pairs-per-step": 4, "alternations": 1, "untimed": 1, **CHECKPOINTED},
}
SCORING: dict[str, Options] = {
    "qwen3-0.6b": {"rows": 512, "alternations": 3, "untimed": 1},
    "qwen3-4b": {"rows": 512, "alternations": 2, "untimed": 1},
    "qwen3-8b": {"rows": 512, "alternations": 1, "untimed": 1},
    "smoke": {"rows": 12, "alternations": 1, "untimed": 1, "kinds": "sorted,ours"},
}
SMOKE = "smoke"


class Parity(NamedTuple):
    """Largest differences between token trees and padded batches; `gradients` is relative, by tensor."""

    rewards: float
    gradients: float
    autocast_rewards: float


def main() -> None:
    """Parity, then each shape; a bench that fails is said, the others go on, and the exit code is 1."""
    arguments = parse()
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")  # with several, transformers' trainer would split batches
    if arguments.smoke:
        with smoke_run(arguments):
            failed = show(arguments, "cpu")
    elif not torch.cuda.is_available():
        sys.exit("there is no CUDA device here; --smoke runs a tiny model on the CPU")
    elif not arguments.data:
        sys.exit("--data: name a JSONL of preference pairs")
    else:
        failed = show(arguments, "cuda")
    sys.exit(failed)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = bench_parser(__doc__)
    parser.add_argument("--data", type=Path, help="JSONL of preference pairs")
    parser.add_argument("--shapes", default=",".join(name for name in TRAINING if name != SMOKE))
    parser.add_argument("--bases", type=Path, default=Path("build/bases"), help="where bases are kept between calls")
    parser.add_argument("--smoke", action="store_true", help="a tiny model on the CPU and generated pairs")
    parser.set_defaults(save=True)
    return parser.parse_args()


@contextmanager
def smoke_run(arguments: argparse.Namespace) -> Iterator[None]:
    """Generated pairs, the tiny shape, and folders that vanish."""
    from rewardsmith.samples import write_samples

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train = write_samples(folder, seed=0).train.read_text(encoding="utf-8").splitlines()
        arguments.data = folder / "pairs.jsonl"
        arguments.data.write_text("".join(f"{line}\n" for line in train[:200]), encoding="utf-8")
        arguments.shapes, arguments.bases, arguments.results = SMOKE, folder / "bases", folder / "results"
        yield


def show(arguments: argparse.Namespace, device: str) -> bool:
    """All of it on that device; returns whether a bench failed."""
    shape, pairs = (SHAPES[SMOKE], 4) if device == "cpu" else (SHAPES["14M"], 16)
    found = parity(shape, pairs, device)
    if device == "cuda":
        torch.cuda.empty_cache()
    text = (
        f"# {'On a GPU' if device == 'cuda' else 'Not on a GPU'}\n\n{device_machine(device)}. Token trees against "
        f"padded batches in float32: largest difference of a reward {found.rewards:.1e}, of a gradient, relative, "
        f"{found.gradients:.1e}. Under bfloat16 autocast: of a reward {found.autocast_rewards:.1e}.\n"
    )
    publish("gpu", text, arguments)
    failed = False
    for name in arguments.shapes.split(","):
        same: Options = {
            "data": str(arguments.data),
            "name": f"gpu_{name}",
            "shape": name,
            "base": str(arguments.bases / name),
            "device": device,
            "precision": "bfloat16",
            "threads": os.cpu_count() or 1,
            "results": str(arguments.results),
            "save": "",
        }
        failed |= run("train_speed.py", same | {"weights": "bfloat16"} | TRAINING[name])
        failed |= run("score_speed.py", same | SCORING[name])
    return failed


def run(script: str, options: Options) -> bool:
    """One bench; what it prints goes to this terminal. Returns whether it failed."""
    words = [str(word) for name, value in options.items() for word in (f"--{name}", value) if word != ""]
    code = subprocess.call([sys.executable, str(HERE / script), *words])
    if code:
        print(f"{script} {' '.join(words)} ended with {code}", flush=True)
    return code != 0


def parity(shape: Shape, count: int, device: str) -> Parity:
    """One model's rewards and gradients over padded batches with plain attention, then over token trees."""
    from transformers import Qwen3ForSequenceClassification

    from rewardsmith.modeling.layouts import PaddedBatches, choose_layout
    from rewardsmith.modeling.reward_head import install_reward_forward

    torch.set_float32_matmul_precision("highest")  # no TF32
    torch.manual_seed(0)
    model = install_reward_forward(Qwen3ForSequenceClassification(shape.config(num_labels=1)).to(device))
    pairs = draw_pairs(shape, count)
    padded = PaddedBatches(0)
    wanted, wanted_gradients = one_step(model, padded, pairs)
    wanted_low, _ = one_step(model, padded, pairs, autocast=True)
    tree = choose_layout("tree", model, 0)
    got, gradients = one_step(model, tree, pairs)
    got_low, _ = one_step(model, tree, pairs, autocast=True)
    relative = [
        float((a - b).norm() / b.norm().clamp_min(1e-12)) for a, b in zip(gradients, wanted_gradients, strict=True)
    ]
    return Parity(float((got - wanted).abs().max()), max(relative), float((got_low - wanted_low).abs().max()))


def draw_pairs(shape: Shape, count: int) -> list[Any]:
    """Pairs of random tokens that share a prompt."""
    from rewardsmith.modeling.layouts import PairIds

    draw = np.random.default_rng(0)
    pairs = []
    for _ in range(count):
        prompt = draw.integers(1, shape.vocabulary, draw.integers(20, 300))
        answers = [draw.integers(1, shape.vocabulary, draw.integers(5, 120)) for _ in range(2)]
        pairs.append(PairIds(*(np.concatenate([prompt, answer]).astype(np.int32) for answer in answers)))
    return pairs


def one_step(model: Any, layout: Any, pairs: list[Any], *, autocast: bool = False) -> tuple[Tensor, list[Tensor]]:
    """Rewards, all chosen and then all rejected, and the gradients of the mean Bradley-Terry loss."""
    model.zero_grad()
    rewards = torch.zeros(2 * len(pairs), device=model.device)
    for part in layout.cut(pairs, 4096):
        inputs = {
            name: value.to(model.device) if hasattr(value, "to") else value for name, value in part.inputs().items()
        }
        with torch.autocast(model.device.type, torch.bfloat16, enabled=autocast):
            outputs = model(**inputs).logits.squeeze(-1)
        chosen, rejected = outputs.chunk(2)
        (-torch.nn.functional.logsigmoid(chosen - rejected).sum() / len(pairs)).backward()
        rewards[part.indices] = chosen.detach()
        rewards[[len(pairs) + index for index in part.indices]] = rejected.detach()
    return rewards, [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]


if __name__ == "__main__":
    main()
