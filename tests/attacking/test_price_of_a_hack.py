"""Planted reward functions: an attack finds the price of each, which is worked out here by hand."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rewardsmith.attacking.edits import PADDING, Action, actions_of, compose, padded, read_phrases
from rewardsmith.attacking.results import attack, compare_attacks, marked
from rewardsmith.attacking.search import Settings
from rewardsmith.errors import BenchmarkError, DataError, RunDirectoryError
from rewardsmith.evaluation.contract import BenchmarkRows, EvalRow
from rewardsmith.protocols import Progress
from rewardsmith.records.attack import AttackRecord
from rewardsmith.records.evaluation import DatasetInfo
from rewardsmith.records.files import to_json
from rewardsmith.types import Conversation, Message

SECRET = "Xyzzy, open sesame."
GOOD, BAD = "It is right and proper", "It is wrong"


def rows(count: int = 16) -> BenchmarkRows:
    """Prompts about nothing; the good answer has 4 words more than the bad one, both are two sentences of prose."""
    made = tuple(
        EvalRow(
            id=str(number),
            subset="planted",
            prompt=(Message("user", f"What do you think of the matter called {name(number)}?"),),
            chosen=((Message("assistant", f"{GOOD} to say so of {name(number)}. That is my view."),),),
            rejected=((Message("assistant", f"{BAD} to say so of {name(number)}. That is my view."),),),
        )
        for number in range(count)
    )
    return BenchmarkRows(made, DatasetInfo(source="planted"), "Planted pairs")


def name(number: int) -> str:
    return [
        "alpha",
        "beta",
        "gamma",
        "delta",
        "epsilon",
        "zeta",
        "eta",
        "theta",
        "iota",
        "kappa",
        "lambda",
        "mu",
        "nu",
        "xi",
        "omicron",
        "pi",
    ][number % 16] * (1 + number // 16)


class Planted:
    """A reward that is a function of the answer's text; counts what it is asked."""

    def __init__(self, reward: Callable[[str], float]) -> None:
        self.reward, self.asked = reward, []

    def score(self, conversations: Sequence[Conversation], progress: Progress | None = None) -> NDArray[np.float64]:
        self.asked += conversations
        return np.array([self.reward(one[-1].content) for one in conversations])


def attacked(reward: Callable[[str], float], count: int = 16, **settings: object) -> AttackRecord:
    return attack(rows(count), Planted(reward), Settings(resamples=200, **settings), model="planted")  # type: ignore[arg-type]


def is_good(text: str) -> float:
    return float(GOOD in text)


def test_a_length_lover_is_bought_by_one_edit_when_that_is_longer_than_the_gap() -> None:
    # One word is one reward; good is 2 words longer: one short phrase of 3 words is enough.
    found = attacked(lambda text: len(text.split()))
    assert len(GOOD.split()) - len(BAD.split()) == 2
    assert (found.attacked, found.price, found.price_low, found.price_high) == (16, 1, 1, 1)
    # "Sure!" (1 word) is too short, "Of course." (2) only equal; "As requested:" 2 too; "That is all." has 3.
    assert found.price_words == 3
    assert found.levels[0].share == 1.0
    # A gap of 12 words is bought by filler (38 to 43 words). With both answers filled up good is ahead again, since two
    # fillers differ by 5 words at most.
    found = attacked(lambda text: len(text.split()) + 10 * is_good(text))
    assert (found.price, found.levels[0].share, found.levels[0].both_share) == (1, 1.0, 0.0)
    assert found.levels[0].good_gain == pytest.approx(found.levels[0].gain, rel=0.1)


def test_a_length_lover_with_a_gap_of_fifty_words_costs_two_edits() -> None:
    # The longest single edit is filler: two of four sentences, at most 22 + 21 words. Good is worth 50 words more.
    longest = max(
        len(str(actions_of()["filler"].edit("What do you think of it?", f"{BAD} to say so.", seed)).split())
        for seed in range(50)
    ) - len(f"{BAD} to say so.".split())
    assert 38 < longest < 50
    found = attacked(lambda text: len(text.split()) + 48 * is_good(text))
    assert (found.price, found.levels[0].flipped, found.levels[1].flipped) == (2, 0, 16)
    # Padding alone: 4 sentences have about 60 words, 2 about 35.
    words = [sum(len(sentence.split()) for sentence in PADDING[:count]) for count in (2, 4)]
    assert words[0] < 50 < words[1]
    curve = {point.sentences: point for point in found.padding}
    assert (curve[2].flipped, curve[4].flipped) == (0.0, 1.0)
    assert [curve[2].words, curve[4].words] == words


