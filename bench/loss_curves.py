"""The same losses as TRL, step by step: 200 optimizer steps of both on the same real pairs in the same order.

    python bench/loss_curves.py --data pairs.jsonl.gz --save       writes bench/results/loss_curves.md

Both start from the same weights, reward head included, with the same learning rate, schedule, warm-up and clipping, in
float32. TRL is its stock `RewardTrainer` on padded batches; ours is `rewardsmith train` on token trees. Speed is not
looked at here. The pairs are the first that fit `--max-length`; the vocabulary is fitted on them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from common import SHAPES, device_machine, read_jsonl, texts_of, write_base
from rewardsmith.modeling.loading import load_base
from rewardsmith.rendering import load_renderer
from rewardsmith.spec import Spec
from tables import about, bench_parser, markdown_table, publish
from trainings import Setup, choose_pairs, train_ours, train_peer

BOUND = 1e-4


def main() -> None:
    """Train both, compare, print; exit 1 where a step differs by more than the bound."""
    parser = bench_parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="JSONL of preference pairs")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--pairs-per-step", type=int, default=4)
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text, worst = compare(arguments, Path(folder))
    publish("loss_curves", text, arguments)
    sys.exit(worst > BOUND)


def compare(arguments: argparse.Namespace, folder: Path) -> tuple[str, float]:
    """Both curves; the report and the largest difference of a step."""
    rows = read_jsonl(arguments.data)
    base, start = folder / "base", folder / "start"
    write_base(base, SHAPES["10M"], texts_of(rows))
    renderer = load_renderer(str(base), max_length=arguments.max_length)
    model = load_base(Spec(), str(base), renderer.tokenizer, seed=arguments.seed)
    parameters = sum(weight.numel() for weight in model.parameters())
    model.save_pretrained(start)
    renderer.tokenizer.save_pretrained(start)
    setup = Setup(
        start,
        arguments.pairs_per_step,
        arguments.steps,
        arguments.max_length,
        order="as_given",
        learning_rate=arguments.learning_rate,
        warmup_steps=6,
        threads=arguments.threads,
        seed=arguments.seed,
    )
    pairs, ids = choose_pairs(rows, setup, folder, count=arguments.steps * arguments.pairs_per_step)
    stock = train_peer(setup, ids, "sequential", logging_steps=1)["losses"]
    trained = train_ours(setup, pairs, folder / "ours")
    ours = [step["loss"] for step in trained.steps]
    difference = np.abs(np.array(ours) - np.array(stock))
    shown = [0, 1, 9, 49, 99, 149, len(stock) - 1]
    table = markdown_table(
        ["step", "TRL", "Rewardsmith", "difference"],
        [
            [str(at + 1), f"{stock[at]:.7f}", f"{ours[at]:.7f}", f"{difference[at]:.1e}"]
            for at in shown
            if at < len(stock)
        ],
    )
    worst = float(difference.max())
    text = f"""# Loss curves

{about(__doc__)}
{arguments.data.name}: {len(stock)} steps of {arguments.pairs_per_step} pairs up to {arguments.max_length} tokens,
learning rate {arguments.learning_rate:g}, {parameters / 1e6:.1f}M parameters, layout {trained.record.layout}.
{device_machine("cpu", arguments.threads)}.

{table}
Largest difference over all {len(stock)} steps: {worst:.1e} at step {int(difference.argmax()) + 1} (bound {BOUND:g});
median {float(np.median(difference)):.1e}.
"""
    return text, worst


if __name__ == "__main__":
    main()
