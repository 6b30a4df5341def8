"""`rewardsmith doctor`: versions, scripts and checkpoints, looked at together.

    examination = doctor_job([Path("scripts")], against=["trl==1.16"], python=None)
    examination.record, examination.fixes()

What a script is held against: the version that `against` names, else the installed one, else the newest that the rules
know, which the record then calls assumed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from packaging.version import InvalidVersion, Version

from rewardsmith.doctor import (
    Environment,
    Fixed,
    Scanned,
    applied_rules,
    checkpoint_findings,
    checkpoint_fixes,
    fixes,
    installed,
    is_checkpoint,
    is_reward_model,
    load_rules,
    scan_paths,
    version_findings,
)
from rewardsmith.doctor.rules import Applied, Hit
from rewardsmith.errors import ModelError, UserError
from rewardsmith.records.doctor import DoctorFinding, DoctorRecord, InstalledPackage, UnreadableFile


@dataclass(frozen=True)
class Examination:
    """The record, and what the fixes need: the files as they were read and the rules that were applied."""

    record: DoctorRecord
    scanned: tuple[Scanned, ...]
    applied: tuple[Applied, ...]

    def fixes(self) -> Iterator[Fixed]:
        """The files that can be rewritten, with their diffs; nothing is written yet."""
        yield from fixes(self.scanned, self.applied)
        for folder in self.record.checkpoints:
            yield from checkpoint_fixes(Path(folder))


def doctor_job(paths: Sequence[Path], *, against: Iterable[str] = (), python: str | None = None) -> Examination:
    """Look at an environment, at scripts and at checkpoint folders.

    Args:
        paths: scripts, folders of them, checkpoint folders; empty for the versions alone.
        against: `package==version`, to judge scripts by another version than the installed one.
        python: another environment's interpreter.

    Raises:
        UserError: a path does not exist, nothing named can be read, the interpreter does not run, a version is none.
    """
    environment, book = installed(python), load_rules()
    asked = dict(_asked(one, book.newest) for one in against)
    known = {name: environment.versions[name] for name in book.newest if name in environment.versions}
    versions = {**book.newest, **known, **asked}
    applied = applied_rules(book.rules, versions)
    checkpoints = sorted({folder for path in paths for folder in _checkpoints(path)})
    scanned = scan_paths([path for path in paths if not (path in checkpoints and _only_model(path))], applied)
    if paths and not checkpoints and scanned and all(one.unreadable and not one.sources for one in scanned):
        first, fix = scanned[0], "name a Python file, a shell script, YAML or a notebook"
        raise UserError(first.unreadable, where=str(first.path), fix=fix)
    findings = [
        *version_findings(environment, book.combinations),
        *(finding for folder in checkpoints for finding in _of_checkpoint(folder)),
        *(finding for one in scanned for finding in _findings(one, versions)),
    ]
    assumed = [name for name in book.newest if name not in environment.versions and name not in asked]
    record = _record(environment, versions, assumed, scanned, checkpoints, findings)
    return Examination(record, tuple(scanned), tuple(applied))


def _asked(text: str, known: Iterable[str]) -> tuple[str, str]:
    name, mark, version = (part.strip() for part in text.partition("=="))
    where, fix = f"--against {text}", f"write PACKAGE==VERSION, with one of {', '.join(known)}"
    if not mark or name not in known:
        raise UserError("names no package that the rules know", where=where, fix=fix)
    try:
        return name, str(Version(version))
    except InvalidVersion:
        raise UserError(f"{version!r} is no version", where=where, fix=fix) from None


def _checkpoints(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        return
    for root, folders, _ in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "site-packages"]
        if is_checkpoint(Path(root)):
            yield Path(root)


_WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin", "adapter_model.bin")


def _of_checkpoint(folder: Path) -> Iterator[DoctorFinding]:
    """What its files say, and whether each weight that the model needs is in them; an unreadable file is said once."""
    found = checkpoint_findings(folder)
    weights = list(_of_weights(folder)) if any(any(folder.glob(pattern)) for pattern in _WEIGHTS) else []
    files = {one.file for one in weights if one.severity == "error"}
    yield from (one for one in found if not (one.rule == "checkpoint-unreadable" and one.file in files))
    heads = any(one.rule in ("checkpoint-head-missing", "checkpoint-adapter-head") for one in found)
    yield from (one for one in weights if not (heads and "lacks" in one.problem))


def _of_weights(folder: Path) -> Iterator[DoctorFinding]:
    from rewardsmith.modeling.loading import check_checkpoint

    try:
        notes = check_checkpoint(folder, reward_model=is_reward_model(folder))
    except ModelError as error:
        file = error.where.partition(", field")[0] or str(folder)
        yield _of_names(file, "error", error.problem, error.fix)
    else:
        for note in notes:
            problem = f"{note}. transformers and vLLM do not, and draw these weights at random"
            yield _of_names(str(folder), "warning", problem, "save the model again without its wrapper")


def _of_names(file: str, severity: str, problem: str, fix: str) -> DoctorFinding:
    said = {"rule": "checkpoint-weights", "severity": severity, "found": Path(file).name, "problem": problem}
    return DoctorFinding.model_validate(said | {"fix": fix, "file": file})


def _only_model(path: Path) -> bool:
    """A folder with a model and no scripts beside it."""
    return not any(path.glob("*.py"))


def _findings(scanned: Scanned, versions: dict[str, str]) -> Iterator[DoctorFinding]:
    """One finding a hit; the flags that one rule finds in one command are one finding."""
    placed = [(scanned.line(cell, hit), cell, hit) for cell, hit in scanned.hits]
    flags = sorted((one for one in placed if one[2].command >= 0), key=lambda one: (one[1], *_group(one[2])))
    groups = [list(group) for _, group in groupby(flags, key=lambda one: (one[1], *_group(one[2])))]
    groups += [[one] for one in placed if one[2].command < 0]
    for group in sorted(groups, key=lambda group: (group[0][1], group[0][0])):
        line, cell, _ = group[0]
        yield _finding(scanned.path, line, cell, [hit for *_, hit in group], versions)


def _group(hit: Hit) -> tuple[int, str]:
    return hit.command, hit.rule.id


def _finding(path: Path, line: int, cell: int, hits: Sequence[Hit], versions: dict[str, str]) -> DoctorFinding:
    hits = sorted(hits, key=lambda hit: hit.start)
    rule = hits[0].rule
    return DoctorFinding(
        rule=rule.id,
        severity=hits[0].severity,
        found=", ".join(hit.found for hit in hits),
        problem=rule.what,
        fix=rule.fix,
        source=rule.source,
        package=rule.package,
        since=rule.starts,
        against=versions[rule.package],
        file=str(path),
        cell=cell or None,
        line=line,
        replacement=", ".join(hit.replacement or "(none)" for hit in hits) if any(h.replacement for h in hits) else "",
        fixable=all(hit.edits for hit in hits),
    )


def _record(
    environment: Environment,
    versions: dict[str, str],
    assumed: Sequence[str],
    scanned: Sequence[Scanned],
    checkpoints: Sequence[Path],
    findings: Sequence[DoctorFinding],
) -> DoctorRecord:
    return DoctorRecord(
        python=environment.python,
        python_version=environment.python_version,
        installed=tuple(InstalledPackage(name=name, version=found) for name, found in environment.versions.items()),
        against=versions,
        assumed=tuple(assumed),
        files=len(scanned),
        checkpoints=tuple(map(str, checkpoints)),
        findings=tuple(findings),
        unreadable=tuple(UnreadableFile(file=str(one.path), why=one.unreadable) for one in scanned if one.unreadable),
    )
