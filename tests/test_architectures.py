"""A handful of architectures, as `make test-architectures` takes all of them through the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from architecture_zoo import GREEN, ZOO, Architecture, Result, as_expected, try_out
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

REPRESENTATIVES = [
    ("bart", "none"),
    ("bert", "lora"),
    ("ibert", "lora"),
    ("opt", "lora"),
    ("phi3 longrope", "none"),
    ("xlnet", "lora"),
]


@pytest.mark.parametrize(("title", "adapter"), REPRESENTATIVES)
def test_what_the_table_says_comes_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, title: str, adapter: str
) -> None:
    monkeypatch.setenv("REWARDSMITH_CACHE", str(tmp_path / "cache"))
    architecture = next(one for one in ZOO if one.title == title)
    result = try_out(architecture, adapter, tmp_path)
    assert as_expected(architecture, adapter, result), (result.outcome, result.notes)


def test_the_table_names_what_transformers_knows_once() -> None:
    titles = [one.title for one in ZOO]
    assert len(titles) == len(set(titles))
    assert len(titles) >= 80
    assert {one.model_type for one in ZOO} <= set(MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES)


def test_another_outcome_than_the_tables_is_seen() -> None:
    green, refused = Architecture("llama"), Architecture("bart", expected="is an encoder-decoder")
    said = "refused (2): error: base_model.id: bart is an encoder-decoder: its reward is read behind a decoder"
    assert as_expected(green, "none", Result(GREEN))
    assert as_expected(refused, "none", Result(said))
    for architecture, outcome in [(green, said), (green, "verify (1)"), (refused, GREEN)]:
        assert not as_expected(architecture, "none", Result(outcome))
    for wrong in ("refused (2): error: disk full", said.replace("(2)", "(70)"), said.replace("refused", "AFTER")):
        assert not as_expected(refused, "none", Result(wrong))
