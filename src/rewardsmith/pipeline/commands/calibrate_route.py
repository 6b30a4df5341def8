"""`rewardsmith route calibrate`: fits the limit of the spec's rule on held-out pairs, and says whether to route at all.

    record = calibrate_job(spec, CalibrateOptions(models=("runs/x/model",), out=Path("runs/x/routing")), events)

In: the pairs that the spec's run holds out, or those of `data`. A limit that was fitted on the rows of a gate would be
tested on what it has seen, so pairs are refused where their source is one of the spec's benchmarks (its hub id, its
file, or a copy of it) or shares prompts with one. Model and judge are asked about every pair; the judge sees each in
an order drawn by the seed, so that what it prefers by place is not mistaken for judgement.

Out: `routing.json` (limit, curve, verdict), `verdicts.jsonl` (what the judge said of each pair, which --verdicts takes
in place of asking again) and, where a rule needs it, `laplace.npz`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.files import check_file, read_rows, sha256_of
from rewardsmith.errors import DataError, SpecError, UserError
from rewardsmith.evaluation import BenchmarkRows, find_benchmark
from rewardsmith.evaluation.calibration import by_subset, calibrate, folds_of, in_use
from rewardsmith.evaluation.contract import EvalRow
from rewardsmith.evaluation.distribution import prompts_of
from rewardsmith.judging import load_prompts
from rewardsmith.pipeline.commands.judge import build_judge
from rewardsmith.pipeline.commands.route import (
    CHUNK,
    JUDGE_FOLDER,
    RECORD_FILE,
    VERDICTS_FILE,
    RouteModel,
    open_route_model,
    rules_of,
)
from rewardsmith.pipeline.context import Job
from rewardsmith.pipeline.directory import RunDirectory, checkpoint_folder
from rewardsmith.pipeline.embedded import EMBEDDED, Resources
from rewardsmith.pipeline.evaluating import as_text, held_out_rows, load_benchmark, tell_left_out
from rewardsmith.pipeline.events import Events
from rewardsmith.pipeline.scorers import LoadOptions
from rewardsmith.protocols import Judge
from rewardsmith.records.checks import CheckRecord
from rewardsmith.records.files import (
    begins_with,
    guard_files,
    guard_folder,
    guard_own,
    read_record,
    write_json,
    write_jsonl,
)
from rewardsmith.records.routing import (
    AbstentionRecord,
    RouteAnswer,
    RoutedScore,
    RouteJudge,
    RoutePoint,
    RouteTarget,
    RoutingRecord,
    SubsetTemperature,
)
from rewardsmith.routing import SHARES, Rules, Target, Trial, curve, fit_limit, make_trial
from rewardsmith.routing.abstention import abstain, fewest, fitting_part, in_words
from rewardsmith.routing.audit import header_of
from rewardsmith.routing.curve import (
    Fitted,
    accuracy,
    cross_fit,
    gain_of_everything,
    judge_worth,
    mean_advantage,
    point,
    predict,
    weigh,
)
from rewardsmith.routing.rules import check_posterior, fit_laplace, save_posterior
from rewardsmith.scoring import Combination
from rewardsmith.spec import BenchmarkSpec, Spec
from rewardsmith.types import Comparison, Conversation, JudgeAnswer, Opinion, Usage

_VERDICT = ("subset", "id", "probability", "consistent", "missing")


@dataclass(frozen=True, slots=True)
class CalibrateOptions:
    """What `route calibrate` was told. `verdicts` is a file in place of the judge; `pairs` are drawn at most."""

    models: tuple[str, ...]
    out: Path
    data: str | None = None
    pairs: int | None = 1000
    target: Target | None = None
    verdicts: Path | None = None
    combination: Combination | None = None
    load: LoadOptions = field(default_factory=LoadOptions)


@dataclass(frozen=True, slots=True)
class _Evidence:
    """The pairs with what the model and the judge say of them, "the chosen response is first" throughout.

    `fit` is true for the pairs that temperatures, posterior and ladder are fitted on: all of them, or one third where a
    certificate needs the others.
    """

    rows: BenchmarkRows
    margins: NDArray[np.float64]
    opinions: list[Opinion]
    verdicts: list[JudgeAnswer]
    fit: NDArray[np.bool_]
    subsets: tuple[SubsetTemperature, ...]


def calibrate_job(
    spec: Spec, options: CalibrateOptions, events: Events, *, judge: Judge | None = None
) -> RoutingRecord:
    """Fit the limit and write `routing.json`.

    Args:
        spec: `routing`, `judge`, `evaluation.benchmarks` (which are refused as pairs), seed.
        options: models, pairs, target.
        events: told how far it is.
        judge: in place of the spec's.

    Raises:
        UserError: a gate decides on the pairs, model, judge or rules cannot be used.
    """
    read = [str(one) for one in (options.data, options.verdicts) if one]
    guard_folder(options.out, (RECORD_FILE,), RECORD_FILE, read)
    verdicts_file = options.out / VERDICTS_FILE
    guard_files((verdicts_file,), read)
    # Without a record beside them too: whoever is interrupted while the curve is computed has verdicts alone.
    guard_own(verdicts_file, lambda file: begins_with(file, _VERDICT), "verdicts of `route calibrate`")
    check_posterior(options.out)
    if options.verdicts:
        check_file(options.verdicts)  # before the pairs are scored
    rules = rules_of(spec.routing)
    if rules.free is None:
        rules.sureness([], [])  # says what to do
    rows = draw(calibration_rows(spec, options.data, events), options.pairs, spec.seed)
    model = open_route_model(spec, options.models, options.load, options.combination, events.note)
    if not model.conversational:
        rows = as_text(rows)
    target = options.target or Target(spec.routing.target.kind, spec.routing.target.value)
    target = replace(target, confidence=spec.routing.target.confidence)
    units = prompts_of(rows.rows)
    fit = fitting_part(units, spec.seed) if target.kind == "wrong" else np.ones(len(units), dtype=np.bool_)
    margins, opinions, subsets = _opinions(spec, model, rows, fit, options.out, events)
    verdicts = (
        read_verdicts(options.verdicts, rows.rows)
        if options.verdicts
        else _ask(judge or build_judge(spec.judge, options.out / JUDGE_FOLDER, seed=spec.seed), spec, rows, events)
    )
    write_jsonl(verdicts_file, [_line(*one) for one in zip(rows.rows, verdicts, strict=True)])
    record = _record(spec, options, target, model, rules, _Evidence(rows, margins, opinions, verdicts, fit, subsets))
    write_json(options.out / RECORD_FILE, record)
    return record


def calibration_rows(spec: Spec, data: str | None, events: Events) -> BenchmarkRows:
    """Pairs of a file or a hub id; those that the spec's run holds out where `data` is None.

    Raises:
        UserError: a gate decides on them, they cannot be read, or the run has none.
    """
    if data is None:
        return _held_out(spec, events)
    _refuse_sources(spec, data)
    rows = find_benchmark("pairs").load(data, None)
    tell_left_out(rows, events)
    _refuse_prompts(spec, rows, data, events)
    return rows


_FIX = "calibrate on held-out pairs that no gate looks at"


def draw(rows: BenchmarkRows, most: int | None, seed: int) -> BenchmarkRows:
    """At most `most` of the rows, drawn by the seed, in their order."""
    if most is None or len(rows.rows) <= most:
        return rows
    chosen = np.sort(np.random.default_rng(seed).permutation(len(rows.rows))[:most])
    return replace(rows, rows=tuple(rows.rows[place] for place in chosen))


def _held_out(spec: Spec, events: Events) -> BenchmarkRows:
    """The pairs that the run of this spec holds out."""
    run = checkpoint_folder(spec).parent
    if not (run / "check.json").exists():
        raise UserError(
            "the spec's run is not there, and with it the pairs that it holds out",
            where=str(run),
            fix="run `rewardsmith run` with this spec first, or name held-out pairs with --data FILE",
        )
    with RunDirectory.open(spec) as directory:
        job = Job(spec, directory, events)
        job.checked = read_record(run / "check.json", CheckRecord)
        pairs = job.prepared.held_out
        if not pairs:
            raise UserError("the run holds out no pairs", where=str(run), fix="name some with --data FILE")
        rows = held_out_rows(pairs, job.prepared.record.held_out_origin)[1]
        _refuse_prompts(spec, rows, str(run), events)
        return rows


def _refuse_sources(spec: Spec, data: str) -> None:
    """Refuse a source that is named as a benchmark, or is a copy of its file."""
    path = Path(data)
    digest = sha256_of(path) if path.is_file() else None
    for benchmark in spec.evaluation.benchmarks:
        there = Path(benchmark.data)
        same_file = there.is_file() and digest is not None and sha256_of(there) == digest
        if benchmark.data == data or same_file or (there.exists() and path.exists() and there.samefile(path)):
            raise DataError(
                f"is the benchmark {benchmark.key!r}, which {_gate(spec, benchmark)} decides on", where=data, fix=_FIX
            )


def _refuse_prompts(spec: Spec, rows: BenchmarkRows, where: str, events: Events) -> None:
    """Refuse pairs whose prompts stand in a benchmark."""
    own = {_words(row.prompt) for row in rows.rows if row.prompt}
    for benchmark, prompts in _prompts(spec, events):
        shared = len(own & prompts)
        if shared:
            raise DataError(
                f"shares {shared:,} of its {len(own):,} prompts with the benchmark {benchmark.key!r}, which "
                f"{_gate(spec, benchmark)} decides on",
                where=where,
                fix=_FIX,
            )


def _prompts(spec: Spec, events: Events) -> Iterator[tuple[BenchmarkSpec, set[str]]]:
    resources = Resources.of(spec, events, with_base=False)
    for benchmark in spec.evaluation.benchmarks:
        if benchmark.data != EMBEDDED and not Path(benchmark.data).exists():
            events.note(f"{benchmark.key} is not on this machine: whether pairs share its prompts was not looked at")
            continue
        found = load_benchmark(benchmark, resources.benchmark_data(benchmark.data))[1]
        yield benchmark, {_words(row.prompt) for row in found.rows if row.prompt}


def _gate(spec: Spec, benchmark: BenchmarkSpec) -> str:
    """The gate that decides on a benchmark, by its field."""
    gates = spec.evaluation.gates
    if benchmark.key in gates.minimum:
        return f"evaluation.gates.minimum.{benchmark.key}"
    return "evaluation.gates.above_baseline" if gates.above_baseline else "the gate `computed`"


def _words(prompt: Conversation) -> str:
    """A prompt as it is compared: case and white space are nothing."""
    return "\0".join(" ".join(turn.text.casefold().split()) for turn in prompt)


def _opinions(
    spec: Spec, model: RouteModel, rows: BenchmarkRows, fit: NDArray[np.bool_], out: Path, events: Events
) -> tuple[NDArray[np.float64], list[Opinion], tuple[SubsetTemperature, ...]]:
    """Margins and opinions of all pairs; fits what the model lacks on those of `fit`: temperatures, a posterior."""
    pairs = [(row.prompt + row.chosen[0], row.prompt + row.rejected[0]) for row in rows.rows]
    given = model.temperature is not None
    if model.doubt == "laplace":
        _fit_doubt(spec, model, rows, fit, out)
    standings = []
    for start in range(0, len(pairs), CHUNK // 2):
        standings += model.standings(pairs[start : start + CHUNK // 2])
        events.progress("scoring pairs", len(standings), len(pairs))
    margins = np.array([one.rewards[0] - one.rewards[1] for one in standings])
    _fit_temperature(spec, model, rows, np.where(fit, margins, np.nan))
    subsets: tuple[SubsetTemperature, ...] = ()
    if spec.routing.temperature == "by_subset" and model.temperature is not None:
        subsets = by_subset(
            np.where(fit, margins, np.nan),
            [row.subset for row in rows.rows],
            prompts_of(rows.rows),
            folds_of(rows.rows, spec.seed),
            pooled=model.temperature,
            given=given,
        )
        model.temperatures = in_use(subsets)
    opinions = [
        one.opinion(0, 1, model.temperature_of(row.subset)) for one, row in zip(standings, rows.rows, strict=True)
    ]
    return margins, opinions, subsets


def _fit_temperature(spec: Spec, model: RouteModel, rows: BenchmarkRows, margins: NDArray[np.float64]) -> None:
    if model.temperature is not None:
        return
    found = calibrate(margins, prompts_of(rows.rows), folds_of(rows.rows, spec.seed), seed=spec.seed, resamples=200)
    if found is not None and found.temperature is not None:
        model.temperature, model.interval = found.temperature, found.temperature_ci
        model.calibration = "these pairs"


def _fit_doubt(spec: Spec, model: RouteModel, rows: BenchmarkRows, fit: NDArray[np.bool_], out: Path) -> None:
    """The Laplace approximation on the pairs of `fit`."""
    every = [row.prompt + side for row in rows.rows for side in (row.chosen[0], row.rejected[0])]
    features, rewards = model.features(every)
    margins = np.where(fit, rewards[0::2] - rewards[1::2], np.nan)
    there = np.isfinite(margins)
    _fit_temperature(spec, model, rows, margins)
    difference = (features[0::2] - features[1::2])[there]
    posterior = fit_laplace(difference, margins[there], model.head(), model.temperature or 1.0, model.identity)
    out.mkdir(parents=True, exist_ok=True)
    save_posterior(posterior, out)
    model.posterior = posterior


def read_verdicts(path: Path, rows: Sequence[EvalRow]) -> list[JudgeAnswer]:
    """Verdicts of an earlier calibration, one for each row.

    Raises:
        DataError: a line cannot be read, or a row has none.
    """
    found = {}
    for number, row in read_rows(path):
        try:
            line = RouteAnswer.model_validate(row)
        except ValueError as error:
            raise DataError(
                f"is no verdict: {str(error).splitlines()[0]}",
                where=f"{path}:{number}",
                fix=f"give the {VERDICTS_FILE} of an earlier `route calibrate`",
            ) from error
        usage = Usage(line.calls, 0, 0, 0, line.cost)
        found[line.subset, line.id] = JudgeAnswer(line.probability, line.consistent, line.missing, usage)
    absent = [row for row in rows if row.key not in found]
    if absent:
        raise DataError(
            f"has no verdict on {len(absent):,} of the {len(rows):,} pairs, as {' / '.join(absent[0].key)}",
            where=str(path),
            fix="give verdicts on these very pairs, or leave --verdicts out and let the judge be asked",
        )
    return [found[row.key] for row in rows]


def _line(row: EvalRow, verdict: JudgeAnswer) -> RouteAnswer:
    return RouteAnswer(
        subset=row.subset,
        id=row.id,
        probability=verdict.probability,
        consistent=verdict.consistent,
        missing=verdict.missing,
        calls=verdict.usage.calls,
        cost=verdict.usage.cost,
    )


def _ask(judge: Judge, spec: Spec, rows: BenchmarkRows, events: Events) -> list[JudgeAnswer]:
    """The judge's verdicts on all pairs, as if the chosen response were first."""
    flipped = np.random.default_rng([spec.seed, 7]).random(len(rows.rows)) < 0.5
    found: list[JudgeAnswer | None] = [None] * len(rows.rows)
    done = 0

    async def ask(place: int, row: EvalRow, slots: asyncio.Semaphore) -> None:
        nonlocal done
        sides = (row.rejected[0], row.chosen[0]) if flipped[place] else (row.chosen[0], row.rejected[0])
        pair = Comparison(row.prompt, *sides, id=f"{row.subset}/{row.id}", subset=row.subset)
        async with slots:
            found[place] = _turned(await judge.compare(pair)) if flipped[place] else await judge.compare(pair)
        done += 1
        events.progress("asking the judge", done, len(rows.rows))

    async def ask_all() -> None:
        slots = asyncio.Semaphore(spec.routing.concurrency)
        try:
            async with asyncio.TaskGroup() as group:
                for place, row in enumerate(rows.rows):
                    group.create_task(ask(place, row, slots))
        finally:
            if close := getattr(judge, "close", None):
                await close()

    asyncio.run(ask_all())
    refusal = getattr(judge, "refusal", None)
    if isinstance(refusal, SpecError):
        raise refusal
    return [one for one in found if one is not None]


