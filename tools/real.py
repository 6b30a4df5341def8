"""The spec and the data of `make real`: a real pretrained decoder and real pairs, no more than the time allows.

    python tools/real.py --pairs 400 --tokens 384                      draws from ../shared/data, where that is
    python tools/real.py --pairs 400 --tokens 384 --data pairs.jsonl   draws from your file, of any form init knows

Out: `build/real/train.jsonl`, `held_out.jsonl`, `six.jsonl` and `spec.yaml`, which is examples/smollm2.yaml with the
base and these files in it; `rewardsmith run build/real/spec.yaml` does the rest. Drawn by a seed, and only what fits
the length: a row with a longer text would be left out, or score nothing. Of your file a sixth of the prompts is held
out, and the benchmark is the embedded one: it measures a little of everything, and not your task.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from rewardsmith.data.sources import read_source
from rewardsmith.errors import UserError
from rewardsmith.records.files import write_text
from rewardsmith.rendering import Renderer, load_renderer
from rewardsmith.spec import SourceSpec, load_spec
from rewardsmith.types import Conversation, Message, PreferencePair, tools_of

ROOT = Path(__file__).resolve().parents[1]
TRAIN = ("alpaca_eval_direct", "arena_bench_v1", "ultrafeedback_mini", "hh_singleturn_themis")
HELD_OUT = ("alpaca_eval_test_split", "ultrafeedback_mini_eval", "hh_harmless_base_test", "pandalm_test_human")
SHARE_HELD_OUT = 1 / 6
"""Of the prompts of a file that is not parted already."""
CANDIDATES = 8
"""Rows read for each pair that is wanted: more than half of a source may be too long."""
WANTED = """There are no pairs to train on. `make real` takes them from one of these:

  {shared}      the folder of real preference data beside a development checkout
  make real DATA=pairs.jsonl      your own: JSONL (also .gz), JSON, Parquet or CSV of preference pairs,
                                  {{"prompt": …, "chosen": …, "rejected": …}} a row, or see docs/public_data.md"""


def main() -> None:
    """Draw, write, say what was written."""
    asked = _arguments()
    draw = random.Random(asked.seed)  # noqa: S311 - a sample, not a secret
    try:
        renderer = load_renderer(str(asked.base), max_length=asked.tokens)
        changes = _of_file(asked, renderer, draw) if asked.data else _of_folder(asked, renderer, draw)
        spec = load_spec(ROOT / "examples" / "smollm2.yaml", [*changes, *_common(asked)])
    except UserError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    stated = spec.model_dump(mode="json", exclude_unset=True)
    write_text(asked.out / "spec.yaml", yaml.safe_dump(stated, sort_keys=False, allow_unicode=True))
    print(f"{asked.out / 'spec.yaml'}: {asked.base}, adapter {asked.adapter}, texts of at most {asked.tokens} tokens")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=Path("build/SmolLM2-135M-Instruct"))
    parser.add_argument("--data", type=Path, help="a file of pairs; without it, the folder of --shared")
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("build/real"))
    parser.add_argument("--pairs", type=int, default=400, help="to train on")
    parser.add_argument("--tokens", type=int, default=384, help="longest text, prompt and response together")
    parser.add_argument("--rows", type=int, default=12, help="of each subset of the benchmark")
    parser.add_argument("--adapter", choices=["none", "lora"], default="none")
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--look", action="store_true", help="say whether there are pairs, and do nothing")
    asked = parser.parse_args()
    if not asked.data and not asked.shared.is_dir():
        sys.exit(WANTED.format(shared=asked.shared))
    if asked.data and not asked.data.is_file():
        sys.exit(f"DATA={asked.data}: there is no such file")
    if asked.look:
        sys.exit(0)
    return asked


def _common(asked: argparse.Namespace) -> list[str]:
    """What the example says otherwise: it is written for the hub."""
    learning_rate = "2e-4" if asked.adapter == "lora" else "2e-5"
    parts = ["real", asked.data.name.split(".")[0] if asked.data else "", f"{asked.pairs}x{asked.tokens}"]
    name = "-".join(filter(None, [*parts, asked.adapter.replace("none", "")]))  # another choice is another run
    return [
        f"name={name}",
        f"base_model.id={asked.base}",
        "policy={parameters: 1.7B, family: llama}",
        f"data.max_length={asked.tokens}",
        f"data.train=[{{path: {asked.out / 'train.jsonl'}}}]",
        f"data.held_out.sources=[{{path: {asked.out / 'held_out.jsonl'}}}]",
        f"adapter.kind={asked.adapter}",
        f"training.learning_rate={learning_rate}",
        "evaluation.gates.minimum={}",
    ]


def _of_folder(asked: argparse.Namespace, renderer: Renderer, draw: random.Random) -> list[str]:
    """Pairs of four sources and rows of six subsets, as many of each."""
    for part, names, wanted in (("train", TRAIN, asked.pairs), ("held_out", HELD_OUT, max(40, asked.pairs // 4))):
        pairs: list[PreferencePair] = []
        for name in names:
            source = SourceSpec(path=str(asked.shared / part / f"{name}.jsonl.gz"), label=name)
            found = _drawn(source, renderer, wanted // len(names), asked.seed)
            pairs += [_labelled(pair, name) for pair in found]
        draw.shuffle(pairs)
        _write(asked.out / f"{part}.jsonl", [_as_row(pair) for pair in pairs])
    rows = _rows_that_fit(asked.shared / "best_of_n" / "six.jsonl.gz", renderer, draw, asked.rows)
    _write(asked.out / "six.jsonl", rows)
    return [f"evaluation.benchmarks=[{{name: rewardbench2, data: {asked.out / 'six.jsonl'}, label: six}}]"]


def _of_file(asked: argparse.Namespace, renderer: Renderer, draw: random.Random) -> list[str]:
    """The user's pairs, read as `rewardsmith init` recognises them, parted by prompt."""
    recognised = asked.out / "init" / "spec.yaml"
    recognised.unlink(missing_ok=True)
    command = [sys.executable, "-m", "rewardsmith", "init", str(recognised.parent), "--base", str(asked.base)]
    done = subprocess.run([*command, "--data", str(asked.data), "--policy", "1.7B"], check=False)
    if done.returncode:
        sys.exit(done.returncode)
    (source,) = load_spec(recognised).data.train
    held_out = round(asked.pairs * SHARE_HELD_OUT)
    pairs = _drawn(source, renderer, asked.pairs + held_out, asked.seed)
    by_prompt: dict[Conversation, list[PreferencePair]] = defaultdict(list)
    for pair in pairs:
        by_prompt[pair.prompt].append(pair)
    prompts = list(by_prompt)
    draw.shuffle(prompts)
    parts: dict[str, list[PreferencePair]] = {"held_out": [], "train": []}
    for prompt in prompts:
        short = len(parts["held_out"]) < len(pairs) * SHARE_HELD_OUT / (1 + SHARE_HELD_OUT)
        parts["held_out" if short else "train"] += by_prompt[prompt]
    for part, found in parts.items():
        _write(asked.out / f"{part}.jsonl", [_as_row(pair) for pair in found])
    return ["evaluation.benchmarks=[{name: rewardbench2, data: embedded}]"]


