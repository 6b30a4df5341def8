"""What holds for every form: sides and order decide nothing, and every row and comparison is accounted for."""

from __future__ import annotations

import itertools
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rendering_tokenizers import chatml

from rewardsmith.data.prepare import prepare
from rewardsmith.data.registry import CHECKS
from rewardsmith.data.sources import read_source
from rewardsmith.data.store import pair_keys
from rewardsmith.errors import RewardsmithError
from rewardsmith.records.files import to_json
from rewardsmith.rendering import Renderer
from rewardsmith.report.sections.data import counts_hold
from rewardsmith.spec import SourceSpec, Spec

RENDERER = Renderer.from_tokenizer(chatml(), max_length=400)
words = st.text("abcdefgh ", min_size=1, max_size=12).map(lambda text: f"x{text}x")
scores = st.integers(-3, 3)
answers = st.lists(st.tuples(words, scores), min_size=2, max_size=5, unique_by=lambda one: one[0])
COMPARED = {"kind": "comparison", "first": "a", "second": "b"}


def read(rows, **source):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.jsonl")
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        spec = SourceSpec.model_validate({"path": str(path), "label": "rows", **source})
        found = read_source(spec, role="train", strings="chat", seed=0, embedded={})
    return [pair for _, pair in found.pairs], [row.reason for row in found.rejected]


def texts(pairs):
    return sorted(((pair.prompt, pair.chosen, pair.rejected, pair.target_margin) for pair in pairs), key=repr)


def same_pairs(one, other, margins=True):
    cut = 4 if margins else 3
    return [row[:cut] for row in texts(one)] == [row[:cut] for row in texts(other)]


ONE_OR_NONE = {"first": [1], "second": [-1], "tie": [0]}
WORDS = {"A is much better": 3, "B is much better": -3, "tie": 0}
WAYS = {
    "verdict": (lambda n: {"w": n}, {"verdict": {"column": "w", "values": {"first": [1], "second": [-1], "tie": [0]}}}),
    "strength": (lambda n: {"w": n * 2.5}, {"strength": {"column": "w", "first_is": "positive"}}),
    "scores": (lambda n: {"p": 4 + n, "q": 4}, {"scores": {"first": "p", "second": "q"}}),
    "one_hot": (
        lambda n: {"p": int(n > 0), "q": int(n < 0), "t": int(n == 0)},
        {"one_hot": {"first": "p", "second": "q", "tie": "t"}},
    ),
    "named": (lambda n: {"w": {1: "a", -1: "b", 0: "tie"}[n]}, {"named": {"column": "w", "tie": ["tie"]}}),
    "votes": (
        lambda n: {"w": {1: ["l", "l", "r"], -1: ["r", "r", "l"], 0: ["l", "r"]}[n]},
        {"votes": {"column": "w", "values": {"first": ["l"], "second": ["r"]}}},
    ),
    "rankings": (
        lambda n: {"w": [{"value": ["b", "a"], "rank": {1: [2, 1], -1: [1, 2], 0: [1, 1]}[n]}]},
        {"rankings": {"column": "w"}},
    ),
    "ordered_names": (
        lambda n: {"w": {1: [["a", "b"]], -1: [["b", "a"]], 0: [["a", "b"], ["b", "a"]]}[n]},
        {"rankings": {"column": "w"}},
    ),
    "ranked_items": (
        lambda n: {
            "w": [[{"value": "b", "rank": 2 + n}, {"value": "a", "rank": 2}], [{"value": "a", "rank": 2 + n}]],
            "u": ["submitted", "discarded"],
        },
        {"rankings": {"column": "w", "status": "u"}},
    ),
    "counted_votes": (
        lambda n: {"w": [n, -n, 1], "u": [{"is": True}, {"is": False}, {}]},
        {"votes": {"column": "w", "values": ONE_OR_NONE, "status": "u[*].is", "counted": [True]}},
    ),
    "probability": (
        lambda n: {"w": 0.5 + n / 4},  # whole quarters: their difference is exact from both sides
        {"probability": {"column": "w"}},
    ),
    "probability_of_second": (
        lambda n: {"w": [0.5 + n / 4, 0.5 - n / 4]},
        {"probability": {"column": "w[1]", "of": "second"}},
    ),
    "words": (
        lambda n: {"w": {1: "A is much better", -1: "b is MUCH better ", 0: "tie"}[n]},
        {"strength": {"column": "w", "first_is": "positive", "words": WORDS}},
    ),
    "thumbs": (lambda n: {"p": n > 0, "q": n < 0, "t": n == 0}, {"one_hot": {"first": "p", "second": "q", "tie": "t"}}),
    "ranks": (lambda n: {"p": f"{2 - n}", "q": 2.0}, {"scores": {"first": "p", "second": "q", "better": "lower"}}),
}


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=20)
@given(one=words, other=words, winner=st.sampled_from([-1, 0, 1]))
def test_swapping_the_answers_and_the_label_gives_the_same_pair(way, one, other, winner):
    assume(one != other)
    said, form = WAYS[way]
    straight, reasons = read([{"prompt": "q", "a": one, "b": other, **said(winner)}], form={**COMPARED, **form})
    swapped, again = read([{"prompt": "q", "a": other, "b": one, **said(-winner)}], form={**COMPARED, **form})
    assert same_pairs(straight, swapped)
    assert reasons == again == ([] if winner else ["tie"])
    for pair in straight:
        assert pair.chosen[0].content == (one if winner > 0 else other)


