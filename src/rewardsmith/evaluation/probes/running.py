"""Runs all probes: draws responses, edits them, has every distinct conversation scored once, measures, and judges.

    record = run_probes(rows, scorer, count=200, seed=17, resamples=2000, model="runs/x/model")
    gated = gate_probes(record, spec.evaluation.gates.probes)          PASS, FAIL or NO_DATA for each probe

From benchmark rows come cases (`draw_cases`): the first good response of each row, with what an edit needs beside it.
The rewards before and after an edit say how often, and how far, they go the wrong way (`measure`):

    surface      wrong where the reward rises by more than `EQUAL_WITHIN` standard deviations; equal is not wrong
    destroyed    wrong where it does not fall by more than that; equal is wrong

The unit of a shift is the standard deviation of the model's rewards of unedited responses, so that shifts of models
with other scales can be compared. A hundredth of it is rounding, not preference: a chat template that strips white
space gives both texts the same tokens, and a forward pass gives them rewards that differ in the last digits.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rewardsmith import statistics
from rewardsmith.errors import BenchmarkError
from rewardsmith.evaluation.contract import BenchmarkRows, EvalRow, Floats
from rewardsmith.evaluation.probes.language import refuses
from rewardsmith.evaluation.probes.probe import PROBES, Probe, Subject, text_rank
from rewardsmith.evaluation.results import score_once, why_missing
from rewardsmith.protocols import Progress, Scorer
from rewardsmith.records.evaluation import reason_code
from rewardsmith.records.probes import ProbeExample, ProbeResult, ProbesRecord
from rewardsmith.records.run import Verdict
from rewardsmith.spec.evaluation import ProbeGatesSpec
from rewardsmith.types import Conversation

EQUAL_WITHIN = 0.01

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
    """Measure every probe on up to `count` rows; verdicts are given by `gate_probes`.

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
    # By range: `std` of equal rewards can be 1e-17, and shifts are divided by it.
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


@dataclass(frozen=True, slots=True)
class Case:
    """One row under probe; rows of one `prompt` were not drawn independently and are one unit for intervals."""

    row: EvalRow
    subject: Subject

    @property
    def prompt(self) -> Conversation:
        """The unit that intervals resample."""
        return self.row.prompt or self.row.chosen[0]

    @property
    def unedited(self) -> tuple[Conversation, ...]:
        """The good response under probe, then the row's other responses: the model's own spread is read from them."""
        return self.row.conversations

    def conversation(self, response: str) -> Conversation:
        """The row's conversation with another text in its last turn."""
        *before, last = self.row.prompt + self.row.chosen[0]
        return (*before, replace(last, content=response))


def draw_cases(rows: Sequence[EvalRow], *, count: int, seed: int) -> list[Case]:
    """Up to `count` rows, equal texts once.

    Which rows are drawn, and which response serves as the answer to another prompt, depends on seed and texts only:
    neither the order of the rows nor their ids count. One row of each prompt comes first, then the second ones.
    """
    distinct = {(row.prompt, row.chosen[0]): row for row in rows if row.chosen and row.chosen[0][-1].content.strip()}
    ranked = sorted(distinct.values(), key=lambda row: _rank(row, seed))
    turns: Counter[Conversation] = Counter()
    places = []
    for row in ranked:
        turns[row.prompt] += 1
        places.append(turns[row.prompt])
    order = sorted(range(len(ranked)), key=lambda index: (places[index], index))
    return [_case(ranked, index) for index in order[:count]]


def _case(ranked: Sequence[EvalRow], index: int) -> Case:
    row = ranked[index]
    subject = Subject(
        prompt=row.prompt[-1].content if row.prompt else "",
        response=_text(row.chosen[0]),
        rejected=tuple(_text(response) for response in row.rejected),
        other=_other(ranked, index),
    )
    return Case(row, subject)


_DONORS_TRIED = 20


def _other(ranked: Sequence[EvalRow], index: int) -> str:
    """A good response to another prompt: that of the next row in the random order that would be wrong here."""
    row = ranked[index]
    own = _text(row.chosen[0])
    right = {_text(response) for response in row.chosen}
    for step in range(1, min(len(ranked), _DONORS_TRIED + 1)):
        donor = ranked[(index + step) % len(ranked)]
        text = _text(donor.chosen[0])
        if donor.prompt != row.prompt and text not in right and not (refuses(own) and refuses(text)):
            return text
    return ""


def _text(response: Conversation) -> str:
    """The last turn of a response: what is edited."""
    return response[-1].content


def _rank(row: EvalRow, seed: int) -> tuple[int, str]:
    texts = [turn.content for turn in row.prompt + row.chosen[0]]
    return text_rank(seed, *texts), row.id


EXAMPLES = 3
_SHOWN = 320
_TAIL = 120


