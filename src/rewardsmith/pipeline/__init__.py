"""The composition root: stages, fingerprints, resume; the one room that knows all others and hands them to each other.

job.py           run_job, train_job, evaluate_job, gate_evaluation; what a run would do
checking.py      the first stage and its commands: check_job, sample_job, shown_job, fix_job
stages.py        the other stages in order, and which way a training job takes
context.py       what the stages of one job share
embedded.py      the files and the base model that Rewardsmith makes itself
directory.py     the run directory: lock, owner, manifest; what a result depends on, hashed
evaluating.py    one benchmark, one scorer
label_noise.py   suspected labels, from the margins of the epoch
probing.py       bias probes, and rewards on a policy's own samples
attacking.py     the price of a hack: a command and a stage
variants.py      more trainings of a run's spec: other seeds, `run --learning-curve`
controls.py      the same training on changed data: `run --controls`
scorers.py       a checkpoint, an ensemble or a server to score with
cluster.py       the Ray cluster that trains, scores or serves
events.py        what a watcher is told; it is left in the run directory as well
tracking.py      a run's numbers on their way to TensorBoard, trackio, Weights & Biases, MLflow
notebook.py      `rewardsmith.run`, `evaluate` and the like, for a notebook
commands/        what each other command does, in a file of its name

The names below are imported when they are first asked for: what opens a report needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rewardsmith import lazy_names

if TYPE_CHECKING:
    from rewardsmith.pipeline.attacking import attack_job
    from rewardsmith.pipeline.checking import check_job, fix_job, sample_job, shown_job
    from rewardsmith.pipeline.commands.compare import compare_job
    from rewardsmith.pipeline.commands.explain import explain_job
    from rewardsmith.pipeline.commands.look import open_run
    from rewardsmith.pipeline.commands.report import report_job
    from rewardsmith.pipeline.events import Events, Silent
    from rewardsmith.pipeline.job import Outcome, evaluate_job, run_job, train_job
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
    "check_job": "checking",
    "compare_job": "commands.compare",
    "evaluate_job": "job",
    "explain_job": "commands.explain",
    "fix_job": "checking",
    "open_run": "commands.look",
    "parse_fractions": "variants",
    "policy_job": "probing",
    "probe_job": "probing",
    "report_job": "commands.report",
    "run_job": "job",
    "sample_job": "checking",
    "shown_job": "checking",
    "train_job": "job",
}


if not TYPE_CHECKING:
    __getattr__ = lazy_names(__name__, _HOMES)
