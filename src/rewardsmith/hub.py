"""Names of models and data sets that may be on the Hugging Face hub: asked for once, and never a path.

    ask_hub("Qwen/Qwen3-0.6B", error=ModelError, where="base_model.id")      # returns, or says in one line why not

Libraries retry for a minute where there is no network, and say so a dozen times, each of them again for each file. So
the hub is asked here first, with one request and `TIMEOUT` seconds, once in a process for each name. What looks like a
path is never sent anywhere: it is no such folder. Where the hub cannot be reached and the cache holds the name, the
process goes on offline, as with `HF_HUB_OFFLINE=1`.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
from pathlib import Path
from typing import Any, Literal

from rewardsmith.errors import UserError

Kind = Literal["model", "dataset"]

TIMEOUT = 5.0
"""Seconds that the hub has for one answer; resolving its name may take as long again."""

_NAME = re.compile(r"(?:[A-Za-z0-9][\w.-]{0,95}/)?[A-Za-z0-9][\w.-]{0,95}")
_FILE = re.compile(
    r"\.(jsonl?|ndjson|csv|tsv|parquet|arrow|gz|zst|zip|tar|ya?ml|toml|txt|md|py|safetensors|bin|pth?|ckpt|gguf|model)$",
    re.IGNORECASE,
)
_KINDS: dict[Kind, str] = {"model": "a model", "dataset": "a data set"}
_ASKED: dict[tuple[str, Kind, str, str | None], str] = {}


def ask_hub(
    name: str | Path, *, error: type[UserError], where: str, kind: Kind = "model", revision: str | None = None
) -> None:
    """Return where `name` is a folder or file of this machine, in the hub's cache, or on the hub.

    Args:
        name: a path or a hub id.
        error: what to raise.
        where: the field or option that names it.
        kind: what it would be on the hub.
        revision: of the hub.

    Raises:
        UserError: of the given type: no such folder, no such name on the hub, or no hub.
    """
    from huggingface_hub import constants

    text = str(name)
    if Path(text).expanduser().exists():
        return
    looks = _path_like(text)
    cached = _is_cached(text, kind)
    if looks and not cached:
        raise error(f"no such folder{'' if where == text else f' {text!r}'} ({looks})", where=where, fix=_nearest(text))
    if constants.HF_HUB_OFFLINE:
        return  # the libraries look into the cache at once, and say what is not there
    key = (constants.ENDPOINT, kind, text, revision)
    if key not in _ASKED:
        said, reached = _ask(text, kind, revision)
        if said and not reached and cached:
            _go_offline(said)
            return
        _ASKED[key] = said
    if _ASKED[key]:
        raise error(
            f"there is no folder {text!r}, and {_ASKED[key]}"
            if where != text
            else f"there is no such folder, and {_ASKED[key]}",
            where=where,
            fix=f"correct the name, or name a folder; {_KINDS[kind]} that is private needs `hf auth login`",
        )


def _path_like(text: str) -> str:
    """Why a name can only be a path, "" where it may be a hub id."""
    first, slash, _ = text.partition("/")
    if not text.strip():
        return "the name is empty"
    if text[0] in "./~\\" or "\\" in text or re.match(r"[A-Za-z]:", text):
        return "written as a path"
    if text.endswith("/") or text.count("/") > 1:
        return "a name on the hub is NAME or ORGANISATION/NAME"
    if _FILE.search(text):
        return "named like a file"
    if slash and Path(first).is_dir():
        return f"there is a folder {first!r} here"
    if not _NAME.fullmatch(text) or "--" in text or ".." in text:
        return "and no name that a hub could have"
    return ""


def _nearest(text: str) -> str:
    """What is where the path stops to exist."""
    path = Path(text).expanduser()
    there = next((parent for parent in path.parents if parent.is_dir()), None)
    if there is None or there == Path(there.anchor):
        return "correct the path"
    names = sorted(one.name for one in there.iterdir() if not one.name.startswith("."))[:8]
    return f"correct the path; {there} has {', '.join(names) or 'nothing in it'}"


def _is_cached(text: str, kind: Kind) -> bool:
    from huggingface_hub import constants

    if not _NAME.fullmatch(text):
        return False
    snapshots = Path(constants.HF_HUB_CACHE) / f"{kind}s--{text.replace('/', '--')}" / "snapshots"
    if snapshots.is_dir() and any(snapshots.iterdir()):
        return True
    if kind == "model":
        return False
    datasets: Any = sys.modules.get("datasets")  # its own cache of prepared tables
    folder = datasets.config.HF_DATASETS_CACHE if datasets else Path(constants.HF_HOME) / "datasets"
    return (Path(folder) / text.replace("/", "___").lower()).is_dir() or (
        Path(folder) / text.replace("/", "___")
    ).is_dir()


def _ask(text: str, kind: Kind, revision: str | None) -> tuple[str, bool]:
    """What is wrong, "" where nothing is; and whether the hub answered at all."""
    found: list[tuple[str, bool]] = []
    asking = threading.Thread(target=lambda: found.append(_answer(text, kind, revision)), daemon=True)
    asking.start()
    asking.join(2 * TIMEOUT)  # the name of the host is resolved without a limit of its own
    return found[0] if found else (_unreachable(f"no answer within {2 * TIMEOUT:.0f} s"), False)


def _answer(text: str, kind: Kind, revision: str | None) -> tuple[str, bool]:
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError

    hub = constants.ENDPOINT
    try:
        HfApi().repo_info(text, repo_type=kind, revision=revision, timeout=TIMEOUT)
    except RevisionNotFoundError:
        return f"{text} on the hub ({hub}) has no revision {revision!r}", True
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403, 404):
            return f"the hub ({hub}) shows nobody of this machine {_KINDS[kind]} of this name", True
        return _unreachable(f"it answers {status}"), False
    except Exception as error:  # what a broken connection raises depends on the client below
        lines = str(error).strip().splitlines()
        return _unreachable(lines[0][:200] if lines else type(error).__name__), False
    return "", True


def _unreachable(why: str) -> str:
    from huggingface_hub import constants

    return f"the hub cannot be reached at {constants.ENDPOINT} ({why})"


def _go_offline(said: str) -> None:
    from huggingface_hub import constants

    logging.getLogger("rewardsmith").warning("%s: this process goes on with the hub's cache", said)
    constants.HF_HUB_OFFLINE = True
    datasets: Any = sys.modules.get("datasets")
    if datasets:
        datasets.config.HF_HUB_OFFLINE = True
