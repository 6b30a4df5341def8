"""Ensembles behind a server: different tokenizers, remote members, members that die, what the answers say."""

from __future__ import annotations

import json
import shutil
import signal
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoint_maker import make_checkpoint
from serving_soak import WAIT, served
from serving_world import CountingEngine, chat, reward_of, serving

from conftest import make_base
from rewardsmith.cli.options import combination
from rewardsmith.errors import ModelError, UserError
from rewardsmith.pipeline.commands.serve import ServeOptions, load_ensemble
from rewardsmith.pipeline.scorers import (
    EnsembleEngine,
    LoadOptions,
    ScorerEngine,
    model_folders,
    open_models,
    open_remote,
    settled,
)
from rewardsmith.records.checkpoint import CheckpointRecord
from rewardsmith.records.files import read_record, write_json
from rewardsmith.scoring import Combination, LocalScorer
from rewardsmith.scoring.ensemble import Scale
from rewardsmith.serving.engine import Engine, ModelInfo, Prepared, Unscorable

NOTHING = LoadOptions(device="cpu", patience=0.0)


def engines(**more: Engine) -> dict[str, Engine]:
    return {"one": CountingEngine(), "two": CountingEngine(shift=2.0), **more}


def ensemble(combination: Combination, *, notes: list[str] | None = None, **more: Engine) -> EnsembleEngine:
    return EnsembleEngine(
        engines(**more), combination, remote={"far"}, note=(notes if notes is not None else []).append
    )


@pytest.mark.parametrize(
    ("rule", "reward"),
    [("mean", reward_of("ab") + 1), ("min", reward_of("ab")), ("uwo", reward_of("ab") + 1 - 0.5 * 1.0)],
)
def test_an_answer_has_the_combined_reward_the_members_and_the_spread(rule: Any, reward: float) -> None:
    with serving({"ensemble": ensemble(Combination(rule))}) as world:
        native = world.post("/v1/score", {"texts": ["ab"]}).json()
        openrlhf = world.post("/get_reward", {"query": ["ab"]}).json()
        ranked = world.post("/v1/compare", {"prompt": "", "responses": ["a", "b"]}).json()
    assert native["rewards"] == [reward]
    assert native["members"] == {"one": [reward_of("ab")], "two": [reward_of("ab") + 2]}
    assert (native["spread"], native["left_out"], native["tokens"]) == ([1.0], [], [2])
    assert openrlhf["rewards"] == [reward]
    assert openrlhf["extra_logs"] == {
        "reward_one": [reward_of("ab")],
        "reward_two": [reward_of("ab") + 2],
        "reward_spread": [1.0],
        "members_left_out": [0.0],
    }
    assert [one["index"] for one in ranked["ranking"]] == [1, 0]


def remote_engine(host: str, port: int) -> Engine:
    member, info = open_remote("far", f"http://{host}:{port}", NOTHING)
    return ScorerEngine(member.scorer, info)


def test_a_remote_member_that_dies_is_an_error_or_is_left_out_and_said_so() -> None:
    notes: list[str] = []
    with ExitStack() as elsewhere:
        other = elsewhere.enter_context(serving({"far": CountingEngine(ModelInfo("far/1", max_length=9), shift=4.0)}))
        far = remote_engine(other.host, other.port)
        assert far.info.identity == "far1"
        strict = ensemble(Combination(), far=far)
        loose = ensemble(Combination(leave_out_failing=True), far=far, notes=notes)
        with serving({"strict": strict, "loose": loose}) as world:
            whole = world.post("/v1/score", {"texts": ["ab"], "model": "strict"}).json()
            assert whole["rewards"] == pytest.approx([reward_of("ab") + 2])
            assert whole["members"]["far"] == [reward_of("ab") + 4]
            elsewhere.close()
            refused = world.post("/v1/score", {"texts": ["ab"], "model": "strict"})
            assert (refused.status, refused.code) == (500, "model_failed")
            assert "member_failed far" in refused.json()["error"]["message"]
            left = world.post("/v1/score", {"texts": ["ab"], "model": "loose"}).json()
            assert left["rewards"] == [reward_of("ab") + 1]
            assert (left["left_out"], left["members"]["far"]) == (["far"], [None])
            logs = world.post("/models/loose/get_reward", {"query": ["ab"]}).json()["extra_logs"]
            assert logs == {
                "reward_one": [reward_of("ab")],
                "reward_two": [reward_of("ab") + 2],
                "reward_spread": [1.0],
                "members_left_out": [1.0],
            }
    assert any(note.startswith("member far: no answer") for note in notes)


