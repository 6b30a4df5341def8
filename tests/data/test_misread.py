"""What was once read wrongly in silence: each is read right now, or refused with what to write instead."""

from __future__ import annotations

import json

import pytest
from rendering_tokenizers import chatml

from rewardsmith.data.prepare import prepare
from rewardsmith.data.registry import CHECKS
from rewardsmith.data.sources import read_source
from rewardsmith.errors import DataError
from rewardsmith.rendering import Renderer
from rewardsmith.spec import SourceSpec, Spec
from rewardsmith.types import Message

USER, ASSISTANT = (
    (lambda text: {"role": "user", "content": text}),
    (lambda text: {"role": "assistant", "content": text}),
)
WORDS = (
    *("river", "stone", "cloud", "eight", "seven", "quick", "slow", "warm"),
    *("cold", "left", "right", "above", "below", "green", "amber", "violet"),
)


def read(tmp_path, rows, strings="chat", **source):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = SourceSpec.model_validate({"path": str(path), "label": "rows.jsonl", **source})
    return read_source(spec, role="train", strings=strings, seed=0, embedded={})


def only(tmp_path, row, strings="chat", **source):
    """(prompt, chosen, rejected) of the pair of one row, as (role, content)."""
    ((_, pair),) = read(tmp_path, [row], strings, **source).pairs
    return tuple([(turn.role, turn.content) for turn in side] for side in (pair.prompt, pair.chosen, pair.rejected))


def reasons(tmp_path, row, **source):
    found = read(tmp_path, [row], **source)
    assert found.pairs == []
    return [(rejected.reason, rejected.detail) for rejected in found.rejected]


