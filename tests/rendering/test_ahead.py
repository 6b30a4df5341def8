"""Rendering in a helper process: the same ids and the same errors, whatever becomes of the helper."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from rendering_tokenizers import chatml

from rewardsmith.data.prepare import prepare
from rewardsmith.errors import DataError
from rewardsmith.records.files import to_json
from rewardsmith.rendering import RenderAhead, Renderer
from rewardsmith.spec import Spec
from rewardsmith.types import Message, PreferencePair

STARTED = 60  # seconds until a helper must be up on a busy machine


def renderer(max_length=60, over_length="drop") -> Renderer:
    return Renderer.from_tokenizer(chatml(), max_length=max_length, over_length=over_length)


def pair(number: int, length: int = 3) -> PreferencePair:
    def said(role, text):
        return (Message(role, text),)

    long = " ".join(["Loire"] * length)
    return PreferencePair(said("user", f"River {number}?"), said("assistant", long), said("assistant", f"{number}"))


PAIRS = [pair(number, length) for number, length in enumerate((1, 3, 200, 2, 5))]
PLACES = [f"pairs.jsonl:{number + 1}" for number in range(len(PAIRS))]


def same(mine, theirs) -> bool:
    facts = all((a.reason, a.detail, a.cut) == (b.reason, b.detail, b.cut) for a, b in zip(mine, theirs, strict=True))
    ids = [(getattr(a, side), getattr(b, side)) for a, b in zip(mine, theirs, strict=True) for side in SIDES]
    return facts and all((a is None) == (b is None) and (a is None or np.array_equal(a, b)) for a, b in ids)


SIDES = ("chosen_ids", "rejected_ids")


@pytest.fixture(scope="module")
def ahead():
    """A helper that is up."""
    with RenderAhead(renderer(), processes=1, alone=0) as ahead:
        ahead.render(PAIRS, PLACES)
        assert ahead.ready.wait(STARTED)
        yield ahead


def test_a_helper_gives_what_the_renderer_gives(ahead):
    expected = renderer().render_pairs(PAIRS, places=PLACES)
    assert [rendered.reason for rendered in expected] == ["", "", "over_length", "", ""]
    chunks = [ahead.render(PAIRS[:start] + PAIRS, PLACES[:start] + PLACES) for start in range(5)]
    for start, chunk in enumerate(chunks):
        assert same(chunk(), expected[:start] + expected)
    process = ahead._helpers[0]._process
    assert process is not None
    assert process.poll() is None


def test_an_error_of_a_helper_names_the_place():
    with RenderAhead(renderer(over_length="error"), processes=1, alone=0) as ahead:
        ahead.render(PAIRS[:1], PLACES[:1])
        assert ahead.ready.wait(STARTED)
        later = ahead.render(PAIRS, PLACES)
        with pytest.raises(DataError, match=r"pairs\.jsonl:3: .* tokens") as raised:
            later()
    with pytest.raises(DataError) as expected:
        renderer(over_length="error").render_pairs(PAIRS, places=PLACES)
    assert (str(raised.value), raised.value.fix) == (str(expected.value), expected.value.fix)


def test_a_helper_that_dies_is_done_without():
    with RenderAhead(renderer(), processes=1, alone=0) as ahead:
        ahead.render(PAIRS, PLACES)
        assert ahead.ready.wait(STARTED)
        process = ahead._helpers[0]._process
        process.kill()
        process.wait()
        for _ in range(2):
            assert same(ahead.render(PAIRS, PLACES)(), renderer().render_pairs(PAIRS, places=PLACES))
        assert ahead._helpers[0]._process is None


def test_nothing_is_left_of_a_helper_that_is_no_longer_wanted():
    with RenderAhead(renderer(), processes=1, alone=0) as ahead:
        ahead.render(PAIRS, PLACES)
        assert ahead.ready.wait(STARTED)
        process = ahead._helpers[0]._process
        waiting = [ahead.render(PAIRS * 200, PLACES * 200) for _ in range(3)]
    assert process.returncode is not None
    assert len(waiting) == 3
    assert not any(thread.is_alive() for thread in ahead._threads._threads)


def test_a_renderer_that_cannot_be_sent_stays_here():
    mine = renderer()
    mine.tokenizer.kept = lambda: None  # no pickle holds a lambda
    with RenderAhead(mine, processes=1, alone=0) as ahead:
        assert same(ahead.render(PAIRS, PLACES)(), renderer().render_pairs(PAIRS, places=PLACES))
        assert ahead._threads is None


@pytest.mark.parametrize(("processes", "alone"), [(0, 0), (1, 5)])
def test_no_helper_starts_for_little_work(processes, alone):
    with RenderAhead(renderer(), processes=processes, alone=alone) as ahead:
        for _ in range(5):
            assert same(ahead.render(PAIRS, PLACES)(), renderer().render_pairs(PAIRS, places=PLACES))
        assert ahead._threads is None


def test_the_data_contract_is_the_same_with_a_helper(tmp_path, monkeypatch):
    def row(number):
        faults = {7: "", 11: "Loire " * 200}
        chosen = faults.get(number % 50, f"The Loire {number}.")
        return {"prompt": f"Name river {number // 2}.", "chosen": chosen, "rejected": f"Nantes {number}."}

    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row(number)) + "\n" for number in range(6000)))
    spec = Spec.model_validate({"data": {"train": [{"path": str(path)}], "max_length": 60}})
    used = []

    class Started(RenderAhead):
        def __init__(self, renderer):
            super().__init__(renderer, processes=1, alone=1)

        def render(self, pairs, places):
            later = super().render(pairs, places)
            if self._threads is not None:
                used.append(self.ready.wait(STARTED))
            return later

    alone = prepare(spec, renderer())
    monkeypatch.setattr(sys.modules[prepare.__module__], "RenderAhead", Started)
    helped = prepare(spec, renderer())
    assert len(used) == 11
    assert all(used)
    assert to_json(helped.record) == to_json(alone.record)
    assert list(helped.rejected) == list(alone.rejected)
    assert {row.reason for row in helped.rejected} == {"empty_text", "over_length"}
    assert [row.keys for row in helped.train] == [row.keys for row in alone.train]
