"""A mixture is a spec: parts of sources by prompt, drawn by the seed, none repeated, every row accounted for."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from checkpoint_maker import make_checkpoint
from cli_world import World
from rendering_tokenizers import chatml

from rewardsmith.data.prepare import prepare
from rewardsmith.errors import SpecError
from rewardsmith.evaluation import pair_rows
from rewardsmith.evaluation.benchmarks.pairs import PAIRS
from rewardsmith.evaluation.results import score_rows
from rewardsmith.records.evaluation import DatasetInfo
from rewardsmith.rendering import Renderer
from rewardsmith.report.sections.data import counts_hold, counts_in_words
from rewardsmith.spec import Spec
from rewardsmith.spec.loading import parse_spec
from rewardsmith.types import Message, PreferencePair


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, tiny_base):
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint") / "model", tiny_base)


@pytest.fixture
def world(tmp_path, tiny_base, capsys, monkeypatch):
    return World(tmp_path, tiny_base, capsys, monkeypatch)


def write(tmp_path, name, prompts, each=1):
    """`each` pairs of so many prompts, those of a prompt apart from each other."""
    rows = [
        {"prompt": f"Which {name} is number {n}?", "chosen": f"It is {name} {n}, {k}.", "rejected": f"No {k}, {n}."}
        for k in range(each)
        for n in range(prompts)
    ]
    path = tmp_path / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"path": str(path), "label": name}


def mix(*sources, seed=17):
    spec = Spec.model_validate({"seed": seed, "data": {"train": list(sources), "max_length": 200}})
    return prepare(spec, Renderer.from_tokenizer(chatml(), max_length=200))


def taken(prepared, name):
    """How many pairs of each prompt of a source were kept."""
    pairs = [*(row.pair for row in prepared.train), *prepared.held_out]
    return Counter(pair.prompt[0].content for pair in pairs if pair.source == name)


@pytest.mark.parametrize(
    ("part", "prompts"), [({"share": 0.2}, 8), ({"share": 1.0}, 40), ({"rows": 30}, 10), ({"rows": 1}, 1)]
)
def test_a_part_of_a_source_is_taken_by_prompt(part, prompts, tmp_path):
    prepared = mix({**write(tmp_path, "rivers", 40, each=3), **part}, write(tmp_path, "towns", 10))
    rivers, towns = prepared.record.sources
    kept = taken(prepared, "rivers")
    assert (len(kept), set(kept.values())) == (prompts, {3})  # whole prompts, no row twice
    assert (rivers.read, rivers.used, rivers.unused, rivers.mixed_out) == (120, 3 * prompts, 0, 120 - 3 * prompts)
    assert (rivers.formed, rivers.pairs, rivers.kept) == (3 * prompts, 3 * prompts, 3 * prompts)
    assert rivers.mixture == ", ".join(f"{name} {value}" for name, value in part.items())
    assert (towns.kept, towns.mixed_out, towns.mixture) == (10, 0, "")
    assert counts_hold(prepared.record)
    assert not counts_hold(prepared.record.model_copy(update={"sources": (rivers.model_copy(update={"used": 0}),)}))


def test_weights_take_rows_in_proportion_and_all_of_the_scarcest_source(tmp_path):
    prepared = mix(
        {**write(tmp_path, "rivers", 60), "weight": 1},
        {**write(tmp_path, "towns", 20), "weight": 2},
        write(tmp_path, "lakes", 5),
    )
    assert [source.kept for source in prepared.record.sources] == [10, 20, 5]


def test_the_seed_decides_which_and_a_smaller_part_is_in_a_larger(tmp_path):
    source = write(tmp_path, "rivers", 50)
    small, same, large, other = (
        set(taken(mix({**source, "share": share}, seed=seed), "rivers"))
        for share, seed in ((0.2, 1), (0.2, 1), (0.5, 1), (0.2, 2))
    )
    assert small == same
    assert small < large
    assert small != other
    assert len(other) == 10


def test_the_order_of_the_rows_decides_nothing(tmp_path):
    source = {**write(tmp_path, "rivers", 30, each=2), "rows": 12}
    before = taken(mix(source), "rivers")
    path = tmp_path / "rivers.jsonl"
    path.write_text("".join(sorted(path.read_text().splitlines(keepends=True), key=lambda line: line[::-1])))
    assert taken(mix(source), "rivers") == before


def test_answers_to_one_prompt_in_rows_of_their_own_stay_together(tmp_path):
    rows = [{"prompt": f"Which {n}?", "answer": f"It is {n} {k}.", "score": k} for k in range(3) for n in range(10)]
    path = tmp_path / "rated.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    form = {"kind": "grouped", "answer": "answer", "score": "score", "better": "higher"}
    prepared = mix({"path": str(path), "form": form, "share": 0.5})
    (source,) = prepared.record.sources
    assert (source.read, source.used, source.mixed_out, source.formed, source.kept) == (30, 15, 15, 15, 15)
    words = "read 30 rows = 15 used + 0 rejected + 15 left out by the mixture; 15 comparisons = 15 pairs kept"
    assert counts_in_words(prepared.record).startswith(words)


def test_one_way_to_take_a_part_is_enough(tmp_path):
    source = {**write(tmp_path, "rivers", 3), "rows": 2, "share": 0.5}
    with pytest.raises(SpecError, match="at most one of rows, share and weight; this one has rows and share"):
        parse_spec({"data": {"train": [source]}})


def test_held_out_pairs_are_scored_by_source_where_there_are_several():
    def pair(number, source):
        sides = ((Message("assistant", text),) for text in (f"good {number}", f"bad {number}"))
        return PreferencePair((Message("user", f"q{number}"),), *sides, id=str(number), source=source)

    def scored(count):
        named = [pair(n, "towns" if n < 2 else "rivers") for n in range(count)]
        rewards = [np.array(side) for side in ([1.0, 0.0], [np.nan, 0.0], [2.0, 1.0], [1.0, 1.0], [0.0, 1.0])][:count]
        return score_rows(PAIRS, pair_rows(named, DatasetInfo(source="x"), "x"), rewards, seed=0).result

    found = scored(5)
    assert list(found.by_source) == ["rivers", "towns"]  # the largest first
    rivers, towns = found.by_source.values()
    assert (rivers.n, rivers.score, rivers.margin_mean) == (3, pytest.approx(1.5 / 3), pytest.approx(0.0))
    assert (towns.n, towns.score, towns.margin_mean, towns.missing) == (2, pytest.approx(1 / 2), 1.0, {"null": 1})
    # Wilson's interval of 1 of 2, by its formula: centre 1/2, half-width z sqrt(1/8 + z^2/16) / (2 + z^2) * 2
    z = 1.959963984540054
    half = z / (1 + z * z / 2) * np.sqrt(0.25 / 2 + z * z / 16)
    assert (towns.ci_low, towns.ci_high) == (pytest.approx(0.5 - half), pytest.approx(0.5 + half))
    assert found.subsets["all"].n == 5
    assert scored(2).by_source == {}


RATED = [
    {"q": "Which river?", "x": "It is the Loire.", "y": "No idea.", "who": "second"},
    {"q": "Which town?", "x": "It is Nantes.", "y": "I cannot say.", "who": "first"},
]


def test_other_commands_read_a_file_in_the_form_of_a_spec(world, checkpoint):
    (world.folder / "rated.jsonl").write_text("".join(json.dumps(row) + "\n" for row in RATED))
    verdict = {"column": "who", "values": {"first": ["first"], "second": ["second"]}}
    form = {"kind": "comparison", "first": "x", "second": "y", "verdict": verdict}
    world.write_spec(data={"train": [{"path": "rated.jsonl", "form": form, "columns": {"prompt": "q"}}]})
    done = world("score", "--model", str(checkpoint), "--input", "spec.yaml", "--output", "out.jsonl")
    assert done.code == 0
    rewards = [json.loads(line)["rewards"] for line in (world.folder / "out.jsonl").read_text().splitlines()]
    explained = world("explain", "--model", str(checkpoint), "--input", "spec.yaml", "--json").json()
    assert [text["name"] for text in explained["texts"]] == ["chosen", "rejected"]
    assert "No idea." in explained["texts"][0]["text"]  # the second answer won
    assert [text["reward"] for text in explained["texts"]] == pytest.approx(rewards[0], abs=1e-5)
    evaluated = world(
        "evaluate", "--model", str(checkpoint), "--benchmark", "pairs", "--data", "spec.yaml", "--out", "e"
    )
    assert evaluated.code == 0
    found = [json.loads(line)["rewards"] for line in (world.folder / "e" / "rows.jsonl").read_text().splitlines()]
    assert np.allclose(found, rewards, atol=1e-5)
    world.write_spec(data={"train": [{"path": "rated.jsonl", "form": form}, {"path": "train.jsonl"}]})
    refused = world("score", "--model", str(checkpoint), "--input", "spec.yaml", "--output", "out2.jsonl")
    assert (refused.code, "names 2 sources under data.train" in refused.err) == (2, True)
