"""A tokenizer from the hub or a folder, or in one sentence why it cannot be used.

    tokenizer = load_tokenizer("Qwen/Qwen3-0.6B")
    unknown = find_unknown(tokenizer)
    unknown.kind                                # "unk", "byte_fallback" or "bytes"
    unknown_parts(tokenizer, unknown, text)     # what its unknown ids stand for in a text

transformers makes a tokenizer of almost anything: a folder without a vocabulary gives one of special tokens alone, a
vocabulary without merges one that takes every word apart. So a loaded tokenizer is tried on texts, and refused where it
does not tell them apart as its model does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rewardsmith.errors import RenderingError, first_line
from rewardsmith.hub import ask_hub
from rewardsmith.packages import is_installed
from rewardsmith.records.bounded import refuse_odd_files
from rewardsmith.rendering.encoding import encode

_COPY = "a folder needs tokenizer.json and tokenizer_config.json: copy them from the base model, whole and together"
_CONFIG = "restore the config.json that the model was saved with"
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


def load_tokenizer(base: str | Path, *, revision: str | None = None) -> Any:
    """A transformers tokenizer; no code of the repository is run.

    Raises:
        RenderingError: there is none, it cannot be read, the hub cannot be reached, or it does not tell texts apart.
    """
    from transformers import AutoTokenizer
    from transformers.utils import logging

    ask_hub(base, error=RenderingError, where=str(base), revision=revision)
    refuse_odd_files(base, RenderingError)
    level = logging.get_verbosity()
    try:
        logging.set_verbosity_error()  # what transformers tries one after the other; the last error says it
        tokenizer = AutoTokenizer.from_pretrained(str(base), revision=revision, trust_remote_code=False)
        tokenizer("a")  # a setting of the wrong kind is kept as it is, and only fails when it is used
    except Exception as error:  # what a broken file raises depends on the file
        problem, fix = _why_not(error, Path(base))
        raise RenderingError(
            f"the tokenizer cannot be loaded: {problem}", where=str(base), fix=fix or _fix(Path(base))
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
            if found and not is_installed(module):
                return (
                    f"{found[0].name} is read by the package {package}, which is not installed",
                    f"pip install {package}, or put the model's tokenizer.json beside it",
                )
        if "vocab.json" in files and not (folder / "merges.txt").is_file():
            return "vocab.json is there, and merges.txt and tokenizer.json are missing", _COPY
    elif isinstance(error, json.JSONDecodeError | KeyError) or "tokenizer.json" in str(error):
        return f"tokenizer.json is damaged ({_first_sentence(error)})", _COPY
    said = _config_fault(folder)
    if said:
        return f"config.json is read before it, and cannot be: {said}", _CONFIG
    there = "" if folder.exists() else "there is no folder of this name; "
    return f"{there}{_first_sentence(error)}", ""


def _config_fault(folder: Path) -> str:
    """What is wrong with the model's configuration, which transformers asks for the kind of tokenizer."""
    from transformers import AutoConfig

    if not (folder / "config.json").is_file():
        return ""
    try:
        AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
    except Exception as error:  # what a broken file raises depends on the field that is broken
        return first_line(error)
    return ""


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
        # Classes bring an unk_token of their own (Qwen2: <|endoftext|>), which a byte-level vocabulary never writes:
        # DeepSeek-R1-Distill-Qwen has none.
        model = getattr(getattr(tokenizer, "backend_tokenizer", None), "model", None)
        unknown = ("unk_token",) if getattr(model, "unk_token", None) is not None else ()
        for name in ("eos_token", "bos_token", *unknown):
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


def _first_sentence(error: Exception) -> str:
    said = first_line(error)
    return said if said == type(error).__name__ else f"{type(error).__name__}: {said}"


def _fix(folder: Path) -> str:
    if folder.is_dir():
        return _COPY
    return (
        "correct the path; for a name on the hub, check it (base_model.id) and base_model.revision, and that this "
        "machine reaches the hub or has the files in its cache"
    )


Kind = Literal["unk", "byte_fallback", "bytes"]

# Cuneiform, hieroglyphs, Linear B, Gothic, Osmanya: letters, so that no normalizer drops them.
_RARE = ("𒀀", "𓂀", "𐀀", "𐌰", "𐒀")
# Bytes below 0x80 stand for line breaks and the like, which are not unknown.
_BYTE = re.compile(r"<0x[89A-F][0-9A-F]>")


@dataclass(frozen=True, slots=True)
class Unknown:
    """What a tokenizer does with characters that its vocabulary lacks, and the ids that stand for them.

    `unk`: one token stands for whatever is unknown, and the text is lost; `token` is its name. `byte_fallback`: such a
    character becomes one token for each of its bytes; nothing is lost, at a price of three or four tokens. `bytes`:
    every text is made of bytes to begin with, and nothing is unknown. A tokenizer may name an unknown token that it
    never writes (GPT-2 names its EOS).
    """

    kind: Kind
    ids: tuple[int, ...]
    token: str = ""


def find_unknown(tokenizer: Any) -> Unknown:
    """How a tokenizer treats what it does not know, tried out on rare scripts."""
    seen = {int(token) for ids_T in encode(tokenizer, _RARE) for token in ids_T}
    unk = tokenizer.unk_token_id
    if unk is not None and unk in seen:
        return Unknown("unk", (int(unk),), str(tokenizer.unk_token))
    names = tokenizer.convert_ids_to_tokens(sorted(seen))
    if not any(_BYTE.fullmatch(name) for name in names):
        return Unknown("bytes", ())
    every = tokenizer.convert_tokens_to_ids([f"<0x{byte:02X}>" for byte in range(0x80, 0x100)])
    return Unknown(
        "byte_fallback", tuple(sorted({int(token) for token in every if token is not None and token != unk}))
    )


def unknown_parts(tokenizer: Any, unknown: Unknown, text: str) -> list[str]:
    """What stands in a text where the tokenizer writes an unknown token; empty where it keeps no offsets."""
    if not tokenizer.is_fast:
        return []
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    spans = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    return [text[start:end] for token, (start, end) in spans if token in unknown.ids]
