"""Every exact fault of texts, labels and private data, planted into real and generated pairs at three rates.

What is found afterwards is what the pairs showed before, and every planted row.
"""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest
from survey_rows import codes_of, rows_of, survey

from rewardsmith.data.columns import find_columns
from rewardsmith.data.forms import read_pair
from rewardsmith.data.registry import CHECKS
from rewardsmith.data.surveys.balance import Balance
from rewardsmith.data.surveys.labels import Labels
from rewardsmith.data.surveys.private import Private
from rewardsmith.data.surveys.survey import Notes
from rewardsmith.samples.generator import preference_pairs

REAL = Path(__file__).resolve().parents[2] / "../shared/data/train"
PAIRS = 1000
KEY = "AKIA" + "Q3EGRIJPLUTV2WXY"


def rows_in(name: str) -> list[dict]:
    if name == "generated":
        return preference_pairs("train", seed=3)[: 2 * PAIRS]
    path = REAL / f"{name}.jsonl.gz"
    if not path.is_file():
        pytest.skip("the shared data is not here")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [row for row, _ in zip(map(json.loads, lines), range(PAIRS), strict=False)]


def found_in(rows: list[dict]) -> dict[str, set[int]]:
    columns = find_columns({name for row in rows for name in row}, {}, where="rows")
    kept = rows_of([read_pair(row, columns, "chat", source="rows", number=n) for n, row in enumerate(rows)])
    notes = survey(lambda _: Notes(CHECKS.values()), kept)
    surveys = [notes, *(survey(kind, kept) for kind in (Labels, Balance, Private))]
    return {code: set(places) for one in surveys for code, places in codes_of(one).items()}


def in_response(side: str, change):
    def planted(row: dict) -> list[dict]:
        text = row[side][-1]["content"]
        return [row | {side: [{"role": "assistant", "content": change(text)}]}]

    return planted


def cycle(row: dict) -> list[dict]:
    """The pair, and two more that lead back from its rejected to its chosen response."""
    third = [{"role": "assistant", "content": "Neither of the two."}]
    return [
        row,
        row | {"chosen": row["rejected"], "rejected": third},
        row | {"chosen": third, "rejected": row["chosen"]},
    ]


FAULTS = {
    "control_character": in_response("chosen", lambda text: text + "\x1b[0m"),
    "replacement_character": in_response("rejected", lambda text: text + " caf\ufffd"),
    "mojibake": in_response("chosen", lambda text: text + " It\u00e2\u20ac\u2122s."),
    "identical_folded": lambda row: [
        row | {"rejected": [{"role": "assistant", "content": row["chosen"][-1]["content"] + "\n\n"}]}
    ],
    "duplicate_pair": lambda row: [row, row],
    "contradictory_pair": lambda row: [row, row | {"chosen": row["rejected"], "rejected": row["chosen"]}],
    "preference_cycle": cycle,
    "margin_against_label": lambda row: [row | {"target_margin": -0.5}],
    "margin_unread": lambda row: [row | {"target_margin": "NaN"}],
    "margin_out_of_range": lambda row: [row | {"target_margin": 1e6}],
    "margin_zero": lambda row: [row | {"target_margin": 0}],
    "secret_in_text": in_response("rejected", lambda text: f"{text}\n{KEY}"),
    "personal_data": in_response("chosen", lambda text: f"{text}\nCall +49 228 73 0000."),
}
AND_ALL = {"duplicate_pair": 1, "contradictory_pair": 0, "preference_cycle": 0}
"""Of several rows that a fault makes, those from this one on show it; of others the only one does."""


@pytest.fixture(scope="module", autouse=True)
def few_prompts_are_read_for_their_language():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rewardsmith.data.surveys.balance.SAMPLE", 20)
        yield


@pytest.fixture(scope="module", params=["generated", "ultrafeedback_mini"])
def clean(request) -> tuple[list[dict], dict[str, set[int]]]:
    """Pairs with distinct prompts that state a margin, and what they show."""
    rows = {json.dumps(row["prompt"]): row | {"target_margin": 1.0} for row in rows_in(request.param)}
    return list(rows.values()), found_in(list(rows.values()))


@pytest.mark.parametrize("rate", [0.001, 0.01, 0.1])
@pytest.mark.parametrize("code", FAULTS)
def test_all_that_was_planted_is_found_and_nothing_else(code, rate, clean):
    rows, before = clean
    draw = random.Random(f"{code}{rate}")
    chosen = set(draw.sample(range(len(rows)), max(1, round(rate * len(rows)))))
    mixed, planted, moved = [], set(), {}
    for place, row in enumerate(rows):
        moved[place] = len(mixed)
        made = FAULTS[code](row) if place in chosen else [row]
        if place in chosen:
            planted |= set(range(len(mixed) + AND_ALL.get(code, 0), len(mixed) + len(made)))
        mixed += made
    after = found_in(mixed)
    assert after[code] - {moved[place] for place in before.get(code, ())} <= planted <= after[code]
    copies = planted | {moved[place] for place in chosen}  # a copy of a row shows what the row shows
    for other in (set(before) | set(after)) - {code}:
        assert after.get(other, set()) - copies == {moved[place] for place in before.get(other, ())} - copies


def test_generated_pairs_show_nothing():
    assert found_in(rows_in("generated")) == {}
