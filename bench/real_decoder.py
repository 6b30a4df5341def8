"""What a real pretrained decoder learns from real pairs, and which of our checks predicted what went wrong.

    python bench/real_decoder.py list                 the pieces: which are done, and about how long the others take
    python bench/real_decoder.py draw                 pairs and rows, seeded, into OUT
    python bench/real_decoder.py train full           one model: full, lora, quarter, shuffled, minilm
    python bench/real_decoder.py evaluate full        it on every set (--only SET), and its probes; nothing twice
    python bench/real_decoder.py trl                  50 steps of stock TRL and of ours: the same pairs, the same order
    python bench/real_decoder.py evaluate trl         both models of that on the sets of pairs
    python bench/real_decoder.py page --save          bench/results/real_decoder.md of what is there

Each piece is a command of its own that can be stopped and started: training goes on from its last checkpoint, and an
evaluation that is complete is kept. `--pairs`, `--rows` and `--tokens` make it small; a folder OUT holds one choice of
them. All models see the same pairs of four sources: `quarter` a quarter of them, `shuffled` all of them with labels
drawn by a coin, `minilm` (`--minilm`, a folder with an encoder of 22M parameters) is the older base. Rows are drawn by
a seed from each file of held_out/ and best_of_n/.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from common import read_jsonl, write_jsonl
from rewardsmith.records.evaluation import BenchmarkResult
from rewardsmith.records.files import read_record
from rewardsmith.rendering import Renderer, load_renderer
from rewardsmith.types import Conversation, Message
from tables import Json, about, bench_parser, machine, markdown_table, publish
from trainings import Setup, Trained, choose_pairs, prompts_first, shuffled, train_ours, train_peer

MODELS = ("full", "lora", "quarter", "shuffled", "minilm")
SOURCES = ("alpaca_eval_direct", "arena_bench_v1", "ultrafeedback_mini", "hh_singleturn_themis")
STEPS = 50
RESAMPLES = 10_000
ENCODER = "{{ cls_token }}{% for message in messages %}{{ message.content + sep_token }}{% endfor %}"
LOSS_BOUND = 1e-4
SECONDS_A_PAIR = 1.6
"""Of training SmolLM2 in full on pairs of up to 384 tokens, two quiet cores."""
CHARACTERS_A_SECOND = 1800
"""Of scoring: 450 tokens, of four characters."""


def main() -> None:
    """Do one piece."""
    parser = bench_parser(__doc__)
    parser.add_argument("piece", choices=["list", "draw", "train", "evaluate", "trl", "page"])
    parser.add_argument("model", nargs="?", choices=[*MODELS, "trl"])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--base", type=Path, default=Path("build/SmolLM2-135M-Instruct"))
    parser.add_argument("--minilm", type=Path, default=Path("build/MiniLM"))
    parser.add_argument("--out", type=Path, default=Path("build/real_decoder"))
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=300, help="of each file")
    parser.add_argument("--tokens", type=int, default=384)
    parser.add_argument("--only", help="evaluate: one set, and no probes")
    parser.add_argument("--probe-pairs", type=int, default=40)
    parser.add_argument("--steps", type=int, default=STEPS, help="of trl")
    parser.add_argument("--pairs-per-step", type=int, default=8, help="of trl")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=17)
    asked = parser.parse_args()
    if (asked.piece in ("train", "evaluate") and not asked.model) or (asked.piece, asked.model) == ("train", "trl"):
        parser.error(f"{asked.piece} which model? One of {', '.join(MODELS)}")
    pieces = {"list": listed, "draw": draw, "train": train, "evaluate": evaluate, "trl": trl}
    if asked.piece == "page":
        publish("real_decoder", page(asked), asked)
    else:
        pieces[asked.piece](asked)


def listed(asked: argparse.Namespace) -> None:
    """The pieces in their order."""
    sets = sorted((asked.out / "sets").glob("*.jsonl"))
    scoring = {path.stem.partition("-")[2]: minutes_of(path, 4 * asked.tokens) for path in sets}
    lines = [("draw", (asked.out / "pairs.jsonl").exists(), 1.0)]
    for name in MODELS:
        share = {"quarter": 0.25, "minilm": 0.2, "lora": 0.85}.get(name, 1.0)
        done = (run_of(asked, name) / "train" / "summary.json").exists()
        lines.append((f"train {name}", done, asked.pairs * SECONDS_A_PAIR * share / 60))
        for one, minutes in scoring.items():
            done = (asked.out / "evals" / name / one / "results.json").exists()
            lines.append((f"evaluate {name} --only {one}", done, minutes * (0.2 if name == "minilm" else 1.0)))
    lines.append(
        ("trl", (asked.out / "trl.json").exists(), asked.steps * asked.pairs_per_step * SECONDS_A_PAIR * 2.5 / 60)
    )
    for piece, done, minutes in lines:
        print(f"{'done' if done else f'{minutes:4.0f} min'}  python bench/real_decoder.py {piece}")


def minutes_of(path: Path, longest: int) -> float:
    """About how long it takes to score a set; a text that is too long is not scored."""
    sizes = []
    for row in read_jsonl(path):
        prompt = len(json.dumps(row["prompt"]))
        answers = [len(str(one)) for side in ("chosen", "rejected") for one in row[side]]
        sizes += [prompt + size for size in answers if prompt + size <= longest]
    return sum(sizes) / CHARACTERS_A_SECOND / 60


def draw(asked: argparse.Namespace) -> None:
    """Pairs that fit, as many of each source; the rows of every set."""
    renderer = load_renderer(str(asked.base), max_length=asked.tokens)
    asked.out.mkdir(parents=True, exist_ok=True)
    pairs: list[Json] = []
    for name in SOURCES:
        rows = read_jsonl(asked.data / "train" / f"{name}.jsonl.gz")
        setup = Setup(asked.base, 8, 1, asked.tokens, order="by_prompt", seed=asked.seed)
        count = asked.pairs // len(SOURCES)
        chosen, _ = choose_pairs(rows, setup, asked.out, count=3 * count, of_ours=count)  # most of some are too long
        pairs += [{**row, "id": f"{name}-{row['id']}", "source": name} for row in read_jsonl(chosen)]
    pairs = [pairs[place] for place in shuffled(len(pairs), asked.seed)]
    coin = np.random.default_rng(asked.seed).random(len(pairs)) < 0.5
    turned = [
        {**row, "chosen": row["rejected"], "rejected": row["chosen"]} if swap else row
        for row, swap in zip(pairs, coin, strict=True)
    ]
    write_jsonl(asked.out / "pairs.jsonl", pairs)
    for left in ("candidates.jsonl", "ids.json"):
        (asked.out / left).unlink()
    write_jsonl(asked.out / "shuffled.jsonl", turned)
    by_prompt = prompts_first(pairs, asked.seed)
    write_jsonl(asked.out / "quarter.jsonl", [pairs[place] for place in by_prompt[: len(pairs) // 4]])
    for path in sorted([*(asked.data / "held_out").glob("*.gz"), *(asked.data / "best_of_n").glob("*.gz")]):
        kind, name = path.parent.name, path.name.removesuffix(".jsonl.gz")
        rows = whole_units(read_jsonl(path), asked.rows, asked.seed, partial(fits, renderer=renderer))
        (asked.out / "sets").mkdir(exist_ok=True)
        benchmark = "rewardbench2" if name == "six" else "pairs" if kind == "held_out" else "best_of_n"
        write_jsonl(asked.out / "sets" / f"{benchmark}-{name}.jsonl", rows)
    print(f"{asked.out}: {len(pairs):,} pairs of up to {renderer.max_length} tokens")


def whole_units(rows: list[Json], count: int, seed: int, fits: Callable[[Json], bool]) -> list[Json]:
    """So many rows of those that fit, drawn by the seed; both halves of a Ties id or neither."""
    units: dict[str, list[Json]] = {}
    for place, row in enumerate(rows):
        tied = row.get("subset") == "Ties"
        units.setdefault(f"ties {row['id'].partition(':')[2]}" if tied else str(place), []).append(row)
    order = [list(units.values())[place] for place in shuffled(len(units), seed)]
    taken: list[Json] = []
    for unit in order:
        if len(taken) + len(unit) <= count and all(map(fits, unit)):
            taken += unit
    return taken


def fits(row: Json, renderer: Renderer) -> bool:
    """Whether a model of this length scores every answer of a row."""
    texts: list[Conversation] = []
    if isinstance(row["prompt"], str):
        answers = [*row["chosen"], *row["rejected"]]
        texts = [(Message("user", row["prompt"]), Message("assistant", answer)) for answer in answers]
    else:
        for side in ("chosen", "rejected"):
            turns = [*row["prompt"], *row[side]]
            texts.append(tuple(Message(turn["role"], turn["content"]) for turn in turns))
    return all(one.ids is not None for one in renderer.render_many(texts))


def run_of(asked: argparse.Namespace, name: str) -> Path:
    """The run directory of a model."""
    return Path(asked.out) / "runs" / name


def spec_of(asked: argparse.Namespace, name: str) -> Path:
    """The spec of a model, written."""
    data = {"quarter": "quarter.jsonl", "shuffled": "shuffled.jsonl"}.get(name, "pairs.jsonl")
    base: Json = {"id": str(asked.minilm if name == "minilm" else asked.base)}
    if name == "minilm":
        (asked.out / "encoder.jinja").write_text(ENCODER)
        base["chat_template"] = str(asked.out / "encoder.jinja")
    rate = {"lora": 2e-4, "minilm": 1.5e-4}.get(name, 2e-5)
    spec: Json = {
        "name": name,
        "output_dir": str(asked.out / "runs"),
        "base_model": base,
        "adapter": {"kind": "lora" if name == "lora" else "none"},
        "data": {
            "train": [{"path": str(asked.out / data)}],
            "held_out": {"fraction": 0.0},
            "max_length": asked.tokens,
            "fail_on": [],
        },
        "training": {
            "pairs_per_step": 8,
            "learning_rate": rate,
            "schedule": "linear",
            "warmup": 0.05,
            "checkpoint_every_steps": 20,
            "monitor": {"on_collapse": "warn"},
        },
        "hardware": {"device": "cpu", "threads": asked.threads},
        "evaluation": {"benchmarks": [], "bootstrap": 2000},
    }
    path = Path(asked.out) / f"{name}.yaml"
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    return path


def rewardsmith(*arguments: str, ends_with: tuple[int, ...] = (0,)) -> None:
    """One command, its output as it comes.

    Raises:
        SystemExit: it ended otherwise.
    """
    code = subprocess.call([sys.executable, "-m", "rewardsmith", *arguments])
    if code not in ends_with:
        sys.exit(f"rewardsmith {' '.join(arguments)} ended with {code}")


def train(asked: argparse.Namespace) -> None:
    """One model; a training that was stopped goes on."""
    spec = str(spec_of(asked, asked.model))
    rewardsmith("check", spec)
    rewardsmith("train", spec)


def evaluate(asked: argparse.Namespace) -> None:
    """Every set that has no results yet, and the probes."""
    if asked.model == "trl":
        for name, model in pair_of_trl(asked).items():
            evaluate_on_sets(asked, model, asked.out / "evals" / name, "pairs-*.jsonl")
        return
    model, folder = run_of(asked, asked.model) / "model", Path(asked.out) / "evals" / asked.model
    evaluate_on_sets(asked, model, folder, "*.jsonl")
    if asked.only is None and not (folder / "probes" / "probes.json").exists():
        rows = asked.out / "sets" / "pairs-pandalm_test_human.jsonl"
        given = ["--data", str(rows), "--pairs", str(asked.probe_pairs), "--out", str(folder / "probes")]
        rewardsmith("probe", "--model", str(model), *given, ends_with=(0, 1))


def evaluate_on_sets(asked: argparse.Namespace, model: Path, folder: Path, pattern: str) -> None:
    """The sets of a pattern that have no results yet."""
    for rows in sorted((asked.out / "sets").glob(pattern)):
        benchmark, _, name = rows.stem.partition("-")
        if asked.only in (None, name) and not (folder / name / "results.json").exists():
            given = ["--benchmark", benchmark, "--data", str(rows), "--out", str(folder / name)]
            rewardsmith("evaluate", "--model", str(model), *given, ends_with=(0, 1))  # 1: a text is too long


def trl(asked: argparse.Namespace) -> None:
    """The same first steps by TRL and by us: losses, seconds, memory."""
    folder = asked.out / "trl"
    folder.mkdir(exist_ok=True)
    setup = Setup(
        asked.base,
        asked.pairs_per_step,
        asked.steps,
        asked.tokens,
        order="as_given",
        learning_rate=2e-5,
        warmup_steps=min(3, asked.steps // 2),
        threads=asked.threads,
        seed=asked.seed,
    )
    start = folder / "start"
    if not start.exists():
        with_head(asked, start)
    setup = Setup(**{**vars_of(setup), "base": start})
    pairs, ids = choose_pairs(
        read_jsonl(asked.out / "pairs.jsonl"), setup, folder, count=asked.steps * asked.pairs_per_step
    )
    stock = train_peer(setup, ids, "sequential", logging_steps=1, save=folder / "stock")
    load_renderer(str(asked.base), max_length=asked.tokens).save(folder / "stock")
    done = train_ours(setup, pairs, folder / "ours") if not (folder / "ours").exists() else None
    if done is None:
        sys.exit(f"{folder / 'ours'} stands there from an earlier try: remove it")
    found = compared(stock, done) | {"pairs_per_step": asked.pairs_per_step}
    (asked.out / "trl.json").write_text(json.dumps(found))
    print(trl_section(asked))


def pair_of_trl(asked: argparse.Namespace) -> dict[str, Path]:
    """Both models of `trl`, by the folder of their results."""
    return {"trl_stock": asked.out / "trl" / "stock", "trl_ours": asked.out / "trl" / "ours" / "bench" / "model"}


def with_head(asked: argparse.Namespace, folder: Path) -> None:
    """The base with a reward head and a pad token of its own, which both sides start from."""
    from rewardsmith.modeling.loading import load_base
    from rewardsmith.spec import Spec

    renderer = load_renderer(str(asked.base), max_length=asked.tokens)
    model = load_base(Spec(), str(asked.base), renderer.tokenizer, seed=asked.seed)
    model.save_pretrained(folder)
    renderer.tokenizer.save_pretrained(folder)


def vars_of(setup: Setup) -> dict[str, Any]:
    """The fields of a setup."""
    return {name: getattr(setup, name) for name in Setup.__dataclass_fields__}


def compared(stock: Json, done: Trained) -> Json:
    """What is kept of both."""
    ours = [step["loss"] for step in done.steps]
    return {
        "trl": {key: stock.get(key) for key in ("losses", "seconds", "memory", "failed")},
        "ours": {"losses": ours, "seconds": done.record.seconds, "memory": done.memory, "layout": done.record.layout},
    }


def trl_section(asked: argparse.Namespace) -> str:
    """Both in words, "" where they were not run."""
    path = asked.out / "trl.json"
    if not path.exists():
        return ""
    found = json.loads(path.read_text())
    theirs, ours = found["trl"], found["ours"]
    if theirs["failed"]:
        return f"## Stock TRL\n\nTRL: {theirs['failed']}.\n"
    apart = np.abs(np.array(theirs["losses"]) - np.array(ours["losses"]))
    held = "within" if apart.max() <= LOSS_BOUND else "NOT within"
    table = markdown_table(
        ["", "seconds", "peak memory, GiB"],
        [
            ["TRL, padded, as given", f"{theirs['seconds']:.0f}", f"{theirs['memory'] / 2**30:.1f}"],
            [f"Rewardsmith, {ours['layout']}", f"{ours['seconds']:.0f}", f"{ours['memory'] / 2**30:.1f}"],
        ],
    )
    return (
        f"## Stock TRL, {len(apart)} steps of {found['pairs_per_step']} pairs in the same order\n\n"
        f"The losses are {held} {LOSS_BOUND:g} of "
        f"each other at every step: the largest difference is {apart.max():.1e} at step {int(apart.argmax()) + 1}, the "
        f"median {np.median(apart):.1e}.\n\n{table}{trl_scores(asked)}"
    )


def trl_scores(asked: argparse.Namespace) -> str:
    """Both models of `trl` on the rows that both scored, "" before they were evaluated."""
    stock, ours = (asked.out / "evals" / name for name in pair_of_trl(asked))
    right: list[np.ndarray] = []
    furthest = 0.0
    for path in sorted(ours.glob("*/rows.jsonl")):
        found, _, _ = answered({"stock": stock, "ours": ours}, path.parent.name)
        right.append(np.array([found["stock"], found["ours"]]))
        rows = [read_jsonl(folder / path.parent.name / "rows.jsonl") for folder in (stock, ours)]
        theirs, own = (np.array([one for row in side for one in row["rewards"]], dtype=float) for side in rows)
        furthest = max(furthest, float(np.nanmax(np.abs(theirs - own))))
    if not right:
        return ""
    both = np.concatenate(right, axis=1)
    draw = np.random.default_rng(asked.seed).integers(0, both.shape[1], (RESAMPLES, both.shape[1]))
    low, high = np.percentile((both[1] - both[0])[draw].mean(axis=1), [2.5, 97.5])
    return (
        f"\nOn {both.shape[1]} held-out pairs TRL's model is right on {100 * both[0].mean():.1f} %, ours on "
        f"{100 * both[1].mean():.1f} %: {100 * (both[1] - both[0]).mean():+.1f} ({100 * low:.1f} to {100 * high:.1f}) "
        f"points. No reward differs by more than {furthest:.1e}.\n"
    )


def page(asked: argparse.Namespace) -> str:
    """The page of what is there."""
    there = [name for name in MODELS if list((asked.out / "evals" / name).glob("*/results.json"))]
    parts = [f"# A real pretrained decoder\n\n{about(__doc__)}\n{machine()}.\n"]
    if len(there) > 1:
        parts += [scores(asked, there), trained(asked, there)]
    parts += [probes(asked, there), calibration(asked, there)] if there else ["Nothing was evaluated yet.\n"]
    return "\n".join([*parts, trl_section(asked)])


def scores(asked: argparse.Namespace, names: list[str]) -> str:
    """The sets that all models were tried on: rows that all of them scored in full, and paired differences."""
    folders = {name: asked.out / "evals" / name for name in names}
    common = sorted(set.intersection(*({one.parent.name for one in f.glob("*/rows.jsonl")} for f in folders.values())))
    table, all_right, all_chance = [], {name: np.empty(0) for name in names}, np.empty(0)
    for key in common:
        right, chance, read = answered(folders, key)
        if not len(chance):
            continue
        cells = [f"{100 * values.mean():.1f}" for values in right.values()]
        table.append([key, f"{len(chance)} of {read}", f"{100 * chance.mean():.1f}", *cells])
        all_right = {name: np.concatenate([all_right[name], right[name]]) for name in names}
        all_chance = np.concatenate([all_chance, chance])
    draw = np.random.default_rng(asked.seed).integers(0, len(all_chance), (RESAMPLES, len(all_chance)))

    def interval(values: np.ndarray) -> str:
        low, high = np.percentile(values[draw].mean(axis=1), [2.5, 97.5])
        return f"{100 * values.mean():.1f} ({100 * low:.1f} to {100 * high:.1f})"

    table.append(
        ["all rows", f"{len(all_chance)}", f"{100 * all_chance.mean():.1f}", *map(interval, all_right.values())]
    )
    first = names[0]
    words = [
        f"- {first} is {interval(all_right[first] - all_right[name])} points above {name}, on the same rows."
        for name in names[1:]
    ]
    words.append(f"- {first} is {interval(all_right[first] - all_chance)} points above chance.")
    head = ["set", "rows scored", "chance", *names]
    return (
        "## Scores\n\nPer cent of rows in which the highest reward is a right answer's; rows with a text over "
        f"{asked.tokens} tokens are left out, Ties too. Intervals: {RESAMPLES:,} bootstrap resamples of rows.\n\n"
        f"{markdown_table(head, table)}\n" + "\n".join(words) + "\n"
    )


def answered(folders: dict[str, Path], key: str) -> tuple[dict[str, np.ndarray], np.ndarray, int]:
    """Of each model the results of the rows that all scored in full; chance of each; rows read."""
    rows = {name: read_jsonl(folder / key / "rows.jsonl") for name, folder in folders.items()}
    length = min(map(len, rows.values()))
    kept = [
        place
        for place in range(length)
        if all(None not in found[place]["rewards"] for found in rows.values())
        and next(iter(rows.values()))[place]["subset"] != "Ties"
    ]
    some = next(iter(rows.values()))
    right = {name: np.array([float(found[place]["result"]) for place in kept]) for name, found in rows.items()}
    return right, np.array([some[place]["n_chosen"] / len(some[place]["rewards"]) for place in kept]), length


def trained(asked: argparse.Namespace, names: list[str]) -> str:
    """What each training's own monitor says, which knows no held-out pair."""
    rows = []
    for name in names:
        found = json.loads((run_of(asked, name) / "train" / "summary.json").read_text())
        monitor, trend = found["monitor"], found["monitor"]["trend"]
        slope = f"{trend['slope_per_step']:+.4f} ({trend['slope_low']:+.4f} to {trend['slope_high']:+.4f})"
        rows.append([name, f"{monitor['steps']}", monitor["verdict"], slope, f"{found['seconds'] / 60:.0f}"])
    head = ["model", "steps", "verdict on its margin", "slope of the margin, a step", "minutes"]
    return f"## What training said\n\n{markdown_table(head, rows)}"


