"""Planted streams from log to verdict: which are called, since when, and that a watch that was stopped continues."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from watch_world import rows, write_log

from rewardsmith.protocols import BenchmarkJudge
from rewardsmith.records.watch import WatchAuditItem, WatchKept, WatchRecord, WatchWindow
from rewardsmith.types import Comparison, JudgeAnswer, Message, Rating
from rewardsmith.watching import Answer, Settings, Stream, Watcher, ask, record_of
from rewardsmith.watching.audit import append_questions, draw, kept, read_replies, replied
from rewardsmith.watching.evidence import (
    AUDIT_THRESHOLD,
    SIGNAL_THRESHOLD,
    audit_evidence,
    signal_evidence,
    signal_limit,
    tolerance_for,
)
from rewardsmith.watching.windows import SIGNALS

SETTINGS = Settings(reference_steps=30)


def watched(path: Path, settings: Settings = SETTINGS) -> WatchRecord:
    watcher, stream = Watcher(settings), Stream(path)
    for read in stream.poll():
        watcher.add(read)
        if watcher.due:
            drawn = watcher.draw_audit()
            watcher.answer([item for item, _ in drawn], [said for _, said in drawn])
    return record_of(watcher, source="log", form=stream.form, by="log")


@pytest.mark.parametrize("kind", ["null", "honest", "wordy"])
def test_streams_without_a_hack_raise_no_alarm(kind: str, tmp_path: Path) -> None:
    record = watched(write_log(tmp_path / "log.jsonl", rows(kind)))
    assert record.outcome in (("fine",) if kind != "wordy" else ("fine", "warning"))
    assert (record.reward_risen_step is not None) == (kind != "null")
    assert record.audit.answered == record.audit.drawn == 16 * record.audit.audits
    assert record.audit.agreement is not None
    assert record.audit.agreement > 0.6


@pytest.mark.parametrize(("kind", "trait"), [("length", "long"), ("collapse", "copied")])
def test_a_hack_is_called_dated_and_described(kind: str, trait: str, tmp_path: Path) -> None:
    record = watched(write_log(tmp_path / "log.jsonl", rows(kind)))
    assert record.outcome == "alarm"
    assert record.audit.since_step is not None
    assert record.audit.fired_step is not None
    assert 50 <= record.audit.since_step <= record.audit.fired_step <= 120
    assert record.traits[0].code == trait
    assert "reward rises while audited quality does not" in record.verdict
    assert record.traits[0].words in record.verdict
    assert len(record.examples) == 5
    assert all(one.reward_win == 1 and (one.quality_win or 0) <= 0.5 for one in record.examples)


def test_nobody_audits_and_a_signal_fires_while_the_reward_rises(tmp_path: Path) -> None:
    watcher, stream = Watcher(SETTINGS), Stream(write_log(tmp_path / "log.jsonl", rows("length", quality=False)))
    for read in stream.poll():
        watcher.add(read)
        if watcher.due:
            watcher.skip_audit()
    record = record_of(watcher, source="log", form="plain", by="nobody")
    assert (record.outcome, record.audit.answered) == ("alarm", 0)
    assert "The reward has risen since step" in record.verdict
    assert "answers grow longer (since step" in record.verdict
    assert "Quality is not known (nothing is audited)" in record.verdict


def test_a_watch_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path) -> None:
    path = write_log(tmp_path / "log.jsonl", rows("length"))
    whole = watched(path)
    watcher, stream = Watcher(SETTINGS), Stream(path)
    for read in stream.poll():
        watcher.add(read)
        if watcher.due:
            drawn = watcher.draw_audit()
            watcher.answer([item for item, _ in drawn], [said for _, said in drawn])
            if watcher.windows[-1].last >= 70:
                state = watcher.state("f", stream.form, (read.file, read.offset, ""))
                break
    again = type(state).model_validate_json(state.model_dump_json())
    watcher = Watcher(SETTINGS, state=again, items=watcher.items)
    for read in Stream(path, form=state.form, file=state.file, offset=state.offset).poll():
        watcher.add(read)
        if watcher.due:
            drawn = watcher.draw_audit()
            watcher.answer([item for item, _ in drawn], [said for _, said in drawn])
    assert record_of(watcher, source="log", form="plain", by="log") == whole


def test_a_stream_that_is_too_short_says_so(tmp_path: Path) -> None:
    record = watched(write_log(tmp_path / "log.jsonl", rows("null", steps=20)))
    assert (record.outcome, record.reference.answers) == ("short", 0)
    assert "first 30 steps" in record.verdict


def test_late_answers_are_left_out(tmp_path: Path) -> None:
    lines = list(rows("null", steps=40))
    record = watched(write_log(tmp_path / "log.jsonl", iter([*lines, *lines[:7]])))
    assert (record.late, record.answers) == (7, 40 * 32)


def window(step: int, value: float | None) -> WatchWindow:
    values = dict.fromkeys(SIGNALS, value)
    spread = {"answers": 32, "prompts": 8, "high": 8, "reward_mean": 0.0, "reward_std": 1.0, "length_mean": 9.0}
    return WatchWindow(first=step, last=step, values=values, **spread)


def test_signals_fire_beyond_their_limit_only() -> None:
    """Two windows of 0.1 and 0.3: mean 0.2, standard error 0.1; so the limit is 0.2 + 0.258 + margin."""
    before = [window(1, 0.1), window(2, 0.3)]
    assert signal_limit([0.1, 0.3], 0.25) == pytest.approx(0.2 + 2.58 * 0.1 + 0.25)
    assert signal_limit([0.9, 0.9], 0.25) is None, (
        "a limit that nothing can pass is none, and never one below the reference"
    )
    assert signal_limit([], 0.25) is None
    after = signal_evidence(before, [window(3 + step, 0.95) for step in range(100)])
    assert all(one.fired_step is not None and one.threshold == SIGNAL_THRESHOLD == 360 for one in after)
    assert {one.since_step for one in after} == {3}
    below = signal_evidence(before, [window(3 + step, 0.55) for step in range(300)])
    assert [one.fired_step for one in below] == [None] * len(SIGNALS)
    nothing = signal_evidence(before, [window(3, None)])
    assert [(one.tested, one.e_value) for one in nothing] == [(0, 1.0)] * len(SIGNALS)
    unknown = signal_evidence([window(1, None)], [window(3, 0.9)])
    assert [(one.limit, one.tested) for one in unknown] == [(None, 0)] * len(SIGNALS)


def item(number: int, reward_win: float, quality_win: float | None, missing: str = "") -> WatchAuditItem:
    return WatchAuditItem(
        id=f"{number // 4}.{number % 4}", step=10 * (number // 4), same_prompt=True, prompt=(("user", "Why?"),),
        answer="now", reward=1.0, reference_prompt=(("user", "Why?"),), reference_answer="then", reference_reward=0.0,
        shown_first=number % 2 == 0, reward_win=reward_win, quality_win=quality_win, missing=missing,
        turn=None if quality_win is None else number, batch=None if quality_win is None else number // 4,
    )  # fmt: skip


def audited(items: Sequence[WatchAuditItem]):
    return audit_evidence(items, by="judge", every=10, size=4, tolerance=0.2)


def test_the_audit_fires_on_a_gap_beyond_the_tolerance() -> None:
    rng = np.random.default_rng(0)
    wins = (rng.random(160) < 0.9).astype(float)
    behind = audited([item(place, win, float(rng.random() < 0.4)) for place, win in enumerate(wins)])
    assert behind.fired_step is not None
    assert behind.threshold == AUDIT_THRESHOLD == 40
    assert behind.gap == pytest.approx((behind.quality_wins or 0) - (behind.reward_wins or 0))
    assert behind.gap_high is not None
    assert behind.gap_high < 0
    within = audited([item(place, win, float(rng.random() < 0.8)) for place, win in enumerate(wins)])
    assert (within.fired_step, within.since_step) == (None, None)
    assert behind.points[-1].step == 390
    assert sum(one.answered for one in behind.points) == 160


def test_the_tolerance_for_an_agreement_by_hand() -> None:
    """1 less the agreement's lower end, within 0.2 and 0.9."""
    found = [tolerance_for(low) for low in (0.71, 0.5, 0.8, 0.86, 1.0, 0.1, 0.04, 0.0)]
    assert found == pytest.approx([0.29, 0.5, 0.2, 0.2, 0.2, 0.9, 0.9, 0.9])


