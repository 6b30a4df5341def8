"""Rows come back from disk as they went in, and the memory that a row costs does not depend on its texts."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.data.store import Rejections, RowStore, Spool, TokenizedPair, pair_keys
from rewardsmith.errors import DataError
from rewardsmith.records.checks import RejectedRow
from rewardsmith.types import Message, PreferencePair


@given(records=st.lists(st.binary(max_size=40), max_size=30), again=st.lists(st.integers(0, 29), max_size=10))
def test_a_spool_is_a_list_of_bytes(records, again):
    spool = Spool()
    kept: list[bytes] = []
    for record in records:
        spool.append(record)
        kept.append(record)
        assert spool[-1] == record
    assert list(spool) == kept
    assert len(spool) == len(kept)
    assert [spool[place] for place in again if place < len(kept)] == [kept[p] for p in again if p < len(kept)]
    assert spool[1:3] == kept[1:3]


def test_a_spool_reads_records_longer_than_its_blocks(monkeypatch):
    monkeypatch.setattr("rewardsmith.data.store._BLOCK", 10)
    monkeypatch.setattr("rewardsmith.data.store._FLUSH", 7)
    records = [bytes([n]) * length for n, length in enumerate((3, 25, 0, 10, 4, 4, 11, 0))]
    spool = Spool()
    for record in records:
        spool.append(record)
    assert list(spool) == records


def test_there_is_no_file_to_find(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    spool = Spool()
    spool.append(b"x" * 2_000_000)
    assert spool[0] == b"x" * 2_000_000
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_says_where_and_what_to_do(monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    spool = Spool()
    spool.append(b"x")
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(DataError, match=r"the rows cannot be kept on disk: No space left(.|\n)*TMPDIR"):
        spool[0]


texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
sides = st.lists(st.tuples(st.sampled_from(["user", "assistant"]), texts), min_size=1, max_size=3).map(
    lambda turns: tuple(Message(*turn) for turn in turns)
)
pairs = st.builds(
    PreferencePair,
    sides,
    sides,
    sides,
    target_margin=st.none() | st.floats(-5, 5),
    id=texts,
    source=texts,
    subset=texts,
)
ids = st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=8).map(lambda values: np.array(values, dtype=np.int32))


@given(rows=st.lists(st.tuples(pairs, ids, ids, st.integers(1, 9), st.integers(0, 3)), min_size=1, max_size=6))
def test_rows_come_back_as_they_went_in(rows):
    store = RowStore()
    kept = []
    for place, (pair, chosen, rejected, number, cut) in enumerate(rows):
        if place % 2 == 0:
            store.begin(f"file {place}")
        row = TokenizedPair(pair, chosen, rejected, f"file {place // 2 * 2}", number, pair_keys(pair), cut)
        store.append(row)
        kept.append(row)
    places = np.arange(len(rows))[::-1]
    for mine, theirs in zip(store.rows(places), kept[::-1], strict=True):
        assert (mine.pair, mine.file, mine.row, mine.keys, mine.cut) == (
            theirs.pair,
            theirs.file,
            theirs.row,
            theirs.keys,
            theirs.cut,
        )
        assert mine.chosen_ids.tolist() == theirs.chosen_ids.tolist()
        assert mine.rejected_ids.tolist() == theirs.rejected_ids.tolist()
        assert mine.chosen_ids.flags.writeable
    assert store.pairs(places) == [row.pair for row in kept[::-1]]
    assert store.pairs(places)[1:] == [row.pair for row in kept[::-1]][1:]
    assert [tuple(key.tobytes() for key in keys) for keys in store.keys] == [row.keys for row in kept]
    assert store.lengths.tolist() == [[len(row.chosen_ids), len(row.rejected_ids)] for row in kept]
    assert store.source.tolist() == [place // 2 for place in range(len(kept))]
    assert (store.row.tolist(), store.cut.tolist()) == ([row.row for row in kept], [row.cut for row in kept])


def test_an_empty_store_has_arrays_of_no_rows():
    store = RowStore()
    assert store.keys.shape == (0, 3)
    assert store.lengths.shape == (0, 2)


def test_rejected_rows_are_counted_by_source_and_reason():
    rejected = Rejections()
    rows = [
        RejectedRow(source=source, row=n, id=f"é{n}", role="train", reason=reason)
        for n, (source, reason) in enumerate([("a", "x"), ("b", "y"), ("a", "y"), ("a", "y")])
    ]
    for row in rows:
        rejected.append(row)
    assert list(rejected) == rows
    assert rejected[1] == rows[1]
    assert rejected[2:] == rows[2:]
    assert rejected.by_reason() == {"y": 3, "x": 1}
    assert rejected.counts["train", "a", "y"] == 2
