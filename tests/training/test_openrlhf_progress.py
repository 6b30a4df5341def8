"""What the processes wrote, read while they write: whole steps only, restarts, and which rows each step took."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rewardsmith.errors import ModelError
from rewardsmith.modeling.layouts import PairIds
from rewardsmith.training.openrlhf.backend import compare
from rewardsmith.training.openrlhf.inside import Recorder, checksums
from rewardsmith.training.openrlhf.steps import Begun, Dealt, Stepped, StepReader, checksum


def append(folder: Path, rank: int, *lines: dict[str, Any] | str) -> None:
    with (folder / f"rank-{rank}.jsonl").open("a", encoding="utf-8") as handle:
        handle.writelines(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)


def step(number: int, **values: Any) -> dict[str, Any]:
    return {"step": number, **values}


def test_a_step_comes_when_every_process_has_it(tmp_path: Path) -> None:
    reader = StepReader(tmp_path, processes=2)
    assert reader.read() == []
    append(tmp_path, 0, {"begin": 0}, step(1, a=1), step(2, a=2))
    assert reader.read() == []
    append(tmp_path, 1, {"begin": 0}, step(1, a=3))
    assert reader.read() == [Begun(0), Stepped(1, (step(1, a=1), step(1, a=3)))]
    append(tmp_path, 1, step(2, a=4))
    assert reader.read() == [Stepped(2, (step(2, a=2), step(2, a=4)))]
    assert reader.read() == []


def test_half_a_line_waits_for_its_end(tmp_path: Path) -> None:
    reader = StepReader(tmp_path, processes=1)
    line = json.dumps(step(1))
    append(tmp_path, 0, {"begin": 0}, line[:5])
    assert reader.read() == [Begun(0)]
    append(tmp_path, 0, line[5:] + "\n")
    assert reader.read() == [Stepped(1, (step(1),))]


def test_a_killed_run_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    append(tmp_path, 0, {"begin": 0}, step(1), step(2), step(3), '{"step": 4, "cho')
    append(tmp_path, 1, {"begin": 0}, step(1), step(2))
    append(tmp_path, 0, "\n", {"begin": 2}, step(3, again=True))
    append(tmp_path, 1, "\n", {"begin": 2}, step(3, again=True))
    events = StepReader(tmp_path, processes=2).read()
    assert [event.step for event in events] == [0, 1, 2, 2, 3]
    assert [isinstance(event, Begun) for event in events] == [True, False, False, True, False]
    assert events[-1] == Stepped(3, (step(3, again=True), step(3, again=True)))


def ids_of(count: int) -> list[PairIds]:
    return [PairIds(np.array([7, row, 2]), np.array([8, row, 2])) for row in range(count)]


@pytest.mark.parametrize(("rows", "batch", "processes"), [(70, 16, 2), (64, 16, 4), (17, 4, 1), (19, 6, 3)])
def test_rows_are_dealt_as_its_sampler_deals_them(rows: int, batch: int, processes: int) -> None:
    """By hand, process for process: a permutation, its rest cut, every n-th row, batches of a share."""
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(3)).tolist()
    order = order[: rows - rows % processes]
    share = batch // processes
    of_rank = [order[rank::processes] for rank in range(processes)]
    dealt = Dealt(ids_of(rows), 3, batch, processes)
    assert dealt.steps == rows // batch
    seen = []
    for number in range(1, dealt.steps + 1):
        wanted = [row for mine in of_rank for row in mine[(number - 1) * share : number * share]]
        assert dealt.pairs(number) == wanted
        seen += wanted
    assert sorted([*seen, *dealt.left_out.tolist()]) == list(range(rows))
    assert len(dealt.left_out) == rows % batch


def stepped(dealt: Dealt, ids: list[PairIds], number: int = 1) -> Stepped:
    rows = dealt.pairs(number)
    sides = {"chosen_ids": 0, "rejected_ids": 1}
    return Stepped(number, ({name: [checksum(ids[row][side]) for row in rows] for name, side in sides.items()},))


def test_other_ids_are_noticed() -> None:
    ids = ids_of(10)
    dealt = Dealt(ids, 1, 5, 1)
    good = stepped(dealt, ids)
    assert dealt.verify(good) == dealt.pairs(1)
    changed = list(ids)
    victim = dealt.pairs(1)[2]
    changed[victim] = PairIds(ids[victim].chosen, np.array([8, victim, 3]))
    with pytest.raises(ModelError) as refused:
        dealt.verify(stepped(dealt, changed))
    assert f"row {victim + 1}, field 'rejected'" in refused.value.where
    with pytest.raises(ModelError, match="other token ids"):
        dealt.verify(stepped(dealt, ids, number=2)._replace(step=1))  # another order
    short = {name: values[:-1] for name, values in good.rows[0].items()}
    with pytest.raises(ModelError, match="other token ids"):
        dealt.verify(good._replace(rows=(short,)))


def test_checksums_leave_padding_out_and_agree() -> None:
    ids_BT = torch.tensor([[0, 0, 5, 6], [1, 2, 3, 400_000]])
    mask_BT = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    assert checksums(ids_BT, mask_BT) == [checksum(np.array([5, 6])), checksum(np.array([1, 2, 3, 400_000]))]


def test_what_the_recorder_writes_is_what_the_reader_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RANK", "0")
    ids, mask = torch.tensor([[0, 5, 2], [4, 5, 2]]), torch.tensor([[0, 1, 1], [1, 1, 1]])
    recorder = Recorder()
    recorder.begin(0, 0.5)
    for _ in range(2):  # two micro-batches of one step
        recorder.see((ids, mask, torch.tensor([1.0, 2.0])), (ids[:, 1:], mask[:, 1:], torch.tensor([0.0, 3.0])))
    recorder.step(1, {"lr": 0.25, "grad_norm": 2.0, "loss": 9.0})
    recorder.step(2, {"lr": 0.0, "grad_norm": 1.0})
    begun, first, second = StepReader(tmp_path / "steps", processes=1).read()
    assert begun == Begun(0)
    assert first.all("chosen") == [1.0, 2.0, 1.0, 2.0]
    assert first.all("rejected") == [0.0, 3.0, 0.0, 3.0]
    assert first.rows[0]["tokens"] == 2 * 2 * 2 * 3  # two micro-batches, two sides, two rows, three tokens
    # OpenRLHF logs the rate after the scheduler went on; a step has the one that it was made with.
    assert [one.rows[0]["lr"] for one in (first, second)] == [0.5, 0.25]
    assert second.all("chosen") == []


def test_an_evaluation_does_not_mix_with_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recorder = Recorder()
    side = (torch.tensor([[5]]), torch.tensor([[1]]), torch.tensor([1.5]))
    kept, recorder.seen = recorder.seen, {name: type(value)() for name, value in recorder.seen.items()}
    recorder.see(side, side)
    recorder.evaluated(kept)
    assert json.loads((tmp_path / "rewards" / "rank-0.jsonl").read_text())["chosen"] == [1.5]
    assert recorder.seen["chosen"] == []


def test_rewards_that_bfloat16_rounds_are_the_same() -> None:
    ours = np.random.default_rng(0).normal(2.0, 1.5, 200)
    theirs = torch.tensor(ours).bfloat16().double().numpy()
    found = compare(ours, theirs, where="x")
    assert found.texts == 200
    assert found.largest == pytest.approx(np.abs(ours - theirs).max())
    assert 0 < found.root_mean_square < 0.02


@pytest.mark.parametrize("fault", ["shift", "another head", "shuffled", "nan"])
def test_other_rewards_are_refused(fault: str) -> None:
    draw = np.random.default_rng(0)
    ours = draw.normal(0.0, 1.0, 100)
    theirs = {
        "shift": ours + 0.3,
        "another head": draw.normal(0.0, 1.0, 100),
        "shuffled": ours[::-1],
        "nan": np.full(100, np.nan),
    }[fault]
    with pytest.raises(ModelError, match="not OpenRLHF's"):
        compare(ours, theirs, where="x")
