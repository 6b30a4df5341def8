"""Who uses the rewards gets those that evaluation saw: TRL's trainers for real, OpenRLHF's protocol, best-of-N."""

from __future__ import annotations

import base64
import json
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoint_maker import make_checkpoint
from serving_world import TOKEN, WAIT, World, chat, joined, serving

import rewardsmith
from rewardsmith.errors import DataError, ModelError
from rewardsmith.pipeline.scorers import CheckpointEngine
from rewardsmith.protocols import Progress
from rewardsmith.scoring import Combination, EnsembleScorer, LocalScorer, Member
from rewardsmith.types import Conversation, Message


@pytest.fixture(scope="module")
def model(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("consumers") / "model", tiny_base)


@pytest.fixture(scope="module")
def scorer(model: Path) -> LocalScorer:
    return LocalScorer.load(model)


@pytest.fixture(scope="module")
def world(model: Path) -> Iterator[World]:
    with serving({"tiny": CheckpointEngine(LocalScorer.load(model))}, token=TOKEN) as world:
        yield world


def address(world: World) -> str:
    return f"http://{world.host}:{world.port}"


@dataclass
class Seen:
    """What a trainer was given as rewards, batch by batch."""

    prompts: list[Any] = field(default_factory=list)
    completions: list[Any] = field(default_factory=list)
    rewards: list[list[float]] = field(default_factory=list)

    def watch(self, trainer: Any) -> None:
        """Note every batch on its way from the reward functions to the trainer."""
        calculate = trainer._calculate_rewards

        def watched(inputs: Any, prompts: Any, completions: Any, *rest: Any) -> Any:
            rewards = calculate(inputs, prompts, completions, *rest)
            self.prompts += prompts
            self.completions += completions
            self.rewards += rewards.tolist()
            return rewards

        trainer._calculate_rewards = watched


PROMPTS = [f"Say {word}." for word in ("red", "green", "blue", "stone", "river", "cloud", "seven", "eight")]


def train(kind: str, policy: Path, sources: list[Any], prompts: list[Any], folder: Path) -> tuple[Seen, Any]:
    """Two optimizer steps of a random policy."""
    import datasets
    import trl

    trainer_class, config_class = {
        "grpo": (trl.GRPOTrainer, trl.GRPOConfig),
        "rloo": (trl.RLOOTrainer, trl.RLOOConfig),
    }[kind]
    trainer = trainer_class(
        model=str(policy),
        reward_funcs=sources,
        args=config_class(
            output_dir=str(folder),
            max_steps=2,
            per_device_train_batch_size=4,
            num_generations=4,
            max_completion_length=6,
            learning_rate=1e-2,
            logging_steps=1,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            seed=3,
        ),
        train_dataset=datasets.Dataset.from_dict({"prompt": prompts}),
    )
    seen = Seen()
    seen.watch(trainer)
    trainer.train()
    return seen, trainer


@pytest.mark.parametrize("kind", ["grpo", "rloo"])
def test_trl_sees_the_rewards_of_the_scorer_by_path_by_function_and_by_server(
    kind: str, model: Path, tiny_base: Path, scorer: LocalScorer, world: World, tmp_path: Path
) -> None:
    sources = [
        str(model),
        rewardsmith.reward_function(model, name="local"),
        rewardsmith.reward_function(address(world), token=TOKEN, name="remote"),
    ]
    prompts = [[{"role": "user", "content": prompt}] for prompt in PROMPTS]
    seen, trainer = train(kind, tiny_base, sources, prompts, tmp_path)
    assert trainer.state.global_step == 2
    conversations = [
        tuple(Message(turn["role"], turn["content"]) for turn in [*prompt, *completion])
        for prompt, completion in zip(seen.prompts, seen.completions, strict=True)
    ]
    wanted = scorer.score(conversations)
    found = np.array(seen.rewards)
    assert found.shape == (8, 3)
    assert wanted.std() > 0.01
    np.testing.assert_allclose(found, np.repeat(wanted[:, None], 3, axis=1), rtol=0, atol=1e-4)
    logged = [entry for entry in trainer.state.log_history if "rewards/local/mean" in entry]
    assert [entry["rewards/local/mean"] for entry in logged] == pytest.approx(
        [wanted[:4].mean(), wanted[4:].mean()], abs=1e-4
    )
    assert [entry["rewards/local/missing"] for entry in logged] == [0.0, 0.0]


def test_plain_text_is_closed_with_eos_by_the_function_and_not_by_trl_itself(
    model: Path, tiny_base: Path, scorer: LocalScorer, world: World, tmp_path: Path
) -> None:
    sources = [
        str(model),
        rewardsmith.reward_function(model),
        rewardsmith.reward_function(address(world), token=TOKEN, name="remote"),
    ]
    seen, _ = train("grpo", tiny_base, sources, PROMPTS, tmp_path)
    texts = [prompt + completion for prompt, completion in zip(seen.prompts, seen.completions, strict=True)]
    wanted = scorer.score([(Message("text", text),) for text in texts])
    found = np.array(seen.rewards)
    np.testing.assert_allclose(found[:, 1:], np.repeat(wanted[:, None], 2, axis=1), rtol=0, atol=1e-4)
    assert np.abs(found[:, 0] - wanted).max() > 1e-2