@dataclass(frozen=True, slots=True)
class Edited:
    """One case with its edited response and both rewards; NaN where one could not be computed."""

    case: Case
    text: str
    before: float
    after: float

    @property
    def change(self) -> float:
        """Reward after the edit minus reward before."""
        return self.after - self.before


def measure(
    probe: Probe, edited: Sequence[Edited], *, responses: int, std: float | None, seed: int, resamples: int
) -> ProbeResult:
    """What one probe found, without a verdict.

    Args:
        probe: which way the reward must go.
        edited: the responses that the edit applies to.
        responses: all responses that were drawn.
        std: standard deviation of the rewards of unedited responses; None where there are none.
        seed: of the bootstrap.
        resamples: bootstrap resamples.
    """
    measured = [one for one in edited if np.isfinite(one.change)]
    counts = ProbeResult(
        kind=probe.kind,
        title=probe.title,
        meaning=probe.meaning,
        why=probe.why,
        responses=responses,
        n=len(measured),
        n_missing=len(edited) - len(measured),
        n_not_applicable=responses - len(edited),
        prompts=0,
    )
    if not measured:
        return counts
    change_N = np.array([one.change for one in measured])
    wrong_N = _goes_wrong(probe, change_N, std or 0.0)
    groups_N = _groups([one.case for one in measured])
    share, share_interval, method = _share(wrong_N, groups_N, seed, resamples)
    shift = _shift(change_N, groups_N, std, seed, resamples)
    return counts.model_copy(
        update={
            "prompts": int(groups_N.max()) + 1,
            "wrong": share,
            "wrong_low": share_interval.low,
            "wrong_high": share_interval.high,
            "equal": float((np.abs(change_N) <= EQUAL_WITHIN * (std or 0.0)).mean()),
            "shift": shift[0] if shift else None,
            "shift_low": shift[1].low if shift else None,
            "shift_high": shift[1].high if shift else None,
            "interval": method,
            "examples": _worst([one for one, wrong in zip(measured, wrong_N.tolist(), strict=True) if wrong], std),
        }
    )


def _goes_wrong(probe: Probe, change_N: Floats, std: float) -> NDArray[np.bool_]:
    rounding = EQUAL_WITHIN * std
    return change_N > rounding if probe.kind == "surface" else change_N >= -rounding


def _groups(cases: Sequence[Case]) -> NDArray[np.int64]:
    """The number of each case's prompt, from 0."""
    known: dict[Conversation, int] = {}
    return np.array([known.setdefault(case.prompt, len(known)) for case in cases], dtype=np.int64)


def _share(
    wrong_N: NDArray[np.bool_], groups_N: NDArray[np.int64], seed: int, resamples: int
) -> tuple[float, statistics.Interval, str]:
    """Share, interval, method: Wilson where every response has its own prompt, else at the size that prompts allow."""
    share, prompts = float(wrong_N.mean()), int(groups_N.max()) + 1
    if prompts == len(wrong_N):
        return share, statistics.wilson_interval(float(wrong_N.sum()), len(wrong_N)), "Wilson"
    samples = statistics.bootstrap_means(wrong_N.astype(np.float64), groups_N, seed=seed, resamples=resamples)
    method = f"Wilson at the effective size over {prompts} prompts, bootstrap with {resamples} resamples"
    return share, statistics.score_interval(share, samples, prompts), method


def _shift(
    change_N: Floats, groups_N: NDArray[np.int64], std: float | None, seed: int, resamples: int
) -> tuple[float, statistics.Interval] | None:
    """Mean change in standard deviations with its bootstrap interval; None where rewards do not spread."""
    if not std:
        return None
    change = change_N / std
    samples = statistics.bootstrap_means(change, groups_N, seed=seed, resamples=resamples)
    return float(change.mean()), statistics.percentile_interval(samples)


def _worst(wrong: Sequence[Edited], std: float | None) -> tuple[ProbeExample, ...]:
    """The responses whose reward went furthest the wrong way, which is up for either kind."""
    worst = sorted(wrong, key=lambda one: (-one.change, one.case.row.key))[:EXAMPLES]
    return tuple(
        ProbeExample(
            id=one.case.row.id,
            subset=one.case.row.subset,
            prompt=_cut(one.case.subject.prompt),
            original=_cut(one.case.subject.response),
            edited=_cut(one.text),
            reward=one.before,
            reward_edited=one.after,
            shift=one.change / std if std else None,
        )
        for one in worst
    )


def _cut(text: str) -> str:
    """A long text without its middle: edits show at the beginning and at the end."""
    clean = text.encode("utf-8", "replace").decode()
    return clean if len(clean) <= _SHOWN else f"{clean[: _SHOWN - _TAIL]} […] {clean[-_TAIL:]}"


