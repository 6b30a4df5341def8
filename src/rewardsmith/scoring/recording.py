"""A reward function of TRL that writes down what it pays, for `rewardsmith watch`.

    rewards = recorded(reward_function("runs/x/model"), "rollouts.jsonl")
    trainer = GRPOTrainer(model=policy, reward_funcs=rewards, …)

    {"prompt": "Hi", "response": "Hello", "reward": 1.5, "step": 12}

TRL's callbacks are not shown the completions; its reward functions are, with the trainer's state. So the function is
wrapped: what it is given and what it returns pass through as they are. `step` is the number of optimizer steps done
when the answers were made. A row has `doubt` where the function states a `spread` (an ensemble's). `reward` is null
where the function gave none, and so is a text that cannot be written as one (an image): the watch counts these rows.

Several processes of one training append to the same file, a call's rows at once. TRL's GRPO and RLOO gather the rewards
of all processes before anyone goes on, so that no row of a step comes after one of the next. A file that cannot be
written does not end the training: rows are lost, counted and logged.
"""

from __future__ import annotations

import fcntl
import inspect
import json
import logging
import math
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rewardsmith.errors import DataError, UserError
from rewardsmith.records.files import begins_with, guard_own
from rewardsmith.rendering.messages import RowFault, Turns
from rewardsmith.types import Conversation

_LOG = logging.getLogger(__name__)
_TURNS = Turns()
_FIELDS = ("prompt", "response", "reward", "step")


class RecordedRewards:
    """A reward function and the file of what it pays. Build it with `recorded`.

    Attributes:
        function: what is asked.
        path: the file.
        lost: rows that could not be written by this process.
    """

    def __init__(self, function: Callable[..., Any], path: Path) -> None:
        self.function = function
        self.path = path
        self.lost = 0
        self.__name__ = getattr(function, "__name__", type(function).__name__)  # what TRL calls it in its logs
        self._before = _ready(path)

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> Any:
        """What the function returns; in training it is written down first, in an evaluation it is not.

        Raises:
            DataError: TRL gives no `trainer_state`, or a training begins at step 0 in a file that holds rows.
        """
        step = self._step(columns.get("trainer_state"))
        rewards = self.function(prompts=prompts, completions=completions, **columns)
        # Another number of rewards is an error of TRL's, which says so.
        if not _evaluates(columns.get("log_metric")) and len(rewards) == len(prompts) == len(completions):
            self._write(step, prompts, completions, rewards)
        return rewards

    def _step(self, state: Any) -> int:
        step = getattr(state, "global_step", None)
        if not isinstance(step, int):
            raise DataError(
                "is not told the step: there is no trainer_state",
                where=self.__name__,
                fix="call it from TRL's GRPO, RLOO or online DPO trainer, or write the rows of your own loop yourself",
            )
        if self._before and not step:
            raise DataError(
                "holds rows already, and this training begins at step 0",
                where=str(self.path),
                fix="name another file, or move this one away; a training that is resumed may go on in it",
            )
        self._before = False
        return step

    def _write(self, step: int, prompts: Sequence[Any], completions: Sequence[Any], rewards: Sequence[Any]) -> None:
        doubts = getattr(self.function, "spread", None)
        doubts = doubts if doubts is not None and len(doubts) == len(rewards) else [None] * len(rewards)
        rows = []
        for prompt, completion, reward, doubt in zip(prompts, completions, rewards, doubts, strict=True):
            row: dict[str, Any] = {"prompt": _said(prompt, "user"), "response": _said(completion, "assistant")}
            row |= {"reward": _number(reward), "step": step}
            rows.append(row if doubt is None else {**row, "doubt": _number(doubt)})
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        try:
            _append(self.path, text.encode("utf-8", "replace"))
        except OSError as error:
            if not self.lost:
                reason = error.strerror or type(error).__name__
                _LOG.error("%s: %s; its rows are lost, and the training goes on", self.path, reason)
            self.lost += len(rows)


def recorded(function: Callable[..., Any], path: str | Path) -> RecordedRewards:
    """The same reward function, whose answers are appended to a file that `rewardsmith watch` reads.

    Args:
        function: of TRL's `reward_funcs`; where there are several, the one that the policy is paid by.
        path: JSONL, made where it is not there, with mode 0600. One function writes it, in however many processes.

    Raises:
        UserError: it is no function, or is a coroutine, or the file cannot be written or holds something else.
    """
    if not callable(function):
        raise UserError(
            f"{type(function).__name__} is no function", where="recorded", fix="give reward_function(…), or your own"
        )
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004
        raise UserError("is a coroutine", where="recorded", fix="give a function that returns its rewards")
    return RecordedRewards(function, Path(path))


def row_turns(turns: Conversation, role: str) -> str | list[dict[str, str]]:
    """Turns as a row of a stream has them: one plain turn of `role` as its text, else role and all text of each."""
    if not turns:
        return ""
    if len(turns) == 1 and turns[0].role == role and turns[0].is_plain:
        return turns[0].content
    return [{"role": turn.role, "content": turn.text} for turn in turns]


def _said(said: Any, role: str) -> str | list[dict[str, str]] | None:
    if isinstance(said, str):
        return said
    try:
        turns = [dict(turn) if isinstance(turn, Mapping) else turn for turn in said]
        return row_turns(_TURNS.read(turns, role), role)
    except (RowFault, TypeError):
        return None


def _number(value: Any) -> float | None:
    number = math.nan if value is None else float(value)
    return number if math.isfinite(number) else None


def _evaluates(log_metric: Any) -> bool:
    """Whether TRL asks in an evaluation, whose prompts are others: `log_metric` is a method of its trainer, which
    knows; online DPO hands none over."""
    model = getattr(getattr(log_metric, "__self__", None), "model", None)
    return getattr(model, "training", True) is False


def _ready(path: Path) -> bool:
    """Whether the file, which can be written, holds rows.

    Raises:
        UserError: it cannot be written, is no regular file, or holds something else.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = _opened(path)
    except OSError as error:
        raise UserError(
            f"cannot be written: {error.strerror}", where=str(path), fix="name a file that you may write to"
        ) from error
    try:
        about = os.fstat(handle)
    finally:
        os.close(handle)
    if not stat.S_ISREG(about.st_mode):
        raise UserError("is no regular file", where=str(path), fix="name a file")
    guard_own(path, lambda file: begins_with(file, _FIELDS), "recorded rewards")
    return about.st_size > 0


def _opened(path: Path) -> int:
    # Not blocking: a pipe without a reader would hold the training up.
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)


def _append(path: Path, data: bytes) -> None:
    """All of it or nothing, apart from other processes. The file is opened anew: it may have been rotated."""
    handle = _opened(path)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        size = os.fstat(handle).st_size
        try:
            while data:
                data = data[os.write(handle, data) :]
        except OSError:
            os.ftruncate(handle, size)
            raise
    finally:
        os.close(handle)
