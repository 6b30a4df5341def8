"""Real vLLM serves our exports: `make test-vllm`, in an environment of its own; not part of `make test`.

One server at a time, on a CPU, with its defaults (prefix caching on). It starts in a minute, in several on a busy
machine. Rewards are held against offline scoring: float32 to 1e-4, bfloat16 to 0.03 reward deviations at the median.
SmolLM2 is tried where `make real-weights` has made its folder.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from checkpoint_maker import make_checkpoint
from test_exports import make_adapter
from world_tokenizers import world_base

from conftest import CHATML, make_base
from rewardsmith.modeling.exports import export_checkpoint
from rewardsmith.pipeline.commands import verify
from rewardsmith.pipeline.commands.verify import made_up_conversations, verify_job
from rewardsmith.pipeline.events import Silent
from rewardsmith.records.checkpoint import PathResult, VerifyRecord
from rewardsmith.scoring import LocalScorer
from rewardsmith.scoring.engines import Item
from rewardsmith.scoring.remote import RemoteScorer
from rewardsmith.types import Conversation, Message
from vllm_server import vllm_server

PYTHON = os.environ.get("VLLM_PYTHON", "")
SMOLLM2 = Path(os.environ.get("SMOLLM2", "build/SmolLM2-135M-Instruct"))
pytestmark = pytest.mark.skipif(not PYTHON, reason="run it as `make test-vllm`, which makes vLLM's environment")


@dataclass(frozen=True)
class Served:
    url: str
    local: LocalScorer

    def metric(self, name: str) -> float:
        """A counter of vLLM's /metrics."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=60) as answer:  # noqa: S310 - our own
            text = answer.read().decode()
        return sum(float(value) for value in re.findall(rf"^{re.escape(name)}\{{.*\}} (\S+)$", text, re.MULTILINE))


vllm = partial(vllm_server, python=PYTHON)


def exported(model: Path, to: Path) -> Path:
    export_checkpoint(model, to, "vllm")
    return to


def paths(record: VerifyRecord) -> dict[str, PathResult]:
    return {path.path: path for path in record.paths}


