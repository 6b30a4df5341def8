"""The plan as OpenRLHF's command-line flags: one table, two spellings.

    arguments(values, "0.11.2")        # ["--model.model_name_or_path", "base", "--train.max_epochs", "1", …]

0.10.2 renamed every flag (`--train.batch_size` for `--train_batch_size`), so the version decides the column. Nothing
that bears on the result is left to a default of OpenRLHF: 512 tokens, 1 % of the training data for evaluation, a floor
under the cosine, (0.9, 0.95) for Adam and at most a million rows are all defaults of some version.

Source: `openrlhf/cli/train_rm.py` of 0.9.5, 0.9.8, 0.10.1, 0.10.2 and 0.11.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from rewardsmith.errors import SpecError

Value = str | int | float | bool | tuple[float, ...]

DOTTED_SINCE = (0, 10, 2)
OLDEST = (0, 9, 0)


class Names(NamedTuple):
    """One setting in both spellings."""

    dotted: str
    flat: str


FLAGS: Mapping[str, Names] = {
    "model": Names("--model.model_name_or_path", "--pretrain"),
    "value_head": Names("--ds.value_head_prefix", "--value_head_prefix"),
    "attention": Names("--ds.attn_implementation", "--attn_implementation"),
    "train_data": Names("--data.dataset", "--dataset"),
    "train_split": Names("--data.dataset_split", "--dataset_split"),
    "eval_data": Names("--eval.dataset", "--eval_dataset"),
    "eval_split": Names("--eval.split", "--eval_split"),
    "chosen_key": Names("--data.chosen_key", "--chosen_key"),
    "rejected_key": Names("--data.rejected_key", "--rejected_key"),
    "max_samples": Names("--data.max_samples", "--max_samples"),
    "max_length": Names("--data.max_len", "--max_len"),
    "epochs": Names("--train.max_epochs", "--max_epochs"),
    "loss": Names("--model.loss_type", "--loss"),
    "pairs_per_step": Names("--train.batch_size", "--train_batch_size"),
    "pairs_per_micro_batch": Names("--train.micro_batch_size", "--micro_train_batch_size"),
    "seed": Names("--train.seed", "--seed"),
    "learning_rate": Names("--adam.lr", "--learning_rate"),
    "betas": Names("--adam.betas", "--adam_betas"),
    "weight_decay": Names("--adam.weight_decay", "--l2"),
    "schedule": Names("--lr_scheduler", "--lr_scheduler"),
    "warmup": Names("--lr_warmup_ratio", "--lr_warmup_ratio"),
    "max_grad_norm": Names("--max_norm", "--max_norm"),
    "gradient_checkpointing": Names("--model.gradient_checkpointing_enable", "--gradient_checkpointing"),
    "precision": Names("--ds.param_dtype", "--param_dtype"),
    "zero_stage": Names("--ds.zero_stage", "--zero_stage"),
    "offload_optimizer": Names("--ds.adam_offload", "--adam_offload"),
    "packing": Names("--ds.packing_samples", "--packing_samples"),
    "out": Names("--ckpt.output_dir", "--save_path"),
    "checkpoints": Names("--ckpt.path", "--ckpt_path"),
    "checkpoint_steps": Names("--ckpt.save_steps", "--save_steps"),
    "checkpoints_kept": Names("--ckpt.max_num", "--max_ckpt_num"),
    "resume": Names("--ckpt.load_enable", "--load_checkpoint"),
}


def parse_version(version: str) -> tuple[int, ...]:
    """`0.11.2` → (0, 11, 2); what follows the numbers (`rc1`, `.post1`) does not count."""
    numbers = []
    for part in version.split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)


def is_dotted(version: str) -> bool:
    """Whether this version knows the dotted names.

    Raises:
        SpecError: the version is older than the flags of the table.
    """
    if parse_version(version) < OLDEST:
        raise SpecError(
            f"OpenRLHF {version} is older than what is written for here",
            where="openrlhf.version",
            fix="install openrlhf 0.9.5 or later in the environment of openrlhf.interpreter",
        )
    return parse_version(version) >= DOTTED_SINCE


def arguments(values: Mapping[str, Value], version: str) -> list[str]:
    """Command-line arguments for these settings: keys of `FLAGS`; true is a bare flag, false none at all.

    Raises:
        SpecError: the version is too old.
        KeyError: a setting that the table does not have.
    """
    dotted, words = is_dotted(version), []
    for key, value in values.items():
        name = FLAGS[key].dotted if dotted else FLAGS[key].flat
        if value is False:
            continue
        words.append(name)
        if value is not True:
            words += [_written(one) for one in (value if isinstance(value, tuple) else (value,))]
    return words


def _written(value: str | float) -> str:
    return repr(value) if isinstance(value, float) else str(value)
