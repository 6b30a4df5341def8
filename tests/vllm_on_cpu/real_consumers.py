"""GRPO with SmolLM2 as policy, rewarded by SmolLM2 with our head in three ways; part of `make test-vllm`.

TRL's own trainer takes two optimizer steps. The reward model is a function in its process, behind `rewardsmith serve`,
and behind vLLM: the same rewards each time, which are those of the scorer.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoint_maker import make_checkpoint
from serving_world import TOKEN, serving

import rewardsmith
from rewardsmith.modeling.exports import export_checkpoint
from rewardsmith.pipeline.scorers import CheckpointEngine
from rewardsmith.scoring import LocalScorer
from rewardsmith.types import Message
from vllm_server import vllm_server

PYTHON = os.environ.get("VLLM_PYTHON", "")
SMOLLM2 = Path(os.environ.get("SMOLLM2", "build/SmolLM2-135M-Instruct"))
pytestmark = [
    pytest.mark.skipif(not PYTHON, reason="run it as `make test-vllm`, which makes vLLM's environment"),
    pytest.mark.skipif(
        not (SMOLLM2 / "model.safetensors").is_file(), reason="make real-weights makes SmolLM2's folder"
    ),
]
PROMPTS = ("What is 2 + 2?", "Name a colour.", "Name a river in France.", "Say hello.")


def two_steps(sources: list[Any], folder: Path) -> tuple[list[Any], np.ndarray, Any]:
    """What the trainer made and was given: conversations, rewards of shape (responses, sources), and itself."""
    import datasets
    import trl

    made: list[Any] = []
    given: list[list[float]] = []
    trainer = trl.GRPOTrainer(
        model=str(SMOLLM2),
        reward_funcs=sources,
        args=trl.GRPOConfig(
            output_dir=str(folder),
            max_steps=2,
            per_device_train_batch_size=2,
            num_generations=2,
            max_completion_length=12,
            learning_rate=1e-6,
            logging_steps=1,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            seed=3,
        ),
        train_dataset=datasets.Dataset.from_dict({"prompt": [[{"role": "user", "content": one}] for one in PROMPTS]}),
    )
    calculate = trainer._calculate_rewards

    def watched(inputs: Any, prompts: Any, completions: Any, *rest: Any) -> Any:
        rewards = calculate(inputs, prompts, completions, *rest)
        made.extend([*prompt, *completion] for prompt, completion in zip(prompts, completions, strict=True))
        given.extend(rewards.tolist())
        return rewards

    trainer._calculate_rewards = watched
    trainer.train()
    return made, np.array(given), trainer


def test_grpo_sees_the_same_rewards_from_a_function_a_server_and_vllm(tmp_path: Path) -> None:
    model = make_checkpoint(tmp_path / "rm", SMOLLM2, max_length=512, head_std=0.06)
    export_checkpoint(model, tmp_path / "export", "vllm")
    scorer = LocalScorer.load(model)
    with (
        vllm_server(tmp_path / "export", tmp_path / "log", "--max-model-len", "512", python=PYTHON) as url,
        serving({"rm": CheckpointEngine(scorer)}, token=TOKEN) as ours,
    ):
        sources = [
            rewardsmith.reward_function(model, name="function"),
            rewardsmith.reward_function(f"http://{ours.host}:{ours.port}", token=TOKEN, name="server"),
            rewardsmith.reward_function(f"vllm+{url}?tokenizer={model}", name="vllm"),
        ]
        made, given, trainer = two_steps(sources, tmp_path / "grpo")
    assert trainer.state.global_step == 2
    assert given.shape == (4, 3)
    conversations = [tuple(Message(turn["role"], turn["content"]) for turn in turns) for turns in made]
    wanted = scorer.score(conversations)
    assert np.isfinite(wanted).all()
    np.testing.assert_allclose(given, np.repeat(wanted[:, None], 3, axis=1), rtol=0, atol=1e-4)
    means = [entry["rewards/vllm/mean"] for entry in trainer.state.log_history if "rewards/vllm/mean" in entry]
    assert means == pytest.approx([wanted[:2].mean(), wanted[2:].mean()], abs=1e-4)
