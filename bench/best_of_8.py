"""Best of eight by a real decoder: SmolLM2 answers sums, our reward model picks, and the answer can be checked.

    python bench/best_of_8.py --reward-model runs/real-400x384/model --vllm .venv-vllm/bin/python --prompts 100

vLLM serves SmolLM2-135M-Instruct (`make real-weights`, `make .venv-vllm/.installed`), or `--endpoint` names a server.
Eight answers to each sum, sampled at temperature 1 with a seed; what was sampled is in OUT/samples.jsonl and is not
asked again. The curve over n is that of `rewardsmith probe --policy-samples`: OUT/policy_samples.json, with the reward
model's picks, random ones and an oracle's. An answer is right where the last number in it is the sum.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

from rewardsmith.records.files import read_record
from rewardsmith.records.probes import PolicySamplesRecord
from tables import Json, about, bench_parser, machine, markdown_table, publish
from vllm_server import generating

ANSWERS = 8
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def main() -> None:
    """Sample what is missing, score, print the curve."""
    parser = bench_parser(__doc__)
    parser.add_argument("--reward-model", type=Path, required=True)
    parser.add_argument("--base", type=Path, default=Path("build/SmolLM2-135M-Instruct"))
    parser.add_argument("--vllm", default=".venv-vllm/bin/python", help="Python of vLLM's environment")
    parser.add_argument("--endpoint", help="a server that is there: its address with /v1, the model is called smol")
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path("build/best_of_8"))
    parser.add_argument("--seed", type=int, default=17)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    samples = asked.out / "samples.jsonl"
    wanted = sums(asked.prompts, asked.seed)
    there = [json.loads(line) for line in samples.read_text().splitlines()] if samples.exists() else []
    missing = wanted[len(there) :]
    if missing:
        with (
            generating(asked.endpoint, asked.base, asked.out / "vllm.log", length=512, python=asked.vllm) as url,
            samples.open("a", encoding="utf-8") as file,
        ):
            for first, second in missing:
                file.write(json.dumps(sampled(url, first, second, asked.seed)) + "\n")
                file.flush()
    command = [sys.executable, "-m", "rewardsmith", "probe", "--model", str(asked.reward_model)]
    code = subprocess.call([*command, "--policy-samples", str(samples), "--out", str(asked.out)])
    if code not in (0, 1):  # 1: a reward is missing
        sys.exit(code)
    publish("best_of_8", page(read_record(asked.out / "policy_samples.json", PolicySamplesRecord), asked), asked)


def page(record: PolicySamplesRecord, asked: argparse.Namespace) -> str:
    """The curve, and what the labels say of the rewards."""
    labels = record.labels
    if labels is None or labels.best_of_n is None:
        sys.exit("no prompt has three completions with a reward and a label")
    curve = labels.best_of_n
    table = markdown_table(
        ["n", "right, %", "of a random answer", "of the best answer", "reward of the pick"],
        [
            [
                f"{one.n}",
                f"{100 * one.gold:.1f} ({100 * one.gold_low:.1f} to {100 * one.gold_high:.1f})",
                f"{100 * one.random:.1f}",
                f"{100 * one.oracle:.1f}",
                f"{one.reward:.2f}",
            ]
            for one in curve.points
        ],
    )
    auc = (
        "no prompt has right and wrong answers"
        if labels.auc is None
        else f"of a right and a wrong answer to one sum the right one has more reward in {100 * labels.auc:.1f} % "
        f"({100 * (labels.auc_low or 0):.1f} to {100 * (labels.auc_high or 1):.1f}; {labels.mixed} sums)"
    )
    return (
        f"# Best of eight by a real decoder\n\n{about(__doc__)}\n{machine()}.\n\n{asked.reward_model}: "
        f"{record.prompts} sums, {record.completions} answers, {100 * labels.correct:.1f} % of them right; {auc}.\n\n"
        f"{table}\n{curve.text}\n"
    )


def sums(count: int, seed: int) -> list[tuple[int, int]]:
    """So many sums of two numbers up to 99, none twice."""
    draw = random.Random(seed)  # noqa: S311 - a sample, not a secret
    return draw.sample([(first, second) for first in range(2, 100) for second in range(2, 100)], count)


def is_right(answer: str, total: int) -> bool:
    """Whether the last number in an answer is the total."""
    found = _NUMBER.findall(answer)
    return bool(found) and float(found[-1].replace(",", "")) == total


def sampled(url: str, first: int, second: int, seed: int) -> Json:
    """Eight answers to one sum, and which are right."""
    question = f"What is {first} + {second}?"
    body = {
        "model": "smol",
        "messages": [{"role": "user", "content": question}],
        "n": ANSWERS,
        "temperature": 1.0,
        "max_tokens": 48,
        "seed": seed,
    }
    answers = [choice["message"]["content"] for choice in _post(f"{url}/chat/completions", body)["choices"]]
    return {"prompt": question, "completions": answers, "labels": [is_right(one, first + second) for one in answers]}


def _post(url: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=900) as answer:  # noqa: S310 - the user's own
        return json.loads(answer.read())


if __name__ == "__main__":
    main()
