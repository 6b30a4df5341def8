"""Loads a tokenizer from the hub or a folder, and says in one sentence why it cannot.

renderer = load_renderer("Qwen/Qwen3-0.6B", max_length=2048, over_length="drop")
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rewardsmith.errors import RenderingError
from rewardsmith.rendering.preparation import OverLength
from rewardsmith.rendering.renderer import InText, Renderer
from rewardsmith.rendering.template import Closing


def load_renderer(
    base: str | Path,
    *,
    max_length: int,
    over_length: OverLength = "drop",
    revision: str | None = None,
    chat_template_file: str | Path | None = None,
    conversational: bool = True,
    closing: Closing = "eos",
    special_tokens: InText = "refuse",
) -> Renderer:
    """A renderer for a base model.

    Args:
        base: hub id or folder.
        max_length: longest text in tokens, EOS included.
        over_length: what happens to longer texts (`spec.data.over_length`).
        revision: hub revision.
        chat_template_file: Jinja file that replaces the tokenizer's own template.
        conversational: false for data that is plain text only; no chat template is needed then.
        closing: how the trainer of the model ended a text; ours ends it with EOS.
        special_tokens: what happens to control tokens in messages (`spec.data.special_tokens`).

    Raises:
        RenderingError: the tokenizer or the template is missing or cannot be used.
    """
    template = _read_template(Path(chat_template_file)) if chat_template_file is not None else None
    return Renderer.from_tokenizer(
        load_tokenizer(base, revision=revision),
        max_length=max_length,
        over_length=over_length,
        conversational=conversational,
        chat_template=template,
        closing=closing,
        special_tokens=special_tokens,
    )


def load_tokenizer(base: str | Path, *, revision: str | None = None) -> Any:
    """A transformers tokenizer; no code of the repository is run.

    Raises:
        RenderingError: there is none, it cannot be read, or the hub cannot be reached.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(base), revision=revision, trust_remote_code=False)
        tokenizer("a")  # a setting of the wrong kind is kept as it is, and only fails when it is used
    except Exception as error:  # what a broken file raises depends on the file
        raise RenderingError(
            f"the tokenizer cannot be loaded: {_first_sentence(error)}", where=str(base), fix=_mend(Path(base))
        ) from error
    return tokenizer


def _read_template(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RenderingError(
            f"the chat template cannot be read: {error}", where=str(path), fix="name a Jinja file in UTF-8"
        ) from error


def _first_sentence(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


def _mend(folder: Path) -> str:
    if folder.is_dir():
        return "a folder needs tokenizer.json and tokenizer_config.json: copy them from the base model"
    return (
        "check base_model.id and base_model.revision, and that this machine reaches the hub "
        "(or has the files in its cache); a folder with tokenizer files works offline"
    )
