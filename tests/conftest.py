"""Fixtures that several test files share: a tiny tokenizer, tiny models, and pairs to train on."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import hypothesis
import process_state
import pytest

from rewardsmith.types import Message, PreferencePair

# No test depends on time or on luck: the same examples everywhere, however slow the machine is at the moment.
hypothesis.settings.register_profile(
    "project", deadline=None, derandomize=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("project")

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WORDS = [
    "red",
    "green",
    "blue",
    "stone",
    "river",
    "cloud",
    "seven",
    "eight",
    "nine",
    "above",
    "below",
    "quick",
    "slow",
    "warm",
    "cold",
    "left",
    "right",
]


def make_pairs(count: int, seed: int = 0, *, shared_prompts: bool = False) -> list[PreferencePair]:
    """Random short pairs; the chosen response repeats a word of its prompt, the rejected one does not."""
    draw = random.Random(seed)
    pairs = []
    for index in range(count):
        words = draw.sample(WORDS, 4)
        prompt = (Message("user", f"Say {words[0]} and {words[1]}{'' if shared_prompts else f' ({index})'}."),)
        tail = " ".join(draw.choices(WORDS, k=draw.randint(1, 12)))
        pairs.append(
            PreferencePair(
                prompt=prompt,
                chosen=(Message("assistant", f"{words[0]} {tail}"),),
                rejected=(Message("assistant", f"{words[2]} {tail[: draw.randint(1, 20)]}"),),
                id=str(index),
                source="tiny",
                subset="words",
            )
        )
    return pairs


def make_tokenizer(*, chat_template: str | None = CHATML, pad: str | None = "<|pad|>") -> object:
    """A byte-level BPE of 400 tokens with ChatML's special tokens."""
    import tokenizers
    import transformers
    from tokenizers import decoders, models, pre_tokenizers, trainers

    bpe = tokenizers.Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|pad|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [message.content for pair in make_pairs(50) for message in pair.prompt + pair.chosen]
    bpe.train_from_iterator(texts, trainer)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|im_end|>", pad_token=pad)
    tokenizer.chat_template = chat_template
    return tokenizer


def make_base(folder: Path, *, layers: int = 2, width: int = 32, seed: int = 0) -> Path:
    """A tiny random Qwen3 causal language model with its tokenizer, saved as a hub checkpoint is."""
    import torch
    import transformers

    tokenizer = make_tokenizer()
    torch.manual_seed(seed)
    config = transformers.Qwen3Config(
        vocab_size=400,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=width // 4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    transformers.Qwen3ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def _process_as_before() -> Iterator[None]:
    """A test leaves no secret, registry entry, variable, folder, handler or thread count to the next one."""
    with process_state.restored():
        yield


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved two-layer base model."""
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real preference data beside the repository; tests that need it skip where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data beside the repository is absent")
    return folder
