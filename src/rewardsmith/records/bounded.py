"""What others wrote, read within bounds: a small file must not cost a machine's memory or its evening.

    parse_json(raw)               → value      ValueError: not JSON, or beyond a limit that the message names
    read_bounded(path, limit)     → bytes      OSError, ValueError: no regular file, or larger
    inflated(handle, size)        → a file     of a gzip file; ValueError where it expands like a bomb
    parse_yaml(text)              → value      yaml.YAMLError: not YAML, or beyond a limit
    yaml.compose_all(text, Loader=BoundedLoader)      nodes with their places

A million nested brackets crash a recursive reader; two megabytes of gzip can hold two gigabytes; a few hundred bytes of
YAML aliases can stand for millions of nodes. The lengths of texts are limited where rows are read (`data/files.py`).
"""

from __future__ import annotations

import gzip
import io
import json
import stat
from pathlib import Path
from typing import Any, BinaryIO, cast

import yaml

from rewardsmith.errors import UserError

MIB = 2**20


class BeyondLimitError(ValueError):
    """Well-formed, and too much: the message names the limit."""


class RepeatedNameError(ValueError):
    """An object has a name twice: which value counts is not said. `args[0]` is the name."""


JSON_DEPTH = 100
"""Deepest nesting; a conversation with tool calls needs about ten."""

JSON_DIGITS = 300
"""Longest whole number; float64 ends at 309 digits."""

JSON_CONTAINERS = 10_000_000
"""Most lists and objects of one text; each costs 56 bytes and more, for two characters."""


def parse_json(raw: str | bytes, *, unique: bool = False) -> Any:
    """JSON within limits.

    Args:
        raw: the text.
        unique: refuse an object that has a name twice; else the last one counts, as in Python.

    Raises:
        json.JSONDecodeError, UnicodeDecodeError: it is not JSON.
        BeyondLimitError: nested too deeply, a number with too many digits, or too many lists and objects.
        RepeatedNameError: with `unique`, a name stands twice in an object.
    """
    # In the raw text, before anything is built; brackets inside strings count too, which errs on the safe side.
    opened = raw.count("[") + raw.count("{") if isinstance(raw, str) else raw.count(b"[") + raw.count(b"{")
    if opened > JSON_CONTAINERS:
        raise BeyondLimitError(f"{opened:,} opening brackets (limit {JSON_CONTAINERS:,})")
    try:
        value = json.loads(raw, parse_int=_whole_number, object_pairs_hook=_once if unique else None)
    except RecursionError as error:
        raise BeyondLimitError(f"nested deeper than {JSON_DEPTH} levels") from error
    if opened > JSON_DEPTH:  # else it cannot be deeper
        _check_depth(value)
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise RepeatedNameError(next(name for name in names if names.count(name) > 1))
    return found


def _whole_number(digits: str) -> int:
    if len(digits) > JSON_DIGITS:
        raise BeyondLimitError(f"a number of {len(digits):,} digits (limit {JSON_DIGITS})")
    return int(digits)


