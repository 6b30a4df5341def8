"""Bias probes and policy samples: which rows, which scorer, and the record that is left behind.

    record, outcomes = probe_job(spec, data, out, events, model=…)     rewardsmith probe --model DIR
    record = policy_job(spec, source, out, events, model=…)            rewardsmith probe --policy-samples FILE
    record = probe_rows(scorer, rows_of(job), spec, model)             the stage of the main job

`probe_job` reads any file of pairs or of best-of-N rows; without one it takes the embedded held-out pairs.
"""

from __future__ import annotations

from pathlib import Path

from rewardsmith import gates, samples
from rewardsmith.errors import UserError
from rewardsmith.evaluation import BenchmarkRows, find_benchmark
from rewardsmith.evaluation.probes import gate_probes, policy_record, read_policy_samples, run_probes
from rewardsmith.evaluation.probes.policy import as_plain_text, missing_samples, score_samples
from rewardsmith.evaluation.rows import read_table
from rewardsmith.pipeline.context import Job
from rewardsmith.pipeline.directory import checkpoint_folder
from rewardsmith.pipeline.embedded import EMBEDDED
from rewardsmith.pipeline.evaluating import as_text, held_out_rows, tell_left_out
from rewardsmith.pipeline.events import Events
from rewardsmith.pipeline.scorers import any_scorer, note_reuse
from rewardsmith.protocols import Progress, Scorer
from rewardsmith.records.files import guard_folder, write_json
from rewardsmith.records.probes import PolicySamplesRecord, ProbesRecord
from rewardsmith.records.run import GateOutcome
from rewardsmith.spec import Spec
from rewardsmith.spec.evaluation import HELD_OUT

PROBES_FILE = "probes.json"
POLICY_FILE = "policy_samples.json"


def probe_job(
    spec: Spec, data: str | None, out: Path, events: Events, *, model: str | Path | None = None, cache: bool = True
) -> tuple[ProbesRecord, list[GateOutcome]]:
    """Probe a checkpoint into `out/probes.json`.

    Args:
        spec: seed, `evaluation.probes.pairs`, limits; its run's model where `model` is None.
        data: a file of pairs or best-of-N rows, or a hub id; the embedded held-out pairs when None.
        out: folder of the record.
        events: told how far it is.
        model: the checkpoint.
        cache: whether rewards that this checkpoint gave before are used again.

    Returns:
        The record, and one outcome for each probe that is a gate, with one warning for the others.

    Raises:
        UserError: data or checkpoint cannot be used, or the spec asks for no pairs.
    """
    if not spec.evaluation.probes.pairs:
        raise UserError("0 pairs leave nothing to probe", where="evaluation.probes.pairs", fix="write --pairs 200")
    guard_folder(out, (PROBES_FILE,), PROBES_FILE, (data,) if data else ())
    rows = load_rows(data or EMBEDDED, spec.seed, events)
    scorer, place, conversational = any_scorer(spec, str(model or checkpoint_folder(spec)), events, cache=cache)
    if not conversational:
        rows = as_text(rows)
    record = probe_rows(scorer, rows, spec, place, lambda done, total: events.progress("probing", done, total))
    note_reuse(scorer, events)
    write_json(out / PROBES_FILE, record)
    return record, gates.probe_outcomes(record, spec.evaluation.gates.probes)


def policy_job(
    spec: Spec, source: str, out: Path, events: Events, *, model: str | Path | None = None, cache: bool = True
) -> PolicySamplesRecord:
    """Score a policy's own samples into `out/policy_samples.json`; arguments as in `probe_job`.

    Raises:
        UserError: the file or the checkpoint cannot be used.
    """
    guard_folder(out, (POLICY_FILE,), POLICY_FILE, (source,))
    found = read_policy_samples(source)
    scorer, place, conversational = any_scorer(spec, str(model or checkpoint_folder(spec)), events, cache=cache)
    if not conversational:
        found = as_plain_text(found)
    rewards = score_samples(found, scorer, lambda done, total: events.progress("scoring samples", done, total))
    note_reuse(scorer, events)
    record = policy_record(found, rewards, seed=spec.seed, resamples=spec.evaluation.bootstrap, model=place)
    record = record.model_copy(update={"missing": missing_samples(found, rewards, scorer)})
    write_json(out / POLICY_FILE, record)
    return record


def probe_rows(
    scorer: Scorer, rows: BenchmarkRows, spec: Spec, model: str, progress: Progress | None = None
) -> ProbesRecord:
    """Every probe, measured on the rows and judged by the spec's limits."""
    record = run_probes(
        rows,
        scorer,
        count=spec.evaluation.probes.pairs,
        seed=spec.seed,
        resamples=spec.evaluation.bootstrap,
        model=model,
        progress=progress,
    )
    return gate_probes(record, spec.evaluation.gates.probes)


def rows_of(job: Job) -> BenchmarkRows:
    """The rows that the job's spec names; as plain text where the model is trained on plain text.

    Raises:
        DataError, BenchmarkError: they cannot be read, or do not fit.
    """
    data = job.spec.evaluation.probes.data
    if data == HELD_OUT:
        return held_out_rows(job.prepared.held_out, job.prepared.record.held_out_origin)[1]
    rows = load_rows(data, job.spec.seed, job.events)
    return as_text(rows) if job.spec.data.strings == "text" else rows


def load_rows(data: str, seed: int, events: Events) -> BenchmarkRows:
    """Rows of a file or hub data set: best-of-N where `chosen` lists texts, else preference pairs.

    Which rows are none is said to `events`.

    Raises:
        DataError, BenchmarkError: they cannot be read, or do not fit.
    """
    if data == EMBEDDED:
        held_out = samples.write_samples(seed=seed).held_out
        rows = find_benchmark("pairs").load(str(held_out), None)
        return BenchmarkRows(
            rows=rows.rows,
            dataset=rows.dataset.model_copy(update={"source": EMBEDDED}),
            title="Embedded held-out pairs",
            note=rows.note,
        )
    first = read_table(data).rows[0].fields
    chosen = first.get("chosen")
    several = isinstance(chosen, list) and all(isinstance(text, str) for text in chosen)
    rows = find_benchmark("best_of_n" if several else "pairs").load(data, None)
    tell_left_out(rows, events)
    return rows
