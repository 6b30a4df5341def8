"""Addresses and secrets of other machines: which can be used, and what of them may be shown.

    fault_of_address("http://host:99999")      "the port is not a number from 1 to 65535"; "" where there is none
    fault_of_secret("sk-…\\n")                  why it cannot stand in a header, without the value
    redacted(text)                             text without the secrets of this process, however they are spelled
    Redactor((key,)).clean(text)               the same for one secret

A secret comes back where it was sent: an endpoint that repeats the key that it refuses, a library that quotes the
header that it cannot send. It comes back as it was, or as JSON, a URL, Python's repr, HTML or base64 writes it, whole
or cut off. So it is looked for character by character, each in all its spellings, and in pieces of `_PIECE`.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import re
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import SplitResult, unquote, urlsplit

HIDDEN = "[key]"

SECRET_VARIABLES = (
    *("REWARDSMITH_TOKEN", "REWARDSMITH_FLUENCY_TOKEN", "REWARDSMITH_JUDGE_KEY"),
    *("OPENAI_API_KEY", "ANTHROPIC_API_KEY"),
    *("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACEHUB_API_TOKEN", "WANDB_API_KEY"),
    *("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD", "DATABRICKS_TOKEN", "TRACKIO_API_KEY"),
)
"""Environment variables whose values are never shown; a spec may name another for the judge's key."""

_LEAST = 6
"""A value that is shorter is no secret, and would be found in every text."""

_PIECE = 12
"""Characters of a secret that give it away where it was cut."""

# To the last @ before the host's end: a user may be an e-mail address, written as it is.
_USERINFO = re.compile(r"\b([A-Za-z][\w+.-]*://)[^\s/?#\"'<>\\]+@")
_ENGINE = re.compile(r"(?:([a-z]+)\+)?(https?://.*)", re.IGNORECASE | re.DOTALL)
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_NAMES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;", " ": r"\+"}
_NAMES |= {"\n": r"\\{1,8}n", "\r": r"\\{1,8}r"}
_named: set[str] = set()


def fault_of_address(url: str) -> str:
    """What is wrong with the address of a web server; empty where nothing is. It never quotes the address."""
    if not url.isprintable() or " " in url:
        return "there is a space or a control character in it"
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return "its brackets hold no IPv6 address"
    if parts.scheme not in ("http", "https"):
        return "it does not begin with http:// or https://"
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        return "the port is not a number from 1 to 65535"
    if not _is_host(host):
        return "no machine can be called so" if host else "it names no machine"
    if not (parts.path + parts.query).isascii():
        return "there are others than ASCII characters in its path: write them as %XX"
    return ""


def is_address(source: object) -> bool:
    """Whether `source` names a server rather than a folder: `http://…`, or `vllm+http://…`, whatever follows."""
    return isinstance(source, str) and _ENGINE.fullmatch(source) is not None


def engine_address(url: str) -> tuple[str, str]:
    """The engine that an address names before a `+`, "" where it names none, and the address that is asked."""
    found = _ENGINE.fullmatch(url)
    return ((found[1] or "").lower(), found[2]) if found else ("", url)


def without_userinfo(url: str) -> str:
    """The address, without the user and the password in it."""
    return _USERINFO.sub(r"\1", url)


def userinfo(parts: SplitResult) -> tuple[str, str] | None:
    """User and password of an address; None where there are none."""
    return None if parts.username is None else (unquote(parts.username), unquote(parts.password or ""))


def fault_of_secret(value: str) -> str:
    """Why a secret cannot be sent in a header; empty where it can. It never quotes the secret."""
    if value.isascii() and value.isprintable() and " " not in value:
        return ""
    if value.strip() != value and not fault_of_secret(value.strip()):
        return "begins or ends with a space or a line end"
    return "holds a space, a line end or others than printable ASCII characters"


def keep_hidden(value: str) -> None:
    """Never show this value: a secret that comes from elsewhere than `SECRET_VARIABLES`."""
    if value:
        _named.add(value)


