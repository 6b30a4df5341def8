"""What TRL pays a policy is written down as the watch reads it: trainers for real, evaluations, resuming, disks."""

from __future__ import annotations

import errno
import json
import logging
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pytest
import trl

from rewardsmith.errors import DataError, UserError
from rewardsmith.scoring import recorded, recording, reward_function
from rewardsmith.scoring.ensemble import Combination, EnsembleScorer, Member
from rewardsmith.types import Message
from rewardsmith.watching import Stream

WORDS = ("red", "green", "blue", "stone", "river", "cloud", "seven", "eight")


class Paid:
    """A reward function that notes what it was asked and what it paid: the letters of the completion, over 8."""

    __name__ = "letters"

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.rows: list[tuple[int, str, str, float]] = []

    def __call__(self, prompts: list[Any], completions: list[Any], **columns: Any) -> list[float]:
        rewards = [len(said[-1]["content"]) / 8 for said in completions]
        step = columns["trainer_state"].global_step
        self.steps.append(step)
        for prompt, said, reward in zip(prompts, completions, rewards, strict=True):
            self.rows.append((step, prompt[-1]["content"], said[-1]["content"], reward))
        return rewards


def train(kind: str, policy: Path, function: Any, folder: Path, *, steps: int = 2, **settings: Any) -> Any:
    """Optimizer steps of a random policy, four answers each."""
    trainer_class, config_class = {
        "grpo": (trl.GRPOTrainer, trl.GRPOConfig),
        "rloo": (trl.RLOOTrainer, trl.RLOOConfig),
    }[kind]
    prompts = [[{"role": "user", "content": f"Say {word}."}] for word in WORDS]
    config = config_class(
        output_dir=str(folder), max_steps=steps, per_device_train_batch_size=4, num_generations=4,
        max_completion_length=6, learning_rate=1e-2, logging_steps=1, use_cpu=True, bf16=False,
        gradient_checkpointing=False, report_to=[], save_strategy="no", disable_tqdm=True, seed=3, **settings,
    )  # fmt: skip
    data = datasets.Dataset.from_dict({"prompt": prompts})
    trainer = trainer_class(
        model=str(policy), reward_funcs=function, args=config, train_dataset=data, eval_dataset=data.select(range(4))
    )
    trainer.train()
    return trainer


def read(path: Path) -> list[tuple[int, str, str, float]]:
    reads = list(Stream(path).poll(last=True))
    assert [one.why for one in reads] == [""] * len(reads)
    answers = [one.answer for one in reads if one.answer]
    return [(one.step, one.prompt[-1].content, one.response, one.reward) for one in answers]


@pytest.mark.parametrize("kind", ["grpo", "rloo"])
def test_a_training_of_trl_leaves_what_each_answer_was_paid(kind: str, tiny_base: Path, tmp_path: Path) -> None:
    paid, path = Paid(), tmp_path / "log" / "rollouts.jsonl"
    trainer = train(kind, tiny_base, recorded(paid, path), tmp_path / "run")
    assert paid.steps == [0, 1]
    assert [row for row in paid.rows if row[2].strip()] == read_all(path, paid)
    assert len(path.read_text().splitlines()) == 8
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert any("rewards/letters/mean" in entry for entry in trainer.state.log_history), "its name in TRL's logs stays"


def read_all(path: Path, paid: Paid) -> list[tuple[int, str, str, float]]:
    """Rows with a text; the watch counts an empty answer, which a random policy gives, and leaves it out."""
    reads = list(Stream(path).poll(last=True))
    empty = sum(not row[2].strip() for row in paid.rows)
    assert [one.why for one in reads if one.why] == ["no text of an answer"] * empty
    answers = [one.answer for one in reads if one.answer]
    return [(one.step, one.prompt[-1].content, one.response, one.reward) for one in answers]


def test_an_evaluation_is_paid_and_not_recorded(tiny_base: Path, tmp_path: Path) -> None:
    paid, path = Paid(), tmp_path / "rollouts.jsonl"
    train("grpo", tiny_base, recorded(paid, path), tmp_path / "run", eval_strategy="steps", eval_steps=1,
          per_device_eval_batch_size=4)  # fmt: skip
    assert paid.steps == [0, 1, 1, 1, 1, 1, 2, 2, 2, 2], "four batches of an evaluation after each step"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["step"] for line in lines] == [0] * 4 + [1] * 4
    assert [line["reward"] for line in lines] == [row[3] for row in paid.rows[:4] + paid.rows[20:24]]


def state(step: int) -> Any:
    return SimpleNamespace(global_step=step)


def test_every_form_of_prompts_and_completions(tmp_path: Path) -> None:
    path = tmp_path / "rollouts.jsonl"
    rewards = recorded(lambda prompts, completions, **_: [1.5, None, float("nan"), 2, 3][: len(prompts)], path)
    system = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    agent = [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "D"},
        {"role": "assistant", "content": "So."},
    ]
    image = [{"role": "user", "content": [{"type": "image"}]}]
    prompts = ["Why?", "Why?", system, system, image]
    completions = ["So.", "No.", [{"role": "assistant", "content": "So."}], agent, "x"]
    answer = rewards(prompts=prompts, completions=completions, completion_ids=None, trainer_state=state(7))
    assert (answer[:2], answer[3:]) == ([1.5, None], [2, 3]), "it comes back as it was"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [
        {"prompt": "Why?", "response": "So.", "reward": 1.5, "step": 7},
        {"prompt": "Why?", "response": "No.", "reward": None, "step": 7},
        {"prompt": system, "response": "So.", "reward": None, "step": 7},
        {
            "prompt": system,
            "response": [
                {"role": "assistant", "content": json.dumps([call])},
                {"role": "tool", "content": "D"},
                {"role": "assistant", "content": "So."},
            ],
            "reward": 2.0,
            "step": 7,
        },
        {"prompt": None, "response": "x", "reward": 3.0, "step": 7},
    ]
    assert [one.why for one in Stream(path).poll(last=True)] == [
        "", "no finite reward", "no finite reward", "", "a prompt that is no text and no messages"
    ]  # fmt: skip


