"""Calls, results, tools and reasoning: the same token ids in training, `score`, `explain`, the server and TRL.

Three templates (`tool_templates`), each with the rows that it can show. TRL's ids are those of its RewardTrainer's own
tokenization with the tokenizer that the checkpoint saved.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoint_maker import make_checkpoint
from serving_world import World, serving
from tool_templates import tool_base
from transformers import AutoTokenizer
from trl.trainer.reward_trainer import _tokenize

import rewardsmith
from rewardsmith.data.columns import find_columns
from rewardsmith.data.forms import read_pair
from rewardsmith.data.responses import Responses, read_responses
from rewardsmith.errors import DataError
from rewardsmith.evaluation.benchmarks.pairs import load_rows
from rewardsmith.pipeline.commands.explain import explain_job
from rewardsmith.pipeline.scorers import CheckpointEngine
from rewardsmith.scoring import LocalScorer
from rewardsmith.serving.dialects import DIALECTS
from rewardsmith.types import Message

TOOLS = [
    {"type": "function", "function": {"name": "lookup", "parameters": {"properties": {"word": {"type": "string"}}}}}
]


def call(arguments: Any, name: str = "lookup") -> dict[str, Any]:
    made = {"id": "abc123def", "type": "function", "function": {"name": name, "arguments": arguments}}
    return {"role": "assistant", "content": "", "tool_calls": [made]}


ASK = {"role": "user", "content": "Name a river."}
RESULT = {"role": "tool", "tool_call_id": "abc123def", "content": 'Loire, "Seine" 河'}
BE_BRIEF = {"role": "system", "content": "Be brief."}
ANSWERS = {
    "chosen": [{"role": "assistant", "content": "The Loire."}],
    "rejected": [{"role": "assistant", "content": "Do not know."}],
}
ROWS: dict[str, dict[str, Any]] = {
    "a call before": {"prompt": [BE_BRIEF, ASK, call({"word": "river"}), RESULT], "tools": TOOLS, **ANSWERS},
    "a call as the answer": {
        "prompt": [ASK],
        "tools": TOOLS,
        "chosen": [call({"word": "river"})],
        "rejected": [call({"word": "rive"})],
    },
    "trajectories as answers": {
        "prompt": [ASK],
        "tools": TOOLS,
        "chosen": [call({"word": "river"}), RESULT, *ANSWERS["chosen"]],
        "rejected": ANSWERS["rejected"],
    },
    "arguments as text": {"prompt": [ASK, call('{"word":  "river"}'), RESULT], "tools": TOOLS, **ANSWERS},
    "no tools at all": {"prompt": [ASK], **ANSWERS},
}
THOUGHT = {"role": "assistant", "content": "The Loire.", "reasoning_content": "I think of France."}
THINKING = {"prompt": [ASK], "chosen": [THOUGHT], "rejected": ANSWERS["rejected"]}
STYLES = ("qwen", "llama", "mistral")


@dataclass(frozen=True)
class Ways:
    """A checkpoint with one of the templates, and a server of it."""

    folder: Path
    scorer: LocalScorer
    world: World

    @property
    def renderer(self) -> Any:
        return self.scorer.checkpoint.renderer

    def trl(self, row: dict[str, Any], side: str) -> list[int]:
        """As TRL's RewardTrainer tokenizes the row."""
        tokenizer = AutoTokenizer.from_pretrained(self.folder)
        messages = copy.deepcopy([*row["prompt"], *row[side]])
        return list(_tokenize(tokenizer, messages, tools=row.get("tools"))["input_ids"])