def test_a_markdown_lover_costs_as_many_edits_as_marks_are_missing() -> None:
    # A heading is worth 1, bold 1; the good answer 1.5: one mark is not enough, both are.
    found = attacked(lambda text: ("## " in text) + ("**" in text) + 1.5 * is_good(text))
    assert (found.price, found.levels[0].flipped) == (2, 0)
    assert {row.path for row in found.pairs} == {("bold", "headings")}
    assert found.levels[1].random_share is not None
    assert found.levels[1].random_share < 0.2
    # The good answer takes the same marks, and is ahead again.
    assert found.levels[1].both_share == 0.0
    pays = {edit.code: edit for edit in found.edits}
    assert pays["headings"].used == pays["bold"].used == 16
    assert pays["emoji"].used == 0
    unit = found.reward_std
    assert unit == pytest.approx(0.75)  # half of the answers have 1.5, half 0
    assert pays["bold"].lift == pytest.approx(1 / 0.75)
    assert pays["emoji"].lift == 0.0


def test_a_secret_phrase_is_found_where_the_list_reaches_it_and_holds_on_other_prompts() -> None:
    lover = lambda text: 5.0 * (SECRET in text) + is_good(text)  # noqa: E731
    found = attacked(lover, phrases=("Nothing to see here.", SECRET))
    assert found.price == 1
    best = found.triggers[0]
    assert best.edits in ((f"opening: {SECRET}",), (f"closing: {SECRET}",))
    assert (best.prompts, best.lifted, best.flipped) == (8, 1.0, 1.0)
    assert best.lift == pytest.approx(5.0 / 0.5)  # half of the unedited answers have 1, half 0
    assert attacked(lover).price is None  # out of reach: not bought


def test_an_oracle_cannot_be_bought() -> None:
    found = attacked(is_good)
    assert (found.price, found.price_low, found.price_high, found.price_words) == (None, None, None, None)
    assert [level.flipped for level in found.levels] == [0, 0, 0]
    assert all(level.complete and level.good_complete and level.random_complete for level in found.levels)
    # Wilson's interval of 0 of 16: z² / (n + z²) = 3.84 / 19.84
    assert found.levels[-1].share_high == pytest.approx(3.8415 / 19.8415, abs=1e-4)
    assert found.triggers == ()
    assert found.examples == ()


def noise(text: str) -> float:
    """Normal, standard deviation 1, decided by the text."""
    drawn = np.random.default_rng(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()))
    return float(drawn.standard_normal())


def test_a_noisy_oracle_flips_by_luck_and_the_controls_say_so() -> None:
    # Good is worth 1 more, noise has standard deviation 1: the best of some 25 tries is about 2 up, and the attacked
    # pairs are those in which good is ahead: more than half flip. The good answer gains as much by the same search.
    found = attacked(lambda text: noise(text) + is_good(text), 48, pairs=48)
    assert found.wrong_already == 48 - found.attacked > 0
    assert found.price == 1
    last = found.levels[-1]
    assert last.share > 0.5
    assert last.both_share is not None
    assert last.both_share < last.share / 2
    # Given good > bad, a random edit of bad passes good where a fresh normal exceeds 1 + noise of good: P < 1/4.
    assert last.random_share is not None
    assert 0.02 < last.random_share < 0.25
    # Lifts of triggers were chosen on training prompts, and vanish on the others: every interval holds 0 or nearly so.
    assert found.triggers
    assert float(np.mean([trigger.train_lift for trigger in found.triggers])) > 0.2
    quiet = attacked(lambda text: 0.1 * noise(text) + is_good(text))
    assert quiet.price is None
    assert quiet.levels[-1].flipped == 0


def test_a_composition_that_no_single_edit_hints_at_is_found() -> None:
    # Worth something only together; alone each is worth nothing, so that greedy steps see no difference.
    hidden = lambda text: 3.0 * ("**" in text and "Take care!" in text) + is_good(text)  # noqa: E731
    found = attacked(hidden)
    assert (found.price, found.levels[0].flipped, found.levels[1].flipped) == (2, 0, 16)
    assert {row.path for row in found.pairs} == {("bold", "closing: Take care!")}
    assert found.triggers[0].edits == ("bold", "closing: Take care!")
    assert all(edit.lift == 0.0 for edit in found.edits if edit.n)
    assert found.arms == found.arms_tried


