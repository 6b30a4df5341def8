"""Real streams for `watch`: best-of-N and a small GRPO run (TRL) on embedded prompts, paid by a trained reward model.

    python bench/watch_rl.py --model runs/quickstart/model --out rl --steps 150
    rewardsmith watch rl/best_of_n.jsonl --out rl/watched_n --audit-every 5
    rewardsmith watch rl/grpo/completions --out rl/watched --reward rewardsmith

The policy is the embedded base model, which has read right answers. Quality is what the embedded data know: the share
of words that an answer has in common with the right one (F1). The reward model sees none of it.

best_of_n.jsonl       step t shows the best of n = 1, 2, 4, … 32 answers by reward: the reward is bought by search alone
grpo/completions/     as TRL logs them; `quality` is a reward function of weight 0
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

from rewardsmith.samples import build_base_model, write_samples
from rewardsmith.scoring import LocalScorer
from rewardsmith.types import Message

PER_STEP = 8
GROUP = 4
LONGEST = 40


def main() -> None:
    """Write both logs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--skip", choices=["best_of_n", "grpo"], default="")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    base = build_base_model(seed=0)
    right = right_answers(arguments.prompts)
    scorer = LocalScorer.load(arguments.model)
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.skip != "best_of_n":
        best_of_n(base, right, scorer, arguments.steps, arguments.out / "best_of_n.jsonl")
    if arguments.skip != "grpo":
        grpo(base, right, scorer, arguments)


def right_answers(many: int) -> dict[str, str]:
    """Prompt → its right answer, for a drawn share of the training prompts."""
    rows = [json.loads(line) for line in write_samples(seed=0).train.read_text("utf-8").splitlines()]
    found = {row["prompt"][-1]["content"]: row["chosen"][-1]["content"] for row in rows if len(row["prompt"]) == 1}
    names = sorted(found)
    return {names[place]: found[names[place]] for place in np.random.default_rng(0).permutation(len(names))[:many]}


def overlap(answer: str, right: str) -> float:
    """F1 of the words of two texts."""
    one, other = Counter(answer.lower().split()), Counter(right.lower().split())
    common = sum((one & other).values())
    return 2 * common / max(1, sum(one.values()) + sum(other.values()))


def best_of_n(base: Path, right: dict[str, str], scorer: LocalScorer, steps: int, path: Path) -> None:
    """Draw 64 answers to each prompt once; step after step the best of more of them is what is said."""
    tokenizer, policy = AutoTokenizer.from_pretrained(base), AutoModelForCausalLM.from_pretrained(base)
    pools: dict[str, list[str]] = {}
    for prompt in right:
        ids = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        with torch.no_grad():
            made = policy.generate(**ids, do_sample=True, max_new_tokens=LONGEST, num_return_sequences=64)
        pools[prompt] = tokenizer.batch_decode(made[:, ids["input_ids"].shape[1] :], skip_special_tokens=True)
    said = [(prompt, answer) for prompt, pool in pools.items() for answer in pool]
    rewards = scorer.score([(Message("user", prompt), Message("assistant", answer)) for prompt, answer in said])
    known = dict(zip(said, rewards.tolist(), strict=True))
    rng = np.random.default_rng(1)
    rows = []
    for step in range(1, steps + 1):
        n = 2 ** min(5, max(0, 6 * (step - 50) // max(1, steps - 50)))
        for prompt in rng.permutation(sorted(right))[:PER_STEP].tolist():
            for _ in range(GROUP):
                drawn = [pools[prompt][place] for place in rng.integers(0, 64, n)]
                best = max(drawn, key=lambda answer: known[prompt, answer])
                if best.strip() and np.isfinite(known[prompt, best]):
                    row: dict[str, Any] = {"step": step, "prompt": prompt, "response": best}
                    rows.append(row | {"reward": known[prompt, best], "quality": overlap(best, right[prompt])})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def grpo(base: Path, right: dict[str, str], scorer: LocalScorer, arguments: argparse.Namespace) -> None:
    """A GRPO run of TRL that logs its completions."""

    def rewardsmith(prompts: list[Any], completions: list[Any], **_: Any) -> list[float | None]:
        conversations = [
            (Message("user", prompt[-1]["content"]), Message("assistant", said[-1]["content"]))
            for prompt, said in zip(prompts, completions, strict=True)
        ]
        return [float(one) if np.isfinite(one) else None for one in scorer.score(conversations)]

    def quality(prompts: list[Any], completions: list[Any], **_: Any) -> list[float]:
        return [
            overlap(said[-1]["content"], right[prompt[-1]["content"]])
            for prompt, said in zip(prompts, completions, strict=True)
        ]

    data = Dataset.from_list([{"prompt": [{"role": "user", "content": prompt}]} for prompt in right])
    config = GRPOConfig(
        output_dir=str(arguments.out / "grpo"),
        max_steps=arguments.steps,
        per_device_train_batch_size=PER_STEP * GROUP,
        num_generations=GROUP,
        max_completion_length=LONGEST,
        learning_rate=arguments.learning_rate,
        lr_scheduler_type="constant",
        beta=0.0,
        reward_weights=[1.0, 0.0],
        logging_steps=1,
        log_completions=True,
        num_completions_to_print=0,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        bf16=False,
        seed=0,
    )
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(base),
        reward_funcs=[rewardsmith, quality],
        args=config,
        train_dataset=data,
        processing_class=AutoTokenizer.from_pretrained(base),
    )
    trainer.train()


if __name__ == "__main__":
    main()
