"""The survey of shortcuts: length, layout, wording, single words, and all of them together.

Lengths and features are measured on every pair while it passes (about 80 bytes a pair are kept); words and classifiers
look at a sample, read again at the end. Only training pairs count: they are what a model learns from. At the end
`summarize` makes the record, and the graded rules of it are said in words, the findings: what is chosen, how often, of
how many pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import numpy as np
from scipy.sparse import csr_matrix, hstack

from rewardsmith.data.checks import Check
from rewardsmith.data.shortcuts.features import FEATURES, UNITS, Measures, join, measure
from rewardsmith.data.shortcuts.rules import (
    BLIND,
    FOLDS,
    LEAST_PROMPTS,
    LEAST_SHARE,
    LENGTH,
    STRONG,
    WEAK,
    Ints,
    blind_models,
    length_features,
    simultaneous,
)
from rewardsmith.data.shortcuts.tables import (
    MOST_GROUPS,
    RULES,
    Bags,
    Evidence,
    compare_bags,
    feature_table,
    grade_rules,
    group_numbers,
    group_table,
    length_table,
    word_rules,
)
from rewardsmith.data.store import TokenizedPair, halves
from rewardsmith.data.surveys.survey import NOWHERE, Found, Places, Setting, Surveyed, Table
from rewardsmith.records.texts import BlindModel, Grade, LoneRule, ShortcutsRecord, SourceAccuracy

SAMPLED = 20_000
"""Pairs whose words are read: an accuracy then has a standard error of at most 0.4 points."""

LEAST_PAIRS = 100
"""Fewer training pairs are an example or a quick look: the record has their rules, but no finding rests on them."""

_MOST_NAMES = 4096
"""Different (source, subset) that are told apart; a column of a million different names is no column of subsets."""


class Shortcuts:
    """Keeps numbers of every pair; at the end says which simple rules name the chosen response."""

    def __init__(self, setting: Setting) -> None:
        self._seed = setting.spec.seed
        self._parts: list[Measures] = []
        self._groups: list[np.ndarray] = []
        self._names: dict[tuple[str, str], int] = {}

    def see(self, rows: Sequence[TokenizedPair]) -> None:
        """Measure the next pairs."""
        self._parts.append(measure(rows))
        # `_MOST_NAMES` keeps these numbers within 16 bits.
        self._groups.append(np.array([self._group(row) for row in rows], dtype=np.int16))

    def finish(self, table: Table) -> Surveyed:
        """The rules over the training pairs, and those that are too strong."""
        train = table.train
        if not train.size:
            return Surveyed([])
        measures, groups = join(self._parts).at(train), np.concatenate(self._groups)[train]
        self._parts.clear()
        evidence = Evidence(measures, _prompts(table, train), groups, list(self._names))
        sample = self._sample(len(train))
        record = summarize(evidence, sample, _texts(table, train[sample]), seed=self._seed)
        return Surveyed(_found(record), record)

    def _group(self, row: TokenizedPair) -> int:
        name = (row.pair.source or row.file, row.pair.subset)
        if name not in self._names and len(self._names) >= _MOST_NAMES:
            name = ("(other)", "")
        return self._names.setdefault(name, len(self._names))

    def _sample(self, pairs: int) -> Ints:
        """Numbers of training pairs drawn by the seed, ascending."""
        if pairs <= SAMPLED:
            return np.arange(pairs)
        return np.sort(np.random.default_rng(self._seed).choice(pairs, SAMPLED, replace=False))


def _texts(table: Table, places: Places) -> Iterator[str]:
    """The chosen responses of rows, then their rejected ones."""
    for side in ("chosen", "rejected"):
        for place in places.tolist():
            yield "\n".join(turn.text for turn in getattr(table.pairs[place], side))


def _prompts(table: Table, train: Places) -> np.ndarray:
    """Numbers of the training pairs' prompts, by half of their digests (64 bits tell ten million prompts apart)."""
    return np.unique(halves(table.keys[train, 0])[:, 0], return_inverse=True)[1].reshape(-1)