@pytest.fixture(scope="module", params=STYLES)
def ways(request: Any, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    folder = tmp_path_factory.mktemp(request.param)
    base = tool_base(folder / "base", tiny_base, request.param)
    model = make_checkpoint(folder / "model", base, max_length=500)
    scorer = LocalScorer.load(model)
    with serving({"tiny": CheckpointEngine(scorer)}) as world:
        yield Ways(model, scorer, world)


def bodies(row: dict[str, Any], side: str) -> list[tuple[str, dict[str, Any]]]:
    """A side of a row in each request that carries messages."""
    tools = {"tools": row["tools"]} if "tools" in row else {}
    messages = [*row["prompt"], *row[side]]
    return [
        ("score", {"conversations": [{"messages": messages, **tools}]}),
        ("score", {"conversations": [messages], **tools}),
        ("score", {"prompt": row["prompt"], "responses": [row[side]], **tools}),
        ("vllm_classify", {"messages": messages, **tools}),
        ("vllm_pooling", {"messages": messages, "task": "classify", **tools}),
    ]


@pytest.mark.parametrize("name", ROWS)
def test_a_row_has_the_same_ids_on_every_path(ways: Ways, name: str, tmp_path: Path) -> None:
    row = ROWS[name]
    pair = read_pair(row, find_columns(row, {}, where="rows"), "chat", source="rows", number=1)
    (trained,) = ways.renderer.render_pairs([pair])
    assert trained.reason == ""
    scored = read_responses(row, "chat")
    assert isinstance(scored, Responses)
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    explained = {text.name: text for text in explain_job(ways.folder, path, device="cpu").texts}
    evaluated = load_rows(str(path)).rows[0]
    wanted = {"chosen": trained.chosen_ids.tolist(), "rejected": trained.rejected_ids.tolist()}
    for place, (side, ids) in enumerate(wanted.items()):
        assert ids == ways.trl(row, side)
        assert ways.scorer.render([scored.conversations[place]])[0].ids.tolist() == ids
        assert ways.scorer.render([evaluated.conversations[place]])[0].ids.tolist() == ids
        assert [token.id for token in explained[side].tokens] == ids
        for dialect, body in bodies(row, side):
            request = DIALECTS[dialect].request.model_validate(json.loads(json.dumps(body)))
            (prepared,) = CheckpointEngine(ways.scorer).prepare(DIALECTS[dialect].read(request).conversations)
            assert prepared.content.tolist() == ids, dialect


@pytest.mark.parametrize("name", ROWS)
def test_a_row_has_the_same_reward_from_every_consumer(ways: Ways, name: str) -> None:
    row = ROWS[name]
    tools = row.get("tools", [])
    wanted = ways.scorer.score_ids([np.array(ways.trl(row, side), dtype=np.int32) for side in ("chosen", "rejected")])
    sides = [row["chosen"], row["rejected"]]
    url = f"http://{ways.world.host}:{ways.world.port}"
    for source in (ways.scorer, url):
        rewards = rewardsmith.reward_function(source)
        assert rewards([row["prompt"]] * 2, sides, tools=[tools, json.dumps(tools)]) == pytest.approx(wanted, abs=1e-5)
        assert rewards.reasons == ("", "")
    best = rewardsmith.best_of_n(ways.scorer, row["prompt"], sides, tools=tools)
    assert (best.rewards, best.response) == (pytest.approx(wanted, abs=1e-5), sides[int(np.argmax(wanted))])
    body = {"prompt": row["prompt"], "responses": sides, "tools": tools}
    ranking = ways.world.post("/v1/compare", body).json()["ranking"]
    assert {one["index"]: one["reward"] for one in ranking} == pytest.approx(dict(enumerate(wanted)), abs=1e-5)
    for path, read in (("/classify", "probs"), ("/pooling", "data")):
        found = ways.world.post(path, {"messages": [*row["prompt"], *sides[0]], "tools": tools}).json()
        assert found["data"][0][read] == [pytest.approx(wanted[0], abs=1e-5)]


def test_older_calls_are_read_as_calls_everywhere(ways: Ways) -> None:
    function = {"name": "lookup", "arguments": '{"word": "river"}'}
    older = {"role": "assistant", "content": None, "function_call": function}
    newer = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "abc123def", "type": "function", "function": function}],
    }
    if "abc123def" in ways.renderer.text(
        (Message("user", "a"), Message("assistant", "", json.dumps(newer["tool_calls"])))
    ):
        pytest.skip("this template writes the ids of calls, which older calls have not")
    rewards = [
        ways.world.post("/classify", {"messages": [ASK, turn], "tools": TOOLS}).json()["data"][0]["probs"]
        for turn in (older, newer)
    ]
    assert rewards[0] == rewards[1]
    function_of = rewardsmith.reward_function(ways.scorer)
    found = function_of([[ASK]] * 2, [[older], [newer]], tools=[TOOLS] * 2)
    assert found[0] == found[1] == pytest.approx(rewards[0][0], abs=1e-5)


