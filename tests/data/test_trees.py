"""Trees of messages (OpenAssistant): sibling replies by rank, the path as prompt, a reason for every other message."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from cli_world import World
from hypothesis import given, settings
from hypothesis import strategies as st
from rendering_tokenizers import chatml

from rewardsmith.data.forms.recognise import recognise
from rewardsmith.data.prepare import prepare
from rewardsmith.data.sources import open_reader, open_source
from rewardsmith.errors import DataError, SpecError
from rewardsmith.rendering import Renderer
from rewardsmith.report.sections.data import counts_hold
from rewardsmith.spec import SourceSpec, Spec
from rewardsmith.spec.loading import parse_spec
from rewardsmith.types import PreferencePair

FLAT = {"kind": "tree", "tree": "message_tree_id", "without": {"deleted": [True], "review_result": [False]}}
NESTED = {"kind": "tree", "root": "prompt", "without": FLAT["without"]}
Rows = list[dict[str, Any]]


def message(name: str, parent: str | None, role: str, rank: int | None = None, **more: Any) -> dict[str, Any]:
    """A row as the hub's table has it; the text is what the message is called."""
    own = {"message_id": name, "parent_id": parent, "text": f"text of {name}", "role": role, "rank": rank}
    return {**own, "message_tree_id": "t", "lang": "en", "deleted": False, "review_result": True, **more}


