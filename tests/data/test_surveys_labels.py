"""Repeats, contradictions, cycles and stated margins: found where they were planted, and nowhere else."""

from __future__ import annotations

import random
from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from survey_rows import codes_of, found_in, pair, rows_of, spec_of, survey, table_of

from rewardsmith import statistics
from rewardsmith.data.surveys.labels import Labels, _histogram
from rewardsmith.data.surveys.survey import compare, first_of, numbered

CLEAN = [pair(f"Name river {n}.", f"The Loire, {n}.", f"Nantes, {n}.") for n in range(1000)]


def answers(prompt: str, *labels: str, **fields):
    """One pair for each label, written as two letters: "AB" prefers answer A to answer B."""
    return [pair(prompt, f"answer {better}", f"answer {worse}", **fields) for better, worse in labels]


def turned(one):
    return pair(one.prompt[0].content, one.rejected[0].content, one.chosen[0].content)


def labels(pairs, **options):
    return survey(Labels, rows_of(pairs), **options)


def test_clean_pairs_show_nothing():
    surveyed = labels(CLEAN)
    assert codes_of(surveyed) == {}
    section = surveyed.section
    assert (section.pairs, section.distinct_pairs, section.repeated, section.cyclic, section.cycles) == (
        1000,
        1000,
        0,
        0,
        0,
    )
    assert section.margins == ()
    assert codes_of(labels([])) == {}


@pytest.mark.parametrize("rate", [0.001, 0.01, 0.1])
@pytest.mark.parametrize("fault", ["duplicate_pair", "contradictory_pair", "preference_cycle"])
def test_planted_rows_are_all_found_and_no_others(fault, rate):
    draw = random.Random(f"{fault}{rate}")
    pairs = list(CLEAN)
    if fault == "preference_cycle":
        for n in range(round(rate * len(CLEAN))):
            pairs += answers(f"Which town, {n}?", "AB", "BC", "CA")
    else:
        chosen = draw.sample(CLEAN, round(rate * len(CLEAN)))
        pairs += chosen if fault == "duplicate_pair" else [turned(one) for one in chosen]
    draw.shuffle(pairs)
    surveyed = labels(pairs)
    words = [(p.prompt, p.chosen, p.rejected) for p in pairs]
    expected = {
        "duplicate_pair": [n for n, word in enumerate(words) if word in words[:n]],
        "contradictory_pair": [n for n, (p, c, r) in enumerate(words) if (p, r, c) in words],
        "preference_cycle": [n for n, one in enumerate(pairs) if "town" in one.prompt[0].content],
    }
    assert codes_of(surveyed) == {fault: expected[fault]}
    left = np.delete(np.arange(len(pairs)), found_in(surveyed, fault).remove)
    assert codes_of(labels([pairs[place] for place in left])) == {}


def test_duplicates_name_the_first_row_and_only_the_others_go():
    surveyed = labels([CLEAN[0], CLEAN[1], CLEAN[0], CLEAN[0]])
    found = found_in(surveyed, "duplicate_pair")
    assert found.places.tolist() == found.remove.tolist() == [2, 3]
    assert found.detail(3) == "the same pair as a.jsonl:1"
    assert (surveyed.section.distinct_pairs, surveyed.section.repeated) == (2, 2)


def test_what_stands_on_both_sides_of_the_split_is_no_duplicate():
    rows = [CLEAN[0], CLEAN[0], turned(CLEAN[0]), *answers("p", "AB", "BC", "CA")]
    assert codes_of(labels(rows[:2], held_out=[1])) == {}
    assert codes_of(labels(rows, held_out=[2, 5])) == {"duplicate_pair": [1]}
    assert codes_of(labels(rows[:2], held_out=[0, 1])) == {"duplicate_pair": [1]}