def _turned(verdict: JudgeAnswer) -> JudgeAnswer:
    """The same verdict with the responses in the other order."""
    if verdict.probability is None:
        return verdict
    return JudgeAnswer(1 - verdict.probability, verdict.consistent, verdict.missing, verdict.usage)


METHOD = (
    "Accuracies: Wilson's interval at the bootstrap's effective size, over {units} prompts; differences: paired. "
    "Limits are taken as fixed on the curve; out of sample they are fitted without the pair's prompt (five folds). A "
    "judge's tie or missing verdict falls back to the reward model; for the judge alone a tie scores 1/2, one that is "
    "missing 0."
)


def _record(
    spec: Spec, options: CalibrateOptions, target: Target, model: RouteModel, rules: Rules, evidence: _Evidence
) -> RoutingRecord:
    """Everything that is known, as a record."""
    rows, seed, resamples = evidence.rows, spec.seed, spec.evaluation.bootstrap
    units = prompts_of(rows.rows)
    trial = make_trial(rules, evidence.opinions, [row.subset for row in rows.rows], evidence.verdicts, units)
    fitted, abstention = _fitted(trial, target, evidence.fit, seed)
    points = curve(trial, SHARES, seed=seed, resamples=resamples)
    advantage = mean_advantage(trial, seed=seed, resamples=resamples)
    gain = gain_of_everything(trial, seed=seed, resamples=resamples)
    verdict, statement = weigh(points, advantage, gain)
    points, holds = _with_prediction(points, trial, model, evidence.margins, seed)
    checked = None if abstention else cross_fit(trial, target, seed=seed, resamples=resamples)

    def score(result_P: NDArray[np.float64]) -> RoutedScore:
        return accuracy(result_P, trial.units, seed, resamples)

    judge = _judge(spec, options, evidence.verdicts)
    model_only, judge_only = score(trial.model), score(trial.judge)
    judge_pays, judge_statement = judge_worth(
        model_only,
        judge_only,
        gain,
        pairs=len(trial),
        calls=judge.calls,
        cached=judge.cached,
        money=f"{judge.cost:.4g} {judge.currency}" if judge.currency else "",
    )
    return RoutingRecord(
        model=model.name,
        identity=model.identity,
        dataset=rows.dataset,
        pairs=len(trial),
        prompts=len(np.unique(units)),
        missing_rewards=int(np.isnan(evidence.margins).sum()),
        missing=dict(sorted(model.missing.items())),
        rules=header_of(rules.with_limit(fitted.limit)).rules,
        combine=rules.combine,
        temperature=model.temperature,
        calibration=model.calibration,
        doubt=model.doubt,
        subset_temperatures=evidence.subsets,
        abstention=abstention,
        judge=judge,
        target=RouteTarget(
            kind=target.kind,
            value=target.value,
            reached=fitted.reached,
            confidence=target.confidence if abstention else None,
        ),
        chosen=point(trial, fitted.limit, seed=seed, resamples=resamples),
        checked=checked.accuracy if checked else None,
        checked_share=checked.share if checked else None,
        model_only=model_only,
        judge_only=judge_only,
        everything=score(trial.routed),
        agreement=_agreement(evidence, units, seed, resamples),
        points=points,
        advantage=advantage,
        within_prediction=holds,
        verdict=verdict,
        statement=statement + _calibration_in_words(holds),
        judge_pays=judge_pays,
        judge_statement=judge_statement,
        method=METHOD.format(units=len(np.unique(units))),
    )


