"""Old keys in configuration files of TRL, accelerate, verl, vLLM, and commands inside any YAML (jobs, pods, workflows).

    hits = scan_yaml(text, judged)            # raises yaml.YAMLError

Whose file it is, its own keys tell; a file that nobody claims has only its commands looked at. Keys are judged by their
place, so `reward_model.strategy` is one thing and `strategy` another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import yaml

from rewardsmith.doctor.hits import Edit, Hit, Judged, each_once
from rewardsmith.doctor.shell import scan_command, scan_shell
from rewardsmith.doctor.shell_words import Word
from rewardsmith.records.bounded_yaml import BoundedLoader

_Keys = frozenset[str]
_TRL_SIGNS = frozenset({"model_name_or_path", "dataset_name", "datasets", "output_dir", "per_device_train_batch_size"})
_OTHERS = frozenset({"stage", "finetuning_type", "base_model", "adapter", "sft", "template"})
"""Keys that LLaMA-Factory and axolotl have beside the same names."""

_VLLM_SIGNS = frozenset(
    {"tensor-parallel-size", "max-model-len", "gpu-memory-utilization", "served-model-name", "max-num-seqs"}
)
"""Options of `vllm serve` that a file of `--config` has beside `model`; underscores are hyphens to it."""

_UNSET = "tag:yaml.org,2002:null"

DIALECTS: dict[str, Callable[[_Keys], bool]] = {
    "accelerate": lambda keys: bool(keys & {"distributed_type", "compute_environment"}),
    "verl": lambda keys: "actor_rollout_ref" in keys or {"reward_model", "trainer", "data"} <= keys,
    "vllm": lambda keys: "model" in keys and bool({key.replace("_", "-") for key in keys} & _VLLM_SIGNS),
    "trl": lambda keys: len(keys & _TRL_SIGNS) >= 2 and not keys & _OTHERS,
}
"""By the name that rules use: whether a file with these top-level keys is one."""


def scan_yaml(text: str, judged: Sequence[Judged]) -> list[Hit]:
    """Every old key and every old flag of a command, in the order of the text.

    Raises:
        yaml.YAMLError: the text is not YAML.
    """
    hits: list[Hit] = []
    for document in yaml.compose_all(text, Loader=BoundedLoader):
        if isinstance(document, yaml.MappingNode):
            keys = frozenset(str(key.value) for key, _ in document.value)
            dialects = {name for name, claims in DIALECTS.items() if claims(keys)}
            hits += _keys(document, "", [one for one in judged if one[0].yaml in dialects])
        if document is not None:
            hits += _commands(text, document, judged)
    return each_once(hits)


def _keys(mapping: yaml.MappingNode, above: str, judged: Sequence[Judged]) -> Iterator[Hit]:
    siblings = {str(key.value) for key, _ in mapping.value}
    for key, value in mapping.value:
        path, start = f"{above}{key.value}", key.start_mark.index
        for rule, severity in judged:
            if path in rule.keys and value.tag != _UNSET:
                new = rule.keys[path]
                at = start + (1 if key.style in ("'", '"') else 0)
                mends = (Edit(at, at + len(str(key.value)), new),) if new and new not in siblings else ()
                yield Hit(rule, severity, path, new, start, mends)
        if isinstance(value, yaml.MappingNode):
            yield from _keys(value, f"{path}.", judged)


def _commands(text: str, node: yaml.Node, judged: Sequence[Judged]) -> Iterator[Hit]:
    """Commands in scalars (as they are written, line by line) and in lists of words."""
    if isinstance(node, yaml.ScalarNode):
        start, end = node.start_mark.index, node.end_mark.index
        if node.tag == "tag:yaml.org,2002:str" and " " in node.value:
            quoted = node.style in ("'", '"')
            start, end = start + quoted, end - quoted
            yield from (hit.shifted(start) for hit in scan_shell(text[start:end], judged))
    elif isinstance(node, yaml.SequenceNode):
        words = [part for part in node.value if isinstance(part, yaml.ScalarNode)]
        command = tuple(Word(str(one.value), one.start_mark.index, one.end_mark.index) for one in words)
        yield from scan_command(text, command, judged)
        for part in node.value:
            yield from _commands(text, part, judged)
    elif isinstance(node, yaml.MappingNode):
        for _, value in node.value:
            yield from _commands(text, value, judged)