@given(found=answers, data=st.data(), which=st.sampled_from(["all", "best_vs_rest", "adjacent"]))
@settings(max_examples=60)
def test_the_order_of_a_list_decides_nothing(found, data, which):
    cap = data.draw(st.sampled_from([None, 1, 2]))
    form = {"kind": "list", "answers": "l", "text": "t", "score": "s", "better": "higher", "pairs": which}
    form |= {"max_pairs": cap} if cap else {}
    shuffled = data.draw(st.permutations(found))
    rows = [[{"prompt": "q", "l": [{"t": text, "s": score} for text, score in order]}] for order in (found, shuffled)]
    assert same_pairs(read(rows[0], form=form)[0], read(rows[1], form=form)[0])


@given(data=st.data(), many=st.integers(2, 4), said=st.integers(1, 5))
@settings(max_examples=40)
def test_rankings_are_votes_whoever_gave_them_and_wherever_the_answers_stand(data, many, said):
    """Numpy counts the votes; the order of annotators and columns changes nothing, negated ranks swap every pair."""
    names = [f"r{place}" for place in range(many)]
    ranks = np.array([data.draw(st.lists(st.integers(1, 3), min_size=many, max_size=many)) for _ in range(said)])

    def pairs_of(ranks_AN, names):
        rankings = [{"value": names, "rank": [int(rank) for rank in ranks_N]} for ranks_N in ranks_AN]
        row = {"prompt": "q", **{name: f"text {name}" for name in names}, "w": rankings}
        form = {"kind": "list", "answers": names, "better": "lower", "rankings": {"column": "w"}}
        return {(p.chosen[0].content, p.rejected[0].content, p.target_margin) for p in read([row], form=form)[0]}

    wanted = set()
    for one, other in itertools.permutations(range(many), 2):
        votes = np.sign(ranks[:, other] - ranks[:, one])  # 1: the one has the better rank
        for_it, against, neither = (votes == 1).sum(), (votes == -1).sum(), (votes == 0).sum()
        if for_it > against and for_it > neither:
            wanted.add((f"text {names[one]}", f"text {names[other]}", float(for_it - against)))
    found = pairs_of(ranks, names)
    assert found == wanted
    columns = np.array(data.draw(st.permutations(range(many))))
    assert pairs_of(ranks[data.draw(st.permutations(range(said)))][:, columns], [names[c] for c in columns]) == found
    assert pairs_of(-ranks, names) == {(rejected, chosen, margin) for chosen, rejected, margin in found}


