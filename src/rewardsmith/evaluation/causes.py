"""What kind of model a run has made: the diagnoses of its evaluated sets, the data check and the training, joined.

    diagnose_run(results, check, train) → DiagnosisRecord       diagnosis.json: pure, from records
    diagnose_run(…, replicas={18: …}, curve=…)                  with what other seeds, or shares of the data, have shown

A trait counts where one set shows it; the held-out pairs speak first, then the set that shows it most. What is no
trait (saturated, reversed, undertrained, too little data) is asked of the held-out pairs, or of every set where none
are held out: a benchmark may be too hard for a model that has learnt what its data say. Too little data is said only
where no set can tell more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from rewardsmith.evaluation.diagnosis import LEARNT, MARKUP, PROMPTS
from rewardsmith.records.checks import CheckRecord
from rewardsmith.records.diagnosis import (
    Cause,
    CauseCode,
    Diagnosis,
    DiagnosisRecord,
    PairShare,
    Prediction,
    Trait,
    TraitCode,
)
from rewardsmith.records.evaluation import BenchmarkResult
from rewardsmith.records.texts import Grade, LoneRule, ShortcutsRecord
from rewardsmith.records.training import LearningCurveRecord, TrainRecord

_TITLES: dict[CauseCode, str] = {
    "length": "scores length",
    "format": "scores format",
    "refusal": "scores refusals",
    "position": "scores the place in the list",
    "saturated": "is saturated",
    "reversed": "prefers the wrong answers",
    "undertrained": "is undertrained",
    "too_little_data": "was asked too few pairs to say what it is",
}
_FINDINGS: dict[TraitCode, str] = {
    "length": "length_shortcut",
    "format": "format_shortcut",
    "refusal": "lexical_shortcut",
}
_WEAK = "weak_shortcuts"
DIAGNOSIS_FILE = "diagnosis.json"
GUESSING = 0.5
_FIVE_POINTS = 400
"""Pairs that give an accuracy of about 60 % an interval of five points either way."""


def diagnose_run(
    results: Mapping[str, BenchmarkResult],
    check: CheckRecord | None = None,
    train: TrainRecord | None = None,
    *,
    replicas: Mapping[int, DiagnosisRecord] = MappingProxyType({}),
    curve: LearningCurveRecord | None = None,
) -> DiagnosisRecord:
    """The causes, strongest traits first.

    Args:
        results: key → results; sets without a diagnosis are left out.
        check: the data check of the training pairs; None where there is none.
        train: what training recorded; None where there is none.
        replicas: other seed of the same training → what its model is.
        curve: the learning curve; None where none was asked for.
    """
    order = sorted(results, key=lambda key: not results[key].held_out)
    sets = {key: found for key in order if (found := results[key].diagnosis) is not None}
    traits = sorted(_traits(sets, results, check), key=lambda cause: -(cause.value or 0.0))
    causes = (*traits, *_states(sets, results, train, curve, swayed=bool(traits)))
    return DiagnosisRecord(
        sets=tuple(sets),
        causes=tuple(cause.model_copy(update={"seeds": _seeds(cause.code, replicas)}) for cause in causes),
        headline=headline(causes),
        replicas={str(seed): found.headline for seed, found in replicas.items()},
    )


def headline(causes: Sequence[Cause]) -> str:
    """ "It scores length and scores format."; empty without a cause."""
    titles = [cause.title for cause in causes]
    if not titles:
        return ""
    return f"It {', '.join(titles[:-1])}{' and ' if len(titles) > 1 else ''}{titles[-1]}."


def _seeds(code: CauseCode, replicas: Mapping[int, DiagnosisRecord]) -> str:
    """How many other seeds show it: what all of them do is in the data, what one does may be luck of its training.

    Too few pairs are a fact of the sets and of no training.
    """
    if not replicas or code == "too_little_data":
        return ""
    show, of = sum(any(cause.code == code for cause in one.causes) for one in replicas.values()), len(replicas)
    if show == of:
        named = {1: "The other seed shows", 2: "Both other seeds show"}.get(of, f"All {of} other seeds show")
        return f"{named} it too."
    if show:
        return f"Of {of} other seeds {show} {'shows' if show == 1 else 'show'} it too."
    none = "The other seed does not show it" if of == 1 else f"None of {of} other seeds shows it"
    return f"{none}: it may be luck of this training."


def _traits(
    sets: Mapping[str, Diagnosis], results: Mapping[str, BenchmarkResult], check: CheckRecord | None
) -> Iterator[Cause]:
    shown: dict[TraitCode, list[tuple[str, Trait]]] = {}
    for key, diagnosis in sets.items():
        for trait in diagnosis.traits:
            if trait.found:
                shown.setdefault(trait.code, []).append((key, trait))
    for code, places in shown.items():
        key, trait = max(places, key=lambda place: (results[place[0]].held_out, place[1].sway))
        also = tuple(other for other, _ in places if other != key)
        predicted = _predicted(trait, check)
        yield Cause(
            code=code,
            title=_title(trait),
            benchmark=key,
            also=also,
            value=trait.sway,
            ci=trait.sway_ci,
            text=_evidence(trait, sets[key]),
            predicted_by=predicted,
            prediction=_prediction(trait, predicted, check),
            rows=trait.rows,
            fix=_fix(trait, predicted),
        )


def _title(trait: Trait) -> str:
    """ "scores length", and which way where it is not the usual one."""
    unusual = {"length": "scores shortness", "format": "scores plainness", "refusal": "scores down refusals"}
    return unusual.get(trait.code, _TITLES[trait.code]) if trait.direction < 0 else _TITLES[trait.code]


def _evidence(trait: Trait, found: Diagnosis) -> str:
    """The correlation within prompts, accuracy on both sides, the sway."""
    correlated = ""
    if trait.correlation is not None and trait.correlation_ci is not None:
        low, high = trait.correlation_ci
        interval = f"({low:.2f} to {high:.2f})"
        correlated = f"reward and {_named(trait)} correlate at {trait.correlation:.2f} {interval} within a prompt; "
    against = f"right in {_share(trait.wrong)} of the {_count(trait.wrong.n, 'pair')} where {trait.favours} is wrong"
    along = f", in {_share(trait.right)} of the {trait.right.n:,} where it is right" if trait.right.n else ""
    beside = ", with the other traits equal" if sum(other.found for other in found.traits) > 1 else ""
    sway = _percent(trait.sway, trait.sway_ci)
    decided = f"; {_named(trait)} decides {sway} of the pairs that differ in it, whichever answer is right{beside}"
    return _sentence(f"{correlated}{against}{along}{decided}")


def _named(trait: Trait) -> str:
    """What the model scores, within a sentence."""
    plain = {"length": "length", "refusal": "refusal", "position": "the place in the list"}
    return plain.get(trait.code, f"`{trait.feature}`")


def _predicted(trait: Trait, check: CheckRecord | None) -> Prediction | None:
    """The part of the training pairs whose labels follow the trait most clearly."""
    if check is None or check.shortcuts is None or trait.code not in _FINDINGS:
        return None
    found = [
        (grade, named, prediction)
        for named, grade, prediction in _rules(trait, check.shortcuts)
        if grade and prediction.chosen > prediction.rejected
    ]
    if not found:
        return None
    grade, _, best = max(found, key=lambda one: (one[0] == "strong", one[1], one[2].chosen - one[2].rejected))
    code = _FINDINGS[trait.code] if grade == "strong" else _WEAK
    warned = code in {finding.code for finding in check.findings}
    return best.model_copy(update={"code": code}) if warned else None


def _rules(trait: Trait, record: ShortcutsRecord) -> Iterator[tuple[bool, Grade, Prediction]]:
    """(of a named source, grade, prediction) of the trait's rule in every part of the data."""
    names = MARKUP if trait.feature == "markup" else (trait.feature,)
    for group in (*record.sources, *record.subsets):
        for name in names:
            if name in group.rules:
                told = _of_rule(trait, name, group.rules[name], group.pairs, group.source, group.subset)
                yield True, group.grades.get(name, ""), told
    lengths = {length.unit: (length.rule, length.grade) for length in record.lengths}
    features = {feature.code: (feature.rule, feature.grade) for feature in record.features}
    for name in names:
        whole = lengths.get(name) if trait.code == "length" else features.get(name)  # type: ignore[call-overload]
        if whole:
            yield False, whole[1], _of_rule(trait, name, whole[0], record.pairs, "", "")


