"""Every check finds its planted fault, at the planted row, and nothing in clean data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rendering_tokenizers import CHATML, chatml, gemma, plain
from tokenizers import AddedToken

from rewardsmith.data.prepare import prepare
from rewardsmith.data.registry import CHECKS
from rewardsmith.errors import SpecError
from rewardsmith.rendering import REASONS, Renderer
from rewardsmith.spec import Spec

CLEAN = [
    {"prompt": f"Name river number {n}.", "chosen": f"The Loire, {n}.", "rejected": f"Nantes, {n}.", "id": f"r{n}"}
    for n in range(40)
]
GOOD = {"prompt": "And a town?", "chosen": "Nantes.", "rejected": "The Loire.", "id": "bad"}
ASK, SAY = {"role": "user", "content": "And a town?"}, {"role": "assistant", "content": "Nantes."}


def run(tmp_path, rows, *, held_out=None, tokenizer=None, **data):
    """Prepare rows written to train.jsonl and, if given, held_out.jsonl."""
    sources = {}
    for name, content in (("train", rows), ("held_out", held_out)):
        if content is not None:
            path = tmp_path / f"{name}.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in content))
            sources[name] = [{"path": str(path), "label": f"{name}.jsonl"}]
    held = {"fraction": 0.1} if held_out is None else {"sources": sources["held_out"]}
    spec = Spec.model_validate({"data": {"train": sources["train"], "held_out": held, "max_length": 200, **data}})
    renderer = Renderer.from_tokenizer(tokenizer or chatml(), max_length=200, over_length=spec.data.over_length)
    return prepare(spec, renderer)


def chatml_with(old: str, new: str):
    tokenizer = chatml()
    tokenizer.chat_template = CHATML.replace(old, new)
    return tokenizer


def chatml_that_swallows_eos():
    tokenizer = chatml()
    tokenizer.add_tokens([AddedToken("end.<|im_end|>", special=True, normalized=False)])
    return tokenizer


def test_every_check_is_named_in_a_test():
    tests = "".join(path.read_text() for path in Path(__file__).parent.rglob("test_*.py"))
    assert [code for code in CHECKS if f'"{code}"' not in tests] == []


def implicit(row):
    ask = {"role": "user", "content": row["prompt"]}
    return {name: [ask, {"role": "assistant", "content": row[name]}] for name in ("chosen", "rejected")}


# Code: the faulty row, and what else the fault needs to show.
LEFT_OUT = {
    "missing_field": (GOOD | {"chosen": None}, {}),
    "not_text": (GOOD | {"chosen": {"role": "assistant", "content": 1}}, {}),
    "not_unicode": (GOOD | {"chosen": "half \ud83d"}, {}),
    "unread_key": (GOOD | {"prompt": [ASK | {"images": ["a.png"]}]}, {}),
    "fields_lost": (GOOD | {"tools": [{"name": "lookup"}]}, {}),
    "unknown_role": (GOOD | {"prompt": [ASK | {"role": "narrator"}]}, {}),
    "missing_prompt": ({"chosen": [SAY], "rejected": [SAY]}, {"clean": [implicit(row) for row in CLEAN]}),
    "prompt_differs": (GOOD | {"chosen": [ASK | {"content": "And where?"}, SAY]}, {}),
    "identical_pair": (GOOD | {"chosen": "same", "rejected": "same"}, {}),
    "empty_text": (GOOD | {"rejected": " \n\t"}, {}),
    "nul_character": (GOOD | {"chosen": "Nan\x00tes."}, {}),
    "role_order": (GOOD | {"prompt": [ASK, SAY]}, {}),
    "over_length": (GOOD | {"rejected": "word " * 400}, {}),
    "template_refused": (GOOD | {"prompt": [{"role": "system", "content": "Be brief."}, ASK]}, {"tokenizer": gemma}),
    "response_lost": (
        GOOD | {"chosen": "<think>hm</think>Nantes."},
        {"tokenizer": lambda: chatml_with("message['content']", "message['content'].split('</think>')[-1]")},
    ),
    "eos_missing": (GOOD | {"chosen": "The end."}, {"tokenizer": chatml_that_swallows_eos}),
    "eos_doubled": (GOOD | {"chosen": "Nantes.<|im_end|>"}, {}),
    "bos_doubled": (GOOD | {"prompt": "<s><s>And a town?"}, {"tokenizer": plain, "strings": "text"}),
    "pad_in_text": (GOOD | {"chosen": "<|endoftext|>Nantes."}, {}),
    "special_token_in_text": (GOOD | {"chosen": "Nantes.<|im_end|>\n<|im_start|>user\nRight!"}, {}),
    "identical_after_truncation": (GOOD | {"rejected": "Nantes.\n "}, {"tokenizer": gemma}),
}


@pytest.mark.parametrize("code", LEFT_OUT)
@pytest.mark.parametrize("places", [(0,), (40,), (3, 17, 31)])
def test_a_planted_row_is_left_out_and_nothing_else(code, places, tmp_path):
    bad, needs = LEFT_OUT[code]
    needs = dict(needs)
    clean = needs.pop("clean", CLEAN)
    tokenizer = needs.pop("tokenizer", chatml)
    rows = list(clean)
    for place in places:
        rows.insert(place, bad)
    prepared = run(tmp_path, rows, tokenizer=tokenizer(), **needs)
    assert [(row.reason, row.row, row.source) for row in prepared.rejected] == [
        (code, place + 1, "train.jsonl") for place in places
    ]
    assert len(prepared.train) + len(prepared.held_out) == len(clean)
    (finding,) = prepared.record.findings
    assert (finding.code, finding.count, finding.of) == (code, len(places), len(rows))
    assert [example.row for example in finding.examples] == [place + 1 for place in places]
    assert finding.examples[0].id == bad.get("id", finding.examples[0].id)
    assert finding.examples[0].detail
    assert prepared.record.rejected_by_reason == {code: len(places)}
    assert prepared.record.passed == (CHECKS[code].severity != "error")


@pytest.mark.parametrize("tokenizer", [chatml, gemma, plain])
def test_clean_data_has_no_finding(tokenizer, tmp_path):
    prepared = run(tmp_path, CLEAN, tokenizer=tokenizer())
    assert prepared.record.findings == ()
    assert list(prepared.rejected) == []
    assert prepared.record.kept == prepared.record.read == 40


def test_every_check_that_leaves_rows_out_is_tested_here():
    assert {code for code, check in CHECKS.items() if check.pair or check.tokens} | set(REASONS) <= set(LEFT_OUT)
    assert set(LEFT_OUT) <= set(CHECKS)
    assert all(code == check.code for code, check in CHECKS.items())


@pytest.mark.parametrize(
    "detailed",
    [
        GOOD | {"prompt": [ASK, ASK]},
        GOOD | {"prompt": [{"role": "system", "content": "s"}]},
        GOOD | {"prompt": [ASK, {"role": "system", "content": "s"}]},
        GOOD | {"chosen": [SAY, ASK]},
        GOOD | {"chosen": [SAY, SAY]},
    ],
)
def test_other_disorders_of_roles(detailed, tmp_path):
    prepared = run(tmp_path, [*CLEAN, detailed])
    assert [row.reason for row in prepared.rejected] == ["role_order"]


def test_sound_orders_of_roles(tmp_path):
    system, tool = {"role": "system", "content": ""}, {"role": "tool", "content": "42"}
    rows = [
        GOOD | {"prompt": [system, ASK]},
        GOOD | {"prompt": [ASK, SAY, ASK]},
        GOOD | {"prompt": [ASK, SAY, tool, tool]},
        GOOD | {"chosen": [SAY, tool, SAY]},
    ]
    assert list(run(tmp_path, [*CLEAN, *rows]).rejected) == []


def test_duplicates_are_reported_and_stay(tmp_path):
    rows = [*CLEAN, CLEAN[3] | {"id": "again"}, CLEAN[3] | {"id": "and again"}]
    prepared = run(tmp_path, rows, held_out=[GOOD])
    (finding,) = prepared.record.findings
    assert (finding.code, finding.count, finding.of, finding.severity) == ("duplicate_pair", 2, 43, "warning")
    assert [(e.row, e.id, e.detail) for e in finding.examples] == [
        (41, "again", "the same pair as train.jsonl:4"),
        (42, "and again", "the same pair as train.jsonl:4"),
    ]
    assert len(prepared.train) == 42


def test_contradictions_are_reported_on_both_rows_and_stay(tmp_path):
    turned = CLEAN[3] | {"chosen": CLEAN[3]["rejected"], "rejected": CLEAN[3]["chosen"], "id": "turned"}
    prepared = run(tmp_path, [*CLEAN, turned], held_out=[GOOD])
    (finding,) = prepared.record.findings
    assert (finding.code, finding.count, finding.of) == ("contradictory_pair", 2, 42)
    assert [(e.row, e.detail) for e in finding.examples] == [
        (4, "train.jsonl:41 has the same pair with the opposite label"),
        (41, "train.jsonl:4 has the same pair with the opposite label"),
    ]
    assert len(prepared.train) == 41


def test_leaked_prompts_fail_the_check(tmp_path):
    held_out = [GOOD, CLEAN[8] | {"chosen": "Rhône.", "id": "h"}]
    prepared = run(tmp_path, CLEAN, held_out=held_out)
    (finding,) = prepared.record.findings
    assert (finding.code, finding.severity, finding.count, finding.of) == ("leaked_prompt", "error", 1, 2)
    assert (finding.examples[0].file, finding.examples[0].row, finding.examples[0].id) == ("held_out.jsonl", 2, "h")
    assert finding.examples[0].detail == "train.jsonl:9 trains on the same prompt"
    assert (prepared.record.passed, prepared.record.failed_on) == (False, ("leaked_prompt",))
    assert len(prepared.held_out) == 2


@pytest.mark.parametrize(("bad", "found"), [(41, ["mostly_rejected"]), (40, [])])
def test_a_source_that_is_mostly_unusable_fails_the_check(bad, found, tmp_path):
    prepared = run(tmp_path, [*CLEAN, *[GOOD | {"chosen": ""}] * bad])
    assert [finding.code for finding in prepared.record.findings] == [*found, "empty_text"]
    assert prepared.record.failed_on == tuple(found)


def test_a_source_that_is_mostly_too_long_is_the_spec_s_own_choice(tmp_path):
    prepared = run(tmp_path, [*CLEAN, *[GOOD | {"chosen": "word " * 400}] * 60])
    assert [finding.code for finding in prepared.record.findings] == ["over_length"]
    assert prepared.record.passed


def test_cut_prompts_are_counted_and_stay(tmp_path):
    rows = [*CLEAN, GOOD | {"prompt": "long " * 300}]
    prepared = run(tmp_path, rows, held_out=[GOOD], over_length="truncate_prompt")
    (finding,) = prepared.record.findings
    assert (finding.code, finding.severity, finding.count) == ("truncated_prompt", "note", 1)
    assert finding.examples[0].row == 41
    cut = prepared.train[-1]
    assert len(cut.chosen_ids) <= 200
    assert max(len(cut.chosen_ids), len(cut.rejected_ids)) == 200
    assert prepared.record.tokens.truncated == 1


def test_a_bad_line_is_stepped_over_counted_and_written_down(tmp_path):
    path = tmp_path / "a.jsonl"
    lines = [json.dumps(row) for row in CLEAN]
    path.write_text("\n".join([*lines[:3], '{"prompt": "cut', *lines[3:], "[]"]) + "\n")
    spec = Spec.model_validate({"data": {"train": [{"path": str(path)}], "bad_lines": "skip"}})
    prepared = prepare(spec, Renderer.from_tokenizer(chatml(), max_length=200))
    assert [(row.row, row.reason) for row in prepared.rejected] == [(4, "bad_line"), (42, "bad_line")]
    assert prepared.rejected[1].detail == "is a list, not an object"
    assert (prepared.record.read, prepared.record.kept, prepared.record.rejected) == (42, 40, 2)
    (finding,) = prepared.record.findings
    assert (finding.code, finding.count, finding.of) == ("bad_line", 2, 42)


def test_the_spec_can_say_another_severity(tmp_path):
    rows = [*CLEAN, GOOD | {"chosen": ""}]
    record = run(tmp_path, rows, severity={"empty_text": "error"}).record
    assert (record.findings[0].severity, record.failed_on) == ("error", ("empty_text",))
    with pytest.raises(SpecError, match=r"data\.severity: 'emptiness' is not the code of a check"):
        run(tmp_path, rows, severity={"emptiness": "error"})


@pytest.mark.parametrize(
    ("fail_on", "failed"),
    [
        (["error"], ()),
        (["warning"], ("empty_text",)),
        (["empty_text"], ("empty_text",)),
        (["over_length", "note"], ()),
        ([], ()),
    ],
)
def test_fail_on_takes_severities_and_codes(fail_on, failed, tmp_path):
    record = run(tmp_path, [*CLEAN, GOOD | {"chosen": ""}], fail_on=fail_on).record
    assert (record.failed_on, record.passed) == (failed, not failed)


STAYS = {
    "identical_folded": GOOD | {"chosen": "The  Loire."},
    "mojibake": GOOD | {"chosen": "Nantes.\u00e2\u20ac\u2122s"},
    "replacement_character": GOOD | {"chosen": "Nan\ufffdtes."},
    "control_character": GOOD | {"chosen": "Nan\x1btes."},
    "duplicate_pair": CLEAN[7] | {"id": "bad"},
    "margin_against_label": GOOD | {"margin": -1},
    "margin_unread": GOOD | {"margin": "much"},
    "mixed_forms": GOOD | {"prompt": [ASK]},
    "secret_in_text": GOOD | {"chosen": "AKIA" + "Q3EGRIJPLUTV2WXY"},
    "personal_data": GOOD | {"chosen": "jane@web.de"},
}


@pytest.mark.parametrize("code", STAYS)
def test_a_planted_row_is_found_and_stays(code, tmp_path):
    rows = [*CLEAN, STAYS[code]]
    prepared = run(tmp_path, rows, held_out=[GOOD | {"prompt": "Else?"}])
    (finding,) = prepared.record.findings
    assert (finding.code, finding.count) == (code, 1)
    assert [(example.row, example.id) for example in finding.examples] == [(41, "bad")]
    assert finding.examples[0].detail
    assert (len(prepared.rejected), len(prepared.train)) == (0, 41)
