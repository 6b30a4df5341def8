"""What the pairs are made of: sources, subsets, forms, languages, turns, prompts, annotators, models, repeated labels.

`Balance` remembers the numbers of each row's names, 26 bytes in all; what only some data say (annotators, models)
stays empty for the others. It finds sources whose rows are written in several forms, prompts with very many pairs, and
models that tell the label: where one model's answers are nearly always chosen, a reward model can learn its manner
instead of what makes an answer good, and will prefer that manner in a policy's answers, which that model did not write.

`Sources` finds what could not be used: sources of which more than half was left out, which probably are not what the
spec takes them for, and columns that look like context and are not read.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache, lru_cache
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.checks import Check
from rewardsmith.data.store import TokenizedPair
from rewardsmith.data.surveys.private import find_private, suspected
from rewardsmith.data.surveys.survey import (
    NOWHERE,
    Found,
    Numbers,
    Setting,
    Surveyed,
    Table,
    compare,
    first_of,
    numbered,
)
from rewardsmith.records.checks import ExampleRow, SourceCount
from rewardsmith.records.data import (
    DataBalance,
    Languages,
    LanguageShare,
    ModelRate,
    Models,
    NamedCount,
    NamedCounts,
    PromptReuse,
    SourceAgreement,
    SourceForms,
)
from rewardsmith.records.evaluation import LabelAgreement
from rewardsmith.statistics import Agreement, effective_number, label_agreement, wilson_interval
from rewardsmith.types import PreferencePair

_MANY_PAIRS = 50  # ten ranked answers make 45 pairs
_MUCH = 0.01
_REUSE = {"1": 1, "2": 2, "3-5": 5, "6-10": 10, "11-50": 50, "51-500": 500, "501 or more": np.inf}
_TURNS = {"1": 1, "2": 2, "3": 3, "4-5": 5, "6-10": 10, "11 or more": np.inf}


class Balance:
    """Codes: mixed_forms, dominant_prompt, model_tells_label."""

    def __init__(self, setting: Setting) -> None:
        self._seed = setting.spec.seed
        self._sources, self._subsets, self._annotators, self._forms = Names(), Names(), Names(), Names()
        self._models = Names()  # the chosen response's model and the rejected one's by turns
        self._turns = array("H")

    def see(self, rows: Sequence[TokenizedPair]) -> None:
        """Remember the names and turns of the next rows."""
        pairs = [row.pair for row in rows]
        self._sources.see(pair.source for pair in pairs)
        self._subsets.see(pair.subset for pair in pairs)
        self._annotators.see(_shown(pair.annotator) for pair in pairs)
        self._forms.see(pair.form for pair in pairs)
        self._models.see(model for pair in pairs for model in (pair.chosen_model, pair.rejected_model))
        # What 16 bits hold; the last bin begins at eleven turns.
        self._turns.extend(min(65535, max(1, sum(message.role == "user" for message in pair.prompt))) for pair in pairs)

    def finish(self, table: Table) -> Surveyed:
        """Three findings at most, and a `DataBalance`."""
        train = table.train
        prompts = compare(table.keys[train]).prompt
        chosen, rejected = self._models.codes().reshape(-1, 2)[train].T
        models = model_rates(chosen, rejected, prompts, self._models.titles)
        forms, mixed = self._written(table)
        section = DataBalance(
            sources=self._sources.counts(table.is_held_out) or NamedCounts(distinct=0, effective=0.0, most=()),
            subsets=self._subsets.counts(table.is_held_out),
            annotators=self._annotators.counts(table.is_held_out),
            models=models,
            forms=forms,
            turns=_histogram(np.array(self._turns, dtype=np.int64)[train], _TURNS),
            prompts=_reuse(prompts),
            languages=prompt_languages(table, prompts, seed=self._seed),
            agreement=self._agreement(table),
        )
        telling = telling_models(models, chosen, rejected, self._models.titles, train)
        return Surveyed([mixed, _dominant(prompts, train), telling], section)

    def _written(self, table: Table) -> tuple[tuple[SourceForms, ...], Found]:
        """How each source's rows are written, and the rows that are not written as most of their source are."""
        codes, titles = self._forms.codes(), self._forms.titles
        places, counted = [], []
        for number, source in enumerate(table.sources):
            here = np.flatnonzero((table.source == number) & (codes >= 0))
            counts = np.bincount(codes[here], minlength=len(titles))
            if len(here):
                order = [form for form in np.argsort(-counts, kind="stable").tolist() if counts[form]]
                counted.append(
                    SourceForms(source=source.source, forms={titles[form]: int(counts[form]) for form in order})
                )
                places.append(here[codes[here] != order[0]])
        rows = np.sort(np.concatenate([NOWHERE, *places]))
        return tuple(counted), Found("mixed_forms", rows, lambda place: titles[codes[place]])

    def _agreement(self, table: Table) -> tuple[SourceAgreement, ...]:
        """Of the sources with repeated labels, those with the most."""
        comparisons, sources, titles = compare(table.keys), self._sources.codes(), self._sources.titles
        cell = numbered(comparisons.group, sources)
        source_C = sources[first_of(cell)]
        all_C = np.bincount(cell)
        forward_C = np.bincount(cell[comparisons.is_forward], minlength=len(all_C))
        is_repeated = (all_C > 1) & (source_C >= 0)
        labels = np.bincount(source_C[is_repeated], weights=all_C[is_repeated], minlength=len(titles))
        most = [source for source in np.argsort(-labels, kind="stable")[:_SHOWN].tolist() if labels[source]]
        found = (
            (titles[source], label_agreement(forward_C[source_C == source], all_C[source_C == source]))
            for source in most
        )
        return tuple(SourceAgreement(source=title, agreement=_record(one)) for title, one in found if one is not None)


