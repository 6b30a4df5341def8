"""The run directory: who may write it, which spec it belongs to, which stages are done, and what decides a result.

    with RunDirectory.open(spec, overwrite=False) as run:
        if not run.is_done("check", fingerprint):
            ...
            run.finish("check", fingerprint, seconds)

One process works in a run at a time. A directory that holds another spec's training is refused: what decided its model
is not what this spec says. Only the parts of the spec that come after training may change in place.

A stage's fingerprint is a hash of what its result depends on: the spec, and `file_sha256`, `place_fingerprint` and
`versions` of files, folders, hub revisions and libraries.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.metadata
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

import rewardsmith
from rewardsmith.errors import RunDirectoryError, SpecError
from rewardsmith.records.bounded import parse_json, read_bounded
from rewardsmith.records.files import begins_with, guard_removal, is_record, read_record, remove, write_json, write_text
from rewardsmith.records.run import Manifest, StageRecord
from rewardsmith.spec import Spec, digest, dump_spec, load_spec

MODEL = "model"
"""The checkpoint's folder in a run directory."""

_SPLIT = "split.npy"
_COSTLY = ("train", "model")  # a check is soon made again, and its fingerprint tells it from that of another spec
_OWN = {_SPLIT, MODEL, f"{MODEL}.part"} | set(
    """
    spec.yaml manifest.json check.json check.sample.json rejected.jsonl train eval label_noise.json probes.json
    attack.json attack.journal.jsonl .attack.lock
    policy_samples.json gates.json ood.json diagnosis.json trackers.json live.json replicas replicas.json learning_curve
    learning_curve.json controls controls.json routing report.html summary.md comparison.json comparison.md verify.json
    tensorboard trackio wandb mlruns
    """.split()  # noqa: SIM905 - a list of thirty lines says no more
)
"""Everything that may stand in a run directory; with `--overwrite` nothing else is ever deleted."""

ROUTING = "routing"
"""The router's folder in a run directory. It may be there before the run is: a calibration needs a model, not ours."""

_ROUTED = (
    ("kind", "rules", "combine"),  # an audit log
    ("row", "best", "by", "why"),  # rows of `route run`
    ("subset", "id", "probability", "consistent", "missing"),  # verdicts
    ("chosen", "rejected", "annotator", "provenance"),  # its pairs
)
_CALLS = {"calls.jsonl", ".calls.lock"}
_AFTER_TRAINING = {"evaluation", "report", "report_to", "judge", "routing", "name", "output_dir"}
_WATCHING = {("training", "monitor"), ("training", "checkpoint_every_steps"), ("training", "reward_range")}