class Lengths:
    """The length of the text; NaN for `NAN`."""

    def score(self, conversations: Sequence[Conversation], progress: Progress | None = None) -> np.ndarray:
        del progress
        texts = [joined(one) for one in conversations]
        return np.array([np.nan if "NAN" in text else float(len(text)) for text in texts])


def test_a_reward_function_reads_every_form_and_ignores_other_columns() -> None:
    function = rewardsmith.reward_function(Lengths(), name="lengths")
    assert function.__name__ == "lengths"
    turns = [{"role": "user", "content": "ab"}]
    answer = [{"role": "assistant", "content": [{"type": "text", "text": "c"}, {"type": "text", "text": "d"}]}]
    assert function(["ab"], ["cd"]) == [4.0]
    assert function([turns], [answer], completion_ids=[[1]], label=["x"], trainer_state=None) == [4.0]
    assert function(["ab"], [answer]) == [4.0]
    assert function(prompts=["ab", "ab"], completions=["NAN", "c"]) == [None, 3.0]
    assert function([], []) == []


def test_an_ensemble_tells_trl_its_members_and_what_is_missing() -> None:
    logged: dict[str, float] = {}
    ensemble = EnsembleScorer([Member("a", Lengths()), Member("b", Lengths())], Combination("min"))
    function = rewardsmith.reward_function(ensemble)
    assert function(["a", "a"], ["bc", "NAN"], log_metric=logged.__setitem__) == [3.0, None]
    assert logged == {
        "rewards/reward/member_a": 3.0,
        "rewards/reward/member_b": 3.0,
        "rewards/reward/spread": 0.0,
        "rewards/reward/missing": 0.5,
    }


@pytest.mark.parametrize(
    ("prompts", "completions", "message"),
    [
        (["a"], [], "1 prompts and 0 completions"),
        (
            ["a"],
            [[{"role": "assistant", "content": None, "tool_calls": []}]],
            r"completions\[0\]: a message cannot be read: completions\[0\]\[0\].content is missing",
        ),
        (["a"], [[{"role": "assistant", "content": [{"type": "image"}]}]], "a content part that is not text"),
    ],
)
def test_what_is_no_text_is_an_error(prompts: Any, completions: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        rewardsmith.reward_function(Lengths())(prompts, completions)


def test_what_is_no_source_is_an_error() -> None:
    with pytest.raises(ModelError, match="int is no source of rewards"):
        rewardsmith.reward_function(3)


def openrlhf_client(url: str, query: str) -> dict[str, Any]:
    """One call as OpenRLHF 0.11.2 sends it (`utils/agent.py`): one query, no headers of its own, userinfo as Basic."""
    parts = urllib.parse.urlsplit(url)
    bare = urllib.parse.urlunsplit(parts._replace(netloc=f"{parts.hostname}:{parts.port}"))
    given = base64.b64encode(f"{parts.username}:{parts.password}".encode()).decode()
    body = json.dumps({"query": [query], "prompts": ["p"], "labels": [None]}).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Basic {given}"}
    with urllib.request.urlopen(urllib.request.Request(bare, body, headers), timeout=WAIT) as reply:  # noqa: S310
        return json.loads(reply.read())


def test_openrlhf_gets_the_reward_of_the_scorer_for_a_rendered_text(scorer: LocalScorer, world: World) -> None:
    conversation = chat("Say red.", "red stone")
    wanted = scorer.score([conversation])[0]
    rendered = scorer.checkpoint.renderer.text(conversation)
    url = f"http://any:{TOKEN}@{world.host}:{world.port}/get_reward"
    assert rendered.endswith("<|im_end|>")
    for query in (rendered, rendered.removesuffix("<|im_end|>"), rendered + "\n"):
        answer = openrlhf_client(url, query)
        assert answer["rewards"] == answer["scores"] == pytest.approx([wanted], abs=1e-5)


def test_best_of_n_is_the_response_with_the_highest_reward(scorer: LocalScorer) -> None:
    responses = ["red", "blue sky", "green green green", "seven"]
    wanted = scorer.score([chat("Say red.", response) for response in responses])
    best = rewardsmith.best_of_n(scorer, "Say red.", responses)
    assert best.rewards == pytest.approx(wanted.tolist(), abs=1e-6)
    assert (best.index, best.response) == (int(wanted.argmax()), responses[int(wanted.argmax())])
    assert best.reward == max(best.rewards)
    system = [Message("system", "Be brief."), {"role": "user", "content": "Say red."}]
    told = rewardsmith.best_of_n(scorer, system, ["red"])
    assert told.reward == pytest.approx(
        scorer.score([(system[0], Message("user", "Say red."), Message("assistant", "red"))])[0], abs=1e-6
    )


def test_best_of_n_takes_the_first_of_equals_and_never_a_missing_one() -> None:
    assert rewardsmith.best_of_n(Lengths(), "p", ["ab", "cd", "e"]).index == 0
    assert rewardsmith.best_of_n(Lengths(), "p", ["NAN", "e"]).response == "e"
    with pytest.raises(DataError, match="none of the 1 responses has a reward"):
        rewardsmith.best_of_n(Lengths(), "p", ["NAN"])
    with pytest.raises(DataError, match="no response to choose from"):
        rewardsmith.best_of_n(Lengths(), "p", [])
