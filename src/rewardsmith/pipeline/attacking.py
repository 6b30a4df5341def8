"""The price of a hack: which rows, which scorer, and the record that is left behind.

    record = attack_job(model, data, out, settings, events)      rewardsmith attack
    record = attack_run(job, journal, fingerprint)               the stage of the main job, where the spec asks for it

Both keep every reward in a journal beside the record until it is written: the same call continues where it was killed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rewardsmith.attacking.edits import read_phrases
from rewardsmith.attacking.results import ATTACK_FILE, attack
from rewardsmith.attacking.search import Settings
from rewardsmith.errors import RunDirectoryError
from rewardsmith.evaluation import BenchmarkRows
from rewardsmith.evaluation.contract import row_digest
from rewardsmith.pipeline.context import Job
from rewardsmith.pipeline.directory import versions
from rewardsmith.pipeline.evaluating import as_text, held_out_rows
from rewardsmith.pipeline.events import Events
from rewardsmith.pipeline.probing import load_rows
from rewardsmith.pipeline.scorers import LoadOptions, checkpoint_scorer, model_folders, note_reuse, open_member
from rewardsmith.records.attack import AttackRecord
from rewardsmith.records.files import guard_files, guard_folder, read_jsonl, write_json
from rewardsmith.scoring.fluency import load_fluency
from rewardsmith.scoring.local import LocalScorer
from rewardsmith.scoring.remote import is_url
from rewardsmith.spec import digest
from rewardsmith.spec.evaluation import HELD_OUT

JOURNAL_FILE = "attack.journal.jsonl"

CPU_TOKENS = 4096
"""Most tokens of a pass on a CPU: a small model's activations stay in its cache, and candidates of one prompt still
share it. On two busy cores 16,384 tokens took up to twice the time of a model of 2.4M parameters, and never less."""


def attack_job(
    model: str,
    data: str,
    out: Path,
    settings: Settings,
    events: Events,
    *,
    inputs: Sequence[str] = (),
    overwrite: bool = False,
    fluency: str | None = None,
) -> AttackRecord:
    """Attack a checkpoint, or a model behind a server, into `out/attack.json`.

    Args:
        model: a folder, a hub id, or the address of a reward server.
        data: a file of pairs or best-of-N rows, a hub id, or `embedded`.
        out: folder of the record and of its journal.
        settings: how far the search goes.
        events: told how far it is.
        inputs: files that are read and must not be written over.
        overwrite: begin anew, whatever journal is there.
        fluency: a causal language model that bounds a learned ending: a folder, a hub id, or an endpoint's address.

    Raises:
        UserError: data, model or folder cannot be used, or the folder holds the journal of another attack.
    """
    journal = out / JOURNAL_FILE
    guard_folder(out, (ATTACK_FILE,), ATTACK_FILE, inputs)
    guard_files([journal] if journal.exists() else [], inputs)
    rows = load_rows(data, settings.seed, events)
    ((name, source),) = model_folders([model]).items()
    member, info = open_member(name, source, LoadOptions())
    if not info.conversational:
        rows = as_text(rows)
    rendering = ""
    if isinstance(member.scorer, LocalScorer):
        _bound_passes(member.scorer)
        rendering = member.scorer.checkpoint.renderer.record.model_dump_json()
    language = load_fluency(fluency) if fluency else None
    out.mkdir(parents=True, exist_ok=True)
    record = attack(
        rows,
        member.scorer,
        settings,
        model=info.base_model if is_url(source) else source,  # an address without what it may say of its user
        journal=journal,
        fingerprint=_fingerprint(
            rows, settings, f"{info.identity} {rendering} {language.name if language else ''}".rstrip()
        ),
        overwrite=overwrite,
        fluency=language,
        progress=lambda done, total: events.progress("queries", done, total),
        note=events.note,
    )
    write_json(out / ATTACK_FILE, record)
    return record


def attack_run(job: Job, journal: Path, fingerprint: str) -> AttackRecord:
    """The attack that a spec asks for, on its run's model. A journal of another attack is left aside: the spec changed.

    Raises:
        UserError: the rows, the phrases or the language model that the spec names cannot be used.
    """
    wanted = job.spec.evaluation.attack
    settings = Settings(
        pairs=wanted.pairs,
        edits=wanted.edits,
        beam=wanted.beam,
        branch=wanted.branch,
        queries=wanted.queries,
        seconds=wanted.seconds,
        phrases=read_phrases(Path(wanted.phrases)) if wanted.phrases else (),
        tokens=wanted.tokens,
        seed=job.spec.seed,
        resamples=job.spec.evaluation.bootstrap,
    )
    if wanted.data == HELD_OUT:
        rows = held_out_rows(job.prepared.held_out, job.prepared.record.held_out_origin)[1]
    else:
        rows = load_rows(wanted.data, job.spec.seed, job.events)
        rows = as_text(rows) if job.spec.data.strings == "text" else rows
    scorer = checkpoint_scorer(job.spec, job.run.model, job.events)
    _bound_passes(scorer if isinstance(scorer, LocalScorer) else scorer.scorer)
    language = load_fluency(wanted.fluency) if wanted.fluency else None
    record = attack(
        rows,
        scorer,
        settings,
        model=job.spec.name,
        journal=journal,
        fingerprint=fingerprint,
        overwrite=not _is_of(journal, fingerprint),
        fluency=language,
        progress=job.progress("scoring attacked responses"),
        note=lambda text: job.events.note(f"  {text}"),
    )
    note_reuse(scorer, job.events)
    return record


def _bound_passes(scorer: LocalScorer) -> None:
    if next(scorer.checkpoint.model.parameters()).device.type == "cpu":
        scorer.token_budget = min(scorer.token_budget, CPU_TOKENS)


def _is_of(journal: Path, fingerprint: str) -> bool:
    try:
        return next(read_jsonl(journal), {}).get("attack") == fingerprint
    except RunDirectoryError:
        return False


def _fingerprint(rows: BenchmarkRows, settings: Settings, identity: str) -> str:
    """Of what decides rewards and search. Seconds are left out: more of them continue a search that ended early."""
    kept = {name: value for name, value in asdict(settings).items() if name not in ("seconds", "resamples")}
    return digest([identity, [row_digest(row) for row in rows.rows], kept, versions()])