class RunDirectory:
    """An open, locked run directory. Use it as a context manager."""

    def __init__(
        self, path: Path, spec: Spec, manifest: Manifest, lock: FileLock | None, *, made_with: str | None = None
    ) -> None:
        self.path = path
        self.spec = spec
        self.manifest = manifest
        self.made_with = made_with
        """What its stages were made with, where that is not what runs now: why they are done again."""
        self._lock = lock
        self._predicted: Mapping[str, float] = {}

    @classmethod
    def open(
        cls,
        spec: Spec,
        *,
        overwrite: bool = False,
        main: bool = True,
        note: Callable[[str], None] = lambda text: None,
    ) -> RunDirectory:
        """Create or continue `spec.output_dir/spec.name`.

        Args:
            overwrite: delete a run of another spec that stands there.
            main: false on the other processes of a distributed run, which write nothing.
            note: told where that deletes results of the router, whose judge was paid for.

        Raises:
            RunDirectoryError: not writable, locked, not a run directory, or another spec's run; with `overwrite`, a
                folder that holds more than a run of ours, or that is a link, a home, or above what is read.
        """
        path = _folder(spec)
        if not main:
            return cls(path, spec, _read_manifest(path, spec)[0], None)
        if overwrite:
            _removable(path, spec)  # before a lock is left in a folder that is none of ours
        lock = _lock(path)
        try:
            if overwrite:
                for entry in _removable(path, spec):
                    remove(entry)
                    if entry.name == ROUTING:
                        note(f"{entry} is deleted with the run that stood there, and the judge's calls with it")
            _claim(path, spec)
            manifest, made_with = _read_manifest(path, spec)
            write_text(path / "spec.yaml", dump_spec(spec))
            run = cls(path, spec, manifest, lock, made_with=made_with)
            run._write_manifest()
        except BaseException:
            lock.release()
            raise
        return run

    @classmethod
    def look(cls, spec: Spec, *, overwrite: bool = False) -> RunDirectory:
        """What stands in `spec.output_dir/spec.name`, without a lock and without writing anything.

        Args:
            overwrite: see the folder as empty, as it would be after what is there is deleted.

        Raises:
            RunDirectoryError: not a run directory, another spec's run, or a folder that cannot be written.
        """
        path = _folder(spec)
        _refuse_unwritable(path)
        if overwrite:
            _removable(path, spec)
        if overwrite or not path.exists():
            return cls(path, spec, _new_manifest(spec), None)
        _claim(path, spec)
        manifest, made_with = _read_manifest(path, spec)
        return cls(path, spec, manifest, None, made_with=made_with)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            self._lock.release()

    @property
    def model(self) -> Path:
        """The trained checkpoint."""
        return self.path / MODEL

    def evaluation(self, key: str) -> Path:
        """Folder of one benchmark's results."""
        return self.path / "eval" / key

    def write_split(self, is_held_out: NDArray[np.bool_]) -> None:
        """Keep which rows are held out, so that training need not look for near-duplicates again."""
        aside = self.path / f".{_SPLIT}.part"
        try:
            with aside.open("wb") as handle:
                np.save(handle, is_held_out)
            aside.replace(self.path / _SPLIT)
        finally:
            aside.unlink(missing_ok=True)

    def read_split(self) -> NDArray[np.bool_] | None:
        """The split as it was written; None where there is none."""
        try:
            return np.asarray(np.load(self.path / _SPLIT, allow_pickle=False), dtype=np.bool_)
        except (OSError, ValueError):
            return None

    def is_done(self, stage: str, fingerprint: str, *files: Path) -> bool:
        """Whether a stage ended well with these inputs and its files are still there."""
        record = self.manifest.stages.get(stage)
        same = record is not None and record.state == "done" and record.fingerprint == fingerprint
        return same and all(file.exists() for file in files)

    def finish(
        self,
        stage: str,
        fingerprint: str,
        seconds: float,
        state: Literal["done", "failed", "stopped"] = "done",
        detail: str = "",
    ) -> None:
        """Write down how a stage ended."""
        record = StageRecord(
            fingerprint=fingerprint,
            state=state,
            seconds=seconds,
            predicted=self._predicted.get(stage),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            detail=detail,
        )
        self.update(stages={**self.manifest.stages, stage: record})

    def predict(self, seconds: Mapping[str, float]) -> None:
        """Put the seconds of each stage by the planner beside those that it took, or will have taken when it ends.

        A stage that has ended keeps what was predicted for it then.
        """
        self._predicted = seconds
        stages = {
            name: record.model_copy(update={"predicted": seconds.get(name)}) if record.predicted is None else record
            for name, record in self.manifest.stages.items()
        }
        self.update(stages=stages)

    def update(self, **changes: Any) -> None:
        """Replace fields of the manifest and write it."""
        self.manifest = self.manifest.model_copy(update=changes)
        self._write_manifest()

    def _write_manifest(self) -> None:
        if self._lock is None:
            return  # a helping process of a distributed run
        write_json(self.path / "manifest.json", self.manifest)


def checkpoint_folder(spec: Spec) -> Path:
    """The checkpoint of the spec's run, which a command scores that is told no other."""
    return _folder(spec) / MODEL


def _folder(spec: Spec) -> Path:
    return Path(spec.output_dir) / spec.name


def _refuse_unwritable(path: Path) -> None:
    """What `_lock` would meet, without writing anything."""
    there = next(one for one in (path, *path.absolute().parents) if one.exists())
    if not there.is_dir() and there != path:
        raise _unwritable(path, os.strerror(errno.ENOTDIR))
    if there.is_dir() and not os.access(there, os.W_OK | os.X_OK):
        raise _unwritable(path, os.strerror(errno.EACCES))