def test_a_text_that_one_member_refuses_is_refused_or_combined_without_it() -> None:
    class Picky(CountingEngine):
        def _prepare(self, text: str) -> Prepared | Unscorable:
            return Unscorable("over_length", "3 tokens") if len(text) > 2 else super()._prepare(text)

    strict, loose = ensemble(Combination(), p=Picky()), ensemble(Combination(leave_out_failing=True), p=Picky())
    with serving({"strict": strict, "loose": loose}) as world:
        refused = world.post("/v1/score", {"texts": ["ab", "abc"], "model": "strict"})
        assert (refused.status, refused.code) == (422, "unscorable")
        partly = world.post("/v1/score", {"texts": ["ab", "abc"], "model": "strict", "allow_missing": True}).json()
        assert (partly["rewards"][1], partly["reasons"]) == (None, ["", "over_length"])
        found = world.post("/v1/score", {"texts": ["ab", "abc"], "model": "loose"}).json()
    assert found["rewards"][1] == reward_of("abc") + 1
    assert found["members"]["p"] == [reward_of("ab"), None]
    assert found["left_out"] == ["p"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two checkpoints of different bases and lengths; b's tokenizer knows a smaller vocabulary."""
    folder = tmp_path_factory.mktemp("members")
    a = make_checkpoint(folder / "a", make_base(folder / "base_a"), seed=1)
    b = make_checkpoint(folder / "b", make_base(folder / "base_b", layers=1, width=16, seed=5), seed=2, max_length=60)
    for path, mean, std in ((a, 1.0, 0.5), (b, -1.0, 2.0)):
        record = read_record(path / "rewardsmith.json", CheckpointRecord)
        write_json(path / "rewardsmith.json", record.model_copy(update={"reward_mean": mean, "reward_std": std}))
    return {"a": str(a), "b": str(b)}


def test_checkpoints_combine_as_offline_scoring_does(models: dict[str, str]) -> None:
    conversations = [chat("Say red.", "red"), chat("Say blue.", "cloud seven")]
    each = [LocalScorer.load(path).score(conversations) for path in models.values()]
    notes: list[str] = []
    scorer, identity = open_models(models, NOTHING, Combination("uwo", penalty=1.0), False, notes.append)
    wanted = np.mean(each, axis=0) - np.var(each, axis=0)
    np.testing.assert_allclose(scorer.score(conversations), wanted, atol=1e-5)
    assert "a=" in identity
    assert any("rewards of b spread 4.0 times as widely as those of a" in note for note in notes)
    engine = load_ensemble(models, ServeOptions((), device="cpu", combination=Combination("uwo", penalty=1.0)))
    prepared = engine.prepare(conversations)
    np.testing.assert_allclose(engine.score(prepared).rewards, wanted, atol=1e-5)
    assert engine.info.max_length == 60


def test_a_calibrated_combination_divides_by_what_the_records_say(models: dict[str, str]) -> None:
    conversations = [chat("Say red.", "red"), chat("Say blue.", "cloud seven")]
    a, b = (LocalScorer.load(path).score(conversations) for path in models.values())
    notes: list[str] = []
    scorer, _ = open_models(models, NOTHING, Combination("min"), True, notes.append)
    np.testing.assert_allclose(scorer.score(conversations), np.minimum((a - 1) / 0.5, (b + 1) / 2), atol=1e-5)
    assert notes == [
        "rewards of a are calibrated: (reward - 1) / 0.5",
        "rewards of b are calibrated: (reward - -1) / 2",
    ]


def test_a_local_and_a_remote_checkpoint_combine(models: dict[str, str]) -> None:
    from rewardsmith.pipeline.scorers import CheckpointEngine

    conversations = [chat("Say red.", "red"), chat("Say blue.", "cloud seven")]
    a, b = (LocalScorer.load(path) for path in models.values())
    with serving({"b": CheckpointEngine(b)}) as world:
        sources = {"a": models["a"], "b": f"http://{world.host}:{world.port}"}
        scorer, _ = open_models(sources, NOTHING, Combination(weights={"a": 1.0, "b": 3.0}), False, print)
        found = scorer.score(conversations)
    wanted = (a.score(conversations) + 3 * b.score(conversations)) / 4
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_several_models_need_a_rule(models: dict[str, str]) -> None:
    with pytest.raises(ModelError, match="there are 2 models and no rule"):
        open_models(models, NOTHING, None, False, print)


def raises(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as refused:
        call()
    return str(refused.value)


def test_options_without_a_rule_and_wrong_weights_are_refused() -> None:
    assert combination(None, None, 0.5, False) is None
    assert combination("mean", "a=2, b=0.5", 0.5, True) == Combination(
        "mean", {"a": 2.0, "b": 0.5}, 0.5, leave_out_failing=True
    )
    assert "--weights: there is nothing to combine" in raises(lambda: combination(None, "a=1", 0.5, False))
    assert "--leave-out-failing: there is" in raises(lambda: combination(None, None, 0.5, True))
    for wrong in ("a", "a=x", "=1", "a=nan", "a=1,a=2"):
        assert "is no weight" in raises(lambda wrong=wrong: combination("mean", wrong, 0.5, False))
    assert "weights are given for c" in raises(
        lambda: settled(Combination(weights={"c": 1.0}), {"a": Scale(), "b": Scale()}, False, print)
    )


def test_a_url_is_named_by_its_model_or_its_host_and_shows_no_secret() -> None:
    wanted = ["http://10.0.0.7:8000/models/safe", "http://any:to=ken@rewards.example:8000", "x=http://10.0.0.7"]
    assert list(model_folders(wanted)) == ["safe", "rewards.example", "x"]


def test_members_work_side_by_side_in_the_server() -> None:
    with serving({"ensemble": ensemble(Combination())}) as world, ThreadPoolExecutor(8) as pool:
        texts = [f"text {index}" for index in range(40)]
        answers = list(pool.map(lambda text: world.post("/v1/score", {"texts": [text]}).json()["rewards"][0], texts))
    assert answers == [reward_of(text) + 1 for text in texts]


def ask(url: str, body: Any) -> Any:
    request = urllib.request.Request(f"{url}/v1/score", json.dumps(body).encode(), {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=WAIT) as reply:  # noqa: S310 - this test's own server
        return json.loads(reply.read())


def test_a_served_ensemble_goes_on_when_a_member_elsewhere_is_killed(models: dict[str, str], tmp_path: Path) -> None:
    member = tmp_path / "member" / "b"
    shutil.copytree(models["b"], member)
    wanted = [LocalScorer.load(path).score([chat("Say red.", "red")])[0] for path in models.values()]
    body = {"prompt": "Say red.", "responses": ["red"]}
    options = ("--combine", "min", "--leave-out-failing", "--device", "cpu")
    with served(member) as (far, process), served(Path(models["a"]), "--model", f"far={far}", *options) as (url, _):
        whole = ask(url, body)
        assert whole["rewards"] == pytest.approx([min(wanted)], abs=1e-5)
        assert (whole["model"], whole["left_out"]) == ("ensemble", [])
        assert whole["members"] == {
            "tiny": [pytest.approx(wanted[0], abs=1e-5)],
            "far": [pytest.approx(wanted[1], abs=1e-5)],
        }
        process.send_signal(signal.SIGKILL)
        process.wait(WAIT)
        left = ask(url, body)
        assert left["rewards"] == pytest.approx([wanted[0]], abs=1e-5)
        assert left["left_out"] == ["far"]
    said = (Path(models["a"]).parent / "serve.log").read_text()
    assert "member far: no answer" in said
    assert "rewards of far spread 4.0 times as widely" in said
