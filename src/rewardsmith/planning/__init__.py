"""What a spec will cost, from configs and data statistics alone: memory, time, scoring, and what follows from them.

In: a spec, the shape of its base, the lengths in `check.json`, a machine. Out: the records of `records/plan.py`, which
the formulas fill directly, and the files of `plan --out`. Everything but `detect_machine` and `write_artifacts` is
arithmetic on frozen data: no weights, no accelerator, no file. Each formula has its source in its docstring;
bench/plan_memory.py compares the memory of training with what was measured. `pipeline/commands/plan.py` is the job.

hardware.py     accelerators by name, the machine that a spec describes, the machine that this is
memory.py       weights, gradients, optimizer, activations and buffers under DDP, FSDP, ZeRO, LoRA, QLoRA; the peak
time.py         how many tokens an epoch, a step and a micro-batch have; the time of an epoch and of every stage of a
                run
backend.py      what each backend would train; TRL or OpenRLHF, and how the model is spread over devices
grader.py       latency and price of rewards; a dedicated model, a judge, or both
stages.py       the plan in words: stages, commands, the brief, warnings, assumptions, advice on sizes
artifacts.py    the files of `plan --out`, and the devices of each part of an RLHF run
"""

from __future__ import annotations
