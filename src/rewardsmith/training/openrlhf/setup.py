"""What OpenRLHF is given: its environment and devices, pairs as texts, and the folder that it starts from.

What one training through OpenRLHF consists of, worked out before anything is written.

setup = set_up(job, environment_of(job.spec))
setup.rows, setup.plan, setup.flags, setup.dealt.left_out …

Pairs as the texts that OpenRLHF's own code turns into our token ids.

    rows = as_rows(renderer, pairs, ids)          # TextRow, or None where no text gives these ids
    their_ids(tokenizer, [text])                  # what its RewardDataset makes of a text

OpenRLHF takes texts, not ids. We hand it whole rendered conversations as `chosen` and `rejected`, without a prompt key,
a template or `apply_chat_template`. What its code still does to them (`openrlhf/datasets/reward_dataset.py`, the same
in 0.9.8 and 0.11.2): cut trailing line breaks, append a space and EOS unless EOS stands there, tokenise without adding
special tokens, truncate, overwrite the last token with EOS. On a text that our template closed with EOS, and with a
limit that no text reaches, each of these is the identity; `their_ids` does all of them and every row is compared, token
for token. What `inside.py` saw is compared again after training.

A text that the length policy cut has ids and no text of its own: the ids are decoded, and where the decoded text gives
other ids (a cut through the middle of a word or a character) the pair is left out and counted.

What is written beside the data so that the training can be started, here or by a scheduler.

    write_scripts(folder, spec, flags, environment, processes_per_node=8)

launch.sh      what `rewardsmith train` runs for the launchers `deepspeed` and `torchrun`
slurm.sbatch   `sbatch slurm.sbatch`: one torchrun on each node
ray.sh         `bash ray.sh`: `ray job submit` of ray_nodes.py, which starts one torchrun on each node

What `inside.py` wrote in the other environment, as steps of ours: `train/metrics.jsonl` while training runs.

    reader = StepReader(folder / "steps", processes=16)
    for event in reader.read():                 # Begun(step) or Stepped(step, rows): whatever is new
    dealt = Dealt(texts, seed, pairs_per_step, processes)
    dealt.pairs(step)                           # which rows each process took
    dealt.verify(stepped)                       # … and that it took exactly our token ids

OpenRLHF shuffles by `torch.randperm` from the seed and deals row k to process k mod processes; a step is the next
`pairs_per_step / processes` rows of each process. What fills no whole step is computed but never stepped on: those rows
are `dealt.left_out`.

Source: `openrlhf/utils/distributed_sampler.py`, `openrlhf/trainer/rm_trainer.py` (0.9.8, 0.11.2).

The folder that OpenRLHF starts from: the base's weights, our tokenizer, a configuration that says what we mean.

    write_start(folder, spec, base, renderer, shared=False)

OpenRLHF loads configuration, weights and tokenizer with remote code on, so a repository that brings code (`auto_map`)
is refused, and of the rest only configuration and safetensors are handed on. Its code reads from the configuration what
ours does otherwise: dropout (TRL switches it off, OpenRLHF leaves it on), the name of the head, mean and std. The head
is always drawn anew, so a base that has one already is refused: it would not be a warm start.
"""

from __future__ import annotations

import itertools
import json
import math
import shlex
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from rewardsmith.errors import DataError, ModelError, SpecError
from rewardsmith.hub import ask_hub
from rewardsmith.modeling.checkpoint import golden_conversations
from rewardsmith.modeling.layouts import PairIds
from rewardsmith.modeling.loading import load_base, load_config, one_label_config
from rewardsmith.modeling.reward_head import reads_one_token
from rewardsmith.modeling.stored import OPENRLHF_FIELDS, made_by_openrlhf, quiet_upstream
from rewardsmith.modeling.weights import check_weights
from rewardsmith.records.files import write_text
from rewardsmith.rendering import Ids, Renderer
from rewardsmith.spec import Spec
from rewardsmith.training.openrlhf.command import (
    INSIDE,
    RAY_NODES,
    Environment,
    interpreter_of,
    launch_command,
    node_command,
    train_flags,
)
from rewardsmith.training.openrlhf.refusals import refuse_shape
from rewardsmith.training.plan import TrainingPlan, make_plan
from rewardsmith.training.trl_backend import TrainJob
from rewardsmith.types import PreferencePair