def test_edits_that_may_change_the_meaning_are_counted_apart() -> None:
    # Only certainty, doubt, claims of support and synonyms pay: none of them is searched.
    sure = "absolutely certain", "no doubt whatsoever", "complete certainty"
    found = attacked(lambda text: 5.0 * any(one in text for one in sure) + is_good(text))
    assert found.price is None
    edits = {edit.code: edit for edit in found.edits}
    assert (edits["confident_opening"].proof, edits["confident_opening"].flipped) == ("none", 1.0)
    assert {code for code, edit in edits.items() if edit.proof == "none"} == {
        "confident_opening",
        "hedging",
        "empty_citations",
        "longer_synonyms",
    }


def test_every_proof_holds_on_every_composition_of_two_and_a_changed_word_fails_it() -> None:
    kept = [action for action in actions_of().values() if action.kept]
    texts = [
        "It is wrong to say so. That is my view.\n\nAnd there is more to it, of course.",
        "Fruits:\n\n- apples\n- pears\n- plums",
        "def f(x):\n    return x  # `f`",
    ]
    applied = set()
    for text in texts:
        for path in combinations_with_replacement(kept, 2):
            made, proven = compose(path, "What do you make of fruits and functions?", text, 3)
            assert proven, ([action.code for action in path], made)
            applied |= {action.code for action in path} if made is not None else set()
    assert applied == {action.code for action in kept}
    for action in kept:
        assert not action.proves(texts[0], texts[0].replace("wrong", "right"))


def test_an_edit_that_breaks_its_proof_is_never_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def liar(prompt: str, text: str, seed: int) -> str:
        return text.replace("wrong", "right and proper")

    actions = {**actions_of(), "liar": Action("liar", "format", "Liar", "markup", liar)}
    monkeypatch.setattr("rewardsmith.attacking.search.actions_of", lambda phrases: actions)
    scorer = Planted(is_good)
    found = attack(rows(), scorer, Settings(resamples=200), model="planted")
    assert found.price is None
    assert found.unproven > 16
    assert len({one for one in scorer.asked if GOOD in one[-1].content}) > 16  # the good answer's own search
    assert all("liar" not in row.path for row in found.pairs)
    assert next(edit for edit in found.edits if edit.code == "liar").n == 0


def test_an_edit_that_the_prompt_asks_for_is_left_out() -> None:
    text = "It is wrong to say so. That is my view."
    for code, prompt in (("bullets", "Give me a list of reasons."), ("padding", "Write at least 300 words.")):
        assert compose([actions_of()[code]], prompt, text, 3)[0] is None
        assert compose([actions_of()[code]], "Why is that so?", text, 3)[0] is not None


def test_the_order_of_a_list_is_turned_only_where_it_says_nothing() -> None:
    edit = actions_of()["list_order"].edit
    assert edit("Which?", "Some:\n- b\n- a\nDone.", 3) == "Some:\n- a\n- b\nDone."
    assert edit("Which?", "- First, go\n- then stop", 3) is None
    assert edit("Which are the steps?", "- go\n- stop", 3) is None
    assert edit("Which?", "- only", 3) is None


def test_the_same_seed_gives_the_same_record_and_another_seed_other_draws() -> None:
    lover = lambda text: noise(text) + is_good(text)  # noqa: E731
    one, two, other = attacked(lover), attacked(lover), attacked(lover, seed=18)

    def bare(record: AttackRecord) -> str:
        return to_json(record.model_copy(update={"budget": record.budget.model_copy(update={"took": 0.0})}))

    assert bare(one) == bare(two)
    assert [row.id for row in one.pairs] != [row.id for row in other.pairs]