@pytest.fixture(autouse=True)
def _server_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """`verify` looks at the server; the paths in this process have their own tests."""
    monkeypatch.setattr(verify, "WAYS", {})


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the tests' base, with heads of 32: vLLM's CPU kernels have no smaller ones."""
    return make_base(tmp_path_factory.mktemp("base"), width=128)


@pytest.fixture(scope="module")
def model(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("rm") / "model", base, max_length=512)


@pytest.fixture(scope="module")
def sound(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("sound")
    with vllm(exported(model, folder / "export"), folder / "log") as url:
        yield Served(url, LocalScorer.load(model))


def of_tokens(local: LocalScorer, tokens: int) -> Conversation:
    """A conversation of exactly so many tokens."""
    question = Message("user", "Say red.")
    for letters in range(1, 4 * tokens):
        turns = (question, Message("assistant", "q" * letters))
        ids_T = local.checkpoint.renderer.render_many([turns])[0].ids
        if ids_T is not None and len(ids_T) == tokens:
            return turns
    raise AssertionError(tokens)


def best_of_8(prompts: int, words: int) -> list[Conversation]:
    """Eight answers to each of some long prompts, which a prefix cache shares."""
    found: list[Conversation] = []
    for prompt in range(prompts):
        question = Message(
            "user", f"{prompt}: " + " ".join(["red", "stone", "river"][(prompt + at) % 3] for at in range(words))
        )
        found += [(question, Message("assistant", f"cold {answer} " + "warm " * answer)) for answer in range(8)]
    return found


def test_ids_and_messages_have_the_offline_rewards(sound: Served) -> None:
    conversations = made_up_conversations(64, conversational=True)
    wanted = sound.local.score(conversations)
    for url in (sound.url, f"vllm+{sound.url}", f"{sound.url}/pooling"):
        scorer = RemoteScorer(url)
        found = scorer.score(conversations)
        assert np.isfinite(wanted).all()
        assert np.abs(found - wanted).max() <= 1e-4
        assert scorer.engine is not None
        messages = [scorer.engine.ask_messages(one).reward for one in conversations[:8]]
        assert np.abs(np.array(messages) - wanted[:8]).max() <= 1e-4


def test_a_prefix_cache_changes_no_reward(sound: Served) -> None:
    """Blocks have 128 tokens on a CPU, so the prompts are longer; the second time all of them are there."""
    conversations = best_of_8(4, 120)
    wanted = sound.local.score(conversations)
    assert np.isfinite(wanted).all()
    before = sound.metric("vllm:prefix_cache_hits_total")
    scorer = RemoteScorer(sound.url)
    for _ in range(2):
        assert np.abs(scorer.score(conversations) - wanted).max() <= 1e-4
    assert sound.metric("vllm:prefix_cache_hits_total") > before


def test_64_at_a_time_have_the_rewards_that_each_has_alone(sound: Served) -> None:
    conversations = best_of_8(8, 20)
    wanted = sound.local.score(conversations)
    RemoteScorer(sound.url).score(conversations[:1])
    with ThreadPoolExecutor(64) as pool:
        found = list(pool.map(lambda one: float(RemoteScorer(sound.url).score([one])[0]), conversations))
    assert np.abs(np.array(found) - wanted).max() <= 1e-4


def test_a_text_at_the_limit_has_its_reward_and_one_token_more_a_reason(sound: Served) -> None:
    conversations = [of_tokens(sound.local, 512), (Message("user", "Say red."), Message("assistant", "red"))]
    scorer = RemoteScorer(sound.url)
    found = scorer.score(conversations)
    assert np.abs(found - sound.local.score(conversations)).max() <= 1e-4
    longer = (conversations[0][0], Message("assistant", conversations[0][1].content + "q"))
    assert np.isnan(scorer.score([longer, conversations[1]])).tolist() == [True, False]
    assert scorer.missing == {"over_length": 1}
    # vLLM's own refusal, where nothing stands before it: 513 ids.
    assert scorer.engine is not None
    ids = tuple([1] + [5] * 511 + [2])
    (refused, right) = scorer.engine.ask([Item(ids), Item((1, 5, 2))])
    assert refused.reason.startswith("over_length: This model's maximum context length is 512 tokens")
    assert np.isfinite(right.reward)


def test_verify_passes_on_the_sound_export(sound: Served) -> None:
    record = verify_job(str(sound.local.checkpoint.folder), Silent(), against=sound.url)
    found = paths(record)
    assert {name: found[name].verdict for name in ("server", "server messages")} == {
        "server": "PASS",
        "server messages": "PASS",
    }
    assert found["server"].compared == record.conversations
    assert record.notes[-1].startswith("the server is vLLM's /classify; it serves rm from ")


def test_a_merged_adapter_has_the_rewards_of_the_adapter(base: Path, tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path / "lora", base)
    local = LocalScorer.load(adapter)
    with vllm(exported(adapter, tmp_path / "export"), tmp_path / "log") as url:
        conversations = [
            one for one in made_up_conversations(64, conversational=True) if np.isfinite(local.score([one])[0])
        ]
        scorer = RemoteScorer(f"{url}?tokenizer={adapter}")
        found = scorer.score(conversations)
        assert len(conversations) >= 32
        assert np.abs(found - local.score(conversations)).max() <= 1e-4
        record = paths(verify_job(str(adapter), Silent(), against=url))
        assert (record["server"].verdict, record["server messages"].verdict) == ("PASS", "PASS")


@pytest.mark.parametrize("family", ["llama 3.1", "deepseek v3", "mistral 0.3"])
def test_a_tokenizer_that_puts_bos_before_plain_text_gets_one_in_messages(family: str, tmp_path: Path) -> None:
    """Template and tokenizer both write a BOS: rewards for ids and for messages are those of one."""
    base = world_base(tmp_path / "base", family, width=128)
    model = make_checkpoint(tmp_path / "model", base, max_length=512)
    with vllm(exported(model, tmp_path / "export"), tmp_path / "log") as url:
        record = verify_job(str(model), Silent(), against=url)
    assert {name: path.verdict for name, path in paths(record).items() if name.startswith("server")} == {
        "server": "PASS",
        "server messages": "PASS",
    }


def test_planted_faults_are_named(model: Path, tmp_path: Path) -> None:
    """A config without problem_type, pad that is EOS, and the base's own template, which ends with a line break."""
    folder = exported(model, tmp_path / "export")
    config = json.loads((folder / "config.json").read_text())
    config.pop("problem_type")
    (folder / "config.json").write_text(json.dumps(config | {"pad_token_id": config["eos_token_id"]}))
    (folder / "chat_template.jinja").write_text(CHATML)
    with vllm(folder, tmp_path / "log") as url:
        record = verify_job(str(model), Silent(), against=url)
        found = paths(record)
        # What was sent as ids is right but for the sigmoid, and raw rewards can still be asked for.
        local = LocalScorer.load(model)
        conversations = made_up_conversations(16, conversational=True)
        raw = RemoteScorer(f"{url}?tokenizer={model}").score(conversations)
    assert not record.passed
    assert "a sigmoid is applied" in found["server"].why
    assert '"problem_type": "regression"' in found["server"].fix
    assert "its template makes other tokens of" in found["server messages"].why
    assert "'\\n' follows the EOS" in found["server messages"].why
    assert np.abs(raw - local.score(conversations)).max() <= 1e-4
    served = verify_job(_unrecorded(folder, tmp_path / "published"), Silent())
    said = {(one.field, one.value) for one in served.findings}
    assert {("problem_type", "None"), ("pad_token_id", str(config["eos_token_id"]))} <= said


