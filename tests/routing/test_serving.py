"""`POST /v1/compare` with `route: auto`: the server's answer by reward model and judge, over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from routing_world import ScriptedJudge
from serving_world import CountingEngine, World, serving

from rewardsmith.cli.serve import _routing
from rewardsmith.errors import SpecError, UserError
from rewardsmith.pipeline.commands.route import ServedRouting, serving_router
from rewardsmith.pipeline.commands.serve import ServeOptions, serve_job
from rewardsmith.routing import AuditLog, HybridRouter, RouterSettings, Rule, Rules, replay
from rewardsmith.routing.audit import header_of
from rewardsmith.serving.engine import ModelInfo

RULES = Rules((Rule("probability", 0.9),))
INFO = ModelInfo(identity="counting", temperature=0.125)
"""Rewards are code points over 8: a distance of n letters is n log-odds, and 3 of them are a probability of 0.953."""


@pytest.fixture(scope="module")
def judge() -> ScriptedJudge:
    return ScriptedJudge(lambda pair: float(pair.first[-1].content > pair.second[-1].content))


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("audit") / "audit.jsonl"


@pytest.fixture(scope="module")
def world(judge: ScriptedJudge, audit: Path) -> Iterator[World]:
    router = HybridRouter(RULES, judge, RouterSettings(), log=AuditLog(audit, header_of(RULES)))
    with serving({"counting": CountingEngine(INFO)}, router=router) as world:
        yield world
    router.close()


def compare(world: World, *responses: str, **more: str) -> dict:
    return world.post("/v1/compare", {"prompt": "?", "responses": list(responses)} | more).json()


def test_a_clear_comparison_is_the_reward_models(world: World, judge: ScriptedJudge) -> None:
    before = len(judge.asked)
    found = compare(world, "A", "D", route="auto")["routed"]
    assert (found["best"], found["by"], found["cost"], found["fallback"]) == (1, "reward_model", 0.0, "")
    assert found["decisions"][0]["why"] == "probability 0.9526 is not below 0.9"
    assert len(judge.asked) == before


def test_an_ambiguous_one_is_the_judges(world: World) -> None:
    # BA and AB have the same reward; AC is a little higher than BA, and the judge prefers BA.
    found = compare(world, "AC", "BA", route="auto")
    assert [one["index"] for one in found["ranking"]] == [0, 1]
    routed = found["routed"]
    assert (routed["best"], routed["by"], routed["calls"], routed["cost"]) == (1, "judge", 2, 0.01)
    [decision] = routed["decisions"]
    assert (decision["winner"], decision["rule"], decision["escalated"]) == (1, "probability", True)
    assert decision["probability"] == 0.0
    assert decision["why"].startswith("probability 0.7311 is below 0.9")


def test_of_several_only_close_contenders_reach_the_judge(world: World) -> None:
    found = compare(world, "AA", "CD", "DC", "A", route="auto")["routed"]
    assert found["best"] == 2
    assert [(one["first"], one["second"], one["by"]) for one in found["decisions"]] == [
        (1, 2, "judge"),
        (1, 0, "reward_model"),
        (1, 3, "reward_model"),
    ]


def test_without_asking_nothing_is_routed(world: World, judge: ScriptedJudge) -> None:
    before = len(judge.asked)
    assert compare(world, "AC", "BA")["routed"] is None
    assert len(judge.asked) == before
    assert world.post("/v1/compare", {"prompt": "?", "responses": ["A", "B"], "route": "judge"}).status == 422


def test_every_decision_is_in_the_log_and_replays(world: World, audit: Path) -> None:
    compare(world, "AC", "BA", route="auto")
    found = replay(audit)
    assert found.decisions >= 1
    assert found.differing == 0


def test_decisions_are_counted_by_who_made_them() -> None:
    router = HybridRouter(RULES, ScriptedJudge(lambda pair: 1.0))
    with serving({"counting": CountingEngine(INFO)}, router=router) as world:
        compare(world, "A", "D", route="auto")  # clear
        compare(world, "AC", "BA", route="auto")  # ambiguous: two calls, 0.01
        compare(world, "AC", "BA", route="auto")
        compare(world, "AC", "BA")  # nobody asked for a decision
        assert world.metric("decisions_total", by="judge", fallback="") == 2
        assert world.metric("decisions_total", by="reward_model", fallback="") == 1
        assert world.metric("judge_calls_total") == 4
        assert world.metric("judge_cost_total") == pytest.approx(0.02)
        assert 'rewardsmith_decisions_total{by="judge",fallback=""} 2.0' in world.get("/metrics").body.decode()


def test_a_server_without_a_router_answers_as_the_reward_model_and_says_so() -> None:
    with serving({"counting": CountingEngine(INFO)}) as world:
        found = compare(world, "AC", "BA", route="auto")["routed"]
        tied = compare(world, "AB", "BA", route="auto")["routed"]
    assert (found["best"], found["by"], found["fallback"], found["decisions"]) == (0, "reward_model", "no_judge", [])
    assert tied["best"] is None


def test_members_of_an_ensemble_state_its_doubt() -> None:
    engine = CountingEngine(INFO)
    engine.members = ("a", "b")  # which always differ by the same: no doubt at all
    router = HybridRouter(Rules((Rule("interval", 0.95),)), ScriptedJudge())
    with serving({"counting": engine}, router=router) as world:
        found = compare(world, "AC", "BA", route="auto")["routed"]
    assert (found["by"], found["decisions"][0]["why"]) == ("reward_model", "interval 1 is not below 0.95")


def served(tmp_path: Path, **routing: object) -> ServedRouting:
    spec = {"output_dir": str(tmp_path), "judge": {"endpoint": "http://judge/v1", "model": "j"}, "routing": routing}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    return ServedRouting(tmp_path / "spec.yaml", audit=tmp_path / "audit.jsonl")


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        ({"kind": "margin"}, "the rule margin has no limit, and there is no calibration"),
        ({"kind": "probability", "below": 0.9}, "the rule probability needs a calibration, and bare has none"),
        ({"kind": "interval", "below": 0.9}, "one model has no members"),
        ({"kind": "subset", "subsets": ["Math"]}, "a request names no subset"),
    ],
)
def test_rules_that_a_server_cannot_serve_are_refused_at_the_start(tmp_path: Path, rule: dict, found: str) -> None:
    with pytest.raises(SpecError, match=found):
        serving_router(served(tmp_path, rules=[rule]), {"bare": ModelInfo("x")}, False, print)


def test_a_server_routes_by_its_spec(tmp_path: Path) -> None:
    pytest.importorskip("openai")
    options = served(tmp_path, rules=[{"kind": "probability", "below": 0.8}], budget={"share": 0.2}, seconds=3)
    router = serving_router(options, {"m": INFO}, False, print)
    assert router.rules == Rules((Rule("probability", 0.8),))
    assert (router.settings.seconds, router.settings.limits.share, router.settings.limits.calls_each) == (3.0, 0.2, 2)
    router.close()
    header = json.loads((tmp_path / "audit.jsonl").read_text())
    assert (header["judge"], header["model"], header["rules"][0]["below"]) == ("j", "counting", 0.8)


def test_ray_has_no_router() -> None:
    options = ServeOptions(("m=absent",), engine="ray", routing=ServedRouting(Path("spec.yaml")))
    with pytest.raises(UserError, match="the router asks models of its own process"):
        serve_job(options)


def test_options_of_routing_need_a_spec_to_route_by() -> None:
    with pytest.raises(UserError, match="add --route SPEC"):
        _routing(None, None, Path("a.jsonl"))
