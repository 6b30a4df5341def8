"""What tells chosen from rejected without the prompt: length, layout, wording, single words, and all of them together.

Lengths and features are measured on every pair while it passes (about 80 bytes a pair are kept); words and classifiers
look at a sample, read again at the end. Only training pairs count: they are what a model learns from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from rewardsmith.data.checks import Check
from rewardsmith.data.rows import TokenizedPair, halves
from rewardsmith.data.shortcuts.features import Measures, join, measure
from rewardsmith.data.shortcuts.findings_table import Evidence
from rewardsmith.data.shortcuts.summary import (
    Sample,
    Weighed,
    blind_rules,
    feature_rules,
    length_rules,
    summarize,
    summary,
    word_sentences,
)
from rewardsmith.data.surveys.survey import NOWHERE, Found, Places, Setting, Surveyed, Table
from rewardsmith.records.shortcuts import Grade, ShortcutsRecord

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
        self._groups.append(np.array([self._group(row) for row in rows], dtype=np.int16))

    def finish(self, table: Table) -> Surveyed:
        """The rules over the training pairs, and those that are too strong."""
        train = table.train
        if not train.size:
            return Surveyed([])
        measures, groups = join(self._parts).at(train), np.concatenate(self._groups)[train]
        self._parts.clear()
        evidence = Evidence(measures, _prompts(table, train), groups, list(self._names))
        record = summarize(evidence, self._sample(table, train), seed=self._seed)
        return Surveyed(_found(record), record)

    def _group(self, row: TokenizedPair) -> int:
        name = (row.pair.source or row.file, row.pair.subset)
        if name not in self._names and len(self._names) >= _MOST_NAMES:
            name = ("(other)", "")
        return self._names.setdefault(name, len(self._names))

    def _sample(self, table: Table, train: Places) -> Sample:
        """Pairs drawn by the seed."""
        draw = np.random.default_rng(self._seed)
        pairs = np.arange(len(train))
        if len(train) > SAMPLED:
            pairs = np.sort(draw.choice(len(train), SAMPLED, replace=False))

        def texts() -> Iterator[str]:
            for side in ("chosen", "rejected"):
                for place in train[pairs].tolist():
                    yield "\n".join(turn.text for turn in getattr(table.pairs[place], side))

        return Sample(pairs, texts)


def _prompts(table: Table, train: Places) -> np.ndarray:
    """Numbers of the training pairs' prompts, by half of their digests (64 bits tell ten million prompts apart)."""
    return np.unique(halves(table.keys[train, 0])[:, 0], return_inverse=True)[1].reshape(-1)


_RULES = {
    "length_shortcut": length_rules,
    "format_shortcut": lambda record: feature_rules(record, "format"),
    "lexical_shortcut": lambda record: (*feature_rules(record, "wording"), *word_sentences(record)),
    "prompt_blind_ceiling": blind_rules,
}


def _found(record: ShortcutsRecord) -> list[Found]:
    """A warning for each kind of strong rule, and one note for all kinds of weak ones."""
    if record.pairs < LEAST_PAIRS:
        return []
    rules = {code: rules_of(record) for code, rules_of in _RULES.items()}
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
