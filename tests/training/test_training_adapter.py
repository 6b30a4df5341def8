"""LoRA: the trained head is saved with the adapter, and a reload gives the rewards that training ended with."""

from __future__ import annotations

import importlib
import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers
from test_training_resume import make_job

from conftest import make_pairs
from rewardsmith.errors import ModelError
from rewardsmith.modeling import loading
from rewardsmith.modeling.checkpoint import open_checkpoint
from rewardsmith.modeling.loading import load_base
from rewardsmith.rendering import load_renderer
from rewardsmith.scoring import LocalScorer
from rewardsmith.spec import Spec
from rewardsmith.training import trl_backend
from rewardsmith.training.trl_backend import train

LORA = {"adapter": {"kind": "lora", "rank": 4, "alpha": 8.0}}


@pytest.fixture(scope="module")
def trained(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """The checkpoint, and the rewards that the model in memory gave when training ended."""
    folder = tmp_path_factory.mktemp("lora")
    in_memory: list[np.ndarray] = []
    save = trl_backend.save_checkpoint

    def save_and_score(target: Path, model: torch.nn.Module, renderer: object, record: object) -> None:
        in_memory.append(score_directly(model, renderer))
        save(target, model, renderer, record)

    trl_backend.save_checkpoint = save_and_score
    try:
        train(make_job(tiny_base, folder, **LORA))
    finally:
        trl_backend.save_checkpoint = save
    return folder / "model", in_memory[0]


def conversations() -> list[tuple]:
    return [pair.prompt + pair.chosen for pair in make_pairs(6, seed=5)]


def score_directly(model: torch.nn.Module, renderer: object) -> np.ndarray:
    """One text at a time through the whole wrapped model: no batching, no padding."""
    model.eval()
    with torch.no_grad():
        ids = [torch.tensor([rendered.ids.tolist()]) for rendered in renderer.render_many(conversations())]
        return np.array([float(model(input_ids=text, attention_mask=torch.ones_like(text)).logits) for text in ids])


def test_reload_gives_the_same_rewards(trained: tuple[Path, np.ndarray]) -> None:
    folder, in_memory = trained
    np.testing.assert_allclose(LocalScorer.load(folder).score(conversations()), in_memory, atol=1e-6)


def test_the_saved_adapter_holds_the_trained_head(trained: tuple[Path, np.ndarray], tiny_base: Path) -> None:
    folder, in_memory = trained
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["task_type"] == "SEQ_CLS"
    # peft alone, without us, finds head and adapter in the folder
    base = transformers.AutoModelForSequenceClassification.from_pretrained(tiny_base, num_labels=1)
    base.config.pad_token_id = 0
    model = peft.PeftModel.from_pretrained(base, folder)
    np.testing.assert_allclose(score_directly(model, open_checkpoint(folder).renderer), in_memory, atol=1e-6)


def test_a_checkpoint_whose_head_is_lost_is_refused(trained: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    """The planted fault: the adapter without `score` that a wrong task type leaves behind."""
    from safetensors.torch import load_file, save_file

    folder, _ = trained
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tensors = load_file(folder / "adapter_model.safetensors")
    without_head = {name: tensor for name, tensor in tensors.items() if "score" not in name}
    assert len(without_head) < len(tensors)
    save_file(without_head, tmp_path / "adapter_model.safetensors")
    with pytest.raises(ModelError, match="head"):
        open_checkpoint(tmp_path)


def test_a_killed_lora_run_continues_with_its_head(
    tiny_base: Path, tmp_path: Path, trained: tuple[Path, np.ndarray]
) -> None:
    class Killed(Exception):  # noqa: N818
        pass

    def die(metrics: object, _: int) -> None:
        if metrics.step == 5:
            raise Killed

    with pytest.raises(Killed):
        train(make_job(tiny_base, tmp_path, die, **LORA))
    record = train(make_job(tiny_base, tmp_path, **LORA))
    assert record.resumed_from_step == 4
    _, unbroken = trained
    np.testing.assert_allclose(LocalScorer.load(tmp_path / "model").score(conversations()), unbroken, atol=1e-6)


def test_qlora_without_a_gpu_is_refused(tiny_base: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine can")
    spec = Spec.model_validate({"adapter": {"kind": "qlora"}})
    with pytest.raises(ModelError, match="QLoRA needs a CUDA device") as caught:
        load_base(spec, tiny_base, load_renderer(str(tiny_base), max_length=64).tokenizer, seed=0)
    assert caught.value.where == "adapter.kind"


def test_qlora_without_bitsandbytes_names_the_extra(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of that name is not the package; the GPU is there."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.syspath_prepend(str(tiny_base.parent))
    if importlib.util.find_spec("bitsandbytes") is None:
        (tiny_base.parent / "bitsandbytes").mkdir()
        importlib.invalidate_caches()
    else:
        monkeypatch.setattr(loading, "is_installed", lambda package: package != "bitsandbytes")
    spec = Spec.model_validate({"adapter": {"kind": "qlora"}})
    with pytest.raises(ModelError, match="bitsandbytes, which is not installed") as caught:
        load_base(spec, tiny_base, load_renderer(str(tiny_base), max_length=64).tokenizer, seed=0)
    assert (caught.value.where, caught.value.fix) == ("adapter.kind", "pip install 'rewardsmith[qlora]'")


@pytest.mark.parametrize(
    ("device", "sharded", "kind", "moved", "autocast"),
    [
        ("cuda", False, "none", True, True),
        ("cuda", False, "lora", True, True),
        ("cuda", False, "qlora", False, True),  # it is there already
        ("cuda", True, "none", False, False),  # FSDP moves the shares
        ("cpu", False, "none", False, False),
    ],
)
def test_on_a_gpu_the_layout_is_proved_there_in_the_type_that_trains(
    device: str, sharded: bool, kind: str, moved: bool, autocast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(trl_backend, "choose_layout", lambda *given, **how: seen.append((given, how)) or "layout")
    model = SimpleNamespace(to=lambda where: seen.append(where))
    spec = Spec.model_validate({"adapter": {"kind": kind}})
    job = SimpleNamespace(spec=spec, sharded=sharded, renderer=SimpleNamespace(record=SimpleNamespace(pad_token_id=7)))
    plan, arguments = SimpleNamespace(device=device, bf16=True), SimpleNamespace(device="its own GPU")
    assert trl_backend._choose_layout(job, plan, model, arguments) == "layout"
    assert seen == [*(["its own GPU"] if moved else []), (("auto", model, 7), {"autocast": autocast})]
