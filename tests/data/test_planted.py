"""Faults planted into clean pairs at 0.1 %, 1 % and 10 %: all of them are found, and nothing else appears.

The pairs are a thousand of random words: clean by construction, so that a finding can only come from what was planted.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rendering_tokenizers import chatml

from rewardsmith.data.prepare import PreparedData, prepare
from rewardsmith.data.surveys.survey import BenchmarkPrompt
from rewardsmith.rendering import Renderer
from rewardsmith.spec import Spec
from rewardsmith.types import Message

Row = dict[str, Any]
PAIRS = 1000
RATES = (0.001, 0.01, 0.1)


def vocabulary() -> list[str]:
    """Words that can be pronounced and mean nothing."""
    draw = random.Random(0)
    syllables = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
    return sorted({"".join(draw.choices(syllables, k=draw.randint(2, 4))) for _ in range(4000)})


WORDS = vocabulary()


def text(draw: random.Random, low: int, high: int) -> str:
    """Sentences of eight words."""
    words = draw.choices(WORDS, k=draw.randint(low, high))
    sentences = [" ".join(words[start : start + 8]).capitalize() + "." for start in range(0, len(words), 8)]
    return " ".join(sentences)


def clean_row(draw: random.Random, number: int | str) -> Row:
    return {
        "prompt": text(draw, 10, 40),
        "chosen": text(draw, 20, 50),
        "rejected": text(draw, 20, 50),
        "target_margin": draw.choice([0.5, 1.0, 2.0]),
        "id": f"r{number}",
    }


def turn(role: str, content: str) -> Row:
    return {"role": role, "content": content}


def three_answers(row: Row, draw: random.Random) -> list[Row]:
    """A > B, B > C and C > A."""
    answers = [text(draw, 20, 50) for _ in range(3)]
    sides = [(0, 1), (1, 2), (2, 0)]
    return [row | {"chosen": answers[a], "rejected": answers[b], "id": f"{row['id']}-{a}{b}"} for a, b in sides]


def changed(**changes: Callable[[Row], Any]) -> Callable[[Row, random.Random], list[Row]]:
    return lambda row, draw: [row | {name: make(row) for name, make in changes.items()}]


def on_either_side(edit: Callable[[str], str]) -> Callable[[Row, random.Random], list[Row]]:
    """Words added to chosen responses alone would be a shortcut, and found as one."""

    def plant(row: Row, draw: random.Random) -> list[Row]:
        side = draw.choice(("chosen", "rejected"))
        return [row | {side: edit(row[side])}]

    return plant


def edited(row: Row, draw: random.Random) -> list[Row]:
    """The row, and a copy with one word in twenty replaced."""

    def edit(words: list[str]) -> str:
        for _ in range(max(1, len(words) // 20)):
            words[draw.randrange(len(words))] = draw.choice(WORDS)
        return " ".join(words)

    long = row | {name: text(draw, 60, 80) for name in ("prompt", "chosen", "rejected")}
    copy = {name: edit(long[name].split(" ")) for name in ("prompt", "chosen", "rejected")}
    return [long, long | copy | {"id": f"{row['id']}-edited"}]


PLANTS: dict[str, tuple[Callable[[Row, random.Random], list[Row]], int]] = {
    "missing_field": (changed(chosen=lambda row: None), 1),
    "not_text": (changed(rejected=lambda row: 5), 1),
    "not_unicode": (changed(chosen=lambda row: row["chosen"] + " \ud83d"), 1),
    "unknown_role": (changed(prompt=lambda row: [turn("narrator", row["prompt"])]), 1),
    "empty_text": (changed(rejected=lambda row: " \n"), 1),
    "role_order": (changed(prompt=lambda row: [turn("user", row["prompt"]), turn("user", "And?")]), 1),
    "identical_pair": (changed(rejected=lambda row: row["chosen"]), 1),
    "identical_folded": (changed(rejected=lambda row: row["chosen"].replace(". ", ".  ")), 1),
    "nul_character": (changed(chosen=lambda row: row["chosen"] + "\0"), 1),
    "control_character": (on_either_side(lambda text: text + "\x07 end."), 1),
    "replacement_character": (on_either_side(lambda text: "Caf\ufffd. " + text), 1),
    "mojibake": (on_either_side(lambda text: text + " It wasnâ€™t so."), 1),
    "over_length": (changed(chosen=lambda row: row["chosen"] * 40), 1),
    "eos_doubled": (changed(chosen=lambda row: row["chosen"] + "<|im_end|>"), 1),
    "pad_in_text": (changed(chosen=lambda row: row["chosen"] + "<|endoftext|> so."), 1),
    "special_token_in_text": (changed(prompt=lambda row: row["prompt"] + " <|im_start|> so."), 1),
    "secret_in_text": (on_either_side(lambda text: text + " Key AKIAZ7QWERTY5UIOPASD, keep it."), 1),
    "personal_data": (on_either_side(lambda text: text + " Write to maria.lopez@gmail.com today."), 1),
    "margin_against_label": (changed(target_margin=lambda row: -1.0), 1),
    "duplicate_pair": (lambda row, draw: [row, row | {"id": f"{row['id']}-again"}], 1),
    "contradictory_pair": (
        lambda row, draw: [
            row,
            row | {"chosen": row["rejected"], "rejected": row["chosen"], "id": f"{row['id']}-turned"},
        ],
        2,
    ),
    "preference_cycle": (three_answers, 3),
}
"""Code: how one fault is written, and how many rows the finding counts for it."""


def prepared_of(folder: Path, rows: list[Row], benchmark: tuple[BenchmarkPrompt, ...] = ()) -> PreparedData:
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"train": [{"path": str(path), "label": "train"}], "held_out": {"fraction": 0.0}, "max_length": 1500}
    renderer = Renderer.from_tokenizer(chatml(), max_length=1500)
    return prepare(Spec.model_validate({"data": data}), renderer, benchmarks={"own": benchmark} if benchmark else None)


def counts(prepared: PreparedData) -> dict[str, int]:
    return {finding.code: finding.count for finding in prepared.record.findings}


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Row], dict[str, int]]:
    """The clean rows, and what is found in them."""
    draw = random.Random(1)
    rows = [clean_row(draw, number) for number in range(PAIRS)]
    return rows, counts(prepared_of(tmp_path_factory.mktemp("clean"), rows))


def planted(rows: list[Row], code: str, rate: float) -> Iterator[Row]:
    """The clean rows with faulty ones among them, in random places."""
    draw = random.Random(f"{code} {rate}")
    number = round(rate * len(rows))
    at = set(draw.sample(range(len(rows)), number))
    for place, row in enumerate(rows):
        yield row
        if place in at:
            yield from PLANTS[code][0](clean_row(draw, f"bad{place}"), draw)


def test_clean_pairs_show_nothing(clean: tuple[list[Row], dict[str, int]]) -> None:
    assert clean[1] == {}


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("code", PLANTS)
def test_every_planted_fault_is_found_and_nothing_else(
    code: str, rate: float, clean: tuple[list[Row], dict[str, int]], tmp_path: Path
) -> None:
    rows, before = clean
    prepared = prepared_of(tmp_path, list(planted(rows, code, rate)))
    assert counts(prepared) == before | {code: round(rate * PAIRS) * PLANTS[code][1]}
    (finding,) = (finding for finding in prepared.record.findings if finding.code == code)
    assert all(example.id.startswith("rbad") for example in finding.examples)


@pytest.mark.parametrize("rate", RATES)
def test_near_duplicates_are_found(rate: float, clean: tuple[list[Row], dict[str, int]], tmp_path: Path) -> None:
    draw = random.Random(f"near {rate}")
    number = round(rate * PAIRS)
    rows = [*clean[0], *(row for n in range(number) for row in edited(clean_row(draw, f"bad{n}"), draw))]
    draw.shuffle(rows)
    found = counts(prepared_of(tmp_path, rows))
    assert 0.95 * number <= found.pop("near_duplicate_pair") <= number
    assert found.pop("near_duplicate_prompt", 0) <= 2 * number
    assert found == {}


@pytest.mark.parametrize("rate", RATES)
def test_contamination_is_found(rate: float, clean: tuple[list[Row], dict[str, int]], tmp_path: Path) -> None:
    """Prompts of a benchmark, one word in twenty replaced, in training rows of their own."""
    draw = random.Random(f"contaminated {rate}")
    number = round(rate * PAIRS)
    prompts = [text(draw, 40, 80) for _ in range(200)]
    rows = list(clean[0])
    for n in range(number):
        words = prompts[n % len(prompts)].split(" ")
        words[draw.randrange(len(words))] = draw.choice(WORDS)
        rows.append(clean_row(draw, f"bad{n}") | {"prompt": " ".join(words)})
    draw.shuffle(rows)
    benchmark = tuple(BenchmarkPrompt("own", str(n), (Message("user", p),)) for n, p in enumerate(prompts))
    prepared = prepared_of(tmp_path, rows, benchmark)
    found = counts(prepared)
    assert found.pop("contaminated") >= 0.98 * number
    assert found == {}
    assert prepared.record.failed_on == ("contaminated",)
