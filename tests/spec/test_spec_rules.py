"""Every rule of the spec: a planted violation with the whole message that it must give, and a clean spec."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rewardsmith.errors import SpecError
from rewardsmith.spec import LoraAdapter, QloraAdapter, Spec, compare_sizes, load_spec
from rewardsmith.spec.section import parse_count


def refusal(tmp_path: Path, text: str) -> SpecError:
    """The error that a spec of this text gives; its place is asserted through `where`."""
    path = tmp_path / "spec.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    return caught.value


def accepted(tmp_path: Path, text: str) -> Spec:
    path = tmp_path / "spec.yaml"
    path.write_text(text, encoding="utf-8")
    return load_spec(path)


BREACHES = {
    "a second epoch": (
        "training:\n  epochs: 2\n",
        2,
        (
            "training.epochs is 2, but 1 is the only value: preferences are memorised in a second pass; "
            "more data helps where more epochs do not"
        ),
        "write 1, or leave the line out",
    ),
    "another loss": (
        "training: {loss: hinge}\n",
        1,
        (
            "training.loss is 'hinge', but bradley_terry is the only value: "
            "the loss is -log sigmoid(r_chosen - r_rejected), its mean over pairs"
        ),
        "write bradley_terry, or leave the line out",
    ),
    "remote code": (
        "base_model:\n  id: a/b\n  trust_remote_code: true\n",
        3,
        (
            "base_model.trust_remote_code is true, but false is the only value: "
            "code from a model repository would run on this machine; weights are safetensors only"
        ),
        "write false, or leave the line out",
    ),
    "normalisation without a reason": (
        "export:\n  normalize_rewards: true\n  required_by: a framework\n",
        2,
        "export.normalize_rewards: true hides the scale that margins, gates and KL penalties are read on",
        "write false, or name the framework under required_by and write formula: (reward - mean) / std",
    ),
    "a base larger than its policy": (
        "base_model:\n  parameters: 8B\npolicy:\n  parameters: 0.6B\n",
        2,
        (
            "base_model.parameters: the base has 8,000,000,000 parameters and the policy 600,000,000. "
            "A reward model larger than its policy costs more than the policy to run at every rollout"
        ),
        "choose a base of at most the policy's size, or correct the number",
    ),
    "a size that is no number": (
        "policy:\n  parameters: eight\n",
        2,
        "policy.parameters is 'eight', but that is not a number of parameters",
        "write it like 8B, 0.6B, 125M or 8000000000",
    ),
    "a threshold at the random baseline": (
        "evaluation:\n  gates:\n    minimum:\n      rewardbench2:\n        Math: 0.25\n",
        5,
        (
            "evaluation.gates.minimum.rewardbench2.Math: 0.25 is not above the random baseline 0.25, "
            "so a model that guesses would pass"
        ),
        "write more than 0.25, or leave the line out",
    ),
    "a threshold at chance for held-out pairs": (
        "evaluation: {gates: {minimum: {held_out: {average: 0.5}}}}\n",
        1,
        (
            "evaluation.gates.minimum.held_out.average: 0.5 is not above the random baseline 0.5, "
            "so a model that guesses would pass"
        ),
        "write more than 0.5, or leave the line out",
    ),
    "a threshold in per cent": (
        "evaluation: {gates: {minimum: {rewardbench2: {Ties: 60}}}}\n",
        1,
        "evaluation.gates.minimum.rewardbench2.Ties: 60.0 is not a score",
        "write a number above 0 and up to 1",
    ),
    "a gate on a benchmark that is not asked": (
        "evaluation: {gates: {minimum: {rewardbench: {Math: 0.5}}}}\n",
        1,
        (
            "evaluation.gates.minimum.rewardbench: no benchmark of this spec is called that, "
            "so the gate would have no data and fail"
        ),
        "did you mean 'rewardbench2'?",
    ),
    "a misspelt subset": (
        "evaluation: {gates: {minimum: {rewardbench2: {Factualty: 0.5}}}}\n",
        1,
        "evaluation.gates.minimum.rewardbench2.Factualty: rewardbench2 has no subset 'Factualty'",
        "did you mean 'Factuality'?",
    ),
    "a threshold on a relabelled benchmark": (
        "evaluation:\n  benchmarks: [{name: rewardbench2, label: ours}]\n  gates:\n    minimum: {ours: {Math: 0.1}}\n",
        4,
        (
            "evaluation.gates.minimum.ours.Math: 0.1 is not above the random baseline 0.25, "
            "so a model that guesses would pass"
        ),
        "write more than 0.25, or leave the line out",
    ),
    "two results of one name": (
        "evaluation:\n  benchmarks:\n    - name: pairs\n    - name: pairs\n",
        4,
        "evaluation.benchmarks.1: another benchmark has the name 'pairs', and results are kept by name",
        "give this benchmark a label of its own",
    ),
    "a benchmark called held_out": (
        "evaluation: {benchmarks: [{name: pairs, label: held_out}]}\n",
        1,
        "evaluation.benchmarks.0: the spec's own held-out pairs have the name 'held_out', and results are kept by name",
        "give this benchmark a label of its own",
    ),
    "a language model without an ending to bound": (
        "evaluation: {attack: {pairs: 40, fluency: org/lm}}\n",
        1,
        "evaluation.attack.fluency: it bounds a learned ending, and none is asked for",
        "write evaluation.attack.tokens: 4, or leave the line out",
    ),
    "a password in the address of a language model": (
        "evaluation:\n  attack:\n    pairs: 40\n    tokens: 4\n    fluency: http://me:secret@h/v1\n",
        5,
        "evaluation.attack.fluency: an address with a user or a password would be written into records",
        "write the bare address, and give the key in $REWARDSMITH_FLUENCY_TOKEN",
    ),
    "a source in two places": (
        "data:\n  train:\n    - path: a.jsonl\n      id: b/c\n",
        3,
        "data.train.0: a source has exactly one of path, id and embedded; this one has path and id",
        "keep one",
    ),
    "a source in no place": (
        "data:\n  train:\n    - label: mine\n",
        3,
        "data.train.0: a source has exactly one of path, id and embedded; this one has none of them",
        "keep one",
    ),
    "a hub field on a file": (
        "data:\n  train:\n    - path: a.jsonl\n      split: train_prefs\n",
        4,
        "data.train.0.split: it belongs to a hub data set (id); this source has path",
        "delete the line",
    ),
    "no source": (
        "data: {train: []}\n",
        1,
        "data.train is []: there is nothing in it",
        "give at least one",
    ),
    "a reward range upside down": (
        "training: {reward_range: [5, -5]}\n",
        1,
        "training.reward_range: 5.0 is not below -5.0",
        "write the lower bound first",
    ),
    "QLoRA on a CPU": (
        "adapter: {kind: qlora}\nhardware:\n  device: cpu\n",
        3,
        "hardware.device: 'cpu' cannot hold a base in 4 bits, which adapter.kind: qlora asks for",
        "write cuda or auto, or choose adapter.kind: lora",
    ),
    "a silent length policy": (
        "data: {over_length: truncate}\n",
        1,
        "data.over_length is 'truncate'",
        "did you mean 'truncate_prompt'?",
    ),
    "a run name that leaves its folder": (
        "name: ../elsewhere\n",
        1,
        "name is '../elsewhere'",
        "use letters, digits, '.', '_' and '-' only, a letter or a digit first: it names a folder",
    ),
    "a label that leaves its folder": (
        "evaluation: {benchmarks: [{label: ..}]}\n",
        1,
        "evaluation.benchmarks.0.label is '..'",
        "use letters, digits, '.', '_' and '-' only, a letter or a digit first: it names a folder",
    ),
    "yes as a number": (
        "training: {pairs_per_step: yes}\n",
        1,
        "training.pairs_per_step: true is not a number",
        "write a number",
    ),
    "an infinite learning rate": (
        "training: {learning_rate: .inf}\n",
        1,
        "training.learning_rate is inf, not a finite number",
        "write a finite number",
    ),
}


@pytest.mark.parametrize("breach", BREACHES)
def test_a_breach_is_refused_with_its_reason_and_its_fix(breach: str, tmp_path: Path) -> None:
    text, line, problem, fix = BREACHES[breach]
    error = refusal(tmp_path, text)
    assert (error.problem, error.fix) == (problem, fix)
    assert error.where == f"{tmp_path / 'spec.yaml'}:{line}"
    assert error.exit_code == 2


CLEAN = """\
name: helpful-8b
backend: trl
base_model: {id: org/base, parameters: 0.6B, trust_remote_code: false}
adapter: {kind: qlora, rank: 8, target_modules: [q_proj, v_proj]}
policy: {parameters: 600_000_000}
hardware: {device: cuda}
data:
  train:
    - {id: org/pairs, split: train_prefs, revision: abc}
    - {path: more.jsonl.gz, columns: {chosen: good, rejected: bad}, limit: 100}
    - {embedded: train}
  held_out: {sources: [{embedded: held_out}]}
  over_length: truncate_prompt