def _check_depth(value: Any) -> None:
    """Level by level, because what is too deep cannot be walked by recursion."""
    level = [value]
    for _ in range(JSON_DEPTH):
        level = [
            child
            for one in level
            if isinstance(one, dict | list)
            for child in (one.values() if isinstance(one, dict) else one)
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise BeyondLimitError(f"nested deeper than {JSON_DEPTH} levels")


RECORD_SIZE = 16 * MIB
"""Largest record of ours that is read back; they are kilobytes."""


def read_bounded(path: Path, limit: int = RECORD_SIZE) -> bytes:
    """The bytes of a regular file.

    Raises:
        OSError: it cannot be read.
        BeyondLimitError: it is larger than `limit` bytes, or a pipe, a device or a folder.
    """
    with regular(path).open("rb") as handle:
        # One byte beyond the limit tells that a file is too large, whatever size it states.
        raw = handle.read(limit + 1)
    if len(raw) > limit:
        raise BeyondLimitError(f"larger than {limit // MIB} MiB")
    return raw


def regular(path: Path) -> Path:
    """The path itself, where there is a regular file: `regular(path).open()` waits for nobody.

    Raises:
        OSError: there is none, or it cannot be looked at.
        BeyondLimitError: a pipe, a device, a folder or a file of the kernel.
    """
    if odd := odd_kind(path):
        raise BeyondLimitError(f"it is {odd}" if path.is_dir() else f"it is {odd}, no regular file")
    return path


_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def odd_kind(path: Path) -> str:
    """What a path is that is no file to read, "" where it is one: a pipe would block, a device never end.

    Files of the kernel say that they are regular ones, and may block as well (/proc/kmsg).

    Raises:
        OSError: there is none, or it cannot be looked at.
    """
    found = path.stat()
    named = next((name for is_kind, name in _KINDS if is_kind(found.st_mode)), "")
    # /proc and /sys are never on the device of the root.
    if named or found.st_dev == Path("/").stat().st_dev:
        return named
    kernel = [place.stat().st_dev for place in (Path("/proc"), Path("/sys")) if place.is_mount()]
    return "a file of the kernel" if found.st_dev in kernel else ""


_OF_A_MODEL = (".json", ".jinja", ".safetensors", ".model", ".txt", ".tiktoken", ".spm")


def refuse_odd_files(folder: str | Path, error: type[UserError]) -> None:
    """Refuse a local model folder in which a pipe, a folder or a broken link stands for one of its files.

    transformers takes such a file for absent: it goes on without a setting, or says that the model is not known.

    Args:
        folder: a folder, or a name on the hub, of which nothing is looked at.
        error: what to raise.

    Raises:
        UserError: of the given type, with the first such file; or what is named is a pipe or a device itself.
    """
    if not Path(folder).is_dir():
        if Path(folder).exists() and (odd := odd_kind(Path(folder))):
            raise error(f"is {odd}, no folder of a model", where=str(folder), fix="name the folder of a model")
        return
    for path in sorted(one for one in Path(folder).iterdir() if one.suffix in _OF_A_MODEL and not one.is_file()):
        try:
            what = odd_kind(path) or "cannot be looked at"
        except OSError:
            what = "a link to a file that is not there"
        raise error(f"is {what}, no regular file", where=str(path), fix="put the file itself into the model's folder")


GZIP_FREE = 64 * MIB
GZIP_RATIO = 100
"""A gzip file may expand to 64 MiB, and beyond that to 100 times its size; texts compress 3 to 20 times."""


def inflated(handle: BinaryIO, size: int) -> BinaryIO:
    """The content of a gzip file.

    Args:
        handle: open at its start.
        size: of the file, in bytes.

    Raises (when read):
        BeyondLimitError: it expands beyond `GZIP_FREE` and `GZIP_RATIO` times its size.
        gzip.BadGzipFile, EOFError, zlib.error: it is damaged.
    """
    return cast("BinaryIO", io.BufferedReader(_Metered(handle, size), MIB))


class _Metered(io.RawIOBase):
    """A gzip file that is given up when it has expanded beyond what text does."""

    def __init__(self, handle: BinaryIO, size: int) -> None:
        self._inner = gzip.GzipFile(fileobj=handle)
        self._limit = max(GZIP_FREE, GZIP_RATIO * size)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        raw = self._inner.read1(min(len(buffer), MIB))
        buffer[: len(raw)] = raw
        self._check()
        return len(raw)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """To the end by reading all of it, as gzip knows no other way; but metered."""
        if whence == io.SEEK_END:
            while self._inner.read(MIB):
                self._check()
            return self._inner.seek(self._inner.tell() + offset)
        return self._inner.seek(offset, whence)

    def tell(self) -> int:
        return self._inner.tell()

    def _check(self) -> None:
        if self._inner.tell() > self._limit:
            raise BeyondLimitError(
                f"expands beyond {self._limit // MIB} MiB, {GZIP_RATIO} times its size or more: text does not"
            )


YAML_SIZE = 2**19
"""Characters; PyYAML reads about 200,000 a second."""

YAML_DEPTH = 50
YAML_NODES = 100_000
"""With every alias counted as what it stands for."""

YAML_SCALAR = 100
"""Longest number or date; texts may be longer."""


class BoundedLoader(yaml.SafeLoader):
    """Plain YAML within limits; every alias counts as the nodes that it stands for."""

    def __init__(self, stream: str) -> None:
        if len(stream) > YAML_SIZE:
            raise yaml.YAMLError(f"{len(stream):,} characters (limit {YAML_SIZE:,})")
        super().__init__(stream)
        self._depth = 0
        self._nodes = 0
        self._sizes: dict[str, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Count before descending."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            # Known, and not closed yet: the alias stands inside its own node and would never end.
            if event.anchor in self.anchors and event.anchor not in self._sizes:
                raise self._refusal(f"the alias *{event.anchor} stands inside of what it names", event)
            self._count(self._sizes.get(str(event.anchor), 1), event)
            return super().compose_node(parent, index)
        self._count(1, event)
        self._depth += 1
        if self._depth > YAML_DEPTH:
            raise self._refusal(f"nested deeper than {YAML_DEPTH} levels", event)
        before = self._nodes
        node = super().compose_node(parent, index)
        self._depth -= 1
        if event.anchor is not None:
            self._sizes[event.anchor] = self._nodes - before + 1
        return node

    def _count(self, nodes: int, event: Any) -> None:
        self._nodes += nodes
        if self._nodes > YAML_NODES:
            raise self._refusal(f"more than {YAML_NODES:,} values, with aliases written out", event)

    def _refusal(self, problem: str, event: Any) -> yaml.MarkedYAMLError:
        return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """A number or date that Python cannot hold is an error of its line."""
        texts = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:binary")
        if isinstance(node, yaml.ScalarNode) and node.tag not in texts and len(node.value) > YAML_SCALAR:
            raise yaml.MarkedYAMLError(
                problem=f"a number or date of {len(node.value):,} characters (limit {YAML_SCALAR})",
                problem_mark=node.start_mark,
            )
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError, TypeError) as error:
            raise yaml.MarkedYAMLError(problem=str(error), problem_mark=node.start_mark) from error
        except (AttributeError, LookupError) as error:  # `!!timestamp word`: PyYAML uses what it did not find
            kind = node.tag.rpartition(":")[2]
            raise yaml.MarkedYAMLError(problem=f"no {kind}, as its tag says", problem_mark=node.start_mark) from error


def parse_yaml(text: str, loader: type[BoundedLoader] = BoundedLoader) -> Any:
    """The only document of a text.

    Raises:
        yaml.YAMLError: not YAML, or beyond a limit.
    """
    return yaml.load(text, Loader=loader)  # noqa: S506 - a SafeLoader
