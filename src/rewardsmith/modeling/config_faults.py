"""Settings of a reward model's `config.json` that make another program give another reward; plain values, no torch.

    faults = config_faults(problem_type=None, num_labels=2, id2label={…}, pad=2, eos=2)

`config_findings` asks it of an opened checkpoint, `rewardsmith doctor` of a folder's files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rewardsmith.errors import ModelError


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
    """What is wrong with these settings when the model is loaded with transformers, vLLM or SGLang."""
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


def pad_beyond(pad: Any, rows: Any) -> bool:
    """Whether a pad token id is no row of an embedding of `rows`; torch counts negative ids from the end."""
    return isinstance(pad, int) and isinstance(rows, int) and not -rows <= pad < rows


def refuse_pad_beyond(config: Any, where: str) -> None:
    """Refuse a transformers configuration whose pad token is no row of its embedding: no model can be built of it.

    Raises:
        ModelError: it is such a one.
    """
    settings = config.get_text_config()
    pad, rows = getattr(settings, "pad_token_id", None), getattr(settings, "vocab_size", None)
    if pad_beyond(pad, rows):
        raise ModelError(
            f"is {pad}, and the vocabulary has {rows} tokens (vocab_size)",
            where=f"{where}, field 'pad_token_id'",
            fix="write the id of the tokenizer's pad token, or null",
        )
