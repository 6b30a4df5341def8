"""What the pairs are made of: sources, subsets, forms, languages, turns, prompts, annotators, models, repeated labels.

Of each row the numbers of its names are remembered, 26 bytes in all; what only some data say (annotators, models) stays
empty for the others.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.checks.check import Check
from rewardsmith.data.rows import TokenizedPair
from rewardsmith.data.surveys.authors import model_rates, telling_models
from rewardsmith.data.surveys.comparisons import Numbers, compare, first_of, numbered
from rewardsmith.data.surveys.contract import NOWHERE, Found, Setting, Surveyed, Table
from rewardsmith.data.surveys.languages import prompt_languages
from rewardsmith.data.surveys.names import Names
from rewardsmith.data.surveys.private_kinds import find_private, suspected
from rewardsmith.records import (
    DataBalance,
    LabelAgreement,
    NamedCounts,
    PromptReuse,
    SourceAgreement,
    SourceForms,
)
from rewardsmith.statistics import Agreement, effective_number, label_agreement

_MANY_PAIRS = 50  # ten ranked answers make 45 pairs
_MUCH = 0.01
_SHOWN = 50
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
