"""The data contract as a whole: every row is accounted for, and what cannot be used says so in one sentence."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys

import datasets
import numpy as np
import pytest
from rendering_tokenizers import chatml, plain

from rewardsmith.data.files import sha256_of
from rewardsmith.data.lengths import summarize_tokens
from rewardsmith.data.prepare import prepare
from rewardsmith.data.sources import _draw, source_digests
from rewardsmith.data.store import TokenizedPair, data_fingerprint
from rewardsmith.errors import DataError, RenderingError, SpecError
from rewardsmith.records.files import to_json
from rewardsmith.rendering import Renderer
from rewardsmith.spec import Spec
from rewardsmith.types import Message, PreferencePair

ROWS = [
    {
        "prompt": f"Name river {n // 2}.",
        "chosen": f"The Loire {n}.",
        "rejected": f"Nantes {n}.",
        "id": f"r{n}",
        "margin": n,
    }
    for n in range(60)
]
BAD = {"prompt": "x", "chosen": "", "rejected": "y", "id": "bad"}


def write(folder, name, rows):
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def spec_of(train, held_out=None, **more) -> Spec:
    data = {"train": train, "max_length": 120, **more.pop("data", {})}
    if held_out is not None:
        data["held_out"] = held_out
    return Spec.model_validate({"data": data, **more})


def renderer(max_length=120, over_length="drop") -> Renderer:
    return Renderer.from_tokenizer(chatml(), max_length=max_length, over_length=over_length)


def test_a_row_s_way_through(tmp_path):
    spec = spec_of([{"path": write(tmp_path, "a.jsonl", [BAD, ROWS[0], ROWS[1]]), "label": "mine"}], {"fraction": 0})
    prepared = prepare(spec, renderer(), fingerprint="f00d")
    first = prepared.train[0]
    assert first.pair == PreferencePair(
        (Message("user", "Name river 0."),),
        (Message("assistant", "The Loire 0."),),
        (Message("assistant", "Nantes 0."),),
        target_margin=0.0,
        id="r0",
        source="mine",
        form="prompt as text, responses as text",
    )
    assert (first.file, first.row) == ("mine", 2)
    assert first.chosen_ids.tolist() == renderer().ids(first.pair.prompt + first.pair.chosen).tolist()
    assert first.rejected_ids.tolist() == renderer().ids(first.pair.prompt + first.pair.rejected).tolist()
    assert prepared.rejected[0].model_dump() == {
        "source": "mine",
        "row": 1,
        "id": "bad",
        "role": "train",
        "reason": "empty_text",
        "detail": "chosen: the assistant message is ''",
    }
    record = prepared.record
    assert (record.fingerprint, record.read, record.kept, record.rejected) == ("f00d", 3, 2, 1)
    keys = [key for row in prepared.train for key in row.keys]
    assert record.data_fingerprint == data_fingerprint(np.array(keys, dtype="V16").reshape(-1, 3))
    assert (record.train_pairs, record.held_out_pairs, record.held_out_origin) == (2, 0, "none")
    assert record.distinct_prompts == 1
    assert record.rendering == renderer().record


def test_a_rejected_row_can_be_written_whatever_its_id(tmp_path):
    bad = {"prompt": "x", "chosen": None, "rejected": "y", "id": "half \ud83d"}
    prepared = prepare(spec_of([{"path": write(tmp_path, "a.jsonl", [bad, *ROWS])}]), renderer())
    assert json.loads(to_json(prepared.rejected[0]))["id"] == "half ?"


def test_read_is_kept_plus_rejected_per_source_and_in_all(tmp_path):
    train = [
        {"path": write(tmp_path, "a.jsonl", [*ROWS[:20], BAD, BAD])},
        {"path": write(tmp_path, "b.jsonl", [BAD, *ROWS[20:40]])},
    ]
    held_out = {"sources": [{"path": write(tmp_path, "c.jsonl", [*ROWS[40:], BAD])}]}
    prepared = prepare(spec_of(train, held_out), renderer())
    counts = [(s.role, s.read, s.kept, s.rejected) for s in prepared.record.sources]
    assert counts == [("train", 22, 20, 2), ("train", 21, 20, 1), ("held_out", 21, 20, 1)]
    assert (prepared.record.read, prepared.record.kept, prepared.record.rejected) == (64, 60, 4)
    assert [row.role for row in prepared.rejected] == ["train", "train", "train", "held_out"]
    assert [row.pair.id for row in prepared.train] == [f"r{n}" for n in range(40)]
    assert [pair.id for pair in prepared.held_out] == [f"r{n}" for n in range(40, 60)]
    assert prepared.record.held_out_origin.startswith("sources of their own: ")
    assert prepared.record.sources[0].sha256 == sha256_of(tmp_path / "a.jsonl")


def test_a_fraction_is_held_out_by_prompt_and_reproducibly(tmp_path):
    path = write(tmp_path, "a.jsonl", ROWS)
    prepared = prepare(spec_of([{"path": path}], {"fraction": 0.2}, seed=5), renderer())
    assert (len(prepared.train), len(prepared.held_out)) == (48, 12)
    assert not {row.pair.prompt for row in prepared.train} & {pair.prompt for pair in prepared.held_out}
    again = prepare(spec_of([{"path": path}], {"fraction": 0.2}, seed=5), renderer())
    assert again.record == prepared.record
    assert prepared.record.held_out_origin == "20.0% of the training prompts, drawn by seed 5"


def test_the_order_of_rows_does_not_change_the_data_fingerprint(tmp_path):
    one, two = (
        prepare(spec_of([{"path": write(tmp_path, name, rows)}]), renderer()).record.data_fingerprint
        for name, rows in (("a.jsonl", ROWS), ("b.jsonl", ROWS[::-1]))
    )
    assert one == two


def test_all_forms_and_formats_meet_in_one_training_set(tmp_path):
    lists = [
        {
            "chosen": [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": "a"}],
            "rejected": [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": "b"}],
        }
        for n in range(3)
    ]
    zipped = tmp_path / "b.jsonl.gz"
    zipped.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in lists).encode()))
    (tmp_path / "c.csv").write_text("question,good,bad\nq9,a,b\n")
    train = [
        {"path": write(tmp_path, "a.jsonl", ROWS[:3])},
        {"path": str(zipped)},
        {"path": str(tmp_path / "c.csv"), "columns": {"prompt": "question", "chosen": "good", "rejected": "bad"}},
    ]
    prepared = prepare(spec_of(train, {"fraction": 0}), renderer())
    assert [row.pair.prompt[0].content for row in prepared.train] == [
        "Name river 0.", "Name river 0.", "Name river 1.", "q0", "q1", "q2", "q9",
    ]  # fmt: skip


def test_plain_text_needs_no_template(tmp_path):
    tokenizer = plain()
    tokenizer.chat_template = None
    spec = spec_of([{"path": write(tmp_path, "a.jsonl", ROWS[:2])}], {"fraction": 0}, data={"strings": "text"})
    prepared = prepare(spec, Renderer.from_tokenizer(tokenizer, max_length=120, conversational=False))
    assert tokenizer.decode(prepared.train[0].chosen_ids) == "<s>Name river 0.The Loire 0.</s>"


def test_embedded_pairs_come_from_the_files_that_are_handed_in(tmp_path):
    files = {"train": tmp_path / "t.jsonl", "held_out": tmp_path / "h.jsonl"}
    write(tmp_path, "t.jsonl", ROWS[:20])
    write(tmp_path, "h.jsonl", ROWS[20:30])
    spec = spec_of([{"embedded": "train"}], {"sources": [{"embedded": "held_out"}]})
    prepared = prepare(spec, renderer(), embedded=files)
    assert [source.source for source in prepared.record.sources] == ["embedded:train", "embedded:held_out"]
    assert len(prepared.held_out) == 10
    assert source_digests(spec.data, files) == {
        "train[0] embedded:train": sha256_of(files["train"]),
        "held_out[0] embedded:held_out": sha256_of(files["held_out"]),
    }


def test_a_limit_draws_that_many_rows_by_seed_in_file_order(tmp_path):
    path = write(tmp_path, "a.jsonl", ROWS)
    draws = []
    for seed in (1, 1, 2):
        prepared = prepare(spec_of([{"path": path, "limit": 15}], {"fraction": 0}, seed=seed), renderer())
        draws.append([row.row for row in prepared.train])
        assert prepared.record.read == 15
    assert draws[0] == draws[1] == sorted(draws[0])
    assert draws[0] != draws[2]
    whole = prepare(spec_of([{"path": path, "limit": 999}], {"fraction": 0}), renderer())
    assert len(whole.train) == 60


def test_the_draw_is_uniform():
    hits = np.zeros(20)
    for seed in range(3000):
        for number, _ in _draw(((n, {}) for n in range(20)), 5, str(seed)):
            hits[number] += 1
    assert hits.sum() == 15_000
    assert ((hits - 750) ** 2 / (750 * 0.75)).sum() < 45  # chi-square with 19 degrees of freedom: p = 0.0007


def test_progress_counts_all_sources(tmp_path):
    seen = []
    train = [{"path": write(tmp_path, name, ROWS[:20])} for name in ("a.jsonl", "b.jsonl")]
    prepare(spec_of(train), renderer(), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(20, 40), (20, 40), (40, 40), (40, 40)]  # after each chunk and after each source


def test_token_lengths_are_summed_up():
    def row(chosen: int, rejected: int, last: int = 9) -> TokenizedPair:
        ids = [np.array([1] * (n - 1) + [last], dtype=np.int32) for n in (chosen, rejected)]
        return TokenizedPair(PreferencePair((), (), ()), *ids, "a", 1, (b"", b"", b""))

    summary = summarize_tokens([row(2, 4), row(6, 8), row(3, 5, last=7)], pairs_per_step=2, name_of="t{}".format)
    assert (summary.texts, summary.tokens) == (6, 28)
    assert summary.padded_tokens == 4 * 8 + 2 * 5
    assert (summary.quantiles["min"], summary.quantiles["p50"], summary.quantiles["max"]) == (2.0, 4.5, 8.0)
    assert summary.last_tokens == {"t9": 4, "t7": 2}


def hub(monkeypatch, rows=None, error=None):
    def load_dataset(path, *, name, split, revision):
        if error is not None:
            raise error
        assert (path, name, split, revision) == ("org/pairs", None, "train", "abc")
        return datasets.Dataset.from_list(rows)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_a_hub_data_set_is_read_with_its_revision(monkeypatch):
    hub(monkeypatch, rows=ROWS)
    prepared = prepare(spec_of([{"id": "org/pairs", "revision": "abc"}], {"fraction": 0}), renderer())
    assert [row.row for row in prepared.train[:2]] == [1, 2]
    assert (prepared.record.sources[0].source, prepared.record.sources[0].revision) == ("org/pairs", "abc")


def test_a_hub_data_set_out_of_reach_says_so(monkeypatch):
    hub(monkeypatch, error=ConnectionError("Couldn't reach 'org/pairs' on the Hub\nmore"))
    with pytest.raises(DataError, match=r"^hub data set org/pairs: .*ConnectionError: Couldn\'t reach(.|\n)*offline$"):
        prepare(spec_of([{"id": "org/pairs"}]), renderer())


ALL_LEFT_OUT = (
    r"^data\.train: all 3 rows were left out: empty text \(empty_text\) 2, missing field \(missing_field\) 1\. "
    r"For example .*a\.jsonl:1: chosen: the assistant message is ''\n  try: "
)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], r"a\.jsonl: has no rows"),
        ([{"prompt": "x", "good": "y", "rejected": "z"}], r"a\.jsonl: has no column 'chosen'; its columns are 'good'"),
        ([BAD, BAD, {**BAD, "chosen": None}], ALL_LEFT_OUT),
        ([{"chosen": "a", "rejected": "b"}], r"missing prompt \(missing_prompt\) 1(.|\n)*columns\.prompt"),
    ],
)
def test_data_that_cannot_be_used_is_refused(rows, message, tmp_path):
    with pytest.raises(DataError, match=message):
        prepare(spec_of([{"path": write(tmp_path, "a.jsonl", rows)}]), renderer())


def test_held_out_sources_without_a_usable_row_are_refused(tmp_path):
    held_out = {"sources": [{"path": write(tmp_path, "h.jsonl", [BAD])}]}
    with pytest.raises(DataError, match=r"^data\.held_out\.sources: all 1 rows were left out"):
        prepare(spec_of([{"path": write(tmp_path, "a.jsonl", ROWS)}], held_out), renderer())


def test_a_broken_line_stops_with_file_and_line(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS[:2]) + '{"prompt": \n')
    with pytest.raises(DataError, match=r"a\.jsonl:3: broken JSON"):
        prepare(spec_of([{"path": str(path)}]), renderer())


def test_over_length_error_names_file_and_row(tmp_path):
    rows = [*ROWS[:3], ROWS[3] | {"chosen": "word " * 200}]
    spec = spec_of([{"path": write(tmp_path, "a.jsonl", rows), "label": "mine"}], data={"over_length": "error"})
    with pytest.raises(DataError, match=r"^mine:4: \d+ tokens, the limit is 120"):
        prepare(spec, renderer(over_length="error"))


def test_conversations_without_a_template_are_refused(tmp_path):
    tokenizer = plain()
    tokenizer.chat_template = None
    text_only = Renderer.from_tokenizer(tokenizer, max_length=120, conversational=False)
    with pytest.raises(RenderingError, match="the data is conversational and the tokenizer has no chat template"):
        prepare(spec_of([{"path": write(tmp_path, "a.jsonl", ROWS)}]), text_only)


def test_fail_on_must_name_something(tmp_path):
    spec = spec_of([{"path": write(tmp_path, "a.jsonl", ROWS)}], data={"fail_on": ["errors"]})
    with pytest.raises(SpecError, match=r"data\.fail_on: 'errors' is neither a severity nor the code of a check"):
        prepare(spec, renderer())


def test_the_rooms_load_no_large_library_until_they_need_one():
    code = "import rewardsmith.data, sys; print({'torch', 'transformers', 'datasets', 'pyarrow'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
