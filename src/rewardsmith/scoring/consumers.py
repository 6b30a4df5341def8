"""What other programs' loops call: a reward function for TRL, and best-of-N for a script.

    trainer = GRPOTrainer(model=policy, reward_funcs=reward_function("runs/x/model"), …)
    trainer = RLOOTrainer(model=policy, reward_funcs=reward_function("http://127.0.0.1:8000"), …)
    best = best_of_n(LocalScorer.load("runs/x/model"), "What is 17 + 25?", ["41", "42"])
    best.response, best.reward

Text becomes tokens as in training: messages through the checkpoint's template, plain text closed with EOS (TRL's own
scoring of plain text adds none). Rewards are raw.

A message with a control token of the model (`rendering/special_tokens.py`) has no reward, so that a policy cannot write
turns of its own; nor has such a completion as plain text, where the checkpoint is in this process. A prompt as plain
text is rendered already: its tokens are meant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from rewardsmith.errors import DataError, ModelError
from rewardsmith.protocols import Explaining, Scorer
from rewardsmith.rendering.messages import RowFault, Turns
from rewardsmith.scoring.cached import CachedScorer
from rewardsmith.scoring.ensemble import EnsembleScorer
from rewardsmith.scoring.local import NO_REWARD, LocalScorer
from rewardsmith.scoring.remote import RemoteScorer, is_url
from rewardsmith.types import Conversation, Message, with_tools

Said = str | Sequence[Message | Mapping[str, Any]]
"""A text, or messages: ours, or dicts as OpenAI's, with calls, results of tools and reasoning."""

Answer = TypeVar("Answer", bound=Said)

_TURNS = Turns()


class RewardFunction:
    """A scorer with the signature that TRL's trainers call. Build it with `reward_function`."""

    def __init__(self, scorer: Scorer, name: str = "reward") -> None:
        self.scorer = scorer
        self.reasons: tuple[str, ...] = ()
        """Why the last call gave no reward, one for each completion; "" where it gave one."""
        self.spread: tuple[float | None, ...] = ()
        """Standard deviation over an ensemble's members, one for each completion of the last call; () of others."""
        self.__name__ = name  # what TRL calls it in its logs

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[Any], completion_ids: Any = None, **columns: Any
    ) -> list[float | None]:
        """One raw reward for each completion; None where it has no sound rendering, for the reason in `reasons`.

        Args:
            prompts: texts, or lists of messages.
            completions: texts, or lists of messages (calls and results of tools among them), one for each prompt.
            completion_ids: not looked at: the policy's tokens are not the reward model's.
            columns: `tools`, a column of the data, holds what each prompt may call (a list, or its JSON text).
                `log_metric`, where TRL gives it, is told the share of missing rewards and, of an ensemble, each
                member's mean and the spread; `log_extra` the reasons, where a reward is missing. The rest is not
                looked at.

        Raises:
            DataError: prompts and completions are not of the same number, or a message is none.
            ModelError: as the scorer raises.
        """
        del completion_ids
        if len(prompts) != len(completions):
            raise DataError(
                f"{len(prompts)} prompts and {len(completions)} completions",
                where="reward function",
                fix="give one prompt for each completion",
            )
        tools = columns.get("tools") or [None] * len(prompts)
        if len(tools) != len(prompts):
            raise DataError(
                f"{len(prompts)} prompts and {len(tools)} lists of tools",
                where="reward function",
                fix="give the tools of each prompt, [] where it has none",
            )
        conversations = [
            _conversation(prompt, completion, own, f"completions[{index}]")
            for index, (prompt, completion, own) in enumerate(zip(prompts, completions, tools, strict=True))
        ]
        written = _control_tokens(self.scorer, conversations, completions)
        rewards = self._rewards(conversations, written, columns.get("log_metric"))
        said = reasons_of(self.scorer, conversations, rewards)
        self.reasons = tuple(own or reason for own, reason in zip(written, said, strict=True))
        if any(self.reasons) and columns.get("log_extra") is not None:
            columns["log_extra"](f"{self.__name__}_missing", list(self.reasons))
        return rewards

    def _rewards(
        self, conversations: list[Conversation], faults: list[str], log_metric: Callable[[str, float], None] | None
    ) -> list[float | None]:
        metrics: dict[str, float] = {}
        if isinstance(self.scorer, EnsembleScorer):
            found = self.scorer.score_members(conversations)
            rewards = found.rewards
            metrics = {f"member_{name}": _mean(values) for name, values in found.members.items()}
            metrics["spread"] = _mean(found.spread)
            self.spread = tuple(float(value) if np.isfinite(value) else None for value in found.spread)
        else:
            rewards = self.scorer.score(conversations)
        there = np.isfinite(rewards) & ~np.array(list(map(bool, faults)), dtype=bool)
        metrics["missing"] = float(1.0 - there.mean()) if len(rewards) else 0.0
        if log_metric is not None:
            for name, value in metrics.items():
                if np.isfinite(value):
                    log_metric(f"rewards/{self.__name__}/{name}", value)
        return [float(reward) if ok else None for reward, ok in zip(rewards, there, strict=True)]


