"""Loads a tokenizer from the hub or a folder, and says in one sentence why it cannot.

renderer = load_renderer("Qwen/Qwen3-0.6B", max_length=2048, over_length="drop")
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rewardsmith.errors import RenderingError
from rewardsmith.hub import ask_hub
from rewardsmith.rendering.encoding import encode
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
        RenderingError: there is none, it cannot be read, the hub cannot be reached, or it does not tell texts apart.
    """
    from transformers import AutoTokenizer
    from transformers.utils import logging

    ask_hub(base, error=RenderingError, where=str(base), revision=revision)
    level = logging.get_verbosity()
    try:
        logging.set_verbosity_error()  # what transformers tries one after the other; the last error says it
        tokenizer = AutoTokenizer.from_pretrained(str(base), revision=revision, trust_remote_code=False)
        tokenizer("a")  # a setting of the wrong kind is kept as it is, and only fails when it is used
    except Exception as error:  # what a broken file raises depends on the file
        problem, fix = _why_not(error, Path(base))
        raise RenderingError(
            f"the tokenizer cannot be loaded: {problem}", where=str(base), fix=fix or _mend(Path(base))
        ) from error
    finally:
        logging.set_verbosity(level)
    fault = _fault(tokenizer, Path(base))
    if fault:
        files = _vocabulary_files(Path(base))
        there = f"its vocabulary is read from {', '.join(files)}" if files else "the folder has no file of a vocabulary"
        where = f"{fault} ({there})" if Path(base).is_dir() else fault
        raise RenderingError(
            f"the tokenizer cannot be used: {where}", where=str(base), fix=_COPY if Path(base).is_dir() else _OTHER
        )
    return tokenizer


_COPY = "a folder needs tokenizer.json and tokenizer_config.json: copy them from the base model, whole and together"
_OTHER = "name another model, or a folder with the tokenizer's files"
_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "*.model",
    "vocab.json",
    "vocab.txt",
    "tekken.json",
    "*.tiktoken",
    "*.spm",
)
# File, package that reads it, name to install.
_READERS = (
    ("tekken.json", "mistral_common", "mistral-common"),
    ("*.tiktoken", "tiktoken", "tiktoken"),
    ("*.model", "sentencepiece", "sentencepiece"),
    ("*.model", "google.protobuf", "protobuf"),
)
_PROBES = ("The Loire is a river.", "17 + 25 = 42", "eight legs has a spider", "x = [1, 2]", "Grüße", "河", "\n\n")
_WORDS = 200  # of its own vocabulary that a tokenizer is tried with
_FEW = 20
_DISTINCT = 3
_OF_BYTES = ("ByT5Tokenizer", "CanineTokenizer", "PerceiverTokenizer")  # need no file
_FOUND_AGAIN = 0.1
_MARKER = re.compile(r"<\|[^<>|\s]{1,40}\|>")


def _vocabulary_files(folder: Path) -> list[str]:
    return list(dict.fromkeys(path.name for pattern in _FILES for path in sorted(folder.glob(pattern))))


def _why_not(error: Exception, folder: Path) -> tuple[str, str]:
    """What is wrong with the files of a tokenizer that cannot be loaded, and the fix where it is known."""
    files = _vocabulary_files(folder) if folder.is_dir() else []
    if folder.is_dir() and not files:
        others = sorted(path.name for path in folder.iterdir() if "token" in path.name)
        there = f"; there is {', '.join(others)}" if others else ""
        return f"the folder has no file of a vocabulary (tokenizer.json, say){there}", _COPY
    if "tokenizer.json" not in files:
        for pattern, module, package in _READERS:
            found = [path for path in sorted(folder.glob(pattern)) if folder.is_dir()]
            if pattern == "*.model" and found and _is_tiktoken(found[0]):
                module = package = "tiktoken"
            if found and not _is_installed(module):
                return (
                    f"{found[0].name} is read by the package {package}, which is not installed",
                    f"pip install {package}, or put the model's tokenizer.json beside it",
                )
        if "vocab.json" in files and not (folder / "merges.txt").is_file():
            return "vocab.json is there, and merges.txt and tokenizer.json are missing", _COPY
    elif isinstance(error, json.JSONDecodeError | KeyError) or "tokenizer.json" in str(error):
        return f"tokenizer.json is damaged ({_first_sentence(error)})", _COPY
    return _first_sentence(error), ""


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package around it
        return False