def test_contradictions_keep_the_majority_or_nothing():
    one, other = CLEAN[0], turned(CLEAN[0])
    surveyed = labels([one, other, CLEAN[1], one, turned(CLEAN[2]), CLEAN[2]])
    found = found_in(surveyed, "contradictory_pair")
    assert found.places.tolist() == [0, 1, 3, 4, 5]
    assert found.remove.tolist() == [1, 4, 5]
    assert found.detail(3) == "a.jsonl:2 has the same pair with the opposite label"
    assert found.detail(1) == "a.jsonl:1 has the same pair with the opposite label"
    assert (surveyed.section.contradictory, surveyed.section.contradictory_comparisons) == (5, 2)
    wilson = statistics.wilson_interval(1 / 3, 2)
    assert found.summary == (
        "of 2 comparisons that were labelled more than once, two labels agree in 16.7% (95 % interval "
        f"{wilson.low:.1%} to {wilson.high:.1%}): no model is right in more than 50.0% of such labels"
    )


def test_pairs_without_a_prompt_are_compared_by_their_responses():
    surveyed = labels([pair("", "a", "b"), pair("", "b", "a"), pair("", "a", "b"), pair("", "a", "c")])
    assert codes_of(surveyed) == {"duplicate_pair": [2], "contradictory_pair": [0, 1, 2]}


def test_equal_texts_in_other_roles_are_not_equal():
    one = pair("x", "a", "b")
    other = pair("", "a", "b")
    assert codes_of(labels([one, other, pair("y", "a", "b")])) == {}


def test_a_cycle_is_shown_as_a_way_round():
    pairs = [*CLEAN[:2], *answers("Which?", "AB", "DE", "CA", "BC")]
    surveyed = labels(pairs)
    found = found_in(surveyed, "preference_cycle")
    assert found.places.tolist() == found.remove.tolist() == [2, 4, 5]
    words = "each rejects what the next one prefers: "
    assert found.detail(2) == words + "a.jsonl:3 → a.jsonl:6 → a.jsonl:5 → a.jsonl:3"
    assert found.detail(4) == words + "a.jsonl:5 → a.jsonl:3 → a.jsonl:6 → a.jsonl:5"
    (shown,) = surveyed.section.shown
    assert sorted(shown.rows) == ["a.jsonl:3", "a.jsonl:5", "a.jsonl:6"]
    assert (surveyed.section.cyclic, surveyed.section.cycles) == (3, 1)


def test_the_shortest_cycle_is_shown():
    pairs = answers("Which?", "AB", "BC", "CD", "DA", "CA")  # through CA in three steps, through CD in four
    found = found_in(labels(pairs), "preference_cycle")
    assert found.places.tolist() == [0, 1, 2, 3, 4]
    assert found.detail(4).count("→") == 3
    assert found.detail(3).count("→") == 4


def test_one_upset_among_ordered_answers_is_taken_out_alone():
    ordered = ["".join(two) for two in combinations("ABCDEFGH", 2) if two != ("A", "H")]
    pairs = answers("Which?", *ordered, "HA")
    found = found_in(labels(pairs), "preference_cycle")
    assert found.remove.tolist() == [len(ordered)]
    assert codes_of(labels(pairs[:-1])) == {}


@pytest.mark.parametrize(
    "labelled",
    [
        ["AB", "BC", "AC"],  # transitive
        ["AB", "BA"],  # a contradiction, no cycle
        ["AB", "BA", "BC", "CB"],  # a chain of contradictions
        ["AB", "BA", "BC", "CA"],  # what is left without the contradiction goes down
        ["AB", "BA", "BA", "BC", "CA"],  # the majority goes down
    ],
)
def test_what_is_no_cycle_of_three(labelled):
    assert "preference_cycle" not in codes_of(labels(answers("Which?", *labelled)))


def test_answers_of_two_prompts_make_no_cycle():
    assert codes_of(labels([*answers("p", "AB", "BC"), *answers("q", "CA")])) == {}


def test_a_repeated_label_on_a_cycle_is_on_it_too():
    surveyed = labels(answers("p", *["AB"] * 300, "BC", "CA"))  # more than a byte counts
    assert len(found_in(surveyed, "preference_cycle").places) == 302
    assert found_in(surveyed, "preference_cycle").detail(299).count("→") == 3