def _record(agreement: Agreement) -> LabelAgreement:
    return LabelAgreement(
        comparisons=agreement.comparisons,
        labels=agreement.labels,
        agreement=agreement.agreement,
        agreement_ci=(agreement.interval.low, agreement.interval.high),
        ceiling_low=agreement.ceiling_low,
        ceiling_high=agreement.ceiling_high,
    )


@lru_cache(maxsize=10_000)
def _shown(annotator: str) -> str:
    """Who labelled, unless the name is an e-mail address or the like."""
    return "(personal data)" if find_private(annotator, suspected(annotator)) else annotator


def _histogram(values: NDArray[np.int64], limits: dict[str, float]) -> dict[str, int]:
    """Values by the first limit that they do not exceed."""
    bins = np.searchsorted(np.array(list(limits.values())), values, side="left")
    counts = np.bincount(bins, minlength=len(limits)).tolist()
    return {name: count for name, count in zip(limits, counts, strict=True) if count}


def _reuse(prompts: Numbers) -> PromptReuse:
    counts = np.bincount(prompts)
    return PromptReuse(
        pairs=len(prompts),
        distinct=len(counts),
        effective=effective_number(counts),
        effective_simpson=effective_number(counts, order=2),
        most=int(counts.max(initial=0)),
        pairs_per_prompt=_histogram(counts, _REUSE),
    )


def _dominant(prompts: Numbers, train: NDArray[np.int64]) -> Found:
    """Prompts with so many pairs that they are no ranking of a few answers, and that weigh on the whole set."""
    counts = np.bincount(prompts)
    places = train[(counts > max(_MANY_PAIRS, _MUCH * len(prompts)))[prompts]]
    pairs_of = dict(zip(places.tolist(), counts[prompts][np.isin(train, places)].tolist(), strict=True))
    return Found("dominant_prompt", places, lambda place: f"its prompt has {pairs_of[place]:,} training pairs")


MIXED_FORMS = Check(
    code="mixed_forms",
    severity="note",
    title="Rows written in different forms",
    meaning="Some rows of a source are written in another form than most: text instead of messages, say.",
    why="Sources that were joined often differ in more than their form; and one of the forms may be read wrongly.",
    fix="look at a row of each form; give the parts to the spec as sources of their own",
    of="kept",
)
DOMINANT_PROMPT = Check(
    code="dominant_prompt",
    severity="note",
    title="Prompts with very many pairs",
    meaning="One prompt has more than 50 training pairs and more than 1 % of them all.",
    why="The model learns much about one question and little about others; accuracy over pairs hides it.",
    fix="draw some of its pairs (data.train[].limit, or a cleaned file)",
    of="train",
)

Codes = NDArray[np.int32]

_LIMIT = 10_000  # distinct names; a column with more is no grouping, and its names would fill the memory
_REST = "(others)"
_SHOWN = 50


class Names:
    """Numbers names that rows carry in the order in which they come, four bytes a row; "" has the number -1.

    All beyond ten thousand distinct names share one number.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {"": -1}
        self._codes = array("i")

    def see(self, names: Iterable[str]) -> None:
        """The names of the next rows."""
        numbers = self._numbers
        for name in names:
            code = numbers.get(name)
            if code is None:
                name = name if len(numbers) <= _LIMIT else _REST
                code = numbers.setdefault(name, len(numbers) - 1)
            self._codes.append(code)

    def codes(self) -> Codes:
        """The number of every row's name, shape (P,)."""
        return np.array(self._codes, dtype=np.int32)

    @property
    def titles(self) -> list[str]:
        """Names by number."""
        return [name for name in self._numbers if name]

    def counts(self, is_held_out: NDArray[np.bool_]) -> NamedCounts | None:
        """The most frequent names on both sides of the split; None where no row has one."""
        codes, titles = self.codes(), self.titles
        if not titles:
            return None
        train, held_out = (
            np.bincount(codes[side & (codes >= 0)], minlength=len(titles)) for side in (~is_held_out, is_held_out)
        )
        order = np.argsort(-(train + held_out), kind="stable")[:_SHOWN]
        return NamedCounts(
            distinct=len(titles),
            effective=effective_number(train),
            most=tuple(
                NamedCount(name=titles[code], train=int(train[code]), held_out=int(held_out[code])) for code in order
            ),
        )


