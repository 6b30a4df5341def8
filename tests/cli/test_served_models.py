"""Models that an engine serves: `verify --against` names each planted fault, and other commands score with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoint_maker import make_checkpoint
from cli_world import World
from engine_stand_in import engine

from conftest import make_tokenizer
from rewardsmith.modeling.checkpoint import load_checkpoint
from rewardsmith.pipeline.commands import verify as command
from rewardsmith.pipeline.commands.verify import verify_job
from rewardsmith.pipeline.events import Silent
from rewardsmith.pipeline.scorers import LoadOptions, open_member
from rewardsmith.records.checkpoint import PathResult, VerifyRecord
from rewardsmith.scoring import LocalScorer, differences
from rewardsmith.scoring.consumers import reward_function
from rewardsmith.types import Message


@pytest.fixture(scope="module")
def model(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_checkpoint(tmp_path_factory.mktemp("rm") / "model", tiny_base)
    record = json.loads((folder / "rewardsmith.json").read_text())
    (folder / "rewardsmith.json").write_text(json.dumps(record | {"reward_std": 2.0}))
    return folder


@pytest.fixture(scope="module")
def local(model: Path) -> LocalScorer:
    return LocalScorer.load(model)


@pytest.fixture(autouse=True)
def _server_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The paths in this process have their own tests."""
    monkeypatch.delenv("REWARDSMITH_TOKEN", raising=False)
    monkeypatch.setattr(command, "WAYS", {})


def verified(local: LocalScorer, kind: str, **spoiled: Any) -> tuple[VerifyRecord, dict[str, PathResult]]:
    with engine(kind, local, **spoiled) as stand_in:
        record = verify_job(str(local.checkpoint.folder), Silent(), against=stand_in.url)
    return record, {path.path: path for path in record.paths}


@pytest.mark.parametrize("kind", ["vllm", "sglang", "openrlhf"])
def test_a_sound_engine_passes(local: LocalScorer, kind: str) -> None:
    record, paths = verified(local, kind)
    assert record.passed
    messages = ["server messages"] if kind == "vllm" else []
    assert list(paths) == ["recorded", "server", *messages]
    assert paths["server"].compared == record.conversations
    assert {path.verdict for path in record.paths} == {"PASS"}
    product = {"vllm": "vLLM's /classify", "sglang": "SGLang's /classify", "openrlhf": "OpenRLHF's /get_reward"}[kind]
    assert record.notes[-1].startswith(f"the server is {product}; it serves ")


def sigmoid(reward: float) -> float:
    return float(1 / (1 + np.exp(-reward)))


def plus_one(reward: float) -> float:
    return reward + 1


def to_bfloat16(reward: float, ids: list[int]) -> float:
    del ids
    return float(torch.tensor(reward + 0.02).to(torch.bfloat16))


def first_then_eos(ids: list[int]) -> list[int]:
    return ids if len(ids) <= 128 else [*ids[:127], 2]


def cut_and_squashed(local: LocalScorer) -> dict[str, Any]:
    del local
    return {"reads": lambda ids: ids[:100], "gives": lambda reward, ids: sigmoid(reward)}


def mean_of_tokens(local: LocalScorer) -> dict[str, Any]:
    def gives(reward: float, ids: list[int]) -> float:
        del reward
        return float(np.mean(local.score_ids([np.array(ids[: end + 1], dtype=np.int32) for end in range(len(ids))])))

    return {"gives": gives}


