"""What one training through OpenRLHF consists of: worked out from a job, then written to `train/openrlhf/`.

    setup = set_up(job, environment_of(job.spec))     # setup.rows, setup.plan, setup.flags, setup.dealt.left_out …
    write_folder(job, setup)                          # rows, base, scripts; what this training left there stays
    is_finished(setup)
    tidy(setup)                     # when the checkpoint is imported: weights and caches go, scripts and logs stay

OpenRLHF takes texts, not ids. We hand it whole rendered conversations as `chosen` and `rejected`, without a prompt key,
a template or `apply_chat_template`. What its code still does to them (`openrlhf/datasets/reward_dataset.py`, the same
in 0.9.8 and 0.11.2): cut trailing line breaks, append a space and EOS unless EOS stands there, tokenise without adding
special tokens, truncate, overwrite the last token with EOS. On a text that our template closed with EOS, and with a
limit that no text reaches, each of these is the identity; `their_ids` does all of them and every row is compared, token
for token. What `inside.py` saw is compared again after training.
"""

from __future__ import annotations

import itertools
import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import transformers

from rewardsmith.errors import DataError, ModelError, SpecError
from rewardsmith.hub import ask_hub
from rewardsmith.modeling.checkpoint import golden_conversations
from rewardsmith.modeling.layouts import PairIds
from rewardsmith.modeling.loading import load_base, load_config, one_label_config
from rewardsmith.modeling.quiet import quiet_upstream
from rewardsmith.modeling.reward_head import reads_one_token
from rewardsmith.modeling.stored import OPENRLHF_FIELDS, made_by_openrlhf
from rewardsmith.modeling.weights import check_weights
from rewardsmith.records.files import write_jsonl, write_text
from rewardsmith.records.training import LeftOutPair
from rewardsmith.rendering import Ids, Renderer
from rewardsmith.spec import Spec, digest
from rewardsmith.training.job import TrainJob
from rewardsmith.training.openrlhf.command import (
    BASE,
    CHECKPOINTS,
    EVAL_ROWS,
    OUT,
    SUBMIT,
    TRAIN_ROWS,
    Environment,
    train_flags,
    write_scripts,
)
from rewardsmith.training.openrlhf.refusals import refuse_shape
from rewardsmith.training.openrlhf.steps import Dealt
from rewardsmith.training.plan import TrainingPlan, make_plan
from rewardsmith.types import PreferencePair


class TextRow(NamedTuple):
    """Both texts of a pair, closed with EOS."""

    chosen: str
    rejected: str


_CHUNK = 512  # pairs that are turned into texts at a time
_EVALUATION_PAIRS = 256  # held-out pairs that OpenRLHF evaluates on, at most


@dataclass(frozen=True, slots=True)
class Setup:
    """What one training through OpenRLHF consists of.

    Attributes:
        rows: the training texts; `ids` are their token ids and `index` their places among the job's pairs.
        evaluation: token ids of the evaluation set.
        plan: over `rows`; whole steps only.
    """

    folder: Path
    rows: list[TextRow]
    ids: list[PairIds]
    index: list[int]
    evaluation_rows: list[TextRow]
    evaluation: list[PairIds]
    plan: TrainingPlan
    version: str
    processes_per_node: int
    processes: int
    dealt: Dealt
    flags: list[str]


def set_up(job: TrainJob, environment: Environment) -> Setup:
    """Texts, plan, flags and which rows each step takes.

    Raises:
        SpecError: the numbers do not fit together, or the device is not there.
        DataError: nothing is there to evaluate on.
    """
    spec, version = job.spec, environment.versions["openrlhf"]
    device = _device(spec, environment)
    per_node = spec.hardware.devices_per_node or (environment.devices if device == "cuda" else 1)
    processes = per_node * spec.hardware.nodes
    texts = as_rows(job.renderer, job.pairs, job.ids)
    index = [place for place, row in enumerate(texts) if row is not None]
    refuse_shape(spec, version, len(index), processes)
    plan = make_plan(spec, pairs=len(index), device=device, bf16_supported=True)
    whole = len(index) // plan.pairs_per_step
    plan = replace(plan, steps=whole, warmup_steps=math.ceil(spec.training.warmup * whole), bf16=True)
    ids = [job.ids[place] for place in index]
    evaluation_rows, evaluation = _evaluation(job, at_least=processes * spec.openrlhf.pairs_per_micro_batch)
    longest = max(len(text) for pair in (*ids, *evaluation) for text in pair)
    return Setup(
        folder=job.folder / "openrlhf",
        rows=[row for row in texts if row is not None],
        ids=ids,
        index=index,
        evaluation_rows=evaluation_rows,
        evaluation=evaluation,
        plan=plan,
        version=version,
        processes_per_node=per_node,
        processes=processes,
        dealt=Dealt(ids, plan.seed, plan.pairs_per_step, processes),
        flags=train_flags(spec, plan, version, max_length=longest),
    )