def _of_rule(trait: Trait, name: str, rule: LoneRule, pairs: int, source: str, subset: str) -> Prediction:
    """A rule in the direction of the trait."""
    low, high = rule.ci_low, rule.ci_high
    if trait.direction < 0 and low is not None and high is not None:
        low, high = 1 - high, 1 - low
    chosen, rejected = (rule.more, rule.less) if trait.direction > 0 else (rule.less, rule.more)
    return Prediction(
        code="",
        source=source,
        subset=subset,
        feature=name,
        pairs=pairs,
        chosen=chosen,
        rejected=rejected,
        ci_low=low,
        ci_high=high,
    )


def _prediction(trait: Trait, predicted: Prediction | None, check: CheckRecord | None) -> str:
    if check is None or check.shortcuts is None or trait.code not in _FINDINGS:
        return ""
    if predicted is None:
        return _sentence(
            f"the data check does not explain it: it warns of no source in which {trait.favours} is chosen too often"
        )
    decided = predicted.chosen + predicted.rejected
    interval = ""
    if predicted.ci_low is not None and predicted.ci_high is not None:
        interval = f" ({100 * predicted.ci_low:.1f} to {100 * predicted.ci_high:.1f})"
    return (
        f"The data check had warned (`{predicted.code}`): {_place(predicted)} {trait.favours} is chosen in "
        f"{100 * predicted.chosen / decided:.1f} %{interval} of {decided:,} pairs."
    )


