"""The order of pairs: shuffled by the seed, the pairs of a prompt together, or as the data gives it."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_training_resume import make_job

from conftest import WORDS, make_pairs, make_tokenizer
from rewardsmith.data.prepare import prepare
from rewardsmith.errors import SpecError
from rewardsmith.modeling.layouts import PairIds
from rewardsmith.modeling.tree.token_tree import pack_pairs
from rewardsmith.rendering import Renderer
from rewardsmith.spec import Spec, load_spec
from rewardsmith.training.plan import StepSampler, make_plan, number_prompts, order_pairs, refuse_data_parallel
from rewardsmith.training.trl_backend import train
from rewardsmith.types import PreferencePair

SEVEN = np.arange(7)


def test_as_given_takes_the_pairs_one_after_another() -> None:
    assert list(StepSampler(order_pairs(SEVEN, "as_given", 0), 3)) == [[0, 1, 2], [3, 4, 5], [6]]


def test_the_seed_means_nothing_to_an_order_that_is_given() -> None:
    assert order_pairs(SEVEN, "as_given", 0).tolist() == order_pairs(SEVEN, "as_given", 1).tolist()
    for order in ("shuffled", "by_prompt"):
        forty = np.arange(40)
        assert order_pairs(forty, order, 0).tolist() != order_pairs(forty, order, 1).tolist()


def test_shuffled_is_the_generators_permutation() -> None:
    assert order_pairs(SEVEN, "shuffled", 3).tolist() == np.random.default_rng(3).permutation(7).tolist()


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(0, 5))
def test_by_prompt_keeps_the_pairs_of_a_prompt_together(prompts: list[int], seed: int) -> None:
    order = order_pairs(np.array(prompts), "by_prompt", seed)
    assert sorted(order.tolist()) == list(range(len(prompts)))
    runs = [prompt for prompt, _ in groupby(prompts[index] for index in order)]
    assert len(runs) == len(set(prompts))


def test_by_prompt_shuffles_prompts_and_the_pairs_of_each() -> None:
    prompts = np.repeat(np.arange(20), 5)
    order = order_pairs(prompts, "by_prompt", 0)
    assert prompts[order[::5]].tolist() != sorted(prompts[order[::5]].tolist())
    assert any(sorted(order[i : i + 5].tolist()) != order[i : i + 5].tolist() for i in range(0, 100, 5))


@pytest.mark.parametrize("order", ["shuffled", "by_prompt", "as_given"])
def test_the_spec_says_which(order: str, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text("name: a\n")
    spec = load_spec(tmp_path / "spec.yaml", [f"training.order={order}"])
    assert make_plan(spec, pairs=8, device="cpu", bf16_supported=False).order == order


@pytest.mark.parametrize(("device", "tokens"), [("cpu", 2048), ("cuda", 16384), ("mps", 16384)])
def test_the_device_says_how_large_a_micro_batch_is_unless_the_spec_does(
    device: str, tokens: int, tmp_path: Path
) -> None:
    (tmp_path / "spec.yaml").write_text("name: a\n")
    for overrides, wanted in (([], tokens), (["training.tokens_per_micro_batch=512"], 512)):
        spec = load_spec(tmp_path / "spec.yaml", overrides)
        assert make_plan(spec, pairs=8, device=device, bf16_supported=False).token_budget == wanted
        reckoned = make_plan(spec, pairs=8, device=device, bf16_supported=False, auto_tokens=640)
        assert reckoned.token_budget == (640 if not overrides else wanted)
    for word in ("auto", "null"):
        spec = load_spec(tmp_path / "spec.yaml", [f"training.tokens_per_micro_batch={word}"])
        assert spec.training.tokens_per_micro_batch == "auto"


def test_another_order_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text("name: a\n")
    with pytest.raises(SpecError, match="as_given"):
        load_spec(tmp_path / "spec.yaml", ["training.order=sorted"])


def test_each_step_says_how_many_prompts_it_saw(tiny_base: Path, tmp_path: Path) -> None:
    four = make_pairs(4, seed=1)
    pairs = [PreferencePair(four[i // 3].prompt, pair.chosen, pair.rejected) for i, pair in enumerate(make_pairs(12))]
    job = make_job(tiny_base, tmp_path, training={"order": "by_prompt", "pairs_per_step": 6})
    ids = [PairIds(pair.chosen_ids, pair.rejected_ids) for pair in job.renderer.render_pairs(pairs)]
    record = train(replace(job, pairs=pairs, ids=ids))
    rows = [json.loads(line) for line in (tmp_path / "train" / "metrics.jsonl").read_text().splitlines()]
    assert [row["prompts"] for row in rows] == [2, 2]
    assert record.prompts_per_step == 2
    assert record.peak_memory > 50_000_000  # torch alone takes more


def test_one_process_on_several_gpus_is_refused():
    with pytest.raises(SpecError, match=r"this process sees 4 GPUs(.|\n)*accelerate launch --num_processes 4"):
        refuse_data_parallel(4, processes=0)
    refuse_data_parallel(4, processes=4)
    refuse_data_parallel(1, processes=0)


@pytest.mark.parametrize("form", ["list", "grouped"])
def test_the_pairs_of_a_prompt_share_a_step_and_a_tree(form: str, tmp_path: Path) -> None:
    """Three answers to each of eight prompts; of `grouped` the rows stand apart. Two prompts fill a step."""
    asked = [f"Name {WORDS[n]}, {' and '.join(WORDS)}." for n in range(8)]
    answers = [[f"{WORDS[3 + place]} {place} of {n}" for place in range(3)] for n in range(8)]
    if form == "list":
        told = [[{"text": text, "score": place} for place, text in enumerate(texts)] for texts in answers]
        rows = [{"prompt": prompt, "answers": of} for prompt, of in zip(asked, told, strict=True)]
        how = {"kind": "list", "answers": "answers", "text": "text", "score": "score", "better": "higher"}
    else:
        rows = [{"prompt": asked[n], "text": answers[n][place], "score": place} for place in range(3) for n in range(8)]
        how = {"kind": "grouped", "answer": "text", "score": "score", "better": "higher"}
    path, held_out = tmp_path / "rows.jsonl", tmp_path / "held_out.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    held_out.write_text(json.dumps({"prompt": "Else?", "chosen": "yes", "rejected": "no"}) + "\n")
    sources = {"train": [{"path": str(path), "form": how}], "held_out": {"sources": [{"path": str(held_out)}]}}
    spec = Spec.model_validate({"data": {**sources, "max_length": 400}})
    train = prepare(spec, Renderer.from_tokenizer(make_tokenizer(), max_length=400)).train
    pairs = [row.pair for row in train]
    assert len(pairs) == 24
    steps = list(StepSampler(order_pairs(number_prompts(pairs), "by_prompt", 0), 6))
    assert [len({pairs[index].prompt for index in step}) for step in steps] == [2, 2, 2, 2]
    for step in steps:
        ids = [(train[index].chosen_ids, train[index].rejected_ids) for index in step]
        (pack,) = pack_pairs(ids, budget=10_000, min_shared=1)
        texts = {tuple(side.tolist()) for pair in ids for side in pair}
        beginnings = {text[: end + 1] for text in texts for end in range(len(text))}
        assert (len(texts), len(pack)) == (6, len(beginnings))  # each token once: the nodes of a trie
        apart = sum(len(pack) for pair in ids for pack in pack_pairs([pair], budget=10_000, min_shared=1))
        assert len(pack) < apart / 2