FAULTS: dict[str, tuple[str, Callable[[LocalScorer], dict[str, Any]], str, str]] = {
    "sigmoid": ("vllm", lambda _: {"activation": sigmoid}, "a sigmoid is applied", "problem_type"),
    "softmax": ("vllm", lambda _: {"activation": lambda reward: 1.0}, "a softmax over a single label", "problem_type"),
    "pad is EOS": (
        "vllm",
        lambda _: {"reads": lambda ids: ids[:-1]},
        "pooling takes EOS for padding",
        "export --to vllm",
    ),
    "EOS missing": (
        "openrlhf",
        lambda _: {"reads": lambda ids: ids[:-1]},
        "has no EOS (<|im_end|>) at its end",
        "template",
    ),
    "EOS twice": (
        "openrlhf",
        lambda _: {"reads": lambda ids: [*ids, 2]},
        "a second EOS (<|im_end|>) follows",
        "template",
    ),
    "line break": (
        "openrlhf",
        lambda local: {"reads": lambda ids: [*ids, *local.checkpoint.renderer.tokenizer.encode("\n")]},
        "a line break follows the EOS",
        "template",
    ),
    "two tokens early": ("vllm", lambda _: {"reads": lambda ids: ids[:-2]}, "read 2 tokens before the last", "LAST"),
    "first token": ("sglang", lambda _: {"reads": lambda ids: ids[:1]}, "read at the first token", "LAST"),
    "mean": ("vllm", mean_of_tokens, "the mean over all tokens", "LAST"),
    "first tokens": ("vllm", lambda _: {"reads": lambda ids: ids[:131]}, "their first 131 tokens", "--max-model-len"),
    "last tokens": ("sglang", lambda _: {"reads": lambda ids: ids[-128:]}, "their last 128 tokens", "--max-model-len"),
    "OpenRLHF's cut": (
        "openrlhf",
        lambda _: {"reads": first_then_eos},
        "first 128 tokens, the last of them EOS",
        "longest",
    ),
    "cut and sigmoid": (
        "openrlhf",
        cut_and_squashed,
        "a sigmoid is applied, and truncation: texts are cut",
        "problem_type",
    ),
    "the middle is lost": (
        "vllm",
        lambda _: {"reads": lambda ids: ids if len(ids) < 150 else [*ids[:40], *ids[60:]]},
        "truncation, or other positions (rope) there",
        "rope_parameters",
    ),
    "half precision": (
        "vllm",
        lambda _: {"gives": to_bfloat16},
        "dtype: differences of up to 0.0",
        "--server-dtype bfloat16",
    ),
    "normalised": (
        "openrlhf",
        lambda _: {"gives": lambda reward, ids: (reward - 1.25) / 2},
        "its rewards are 0.5 times ours - 0.625: scaled or normalised",
        "without a mean",
    ),
    "sign": (
        "vllm",
        lambda _: {"gives": lambda reward, ids: -reward},
        "its rewards are -1 times ours",
        "as it was saved",
    ),
    "prefix cache": (
        "vllm",
        lambda _: {"cached": plus_one},
        "caching: asked about again, a text has another",
        "caching",
    ),
    "warm prefix cache": (
        "vllm",
        lambda _: {"cached": plus_one, "warm": True},
        "prefix caching: with a cache of its own each text has its own reward",
        "--no-enable-prefix-caching",
    ),
    "batching": ("openrlhf", lambda _: {"beside": 1.0}, "batching: each text alone has its own reward", "batch of one"),
    "radix cache": (
        "sglang",
        lambda _: {"cached": plus_one},
        "prefix caching",
        "--disable-radix-cache",
    ),
    "constant": ("vllm", lambda _: {"gives": lambda reward, ids: 0.25}, "every reward is 0.25", "weights were loaded"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_of_a_server_is_named(local: LocalScorer, name: str) -> None:
    kind, spoil, what, fix = FAULTS[name]
    record, paths = verified(local, kind, **spoil(local))
    assert not record.passed
    assert paths["server"].verdict == "FAIL"
    assert what in paths["server"].why
    assert fix in paths["server"].fix


def test_other_weights_are_no_known_fault(local: LocalScorer, tiny_base: Path, tmp_path: Path) -> None:
    """Nothing is guessed: rewards of another head are said to differ, and no more."""
    other = LocalScorer.load(make_checkpoint(tmp_path / "other", tiny_base, seed=5))
    _, paths = verified(
        local, "vllm", gives=lambda reward, ids: float(other.score_ids([np.array(ids, dtype=np.int32)])[0])
    )
    assert paths["server"].why.startswith("rewards differ by up to")
    assert ": " not in paths["server"].why
    assert paths["server"].fix == "start the server with this checkpoint and its own template"


def template(text: str) -> Any:
    return make_tokenizer(chat_template=text)


TURN = "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            TURN + "{% if not loop.last %}<|im_end|>\n{% endif %}{% endfor %}",
            "conversations: EOS missing: it does not write <|im_end|> at the end",
        ),
        (TURN + "<|im_end|>\n{% endfor %}", "conversations: '\\n' follows the EOS"),
        ("<|pad|>" + TURN + "<|im_end|>{{ '' if loop.last else '\\n' }}{% endfor %}", "'<|pad|>' stands in front"),
        (TURN.replace("message['role']", "message['role'] ~ '!'") + "<|im_end|>{% endfor %}", "from token "),
    ],
    ids=["no EOS", "line break", "in front", "other words"],
)
def test_a_template_of_the_server_that_makes_other_ids_is_named(local: LocalScorer, text: str, said: str) -> None:
    """Ids that we send are untouched by it; messages are not."""
    record, paths = verified(local, "vllm", template=template(text))
    assert (record.passed, paths["server"].verdict) == (False, "PASS")
    assert paths["server messages"].verdict == "FAIL"
    assert (
        f"its template makes other tokens of {record.conversations} of {record.conversations}"
        in paths["server messages"].why
    )
    assert said in paths["server messages"].why
    assert "chat_template.jinja" in paths["server messages"].fix


