"""`rewardsmith init`: answers become a spec that loads and passes `check`; what cannot be used is said at once."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import pytest
from cli_world import World

from rewardsmith.spec import Spec, load_spec
from rewardsmith.spec.tree import starter_spec

ROW = {"prompt": "Which river?"}
RIVERS = ("Loire", "Rhône", "Seine", "Garonne", "Meuse", "Marne", "Lot", "Tarn", "Isère", "Oise")


@pytest.fixture
def world(
    tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> World:
    return World(tmp_path, tiny_base, capsys, monkeypatch)


@pytest.fixture
def ratings(world: World) -> str:
    """Ten rows of a CSV whose columns have names of their own."""
    with (world.folder / "ratings.csv").open("w", newline="") as handle:
        rows = csv.writer(handle)
        rows.writerow(["question", "Better answer", "Worse answer", "who"])
        for number, river in enumerate(RIVERS):
            rows.writerow([f"Which river is number {number}?", f"It is the {river}.", "I would rather not say.", "ann"])
    return "ratings.csv"


def spec_in(world: World, folder: str = "new") -> Spec:
    return load_spec(world.folder / folder / "spec.yaml")


def test_without_answers_all_is_embedded_and_trained_as_the_quickstart_is(world: World) -> None:
    """With the default learning rate the embedded base stays at chance; all else is the default."""
    done = world("init", "new")
    assert done.code == 0
    assert "the embedded base is small: training.learning_rate is 0.0015" in done.out
    quickstart = load_spec(Path(__file__).parents[2] / "examples" / "quickstart.yaml").training
    stated = {
        name: getattr(quickstart, name) for name in ("pairs_per_step", "learning_rate", "schedule", "warmup", "order")
    }
    assert spec_in(world) == Spec(training=stated)
    assert (world.folder / "new" / "spec.yaml").read_text().startswith(starter_spec(training=stated))


def test_of_another_base_the_defaults_are_left(world: World) -> None:
    assert world("init", "new", "--base", str(world.base)).code == 0
    assert spec_in(world).training == Spec().training


def test_the_embedded_base_takes_pairs_of_ones_own_in_any_order(world: World, ratings: str) -> None:
    assert world("init", "new", "--data", ratings, "--columns", "annotator=who").code == 0
    training = spec_in(world).training
    assert (training.order, training.learning_rate) == ("shuffled", 1.5e-3)


def test_a_column_that_nothing_reads_is_named(world: World, ratings: str) -> None:
    done = world("init", "new", "--data", ratings)
    assert "column 'who' is not read; --columns OURS='who' would make it" in done.out


def test_flags_become_fields(world: World, ratings: str) -> None:
    done = world(
        "init", "new", "--base", str(world.base), "--data", ratings, "--policy", "8B", "--device", "cpu",
        "--framework", "openrlhf", "--columns", "annotator=who",
    )  # fmt: skip
    assert done.code == 0
    spec = spec_in(world)
    assert (spec.name, spec.base_model.id, spec.hardware.device) == ("ratings", str(world.base), "cpu")
    assert spec.policy.parameters == 8_000_000_000
    (source,) = spec.data.train
    assert source.path == ratings
    assert source.columns == {
        "annotator": "who", "prompt": "question", "chosen": "Better answer", "rejected": "Worse answer",
    }  # fmt: skip
    assert "'Better answer' is taken for chosen" in done.out
    assert "is not read" not in done.out
    assert "--reward.remote_url" in (world.folder / "new" / "spec.yaml").read_text()
    checked = world("check", "new/spec.yaml")
    assert checked.code == 0
    assert "Read 10 rows = 10 kept" in checked.out


def test_a_hub_id_is_an_id(world: World) -> None:
    assert world("init", "new", "--data", "org/pairs-v1.1", "--policy", "org/policy-7B").code == 0
    spec = spec_in(world)
    assert (spec.name, spec.data.train[0].id, spec.data.train[0].path) == ("pairs-v1.1", "org/pairs-v1.1", None)
    assert (spec.policy.id, spec.policy.parameters) == ("org/policy-7B", None)


def test_a_published_data_set_is_recognised_and_its_label_explained(world: World) -> None:
    rows = [
        {"prompt": f"Which {n}?", "response_0": f"It is {n}.", "response_1": "No.", "better_response_id": n % 2,
         "safer_response_id": 0}
        for n in range(4)
    ]  # fmt: skip
    (world.folder / "safe.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = world("init", "new", "--data", "safe.jsonl")
    assert done.code == 0
    assert "recognised: PKU-SafeRLHF" in done.out
    assert "known from the data set's card and Ji et al. 2024" in done.out
    assert "another label: --label safer_response_id" in done.out
    shown = done.out[done.out.index("row 1 as it will be read") :].splitlines()
    assert [line.split() for line in shown[1:4]] == [
        ["prompt", "user:", "Which", "0?"],
        ["chosen", "assistant:", "It", "is", "0."],
        ["rejected", "assistant:", "No."],
    ]  # fmt: skip
    form = spec_in(world).data.train[0].form
    assert form.verdict.column == "better_response_id"
    assert world("init", "safer", "--data", "safe.jsonl", "--label", "safer_response_id").code == 0
    assert spec_in(world, "safer").data.train[0].form.verdict.column == "safer_response_id"


def test_a_guessed_column_can_be_unmapped(world: World) -> None:
    row = {"question": "of 2020?", "better": [{"role": "user", "content": "Which river?"}]}
    row["worse"] = [*row["better"], {"role": "assistant", "content": "No."}]
    row["better"] = [*row["better"], {"role": "assistant", "content": "The Loire."}]
    (world.folder / "odd.jsonl").write_text(json.dumps(row) + "\n")
    assert "prompt_differs" in world("init", "new", "--data", "odd.jsonl").err
    done = world("init", "new", "--data", "odd.jsonl", "--columns", "prompt=")
    assert (done.code, "no column is taken for prompt" in done.out) == (0, True)
    assert spec_in(world).data.train[0].columns["prompt"] is None


def test_a_known_hub_id_brings_its_form(world: World) -> None:
    done = world("init", "new", "--data", "stanfordnlp/SHP")
    assert (done.code, "labels is 1 where comment A is preferred" in done.out) == (0, True)
    source = spec_in(world).data.train[0]
    assert (source.id, source.form.kind, source.columns["prompt"]) == ("stanfordnlp/SHP", "comparison", "history")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def answer(monkeypatch: pytest.MonkeyPatch, *answers: str) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("".join(f"{answer}\n" for answer in answers)))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)


def test_a_terminal_is_asked_until_the_answer_can_be_used(
    world: World, ratings: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch, "", "nowhere.csv", ratings, "8Q", "7B", "gpu", "cpu", "verl")
    done = world("init", "new")
    assert done.code == 0
    spec = spec_in(world)
    assert (spec.data.train[0].path, spec.policy.parameters, spec.hardware.device) == (ratings, 7_000_000_000, "cpu")
    assert "there is no such file" in done.err
    assert "'8Q'" in done.err
    assert "'gpu' is not one of them" in done.err
    assert "rewardsmith serve" in (world.folder / "new" / "spec.yaml").read_text()


def test_a_terminal_is_asked_for_a_column_that_nothing_names(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    (world.folder / "odd.csv").write_text("question,x,y\nA?,It is one.,It is two.\n")
    answer(monkeypatch, "z", "x", "y")
    flags = ("--base", "embedded", "--policy", "8B", "--device", "cpu", "--framework", "trl")
    done = world("init", "new", "--data", "odd.csv", *flags)
    assert done.code == 0
    assert spec_in(world).data.train[0].columns == {"prompt": "question", "chosen": "x", "rejected": "y"}
    assert "'z' is not one of them" in done.err


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--data", "nowhere.csv"), ["nowhere.csv", "no such file"]),
        (("--data", "odd.csv"), ["odd.csv", "chosen and the rejected response", "'x', 'y'", "--columns chosen=NAME"]),
        (("--data", "who.csv"), ["who.csv", "'winner' says which of two answers won (a)", "kind: comparison"]),
        (
            ("--data", "safe.jsonl", "--columns", "chosen=response_0", "--columns", "rejected=response_1"),
            ["safe.jsonl", "'better_response_id' seems to say which answer is better (0, 1)", "kind: comparison"],
        ),
        (("--data", "safe.jsonl", "--label", "other"), ["'other' is no other label", "safer_response_id"]),
        (("--data", "images.jsonl"), ["images.jsonl", "none of its 2 rows is a pair", "column 'images' holds images"]),
        (("--policy", "8Q"), ["policy '8Q'", "8B"]),
        (("--columns", "better"), ["--columns", "chosen=better"]),
        (("--columns", "choosen=better"), ["'choosen'", "annotator"]),
    ],
)
def test_what_cannot_be_used(flags: tuple[str, ...], says: list[str], world: World) -> None:
    (world.folder / "odd.csv").write_text("question,x,y\nA?,It is one.,It is two.\n")
    (world.folder / "who.csv").write_text("question,x,y,winner\nA?,It is one.,It is two.,x\n".replace(",x\n", ",a\n"))
    safe = [
        {
            **ROW,
            "response_0": "The Loire.",
            "response_1": "I would not say.",
            "better_response_id": n,
            "safer_response_id": 0,
        }
        for n in (0, 1)
    ]
    for name, rows in (
        ("safe", safe),
        ("images", [{**ROW, "chosen": "The Loire.", "rejected": "No.", "images": ["x.png"]}] * 2),
    ):
        (world.folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = world("init", "new", *flags)
    assert done.code == 2
    assert "try: " in done.err
    assert "Traceback" not in done.err
    for words in says:
        assert words in done.err
    assert not Path("new").exists()
