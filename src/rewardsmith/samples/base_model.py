"""The embedded base model: a small Qwen3 decoder with its tokenizer, made here, without a download.

    folder = build_base_model(seed=0, progress=print)    # a Hugging Face checkpoint, ready for AutoModel…

Random weights from the seed, then a short warm-up as a causal language model on the right answers of the training part
(`warm_up.py`). Held-out prompts are not in that text. The checkpoint is cached; a second call returns at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from rewardsmith.modeling.quiet import quiet_upstream
from rewardsmith.modeling.spellings import respell
from rewardsmith.protocols import Progress
from rewardsmith.samples.files import cache_folder, cache_key, cached
from rewardsmith.samples.generator import DEFAULT_SIZES, Sizes, warm_up_texts
from rewardsmith.samples.tokenizer import MAX_LENGTH, build_tokenizer
from rewardsmith.samples.warm_up import Recipe, Text, warm_up


@dataclass(frozen=True, slots=True)
class Shape:
    """Size of the decoder; the default has 2.4 million parameters.

    Two layers, because three and four of the same cost learned less in the minute that there is.
    """

    vocabulary: int = 2560
    width: int = 256
    inner_width: int = 768
    layers: int = 2
    heads: int = 8


DEFAULT_SHAPE = Shape()
DEFAULT_RECIPE = Recipe()


def build_base_model(
    folder: Path | None = None,
    *,
    seed: int,
    sizes: Sizes = DEFAULT_SIZES,
    shape: Shape = DEFAULT_SHAPE,
    recipe: Recipe = DEFAULT_RECIPE,
    progress: Progress | None = None,
) -> Path:
    """Make the base model below `folder` (default: the cache), or find it there.

    Args:
        progress: called as `progress(done, total)` after every step of the warm-up.

    Returns:
        The folder of the checkpoint: weights, config, tokenizer with its chat template.

    Raises:
        RunDirectoryError: the folder cannot be written.
    """
    made_with = (
        str(asdict(shape)),
        str(asdict(recipe)),
        version("torch"),
        version("transformers"),
        version("tokenizers"),
    )
    name = f"base-{cache_key(seed, sizes, *made_with)}"
    return cached(folder or cache_folder(), name, lambda aside: _build(aside, seed, sizes, shape, recipe, progress))


def _build(folder: Path, seed: int, sizes: Sizes, shape: Shape, recipe: Recipe, progress: Progress | None) -> None:
    texts = warm_up_texts(seed=seed, sizes=sizes)
    tokenizer = build_tokenizer((text for pair in texts for text in pair), shape.vocabulary)
    # The caller's own random numbers stay as they were.
    with torch.random.fork_rng(devices=[]), _one_thread():
        torch.manual_seed(seed)
        model = Qwen3ForCausalLM(_config(tokenizer, shape))
        sequences = [_encode(tokenizer, *text) for text in texts]
        warm_up(model, sequences, recipe, seed=seed, pad_token_id=tokenizer.pad_token_id, progress=progress)
    with quiet_upstream():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    respell(folder)


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread, whatever the machine has: the same weights everywhere, and no thread that waits for another.

    Matrices this small gain little from a second thread.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def embedded_config() -> Qwen3Config:
    """The configuration of the default base before it is made: what a plan counts."""
    return _config(None, DEFAULT_SHAPE)


def _config(tokenizer: PreTrainedTokenizerFast | None, shape: Shape) -> Qwen3Config:
    return Qwen3Config(
        vocab_size=shape.vocabulary if tokenizer is None else len(tokenizer),
        hidden_size=shape.width,
        intermediate_size=shape.inner_width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        head_dim=shape.width // shape.heads,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        pad_token_id=None if tokenizer is None else tokenizer.pad_token_id,
        eos_token_id=None if tokenizer is None else tokenizer.eos_token_id,
        bos_token_id=None,
        # Wider than usual: the reward head is drawn with it, and a wider head starts to learn sooner.
        initializer_range=0.1,
    )


def _encode(tokenizer: PreTrainedTokenizerFast, prompt: str, response: str) -> Text:
    question = [{"role": "user", "content": prompt}]
    opening = tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (opening, response)]
    return [*ids[0], *ids[1], tokenizer.eos_token_id], len(ids[0])
