"""What the embedded samples give away: chance, the longer response, words alone; a trained model beside them.

    python bench/embedded_baselines.py                            print the tables
    python bench/embedded_baselines.py --run runs/quickstart --save

`words` is a prompt-blind bag of words fitted on the training pairs. `words, cross-fitted` is harsher: fitted on the
benchmark's own rows, fold by fold. `--run` adds what that run's model scored, on the rows of that run's seed.
`--save` writes bench/results/embedded_baselines.md. Takes a few seconds.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from rewardsmith.evaluation import BenchmarkRows, find_benchmark, read_rewards, score_rows
from rewardsmith.evaluation.contract import Rewards
from rewardsmith.records.evaluation import SubsetResult
from rewardsmith.samples import CATEGORIES, write_samples
from rewardsmith.samples.baselines import bag_of_words_cross_fitted, bag_of_words_rewards, longer_wins_rewards
from rewardsmith.spec import load_spec
from tables import bench_parser, machine, markdown_table, publish

WORDS, CROSS_FITTED = "words", "words, cross-fitted"


def main() -> None:
    """Generate, score, print."""
    parser = bench_parser(__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", type=Path, help="run directory of an embedded spec; its seed counts")
    arguments = parser.parse_args()
    seed = load_spec(arguments.run / "spec.yaml").seed if arguments.run else arguments.seed
    title = "# What simple rules reach on the embedded data"
    publish("embedded_baselines", f"{title}\n\n{report(seed, arguments.run)}", arguments)


def report(seed: int, run: Path | None) -> str:
    """Both tables, in Markdown."""
    with tempfile.TemporaryDirectory() as folder:
        paths = write_samples(Path(folder), seed=seed)
        train = [json.loads(line) for line in paths.train.read_text(encoding="utf-8").splitlines()]
        texts = [(pair["chosen"][0]["content"], pair["rejected"][0]["content"]) for pair in train]
        what = f"Embedded samples, seed {seed}: {len(train)} training pairs. Scores in percent. On {machine()}."
        sections = [what, ""]
        for title, name, file, key in (
            ("Best-of-N rows", "rewardbench2", paths.best_of_4, "rewardbench2"),
            ("Held-out pairs", "pairs", paths.held_out, "held_out"),
        ):
            rows = find_benchmark(name).load(str(file), None)
            rewards_file = run / "eval" / key / "rows.jsonl" if run else None
            sections += [f"## {title}", "", table(name, rows, texts, rewards_file)]
    return "\n".join(sections)


def table(name: str, rows: BenchmarkRows, texts: list[tuple[str, str]], rewards_file: Path | None) -> str:
    """One table. Without a run, the column of the trained model is left out."""
    responses = [[response[-1].content for response in row.responses] for row in rows.rows]
    longer = longer_wins_rewards(responses)
    trained = read_rewards(str(rewards_file), rows.rows) if rewards_file else None
    others = {WORDS: bag_of_words_rewards(texts, responses), CROSS_FITTED: cross_fitted(rows, responses)}
    result = score_rows(find_benchmark(name), rows, trained or longer, seed=0, others=others).result
    head = [
        "subset",
        "rows",
        "chance",
        "longer wins",
        WORDS,
        CROSS_FITTED,
        *["trained model, 95 % interval"] * bool(trained),
    ]
    lines = [cells(subset, result.subsets[subset], trained is not None) for subset in CATEGORIES]
    return markdown_table(head, lines, numbers=False)


def cells(name: str, subset: SubsetResult, trained: bool) -> list[str]:
    """One line of a table."""
    blind = [
        subset.baseline,
        subset.length_baseline,
        subset.extra_baselines[WORDS],
        subset.extra_baselines[CROSS_FITTED],
    ]
    scored = f"{100 * subset.score:.1f} ({100 * subset.ci_low:.1f} to {100 * subset.ci_high:.1f})"
    return [name, str(subset.n), *(f"{100 * value:.1f}" for value in blind), *[scored] * trained]


def cross_fitted(rows: BenchmarkRows, responses: list[list[str]]) -> Rewards:
    """Cross-fitted rewards, each subset by itself, in the order of the rows."""
    rewards: dict[int, Rewards] = {}
    for subset in CATEGORIES:
        places = [i for i, row in enumerate(rows.rows) if row.subset == subset]
        n_chosen = [len(rows.rows[i].chosen) for i in places]
        fitted = bag_of_words_cross_fitted([responses[i] for i in places], n_chosen)
        rewards.update(zip(places, fitted, strict=True))
    return [rewards[i] for i in range(len(responses))]


if __name__ == "__main__":
    main()
