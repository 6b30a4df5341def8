"""What a base or an adapter cannot do is said before training: each planted fault is refused, sound bases fly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from architecture_zoo import ZOO, make_tiny
from cli_world import World

from conftest import make_base, make_tokenizer
from rewardsmith.errors import ModelError, SpecError
from rewardsmith.modeling import loading, reward_head
from rewardsmith.rendering import load_renderer
from rewardsmith.spec import Spec
from rewardsmith.training import flight
from rewardsmith.training.flight import LARGEST_COPY, REAL, fly


def fly_tiny(title: str, folder: Path, adapter: str = "none") -> Any:
    base = make_tiny(next(one for one in ZOO if one.title == title), folder)
    return fly(Spec.model_validate({"adapter": {"kind": adapter}}), str(base), load_renderer(str(base), max_length=200))


@pytest.mark.parametrize("adapter", ["none", "lora"])
@pytest.mark.parametrize("title", ["llama", "bert"])
def test_a_small_base_flies_itself_and_changes_no_random_state(tmp_path: Path, title: str, adapter: str) -> None:
    base = make_tiny(next(one for one in ZOO if one.title == title), tmp_path)
    renderer = load_renderer(str(base), max_length=200)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    flown = fly(Spec.model_validate({"adapter": {"kind": adapter}}), str(base), renderer)
    assert (flown.itself, flown.why) == (True, "")
    assert "agree, on the base" in flown.said
    assert torch.equal(torch.get_rng_state(), before)


def test_of_a_large_base_a_copy_flies_without_its_weights(tmp_path: Path) -> None:
    config = transformers.Qwen3Config(vocab_size=400, bos_token_id=None, eos_token_id=2, pad_token_id=0)
    config.save_pretrained(tmp_path)  # 32 layers of width 4096, and no weights at all
    make_tokenizer().save_pretrained(tmp_path)
    flown = fly(Spec(), str(tmp_path), load_renderer(str(tmp_path), max_length=200))
    assert not flown.itself
    assert 0 < flown.parameters < min(REAL, LARGEST_COPY)
    assert "on a copy of" in flown.said


def test_a_rank_beyond_every_matrix_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of widths 64 and 32: no 64 by 32 matrix has a rank above 32."""
    config = transformers.Qwen3Config(
        vocab_size=400,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        eos_token_id=2,
        pad_token_id=0,
    )
    config.save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    renderer = load_renderer(str(tmp_path), max_length=200)
    monkeypatch.setattr(flight, "_Trial", None)
    for rank, modules, most in ((33, "all-linear", 32), (1_000_000, "all-linear", 32), (17, ["k_proj"], 16)):
        spec = Spec.model_validate({"adapter": {"kind": "lora", "rank": rank, "target_modules": modules}})
        with pytest.raises(SpecError, match=rf"adapter\.rank: is {rank:,}, and no matrix .* above {most}") as raised:
            fly(spec, str(tmp_path), renderer)
        assert f"write {most} or less" in raised.value.fix


def test_the_largest_rank_flies(tmp_path: Path) -> None:
    base = make_base(tmp_path, layers=1, width=16)  # MLP of 16 by 32
    spec = Spec.model_validate({"adapter": {"kind": "lora", "rank": 16}})
    assert fly(spec, str(base), load_renderer(str(base), max_length=200)).itself


def _no_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    """peft's own two names are left: the pooler is drawn anew by every reload."""
    add = loading.add_adapter
    monkeypatch.setattr(loading, "head_modules", lambda _: [])
    monkeypatch.setattr(loading, "add_adapter", lambda model, adapter, seed, **_: add(model, adapter, seed))


def _dropout_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "switch_off_dropout", lambda _: None)


def _no_backward(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = reward_head._reward_forward

    def cut(*args: Any, **kwargs: Any) -> Any:
        found = inner(*args, **kwargs)
        found.logits = found.logits.detach()
        return found

    monkeypatch.setattr(reward_head, "_reward_forward", cut)


def _raises(monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(*_: Any, **__: Any) -> None:
        raise IndexError("index out of range in self.")

    monkeypatch.setattr(transformers.OPTModel, "forward", forward)


@pytest.mark.parametrize(
    ("title", "adapter", "fault", "says"),
    [
        ("deberta-v2", "lora", _no_heads, "flight check: the reload"),
        ("opt", "none", _dropout_on, "flight check: the forward as in training, which should be that of evaluation"),
        ("opt", "none", _no_backward, "flight check: the backward fails on two pairs"),
        ("opt", "none", _raises, r"fails on two pairs: IndexError: index out of range in self\. Nothing was trained"),
        ("bart", "none", lambda _: None, "bart is an encoder-decoder"),
    ],
)
def test_a_planted_fault_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    title: str,
    adapter: str,
    fault: Callable[[pytest.MonkeyPatch], None],
    says: str,
) -> None:
    fault(monkeypatch)
    with pytest.raises(ModelError, match=says):
        fly_tiny(title, tmp_path, adapter)


def test_run_and_its_dry_run_end_with_two_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = make_tiny(next(one for one in ZOO if one.title == "opt"), tmp_path / "base")
    world = World(tmp_path, base, capsys, monkeypatch)
    spec = world.write_spec()
    assert "flight check: forward, backward, save and reload of two pairs agree" in world("run", spec, "--dry-run").out
    _dropout_on(monkeypatch)
    dry, real = world("run", spec, "--dry-run"), world("run", spec)
    assert (dry.code, real.code) == (2, 2)
    assert "Nothing was trained" in dry.err
    assert dry.err.splitlines()[-2:] == real.err.splitlines()[-2:]
    assert not (tmp_path / "runs" / "tiny" / "check.json").exists()