_CHUNK = 512


class TextRow(NamedTuple):
    """Both texts of a pair, closed with EOS."""

    chosen: str
    rejected: str


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
    """A text for each conversation and its ids: as rendered, else as decoded, else none."""
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


LAUNCH, SLURM, RAY = "launch.sh", "slurm.sbatch", "ray.sh"
SUBMIT: Mapping[str, str] = {"slurm": f"sbatch {SLURM}", "ray": f"bash {RAY}"}


def variables(spec: Spec, device: str) -> dict[str, str]:
    """What every process finds in its environment."""
    found = {"TOKENIZERS_PARALLELISM": "false", "HF_DATASETS_CACHE": "cache"}
    if spec.hardware.threads:
        found["OMP_NUM_THREADS"] = str(spec.hardware.threads)
    if device == "cpu":
        found["DS_ACCELERATOR"] = "cpu"
    return found


def write_scripts(folder: Path, spec: Spec, flags: Sequence[str], device: str, *, processes_per_node: int) -> None:
    """Write every script that fits the launcher, with the two programs that run inside."""
    for name in (INSIDE, RAY_NODES):
        shutil.copyfile(Path(__file__).with_name(name), folder / name)
    exported = _exports(spec, device)
    if spec.openrlhf.launcher in ("deepspeed", "torchrun"):
        command = launch_command(spec, flags, processes_per_node=processes_per_node)
        write_text(folder / LAUNCH, _bash(f"exec {shlex.join(command)}", folder, exported))
        return
    per_node = node_command(spec, flags, processes_per_node=processes_per_node)
    write_text(folder / SLURM, slurm_script(spec, per_node, folder, exported, processes_per_node))
    write_text(folder / RAY, ray_script(spec, flags, folder, exported, processes_per_node))


def slurm_script(spec: Spec, command: Sequence[str], folder: Path, exported: str, processes_per_node: int) -> str:
    """A batch script: one task a node, each a torchrun; they meet on the first node."""
    options = [
        f"--job-name=rewardsmith-{spec.name}",
        f"--nodes={spec.hardware.nodes}",
        "--ntasks-per-node=1",
        f"--gpus-per-node={processes_per_node}",
        f"--output={folder.resolve()}/slurm-%j.log",
        *spec.openrlhf.slurm_options,
    ]
    header = "".join(f"#SBATCH {option}\n" for option in options)
    # Cut by the shell, not by `| head`: a long list would die of the closed pipe, and pipefail the script with it.
    meet = (
        'NODES="$(scontrol show hostnames "$SLURM_JOB_NODELIST")"\n'
        "MASTER_ADDR=\"${NODES%%$'\\n'*}\"\n"
        f"export MASTER_ADDR MASTER_PORT={spec.openrlhf.port}\n"
    )
    # Each node expands the meeting place by itself: srun hands its environment on.
    return _bash(f"{meet}srun bash -c {shlex.quote(_join(command))}", folder, exported, header)


def ray_script(spec: Spec, flags: Sequence[str], folder: Path, exported: str, processes_per_node: int) -> str:
    """Submits ray_nodes.py to a cluster; the run directory must be on storage that every node sees."""
    address = spec.hardware.ray_address
    # `ray job submit` takes the address of the dashboard; without one it looks into RAY_ADDRESS.
    where = ["--address", address] if address and address != "auto" else []
    entry = [
        *[str(interpreter_of(spec)), str(folder.resolve() / RAY_NODES), str(folder.resolve())],
        *[str(spec.hardware.nodes), str(processes_per_node), str(spec.openrlhf.port), *flags],
    ]
    submit = shlex.join([str(interpreter_of(spec)), "-m", "ray.scripts.scripts", "job", "submit", *where, "--"])
    return _bash(f"exec {submit} {shlex.join(entry)}", folder, exported)


