"""The judge's part of the report: what it says, what it warns of, and texts of users in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rewardsmith.records.evaluation import DatasetInfo
from rewardsmith.records.files import write_json
from rewardsmith.records.judging import (
    InjectionProbe,
    JudgeCost,
    JudgeRecord,
    JudgeSettings,
    PromptFile,
    ReplyCounts,
    ShareWithInterval,
)
from rewardsmith.report.html import render_html
from rewardsmith.report.markdown import render_markdown
from rewardsmith.report.reading import RunRecords, read_run
from rewardsmith.report.sections.judges import judge_blocks
from rewardsmith.report.view import view

EVIL = "<script>alert(1)</script>|\u202e"


def share(value: float, n: int = 100) -> ShareWithInterval:
    return ShareWithInterval(n=n, share=value, low=max(0.0, value - 0.05), high=min(1.0, value + 0.05))


def record(**changes: object) -> JudgeRecord:
    whole = JudgeRecord(
        benchmark="rewardbench2",
        title="rows.jsonl",
        dataset=DatasetInfo(source="rows.jsonl"),
        settings=JudgeSettings(
            endpoint="http://host/v1",
            model="gpt-9",
            form="json",
            orders="both",
            samples=3,
            combine="majority",
            temperature=None,
            max_tokens=99,
            seed=17,
            prompts={"ranking": PromptFile(source="built in", sha256="ab" * 32)},
        ),
        protocols={"Math": "ranking"},
        rows=200,
        judged=198,
        missing={"unparsed": 2},
        missing_scored_as_chance=True,
        replies={"ranking": ReplyCounts(replies=200, unread=20, unparsed=2)},
        consistency={"ranking": share(0.95)},
        ties=ShareWithInterval(n=0),
        places={"ranking": {"A": 50, "B": 49, "C": 49, "D": 50}},
        ratings={},
        injection={
            "ranking": InjectionProbe(text="Ignore it.", flipped=share(0.02), won=share(0.01), rows=("Math/7",))
        },
        cost=JudgeCost(
            comparisons=200,
            calls=220,
            prompt_tokens=70_648,
            completion_tokens=2_552,
            cost=0.075752,
            per_1000=0.37876,
            calls_per_1000=1100,
        ),
        probes_cost=JudgeCost(comparisons=100, calls=108, prompt_tokens=1, completion_tokens=1, cost=0.01),
        lost_calls=3,
        lost_cost=0.01234,
        currency="USD",
    )
    return whole.model_copy(update=changes)


def facts(found: JudgeRecord) -> dict[str, str]:
    [block] = judge_blocks({"rewardbench2": found})
    return dict(block.facts)


def test_what_it_says() -> None:
    said = facts(record())
    assert said["Judge"] == "gpt-9 at http://host/v1"
    assert said["Replies"] == ("json; pairs in both orders, 3 samples (majority); temperature the endpoint’s; seed 17")
    assert said["Verdicts"] == "198 of 200; missing: replies that could not be read 2"
    assert said["Unread replies (ranking)"] == "20 of 200, 2 also when asked again"
    assert said["Unread replies score"] == "what guessing reaches, as in the original’s script"
    assert said["1,000 comparisons"] == "0.379 USD, 1,100 calls; 70,648 tokens sent and 2,552 written in all"
    assert said["Sent and never answered"] == "3 calls, perhaps paid; at most 0.0123 USD"
    assert said["Prompts"] == "ranking built in (abababababab)"


def test_without_prices_no_money_is_named() -> None:
    free = record(cost=record().cost.model_copy(update={"per_1000": None}), currency="")
    assert facts(free)["1,000 comparisons"].startswith("1,100 calls")
    assert facts(free)["Sent and never answered"] == "3 calls, perhaps paid"


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"judged": 200, "missing": {}}, "good"),
        ({}, "warn"),  # two verdicts are missing
        ({"judged": 200, "missing": {}, "consistency": {"ranking": share(0.7)}}, "warn"),
        ({"injection": {"ranking": InjectionProbe(text="x", flipped=share(0.4), won=share(0.4))}}, "bad"),
        ({"judged": 0, "missing": {"budget": 200}}, "bad"),
    ],
)
def test_what_it_warns_of(changes: dict[str, object], state: str) -> None:
    [block] = judge_blocks({"rewardbench2": record(**changes)})
    assert block.state == state


def test_a_judge_alone_is_no_unfinished_run(tmp_path: Path) -> None:
    write_json(tmp_path / "eval" / "rewardbench2" / "judge.json", record())
    found = view(read_run(tmp_path))
    assert (found.verdict.word, found.verdict.state, found.title) == ("JUDGED", "open", "gpt-9")
    assert found.verdict.reasons == found.verdict.next_steps == ()
    assert 'href="#judge"' in render_html(found)


def test_texts_of_users_are_escaped() -> None:
    settings = record().settings.model_copy(update={"model": EVIL})
    planted = InjectionProbe(text=EVIL, flipped=share(0.4), won=share(0.4), rows=(EVIL,))
    evil = record(title=EVIL, settings=settings, protocols={EVIL: "ranking"}, injection={"ranking": planted})
    shown = view(RunRecords(judges={EVIL: evil}))
    page, summary = render_html(shown), render_markdown(shown)
    assert "<script>alert(1)" not in page + summary
    assert "\u202e" not in page + summary


def test_a_run_without_a_judge_has_no_such_section() -> None:
    shown = view(RunRecords())
    assert 'id="judge"' not in render_html(shown)
    assert "## Judge" not in render_markdown(shown)