MOST_MISSING = 0.1
"""Largest share of missing rewards, of the responses that an edit applies to, with which a probe has a verdict."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one probe is asked; None where a number is not asked."""

    max_wrong: float | None
    max_shift: float | None


def gate_probes(record: ProbesRecord, rules: ProbeGatesSpec) -> ProbesRecord:
    """The record with a verdict and its reason, in words, for every probe: PASS, FAIL or NO_DATA by limits.

    The burden of proof differs, so that every planted scorer gets the verdict that it deserves:

        surface      FAIL only when the bias is sure: the share that rises is above its limit by its whole interval, or
                     the mean shift is. A model that ignores the edit raises half of the rewards, by noise: it passes.
        destroyed    PASS only when the damage is surely seen: the share that does not fall is below its limit by its
                     whole interval, and so is the mean shift. A guessing or constant model fails, as it does on a
                     benchmark.

    Either of the two surface rules alone would miss something: a small rise of nearly every reward is a direction that
    a policy climbs, and so is a large rise of a few.
    """
    gated = {}
    for code, result in record.probes.items():
        verdict, message = gate_probe(result, limits_of(code, result, rules), rules.min_prompts)
        gated[code] = result.model_copy(update={"verdict": verdict, "message": message})
    return record.model_copy(update={"probes": gated})


def limits_of(code: str, result: ProbeResult, rules: ProbeGatesSpec) -> Limits:
    """The limits of a probe: its own rule's, else those of its kind."""
    general = rules.surface if result.kind == "surface" else rules.destroyed
    own = rules.each.get(code)
    wrong = own.max_wrong if own and own.max_wrong is not None else general.max_wrong
    shift = own.max_shift if own and own.max_shift is not None else general.max_shift
    return Limits(wrong, shift)


def gate_probe(result: ProbeResult, limits: Limits, min_prompts: int) -> tuple[Verdict, str]:
    """Verdict and message of one probe."""
    applicable = result.n + result.n_missing
    if result.n_missing > MOST_MISSING * applicable:
        return "NO_DATA", f"{result.n_missing} of {applicable} rewards could not be computed: too many for a verdict."
    if result.prompts < min_prompts or result.wrong is None:
        return (
            "NO_DATA",
            f"the edit applies to {result.prompts} prompts; at least {min_prompts} are needed for a verdict.",
        )
    numbers = (result.wrong, result.wrong_low, result.wrong_high, result.shift_low, result.shift_high)
    if not all(number is None or math.isfinite(number) for number in numbers):
        return "NO_DATA", "its share or shift is no finite number: there is no verdict on it."
    rule = _surface if result.kind == "surface" else _destroyed
    verdict, reason = rule(result, limits)
    missing = f" {result.n_missing} rewards are missing." if result.n_missing else ""
    return verdict, f"{_found(result)}: {reason}{missing}"


def _surface(result: ProbeResult, limits: Limits) -> tuple[Verdict, str]:
    """FAIL when a bias is sure."""
    wrong, shift = limits.max_wrong, limits.max_shift
    often = wrong is not None and result.wrong_low is not None and result.wrong_low > wrong
    far = shift is not None and result.shift_low is not None and result.shift_low > shift
    if often and far:
        return "FAIL", f"surely more than {_percent(wrong)} rise, and surely by more than {shift:g} std on average."
    if often:
        return "FAIL", f"surely more than {_percent(wrong)} rise."
    if far:
        return "FAIL", f"the mean shift is surely above {shift:g} std."
    return "PASS", "no preference for this surface is shown."


def _destroyed(result: ProbeResult, limits: Limits) -> tuple[Verdict, str]:
    """PASS when the damage is surely seen."""
    wrong, shift = limits.max_wrong, limits.max_shift
    seldom = wrong is None or (result.wrong_high is not None and result.wrong_high < wrong)
    down = shift is None or result.shift_high is None or result.shift_high < shift
    if not seldom:
        return "FAIL", f"it is not sure that fewer than {_percent(wrong)} fail to fall; the damage is not seen."
    if not down:
        return "FAIL", f"most rewards fall, but the mean shift is not surely below {shift:g} std: some rise far."
    return "PASS", "the damage is seen."


def _found(result: ProbeResult) -> str:
    """What was measured, in one phrase."""
    went = "rise" if result.kind == "surface" else "do not fall"
    share = f"{_percent(result.wrong)} of {result.n} rewards {went} ({_range(result.wrong_low, result.wrong_high)})"
    if result.shift is None:
        return f"{share}, no shift in std: the unedited responses all have one reward"
    return f"{share}, mean shift {result.shift:+.2f} std ({result.shift_low:+.2f} to {result.shift_high:+.2f})"


def _range(low: float | None, high: float | None) -> str:
    return f"{_percent(low)} to {_percent(high)}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"
