"""How good a real judge is: SmolLM2-135M-Instruct behind vLLM, on real pairs, and whether the router would pay for it.

    python bench/real_judge.py --data ../shared/data --reward-model runs/real-400x384/model --save

`--judgments` 500: 250 pairs of two held-out sets, drawn by a seed, each asked in both orders. Whatever was answered is
in OUT and is not asked again, so that the command can be stopped and started. vLLM is started from `--vllm`, or named
by `--endpoint`. A judgment that cannot be read is counted; the pair's score is then 0. Position bias is how often the
response shown first is named among the judgments that name one: 50 % without bias. With a reward model the router is
calibrated on the same pairs and the same answers (`rewardsmith route calibrate`), and its conclusion is printed.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

from common import read_jsonl, write_jsonl
from rewardsmith.pipeline.commands.calibrate_route import CalibrateOptions, calibrate_job
from rewardsmith.pipeline.commands.judge import JudgeOutcome, build_judge, judge_job
from rewardsmith.pipeline.events import Silent
from rewardsmith.spec import Spec
from rewardsmith.statistics import wilson_interval
from tables import Json, about, bench_parser, machine, markdown_table, publish
from trainings import shuffled
from vllm_server import generating

SETS = ("pandalm_test_human", "hh_harmless_base_test")
LONGEST = 1500
"""Characters of prompt and both responses: what a small judge has room for."""
MODES: dict[str, Json] = {
    "JSON by schema": {"output": "json_schema"},
    "text": {"output": "text"},
    "token probabilities": {"verdict": "logprobs"},
}


def main() -> None:
    """Ask, measure, print."""
    parser = bench_parser(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the folder with held_out/")
    parser.add_argument("--base", type=Path, default=Path("build/SmolLM2-135M-Instruct"))
    parser.add_argument("--vllm", default=".venv-vllm/bin/python", help="Python of vLLM's environment")
    parser.add_argument("--endpoint", help="a server that is there: its address with /v1, the model is called smol")
    parser.add_argument("--port", type=int, default=8399, help="of vLLM: answers are kept under its address")
    parser.add_argument("--judgments", type=int, default=500)
    parser.add_argument("--modes", nargs="+", choices=list(MODES), default=["JSON by schema"])
    parser.add_argument("--reward-model", type=Path)
    parser.add_argument("--out", type=Path, default=Path("build/real_judge"))
    parser.add_argument("--seed", type=int, default=17)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    pairs = asked.out / "pairs.jsonl"
    write_jsonl(pairs, drawn(asked.data, asked.judgments // 2, asked.seed))
    log = asked.out / "vllm.log"
    with generating(asked.endpoint, asked.base, log, length=2048, python=asked.vllm, port=asked.port) as url:
        rows = []
        for mode in asked.modes:
            started = time.perf_counter()
            outcome = judge_job(spec_of(url, mode, asked.seed), "pairs", str(pairs), folder(asked, mode), Silent())
            rows.append(row_of(mode, outcome, time.perf_counter() - started))
        routed = router(asked, url, pairs) if asked.reward_model else ""
    publish("real_judge", page(rows, routed, asked), asked)


def drawn(data: Path, count: int, seed: int) -> list[Json]:
    """Short pairs, half of each set."""
    found: list[Json] = []
    for place, name in enumerate(SETS):
        rows = [row for row in read_jsonl(data / "held_out" / f"{name}.jsonl.gz") if size_of(row) <= LONGEST]
        take = count // len(SETS) + (place < count % len(SETS))
        found += [{**rows[at], "subset": name} for at in shuffled(len(rows), seed)[:take]]
    return found


def size_of(row: Json) -> int:
    """Characters of all texts of a pair."""
    return sum(len(turn["content"]) for side in ("prompt", "chosen", "rejected") for turn in row[side])


def spec_of(url: str, mode: str, seed: int) -> Spec:
    """A judge that waits as long as a CPU takes, and writes no more than a verdict needs."""
    judge: dict[str, Any] = {"endpoint": url, "model": "smol", "max_tokens": 120, "concurrency": 16}
    judge |= {"call_deadline": 1800.0, "deadline": 7200.0, "probes": {"consistency": 0, "injection": 0}}
    return Spec.model_validate({"seed": seed, "judge": judge | MODES[mode], "evaluation": {"benchmarks": []}})


def folder(asked: argparse.Namespace, mode: str) -> Path:
    """Where the answers of a mode are kept."""
    return Path(asked.out) / mode.replace(" ", "_")


def row_of(mode: str, outcome: JudgeOutcome, seconds: float) -> list[str]:
    """One line of the table."""
    record = outcome.record
    replies, letters = record.replies["pairwise"], record.places.get("pairwise", {})
    named = letters.get("A", 0) + letters.get("B", 0)
    consistency = record.consistency.get("pairwise")
    right = sum(value or 0.0 for value in [outcome.result.average]) * record.rows
    return [
        mode,
        f"{record.rows:,}",
        f"{replies.replies:,}",
        share(right, record.rows),
        share(letters.get("A", 0), named),
        "–" if consistency is None or consistency.share is None else f"{100 * consistency.share:.1f}",
        "–" if record.ties.share is None else f"{100 * record.ties.share:.1f}",
        share(replies.unparsed, replies.replies),
        f"{record.cost.calls:,}",
        f"{seconds:.0f}" if outcome.paid else "kept",
    ]


def share(count: float, total: int) -> str:
    """Per cent with Wilson's interval."""
    if not total:
        return "–"
    interval = wilson_interval(count, total)
    return f"{100 * count / total:.1f} ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


def router(asked: argparse.Namespace, url: str, pairs: Path) -> str:
    """What a calibration on the same answers concludes."""
    spec = spec_of(url, asked.modes[0], asked.seed)
    options = CalibrateOptions(models=(str(asked.reward_model),), out=asked.out / "routing", data=str(pairs))
    judge = build_judge(spec.judge, folder(asked, asked.modes[0]), seed=spec.seed)
    record = calibrate_job(spec, options, Silent(), judge=judge)
    return f"{record.statement}\n\n{record.judge_statement}\n"


def page(rows: list[list[str]], routed: str, asked: argparse.Namespace) -> str:
    """The table, and what the router says."""
    head = ["asked for", "pairs", "judgments", "score, %", "first named, %", "same in both orders, %", "ties, %"]
    head += ["unparsable, %", "calls", "seconds"]
    said = f"\nThe router with this judge and {asked.reward_model}: {routed}" if routed else ""
    return f"# A real judge\n\n{about(__doc__)}\n{machine()}.\n\n{markdown_table(head, rows)}{said}"


if __name__ == "__main__":
    main()
