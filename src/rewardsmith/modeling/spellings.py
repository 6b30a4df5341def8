"""A checkpoint's JSON files in the words of transformers 4 and 5 at once, so that both read the same model.

    both = both_spellings(config)                     # config.json as a dictionary; adds what transformers 4 reads
    both = tokenizer_for_both(tokenizer_config)       # tokenizer_config.json
    for gap in gaps(config): gap.name, gap.read, gap.meant      # what transformers 4 would take, and what is meant

transformers 5 writes the rotary positions as one dictionary `rope_parameters`, of which version 4 knows nothing: it
takes its default theta and no scaling, and gives another reward without a word. Version 5 reads the old names as well,
and `rope_scaling` before `rope_parameters`; so both must say the same, and what is written here is computed from
`rope_parameters`, which is what the model was trained with. Sources: `PretrainedConfig` and `modeling_rope_utils.py` of
4.51 to 5.24, and the configurations of the models named below. `make test-transformers` loads checkpoints in each.

No torch and no transformers here: the doctor uses it on folders of others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VERIFIED = ("4.51.3", "4.57.6", "5.15.0", "5.17.0", "5.19.0", "5.24.0")
"""The versions of transformers in which `make test-transformers` loads every checkpoint that we write."""

VERIFIED_MODELS = frozenset(
    {
        "gemma",
        "gemma2",
        "gemma3_text",
        "glm",
        "gpt2",
        "gpt_neox",
        "llama",
        "mistral",
        "mixtral",
        "modernbert",
        "phi",
        "phi3",
        "qwen2",
        "qwen3",
        "smollm3",
        "stablelm",
        "starcoder2",
    }
)
"""Model types that it loads; another one is written by the same rules."""

_TWO_THETAS = {
    "gemma3_text": ("rope_theta", "rope_local_base_freq"),
    "gemma3n_text": ("rope_theta", "rope_local_base_freq"),
    "modernbert": ("global_rope_theta", "local_rope_theta"),
    "modernbert-decoder": ("global_rope_theta", "local_rope_theta"),
}
"""Names of theta in layers of full and of sliding attention."""

_ONE_THETA = {"gpt_neox": ("rotary_emb_base", "rotary_pct"), "gpt_neox_japanese": ("rotary_emb_base", "rotary_pct")}
"""Names of theta and of the share of a head that is rotated, where they are not the usual ones."""

_OWN_SCALING = {
    "phi3": ("type", "short_factor", "long_factor"),
    "phi4_multimodal": ("type", "short_factor", "long_factor"),
    "olmo": ("type", "factor"),
    "olmo2": ("type", "factor"),
    "fuyu": ("type", "factor"),
}
"""Models whose configuration in version 4 refuses any other field of `rope_scaling`."""

_PATTERNS = {
    "gemma3_text": ("sliding_window_pattern", 1),
    "cohere2": ("sliding_window_pattern", 1),
    "exaone4": ("sliding_window_pattern", 1),
    "modernbert": ("global_attn_every_n_layers", 0),
    "modernbert-decoder": ("global_attn_every_n_layers", 0),
}
"""Each n-th layer has full attention, counted from this number; before 4.53 there is no `layer_types`."""

_THETAS = {
    100000.0: ("falcon_h1", "helium"),
    150000.0: ("gpt_oss",),
    160000.0: ("modernbert", "modernbert-decoder"),
    25000.0: ("fuyu", "persimmon"),
    500000.0: ("bitnet", "ernie4_5", "ernie4_5_moe", "flex_olmo", "llama4_text"),
    1000000.0: (
        "gemma3_text",
        "gemma3n_text",
        "lfm2",
        "minimax",
        "mixtral",
        "phimoe",
        "qwen2_5_vl_text",
        "qwen2_vl_text",
    ),
    2000000.0: ("smollm3",),
    5000000.0: ("qwen3_vl_text", "qwen3_vl_moe_text"),
    12000000.0: ("apertus",),
}
"""Default theta in version 4 (of full attention) where it is not 10,000; read from 4.57.6."""

_SHARES = {
    0.25: ("gpt_neox", "qwen3_next", "stablelm"),
    0.5: ("bamba", "fuyu", "glm", "glm4", "glm4_moe", "nemotron", "persimmon", "phi", "recurrent_gemma"),
}
"""Default share of a head that is rotated in version 4, where it is not all of it."""

_EVERY = {"gemma3_text": 6, "cohere2": 4, "exaone4": 4, "modernbert": 3, "modernbert-decoder": 3}
"""Default rhythm of layers with full attention in version 4."""

_KIND = {"type": "rope_type"}
_LARGEST_PATTERN = 64


@dataclass(frozen=True, slots=True)
class Gap:
    """A setting that transformers 4 does not find, or finds with another value: what it reads, and what is meant."""

    name: str
    read: Any
    meant: Any
    stated: bool

    def __str__(self) -> str:
        where = "as it stands there" if self.stated else "its default"
        return f"{self.name} {_short(self.read)} ({where}) for {_short(self.meant)}"


def both_spellings(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with the names of transformers 4 beside those of 5; parts of it (`text_config`) alike.

    Nothing is taken away, and a configuration without `rope_parameters` gains only `torch_dtype`.
    """
    written = {key: both_spellings(value) if _is_model(value) else value for key, value in config.items()}
    written |= _old_names(config)
    if isinstance(config.get("dtype"), str):
        written["torch_dtype"] = config["dtype"]
    if config.get("attn_logit_softcapping"):
        # torch's scaled_dot_product_attention cannot cap; up to 5.19 it was Gemma 2's default all the same. Versions 4
        # overwrite the public name while they read the file.
        written.setdefault("_attn_implementation", "eager")
    return written