def summarize(evidence: Evidence, sample: Ints, texts: Iterable[str], *, seed: int) -> ShortcutsRecord:
    """Everything about at least one pair.

    Args:
        evidence: the training pairs.
        sample: those whose words are read, shape (N,), ascending.
        texts: their chosen responses, then their rejected ones.
        seed: of the classifiers' folds.
    """
    compared = _compared(evidence)
    confidence = simultaneous(compared)
    total = len(evidence.prompts)
    whole = grade_rules(
        evidence.signs, evidence.length_bins, evidence.prompts, total=total, confidence=confidence, lengths=len(UNITS)
    )
    prompts_N = evidence.prompts[sample]
    bags = compare_bags(texts, len(sample))
    words, openings = word_rules(
        bags, evidence.length_bins.at(sample), prompts_N, confidence=simultaneous(len(bags.words))
    )
    models, left_out = _models(evidence, sample, bags, seed)
    return ShortcutsRecord(
        pairs=total,
        prompts=len(np.unique(evidence.prompts)),
        sampled=len(sample),
        folds=FOLDS,
        rules_compared=compared,
        thresholds={"strong": STRONG, "weak": WEAK, "blind": BLIND, "least_share": LEAST_SHARE},
        lengths=length_table(evidence, whole),
        features=feature_table(evidence, whole),
        words_compared=len(bags.words),
        words=words,
        openings=openings,
        models=models,
        models_left_out=left_out,
        sources=group_table(evidence, subsets=False, confidence=confidence),
        subsets=group_table(evidence, subsets=True, confidence=confidence),
    )


def _compared(evidence: Evidence) -> int:
    """How many rules are graded at once: all, again in every source, and lengths in every subset."""
    sources, subsets = (min(MOST_GROUPS, len(group_numbers(evidence, subsets=by)[0])) for by in (False, True))
    return len(RULES) * (1 + sources) + len(UNITS) * subsets


def _models(evidence: Evidence, sample: Ints, bags: Bags, seed: int) -> tuple[tuple[BlindModel, ...], str]:
    """The classifiers, or why there are none."""
    prompts_N = evidence.prompts[sample]
    prompts = len(np.unique(prompts_N))
    if prompts < LEAST_PROMPTS:
        return (), f"{prompts} prompts are too few: {LEAST_PROMPTS} are needed"
    measures = evidence.measures.at(sample)
    lengths = length_features(measures.lengths)
    surface = np.concatenate([lengths, measures.more], axis=1)
    names, numbers = group_numbers(evidence, subsets=False)
    return blind_models(
        {
            "length": ("the lengths of both responses", lengths),
            "surface": ("lengths, layout and kinds of phrases", surface),
            "words": ("lengths, layout, words and openings", hstack([csr_matrix(surface), bags.signs]).tocsr()),
        },
        prompts_N,
        [names[number][0] for number in numbers[sample]],
        seed=seed,
    ), ""


def _found(record: ShortcutsRecord) -> list[Found]:
    """A warning for each kind of strong rule, and one note for all kinds of weak ones."""
    if record.pairs < LEAST_PAIRS:
        return []
    rules = {
        "length_shortcut": length_rules(record),
        "format_shortcut": feature_rules(record, "format"),
        "lexical_shortcut": [*feature_rules(record, "wording"), *word_sentences(record)],
        "prompt_blind_ceiling": blind_rules(record),
    }
    found = [_finding(code, _graded(listed, "strong")) for code, listed in rules.items()]
    weak = [rule for listed in rules.values() for rule in _graded(listed, "weak")]
    return [*found, _finding("weak_shortcuts", weak)]


def _graded(rules: Sequence[Weighed], grade: Grade) -> list[Weighed]:
    return sorted((rule for rule in rules if rule.grade == grade), key=lambda rule: -rule.advantage)