def test_a_cycle_among_very_many_labels_is_named_without_a_search():
    many = [f"a{n}" for n in range(1200)]
    ring = [pair("p", one, other) for one, other in zip(many, [*many[1:], many[0]], strict=True)]
    surveyed = labels(ring)
    assert found_in(surveyed, "preference_cycle").detail(0).startswith("one of more than a thousand labels")
    assert surveyed.section.shown == ()
    assert len(found_in(surveyed, "preference_cycle").places) == 1200


def reaches(edges, start, end):
    """Whether a walk leads from one answer to another; by hand, not by components."""
    seen, waiting = {start}, [start]
    while waiting:
        here = waiting.pop()
        for one, other in edges:
            if one == here and other not in seen:
                seen.add(other)
                waiting.append(other)
    return end in seen


@given(st.lists(st.sampled_from(["".join(two) for two in permutations("ABCDE", 2)]), max_size=14))
def test_cycles_are_those_of_a_search_by_hand_and_the_fix_leaves_none(labelled):
    edges = [tuple(label) for label in labelled]
    clear = [edge for edge in edges if edges.count(edge) > edges.count(edge[::-1])]
    expected = [n for n, (a, b) in enumerate(edges) if (a, b) in clear and reaches(clear, b, a)]
    surveyed = labels(answers("p", *labelled))
    found = found_in(surveyed, "preference_cycle")
    assert found.places.tolist() == expected
    for place in expected:
        assert found.detail(place).count("→") >= 3
    gone = set(found.remove.tolist()) | set(found_in(surveyed, "contradictory_pair").remove.tolist())
    left = [label for n, label in enumerate(labelled) if n not in gone]
    assert set(codes_of(labels(answers("p", *left)))) <= {"duplicate_pair"}


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 1)), max_size=30))
def test_numbers_are_equal_where_rows_are(rows):
    columns = np.array(rows, dtype=np.int64).reshape(-1, 2).T
    numbers = numbered(*columns)
    distinct = set(rows)
    assert set(numbers.tolist()) == set(range(len(distinct)))
    assert all((numbers[i] == numbers[j]) == (rows[i] == rows[j]) for i in range(len(rows)) for j in range(i))
    assert [rows[place] for place in first_of(numbers)] == [
        rows[numbers.tolist().index(n)] for n in range(len(distinct))
    ]


def test_votes_count_labels_in_both_directions():
    table = table_of(rows_of([CLEAN[0], turned(CLEAN[0]), CLEAN[0], CLEAN[1]]))
    forward, everyone = compare(table.keys).votes()
    assert sorted(zip(np.minimum(forward, everyone - forward).tolist(), everyone.tolist(), strict=True)) == [
        (0, 1),
        (1, 3),
    ]


def margins(values, **source):
    pairs = [
        pair(f"p{n}", "a", "b", **({"unread_margin": value} if isinstance(value, str) else {"target_margin": value}))
        for n, value in enumerate(values)
    ]
    return labels(pairs, spec=spec_of({"path": "a.jsonl", **source}))


def test_margins_that_cannot_be_right():
    surveyed = margins([1.0, 2.0, None, "'much'", -0.5, 0.0, 999.0, 3.0])
    assert codes_of(surveyed) == {
        "margin_unread": [3],
        "margin_out_of_range": [6],
        "margin_against_label": [4],
        "margin_zero": [5],
    }
    assert found_in(surveyed, "margin_unread").detail(3) == "the margin is 'much'"
    assert found_in(surveyed, "margin_against_label").detail(4) == "the margin is -0.5"
    assert found_in(surveyed, "margin_out_of_range").detail(6) == "the margin is 999; from -200 to 200 is allowed"
    assert found_in(surveyed, "margin_against_label").of == 6
    assert all(found_in(surveyed, code).remove is None for code in codes_of(surveyed))
    (one,) = surveyed.section.margins
    assert (one.source, one.stated, one.unread, one.zero, one.negative, one.out_of_range) == ("a.jsonl", 6, 1, 1, 1, 1)
    wilson = statistics.wilson_interval(1, 6)
    assert one.negative_ci == (wilson.low, wilson.high)
    assert one.quantiles == {"min": -0.5, "p05": -0.375, "p50": 1.5, "p95": 750.0, "max": 999.0}
    assert (one.allowed, one.declared, sum(one.counts), len(one.edges)) == ((-200.0, 200.0), False, 5, 21)