def _exports(spec: Spec, device: str) -> str:
    # Executables of that environment first: DeepSpeed compiles its optimizer with the ninja that is found.
    tools = shlex.quote(str(interpreter_of(spec).parent))
    said = [f"export {name}={shlex.quote(value)}" for name, value in variables(spec, device).items()]
    return "\n".join([f'export PATH={tools}:"$PATH"', *said]) + "\n"


def _bash(command: str, folder: Path, exported: str, header: str = "") -> str:
    return f"#!/bin/bash\n{header}set -euo pipefail\ncd {shlex.quote(str(folder.resolve()))}\n{exported}{command}\n"


def _join(command: Sequence[str]) -> str:
    """As `shlex.join`, but what a shell is to expand stays as it is."""
    return " ".join(f'"{word}"' if word.startswith("$") else shlex.quote(word) for word in command)


Row = dict[str, Any]


class Begun(NamedTuple):
    """Training started, or went on, after `step` steps."""

    step: int


class Stepped(NamedTuple):
    """One optimizer step as every process saw it, by rank."""

    step: int
    rows: tuple[Row, ...]

    def all(self, name: str) -> list[Any]:
        """What all processes collected under a name, rank after rank."""
        return [value for row in self.rows for value in row[name]]


@dataclass(slots=True)
class _Rank:
    """One process's file, read up to `offset`; `starts` are where its runs began, `steps` what each of them saw."""

    path: Path
    offset: int = 0
    starts: list[int] = field(default_factory=list)
    steps: dict[tuple[int, int], Row] = field(default_factory=dict)

    def read(self) -> None:
        """Take in whole new lines; a line that a kill cut short is no JSON and is passed over."""
        if not self.path.exists():
            return
        with self.path.open("rb") as handle:
            handle.seek(self.offset)
            whole = handle.read().rpartition(b"\n")[0]
        self.offset += len(whole) + 1 if whole else 0
        for line in whole.splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if "begin" in row:
                self.starts.append(row["begin"])
            else:
                self.steps[len(self.starts), row["step"]] = row


class StepReader:
    """Reads the files of all processes, and gives each step when all of them have it."""

    def __init__(self, folder: Path, processes: int) -> None:
        self._ranks = [_Rank(folder / f"rank-{rank}.jsonl") for rank in range(processes)]
        self._run = 0
        self._next = 1

    def read(self) -> list[Begun | Stepped]:
        """What is new since the last call, in order."""
        for rank in self._ranks:
            rank.read()
        events: list[Begun | Stepped] = []
        for run in range(self._run, min(len(rank.starts) for rank in self._ranks) + 1):
            if run > self._run:
                begun = self._ranks[0].starts[run - 1]
                self._run, self._next = run, begun + 1
                events.append(Begun(begun))
            events += self._steps()
        return events

    def _steps(self) -> Iterator[Stepped]:
        while all((self._run, self._next) in rank.steps for rank in self._ranks):
            yield Stepped(self._next, tuple(rank.steps.pop((self._run, self._next)) for rank in self._ranks))
            self._next += 1


