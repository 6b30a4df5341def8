"""The fixed data: every row is kept or removed with its reason, and checking it again finds nothing that was fixed."""

from __future__ import annotations

import json

import pytest
from rendering_tokenizers import chatml, plain

from rewardsmith.data.fix import write_fixed
from rewardsmith.data.prepare import prepare
from rewardsmith.rendering import Renderer
from rewardsmith.spec import Spec
from rewardsmith.types import Message

CLEAN = [
    {"prompt": f"Name river number {n}.", "chosen": f"The Loire, {n}.", "rejected": f"Nantes, {n}.", "id": f"r{n}"}
    for n in range(30)
]
TWIN = CLEAN[3] | {"id": "twin"}
OPPOSITE = CLEAN[7] | {"chosen": CLEAN[7]["rejected"], "rejected": CLEAN[7]["chosen"], "id": "opposite"}
BLANK = CLEAN[0] | {"chosen": " ", "id": "blank"}
LEAK = {"prompt": CLEAN[5]["prompt"], "chosen": "The Rhône.", "rejected": "Lyon.", "id": "leak"}
FRESH = {"prompt": "And a lake?", "chosen": "Geneva.", "rejected": "The Alps.", "id": "fresh", "margin": 0.5}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [{"path": str(path), "label": path.name}]


def prepared_of(train, held_out=None, *, strings="chat"):
    spec = Spec.model_validate(
        {
            "data": {
                "train": train,
                "held_out": {"fraction": 0.1} if held_out is None else {"sources": held_out},
                "strings": strings,
            }
        }
    )
    tokenizer = chatml() if strings == "chat" else plain()
    renderer = Renderer.from_tokenizer(tokenizer, max_length=200, conversational=strings == "chat")
    return prepare(spec, renderer)


def fixed(tmp_path, train, held_out=None, *, strings="chat", drop_leaked="train"):
    """The data as prepared, what fixing wrote, and the fixed data prepared again."""
    tmp_path.mkdir(exist_ok=True)
    sources = write(tmp_path / "train.jsonl", train)
    more = None if held_out is None else write(tmp_path / "held_out.jsonl", held_out)
    before = prepared_of(sources, more, strings=strings)
    record = write_fixed(before, tmp_path / "out", drop_leaked=drop_leaked)
    again = [{"path": str(tmp_path / "out" / name)} for name in record.files]
    return before, record, prepared_of(again[:1], again[1:] or None, strings=strings)


def removed(tmp_path):
    return [json.loads(line) for line in (tmp_path / "out" / "removed.jsonl").read_text().splitlines()]


def test_every_row_is_kept_or_removed_with_its_reason(tmp_path):
    before, record, after = fixed(tmp_path, [*CLEAN, TWIN, OPPOSITE, BLANK])
    assert (record.read, record.kept, record.removed) == (33, 29, 4)
    assert record.removed_by_reason == {"contradictory_pair": 2, "duplicate_pair": 1, "empty_text": 1}
    assert [(row["row"], row["id"], row["reason"]) for row in removed(tmp_path)] == [
        (33, "blank", "empty_text"),
        (8, "r7", "contradictory_pair"),
        (31, "twin", "duplicate_pair"),
        (32, "opposite", "contradictory_pair"),
    ]
    assert removed(tmp_path)[2]["detail"] == "the same pair as train.jsonl:4"
    assert {finding.code for finding in before.record.findings} >= {"duplicate_pair", "contradictory_pair"}
    assert {finding.code for finding in after.record.findings} & set(record.removed_by_reason) == set()
    assert (after.record.read, after.record.rejected) == (29, 0)


def test_what_stays_is_what_it_was(tmp_path):
    _, _, after = fixed(tmp_path, [FRESH, *CLEAN, TWIN])
    pairs = {row.pair.id: row.pair for row in after.train} | {pair.id: pair for pair in after.held_out}
    assert pairs["fresh"].target_margin == 0.5
    assert pairs["fresh"].source == "train.jsonl"
    assert pairs["fresh"].chosen[0].content == "Geneva."
    assert set(pairs) == {"fresh", *(row["id"] for row in CLEAN)}


def test_fixing_what_is_fixed_removes_nothing(tmp_path):
    fixed(tmp_path, [*CLEAN, TWIN, OPPOSITE, BLANK])
    _, record, _ = fixed(
        tmp_path / "second", [json.loads(line) for line in (tmp_path / "out" / "train.jsonl").read_text().splitlines()]
    )
    assert (record.read, record.removed, record.removed_by_reason) == (29, 0, {})
    assert (tmp_path / "out" / "train.jsonl").read_text() == (tmp_path / "second" / "out" / "train.jsonl").read_text()


@pytest.mark.parametrize(("side", "left"), [("train", (29, 2)), ("held_out", (30, 1))])
def test_either_side_of_a_leak_can_give_way(side, left, tmp_path):
    before, record, after = fixed(tmp_path, CLEAN, [LEAK, FRESH], drop_leaked=side)
    assert [finding.code for finding in before.record.findings if finding.severity == "error"] == ["leaked_prompt"]
    assert record.removed_by_reason == {"leaked_prompt": 1}
    assert (after.record.train_pairs, after.record.held_out_pairs) == left
    assert [finding.code for finding in after.record.findings if finding.severity == "error"] == []


def test_plain_text_stays_plain_text(tmp_path):
    rows = [{"chosen": f"Say {n}: good one {n}", "rejected": f"Say {n}: poor {n}", "id": f"t{n}"} for n in range(10)]
    before, record, after = fixed(tmp_path, [*rows, rows[4]], strings="text")
    assert (record.kept, record.removed_by_reason) == (10, {"duplicate_pair": 1})

    def texts(data):
        return sorted(row.chosen_ids.tolist() for row in data.train)

    assert before.record.train_pairs == after.record.train_pairs + 1
    assert [ids for ids in texts(before) if ids not in texts(after)] == []


def test_turns_among_plain_texts_stay_turns(tmp_path):
    """A data set whose strings are whole texts may have rows of messages; joined they would lose their turns."""
    text = [{"chosen": f"Say {n}: good one {n}", "rejected": f"Say {n}: poor {n}", "id": f"t{n}"} for n in range(10)]
    asked = [{"role": "user", "content": "Which river is it?"}]
    turns = [
        {
            "chosen": [*asked, {"role": "assistant", "content": f"River {n} is the Loire."}],
            "rejected": [*asked, {"role": "assistant", "content": f"No idea about {n}."}],
            "id": f"m{n}",
        }
        for n in range(10)
    ]
    sources = write(tmp_path / "train.jsonl", [*text, *turns, turns[4]])

    def prepared(train):
        spec = {"data": {"train": train, "held_out": {"fraction": 0}, "strings": "text"}}
        return prepare(Spec.model_validate(spec), Renderer.from_tokenizer(chatml(), max_length=200))

    before = prepared(sources)
    record = write_fixed(before, tmp_path / "out", drop_leaked="train")
    after = prepared([{"path": str(tmp_path / "out" / "train.jsonl")}])
    assert (record.kept, record.removed_by_reason) == (20, {"duplicate_pair": 1})
    found = {row.pair.id: row.pair for row in after.train}
    assert (found["m3"].prompt, found["m3"].chosen) == (
        (Message("user", "Which river is it?"),),
        (Message("assistant", "River 3 is the Loire."),),
    )
    assert {row.pair.id: row.chosen_ids.tolist() for row in before.train} == {
        row.pair.id: row.chosen_ids.tolist() for row in after.train
    }
