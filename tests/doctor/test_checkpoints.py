"""A checkpoint folder as its files show it: each known fault planted, and a sound folder that has none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from rewardsmith.doctor import checkpoint_findings, is_checkpoint
from rewardsmith.doctor.checkpoints import ends_with_eos

TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{{ eos_token }}"
CHATML = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"


def write(folder: Path, name: str, content: Any) -> None:
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))


def tensors(*names: str, rows: int = 8) -> dict[str, Any]:
    return {name: np.zeros((rows if "embed" in name else 1, 4), dtype=np.float32) for name in names}


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """A reward model with nothing wrong."""
    write(
        tmp_path,
        "config.json",
        {
            "model_type": "qwen3",
            "architectures": ["Qwen3ForSequenceClassification"],
            "problem_type": "regression",
            "id2label": {"0": "LABEL_0"},
            "pad_token_id": 6,
            "eos_token_id": 7,
            "vocab_size": 8,
        },
    )
    write(tmp_path, "tokenizer_config.json", {"eos_token": "</s>", "pad_token": {"content": "<pad>"}})
    entries = [{"id": 6, "content": "<pad>"}, {"id": 7, "content": "</s>"}]
    write(tmp_path, "tokenizer.json", {"model": {"vocab": {"a": 0, "b": 5}}, "added_tokens": entries})
    write(tmp_path, "chat_template.jinja", TEMPLATE)
    save_file(tensors("model.embed_tokens.weight", "score.weight"), tmp_path / "model.safetensors")
    return tmp_path


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A LoRA adapter with its head."""
    write(tmp_path, "adapter_config.json", {"task_type": "SEQ_CLS", "base_model_name_or_path": "x"})
    names = ("base_model.model.model.layers.0.q_proj.lora_A.weight", "base_model.model.score.weight")
    save_file(tensors(*names), tmp_path / "adapter_model.safetensors")
    return tmp_path


def change(folder: Path, name: str, **fields: Any) -> None:
    write(folder, name, {**json.loads((folder / name).read_text()), **fields})


def found(folder: Path) -> list[tuple[str, str]]:
    return [(finding.rule, finding.severity) for finding in checkpoint_findings(folder)]


def test_a_sound_checkpoint_and_a_sound_adapter_have_no_finding(sound: Path) -> None:
    assert is_checkpoint(sound)
    assert found(sound) == []


def test_a_sound_adapter_has_no_finding(adapter: Path) -> None:
    assert is_checkpoint(adapter)
    assert found(adapter) == []


@pytest.mark.parametrize(
    ("fields", "rule", "severity"),
    [
        ({"pad_token_id": 7}, "checkpoint-pad", "error"),
        ({"pad_token_id": None}, "checkpoint-pad", "error"),
        ({"problem_type": None}, "checkpoint-problem-type", "warning"),
        ({"id2label": {"0": "a", "1": "b"}}, "checkpoint-num-labels", "error"),
        ({"id2label": None}, "checkpoint-num-labels", "error"),
        ({"auto_map": {"AutoModel": "x.Y"}}, "checkpoint-remote-code", "note"),
    ],
)
def test_settings(sound: Path, fields: dict[str, Any], rule: str, severity: str) -> None:
    change(sound, "config.json", **fields)
    assert found(sound) == [(rule, severity)]


def test_openrlhf_names_no_labels_and_is_only_warned(sound: Path) -> None:
    change(sound, "config.json", architectures=["RewardModel"], id2label=None, value_head_prefix="score")
    assert found(sound) == [("checkpoint-num-labels", "warning")]


def test_a_tokenizer_that_pads_with_eos(sound: Path) -> None:
    change(sound, "tokenizer_config.json", pad_token="</s>")
    assert found(sound) == [("checkpoint-pad-is-eos", "error")]


def test_of_several_eos_ids_the_tokenizers_counts(sound: Path) -> None:
    change(sound, "config.json", eos_token_id=[7, 6])
    assert found(sound) == []


def test_a_base_model_may_pad_with_eos(sound: Path) -> None:
    change(sound, "config.json", architectures=["Qwen3ForCausalLM"], pad_token_id=7, problem_type=None)
    change(sound, "tokenizer_config.json", pad_token="</s>")
    assert found(sound) == []


def test_weights_without_a_head(sound: Path) -> None:
    save_file(tensors("model.embed_tokens.weight", "model.scores_norm.weight"), sound / "model.safetensors")
    assert found(sound) == [("checkpoint-head-missing", "error")]


