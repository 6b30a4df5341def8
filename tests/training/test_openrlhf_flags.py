"""The table of OpenRLHF's flags: both spellings of one plan, and nothing left to a default of OpenRLHF's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rewardsmith.errors import SpecError
from rewardsmith.spec import Spec
from rewardsmith.training.openrlhf.command import (
    FLAGS,
    arguments,
    interpreter_of,
    is_dotted,
    launch_command,
    node_command,
    parse_version,
    train_flags,
)
from rewardsmith.training.plan import TrainingPlan

# Worked out by hand from the flags of `openrlhf/cli/train_rm.py`, 0.11.2 and 0.9.8.
DOTTED = (
    "--model.model_name_or_path ./base --ds.value_head_prefix score --ds.attn_implementation flash_attention_2 "
    "--data.dataset train.parquet --data.dataset_split train --eval.dataset evaluation.parquet --eval.split train "
    "--data.chosen_key chosen --data.rejected_key rejected --data.max_samples 1000 --data.max_len 731 "
    "--train.max_epochs 1 --model.loss_type sigmoid --train.batch_size 64 --train.micro_batch_size 2 --train.seed 17 "
    "--adam.lr 1e-05 --adam.betas 0.9 0.999 --adam.weight_decay 0.01 --lr_scheduler cosine --lr_warmup_ratio 0.03 "
    "--max_norm 1.0 --model.gradient_checkpointing_enable --ds.param_dtype bf16 --ds.zero_stage 3 --ds.adam_offload "
    "--ckpt.output_dir ./checkpoint --ckpt.path ./resumable --ckpt.save_steps 200 --ckpt.max_num 1 --ckpt.load_enable"
)
FLAT = (
    "--pretrain ./base --value_head_prefix score --attn_implementation flash_attention_2 "
    "--dataset train.parquet --dataset_split train --eval_dataset evaluation.parquet --eval_split train "
    "--chosen_key chosen --rejected_key rejected --max_samples 1000 --max_len 731 "
    "--max_epochs 1 --loss sigmoid --train_batch_size 64 --micro_train_batch_size 2 --seed 17 "
    "--learning_rate 1e-05 --adam_betas 0.9 0.999 --l2 0.01 --lr_scheduler cosine --lr_warmup_ratio 0.03 "
    "--max_norm 1.0 --gradient_checkpointing --param_dtype bf16 --zero_stage 3 --adam_offload "
    "--save_path ./checkpoint --ckpt_path ./resumable --save_steps 200 --max_ckpt_num 1 --load_checkpoint"
)


def a_spec(**changes: Any) -> Spec:
    content: dict[str, Any] = {
        "backend": "openrlhf",
        "training": {"weight_decay": 0.01, "gradient_checkpointing": True},
        "openrlhf": {"interpreter": "/opt/o/bin/python", "pairs_per_micro_batch": 2, "offload_optimizer": True},
    }
    for section, values in changes.items():
        content[section] = {**content.get(section, {}), **values}
    return Spec.model_validate(content)


PLAN = TrainingPlan(1000, 64, 15, 1, 1e-5, "cosine", 16384, True, "cuda", 17)


@pytest.mark.parametrize(
    ("version", "wanted"), [("0.11.2", DOTTED), ("0.10.2", DOTTED), ("0.10.1", FLAT), ("0.9.8", FLAT)]
)
def test_one_plan_in_two_spellings(version: str, wanted: str) -> None:
    assert train_flags(a_spec(), PLAN, version, max_length=731) == wanted.split()


def test_what_is_off_has_no_flag() -> None:
    spec = a_spec(
        training={"gradient_checkpointing": False, "checkpoint_every_steps": None},
        openrlhf={"offload_optimizer": False},
    )
    words = train_flags(spec, PLAN, "0.11.2", max_length=731)
    assert not {"--model.gradient_checkpointing_enable", "--ds.adam_offload", "--ckpt.load_enable"} & set(words)
    assert words[words.index("--ckpt.save_steps") + 1] == "-1"


def test_packing_is_a_bare_flag() -> None:
    assert train_flags(a_spec(openrlhf={"packing": True}), PLAN, "0.9.8", max_length=9).count("--packing_samples") == 1


@pytest.mark.parametrize(
    ("device", "wished", "wanted"),
    [("cuda", "auto", "flash_attention_2"), ("cpu", "auto", "eager"), ("cuda", "sdpa", "sdpa")],
)
def test_attention(device: str, wished: str, wanted: str) -> None:
    plan = TrainingPlan(1000, 64, 15, 1, 1e-5, "cosine", 16384, True, device, 17)
    words = train_flags(a_spec(base_model={"attention": wished}), plan, "0.11.2", max_length=9)
    assert words[words.index("--ds.attn_implementation") + 1] == wanted


def test_names_are_distinct_in_both_spellings() -> None:
    assert (
        len({names.dotted for names in FLAGS.values()}) == len({names.flat for names in FLAGS.values()}) == len(FLAGS)
    )


def test_a_setting_that_the_table_lacks_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError):
        arguments({"temperature": 1.0}, "0.11.2")


@pytest.mark.parametrize(
    ("version", "dotted"),
    [
        ("0.9.5", False),
        ("0.10.1.post1", False),
        ("0.10.2", True),
        ("0.10.2rc1", False),
        ("0.10.10", True),
        ("1.0", True),
    ],
)
def test_the_version_decides_the_spelling(version: str, dotted: bool) -> None:
    assert is_dotted(version) is dotted


def test_versions_are_numbers() -> None:
    assert parse_version("0.11.2") == (0, 11, 2)
    assert parse_version("0.10.2.dev3+abc") == (0, 10, 2)


def test_a_version_before_the_table_is_refused() -> None:
    with pytest.raises(SpecError) as refused:
        is_dotted("0.8.11")
    assert refused.value.where == "openrlhf.version"
    assert "0.8.11" in refused.value.problem


def test_deepspeed_reads_no_hostfile_that_nobody_named() -> None:
    wanted = "-m deepspeed.launcher.runner --hostfile /dev/null --num_gpus 8 --master_port 29500 inside.py --x 1"
    words = launch_command(a_spec(), ["--x", "1"], processes_per_node=8)
    assert " ".join(words) == f"/opt/o/bin/python {wanted}"


def test_deepspeed_on_several_nodes() -> None:
    words = launch_command(a_spec(openrlhf={"hostfile": "hosts"}, hardware={"nodes": 2}), [], processes_per_node=8)
    assert words[words.index("--hostfile") + 1] == str(Path.cwd() / "hosts")  # the command runs in another folder


def test_an_interpreter_is_found_from_every_folder_and_stays_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "python").symlink_to("/usr/bin/env")
    monkeypatch.chdir(tmp_path)
    spec = a_spec(openrlhf={"interpreter": "python"})
    assert interpreter_of(spec) == tmp_path / "python"
    assert launch_command(spec, [], processes_per_node=1)[0] == str(tmp_path / "python")
    assert interpreter_of(a_spec(openrlhf={"interpreter": "~/python"})) == Path.home() / "python"


def test_torchrun_on_this_node() -> None:
    wanted = (
        "-m torch.distributed.run --nproc_per_node 2 --rdzv_backend c10d --rdzv_endpoint localhost:31000 inside.py --x"
    )
    words = launch_command(a_spec(openrlhf={"launcher": "torchrun", "port": 31000}), ["--x"], processes_per_node=2)
    assert " ".join(words) == f"/opt/o/bin/python {wanted}"


def test_one_node_of_several() -> None:
    words = node_command(a_spec(hardware={"nodes": 4}), ["--x"], processes_per_node=8)
    assert words[words.index("--nnodes") + 1] == "4"
    assert words[words.index("--node_rank") + 1] == "$SLURM_NODEID"
    assert words[words.index("--master_addr") + 1] == "$MASTER_ADDR"
    assert words[words.index("--master_port") + 1] == "$MASTER_PORT"