def check(tmp_path, rows, **data):
    """Findings of a whole check, by code."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {"path": str(path), "label": "rows.jsonl", **data.pop("source", {})}
    spec = Spec.model_validate({"data": {"train": [source], "max_length": 300, **data}})
    prepared = prepare(spec, Renderer.from_tokenizer(chatml(), max_length=300))
    return prepared, {finding.code: finding for finding in prepared.record.findings}


def plain(count):
    return [
        {"prompt": f"Say {WORDS[n % 16]} {n}.", "chosen": f"{WORDS[n % 16]} it is.", "rejected": f"No {WORDS[n % 7]}!"}
        for n in range(count)
    ]


CHATML_ASKED = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
LLAMA3 = (
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nQ<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nA<|eot_id|>"
)


# 1. Words of the answers taken for the prompt.
@pytest.mark.parametrize(
    ("chosen", "rejected", "prompt"),
    [
        ("\n\nHuman: A fruit?\n\nAssistant: An apple", "\n\nHuman: A fruit?\n\nAssistant: An old car",
         "\n\nHuman: A fruit?\n\nAssistant: "),
        ("Human: A fruit? Assistant: An apple", "Human: A fruit? Assistant: An old car",
         "Human: A fruit? Assistant: "),
        ("USER: Hi\nASSISTANT: Yes we can", "USER: Hi\nASSISTANT: Yes we could", "USER: Hi\nASSISTANT: "),
        (f"{CHATML_ASKED}Well yes", f"{CHATML_ASKED}Well no", CHATML_ASKED),
        ("The cat sat on it", "The cat sat on them", ""),  # no marker: no prompt
        ("Q: fruit?\nA: An apple. Answer: x", "Q: fruit?\nA: An old car", "Q: fruit?\nA: "),
    ],
)  # fmt: skip
def test_the_prompt_of_plain_texts_ends_at_a_turn_marker_or_not_at_all(chosen, rejected, prompt, tmp_path):
    found = only(tmp_path, {"chosen": chosen, "rejected": rejected}, strings="text")
    assert "".join(text for _, text in found[0]) == prompt
    assert [found[1][0][1], found[2][0][1]] == [chosen[len(prompt) :], rejected[len(prompt) :]]


def test_equal_prompts_of_plain_texts_stay_on_one_side_of_a_split(tmp_path):
    rows = [
        {"chosen": f"\n\nHuman: Say {word}\n\nAssistant: An {a} {word}", "rejected":
         f"\n\nHuman: Say {word}\n\nAssistant: An {b} {n}"}
        for n, word in enumerate(WORDS * 3) for a, b in [(("odd", "old"), ("even", "evil"), ("any", "bad"))[n % 3]]
    ]  # fmt: skip
    prepared, _ = check(tmp_path, rows, strings="text", held_out={"fraction": 0.2})
    held = {pair.prompt for pair in prepared.held_out}
    assert held
    assert not held & {row.pair.prompt for row in prepared.train}


def test_plain_texts_whose_histories_differ_are_refused(tmp_path):
    row = {
        "chosen": "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Q\n\nAssistant: Yes",
        "rejected": "\n\nHuman: Hi\n\nAssistant: Yo\n\nHuman: Q\n\nAssistant: No",
    }
    found = read(tmp_path, [row], strings="text")
    assert [(one.reason, one.detail[:27]) for one in found.rejected] == [
        ("histories_differ", "chosen has a further turn a")
    ]


# 2. Transcripts.
HH = {
    "prompt": "\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: A fruit?\n\nAssistant:",
    "chosen": " An apple",
    "rejected": " No",
}


def test_a_transcript_is_read_in_turns_where_the_form_says_so(tmp_path):
    turns = [("user", "Hi"), ("assistant", "Hello!"), ("user", "A fruit?")]
    expected = (turns, [("assistant", "An apple")], [("assistant", "No")])
    assert only(tmp_path, HH, form="transcript") == expected
    whole = {name: HH["prompt"] + HH[name] for name in ("chosen", "rejected")}
    assert only(tmp_path, whole, form="transcript") == expected
    assert only(tmp_path, {**whole, "prompt": HH["prompt"]}, form="transcript") == expected


def test_a_transcript_in_a_prompt_column_is_refused_until_the_form_says_so(tmp_path):
    with pytest.raises(DataError, match=r"holds whole conversations \(human_assistant\)(.|\n)*form: transcript"):
        read(tmp_path, [HH])
    with pytest.raises(DataError, match=r"'chosen' \(chosen\) holds whole conversations"):
        read(tmp_path, [{"chosen": HH["prompt"] + " a", "rejected": HH["prompt"] + " b"}])


def test_markers_on_most_rows_fail_the_check_even_where_the_first_rows_had_none(tmp_path):
    marked = [{**row, "prompt": f"Well\nHuman: {row['prompt']}\nAssistant: ok\nHuman: go on"} for row in plain(40)]
    prepared, found = check(tmp_path, marked)
    assert found["role_marker_in_text"].severity == "error"
    assert not prepared.record.passed
    prepared, found = check(tmp_path, [*plain(60), *marked[:9]])
    assert found["role_marker_in_text"].severity == "note"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("\n\nHuman: Hi\n\nHuman: Q\n\nAssistant: a", "turn 2 is user's where assistant's is due"),
        ("\n\nAssistant: a\n\nHuman: b\n\nAssistant: c", "turn 1 is assistant's where user's is due"),
        ("\n\nHuman: Hi\n\nAssistant: a\n\nHuman: b", "ends with user's turn"),
        ("Hi\n\nHuman: Hi\n\nAssistant: a", "chosen goes on with another turn"),
    ],
)
def test_a_transcript_that_is_none_is_rejected_with_its_place(text, says, tmp_path):
    good = "\n\nHuman: Hi\n\nAssistant: b"
    ((reason, detail),) = reasons(tmp_path, {"chosen": text, "rejected": good}, form="transcript")
    assert (reason, says in detail) == ("transcript", True)


@pytest.mark.parametrize(
    ("style", "text"),
    [
        ("chatml", f"<|im_start|>system\nS<|im_end|>\n{CHATML_ASKED.replace('Hi', 'Q')}A<|im_end|>\n"),
        ("llama3", LLAMA3),
        ("zephyr", "<|system|>\nS</s>\n<|user|>\nQ</s>\n<|assistant|>\nA</s>\n"),
        ("zephyr", "<|system|>S<|endoftext|><|prompter|>Q<|endoftext|><|assistant|>A<|endoftext|>"),
        ("instruction_response", "### System: S### Human: Q### Assistant: A"),
        ("user_assistant", "SYSTEM: S\nUSER: Q\nASSISTANT: A</s>"),
        ("instruction_response", "### System:\nS\n\n### Instruction:\nQ\n\n### Response:\nA"),
        ("human_assistant", "\n\nSystem: S\n\nHuman: Q\n\nAssistant: A"),
    ],
)  # fmt: skip
def test_every_style_of_transcript(style, text, tmp_path):
    row = {"chosen": text, "rejected": text[: text.rindex("A")] + "B" + text[text.rindex("A") + 1 :]}
    form = {"kind": "transcript", "transcript": style}
    assert only(tmp_path, row, form=form) == (
        [("system", "S"), ("user", "Q")],
        [("assistant", "A")],
        [("assistant", "B")],
    )


# 3. Messages written as text.
TURNS = {
    name: [USER('It\'s a "river"?'), ASSISTANT(text)] for name, text in (("chosen", "Yes\n[1]"), ("rejected", "No"))
}
NUMPY = "array([{turns}], dtype=object)"


@pytest.mark.parametrize("strings", ["chat", "text"])
@pytest.mark.parametrize(
    "write",
    [
        json.dumps,
        lambda turns: json.dumps(turns, indent=1),
        repr,
        lambda turns: f"array([{', '.join(map(repr, turns))}], dtype=object)",
        lambda turns: "[" + "\n ".join(map(repr, turns)) + "]",  # as numpy prints an array of objects
    ],
)
def test_messages_that_stand_as_text_are_read_as_messages(write, strings, tmp_path):
    row = {name: write(turns) for name, turns in TURNS.items()}
    expected = ([("user", 'It\'s a "river"?')], [("assistant", "Yes\n[1]")], [("assistant", "No")])
    assert only(tmp_path, row, strings=strings) == expected


def test_a_single_message_as_text_is_one(tmp_path):
    row = {"prompt": "Q", "chosen": json.dumps(ASSISTANT("a")), "rejected": repr(ASSISTANT("b"))}
    assert only(tmp_path, row)[1:] == ([("assistant", "a")], [("assistant", "b")])


def test_messages_as_text_that_cannot_be_read_are_rejected_and_never_evaluated(tmp_path):
    row = {"prompt": "Q", "chosen": "[{'role': 'assistant', 'content': __import__('os').getcwd()}]", "rejected": "b"}
    assert reasons(tmp_path, row)[0][0] == "serialised"
    assert reasons(tmp_path, {**row, "chosen": "[{'role': 'user', 'content': 'cut of"})[0][0] == "serialised"


# 4. Verdicts beside two answers.
SHP = {"history": "Q", "human_ref_A": "It is a river.", "human_ref_B": "It is a stone."}


@pytest.mark.parametrize(
    ("rows", "columns", "says"),
    [
        ([{**SHP, "labels": label} for label in (0, 1)], ("human_ref_A", "human_ref_B"), "'labels' seems to say"),
        (
            [{**SHP, "score_A": a, "score_B": 5} for a in (1, 9)],
            ("human_ref_A", "human_ref_B"),
            "'score_A' and 'score_B'",
        ),
        (
            [{**SHP, "overall_preference": n} for n in (-2, 3)],
            ("human_ref_A", "human_ref_B"),
            "'overall_preference' seems",
        ),
        (
            [{**SHP, "safer_response_id": n} for n in (0, 1)],
            ("human_ref_A", "human_ref_B"),
            "'safer_response_id' seems",
        ),
    ],
)
def test_a_column_that_says_who_won_is_read_or_left_out_knowingly(rows, columns, says, tmp_path):
    mapped = {"prompt": "history", "chosen": columns[0], "rejected": columns[1]}
    with pytest.raises(DataError, match=says):
        read(tmp_path, rows, columns=mapped)
    ignored = [name for name in rows[0] if name not in (*SHP,)]
    assert len(read(tmp_path, rows, columns=mapped, ignore=ignored).pairs) == 2


def test_a_category_beside_chosen_and_rejected_is_no_verdict(tmp_path):
    rows = [{**row, "label": label, "status": "done"} for row, label in zip(plain(4), "wxyz", strict=True)]
    assert len(read(tmp_path, rows).pairs) == 4


@pytest.mark.parametrize(("against", "severity"), [(4, "warning"), (20, "error")])
def test_many_margins_against_the_label_are_an_error(against, severity, tmp_path):
    rows = [{**row, "margin": -1.0 if n < against else 1.0} for n, row in enumerate(plain(40))]
    prepared, found = check(tmp_path, rows)
    assert (found["margin_against_label"].severity, prepared.record.passed) == (severity, severity == "warning")


# 5. Ties.
def test_ties_are_left_out_and_counted_apart(tmp_path):
    rows = [{**row, "status": "tie" if n % 4 == 0 else "ok"} for n, row in enumerate(plain(24))]
    with pytest.raises(
        DataError, match=r"'status' seems to say which answer is better \(tie, ok\)(.|\n)*ties: {status: \[tie\]}"
    ):
        read(tmp_path, rows)
    prepared, found = check(tmp_path, rows, source={"form": {"kind": "pair", "ties": {"status": ["tie"]}}})
    (source,) = prepared.record.sources
    assert (source.read, source.used, source.unused, source.formed, source.pairs, source.ties) == (24, 18, 6, 24, 18, 6)
    assert prepared.record.rejected_by_reason == {"tie": 6}
    assert found["tie"].severity == "note"


def test_ties_do_not_count_as_bad_rows(tmp_path):
    rows = [{**row, "status": "tie" if n % 4 else "ok"} for n, row in enumerate(plain(40))]
    prepared, found = check(tmp_path, rows, source={"form": {"kind": "pair", "ties": {"status": ["tie"]}}})
    assert "mostly_rejected" not in found
    assert prepared.record.passed


def test_equal_ratings_are_a_tie_or_an_error(tmp_path):
    rows = [{**row, "rating": [5.0, 5.0 - n % 2]} for n, row in enumerate(plain(6))]
    with pytest.raises(DataError, match=r"'rating' seems to say(.|\n)*equal in 3 of the first 6 rows"):
        read(tmp_path, rows)
    scored = [{**row, "chosen_score": 5, "rejected_score": 5 - n % 2} for n, row in enumerate(plain(6))]
    found = read(tmp_path, scored, form={"kind": "pair", "equal_scores": "tie"})
    assert ([row.reason for row in found.rejected], len(found.pairs)) == (["tie"] * 3, 3)


# 6. Context.
@pytest.mark.parametrize("name", ["system", "context", "history", "instruction", "functions", "passage"])
def test_a_column_that_looks_like_context_is_read_or_an_error(name, tmp_path):
    rows = [{**row, name: "Answer in verse."} for row in plain(40)]
    prepared, found = check(tmp_path, rows)
    assert (found["unread_context"].severity, prepared.record.passed) == ("error", False)
    assert found["unread_context"].examples[0].detail == f"column {name!r} is not read; 40 of 40 rows have it"
    _, found = check(tmp_path, [*rows, *plain(40)[:1]])
    assert found["unread_context"].severity == "warning"
    _, found = check(tmp_path, rows, source={"ignore": [name]})
    assert "unread_context" not in found


def test_plain_texts_beside_a_question_that_nothing_reads_are_an_error(tmp_path):
    rows = [{"question": row["prompt"], "chosen": row["chosen"], "rejected": row["rejected"]} for row in plain(40)]
    prepared, found = check(tmp_path, rows, strings="text")
    assert (found["unread_context"].severity, prepared.record.passed) == ("error", False)
    _, found = check(tmp_path, rows, strings="text", source={"columns": {"prompt": "question"}})
    assert "unread_context" not in found


def test_a_missing_side_is_told_with_what_the_file_looks_like(tmp_path):
    row = {"question": "Q", "response_j": "It is a river.", "response_k": "It is a stone."}
    with pytest.raises(
        DataError, match=r"looks like Stack Exchange, paired\n.*columns: {prompt: question, chosen: resp"
    ):
        read(tmp_path, [row])
    with pytest.raises(DataError, match=r"looks like Stanford Human(.|\n)*form: {kind: comparison, first: human_ref_A"):
        read(tmp_path, [{**SHP, "labels": 1}])


def test_context_is_put_where_the_rule_says(tmp_path):
    row = {"q": "Q", "sys": "S", "past": [["a", "b"]], "ctx": "C", "more": "M", "chosen": "x", "rejected": "y"}
    mapped = {"prompt": "q", "system": "sys", "history": "past", "context": "ctx", "input": "more"}
    turns = [("system", "S"), ("user", "a"), ("assistant", "b"), ("user", "C\n\nQ\nM")]
    assert only(tmp_path, row, columns=mapped)[0] == turns
    said = {**row, "ctx": [USER("a"), ASSISTANT("b")], "past": None, "more": ""}
    assert only(tmp_path, said, columns=mapped)[0] == [*turns[:3], ("user", "Q")]


def test_images_are_refused_with_their_column(tmp_path):
    assert reasons(tmp_path, {**plain(1)[0], "images": ["a.png"]}) == [
        ("not_text", "column 'images' holds images, sound or video, which the model cannot see")
    ]
    assert len(read(tmp_path, [{**plain(1)[0], "images": []}]).pairs) == 1


# 8. The prompt at the start of both answers.
def test_a_repeated_prompt_is_taken_off_where_the_form_says_so(tmp_path):
    rows = [{**row, **{name: f"{row['prompt']}\n{row[name]}" for name in ("chosen", "rejected")}} for row in plain(40)]
    for strings in ("chat", "text"):
        with pytest.raises(DataError, match="both answers begin with the prompt"):
            read(tmp_path, rows, strings)
    form = {"kind": "pair", "repeated": True}
    assert only(tmp_path, rows[3], form=form) == only(tmp_path, plain(4)[3])
    assert reasons(tmp_path, plain(1)[0], form=form)[0][0] == "prompt_differs"
    _, found = check(tmp_path, [*plain(40), *rows[:3]])
    assert (found["prompt_repeated"].count, found["prompt_repeated"].severity) == (3, "note")


# 9. Histories that differ.
def test_histories_that_differ_are_rejected_with_the_turn(tmp_path):
    row = {
        "chosen": [USER("Hi"), ASSISTANT("Hello"), USER("Q"), ASSISTANT("a")],
        "rejected": [USER("Hi"), ASSISTANT("Yo"), USER("Q"), ASSISTANT("b")],
    }
    ((reason, detail),) = reasons(tmp_path, row)
    assert (reason, "part at turn 2, and turn 3 of chosen is the user's" in detail) == ("histories_differ", True)
    systems = {
        name: [{"role": "system", "content": name}, USER("Q"), ASSISTANT(name)] for name in ("chosen", "rejected")
    }
    assert reasons(tmp_path, systems)[0][0] == "prompt_differs"


# 10. The name of the winner where an answer should be.
@pytest.mark.parametrize("named", ["response_a", "a"])
def test_a_name_where_an_answer_should_be_is_refused(named, tmp_path):
    other = named.replace("a", "b") if named == "a" else "response_b"
    rows = [{"prompt": "Q", "response_a": "It is a river.", "response_b": "It is none, I would say.", "chosen": n}
            for n in (named, other, named)]  # fmt: skip
    with pytest.raises(DataError, match="looks like two answers, and 'chosen'"):
        read(tmp_path, rows)
    with pytest.raises(DataError, match="names the better answer"):
        read(tmp_path, rows, columns={"rejected": "response_b"})
    form = {"kind": "comparison", "first": "response_a", "second": "response_b"}
    way = {"named": {"column": "chosen"}} if named != "a" else {
        "verdict": {"column": "chosen", "values": {"first": ["a"], "second": ["b"]}}}  # fmt: skip
    found = read(tmp_path, rows, form={**form, **way}).pairs
    assert [pair.chosen for _, pair in found] == [
        (Message("assistant", rows[0][f"response_{side}"]),) for side in ("a", "b", "a")
    ]


def test_letters_may_be_answers(tmp_path):
    assert (
        len(read(tmp_path, [{"prompt": "A or B?", "chosen": one, "rejected": two} for one, two in ("AB", "BA")]).pairs)
        == 2
    )


def test_roles_under_other_names_are_mapped(tmp_path):
    row = {
        "prompt": [{"role": "Prompter", "content": "Q"}],
        "chosen": {"role": "oracle", "content": "a"},
        "rejected": "b",
    }
    assert reasons(tmp_path, row)[0][0] == "unknown_role"
    assert only(tmp_path, row, roles={"oracle": "assistant"}) == (
        [("user", "Q")],
        [("assistant", "a")],
        [("assistant", "b")],
    )


NAMED = ("unknown_verdict", "no_comparison", "transcript", "serialised", "histories_differ", "tie", "unread_context")


def test_the_checks_of_forms_are_explained():
    assert set(NAMED) <= set(CHECKS)
