"""The fingerprint: every field that decides a result changes it; the order of keys and the run's name do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rewardsmith.spec import Spec, digest, load_spec
from rewardsmith.spec.section import Section

BASE = {
    "name": "ours",
    "adapter": {"kind": "qlora", "rank": 8},
    "base_model": {"id": "org/base", "parameters": "1B"},
    "policy": {"id": "org/policy", "parameters": "8B"},
    "data": {"train": [{"id": "org/pairs", "columns": {"chosen": "good", "rejected": "bad"}}, {"path": "b.jsonl"}]},
    "evaluation": {
        "attack": {"pairs": 5, "tokens": 3},
        "gates": {"minimum": {"rewardbench2": {"Math": 0.5, "Focus": 0.6}}},
    },
    "export": {"required_by": "x", "formula": "(reward - mean) / std"},
    "judge": {"endpoint": "http://host/v1", "model": "judge", "prices": {"prompt": 1.0}},
}
"""A spec with something under every heading."""

DECIDES = {
    "seed": 18,
    "backend": "trl",
    "base_model.id": "org/other",
    "base_model.head": "new",
    "base_model.revision": "abc",
    "base_model.parameters": 2,
    "base_model.family": "llama",
    "base_model.chat_template": "t.jinja",
    "base_model.dtype": "bfloat16",
    "base_model.attention": "eager",
    "adapter.rank": 4,
    "adapter.alpha": 8.0,
    "adapter.dropout": 0.1,
    "adapter.target_modules": ["q_proj"],
    "adapter.compute_dtype": "float16",
    "policy.id": "org/another",
    "policy.revision": "abc",
    "policy.parameters": 9_000_000_000,
    "policy.family": "llama",
    "hardware.device": "cuda",
    "hardware.precision": "float32",
    "hardware.threads": 3,
    "data.train": [{"id": "org/pairs"}],
    "data.held_out.sources": [{"path": "h.jsonl"}],
    "data.held_out.fraction": 0.1,
    "data.strings": "text",
    "data.max_length": 512,
    "data.over_length": "error",
    "data.special_tokens": "text",
    "data.fail_on": ["warning"],
    "data.severity": {"empty_text": "error"},
    "data.bad_lines": "skip",
    "training.pairs_per_step": 8,
    "training.order": "as_given",
    "training.tokens_per_micro_batch": 128,
    "training.learning_rate": 2e-5,
    "training.schedule": "linear",
    "training.warmup": 0.1,
    "training.weight_decay": 0.01,
    "training.max_grad_norm": 2.0,
    "training.gradient_checkpointing": True,
    "training.layout": "padded",
    "training.reward_range": None,
    "training.monitor.on_stall": "stop",
    "training.monitor.on_collapse": "warn",
    "training.monitor.min_steps": 9,
    "training.monitor.after": 0.4,
    "training.monitor.alpha": 0.05,
    "training.seed": 1,
    "training.seeds": [1, 2],
    "openrlhf.version": "0.11.2",
    "openrlhf.zero_stage": 2,
    "openrlhf.pairs_per_micro_batch": 2,
    "openrlhf.offload_optimizer": True,
    "openrlhf.packing": True,
    "evaluation.benchmarks": [{"name": "rewardbench2", "data": "x.jsonl"}],
    "evaluation.probes.data": "x.jsonl",
    "evaluation.probes.pairs": 0,
    "evaluation.attack.data": "x.jsonl",
    "evaluation.attack.pairs": 12,
    "evaluation.attack.edits": 2,
    "evaluation.attack.beam": 3,
    "evaluation.attack.branch": 4,
    "evaluation.attack.queries": 100,
    "evaluation.attack.seconds": None,
    "evaluation.attack.phrases": "phrases.txt",
    "evaluation.attack.tokens": 4,
    "evaluation.attack.fluency": "org/base",
    "evaluation.label_noise.suspects": 0,
    "evaluation.label_noise.rescore": 0,
    "evaluation.gates.probes.kind": "gate",
    "evaluation.gates.maximum_flipped": 0.5,
    "evaluation.gates.probes.min_prompts": 5,
    "evaluation.gates.probes.surface.max_wrong": 0.5,
    "evaluation.gates.probes.surface.max_shift": None,
    "evaluation.gates.probes.destroyed.max_wrong": None,
    "evaluation.gates.probes.destroyed.max_shift": -0.1,
    "evaluation.gates.probes.each": {"bold": {"kind": "ignore"}},
    "evaluation.gates.above_baseline": False,
    "evaluation.gates.minimum": {},
    "evaluation.gates.spread.min_std": 0.1,
    "evaluation.gates.spread.min_distinct": None,
    "evaluation.gates.length.max_gap": 0.2,
    "evaluation.gates.length.kind": "gate",
    "evaluation.controls.share": 0.25,
    "evaluation.gates.ood.max_gap": 0.1,
    "evaluation.gates.ood.kind": "gate",
    "evaluation.bootstrap": 500,
    "export.normalize_rewards": True,
    "export.required_by": "y",
    "export.formula": None,
    "judge.endpoint": "http://other/v1",
    "judge.model": "other",
    "judge.prices.prompt": 2.0,
    "judge.prices.completion": 2.0,
    "judge.prices.currency": "EUR",
    "judge.output": "text",
    "judge.verdict": "logprobs",
    "judge.top_logprobs": 5,
    "judge.orders": "one",
    "judge.samples": 3,
    "judge.combine": "majority",
    "judge.temperature": 0.7,
    "judge.max_tokens": 64,
    "judge.limit_name": "max_completion_tokens",
    "judge.prompts.ranking": "ranking.md",
    "judge.prompts.pairwise": "pairwise.md",
    "judge.prompts.rating": "rating.md",
    "judge.probes.consistency": 0,
    "judge.probes.injection": 0,
    "judge.seed": 3,
}
DECIDES_NOTHING = {
    "name": "theirs",
    "output_dir": "elsewhere",
    "report_to": ["tensorboard"],
    "report.texts": False,
    "hardware.nodes": 2,
    "hardware.devices_per_node": 8,
    "hardware.memory_gib": 80.0,
    "hardware.workers": 4,
    "hardware.sharding": "fsdp",
    "hardware.ray_address": "10.0.0.1:6379",
    "hardware.shared_storage": "/mnt/shared",
    "hardware.restarts": 0,
    "training.checkpoint_every_steps": 7,
    "openrlhf.interpreter": "python",
    "openrlhf.launcher": "slurm",
    "openrlhf.hostfile": "hosts",
    "openrlhf.port": 29501,
    "openrlhf.slurm_options": ["--partition=gpu"],
    "evaluation.tokens_per_batch": 99,
    "routing.rules": [{"kind": "margin"}],
    "routing.combine": "all",
    "routing.target.kind": "cost",
    "routing.target.value": 0.5,
    "routing.target.confidence": 0.8,
    "routing.temperature": "by_subset",
    "routing.budget.share": 0.2,
    "routing.budget.calls_per_minute": 60,
    "routing.budget.cost": 5.0,
    "routing.concurrency": 2,
    "routing.seconds": 3.0,
    "routing.breaker.failures": 2,
    "routing.breaker.rest": 3.0,
    "judge.key_variable": "OTHER_KEY",
    "judge.concurrency": 99,
    "judge.call_deadline": 1.0,
    "judge.deadline": 1.0,
    "judge.retries": 0,
    "judge.backoff": 0.0,
    "judge.max_wait": 0.0,
    "judge.budget.calls": 1,
    "judge.budget.tokens": 1,
    "judge.budget.money": 1.0,
}
HAVE_ONE_VALUE = {"adapter.kind", "base_model.trust_remote_code", "training.epochs", "training.loss"}


def fields(section: Section, above: str = "") -> list[str]:
    """Dotted names of every field that holds a value rather than a section."""
    found = []
    for name in type(section).model_fields:
        value = getattr(section, name)
        found += fields(value, f"{above}{name}.") if isinstance(value, Section) else [f"{above}{name}"]
    return found


def changed(field: str, value: Any) -> Spec:
    content = Spec.model_validate(BASE).model_dump(mode="json")
    *sections, last = field.split(".")
    target = content
    for name in sections:
        target = target[name]
    assert target[last] != value, f"{field}: the other value must be another"
    target[last] = value
    return Spec.model_validate(content)


def test_every_field_is_sorted_by_whether_it_decides_a_result() -> None:
    listed = [*DECIDES, *DECIDES_NOTHING, *HAVE_ONE_VALUE]
    assert sorted(listed) == sorted(fields(Spec.model_validate(BASE)))


@pytest.mark.parametrize("field", DECIDES)
def test_a_field_that_decides_a_result_changes_the_fingerprint(field: str) -> None:
    assert changed(field, DECIDES[field]).fingerprint() != Spec.model_validate(BASE).fingerprint()


@pytest.mark.parametrize("field", DECIDES_NOTHING)
def test_a_name_or_a_speed_does_not(field: str) -> None:
    assert changed(field, DECIDES_NOTHING[field]).fingerprint() == Spec.model_validate(BASE).fingerprint()


def test_the_kind_of_adapter_decides() -> None:
    prints = {Spec(adapter={"kind": kind}).fingerprint() for kind in ("none", "lora", "qlora")}
    assert len(prints) == 3


BEFORE_ATTACKS = {**BASE, "evaluation": {"gates": BASE["evaluation"]["gates"]}}


@pytest.mark.parametrize(
    ("content", "printed"),
    [
        ({}, "56889a537a9e94823b3d7167cdf05728be0dbf9b05996f02dbc88c4f08c892ae"),
        (BEFORE_ATTACKS, "46ed749e72a153f771c9d7e4f0f31fcf49dca4b983d2d0f88c4f418d24b2bb4a"),
    ],
)
def test_a_run_of_an_older_version_still_belongs_to_its_spec(content: dict[str, Any], printed: str) -> None:
    """Printed by commit 741dd79. With another, finished runs train again: tree.py lists the fields that came later."""
    assert Spec.model_validate(content).fingerprint() == printed


def test_a_list_of_an_older_version_is_the_same_spec() -> None:
    """Printed by commit a0bffbd, whose lists knew no `rankings`."""
    form = {"kind": "list", "answers": "a", "score": "s", "better": "higher"}
    sources = {
        "train": [{"path": "a.jsonl", "form": form}],
        "held_out": {"sources": [{"path": "b.jsonl", "form": form}]},
    }
    printed = "0e32b0ba6dacab8dc00efc3b7b79dceb1e1749ecab484402361fd324b245f5bb"
    assert Spec(data=sources).fingerprint() == printed
    voted = {**form, "score": None, "rankings": {"column": "r"}, "better": "lower"}
    assert Spec(data={**sources, "train": [{"path": "a.jsonl", "form": voted}]}).fingerprint() != printed


def test_an_attack_that_says_nothing_new_still_belongs_to_its_spec() -> None:
    """Printed by commit c958727, before an attack had seconds, a beam and a learned ending in the spec."""
    old = Spec.model_validate({"evaluation": {"attack": {"pairs": 40}}})
    assert old.fingerprint() == "306499dc6ee6780ee466bf5c872ecceb0625e0d4b58a4c9744353dcb509f0192"
    before = {"data": "held_out", "pairs": 40, "edits": 3, "queries": 8000, "phrases": None}
    assert old.attack_as_before() == before
    new = Spec.model_validate({"evaluation": {"attack": {"pairs": 40, "tokens": 4, "seconds": 60}}})
    assert new.attack_as_before() == {**before, "tokens": 4, "seconds": 60.0}


def test_the_older_spelling_of_a_value_is_the_same_spec() -> None:
    """`null` was the spelling of 741dd79, and stands in the spec.yaml of its runs."""
    assert Spec(training={"tokens_per_micro_batch": None}) == Spec(training={"tokens_per_micro_batch": "auto"})


def test_sections_are_fingerprinted_alone() -> None:
    base, other = Spec.model_validate(BASE), changed("training.learning_rate", 2e-5)
    assert base.fingerprint("data", "seed") == other.fingerprint("data", "seed")
    assert base.fingerprint("training") != other.fingerprint("training")


def shuffled(value: Any, draw: st.DataObject) -> Any:
    """The same content with the keys of every mapping in another order; lists keep theirs."""
    if isinstance(value, dict):
        return {key: shuffled(value[key], draw) for key in draw.draw(st.permutations(sorted(value)))}
    return [shuffled(item, draw) for item in value] if isinstance(value, list) else value


@given(st.data())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_the_order_of_keys_and_the_style_of_yaml_change_nothing(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "spec.yaml"
    flow = data.draw(st.booleans())
    path.write_text(yaml.safe_dump(shuffled(BASE, data), sort_keys=False, default_flow_style=flow), encoding="utf-8")
    assert load_spec(path).fingerprint() == Spec.model_validate(BASE).fingerprint()


def test_a_default_written_out_changes_nothing() -> None:
    written = Spec.model_validate(Spec().model_dump(mode="json"))
    assert written.fingerprint() == Spec().fingerprint()
    assert Spec(training={"learning_rate": "1e-5"}).fingerprint() == Spec().fingerprint()


def test_the_order_of_sources_decides() -> None:
    sources = [{"path": "a.jsonl"}, {"path": "b.jsonl"}]
    one, other = Spec(data={"train": sources}), Spec(data={"train": sources[::-1]})
    assert one.fingerprint() != other.fingerprint()


def test_the_digest_is_sha256_of_canonical_json() -> None:
    # printf '{"a":[1,"é"],"b":null}' | sha256sum
    expected = "1e02bc81a26af2f027329541e97eef36f3290bedc6dfe043dbe66b057ecb13ba"
    assert digest({"b": None, "a": [1, "é"]}) == expected
