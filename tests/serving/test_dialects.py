"""Each dialect over a real socket, against payloads written by hand; and against offline scoring with a checkpoint.

"AB" is 65 + 66 = 131, over 8: 16.375. "C" is 67 / 8 = 8.375. The counting engine's token is a character.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoint_maker import make_checkpoint
from serving_world import CountingEngine, World, chat, serving

from rewardsmith.pipeline.scorers import CheckpointEngine, ScorerEngine
from rewardsmith.scoring import LocalScorer
from rewardsmith.serving.dialects import DIALECTS
from rewardsmith.serving.engine import ModelInfo
from rewardsmith.types import Message

USAGE = {"prompt_tokens": 3, "total_tokens": 3, "completion_tokens": 0}
TEXTS: list[tuple[str, Any, Any]] = [
    (
        "/get_reward",
        {"query": ["AB", "C"], "prompts": ["A", ""], "labels": [None, {"any": 1}]},
        {"rewards": [16.375, 8.375], "scores": [16.375, 8.375], "extra_logs": {}},
    ),
    ("/get_reward", {"query": ["AB"]}, {"rewards": [16.375], "scores": [16.375], "extra_logs": {}}),
    ("/get_reward", {"query": [], "prompts": [], "labels": []}, {"rewards": [], "scores": [], "extra_logs": {}}),
    (
        "/classify",
        {"model": "counting", "input": ["AB", "C"], "use_activation": True, "truncate_prompt_tokens": -1},
        {
            "object": "list",
            "model": "counting",
            "data": [
                {"index": 0, "label": "LABEL_0", "probs": [16.375], "num_classes": 1},
                {"index": 1, "label": "LABEL_0", "probs": [8.375], "num_classes": 1},
            ],
            "usage": USAGE,
        },
    ),
    (
        "/classify",
        {"messages": [{"role": "user", "content": "A"}, {"role": "assistant", "content": "BC"}]},
        {
            "object": "list",
            "model": "counting",
            "data": [{"index": 0, "label": "LABEL_0", "probs": [24.75], "num_classes": 1}],
            "usage": USAGE,
        },
    ),
    (
        "/pooling",
        {"input": "ABC", "task": "classify"},
        {
            "object": "list",
            "model": "counting",
            "data": [{"index": 0, "object": "pooling", "data": [24.75]}],
            "usage": USAGE,
        },
    ),
    (
        "/classify",
        {"model": "counting", "text": ["AB", "C"]},
        [
            {"embedding": [16.375], "meta_info": {"prompt_tokens": 2}},
            {"embedding": [8.375], "meta_info": {"prompt_tokens": 1}},
        ],
    ),
    ("/classify", {"text": "AB"}, {"embedding": [16.375], "meta_info": {"prompt_tokens": 2}}),
    (
        "/v1/embeddings",
        {"model": "counting", "input": "ABC"},
        {
            "object": "list",
            "model": "counting",
            "data": [{"object": "embedding", "index": 0, "embedding": [24.75]}],
            "usage": USAGE,
        },
    ),
    ("/slime", {"prompt": "A", "response": "BC", "label": "42"}, 24.75),
    ("/slime", {"prompt": [{"role": "user", "content": "A"}], "response": "BC"}, 24.75),
    (
        "/v1/score/evaluation",
        {"model": "model", "messages": ["AB", "C"], "max_length": 10},
        {"object": "score.evaluation", "model": "counting", "scores": [16.375, 8.375]},
    ),
    (
        "/v1/score",
        {"prompt": "A", "responses": ["B", "C"]},
        {
            "model": "counting",
            "identity": "counting",
            "rewards": [16.375, 16.5],
            "tokens": [2, 2],
            "cut": [0, 0],
            "reasons": ["", ""],
            "members": {},
            "spread": [],
            "left_out": [],
        },
    ),
]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with serving() as world:
        yield world


@pytest.mark.parametrize(("path", "asked", "wanted"), TEXTS)
@pytest.mark.parametrize("prefix", ["", "/models/counting"])
def test_an_answer_is_what_the_framework_expects(world: World, prefix: str, path: str, asked: Any, wanted: Any) -> None:
    found = world.post(prefix + path, asked)
    assert (found.status, found.json()) == (200, wanted)
    assert found.headers["content-type"] == "application/json"
    assert found.headers["x-rewardsmith-model"] == "counting counting"


def test_every_dialect_is_tried_here_and_its_example_works(world: World) -> None:
    assert {path for path, _, _ in TEXTS} | {"/v1/compare"} == {dialect.path for dialect in DIALECTS.values()}
    for dialect in DIALECTS.values():
        assert world.post(dialect.path, dialect.example).status == 200


@pytest.mark.parametrize(
    ("body", "conversations"),
    [
        (
            {"conversations": [[{"role": "user", "content": "A"}, {"role": "assistant", "content": "B"}]]},
            [chat("A", "B")],
        ),
        (
            {
                "conversations": [
                    [{"role": "assistant", "content": [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]}]
                ]
            },
            [(Message("assistant", "AB"),)],
        ),
        (
            {"prompt": [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}], "responses": ["R", "Q"]},
            [
                (Message("system", "S"), Message("user", "U"), Message("assistant", "R")),
                (Message("system", "S"), Message("user", "U"), Message("assistant", "Q")),
            ],
        ),
        ({"texts": ["T", ""]}, [(Message("text", "T"),), (Message("text", ""),)]),
    ],
)
def test_the_native_forms_mean_these_conversations(body: dict[str, Any], conversations: Any) -> None:
    dialect = DIALECTS["score"]
    assert dialect.read(dialect.request.model_validate(body)).conversations == conversations


def test_a_text_dialect_passes_rendered_text_on_as_it_is() -> None:
    rendered = "<|im_start|>user\nA<|im_end|>\n"
    for name, body in {
        "openrlhf": {"query": [rendered]},
        "vllm_classify": {"input": rendered},
        "vllm_pooling": {"input": [rendered]},
        "sglang_classify": {"text": rendered},
        "verl": {"input": [rendered]},
        "slime": {"prompt": rendered[:10], "response": rendered[10:]},
        "llamafactory": {"messages": [rendered]},
    }.items():
        dialect = DIALECTS[name]
        assert dialect.read(dialect.request.model_validate(body)).conversations == [(Message("text", rendered),)], name


@pytest.mark.parametrize(
    ("path", "body", "where"),
    [
        ("/get_reward", {"query": "AB"}, "query"),
        ("/get_reward", {"query": [1]}, "query.0"),
        ("/get_reward", {}, "query"),
        ("/get_reward", [], ""),
        ("/classify", {}, ""),
        ("/classify", {"input": [1, 2]}, "input.str"),
        ("/classify", {"text": []}, "text.str"),
        ("/classify", {"input": "A", "messages": [{"role": "assistant", "content": "A"}]}, ""),
        ("/pooling", {"input": "A", "task": "embed"}, "task"),
        ("/slime", {"prompt": "A"}, "response"),
        ("/v1/score", {"prompt": "A"}, ""),
        ("/v1/score", {"texts": ["A"], "prompt": "A", "responses": ["B"]}, ""),
        ("/v1/score", {"texts": ["A"], "allow_missing": "yes"}, "allow_missing"),
        ("/v1/score", {"conversations": [[{"role": "narrator", "content": "A"}]]}, "conversations.0.messages.0.role"),
        ("/v1/score", {"conversations": [[{"role": "user", "content": "A"}]]}, "conversations[0]"),
        ("/v1/compare", {"prompt": "A", "responses": ["B"]}, "responses"),
    ],
)
def test_a_request_of_another_form_is_refused_with_its_field_and_without_its_text(
    world: World, path: str, body: Any, where: str
) -> None:
    found = world.post(path, body)
    assert found.status == 422
    assert found.json()["error"]["items"][0]["where"] == where


def test_compare_ranks_and_says_no_probability_without_a_calibration(world: World) -> None:
    found = world.post("/v1/compare", {"prompt": "", "responses": ["A", "C", "B", "C"]}).json()
    ranking = [(one["index"], one["rank"], one["reward"], one["best_probability"]) for one in found["ranking"]]
    assert ranking == [(1, 1, 8.375, None), (3, 1, 8.375, None), (2, 3, 8.25, None), (0, 4, 8.125, None)]
    assert (found["calibrated"], found["temperature"], found["preferred"]) == (False, None, None)


def test_compare_uses_the_temperature_of_the_checkpoint() -> None:
    info = ModelInfo(identity="calibrated", temperature=0.25)
    with serving({"calibrated": CountingEngine(info)}) as world:
        found = world.post("/v1/compare", {"prompt": "", "responses": ["A", "C"]}).json()
    # The margin is 0.25, one temperature: sigmoid(1).
    preferred = 1 / (1 + math.exp(-1))
    assert found["calibrated"] is True
    assert found["preferred"] == [[0.5, pytest.approx(1 - preferred)], [pytest.approx(preferred), 0.5]]
    assert [one["best_probability"] for one in found["ranking"]] == [
        pytest.approx(preferred),
        pytest.approx(1 - preferred),
    ]


def test_an_ensemble_shows_its_members() -> None:
    engine = CountingEngine()
    engine.members = ("one", "two")
    with serving({"both": engine}) as world:
        native = world.post("/v1/score", {"texts": ["AB"]}).json()
        remote = world.post("/get_reward", {"query": ["AB"]}).json()
    assert native["members"] == {"one": [16.375], "two": [17.375]}
    assert remote["extra_logs"] == {
        "reward_one": [16.375],
        "reward_two": [17.375],
        "reward_spread": [0.5],
        "members_left_out": [0.0],
    }


def test_a_missing_reward_is_null_only_where_it_may_be(world: World) -> None:
    found = world.post("/v1/score", {"texts": ["AB", "REFUSE"], "allow_missing": True}).json()
    assert (found["rewards"], found["reasons"]) == ([16.375, None], ["", "template_refused"])
    for path, body in {
        "/v1/score": {"texts": ["AB", "REFUSE"]},
        "/get_reward": {"query": ["AB", "REFUSE"]},
        "/v1/compare": {"prompt": "A", "responses": ["B", "REFUSE"]},
    }.items():
        refused = world.post(path, body)
        assert (refused.status, refused.code) == (422, "unscorable")
        assert refused.json()["error"]["items"][0]["where"] == "conversations[1]"


@pytest.fixture(scope="module")
def checkpoint(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> LocalScorer:
    return LocalScorer.load(make_checkpoint(tmp_path_factory.mktemp("served") / "model", tiny_base))


@pytest.fixture(scope="module")
def real(checkpoint: LocalScorer) -> Iterator[World]:
    with serving({"tiny": CheckpointEngine(checkpoint)}) as world:
        yield world


PROMPT, RESPONSES = "Say red and stone.", ["red river", "stone cold\n", "", "blue " * 20]


def test_every_dialect_gives_the_reward_of_offline_scoring(real: World, checkpoint: LocalScorer) -> None:
    wanted = checkpoint.score([chat(PROMPT, response) for response in RESPONSES])
    renderer = checkpoint.checkpoint.renderer
    prompt = renderer.text((Message("user", PROMPT),), add_generation_prompt=True)
    texts = [renderer.text(chat(PROMPT, response)) for response in RESPONSES]
    found = {
        "score": real.post("/v1/score", {"prompt": PROMPT, "responses": RESPONSES}).json()["rewards"],
        "compare": [
            one["reward"]
            for one in sorted(
                real.post("/v1/compare", {"prompt": PROMPT, "responses": RESPONSES}).json()["ranking"],
                key=lambda one: int(one["index"]),
            )
        ],
        "openrlhf": real.post("/get_reward", {"query": texts}).json()["rewards"],
        "vllm": [one["probs"][0] for one in real.post("/classify", {"input": texts}).json()["data"]],
        "pooling": [one["data"][0] for one in real.post("/pooling", {"input": texts}).json()["data"]],
        "sglang": [one["embedding"][0] for one in real.post("/classify", {"text": texts}).json()],
        "verl": [real.post("/v1/embeddings", {"input": text}).json()["data"][-1]["embedding"][-1] for text in texts],
        "slime": [
            real.post("/slime", {"prompt": prompt, "response": text.removeprefix(prompt)}).json() for text in texts
        ],
        "llamafactory": real.post("/v1/score/evaluation", {"model": "model", "messages": texts}).json()["scores"],
    }
    assert len(found) == len(DIALECTS)
    for name, rewards in found.items():
        np.testing.assert_allclose(rewards, wanted, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("end", ["", "\n", "<|im_end|>", "<|im_end|>\n"])
def test_a_text_with_or_without_its_eos_gets_the_reward_of_training(
    real: World, checkpoint: LocalScorer, end: str
) -> None:
    text = f"<|im_start|>user\n{PROMPT}<|im_end|>\n<|im_start|>assistant\nred river{end}"
    [wanted] = checkpoint.score([chat(PROMPT, "red river" + ("\n" if end == "\n" else ""))])
    assert real.post("/get_reward", {"query": [text]}).json()["rewards"] == [pytest.approx(wanted, abs=1e-5)]


def test_a_text_over_the_models_length_names_the_limit(real: World) -> None:
    refused = real.post("/v1/score", {"prompt": PROMPT, "responses": ["blue " * 400]})
    assert (refused.status, refused.code) == (422, "unscorable")
    assert refused.json()["error"]["limit"] == {"name": "max_length", "value": 200}
    assert "the limit is 200" in refused.json()["error"]["items"][0]["detail"]


@pytest.mark.parametrize("policy", ["error", "truncate_prompt"])
def test_each_length_policy_is_followed_for_the_one_text_that_it_concerns(
    tiny_base: Path, tmp_path: Path, policy: Any
) -> None:
    folder = make_checkpoint(tmp_path / "model", tiny_base, max_length=200, over_length=policy)
    engine = CheckpointEngine(LocalScorer.load(folder))
    short, long = engine.prepare([chat("red", "blue"), chat("red " * 400, "blue")])
    assert getattr(short, "cut", None) == 0
    if policy == "error":
        assert getattr(long, "code", None) == "over_length"
    else:
        assert (long.tokens, long.cut > 0) == (200, True)  # type: ignore[union-attr]


def test_a_model_of_plain_text_reads_messages_as_text(tiny_base: Path, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "model", tiny_base, conversational=False)
    scorer = LocalScorer.load(folder)
    [wanted] = scorer.score([(Message("text", "red river"),)])
    with serving({"plain": CheckpointEngine(scorer)}) as world:
        found = world.post("/v1/score", {"prompt": "red", "responses": [" river"]}).json()
    assert found["rewards"] == [pytest.approx(wanted, abs=1e-5)]


def test_any_scorer_can_be_served(checkpoint: LocalScorer) -> None:
    engine = ScorerEngine(checkpoint, ModelInfo(identity="scorer"))
    [wanted] = checkpoint.score([chat(PROMPT, "red")])
    with serving({"scorer": engine}) as world:
        found = world.post("/v1/score", {"prompt": PROMPT, "responses": ["red"]}).json()
    assert found["rewards"] == [pytest.approx(wanted, abs=1e-5)]


def test_the_record_of_a_checkpoint_becomes_its_card(real: World, checkpoint: LocalScorer) -> None:
    [card] = real.get("/v1/models").json()["data"]
    assert card == real.get("/v1/models/tiny").json()
    assert (card["id"], card["max_length"], card["over_length"], card["layout"]) == ("tiny", 200, "drop", "tree")
    assert len(card["identity"]) == 12
    assert checkpoint.checkpoint.record is not None
