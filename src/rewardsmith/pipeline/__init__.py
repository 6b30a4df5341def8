"""The composition root: stages, fingerprints, resume; the one room that knows all others and hands them to each other.

job.py           run_job, check_job, sample_job, shown_job, fix_job, train_job, evaluate_job
stages.py        the stages in order
context.py       what the stages of one job share
dry_run.py       what a run would do
directory.py     the run directory: lock, owner, manifest
fingerprints.py  what a result depends on, hashed; stage_fingerprints.py: each stage
resources.py     what the spec calls `embedded`
training.py      which way a training job takes; cluster.py: the Ray cluster that trains, scores or serves
gating.py        the gates of a spec over one evaluation
evaluating.py    one benchmark, one scorer
renderings.py    text as training renders it and as the benchmark's own script does
comparing.py     evaluations on disk, compared; row_texts.py finds the texts of their rows again
explaining.py    one conversation, token by token
variants.py      one more training of a run's spec: another seed, or a share of the data
replicas.py      `training.seeds`
learning_curve.py  `run --learning-curve`
label_noise.py   suspected labels, from the margins of the epoch
attacking.py     the price of a hack: a command and a stage
probing.py       bias probes, and rewards on a policy's own samples
scorers.py       a checkpoint to score with, its rewards cached
serving.py       models, tokens and limits of a server; engines.py: what it scores with
ensembles.py     models named on a command line, alone or combined
bulk.py          rewards of the rows of a file
verifying.py     the same rewards on every path; asking.py: a running server among them
judging.py       the judge, built and evaluated
routing.py       the router: its model, rules and replay; routing_calibrate.py, routing_pairs.py: its limit;
                 routing_run.py, routing_rows.py: files; routing_serve.py: a server's
exporting.py     checkpoints for other programs, and averages of checkpoints
doctor.py        versions, scripts and checkpoints, examined
planning.py      what a spec will need; plan_*.py its parts, the brief and the files; latency.py measures a checkpoint
events.py        what a watcher is told; following.py leaves it in the run directory as well
publishing.py    a checkpoint with its card and report to the Hugging Face hub; listing.py: runs in a folder
tracking.py      a run's numbers on their way to TensorBoard, trackio, Weights & Biases, MLflow
reporting.py     report.html and summary.md, with the texts of rows
opening.py       a run served on this machine, while it trains too

The names below are imported when they are first asked for: what opens a report needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rewardsmith.pipeline.attacking import attack_job
    from rewardsmith.pipeline.commands.explain import explain_job
    from rewardsmith.pipeline.commands.look import open_run
    from rewardsmith.pipeline.commands.report import compare_job, report_job
    from rewardsmith.pipeline.events import Events, Silent
    from rewardsmith.pipeline.job import (
        Outcome,
        check_job,
        evaluate_job,
        fix_job,
        run_job,
        sample_job,
        shown_job,
        train_job,
    )
    from rewardsmith.pipeline.probing import policy_job, probe_job
    from rewardsmith.pipeline.variants import parse_fractions

__all__ = [
    "Events",
    "Outcome",
    "Silent",
    "attack_job",
    "check_job",
    "compare_job",
    "evaluate_job",
    "explain_job",
    "fix_job",
    "open_run",
    "parse_fractions",
    "policy_job",
    "probe_job",
    "report_job",
    "run_job",
    "sample_job",
    "shown_job",
    "train_job",
]

_HOMES = {
    "Events": "events",
    "Outcome": "job",
    "Silent": "events",
    "attack_job": "attacking",
    "check_job": "job",
    "compare_job": "commands.report",
    "evaluate_job": "job",
    "explain_job": "commands.explain",
    "fix_job": "job",
    "open_run": "commands.look",
    "parse_fractions": "variants",
    "policy_job": "probing",
    "probe_job": "probing",
    "report_job": "commands.report",
    "run_job": "job",
    "sample_job": "job",
    "shown_job": "job",
    "train_job": "job",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