def reward_function(
    source: str | Path | Scorer,
    *,
    name: str | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    token_budget: int = 16384,
    token: str | None = None,
) -> RewardFunction:
    """A reward function for `reward_funcs` of TRL's GRPO, RLOO and online DPO trainers.

    Args:
        source: a checkpoint folder, the URL of a `rewardsmith serve`, or any scorer (an `EnsembleScorer`, say).
        name: what TRL's logs call it; "reward" unless given.
        device: of a checkpoint: cpu, cuda, cuda:1 or mps.
        dtype: of a checkpoint's weights in memory.
        token_budget: of a checkpoint, tokens of a forward pass.
        token: of a server; else as `RemoteScorer` finds it.

    Raises:
        ModelError: the checkpoint cannot be used.
    """
    scorer: Scorer
    if isinstance(source, Scorer) and not isinstance(source, str | Path):
        scorer = source
    elif is_url(source):
        scorer = RemoteScorer(str(source), token=token)
    elif isinstance(source, str | Path):
        scorer = LocalScorer.load(source, device=device, dtype=dtype, token_budget=token_budget)
    else:
        raise ModelError(
            f"{type(source).__name__} is no source of rewards", where="source", fix="give a folder, a URL or a scorer"
        )
    return RewardFunction(scorer, name or "reward")


@dataclass(frozen=True, slots=True)
class BestResponse(Generic[Answer]):
    """The response with the highest reward, its index, its reward, and the rewards of all (NaN: none).

    `reasons` say why a response has none; "" where it has one.
    """

    index: int
    response: Answer
    reward: float
    rewards: tuple[float, ...]
    reasons: tuple[str, ...] = ()


def best_of_n(
    scorer: Scorer, prompt: Said, responses: Sequence[Answer], *, tools: Sequence[Any] = ()
) -> BestResponse[Answer]:
    """The response that the scorer prefers; of equal ones the first.

    Args:
        scorer: any scorer.
        prompt: what the user says, or messages.
        responses: texts of one assistant turn each, or messages.
        tools: what the responses may call, as chat templates take it.

    Raises:
        DataError: there is no response, a message is none, or no response has a reward.
    """
    if not responses:
        raise DataError("there is no response to choose from", where="responses", fix="give at least one")
    conversations = answers_to(prompt, responses, tools=tools)
    rewards = scorer.score(conversations)
    reasons = reasons_of(scorer, conversations, rewards)
    if not np.isfinite(rewards).any():
        raise DataError(
            f"none of the {len(responses)} responses has a reward; the first: {reasons[0]}",
            where="responses",
            fix="shorten them, or take out what is named",
        )
    index = int(np.nanargmax(np.where(np.isfinite(rewards), rewards, np.nan)))
    found = tuple(float(reward) for reward in rewards)
    return BestResponse(index, responses[index], float(rewards[index]), found, reasons)


