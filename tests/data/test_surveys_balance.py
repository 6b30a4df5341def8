"""What the pairs are made of: every number worked out by hand, and no finding without a cause."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from survey_rows import codes_of, found_in, pair, rows_of, survey

from rewardsmith import statistics
from rewardsmith.data.surveys.balance import SAMPLE, Balance, Names
from rewardsmith.statistics import effective_number
from rewardsmith.types import Message, PreferencePair

FORMS = {"form": "prompt as messages, responses as messages"}


def balance(pairs, **options):
    return survey(Balance, rows_of(pairs), **options)


def pairs_of(count, **fields):
    return [pair(f"Name river {n}.", f"The Loire, {n}.", f"Nantes, {n}.", **{**FORMS, **fields}) for n in range(count)]


def counts(named):
    return {one.name: (one.train, one.held_out) for one in named.most}


def test_clean_pairs_show_nothing():
    surveyed = balance(pairs_of(200, source="hh"))
    assert codes_of(surveyed) == {}
    section = surveyed.section
    assert (section.subsets, section.annotators, section.models, section.agreement) == (None, None, None, ())
    assert codes_of(balance([])) == {}
    assert balance([]).section.languages is None


def test_sources_and_subsets_on_both_sides_of_the_split():
    pairs = [*pairs_of(3, source="hh", subset="safety"), *pairs_of(1, source="uf"), *pairs_of(1, source="hh")]
    section = balance(pairs, held_out=[0, 3]).section
    assert counts(section.sources) == {"hh": (3, 1), "uf": (0, 1)}
    assert counts(section.subsets) == {"safety": (2, 1)}
    assert (section.sources.distinct, section.subsets.distinct) == (2, 1)
    assert section.sources.effective == 1.0


def test_turns_and_prompt_reuse():
    ask, say = Message("user", "And?"), Message("assistant", "Well.")
    long = PreferencePair((ask, say) * 6 + (ask,), (say,), (Message("assistant", "No."),))
    text = PreferencePair((), (Message("text", "a b"),), (Message("text", "c d"),))
    pairs = [*pairs_of(2), pair("Name river 0.", "x", "y"), long, text]
    section = balance(pairs).section
    assert section.turns == {"1": 4, "6-10": 1}
    reuse = section.prompts
    assert (reuse.pairs, reuse.distinct, reuse.most, reuse.pairs_per_prompt) == (5, 4, 2, {"1": 3, "2": 1})
    shares = [0.4, 0.2, 0.2, 0.2]
    assert reuse.effective == pytest.approx(math.exp(-sum(share * math.log(share) for share in shares)))
    assert reuse.effective_simpson == pytest.approx(25 / (4 + 1 + 1 + 1))


@given(st.lists(st.integers(0, 50), min_size=1, max_size=20))
def test_effective_numbers_lie_between_one_and_the_kinds_that_there_are(counted):
    one, two = effective_number(counted), effective_number(counted, order=2)
    kinds = sum(count > 0 for count in counted)
    assert (one, two) == (0.0, 0.0) if not kinds else 1 - 1e-9 <= two <= one + 1e-9 <= kinds + 1e-6
    equal = [7] * len(counted)
    assert effective_number(equal) == pytest.approx(len(equal))
    assert effective_number(equal, order=2) == pytest.approx(len(equal))


def test_a_prompt_with_very_many_pairs_is_named():
    pairs = [*pairs_of(100), *(pair("Again?", f"a{n}", f"b{n}", **FORMS) for n in range(51))]
    found = found_in(balance(pairs), "dominant_prompt")
    assert found.places.tolist() == list(range(100, 151))
    assert found.detail(120) == "its prompt has 51 training pairs"
    assert codes_of(balance(pairs[:-1])) == {}
    assert codes_of(balance(pairs, held_out=[150])) == {}


def test_rows_in_another_form_than_most_of_their_source_are_named():
    other = {"form": "prompt as text, responses as text"}
    first = rows_of([*pairs_of(9), *pairs_of(2, **other), *pairs_of(1)], "a.jsonl")
    second = rows_of(pairs_of(4, **other), "b.jsonl")
    surveyed = survey(Balance, [*first, *second])
    found = found_in(surveyed, "mixed_forms")
    assert found.places.tolist() == [9, 10]
    assert found.detail(9) == other["form"]
    assert [(one.source, one.forms) for one in surveyed.section.forms] == [
        ("a.jsonl", {FORMS["form"]: 10, other["form"]: 2}),
        ("b.jsonl", {other["form"]: 4}),
    ]


@pytest.mark.parametrize("rate", [0.001, 0.01, 0.1])
def test_planted_forms_are_all_found_and_no_others(rate):
    planted = sorted(random.Random(rate).sample(range(1000), round(1000 * rate)))
    pairs = pairs_of(1000)
    for place in planted:
        pairs[place] = pair("p", "a", f"b{place}", form="no prompt, responses as messages")
    assert codes_of(balance(pairs)).get("mixed_forms") == planted


def by_models(*games, prompts=None):
    """Pairs from (chosen model, rejected model, how many)."""
    models = [(won, lost) for won, lost, count in games for _ in range(count)]
    return [
        pair(f"p{n % (prompts or len(models))}", f"a{n}", f"b{n}", chosen_model=won, rejected_model=lost, **FORMS)
        for n, (won, lost) in enumerate(models)
    ]


def test_a_model_that_only_meets_itself_has_no_rate():
    surveyed = survey(Balance, rows_of(by_models(("C", "C", 1), ("A", "B", 39))))
    models = surveyed.section.models
    assert (models.pairs, models.distinct) == (39, 2)
    assert {one.model: (one.pairs, one.chosen) for one in models.most} == {"A": (39, 1.0), "B": (39, 0.0)}


def test_how_often_each_model_is_chosen():
    surveyed = balance(
        [*by_models(("big", "small", 60), ("small", "big", 20), ("big", "mid", 10), ("mid", "mid", 5)), *pairs_of(3)]
    )
    models = surveyed.section.models
    assert (models.pairs, models.distinct) == (90, 3)
    assert {one.model: (one.pairs, one.chosen) for one in models.most} == {
        "big": (90, 70 / 90),
        "small": (80, 0.25),
        "mid": (10, 0.0),
    }
    wilson = statistics.wilson_interval(20, 80)
    assert (models.most[1].ci_low, models.most[1].ci_high) == (wilson.low, wilson.high)
    assert models.rule_accuracy == pytest.approx(70 / 90)  # big before small, and big before mid
    assert codes_of(surveyed) == {}


def test_the_rule_is_not_tested_on_what_it_learnt_from():
    models = balance(by_models(*((f"a{n}", f"b{n}", 1) for n in range(50)))).section.models
    assert models.rule_accuracy == 0.5
    models = balance(by_models(("a", "b", 1), ("b", "a", 1))).section.models
    assert models.rule_accuracy == 0.0


def test_pairs_of_one_prompt_count_once_for_the_interval():
    models = balance(by_models(("big", "small", 80), ("small", "big", 20), prompts=10)).section.models
    wilson = statistics.wilson_interval(8, 10)
    big = models.most[0]
    assert (big.pairs, big.prompts, big.chosen) == (100, 10, 0.8)
    assert (big.ci_low, big.ci_high) == (wilson.low, wilson.high)


def test_a_model_that_is_nearly_always_chosen_is_named_and_one_that_is_only_better_is_not():
    games = [("best", "x", 190), ("x", "best", 10), ("y", "z", 100), ("z", "y", 60), ("x", "y", 150), ("y", "x", 100)]
    surveyed = balance(by_models(*games))
    assert codes_of(surveyed) == {"model_tells_label": list(range(200))}
    found = found_in(surveyed, "model_tells_label")
    assert found.summary.startswith(
        "'best' is chosen in 95.0% of its 200 pairs with another model (95 % interval 91.0% to"
    )
    assert found.detail(199) == "'x' is preferred to 'best'"
    never = [(lost, won, count) for won, lost, count in games]
    assert codes_of(balance(by_models(*never))) == {"model_tells_label": list(range(200))}
    seldom = [*games[:1], ("y", "z", 3000), ("z", "y", 2000)]
    assert codes_of(balance(by_models(*seldom))) == {}


def test_annotators_are_counted_and_addresses_among_them_are_not_shown():
    pairs = [*pairs_of(6, annotator="w1"), *pairs_of(2, annotator="jane.roe@uni-bonn.de"), *pairs_of(2)]
    annotators = balance(pairs).section.annotators
    assert counts(annotators) == {"w1": (6, 0), "(personal data)": (2, 0)}
    assert annotators.effective == pytest.approx(math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25)))


def labelled(source, *votes):
    """For each (agreeing, opposite) one comparison with so many labels."""
    pairs = []
    for n, (agreeing, opposite) in enumerate(votes):
        pairs += [pair(f"{source} {n}", "a", "b", source=source, **FORMS)] * agreeing
        pairs += [pair(f"{source} {n}", "b", "a", source=source, **FORMS)] * opposite
    return pairs


def test_agreement_of_repeated_labels_by_source():
    surveyed = balance(
        [*labelled("hh", (2, 0), (1, 1), (2, 1), (1, 0)), *labelled("uf", (3, 0)), *labelled("x", (1, 0))]
    )
    one, other = surveyed.section.agreement
    assert (one.source, one.agreement.comparisons, one.agreement.labels) == ("hh", 3, 7)
    assert one.agreement.agreement == pytest.approx((1 + 0 + 1 / 3) / 3)
    assert (other.source, other.agreement.agreement, other.agreement.ceiling_high) == ("uf", 1.0, 1.0)
    assert codes_of(surveyed) == {}


def test_labels_that_disagree_often_set_a_ceiling():
    rng = random.Random(1)
    votes = [(2, 0) if rng.random() < 0.68 else (1, 1) for _ in range(400)]  # q = 0.8: 0.8² + 0.2² agree
    agreement = balance(labelled("hh", *votes)).section.agreement[0].agreement
    assert agreement.ceiling_high == pytest.approx(0.8, abs=0.03)
    assert agreement.agreement_ci[0] < 0.68 < agreement.agreement_ci[1]


def test_languages_of_the_prompts():
    german = "Bitte erkläre mir, warum der Himmel blau ist und abends rot wird."
    french = "Pourquoi le ciel est-il bleu pendant la journée et rouge le soir ?"
    chinese = "请解释为什么天空是蓝色的，而傍晚是红色的。"
    english = "Please explain to me why the sky is blue during the day."
    asked = [(german, 2), (french, 2), (chinese, 2), (english, 4)]
    pairs = [pair(f"{text} {n}", "a", "b") for text, count in asked for n in range(count)]
    languages = balance([*pairs, *pairs]).section.languages
    assert (languages.prompts, languages.sampled) == (10, 10)
    assert {one.language: one.prompts for one in languages.shares} == {"en": 4, "de": 2, "fr": 2, "zh": 2}
    wilson = statistics.wilson_interval(4, 10)
    assert (languages.shares[0].share, languages.shares[0].ci_low, languages.shares[0].ci_high) == (
        0.4,
        wilson.low,
        wilson.high,
    )
    assert languages.by.startswith("py3langid ")


def test_languages_are_those_of_a_sample_that_the_seed_draws(monkeypatch):
    monkeypatch.setattr("rewardsmith.data.surveys.balance.SAMPLE", 8)
    pairs = [
        pair(f"Why is the sky blue, {n}?" if n % 2 else f"Warum ist der Himmel blau, {n}?", "a", "b") for n in range(60)
    ]
    one, again = balance(pairs).section.languages, balance(pairs).section.languages
    assert one == again
    assert (one.prompts, one.sampled, one.seed) == (60, 8, 17)
    assert SAMPLE == 5000


def test_a_line_of_code_is_in_no_language():
    languages = balance([pair("x = [i**2 for i in range(10)]", "a", "b")]).section.languages
    assert languages.shares[0].language in ("und", "zxx")


def test_names_beyond_the_limit_share_one_number(monkeypatch):
    monkeypatch.setattr("rewardsmith.data.surveys.balance._LIMIT", 3)
    names = Names()
    names.see(["a", "", "b", "c", "d", "e", "a"])
    assert names.codes().tolist() == [0, -1, 1, 2, 3, 3, 0]
    assert names.titles == ["a", "b", "c", "(others)"]
    assert counts(names.counts(np.zeros(7, dtype=np.bool_))) == {
        "a": (2, 0),
        "(others)": (2, 0),
        "b": (1, 0),
        "c": (1, 0),
    }
