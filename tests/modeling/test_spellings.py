"""config.json and tokenizer_config.json in the words of transformers 4 and 5: values by hand, and read back here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import transformers
from checkpoint_maker import make_checkpoint

from conftest import make_base
from rewardsmith.doctor import checkpoint_findings, checkpoint_fixes
from rewardsmith.modeling.averaging import average_checkpoints
from rewardsmith.modeling.checkpoint import open_checkpoint
from rewardsmith.modeling.exports import Target, export_checkpoint
from rewardsmith.modeling.spellings import VERIFIED, both_spellings, gaps, tokenizer_for_both, verified_for

FULL, SLIDING = "full_attention", "sliding_attention"
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
SIZES = {
    "vocab_size": 64,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "bos_token_id": None,
    "eos_token_id": 2,
    "pad_token_id": 1,
}
SHORT, LONG = [1.0] * 8, [2.0] * 8

# What each model is told, and what transformers 4 has to find beside it, by its own configuration classes.
KINDS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "default": ("llama", {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}, {"rope_theta": 5e5}),
    "llama3": (
        "llama",
        {"rope_parameters": {**LLAMA3, "rope_theta": 5e5}},
        {"rope_theta": 5e5, "rope_scaling": LLAMA3},
    ),
    "linear": (
        "llama",
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}},
        {"rope_theta": 1e4, "rope_scaling": {"rope_type": "linear", "factor": 2.0}},
    ),
    "dynamic": (
        "llama",
        {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
        {"rope_theta": 1e4, "rope_scaling": {"rope_type": "dynamic", "factor": 2.0}},
    ),
    "yarn": (
        "qwen2",
        {
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 1e6,
                "factor": 4.0,
                "original_max_position_embeddings": 32,
            }
        },
        {
            "rope_theta": 1e6,
            "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32},
        },
    ),
    # Version 5 fills in the original length; 4.51 would take 128 / 128 for the factor.
    "yarn-unstated": (
        "qwen2",
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0}},
        {"rope_theta": 1e6, "rope_scaling": {"rope_type": "yarn", "factor": 4.0}},
    ),
    "longrope": (
        "phi3",
        {
            "original_max_position_embeddings": 64,
            "rope_parameters": {
                "rope_type": "longrope",
                "rope_theta": 3e4,
                "short_factor": SHORT,
                "long_factor": LONG,
                "original_max_position_embeddings": 64,
            },
        },
        {
            "rope_theta": 3e4,
            "partial_rotary_factor": 1.0,
            "rope_scaling": {"type": "longrope", "short_factor": SHORT, "long_factor": LONG},
        },
    ),
    "two thetas": (
        "gemma3_text",
        {
            "head_dim": 16,
            "layer_types": [SLIDING, FULL, SLIDING, FULL],
            "rope_parameters": {
                FULL: {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                SLIDING: {"rope_type": "default", "rope_theta": 2e4},
            },
        },
        {
            "rope_theta": 1e6,
            "rope_local_base_freq": 2e4,
            "rope_scaling": {"rope_type": "linear", "factor": 8.0},
            "sliding_window_pattern": 2,
        },
    ),
    "encoder": (
        "modernbert",
        {
            "cls_token_id": 3,
            "sep_token_id": 2,
            "layer_types": [FULL, SLIDING, SLIDING, FULL],
            "rope_parameters": {
                FULL: {"rope_type": "default", "rope_theta": 8e4},
                SLIDING: {"rope_type": "default", "rope_theta": 5e3},
            },
        },
        {"global_rope_theta": 8e4, "local_rope_theta": 5e3, "global_attn_every_n_layers": 3},
    ),
    "own names": (
        "gpt_neox",
        {"rope_parameters": {"rope_type": "default", "rope_theta": 3e4, "partial_rotary_factor": 0.5}},
        {"rotary_emb_base": 3e4, "rotary_pct": 0.5},
    ),
    "part of a head": (
        "phi",
        {"rope_parameters": {"rope_type": "default", "rope_theta": 3e4, "partial_rotary_factor": 0.25}},
        {"rope_theta": 3e4, "partial_rotary_factor": 0.25},
    ),
}
each_kind = pytest.mark.parametrize("kind", KINDS)


def saved(folder: Path, kind: str) -> dict[str, Any]:
    model, settings, _ = KINDS[kind]
    transformers.AutoConfig.for_model(model, **SIZES, **json.loads(json.dumps(settings))).save_pretrained(folder)
    found: dict[str, Any] = json.loads((folder / "config.json").read_text("utf-8"))
    return found


@each_kind
def test_what_version_4_has_to_read_stands_beside_it(kind: str, tmp_path: Path) -> None:
    before = saved(tmp_path, kind)
    after = both_spellings(before)
    wanted = KINDS[kind][2]
    assert {name: after[name] for name in wanted} == wanted
    # Transformers 5.10 writes some of them itself, Phi's share with the default in place of what it was told.
    assert after.keys() - before.keys() - {"torch_dtype"} <= wanted.keys()
    assert {name: after[name] for name in before.keys() - wanted.keys()} == {
        name: before[name] for name in before.keys() - wanted.keys()
    }
    assert both_spellings(after) == after
    assert list(gaps(after)) == []


@each_kind
def test_this_version_reads_from_both_what_it_read_from_one(kind: str, tmp_path: Path, caplog: Any) -> None:
    before = transformers.AutoConfig.from_pretrained(saved(tmp_path, kind) and tmp_path)
    said = len(caplog.records)
    (tmp_path / "config.json").write_text(json.dumps(both_spellings(saved(tmp_path, kind))))
    after = transformers.AutoConfig.from_pretrained(tmp_path)
    plain = {key: value for key, value in after.rope_parameters.items() if key != "type"}
    assert plain == before.rope_parameters
    assert not [record for record in caplog.records[said:] if "Unrecognized" in record.getMessage()]


@pytest.mark.parametrize("kind", ["default", "llama3", "two thetas", "encoder", "own names", "part of a head"])
def test_the_old_spelling_alone_is_read_right(kind: str, tmp_path: Path) -> None:
    """What publishers wrote before version 5."""
    written = saved(tmp_path, kind)
    wanted = written["rope_parameters"]
    old = {name: value for name, value in both_spellings(written).items() if name not in ("rope_parameters", "dtype")}
    (tmp_path / "config.json").write_text(json.dumps(old))
    assert transformers.AutoConfig.from_pretrained(tmp_path).rope_parameters == wanted
    assert list(gaps(old)) == []


def test_what_version_4_would_read_instead_is_said() -> None:
    llama = {"model_type": "llama", "rope_parameters": {**LLAMA3, "rope_theta": 5e5}}
    assert [str(gap) for gap in gaps(llama)] == [
        "rope_theta 10000 (its default) for 500000",
        "rope_scaling none (its default) for llama3",
    ]
    gemma = {"model_type": "gemma3_text", "layer_types": [SLIDING] * 5 + [FULL], **both_of(1e6, 1e4)}
    assert list(gaps(gemma)) == []
    assert [str(gap) for gap in gaps({**gemma, **both_of(1e6, 3e4)})] == [
        "rope_local_base_freq 10000 (its default) for 30000"
    ]
    neox = {"model_type": "gpt_neox", "rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 1.0}}
    assert [str(gap) for gap in gaps(neox)] == ["rotary_pct 0.25 (its default) for 1"]


def both_of(full: float, sliding: float) -> dict[str, Any]:
    return {"rope_parameters": {FULL: {"rope_type": "default", "rope_theta": full}, SLIDING: {"rope_theta": sliding}}}


def test_a_part_of_a_configuration_is_spelled_as_well() -> None:
    text = {"model_type": "llama", "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}
    written = both_spellings({"model_type": "llava", "text_config": text, "rope_parameters": None})
    assert written["text_config"]["rope_theta"] == 5e5
    assert [gap.name for gap in gaps({"model_type": "llava", "text_config": text})] == ["rope_theta"]


def test_a_cap_on_attention_names_the_way_that_has_it() -> None:
    assert both_spellings({"attn_logit_softcapping": 50.0})["_attn_implementation"] == "eager"
    assert "_attn_implementation" not in both_spellings({"attn_logit_softcapping": None})


def test_a_tokenizer_that_both_versions_read() -> None:
    new = {"tokenizer_class": "TokenizersBackend", "extra_special_tokens": ["<|user|>"], "eos_token": "</s>"}
    old = {"tokenizer_class": "PreTrainedTokenizerFast", "additional_special_tokens": ["<|user|>"], "eos_token": "</s>"}
    assert tokenizer_for_both(new) == old
    assert tokenizer_for_both(old) == old
    named = {"tokenizer_class": "Qwen2Tokenizer", "extra_special_tokens": {"image_token": "<i>"}}
    assert tokenizer_for_both(named) == named


def theta_base(folder: Path) -> Path:
    make_base(folder)
    path = folder / "config.json"
    written = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**written, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}))
    return folder


def assert_both(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text("utf-8"))
    assert (config["rope_theta"], config["rope_parameters"]["rope_theta"]) == (1e6, 1e6)
    assert (config["torch_dtype"], config["dtype"]) == ("float32", "float32")
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    assert tokenizer["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert "extra_special_tokens" not in tokenizer


def test_every_way_to_write_a_checkpoint_writes_both(tmp_path: Path) -> None:
    base = theta_base(tmp_path / "base")
    first, second = (make_checkpoint(tmp_path / f"m{seed}", base, seed=seed) for seed in (0, 1))
    assert_both(first)
    targets: tuple[Target, ...] = ("hf", "vllm", "openrlhf")
    for target in targets:
        record = export_checkpoint(first, tmp_path / target, target)
        assert record.transformers == VERIFIED
        assert_both(tmp_path / target)
    average_checkpoints([first, second], tmp_path / "mean", (0.5, 0.5))
    assert_both(tmp_path / "mean")


def as_before(folder: Path) -> None:
    """The files as 0.1.0 wrote them: one spelling."""
    path = folder / "config.json"
    config = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({key: config[key] for key in config if key not in ("rope_theta", "torch_dtype")}))
    path = folder / "tokenizer_config.json"
    path.write_text(path.read_text("utf-8").replace("PreTrainedTokenizerFast", "TokenizersBackend"))


def test_a_checkpoint_of_0_1_0_averages_with_one_of_today(tmp_path: Path) -> None:
    base = theta_base(tmp_path / "base")
    first, second = (make_checkpoint(tmp_path / f"m{seed}", base, seed=seed) for seed in (0, 1))
    as_before(first)
    average_checkpoints([first, second], tmp_path / "mean", (0.5, 0.5))
    assert_both(tmp_path / "mean")


def test_the_doctor_finds_one_spelling_says_what_is_read_and_fixes_it(tmp_path: Path) -> None:
    model = make_checkpoint(tmp_path / "model", theta_base(tmp_path / "base"))
    assert checkpoint_findings(model) == []
    as_before(model)
    found = {finding.rule: finding for finding in checkpoint_findings(model)}
    assert set(found) == {"checkpoint-rope-spelling", "checkpoint-tokenizer-spelling"}
    assert "it reads rope_theta 10000 (its default) for 1000000" in found["checkpoint-rope-spelling"].problem
    assert (found["checkpoint-rope-spelling"].severity, found["checkpoint-rope-spelling"].fixable) == ("error", True)
    for fixed in checkpoint_fixes(model):
        fixed.write()
    assert_both(model)
    assert checkpoint_findings(model) == []
    open_checkpoint(model)  # golden rewards as before


def test_a_base_model_with_one_spelling_is_a_warning(tmp_path: Path) -> None:
    [*_, finding] = [one for one in checkpoint_findings(theta_base(tmp_path)) if "rope" in one.rule]
    assert finding.severity == "warning"


def test_spellings_that_differ_are_named_and_left_to_the_author(tmp_path: Path) -> None:
    model = make_checkpoint(tmp_path / "model", theta_base(tmp_path / "base"))
    path = model / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), "rope_theta": 5e5}))
    [finding] = checkpoint_findings(model)
    assert (finding.rule, finding.fixable) == ("checkpoint-rope-differs", False)
    assert "rope_theta 500000 (as it stands there) for 1000000" in finding.problem
    assert list(checkpoint_fixes(model)) == []


def test_only_models_that_were_tried_are_called_verified() -> None:
    assert verified_for({"model_type": "llama"}) == VERIFIED
    assert verified_for({"model_type": "falcon_mamba"}) == ()
    assert verified_for({"model_type": "llama", "rope_parameters": {"rope_theta": 5e5}}) == ()
