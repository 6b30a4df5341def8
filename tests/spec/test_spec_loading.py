"""Reading a spec: broken YAML with its line, names that were meant, `--set`, faults of pydantic in plain words."""

from __future__ import annotations

from pathlib import Path

import pytest

from rewardsmith.errors import SpecError
from rewardsmith.spec import Spec, load_spec


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "spec.yaml"
    file.write_text("name: ours\n", encoding="utf-8")
    return file


def refused(path: Path, *overrides: str, text: str | bytes | None = None) -> SpecError:
    if text is not None:
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(SpecError) as caught:
        load_spec(path, overrides)
    return caught.value


def test_an_empty_file_is_every_default(path: Path) -> None:
    path.write_text("# nothing yet\n", encoding="utf-8")
    assert load_spec(path) == Spec()


BROKEN = {
    "an open bracket": ("name: a\ntraining: [1\npolicy: 2\n", 3, "expected ',' or ']'", "fix that line"),
    "a key twice": ("name: a\nseed: 1\nname: b\n", 3, "the key 'name' stands twice", "keep one of the two lines"),
    "a key twice in a section": ("training:\n  seed: 1\n  seed: 2\n", 3, "the key 'seed' stands twice", "keep one"),
    "a key twice, once in quotes": ('seed: 1\n"seed": 2\n', 2, "the key 'seed' stands twice", "keep one"),
    "a tab": ("training:\n\tseed: 1\n", 2, "found character '\\t'", "indent with spaces"),
    "a second document": ("---\nseed: 1\n---\nseed: 2\n", 3, "found another document", "keep one document"),
    "an unknown alias": ("name: *other\n", 1, "undefined alias", "fix that line"),
    "a Python object": ("name: !!python/object:os.system x\n", 1, "could not determine a constructor", "fix"),
    "a list as a key": ("? [a]\n: 1\n", 1, "unhashable key", "fix that line"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_broken_yaml_names_its_line(fault: str, path: Path) -> None:
    text, line, problem, fix = BROKEN[fault]
    error = refused(path, text=text)
    assert error.where == f"{path}:{line}"
    assert error.problem.startswith("not valid YAML: ")
    assert problem in error.problem
    assert error.fix.startswith(fix)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- 1\n", "holds a list, not sections"),
        ("just words\n", "holds a str, not sections"),
        (b"\xff\xfe", "is not UTF-8 text"),
        ("name: \x00\n", "not valid YAML: unacceptable character #x0000: special characters are not allowed"),
    ],
)
def test_a_file_that_is_no_spec(text: str | bytes, problem: str, path: Path) -> None:
    error = refused(path, text=text)
    assert (error.where, error.problem) == (str(path), problem)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.yaml").problem == "no such file"
    assert refused(tmp_path).problem == "cannot be read: it is a folder"


def test_merged_keys_are_no_duplicates(path: Path) -> None:
    text = "data:\n  train:\n    - &one {path: a.jsonl, limit: 5}\n    - {<<: *one, path: b.jsonl}\n"
    path.write_text(text, encoding="utf-8")
    assert [(source.path, source.limit) for source in load_spec(path).data.train] == [("a.jsonl", 5), ("b.jsonl", 5)]


