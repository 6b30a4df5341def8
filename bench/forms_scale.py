"""What reading a form costs: a million produced pairs of each, made by resampling, beside the plain form.

    python bench/forms_scale.py                     # a million pairs of each; minutes, and a few GB of disk
    python bench/forms_scale.py --pairs 100000      # a tenth of that
    python bench/forms_scale.py --save              # keeps bench/results/forms_scale.md

Each form is written to a file of its own and read by itself in a fresh process: CPU seconds and peak memory of reading
alone (`open_source(...).stream`), without a tokenizer. The texts are random words behind a number: no two prompts
are equal. `list` and `grouped` have three answers a prompt, whose three comparisons are three pairs.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SOURCES: dict[str, dict[str, Any]] = {
    "pair": {},
    "comparison": {
        "form": {
            "kind": "comparison",
            "first": "a",
            "second": "b",
            "verdict": {"column": "winner", "values": {"first": ["a"], "second": ["b"], "tie": ["tie"]}},
        }
    },
    "transcript": {"form": "transcript"},
    "list": {"form": {"kind": "list", "answers": "answers", "text": "text", "score": "score", "better": "higher"}},
    "grouped": {"form": {"kind": "grouped", "answer": "text", "score": "score", "better": "higher"}},
}
_WORDS = ("river", "runs", "slow", "past", "seven", "stones", "and", "a", "cold", "cloud", "hangs", "above", "noon")


def texts(draw: random.Random, number: int) -> tuple[str, list[str]]:
    """A prompt and three answers of about 60 and 120 words."""
    asked = f"{number}: " + " ".join(draw.choices(_WORDS, k=60))
    return asked, [f"{place}. " + " ".join(draw.choices(_WORDS, k=120)) for place in range(3)]


def rows(form: str, pairs: int) -> Iterator[dict[str, Any]]:
    """Rows that make so many pairs."""
    draw = random.Random(17)  # noqa: S311 - texts, not secrets
    for number in range(pairs // 3 if form in ("list", "grouped") else pairs):
        asked, (first, second, third) = texts(draw, number)
        scores = draw.sample(range(10), 3)
        if form == "pair":
            yield {"prompt": asked, "chosen": first, "rejected": second}
        elif form == "comparison":
            yield {"prompt": asked, "a": first, "b": second, "winner": draw.choice("ab")}
        elif form == "transcript":
            before = f"\n\nHuman: {asked}\n\nAssistant:"
            yield {"chosen": f"{before} {first}", "rejected": f"{before} {second}"}
        elif form == "list":
            answers = zip((first, second, third), scores, strict=True)
            yield {"prompt": asked, "answers": [{"text": text, "score": score} for text, score in answers]}
        else:
            for text, score in zip((first, second, third), scores, strict=True):
                yield {"prompt": asked, "text": text, "score": score}


def measure(form: str, path: str) -> None:
    """Read one file in this process and print what it took."""
    from rewardsmith.data.sources import open_source
    from rewardsmith.spec import SourceSpec

    source = SourceSpec.model_validate({"path": path, **SOURCES[form]})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()  # of one thread that reads and reckons: what others do on the machine is not in it
    intake = open_source(source, role="train", strings="chat", seed=0, embedded={})
    count = sum(1 for _ in intake.stream)
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"pairs": count, "rows": intake.read, "seconds": seconds, "base": before, "peak": peak}))


def main() -> None:
    """Write, read and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--read", nargs=2, metavar=("FORM", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        measure(*options.read)
        return
    lines = [
        "# Reading a form: time and memory",
        "",
        f"{options.pairs:,} produced pairs of each form, read alone (`bench/forms_scale.py`).",
        "",
        "| form | rows | pairs | CPU seconds | of `pair` | peak MiB |",
        "|---|---|---|---|---|---|",
    ]
    plain = 0.0
    for form in SOURCES:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"{form}.jsonl")
            with path.open("w") as handle:
                for row in rows(form, options.pairs):
                    handle.write(json.dumps(row) + "\n")
            done = subprocess.run(
                [sys.executable, __file__, "--read", form, str(path)], check=True, capture_output=True, text=True
            )
        found = json.loads(done.stdout)
        plain = plain or found["seconds"]
        share = f"{found['seconds'] / plain:.2f}"
        cells = (form, f"{found['rows']:,}", f"{found['pairs']:,}", f"{found['seconds']:.1f}", share)
        lines.append(f"| {' | '.join(cells)} | {found['peak'] / 1024:.0f} |")
        print(lines[-1], flush=True)
    if options.save:
        Path(__file__).parent.joinpath("results", "forms_scale.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