def rows_of(found):
    """The same answers in every way in which a row may hold them, with the form that says so."""
    texts, numbers = [text for text, _ in found], [number for _, number in found]
    levels = sorted(set(numbers), reverse=True)
    ends, spoken = "abcde"[: len(found)], ("one", "two", "three", "four", "five")[: len(found)]

    def ranking(names):
        return ">".join("=".join(name for name, n in zip(names, numbers, strict=True) if n == one) for one in levels)

    listed, columns = {"answers": "l"}, {"answers": [f"answer_{end}" for end in ends]}
    apart = {f"answer_{end}": text for end, text in zip(ends, texts, strict=True)}
    named = dict(zip(spoken, texts, strict=True))
    higher, lower = {"better": "higher"}, {"better": "lower"}
    return {
        "items": ({"l": [{"t": t, "s": n} for t, n in found]}, {**listed, "text": "t", "score": "s", **higher}),
        "text": (
            {"l": json.dumps([{"t": t, "s": n} for t, n in found])},
            {**listed, "text": "t", "score": "s", **higher},
        ),
        "words": (
            {"l": [{"t": t, "s": f"{n} points"} for t, n in found]},
            {**listed, "text": "t", "score": "s", "words": {f"{n} points": n for n in numbers}, **higher},
        ),
        "beside": ({"l": texts, "s": numbers}, {**listed, "scores": "s", **higher}),
        "object": ({"l": named, "s": dict(zip(spoken, numbers, strict=True))}, {**listed, "scores": "s", **higher}),
        "columns": (
            {**apart, **{f"s_{end}": -n for end, n in zip(ends, numbers, strict=True)}},
            {**columns, "scores": [f"s_{end}" for end in ends], **lower},
        ),
        "letters": ({"l": texts, "r": ranking(ends.upper())}, {**listed, "ranking": "r", **lower}),
        "endings": ({**apart, "r": ranking(ends)}, {**columns, "ranking": "r", **lower}),
        "fields": ({"l": named, "r": ranking(spoken)}, {**listed, "ranking": "r", **lower}),
        "called": ({"l": texts, "r": ranking(spoken)}, {**listed, "ranking": "r", "called": spoken, **lower}),
        "called_columns": ({**apart, "r": ranking(spoken)}, {**columns, "ranking": "r", "called": spoken, **lower}),
        "levels": (
            {"l": texts, "r": [[e for e, n in zip(ends, numbers, strict=True) if n == one] for one in levels]},
            {**listed, "ranking": "r", **lower},
        ),
    }


LISTS = tuple(rows_of([("x", 1), ("y", 2)]))


@pytest.mark.parametrize("way", LISTS)
@given(found=answers, data=st.data(), which=st.sampled_from(["all", "best_vs_rest", "adjacent"]))
@settings(max_examples=10)
def test_however_a_list_is_written_and_ordered_its_pairs_are_the_same(way, found, data, which):
    more = {"kind": "list", "pairs": which} | data.draw(st.sampled_from([{}, {"max_pairs": 1}, {"max_pairs": 2}]))
    (plain, form), (row, other) = rows_of(found)["items"], rows_of(data.draw(st.permutations(found)))[way]
    one, reasons = read([{"prompt": "q", **plain}], form={**form, **more})
    two, again = read([{"prompt": "q", **row}], form={**other, **more})
    assert same_pairs(one, two, margins="ranking" not in other)
    assert reasons == again
    for pair in two:
        assert dict(found)[pair.chosen[0].content] > dict(found)[pair.rejected[0].content]


def test_names_of_a_ranking_belong_to_their_columns_where_a_row_lacks_an_answer():
    form = {"kind": "list", "answers": ["x", "y", "z"], "ranking": "r", "called": ["red", "green", "blue"]}
    form["better"] = "lower"
    pairs, _ = read([{"prompt": "q", "x": "first", "y": None, "z": "third", "r": "blue>red"}], form=form)
    assert [(pair.chosen[0].content, pair.rejected[0].content) for pair in pairs] == [("third", "first")]
    assert read([{"prompt": "q", "x": "first", "y": None, "z": "third", "r": "green>red"}], form=form) == (
        [],
        ["unknown_verdict"],
    )


@pytest.mark.parametrize("thumbs", [(1, 0), (True, False), ("1", "0"), ("true", "False"), (1.0, 0.0)], ids=str)
@given(
    found=st.lists(st.tuples(words, st.booleans()), min_size=2, max_size=4, unique_by=lambda one: one[0]),
    data=st.data(),
)
@settings(max_examples=10)
def test_thumbs_of_one_prompt_make_a_pair_of_each_good_and_bad_answer(thumbs, found, data):
    up, down = thumbs
    rows = [{"prompt": "q", "t": text, "s": up if good else down} for text, good in data.draw(st.permutations(found))]
    words = {"words": {"true": 1, "false": 0}} if up == "true" else {}
    pairs, _ = read(rows, form={"kind": "grouped", "answer": "t", "score": "s", "better": "higher", **words})
    made = {(pair.chosen[0].content, pair.rejected[0].content) for pair in pairs}
    assert made == {(one, other) for one, good in found for other, bad in found if good and not bad}
    assert len(pairs) == len(made)


