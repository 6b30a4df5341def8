"""The judge: built from the spec, and evaluated on benchmarks.

    judge = build_judge(spec.judge, folder, seed=spec.seed)        what routing, serving and evaluation receive
    outcome = judge_job(spec, "rewardbench2", data, out, events)   rewardsmith judge

What a judge's evaluation leaves in `out`, a small run directory:

    calls.jsonl                          every call that was paid for; more benchmarks in the same folder share it
    eval/BENCHMARK/results.json, rows.jsonl    the records of a reward model's evaluation
    eval/BENCHMARK/judge.json            consistency, ties, unread replies, injections, cost
    report.html, summary.md

A killed job continues: what was answered is read from calls.jsonl. An interrupt (Ctrl-C, SIGTERM) waits for the calls
that are under way, whose answers are paid for; a second one does not.
"""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rewardsmith import evaluation
from rewardsmith.benchmarks import BENCHMARKS
from rewardsmith.errors import SpecError, UserError
from rewardsmith.evaluation import Benchmark, BenchmarkRows
from rewardsmith.evaluation.judged import (
    RowAnswer,
    ask_again,
    judge_rows,
    pair_consistency,
    pair_ties,
    plant_injections,
    protocol_of,
    score_judged,
)
from rewardsmith.judging import CALLS_FILE, CallLog, Client, Endpoint, LanguageModelJudge, load_prompts
from rewardsmith.judging.client import Charge
from rewardsmith.pipeline.commands.report import report_job
from rewardsmith.pipeline.evaluating import load_benchmark
from rewardsmith.pipeline.events import Events
from rewardsmith.protocols import Progress
from rewardsmith.records.evaluation import RESULTS_FILE, ROWS_FILE, BenchmarkResult
from rewardsmith.records.files import guard_files, guard_folder, write_json
from rewardsmith.records.judging import JudgeCost, JudgeRecord, JudgeSettings, PromptFile, ReplyCounts
from rewardsmith.report.html import check_pages
from rewardsmith.spec import BenchmarkSpec, JudgeSpec, Spec

JUDGE_FILE = "judge.json"
_PER = 1000

T = TypeVar("T")


def build_judge(spec: JudgeSpec, directory: Path | None = None, *, seed: int = 17) -> LanguageModelJudge:
    """A judge that asks the spec's endpoint. For one event loop; `await judge.close()` when done.

    Args:
        spec: the `judge` section.
        directory: folder of its calls: what it holds is never paid for again, and counts towards the budget. None:
            calls are counted and forgotten.
        seed: where the section has none of its own.

    Raises:
        SpecError: no endpoint is named, or a prompt file cannot be used.
        UserError: the extra `judge` is not installed.
        RunDirectoryError: the folder cannot be written, or another process has it.
    """
    if not spec.endpoint:
        raise SpecError(
            "no judge is named", where="judge.endpoint", fix="write its address, as http://127.0.0.1:8000/v1"
        )
    prompts = load_prompts(spec.prompts)
    endpoint = Endpoint(spec)
    log = CallLog() if directory is None else CallLog.open(directory)
    return LanguageModelJudge(spec, prompts, Client(spec, endpoint, log), seed=seed if spec.seed is None else spec.seed)


@dataclass(frozen=True, slots=True)
class JudgeOutcome:
    """What `rewardsmith judge` leaves.

    Attributes:
        complete: every row has a verdict, or a reply that could not be read; and at least one has a verdict.
        failures: what the endpoint answered where it failed, and how often, in this job.
        paid: calls that this job paid for.
    """

    result: BenchmarkResult
    record: JudgeRecord
    report: Path
    complete: bool
    failures: dict[str, int]
    paid: int


def judge_job(
    spec: Spec,
    benchmark: str,
    data: str,
    out: Path,
    events: Events,
    *,
    missing_as_chance: bool = False,
) -> JudgeOutcome:
    """Evaluate the spec's judge on one benchmark.

    Args:
        spec: its `judge` section, seed, and `evaluation.bootstrap`.
        benchmark: a name of the registry.
        data: a file in its schema, or a hub id.
        out: folder of calls, records and report.
        events: told how far it is.
        missing_as_chance: replies that cannot be read score what guessing reaches, as RewardBench 2's script has it.

    Raises:
        SpecError: there is no judge, or its endpoint cannot be used at all: the message names endpoint, field and fix.
        UserError: rows or folder cannot be used.
        KeyboardInterrupt: it was interrupted; the same command continues.
    """
    kind, rows = load_benchmark(BenchmarkSpec(name=benchmark, data=data), data)
    names = (RESULTS_FILE, ROWS_FILE, JUDGE_FILE)
    guard_folder(out / "eval" / kind.name, names, JUDGE_FILE, (data,))
    guard_files((out / CALLS_FILE,), (data,))
    check_pages(out)  # before anything is paid for
    if missing_as_chance and not kind.unread_as_chance:
        able = [name for name in BENCHMARKS if evaluation.find_benchmark(name).unread_as_chance]
        raise UserError(
            f"the script of {kind.name} does not score unread replies so",
            where="--score-missing-as-chance",
            fix=f"leave it out; it is for {' and '.join(able)}",
        )
    judge = build_judge(spec.judge, out, seed=spec.seed)
    work = _Work(spec, kind, rows, judge, events)
    before = judge.client.log.spent
    answers, record = _run(work.do(missing_as_chance))
    scored = score_judged(
        kind,
        rows,
        answers,
        seed=spec.seed,
        resamples=spec.evaluation.bootstrap,
        model=f"{spec.judge.model} at {spec.judge.endpoint}",
        missing_as_chance=missing_as_chance,
    )
    folder = out / "eval" / kind.name
    write_json(folder / JUDGE_FILE, record)
    evaluation.write_evaluation(scored, folder)
    complete = record.judged > 0 and not set(record.missing) - {"unparsed"}
    paid = (judge.client.log.spent - before).calls
    return JudgeOutcome(scored.result, record, report_job(out, events), complete, judge.client.failures, paid)