def test_what_a_template_cannot_show_is_refused_on_every_path(ways: Ways) -> None:
    shows = "Qwen" if "<think>" in ways.renderer.tokenizer.chat_template else ""
    pair = read_pair(THINKING, find_columns(THINKING, {}, where="rows"), "chat", source="rows", number=1)
    (trained,) = ways.renderer.render_pairs([pair])
    found = ways.world.post("/classify", {"messages": [ASK, THOUGHT]})
    rewards = rewardsmith.reward_function(ways.scorer)
    if shows:
        assert trained.chosen_ids.tolist() == ways.trl(THINKING, "chosen")
        assert found.json()["data"][0]["probs"] == [pytest.approx(rewards([[ASK]], [[THOUGHT]])[0], abs=1e-5)]
        return
    assert trained.reason == "fields_lost"
    assert "the template does not show the reasoning of turn 2 (assistant)" in trained.detail
    assert (found.status, found.code) == (422, "unscorable")
    assert found.json()["error"]["items"][0]["detail"] == "the template does not show tools, calls or reasoning"
    assert rewards([[ASK]], [[THOUGHT]]) == [None]
    assert rewards.reasons[0].startswith("fields_lost: ")


def test_what_is_no_call_or_would_be_dropped_is_refused(ways: Ways) -> None:
    nameless = {"role": "assistant", "content": None, "tool_calls": [{"function": {"arguments": "secret"}}]}
    cases = [
        ({"messages": [ASK, nameless]}, "messages[1]", "not_text", "it has a call without a name"),
        ({"messages": [ASK, {"role": "assistant"}]}, "messages[1]", "missing_field", "neither content nor calls"),
        ({"messages": [{**ASK, "mood": "secret"}, THOUGHT]}, "messages[0]", "unread_key", "nothing reads"),
    ]
    for body, where, code, detail in cases:
        refused = ways.world.post("/classify", body)
        assert (refused.status, refused.code) == (422, "unreadable_message")
        (item,) = refused.json()["error"]["items"]
        assert (item["where"], item["code"], detail in item["detail"]) == (where, code, True)
        assert b"secret" not in refused.body
    assert "mood" in ways.world.post("/classify", cases[2][0]).json()["error"]["items"][0]["detail"]
    for body in ({"input": "Hi", "tools": TOOLS}, {"messages": [ASK, THOUGHT], "tools": "lookup"}):
        assert ways.world.post("/classify", body).code == "invalid_request"
    for path, body in (
        ("/v1/score", {"texts": ["Hi"], "tools": TOOLS}),
        ("/v1/score", {"texts": ["Hi"], "tools": [1]}),
    ):
        assert ways.world.post(path, body).code == "invalid_request"
    # What an SDK writes beside a message, without anything in it, is nothing.
    empty = {**ANSWERS["chosen"][0], "refusal": None, "annotations": [], "audio": None, "function_call": None}
    assert ways.world.post("/classify", {"messages": [ASK, empty]}).status == 200
    with pytest.raises(DataError, match="nothing reads"):
        rewardsmith.reward_function(ways.scorer)([[ASK]], [[{**empty, "mood": "sad"}]])
    with pytest.raises(DataError, match="tools with a prompt and a completion as plain text"):
        rewardsmith.reward_function(ways.scorer)(["Hi"], ["there"], tools=[TOOLS])
    with pytest.raises(DataError, match="1 prompts and 2 lists of tools"):
        rewardsmith.reward_function(ways.scorer)([[ASK]], [[empty]], tools=[[], []])


def test_calls_and_tools_count_as_text_for_the_limits(ways: Ways) -> None:
    long = "x" * 400_001
    for body in (
        {"messages": [ASK, call({"word": long})]},
        {"messages": [ASK, ANSWERS["chosen"][0]], "tools": [{"type": "function", "function": {"name": long}}]},
        {"messages": [ASK, {**THOUGHT, "reasoning_content": long}]},
    ):
        refused = ways.world.post("/classify", body)
        assert (refused.status, refused.code) == (422, "text_too_long")
        assert refused.json()["error"]["limit"] == {"name": "characters", "value": 400_000}


def test_tools_beside_a_conversation_are_scored_with_it() -> None:
    messages = [ASK, *ANSWERS["chosen"]]
    for row in (
        {"messages": messages, "tools": TOOLS},
        {"conversation": messages, "tools": json.dumps(TOOLS)},
        {"prompt": [ASK], "response": "The Loire.", "tools": TOOLS},
        {"prompt": "Name a river.", "responses": ["The Loire."], "tools": TOOLS},
    ):
        found = read_responses(row, "chat")
        assert isinstance(found, Responses)
        assert [json.loads(one[0].content) for one in found.conversations] == [TOOLS]
        assert [turn.role for turn in found.conversations[0][1:]] == ["user", "assistant"]
    assert getattr(read_responses({"text": "a", "tools": TOOLS}, "chat"), "code", "") == "not_text"