UNKNOWN = {
    "misspelt": ("training:\n  lerning_rate: 1\n", 2, "training.lerning_rate", "did you mean 'learning_rate'?"),
    "misspelt section": ("trainning: {seed: 1}\n", 1, "trainning", "did you mean 'training'?"),
    "misspelt deep": (
        "evaluation: {gates: {spread: {min_sd: 1}}}\n",
        1,
        "evaluation.gates.spread.min_sd",
        "did you mean 'min_std'?",
    ),
    "misspelt in a list": (
        "data:\n  train:\n    - path: a\n      lable: x\n",
        4,
        "data.train.0.lable",
        "did you mean 'label'?",
    ),
    "of the adapter": ("adapter: {kind: lora, rnk: 3}\n", 1, "adapter.rnk", "did you mean 'rank'?"),
    "in the wrong section": ("learning_rate: 1\n", 1, "learning_rate", "did you mean 'training.learning_rate'?"),
    "like nothing": (
        "export: {zzz: 1}\n",
        1,
        "export.zzz",
        "the names there are: formula, normalize_rewards, required_by",
    ),
    "not text": (
        "policy: {1: 2}\n",
        1,
        "policy.1",
        "the names there are: family, id, parameters, revision",
    ),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_an_unknown_key_gets_the_name_that_was_meant(case: str, path: Path) -> None:
    text, line, key, fix = UNKNOWN[case]
    error = refused(path, text=text)
    assert (error.where, error.problem, error.fix) == (f"{path}:{line}", f"unknown key {key!r}", fix)


IN_WORDS = [
    ("adapter: {kind: lor}", "adapter.kind is 'lor'", "did you mean 'lora'?"),
    ("adapter: {kind: prefix}", "adapter.kind is 'prefix'", "the names there are: none, lora, qlora"),
    ("adapter: {rank: 3}", "adapter.kind is missing", "write kind: none, lora or qlora"),
    (
        "routing: {rules: [{below: 1}]}",
        "routing.rules.0.kind is missing",
        "write kind: margin, probability, interval or subset",
    ),
    ("routing: {rules: [{kind: margn}]}", "routing.rules.0.kind is 'margn'", "did you mean 'margin'?"),
    (
        "routing: {rules: [{kind: margin, below: low}]}",
        "routing.rules.0.below is 'low', not a number",
        "write a number",
    ),
    ("training: {schedule: cosin}", "training.schedule is 'cosin'", "did you mean 'cosine'?"),
    ("training: {schedule: 7}", "training.schedule is 7", "write linear, cosine or constant"),
    (
        "data: {train: [{path: a, columns: {chosn: x}}]}",
        "data.train.0.columns.chosn is 'chosn'",
        "did you mean 'chosen'?",
    ),
    (
        "base_model: org/name",
        "base_model is 'org/name', not a section",
        "write its fields on lines of their own below it: id,",
    ),
    ("data: {train: pairs.jsonl}", "data.train is 'pairs.jsonl', not a list", "write [one, two], or each item"),
    ("data: {fail_on: error}", "data.fail_on is 'error', not a list", "write [one, two], or each item"),
    ("evaluation: {gates: {minimum: 0.5}}", "evaluation.gates.minimum is 0.5, not a mapping", "write name: value"),
    ("base_model: {revision: 12}", "base_model.revision is 12, not text", 'quote it: "12"'),
    ("base_model: {id: null}", "base_model.id is null, not text", "write text"),
    ("base_model: {id: ''}", "base_model.id is '', which names nothing", "write a name, or leave the line out"),
    ("training: {pairs_per_step: 1.5}", "training.pairs_per_step is 1.5, not a whole number", "write a whole number"),
    (
        "training: {pairs_per_step: many}",
        "training.pairs_per_step is 'many', not a whole number",
        "write a whole number",
    ),
    (
        "training: {learning_rate: fast}",
        "training.learning_rate is 'fast', not a number",
        "write a number, for example",
    ),
    ("training: {learning_rate: 0}", "training.learning_rate is 0", "write a number greater than 0"),
    ("training: {warmup: 1.5}", "training.warmup is 1.5", "write a number of at most 1"),
    ("training: {monitor: {alpha: 0.5}}", "training.monitor.alpha is 0.5", "write a number less than 0.5"),
    ("hardware: {threads: 0}", "hardware.threads is 0", "write a number of at least 1"),
    (
        "evaluation: {gates: {above_baseline: 2}}",
        "evaluation.gates.above_baseline is 2, not true or false",
        "write true or",
    ),
    ("training: {reward_range: [1]}", "training.reward_range.1 is [1]: too few values", "write exactly two"),
    ("training: {reward_range: [1, 2, 3]}", "training.reward_range is [1, 2, 3]: too many values", "write exactly two"),
    (
        "adapter: {kind: lora, target_modules: all-liner}",
        "adapter.target_modules is 'all-liner'",
        "did you mean 'all-linear'?",
    ),
]


@pytest.mark.parametrize(("text", "problem", "fix"), IN_WORDS)
def test_a_value_of_the_wrong_kind_in_plain_words(text: str, problem: str, fix: str, path: Path) -> None:
    error = refused(path, text=text)
    assert error.problem == problem
    assert error.fix.startswith(fix)
    assert error.where == f"{path}:1"


def test_several_faults_come_in_one_message_in_the_order_of_the_file(path: Path) -> None:
    text = "training:\n  epochs: 2\n  sed: 1\nname: a b\npolicy: {parameters: x}\n"
    message = str(refused(path, "export.normalize=1", text=text))
    assert message.startswith(f"{path}: 5 fields cannot be used")
    places = [line.removeprefix("  - ").split(":")[0] for line in message.splitlines() if line.startswith("  - ")]
    assert places == ["line 2", "line 3", "line 4", "line 5", "--set"]
    assert message.count("\n    try: ") == 5
    assert len(message.splitlines()) < 24


def test_a_long_value_does_not_fill_the_screen(path: Path) -> None:
    assert len(refused(path, text=f"training: [{'1, ' * 1000}]").problem) < 120


SETTINGS = [
    ("training.learning_rate=2e-5", lambda spec: spec.training.learning_rate == 2e-5),
    ("seed=3", lambda spec: spec.seed == 3),
    ("name=a-b", lambda spec: spec.name == "a-b"),
    ("base_model.id=org/name", lambda spec: spec.base_model.id == "org/name"),
    ("training.reward_range=[-3, 3]", lambda spec: spec.training.reward_range == (-3.0, 3.0)),
    ("training.reward_range=null", lambda spec: spec.training.reward_range is None),
    ("training.checkpoint_every_steps=", lambda spec: spec.training.checkpoint_every_steps is None),
    ("adapter={kind: lora, rank: 2}", lambda spec: spec.adapter.rank == 2),
    ("adapter.kind=lora", lambda spec: spec.adapter.kind == "lora"),
    (
        "evaluation.gates.minimum.rewardbench2.Precise IF=0.5",
        lambda spec: spec.evaluation.gates.minimum == {"rewardbench2": {"Precise IF": 0.5}},
    ),
    ("data.train.0.path=pairs.jsonl", lambda spec: spec.data.train[0].path == "pairs.jsonl"),
    ("data.train=[{path: a}, {id: b/c}]", lambda spec: [source.title for source in spec.data.train] == ["a", "b/c"]),
]


@pytest.mark.parametrize(("override", "holds"), SETTINGS, ids=[override for override, _ in SETTINGS])
def test_set_gives_one_field_its_value(override: str, holds: object, path: Path) -> None:
    assert holds(load_spec(path, [override]))


def test_set_changes_an_item_of_a_list_and_leaves_the_rest(path: Path) -> None:
    path.write_text("data:\n  train:\n    - {path: a}\n    - {path: b, limit: 5}\n", encoding="utf-8")
    spec = load_spec(path, ["data.train.1.limit=7", "data.train.2.path=c", "data.train.0.label=first"])
    assert [(source.title, source.limit) for source in spec.data.train] == [("first", None), ("b", 7), ("c", None)]


def test_later_settings_win_and_the_file_gives_the_rest(path: Path) -> None:
    spec = load_spec(path, ["seed=1", "seed=2"])
    assert (spec.name, spec.seed) == ("ours", 2)


BAD_SETTINGS = [
    ("seed", "'seed' is not an assignment", "write it as section.field=value"),
    ("=3", "'=3' is not an assignment", "write it as section.field=value"),
    ("name=[a", "the value of 'name=[a' is not YAML", "quote it"),
    ("name.x=1", "cannot set 'name.x=1': name is 'ours', not a section", "set name itself"),
    ("training.sed=1", "unknown key 'training.sed'", "did you mean 'seed'?"),
    ("training.epochs=2", "training.epochs is 2, but 1 is the only value: ", "write 1"),
    ("data.train.0.embedded=trian", "data.train.0.embedded is 'trian'", "did you mean 'train'?"),
]


@pytest.mark.parametrize(("override", "problem", "fix"), BAD_SETTINGS)
def test_a_bad_setting_is_told_as_one(override: str, problem: str, fix: str, path: Path) -> None:
    error = refused(path, override)
    assert error.where == "--set"
    assert error.problem.startswith(problem)
    assert error.fix.startswith(fix)


def test_a_place_that_a_list_does_not_have(path: Path) -> None:
    error = refused(path, "data.train.4.path=x", text="data: {train: [{path: a}]}\n")
    assert error.problem == "cannot set 'data.train.4.path=x': data.train is a list of 1, and '4' is no place in it"
    assert error.fix == "write a number from 0 to 1"


def test_a_field_of_the_file_keeps_its_line_beside_a_setting(path: Path) -> None:
    error = refused(path, "training.seed=1", text="seed: 4\ntraining:\n  epochs: 3\n")
    assert error.where == f"{path}:3"


def test_a_place_in_brackets_is_shown_with_dots(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text("data: {train: [{path: a.jsonl}]}\n", encoding="utf-8")
    with pytest.raises(SpecError, match=r"'data\.train\[0\]\.path' is no field") as caught:
        load_spec(path, ["data.train[0].path=b.jsonl"])
    assert caught.value.fix == "write --set 'data.train.0.path=b.jsonl'"
    assert load_spec(path, ["data.train.0.path=b.jsonl"]).data.train[0].path == "b.jsonl"
