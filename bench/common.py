"""What the speed benches share: a base of a stated shape, real pairs, GEMM rates, workers, the versions that count.

A bench compares commands in one run, side by side. Each timed piece is a process of its own, so that its peak memory is
its own; peers and ours take turns, so that a machine that slows down slows all of them.
"""

from __future__ import annotations

import gzip
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rewardsmith.modeling.cpu_matmul import lacks_instructions, onednn_agrees, onednn_linear, widened_product
from tables import Json, processor, system

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class Shape:
    """A decoder of Qwen3's or Llama's form: `layers` of width `hidden`, a gated MLP of width `mlp`, heads of width
    `head`."""

    hidden: int
    layers: int
    mlp: int
    heads: int
    key_heads: int
    head: int
    vocabulary: int

    @classmethod
    def of(cls, folder: Path) -> Shape:
        """Of a base on the disk, by its config.json.

        Raises:
            ValueError: the configuration lacks a field that decoders of this form have.
        """
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        try:
            heads = config["num_attention_heads"]
            return cls(
                hidden=config["hidden_size"],
                layers=config["num_hidden_layers"],
                mlp=config["intermediate_size"],
                heads=heads,
                key_heads=config.get("num_key_value_heads") or heads,
                head=config.get("head_dim") or config["hidden_size"] // heads,
                vocabulary=config["vocab_size"],
            )
        except KeyError as error:
            raise ValueError(
                f"{folder}/config.json has no {error}: operations of this base cannot be counted"
            ) from None

    def config(self, **more: Any) -> Any:
        """The shape as transformers' configuration, with what else it is to say."""
        import transformers

        return transformers.Qwen3Config(
            vocab_size=self.vocabulary,
            hidden_size=self.hidden,
            intermediate_size=self.mlp,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.key_heads,
            head_dim=self.head,
            pad_token_id=0,
            **more,
        )

    def linears(self) -> list[tuple[int, int]]:
        """(in, out) of each linear map of one layer."""
        attention = self.heads * self.head
        keys = self.key_heads * self.head
        return [
            (self.hidden, attention),
            (self.hidden, keys),
            (self.hidden, keys),
            (attention, self.hidden),
            (self.hidden, self.mlp),
            (self.hidden, self.mlp),
            (self.mlp, self.hidden),
        ]

    def forward_flops(self, tokens: int, attended: int) -> float:
        """Floating-point operations of a forward pass: the linear maps on `tokens`, attention on `attended` keys."""
        linear = sum(2 * width_in * width_out for width_in, width_out in self.linears())
        return float(self.layers * (tokens * linear + attended * 4 * self.heads * self.head))


SHAPES = {
    "smoke": Shape(64, 2, 128, 2, 1, 32, 512),
    "10M": Shape(384, 4, 1152, 6, 6, 64, 8192),
    "14M": Shape(384, 6, 1152, 6, 6, 64, 8192),
    "512": Shape(512, 6, 1536, 8, 8, 64, 8192),
    "qwen3-0.6b": Shape(1024, 28, 3072, 16, 8, 128, 16384),
    "qwen3-4b": Shape(2560, 36, 9728, 32, 8, 128, 16384),
    "qwen3-8b": Shape(4096, 36, 12288, 32, 8, 128, 16384),
}
"""The vocabulary is cut to 16k at most: the optimizer of a large embedding is the same for everybody, and dilutes."""


def read_jsonl(path: Path) -> list[Json]:
    """The objects of a JSONL file, gzipped or not."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in content.decode().split("\n") if line]


def write_jsonl(path: Path, rows: Sequence[Json]) -> None:
    """One object a line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def texts_of(rows: Sequence[Json]) -> Iterator[str]:
    """Every text of some pairs or best-of-N rows."""
    for row in rows:
        for field in ("prompt", "chosen", "rejected"):
            value = row[field]
            for part in [value] if isinstance(value, str) else value:
                yield part if isinstance(part, str) else part["content"]