def probes(asked: argparse.Namespace, names: list[str]) -> str:
    """The edits that a model's rewards went the wrong way for, of those that had enough data."""
    lines = []
    for name in names:
        path = asked.out / "evals" / name / "probes" / "probes.json"
        if path.exists():
            found = json.loads(path.read_text())["probes"]
            failed = sorted(code for code, one in found.items() if one["verdict"] == "FAIL")
            judged = sum(one["verdict"] != "NO_DATA" for one in found.values())
            lines.append(f"- {name}: {len(failed)} of {judged} probes fail: {', '.join(failed) or 'none'}.")
    return "## Probes\n\n" + "\n".join(lines) + "\n" if lines else ""


def percent(value: float | None) -> str:
    """A share in per cent."""
    return "–" if value is None else f"{100 * value:.1f}"


def calibration(asked: argparse.Namespace, names: list[str]) -> str:
    """Temperature and calibration error of each model on each set of pairs, and best of n where rows allow it."""
    rows = []
    for name in names:
        for path in sorted((asked.out / "evals" / name).glob("*/results.json")):
            found = read_record(path, BenchmarkResult)
            analysis = found.analysis
            own = analysis.calibration if analysis else None
            curve = analysis.best_of_n if analysis else None
            last = curve.points[-1] if curve and curve.points else None
            rows.append(
                [
                    f"{name}, {path.parent.name}",
                    "–" if own is None or own.temperature is None else f"{own.temperature:.2f}",
                    "–" if own is None or own.ece is None else f"{100 * own.ece:.1f}",
                    "–" if last is None else f"{100 * last.gold:.1f} of {last.n} (random {100 * last.random:.1f})",
                ]
            )
    head = ["model, set", "temperature", "calibration error, %", "best of n, % right"]
    return f"## Calibration and best of n\n\n{markdown_table(head, rows)}"


if __name__ == "__main__":
    main()
