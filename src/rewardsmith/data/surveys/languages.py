"""In which languages the training prompts are: a sample, told by py3langid.

py3langid (Barbaresi; after langid.py, Lui and Baldwin 2012) is naive Bayes over byte n-grams: 4.6 MB, numpy only, 139
languages. Its probability is low on a line of code or a few words, which then count as "und".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache
from importlib.metadata import version

import numpy as np

from rewardsmith.data.surveys.comparisons import Numbers, first_of
from rewardsmith.data.surveys.contract import Table
from rewardsmith.records import Languages, LanguageShare
from rewardsmith.statistics import wilson_interval
from rewardsmith.types import PreferencePair

SAMPLE = 5000  # a share of 1 % is then known to within 0.3 points
_CHARACTERS = 600  # of a prompt: more changes the verdict on few, and costs on all
_SURE = 0.2  # py3langid's own advice for abstaining


def prompt_languages(table: Table, prompts: Numbers, *, seed: int) -> Languages | None:
    """Languages of up to 5,000 distinct training prompts; None without training rows.

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