def _fitted(trial: Trial, target: Target, fit: NDArray[np.bool_], seed: int) -> tuple[Fitted, AbstentionRecord | None]:
    """The limit for the target; for a share of wrong confident verdicts with its certificate."""
    if target.kind != "wrong":
        return fit_limit(trial, target), None
    wrong, confidence = target.value, target.confidence
    found = abstain(trial.sureness, trial.model, trial.units, fit, wrong=wrong, confidence=confidence, seed=seed)
    record = AbstentionRecord(
        tested=found.tested,
        fitted=found.fitted,
        needed=fewest(wrong, confidence),
        steps=found.steps,
        statement=in_words(found, wrong, confidence),
    )
    return Fitted(found.limit, found.reached), record


def _judge(spec: Spec, options: CalibrateOptions, verdicts: Sequence[JudgeAnswer]) -> RouteJudge:
    there = [one.probability for one in verdicts if one.probability is not None]
    both = [one.consistent for one in verdicts if one.consistent is not None]
    usage = sum((one.usage for one in verdicts), Usage())
    return RouteJudge(
        name=spec.judge.model or (f"verdicts of {options.verdicts}" if options.verdicts else "judge"),
        prompts=load_prompts(spec.judge.prompts)["pairwise"].sha256,
        verdicts=len(there),
        missing=dict(sorted(Counter(one.missing for one in verdicts if one.missing).items())),
        ties=sum(probability == 0.5 for probability in there),
        consistent=sum(both) / len(both) if both else None,
        calls=usage.calls,
        cached=usage.cached,
        cost=usage.cost,
        currency=spec.judge.prices.currency if spec.judge.prices.known else "",
    )