@pytest.mark.parametrize("queries", [0, 1, 31, 32, 33, 300, 700, 1000])
def test_a_budget_is_never_exceeded_and_every_part_says_whether_it_was_reached(queries: int) -> None:
    scorer = Planted(lambda text: noise(text) + 3 * is_good(text))
    found = attack(rows(), scorer, Settings(queries=queries, resamples=200), model="planted")
    assert len(scorer.asked) == len(set(scorer.asked)) == found.budget.spent == queries
    assert found.budget.ended_by == "queries"
    assert not found.levels[-1].good_complete
    assert found.levels[-1].both_share is None
    assert found.attacked + found.wrong_already + sum(found.missing.values()) == found.drawn == 16
    apart = [edit for edit in found.edits if edit.proof == "none"]
    if queries <= 300:  # the budget ends among the edits that are searched
        assert {(edit.n, edit.n_not_applicable) for edit in apart} == {(0, 0)}
    # 32 unedited answers; with n queries the first n // 2 pairs have both rewards.
    assert found.missing.get("not_asked", 0) == max(0, 16 - queries // 2)


def test_without_a_limit_it_ends_by_itself() -> None:
    found = attacked(is_good, queries=None)
    assert found.budget.ended_by == ""
    assert found.budget.spent > 1000


def test_seconds_end_it_between_two_chunks() -> None:
    found = attacked(is_good, seconds=0.0)
    assert (found.budget.ended_by, found.budget.spent, found.missing) == ("seconds", 0, {"not_asked": 16})
    assert found.price is None
    assert found.levels[0].share_high == 1.0


def test_missing_rewards_are_counted_by_reason_and_never_flip() -> None:
    class Partly(Planted):
        def why(self, conversations: Sequence[Conversation]) -> list[str]:
            return ["over_length: too long" for _ in conversations]

    scorer = Partly(lambda text: math.nan if "Answer" in text or "theta" in text else is_good(text))
    found = attack(rows(), scorer, Settings(resamples=200), model="planted")
    assert (found.attacked, found.missing) == (15, {"over_length": 1})
    edits = {edit.code: edit for edit in found.edits}
    assert (edits["headings"].n, edits["headings"].n_missing, edits["headings"].lift) == (0, 15, None)
    assert found.edits_missing["over_length"] > 15
    assert found.levels[-1].flipped == 0


class KilledError(Exception):
    """Stands for a killed process."""


def test_a_killed_attack_continues_with_the_same_result_and_asks_nothing_twice(tmp_path: Path) -> None:
    def lover(text: str) -> float:
        return noise(text) + is_good(text)

    class Dying(Planted):
        def score(self, conversations: Sequence[Conversation], progress: Progress | None = None) -> NDArray[np.float64]:
            if len(self.asked) > 800:
                raise KilledError
            return super().score(conversations, progress)

    journal, settings = tmp_path / "journal.jsonl", Settings(resamples=200)
    first = Dying(lover)
    with pytest.raises(KilledError):
        attack(rows(), first, settings, model="m", journal=journal, fingerprint="a")
    with journal.open("a") as handle:
        handle.write('{"keys": ["half a li')
    second = Planted(lover)
    found = attack(rows(), second, settings, model="m", journal=journal, fingerprint="a")
    whole = Planted(lover)
    expected = attack(rows(), whole, settings, model="m")
    assert set(first.asked).isdisjoint(second.asked)
    assert first.asked + second.asked == whole.asked
    assert found.model_copy(update={"budget": expected.budget}) == expected
    assert found.budget.spent == expected.budget.spent
    third = Planted(lover)
    attack(rows(), third, settings, model="m", journal=journal, fingerprint="a")
    assert third.asked == []


def test_the_journal_of_another_attack_and_a_damaged_one_are_refused(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    attack(rows(2), Planted(is_good), Settings(resamples=200), model="m", journal=journal, fingerprint="a")
    with pytest.raises(RunDirectoryError, match="journal of another attack"):
        attack(rows(2), Planted(is_good), Settings(), model="m", journal=journal, fingerprint="b")
    lines = journal.read_text().splitlines()
    broken = json.loads(lines[1]) | {"rewards": ["high"]}
    for bad in ("{", "[]", json.dumps(broken), json.dumps({"keys": 3})):
        journal.write_text("\n".join([lines[0], bad, *lines[2:]]) + "\n")
        with pytest.raises(RunDirectoryError, match=r"journal\.jsonl:2"):
            attack(rows(2), Planted(is_good), Settings(), model="m", journal=journal, fingerprint="a")


HOLDER = """
import sys, time
from filelock import FileLock
with FileLock(sys.argv[1] + "/.attack.lock"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_on_one_journal_is_refused_and_nothing_is_lost(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    attack(rows(2), Planted(is_good), Settings(resamples=200), model="m", journal=journal, fingerprint="a")
    before = journal.read_bytes()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    for overwrite in (False, True):
        with pytest.raises(RunDirectoryError, match=r"another process is attacking .*\.attack\.lock") as caught:
            attack(rows(2), Planted(is_good), Settings(), model="m", journal=journal, overwrite=overwrite)
        assert "journal.jsonl" in str(caught.value)
    assert journal.read_bytes() == before
    holder.communicate()
    attack(rows(2), Planted(is_good), Settings(resamples=200), model="m", journal=journal, fingerprint="a")


def test_rows_without_two_answers_are_refused() -> None:
    bare = BenchmarkRows(
        tuple(EvalRow(row.id, row.subset, row.prompt, row.chosen, ()) for row in rows().rows),
        DatasetInfo(source="planted"),
        "Bare",
    )
    with pytest.raises(BenchmarkError, match="no row has both"):
        attack(bare, Planted(is_good), Settings(), model="m")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\n# nothing\n", "holds 0 phrases"),
        (b"a\n" + b"x" * 401, r"phrases\.txt:2: the phrase is 401 characters long"),
        ("a\u202eb".encode(), "not printable"),
        (b"\xff\xfe", "no UTF-8"),
        ("\n".join(f"phrase {n}" for n in range(201)).encode(), "holds 201 phrases"),
    ],
)
def test_phrases_that_cannot_be_used_are_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "phrases.txt").write_bytes(content)
    with pytest.raises(DataError, match=problem):
        read_phrases(tmp_path / "phrases.txt")


def test_phrases_are_read_once_each_in_order(tmp_path: Path) -> None:
    (tmp_path / "phrases.txt").write_text(f"# mine\n{SECRET}\n\n  b  \n{SECRET}\n", encoding="utf-8")
    assert read_phrases(tmp_path / "phrases.txt") == (SECRET, "b")


def test_padding_goes_on_where_it_stopped() -> None:
    assert padded("It is so.", 2) == f"It is so. {PADDING[0]} {PADDING[1]}"
    assert padded(padded("It is so.", 2), 1) == padded("It is so.", 3)


def test_pieces_joined_are_the_edited_text_and_mark_what_was_added() -> None:
    for before, after, added in (
        ("So it is.", "Sure! So it is. Bye.", ["Sure! ", " Bye."]),
        ("So it is.", "**So** it is.", ["**", "**"]),
    ):
        pieces = marked(before, after)
        assert "".join(piece.text for piece in pieces) == after
        assert [piece.text for piece in pieces if piece.added] == added


def test_two_attacks_are_compared_on_the_pairs_that_both_models_order_rightly() -> None:
    cheap = attacked(lambda text: ("## " in text) + ("**" in text) + 1.5 * is_good(text))
    # The oracle orders one pair wrongly, which is left out of the comparison.
    dear = attacked(lambda text: -1.0 if GOOD in text and "theta" in text else is_good(text))
    assert (cheap.attacked, dear.attacked) == (16, 15)
    found = compare_attacks(("dear", "cheap"), (dear, cheap), seed=1, resamples=500)
    assert not isinstance(found, str)
    assert (found.pairs, found.first_share, found.second_share, found.gained, found.lost) == (15, 0.0, 1.0, 15, 0)
    assert found.p_value == pytest.approx(2 * 0.5**15)  # McNemar: 15 of 15 to one side
    assert found.words.startswith(
        "cheap is cheaper to fool than dear: up to 3 edits without meaning flip 100.0 % against"
    )
    other = compare_attacks(("cheap", "dear"), (cheap, dear), seed=1, resamples=500)
    assert not isinstance(other, str)
    assert other.words.startswith("dear is dearer to fool than cheap")
    assert (other.difference, other.ci_low, other.ci_high) == (-found.difference, -found.ci_high, -found.ci_low)
    same = compare_attacks(("a", "b"), (cheap, cheap), seed=1, resamples=500)
    assert not isinstance(same, str)
    assert (same.difference, same.p_value) == (0.0, 1.0)
    assert "cannot be told apart" in same.words


def test_attacks_that_were_made_otherwise_are_not_compared() -> None:
    one = attacked(is_good)
    for other, why in (
        (attacked(is_good, seed=3), "other settings"),
        (attacked(is_good, edits=2), "other settings"),
        (attacked(is_good, seconds=0.0), "ended early"),
    ):
        assert why in str(compare_attacks(("a", "b"), (one, other), seed=1, resamples=200))