def read(
    messages: Rows, form: dict[str, Any] | None = None, **source: Any
) -> tuple[list[PreferencePair], dict[int, tuple[str, str]], Any]:
    """Pairs, the reason and detail of each row that gave none, and the counts."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in messages))
        spec = SourceSpec.model_validate({"path": str(path), "form": form or FLAT, **source})
        intake = open_source(spec, role="train", strings="chat", seed=0, embedded={})
        pairs = [pair for _, pair in intake.stream]
    assert intake.read == intake.used + intake.unused + intake.mixed_out
    assert intake.formed == intake.pairs + intake.ties + intake.capped
    return pairs, {row.row: (row.reason, row.detail) for row in intake.rejected}, intake


def told(pair: PreferencePair) -> tuple[tuple[tuple[str, str], ...], str, str, float | None]:
    prompt = tuple((turn.role, turn.content.removeprefix("text of ")) for turn in pair.prompt)
    chosen, rejected = (side[-1].content.removeprefix("text of ") for side in (pair.chosen, pair.rejected))
    return prompt, chosen, rejected, pair.target_margin


TREE = [
    message("q", None, "prompter"),
    message("a", "q", "assistant", 1),
    message("b", "q", "assistant", 0),
    message("c", "q", "assistant", 2),
    message("no rank", "q", "assistant"),
    message("b1", "b", "prompter", 0),
    message("b2", "b", "prompter", 1),  # ranks of a user's messages compare nothing
    message("x", "b1", "assistant", 0),
    message("y", "b1", "assistant", 1),
    message("lone", "b2", "assistant", 0),
    message("away", "a", "prompter", 0, deleted=True),
    message("below", "away", "assistant", 0),
    message("spam", "q", "assistant", 3, review_result=False),
]
ASKED = (("user", "q"),)
DEEP = (("user", "q"), ("assistant", "b"), ("user", "b1"))
PAIRS = [
    (ASKED, "b", "a", 1.0),
    (ASKED, "b", "c", 2.0),
    (ASKED, "a", "c", 1.0),
    (DEEP, "x", "y", 1.0),
]


def nested(rows: Rows) -> Rows:
    """The same messages, each inside the one that it answers: a row for each root."""
    inside = {row["message_id"]: {**row, "replies": []} for row in rows}
    trees = []
    for row in rows:
        own = inside[row["message_id"]]
        if row["parent_id"] is None:
            trees.append({"message_tree_id": row["message_id"], "tree_state": "ready_for_export", "prompt": own})
        else:
            inside[row["parent_id"]]["replies"].append(own)
    return trees


def test_siblings_are_compared_by_rank_and_their_prompt_is_the_path() -> None:
    pairs, left, intake = read(TREE)
    assert sorted(map(told, pairs)) == sorted(PAIRS)
    assert left == {
        5: ("no_comparison", "it has no rank, and no replies that are compared"),
        7: ("no_comparison", "none of the messages below it has two replies with a rank"),
        10: ("no_comparison", "no other reply to its parent has a rank"),
        11: ("no_comparison", "left out: deleted is True"),
        12: ("no_comparison", "a message above it: left out: deleted is True"),
        13: ("no_comparison", "left out: review_result is False"),
    }
    assert (intake.read, intake.used, intake.unused) == (13, 7, 6)
    assert len({pair.id for pair in pairs}) == 4


def test_a_tree_in_one_row_gives_the_same_pairs() -> None:
    pairs, left, intake = read(nested(TREE), NESTED, columns={"id": "message_tree_id"})
    assert sorted(map(told, pairs)) == sorted(PAIRS)
    assert (left, intake.read, intake.used) == ({}, 1, 1)
    assert sorted(pair.id for pair in pairs) == ["q:1-10", "q:4-1", "q:4-10", "q:6-7"]  # places, depth first: q, a, …


def test_scores_ties_and_caps() -> None:
    rows = [
        message("q", None, "prompter"),
        *(message(name, "q", "assistant", rank) for name, rank in zip("abc", (0, 0, 1), strict=True)),
    ]
    pairs, left, intake = read(rows)
    assert sorted(map(told, pairs)) == [(ASKED, "a", "c", 1.0), (ASKED, "b", "c", 1.0)]
    assert (intake.formed, intake.ties, left) == (3, 1, {})
    pairs, _, _ = read(rows, {**FLAT, "better": "higher"})
    assert sorted(map(told, pairs)) == [(ASKED, "c", "a", 1.0), (ASKED, "c", "b", 1.0)]
    pairs, left, intake = read(rows, {**FLAT, "max_pairs": 1})
    assert (len(pairs), intake.capped, len(left)) == (1, 1, 1)
    assert next(iter(left.values())) == ("no_comparison", "its pairs are over the cap of 1")
    pairs, left, intake = read(rows[:3])
    assert (pairs, intake.ties, intake.used) == ([], 1, 0)
    assert [reason for reason, _ in left.values()] == ["no_comparison", "tie", "tie"]
    _, left, intake = read(nested(rows[:3]), NESTED)
    assert (left, intake.ties) == ({1: ("tie", "all 1 comparisons of the tree are ties")}, 1)


def test_messages_that_hang_in_no_tree_are_said() -> None:
    rows = [
        message("a", "gone", "assistant", 0),
        message("b", "gone", "assistant", 1),
        message("r", "s", "prompter"),  # r and s answer each other
        message("s", "r", "assistant", 0),
        message("q", None, "prompter"),
        message("q", None, "prompter", text="another text"),
        message("x", "q", "assistant", 0),
        message("y", "q", "assistant", 1),
        message("z", "x", "assistant", 0),  # the assistant answers itself
        message("w", "x", "assistant", 1),
        {**message("", "q", "assistant", 2)},
        {**message("v", "q", "assistant", 2), "text": None},
        message("u", "q", "somebody", 2),
        {**message("p", "q", "assistant"), "rank": "best"},
    ]
    pairs, left, _ = read(rows)
    assert list(map(told, pairs)) == [(ASKED, "x", "y", 1.0)]  # the first of two messages of one id counts
    circle = ("broken_tree", "the messages above it go round in a circle")
    assert left == {
        **dict.fromkeys((1, 2), ("broken_tree", "its parent is not among the messages")),
        **dict.fromkeys((3, 4), circle),
        6: ("broken_tree", "an earlier message has its id"),
        **dict.fromkeys((9, 10), ("role_order", "it answers a message of assistant, not of the user")),
        11: ("missing_field", "message_id is '', no id"),
        12: ("missing_field", "message[0].content is missing"),
        13: ("unknown_role", left[13][1]),
        14: ("unknown_verdict", "rank is 'best', no finite number"),
    }


@st.composite
def forests(draw: st.DrawFn) -> Rows:
    """One to three trees of users and assistants in turn, each message with a text, and a rank or none, of its own."""
    rows: Rows = []
    for tree in range(draw(st.integers(1, 3))):
        roots = len(rows)
        for place in range(draw(st.integers(1, 12))):
            parent = rows[draw(st.integers(roots, len(rows) - 1))] if place else None
            role = "assistant" if parent is not None and parent["role"] == "prompter" else "prompter"
            rank = draw(st.sampled_from([None, 0, 1, 2]))
            name, above = f"{tree}.{place}", None if parent is None else parent["message_id"]
            gone = draw(st.integers(0, 9)) == 0
            rows.append(message(name, above, role, rank, deleted=gone, message_tree_id=f"{tree}.0"))
    return rows


def expected(rows: Rows) -> Counter[Any]:
    """By brute force, from the rule alone: every two assistants' replies to one message, by rank."""
    by_name = {row["message_id"]: row for row in rows}

    def path(row: dict[str, Any]) -> Rows:
        return [*(path(by_name[row["parent_id"]]) if row["parent_id"] else []), row]

    found: Counter[Any] = Counter()
    for one in rows:
        for other in rows:
            alike = one["parent_id"] is not None and one["parent_id"] == other["parent_id"]
            ranked = one["rank"] is not None and other["rank"] is not None and one["rank"] < other["rank"]
            if not (alike and ranked and one["role"] == "assistant"):
                continue
            if any(row["deleted"] for row in (*path(one), other)):
                continue
            names = {"prompter": "user", "assistant": "assistant"}
            prompt = tuple((names[row["role"]], row["message_id"]) for row in path(one)[:-1])
            found[prompt, one["message_id"], other["message_id"], float(other["rank"] - one["rank"])] += 1
    return found