def test_a_weight_of_nan(sound: Path) -> None:
    odd = tensors("model.embed_tokens.weight", "score.weight")
    odd["score.weight"][0, 1] = float("nan")
    save_file(odd, sound / "model.safetensors")
    [finding] = checkpoint_findings(sound)
    assert (finding.rule, finding.severity, finding.found) == ("checkpoint-not-finite", "error", "score.weight")
    assert finding.file == str(sound / "model.safetensors")
    assert finding.problem == "1 weights hold NaN or infinity (score.weight): every reward is none"


def test_a_head_that_only_the_index_names(sound: Path) -> None:
    (sound / "model.safetensors").unlink()
    index = {"weight_map": {"model.embed_tokens.weight": "a.safetensors", "score.weight": "b.safetensors"}}
    write(sound, "model.safetensors.index.json", index)
    assert found(sound) == []


@pytest.mark.parametrize("saved", [(), ("base_model.model.score.lora_A.weight",)])
def test_an_adapter_without_its_head(adapter: Path, saved: tuple[str, ...]) -> None:
    save_file(tensors("base_model.model.q_proj.lora_A.weight", *saved), adapter / "adapter_model.safetensors")
    assert found(adapter) == [("checkpoint-adapter-head", "error")]


def test_a_head_under_modules_to_save_counts(adapter: Path) -> None:
    save_file(tensors("base_model.model.score.modules_to_save.weight"), adapter / "adapter_model.safetensors")
    assert found(adapter) == []


def test_a_tokenizer_with_more_ids_than_the_embedding_has_rows(sound: Path) -> None:
    save_file(tensors("model.embed_tokens.weight", "score.weight", rows=7), sound / "model.safetensors")
    [finding] = checkpoint_findings(sound)
    assert (finding.rule, finding.problem) == (
        "checkpoint-vocabulary",
        "the tokenizer has ids up to 7, the embedding 7 rows",
    )


def test_a_template_that_ends_with_a_line_break(sound: Path) -> None:
    change(sound, "tokenizer_config.json", eos_token="<|im_end|>")
    write(sound, "chat_template.jinja", CHATML)
    change(sound, "config.json", eos_token_id=5)
    [finding] = checkpoint_findings(sound)
    assert (finding.rule, finding.severity) == ("checkpoint-template-eos", "warning")
    assert finding.found.endswith("A mile.<|im_end|>\\n'")


def test_broken_files_are_said_and_stop_nothing(sound: Path) -> None:
    write(sound, "tokenizer_config.json", "{")
    (sound / "model.safetensors").write_bytes(b"version https://git-lfs")
    assert [rule for rule, _ in found(sound)] == ["checkpoint-unreadable", "checkpoint-unreadable"]


def test_a_folder_without_a_model_is_none(tmp_path: Path) -> None:
    write(tmp_path, "config.json", {"lr": 1})
    assert not is_checkpoint(tmp_path)


def test_what_a_template_ends_with() -> None:
    assert ends_with_eos(TEMPLATE, "</s>", bos="<s>") is None
    assert ends_with_eos(CHATML, "<|im_end|>", bos="") == "stant\nA mile.<|im_end|>\n"
    assert ends_with_eos("{% generation %}{{ eos_token }}{% endgeneration %}", "</s>", bos="") is None
    assert ends_with_eos("{{ raise_exception('needs tools') }}", "</s>", bos="") is None


def test_a_template_that_would_compute_for_hours_is_given_up() -> None:
    """Jinja's sandbox bounds loops, not one operation of Python."""
    assert ends_with_eos("{{ 10 ** (10 ** 9) }}", "</s>", bos="") is None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.json", {"added_tokens": [1.5], "model": {"vocab": {"a": "b"}}}),
        ("tokenizer.json", {"added_tokens": {"a": 1}, "model": []}),
        ("config.json", {"model_type": "qwen3", "text_config": 3, "architectures": 7, "id2label": 1}),
    ],
)
def test_settings_of_another_kind_are_a_finding(tmp_path: Path, name: str, content: dict[str, Any]) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "qwen3", "architectures": ["X"]}')
    (tmp_path / name).write_text(json.dumps(content))
    found = checkpoint_findings(tmp_path)
    assert any("of another kind than it should be" in str(finding) for finding in found)