def _device(spec: Spec, environment: Environment) -> str:
    elsewhere = spec.openrlhf.launcher in SUBMIT or spec.hardware.nodes > 1
    if spec.hardware.device == "auto":
        return "cuda" if environment.devices or elsewhere else "cpu"
    if spec.hardware.device == "cuda" and not environment.devices and not elsewhere:
        raise SpecError(
            "no GPU is visible to OpenRLHF's interpreter",
            where="hardware.device",
            fix="install a CUDA build of torch there",
        )
    return spec.hardware.device


def _evaluation(job: TrainJob, *, at_least: int) -> tuple[list[TextRow], list[PairIds]]:
    """Held-out pairs, else golden conversations two by two; never training pairs, which is OpenRLHF's default."""
    found = _held_out(job) or _golden_pairs(job.renderer)
    if not found:
        raise DataError(
            "no pair is held out, and no text of the evaluation set fits the limit",
            where="data.held_out",
            fix="name held-out pairs, or raise data.max_length",
        )
    # Versions before 0.10 drop an evaluation batch that is not full.
    full = list(itertools.islice(itertools.cycle(found), max(at_least, len(found))))
    return [row for row, _ in full], [one for _, one in full]


def _held_out(job: TrainJob) -> list[tuple[TextRow, PairIds]]:
    pairs = job.held_out[:_EVALUATION_PAIRS]
    kept = [
        (pair, PairIds(both.chosen_ids, both.rejected_ids))
        for pair, both in zip(pairs, job.renderer.render_pairs(pairs), strict=True)
        if both.chosen_ids is not None and both.rejected_ids is not None
    ]
    rows = as_rows(job.renderer, [pair for pair, _ in kept], [ids for _, ids in kept])
    return [(row, ids) for row, (_, ids) in zip(rows, kept, strict=True) if row is not None]


def _golden_pairs(renderer: Renderer) -> list[tuple[TextRow, PairIds]]:
    texts = golden_conversations(renderer.record.conversational)
    fitting = []
    for conversation in texts:
        try:
            fitting.append((renderer.text(conversation), renderer.ids(conversation)))
        except DataError:
            continue
    return [
        (TextRow(first, second), PairIds(first_ids, second_ids))
        for (first, first_ids), (second, second_ids) in itertools.pairwise(fitting)
    ]


def as_rows(renderer: Renderer, pairs: Sequence[PreferencePair], ids: Sequence[PairIds]) -> list[TextRow | None]:
    """The texts of each pair; None where no text was found that OpenRLHF would read as these ids."""
    done: list[TextRow | None] = []
    for start in range(0, len(pairs), _CHUNK):
        part = list(zip(pairs[start : start + _CHUNK], ids[start : start + _CHUNK], strict=True))
        chosen = _texts(renderer, [(pair.prompt + pair.chosen, both.chosen) for pair, both in part])
        rejected = _texts(renderer, [(pair.prompt + pair.rejected, both.rejected) for pair, both in part])
        for first, second in zip(chosen, rejected, strict=True):
            done.append(TextRow(first, second) if first is not None and second is not None else None)
    return done


def their_ids(tokenizer: Any, texts: Sequence[str]) -> list[Ids]:
    """Token ids that OpenRLHF's `RewardDataset` makes of these texts under a limit that none of them reaches."""
    closed = [_closed(text.rstrip("\n"), str(tokenizer.eos_token)) for text in texts]
    found = []
    for row in tokenizer(closed, add_special_tokens=False, padding=False, truncation=False)["input_ids"]:
        ids_T = np.array(row, dtype=np.int32)
        ids_T[-1] = tokenizer.eos_token_id
        found.append(ids_T)
    return found


def _closed(text: str, eos: str) -> str:
    return text if text.endswith(eos) else f"{text} {eos}"


def _texts(renderer: Renderer, wanted: Sequence[tuple[Any, Ids]]) -> list[str | None]:
    """A text for each conversation and its ids: as rendered, else as decoded, else none.

    A text that the length policy cut has ids and no text of its own, so its ids are decoded. Where the decoded text
    gives other ids (a cut through the middle of a word or a character) the pair is left out and counted.
    """
    tokenizer = renderer.tokenizer
    rendered = [renderer.text(conversation) for conversation, _ in wanted]
    texts: list[str | None] = list(_agreed(tokenizer, rendered, [ids_T for _, ids_T in wanted]))
    cut = [index for index, text in enumerate(texts) if text is None]
    if cut:
        ids = [wanted[index][1] for index in cut]
        decoded = [tokenizer.decode(ids_T.tolist(), skip_special_tokens=False) for ids_T in ids]
        for index, text in zip(cut, _agreed(tokenizer, decoded, ids), strict=True):
            texts[index] = text
    return texts


def _agreed(tokenizer: Any, texts: Sequence[str], ids: Sequence[Ids]) -> list[str | None]:
    """Each text, or None where OpenRLHF would read other ids."""
    found = their_ids(tokenizer, texts)
    return [text if np.array_equal(a_T, b_T) else None for text, a_T, b_T in zip(texts, found, ids, strict=True)]


