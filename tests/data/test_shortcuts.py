"""The survey of shortcuts: planted ones are measured at their strength, clean pairs show none."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import pytest

from rewardsmith.data.registry import CHECKS
from rewardsmith.data.shortcuts.findings import Shortcuts
from rewardsmith.data.store import TokenizedPair, pair_keys
from rewardsmith.data.surveys.survey import Setting, Surveyed, Table
from rewardsmith.records.checks import SourceCount
from rewardsmith.records.texts import LoneRule, ShortcutsRecord
from rewardsmith.spec import Spec
from rewardsmith.types import Message, PreferencePair

PAIRS = 2500
STRENGTHS = (0.6, 0.7, 0.9)
WORDS = [
    first + second
    for first in ["ba", "do", "fi", "gu", "ke", "lo", "mi", "nu", "pe", "ra"]
    for second in ["bel", "dor", "fin", "gam", "kor", "los", "mun"]
]

Texts = list[tuple[str, str]]


def text(draw: random.Random) -> str:
    """A few sentences, sometimes with marks: what chosen and rejected responses of clean data share."""
    sentences = []
    for _ in range(draw.randint(2, 5)):
        words = [draw.choice(WORDS) for _ in range(draw.randint(4, 9))]
        if draw.random() < 0.2:
            words[1] = f"**{words[1]}**"
        sentences.append(" ".join(words).capitalize() + draw.choice(".....!?"))
    return draw.choice((" ", " ", "\n\n")).join(sentences)


def clean(pairs: int = PAIRS, seed: int = 1) -> Texts:
    draw = random.Random(seed)
    return [(text(draw), text(draw)) for _ in range(pairs)]


def longer_first(texts: Texts, strength: float) -> Texts:
    """The longer response is chosen in this share of the pairs."""
    ordered = [(max(pair, key=len), min(pair, key=len)) for pair in texts if len(pair[0]) != len(pair[1])]
    return [pair if place < strength * len(ordered) else pair[::-1] for place, pair in enumerate(ordered)]


def edited(texts: Texts, strength: float, edit: Callable[[str], str]) -> Texts:
    """One side of every pair is edited: the chosen one in this share of the pairs."""
    chosen = strength * len(texts)
    return [(edit(c), r) if place < chosen else (c, edit(r)) for place, (c, r) in enumerate(texts)]


def with_list(response: str) -> str:
    return "- " + response.replace(". ", "\n- ").replace("! ", "\n- ")


def with_word(response: str) -> str:
    first, rest = response.split(" ", 1)
    return f"{first} tapestry {rest}"


def rows_of(texts: Texts, *, source: Callable[[int], str] = lambda n: "made", subset: str = "") -> list[TokenizedPair]:
    rows = []
    for number, (chosen, rejected) in enumerate(texts):
        sides = [(Message("assistant", side),) for side in (chosen, rejected)]
        pair = PreferencePair((Message("user", f"Question {number}"),), *sides, source=source(number), subset=subset)
        ids = [
            np.array([7, *(sum(map(ord, word)) for word in side.split()), 0], dtype=np.int32)
            for side in (chosen, rejected)
        ]
        rows.append(TokenizedPair(pair, *ids, "pairs.jsonl", number + 1, pair_keys(pair)))
    return rows


def survey(rows: Sequence[TokenizedPair], held_out: Sequence[int] = ()) -> Surveyed:
    """All rows through the survey, in chunks."""
    shortcuts = Shortcuts(Setting(Spec(), cast("Any", None), {}))
    for start in range(0, len(rows), 700):
        shortcuts.see(rows[start : start + 700])
    is_held_out = np.zeros(len(rows), dtype=bool)
    is_held_out[list(held_out)] = True
    return shortcuts.finish(
        Table(
            is_held_out=is_held_out,
            source=np.zeros(len(rows), dtype=np.int32),
            row=np.arange(1, len(rows) + 1),
            keys=np.frombuffer(b"".join(key for row in rows for key in row.keys), dtype="V16").reshape(-1, 3),
            lengths=np.array([(len(row.chosen_ids), len(row.rejected_ids)) for row in rows], dtype=np.int32).reshape(
                -1, 2
            ),
            cut=np.zeros(len(rows), dtype=np.int32),
            sources=[SourceCount(source="pairs.jsonl", role="train", read=len(rows), kept=len(rows), rejected=0)],
            rejected=cast("Any", ()),
            pairs=[row.pair for row in rows],
        )
    )


def record_of(surveyed: Surveyed) -> ShortcutsRecord:
    assert isinstance(surveyed.section, ShortcutsRecord)
    return surveyed.section


def codes(surveyed: Surveyed) -> set[str]:
    return {found.code for found in surveyed.found if found.count}


def feature(record: ShortcutsRecord, code: str) -> LoneRule:
    return next(feature.rule for feature in record.features if feature.code == code)


def model(record: ShortcutsRecord, name: str) -> float:
    return next(model.accuracy.value for model in record.models if model.name == name)


@pytest.fixture(scope="module")
def untouched() -> Surveyed:
    return survey(rows_of(clean()))


def test_clean_pairs_have_no_finding(untouched: Surveyed) -> None:
    assert codes(untouched) == set()
    record = record_of(untouched)
    assert record.pairs == record.prompts == record.sampled == PAIRS
    assert not any(rule.grade for rule in (*record.lengths, *record.features, *record.words, *record.openings))
    assert all(abs(model.accuracy.value - 0.5) < 0.03 for model in record.models)


@pytest.mark.parametrize("strength", STRENGTHS)
def test_a_planted_length_shortcut_is_measured(strength: float) -> None:
    surveyed = survey(rows_of(longer_first(clean(2600), strength)))
    record = record_of(surveyed)
    characters = record.lengths[0].rule
    assert characters.more + characters.less == record.pairs >= PAIRS
    for length in record.lengths:
        assert length.rule.accuracy == pytest.approx(strength, abs=0.03)
        assert length.rule.ci_low < strength + 0.03
        assert length.rule.ci_high > strength - 0.03
    assert model(record, "length") == pytest.approx(strength, abs=0.03)
    assert "length_shortcut" in codes(surveyed) if strength > 0.6 else codes(surveyed) == {"weak_shortcuts"}
    assert not codes(surveyed) & {"format_shortcut", "lexical_shortcut"}


@pytest.mark.parametrize("strength", STRENGTHS)
def test_a_planted_format_shortcut_is_measured(strength: float) -> None:
    surveyed = survey(rows_of(edited(clean(), strength, with_list)))
    record = record_of(surveyed)
    assert feature(record, "bullets").accuracy == pytest.approx(strength, abs=0.03)
    assert feature(record, "bullets").coverage == 1.0
    assert record.features[0].rule.p_value < 1e-6
    assert model(record, "surface") == pytest.approx(strength, abs=0.03)
    assert "format_shortcut" in codes(surveyed) if strength > 0.6 else codes(surveyed) == {"weak_shortcuts"}
    assert "lexical_shortcut" not in codes(surveyed)


@pytest.mark.parametrize("strength", STRENGTHS)
def test_a_planted_word_is_measured(strength: float) -> None:
    surveyed = survey(rows_of(edited(clean(), strength, with_word)))
    record = record_of(surveyed)
    first = record.words[0]
    assert (first.text, first.opening) == ("tapestry", False)
    assert first.rule.accuracy == pytest.approx(strength, abs=0.03)
    assert first.log_odds == pytest.approx(np.log(strength / (1 - strength)), abs=0.13)
    assert model(record, "words") == pytest.approx(strength, abs=0.03)
    assert "lexical_shortcut" in codes(surveyed) if strength > 0.6 else codes(surveyed) == {"weak_shortcuts"}
    assert not codes(surveyed) & {"format_shortcut"}


@pytest.mark.parametrize("strength", [0.7, 0.9])
def test_a_planted_opening_of_rejected_responses_is_found(strength: float) -> None:
    texts = edited(clean(), 1 - strength, lambda response: f"Certainly! {response}")
    record = record_of(survey(rows_of(texts)))
    assert feature(record, "opening_sure").accuracy == pytest.approx(1 - strength, abs=0.03)
    last = record.openings[-1]
    assert last.text == "certainly"
    assert last.rule.accuracy == pytest.approx(1 - strength, abs=0.03)
    assert last.z < -10


def test_what_a_classifier_learns_without_prompts_is_a_ceiling_and_a_finding() -> None:
    """Three words that are each right in a third of the pairs: no single one decides as many labels as all together."""
    texts = clean()
    draw = random.Random(4)
    words = [f"{word} and" for word in ("tapestry", "nuance", "realm")]
    planted = [(f"{draw.choice(words)} {chosen}", rejected) for chosen, rejected in texts[: len(texts) * 4 // 5]]
    surveyed = survey(rows_of([*planted, *texts[len(texts) * 4 // 5 :]]))
    words_model = next(model for model in record_of(surveyed).models if model.name == "words")
    assert words_model.accuracy.value == pytest.approx(0.9, abs=0.03)  # four fifths, and half of the rest
    assert words_model.right == pytest.approx(words_model.accuracy.value * PAIRS)
    found = next(found for found in surveyed.found if found.code == "prompt_blind_ceiling")
    assert (found.count, found.of) == (round(words_model.right), PAIRS)
    assert f"is right in {words_model.accuracy.value:.1%}" in found.summary


def test_names_from_the_data_cannot_command_a_terminal() -> None:
    texts = longer_first(clean(600), 0.9)
    half = len(texts) // 2
    surveyed = survey(rows_of(texts, source=lambda number: "\x1b[2J\u202eevil" if number < half else "other"))
    summary = next(found.summary for found in surveyed.found if found.code == "length_shortcut")
    assert "pairs of ?[2J?evil" in summary
    assert summary.isprintable()


def test_a_finding_says_what_was_measured() -> None:
    surveyed = survey(rows_of(longer_first(clean(), 0.9)))
    found = next(found for found in surveyed.found if found.code == "length_shortcut")
    rule = record_of(surveyed).lengths[0].rule
    assert (found.count, found.of) == (rule.more, rule.more + rule.less)
    assert f"the longer response (in characters) is chosen in {rule.accuracy:.1%}" in found.summary
    assert len(found.places) == 0


def test_what_cancels_over_sources_is_found_within_them() -> None:
    texts = clean()
    half = len(texts) // 2
    mixed = longer_first(texts[:half], 0.9) + longer_first(texts[half:], 0.1)
    surveyed = survey(rows_of(mixed, source=lambda number: "long" if number < half else "short"))
    record = record_of(surveyed)
    assert record.lengths[0].rule.accuracy == pytest.approx(0.5, abs=0.03)
    accuracies = {group.source: group.rules["characters"].accuracy for group in record.sources}
    assert accuracies == {"long": pytest.approx(0.9, abs=0.01), "short": pytest.approx(0.1, abs=0.01)}
    found = next(found for found in surveyed.found if found.code == "length_shortcut")
    assert found.count
    assert "pairs of long" in found.summary
    assert "the shorter response" in found.summary
    assert "pairs of short" in found.summary


def test_subsets_have_the_length_rule() -> None:
    rows = rows_of(longer_first(clean(400), 0.75), subset="chat") + rows_of(clean(300, seed=2), subset="code")
    subsets = {group.subset: group for group in record_of(survey(rows)).subsets}
    assert set(subsets) == {"chat", "code"}
    assert subsets["chat"].rules["characters"].accuracy == pytest.approx(0.75, abs=0.01)
    assert set(subsets["chat"].rules) == {"characters", "words", "tokens"}


def test_held_out_pairs_do_not_count() -> None:
    texts = longer_first(clean(600), 1.0) + longer_first(clean(600, seed=2), 0.0)
    rows = rows_of(texts)
    record = record_of(survey(rows, held_out=range(len(rows) // 2, len(rows))))
    assert record.pairs == len(rows) // 2
    assert record.lengths[0].rule.less <= 1


def test_pairs_of_equal_prompts_widen_the_interval() -> None:
    texts = longer_first(clean(400), 0.7)
    once = record_of(survey(rows_of(texts))).lengths[0].rule
    copies = record_of(survey([row for row in rows_of(texts) for _ in range(5)])).lengths[0].rule
    assert copies.more == 5 * once.more
    assert (copies.ci_low, copies.ci_high) == pytest.approx((once.ci_low, once.ci_high))


def test_a_handful_of_pairs_is_measured_without_a_finding() -> None:
    surveyed = survey(rows_of(longer_first(clean(90), 1.0)))
    assert record_of(surveyed).lengths[0].rule.accuracy == 1.0
    assert surveyed.found == []
    assert "length_shortcut" in codes(survey(rows_of(longer_first(clean(130), 1.0))))


def test_few_prompts_leave_the_classifiers_out() -> None:
    record = record_of(survey(rows_of(clean(30))))
    assert record.models == ()
    assert "30 prompts are too few" in record.models_left_out


def test_no_training_pair_gives_no_record() -> None:
    assert survey([]).section is None
    rows = rows_of(clean(3))
    assert survey(rows, held_out=range(3)).section is None


def test_the_same_rows_give_the_same_record() -> None:
    rows = rows_of(longer_first(clean(300), 0.7))
    assert survey(rows).section == survey(rows).section


def test_every_finding_has_its_check(untouched: Surveyed) -> None:
    assert {found.code for found in untouched.found} <= set(CHECKS)