@given(rows=forests(), data=st.data())
@settings(max_examples=60)
def test_the_pairs_of_any_trees_are_those_of_the_rule(rows: Rows, data: st.DataObject) -> None:
    wanted = expected(rows)
    pairs, left, _ = read(rows)
    assert Counter(map(told, pairs)) == wanted
    shuffled = data.draw(st.permutations(rows))
    again, left_again, _ = read(shuffled)
    assert Counter(map(told, again)) == wanted
    of = [
        {rows_[number - 1]["message_id"]: why for number, why in found.items()}
        for rows_, found in ((rows, left), (shuffled, left_again))
    ]
    assert of[0] == of[1]
    inside, _, _ = read(nested(rows), NESTED)
    assert Counter(map(told, inside)) == wanted
    other_way, _, _ = read(rows, {**FLAT, "better": "higher"})
    assert Counter(map(told, other_way)) == Counter(
        {(prompt, b, a, gap): n for (prompt, a, b, gap), n in wanted.items()}
    )
    in_prompts = {name for prompt, *_ in wanted for _, name in prompt}
    in_pairs = {name for _, chosen, rejected, _ in wanted for name in (chosen, rejected)}
    assert set(of[0]) == {row["message_id"] for row in rows} - in_prompts - in_pairs


def many(count: int) -> Rows:
    """Trees of eight messages: two ranked replies at the root, and two more behind the better one."""
    rows: Rows = []
    for tree in range(count):
        name = f"t{tree}"
        own = [
            message(name, None, "prompter"),
            message(f"{name}a", name, "assistant", 0),
            message(f"{name}b", name, "assistant", 1),
            message(f"{name}c", f"{name}a", "prompter"),
            message(f"{name}d", f"{name}c", "assistant", 0),
            message(f"{name}e", f"{name}c", "assistant", 1),
            message(f"{name}f", f"{name}e", "prompter"),
            message(f"{name}g", f"{name}b", "prompter"),
        ]
        rows += [{**row, "message_tree_id": name} for row in own]
    # As far apart as they can stand: the k-th messages of all trees together.
    return [rows[8 * tree + place] for place in range(8) for tree in range(count)]


@pytest.mark.parametrize("part", [{"limit": 40}, {"rows": 40}, {"share": 0.5}])
def test_a_part_of_the_rows_is_whole_trees(part: dict[str, Any]) -> None:
    pairs, left, intake = read(many(10), **part)
    assert (len(pairs), len({told(pair)[0][0] for pair in pairs})) == (10, 5)
    assert {reason for reason, _ in left.values()} == {"no_comparison"}
    assert intake.read == (40 if "limit" in part else 80)
    assert intake.mixed_out == (0 if "limit" in part else 40)
    without = {name: value for name, value in FLAT.items() if name != "tree"}
    with pytest.raises(
        DataError, match=r"does not say which messages are of one.*\n  try: name the column of the tree's id"
    ):
        read(many(10), without, **part)


