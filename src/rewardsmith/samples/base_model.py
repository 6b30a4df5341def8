"""The embedded base model: a small Qwen3 decoder with its tokenizer, made here, without a download.

    folder = build_base_model(seed=0, progress=print)    # a Hugging Face checkpoint, ready for AutoModel…

Random weights from the seed, then a short warm-up as a causal language model on the right answers of the training part:
afterwards the model knows the facts and the forms of that part; which of two responses is better it has never been
told. Held-out prompts are not in that text. Plain torch in float32: the same seed, thread count and library versions
give the same weights. The checkpoint is cached; a second call returns at once.

The tokenizer is byte-level BPE, trained on the warm-up texts, with a chat template:

    tokenizer.apply_chat_template(messages)     # <|user|>…<|end|><|assistant|>…<|end|>

One special token opens a turn and names its role, one closes it. `<|end|>` is the EOS: it is the last token of every
conversation and nothing follows it. There is no BOS, so none can double. `<|pad|>` is a token of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from rewardsmith.modeling.quiet import quiet_upstream
from rewardsmith.modeling.spellings import respell
from rewardsmith.protocols import Progress
from rewardsmith.samples.generator import DEFAULT_SIZES, Sizes, cache_folder, cache_key, cached, warm_up_texts

PAD, END, SYSTEM, USER, ASSISTANT = "<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"
SPECIAL_TOKENS = (PAD, END, SYSTEM, USER, ASSISTANT)
MAX_LENGTH = 512

CHAT_TEMPLATE = """\
{%- for message in messages -%}
    {%- if message['role'] not in ['system', 'user', 'assistant'] -%}
        {{- raise_exception('the roles are system, user and assistant, not ' + message['role']) -}}
    {%- endif -%}
    {{- '<|' + message['role'] + '|>' + message['content'] + '<|end|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|assistant|>' -}}
{%- endif -%}"""


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


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the warm-up trains.

    Attributes:
        texts_per_step: texts in an optimizer step.
        learning_rate: its peak, reached after `rise` of the steps; from there it falls to 0 in a straight line.
        prompt_weight: what a token of the prompt counts in the loss; a token of the response counts 1.
        clip: largest norm of the gradient.
    """

    texts_per_step: int = 16
    learning_rate: float = 4e-3
    rise: float = 0.05
    prompt_weight: float = 0.1
    clip: float = 1.0


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


def build_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A tokenizer of at most `vocabulary` tokens: the special ones, the 256 bytes, and the most frequent merges."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[SYSTEM, USER, ASSISTANT],
        chat_template=CHAT_TEMPLATE,
        padding_side="right",
        model_max_length=MAX_LENGTH,
        clean_up_tokenization_spaces=False,
    )


Text = tuple[list[int], int]
"""Token ids, and how many of them are the prompt's."""


def _encode(tokenizer: PreTrainedTokenizerFast, prompt: str, response: str) -> Text:
    question = [{"role": "user", "content": prompt}]
    opening = tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (opening, response)]
    return [*ids[0], *ids[1], tokenizer.eos_token_id], len(ids[0])


def warm_up(
    model: PreTrainedModel,
    texts: Sequence[Text],
    recipe: Recipe,
    *,
    seed: int,
    pad_token_id: int,
    progress: Progress | None = None,
) -> None:
    """Train `model` in place, one pass over `texts`."""
    batches = _batches(texts, recipe.texts_per_step, Random(seed))  # noqa: S311
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _rise_and_fall(len(batches), recipe.rise))
    model.train()
    for step, batch in enumerate(batches, start=1):
        loss = _loss(model, [texts[i] for i in batch], recipe.prompt_weight, pad_token_id)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if progress:
            progress(step, len(batches))
    model.eval()


def _batches(texts: Sequence[Text], size: int, rng: Random) -> list[list[int]]:
    """Indices in random batches of similar lengths, so that little is padded."""
    order = list(range(len(texts)))
    rng.shuffle(order)
    batches = [batch for pool in _chunks(order, 16 * size) for batch in _sorted_batches(pool, texts, size)]
    rng.shuffle(batches)
    return batches


def _sorted_batches(pool: list[int], texts: Sequence[Text], size: int) -> Iterator[list[int]]:
    return _chunks(sorted(pool, key=lambda i: len(texts[i][0])), size)


def _chunks(items: list[int], size: int) -> Iterator[list[int]]:
    return (items[i : i + size] for i in range(0, len(items), size))


def _rise_and_fall(steps: int, rise: float) -> Callable[[int], float]:
    return lambda step: min(1.0, (step + 1) / max(1.0, rise * steps)) * (1 - step / steps)


def _loss(model: PreTrainedModel, batch: list[Text], prompt_weight: float, pad_token_id: int) -> torch.Tensor:
    """Weighted mean of the next-token losses. B texts, T tokens, N predicted tokens, D width, V vocabulary."""
    longest = max(len(ids) for ids, _ in batch)
    ids_BT = torch.tensor([ids + [pad_token_id] * (longest - len(ids)) for ids, _ in batch])
    mask_BT = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in batch])
    weight_BT = mask_BT.float()
    for row, (_, n_prompt) in enumerate(batch):
        weight_BT[row, :n_prompt] = prompt_weight
    hidden_BTD = model.model(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state
    # The vocabulary is the widest matrix here: only positions that count go through it.
    counts_BT = mask_BT[:, 1:].bool()
    logits_NV = model.lm_head(hidden_BTD[:, :-1][counts_BT])
    losses_N = cross_entropy(logits_NV, ids_BT[:, 1:][counts_BT], reduction="none")
    weight_N = weight_BT[:, 1:][counts_BT]
    return (losses_N * weight_N).sum() / weight_N.sum()