def _unwritable(path: Path, reason: str | None) -> RunDirectoryError:
    fix = "set output_dir to a folder that you may write to"
    return RunDirectoryError(f"cannot be written: {reason}", where=str(path), fix=fix)


def _lock(path: Path) -> FileLock:
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path / ".lock", timeout=0)
        lock.acquire()
    except Timeout as error:
        raise RunDirectoryError(
            "another process is working in this run", where=str(path), fix="wait for it, or give this spec another name"
        ) from error
    except OSError as error:
        raise _unwritable(path, error.strerror) from error
    return lock


def _claim(path: Path, spec: Spec) -> None:
    """Make sure that what stands in `path` is this spec's run, or nothing."""
    content = _not_routed(path)
    if not content:
        return
    if not (path / "manifest.json").is_file() or not (path / "spec.yaml").is_file():
        raise RunDirectoryError(
            f"holds {len(content)} files that are not a run ({content[0].name}, …)",
            where=str(path),
            fix="give this spec another name or output_dir, or empty the folder",
        )
    changed = _differences(_spec_there(path), spec)
    if changed and any((path / name).exists() for name in _COSTLY):
        raise RunDirectoryError(
            f"holds the run of another spec: {'; '.join(changed[:4])}" + ("; …" if len(changed) > 4 else ""),
            where=str(path),
            fix="give this spec another name, or pass --overwrite to delete the run that is there",
        )


def _spec_there(path: Path) -> Spec:
    try:
        return load_spec(path / "spec.yaml")
    except SpecError as error:
        raise RunDirectoryError(
            f"holds the run of a spec that this version cannot read: {error.problem}",
            where=str(path),
            fix="give this spec another name, or pass --overwrite to delete the run that is there",
        ) from error


def _differences(there: Spec, here: Spec) -> list[str]:
    """Fields that decide data and model and differ, as "training.learning_rate was 1e-05, is 2e-05"."""
    old, new = _deciding(there), _deciding(here)
    return [f"{'.'.join(field)} was {a}, is {b}" for field, a, b in _compare(old, new) if field[:2] not in _WATCHING]


def _deciding(spec: Spec) -> dict[str, Any]:
    """What decides data and model. Of several seeds only the first trains this model; more may be added later."""
    content = spec.model_dump(mode="json", exclude=_AFTER_TRAINING)
    del content["training"]["seeds"]
    content["training"]["seed"] = spec.training_seed
    return content


def _compare(old: Any, new: Any, field: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(key for key in new if key not in old)]
        return [found for key in keys for found in _compare(old.get(key), new.get(key), (*field, key))]
    return [] if old == new else [(field, old, new)]


def deletes(spec: Spec) -> bool:
    """Whether `--overwrite` would delete anything.

    Raises:
        RunDirectoryError: it would refuse to.
    """
    return bool(_removable(_folder(spec), spec))


def _removable(path: Path, spec: Spec) -> list[Path]:
    """What `--overwrite` deletes in `path`.

    Raises:
        RunDirectoryError: it is not a run of ours, or it holds something that no run writes.
    """
    if not path.exists() and not path.is_symlink():
        return []
    if path.is_dir() and not _not_routed(path):
        return []  # no run stands there
    guard_removal(path, read_paths(spec))
    content = sorted(entry for entry in path.iterdir() if entry.name != ".lock") if path.is_dir() else [path]
    if not content:
        return []
    foreign = [entry.name for entry in content if entry.name not in _OWN and not _is_leftover(entry.name)]
    if not _has_manifest(path):
        raise RunDirectoryError(
            f"is not emptied: it holds {content[0].name} and no manifest.json of a run of ours",
            where=str(path),
            fix="give this spec another name or output_dir, or empty the folder yourself",
        )
    if foreign:
        raise RunDirectoryError(
            f"is not emptied: no run writes {', '.join(foreign[:4])}" + (", …" if len(foreign) > 4 else ""),
            where=str(path),
            fix="move that away, or give this spec another name or output_dir",
        )
    return content


def read_paths(spec: Spec) -> list[str]:
    """Everything that the spec names and that may be a file or folder on this machine."""

    def strings(value: Any) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict | list):
            for one in value.values() if isinstance(value, dict) else value:
                yield from strings(one)

    return [text for text in strings(spec.model_dump(mode="json", exclude={"name", "output_dir"})) if text]


