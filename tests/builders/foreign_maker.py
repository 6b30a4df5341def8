"""Checkpoints as other programs write them, tiny and random, and the rewards that those programs would give.

The layouts are those of openrlhf/models/model.py with openrlhf/utils/deepspeed (`save_model`), of
openrlhf/datasets/reward_dataset.py (texts), and of published `…ForSequenceClassification` reward models.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from rendering_tokenizers import LLAMA3, LLAMA3_TOKENS, build, gemma
from safetensors.torch import save_file

from conftest import make_tokenizer
from rewardsmith.types import Conversation

UNCLOSED = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
_SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 300,
    "head_dim": 8,
}


def make_openrlhf(folder: Path, prefix: str, *, mean: float = 0.4, std: float = 2.5, template: str | None = "") -> Path:
    """What `train_rm` leaves behind; `template` replaces ChatML, None leaves none."""
    tokenizer: Any = make_tokenizer()
    tokenizer.padding_side = "left"
    if template != "":
        tokenizer.chat_template = template
    torch.manual_seed(7)
    config = transformers.Qwen3Config(
        vocab_size=400, **_SIZES, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    backbone = transformers.Qwen3Model(config)
    weights = {f"model.{name}": tensor.clone() for name, tensor in backbone.state_dict().items()}
    weights[f"{prefix}.weight"] = 0.3 * torch.randn(1, 32)
    folder.mkdir(parents=True)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    said = {key: value for key, value in config.to_dict().items() if key not in ("id2label", "label2id")}
    said |= {"architectures": ["RewardModel"], "value_head_prefix": prefix, "normalize_reward": False}
    said |= {"mean": mean, "std": std, "use_cache": False}
    (folder / "config.json").write_text(json.dumps(said))
    tokenizer.save_pretrained(folder)
    return folder


def openrlhf_rewards(folder: Path, prefix: str, conversations: list[Conversation]) -> list[float]:
    """As OpenRLHF's model and data set do it: its text, left padding, the head at the last position of the mask."""
    from safetensors.torch import load_file

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    config = transformers.AutoConfig.from_pretrained(folder)
    backbone = transformers.Qwen3Model(config).eval()
    backbone.load_state_dict(
        {name.removeprefix("model."): tensor for name, tensor in weights.items() if name[0] == "m"}
    )
    texts = []
    for conversation in conversations:
        text = written(tokenizer, conversation).rstrip("\n")
        texts.append(text if text.endswith(tokenizer.eos_token) else f"{text} {tokenizer.eos_token}")
    tokenizer.padding_side = "left"
    batch = tokenizer(texts, padding=True, add_special_tokens=False, return_tensors="pt")
    mask_BT = batch["attention_mask"]
    positions_BT = (mask_BT.cumsum(-1) - 1).masked_fill(mask_BT == 0, 1)
    with torch.no_grad():
        hidden_BTD = backbone(batch["input_ids"], attention_mask=mask_BT, position_ids=positions_BT).last_hidden_state
    return (hidden_BTD[:, -1] @ weights[f"{prefix}.weight"][0]).tolist()


def written(tokenizer: Any, conversation: Conversation) -> str:
    if conversation[0].role == "text":
        return "".join(turn.content for turn in conversation)
    messages = [{"role": turn.role, "content": turn.content} for turn in conversation]
    return str(tokenizer.apply_chat_template(messages, tokenize=False))


def make_published(folder: Path, family: str) -> Path:
    """A one-label classifier as published: its own template, `num_labels` 1, nothing said of `problem_type`."""
    tokenizer: Any
    if family == "llama":
        bos, eos = "<|begin_of_text|>", "<|eot_id|>"
        tokenizer = build([*LLAMA3_TOKENS, "[PAD]"], LLAMA3, bos_token=bos, eos_token=eos, pad_token="[PAD]")
        kind: Any = transformers.LlamaConfig
    elif family == "llama without bos":
        bos, eos = "<|begin_of_text|>", "<|eot_id|>"
        written = LLAMA3.replace("bos_token + ", "")
        tokenizer = build(
            [*LLAMA3_TOKENS, "[PAD]"], written, adds_bos=bos, bos_token=bos, eos_token=eos, pad_token="[PAD]"
        )
        kind = transformers.LlamaConfig
    elif family == "gemma2":
        tokenizer = gemma()
        kind = transformers.Gemma2Config
    else:
        tokenizer, kind = make_tokenizer(), transformers.Qwen3Config
    torch.manual_seed(11)
    config = kind(
        vocab_size=len(tokenizer),
        **_SIZES,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        num_labels=1,
    )
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        model.score.weight.normal_(std=0.3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    said = json.loads((folder / "config.json").read_text())
    said.pop("problem_type", None)
    (folder / "config.json").write_text(json.dumps(said))
    return folder


def published_rewards(folder: Path, conversations: list[Conversation]) -> list[float]:
    """transformers alone, as a model card tells its readers to: the shipped template, one text at a time."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    rewards = []
    for conversation in conversations:
        ids = tokenizer(written(tokenizer, conversation), add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            rewards.append(float(model(ids).logits[0, 0]))
    return rewards