def test_a_quick_look_takes_whole_trees_or_all_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in many(10)))
    for form, rows in ((FLAT, 24), ({"kind": "tree"}, 80)):
        source = SourceSpec.model_validate({"path": str(path), "form": form})
        intake = open_source(source, role="train", strings="chat", seed=0, embedded={}, sample=25)
        assert (len(list(intake.stream)), intake.read) == (rows // 4, rows)


@pytest.mark.parametrize("survey", [True, False])
@pytest.mark.parametrize("inside", [True, False])
def test_a_tree_stays_on_one_side_of_the_split(survey: bool, inside: bool, tmp_path: Path) -> None:
    """The prompts of a tree are different texts, and the deeper one holds an answer that the other pair compares."""
    rows, form = (nested(many(20)), NESTED) if inside else (many(20), FLAT)
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = Spec.model_validate(
        {"data": {"train": [{"path": str(path), "form": form}], "held_out": {"fraction": 0.3}, "max_length": 200}}
    )
    renderer = Renderer.from_tokenizer(chatml(), max_length=200)
    done = prepare(spec, renderer, fingerprint="f", embedded={}, benchmarks={}, survey=survey)
    sides = [{told(pair)[0][0] for pair in part} for part in ([row.pair for row in done.train], done.held_out)]
    assert (len(done.train), len(done.held_out)) == (28, 12)
    assert not sides[0] & sides[1]
    assert counts_hold(done.record)


def test_what_cannot_be_a_tree_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in TREE))
    source = SourceSpec.model_validate({"path": str(path), "form": FLAT})
    with pytest.raises(DataError, match="has one message of a tree in each row"):
        open_reader(source, "chat")
    with pytest.raises(DataError, match="leaves conversations without a template"):
        open_source(source, role="train", strings="text", seed=0, embedded={})
    lacking = SourceSpec.model_validate({"path": str(path), "form": {"kind": "tree", "parent": "above"}})
    with pytest.raises(DataError, match="has no column 'above', which its form names"):
        open_source(lacking, role="train", strings="chat", seed=0, embedded={})
    with pytest.raises(SpecError, match=r"form\.kind is 'tre'"):
        parse_spec({"data": {"train": [{"path": "x", "form": "tre"}]}})
    for row, says in (
        ({"message_tree_id": "t", "prompt": {**TREE[0], "replies": ["text"]}}, "prompt has 'text' in it, no message"),
        ({"message_tree_id": "t", "prompt": {**TREE[0], "replies": {}}}, "replies of a message is {}, no list"),
        ({"message_tree_id": "t", "prompt": {**TREE[0], "replies": []}}, "none of its 1 messages has two replies"),
    ):
        pairs, left, _ = read([row], NESTED)
        assert (pairs, says in left[1][1]) == ([], True)


def test_a_version_without_some_columns_is_recognised() -> None:
    rows = [{name: row[name] for name in ("message_id", "parent_id", "text", "role", "rank")} for row in TREE[:4]]
    found = recognise(list(rows[0]), rows)
    assert (found.form, found.columns) == ({"kind": "tree", "without": {}}, {"id": "message_id"})
    assert len(read(rows, found.form, columns=found.columns)[0]) == 3


def test_a_run_of_trees_is_checked_and_scored_by_the_language(world_of_trees: World) -> None:
    done = world_of_trees("check", "spec.yaml", "--json")
    (source,) = json.loads(done.out)["sources"]
    assert (done.code, source["form"], source["read"], source["kept"]) == (0, "tree", 160, 40)
    rejected = (world_of_trees.folder / "runs" / "tiny" / "rejected.jsonl").read_text().splitlines()
    assert len(rejected) == 160 - 20 * 6


@pytest.fixture
def world_of_trees(
    tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> World:
    world = World(tmp_path, tiny_base, capsys, monkeypatch)
    (tmp_path / "trees.jsonl").write_text("".join(json.dumps(row) + "\n" for row in many(20)))
    source = {"path": "trees.jsonl", "form": FLAT, "columns": {"id": "message_id", "subset": "lang"}}
    world.write_spec(data={"train": [source], "held_out": {"fraction": 0.2}, "max_length": 200})
    return world
