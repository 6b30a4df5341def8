"""The folder that OpenRLHF starts from: the base's weights, our tokenizer, a configuration that says what we mean.

    write_start(folder, spec, base, renderer, shared=False)

OpenRLHF loads configuration, weights and tokenizer with remote code on, so a repository that brings code (`auto_map`)
is refused, and of the rest only configuration and safetensors are handed on. Its code reads from the configuration what
ours does otherwise: dropout (TRL switches it off, OpenRLHF leaves it on), the name of the head, mean and std. The head
is always drawn anew, so a base that has one already is refused: it would not be a warm start.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

from rewardsmith.errors import ModelError
from rewardsmith.hub import ask_hub
from rewardsmith.modeling.loading import load_base, load_config, one_label_config
from rewardsmith.modeling.reward_head import reads_one_token
from rewardsmith.modeling.stored import OPENRLHF_FIELDS, made_by_openrlhf, quiet_upstream
from rewardsmith.modeling.weights import check_weights
from rewardsmith.rendering import Renderer
from rewardsmith.spec import Spec

_CODE_IN = ("config.json", "tokenizer_config.json")
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json")


def write_start(folder: Path, spec: Spec, base: str, renderer: Renderer, *, shared: bool) -> None:
    """Write the folder anew.

    Args:
        folder: where it appears.
        base: folder or hub id that `spec.base_model` resolves to.
        shared: other machines read it: weights from the hub's cache are copied, not linked.

    Raises:
        ModelError: the base brings code, has a head already, is no decoder, or has no safetensors.
    """
    source = _folder_of(base, spec.base_model.revision)
    refuse_code(source)
    config = load_config(source)
    drawn = spec.base_model.head == "new"
    if not drawn:
        _refuse_head(config, source)
    rows = _embedding_rows(config, source)
    renamed = check_weights(source, one_label_config(source), head="new" if drawn else "base")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # A pad token that the vocabulary gained needs a row, and OpenRLHF resizes nothing; nor does it take a wrapper's
    # prefix off the names of weights, or drop a head.
    if len(renderer.tokenizer) > rows or renamed or drawn:
        with quiet_upstream():
            load_base(spec, base, renderer.tokenizer, seed=spec.training_seed).save_pretrained(folder)
    else:
        _hand_on(source, folder, copy=shared and not Path(base).is_dir())
        shutil.copyfile(source / "config.json", folder / "config.json")
    renderer.save(folder)
    _settle_config(folder / "config.json", renderer)


def refuse_code(source: Path) -> None:
    """Refuse a checkpoint that names code of its own.

    Raises:
        ModelError: one of its configurations has an `auto_map`.
    """
    for name in _CODE_IN:
        path = source / name
        if path.is_file() and "auto_map" in json.loads(path.read_text(encoding="utf-8")):
            raise ModelError(
                "it brings code (auto_map), and OpenRLHF runs it unasked",
                where=f"{path}, field 'auto_map'",
                fix="delete auto_map if transformers knows the architecture; or train with backend: trl",
            )


def without_dropout(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration with every dropout at 0, nested ones as well."""
    return {
        key: without_dropout(value)
        if isinstance(value, dict)
        else 0.0
        if _is_dropout(key) and isinstance(value, float)
        else value
        for key, value in config.items()
    }


def _is_dropout(key: str) -> bool:
    return "dropout" in key or key.endswith("pdrop")


def _folder_of(base: str, revision: str | None) -> Path:
    if Path(base).is_dir():
        return Path(base)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    ask_hub(base, error=ModelError, where="base_model.id", revision=revision)
    try:
        return Path(snapshot_download(base, revision=revision, allow_patterns=["*.json", "*.safetensors"]))
    except (OSError, ValueError, HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise ModelError(
            f"{base!r} cannot be fetched: {str(error).strip().splitlines()[0]}",
            where="base_model.id",
            fix="name a folder with a checkpoint, or a hub model that is public or cached",
        ) from error


def _refuse_head(config: Any, source: Path) -> None:
    names = [str(name) for name in config.architectures or ()]
    if made_by_openrlhf(config) or any(name.endswith("ForSequenceClassification") for name in names):
        raise ModelError(
            f"it is a reward model already ({', '.join(names)}), and OpenRLHF would draw its head anew",
            where=f"{source}/config.json, field 'architectures'",
            fix="start from the language model it was made from, write base_model.head: new, or continue it with "
            "backend: trl",
        )


def _embedding_rows(config: Any, source: Path) -> int:
    """Rows of the embedding; only decoders with a linear head are read as OpenRLHF reads them."""
    config.num_labels = 1
    try:
        with torch.device("meta"):
            skeleton = transformers.AutoModelForSequenceClassification.from_config(config, trust_remote_code=False)
    except ValueError:
        skeleton = None
    if skeleton is None or not reads_one_token(skeleton):
        raise ModelError(
            f"OpenRLHF trains decoders with a linear head; {config.model_type!r} has none in transformers",
            where=f"{source}/config.json, field 'model_type'",
            fix="choose a decoder, or train with backend: trl",
        )
    return int(skeleton.get_input_embeddings().weight.shape[0])


def _hand_on(source: Path, folder: Path, *, copy: bool) -> None:
    found = [path for pattern in _WEIGHTS for path in sorted(source.glob(pattern))]
    if not any(path.suffix == ".safetensors" for path in found):
        raise ModelError(
            "no *.safetensors is there; other weight files may run code, so they are not handed on",
            where=str(source),
            fix="save the base as safetensors (save_pretrained does)",
        )
    link: Callable[[Path, Path], object] = shutil.copyfile if copy else _link
    for path in found:
        link(path, folder / path.name)


def _link(path: Path, target: Path) -> None:
    target.symlink_to(path.resolve())


def _settle_config(path: Path, renderer: Renderer) -> None:
    config = without_dropout(json.loads(path.read_text(encoding="utf-8")))
    for field in OPENRLHF_FIELDS:
        config.pop(field, None)
    for part in (config, config.get("text_config")):
        if isinstance(part, dict):
            part |= {"pad_token_id": renderer.pad_token_id, "eos_token_id": renderer.eos_token_id}
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