def _finding(code: str, rules: Sequence[Weighed]) -> Found:
    """Count and size are those of the strongest rule: the pairs that it gets right, of those that it decides."""
    if not rules:
        return Found(code, NOWHERE, count=0, of=0)
    first = rules[0]
    return Found(code, NOWHERE, summary=summary(rules), count=first.right, of=first.decided)


@dataclass(frozen=True, slots=True)
class Weighed:
    """A rule with its grade: right in `right` of the `decided` pairs. `advantage`: pairs won over a coin."""

    grade: Grade
    words: str
    right: int
    decided: int

    @property
    def advantage(self) -> float:
        """By this the rules are ordered: how many labels the rule explains beyond chance."""
        return self.right - self.decided / 2


def length_rules(record: ShortcutsRecord) -> list[Weighed]:
    """The length rule over all pairs and in each source and subset, by the unit in which it is strongest; and the
    classifier of lengths, which also finds rules like "the longer one, unless it is much longer"."""
    whole = [_weighed(length.rule, length.grade, *_named(length.unit)) for length in record.lengths]
    by_place = [_strongest(whole), *(_strongest(rules) for rules in _in_groups(record, UNITS))]
    models = (model for model in record.models if model.name == LENGTH)
    return [*by_place, *chain.from_iterable(_model_rules(model, record.sampled) for model in models)]


def feature_rules(record: ShortcutsRecord, kind: Literal["format", "wording"]) -> list[Weighed]:
    """The features of one kind, over all pairs and in each source."""
    whole = [
        _weighed(feature.rule, feature.grade, *_named(feature.code))
        for feature in record.features
        if feature.kind == kind
    ]
    codes = [code for code, feature in FEATURES.items() if feature.kind == kind]
    return [*whole, *chain.from_iterable(_in_groups(record, codes))]


def word_sentences(record: ShortcutsRecord) -> list[Weighed]:
    """Words and openings of the sample."""
    rules = []
    for word in (*record.words, *record.openings):
        kind = "opening" if word.opening else "word"
        named = (f'the response {side} the {kind} "{_quoted(word.text)}"' for side in ("with", "without"))
        rules.append(_weighed(word.rule, word.grade, *named))
    return rules


def blind_rules(record: ShortcutsRecord) -> list[Weighed]:
    """The best classifier that reads more than lengths, over all sampled pairs and in each source."""
    readers = (model for model in record.models if model.name != LENGTH)
    best = max(readers, key=lambda model: model.right, default=None)
    return [] if best is None else _model_rules(best, record.sampled)


def _model_rules(model: BlindModel, pairs: int) -> list[Weighed]:
    whole = SourceAccuracy(source="", pairs=pairs, accuracy=model.accuracy, grade=model.grade)
    parts = (whole, *(part for part in model.by_source if part.pairs < pairs))
    return [_of_model(model.reads, part) for part in parts]


def _of_model(reads: str, part: SourceAccuracy) -> Weighed:
    share, place = part.accuracy, f" of {_quoted(part.source)}" if part.source else ""
    words = (
        f"a classifier that reads {reads} is right in {share.value:.1%} "
        f"({share.ci_low:.1%} to {share.ci_high:.1%}) of {part.pairs:,} pairs{place}"
    )
    return Weighed(part.grade, words, round(share.value * part.pairs), part.pairs)


_TOLD = 4


def summary(rules: Sequence[Weighed]) -> str:
    """The strongest rules, one sentence each."""
    told = "; ".join(rule.words for rule in rules[:_TOLD])
    more = len(rules) - _TOLD
    return f"{told}; and {more} more rules" if more > 0 else told


def _in_groups(record: ShortcutsRecord, codes: Sequence[str]) -> Iterator[list[Weighed]]:
    """The graded rules of each part of the data that is not the same as a larger part."""
    sizes = {group.source: group.pairs for group in record.sources}
    subsets = (group for group in record.subsets if group.pairs < sizes.get(group.source, record.pairs))
    for group in (*record.sources, *subsets):
        place = f" of {_quoted(group.source)}{f' / {_quoted(group.subset)}' if group.subset else ''}"
        graded = [code for code in codes if group.grades.get(code)]
        if graded and group.pairs < record.pairs:
            yield [_weighed(group.rules[code], group.grades[code], *_named(code), place) for code in graded]


