"""The peer of train_speed.py: TRL's stock `RewardTrainer`, timed over some steps of its own order. One JSON line out.

    python bench/trl_peer.py '{"base": …, "ids": …, "pairs_per_step": 8, "kind": "grouped", …}'

The token ids are those that Rewardsmith trains on, so that both compute the same pairs. `share` n runs one batch,
drawn by `turn`, of each n in the order that TRL's sampler gives for all pairs. A step is timed from its begin to its
end (collation happens before it and is not counted), its micro-batches of `micro_batch` pairs included; the first
`untimed` ones are left out. The model is kept in the folder `save`, where one is named.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import datasets
import peft
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback
from transformers.trainer_pt_utils import LengthGroupedSampler
from trl import RewardConfig, RewardTrainer


class StepClock(TrainerCallback):
    """Seconds of each optimizer step."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.seconds: list[float] = []
        self.started = 0.0

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        """Start the clock."""
        self.started = time.perf_counter()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """Stop it, when the device has done its work."""
        if self.device == "cuda":
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - self.started)


def main() -> None:
    """Run the steps and print what they took."""
    job = json.loads(sys.argv[1])
    ids = json.loads(Path(job["ids"]).read_text())
    lengths = [max(len(chosen), len(rejected)) for chosen, rejected in ids]
    batches = one_of_each(batches_of(job, lengths), job["share"], job["turn"])
    chosen = [index for batch in batches for index in batch]
    dataset = datasets.Dataset.from_dict(
        {"chosen_ids": [ids[i][0] for i in chosen], "rejected_ids": [ids[i][1] for i in chosen]}
    )
    clock = StepClock(job["device"])
    try:
        trainer = stock_trainer(job, dataset, clock)
        trainer.train()
    except (torch.OutOfMemoryError, MemoryError):
        print(json.dumps({"failed": "out of memory"}))
        return
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):  # the CPU allocator's words; it has no class of its own
            raise
        print(json.dumps({"failed": "out of memory"}))
        return
    if job["save"]:
        trainer.save_model(job["save"])
    timed = batches[job["untimed"] :]
    size = job["micro_batch"] or job["pairs_per_step"]
    passes = [batch[start : start + size] for batch in timed for start in range(0, len(batch), size)]
    tokens = sum(2 * len(part) * max(lengths[i] for i in part) for part in passes)
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    memory = torch.cuda.max_memory_allocated() if job["device"] == "cuda" else 0
    done = {
        "pairs": sum(map(len, timed)),
        "tokens": tokens,
        "seconds": sum(clock.seconds[job["untimed"] :]),
        "losses": losses,
        "device_memory": memory,
    }
    print(json.dumps(done))


def batches_of(job: dict, lengths: list[int]) -> list[list[int]]:
    """The batches that TRL's trainer would run, in its order."""
    size, generator = job["pairs_per_step"], torch.Generator().manual_seed(job["seed"])
    if job["kind"] == "sequential":
        order = list(range(len(lengths)))
    elif job["kind"] == "grouped":
        order = list(LengthGroupedSampler(size, lengths=lengths, generator=generator))
    else:
        order = torch.randperm(len(lengths), generator=generator).tolist()
    return [order[start : start + size] for start in range(0, len(order), size)]


def one_of_each(batches: list[list[int]], share: int, turn: int) -> list[list[int]]:
    """One batch drawn from each `share` consecutive ones: batches of every length, as in the whole order."""
    draw = random.Random(turn)  # noqa: S311 - a sample, not a secret
    return [draw.choice(batches[start : start + share]) for start in range(0, len(batches), share)]


def stock_trainer(job: dict, dataset: datasets.Dataset, clock: StepClock) -> RewardTrainer:
    """TRL's own trainer, model class, collator and loss."""
    model = AutoModelForSequenceClassification.from_pretrained(
        job["base"], num_labels=1, dtype=getattr(torch, job["weights"])
    )
    arguments = RewardConfig(
        output_dir=tempfile.mkdtemp(),
        num_train_epochs=1,
        per_device_train_batch_size=job["micro_batch"] or job["pairs_per_step"],
        gradient_accumulation_steps=job["pairs_per_step"] // (job["micro_batch"] or job["pairs_per_step"]),
        gradient_checkpointing=job["kind"] == "as it comes",
        bf16=job["precision"] == "bfloat16",
        use_cpu=job["device"] == "cpu",
        learning_rate=job["learning_rate"],
        lr_scheduler_type="cosine",
        warmup_steps=job["warmup_steps"],
        max_length=None,
        train_sampling_strategy="sequential",  # the order was drawn above
        save_strategy="no",
        report_to="none",
        logging_steps=job["logging_steps"],
        disable_tqdm=True,
        dataloader_pin_memory=job["device"] == "cuda",
    )
    lora = None
    if job["adapter"] == "lora":
        # What Rewardsmith's spec has by default.
        lora = peft.LoraConfig(task_type="SEQ_CLS", r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear")
    return RewardTrainer(
        peft_config=lora,
        model=model,
        args=arguments,
        train_dataset=dataset,
        processing_class=AutoTokenizer.from_pretrained(job["base"]),
        callbacks=[clock],
    )


if __name__ == "__main__":
    main()
