"""`rewardsmith export`, `average` and `push`: checkpoints in, another checkpoint or a repository of the hub out.

    record = export_job("runs/x/model", Path("out"), "vllm")
    record = average_job([Path("runs/a/model"), Path("runs/b/model")], Path("out"), weights="0.7,0.3")
    record = push_job(Path("runs/helpful"), "org/helpful-rm", events)
    record = push_job(Path("runs/helpful"), "org/helpful-rm", events, dry_run=True)      what would be uploaded

`push` uploads a checkpoint with its model card and report in one commit: only files that a writer of checkpoints makes,
by name; a link that leads out of the folder is refused. Private unless `public` is asked for, also where the repository
is there already: nothing becomes readable by accident. Users' texts are left out of card and report unless `texts` is
asked for. A model whose gates do not pass, or that no gate has judged, is refused. The token is huggingface_hub's own
(`hf auth login`, `$HF_TOKEN`); it is read by huggingface_hub alone and written nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardsmith.errors import ModelError, NegativeVerdict, UserError
from rewardsmith.modeling.averaging import average_checkpoints
from rewardsmith.modeling.exports import StoredAs, Target, export_checkpoint
from rewardsmith.modeling.loading import check_checkpoint
from rewardsmith.modeling.stored import refuse_stored_not_finite
from rewardsmith.pipeline.commands.report import texts_of_run
from rewardsmith.pipeline.directory import MODEL
from rewardsmith.pipeline.events import Events
from rewardsmith.records.bounded import parse_json
from rewardsmith.records.checkpoint import CheckpointRecord, ExportRecord
from rewardsmith.records.files import inside
from rewardsmith.records.run import PushedFile, PushRecord
from rewardsmith.report.card import CARD, CardSource, hub_id, model_card, read_card_source
from rewardsmith.report.html import REPORT, SUMMARY, pages
from rewardsmith.report.sections.verdict import run_verdict


def export_job(
    model: str, out: Path, target: Target, *, dtype: StoredAs = "auto", value_head_prefix: str = "score"
) -> ExportRecord:
    """Write a checkpoint for another program; arguments and errors as `export_checkpoint`."""
    if target != "openrlhf" and value_head_prefix != "score":
        raise UserError(
            f"{value_head_prefix!r} is a name of OpenRLHF's", where="--value-head-prefix", fix="write --to openrlhf"
        )
    return export_checkpoint(model, out, target, dtype=dtype, value_head_prefix=value_head_prefix)


def average_job(folders: Sequence[Path], out: Path, *, weights: str | None = None) -> CheckpointRecord:
    """Average checkpoints of one lineage.

    Args:
        folders: two or more checkpoints of ours.
        out: the new folder.
        weights: shares with commas, as many as folders; equal ones when None. They are scaled to sum to 1.

    Raises:
        UserError: the weights cannot be read, or the folders do not fit.
    """
    return average_checkpoints(folders, out, parse_weights(weights, len(folders)))


def parse_weights(text: str | None, count: int) -> tuple[float, ...]:
    """Shares that sum to 1.

    Raises:
        UserError: they are not numbers, not as many as checkpoints, or not all above 0.
    """
    if text is None:
        return (1 / count,) * count if count else ()
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if len(found) != count or not all(0 < share < float("inf") for share in found):
        raise UserError(
            f"{text!r} is not {count} numbers above 0",
            where="--weights",
            fix=f"write {','.join(['1'] * count)}, a number for each checkpoint",
        )
    return tuple(share / sum(found) for share in found)


NOT_JUDGED = "NOT JUDGED"
_REPOSITORY = re.compile(r"(?:[A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]{0,95}")


def push_job(
    place: Path,
    repository: str,
    events: Events,
    *,
    public: bool = False,
    texts: bool = False,
    even_if_failed: bool = False,
    dry_run: bool = False,
) -> PushRecord:
    """Upload a run's checkpoint, or a checkpoint alone.

    Args:
        place: a run directory, its `model/`, or a checkpoint folder.
        repository: `NAME` or `ORGANISATION/NAME` on the hub; made where it is not there.
        events: told what happens.
        public: whether everybody may read it.
        texts: whether users' texts may stand in card and report.
        even_if_failed: upload although gates do not pass, or have not judged it.
        dry_run: say what would be uploaded; nothing is asked of the hub.

    Raises:
        NegativeVerdict: the gates do not pass, or there are none, and `even_if_failed` is false.
        UserError: no checkpoint is there, it cannot be loaded elsewhere, or the hub refuses.
    """
    if not _REPOSITORY.fullmatch(repository) or ".." in repository or "--" in repository:
        raise UserError(f"{repository!r} is no name of a repository", where="REPO", fix="write ORGANISATION/NAME")
    model, run = _find(place)
    parcel = _pack(model, run, repository, texts, events)
    if parcel.verdict != "PASS" and not even_if_failed:
        _refuse(parcel.verdict, run or model)
    for note in parcel.notes:
        events.note(f"warning: {note}")
    record = PushRecord(
        repository=repository,
        visibility="public" if public else "private",
        verdict=parcel.verdict,
        texts=texts,
        files=tuple(PushedFile(path=name, bytes=_size(content)) for name, content in parcel.files.items()),
        notes=parcel.notes,
    )
    if dry_run:
        return record
    url, commit = _upload(parcel, repository, public)
    return record.model_copy(update={"url": url, "commit": commit})


def _find(place: Path) -> tuple[Path, Path | None]:
    """The checkpoint, and the run that it belongs to."""
    for model, run in ((place / MODEL, place), (place, place.resolve().parent)):
        if (model / "config.json").is_file() or (model / "adapter_config.json").is_file():
            own = model.resolve() == (run / MODEL).resolve() and (run / "manifest.json").is_file()
            return model, run if own else None
    raise ModelError(
        "there is no checkpoint: no config.json, and none in model/",
        where=str(place),
        fix="name a run directory whose training has ended, or a checkpoint folder",
    )


@dataclass(frozen=True, slots=True)
class _Parcel:
    """Names in the repository → files on this machine, or what is written for it."""

    files: dict[str, Path | bytes]
    verdict: str
    notes: tuple[str, ...]


def _pack(model: Path, run: Path | None, repository: str, texts: bool, events: Events) -> _Parcel:
    attached = (REPORT, SUMMARY) if run else ()
    source = read_card_source(model, run, repository=repository, attached=attached, texts=texts)
    own, left = _checkpoint_files(model)
    files: dict[str, Path | bytes] = dict(own)
    files[CARD] = model_card(source).encode()
    if run:
        page, summary = pages(run, texts_of_run(run, events) if texts else None)
        files |= {REPORT: page.encode(), SUMMARY: summary.encode()}
    _refuse_local_base(model, source)
    check_checkpoint(model)
    refuse_stored_not_finite(path for name, path in own.items() if name.endswith(".safetensors"))
    verdict = run_verdict(source.records).word if run else NOT_JUDGED
    return _Parcel(files, verdict, (*_notes(source), *_left_behind(left)))


_FILES = frozenset(
    (
        *("rewardsmith.json", "config.json", "generation_config.json", "adapter_config.json"),
        *("model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors"),
        *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
        *("vocab.json", "vocab.txt", "merges.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model"),
        *("chat_template.jinja", "chat_template.json"),
    )
)
"""What we, transformers and peft write for a model and its tokenizer; shards are named by the index."""

_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_TEMPLATES = "additional_chat_templates"


def _checkpoint_files(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """The files of a checkpoint by their name in it, and the names of what else lies there and is left out.

    Nothing is found by walking: a name counts when a writer of checkpoints gives it.

    Raises:
        ModelError: one of them is a link that leads out of the folder, or no regular file.
    """
    there = sorted(path.name for path in folder.iterdir())
    named = {name for name in there if name in _FILES or _SHARD.fullmatch(name)}
    found = {name: inside(folder, folder / name) for name in sorted(named)}
    if _TEMPLATES in there:
        templates = sorted(inside(folder, path) for path in (folder / _TEMPLATES).glob("*.jinja"))
        found |= {f"{_TEMPLATES}/{path.name}": path for path in templates}
    return found, [name for name in there if name not in named and name != _TEMPLATES]


def _refuse_local_base(model: Path, source: CardSource) -> None:
    if source.adapter and not source.base:
        told = parse_json((model / "adapter_config.json").read_text(encoding="utf-8"))
        raise ModelError(
            f"is an adapter on {str(told.get('base_model_name_or_path'))!r}, a folder of this machine: nobody else"
            " could load it",
            where=str(model),
            fix=f"rewardsmith export --model {model} --to hf --out merged, and push merged",
        )


def _notes(source: CardSource) -> Iterator[str]:
    base = source.checkpoint.base_model
    if not hub_id(base) and base != "embedded":
        yield f"rewardsmith.json names the base model as it was on this machine: {base}"


def _left_behind(names: list[str]) -> Iterator[str]:
    """Files that no writer of checkpoints makes; the card is written anew."""
    strange = [name for name in names if name != CARD and not name.startswith(".")]
    if strange:
        yield f"not uploaded, because no checkpoint consists of them: {', '.join(strange)}"


def _refuse(verdict: str, place: Path) -> None:
    problem = {
        NOT_JUDGED: "no gate has judged this checkpoint, and missing evidence never passes",
        "UNFINISHED": "the run is not finished, so no gate has judged its model",
    }.get(verdict, f"the verdict on this model is {verdict}")
    raise NegativeVerdict(
        problem, where=str(place), fix="push a run whose gates pass; or add --even-if-failed, and the card will say so"
    )


def _size(content: Path | bytes) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def _upload(parcel: _Parcel, repository: str, public: bool) -> tuple[str, str]:
    """One commit with all files; returns the repository's address and the commit."""
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(library_name="rewardsmith")
    with _plain_errors(repository):
        url = api.create_repo(repository, private=not public, exist_ok=True)
        if not public and not api.model_info(url.repo_id).private:
            raise UserError(
                "is there already and everybody can read it",
                where=url.repo_id,
                fix="make it private in its settings, choose another name, or add --public",
            )
        operations = [
            CommitOperationAdd(name, content if isinstance(content, bytes) else str(content))
            for name, content in parcel.files.items()
        ]
        done = api.create_commit(
            url.repo_id, operations, commit_message="Upload a reward model with its card and report"
        )
    return str(url), str(done.oid)


