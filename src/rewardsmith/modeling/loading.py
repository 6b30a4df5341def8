"""From a base model or a checkpoint on disk to a transformer with one reward head.

    model = load_base(spec, "Qwen/Qwen3-0.6B", tokenizer, seed=0)    # before training: head new unless the base has one
    model = load_reward_model(Path("runs/x/model"))                  # after training: weights as saved, adapter on it

A base is made fit for training: no dropout, no float16, adapters that a file can hold, an embedding for a pad token
that the tokenizer gained. Weights are read from safetensors only and no code of the model's repository runs. The config
says `num_labels: 1` and `problem_type: "regression"`, so that `pipeline` and vLLM do not squash the reward through a
sigmoid.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import PreTrainedConfig, set_seed
from transformers.pytorch_utils import Conv1D

from rewardsmith.errors import ModelError, first_line
from rewardsmith.hub import ask_hub
from rewardsmith.modeling.faults import refuse_pad_beyond
from rewardsmith.modeling.matching import Head
from rewardsmith.modeling.quiet import quiet_upstream
from rewardsmith.modeling.reward_head import install_reward_forward
from rewardsmith.modeling.stored import refuse_adapter, stored_adapter
from rewardsmith.modeling.weights import (
    adapter_config,
    check_adapter,
    check_weights,
    head_modules,
    load_adapter,
    load_classifier,
)
from rewardsmith.packages import is_installed
from rewardsmith.records.bounded import refuse_odd_files
from rewardsmith.rendering import load_tokenizer
from rewardsmith.spec import LoraAdapter, QloraAdapter, Spec

_LOG = logging.getLogger(__name__)

_DROPPING = ("dropout", "pdrop", "layerdrop", "drop_prob", "drop_path", "drop_rate")
# Noise on what a router or an expert reads, in training only. `router_jitter_noise` is not among them: PhiMoE's router
# masks experts by it in evaluation as well.
_NOISE = ("jitter_noise", "input_jitter_noise", "moe_jitter_eps")
# Their routers draw experts at random while training, whatever the settings.
_RANDOM_ROUTERS = ("PhimoeTopKRouter",)

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "auto": "auto"}


def load_base(spec: Spec, base: str | Path, tokenizer: Any, *, seed: int) -> Any:
    """The base model with a reward head and, if the spec says so, adapters; ready for TRL's trainer.

    Args:
        base: folder or hub id that `spec.base_model` resolves to.
        tokenizer: the prepared tokenizer; a pad token that it gained gets an embedding.
        seed: draws the new head and the adapters.

    Raises:
        ModelError: the weights cannot be loaded as safetensors, or the device cannot hold a 4-bit base.
    """
    arguments: dict[str, Any] = {"dtype": _DTYPES[spec.base_model.dtype], "revision": spec.base_model.revision}
    if spec.base_model.attention != "auto":
        arguments["attn_implementation"] = spec.base_model.attention
    if isinstance(spec.adapter, QloraAdapter):
        arguments["quantization_config"] = _four_bits(spec.adapter)
    set_seed(seed)
    head: Head = "new" if spec.base_model.head == "new" else "base"
    config = one_label_config(base, spec.base_model.revision)
    model = load_classifier(str(base), config, head=head, **arguments)
    fit_tokenizer(model, tokenizer)
    if raise_float16(model):
        _LOG.warning("note: %s: its float16 weights are trained, and kept, in float32", base)
    switch_off_dropout(model)
    if isinstance(spec.adapter, LoraAdapter):
        model = add_adapter(model, spec.adapter, seed, new=model.new_weights)
    return install_reward_forward(model)


def _four_bits(adapter: QloraAdapter) -> Any:
    if not torch.cuda.is_available():
        raise ModelError(
            "QLoRA needs a CUDA device", where="adapter.kind", fix="write lora, or run on a machine with a GPU"
        )
    if not is_installed("bitsandbytes"):
        raise ModelError(
            "QLoRA needs the package bitsandbytes, which is not installed",
            where="adapter.kind",
            fix="pip install 'rewardsmith[qlora]'",
        )
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, adapter.compute_dtype),
    )


def raise_float16(model: nn.Module) -> bool:
    """Turn float16 weights into float32, which holds them exactly; returns whether there were any.

    Gradients below 6e-8 vanish in float16 and Adam's step divides by their root, so that single weights moved by
    hundreds. Frozen weights under an adapter are raised as well: gradients flow through them, and there is no loss
    scaling here that would keep them in range.
    """
    found = [weight for weight in (*model.parameters(), *model.buffers()) if weight.dtype == torch.float16]
    for weight in found:
        weight.data = weight.data.float()
    if found:
        config: Any = model.config
        config.dtype = torch.float32
    return bool(found)


def switch_off_dropout(model: nn.Module) -> None:
    """Make a forward in training equal one in evaluation: every dropout of the model and its configuration is 0.

    Dropout is on three shelves: modules (`nn.Dropout`), numbers that a module keeps and hands to a function (OPT's
    `self.dropout`, Llama's `self.attention_dropout`, layers that are skipped by `layerdrop`), and the configuration,
    which some forwards read. TRL empties the first alone. The two texts of a pair would be read through different
    weights.
    """
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):  # noqa: SLF001 - the one parent of all of torch's
            module.p = 0.0
        for name, value in list(vars(module).items()):
            if isinstance(value, float) and (any(part in name for part in _DROPPING) or name in _NOISE):
                setattr(module, name, 0.0)
        if type(module).__name__ in _RANDOM_ROUTERS:
            module.train(mode=False)
            module.train = _stay.__get__(module)  # type: ignore[method-assign]
    _empty(model.config)


def _stay(self: nn.Module, mode: bool = True) -> nn.Module:
    """In place of `train` where evaluation is what training needs."""
    del mode
    return self


def _empty(config: Any) -> None:
    for name, value in list(vars(config).items()):
        if isinstance(value, PreTrainedConfig):
            _empty(value)
        elif isinstance(value, float) and any(part in name for part in _DROPPING):
            setattr(config, name, 0.0)


def add_adapter(model: Any, adapter: LoraAdapter, seed: int, *, new: Iterable[str] = ()) -> Any:
    """Low-rank matrices on the base; what stands beside the base, and what it lacked, is trained in full and saved.

    Args:
        model: a sequence-classification model.
        new: names of weights that the base's file did not hold: they were drawn here, and a reload would draw others.

    Raises:
        ModelError: no such module, or one that cannot carry an adapter.
    """
    import peft

    whole = head_modules(model)
    # Never a module inside one that is saved already: peft would wrap it twice.
    lacked = {name.rpartition(".")[0] for name in new}
    whole += sorted(name for name in lacked if not any(f"{name}.".startswith(f"{kept}.") for kept in whole))
    targets = _all_linear(model, whole) if adapter.target_modules == "all-linear" else list(adapter.target_modules)
    config = peft.LoraConfig(
        # SEQ_CLS is what makes peft train the reward head in full and save it with the adapter.
        task_type=peft.TaskType.SEQ_CLS,
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules=targets,
        modules_to_save=whole,
        bias="none",
    )
    set_seed(seed)
    try:
        with quiet_upstream():
            return peft.get_peft_model(model, config)
    except ValueError as error:
        raise ModelError(str(error).splitlines()[0], where="adapter.target_modules", fix="write all-linear") from error


def _all_linear(model: nn.Module, whole: list[str]) -> list[str]:
    """The linear maps of the base. Routers and their like, which inherit from one and compute something else, are not.

    peft looks for heads by two names (`score`, `classifier`) and would put matrices on the poolers of encoders.
    """
    found = [
        name
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, Conv1D))
        and not any(f"{name}.".startswith(f"{kept}.") for kept in whole)
        and _is_a_map(module)
    ]
    if not found:
        raise ModelError(
            "the base has no linear layers that an adapter could stand on", where="adapter.kind", fix="write none"
        )
    return found


def _is_a_map(module: Any) -> bool:
    """Whether it computes what it inherits: known forwards do, another is tried on one vector."""
    if type(module).forward in (nn.Linear.forward, Conv1D.forward) or "bitsandbytes" in type(module).__module__:
        return True
    vector = torch.ones(1, 1, module.in_features, dtype=module.weight.dtype, device=module.weight.device)
    try:
        with torch.no_grad():
            return torch.allclose(module(vector), nn.functional.linear(vector, module.weight, module.bias), atol=1e-5)
    except (TypeError, RuntimeError, ValueError, AttributeError, IndexError):
        return False


def load_reward_model(
    folder: str | Path, *, dtype: str = "float32", device: str = "cpu", revision: str | None = None
) -> Any:
    """A reward model as saved, in evaluation mode: a full checkpoint, or an adapter with its head on its base.

    Raises:
        ModelError: nothing loadable is there, or the reward head is missing from it.
    """
    adapter_file = Path(folder) / "adapter_config.json"
    if adapter_file.is_file():
        model = _load_adapter(Path(folder), adapter_file, _DTYPES[dtype])
    else:
        config = one_label_config(folder, revision)
        model = load_classifier(str(folder), config, head="needed", dtype=_DTYPES[dtype], revision=revision)
    return install_reward_forward(model.to(torch.device(device)).eval())


def _load_adapter(folder: Path, adapter_file: Path, dtype: Any) -> Any:
    base = adapter_base(adapter_file)
    adapter_config(folder)  # before the base is looked for: what is wrong with the adapter alone needs none
    model = load_classifier(base, one_label_config(base), head="new", dtype=dtype)
    tokenizer = load_tokenizer(folder)
    if not any(part in name for name in stored_adapter(folder) for part in ("embed", "wte")):
        refuse_tokens_beyond(model, tokenizer, folder)
    fit_tokenizer(model, tokenizer)
    return load_adapter(model, folder)


def adapter_base(adapter_file: Path) -> str:
    """The base that an adapter_config.json names.

    Raises:
        ModelError: it names none.
    """
    try:
        base = json.loads(adapter_file.read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        base = None
    if not isinstance(base, str) or not base.strip():
        raise ModelError(
            "it does not say which base the adapter belongs to",
            where=f"{adapter_file}, field 'base_model_name_or_path'",
            fix="write the folder or hub id of the base there",
        )
    return base


def load_config(model: str | Path, revision: str | None = None) -> Any:
    """The configuration of a folder or hub id, as it was saved.

    Raises:
        ModelError: there is none that transformers understands.
    """
    refuse_odd_files(model, ModelError)
    if not (Path(model) / "config.json").is_file():
        refuse_adapter(model)
    ask_hub(model, error=ModelError, where="base_model.id", revision=revision)
    try:
        config = transformers.AutoConfig.from_pretrained(str(model), revision=revision, trust_remote_code=False)
    except Exception as error:  # what a broken file raises depends on the field that is broken
        if "problem_type" in str(error):
            raise ModelError(
                f"is no problem of one label: {first_line(error)}",
                where=f"{model}/config.json, field 'problem_type'",
                fix='write "regression": a reward goes through no sigmoid and no softmax',
            ) from error
        raise ModelError(
            f"{str(model)!r} cannot be loaded: {first_line(error)}",
            where="base_model.id",
            fix="name a folder with a checkpoint, or a hub model that is public or cached",
        ) from error
    refuse_pad_beyond(config, f"{model}/config.json")
    return config


def one_label_config(model: str | Path, revision: str | None = None) -> Any:
    """The configuration of a classifier with one label and no sigmoid.

    Raises:
        ModelError: as `load_config`; or the model is an encoder-decoder.
    """
    config = load_config(model, revision)
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(
            f"{config.model_type} is an encoder-decoder: its reward is read behind a decoder that is fed the text once "
            "more, and texts with different numbers of EOS tokens cannot share a batch",
            where="base_model.id",
            fix="choose a decoder or an encoder",
        )
    config.num_labels = 1
    config.problem_type = "regression"
    return config


def refuse_tokens_beyond(model: Any, tokenizer: Any, where: str | Path) -> None:
    """Refuse a trained model whose tokenizer has tokens without a row of the embedding, but for the pad token.

    A row that is drawn for them would be another at each load. The pad token is masked, so its row counts for nothing.

    Raises:
        ModelError: there are such tokens.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    beyond = sorted(
        (number, token)
        for token, number in tokenizer.get_vocab().items()
        if number >= rows and number != tokenizer.pad_token_id
    )
    if beyond:
        raise ModelError(
            f"has {len(beyond)} tokens without a row of the embedding, which has {rows} (first: {beyond[0][1]!r}, id "
            f"{beyond[0][0]}): their rows would be random",
            where=f"{where}, tokenizer",
            fix="restore the tokenizer that the model was trained with; for LoRA, save the embedding with the adapter",
        )


def refuse_other_tokenizer(model: Any, tokenizer: Any) -> None:
    """Refuse a tokenizer whose number of tokens says that it belongs to another model.

    Models have rows to spare, and a base may be given some new tokens; never half or a tenth of all.

    Raises:
        ModelError: it has fewer tokens than half of the embeddings, or a tenth more.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    vocabulary = tokenizer.get_vocab()
    beyond = [place for place in vocabulary.values() if place >= rows]
    if 2 * len(vocabulary) < rows or 10 * len(beyond) > rows:
        counts = f"{len(vocabulary):,} tokens and the model {rows:,} embeddings"
        raise ModelError(
            f"the tokenizer has {counts}: it is the tokenizer of another model",
            where=str(tokenizer.name_or_path or "tokenizer"),
            fix="put the model's own tokenizer files into its folder",
        )


def fit_tokenizer(model: Any, tokenizer: Any) -> None:
    """Give a new pad token an embedding and tell the config which id pads. Raises as `refuse_other_tokenizer`."""
    refuse_other_tokenizer(model, tokenizer)
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        model.vocabulary_grew = True
    text_config = model.config.get_text_config()
    text_config.pad_token_id = tokenizer.pad_token_id
    text_config.eos_token_id = tokenizer.eos_token_id
    model.config.pad_token_id = tokenizer.pad_token_id


def check_base(spec: Spec, base: str | Path) -> None:
    """Refuse a base in a folder whose weights `load_base` would refuse, from headers alone; a hub id is not fetched.

    Raises:
        ModelError: as `load_base`, but for the values of weights.
    """
    if Path(base).is_dir():
        check_weights(base, one_label_config(base), head="new" if spec.base_model.head == "new" else "base")


def check_checkpoint(folder: Path, *, reward_model: bool = True) -> tuple[str, ...]:
    """Refuse a checkpoint folder whose weights would be refused when it is opened; no value of a weight is read.

    Args:
        reward_model: a language model needs no head.

    Returns:
        What would be said of the names: prefixes that are taken off.

    Raises:
        ModelError: as `load_reward_model`, but for the values of weights.
    """
    adapter_file = folder / "adapter_config.json"
    if not adapter_file.is_file():
        return check_weights(folder, one_label_config(folder), head="needed" if reward_model else "new")
    adapter_config(folder)
    stored_adapter(folder)
    base = adapter_base(adapter_file)
    if not Path(base).is_dir():
        return ()
    config = one_label_config(base)
    return (*check_weights(base, config, head="new"), *check_adapter(config, folder))


def choose_device(wanted: str) -> torch.device:
    """The torch device for `auto`, `cpu`, `cuda` or `mps`.

    Raises:
        ModelError: the wanted device is not there.
    """
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return torch.device(next(name for name, there in found.items() if there))
    if not found[wanted]:
        raise ModelError(
            f"no {wanted} device is visible to this process",
            where="hardware.device",
            fix="write auto or cpu, or install a torch build for this machine",
        )
    return torch.device(wanted)


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether a GPU has instructions for bfloat16; false for a CPU.

    torch says that older GPUs (T4, V100) support it too, since it can emulate them: slower than float32.
    """
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def cpu_threads() -> int:
    """Threads that compute one operation on the CPU."""
    return torch.get_num_threads()