_NEARLY = 0.9  # chosen in nine of ten pairs or more, beyond chance
_LEAST_SHARE = 0.05  # a model in fewer than one pair in twenty moves accuracy by less than 2.5 points
_MODELS_SHOWN = 20


def model_rates(chosen: Codes, rejected: Codes, prompts: Numbers, titles: list[str]) -> Models | None:
    """How often each model's responses are chosen; None where no pair names two models.

    Args:
        chosen: the model of each training pair's chosen response, -1 where it is not known, shape (N,).
        rejected: the same of the rejected response.
        prompts: number of each pair's prompt: pairs of one prompt share answers, so that an interval counts prompts.
        titles: the models' names by number.
    """
    known = (chosen >= 0) & (rejected >= 0) & (chosen != rejected)
    if not known.any():
        return None
    chosen, rejected, prompts = chosen[known], rejected[known], prompts[known]
    pairs_of = np.bincount(np.concatenate([chosen, rejected]))
    rates = [
        _rate(titles[model], chosen == model, rejected == model, prompts)
        for model in np.argsort(-pairs_of, kind="stable")[:_MODELS_SHOWN].tolist()
        if pairs_of[model]  # a model that has only answered itself meets no other
    ]
    right = _rule_accuracy(chosen, rejected)
    units = len(np.unique(prompts))
    interval = wilson_interval(right * units, units)
    return Models(
        pairs=len(chosen),
        distinct=len(np.unique(np.concatenate([chosen, rejected]))),
        rule_accuracy=right,
        rule_ci=(interval.low, interval.high),
        most=tuple(rates),
    )


def _rate(title: str, wins: NDArray[np.bool_], losses: NDArray[np.bool_], prompts: Numbers) -> ModelRate:
    pairs, won = int(wins.sum() + losses.sum()), int(wins.sum())
    units = len(np.unique(prompts[wins | losses]))
    interval = wilson_interval(won / pairs * units, units)
    return ModelRate(
        model=title, pairs=pairs, prompts=units, chosen=won / pairs, ci_low=interval.low, ci_high=interval.high
    )


def _rule_accuracy(chosen: Codes, rejected: Codes) -> float:
    """Of the rule that is learnt from the other pairs of the same two models; a tie counts half."""
    couple = numbered(np.maximum(chosen, rejected), np.minimum(chosen, rejected))
    is_forward = chosen < rejected
    forward = np.bincount(couple[is_forward], minlength=int(couple.max()) + 1)[couple]
    same = np.where(is_forward, forward, np.bincount(couple)[couple] - forward)
    opposite = np.bincount(couple)[couple] - same
    # Minus one: a pair does not vote on itself.
    return float(np.mean(np.where(same - 1 == opposite, 0.5, same - 1 > opposite)))


def telling_models(
    models: Models | None, chosen: Codes, rejected: Codes, titles: list[str], train: NDArray[np.int64]
) -> Found:
    """Models that are chosen, or rejected, in nine pairs of ten or more; `chosen` and `rejected` as for `train`."""
    telling = [
        rate
        for rate in (models.most if models else ())
        if (rate.ci_low >= _NEARLY or rate.ci_high <= 1 - _NEARLY) and rate.pairs >= _LEAST_SHARE * len(train)
    ]
    numbers = [titles.index(rate.model) for rate in telling]
    shows = (np.isin(chosen, numbers) | np.isin(rejected, numbers)) & (chosen >= 0) & (rejected >= 0)
    places = train[shows & (chosen != rejected)]

    def named(place: int) -> str:
        row = int(np.searchsorted(train, place))
        return f"{titles[chosen[row]]!r} is preferred to {titles[rejected[row]]!r}"

    return Found("model_tells_label", places, named, summary="; ".join(map(_in_words, telling)))


def _in_words(rate: ModelRate) -> str:
    limits = f"95 % interval {rate.ci_low:.1%} to {rate.ci_high:.1%}"
    return f"{rate.model!r} is chosen in {rate.chosen:.1%} of its {rate.pairs:,} pairs with another model ({limits})"


MODEL_TELLS_LABEL = Check(
    code="model_tells_label",
    severity="warning",
    title="A model that is nearly always chosen, or never",
    meaning="Of the responses of one model nine in ten or more are on the same side of the label.",
    why="The reward model can learn that model's manner instead of what is good; a policy writes in another.",
    fix="add pairs in which that model's answers meet better or worse ones, or two answers of the same model",
    of="train",
)