def verified_for(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The versions of transformers that a configuration written here was verified for; none for an untested model."""
    return VERIFIED if config.get("model_type") in VERIFIED_MODELS and not any(gaps(config)) else ()


def gaps(config: Mapping[str, Any]) -> Iterator[Gap]:
    """What transformers 4 would read otherwise than is meant; nothing where its default is the value."""
    for name, meant in _old_names(config).items():
        stated = config.get(name) is not None
        read = config[name] if stated else _default(str(config.get("model_type")), name)
        if not _same(read, meant):
            yield Gap(name, read, meant, stated)
    for value in config.values():
        if _is_model(value):
            yield from gaps(value)


def tokenizer_for_both(config: Mapping[str, Any]) -> dict[str, Any]:
    """`tokenizer_config.json` with names that both versions know.

    `TokenizersBackend` is what version 5 calls `PreTrainedTokenizerFast`, and still reads by that name. A list of
    `extra_special_tokens` is `additional_special_tokens` to version 4, which takes the new name for a dictionary.
    """
    written = dict(config)
    if written.get("tokenizer_class") == "TokenizersBackend":
        written["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(written.get("extra_special_tokens"), list):
        written["additional_special_tokens"] = written.pop("extra_special_tokens")
    return written


def respell(folder: Path) -> None:
    """Rewrite `config.json` and `tokenizer_config.json` of a folder in both spellings; a file that has both stays."""
    for name, both in SPELLERS.items():
        path = folder / name
        if path.is_file():
            before = path.read_text(encoding="utf-8")
            after = respelled(before, both)
            if after != before:
                path.write_text(after, encoding="utf-8")


def respelled(text: str, both: Callable[[Mapping[str, Any]], dict[str, Any]]) -> str:
    """The text of a JSON file in both spellings; as it stands where nothing is missing.

    Raises:
        ValueError: it is not JSON.
    """
    read = json.loads(text)
    written = both(read) if isinstance(read, dict) else read
    return text if written == read else json.dumps(written, indent=2, ensure_ascii=False) + "\n"


SPELLERS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "config.json": both_spellings,
    "tokenizer_config.json": tokenizer_for_both,
}
"""By file, what writes it in both spellings."""


def _is_model(value: Any) -> bool:
    return isinstance(value, dict) and "model_type" in value


def _old_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """What `rope_parameters` and `layer_types` are called in version 4, where it can say them at all."""
    return {**_pattern(config), **_rope(config)}


def _rope(config: Mapping[str, Any]) -> dict[str, Any]:
    rope, model = config.get("rope_parameters"), str(config.get("model_type"))
    if not isinstance(rope, dict) or not rope:
        return {}
    layers = {key: value for key, value in rope.items() if isinstance(value, dict)}
    if not layers:
        return _flat(rope, config, *_ONE_THETA.get(model, ("rope_theta", "partial_rotary_factor")))
    full, sliding = layers.get("full_attention"), layers.get("sliding_attention")
    if model in _TWO_THETAS and full and sliding:
        theta, local = _TWO_THETAS[model]
        return {**_flat(full, config, theta, "partial_rotary_factor"), **_theta(local, sliding)}
    alike = full if full and all(_same(one, full) for one in layers.values()) else None
    return _flat(alike, config, "rope_theta", "partial_rotary_factor") if alike else {}


def _flat(rope: Mapping[str, Any], config: Mapping[str, Any], theta: str, share: str) -> dict[str, Any]:
    found = _theta(theta, rope)
    if rope.get("partial_rotary_factor") is not None:
        found[share] = rope["partial_rotary_factor"]
    scaling = {key: value for key, value in rope.items() if key not in ("rope_theta", "partial_rotary_factor", "type")}
    kind = scaling.setdefault("rope_type", rope.get("type", "default"))
    if kind == "yarn" and scaling.get("original_max_position_embeddings") == config.get("max_position_embeddings"):
        # Version 5 fills it in; 4.51 would divide the two, and take the quotient 1 for the factor.
        del scaling["original_max_position_embeddings"]
    if own := _OWN_SCALING.get(str(config.get("model_type"))):
        scaling = {"type": kind, **{key: value for key, value in scaling.items() if key in own}}
    if kind != "default" or len(scaling) > 1:
        found["rope_scaling"] = scaling
    return found


def _theta(name: str, rope: Mapping[str, Any]) -> dict[str, Any]:
    return {name: rope["rope_theta"]} if rope.get("rope_theta") is not None else {}


def _pattern(config: Mapping[str, Any]) -> dict[str, Any]:
    """Every how many layers attention is full, if `layer_types` has such a rhythm at all."""
    name, first = _PATTERNS.get(str(config.get("model_type")), ("", 0))
    types = config.get("layer_types")
    if not name or not isinstance(types, list):
        return {}
    full = [kind == "full_attention" for kind in types]
    for every in (_EVERY[str(config.get("model_type"))], *range(1, _LARGEST_PATTERN)):
        if full == [(layer + first) % every == 0 for layer in range(len(full))]:
            return {name: every}
    return {}


def _default(model: str, name: str) -> Any:
    if name in ("rope_local_base_freq", "local_rope_theta"):
        return 160000.0 if model == "modernbert-decoder" else 10000.0
    if name in ("rope_theta", "global_rope_theta", "rotary_emb_base"):
        return next((value for value, models in _THETAS.items() if model in models), 10000.0)
    if name in ("partial_rotary_factor", "rotary_pct"):
        return next((value for value, models in _SHARES.items() if model in models), 1.0)
    return _EVERY.get(model) if name != "rope_scaling" else None


def _same(one: Any, other: Any) -> bool:
    """Equal, numbers by value; of a scaling what both state, and its kind may be called `type` or `rope_type`."""
    if isinstance(one, dict) and isinstance(other, dict):
        first, second = ({_KIND.get(key, key): value for key, value in part.items()} for part in (one, other))
        return all(_same(first[key], second[key]) for key in first.keys() & second.keys())
    return bool(one == other)


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return str(value.get("rope_type", value.get("type")))
    return f"{value:.12g}" if isinstance(value, int | float) else "none" if value is None else str(value)