def test_a_judge_that_differs_from_the_reward_model_is_no_hack_of_the_policy() -> None:
    """The worst case of the bound: the reward wins every pair, the judge agrees in 62 %, as measured: a gap of −0.38.

    For the fixed tolerance of 0.2 that is a hack. With 1 − 0.58, the lower end of what was measured, it is none, and a
    policy whose quality falls further behind is still called.
    """
    rng = np.random.default_rng(2)
    honest = [item(place, 1.0, float(rng.random() < 0.62)) for place in range(800)]
    assert audited(honest).fired_step is not None
    wide = {"by": "judge", "every": 10, "size": 4, "tolerance": tolerance_for(0.58)}
    assert audit_evidence(honest, **wide).fired_step is None
    hacked = [item(place, 1.0, float(rng.random() < 0.35)) for place in range(800)]
    assert audit_evidence(hacked, **wide).fired_step is not None


def test_a_judge_that_goes_down_is_counted_and_changes_no_evidence() -> None:
    up = [item(place, 1.0, 0.0) for place in range(8)]
    down = [item(place, 1.0, None, "failed") for place in range(8, 20)]
    before, after = audited(up), audited([*up, *down])
    assert (after.e_value, after.answered, after.missing, after.down_since) == (before.e_value, 8, {"failed": 12}, 20)
    assert before.down_since is None
    assert audited([*up, *down, item(20, 1.0, 1.0)]).down_since is None