def write_folder(job: TrainJob, setup: Setup) -> None:
    """Everything that OpenRLHF reads. What another training left is removed; what this one left stays."""
    folder = setup.folder
    if _identity_of(folder / "job.json") != (identity := _identity(job, setup)):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        shared = job.spec.hardware.nodes > 1 or job.spec.openrlhf.launcher in SUBMIT
        write_start(folder / BASE, job.spec, job.base, job.renderer, shared=shared)
        _write_rows(folder / TRAIN_ROWS, setup.rows)
        _write_rows(folder / EVAL_ROWS, setup.evaluation_rows)
        write_text(folder / "job.json", json.dumps({"fingerprint": identity}) + "\n")
    write_scripts(folder, job.spec, setup.flags, setup.plan.device, processes_per_node=setup.processes_per_node)
    write_jsonl(job.folder / "left_out.jsonl", left_out(job, setup))


def _write_rows(path: Path, rows: Sequence[TextRow]) -> None:
    # Parquet, because a reader of JSON guesses at types: a text may look like a date.
    table = pa.table({"chosen": [row.chosen for row in rows], "rejected": [row.rejected for row in rows]})
    pq.write_table(table, path)


def _identity(job: TrainJob, setup: Setup) -> str:
    return digest([job.fingerprint, setup.version, setup.processes, setup.flags])


def _identity_of(path: Path) -> str | None:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["fingerprint"])
    except (OSError, ValueError, KeyError):
        return None


def is_finished(setup: Setup) -> bool:
    """Whether `train_rm` has saved its checkpoint, of this very training."""
    done = _identity_of(setup.folder / "finished.json")
    return done is not None and done == _identity_of(setup.folder / "job.json")


def left_out(job: TrainJob, setup: Setup) -> list[LeftOutPair]:
    """The pairs that OpenRLHF does not train on, in the order of the data."""
    tail = {setup.index[row] for row in setup.dealt.left_out}
    kept = set(setup.index)
    return [
        LeftOutPair(
            index=index,
            id=pair.id,
            source=pair.source,
            subset=pair.subset,
            reason="incomplete_step" if index in tail else "text_without_these_tokens",
        )
        for index, pair in enumerate(job.pairs)
        if index in tail or index not in kept
    ]


def tidy(setup: Setup) -> None:
    """Remove weights, resumable state and caches; rows, scripts, logs and what each step saw stay."""
    for name in (BASE, OUT, CHECKPOINTS, "cache"):
        shutil.rmtree(setup.folder / name, ignore_errors=True)


def write_start(folder: Path, spec: Spec, base: str, renderer: Renderer, *, shared: bool) -> None:
    """Write the folder that OpenRLHF starts from: the base's weights, our tokenizer, a configuration we mean.

    OpenRLHF loads all three with remote code on, so a repository that brings code (`auto_map`) is refused, and of the
    rest only configuration and safetensors are handed on. Its code reads from the configuration what ours does
    otherwise: dropout (TRL switches it off, OpenRLHF leaves it on), the name of the head, mean and std. The head is
    always drawn anew, so a base that has one already is refused: it would not be a warm start.

    Args:
        folder: where it appears, anew.
        base: folder or hub id that `spec.base_model` resolves to.
        shared: other machines read it: weights from the hub's cache are copied, not linked.

    Raises:
        ModelError: the base brings code, has a head already, is no decoder, or has no safetensors.
    """
    source = _folder_of(base, spec.base_model.revision)
    _refuse_code(source)
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


def _refuse_code(source: Path) -> None:
    """Refuse a checkpoint that names code of its own: one of its configurations has an `auto_map`."""
    for name in ("config.json", "tokenizer_config.json"):
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
        if is_dropout(key) and isinstance(value, float)
        else value
        for key, value in config.items()
    }


def is_dropout(key: str) -> bool:
    """Whether a field of a configuration is a dropout, in any family's spelling."""
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
    found = [path for pattern in ("*.safetensors", "*.safetensors.index.json") for path in sorted(source.glob(pattern))]
    if not any(path.suffix == ".safetensors" for path in found):
        raise ModelError(
            "no *.safetensors is there; other weight files may run code, so they are not handed on",
            where=str(source),
            fix="save the base as safetensors (save_pretrained does)",
        )
    for path in found:
        if copy:
            shutil.copyfile(path, folder / path.name)
        else:
            (folder / path.name).symlink_to(path.resolve())


def _settle_config(path: Path, renderer: Renderer) -> None:
    config = without_dropout(json.loads(path.read_text(encoding="utf-8")))
    for name in OPENRLHF_FIELDS:
        config.pop(name, None)
    for part in (config, config.get("text_config")):
        if isinstance(part, dict):
            part |= {"pad_token_id": renderer.pad_token_id, "eos_token_id": renderer.eos_token_id}
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