training: {epochs: 1, loss: bradley_terry, learning_rate: 1e-5, reward_range: [-5, 5]}
evaluation:
  benchmarks:
    - {name: rewardbench2, data: org/bench}
    - {name: rewardbench2, data: ours.jsonl, label: ours}
  gates:
    minimum:
      rewardbench2: {Math: 0.26, Ties: 0.1, average: 0.6}
      ours: {Focus: 1, Another subset: 0.2}
      held_out: {average: 0.51}
export: {normalize_rewards: true, required_by: a framework, formula: (reward - mean) / std}
"""


def test_a_clean_spec_with_every_rule_at_its_edge_passes(tmp_path: Path) -> None:
    spec = accepted(tmp_path, CLEAN)
    assert spec.base_model.parameters == spec.policy.parameters == 600_000_000
    assert spec.training.learning_rate == 0.00001
    assert isinstance(spec.adapter, QloraAdapter)
    assert spec.adapter.target_modules == ("q_proj", "v_proj")
    assert [source.title for source in spec.data.train] == ["org/pairs", "more.jsonl.gz", "embedded:train"]
    assert [benchmark.key for benchmark in spec.evaluation.benchmarks] == ["rewardbench2", "ours"]
    assert spec.evaluation.gates.minimum["ours"] == {"Focus": 1.0, "Another subset": 0.2}


def test_an_empty_section_keeps_its_defaults(tmp_path: Path) -> None:
    assert accepted(tmp_path, "training:\nadapter:\ndata:\n  held_out:\n") == Spec()


def test_fields_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Spec().training.learning_rate = 1.0  # type: ignore[misc]


@given(st.integers(1, 10**13), st.integers(1, 10**13))
def test_exactly_a_larger_base_is_refused(base: int, policy: int) -> None:
    reason = compare_sizes(base, policy)
    assert (reason is not None) == (base > policy)
    assert reason is None or (f"{base:,}" in reason and f"{policy:,}" in reason)


def test_unknown_sizes_are_not_compared() -> None:
    assert compare_sizes(None, 1) is None
    assert compare_sizes(8, None) is None


@pytest.mark.parametrize(
    ("written", "count"),
    [
        ("8B", 8_000_000_000),
        ("0.6b", 600_000_000),
        ("125M", 125_000_000),
        (" 1_500 K ", 1_500_000),
        ("1T", 10**12),
        ("22", 22),
        (7, 7),
    ],
)
def test_parameters_are_read_as_people_write_them(written: object, count: int) -> None:
    assert parse_count(written) == count


def test_lora_scales_by_the_rank_it_has() -> None:
    assert LoraAdapter(rank=4).rank == 4
    with pytest.raises(ValidationError):
        LoraAdapter(rank=0)


def test_a_resolved_spec_is_read_back_as_it_was(tmp_path: Path) -> None:
    from rewardsmith.spec import dump_spec

    for spec in (Spec(), accepted(tmp_path, CLEAN)):
        text = dump_spec(spec)
        assert accepted(tmp_path, text) == spec
        assert list(yaml.safe_load(text)) == list(Spec.model_fields)


@pytest.mark.parametrize(
    ("text", "field", "said"),
    [
        ("data: {max_length: 99999999999999999999}", "data.max_length", "is too large to count"),
        ("seed: 5000000000", "seed", "write a number of at most 4294967295"),
        ("hardware: {threads: 99999999}", "hardware.threads", "write a number of at most 4096"),
        ('output_dir: "a\\0b"', "output_dir", "holds a NUL character"),
    ],
)
def test_what_the_libraries_below_cannot_hold_is_refused(tmp_path: Path, text: str, field: str, said: str) -> None:
    told = str(refusal(tmp_path, text))
    assert f"spec.yaml:1: {field}" in told
    assert said in told