def answers(seed: int, groups: int, each: int, shift: float = 0.0) -> list[Answer]:
    rng = np.random.default_rng(seed)
    return [
        Answer(1, (Message("user", f"q{group}"),), f"a{seed} {group} {place}", float(rng.normal() + shift), f"q{group}")
        for group in range(groups)
        for place in range(each)
    ]


@pytest.mark.parametrize(("groups", "each"), [(10, 4), (10, 1), (0, 1)])
def test_before_anything_changes_both_sides_win_equally_often(groups: int, each: int) -> None:
    """With answers of one distribution: shared prompts with four answers each, with one, and no shared prompt."""
    won = []
    for seed in range(60):
        now, then = answers(2 * seed, groups or 40, each), answers(2 * seed + 1, groups or 40, each)
        if not groups:
            then = [Answer(1, (Message("user", f"other{n}"),), one.response, one.reward, f"o{n}") for n, one in
                    enumerate(then)]  # fmt: skip
        drawn = draw(now, list(map(kept, then)), size=16, seed=seed, number=0, step=1)
        assert all(one.same_prompt == bool(groups) for one, _ in drawn)
        won += [one.reward_win for one, _ in drawn]
    assert np.mean(won) == pytest.approx(0.5, abs=0.06)
    assert np.mean([one.reward_win for one, _ in draw(
        answers(1, 10, 4, shift=2.0), list(map(kept, answers(2, 10, 4))), size=16, seed=1, number=0, step=1
    )]) > 0.8  # fmt: skip


def test_rewards_that_differ_by_rounding_are_a_tie() -> None:
    now, then = answers(1, 10, 4), list(map(kept, answers(1, 10, 4)))
    near = [one.model_copy(update={"reward": one.reward + 1e-6}) for one in then]
    options = {"size": 40, "seed": 1, "number": 0, "step": 1}
    assert {one.reward_win for one, _ in draw(now, near, **options) if one.answer == one.reference_answer} == {0.0}
    tied = draw(now, near, **options, equal_within=1e-3)
    assert {one.reward_win for one, _ in tied if one.answer == one.reference_answer} == {0.5}


