"""Runs in OpenRLHF's environment, once per process: calls its `train_rm` and writes down what every step saw.

    torchrun … inside.py FLAGS OF train_rm          # in the folder with job.json

It imports nothing of Rewardsmith and changes nothing of what is computed: four methods of OpenRLHF's trainer are
wrapped to look at what goes through them.

    steps/rank-K.jsonl     {"begin": step} at each start, then a line per optimizer step: rewards of its pairs,
                           checksums of the token ids that gave them, padded tokens, learning rate, gradient norm, time
    rewards/rank-K.jsonl   the same for the evaluation set, by the final weights
    finished.json          written by rank 0 after `train_rm` has saved its checkpoint: the identity of job.json, and
                           the peak memory

A checksum is crc32 over a text's ids (int32, little-endian, without padding): whoever knows which texts were meant can
tell that these, and no others, were trained on.
"""

from __future__ import annotations

import functools
import json
import os
import resource
import runpy
import time
import zlib
from pathlib import Path
from typing import Any


def checksums(ids_BT: Any, mask_BT: Any) -> list[int]:
    """crc32 of each row's ids where the mask keeps them."""
    rows = zip(ids_BT.cpu(), mask_BT.cpu().bool(), strict=True)
    return [zlib.crc32(row_T[kept_T].numpy().astype("<i4").tobytes()) for row_T, kept_T in rows]


class Recorder:
    """Collects what passes through the trainer of this process and appends it, a line per step."""

    def __init__(self) -> None:
        rank = os.environ.get("RANK", "0")
        self.steps_file = Path("steps") / f"rank-{rank}.jsonl"
        self.rewards_file = Path("rewards") / f"rank-{rank}.jsonl"
        for path in (self.steps_file, self.rewards_file):
            path.parent.mkdir(exist_ok=True)
        self.seen = nothing()
        self.rate = 0.0
        self.started = time.perf_counter()

    def begin(self, step: int, rate: float) -> None:
        """A run starts, or goes on after `step` steps, at a learning rate.

        The line break ends a line that a kill may have cut.
        """
        self.rate, self.started = rate, time.perf_counter()
        self._append("\n" + json.dumps({"begin": step}))

    def see(self, chosen: tuple[Any, Any, Any], rejected: tuple[Any, Any, Any]) -> None:
        """One micro-batch: ids, mask and rewards of each side."""
        for side, (ids_BT, mask_BT, rewards_B) in (("chosen", chosen), ("rejected", rejected)):
            self.seen[side] += rewards_B.detach().float().cpu().tolist()
            self.seen[f"{side}_ids"] += checksums(ids_BT, mask_BT)
        self.seen["tokens"] += 2 * len(chosen[0]) * max(chosen[0].shape[1], rejected[0].shape[1])

    def step(self, step: int, logs: dict[str, Any]) -> None:
        """An optimizer step is done; OpenRLHF logs the learning rate of the next one."""
        now = time.perf_counter()
        line = {"step": step, "lr": self.rate, "grad_norm": logs.get("grad_norm"), "seconds": now - self.started}
        self._append(json.dumps({**line, **self.seen}))
        self.seen, self.rate, self.started = nothing(), logs.get("lr", self.rate), now

    def evaluated(self, kept: dict[str, Any]) -> None:
        """An evaluation is done; what training had collected before it goes on."""
        self.rewards_file.write_text(json.dumps(self.seen) + "\n", encoding="utf-8")
        self.seen, self.started = kept, time.perf_counter()

    def _append(self, text: str) -> None:
        with self.steps_file.open("a", encoding="utf-8") as handle:
            handle.write(text + "\n")


def nothing() -> dict[str, Any]:
    """Nothing seen yet."""
    return {"chosen": [], "rejected": [], "chosen_ids": [], "rejected_ids": [], "tokens": 0}


def watch(trainer: Any, recorder: Recorder) -> None:
    """Wrap the methods of OpenRLHF's `RewardModelTrainer`; each does what it did before."""
    fit, forward = trainer.fit, trainer.concatenated_forward
    finish_step, evaluate = trainer.save_logs_and_checkpoints, trainer.evaluate

    @functools.wraps(fit)
    def watched_fit(self: Any, args: Any, consumed_samples: int = 0, *rest: Any, **named: Any) -> Any:
        batch = args.train.batch_size if hasattr(args, "train") else args.train_batch_size
        recorder.begin(consumed_samples // batch, self.scheduler.get_last_lr()[0])
        return fit(self, args, consumed_samples, *rest, **named)

    @functools.wraps(forward)
    def watched_forward(self: Any, model: Any, chosen_ids: Any, c_mask: Any, reject_ids: Any, r_mask: Any) -> Any:
        found = forward(self, model, chosen_ids, c_mask, reject_ids, r_mask)
        recorder.see((chosen_ids, c_mask, found[0]), (reject_ids, r_mask, found[1]))
        return found

    @functools.wraps(finish_step)
    def watched_step(self: Any, args: Any, step: int, bar: Any, logs: Any = None, states: Any = None) -> Any:
        recorder.step(step, logs or {})
        return finish_step(self, args, step, bar, logs or {}, states or {})

    @functools.wraps(evaluate)
    def watched_evaluate(self: Any, *given: Any, **named: Any) -> Any:
        kept, recorder.seen = recorder.seen, nothing()
        found = evaluate(self, *given, **named)
        recorder.evaluated(kept)
        return found

    trainer.fit, trainer.concatenated_forward = watched_fit, watched_forward
    trainer.save_logs_and_checkpoints, trainer.evaluate = watched_step, watched_evaluate


def peak_memory() -> int:
    """Highest use of this process in bytes: of its GPU where it has one, else resident memory (Linux counts KiB)."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Watch, train, say that it is finished."""
    from openrlhf.trainer.rm_trainer import RewardModelTrainer  # type: ignore[import-not-found]

    job = json.loads(Path("job.json").read_text(encoding="utf-8"))
    watch(RewardModelTrainer, Recorder())
    runpy.run_module("openrlhf.cli.train_rm", run_name="__main__", alter_sys=True)
    if os.environ.get("RANK", "0") == "0":
        aside = Path("finished.json.part")
        aside.write_text(json.dumps({**job, "peak_memory": peak_memory()}), encoding="utf-8")
        aside.replace("finished.json")


if __name__ == "__main__":
    main()