def _place(predicted: Prediction) -> str:
    if not predicted.source:
        return "over all training pairs"
    return f"in {predicted.source}{f' / {predicted.subset}' if predicted.subset else ''}"


def _fix(trait: Trait, predicted: Prediction | None) -> str:
    """How many rows of which source, and what the model can be counted on for until then."""
    if trait.code == "position":
        return "Score each answer alone, or average over the orders in which they are listed."
    if predicted is None:
        step = f"Add pairs in which {trait.favours} is the wrong one, as many as those in which it is right"
    else:
        surplus = predicted.chosen - predicted.rejected
        of = f"{predicted.source}{f' / {predicted.subset}' if predicted.subset else ''}" or "the training data"
        whole = f", or leave that source out ({predicted.pairs:,} pairs)" if predicted.source else ""
        step = (
            f"Leave out {surplus:,} of the {predicted.chosen:,} pairs of {of} in which {trait.favours} was chosen, or "
            f"add as many in which it was rejected{whole}"
        )
    return f"{step}; then train again.{_until_then(trait)}"


def _until_then(trait: Trait) -> str:
    """What the model is right in where the trait favours either answer equally often: the mean of both accuracies.

    Of a pure lover of the trait it is one half, as for guessing. The interval adds up those of the two sides, which
    are of different pairs. Empty where one side has too few pairs to say it.
    """
    sides = (trait.wrong, trait.right)
    if any(side.n < PROMPTS or side.accuracy is None for side in sides):
        return ""
    even = sum(side.accuracy or 0.0 for side in sides) / 2
    below, above = (
        math.hypot(*((side.accuracy or 0.0) - (getattr(side, end) or 0.0) for side in sides)) / 2
        for end in ("ci_low", "ci_high")
    )
    counted = (
        f" Until then it is right in {_percent(even, (max(0.0, even - below), min(1.0, even + above)))} of the pairs "
        f"where {trait.favours} is as often wrong as right"
    )
    return f"{counted}, not surely better than guessing." if even - below <= GUESSING else f"{counted}."


