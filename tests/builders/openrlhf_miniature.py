"""A miniature of OpenRLHF 0.11: the package, flags, methods and files that the backend meets, on a tiny model.

    python = write_environment(folder)          # the "interpreter" of an environment that has it

So the whole backend runs in the usual tests; `make test-openrlhf` runs it against OpenRLHF itself. The interpreter
starts `inside.py` directly, as one process, whatever launcher it was asked for.
"""

from __future__ import annotations

import sys
from pathlib import Path

_SHIM = """#!/bin/bash
export PYTHONPATH={packages}
if [ "$1" = -c ]; then exec {python} "$@"; fi
while [ "$1" != inside.py ]; do shift; done
{before}
exec {python} "$@"
"""

_TRAINER = """
import torch


class RewardModelTrainer:
    def __init__(self, model, rows, evaluation, batch, micro, rate):
        self.model, self.rows, self.evaluation, self.batch, self.micro = model, rows, evaluation, batch, micro
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.999))
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: 1.0)

    def fit(self, args, consumed_samples=0, num_update_steps_per_epoch=None):
        count = len(self.rows) // self.micro
        for turn in range(count):
            part = self.rows[turn * self.micro : (turn + 1) * self.micro]
            chosen, rejected, _ = self.concatenated_forward(self.model, *collate(part))
            loss = -torch.nn.functional.logsigmoid(chosen - rejected).mean() * self.micro / self.batch
            loss.backward()
            if (turn + 1) * self.micro % self.batch == 0:
                self.optimizer.step()
                self.scheduler.step()
                self.optimizer.zero_grad()
                logs = {"lr": self.scheduler.get_last_lr()[0], "grad_norm": 1.5}
                self.save_logs_and_checkpoints(args, (turn + 1) * self.micro // self.batch, None, logs, {})
        self.model.to(torch.bfloat16)
        self.evaluate(self.evaluation)

    def save_logs_and_checkpoints(self, args, global_step, step_bar, logs_dict=None, client_states=None):
        pass

    def evaluate(self, rows, steps=0):
        self.model.eval()
        with torch.no_grad():
            found = [self.concatenated_forward(self.model, *collate([row]))[:2] for row in rows]
        rewards = torch.cat([one for both in found for one in both]).float()
        self.model.config.mean, self.model.config.std = float(rewards.mean()), float(rewards.std())

    def concatenated_forward(self, model, chosen_ids, c_mask, reject_ids, r_mask):
        return forward(model, chosen_ids, c_mask), forward(model, reject_ids, r_mask), []


def forward(model, ids, mask):
    positions = (mask.cumsum(-1) - 1).clamp_min(0)
    hidden = model.model(input_ids=ids, attention_mask=mask, position_ids=positions).last_hidden_state
    return model.score(hidden[:, -1].to(model.score.weight.dtype)).squeeze(-1)


def collate(rows):
    return [one for side in zip(*rows) for one in pad(side)]


def pad(texts):
    longest = max(map(len, texts))
    ids = torch.tensor([[0] * (longest - len(text)) + text for text in texts])
    mask = torch.tensor([[0] * (longest - len(text)) + [1] * len(text) for text in texts])
    return ids, mask
"""

_TRAIN_RM = """
import argparse
import json
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import torch
import transformers

from openrlhf.trainer.rm_trainer import RewardModelTrainer

parser = argparse.ArgumentParser()
for name in ("model.model_name_or_path", "data.dataset", "eval.dataset", "ckpt.output_dir", "model.loss_type"):
    parser.add_argument("--" + name)
for name in ("train.batch_size", "train.micro_batch_size", "train.seed", "train.max_epochs", "data.max_len"):
    parser.add_argument("--" + name, type=int)
parser.add_argument("--adam.lr", type=float)
given = vars(parser.parse_known_args()[0])
assert given["model.loss_type"] == "sigmoid" and given["train.max_epochs"] == 1


def read(name):
    table = pq.read_table(given[name]).to_pydict()
    return [(ids_of(chosen), ids_of(rejected)) for chosen, rejected in zip(table["chosen"], table["rejected"])]


def ids_of(text):
    text = text.rstrip("\\n")
    text = text if text.endswith(tokenizer.eos_token) else text + " " + tokenizer.eos_token
    return tokenizer(text, add_special_tokens=False, truncation=True, max_length=given["data.max_len"])["input_ids"]


base = given["model.model_name_or_path"]
tokenizer = transformers.AutoTokenizer.from_pretrained(base)
torch.manual_seed(given["train.seed"])
model = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=1, dtype=torch.float32)
rows = read("data.dataset")
order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(given["train.seed"])).tolist()
batch, micro = given["train.batch_size"], given["train.micro_batch_size"]
trainer = RewardModelTrainer(model, [rows[row] for row in order], read("eval.dataset"), batch, micro, given["adam.lr"])
trainer.fit(SimpleNamespace(train=SimpleNamespace(batch_size=batch)), 0)

out = Path(given["ckpt.output_dir"])
model.save_pretrained(out)
tokenizer.save_pretrained(out)
config = json.loads((out / "config.json").read_text())
for name in ("id2label", "label2id", "num_labels", "problem_type"):
    config.pop(name, None)
config |= {"architectures": ["RewardModel"], "value_head_prefix": "score", "normalize_reward": False}
(out / "config.json").write_text(json.dumps(config))
"""

_FILES = {
    "openrlhf/__init__.py": "",
    "openrlhf/trainer/__init__.py": "",
    "openrlhf/trainer/rm_trainer.py": _TRAINER,
    "openrlhf/cli/__init__.py": "",
    "openrlhf/cli/train_rm.py": _TRAIN_RM,
}


def write_environment(folder: Path, *, version: str = "0.11.2", before: str = "") -> Path:
    """Write the package and its interpreter; `before` is what the shell does before it starts `inside.py`."""
    packages = folder / "packages"
    for name, content in _FILES.items():
        path = packages / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    facts = packages / f"openrlhf-{version}.dist-info" / "METADATA"
    facts.parent.mkdir(parents=True, exist_ok=True)
    facts.write_text(f"Metadata-Version: 2.1\nName: openrlhf\nVersion: {version}\n", encoding="utf-8")
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True, exist_ok=True)
    python.write_text(_SHIM.format(packages=packages, python=sys.executable, before=before), encoding="utf-8")
    python.chmod(0o755)
    return python