def _is_tiktoken(path: Path) -> bool:
    """Lines of base64 and a rank, where SentencePiece has a protocol buffer."""
    with path.open("rb") as handle:
        return re.match(rb"[A-Za-z0-9+/=]+ \d+\r?\n", handle.read(200)) is not None


def _fault(tokenizer: Any, folder: Path) -> str:
    """Why a loaded tokenizer does not tell texts apart as its model does, "" where it does."""
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    added = {token.content for token in tokenizer.added_tokens_decoder.values()}
    own = sorted((place, word) for word, place in vocabulary.items() if word not in added)
    if folder.is_dir() and not _vocabulary_files(folder) and type(tokenizer).__name__ not in _OF_BYTES:
        return f"{type(tokenizer).__name__} made up a vocabulary of {len(vocabulary)} tokens"
    if not own:
        return f"its vocabulary has {len(added)} special tokens and no words"
    words = _own_words(tokenizer, own)
    texts = [*_PROBES, *(text for _, text in words)]
    ids = [ids_T.tolist() for ids_T in encode(tokenizer, texts)]
    known = {token for text in ids for token in text} - _unknown_ids(tokenizer)
    if len(known) < _DISTINCT:
        return f"{len(texts)} different texts become {len(known)} different tokens: {sorted(known)}"
    again = sum(ids[len(_PROBES) + place] == [token] for place, (token, _) in enumerate(words))
    if len(words) >= _FEW and again < _FOUND_AGAIN * len(words):
        return f"of {len(words)} words of its own vocabulary {again} become their token again: merges are missing"
    return _lost_special(tokenizer, vocabulary, added, folder)


def _unknown_ids(tokenizer: Any) -> set[int | None]:
    """The id for what the vocabulary lacks, by the tokenizer's configuration and by its model's."""
    model = getattr(getattr(tokenizer, "backend_tokenizer", None), "model", None)
    unknown = getattr(model, "unk_token", None)
    return {tokenizer.unk_token_id, tokenizer.convert_tokens_to_ids(unknown) if unknown else None}


def _own_words(tokenizer: Any, own: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
    """Words of several letters from all over a vocabulary, as text, with their ids."""
    found: list[tuple[int, str]] = []
    for place, word in own[:: max(1, len(own) // (2 * _WORDS))]:
        text = tokenizer.convert_tokens_to_string([word])
        # Continuations (`##ing`) and parts of a character are no words by themselves.
        if len(text.strip()) > 1 and "\ufffd" not in text and not word.startswith("##"):
            found.append((place, text))
    return found[:_WORDS]


def _lost_special(tokenizer: Any, vocabulary: dict[str, int], added: set[str], folder: Path) -> str:
    """Special tokens that the files do not hold, or that the tokenizer takes apart."""
    template = tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else ""
    for token in dict.fromkeys(_MARKER.findall(template)):
        if token in vocabulary and token not in added and encode(tokenizer, [token])[0].tolist() != [vocabulary[token]]:
            return f"the chat template writes {token}, the vocabulary has it, and it is no added token"
    path = folder / "tokenizer.json"
    if path.is_file():
        beside = (folder / name for name in ("added_tokens.json", "tokenizer_config.json"))
        held = path.read_text(encoding="utf-8") + "".join(_added_in(file) for file in beside)
        for name in ("eos_token", "bos_token", "unk_token"):
            token = getattr(tokenizer, name, None)
            forms = (json.dumps(token), json.dumps(token, ensure_ascii=False))
            if token and not any(form in held for form in forms):
                return (
                    f"{name} {token} stands in tokenizer_config.json and in no vocabulary: its embedding would be none"
                )
    return ""


def _added_in(file: Path) -> str:
    """The tokens that a file beside tokenizer.json adds, as JSON text."""
    try:
        content = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except ValueError:
        return ""
    if file.name == "tokenizer_config.json":
        content = content.get("added_tokens_decoder") if isinstance(content, dict) else None
    return json.dumps(content, ensure_ascii=False) if content else ""


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
        return _COPY
    return (
        "check base_model.id and base_model.revision, and that this machine reaches the hub "
        "(or has the files in its cache); a folder with tokenizer files works offline"
    )
