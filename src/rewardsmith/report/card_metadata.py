"""The head of a model card: the YAML that the Hugging Face hub reads, with a result for every subset in `model-index`.

Scores are shares between 0 and 1 (the Ties subset of RewardBench 2 may leave them a little), with their interval and
baseline under `args`. A benchmark keeps the name that its rows earn: only the published data set in full is called
by its hub id. There is no licence here: it follows from base and data, and their owner writes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from rewardsmith.records import BenchmarkResult, SubsetResult
from rewardsmith.report.card_sources import CardSource, hub_id
from rewardsmith.report.formatting import visible
from rewardsmith.report.scores import AVERAGE, title_of

_DIGITS = 4
TAGS = ("reward-model", "rlhf", "preference-learning", "bradley-terry", "rewardsmith")


def front_matter(source: CardSource) -> str:
    """The YAML between two lines of dashes, ending in one newline."""
    content: dict[str, Any] = {"library_name": "peft" if source.adapter else "transformers"}
    content["pipeline_tag"] = "text-classification"
    content["tags"] = list(TAGS)
    if source.base:
        content["base_model"] = source.base
        content["base_model_relation"] = "adapter" if source.adapter else "finetune"
    datasets = training_sets(source)
    if datasets:
        content["datasets"] = datasets
    results = [result for key, found in source.records.benchmarks.items() for result in _results(key, found)]
    if results:
        content["model-index"] = [{"name": source.name, "results": results}]
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{text}---\n"


def training_sets(source: CardSource) -> list[str]:
    """Hub ids of the training data; files of the owner's machine are not named."""
    spec = source.records.spec
    ids = [hub_id(one.id) for one in spec.data.train if one.id] if spec else []
    return list(dict.fromkeys(one for one in ids if one))


def _results(key: str, result: BenchmarkResult) -> Iterator[dict[str, Any]]:
    for name, subset in result.subsets.items():
        yield _entry(key, result, name, subset.score, _of_subset(subset))
    if result.average is not None and len(result.subsets) > 1:
        low, high = result.average_ci or (None, None)
        args = {"ci_low": low, "ci_high": high, "baseline": result.average_baseline}
        yield _entry(key, result, AVERAGE, result.average, args)


def _of_subset(subset: SubsetResult) -> dict[str, Any]:
    names = ("n", "ci_low", "ci_high", "baseline", "length_baseline", "n_missing")
    return {name: getattr(subset, name) for name in names}


def _entry(
    key: str, result: BenchmarkResult, subset: str, score: float, args: Mapping[str, float | None]
) -> dict[str, Any]:
    dataset: dict[str, Any] = {
        "type": hub_id(result.dataset.source) if result.dataset.official else visible(key, 80),
        "name": title_of(result),
        "config": visible(subset, 80),
    }
    if result.dataset.official and result.dataset.revision:
        dataset["revision"] = result.dataset.revision
    known = {name: _rounded(value) for name, value in args.items() if value is not None}
    metric = {"type": "score", "value": _rounded(score), "name": f"{visible(subset, 80)} score", "args": known}
    return {
        "task": {"type": "text-classification", "name": "Reward modelling"},
        "dataset": dataset,
        "metrics": [metric],
    }


def _rounded(value: float) -> float | int:
    return value if isinstance(value, int) else round(value, _DIGITS)