def reasons_of(scorer: Scorer, conversations: Sequence[Conversation], rewards: Any) -> tuple[str, ...]:
    """Why rewards are missing: a code, and what it is about where that is known; "" where there is a reward."""
    values = np.array(rewards, dtype=np.float64)
    lacking = np.flatnonzero(~np.isfinite(values)).tolist()
    texts = [conversations[index] for index in lacking]
    said = scorer.why(texts) if isinstance(scorer, Explaining) and texts else [NO_REWARD] * len(texts)
    found = dict(zip(lacking, said, strict=True))
    return tuple(found.get(index, "") for index in range(len(values)))


def _control_tokens(scorer: Scorer, conversations: Sequence[Conversation], completions: Sequence[Any]) -> list[str]:
    """Completions as plain text that hold control tokens of a model in this process, with a reason; "" for the rest."""
    said = [""] * len(conversations)
    plain = [index for index, one in enumerate(conversations) if one and one[0].role == "text"]
    members = [member.scorer for member in scorer.members] if isinstance(scorer, EnsembleScorer) else [scorer]
    for one in members if plain else []:
        if isinstance(one, LocalScorer | CachedScorer):
            found = one.checkpoint.renderer.control_tokens([completions[index] for index in plain])
            for index, tokens in zip(plain, found, strict=True):
                if tokens and not said[index]:
                    said[index] = f"special_token_in_text: {', '.join(tokens)} in the completion"
    return said


def answers_to(prompt: Said, responses: Sequence[Said], *, tools: Sequence[Any] = ()) -> list[Conversation]:
    """Each response as the end of a conversation: a text is one assistant turn, and a prompt of text the user's.

    Raises:
        DataError: a message or a tool is none.
    """
    asked = (Message("user", prompt),) if isinstance(prompt, str) else _messages(prompt, "prompt")
    asked = with_tools(asked, _tools(list(tools), "tools"))

    def turns(response: Said, where: str) -> Conversation:
        return (Message("assistant", response),) if isinstance(response, str) else _messages(response, where)

    return [(*asked, *turns(response, f"responses[{index}]")) for index, response in enumerate(responses)]


def _conversation(prompt: Any, completion: Any, tools: Any, where: str) -> Conversation:
    """Prompt and completion as TRL hands them over: both texts, or messages."""
    own = _tools(tools, where)
    if isinstance(prompt, str) and isinstance(completion, str):
        if own:
            raise DataError(
                "tools with a prompt and a completion as plain text, which no template renders",
                where=where,
                fix="give both as messages; or leave the tools out, where the prompt shows them already",
            )
        return (Message("text", prompt + completion),)
    before = (Message("user", prompt),) if isinstance(prompt, str) else _messages(prompt, where)
    after = (Message("assistant", completion),) if isinstance(completion, str) else _messages(completion, where)
    return with_tools((*before, *after), own)


def _tools(value: Any, where: str) -> list[Any]:
    try:
        return _TURNS.read_tools(value)
    except RowFault as fault:
        raise DataError(fault.detail, where=where, fix="give a list of tools, as chat templates take it") from fault


def _messages(turns: Any, where: str) -> Conversation:
    """Messages as the data are read, so that a completion gets the ids that training saw."""
    if isinstance(turns, Mapping | Message):
        turns = [turns]
    try:
        return _TURNS.read([dict(turn) if isinstance(turn, Mapping) else turn for turn in turns], where)
    except RowFault as fault:
        raise DataError(
            f"a message cannot be read: {fault.detail}",
            where=where,
            fix="give role and content; reward text only, or drop such turns",
        ) from fault


def _mean(values: Any) -> float:
    there = np.isfinite(values)
    return float(values[there].mean()) if there.any() else float("nan")