def _drawn(source: SourceSpec, renderer: Renderer, wanted: int, seed: int) -> list[PreferencePair]:
    """So many pairs of a source that fit, drawn by the seed; says how many there are where there are fewer."""
    limited = source.model_copy(update={"limit": source.limit or CANDIDATES * wanted})
    pairs = [pair for _, pair in read_source(limited, role="train", strings="chat", seed=seed, embedded={}).pairs]
    rendered = list(renderer.render_pairs(pairs))
    fit = [pair for pair, ids in zip(pairs, rendered, strict=True) if ids.chosen_ids is not None]
    random.Random(seed).shuffle(fit)  # noqa: S311
    reasons = Counter(ids.reason for ids in rendered if ids.reason)
    left_out = ", ".join(f"{reason} {count:,}" for reason, count in reasons.most_common()) or "none"
    print(f"  {source.title}: {len(pairs):,} pairs looked at, left out: {left_out}; taken {min(wanted, len(fit)):,}")
    return fit[:wanted]


def _rows_that_fit(path: Path, renderer: Renderer, draw: random.Random, of_each: int) -> list[dict[str, Any]]:
    """Best-of-N rows, the same number of each subset; of Ties both halves of an id, or neither."""
    units: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for row in _read(path):
        unit = row["id"].partition(":")[2] if row["subset"] == "Ties" else row["id"]
        units[row["subset"]][unit].append(row)
    taken: list[dict[str, Any]] = []
    for subset, rows in sorted(units.items()):
        order = sorted(rows)
        draw.shuffle(order)
        fitting = (rows[unit] for unit in order if _fits(rows[unit], renderer))
        found = [row for _, unit in zip(range(of_each), fitting, strict=False) for row in unit]
        print(f"  {subset}: {len(found)} rows of {sum(map(len, rows.values()))}")
        taken += found
    return taken


def _fits(rows: Sequence[dict[str, Any]], renderer: Renderer) -> bool:
    texts: list[Conversation] = [
        (Message("user", row["prompt"]), Message("assistant", answer))
        for row in rows
        for answer in (*row["chosen"], *row["rejected"])
    ]
    return all(one.ids is not None for one in renderer.render_many(texts))


def _labelled(pair: PreferencePair, name: str) -> PreferencePair:
    """The pair under its file's name: subsets of a few rows each would say nothing."""
    return PreferencePair(pair.prompt, pair.chosen, pair.rejected, id=pair.id, source=name, subset=name)


def _as_row(pair: PreferencePair) -> dict[str, Any]:
    """A pair as the default form has it, tools and calls included."""
    tools, prompt = tools_of(pair.prompt)
    sides = {"prompt": prompt, "chosen": pair.chosen, "rejected": pair.rejected}
    turns = {side: [turn.as_dict() for turn in conversation] for side, conversation in sides.items()}
    more = {"tools": tools} if tools else {}
    return {**turns, **more, "id": pair.id, "source": pair.source, "subset": pair.subset}


def _read(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_text(path, text)
    print(f"{path}: {text.count(chr(10)):,} rows")


if __name__ == "__main__":
    main()
