"""One training by TRL and one by Rewardsmith, on the same pairs: what train_speed.py and loss_curves.py compare.

    pairs, ids = choose_pairs(rows, setup, folder, count=512)
    done = train_peer(setup, ids, "grouped")          TRL's stock trainer on the token ids (trl_peer.py)
    done = train_ours(setup, pairs, folder / "run")   `rewardsmith check` and `train` on the file of pairs

Both start from `setup.base`; each is a process of its own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml

from common import WorkerKilledError, run_worker, write_jsonl
from rewardsmith.data.sources import read_source
from rewardsmith.records.files import read_jsonl, read_record
from rewardsmith.records.training import TrainRecord
from rewardsmith.rendering import load_renderer
from rewardsmith.spec import load_spec
from rewardsmith.spec.data import SourceSpec
from tables import Json


@dataclass(frozen=True)
class Setup:
    """What both sides are told.

    Attributes:
        base: the model that both start from.
        steps: optimizer steps over all pairs; the learning rate rises over the first `warmup_steps` of them.
        order: in which ours takes the pairs; a peer has orders of its own.
        precision: the autocast type; `weights` is the type of the weights.
        adapter: none, lora (rank 16 on all linear maps of a frozen base), or of ours alone qlora.
        layout: of ours; a peer is padded.
        micro_batch: pairs of a pass of the peer, 0 for a whole step at once; ours cuts steps by tokens.
        checkpointing: whether ours recomputes activations; of a peer its kind says so.
    """

    base: Path
    pairs_per_step: int
    steps: int
    max_length: int
    order: str
    learning_rate: float = 1e-5
    warmup_steps: int = 0
    device: str = "cpu"
    precision: str = "float32"
    weights: str = "float32"
    adapter: str = "none"
    layout: str = "auto"
    micro_batch: int = 0
    checkpointing: bool = False
    threads: int = 2
    seed: int = 0


class Trained(NamedTuple):
    """What `rewardsmith train` left: its record, its steps, and the peak memory of its process in bytes."""

    record: TrainRecord
    steps: list[Json]
    memory: int


def choose_pairs(
    rows: Sequence[Json], setup: Setup, folder: Path, *, count: int, of_ours: int | None = None
) -> tuple[Path, Path]:
    """A seeded choice of pairs within the length limit: the first `of_ours` as a file of pairs, all as token ids."""
    order = prompts_first(rows, setup.seed) if setup.order == "by_prompt" else shuffled(len(rows), setup.seed)
    file = folder / "candidates.jsonl"
    write_jsonl(file, [rows[index] for index in order[: 3 * count]])
    intake = read_source(SourceSpec(path=str(file)), role="train", strings="chat", seed=0, embedded={})
    pairs = [pair for _, pair in intake.pairs]
    renderer = load_renderer(str(setup.base), max_length=setup.max_length)
    rendered = list(renderer.render_pairs(pairs))
    kept = [i for i, pair in enumerate(rendered) if pair.chosen_ids is not None][:count]
    out = folder / "pairs.jsonl"
    write_jsonl(out, [as_row(pairs[i], i) for i in kept[:of_ours]])
    ids = folder / "ids.json"
    ids.write_text(json.dumps([[rendered[i].chosen_ids.tolist(), rendered[i].rejected_ids.tolist()] for i in kept]))
    return out, ids


def shuffled(count: int, seed: int) -> list[int]:
    """A seeded order of so many rows."""
    order: list[int] = np.random.default_rng(seed).permutation(count).tolist()
    return order


def prompts_first(rows: Sequence[Json], seed: int) -> list[int]:
    """A seeded order of prompts, the pairs of each together, so that a prefix of it holds whole prompts."""
    keys = [json.dumps(row["prompt"]) for row in rows]
    rank = {key: place for place, key in enumerate(np.random.default_rng(seed).permutation(sorted(set(keys))).tolist())}
    return sorted(range(len(rows)), key=lambda index: rank[keys[index]])


def as_row(pair: object, number: int) -> Json:
    """A pair as our file format has it."""
    turns = {
        side: [{"role": message.role, "content": message.content} for message in getattr(pair, side)]
        for side in ("prompt", "chosen", "rejected")
    }
    return {**turns, "id": str(number)}


def train_peer(
    setup: Setup,
    ids: Path,
    kind: str,
    *,
    share: int = 1,
    turn: int = 0,
    untimed: int = 0,
    logging_steps: int = 10,
    save: Path | None = None,
) -> Json:
    """What trl_peer.py reports of one run of that kind (see there), and its `memory` in bytes; or why it `failed`."""
    job = asdict(setup) | {
        "base": str(setup.base),
        "ids": str(ids),
        "kind": kind,
        "share": share,
        "turn": turn,
        "untimed": untimed,
        "logging_steps": logging_steps,
        "save": save and str(save),
    }
    script = Path(__file__).with_name("trl_peer.py")
    try:
        last, memory = run_worker([str(script), json.dumps(job)], threads=setup.threads)
    except WorkerKilledError:
        return {"failed": "killed: out of memory"}
    done: Json = json.loads(last)
    return done if "failed" in done else done | {"memory": done["device_memory"] or memory}


def train_ours(setup: Setup, pairs: Path, folder: Path) -> Trained:
    """One `rewardsmith train`, after its `rewardsmith check`, in a new folder."""
    spec = {
        "name": "bench",
        "output_dir": str(folder),
        "base_model": {"id": str(setup.base), "dtype": setup.weights},
        "adapter": {"kind": setup.adapter},
        "data": {
            "train": [{"path": str(pairs)}],
            "held_out": {"fraction": 0.0},
            "max_length": setup.max_length,
            "fail_on": [],
        },
        "training": {
            "pairs_per_step": setup.pairs_per_step,
            "order": setup.order,
            "layout": setup.layout,
            "learning_rate": setup.learning_rate,
            "warmup": setup.warmup_steps / setup.steps,
            "gradient_checkpointing": setup.checkpointing,
            "checkpoint_every_steps": None,
            "monitor": {"on_collapse": "ignore", "on_stall": "ignore"},
        },
        "hardware": {"device": setup.device, "precision": setup.precision, "threads": setup.threads},
    }
    folder.mkdir()
    file = folder / "spec.yaml"
    file.write_text(yaml.safe_dump(spec))
    load_spec(file)
    run_worker(["-m", "rewardsmith", "check", str(file)], threads=setup.threads)
    _, memory = run_worker(["-m", "rewardsmith", "train", str(file)], threads=setup.threads)
    record = read_record(folder / "bench" / "train" / "summary.json", TrainRecord)
    steps = list(read_jsonl(folder / "bench" / "train" / "metrics.jsonl"))
    return Trained(record, steps, record.peak_memory if setup.device == "cuda" else memory)