def _unrecorded(folder: Path, to: Path) -> str:
    """The served folder as somebody else's checkpoint: with our record, its template alone would be refused."""
    shutil.copytree(folder, to, ignore=shutil.ignore_patterns("rewardsmith.json"))
    return str(to)


def test_half_precision_is_named_and_stays_within_its_tolerance(model: Path, tmp_path: Path) -> None:
    folder = exported(model, tmp_path / "export")
    local = LocalScorer.load(model)
    spread = float(np.std(local.score(made_up_conversations(64, conversational=True))))
    with vllm(folder, tmp_path / "log", dtype="bfloat16") as url:
        conversations = made_up_conversations(64, conversational=True)
        apart = np.abs(RemoteScorer(f"{url}?tokenizer={model}").score(conversations) - local.score(conversations))
        found = paths(verify_job(str(model), Silent(), against=url))
    assert apart.max() > 1e-4
    assert np.median(apart) <= 0.03 * spread  # random weights round worse than trained ones: not each text
    assert "dtype: differences of up to" in found["server"].why
    assert "--server-dtype bfloat16" in found["server"].fix


@pytest.mark.skipif(not (SMOLLM2 / "model.safetensors").is_file(), reason="make real-weights makes SmolLM2's folder")
def test_smollm2_with_our_head(tmp_path: Path) -> None:
    """A pretrained decoder, ChatML, pad = EOS as it ships."""
    model = make_checkpoint(tmp_path / "rm", SMOLLM2, max_length=1024, head_std=0.06)
    with vllm(exported(model, tmp_path / "export"), tmp_path / "log") as url:
        local = LocalScorer.load(model)
        conversations = made_up_conversations(32, conversational=True)
        found = RemoteScorer(f"{url}?tokenizer={model}").score(conversations)
        assert np.abs(found - local.score(conversations)).max() <= 1e-4
        record = paths(verify_job(str(model), Silent(), against=url))
        assert (record["server"].verdict, record["server messages"].verdict) == ("PASS", "PASS")
