"""Runs all probes: draws responses, edits them, has every distinct conversation scored once, measures.

record = run_probes(rows, scorer, count=200, seed=17, resamples=2000, model="runs/x/model")
judged = judge_probes(record, spec.evaluation.gates.probes)          # verdicts.py
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from rewardsmith.errors import BenchmarkError
from rewardsmith.evaluation.contract import BenchmarkRows
from rewardsmith.evaluation.probes.contract import text_rank
from rewardsmith.evaluation.probes.measure import EQUAL_WITHIN, Edited, measure
from rewardsmith.evaluation.probes.registry import PROBES
from rewardsmith.evaluation.probes.subjects import Case, draw_cases
from rewardsmith.evaluation.runner import score_once, why_missing
from rewardsmith.protocols import Progress, Scorer
from rewardsmith.records import ProbesRecord, reason_code
from rewardsmith.types import Conversation

PROTOCOL = (
    "Each probe edits the last turn of a row's first chosen response, where the edit applies. Meaning kept: wrong "
    f"where the reward rises. Quality destroyed: wrong where it does not fall. Changes within {EQUAL_WITHIN:g} "
    "standard deviations count as equal: not wrong where meaning is kept, wrong where quality is destroyed. The "
    "standard deviation is the model's own, over all unedited responses of the drawn rows. Responses whose reward is "
    "missing are not judged. Intervals hold 95 %; responses of one prompt are one unit."
)

Edits = dict[str, dict[int, str]]
"""Probe → case → edited text, where the edit applies."""


def run_probes(
    rows: BenchmarkRows,
    scorer: Scorer,
    *,
    count: int,
    seed: int,
    resamples: int,
    model: str,
    progress: Progress | None = None,
) -> ProbesRecord:
    """Measure every probe on up to `count` rows; verdicts are given by `verdicts.judge_probes`.

    Raises:
        BenchmarkError: no row has a response.
        ValueError: the scorer did not answer with one reward a conversation.
    """
    cases = draw_cases(rows.rows, count=count, seed=seed)
    if not cases:
        raise BenchmarkError(
            "no row has a chosen response with text", where=rows.title, fix="name rows that have chosen responses"
        )
    edits: Edits = {
        code: {place: text for place, case in enumerate(cases) if (text := probe.apply(case.subject, seed)) is not None}
        for code, probe in PROBES.items()
    }
    rewards = score_once(_conversations(cases, edits), scorer, progress)
    reasons = why_missing((text for text, reward in rewards.items() if not np.isfinite(reward)), scorer)
    own = _finite([rewards[text] for text in dict.fromkeys(text for case in cases for text in case.unedited)])
    every = _finite(list(rewards.values()))
    std = None if not own.size else 0.0 if np.ptp(own) == 0 else float(own.std())
    return ProbesRecord(
        model=model,
        dataset=rows.dataset,
        title=rows.title,
        rows=len(rows.rows),
        drawn=len(cases),
        prompts=len({case.prompt for case in cases}),
        seed=seed,
        protocol=PROTOCOL,
        reward_mean=float(own.mean()) if own.size else None,
        reward_std=std,
        flat=own.size > 0 and std == 0,
        constant=every.size > 0 and bool(np.ptp(every) == 0),
        asked=len(rewards),
        missing=dict(sorted(Counter(reason_code(reason) for reason in reasons.values()).items())),
        probes={
            code: measure(
                probe,
                _edited(cases, edits[code], rewards),
                responses=len(cases),
                std=std,
                seed=text_rank(seed, code),
                resamples=resamples,
            )
            for code, probe in PROBES.items()
        },
    )


def _conversations(cases: Sequence[Case], edits: Edits) -> Iterator[Conversation]:
    """Unedited and edited responses with their prompts; those of one prompt stand together."""
    for place, case in enumerate(cases):
        yield from case.unedited
        yield from (case.conversation(texts[place]) for texts in edits.values() if place in texts)


def _edited(cases: Sequence[Case], texts: dict[int, str], rewards: dict[Conversation, float]) -> list[Edited]:
    return [
        Edited(
            case=cases[place],
            text=text,
            before=rewards[cases[place].unedited[0]],
            after=rewards[cases[place].conversation(text)],
        )
        for place, text in texts.items()
    ]


def _finite(values: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    array = np.asarray(values, dtype=np.float64)
    return array[np.isfinite(array)]