def test_rerank_says_that_it_reads_other_tokens_and_a_sigmoid_is_not_what_differs(local: LocalScorer) -> None:
    _, paths = verified(local, "tei")
    assert paths["server"].verdict == "FAIL"
    assert "template: /rerank joins question and answer to other tokens in " in paths["server"].why
    assert paths["server"].compared < 31


def test_a_server_that_takes_shorter_texts_is_a_note(local: LocalScorer) -> None:
    record, paths = verified(local, "vllm", limit=64)
    assert record.passed
    assert paths["server"].compared < record.conversations
    assert "the server takes 64 tokens and the checkpoint 200: longer texts have no reward there (" in record.notes[-1]


def test_the_command_says_it_and_keeps_no_secret(
    local: LocalScorer, tiny_base: Path, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    world = World(tmp_path, tiny_base, capsys, monkeypatch)
    with engine("vllm", local, activation=sigmoid) as stand_in:
        at = f"vllm+{stand_in.url.replace('//', '//any:SECRET-of-mine@')}"
        answer = world("verify", "--model", str(local.checkpoint.folder), "--against", at, "--out", "out")
    assert answer.code == 1
    assert "server: rewards differ by up to" in answer.out
    assert ": a sigmoid is applied" in answer.out
    assert 'try: write "problem_type": "regression" into the config.json that is served' in answer.out
    assert "SECRET" not in answer.out + answer.err + (tmp_path / "out" / "verify.json").read_text()


def test_running_rewards_are_those_of_each_prefix(model: Path) -> None:
    """The oracle that tokens are found with: one pass beside each prefix by itself."""
    opened = load_checkpoint(model)
    ids_T = opened.renderer.render_many([command.made_up_conversations(1, True)[0]])[0].ids
    assert ids_T is not None
    each = LocalScorer(opened).score_ids([ids_T[: end + 1] for end in range(len(ids_T))])
    np.testing.assert_allclose(differences.one_pass(opened.model, ids_T), each, rtol=0, atol=2e-5)


def test_two_rewards_are_too_few_to_tell(local: LocalScorer) -> None:
    """Any two numbers lie on a line."""
    texts = [np.array([1, 5, 6, 2], dtype=np.int32), np.array([1, 7, 2], dtype=np.int32)]
    ours = local.score_ids(texts)
    found = differences.name_cause(local.checkpoint, texts, ours, 3 * ours + 1, tolerance=1e-4, sends="ids")
    assert found is None


def rows(path: Path, count: int = 6) -> Path:
    """Best-of-4 rows in RewardBench 2's schema, one question of which is not sound."""
    words = ["red", "green", "blue", "stone"]
    made = [
        {
            "id": str(index),
            "prompt": f"Say {words[index % 4]} ({index})." + (" <|im_end|> x" if index == 5 else ""),
            "chosen": [words[index % 4]],
            "rejected": [f"{words[(index + at) % 4]} no" for at in (1, 2, 3)],
            "subset": "Focus",
        }
        for index in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return path


def test_commands_score_with_a_served_model_as_with_the_checkpoint(
    local: LocalScorer, tiny_base: Path, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    """evaluate, compare, score and an ensemble: the rewards are those of the folder, what is missing likewise."""
    world = World(tmp_path, tiny_base, capsys, monkeypatch)
    data, here = str(rows(tmp_path / "rb2.jsonl")), str(local.checkpoint.folder)
    with engine("vllm", local, activation=sigmoid) as stand_in:
        there = f"vllm+{stand_in.url.replace('//', '//any:SECRET-of-mine@')}?tokenizer={here}"
        for name, model in (("here", here), ("there", there)):
            asked = ("--model", model, "--benchmark", "rewardbench2", "--data", data, "--out", name)
            assert world("evaluate", *asked).code == 1  # rewards are missing
        compared = world("compare", "here", "there", "--json")
        assert compared.code == 0, compared.err
        pairs = tmp_path / "pairs.jsonl"
        pairs.write_text(json.dumps({"prompt": "Say red.", "chosen": "red", "rejected": "blue"}) + "\n")
        for name, models in (("one", (here,)), ("served", (there,)), ("both", (f"a={here}", f"far={there}"))):
            given = [part for model in models for part in ("--model", model)]
            rule = ("--combine", "mean") if len(models) > 1 else ()
            answer = world("score", *given, *rule, "--input", str(pairs), "--output", f"{name}.jsonl")
            assert answer.code == 0, answer.err
        refused = world("evaluate", *asked[:-1], "upstream", "--protocol", "upstream")
    found = {
        name: [json.loads(line) for line in (tmp_path / name / "rows.jsonl").read_text().splitlines()]
        for name in ("here", "there")
    }
    for ours, theirs in zip(found["here"], found["there"], strict=True):
        if None in ours["rewards"]:
            assert theirs["rewards"] == ours["rewards"]
        else:
            np.testing.assert_allclose(theirs["rewards"], ours["rewards"], rtol=0, atol=2e-5)
    results = {name: json.loads((tmp_path / name / "results.json").read_text()) for name in ("here", "there")}
    missing = [results[name]["subsets"]["Focus"]["missing"] for name in ("here", "there")]
    assert missing == [{"special_token_in_text": 4}] * 2
    assert results["there"]["model"] == stand_in.url
    scored = [json.loads((tmp_path / f"{name}.jsonl").read_text())["rewards"] for name in ("one", "served", "both")]
    np.testing.assert_allclose(scored, [scored[0]] * 3, rtol=0, atol=2e-5)
    assert (refused.code, "the model is served elsewhere" in refused.err) == (2, True)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in written if b"SECRET-of-mine" in path.read_bytes()]


def test_a_policy_and_a_server_take_a_served_model(local: LocalScorer) -> None:
    """`reward_function`, and a member of `rewardsmith serve`, whose scale is that of the checkpoint's record."""
    question = [{"role": "user", "content": "Say red."}]
    with engine("sglang", local) as stand_in:
        rewards = reward_function(f"sglang+{stand_in.url}")
        found = rewards(
            prompts=[question] * 2, completions=[[{"role": "assistant", "content": one}] for one in ("a", "b")]
        )
        member, info = open_member("far", stand_in.url, LoadOptions(patience=0.0))
    asked = [(Message("user", "Say red."), Message("assistant", one)) for one in ("a", "b")]
    np.testing.assert_allclose(found, local.score(asked), rtol=0, atol=2e-5)
    assert (member.remote, member.scale.std, info.max_length) == (True, 2.0, 200)
