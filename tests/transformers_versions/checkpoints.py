"""Checkpoints of many architectures as Rewardsmith writes them, with the ids and rewards that each must give elsewhere.

    cases = make_cases(folder)      # folder/NAME/…, and folder/cases.json for load_checkpoints.py

The rewards are those of the model in memory before it was saved, so that saving is part of what is tested.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import AddedToken

import rewardsmith
from conftest import CHATML, make_tokenizer
from rewardsmith.modeling.averaging import average_checkpoints
from rewardsmith.modeling.checkpoint import save_checkpoint
from rewardsmith.modeling.exports import export_checkpoint
from rewardsmith.modeling.loading import load_base
from rewardsmith.records.checkpoint import CheckpointRecord
from rewardsmith.rendering import load_renderer
from rewardsmith.spec import Spec

SIZES = {
    "vocab_size": 400,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.25,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
SHORT, LONG = [1.0 + 0.1 * i for i in range(8)], [2.0 + 0.5 * i for i in range(8)]
SLIDING, FULL = "sliding_attention", "full_attention"

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {"rope_parameters": LLAMA3}),
    "llama-plain": ("llama", {"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}}),
    "llama-linear": ("llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 20000.0, "factor": 4.0}}),
    "llama-dynamic": ("llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 20000.0, "factor": 2.0}}),
    "llama-yarn": (
        "llama",
        {
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 300000.0,
                "factor": 4.0,
                "original_max_position_embeddings": 128,
            }
        },
    ),
    "qwen2": ("qwen2", {"rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0}}),
    "qwen2-yarn": (
        "qwen2",
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1000000.0, "factor": 4.0}},
    ),
    "qwen2-window": (
        "qwen2",
        {
            "use_sliding_window": True,
            "sliding_window": 8,
            "max_window_layers": 2,
            "rope_parameters": {"rope_theta": 1e6},
        },
    ),
    "qwen3": ("qwen3", {"head_dim": 16, "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0}}),
    "mistral": ("mistral", {"sliding_window": 8, "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0}}),
    "mixtral": (
        "mixtral",
        {"num_local_experts": 4, "rope_parameters": {"rope_type": "default", "rope_theta": 30000.0}},
    ),
    "gemma": ("gemma", {"head_dim": 16, "rope_parameters": {"rope_type": "default", "rope_theta": 30000.0}}),
    "gemma2": (
        "gemma2",
        {"head_dim": 16, "sliding_window": 8, "rope_parameters": {"rope_type": "default", "rope_theta": 30000.0}},
    ),
    "gemma3": (
        "gemma3_text",
        {
            "head_dim": 16,
            "sliding_window": 8,
            "layer_types": [SLIDING, FULL, SLIDING, FULL],
            "rope_parameters": {
                FULL: {"rope_type": "linear", "factor": 8.0, "rope_theta": 500000.0},
                SLIDING: {"rope_type": "default", "rope_theta": 20000.0},
            },
        },
    ),
    "phi": ("phi", {"rope_parameters": {"rope_type": "default", "rope_theta": 30000.0, "partial_rotary_factor": 0.25}}),
    "phi3": (
        "phi3",
        {
            "original_max_position_embeddings": 400,
            "rope_parameters": {
                "rope_type": "longrope",
                "rope_theta": 30000.0,
                "short_factor": SHORT,
                "long_factor": LONG,
                "original_max_position_embeddings": 400,
            },
        },
    ),
    "phi3-plain": ("phi3", {"rope_parameters": {"rope_type": "default", "rope_theta": 50000.0}}),
    "gpt_neox": (
        "gpt_neox",
        {"rope_parameters": {"rope_type": "default", "rope_theta": 30000.0, "partial_rotary_factor": 0.5}},
    ),
    "gpt2": ("gpt2", {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 512}),
    "modernbert": (
        "modernbert",
        {
            "local_attention": 16,
            "layer_types": [FULL, SLIDING, FULL, SLIDING],
            "rope_parameters": {
                FULL: {"rope_type": "default", "rope_theta": 80000.0},
                SLIDING: {"rope_type": "default", "rope_theta": 5000.0},
            },
        },
    ),
    "stablelm": (
        "stablelm",
        {"rope_parameters": {"rope_type": "default", "rope_theta": 30000.0, "partial_rotary_factor": 0.5}},
    ),
    "glm": (
        "glm",
        {
            "head_dim": 16,
            "rope_parameters": {"rope_type": "default", "rope_theta": 30000.0, "partial_rotary_factor": 0.25},
        },
    ),
    "starcoder2": ("starcoder2", {"rope_parameters": {"rope_type": "default", "rope_theta": 100000.0}}),
    "smollm3": ("smollm3", {"rope_parameters": {"rope_type": "default", "rope_theta": 50000.0}}),
}
"""Name → model type and what its configuration says, as transformers 5 takes it."""

CONVERSATIONS = [
    [("user", "What is the capital of France?"), ("assistant", "Paris.")],
    [("user", "Write a line about rain."), ("assistant", "Rain taps on the roof, and a cat listens at the sill. " * 3)],
    [("user", "Add 17 and 25."), ("assistant", "42."), ("user", "And 8?"), ("assistant", "50.")],
]

TOKENIZERS = {
    "qwen2": "Qwen2Tokenizer",
    "qwen2-yarn": "Qwen2Tokenizer",
    "qwen2-window": "Qwen2Tokenizer",
    "llama-plain": "LlamaTokenizer",
    "gemma2": "GemmaTokenizer",
    "gpt2": "GPT2Tokenizer",
}
"""Models that get a tokenizer of a class of their own; the others have the one of tokenizers alone."""


def make_cases(folder: Path) -> list[dict[str, Any]]:
    """Write every checkpoint and `cases.json`."""
    cases = []
    for name in MODELS:
        cases += _cases(folder, name)
    (folder / "cases.json").write_text(json.dumps(cases), encoding="utf-8")
    return cases


def _cases(folder: Path, name: str) -> list[dict[str, Any]]:
    base = _base(folder / "bases" / name, name)
    written = [_trained(folder / name, base, lora=False)]
    expected = written[0][1]
    sources = [(name, folder / name, expected)]
    if name in ("llama", "qwen3", "gemma3"):
        adapter, rewards = _trained(folder / f"{name}-lora", base, lora=True)
        sources.append((f"{name}-lora", adapter, rewards))
    found = [_case(name, folder / name, expected)]
    for label, source, rewards in sources:
        for target in ("hf", "vllm", "openrlhf"):
            if target == "openrlhf" and name == "modernbert":
                continue
            if label != name or name in ("llama", "qwen3", "gemma3", "phi3", "gpt_neox", "gpt2"):
                out = folder / f"{label}-{target}"
                export_checkpoint(source, out, target)
                found.append(_case(f"{label} --to {target}", out, rewards))
    if name == "llama":
        other, _ = _trained(folder / "llama-other", base, lora=False, seed=2)
        average_checkpoints([folder / name, other], folder / "llama-mean", (1.0, 0.0))
        found.append(_case("average", folder / "llama-mean", expected))
    return found


def _case(name: str, folder: Path, expected: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "folder": str(folder), **expected}


def _base(folder: Path, name: str) -> Path:
    kind, settings = MODELS[name]
    tokenizer: Any = _tokenizer(name)
    torch.manual_seed(7)
    ids = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    sizes = {"vocab_size": len(tokenizer)} if name == "gpt2" else {**SIZES, "vocab_size": len(tokenizer)}
    config = transformers.AutoConfig.for_model(kind, **{**sizes, **json.loads(json.dumps(settings))}, **ids)
    auto = transformers.AutoModelForMaskedLM if kind == "modernbert" else transformers.AutoModelForCausalLM
    auto.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer(name: str) -> Any:
    tokenizer: Any = make_tokenizer()
    kind = TOKENIZERS.get(name)
    if kind is None:
        tokenizer.add_special_tokens({"additional_special_tokens": [AddedToken("<|im_start|>", special=True)]})
        return tokenizer
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    vocabulary = dict(sorted(model["vocab"].items(), key=lambda item: item[1]))
    own = {"LlamaTokenizer": ("<unk>", "<s>", "</s>"), "GemmaTokenizer": ("<unk>", "<bos>")}.get(kind, ())
    vocabulary |= {token: len(vocabulary) + place for place, token in enumerate(own)}
    made = getattr(transformers, kind)(
        vocab=vocabulary,
        merges=[tuple(merge) for merge in model["merges"]],
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
    )
    made.add_special_tokens({"additional_special_tokens": [AddedToken("<|im_start|>", special=True)]})
    made.chat_template = CHATML
    return made


def _trained(folder: Path, base: Path, *, lora: bool, seed: int = 0) -> tuple[Path, dict[str, Any]]:
    adapter = {"kind": "lora", "rank": 4, "alpha": 8} if lora else {"kind": "none"}
    spec = Spec.model_validate({"base_model": {"id": str(base)}, "adapter": adapter})
    renderer = load_renderer(base, max_length=400)
    model = load_base(spec, base, renderer.tokenizer, seed=seed).eval()
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name or "score" in name or "classifier" in name:
                weight.normal_(std=0.3, generator=draw)
    record = CheckpointRecord(
        rewardsmith_version=rewardsmith.__version__,
        base_model=str(base),
        rendering=renderer.record,
        data_fingerprints=(),
    )
    save_checkpoint(folder, model, renderer, record)
    messages = [[{"role": role, "content": text} for role, text in turns] for turns in CONVERSATIONS]
    ids = [list(map(int, one)) for one in _ids(renderer)]
    with torch.no_grad():
        rewards = [
            float(model(torch.tensor([one]), torch.ones(1, len(one), dtype=torch.long)).logits[0, 0]) for one in ids
        ]
    return folder, {"messages": messages, "ids": ids, "rewards": rewards, "pad": renderer.pad_token_id}


def _ids(renderer: Any) -> list[Any]:
    from rewardsmith.types import Message

    conversations = [tuple(Message(role, text) for role, text in turns) for turns in CONVERSATIONS]
    return [rendered.ids for rendered in renderer.render_many(conversations)]