class Lengths:
    """The characters of all turns, times `scale`."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def score(self, conversations: Any, progress: Any = None) -> Any:
        import numpy as np

        return self.scale * np.array([float(sum(len(turn.text) for turn in one)) for one in conversations])


def test_an_ensemble_states_its_doubt(tmp_path: Path) -> None:
    members = [Member("a", Lengths(1)), Member("b", Lengths(3))]
    rewards = recorded(reward_function(EnsembleScorer(members, Combination("mean"))), tmp_path / "r.jsonl")
    assert rewards(prompts=["ab", "a"], completions=["cd", "c"], trainer_state=state(0)) == [8.0, 4.0]
    answers = [one.answer for one in Stream(tmp_path / "r.jsonl").poll(last=True)]
    # Members say 4 and 12, 2 and 6.
    assert [(one.reward, one.doubt) for one in answers if one] == [(8.0, 4.0), (4.0, 2.0)]
    assert answers[0] is not None
    assert answers[0].prompt == (Message("user", "ab"),)


def one(prompts: Any, completions: Any, **columns: Any) -> list[float]:
    return [1.0] * len(prompts)


def test_a_training_that_is_resumed_goes_on_in_its_file_and_a_new_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    for step in (0, 1):
        recorded(one, path)(prompts=["a"], completions=["b"], trainer_state=state(step))
    assert [row[0] for row in read(path)] == [0, 1]
    begun = recorded(one, path)
    with pytest.raises(DataError, match=r"r\.jsonl: holds rows already, and this training begins at step 0"):
        begun(prompts=["a"], completions=["b"], trainer_state=state(0))
    assert len(read(path)) == 2


def test_a_call_without_a_step_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"one: is not told the step[\s\S]*GRPO, RLOO or online DPO"):
        recorded(one, tmp_path / "r.jsonl")(prompts=["a"], completions=["b"])


def test_another_number_of_rewards_is_left_to_trl(tmp_path: Path) -> None:
    short = recorded(lambda prompts, completions, **_: [1.0], tmp_path / "r.jsonl")
    assert short(prompts=["a", "a"], completions=["b", "c"], trainer_state=state(0)) == [1.0]
    assert read(tmp_path / "r.jsonl") == []


async def later(**columns: Any) -> list[float]:
    return []


def test_what_cannot_be_recorded_is_refused_beforehand(tmp_path: Path) -> None:
    for given, said in (("runs/x/model", "str is no function"), (later, "is a coroutine")):
        with pytest.raises(UserError, match=said):
            recorded(given, tmp_path / "r.jsonl")  # type: ignore[arg-type]
    assert not (tmp_path / "r.jsonl").exists()
    with pytest.raises(UserError, match="cannot be written: Is a directory"):
        recorded(one, tmp_path)
    pair = '{"prompt": "a", "chosen": "b", "rejected": "c"}\n'
    (tmp_path / "pairs.jsonl").write_text(pair)
    with pytest.raises(UserError, match=r"pairs\.jsonl: holds something else than recorded rewards"):
        recorded(one, tmp_path / "pairs.jsonl")
    assert (tmp_path / "pairs.jsonl").read_text() == pair
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="is no regular file"):
        recorded(one, tmp_path / "pipe")


def test_a_full_disk_loses_whole_rows_is_said_once_and_the_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "r.jsonl"
    rewards = recorded(one, path)
    rewards(prompts=["a"], completions=["b"], trainer_state=state(0))
    whole = path.read_bytes()

    with monkeypatch.context() as patched, caplog.at_level(logging.ERROR):
        patched.setattr(recording.os, "write", _Full(os.write))
        for step in (1, 2):
            assert rewards(prompts=["a"], completions=["b"], trainer_state=state(step)) == [1.0]
    assert path.read_bytes() == whole, "no row is left cut"
    assert rewards.lost == 2
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: No space left on device; its rows are lost, and the training goes on"
    ]
    rewards(prompts=["a"], completions=["b"], trainer_state=state(3))
    assert [row[0] for row in read(path)] == [0, 3]


class _Full:
    """Writes five bytes, then finds the disk full."""

    def __init__(self, write: Any) -> None:
        self.write = write
        self.calls = 0

    def __call__(self, handle: int, data: bytes) -> int:
        self.calls += 1
        if self.calls % 2:
            return int(self.write(handle, data[:5]))
        raise OSError(errno.ENOSPC, "No space left on device")


def write_some(path: Path, name: str) -> None:
    rewards = recorded(one, path)
    for step in range(1, 40):
        texts = [f"{name} {step} {number} " + "x" * 3000 for number in range(4)]
        rewards(prompts=["a"] * 4, completions=texts, trainer_state=state(step))


def test_rows_of_one_call_stay_together_whoever_writes_beside_it(tmp_path: Path) -> None:
    """Threads here, processes in a training: each call opens the file anew, and the lock is of the open file."""
    path = tmp_path / "r.jsonl"
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(write_some, path, name) for name in ("one", "two")]:
            done.result()
    found = [tuple(row[2].split()[:3]) for row in read(path)]
    calls = [found[place : place + 4] for place in range(0, len(found), 4)]
    assert sorted(calls) == sorted(
        [(name, str(step), str(number)) for number in range(4)] for name in ("one", "two") for step in range(1, 40)
    )
