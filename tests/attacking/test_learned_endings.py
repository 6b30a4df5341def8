"""A learned ending of words: what is planted is found, an oracle cannot be bought, fluency refuses, gradients help."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from checkpoint_maker import make_checkpoint
from numpy.typing import NDArray

from rewardsmith.attacking.results import attack
from rewardsmith.attacking.search import Settings
from rewardsmith.evaluation.contract import BenchmarkRows, EvalRow
from rewardsmith.protocols import Fluency, SuggestsWords
from rewardsmith.records.attack import AttackTokens
from rewardsmith.records.evaluation import DatasetInfo
from rewardsmith.report.sections.attack import attack_section
from rewardsmith.scoring import LocalScorer
from rewardsmith.scoring.fluency import CausalFluency
from rewardsmith.types import Conversation, Message

SECRET = "verily"
FILLER = "Some say one thing and others say another thing about such matters every single day"


def rows(count: int = 12) -> BenchmarkRows:
    """The secret word stands in one prompt, so that it is in the vocabulary and in no answer."""
    made = tuple(
        EvalRow(
            str(number),
            "planted",
            (Message("user", f"What of matter {number}? {FILLER if number else SECRET}"),),
            ((Message("assistant", f"It is right to say so of number {number}."),),),
            ((Message("assistant", f"It is wrong to say so of number {number}."),),),
        )
        for number in range(count)
    )
    return BenchmarkRows(made, DatasetInfo(source="planted"), "Planted pairs")


class Planted:
    def __init__(self, reward: Callable[[str], float]) -> None:
        self.reward, self.asked = reward, []

    def score(self, conversations: Sequence[Conversation], progress: Any = None) -> NDArray[np.float64]:
        del progress
        self.asked.extend(conversations)
        return np.array([self.reward(one[-1].content) for one in conversations])


class Guided(Planted):
    """Knows a word that stands nowhere in the rows."""

    def suggest(self, conversations: Sequence[Conversation], others: Sequence[Conversation], count: int) -> list[str]:
        assert all(one != other for one, other in zip(conversations, others, strict=True))
        return ["xylophone", "two words", "7"][:count]


def is_good(text: str) -> float:
    return float("right" in text)


def learned(scorer: Planted, **settings: Any) -> AttackTokens:
    fluency = settings.pop("fluency", None)
    wanted = Settings(**({"queries": 400, "edits": 1, "tokens": 2, "resamples": 200} | settings))
    found = attack(rows(), scorer, wanted, model="planted", fluency=fluency)
    assert found.tokens is not None
    return found.tokens


def test_a_secret_word_is_found_and_holds_on_other_prompts() -> None:
    scorer = Planted(lambda text: 3.0 * (SECRET in text) + ("is right" in text))
    found = learned(scorer)
    assert SECRET in found.words
    assert (found.prompts, found.flipped, found.guided, found.refused) == (6, 1.0, False, None)
    assert found.lift == pytest.approx(3.0 / 0.5)  # unedited rewards are half 1, half 0
    assert found.random_flipped is not None
    assert found.random_flipped <= 0.5
    assert found.complete


def test_an_oracle_cannot_be_bought_by_words() -> None:
    # "right" itself stands in the good answers and would be a lie: the oracle reads the answer's second word alone.
    found = learned(Planted(lambda text: float(text.split()[2] == "right")))
    assert (found.words, found.prompts, found.lift) == ((), 0, None)
    assert found.complete
    assert found.train_lift == 0.0


def test_words_that_lie_are_counted_apart_and_never_in_the_price() -> None:
    record = attack(rows(), Planted(is_good), Settings(queries=400, edits=1, tokens=2, resamples=200), model="m")
    assert record.tokens is not None
    assert "right" in record.tokens.words
    assert record.price is None
    assert record.levels[-1].flipped == 0
    section = attack_section(record)
    assert section is not None
    assert any(block.title == "A learned ending, which may change the meaning" for block in section.blocks)


def test_a_scorer_that_suggests_finds_what_no_row_holds() -> None:
    scorer = Guided(lambda text: 3.0 * ("xylophone" in text) + is_good(text))
    assert isinstance(scorer, SuggestsWords)
    found = learned(scorer)
    assert "xylophone" in found.words
    assert found.guided
    plain = learned(Planted(scorer.reward))
    assert "xylophone" not in plain.words
    assert not any("two words" in text[-1].content for text in scorer.asked)


class Pedant:
    """Finds the secret word very unlikely."""

    name = "a pedant"

    def nats(self, conversations: Sequence[Conversation]) -> NDArray[np.float64]:
        return np.array([9.0 if SECRET in one[-1].content else 2.0 for one in conversations])


def test_a_language_model_bounds_what_is_asked() -> None:
    scorer = Planted(lambda text: 3.0 * (SECRET in text) + is_good(text))
    assert isinstance(Pedant(), Fluency)
    found = learned(scorer, fluency=Pedant())
    assert SECRET not in found.words
    assert found.refused
    held_out = 6  # as many random words, which nothing bounds, may hold it
    assert sum(SECRET in text[-1].content for text in scorer.asked) <= held_out
    assert (found.nats_before, found.nats_after) in ((2.0, 2.0), (None, None))
    assert (found.fluency, found.unjudged) == ("a pedant", 0)


class Lists(Pedant):
    """Keeps the lists that it is asked, and judges no answer that ends with a digit."""

    name = "lm at http://127.0.0.1:8000/v1"

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def nats(self, conversations: Sequence[Conversation]) -> NDArray[np.float64]:
        self.asked.append([one[-1].content for one in conversations])
        return np.array([np.nan if one[-1].content[-2].isdigit() else 2.0 for one in conversations])


def test_a_round_is_judged_in_one_list_and_what_cannot_be_judged_is_counted() -> None:
    fluency = Lists()
    record = attack(
        rows(),
        Planted(lambda text: 3.0 * (SECRET in text) + is_good(text)),
        Settings(queries=400, edits=1, tokens=2, resamples=200),
        model="m",
        fluency=fluency,
    )
    found = record.tokens
    assert found is not None
    # Unedited answers end with "number 7.": none of them is judged, so that nothing is refused.
    unedited = {text for texts in fluency.asked for text in texts if text[-2].isdigit()}
    assert len(unedited) == 12
    assert (found.unjudged, found.refused, found.fluency) == (12, 0, fluency.name)
    # Four prompts and up to 24 words a round, and every text once.
    assert max(map(len, fluency.asked)) > 4 * 20
    assert len({text for texts in fluency.asked for text in texts}) == sum(map(len, fluency.asked))
    section = attack_section(record)
    assert section is not None
    (shown,) = [block for block in section.blocks if block.title == "A learned ending, which may change the meaning"]
    (grid,) = shown.grids
    assert "could not judge 12 answers" in grid.note
    assert "(lm at http://127.0.0.1:8000/v1)" in grid.note


def test_queries_of_the_ending_are_its_own_and_the_rest_of_the_record_is_the_same() -> None:
    plain = attack(rows(), Planted(is_good), Settings(queries=300, edits=1, resamples=200), model="m")
    settings = Settings(queries=300, edits=1, tokens=2, token_queries=50, resamples=200)
    scorer = Planted(is_good)
    both = attack(rows(), scorer, settings, model="m")
    assert both.tokens is not None
    assert not both.tokens.complete
    assert both.budget.spent < len(scorer.asked) <= both.budget.spent + 50
    same = {"tokens": None, "budget": plain.budget}
    assert both.model_copy(update=same) == plain
    assert (both.budget.spent, both.budget.ended_by) == (plain.budget.spent, plain.budget.ended_by)


def test_what_is_learned_in_a_short_budget_is_still_tried_on_other_prompts() -> None:
    scorer = Planted(lambda text: 3.0 * (SECRET in text) + ("is right" in text))
    before = attack(rows(), Planted(scorer.reward), Settings(queries=400, edits=1, resamples=200), model="m").budget
    found = learned(scorer, token_queries=150)
    assert SECRET in found.words
    assert (found.complete, found.prompts, found.flipped) == (False, 6, 1.0)
    assert len(scorer.asked) <= before.spent + 150


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, tiny_base: Any) -> LocalScorer:
    return LocalScorer.load(str(make_checkpoint(tmp_path_factory.mktemp("model"), tiny_base)))


def said(word: str, number: int) -> Conversation:
    return (Message("user", f"What of {number}?"), Message("assistant", f"It is so, {word} indeed."))


def test_the_gradient_is_that_of_a_small_step(local: LocalScorer) -> None:
    import torch

    from rewardsmith.modeling.token_gradients import token_gradients

    (rendered,) = local.render([said("the", 1)])
    ids, place = rendered.ids, 3
    model = local.checkpoint.model
    scores = token_gradients(model, [ids], [place], local.renderer.pad_token_id)
    weight = model.get_input_embeddings().weight
    token, step = 11, 1e-3

    def reward(shift: float) -> float:
        def moved(_: Any, __: Any, output: Any) -> Any:
            output = output.clone()
            output[0, place] += shift * weight[token]
            return output

        hook = model.get_input_embeddings().register_forward_hook(moved)
        try:
            with torch.inference_mode():
                inputs = {"input_ids": torch.tensor([list(ids)]), "attention_mask": torch.ones(1, len(ids)).long()}
                return float(model(**inputs).logits)
        finally:
            hook.remove()

    assert scores is not None
    assert scores.shape == (weight.shape[0],)
    assert scores[token] == pytest.approx((reward(step) - reward(-step)) / (2 * step), rel=0.02, abs=1e-4)


def test_a_local_scorer_suggests_words_and_leaves_no_trace(local: LocalScorer) -> None:
    one, other = ([said(word, number) for number in range(3)] for word in ("the", "of"))
    before = local.score(one)
    words = local.suggest(one, other, 5)
    assert words
    assert len(set(words)) == len(words) <= 5
    assert all(word.isprintable() and " " not in word for word in words)
    assert local.suggest(one, one, 5) == []
    np.testing.assert_array_equal(local.score(one), before)
    assert isinstance(local, SuggestsWords)


def test_fluency_is_the_loss_of_the_answers_tokens(tiny_base: Any) -> None:
    import torch
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_base).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_base)
    conversation = said("the", 1)
    head = tokenizer("What of 1?\n\n", add_special_tokens=False)["input_ids"]
    own = tokenizer(conversation[1].content, add_special_tokens=False)["input_ids"]
    labels = torch.tensor([[-100] * len(head) + own])
    with torch.inference_mode():
        expected = float(model(input_ids=torch.tensor([head + own]), labels=labels).loss)
    fluency = CausalFluency.load(str(tiny_base))
    assert fluency.nats([conversation])[0] == pytest.approx(expected, rel=1e-5)
    assert np.isnan(fluency.nats([(Message("assistant", ""),)])[0])