class Dealt:
    """Which rows of the training file each step takes, and what their token ids must be.

    Args:
        ids: of the rows, in the order of the file.
        seed: OpenRLHF's `seed`.
        pairs_per_step: over all processes.
        processes: that share a step equally.
    """

    def __init__(self, ids: Sequence[PairIds], seed: int, pairs_per_step: int, processes: int) -> None:
        self.steps = len(ids) // pairs_per_step
        self._ids = ids
        self._processes = processes
        self._share = pairs_per_step // processes
        self._order_P = torch.randperm(len(ids), generator=torch.Generator().manual_seed(seed)).numpy()

    @property
    def left_out(self) -> NDArray[np.int64]:
        """Rows that fill no whole step, in the order of the file."""
        return np.sort(self._order_P[self.steps * self._share * self._processes :])

    def pairs(self, step: int) -> list[int]:
        """Rows of a step (1-based), rank after rank."""
        part = slice((step - 1) * self._share, step * self._share)
        return [int(row) for rank in range(self._processes) for row in self._order_P[rank :: self._processes][part]]

    def verify(self, stepped: Stepped) -> list[int]:
        """The rows of a step, after a look at whether each process read exactly our token ids.

        Raises:
            ModelError: it read others.
        """
        rows = self.pairs(stepped.step)
        for name, side in (("chosen_ids", 0), ("rejected_ids", 1)):
            found, wanted = stepped.all(name), [checksum(self._ids[row][side]) for row in rows]
            if found != wanted:
                differ = [row for row, *both in zip(rows, found, wanted, strict=False) if both[0] != both[1]]
                raise ModelError(
                    f"step {stepped.step} of OpenRLHF read other token ids than ours "
                    f"({len(differ) or abs(len(found) - len(wanted))} of {len(rows)} texts): its tokenizer, "
                    "its treatment of text or its order of rows has changed",
                    where=f"train/openrlhf/train.parquet, row {differ[0] + 1 if differ else len(found)}, "
                    f"field '{name.removesuffix('_ids')}'",
                    fix="use OpenRLHF 0.9.8 to 0.11.2, or train with backend: trl",
                )
        return rows


def checksum(ids_T: Ids) -> int:
    """As `inside.py` computes it: crc32 of the ids as little-endian int32."""
    return zlib.crc32(np.asarray(ids_T).astype("<i4").tobytes())


FOLDER = "openrlhf"
EVALUATION_PAIRS = 256


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
        folder=job.folder / FOLDER,
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
    pairs = job.held_out[:EVALUATION_PAIRS]
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


_CODE_IN = ("config.json", "tokenizer_config.json")
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json")


def write_start(folder: Path, spec: Spec, base: str, renderer: Renderer, *, shared: bool) -> None:
    """Write the folder anew.

    Args:
        folder: where it appears.
        base: folder or hub id that `spec.base_model` resolves to.
        shared: other machines read it: weights from the hub's cache are copied, not linked.

    Raises:
        ModelError: the base brings code, has a head already, is no decoder, or has no safetensors.
    """
    source = _folder_of(base, spec.base_model.revision)
    refuse_code(source)
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


def refuse_code(source: Path) -> None:
    """Refuse a checkpoint that names code of its own.

    Raises:
        ModelError: one of its configurations has an `auto_map`.
    """
    for name in _CODE_IN:
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
        if _is_dropout(key) and isinstance(value, float)
        else value
        for key, value in config.items()
    }


def _is_dropout(key: str) -> bool:
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
    found = [path for pattern in _WEIGHTS for path in sorted(source.glob(pattern))]
    if not any(path.suffix == ".safetensors" for path in found):
        raise ModelError(
            "no *.safetensors is there; other weight files may run code, so they are not handed on",
            where=str(source),
            fix="save the base as safetensors (save_pretrained does)",
        )
    link: Callable[[Path, Path], object] = shutil.copyfile if copy else _link
    for path in found:
        link(path, folder / path.name)


def _link(path: Path, target: Path) -> None:
    target.symlink_to(path.resolve())


def _settle_config(path: Path, renderer: Renderer) -> None:
    config = without_dropout(json.loads(path.read_text(encoding="utf-8")))
    for name in OPENRLHF_FIELDS:
        config.pop(name, None)
    for part in (config, config.get("text_config")):
        if isinstance(part, dict):
            part |= {"pad_token_id": renderer.pad_token_id, "eos_token_id": renderer.eos_token_id}
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
