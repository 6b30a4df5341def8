"""The embedded default: preference pairs, best-of-4 rows and a small base model, all made here, nothing downloaded.

    paths = write_samples(seed=0)                        # train.jsonl, held_out.jsonl, best_of_4.jsonl
    folder = build_base_model(seed=0, progress=print)    # a decoder with 2.4 million parameters

What is held out, for each subset (prompts of the parts never coincide):

    Factuality   wordings: every fact is trained, and asked in a wording that it was not trained in
    Precise IF   wordings of each constraint, for each group of things
    Math         numbers: no two operands of the one part meet in the other, in any order or operation
    Safety       deeds: the combination of verb and object
    Focus        wordings of each topic
    Ties         wordings of each category and each clue

No subset has a giveaway. Whatever reads only the response scores exactly chance on the best-of-4 rows and on the pairs,
because both are made of swap blocks. Ties has a formula of its own, under which length and words stay near chance
(8 %) or below it. `bench/embedded_baselines.py` shows the numbers.

blocks.py        swap blocks: four prompts whose right responses are wrong for each other
facts.py         Factuality and Ties: what they know, how their blocks are made
tasks.py         Math, Precise IF, Safety and Focus, likewise
generator.py     all subsets together: pairs, rows in RewardBench 2's schema, warm-up texts; their cache
base_model.py    the decoder with its tokenizer (the only module here that loads torch)
baselines.py     what length or words alone would score: the proof that the samples carry no giveaway
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rewardsmith import lazy_names
from rewardsmith.protocols import Progress

if TYPE_CHECKING:
    from rewardsmith.samples.base_model import build_base_model
    from rewardsmith.samples.baselines import bag_of_words_rewards, longer_wins_rewards
    from rewardsmith.samples.generator import CATEGORIES, DEFAULT_SIZES, SamplePaths, Sizes, cache_folder, write_samples

__all__ = [
    "CATEGORIES",
    "DEFAULT_SIZES",
    "Progress",
    "SamplePaths",
    "Sizes",
    "bag_of_words_rewards",
    "build_base_model",
    "cache_folder",
    "longer_wins_rewards",
    "write_samples",
]

_HOMES = {
    "CATEGORIES": "generator",
    "DEFAULT_SIZES": "generator",
    "SamplePaths": "generator",
    "Sizes": "generator",
    "bag_of_words_rewards": "baselines",
    "build_base_model": "base_model",
    "cache_folder": "generator",
    "longer_wins_rewards": "baselines",
    "write_samples": "generator",
}

if not TYPE_CHECKING:
    __getattr__ = lazy_names(__name__, _HOMES)