def redacted(text: str) -> str:
    """Text without the secrets of the environment, those of `keep_hidden`, and users and passwords of addresses."""
    if "://" in text and "@" in text:
        text = _USERINFO.sub(rf"\1{HIDDEN}@", text)
    values = frozenset(_named.union(filter(None, map(os.environ.get, SECRET_VARIABLES))))
    return _redactor(values).clean(text) if values else text


class Redactor:
    """Takes secrets out of texts."""

    def __init__(self, secrets: Iterable[str]) -> None:
        values = {one for value in secrets for one in (value, value.strip()) if len(one) >= _LEAST}
        whole = [_spellings(value) for value in sorted(values, key=len, reverse=True)]
        self._whole = re.compile("|".join(whole)) if whole else None
        self._pieces = {
            value[start : start + _PIECE]
            for value in values
            if len(value) > _PIECE
            for start in range(len(value) - _PIECE + 1)
        }
        self._values = values

    def clean(self, text: str) -> str:
        """The text with `[key]` in place of each secret."""
        if self._whole is None:
            return text
        text = self._whole.sub(HIDDEN, text)
        return self._without_pieces(text) if any(piece in text for piece in self._pieces) else text

    def _without_pieces(self, text: str) -> str:
        """What was cut at either end: each run of overlapping pieces is one."""
        gone = [
            (found.start(), found.start() + _PIECE)
            for piece in self._pieces
            for found in re.finditer(f"(?={re.escape(piece)})", text)
        ]
        kept: list[str] = []
        at = 0
        for start, end in sorted(gone):
            if start > at or not kept:
                kept += [text[at:start], HIDDEN]
            at = max(at, end)
        return "".join([*kept, text[at:]])


@lru_cache(maxsize=8)
def _redactor(values: frozenset[str]) -> Redactor:
    return Redactor(values)


def _spellings(value: str) -> str:
    """A pattern of a secret as it is, escaped in any way, or within base64 or hexadecimal digits."""
    raw = value.encode("utf-8", "surrogatepass")
    forms = ["".join(map(_character, value)), f"(?i:{raw.hex()})"]
    for shift in range(3):  # where the secret begins within three bytes, as after "user:"
        digits = base64.b64encode(b"\0" * shift + raw).decode().rstrip("=")
        # the first digits hold bytes before it, the last one of those after it
        sure = digits[(0, 2, 3)[shift] :][: (len(raw) * 8 - (0, 4, 2)[shift]) // 6]
        forms.append(re.escape(sure).replace(r"\+", "[+-]").replace("/", "[/_]"))
    return "|".join(forms)


def _character(one: str) -> str:
    code = ord(one)
    bytes_of = one.encode("utf-8", "surrogatepass")
    forms = [
        rf"\\{{0,8}}{re.escape(one)}",  # also \/ and \" of JSON, within JSON
        rf"\\{{1,8}}u(?i:{code:04x})",
        rf"\\{{1,8}}x(?i:{code:02x})",
        "".join(f"%(?:25){{0,4}}(?i:{byte:02x})" for byte in bytes_of),
        f"&#0{{0,6}}{code};",
        f"&#[xX]0{{0,6}}(?i:{code:x});",
    ]
    names = {
        "&": "&amp;",
        "<": "&lt;",
        ">": "&gt;",
        '"': "&quot;",
        "'": "&apos;",
        "\n": r"\\{1,8}n",
        "\r": r"\\{1,8}r",
        " ": r"\+",
    }
    if one in names:
        forms.append(names[one])
    return f"(?:{'|'.join(forms)})"


def _is_host(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    else:
        return True
    try:
        name = host.encode("idna").decode("ascii").rstrip(".")
    except UnicodeError:  # an empty label, or one of more than 63 characters
        return False
    return len(name) <= 253 and all(_LABEL.fullmatch(label) for label in name.split("."))