def _has_manifest(path: Path) -> bool:
    """By its fields, whatever version wrote it."""
    try:
        found = parse_json(read_bounded(path / "manifest.json"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and {"spec_fingerprint", "stages"} <= found.keys()


def _is_leftover(name: str) -> bool:
    """Of a write that a signal ended."""
    return name.startswith(".") and name.endswith(".part")


def _not_routed(path: Path) -> list[Path]:
    """What is in a folder beside the lock and the router's results, which may be there before a run is."""
    return sorted(entry for entry in path.iterdir() if entry.name != ".lock" and not _is_routed(entry))


def _is_routed(folder: Path) -> bool:
    """Whether it is the router's folder, and holds nothing but what the router writes: a run may delete it later."""
    if folder.name != ROUTING or folder.is_symlink() or not folder.is_dir():
        return False
    return all(map(_is_of_router, folder.iterdir()))


def _is_of_router(path: Path) -> bool:
    if path.is_symlink() or path.is_dir():
        return not path.is_symlink() and {one.name for one in path.iterdir()} <= _CALLS
    if path.name.startswith(".") and path.suffix in (".lock", ".part", ".npz"):
        return True
    if path.suffix not in (".jsonl", ".ndjson"):
        return path.name == "laplace.npz" or (path.name == "routing.json" and is_record(path))
    try:
        with path.open("rb") as handle:
            for fields in _ROUTED:
                handle.seek(0)
                if begins_with(handle, fields):
                    return True
            return not path.stat().st_size
    except OSError:
        return False


def _read_manifest(path: Path, spec: Spec) -> tuple[Manifest, str | None]:
    """What is done there, and with which other versions, in words."""
    file, new = path / "manifest.json", _new_manifest(spec)
    if not file.exists():
        return new, None
    kept = read_record(file, Manifest)
    moved = [
        f"{name} {kept.versions[name]} (here {here})"
        for name, here in new.versions.items()
        if kept.versions.get(name, here) != here
    ]
    made_with = (
        f"its stages were made with {', '.join(moved)}; results depend on versions, so that every stage is done "
        "again and no training is continued"
    )
    return new.model_copy(update={"stages": kept.stages, "hashes": kept.hashes}), (
        made_with if moved and kept.stages else None
    )


def _new_manifest(spec: Spec) -> Manifest:
    return Manifest(
        name=spec.name,
        spec_fingerprint=spec.fingerprint(),
        versions=versions(),
        platform=f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        seeds={"spec": spec.seed, "training": spec.training_seed},
    )


_LIBRARIES = ("torch", "transformers", "trl", "tokenizers", "datasets", "accelerate", "peft", "numpy", "pydantic")


def versions() -> dict[str, str]:
    """Versions of Rewardsmith, Python and the libraries that results depend on."""
    found = {"rewardsmith": rewardsmith.__version__, "python": platform.python_version()}
    return found | {name: importlib.metadata.version(name) for name in _LIBRARIES}


_WEIGHTS_AND_TEXT = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")
_BLOCK = 1 << 20


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes; read once per process while the file does not change."""
    status = path.stat()
    return _hash_file(str(path.resolve()), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1024)
def _hash_file(path: str, size: int, modified: int) -> str:
    del size, modified  # they key the cache
    hasher = hashlib.sha256()
    with Path(path).open("rb") as handle:
        while block := handle.read(_BLOCK):
            hasher.update(block)
    return hasher.hexdigest()


def folder_sha256(folder: Path) -> str:
    """SHA-256 over names and contents of a checkpoint's weights, configs, tokenizer and template."""
    files = sorted({path for pattern in _WEIGHTS_AND_TEXT for path in folder.glob(pattern) if path.is_file()})
    return digest([[path.name, file_sha256(path)] for path in files])


def place_fingerprint(place: str, revision: str | None = None) -> str:
    """Fingerprint of a file, a folder or a hub id: contents where they are local, else name and revision."""
    path = Path(place)
    if path.is_file():
        return file_sha256(path)
    if path.is_dir():
        return folder_sha256(path)
    return digest([place, revision or "main"])
