"""Rows for the explorer: margins, flags and order by hand; what is packed comes out again; nothing of a user is lost
or let through."""

import base64
import json
import random
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import report_data
from hypothesis import given
from hypothesis import strategies as st
from report_records import HOSTILE, build_run

from rewardsmith.records.evaluation import DatasetInfo, RowResult
from rewardsmith.records.files import read_record
from rewardsmith.records.probes import ProbeExample, ProbeResult, ProbesRecord
from rewardsmith.report.formatting import written_out
from rewardsmith.report.html import write_report
from rewardsmith.report.reading import RunRecords, read_run, without_texts
from rewardsmith.report.sections.rows import (
    CHARACTERS,
    FLAGS,
    TRAINING,
    Item,
    Payload,
    RowText,
    RowTexts,
    explorer,
    pack,
    pair_place,
    row_items,
)


def unpacked(payload: Payload) -> tuple[dict[str, Any], list[str]]:
    index, *pieces = (json.loads(zlib.decompress(base64.b64decode(part))) for part in (payload.index, *payload.texts))
    return index, [text for piece in pieces for text in piece]


def item(number: int, text: RowText | None = None, **changes: Any) -> Item:
    made = Item("rows", "bench", "Math", str(number), (1.0, 2.0), 1, -1.0, True, key=f"k{number}", text=text)
    return replace(made, **changes)


def records_of(folder: Path, *rows: RowResult) -> RunRecords:
    found = read_run(build_run(folder))
    return replace(found, rows={"rewardbench2": rows}, noise=None, probes=None)


def row(name: str, rewards: tuple[float | None, ...], result: float | None, n_chosen: int = 1) -> RowResult:
    return RowResult(id=name, subset="Math", rewards=rewards, n_chosen=n_chosen, result=result, digest=f"d-{name}")


def test_margins_mistakes_and_order_by_hand(tmp_path: Path) -> None:
    rows = (
        row("right", (2.0, 1.0, -3.0), 1.0),
        row("worst", (0.0, 4.0, 5.5), 0.0),
        row("near", (1.0, 1.25), 0.0),
        row("ties", (3.0, 0.5, 1.0), 0.0, n_chosen=2),
        row("gap", (None, 1.0), 0.0),
        row("half", (1.0, 1.0), 0.5),
    )
    found = row_items(records_of(tmp_path, *rows), RowTexts())
    assert [(one.id, one.margin, one.mistake) for one in found] == [
        ("worst", -5.5, True),
        ("ties", -0.5, True),
        ("near", -0.25, True),
        ("half", 0.0, True),
        ("gap", None, True),
        ("right", 1.0, False),
    ]
    assert {one.id: one.flags for one in found if one.flags} == {"gap": ("missing",)}
    assert next(one.note for one in found if one.id == "half") == "the benchmark’s rule counts 50.0 % of a point"


@pytest.mark.parametrize(
    ("chosen", "rejected", "flagged"), [("short", "a longer one", True), ("a longer one", "short", False)]
)
def test_a_mistake_that_length_explains_is_flagged(tmp_path: Path, chosen: str, rejected: str, flagged: bool) -> None:
    texts = RowTexts({"d-0": RowText("prompt", (chosen,), ("tiny", rejected))})
    (wrong,) = row_items(records_of(tmp_path, row("0", (0.0, 1.0, 2.0), 0.0)), texts)
    assert (wrong.flags == ("longer",)) is flagged
    (right,) = row_items(records_of(tmp_path / "right", row("0", (3.0, 1.0, 2.0), 1.0)), texts)
    assert right.flags == ()


def test_pairs_in_doubt_come_with_their_place_and_text(tmp_path: Path) -> None:
    noise = report_data.label_noise()
    first = noise.suspects[0]
    text = RowText("Which?", ("this",), ("that one",))
    records = replace(records_of(tmp_path), noise=noise)
    found = row_items(records, RowTexts({pair_place(first.file, first.row, first.id): text}))
    assert len(found) == len(noise.suspects)
    shown = next(one for one in found if one.id == first.id)
    assert (shown.kind, shown.source, shown.margin, shown.text) == ("pairs", TRAINING, first.margin, text)
    assert "doubt" in shown.flags
    assert f"{first.file}, row {first.row}" in shown.note


def test_edited_responses_stand_as_rejected(tmp_path: Path) -> None:
    example = ProbeExample(
        id="7", subset="Focus", prompt="p", original="o", edited="e", reward=1.0, reward_edited=1.5, shift=0.25
    )
    probe = ProbeResult(
        kind="surface",
        title="Emoji",
        meaning="",
        why="",
        responses=1,
        n=1,
        n_missing=0,
        n_not_applicable=0,
        prompts=1,
        examples=(example,),
    )
    probes = ProbesRecord(
        model="m",
        dataset=DatasetInfo(source="s"),
        title="t",
        rows=1,
        drawn=1,
        prompts=1,
        seed=1,
        protocol="",
        reward_mean=0.0,
        reward_std=2.0,
        flat=False,
        constant=False,
        probes={"emoji": probe},
    )
    (one,) = row_items(replace(records_of(tmp_path), probes=probes), RowTexts())
    assert (one.source, one.margin, one.mistake) == ("emoji", -0.5, True)
    assert one.text == RowText("p", ("o",), ("e",))
    assert one.note == "edited: reward 1 → 1.5, moved by 0.25 standard deviations"