SAMPLE = 5000  # a share of 1 % is then known to within 0.3 points
_CHARACTERS = 600  # of a prompt: more changes the verdict on few, and costs on all
_SURE = 0.2  # py3langid's own advice for abstaining


def prompt_languages(table: Table, prompts: Numbers, *, seed: int) -> Languages | None:
    """Languages of up to 5,000 distinct training prompts, as py3langid tells them; None without training rows.

    py3langid (Barbaresi; after langid.py, Lui and Baldwin 2012) is naive Bayes over byte n-grams: 4.6 MB, numpy only,
    139 languages. Its probability is low on a line of code or a few words, which then count as "und".

    Args:
        table: of the kept rows.
        prompts: number of every training row's prompt, shape (rows of `table.train`,).
        seed: of the draw.
    """
    first = table.train[first_of(prompts)]
    if not len(first):
        return None
    size = min(SAMPLE, len(first))
    drawn = np.sort(np.random.default_rng(seed).choice(first, size, replace=False))
    counts = Counter(_identify()(_asked(table.pairs[place])) for place in drawn.tolist())
    shares = []
    for language, count in counts.most_common():
        interval = wilson_interval(count, size)
        shares.append(
            LanguageShare(
                language=language, prompts=count, share=count / size, ci_low=interval.low, ci_high=interval.high
            )
        )
    by = f"py3langid {version('py3langid')}, first {_CHARACTERS} characters of the last turn"
    return Languages(prompts=len(first), sampled=size, seed=seed, by=by, shares=tuple(shares))


def _asked(pair: PreferencePair) -> str:
    """The beginning of what was asked last; of the response where there is no prompt."""
    return (pair.prompt or pair.chosen)[-1].content[:_CHARACTERS]


@cache
def _identify() -> Callable[[str], str]:
    """The model, loaded when the first text needs it."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True, min_confidence=_SURE)
    return lambda text: str(identifier.classify(text)[0])


_MANY = 0.5


class Sources:
    """Counts what was left out of each source.

    Rows over the length limit do not count: dropping them is the spec's own choice, and has its own finding. Nor do
    ties: they say something, but not which answer is better.
    """

    def __init__(self, setting: Setting) -> None:
        del setting

    def see(self, rows: Sequence[TokenizedPair]) -> None:
        """Nothing: the kept rows are not what this is about."""

    def finish(self, table: Table) -> Surveyed:
        """The sources, each as an example of its own."""
        left_out = [(source, _left_out(source, table)) for source in table.sources]
        examples = tuple(
            ExampleRow(file=source.source, row=0, detail=f"{count:,} of {source.read:,} rows were left out")
            for source, count in left_out
            if count > _MANY * source.read
        )
        return Surveyed([Found("mostly_rejected", NOWHERE, count=len(examples), examples=examples), _unread(table)])


def _left_out(source: SourceCount, table: Table) -> int:
    return sum(
        count
        for (role, name, reason), count in table.rejected.counts.items()
        if (role, name) == (source.role, source.source) and reason not in ("over_length", "tie")
    )


def _unread(table: Table) -> Found:
    """Columns that look like context: an error where something stands there in every row of a source."""
    found = [(source, name, count) for source in table.sources for name, count in source.unread.items() if count]
    rows = [source.read - source.mixed_out for source, _, _ in found]
    examples = tuple(
        ExampleRow(file=source.source, row=0, detail=f"column {name!r} is not read; {count:,} of {of:,} rows have it")
        for (source, name, count), of in zip(found, rows, strict=True)
    )
    everywhere = any(count == of for (_, _, count), of in zip(found, rows, strict=True))
    named = ", ".join(sorted({name for _, name, _ in found}))
    return Found(
        "unread_context",
        NOWHERE,
        count=max((count for _, _, count in found), default=0),
        of=sum(source.read for source in table.sources),
        summary=f"not read: {named}" if found else "",
        examples=examples,
        severity="error" if everywhere else None,
    )


UNREAD_CONTEXT = Check(
    code="unread_context",
    severity="warning",
    title="Columns that look like context are not read",
    meaning="A column such as system, context, input, history or tools has something in it, and nothing reads it. "
    "Where every row of a source has it, it is an error.",
    why="The answers were judged with it; without it the model learns from half of what was asked.",
    fix="map it: columns: {system: NAME} (or history, context, input, tools); or leave it out: ignore: [NAME]",
)

MOSTLY_REJECTED = Check(
    code="mostly_rejected",
    severity="error",
    title="More than half of a source cannot be used",
    meaning="Most rows of a source were left out for another reason than their length.",
    why="The file is probably not what the spec takes it for; what is left is no fair sample of it.",
    fix="look at rejected.jsonl; correct columns, strings or the file, or remove the source",
    of="sources",
)
