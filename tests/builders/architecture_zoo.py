"""Tiny random models of the architectures that transformers knows, and what is to be expected of each.

    python tests/builders/architecture_zoo.py    # all, full and LoRA: `make test-architectures`
    python tests/builders/architecture_zoo.py phi3 bert     # some

For each: `run` (two steps), `verify`, `score`, `export` to its three targets, through the command line. The outcome
is compared with the table here, so that a change of transformers or of ours is seen.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import yaml

from conftest import make_pairs, make_tokenizer

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
DECODER = SMALL | {"head_dim": 8}
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512}
MOE = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0] * 4,
    "long_factor": [4.0] * 4,
    "original_max_position_embeddings": 48,
}
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}
GREEN = "green"


@dataclass(frozen=True)
class Architecture:
    """How a tiny model of it is configured, and what is expected: `green`, or words of the refusal before training."""

    model_type: str
    config: dict[str, Any] = field(default_factory=dict)
    expected: str = GREEN
    lora: str | None = None
    """Of LoRA, where it differs."""
    openrlhf: str = ""
    """Words with which the export to OpenRLHF is refused; empty where it works."""
    name: str = ""

    @property
    def title(self) -> str:
        return self.name or self.model_type


_ENCODER = "OpenRLHF reads decoders"
_SEQ2SEQ = "is an encoder-decoder"


def _decoders() -> Iterator[Architecture]:
    plain = (
        "arcee diffllama doge exaone4 gemma gemma2 gemma3_text glm glm4 helium hunyuan_v1_dense llama "
        "ministral ministral3 mistral nemotron olmo olmo2 olmo3 persimmon phi qwen2 qwen3 seed_oss smollm3 stablelm "
        "starcoder2"
    )
    for name in plain.split():
        yield Architecture(name, DECODER)
    for name in ("hunyuan_v1_moe", "jetmoe", "minimax", "mixtral", "phimoe", "qwen2_moe", "qwen3_moe"):
        yield Architecture(name, DECODER | MOE)
    yield Architecture("phi3", DECODER | {"pad_token_id": 0})
    longrope = {"pad_token_id": 0, "rope_parameters": LONGROPE, "original_max_position_embeddings": 48}
    yield Architecture("phi3", DECODER | longrope, name="phi3 longrope")
    dynamic = DECODER | {"max_position_embeddings": 48, "rope_parameters": DYNAMIC}
    yield Architecture("llama", dynamic, name="llama dynamic NTK")
    yield Architecture("falcon", SMALL | {"alibi": False})
    yield Architecture("falcon", SMALL | {"alibi": True, "new_decoder_architecture": False}, name="falcon alibi")
    yield Architecture("bloom", {"hidden_size": 32, "n_layer": 2, "n_head": 4})
    yield Architecture("mpt", {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 512})
    yield Architecture("opt", SMALL | {"ffn_dim": 48, "word_embed_proj_dim": 32})
    yield Architecture("biogpt", SMALL)
    yield Architecture("gpt_neox", SMALL)
    yield Architecture("gpt2", GPT)
    yield Architecture("gpt_bigcode", GPT)
    yield Architecture("gptj", GPT | {"rotary_dim": 4})
    yield Architecture("openai-gpt", GPT)
    yield Architecture(
        "ctrl", {"n_embd": 32, "n_layer": 2, "n_head": 4, "dff": 48, "n_positions": 512}, openrlhf=_ENCODER
    )
    neo = {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]]}
    yield Architecture("gpt_neo", neo | {"max_position_embeddings": 512})
    yield Architecture("gpt_oss", DECODER | MOE)
    mla = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}
    deepseek = SMALL | mla | {"num_key_value_heads": 4, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1}
    deepseek |= {"topk_group": 1, "moe_intermediate_size": 24, "first_k_dense_replace": 1, "n_shared_experts": 1}
    yield Architecture("deepseek_v2", deepseek | {"head_dim": 8})
    yield Architecture("deepseek_v3", deepseek)
    yield Architecture("minicpm3", SMALL | mla | {"num_key_value_heads": 4})


def _recurrent() -> Iterator[Architecture]:
    jamba = DECODER | {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "num_experts": 2}
    yield Architecture("jamba", jamba | {"expert_layer_offset": 1, "mamba_dt_rank": 4})
    linear = {"linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 8}
    linear |= {"linear_value_head_dim": 8, "layer_types": ["linear_attention", "full_attention"]}
    yield Architecture("qwen3_next", DECODER | MOE | linear | {"shared_expert_intermediate_size": 24})
    yield Architecture("qwen3_5_text", DECODER | linear)
    zamba = {"layers_block_type": ["linear_attention", "hybrid", "linear_attention", "hybrid"], "num_hidden_layers": 4}
    yield Architecture(
        "zamba", SMALL | zamba | {"attention_head_dim": 16, "n_mamba_heads": 2, "num_key_value_heads": 4}
    )
    mamba = {"mamba_expand": 2, "n_mamba_heads": 4, "mamba_d_state": 8, "mamba_headdim": 16, "mamba_ngroups": 1}
    zamba2 = SMALL | mamba | {"layers_block_type": ["mamba", "hybrid"], "num_mem_blocks": 1, "use_mem_rope": True}
    yield Architecture("zamba2", zamba2 | {"num_key_value_heads": 4})


def _encoders() -> Iterator[Architecture]:
    plain = (
        "albert bert camembert convbert data2vec-text deberta deberta-v2 electra ernie esm eurobert gte "
        "jina_embeddings_v3 megatron-bert modernbert mpnet nystromformer rembert roberta "
        "roberta-prelayernorm roformer squeezebert xlm-roberta xlm-roberta-xl yoso"
    )
    for name in plain.split():
        yield Architecture(name, SMALL | {"embedding_size": 32}, openrlhf=_ENCODER)
    yield Architecture(
        "modernbert-decoder", SMALL | {"bos_token_id": 1, "cls_token_id": 1, "sep_token_id": 2}, openrlhf=_ENCODER
    )
    yield Architecture("xmod", SMALL, expected="Input language unknown")
    no_adapter = "no linear layers that an adapter could stand on"
    yield Architecture("ibert", SMALL, lora=no_adapter, openrlhf=_ENCODER)
    yield Architecture("distilbert", {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48}, openrlhf=_ENCODER)
    yield Architecture("fnet", SMALL, openrlhf=_ENCODER)
    yield Architecture(
        "funnel",
        {
            "d_model": 32,
            "n_head": 4,
            "d_head": 8,
            "d_inner": 48,
            "block_sizes": [1, 1],
            "architectures": ["FunnelBaseModel"],
        },
        openrlhf=_ENCODER,
    )
    yield Architecture("xlnet", {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48}, openrlhf=_ENCODER)
    yield Architecture("xlm", {"emb_dim": 32, "n_layers": 2, "n_heads": 4}, openrlhf=_ENCODER)
    yield Architecture("flaubert", {"emb_dim": 32, "n_layers": 2, "n_heads": 4}, openrlhf=_ENCODER)
    yield Architecture("big_bird", SMALL | {"block_size": 4, "num_random_blocks": 1}, openrlhf=_ENCODER)
    yield Architecture("longformer", SMALL | {"attention_window": 8}, openrlhf=_ENCODER)
    yield Architecture("canine", SMALL, expected="`get_input_embeddings` not auto")
    mobile = {"embedding_size": 16, "intra_bottleneck_size": 16, "num_feedforward_networks": 1}
    yield Architecture("mobilebert", SMALL | mobile, openrlhf=_ENCODER)


def _encoder_decoders() -> Iterator[Architecture]:
    bart = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4}
    bart |= {"decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48}
    for name in ("bart", "mbart", "mvp", "plbart"):
        yield Architecture(name, bart, expected=_SEQ2SEQ)
    t5 = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
    for name in ("t5", "mt5", "umt5"):
        yield Architecture(name, t5, expected=_SEQ2SEQ)


ZOO = (*_decoders(), *_recurrent(), *_encoders(), *_encoder_decoders())


def make_tiny(architecture: Architecture, folder: Path) -> Path:
    """A base of it as hubs hold them: random weights without a reward head, and a tokenizer with a chat template."""
    import torch
    import transformers

    tokenizer = make_tokenizer()
    ids = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    settings = {"vocab_size": 400, **ids, **architecture.config}
    config = transformers.AutoConfig.for_model(architecture.model_type, **settings)
    config.use_cache = False
    torch.manual_seed(0)
    transformers.utils.logging.disable_progress_bar()
    model = transformers.AutoModel.from_config(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@dataclass
class Result:
    """What came out, and where it differs from the table."""

    outcome: str = GREEN
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0


def try_out(architecture: Architecture, adapter: str, folder: Path) -> Result:
    """Everything the table promises, through the command line, in this process."""
    started = time.perf_counter()
    result = Result()
    base = make_tiny(architecture, folder / "base")
    pairs = folder / "pairs.jsonl"
    rows = [
        {
            side: [{"role": turn.role, "content": turn.content} for turn in getattr(pair, side)]
            for side in ("prompt", "chosen", "rejected")
        }
        for pair in make_pairs(8, seed=3)
    ]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    long = " ".join(["river stone cloud"] * 8)
    rows[0]["chosen"] = [{"role": "assistant", "content": long}]
    texts = [{"messages": row["prompt"] + row["chosen"]} for row in rows]
    (folder / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))
    (folder / "spec.yaml").write_text(
        yaml.safe_dump(
            {
                "name": "tiny",
                "base_model": {"id": str(base)},
                "adapter": {"kind": adapter},
                "data": {"train": [{"path": str(pairs)}], "max_length": 200, "held_out": {"fraction": 0.0}},
                "hardware": {"device": "cpu", "threads": 1},
                "training": {"pairs_per_step": 4, "learning_rate": 1e-3},
                "evaluation": {"benchmarks": [], "probes": {"pairs": 0}, "label_noise": {"suspects": 0}},
            }
        )
    )
    model, out = str(folder / "runs" / "tiny" / "model"), folder / "out"
    with contextlib.chdir(folder):
        code, said = call("run", "spec.yaml", "--json")
        trained = (folder / "runs" / "tiny" / "train" / "metrics.jsonl").exists()
        if code not in (0, 1) or not Path(model).is_dir():
            result.outcome = f"{'AFTER TRAINING' if trained else 'refused'} ({code}): {' '.join(said.split())[-260:]}"
            result.seconds = time.perf_counter() - started
            return result
        for step, arguments in {
            "verify": ("verify", "--model", model, "--device", "cpu", "--json"),
            "score": ("score", "--model", model, "--input", "texts.jsonl", "--output", str(folder / "rewards.jsonl")),
            "hf": ("export", "--model", model, "--to", "hf", "--out", str(out / "hf")),
            "openrlhf": ("export", "--model", model, "--to", "openrlhf", "--out", str(out / "openrlhf")),
            "vllm": ("export", "--model", model, "--to", "vllm", "--out", str(out / "vllm")),
        }.items():
            code, said = call(*arguments)
            if step == "openrlhf" and architecture.openrlhf and code == 2 and architecture.openrlhf in said:
                continue
            if step == "verify":
                code, said = exact_paths(said)
            if code:
                result.outcome = f"{step} ({code})"
                result.notes.append(" ".join(said.split())[-400:])
                break
    result.seconds = time.perf_counter() - started
    return result


def call(*arguments: str) -> tuple[int, str]:
    """Exit code of a call of the command line, and all that it said."""
    from rewardsmith.cli import main

    said, before, code = io.StringIO(), sys.argv, 0
    sys.argv = ["rewardsmith", *arguments]
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            main()
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.argv = before
    return code, said.getvalue()


def exact_paths(said: str) -> tuple[int, str]:
    """The verdict without bfloat16: random weights of this size spread less than its rounding."""
    if "{" not in said:
        return 1, said
    record = json.loads(said[said.index("{") :])
    bad = [path for path in record["paths"] if path["verdict"] == "FAIL" and path["path"] != "bfloat16"]
    bad += [one for one in record["findings"] if one["fails"]]
    return (1, json.dumps(bad)) if bad else (0, "")


def as_expected(architecture: Architecture, adapter: str, result: Result) -> bool:
    expected = architecture.lora if adapter == "lora" and architecture.lora else architecture.expected
    if expected == GREEN:
        return result.outcome == GREEN
    return result.outcome.startswith("refused (2)") and expected in result.outcome


def main(names: list[str]) -> int:
    warnings.simplefilter("ignore")
    start = next((number for number, one in enumerate(ZOO) if names and one.title == names[0].removeprefix("+")), 0)
    wanted = [one for one in ZOO if not names or one.model_type in names or one.title in names]
    if names and names[0].startswith("+"):
        wanted = list(ZOO[start:])
    faults = 0
    print(f"{'architecture':24} {'adapter':8} {'s':>5}  outcome")
    for architecture in wanted:
        for adapter in ("none", "lora"):
            with tempfile.TemporaryDirectory() as folder:
                try:
                    result = try_out(architecture, adapter, Path(folder))
                except Exception as error:
                    result = Result(f"{type(error).__name__}: {error}"[:300])
            good = as_expected(architecture, adapter, result)
            faults += not good
            mark = "" if good else "   <- not what the table says"
            print(f"{architecture.title:24} {adapter:8} {result.seconds:5.1f}  {result.outcome}{mark}", flush=True)
            for note in result.notes if not good else ():
                print(f"    {note}")
    print(f"{len(wanted)} architectures, {2 * len(wanted)} trials, {faults} not as expected")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
