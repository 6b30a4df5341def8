"""How far one gets without reading the prompt: by length alone, by words alone.

    longer_wins_rewards(responses)              the length of each response in characters
    bag_of_words_rewards(pairs, responses)      a linear Bradley-Terry model of the words, fitted on `pairs`
    bag_of_words_cross_fitted(responses, n_chosen)    the same, fitted on the benchmark's own rows, fold by fold

`responses` holds one list of texts per row, chosen first; rewards come back in the same shape, so that any benchmark
code can score them. Needs numpy and scipy only, and works for any data, not only for the embedded samples.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_matrix

Rewards = list[NDArray[np.float64]]
"""One array per row: the rewards of the chosen responses, then of the rejected."""

# Pull of the weights towards 0. Small: it only keeps words that decide every pair from growing without bound.
RIDGE = 1e-3
FOLDS = 5


def longer_wins_rewards(responses: Iterable[Sequence[str]]) -> Rewards:
    """The length of every response, in characters."""
    return [np.array([float(len(text)) for text in row]) for row in responses]


def bag_of_words_rewards(pairs: Sequence[tuple[str, str]], responses: Iterable[Sequence[str]]) -> Rewards:
    """Rewards by a prompt-blind bag of words that was fitted on `(chosen, rejected)` texts."""
    reward = fit_bag_of_words(pairs)
    return [np.array([reward(text) for text in row]) for row in responses]


def bag_of_words_cross_fitted(
    responses: Sequence[Sequence[str]], n_chosen: Sequence[int], folds: int = FOLDS
) -> Rewards:
    """Rewards by bags of words that were fitted on the other rows of the benchmark.

    Folds are runs of neighbouring rows: rows that share their responses stand together and stay in one fold.
    """
    rewards: Rewards = []
    for fold in np.array_split(np.arange(len(responses)), folds):
        held_out = {int(row) for row in fold}
        others = [row for row in range(len(responses)) if row not in held_out]
        pairs = [(c, r) for i in others for c in responses[i][: n_chosen[i]] for r in responses[i][n_chosen[i] :]]
        rewards.extend(bag_of_words_rewards(pairs, [responses[i] for i in sorted(held_out)]))
    return rewards


def fit_bag_of_words(pairs: Sequence[tuple[str, str]]) -> Callable[[str], float]:
    """The linear reward that best explains `(chosen, rejected)` texts: Bradley-Terry likelihood over word counts.

    Minimises mean(-log sigmoid(w · (counts(chosen) - counts(rejected)))) + RIDGE / 2 * |w|².
    """
    words_of = {text: _words(text) for pair in pairs for text in pair}
    vocabulary = {word: i for i, word in enumerate(sorted({w for words in words_of.values() for w in words}))}
    chosen_ND = _counts([words_of[chosen] for chosen, _ in pairs], vocabulary)
    rejected_ND = _counts([words_of[rejected] for _, rejected in pairs], vocabulary)
    difference_ND = (chosen_ND - rejected_ND).tocsr()

    def loss_and_gradient(weights_D: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margins_N = difference_ND @ weights_D
        loss = np.logaddexp(0.0, -margins_N).mean() + RIDGE / 2 * weights_D @ weights_D
        slopes_N = -np.exp(-np.logaddexp(0.0, margins_N)) / len(margins_N)
        return float(loss), difference_ND.T @ slopes_N + RIDGE * weights_D

    weights_D = minimize(loss_and_gradient, np.zeros(len(vocabulary)), jac=True, method="L-BFGS-B").x
    weight_of = dict(zip(vocabulary, weights_D.tolist(), strict=True))
    # Sorted and rounded: the same words in another order get the very same reward.
    return lambda text: round(sum(weight_of.get(word, 0.0) for word in sorted(_words(text))), 9)


def _words(text: str) -> list[str]:
    """Words and numbers as written, those with capitals in lower case too, and every other sign by itself."""
    words = re.findall(r"\w+|[^\w\s]", text)
    return words + [word.lower() for word in words if word != word.lower()]


def _counts(texts: Sequence[list[str]], vocabulary: dict[str, int]) -> csr_matrix:
    rows = np.repeat(np.arange(len(texts)), [len(words) for words in texts])
    columns = np.array([vocabulary[word] for words in texts for word in words], dtype=np.int64)
    return csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(texts), len(vocabulary)))