def test_a_declared_range_is_taken_at_its_word():
    surveyed = margins([0.0, 3.0, 3.1, -0.1], target_margin_range=[0, 3])
    assert codes_of(surveyed)["margin_out_of_range"] == [2, 3]
    (one,) = surveyed.section.margins
    assert (one.allowed, one.declared) == ((0.0, 3.0), True)


def test_every_source_has_its_own_scale():
    rows = [
        *rows_of([pair(f"p{n}", "a", "b", target_margin=1.0) for n in range(9)], "a.jsonl"),
        *rows_of([pair(f"q{n}", "a", "b", target_margin=1000.0) for n in range(9)], "b.jsonl"),
    ]
    surveyed = survey(Labels, rows, spec=spec_of({"path": "a.jsonl"}, {"path": "b.jsonl"}))
    assert codes_of(surveyed) == {}
    assert [one.allowed for one in surveyed.section.margins] == [(-100.0, 100.0), (-1e5, 1e5)]


@pytest.mark.parametrize("values", [[0.0, 0.0], ["'x'", None], [None]])
def test_sources_without_a_scale(values):
    surveyed = margins(values)
    assert "margin_out_of_range" not in codes_of(surveyed)
    assert [one.allowed for one in surveyed.section.margins] == [None] * (values != [None])


@pytest.mark.parametrize("rate", [0.001, 0.01, 0.1])
@pytest.mark.parametrize(
    ("code", "value"), [("margin_out_of_range", 1e6), ("margin_against_label", -1.0), ("margin_zero", 0.0)]
)
def test_planted_margins_are_all_found_and_no_others(code, value, rate):
    draw = random.Random(rate)
    values = [draw.choice([0.25, 0.5, 1.0, 2.0, 3.0]) for _ in range(1000)]
    assert codes_of(margins(values)) == {}
    planted = sorted(draw.sample(range(1000), round(1000 * rate)))
    for place in planted:
        values[place] = value
    assert codes_of(margins(values)) == {code: planted}


@given(st.floats(0.1, 5), st.lists(st.floats(-4, 4), min_size=1, max_size=40))
def test_margins_drawn_from_a_normal_distribution_are_plausible(scale, noise):
    values = [scale * (1 if abs(value) < 0.05 else value) for value in noise]
    median = np.median([abs(value) for value in values])
    surveyed = margins(values)
    expected = [n for n, value in enumerate(values) if abs(value) > 100 * median]
    assert codes_of(surveyed).get("margin_out_of_range", []) == expected


def test_a_range_from_high_to_low_is_refused():
    with pytest.raises(ValueError, match="no margin lies between these"):
        spec_of({"path": "a.jsonl", "target_margin_range": [3, 0]})


def test_a_histogram_of_margins_that_are_hardly_apart() -> None:
    close = np.array([1.0, np.nextafter(1.0, 2.0), 1.0])
    counts, edges = _histogram(close)
    assert (counts.sum(), counts.max(), len(counts)) == (3, 3, len(edges) - 1)
    counts, edges = _histogram(np.array([0.0, 5e-324]))
    assert (counts.sum(), edges[0], edges[-1]) == (2, -0.5, 0.5)
    counts, edges = _histogram(np.array([3.4e38, np.nextafter(3.4e38, 0)]))
    assert counts.sum() == 2
    spread = np.array([0.0, 1.0, 3.0])
    for found, wanted in zip(_histogram(spread), np.histogram(spread, bins=len(counts)), strict=True):
        np.testing.assert_array_equal(found, wanted)