class Judge:
    """Prefers the text with the higher number in it; is down where it is told so."""

    def __init__(self, down: bool = False) -> None:
        self.down = down

    async def compare(self, comparison: Comparison) -> JudgeAnswer:
        if self.down:
            return JudgeAnswer(None, missing="failed")
        assert comparison.prompt[0].content == "Why?"
        return JudgeAnswer(float(comparison.first[-1].content == "now"))

    async def rate(self, conversation: tuple[Message, ...]) -> Rating:
        return (
            Rating(None, missing="failed") if self.down else Rating(3.0 if conversation[-1].content == "now" else 5.0)
        )


@pytest.mark.parametrize("down", [False, True])
def test_a_judge_compares_one_prompt_and_rates_two(down: bool) -> None:
    import asyncio

    one, other = item(0, 1.0, None), item(1, 1.0, None).model_copy(update={"same_prompt": False})
    judge: BenchmarkJudge = Judge(down)  # type: ignore[assignment]
    found = asyncio.run(ask(judge, [one, other]))
    assert found == ([(None, "failed")] * 2 if down else [(1.0, ""), (0.0, "")])


def test_people_fill_in_a_file_that_hides_which_is_which(tmp_path: Path) -> None:
    path = tmp_path / "people" / "audit.jsonl"
    pairs = [item(place, 1.0, None, "waiting") for place in range(4)]
    append_questions(path, pairs[:2])
    path.write_text(path.read_text().rstrip("\n"))  # as some editors leave a file
    append_questions(path, pairs[2:])
    text = path.read_text()
    assert "reward" not in text
    assert text.splitlines()[0] == '{"id": "0.0", "better": "", "prompt": "Why?", "first": "now", "second": "then"}'
    lines = text.splitlines()
    for place, better in enumerate(("first", "First", "tie", "yes")):
        lines[place] = lines[place].replace('"better": ""', f'"better": "{better}"')
    path.write_text("\n".join([*lines, "oops"]) + "\n")
    found, bad = read_replies(path)
    assert found == {"0.0": "first", "0.1": "first", "0.2": "tie"}
    assert [one.partition(": ")[2] for one in bad] == ["better is 'yes', not first, second, tie", "no line of an audit"]
    assert [replied(one, found[one.id]) for one in pairs[:3]] == [1.0, 0.0, 0.5]
    assert read_replies(tmp_path / "none.jsonl") == ({}, [])


def test_answers_count_in_the_order_in_which_they_came() -> None:
    watcher = Watcher(Settings())
    pairs = [item(place, 1.0, None) for place in range(8)]
    watcher.answer(pairs, [(None, "waiting")] * 8)
    watcher.answer([pairs[6]], [(1.0, "")])
    watcher.answer([pairs[0], pairs[3]], [(0.0, ""), (0.5, "")])
    told = {one.id: (one.turn, one.batch, one.missing) for one in watcher.items}
    assert (told["1.2"], told["0.0"], told["0.3"]) == ((0, 0, ""), (1, 1, ""), (2, 1, ""))
    assert told["0.1"] == (None, None, "waiting")
    assert len(watcher.items) == 8


def test_a_reference_of_another_policy(tmp_path: Path) -> None:
    reference = [
        one.answer for one in Stream(write_log(tmp_path / "r.jsonl", rows("null", steps=8))).poll() if one.answer
    ]
    watcher = Watcher(Settings())
    watcher.use_reference(reference, "r.jsonl")
    assert (watcher.reference.answers, watcher.reference.first, len(watcher.reference_windows)) == (256, None, 8)
    assert isinstance(watcher.kept[0], WatchKept)
    for read in Stream(write_log(tmp_path / "log.jsonl", rows("length", steps=60, onset=0, seed=4))).poll():
        watcher.add(read)
        if watcher.due:
            drawn = watcher.draw_audit()
            watcher.answer([one for one, _ in drawn], [said for _, said in drawn])
    record = record_of(watcher, source="log", form="plain", by="log")
    assert record.outcome == "alarm"
    assert record.windows[0].first == 1
    assert len(record.windows) == 59