@contextmanager
def _plain_errors(repository: str) -> Iterator[None]:
    """Refusals of the hub and of the network as one line with a fix."""
    from huggingface_hub import get_token
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        yield
    except OfflineModeIsEnabled as error:
        raise UserError("HF_HUB_OFFLINE is set", where=repository, fix="unset it to push") from error
    except HfHubHTTPError as error:
        raise _refused(error, repository, known=get_token() is not None) from error
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"cannot be reached: {_first_line(error)}", where=repository, fix="look at the network and HF_ENDPOINT"
        ) from error
    except Exception as error:
        if type(error).__module__.split(".")[0] not in ("httpx", "httpx2", "httpcore", "httpcore2"):
            raise
        raise UserError(
            f"cannot be reached: {_first_line(error)}", where=repository, fix="look at the network and HF_ENDPOINT"
        ) from error


def _refused(error: Any, repository: str, *, known: bool) -> UserError:
    status = error.response.status_code if error.response is not None else 0
    if status in (401, 403):
        said = "the token that huggingface_hub found may not write there" if known else "no token is known"
        fix = "`hf auth login` with a token that may write, or set HF_TOKEN"
        return UserError(f"the hub refuses ({status}): {said}", where=repository, fix=fix)
    return UserError(f"the hub answers {status}: {_first_line(error)}", where=repository, fix="try again later")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