@given(found=answers, scale=st.sampled_from([lambda n: n**3, lambda n: 10 * n + 7, lambda n: 2.0**n]))
@settings(max_examples=40)
def test_a_rising_map_of_the_scores_changes_margins_and_never_pairs(found, scale):
    form = {"kind": "list", "answers": "l", "text": "t", "score": "s", "better": "higher", "max_pairs": 3}
    one, _ = read([{"prompt": "q", "l": [{"t": text, "s": score} for text, score in found]}], form=form)
    other, _ = read([{"prompt": "q", "l": [{"t": text, "s": scale(score)} for text, score in found]}], form=form)
    assert same_pairs(one, other, margins=False)
    for pair in one:
        gap = dict(found)[pair.chosen[0].content] - dict(found)[pair.rejected[0].content]
        assert pair.target_margin == gap > 0


@given(found=answers, data=st.data())
@settings(max_examples=40)
def test_rows_of_one_prompt_give_what_a_list_of_them_gives(found, data):
    ranked = {"better": "lower", "min_gap": 2, "max_pairs": 4}
    listed = {"prompt": "q", "l": [text for text, _ in found], "s": [score for _, score in found]}
    alone = [{"prompt": "q", "t": text, "s": score} for text, score in found]
    others = [{"prompt": f"other {n}", "t": "y", "s": 0} for n in range(2)]
    rows = data.draw(st.permutations([*alone, *others]))
    one, _ = read([listed], form={"kind": "list", "answers": "l", "scores": "s", **ranked})
    other, reasons = read(rows, form={"kind": "grouped", "answer": "t", "score": "s", **ranked})
    assert same_pairs(one, other)
    assert reasons.count("no_comparison") >= 2


def test_a_list_makes_the_pairs_that_it_says():
    rows = [{"prompt": "q", "l": ["best", "good", "good too", "bad"], "s": [9, 5, 5, 1]}]

    def made(**more):
        form = {"kind": "list", "answers": "l", "scores": "s", "better": "higher", **more}
        return {(p.chosen[0].content, p.rejected[0].content, p.target_margin, p.id) for p in read(rows, form=form)[0]}

    every = {
        ("best", "good", 4.0, "1:0-1"), ("best", "good too", 4.0, "1:0-2"), ("best", "bad", 8.0, "1:0-3"),
        ("good", "bad", 4.0, "1:1-3"), ("good too", "bad", 4.0, "1:2-3"),
    }  # fmt: skip
    assert made() == every
    assert made(pairs="best_vs_rest") == {pair for pair in every if pair[0] == "best"}
    assert made(min_gap=5) == {("best", "bad", 8.0, "1:0-3")}
    assert len(made(pairs="adjacent")) == 2  # one of its three neighbours is an equal
    assert {(b, a) for a, b, *_ in made(better="lower")} == {(a, b) for a, b, *_ in every}


turn = st.sampled_from(["system", "user", "assistant"])


@given(prompt=words, chosen=words, rejected=words, system=st.none() | words)
@settings(max_examples=30)
def test_what_is_written_out_and_read_back_is_the_same(prompt, chosen, rejected, system):
    assume(len({prompt, chosen, rejected}) == 3)
    asked = [{"role": "user", "content": prompt}]
    lead = [{"role": "system", "content": system}] if system else []
    sides = {name: [{"role": "assistant", "content": text}] for name, text in (("c", chosen), ("r", rejected))}
    human = f"\n\nSystem: {system}" if system else ""
    human += f"\n\nHuman: {prompt}\n\nAssistant:"
    im = "".join(f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in [*lead, *asked])
    im += "<|im_start|>assistant\n"
    marked = f"{f'<extra_id_0>System{chr(10)}{system}{chr(10)}<extra_id_1>User{chr(10)}' if system else ''}{prompt}"
    marked += "\n<extra_id_1>Assistant\n"
    first = "" if system else "<extra_id_1>User\n"  # a side that is a whole transcript begins with a marker
    written = [
        ({"prompt": [*lead, *asked], "chosen": sides["c"], "rejected": sides["r"]}, {}),
        ({"chosen": [*lead, *asked, *sides["c"]], "rejected": [*lead, *asked, *sides["r"]]}, {}),
        ({"prompt": prompt, "s": system, "chosen": chosen, "rejected": rejected}, {"columns": {"system": "s"}}),
        ({"prompt": human, "chosen": f" {chosen}", "rejected": f" {rejected}"}, {"form": "transcript"}),
        ({"chosen": f"{human} {chosen}", "rejected": f"{human} {rejected}"}, {"form": "transcript"}),
        (
            {"prompt": im, "chosen": f"{chosen}<|im_end|>\n", "rejected": f"{rejected}<|im_end|>"},
            {"form": {"kind": "transcript", "transcript": "chatml"}},
        ),
        (
            {"prompt": marked, "chosen": chosen, "rejected": rejected},
            {"form": {"kind": "transcript", "transcript": "extra_id"}},
        ),
        (
            {name: f"{first}{marked}{text}" for name, text in (("chosen", chosen), ("rejected", rejected))},
            {"form": {"kind": "transcript", "transcript": "extra_id"}},
        ),
        (
            {"p": marked, "a": rejected, "b": chosen, "w": 0.25},
            {
                "columns": {"prompt": "p"},
                "form": {**COMPARED, "probability": {"column": "w"}, "transcript": "extra_id"},
            },
        ),
        (
            {
                "input": {"messages": [*lead, *asked]},
                "preferred_output": sides["c"],
                "non_preferred_output": sides["r"],
            },
            {"form": "openai"},
        ),
    ]
    keys = {pair_keys(read([row], **source)[0][0]) for row, source in written}
    assert len(keys) == 1