def _agreement(evidence: _Evidence, units: NDArray[np.int64], seed: int, resamples: int) -> RoutedScore | None:
    found = agreements(evidence.margins, evidence.verdicts)
    there = np.isfinite(found)
    return accuracy(found[there], units[there], seed, resamples) if there.any() else None


def agreements(margins: NDArray[np.float64], verdicts: Sequence[JudgeAnswer]) -> NDArray[np.float64]:
    """How far the model and the judge name the same response of each pair, 0 to 1; NaN where one says nothing.

    1 − |r − q|, with r the model's win for the first response (1, 1/2 for equal rewards, 0) and q the judge's
    probability of it: as `watch` compares the two in its audits.
    """
    wins = np.where(np.isnan(margins), np.nan, np.where(margins == 0, 0.5, margins > 0))
    said = np.array([np.nan if one.probability is None else one.probability for one in verdicts])
    return np.asarray(1 - np.abs(wins - said))


def _with_prediction(
    points: tuple[RoutePoint, ...], trial: Trial, model: RouteModel, margins: NDArray[np.float64], seed: int
) -> tuple[tuple[RoutePoint, ...], bool | None]:
    """The points with what the calibration predicts of them; the judge's results are taken as they are."""
    if model.temperature is None:
        return points, None
    band = predict(
        trial,
        margins.tolist(),
        model.temperature,
        model.interval,
        [one.limit for one in points],
        judge_accuracy=None,
        seed=seed,
    )
    predicted = [
        RoutedScore(value=float(value), low=float(low), high=float(high))
        for value, low, high in zip(band.predicted, band.low, band.high, strict=True)
    ]
    with_band = [one.model_copy(update={"predicted": own}) for one, own in zip(points, predicted, strict=True)]
    return tuple(with_band), band.holds([one.accuracy.value for one in points])


def _calibration_in_words(holds: bool | None) -> str:
    if holds is None:
        return " The model has no calibration, so that nothing could be predicted from its margins."
    if holds:
        return " The curve keeps to what the model's calibration predicts."
    return " The curve leaves the band that the model's calibration predicts: on these pairs it is miscalibrated."