class _Work:
    """One evaluation: rows, then what is asked again about the judge itself."""

    def __init__(
        self, spec: Spec, kind: Benchmark, rows: BenchmarkRows, judge: LanguageModelJudge, events: Events
    ) -> None:
        self.spec = spec
        self.kind = kind
        self.rows = rows
        self.judge = judge
        self.events = events

    async def do(self, missing_as_chance: bool) -> tuple[list[RowAnswer], JudgeRecord]:
        """All questions; the calls under way are waited for, whatever comes."""
        try:
            rows, parallel = self.rows.rows, self.spec.judge.concurrency
            answers = await judge_rows(
                self.kind,
                rows,
                self.judge,
                parallel=parallel,
                progress=self._progress(f"judging {self.rows.title}"),
                check=self._check,
            )
            record = self._record(answers, missing_as_chance)
            return answers, await self._with_probes(answers, record)
        finally:
            await self.judge.close()

    async def _with_probes(self, answers: Sequence[RowAnswer], record: JudgeRecord) -> JudgeRecord:
        """The record with what rows asked once more say of the judge."""
        probes, before = self.spec.judge.probes, self.judge.client.used
        rows, parallel, seed = self.rows.rows, self.spec.judge.concurrency, self.judge.seed
        again = await ask_again(
            rows,
            answers,
            self.judge,
            count=probes.consistency,
            seed=seed,
            parallel=parallel,
            progress=self._progress("asking rows in another order"),
            check=self._check,
        )
        planted = await plant_injections(
            rows,
            answers,
            self.judge,
            count=probes.injection,
            seed=seed,
            parallel=parallel,
            progress=self._progress("planting instructions in responses"),
            check=self._check,
        )
        asked = again.n + sum(probe.flipped.n + probe.missing for probe in planted.values())
        lost = self.judge.client.log.doubts
        return record.model_copy(
            update={
                "consistency": record.consistency | ({"ranking": again} if again.n else {}),
                "injection": planted,
                "probes_cost": self._cost(self.judge.client.used - before, asked),
                "lost_calls": lost.calls,
                "lost_cost": lost.cost(self.spec.judge.prices),
            }
        )

    def _record(self, answers: Sequence[RowAnswer], missing_as_chance: bool) -> JudgeRecord:
        """What the verdicts and replies say, before the probes."""
        tally, rows = self.judge.tally, self.rows.rows
        reasons = Counter(answer.missing for answer in answers if answer.missing)
        asked = sum(answer.missing in ("", "unparsed") for answer in answers)
        paired = pair_consistency(answers)
        return JudgeRecord(
            benchmark=self.kind.name,
            title=self.rows.title,
            dataset=self.rows.dataset,
            settings=self._settings(),
            protocols={row.subset: protocol_of(self.kind, row) for row in rows},
            rows=len(rows),
            judged=len(rows) - reasons.total(),
            missing={str(reason): count for reason, count in sorted(reasons.items())},
            missing_scored_as_chance=missing_as_chance,
            replies={
                kind: ReplyCounts(replies=count, unread=tally.unread[kind], unparsed=tally.unparsed[kind])
                for kind, count in sorted(tally.replies.items())
            },
            consistency={"pairwise": paired} if paired.n else {},
            ties=pair_ties(answers),
            places={kind: dict(counts) for kind, counts in sorted(tally.places.items())},
            ratings={f"{value:g}": count for value, count in sorted(tally.ratings.items())},
            injection={},
            cost=self._cost(self.judge.client.used, asked),
            probes_cost=self._cost(Charge(), 0),
            lost_calls=0,
            lost_cost=0.0,
            currency=self.spec.judge.prices.currency if self.spec.judge.prices.known else "",
        )

    def _settings(self) -> JudgeSettings:
        spec = self.spec.judge
        return JudgeSettings(
            endpoint=spec.endpoint,
            model=spec.model,
            form=self.judge.form,
            orders=spec.orders,
            samples=spec.samples,
            combine=spec.combine,
            temperature=spec.temperature,
            max_tokens=spec.max_tokens,
            seed=self.judge.seed,
            prompts={
                kind: PromptFile(source=prompt.source, sha256=prompt.sha256)
                for kind, prompt in self.judge.prompts.items()
            },
        )

    def _cost(self, charge: Charge, comparisons: int) -> JudgeCost:
        cost = charge.cost(self.spec.judge.prices)
        return JudgeCost(
            comparisons=comparisons,
            calls=charge.calls,
            prompt_tokens=charge.prompt_tokens,
            completion_tokens=charge.completion_tokens,
            cost=cost,
            per_1000=_PER * cost / comparisons if comparisons and self.spec.judge.prices.known else None,
            calls_per_1000=_PER * charge.calls / comparisons if comparisons else None,
        )

    def _check(self) -> None:
        """Stop where the endpoint cannot be used at all."""
        if self.judge.refusal is not None:
            raise self.judge.refusal

    def _progress(self, label: str) -> Progress:
        return lambda done, total: self.events.progress(label, done, total)


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end, or to the first interrupt; SIGTERM is one."""

    async def watched() -> T:
        task = asyncio.current_task()
        if task is not None:
            with suppress(NotImplementedError, RuntimeError, ValueError):  # another thread, or a system without signals
                asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await work

    try:
        return asyncio.run(watched())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
