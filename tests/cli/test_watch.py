"""`rewardsmith watch`: exit codes, files, continuing, a judge, people, gauges, the page, input that cannot be used."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_world import World
from report_records import checkpoint
from routing_files import calibrate, pair_rows, plant_model
from watch_world import PHRASE, rows, write_log

from rewardsmith.pipeline.commands.look import FollowedRun
from rewardsmith.pipeline.commands.watch import WatchOptions, tolerance_of
from rewardsmith.records.files import read_record, write_json
from rewardsmith.records.routing import RoutedScore
from rewardsmith.records.watch import WatchRecord, WatchState
from rewardsmith.spec import load_spec

FEW = ("--reference-steps", "20")


@pytest.fixture
def world(
    tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> World:
    return World(tmp_path, tiny_base, capsys, monkeypatch)


def test_a_fine_stream_ends_with_0_and_the_same_call_continues(world: World, tmp_path: Path) -> None:
    lines = list(rows("null", steps=60))
    write_log(tmp_path / "log.jsonl", iter(lines[: 32 * 45]))
    asked = ("watch", "log.jsonl", "--out", "out", *FEW)
    answer = world(*asked)
    assert answer.code == 0, answer.err
    assert "verdict: FINE" in answer.out
    assert "Signals without a judge" in answer.out
    state = read_record(tmp_path / "out" / "watch.state.json", WatchState)
    assert (state.form, state.file, state.last_audit) == ("plain", "log.jsonl", 40)
    write_log(tmp_path / "log.jsonl", iter(lines))
    again = world(*asked)
    assert "continues after step 40" in again.err
    world(*asked[: -len(FEW)], *FEW, "--out", "whole")
    first, second = ((tmp_path / out / "watch.json").read_text() for out in ("out", "whole"))
    assert first == second
    assert [json.loads(line)["id"] for line in (tmp_path / "out" / "audit.jsonl").read_text().splitlines()][:2] == [
        "0.0",
        "0.1",
    ]
    other = world(*asked, "--seed", "4")
    assert (other.code, "state of another watch" in other.err, "--overwrite" in other.err) == (2, True, True)
    assert world(*asked, "--seed", "4", "--overwrite").code == 0


def test_a_rotated_stream_gives_the_record_of_a_whole_one_and_says_so(world: World, tmp_path: Path) -> None:
    lines, path = list(rows("honest", steps=60, onset=25)), tmp_path / "log.jsonl"
    asked = ("watch", "log.jsonl", "--json", *FEW)
    write_log(path, iter(lines))
    whole = world(*asked, "--out", "whole").json()
    write_log(path, iter(lines[: 32 * 45]))
    assert world(*asked, "--out", "out").code == 0
    write_log(path, iter(lines[: 32 * 50 + 7]))
    path.rename(tmp_path / "log.jsonl.1")
    write_log(path, iter(lines[32 * 50 + 7 :]))
    again = world(*asked, "--out", "out")
    assert "log.jsonl is a new file: the old one is read to its end" in again.err.replace("\n", " ")
    assert again.json() == {**whole, "rotations": {"replaced": 1}}
    assert (whole["rotations"], whole["audit"]["answered"]) == ({}, 48), "audits of steps 30, 40 and 50"
    assert "file was rotated 1 time: the old one was read to its end" in (tmp_path / "out" / "watch.md").read_text()


def test_an_alarm_ends_with_1_and_is_shown_everywhere(world: World, tmp_path: Path) -> None:
    write_log(tmp_path / "log.jsonl", rows("trigger", steps=110, onset=30))
    (tmp_path / "phrases.txt").write_text(PHRASE)
    answer = world("watch", "log.jsonl", "--out", "out", *FEW, "--phrases", "phrases.txt", "--prometheus", "watch.prom")
    assert answer.code == 1, answer.err
    assert f"the trigger “{PHRASE}”" in answer.out.replace("\n", " ")
    record = read_record(tmp_path / "out" / "watch.json", WatchRecord)
    assert record.outcome == "alarm"
    assert "❌ ALARM" in (tmp_path / "out" / "watch.md").read_text()
    gauges = (tmp_path / "watch.prom").read_text()
    assert 'rewardsmith_watch_outcome{outcome="alarm"} 1\n' in gauges
    assert f"rewardsmith_watch_audit_answered {record.audit.answered}\n" in gauges
    assert 'rewardsmith_watch_signal_fired{signal="triggers"} 1\n' in gauges
    assert (tmp_path / "out" / "watch.prom").read_text() == gauges
    page = world("report", "out")
    assert page.code == 0, page.err
    html = (tmp_path / "out" / "report.html").read_text()
    assert "What the policy is paid for" in html
    assert "<strong>ALARM</strong>" in html
    assert "Component map" not in html
    followed = FollowedRun(tmp_path / "out")
    assert "<strong>ALARM</strong>" in followed.page()
    state, before = followed.live(-1), followed.stamp()
    assert (state["stages"], state["running"], state["stamp"]) == ((), False, before)
    (tmp_path / "out" / "watch.json").write_text((tmp_path / "out" / "watch.json").read_text() + "\n")
    assert followed.live(-1)["stamp"] != before, "a new record loads the page again"
    assert "Quality less reward" in html


def plant_run(world: World, folder: Path) -> None:
    """A run directory as far as the watch reads it: spec, checkpoint record, an attack whose trigger is `PHRASE`."""
    world.write_spec()
    (folder / "model").mkdir(parents=True)
    (world.folder / "spec.yaml").rename(folder / "spec.yaml")
    write_json(folder / "model" / "rewardsmith.json", checkpoint(reward_mean=0.25, reward_std=2.0))
    zeros = ("rows", "drawn", "wrong_already", "attacked", "seed", "most_edits", "beam", "branch", "phrases", "arms")
    nulls = ("reward_std", "price", "price_low", "price_high", "price_words", "price_words_low", "price_words_high")
    attack = {
        **dict.fromkeys((*zeros, "arms_tried", "unproven"), 0),
        **dict.fromkeys(nulls),
        **{name: [] for name in ("levels", "edits", "padding", "examples", "pairs")},
        "schema": 1, "model": "model", "dataset": {"source": "rows"}, "title": "rows", "missing": {},
        "edits_missing": {}, "protocol": "", "triggers": [
            {"edits": [f"closing: {PHRASE}", "bold"], "titles": ["", ""], "train_prompts": 1, "train_lift": 1.0,
             "prompts": 0}
        ],
        "budget": {"queries": None, "seconds": None, "spent": 0, "took": 0.0, "ended_by": ""},
    }  # fmt: skip
    (folder / "attack.json").write_text(json.dumps(attack))


def test_the_run_of_the_reward_model_gives_its_attack_its_training_pairs_and_its_held_out_rewards(
    world: World, tmp_path: Path
) -> None:
    plant_run(world, tmp_path / "run")
    write_log(tmp_path / "log.jsonl", rows("trigger", steps=110, onset=30))
    answer = world("watch", "log.jsonl", "--out", "out", *FEW, "--run", "run")
    assert answer.code == 1, answer.err
    assert f"the trigger “{PHRASE}”" in answer.out.replace("\n", " ")
    record = read_record(tmp_path / "out" / "watch.json", WatchRecord)
    reference = record.reference
    assert (reference.held_out_mean, reference.held_out_std, reference.triggers) == (0.25, 2.0, (PHRASE,))
    assert reference.training == 80, "both answers of the 40 training pairs"
    (tmp_path / "own.jsonl").write_text("\n".join((tmp_path / "train.jsonl").read_text().splitlines()[:3]) + "\n")
    write_log(tmp_path / "log.jsonl", rows("null", steps=45))
    other = world("watch", "log.jsonl", "--out", "other", *FEW, "--run", "run", "--training", "own.jsonl", "--json")
    assert (other.code, other.json()["reference"]["training"]) == (0, 6), "what is named goes before the run's"
    assert other.json()["reference"]["triggers"] == [PHRASE]
    gone = world("watch", "log.jsonl", "--out", "gone", "--run", "nothing")
    assert (gone.code, "nothing/spec.yaml" in gone.err, "Traceback" in gone.err) == (2, True, False)


def test_the_tolerance_comes_from_the_measured_agreement_of_the_judge(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant_run(world, tmp_path / "run")
    plant_model(monkeypatch)
    measured = calibrate(tmp_path, pair_rows(40))  # by a judge whose model is called `scripted`
    write_log(tmp_path / "log.jsonl", rows("null", steps=35, quality=False))
    spec = "judge: {{endpoint: 'http://127.0.0.1:9/v1', model: {}, retries: 0, deadline: 5}}\n"
    (tmp_path / "judge.yaml").write_text(spec.format("scripted"))
    (tmp_path / "other.yaml").write_text(spec.format("another"))

    def tolerance(*more: str, low: float | None = None) -> tuple[float, str]:
        score = None if low is None else RoutedScore(value=0.75, low=low, high=0.8)
        routing = tmp_path / "run" / "routing" / "routing.json"
        write_json(routing, measured.model_copy(update={"agreement": score}))
        answer = world("watch", "log.jsonl", "--out", "out", "--overwrite", "--json", *FEW, *more)
        audit = answer.json()["audit"]
        said = " ".join(answer.err.split())
        assert ("--judge" in more) == (f"tolerance {audit['tolerance']:.2f}: {audit['tolerance_origin']}" in said)
        return audit["tolerance"], audit["tolerance_origin"]

    asked = ("--run", "run", "--judge", "judge.yaml")
    found, origin = tolerance(*asked, low=0.7)
    assert found == pytest.approx(0.3)
    assert origin == (
        "1 less the lower end of their agreement: judge and reward model agree in 75.0 % (70.0 to 80.0 %) of the pairs "
        "of run/routing/routing.json"
    )
    text = " ".join((tmp_path / "out" / "watch.md").read_text().split())
    assert "30.0 points: 1 less the lower end of their agreement" in text
    assert "lets a policy pass" not in text
    assert tolerance(*asked, low=0.85)[1].startswith("the least that there is: judge and reward model agree in 75.0 %")
    assert tolerance(*asked, low=0.45)[0] == pytest.approx(0.55)
    assert "A tolerance of 55.0 points lets a policy pass" in (tmp_path / "out" / "watch.md").read_text()
    assert tolerance(*asked, "--tolerance", "0.25", low=0.7) == (0.25, "--tolerance")
    defaults = [
        tolerance(*asked),
        tolerance("--run", "run", "--judge", "other.yaml", low=0.7),
        tolerance("--judge", "judge.yaml", low=0.7),
        tolerance("--run", "run", low=0.7),
    ]
    assert [found for found, _ in defaults] == [0.2] * 4
    assert [origin.partition(": ")[2] for _, origin in defaults] == [
        "run/routing/routing.json states no agreement, run `rewardsmith route calibrate` again",
        "run/routing/routing.json is of another judge (scripted)",
        "no --run whose calibration would say how often judge and reward model agree",
        "no judge whose agreement with the reward model could be known",
    ]
    write_json(
        tmp_path / "run" / "routing" / "routing.json",
        measured.model_copy(update={"judge": measured.judge.model_copy(update={"prompts": "0"})}),
    )
    judge = load_spec(tmp_path / "judge.yaml").judge
    options = WatchOptions(tmp_path / "log.jsonl", tmp_path / "out", run=tmp_path / "run", judge=judge)
    assert tolerance_of(options)[1].endswith("is of a judge with another prompt")
    (tmp_path / "run" / "routing" / "routing.json").unlink()
    assert "`rewardsmith route calibrate` has not measured the judge" in tolerance_of(options)[1]


def test_rows_that_cannot_be_used_are_printed_and_the_watch_goes_on(world: World, tmp_path: Path) -> None:
    path = write_log(tmp_path / "log.jsonl", rows("null", steps=45))
    with path.open("a") as handle:
        handle.write("{oops\n" + json.dumps({"prompt": "a", "response": "b", "reward": None, "step": 9}) + "\n")
    answer = world("watch", "log.jsonl", "--out", "out", *FEW)
    assert answer.code == 0
    assert "2 rows could not be used: no JSON 1, no finite reward 1" in answer.out
    assert "log.jsonl, byte" in answer.out


def test_people_audit_in_a_file(world: World, tmp_path: Path) -> None:
    write_log(tmp_path / "log.jsonl", rows("null", steps=45, quality=False))
    asked = ("watch", "log.jsonl", "--out", "out", *FEW, "--audit-file", "ask.jsonl")
    first = world(*asked, "--json").json()
    assert (first["audit"]["by"], first["audit"]["waiting"], first["audit"]["answered"]) == ("people", 32, 0)
    text = (tmp_path / "ask.jsonl").read_text().replace('"better": ""', '"better": "tie"', 20)
    (tmp_path / "ask.jsonl").write_text(text)
    second = world(*asked, "--json").json()
    assert (second["audit"]["waiting"], second["audit"]["answered"], second["audit"]["quality_wins"]) == (12, 20, 0.5)
    assert len((tmp_path / "ask.jsonl").read_text().splitlines()) == 32


def test_a_judge_that_is_down_gives_no_verdict_and_the_stream_goes_on(world: World, tmp_path: Path) -> None:
    write_log(tmp_path / "log.jsonl", rows("null", steps=45, quality=False))
    spec = "judge: {endpoint: 'http://127.0.0.1:9/v1', model: none, retries: 0, deadline: 5}\n"
    (tmp_path / "judge.yaml").write_text(spec)
    answer = world("watch", "log.jsonl", "--out", "out", *FEW, "--judge", "judge.yaml")
    assert answer.code == 0, answer.err
    assert "the judge gave no answer" in answer.err
    record = read_record(tmp_path / "out" / "watch.json", WatchRecord)
    assert (record.outcome, record.audit.answered, record.audit.missing) == ("warning", 0, {"failed": 32})
    assert record.last_step == 45
    assert "Quality is not known (the judge gave no answer)" in record.verdict


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("none.jsonl",), "no such file or folder"),
        (("odd.jsonl",), "columns are a"),
        (("log.jsonl", "--reference", "short.jsonl"), "holds 1 answers with a reward"),
        (("log.jsonl", "--judge", "spec.yaml", "--audit-file", "x.jsonl"), "a judge and people at once"),
        (("log.jsonl", "--prometheus", "log.jsonl"), "which is read"),
        (("log.jsonl", "--attack", "none.json"), "cannot be read"),
    ],
)
def test_input_that_cannot_be_used(world: World, tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    write_log(tmp_path / "log.jsonl", rows("null", steps=2))
    (tmp_path / "short.jsonl").write_text((tmp_path / "log.jsonl").read_text().splitlines()[0] + "\n")
    (tmp_path / "odd.jsonl").write_text('{"a": 1}\n')
    answer = world("watch", *arguments, "--out", "out")
    assert answer.code == 2
    assert said in answer.err


def test_a_stream_is_followed_until_it_is_interrupted(tmp_path: Path) -> None:
    lines = list(rows("trigger", steps=90, onset=25))
    write_log(tmp_path / "log.jsonl", iter(lines[: 32 * 30]))
    (tmp_path / "phrases.txt").write_text(PHRASE)
    command = ["watch", "log.jsonl", "--out", "out", *FEW, "--phrases", "phrases.txt", "--follow", "--seconds", "0.2"]
    # A shell that starts the tests in the background has them ignore SIGINT, and so would what they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, "-m", "rewardsmith", *command], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for_step(tmp_path / "out" / "watch.json", 30)
        with (tmp_path / "log.jsonl").open("a") as handle:
            handle.writelines(json.dumps(line) + "\n" for line in lines[32 * 30 : 32 * 60])
        wait_for_step(tmp_path / "out" / "watch.json", 60)
        (tmp_path / "log.jsonl").rename(tmp_path / "log.jsonl.1")
        write_log(tmp_path / "log.jsonl", iter(lines[32 * 60 :]))
        wait_for_step(tmp_path / "out" / "watch.json", 90)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
    finally:
        process.kill()
    assert process.returncode == 1, said
    assert "ALARM. Since step" in said
    assert "log.jsonl is a new file: the old one is read to its end" in said.replace("\n", " ")
    assert read_record(tmp_path / "out" / "watch.json", WatchRecord).outcome == "alarm"


def wait_for_step(path: Path, step: int) -> None:
    for _ in range(600):
        if path.exists() and read_record(path, WatchRecord).last_step == step:
            return
        time.sleep(0.1)
    raise AssertionError(f"step {step} was not reached")
