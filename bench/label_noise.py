"""Are flipped labels found? The embedded pairs with a share of their labels flipped, trained as the quickstart trains.

    python bench/label_noise.py                        nothing flipped, and 5 %; some five minutes each
    python bench/label_noise.py --shares 0.01,0.2 --rescore 0,400

The embedded labels are right by construction, so that every flip is known. Precision at k: flipped pairs among the
first k suspects; a ranking by chance has the flipped share. `rescored` pairs were asked again with the trained model,
at most a tenth of all.
`--save` writes bench/results/label_noise.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from random import Random

import yaml

from rewardsmith.records.files import read_record
from rewardsmith.records.training import LabelNoiseRecord
from rewardsmith.samples import write_samples
from tables import bench_parser, machine, markdown_table, publish

SEED = 17
QUICKSTART = Path(__file__).resolve().parents[1] / "examples" / "quickstart.yaml"
FIRST = (50, 100, 200)


@dataclass(frozen=True)
class Flipped:
    """A file of pairs, and which of its rows (1-based) are flipped, of how many."""

    path: Path
    rows: frozenset[int]
    pairs: int


def main() -> None:
    """Flip, train, look, print."""
    parser = bench_parser(__doc__)
    parser.add_argument("--shares", type=_numbers, default=(0.0, 0.05), help="of labels that are flipped")
    parser.add_argument("--rescore", type=_numbers, default=(0, 1000), help="evaluation.label_noise.rescore")
    parser.add_argument("--pairs", type=int, default=None, help="the first so many pairs only")
    arguments = parser.parse_args()
    publish("label_noise", f"# Estimated share of wrong labels\n\n{report(arguments)}", arguments)


def report(arguments: argparse.Namespace) -> str:
    """The table, in Markdown."""
    rows = []
    with tempfile.TemporaryDirectory() as place:
        for share in arguments.shares:
            flipped = flip(Path(place) / f"{share:g}", share, arguments.pairs)
            for rescore in arguments.rescore:
                rows.append(row(flipped, look(flipped, int(rescore))))
    at = [f"precision at {k}" for k in (*FIRST, "flipped")]
    head = ["pairs", "flipped", "rescored", "wrong labels, 95 % interval", *at, "recall at twice as many"]
    what = f"Embedded pairs, seed {SEED}, trained as examples/quickstart.yaml says. In per cent. On {machine()}."
    return "\n".join([what, "", markdown_table(head, rows)])


def flip(folder: Path, share: float, pairs: int | None) -> Flipped:
    """The embedded training pairs with a share of the labels flipped."""
    folder.mkdir(parents=True)
    lines = write_samples(seed=SEED).train.read_text(encoding="utf-8").splitlines()[:pairs]
    draw, chosen = Random(SEED), set()  # noqa: S311 - which labels are flipped is no secret
    with (folder / "pairs.jsonl").open("w", encoding="utf-8") as file:
        for number, line in enumerate(lines, start=1):
            pair = json.loads(line)
            if draw.random() < share:
                pair["chosen"], pair["rejected"] = pair["rejected"], pair["chosen"]
                chosen.add(number)
            file.write(json.dumps(pair) + "\n")
    return Flipped(folder / "pairs.jsonl", frozenset(chosen), len(lines))


def look(flipped: Flipped, rescore: int) -> LabelNoiseRecord:
    """What Rewardsmith says of the labels; training is done once, looking again costs seconds."""
    folder = flipped.path.parent
    spec = yaml.safe_load(QUICKSTART.read_text(encoding="utf-8"))
    spec["output_dir"] = str(folder)
    spec["data"] |= {"train": [{"path": str(flipped.path)}], "held_out": {"fraction": 0.0}, "fail_on": []}
    spec["training"]["monitor"] = {"on_collapse": "warn"}
    noise = {"suspects": flipped.pairs, "rescore": rescore}
    spec["evaluation"] = {"benchmarks": [], "label_noise": noise}
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    for command in ("check", "train"):
        call = [sys.executable, "-m", "rewardsmith", command, str(folder / "spec.yaml")]
        subprocess.run(call, check=True, stdout=subprocess.DEVNULL)
    return read_record(folder / spec["name"] / "label_noise.json", LabelNoiseRecord)


def row(flipped: Flipped, found: LabelNoiseRecord) -> list[str]:
    """One line of the table."""
    hits = [suspect.row in flipped.rows for suspect in found.suspects]
    wrong = len(flipped.rows)
    precision = [_percent(sum(hits[:k]), k) if wrong else "" for k in (*FIRST, wrong)]
    share = f"{100 * found.share:.1f} ({100 * found.ci_low:.1f} to {100 * found.ci_high:.1f})"
    recall = _percent(sum(hits[: 2 * wrong]), wrong) if wrong else ""
    return [
        f"{found.pairs:,}",
        _percent(wrong, flipped.pairs),
        f"{found.rescored:,}",
        share,
        *precision,
        recall,
    ]


def _percent(count: int, of: int) -> str:
    return f"{100 * count / of:.1f}"


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


if __name__ == "__main__":
    main()