def _states(
    sets: Mapping[str, Diagnosis],
    results: Mapping[str, BenchmarkResult],
    train: TrainRecord | None,
    curve: LearningCurveRecord | None,
    *,
    swayed: bool,
) -> Iterator[Cause]:
    """What is wrong beside traits."""
    own = [key for key in sets if results[key].held_out] or list(sets)
    for key in own:
        for code in sets[key].causes:
            if code == "saturated" or (code in ("reversed", "undertrained") and not swayed):
                yield _state(code, key, sets[key], train, curve)
                return
    if sets and not swayed and all(found.causes for found in sets.values()):
        yield _state("too_little_data", own[0], sets[own[0]], train, curve)


def _state(
    code: CauseCode, key: str, found: Diagnosis, train: TrainRecord | None, curve: LearningCurveRecord | None
) -> Cause:
    right = found.accuracy
    interval = (right.ci_low or 0.0, 1.0 if right.ci_high is None else right.ci_high)
    value, ci = right.accuracy, interval
    ordered = f"it orders {_share(right)} of {_count(found.pairs, 'pair')} rightly"
    if code == "saturated":
        value, ci = found.tied, found.tied_ci
        differing = " that differ in what it scores" if any(trait.found for trait in found.traits) else ""
        text = f"{_percent(found.tied, found.tied_ci)} of the pairs{differing} get nearly the same reward on both sides"
        fix = (
            "Look at how its rewards are distributed: where the same few come again and again, score in float32 and "
            "see that no server clips or squashes them; where they lie far out, lower training.learning_rate."
        )
    elif code == "reversed":
        text = f"{ordered}: surely fewer than guessing would"
        fix = (
            "See that `chosen` is the preferred answer in every source, of training and of held-out pairs "
            "(rewardsmith check SPEC --show 5)."
        )
    elif code == "undertrained":
        text = f"{ordered}, surely less than {100 * LEARNT:.0f} %, and no trait explains what it scores instead"
        fix = _more_or_other(curve)
    else:
        text = f"{ordered}, of {_count(found.prompts, 'prompt')}: too few to tell a sound model from another"
        fix = f"Hold out more pairs: about {_FIVE_POINTS} give an interval of five points either way."
    return Cause(
        code=code,
        title=_TITLES[code],
        benchmark=key,
        value=value,
        ci=ci,
        text=_sentence(text),
        prediction=_training(code, train),
        fix=fix,
    )


def _more_or_other(curve: LearningCurveRecord | None) -> str:
    """What to do about a model that has learnt too little: what its learning curve says of it, or to make one."""
    if curve is None or curve.verdict == "too few points":
        return (
            "See by `run --learning-curve 0.25,0.5,1` whether more pairs help; else raise training.learning_rate or "
            "take a larger base; the labels may also hold no more than this (label_noise.json)."
        )
    return curve.statement


def _training(code: CauseCode, train: TrainRecord | None) -> str:
    """What training said of it already."""
    if train is None:
        return ""
    if code == "undertrained":
        monitor = train.monitor
        return (
            f"The margin monitor saw {monitor.steps:,} steps and says: {monitor.verdict} "
            f"(trend {monitor.trend.slope_per_step:+.3g} per step)."
        )
    if code == "saturated" and train.outside_reward_range:
        return f"In {train.outside_reward_range:,} steps of training a reward lay outside the range of the spec."
    return ""


def _share(share: PairShare) -> str:
    if share.accuracy is None or share.ci_low is None or share.ci_high is None:
        return "none"
    return _percent(share.accuracy, (share.ci_low, share.ci_high))


def _percent(value: float, ci: tuple[float, float]) -> str:
    return f"{100 * value:.1f} % ({100 * ci[0]:.1f} to {100 * ci[1]:.1f})"


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
