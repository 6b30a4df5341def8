"""The reward cache: the same rewards to the last bit, each text computed once, and never a wrong number."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from checkpoint_maker import make_checkpoint
from cli_world import World
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import make_pairs
from rewardsmith.modeling.loading import load_reward_model
from rewardsmith.scoring import CachedScorer, LocalScorer, open_scorer
from rewardsmith.scoring import cached as store
from rewardsmith.scoring.cached import RewardStore, StoreFault, model_identity, text_key
from rewardsmith.types import Conversation, Message


@pytest.fixture(scope="module")
def model(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("made") / "model", tiny_base)


def texts(count: int, seed: int = 0) -> list[Conversation]:
    return [pair.prompt + pair.chosen for pair in make_pairs(count, seed=seed)]


class Counting:
    """Puts a counter before the forward passes of a scorer."""

    def __init__(self, scorer: CachedScorer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.computed = 0
        inner = scorer.scorer.score_ids

        def counted(ids: list, *rest: object) -> np.ndarray:
            self.computed += len(ids)
            return inner(ids, *rest)

        monkeypatch.setattr(scorer.scorer, "score_ids", counted)


def cached(model: Path, folder: Path, notes: list[str] | None = None) -> CachedScorer:
    scorer = open_scorer(model, token_budget=256, cache=folder, note=(notes if notes is not None else []).append)
    assert isinstance(scorer, CachedScorer)
    return scorer


def test_a_hit_repeats_a_cold_run_to_the_last_bit(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = LocalScorer.load(model, token_budget=256).score(texts(40))
    cold = cached(model, tmp_path).score(texts(40))
    warm_scorer = cached(model, tmp_path)
    counter = Counting(warm_scorer, monkeypatch)
    warm = warm_scorer.score(texts(40))
    assert plain.tobytes() == cold.tobytes() == warm.tobytes()
    assert (counter.computed, warm_scorer.reused) == (0, 40)


def test_only_new_texts_are_computed_and_land_in_their_places(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached(model, tmp_path).score(texts(10))
    scorer = cached(model, tmp_path)
    counter = Counting(scorer, monkeypatch)
    mixed = [*texts(7, seed=1), *texts(10), *texts(7, seed=1)]  # 7 new ones, twice
    seen: list[tuple[int, int]] = []
    rewards = scorer.score(mixed, lambda done, total: seen.append((done, total)))
    np.testing.assert_allclose(rewards, LocalScorer.load(model).score(mixed), atol=1e-5)
    assert counter.computed == 7
    assert seen[0][0] == 10  # known at once
    assert sorted(seen) == seen


def test_what_cannot_be_rendered_is_missing_and_never_kept(model: Path, tmp_path: Path) -> None:
    long = (Message("user", "Say it."), Message("assistant", "river " * 300))
    for _ in range(2):
        scorer = cached(model, tmp_path)
        rewards = scorer.score([*texts(2), long])
        assert np.isnan(rewards).tolist() == [False, False, True]
        assert dict(scorer.scorer.missing) == {"over_length": 1}
    assert rows(scorer.path) == 2


def rows(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        return int(connection.execute("SELECT count(*) FROM rewards").fetchone()[0])
    finally:
        connection.close()


def test_rewards_that_are_no_numbers_are_never_kept(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = cached(model, tmp_path)

    def broken(ids: list, progress: object, keep: object) -> np.ndarray:
        rewards = np.array([np.nan, np.inf, 1.5])
        keep([0, 1, 2], rewards)
        return rewards

    monkeypatch.setattr(scorer.scorer, "score_ids", broken)
    assert np.isnan(scorer.score(texts(3))[0])
    assert rows(scorer.path) == 1


# --- which model ---


def test_a_copy_shares_its_rewards_and_any_change_of_the_model_does_not(model: Path, tmp_path: Path) -> None:
    own = model_identity(load_reward_model(model))
    copy = shutil.copytree(model, tmp_path / "elsewhere")
    assert model_identity(load_reward_model(copy)) == own
    assert model_identity(load_reward_model(model, dtype="bfloat16")) != own
    changed = load_reward_model(model)
    changed.score.weight.data[0, 0] += 1e-7
    assert model_identity(changed) != own
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1e-3}))
    assert model_identity(load_reward_model(copy)) != own


def test_another_checkpoint_in_the_same_folder_gets_its_own_rewards(
    model: Path, tiny_base: Path, tmp_path: Path
) -> None:
    """Same tokenizer, same texts, same cache: only the weights of the head differ."""
    other = make_checkpoint(tmp_path / "other", tiny_base, seed=1)
    first, second = cached(model, tmp_path / "cache"), cached(other, tmp_path / "cache")
    rewards = first.score(texts(5))
    assert second.score(texts(5)).tobytes() == LocalScorer.load(other, token_budget=256).score(texts(5)).tobytes()
    assert second.reused == 0
    assert not np.isclose(second.score(texts(5)), rewards).any()


def test_the_settings_of_an_adapter_decide(tiny_base: Path) -> None:
    import peft
    import transformers

    identities = set()
    for alpha in (8, 16):  # scales the same weights, and no tensor differs
        transformers.set_seed(0)
        base = transformers.AutoModelForSequenceClassification.from_pretrained(tiny_base, num_labels=1)
        config = peft.LoraConfig(task_type="SEQ_CLS", r=2, lora_alpha=alpha, target_modules=["q_proj", "v_proj"])
        transformers.set_seed(0)
        identities.add(model_identity(peft.get_peft_model(base, config)))
    assert len(identities) == 2


def test_the_evaluation_summary_in_the_checkpoint_changes_nothing(model: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(model, tmp_path / "model")
    before = cached(copy, tmp_path).path
    record = json.loads((copy / "rewardsmith.json").read_text())
    (copy / "rewardsmith.json").write_text(json.dumps({**record, "reward_std": 2.0}))
    assert cached(copy, tmp_path).path == before


def test_a_key_is_the_sha256_of_the_ids_as_little_endian_int32() -> None:
    # printf '\x01\x00\x00\x00\x02\x01\x00\x00' | sha256sum
    expected = "fb8bbe2ad3ab5292f19bc5d75bbab9b5fbddc5a78ce47ab41b2d3d59bca08596"
    assert text_key(np.array([1, 258], dtype=np.int32)).hex() == expected
    assert text_key(np.array([1, 258], dtype=np.int64)).hex() == expected


# --- the store ---


@given(st.dictionaries(st.binary(min_size=32, max_size=32), st.floats(allow_nan=False), max_size=20))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_float_survives_to_the_last_bit(tmp_path: Path, rewards: dict[bytes, float]) -> None:
    with RewardStore(tmp_path / "s.sqlite3") as opened:
        opened.put(rewards)
        opened.put(rewards)
        found = opened.get([*rewards, b"x" * 32])
    assert {key: struct.pack("<d", value) for key, value in found.items()} == {
        key: struct.pack("<d", value) for key, value in rewards.items()
    }


def test_two_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    """Four connections open the same new file at the same moment and write 50 batches each."""
    path = tmp_path / "deep" / "s.sqlite3"
    start = threading.Barrier(4)
    faults: list[BaseException] = []

    def write(who: int) -> None:
        try:
            start.wait()
            with RewardStore(path) as opened:
                for batch in range(50):
                    opened.put({struct.pack("<8i", who, batch, *range(6)): who + batch / 64})
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=write, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    keys = {struct.pack("<8i", who, batch, *range(6)): who + batch / 64 for who in range(4) for batch in range(50)}
    with RewardStore(path) as opened:
        assert opened.get(keys) == keys


def test_a_damaged_value_is_computed_again(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = cached(model, tmp_path)
    expected = scorer.score(texts(5))
    connection = sqlite3.connect(scorer.path)
    with connection:
        key, value = connection.execute("SELECT key, value FROM rewards LIMIT 1").fetchone()
        flipped = bytes([value[0] ^ 1, *value[1:]])
        connection.execute("UPDATE rewards SET value = ? WHERE key = ?", (flipped, key))
    connection.close()
    again = cached(model, tmp_path)
    counter = Counting(again, monkeypatch)
    np.testing.assert_allclose(again.score(texts(5)), expected, atol=1e-5)
    assert counter.computed == 1
    assert cached(model, tmp_path).score(texts(5)).shape == (5,)  # fixed
    assert math.isfinite(expected.sum())


def garbage(folder: Path, path: Path) -> None:
    path.write_bytes(b"this is no database" * 100)


def other_table(folder: Path, path: Path) -> None:
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE rewards (something TEXT)")
    connection.close()


def folder_is_a_file(folder: Path, path: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("in the way")


@pytest.mark.parametrize("damage", [garbage, other_table, folder_is_a_file])
def test_a_cache_that_cannot_be_used_costs_a_note_and_no_reward(model: Path, tmp_path: Path, damage: object) -> None:
    folder = tmp_path / "cache"
    first = cached(model, folder)
    expected = first.score(texts(30))
    damage(folder, first.path)
    notes: list[str] = []
    scorer = cached(model, folder, notes)
    assert scorer.score(texts(30)).tobytes() == expected.tobytes()
    assert scorer.score(texts(30)).tobytes() == expected.tobytes()
    assert len(notes) == 1, notes
    assert str(scorer.path) in notes[0]


@pytest.mark.parametrize("size", [100, 4096, 5000, 8192])
def test_a_cache_that_was_cut_off_gives_no_wrong_reward(model: Path, tmp_path: Path, size: int) -> None:
    """SQLite fixes some of these by itself and refuses others."""
    first = cached(model, tmp_path)
    expected = first.score(texts(200))
    assert first.path.stat().st_size > 8192
    first.path.write_bytes(first.path.read_bytes()[:size])
    np.testing.assert_allclose(cached(model, tmp_path).score(texts(200)), expected, atol=1e-5)


def test_a_locked_or_read_only_store_is_left_alone(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_WAIT_SECONDS", 0.0)
    first = cached(model, tmp_path)
    expected = first.score(texts(6))
    other = sqlite3.connect(first.path)
    other.execute("BEGIN EXCLUSIVE")
    notes: list[str] = []
    scorer = cached(model, tmp_path, notes)
    mixed = scorer.score([*texts(6), *texts(3, seed=2)])
    other.rollback()
    other.close()
    np.testing.assert_allclose(mixed[:6], expected, atol=1e-5)
    assert ["locked" in note for note in notes] == [True]
    with RewardStore(first.path) as opened:
        opened._connection.execute("PRAGMA query_only = 1")
        with pytest.raises(StoreFault, match="readonly"):
            opened.put({b"x" * 32: 1.0})


# --- the commands ---


def test_a_killed_evaluation_continues(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of its own, killed by SIGKILL after its third forward pass: what it computed is there."""
    tests = Path(__file__).parents[1]
    killer = (
        "import os, signal, sys\n"
        f"sys.path[:0] = {[str(tests), str(tests / 'builders'), str(tests / 'scoring')]!r}\n"
        "from pathlib import Path\n"
        "from test_cache import cached, texts\n"
        f"scorer = cached(Path({str(model)!r}), Path({str(tmp_path)!r}))\n"
        "passes = []\n"
        "def die(done, total):\n"
        "    passes.append(done)\n"
        "    if len(passes) == 4:\n"  # the first call tells what is known
        "        print(done, flush=True); os.kill(os.getpid(), signal.SIGKILL)\n"
        "scorer.score(texts(60), die)\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", killer], env=os.environ.copy(), capture_output=True, check=False, text=True
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    done = int(process.stdout)
    assert 0 < done < 60
    scorer = cached(model, tmp_path)
    counter = Counting(scorer, monkeypatch)
    np.testing.assert_allclose(scorer.score(texts(60)), LocalScorer.load(model).score(texts(60)), atol=1e-5)
    assert counter.computed == 60 - done


@pytest.fixture
def world(
    tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> World:
    return World(tmp_path, tiny_base, capsys, monkeypatch)


def test_evaluate_pays_for_new_text_only_and_writes_the_same_bytes(world: World, model: Path, tmp_path: Path) -> None:
    def evaluate(out: str, *more: str, data: str = "rows.jsonl") -> str:
        answer = world(
            "evaluate", "--model", str(model), "--benchmark", "rewardbench2", "--data", data, "--out", out, *more
        )
        assert answer.code == 0, answer.err
        return answer.err

    assert "from the cache" not in evaluate("cold")
    assert "14 rewards came from the cache" in evaluate("warm")
    assert "from the cache" not in evaluate("plain", "--no-cache")
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    (tmp_path / "more.jsonl").write_text(
        "\n".join([*lines, json.dumps({**json.loads(lines[0]), "id": "n", "rejected": ["new", "b", "c"]})])
    )
    assert "14 rewards came from the cache" in evaluate("more", data="more.jsonl")
    for name in ("results.json", "rows.jsonl"):
        contents = {(tmp_path / out / name).read_bytes() for out in ("cold", "warm", "plain")}
        assert len(contents) == 1, name