junk = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=6) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abtsrole"), inner, max_size=3),
    max_leaves=5,
)
columns = ("prompt", "a", "b", "w", "u", "r", "p", "q", "t", "l", "s", "chosen", "rejected", "input", "tools", "system")
rows = st.lists(st.dictionaries(st.sampled_from(columns), junk | words, max_size=12), min_size=1, max_size=5)
FORMS = [
    *({**COMPARED, **form} for _, form in WAYS.values()),
    {"kind": "list", "answers": "l", "text": "t", "score": "s", "better": "lower"},
    {"kind": "list", "answers": "l", "scores": "s", "better": "higher", "min_gap": 1, "max_pairs": 1},
    {"kind": "grouped", "answer": "t", "score": "s", "better": "higher", "max_pairs": 1},
    {"kind": "list", "answers": "l", "text": "t", "ranking": "r", "better": "lower"},
    {"kind": "list", "answers": ["a", "b", "t"], "ranking": "r", "called": ["b", "a", 3], "better": "lower"},
    {"kind": "list", "answers": ["a", "b", "t"], "scores": ["p", "q", "s"], "better": "higher", "pairs": "adjacent"},
    {"kind": "grouped", "answer": "t", "score": "p", "better": "higher", "words": {"true": 1, "1": 1, "false": 0}},
    {"kind": "transcript"},
    {"kind": "transcript", "transcript": "extra_id"},
    {"kind": "openai"},
    {"kind": "pair", "ties": {"w": ["tie"]}, "equal_scores": "tie"},
    {"kind": "pair", "by_turn": True},
    {"kind": "pair", "repeated": True, "strip": True},
]
GOOD = {
    "prompt": "q one", "a": "yes it is", "b": "no never", "w": 1, "p": 1, "q": 0, "t": "an answer", "s": 2,
    "l": [{"t": "yes", "s": 1}, {"t": "no", "s": 2}], "chosen": "good one", "rejected": "bad one",
    "input": {"messages": [{"role": "user", "content": "hm"}]}, "preferred_output": "yes", "non_preferred_output": "no",
    "r": "a>b", "u": ["submitted"],
}  # fmt: skip


def record_or_refusal(spec):
    try:
        return prepare(spec, RENDERER).record
    except RewardsmithError as error:
        return error


@pytest.mark.parametrize("form", FORMS, ids=lambda form: "-".join(map(str, [form["kind"], *list(form)[3:]])))
@settings(max_examples=15)
@given(content=rows, share=st.sampled_from([{}, {"share": 0.5}, {"rows": 2}]))
def test_whatever_stands_in_a_row_every_row_is_accounted_for(form, content, share):
    everything = [GOOD, *({**GOOD, **row} for row in content), *content, {**GOOD, "prompt": "q two", "t": "z", "s": 1}]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.jsonl")
        path.write_text("".join(json.dumps(row) + "\n" for row in everything))
        source = {"path": str(path), "form": form, "ignore": ["w", "p", "q"], **share}
        spec = Spec.model_validate({"data": {"train": [source], "max_length": 400}})
        record = record_or_refusal(spec)
    if isinstance(record, RewardsmithError):
        assert record.problem
        assert record.fix
        return
    (found,) = record.sources
    assert found.read == len(everything) == found.used + found.unused + found.mixed_out
    assert found.formed == found.pairs + found.ties + found.capped
    assert found.pairs == found.kept + found.rejected - found.unused
    assert counts_hold(record)
    assert set(record.rejected_by_reason) <= set(CHECKS)
    assert type(record).model_validate_json(to_json(record)) == record
