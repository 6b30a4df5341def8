"""Settings of a reward model's `config.json` that make another program give another reward; plain values, no torch.

    faults = config_faults(problem_type=None, num_labels=2, id2label={…}, pad=2, eos=2)

`config_findings` asks it of an opened checkpoint, `rewardsmith doctor` of a folder's files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ConfigFault:
    """A field with its value, what follows from it, and what belongs there (empty where the caller knows it)."""

    field: str
    value: object
    problem: str
    wanted: str


def config_faults(
    *, problem_type: str | None, num_labels: int, id2label: Mapping[Any, Any] | None, pad: int | None, eos: int | None
) -> list[ConfigFault]:
    """What is wrong with these settings for whoever loads the model with transformers, vLLM or SGLang."""
    found = []
    if problem_type != "regression":
        said = "vLLM and transformers' pipeline apply a sigmoid to the reward"
        found.append(ConfigFault("problem_type", problem_type, said, '"regression"'))
    if num_labels != 1:
        said = "transformers makes a head of another size"
        found.append(ConfigFault("id2label", id2label, said, '{"0": "LABEL_0"}'))
    if pad is None or pad == eos:
        said = "transformers takes no batch" if pad is None else "transformers reads a reward before EOS"
        found.append(ConfigFault("pad_token_id", pad, said, ""))
    return found
