"""Benchmark prompts in the training data: found by benchmark and subset, with light edits, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from overlap_world import asks, edited, prefixed, reordered, row, setting, surveyed, text

from rewardsmith.data.surveys.contamination import Contamination
from rewardsmith.data.surveys.survey import BenchmarkPrompt
from rewardsmith.samples.generator import DEFAULT_SIZES, best_of_n_rows, preference_pairs
from rewardsmith.types import Conversation

LIGHT: dict[str, Callable[[Random, str], str]] = {
    "as it is": lambda _, prompt: prompt,
    "case and punctuation": lambda _, prompt: prompt.upper().replace(".", " !"),
    "one word in twenty": lambda rng, prompt: edited(rng, prompt, 0.05),
    "a prefix": prefixed,
    "a suffix": lambda rng, prompt: f"{prompt} {text(rng, 12)}",
    "sentences in another order": reordered,
}


def benchmark(prompts: list[str], subset: str = "") -> list[BenchmarkPrompt]:
    return [BenchmarkPrompt(subset, str(number), asks(prompt)) for number, prompt in enumerate(prompts)]


def check(
    prompts: list[str | Conversation], held_out: list[int] | None = None, **benchmarks: list[BenchmarkPrompt]
) -> tuple[Any, Any]:
    rows = [row(prompt, number=number) for number, prompt in enumerate(prompts, 1)]
    found, record = surveyed(Contamination(setting(**benchmarks)), rows, held_out or [])
    return found["contaminated"], record


@pytest.mark.parametrize("kind", LIGHT)
def test_light_edits_are_found(kind: str) -> None:
    rng = Random(kind)
    prompts = [text(rng, rng.randint(30, 120)) for _ in range(500)]
    train = [text(rng, rng.randint(10, 200)) for _ in range(1000)]
    copies = [LIGHT[kind](rng, prompt) for prompt in prompts]
    found, record = check([*train, *copies], bench=benchmark(prompts))
    assert found.places.min() >= 1000
    assert len(found.places) >= 0.98 * 500
    assert record.benchmarks[0].touched == len(found.places)


@pytest.mark.parametrize("rate", [0.001, 0.01, 0.1])
def test_planted_prompts_are_found_and_nothing_else(rate: float) -> None:
    rng = Random(str(rate))
    prompts = [text(rng, rng.randint(3, 60)) for _ in range(400)]
    train: list[str | Conversation] = [text(rng, rng.randint(10, 100)) for _ in range(2000)]
    planted = sorted(rng.sample(range(2000), round(2000 * rate)))
    for place in planted:
        train[place] = rng.choice(prompts)
    found, record = check(train, bench=benchmark(prompts))
    assert found.places.tolist() == found.remove.tolist() == planted
    assert record.contaminated_pairs == len(planted)
    assert record.training_pairs == 2000


def test_the_numbers_of_each_benchmark_and_subset() -> None:
    rng = Random(1)
    shared, easy, hard, other = (text(rng, 40) for _ in range(4))
    one = [*benchmark([shared, easy], "easy"), *benchmark([shared, hard], "hard")]
    two = benchmark([shared, other])
    train = [shared, shared.upper(), edited(rng, hard, 0.1), text(rng, 40), easy]
    found, record = check(train, [4], one=one, two=two)
    numbers = {
        (line.benchmark, line.subset): (
            line.rows,
            line.touched,
            line.training_pairs,
            line.equal,
            line.ngrams + line.near,
        )
        for line in record.benchmarks
    }
    assert numbers == {
        ("one", ""): (4, 3, 3, 2, 1),
        ("one", "easy"): (2, 1, 2, 1, 0),
        ("one", "hard"): (2, 2, 3, 1, 1),
        ("two", ""): (2, 1, 2, 1, 0),
    }
    assert found.places.tolist() == [0, 1, 2]  # row 4 is held out
    assert found.summary == "training pairs with a prompt of one: 3, two: 2"
    assert found.detail(0) == "holds the prompt of one/easy row 0, word for word"
    assert next((line.benchmark, line.row, line.rule) for line in record.examples) == ("one", 1, "equal")
    whole = record.benchmarks[0]
    assert whole.share == 0.75
    assert whole.ci_low < 0.75 < whole.ci_high


def test_the_generated_pairs_do_not_hold_the_generated_benchmark() -> None:
    """Its prompts come from the forms of the training pairs, with other facts and numbers."""
    prompts = [pair["prompt"][0]["content"] for pair in preference_pairs("train", seed=0, sizes=DEFAULT_SIZES)]
    rows = best_of_n_rows(seed=0, sizes=DEFAULT_SIZES)
    bench = [BenchmarkPrompt(one["subset"], one["id"], asks(one["prompt"])) for one in rows]
    found, record = check(prompts, bench=bench)
    assert found.places.tolist() == []
    assert all(line.touched == 0 for line in record.benchmarks)
    planted, _ = check([*prompts, rows[0]["prompt"], f"Hello! {rows[1]['prompt'].upper()}"], bench=bench)
    assert len(prompts) in planted.places.tolist()


def test_only_what_is_asked_counts() -> None:
    prompt = text(Random(2), 40)
    train = [
        asks("A short question.", prompt, "And another?"),  # the assistant said it
        asks("Hello.", "Hi.", prompt),
        asks("Well then.", system=prompt),
    ]
    found, _ = check(train, bench=benchmark([prompt]))
    assert found.places.tolist() == [1]


def test_no_benchmark_is_no_contamination() -> None:
    found, record = check(["a prompt"])
    assert found.places.tolist() == []
    assert record.benchmarks == record.examples == ()


def test_a_benchmark_of_signs_only_is_no_contamination() -> None:
    found, record = check(["a prompt", "?!"], bench=benchmark(["?!"]))
    assert found.places.tolist() == []
    assert record.benchmarks[0].touched == 0
