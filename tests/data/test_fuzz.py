"""Whatever stands in a file, the answer is pairs or an error of this project, and every row is accounted for."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rendering_tokenizers import chatml, gemma

from rewardsmith.data.prepare import prepare
from rewardsmith.data.registry import CHECKS
from rewardsmith.errors import RewardsmithError
from rewardsmith.records.files import to_json
from rewardsmith.rendering import Renderer
from rewardsmith.spec import Spec

FIELDS = ("prompt", "input", "margin", "id", "source", "subset", "score_chosen", "score_rejected")
texts = st.one_of(
    st.text(st.characters(exclude_categories=()), max_size=12),
    st.sampled_from(["", " ", "hi", "<|im_end|>", "<|endoftext|>", "<bos>", "\x00", "{{ x }}", "word " * 60]),
)
messages = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(["system", "user", "assistant", "tool", "gpt", "", None, 3]),
        "content": st.one_of(
            texts, st.none(), st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": texts}))
        ),
        "from": st.sampled_from(["human", "gpt"]),
        "value": texts,
        "tool_calls": st.lists(st.none(), max_size=1),
    },
)
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)
values = st.one_of(texts, st.lists(messages, max_size=4), anything)
turns = st.lists(st.sampled_from(["user", "assistant", "user"]), max_size=4).flatmap(
    lambda roles: st.tuples(*(st.fixed_dictionaries({"role": st.just(role), "content": texts}) for role in roles))
)
likely = st.one_of(texts, turns, values)
rows = st.fixed_dictionaries({"chosen": likely, "rejected": likely}, optional=dict.fromkeys(FIELDS, likely))
good = st.builds(lambda n: {"prompt": f"q{n}", "chosen": f"good {n}", "rejected": f"bad {n}"}, st.integers(0, 9))
RENDERERS = {
    (name, policy): Renderer.from_tokenizer(build(), max_length=60, over_length=policy)
    for name, build in (("chatml", chatml), ("gemma", gemma))
    for policy in ("drop", "truncate_prompt", "error")
}


def run(content: bytes, name: str, renderer: Renderer, strings: str):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(content)
        data = {"train": [{"path": str(path)}], "strings": strings, "max_length": 60}
        return prepare(Spec.model_validate({"data": data}), renderer)


def account_for(prepared, renderer):
    assert prepared.record.read == len(prepared.train) + len(prepared.held_out) + len(prepared.rejected)
    assert {row.reason for row in prepared.rejected} <= set(CHECKS)
    for record in (prepared.record, *prepared.rejected):
        assert type(record).model_validate_json(to_json(record)) == record
    for row in prepared.train:
        for ids in (row.chosen_ids, row.rejected_ids):
            assert ids[-1] == renderer.eos_token_id
            assert len(ids) <= 60
            assert renderer.pad_token_id not in ids


def refuses_or_accounts(content: bytes, name: str, renderer: Renderer, strings: str = "chat") -> None:
    try:
        prepared = run(content, name, renderer, strings)
    except RewardsmithError as error:
        refusal = error
    else:
        account_for(prepared, renderer)
        return
    assert refusal.problem
    assert refusal.fix


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    content=st.lists(st.one_of(rows, good), min_size=1, max_size=6),
    key=st.sampled_from(sorted(RENDERERS)),
    strings=st.sampled_from(["chat", "text"]),
)
def test_mutated_rows_never_give_a_traceback(content, key, strings):
    lines = "".join(json.dumps(row) + "\n" for row in content).encode()
    refuses_or_accounts(lines, "a.jsonl", RENDERERS[key], strings)


@settings(max_examples=150, deadline=None)
@given(
    cut=st.integers(0, 400),
    noise=st.binary(max_size=20),
    name=st.sampled_from(["a.jsonl", "a.json", "a.csv", "a.jsonl.gz", "a.parquet"]),
)
def test_damaged_files_never_give_a_traceback(cut, noise, name):
    rows = [{"prompt": f"q{n}", "chosen": "a", "rejected": "é,\n"} for n in range(9)]
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    refuses_or_accounts(lines[:cut] + noise + lines[cut:], name, RENDERERS["chatml", "drop"])


REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "train"


# Seven of the HH responses go on with the user's next turn.
STAYING = {"personal_data", "control_character", "role_marker_in_text", "near_duplicate_prompt", "weak_shortcuts"}


@pytest.mark.skipif(not REAL.is_dir(), reason="the shared data is not here")
@pytest.mark.parametrize(("name", "pairs"), [("hh_singleturn_themis", 439), ("llamafactory_dpo_en_demo", 285)])
def test_real_files_are_read_without_loss(name, pairs):
    spec = Spec.model_validate({"data": {"train": [{"path": str(REAL / f"{name}.jsonl.gz")}], "max_length": 100_000}})
    prepared = prepare(spec, Renderer.from_tokenizer(chatml(), max_length=100_000))
    assert prepared.record.read == prepared.record.kept == pairs
    assert {finding.code for finding in prepared.record.findings} <= STAYING


few = st.sampled_from
labelled = st.fixed_dictionaries(
    {
        "prompt": few(["q", "r", "q r s t u v w x"]),
        "chosen": few(["a", "b c d e", "zwölf"]),
        "rejected": few(["f", "g h"]),
    },
    optional={
        "chosen_model": few(["A", "B", "C"]),
        "rejected_model": few(["A", "B", "C"]),
        "annotator": few(["x", "y"]),
        "source": few(["s", "t"]),
        "subset": few(["u", "v"]),
        "score_chosen": few([0, 1, 1e308, -1e308, 5e-324]),
        "score_rejected": few([0, 1, 1e308, -1e308]),
        "margin": few([0, 1, -1, 1e308, 5e-324]),
    },
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(content=st.lists(st.tuples(labelled, few([1, 2, 7])), min_size=1, max_size=4), numbered=st.booleans())
def test_labels_that_all_agree_or_stand_alone(content, numbered):
    """Surveys divide by counts: of models that meet nobody, annotators with one row, scores without a spread."""
    rows = [row for row, times in content for _ in range(times)]
    if numbered:  # else most are repeats
        rows = [
            {**row, "prompt": f"{row['prompt']} {n}", "chosen": f"{row['chosen']} {n}"} for n, row in enumerate(rows)
        ]
    refuses_or_accounts(
        "".join(json.dumps(row) + "\n" for row in rows).encode(), "a.jsonl", RENDERERS["chatml", "drop"]
    )