def write_base(
    folder: Path, shape: Shape, texts: Iterator[str], *, dtype: str = "float32", device: str = "cpu"
) -> None:
    """A base model of that shape with random weights, made on `device`; its byte-level BPE is fitted on `texts`."""
    import transformers

    fit_tokenizer(shape.vocabulary, texts).save_pretrained(folder)
    config = shape.config(
        max_position_embeddings=4096, tie_word_embeddings=True, bos_token_id=None, eos_token_id=2, dtype=dtype
    )
    torch.manual_seed(0)
    with torch.device(device):
        model = transformers.Qwen3ForCausalLM(config).to(getattr(torch, dtype))
    model.save_pretrained(folder)
    del model
    if device == "cuda":
        torch.cuda.empty_cache()  # the workers need the memory that this process would go on to hold


def fit_tokenizer(vocabulary: int, texts: Iterator[str]) -> Any:
    """A byte-level BPE tokenizer with a chat template."""
    import tokenizers
    import transformers
    from tokenizers import decoders, models, pre_tokenizers, trainers

    bpe = tokenizers.Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<|pad|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    ends = {"eos_token": "<|im_end|>", "pad_token": "<|pad|>"}
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=bpe, **ends)
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def count_parameters(folder: Path) -> int:
    """Weights in a folder of safetensors, counted by their headers."""
    from safetensors import safe_open

    total = 0
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as tensors:
            total += sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    return total


def gemm_rate(shape: Shape, *, tokens: int, backward: bool, dtype: torch.dtype, device: str) -> float:
    """FLOP/s of plain matrix products of the model's own shapes, `tokens` rows each; best of seven rounds.

    On a CPU by torch's own product and by what we take in its place (docs/cpu.md), the faster one: it is the limit.
    """
    work = []
    for width_in, width_out in dict.fromkeys(shape.linears()):
        x_TI = torch.randn(tokens, width_in, dtype=dtype, device=device)
        w_OI = torch.randn(width_out, width_in, dtype=dtype, device=device)
        g_TO = torch.randn(tokens, width_out, dtype=dtype, device=device)
        count = shape.linears().count((width_in, width_out))
        work += [(count, x_TI, w_OI.t())]
        work += [(count, g_TO, w_OI), (count, g_TO.t(), x_TI)] if backward else []
    flops = sum(2 * count * a.shape[0] * a.shape[1] * b.shape[1] for count, a, b in work)
    best = float("inf")
    products = [torch.mm]
    if device == "cpu" and dtype == torch.float32 and onednn_agrees():
        products.append(lambda a, b: onednn_linear(a, b.t()))
    if device == "cpu" and lacks_instructions(dtype):
        products.append(lambda a, b: widened_product(a, b.t()))
    for turn in range(7 * len(products)):
        started = time.perf_counter()
        for count, a, b in work:
            for _ in range(count):
                products[turn % len(products)](a, b)
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return flops / best


class WorkerKilledError(RuntimeError):
    """The system ended a worker by SIGKILL: on Linux, for want of memory."""


def run_worker(arguments: Sequence[str], *, threads: int) -> tuple[str, int]:
    """Run a Python command to its end; returns its last line that is a JSON object, and its peak memory in bytes.

    Raises:
        WorkerKilledError: it was killed.
        RuntimeError: it failed; its output is in the message.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    output = ""
    if process.stdout:
        with process.stdout:
            output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = code = os.waitstatus_to_exitcode(status)  # waited for here, for the sake of its memory
    if code == -signal.SIGKILL:
        raise WorkerKilledError(f"{' '.join(arguments)} was killed")
    if code != 0:
        raise RuntimeError(f"{' '.join(arguments)} failed:\n{output[-4000:]}")
    # Drivers may print warnings after it.
    objects = [line for line in output.splitlines() if line.startswith("{")]
    return (objects or [""])[-1], int(usage.ru_maxrss) * 1024


def device_machine(device: str = "cpu", threads: int = 0) -> str:
    """The device, the system and the versions that a speed depends on, in words."""
    import transformers
    import trl

    where = torch.cuda.get_device_name() if device == "cuda" else processor()
    used = f", {threads} threads" if threads and device == "cpu" else ""
    return (
        f"{where}{used}; {system()}, torch {torch.__version__}, transformers {transformers.__version__}, "
        f"TRL {trl.__version__}"
    )