def test_ids_that_findings_name_are_flagged_among_pairs_and_not_in_benchmarks(tmp_path: Path) -> None:
    found = records_of(tmp_path, row("s-12", (0.0, 1.0), 0.0))  # a finding of the check names s-12
    (of_benchmark,) = row_items(found, RowTexts())
    held_out = replace(found, rows={"held_out": found.rows["rewardbench2"]})
    (of_pairs,) = row_items(held_out, RowTexts())
    assert (of_benchmark.flags, of_pairs.flags) == ((), ("finding",))


def test_each_text_travels_once_and_comes_back() -> None:
    shared = RowText("one prompt", ("yes",), ("no", "no\n\tnever"))
    packed = pack([item(0, shared), item(1, replace(shared, rejected=("no",))), item(2)], {"bench": "The bench"})
    index, texts = unpacked(packed)
    assert texts == ["one prompt", "yes", "no", "no\n\tnever"]
    assert index["texts"] == [[0, 1, 2, 3], [0, 1, 2], []]
    assert index["sources"] == [{"kind": "rows", "key": "bench", "title": "The bench"}]
    assert (index["id"], index["margin"], index["rewards"][0]) == (["0", "1", "2"], [-1.0] * 3, [1.0, 2.0])
    assert (packed.rows, packed.with_text) == (3, 2)


def test_long_texts_are_cut_and_say_how_long_they_were() -> None:
    index, texts = unpacked(pack([item(0, RowText("p", ("x" * 5000,), ("y" * CHARACTERS,)))], {}))
    assert texts == ["p", "x" * CHARACTERS, "y" * CHARACTERS]
    assert index["cut"] == {"1": 5000}


def weight(packed: Payload) -> int:
    return len(packed.index) + sum(map(len, packed.texts))


def test_the_budget_holds_and_the_worst_rows_keep_their_texts() -> None:
    draws = [
        f"{number:05d} " + "".join(chr(97 + (number * 7 + k * k) % 26) for k in range(1800)) for number in range(3000)
    ]
    items = [item(number, RowText(text, ("a",), ("b",))) for number, text in enumerate(draws)]
    whole = pack(items, {})
    budget = weight(whole) * 2 // 3
    part = pack(items, {}, budget=budget)
    assert weight(part) <= budget
    assert 0 < part.with_text < whole.with_text == len(items)
    index, texts = unpacked(part)
    kept = [bool(numbers) for numbers in index["texts"]]
    assert kept == sorted(kept, reverse=True)  # the first ones, without holes
    assert max(number for numbers in index["texts"] for number in numbers) < len(texts)


def test_ten_thousand_rows_of_long_texts_stay_under_eight_megabytes() -> None:
    draw = random.Random(5)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 9))) for _ in range(4000)]
    # More text than fits: it is the budget that keeps the page small.
    items = [
        item(n, RowText(" ".join(draw.choices(words, k=60)), (" ".join(draw.choices(words, k=150)),), ("no",)))
        for n in range(10_500)
    ]
    packed = pack(items, {})
    assert packed.rows == 10_000
    assert weight(packed) <= 7_000_000
    assert packed.with_text > 3_000


def test_what_is_not_on_the_page_is_said(tmp_path: Path) -> None:
    records = records_of(tmp_path, row("0", (0.0, 1.0), 0.0), row("1", (0.0, 1.0), 0.0))
    one = RowTexts({"d-0": RowText("p" * 3000, ("a",), ("b",))}, ("hub/set: no network",))
    found = explorer(records, one)
    assert found is not None
    assert (found.total, found.mistakes, dict(found.mistakes_of)) == (2, 2, {("rewardbench2", "Math"): 2})
    assert found.notes == (
        "The texts of 1 row are not at hand: hub/set: no network.",
        "Texts are cut at 2,000 characters; `rewardsmith open` shows the rest.",
    )
    bare = explorer(records, None)
    assert bare is not None
    assert bare.notes == ("Texts of rows are left out of this report.",)
    assert explorer(RunRecords(), None) is None


@given(st.text(max_size=80))
def test_no_control_character_reaches_the_page(text: str) -> None:
    shown = written_out(text)
    assert not [character for character in shown if ord(character) < 32 and character not in "\n\t"]
    assert not {"\u202e", "\u2066", "\x7f"} & set(shown)
    assert written_out(shown) == shown


def test_flags_are_bits_in_the_order_of_the_registry() -> None:
    index, _ = unpacked(pack([item(0, flags=("missing", "finding")), item(1)], {}))
    assert index["flags"] == list(FLAGS.values())
    assert index["flagged"] == [0b1001, 0]


def test_without_texts_nothing_that_a_user_wrote_stands_on_the_pages(tmp_path: Path) -> None:
    run = build_run(tmp_path)
    bare = without_texts(read_run(run))
    assert bare.check is not None
    assert not [finding.examples for finding in bare.check.findings if finding.examples]
    assert {one.detail for one in bare.rejected} == {""}
    assert bare.check.model_copy(update={"findings": ()}) == read_record(
        run / "check.json", type(bare.check)
    ).model_copy(update={"findings": ()})
    page = write_report(run).read_text(encoding="utf-8") + (run / "summary.md").read_text(encoding="utf-8")
    whole = write_report(run, RowTexts()).read_text(encoding="utf-8")
    assert "I can’t help with that." in whole
    assert "I can’t help with that." not in page


def test_hostile_texts_travel_as_base64(tmp_path: Path) -> None:
    run = build_run(tmp_path)
    records = read_run(run)
    digests = {row.digest: RowText(HOSTILE, (HOSTILE,), (HOSTILE,)) for row in records.rows["rewardbench2"]}
    page = write_report(run, RowTexts(digests)).read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "onerror" not in page