def _strongest(rules: Sequence[Weighed]) -> Weighed:
    return max(rules, key=lambda rule: (rule.grade == "strong", rule.grade == "weak", rule.advantage))


def _named(code: str) -> tuple[str, str]:
    """What a rule chooses, and what its opposite chooses."""
    if code in UNITS:
        return f"the longer response (in {code})", f"the shorter response (in {code})"
    return f"the response with more {FEATURES[code].meaning}", f"the response with fewer {FEATURES[code].meaning}"


def _weighed(rule: LoneRule, grade: Grade, more: str, less: str, place: str = "") -> Weighed:
    """`more` and `less` name the response that the rule and its opposite choose."""
    decided = rule.more + rule.less
    up = rule.more >= rule.less
    low, high = rule.ci_low or 0.0, 1.0 if rule.ci_high is None else rule.ci_high
    low, high = (low, high) if up else (1 - high, 1 - low)
    right = max(rule.more, rule.less)
    words = (
        f"{more if up else less} is chosen in {right / max(1, decided):.1%} "
        f"({low:.1%} to {high:.1%}) of {decided:,} pairs{place}"
    )
    return Weighed(grade, words, right, decided)


_QUOTED = 60


def _quoted(text: str) -> str:
    """Text from the data, as a message may show it: short, and nothing that a terminal would obey."""
    return "".join(sign if sign.isprintable() else "?" for sign in text[:_QUOTED])


_BALANCE = (
    "add pairs where it is the other way round, or leave out some where it is not; collect labels that do not show it"
)

LENGTH_SHORTCUT = Check(
    code="length_shortcut",
    severity="warning",
    title="Length predicts the label",
    meaning="In the whole training set or in one of its sources or subsets, the longer (or the shorter) response is "
    "chosen so often that length alone is right in more than 60 % of the pairs.",
    why="Length is the easiest thing to learn: the reward rises with every sentence, and the policy never stops.",
    fix=_BALANCE,
    of="train",
)
FORMAT_SHORTCUT = Check(
    code="format_shortcut",
    severity="warning",
    title="Layout predicts the label",
    meaning="The response with more (or fewer) of a mark, like bullets, bold or exclamation marks, is chosen in more "
    "than 60 % of the pairs that differ in it, and not because it is longer.",
    why="The model learns how good answers look. The policy copies the look, whatever is in it.",
    fix=_BALANCE,
    of="train",
)
LEXICAL_SHORTCUT = Check(
    code="lexical_shortcut",
    severity="warning",
    title="Words predict the label",
    meaning="A word, an opening or a kind of phrase stands so much more often on the chosen (or the rejected) side "
    "that it alone is right in more than 60 % of the pairs that differ in it, and not because of their lengths.",
    why="Often it is a habit of the program that wrote one side, or of the annotators; the model learns who wrote, not "
    "what is right.",
    fix=_BALANCE,
    of="train",
)
PROMPT_BLIND_CEILING = Check(
    code="prompt_blind_ceiling",
    severity="warning",
    title="The label can be predicted without the prompt",
    meaning="A linear classifier that sees lengths, layout and words of both responses, and no prompt, is right in "
    "more than 65 % of pairs with prompts that it was not fitted on.",
    why="What can be learnt without the prompt will be: held-out accuracy up to this number does not show that it "
    "judges answers to questions.",
    fix="compare held-out accuracy with this number; look at the words and features that decide; add pairs whose "
    "rejected response is a good answer to another prompt",
    of="train",
)
WEAK_SHORTCUTS = Check(
    code="weak_shortcuts",
    severity="note",
    title="Surface rules do better than chance",
    meaning="Rules that need no prompt are right in more than 55 % of the pairs that they decide.",
    why="Each is a small lean of the data; the report shows whether the trained model follows it.",
    fix="compare with length bias and probes in the report after training",
    of="train",
)
