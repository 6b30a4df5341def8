"""What a spec will cost, from configs and data statistics alone: memory, time, scoring, and what follows from them.

Everything but detection.py is arithmetic on frozen dataclasses: no weights, no accelerator, no file. Each formula has
its source in its docstring; bench/plan_memory.py compares the memory of training with what was measured.

activations.py  bytes that a micro-batch leaves for its backward pass
memory.py       weights, gradients, optimizer and buffers under DDP, FSDP, ZeRO, LoRA, QLoRA; the peak of a device
tokens.py       how many tokens an epoch, a step and a micro-batch have, from the data's own lengths
hardware.py     accelerators by name, and the machine that a spec describes
detection.py    the machine that this is
speed.py        time of an epoch from operations, utilisation and network
backend.py      TRL or OpenRLHF, and how the model is spread over devices
scoring.py      latency and price of rewards; a dedicated model, a judge, or both
sizing.py       what scaling laws say about sizes, and warnings
scale.py        docs/scale.md: 70B on 8 to 64 GPUs, a billion responses, ten thousand requests a second
"""

from __future__ import annotations
